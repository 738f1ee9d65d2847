//! From Rust types to the structural schema of a version.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::steps;
use crate::{
    kind::{Kind, Version},
    object,
    served::{Difference, differences},
    validate,
};

/// The schema of a kind in a version.
pub(super) fn schema(kind: Kind, version: Version) -> Value {
    let mut schema = hub(kind);
    for difference in differences(kind, version) {
        apply(difference, &mut schema);
    }
    if version == Version::V1 {
        for (place, rules) in validate::cel_rules(kind) {
            if let Some(node) = node_mut(&mut schema, place) {
                node["x-kubernetes-validations"] = rules;
            }
        }
    }
    schema
}

/// The schema at a dotted place of a schema.
pub(super) fn node<'a>(schema: &'a Value, place: &str) -> Option<&'a Value> {
    steps(place).try_fold(schema, |node, step| match step {
        "[]" => node.get("items"),
        key => node.get("properties")?.get(key),
    })
}

fn node_mut<'a>(schema: &'a mut Value, place: &str) -> Option<&'a mut Value> {
    steps(place).try_fold(schema, |node, step| match step {
        "[]" => node.get_mut("items"),
        key => node.get_mut("properties")?.get_mut(key),
    })
}

/// The hub's own schema, before any version's differences.
pub(super) fn hub(kind: Kind) -> Value {
    let mut generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let [mut spec, mut status] = object::schemas(kind, &mut generator).map(Value::from);
    for part in [&mut spec, &mut status] {
        structural(part);
    }
    describe(&mut spec, "What is wanted.");
    describe(&mut status, "What is, as far as it was reported.");
    let mut schema = json!({ "type": "object", "properties": { "spec": spec, "status": status } });
    if !matches!(
        kind,
        Kind::SelinuxProfile
            | Kind::RawSelinuxProfile
            | Kind::AppArmorProfile
            | Kind::SecurityProfilesOperatorDaemon
    ) {
        schema["required"] = json!(["spec"]);
    }
    if let Some(condition) = node_mut(&mut schema, "status.conditions.[]") {
        condition["required"] = json!(["lastTransitionTime", "message", "reason", "status", "type"]);
    }
    schema
}

fn describe(schema: &mut Value, text: &str) {
    schema["description"] = json!(text);
}

/// Removes what Kubernetes' structural schemas do not allow.
fn structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for word in ["title", "$schema", "nullable"] {
        fields.remove(word);
    }
    // What is optional is absent, not null.
    if let Some(Value::Array(types)) = fields.get("type")
        && let Some(only) = types.iter().find(|t| *t != "null").cloned()
    {
        fields.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if !fields.contains_key("x-kubernetes-int-or-string")
        && let Some(Value::Array(choices)) = fields.remove("anyOf")
        && let Some(Value::Object(only)) = choices.into_iter().find(|c| c["type"] != "null")
    {
        for (key, value) in only {
            fields.entry(key).or_insert(value);
        }
    }
    // Keys that obey a rule: a structural schema cannot state it, the types do.
    if let Some(Value::Object(patterns)) = fields.remove("patternProperties")
        && let Some(values) = patterns.into_values().next()
    {
        fields.insert("additionalProperties".to_owned(), values);
    }
    if fields.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
        fields.insert("format".to_owned(), json!("int64"));
    }
    if fields.get("default") == Some(&Value::Null) {
        fields.remove("default");
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    // `anyOf` stands only in `x-kubernetes-int-or-string`, whose two types are fixed.
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "properties" => value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(structural),
            "items" | "additionalProperties" => structural(value),
            _ => {}
        }
    }
}

fn apply(difference: Difference, schema: &mut Value) {
    match difference {
        Difference::Flag { old, new, yes, no } => {
            if let Some(node) = node_mut(schema, new) {
                remove_key(node, "default");
            }
            let description = format!("The form of 0.10 and before: true means {new}: {yes}, false {no}.");
            add(schema, old, json!({ "type": "boolean", "description": description }));
        }
        Difference::Moved { old, new } => {
            let Some(node) = node_mut(schema, new) else { return };
            // A default at one of two places would contradict a value at the other.
            remove_key(node, "default");
            let mut copy = node.clone();
            copy["description"] = json!(format!("The old place of {new}."));
            optional(schema, new);
            add(schema, old, copy);
        }
        Difference::Text { at, .. } => {
            if let Some(node) = node_mut(schema, at) {
                *node = json!({
                    "description": "An object; text in 0.10 and before.",
                    "x-kubernetes-preserve-unknown-fields": true,
                    "x-spo-text-or": node.clone(),
                });
            }
        }
        Difference::LowerCase { at } => spell(schema, at, str::to_ascii_lowercase),
        Difference::UpperCase { at } => spell(schema, at, str::to_ascii_uppercase),
        Difference::AnyCase { at } => spell(schema, at, str::to_ascii_lowercase),
        Difference::Blank { at } => {
            let Some(node) = node_mut(schema, at) else { return };
            match node.get_mut("enum") {
                Some(Value::Array(words)) => words.push(json!("")),
                _ => {
                    remove_key(node, "minLength");
                    node["x-spo-blank"] = json!(true);
                    if let Some(pattern) = node["pattern"].as_str() {
                        node["pattern"] = json!(format!("^$|{pattern}"));
                    }
                }
            }
        }
        Difference::Hidden { at } => {
            let (parent, key) = at.rsplit_once('.').unwrap_or(("", at));
            optional(schema, at);
            if let Some(Value::Object(properties)) =
                node_mut(schema, parent).and_then(|n| n.get_mut("properties"))
            {
                properties.remove(key);
            }
        }
        Difference::HiddenWords { at, words } => {
            if let Some(Value::Array(list)) =
                node_mut(schema, at).and_then(|n| n.get_mut("items")).and_then(|n| n.get_mut("enum"))
            {
                list.retain(|word| !word.as_str().is_some_and(|w| words.contains(&w)));
            }
        }
        Difference::Repeats { at } => {
            if let Some(node) = node_mut(schema, at) {
                node["x-kubernetes-list-type"] = json!("atomic");
            }
        }
        Difference::NumberText { at } => {
            if let Some(node) = node_mut(schema, at) {
                remove_key(node, "type");
                remove_key(node, "format");
                node["x-kubernetes-int-or-string"] = json!(true);
                node["anyOf"] = json!([{ "type": "integer" }, { "type": "string" }]);
                node["pattern"] = json!("^[0-9]{1,4}$");
            }
        }
        Difference::OptionalText { at } => optional(schema, at),
        Difference::Retired { at } => {
            let description = "Had a meaning in old releases; it is read and ignored.";
            let any = json!({ "description": description, "x-kubernetes-preserve-unknown-fields": true });
            add(schema, at, any);
        }
    }
}

fn spell(schema: &mut Value, place: &str, spell: fn(&str) -> String) {
    let Some(node) = node_mut(schema, place) else { return };
    remove_key(node, "x-spo-any-case");
    if let Some(default) = node.get("default").and_then(Value::as_str).map(spell) {
        node["default"] = json!(default);
    }
    if let Some(Value::Array(words)) = node.get_mut("enum") {
        let canonical: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut spelled: Vec<String> = canonical.iter().map(|word| spell(word)).collect();
        spelled.extend(canonical);
        spelled.dedup();
        let mut distinct: Vec<String> = Vec::new();
        spelled.into_iter().for_each(|word| {
            if !distinct.contains(&word) {
                distinct.push(word);
            }
        });
        *words = distinct.into_iter().map(Value::from).collect();
        node["x-spo-any-case"] = json!(true);
    }
}

fn add(schema: &mut Value, place: &str, property: Value) {
    let (parent, key) = place.rsplit_once('.').unwrap_or(("", place));
    if let Some(Value::Object(properties)) = node_mut(schema, parent).and_then(|n| n.get_mut("properties")) {
        properties.insert(key.to_owned(), property);
    }
}

fn optional(schema: &mut Value, place: &str) {
    let (parent, key) = place.rsplit_once('.').unwrap_or(("", place));
    let Some(node) = node_mut(schema, parent) else { return };
    if let Some(Value::Array(required)) = node.get_mut("required") {
        required.retain(|field| field != key);
        if required.is_empty() {
            remove_key(node, "required");
            // An object of which nothing is required need not be there.
            if !parent.is_empty() && !parent.contains('.') {
                optional(schema, parent);
            }
        }
    }
}

fn remove_key(node: &mut Value, key: &str) {
    if let Some(fields) = node.as_object_mut() {
        fields.remove(key);
    }
}
