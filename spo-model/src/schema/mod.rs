//! The JSON schema of every kind in every version, and the check of a document against it.
//!
//! The hub's Rust types give the v1 schema; the list of differences in `served` gives the old one.
//! The schemas are structural in the sense of Kubernetes' CustomResourceDefinitions.

mod check;
mod derive;

use std::sync::LazyLock;

use serde_json::{Value, json};

pub(crate) use check::check;

use crate::{
    kind::{GROUP, Kind, Version},
    served::pointer,
};

/// The schema of a document of a kind in a version, for editors: `apiVersion`, `kind` and `metadata` included.
///
/// Put `# yaml-language-server: $schema=FILE` into the first line of a manifest to use it.
pub fn document_schema(kind: Kind, version: Version) -> Value {
    let mut schema = published(kind, version);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(format!("{kind} {version}"));
    schema["additionalProperties"] = json!(false);
    close_objects(&mut schema);
    if let Some(properties) = schema["properties"].as_object_mut() {
        let mut kinds = vec![kind.as_str()];
        if kind == Kind::AppArmorProfile {
            kinds.push("ApparmorProfile");
        }
        properties.insert("apiVersion".to_owned(), json!({ "const": format!("{GROUP}/{version}") }));
        properties.insert("kind".to_owned(), json!({ "enum": kinds }));
        properties.insert("metadata".to_owned(), json!({ "type": "object" }));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.splice(0..0, ["apiVersion", "kind", "metadata"].map(Value::from));
    } else {
        schema["required"] = json!(["apiVersion", "kind", "metadata"]);
    }
    schema
}

/// The schema as a CustomResourceDefinition carries it: `spec` and `status`, no words of our own.
pub fn published(kind: Kind, version: Version) -> Value {
    let mut schema = of(kind, version).clone();
    strip_own_words(&mut schema);
    schema
}

/// The schema with our own words (`x-spo-…`), without `apiVersion`, `kind` and `metadata`.
pub(crate) fn of(kind: Kind, version: Version) -> &'static Value {
    static SCHEMAS: LazyLock<Vec<(Kind, Version, Value)>> = LazyLock::new(|| {
        Kind::ALL
            .iter()
            .flat_map(|&kind| kind.versions().map(|version| (kind, version, derive::schema(kind, version))))
            .collect()
    });
    static NOTHING: Value = Value::Null;
    SCHEMAS.iter().find(|(k, v, _)| (*k, *v) == (kind, version)).map_or(&NOTHING, |(_, _, schema)| schema)
}

/// Whether a document may lack `spec` altogether.
pub(crate) fn may_lack_spec(kind: Kind, version: Version) -> bool {
    let required = of(kind, version)["required"].as_array();
    !required.is_some_and(|fields| fields.iter().any(|f| f == "spec"))
}

/// The words that the hub knows at a place of a kind.
pub(crate) fn words_at(kind: Kind, place: &str) -> Vec<String> {
    static HUB: LazyLock<Vec<Value>> =
        LazyLock::new(|| Kind::ALL.iter().map(|&kind| derive::hub(kind)).collect());
    let schema = Kind::ALL.iter().zip(HUB.iter()).find(|(k, _)| **k == kind).map(|(_, schema)| schema);
    schema
        .and_then(|schema| derive::node(schema, place))
        .and_then(|node| node["enum"].as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn strip_own_words(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|key, _| !key.starts_with("x-spo-"));
            fields.values_mut().for_each(strip_own_words);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_own_words),
        _ => {}
    }
}

/// An editor should underline a field that does not exist; a CRD may not say so.
fn close_objects(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.contains_key("properties") && !fields.contains_key("x-kubernetes-preserve-unknown-fields") {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "properties" => {
                value.as_object_mut().into_iter().flat_map(|p| p.values_mut()).for_each(close_objects);
            }
            "items" | "additionalProperties" => close_objects(value),
            _ => {}
        }
    }
}

/// The steps of a dotted place, shared with the documents' paths.
fn steps(place: &str) -> impl Iterator<Item = &str> {
    pointer::segments(place)
}
