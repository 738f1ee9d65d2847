//! What versions cannot show, in one annotation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    diagnostic::{Diagnostic, FieldPath},
    kind::Version,
    object::Metadata,
};

/// The annotation: JSON, per version a list of places.
pub const MEMORY: &str = "security-profiles-operator.x-k8s.io/conversion";

/// Per version what belongs into its documents and other versions cannot show.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    versions: BTreeMap<String, Vec<Place>>,
    /// Whether the document had annotations at all, so that an emptied map goes only if we made it.
    had_annotations: bool,
}

/// One place: a JSON pointer, what other versions make of it, and what belongs there. With `from`, what belongs there
/// is what other versions have in another place, whatever it is by now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    full: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl Memory {
    /// Takes the annotation out of a document.
    pub(super) fn take(document: &mut Value) -> Result<Self, Diagnostic> {
        let Some(Value::Object(annotations)) = document.pointer_mut("/metadata/annotations") else {
            return Ok(Self::default());
        };
        let Some(text) = annotations.remove(MEMORY) else {
            return Ok(Self { had_annotations: true, ..Self::default() });
        };
        let others = !annotations.is_empty();
        if !others && let Some(Value::Object(metadata)) = document.get_mut("metadata") {
            metadata.remove("annotations");
        }
        let versions = text.as_str().map(serde_json::from_str).and_then(Result::ok).ok_or_else(|| {
            Diagnostic::error(
                "conversion-annotation",
                FieldPath::of("metadata.annotations").key(MEMORY),
                "the annotation is not what a conversion wrote",
            )
            .with_help("remove the annotation; fields that this version cannot show are lost with it")
        })?;
        Ok(Self { versions, had_annotations: others })
    }

    /// Notes where `full`, what belongs into documents of the version, differs from `shown`, what other versions
    /// make of it. Metadata is the same in all versions and is left out.
    pub(super) fn remember(&mut self, version: Version, shown: &Value, full: &Value) {
        let mut places = Vec::new();
        difference(shown, full, &mut String::new(), &mut places);
        places.retain(|place| place.path != "/metadata" && !place.path.starts_with("/metadata/"));
        pair_moves(&mut places);
        if places.is_empty() {
            self.forget(version);
        } else {
            self.versions.insert(version.to_string(), places);
        }
    }

    /// Puts what belongs into documents of the version wherever the document still shows what was noted. Says
    /// whether it changed anything.
    pub(super) fn restore(&self, version: Version, document: &mut Value) -> bool {
        let mut changed = false;
        for place in self.versions.get(version.as_str()).into_iter().flatten() {
            if let Some(from) = &place.from {
                if document.pointer(&place.path).is_none()
                    && let Some(value) = document.pointer(from).cloned()
                {
                    changed |= put(document, from, None) && put(document, &place.path, Some(value));
                }
                continue;
            }
            changed |= document.pointer(&place.path) == place.shown.as_ref()
                && put(document, &place.path, place.full.clone());
        }
        changed
    }

    /// Drops what was noted for a version.
    pub(super) fn forget(&mut self, version: Version) {
        self.versions.remove(version.as_str());
    }

    /// Writes the annotation into a document.
    pub(super) fn write(&self, document: &mut Value) {
        if let Some(text) = self.text()
            && let Some(fields) = document.as_object_mut()
            && let Value::Object(metadata) =
                fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()))
            && let Value::Object(annotations) =
                metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()))
        {
            annotations.insert(MEMORY.to_owned(), Value::from(text));
        }
    }

    /// Writes the annotation into the hub's metadata.
    pub(super) fn store(&self, metadata: &mut Metadata) {
        match self.text() {
            Some(text) => {
                metadata.annotations.get_or_insert_default().insert(MEMORY.to_owned(), text);
            }
            None if !self.had_annotations
                && metadata.annotations.as_ref().is_some_and(BTreeMap::is_empty) =>
            {
                metadata.annotations = None;
            }
            None => {}
        }
    }

    fn text(&self) -> Option<String> {
        if self.versions.is_empty() { None } else { serde_json::to_string(&self.versions).ok() }
    }
}

/// What an annotation gets that says something else than a version shows: no conversion writes that.
pub(super) fn forged(version: Version) -> Diagnostic {
    Diagnostic::error(
        "conversion-annotation",
        FieldPath::of("metadata.annotations").key(MEMORY),
        format!("the annotation would change what {version} shows, which is for the fields themselves"),
    )
    .with_help("remove the annotation, or write the object in v1")
}

/// Lists the smallest places in which `full` differs from `shown`.
fn difference(shown: &Value, full: &Value, path: &mut String, places: &mut Vec<Place>) {
    let length = path.len();
    match (shown, full) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                match (a.get(key), b.get(key)) {
                    (Some(shown), Some(full)) => difference(shown, full, path, places),
                    (shown, full) => {
                        places.push(Place {
                            path: path.clone(),
                            shown: shown.cloned(),
                            full: full.cloned(),
                            from: None,
                        });
                    }
                }
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (shown, full)) in a.iter().zip(b).enumerate() {
                path.push_str(&format!("/{i}"));
                difference(shown, full, path, places);
                path.truncate(length);
            }
        }
        _ if shown == full => {}
        _ => places.push(Place {
            path: path.clone(),
            shown: Some(shown.clone()),
            full: Some(full.clone()),
            from: None,
        }),
    }
}

/// Turns a value that is gone in one place and stands in another into a move, so that a long policy text is not in the
/// annotation twice.
fn pair_moves(places: &mut Vec<Place>) {
    let gone: Vec<(String, Value)> = places
        .iter()
        .filter(|place| place.full.is_none())
        .filter_map(|place| Some((place.path.clone(), place.shown.clone()?)))
        .collect();
    for (from, value) in gone {
        let target = places
            .iter_mut()
            .find(|p| p.shown.is_none() && p.from.is_none() && p.full.as_ref() == Some(&value));
        if let Some(target) = target {
            (target.full, target.from) = (None, Some(from.clone()));
            places.retain(|place| place.path != from);
        }
    }
}

/// Sets or removes the value at a JSON pointer, making objects on the way.
fn put(document: &mut Value, pointer: &str, value: Option<Value>) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    let mut place = document;
    for segment in parent.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let next = match place {
            Value::Object(object) => {
                if value.is_some() && !object.contains_key(&segment) {
                    object.insert(segment.clone(), Value::Object(Map::new()));
                }
                object.get_mut(&segment)
            }
            Value::Array(list) => segment.parse::<usize>().ok().and_then(|i| list.get_mut(i)),
            _ => None,
        };
        let Some(next) = next else { return false };
        place = next;
    }
    match (place, value) {
        (Value::Object(object), Some(value)) => {
            object.insert(key, value);
            true
        }
        (Value::Object(object), None) => object.remove(&key).is_some(),
        (Value::Array(list), Some(value)) => match key.parse::<usize>().ok().and_then(|i| list.get_mut(i)) {
            Some(element) => {
                *element = value;
                true
            }
            None => false,
        },
        _ => false,
    }
}
