//! Properties of conversion over generated objects of every kind and version.
//!
//! The generator walks the schema, so a field that is added to a type is covered without a change here.

use proptest::{prelude::*, string::string_regex, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use super::{MEMORY, convert, decode, encode};
use crate::{
    Diagnostic,
    apparmor::Capability,
    kind::{GROUP, Kind, Version},
    manifest::{self, Limits},
    schema,
};

/// A document of a kind and version that its schema accepts.
fn document(kind: Kind, version: Version) -> BoxedStrategy<Value> {
    let body = value(schema::of(kind, version).clone(), String::new());
    (body, "[a-z]{1,12}", prop::option::of("[a-z]{1,8}"), any::<bool>())
        .prop_map(move |(body, name, namespace, labelled)| {
            let mut metadata = json!({ "name": name, "generation": 3 });
            if let Some(namespace) = namespace {
                metadata["namespace"] = json!(namespace);
            }
            if labelled {
                metadata["labels"] = json!({ "app": "web" });
                metadata["annotations"] = json!({ "note": "kept" });
            }
            let mut document = json!({
                "apiVersion": format!("{GROUP}/{version}"), "kind": kind.as_str(), "metadata": metadata,
            });
            if let (Some(fields), Value::Object(body)) = (document.as_object_mut(), body) {
                fields.extend(body);
            }
            document
        })
        .boxed()
}

/// A value that a schema accepts.
fn value(schema: Value, place: String) -> BoxedStrategy<Value> {
    if let Some(inner) = schema.get("x-spo-text-or") {
        let text =
            prop::sample::select(vec![json!("Installed"), json!("Pending"), json!("Error"), json!("")]);
        return prop_oneof![value(inner.clone(), place), text].boxed();
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return match schema["pattern"].as_str() {
            Some(pattern) if pattern.contains("0[xX]") => prop_oneof![
                (0..=i64::MAX).prop_map(|n| json!(n)),
                any::<u64>().prop_map(|n| json!(n.to_string()))
            ]
            .boxed(),
            Some(pattern) if pattern.contains("KMGTPE") => {
                prop_oneof![(0..100i64).prop_map(|n| json!(n)), Just(json!("128Mi")), Just(json!("1e3"))]
                    .boxed()
            }
            _ => prop_oneof![
                (0..4096u32).prop_map(|n| json!(n)),
                (0..4096u32).prop_map(|n| json!(n.to_string()))
            ]
            .boxed(),
        };
    }
    match schema["type"].as_str() {
        Some("object") => object(&schema, &place),
        Some("array") => list(&schema, &place),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => {
            let min = schema["minimum"].as_f64().map_or(-100, |m| m as i64);
            let max = schema["maximum"].as_f64().map_or(100_000, |m| m as i64);
            (min..=max).prop_map(Value::from).boxed()
        }
        Some("string") => text(&schema, &place).prop_map(Value::from).boxed(),
        _ => any::<bool>().prop_map(Value::from).boxed(),
    }
}

fn object(schema: &Value, place: &str) -> BoxedStrategy<Value> {
    if let Some(values) = schema.get("additionalProperties").filter(|s| s.is_object()) {
        let key = if place.ends_with(".allow") { "(@self|k[a-z_]{1,8})" } else { "k[a-z_]{1,8}" };
        return prop::collection::btree_map(key, value(values.clone(), format!("{place}.*")), 0..3)
            .prop_map(|map| json!(map))
            .boxed();
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let both_bodies = ["abstract", "policy", "profile"];
    let mut fields: Vec<BoxedStrategy<Option<(String, Value)>>> = Vec::new();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let strategy = value(property.clone(), format!("{place}.{key}"));
        if required.contains(&key.as_str()) {
            let key = key.clone();
            fields.push(strategy.prop_map(move |v| Some((key.clone(), v))).boxed());
            continue;
        }
        let chance = if place == ".spec" && both_bodies.contains(&key.as_str()) { 0.25 } else { 0.4 };
        let key = key.clone();
        fields.push(
            prop::option::weighted(chance, strategy).prop_map(move |v| v.map(|v| (key.clone(), v))).boxed(),
        );
    }
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

fn list(schema: &Value, place: &str) -> BoxedStrategy<Value> {
    let min = schema["minItems"].as_u64().unwrap_or(0) as usize;
    let unique = matches!(schema["x-kubernetes-list-type"].as_str(), Some("set" | "map"));
    let keys: Vec<String> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    prop::collection::vec(value(schema["items"].clone(), format!("{place}[]")), min..=min + 3)
        .prop_map(move |mut elements| {
            if unique {
                let mut seen = std::collections::HashSet::new();
                elements.retain(|e| {
                    seen.insert(if keys.is_empty() {
                        e.to_string()
                    } else {
                        keys.iter().map(|k| e[k].to_string()).collect()
                    })
                });
            }
            Value::Array(elements)
        })
        .boxed()
}

fn text(schema: &Value, place: &str) -> BoxedStrategy<String> {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        return prop::sample::select(words).boxed();
    }
    let fixed = |words: &[&str]| {
        prop::sample::select(words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>()).boxed()
    };
    if place.ends_with("allowedCapabilities[]") {
        let spelled = |c: &Capability| [c.as_str().to_owned(), format!("CAP_{}", c.as_str().to_uppercase())];
        return prop::sample::select(Capability::ALL.iter().flat_map(spelled).collect::<Vec<_>>()).boxed();
    }
    if place.ends_with(".names[]") {
        return fixed(&["read", "write", "openat", "clone3", "socket", "futex"]);
    }
    if place.ends_with("baseProfileName") {
        return fixed(&["runc-v1.4.0", "bases/runc-v1.4.0", "oci://registry.example/base:v1"]);
    }
    if place.ends_with("conditions[].type") {
        return fixed(&["Ready", "example.org/Checked"]);
    }
    if place.ends_with("hostProcVolumePath") {
        return fixed(&["/proc", "/proc/1/root"]);
    }
    match schema["pattern"].as_str() {
        Some(pattern) => {
            let blank = pattern.starts_with("^$|");
            let bare = pattern.trim_start_matches("^$|").trim_start_matches('^').trim_end_matches('$');
            let min = if schema["minLength"].is_u64() { 1 } else { 0 };
            let max = schema["maxLength"].as_u64().map_or(usize::MAX, |n| n as usize);
            let matching = string_regex(bare)
                .unwrap_or_else(|e| panic!("{place}: {pattern}: {e}"))
                .prop_filter("of a good length", move |s| (min..=max).contains(&s.len()));
            if blank { prop_oneof![matching, Just(String::new())].boxed() } else { matching.boxed() }
        }
        None => "[ -~äß€]{1,12}".boxed(),
    }
}

/// Runs a property on generated documents of every kind in one of its versions.
///
/// A document the schema accepts may still say two contradicting things; such refusals are counted and must stay
/// a minority, so that the property is never vacuous.
fn for_generated(old: bool, property: impl Fn(Kind, Version, &Value) -> Result<(), Vec<Diagnostic>>) {
    for &kind in Kind::ALL {
        let version = if old { kind.old_version() } else { Version::V1 };
        let config =
            ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
        let cases = config.cases;
        let refused = std::cell::Cell::new(0);
        TestRunner::new(config)
            .run(&document(kind, version), |document| match property(kind, version, &document) {
                Ok(()) => Ok(()),
                Err(problems) => {
                    for problem in &problems {
                        // The old node status requires its node at one of two places, which no schema can say.
                        let nodeless = problem.path.to_string() == "spec.nodeName";
                        let two_bodies = problem.message.contains("both abstract and policy");
                        let no_file = problem.message.contains("the socket needs a file name");
                        let expected = problem.code == "contradiction" || nodeless || two_bodies || no_file;
                        prop_assert!(expected, "{problem}");
                    }
                    if refused.replace(refused.get() + 1) == 0
                        && std::env::var_os("SPO_SHOW_REFUSED").is_some()
                    {
                        eprintln!("{kind} {version}: {problems:?}");
                    }
                    Ok(())
                }
            })
            .unwrap_or_else(|e| panic!("{kind} {version}: {e}"));
        assert!(refused.get() * 4 <= cases * 3, "{kind} {version}: {} of {cases} refused", refused.get());
    }
}

#[test]
fn old_to_hub_to_old_is_the_identity() {
    for_generated(true, |_, version, document| {
        let decoded = decode(document)?;
        let back = encode(&decoded.object, version).expect("encodes");
        assert_eq!(without_nothing(&back), without_nothing(document), "hub: {:#?}", decoded.object);
        Ok(())
    });
}

#[test]
fn hub_to_old_to_hub_is_the_identity() {
    for_generated(false, |kind, _, document| {
        let hub = decode(document)?.object;
        let old = encode(&hub, kind.old_version()).expect("encodes");
        let back = decode(&old).unwrap_or_else(|e| panic!("{e:?}\n{old:#}")).object;
        assert_eq!(back, hub, "{old:#}");
        Ok(())
    });
}

#[test]
fn version_to_version_and_back_is_the_identity() {
    for_generated(true, |_, version, document| {
        let v1 = convert(document, Version::V1)?;
        let back = convert(&v1, version).unwrap_or_else(|e| panic!("{e:?}\n{v1:#}"));
        assert_eq!(without_nothing(&back), without_nothing(document), "{v1:#}");
        Ok(())
    });
}

#[test]
fn what_is_written_passes_the_schema_of_its_version() {
    for_generated(false, |kind, _, document| {
        let hub = decode(document)?.object;
        for version in kind.versions() {
            let written = encode(&hub, version).expect("encodes");
            let mut body = written.clone();
            for field in ["apiVersion", "kind"] {
                body.as_object_mut().expect("an object").remove(field);
            }
            let problems = schema::check(schema::of(kind, version), &body);
            assert!(problems.is_empty(), "{problems:?}\n{written:#}");
        }
        Ok(())
    });
}

#[test]
fn text_and_back_is_the_identity() {
    for_generated(true, |_, _, document| {
        let hub = decode(document)?.object;
        for text in [
            document.to_string(),
            serde_json::to_string_pretty(document).expect("JSON"),
            serde_saphyr::to_string(document).expect("YAML"),
        ] {
            let entries = manifest::read(&text, &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let [entry] = entries.as_slice() else { panic!("{} documents in\n{text}", entries.len()) };
            let manifest::Content::Object(decoded) = &entry.content else {
                panic!("{:?}\n{text}", entry.diagnostics)
            };
            assert_eq!(decoded.object, hub, "{text}");
        }
        Ok(())
    });
}

/// An edit of one visible field through the old version loses nothing that the old version does not show.
#[test]
fn an_edit_through_the_old_version_loses_nothing_hidden() {
    for_generated(false, |kind, _, document| {
        let hub = decode(document)?.object;
        let mut old = encode(&hub, kind.old_version()).expect("encodes");
        old["metadata"]["labels"]["edited"] = json!("yes");
        if kind == Kind::ProfileBinding {
            old["spec"]["image"] = json!("edited:1");
        }
        let back = decode(&old).unwrap_or_else(|e| panic!("{e:?}\n{old:#}")).object;
        let mut expected = encode(&hub, Version::V1).expect("encodes");
        expected["metadata"]["labels"]["edited"] = json!("yes");
        if kind == Kind::ProfileBinding {
            expected["spec"]["image"] = json!("edited:1");
        }
        assert_eq!(encode(&back, Version::V1).expect("encodes"), expected);
        Ok(())
    });
}

/// A document as Kubernetes sees it: without explicit nulls, and without an empty `spec` that stood for a
/// missing one.
fn without_nothing(document: &Value) -> Value {
    let mut document = document.clone();
    if document["metadata"]["annotations"].get(MEMORY).is_some() {
        panic!("the annotation must not be left in a document of its own version:\n{document:#}");
    }
    if document["spec"] == json!({})
        && let Some(fields) = document.as_object_mut()
    {
        fields.remove("spec");
    }
    document
}
