//! The CustomResourceDefinitions of the eight kinds (feature `kube`).
//!
//! The schemas are those of [`crate::schema`]; here are the names, versions, columns and the conversion webhook.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::{
    kind::{GROUP, Kind, Scope, Version},
    schema,
};

/// The plural under which objects of kind `ApparmorProfile` are kept.
///
/// The guide spells the kind so. An API server tells kinds apart by case, and the plural `apparmorprofiles` is
/// taken, so the spelling is a kind of its own with the same schema.
pub const ALIAS_PLURAL: &str = "apparmorprofilealiases";

/// Every definition: the eight kinds and the alias `ApparmorProfile`, sorted by name.
///
/// `profiles` is the scope of profiles and node statuses; recordings, bindings and the SPOD always live in a
/// namespace.
pub fn definitions(profiles: Scope) -> Vec<CustomResourceDefinition> {
    let mut values: Vec<Value> = Kind::ALL.iter().map(|&kind| definition(kind, profiles)).collect();
    values.push(alias(profiles));
    let mut definitions: Vec<CustomResourceDefinition> =
        values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect();
    definitions.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    definitions
}

fn definition(kind: Kind, profiles: Scope) -> Value {
    let mut names = json!({
        "kind": kind.as_str(),
        "listKind": format!("{kind}List"),
        "plural": kind.plural(),
        "singular": kind.singular(),
        "categories": ["security-profiles"],
    });
    if let Some(short) = kind.short_name() {
        names["shortNames"] = json!([short]);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{GROUP}", kind.plural()),
            "labels": { "app": "security-profiles-operator" },
        },
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": kind.scope(profiles).as_str(),
            "versions": kind.versions().map(|version| served(kind, version)),
            "conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {
                        "service": {
                            "name": "webhook-conversion",
                            "namespace": "security-profiles-operator",
                            "path": "/convert",
                        },
                    },
                },
            },
        },
    })
}

fn alias(profiles: Scope) -> Value {
    let mut definition = definition(Kind::AppArmorProfile, profiles);
    definition["metadata"]["name"] = json!(format!("{ALIAS_PLURAL}.{GROUP}"));
    definition["spec"]["names"] = json!({
        "kind": "ApparmorProfile",
        "listKind": "ApparmorProfileList",
        "plural": ALIAS_PLURAL,
        "singular": "apparmorprofilealias",
        "categories": ["security-profiles"],
    });
    definition
}

fn served(kind: Kind, version: Version) -> Value {
    let mut schema = schema::published(kind, version);
    schema["description"] = json!(describe(kind));
    if let Some(properties) = schema["properties"].as_object_mut() {
        let text = |description: &str| json!({ "type": "string", "description": description });
        properties.insert("apiVersion".to_owned(), text("The group and version."));
        properties.insert("kind".to_owned(), text("The kind."));
        properties.insert("metadata".to_owned(), json!({ "type": "object" }));
    }
    let columns: Vec<Value> = kind
        .columns()
        .iter()
        .map(|column| {
            let mut value =
                json!({ "name": column.name, "type": column.type_, "jsonPath": column.json_path });
            if column.priority > 0 {
                value["priority"] = json!(column.priority);
            }
            value
        })
        .collect();
    let mut served = json!({
        "name": version.as_str(),
        "served": true,
        "storage": version == Version::V1,
        "schema": { "openAPIV3Schema": schema },
    });
    // A node status has no one else's fields in it; written as a whole it costs one request, not two.
    if kind != Kind::SecurityProfileNodeStatus {
        served["subresources"] = json!({ "status": {} });
    }
    if !columns.is_empty() {
        served["additionalPrinterColumns"] = json!(columns);
    }
    served
}

fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::SeccompProfile => "Which syscalls a workload may make.",
        Kind::SelinuxProfile => "What the SELinux type of a workload may do.",
        Kind::RawSelinuxProfile => "What the SELinux type of a workload may do, in SELinux's own language.",
        Kind::AppArmorProfile => "What files, capabilities and networks a workload may use.",
        Kind::ProfileRecording => "Turns what some pods do into profiles.",
        Kind::ProfileBinding => "Gives every pod with some image a profile.",
        Kind::SecurityProfileNodeStatus => "Where one profile stands on one node.",
        Kind::SecurityProfilesOperatorDaemon => "How the operator itself is set up.",
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;

    use super::*;

    #[test]
    fn there_are_nine_definitions_in_both_scopes() {
        for (scope, word) in [(Scope::Namespaced, "Namespaced"), (Scope::Cluster, "Cluster")] {
            let definitions = definitions(scope);
            assert_eq!(definitions.len(), 9, "a definition that does not fit the type is left out");
            for definition in &definitions {
                let kind = definition.spec.names.kind.as_str();
                let always =
                    ["ProfileRecording", "ProfileBinding", "SecurityProfilesOperatorDaemon"].contains(&kind);
                assert_eq!(definition.spec.scope, if always { "Namespaced" } else { word }, "{kind}");
                assert_eq!(definition.spec.versions.iter().filter(|v| v.storage).count(), 1);
                let status = kind != "SecurityProfileNodeStatus";
                let fits =
                    |v: &CustomResourceDefinitionVersion| v.served && v.subresources.is_some() == status;
                assert!(definition.spec.versions.iter().all(fits), "{kind}");
            }
        }
    }

    /// The rules of structural schemas (`apiextensions-apiserver/pkg/apiserver/schema/validation.go`) that a
    /// generator is likely to break.
    #[test]
    fn every_schema_is_structural() {
        fn walk(schema: &Value, path: &str) {
            let Some(fields) = schema.as_object() else { panic!("{path}: no object") };
            let int_or_string = fields.get("x-kubernetes-int-or-string") == Some(&json!(true));
            let any = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            assert!(
                fields.get("type").is_some_and(Value::is_string) || int_or_string || any,
                "{path}: no type"
            );
            for (key, value) in fields {
                match key.as_str() {
                    "properties" => {
                        assert!(!fields.contains_key("additionalProperties"), "{path}: both");
                        for (name, property) in value.as_object().into_iter().flatten() {
                            walk(property, &format!("{path}.{name}"));
                        }
                    }
                    "items" | "additionalProperties" => walk(value, &format!("{path}[]")),
                    "anyOf" => assert!(int_or_string, "{path}: anyOf"),
                    "x-kubernetes-list-map-keys" => {
                        let item = &fields["items"];
                        for name in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                            let required =
                                item["required"].as_array().is_some_and(|r| r.iter().any(|f| f == name));
                            let default = item["properties"][name].get("default").is_some();
                            assert!(required || default, "{path}: list key {name} may be absent");
                        }
                    }
                    "type"
                    | "format"
                    | "description"
                    | "enum"
                    | "default"
                    | "pattern"
                    | "required"
                    | "minimum"
                    | "maximum"
                    | "minLength"
                    | "maxLength"
                    | "minItems"
                    | "maxItems"
                    | "x-kubernetes-list-type"
                    | "x-kubernetes-map-type"
                    | "x-kubernetes-int-or-string"
                    | "x-kubernetes-validations"
                    | "x-kubernetes-preserve-unknown-fields" => {}
                    other => panic!("{path}: {other} is not allowed"),
                }
            }
        }
        for &kind in Kind::ALL {
            for version in kind.versions() {
                walk(&schema::published(kind, version), &format!("{kind} {version}"));
            }
        }
    }
}
