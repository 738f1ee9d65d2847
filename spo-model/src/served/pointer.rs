//! Places in a document by dotted path; a segment `[]` stands for every list element, `[3]` for one.

use serde_json::{Map, Value};

/// The value at a path without wildcards.
pub(crate) fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    segments(path).try_fold(document, |value, segment| match index(segment) {
        Some(index) => value.get(index),
        None => value.get(segment),
    })
}

/// The value at a path without wildcards, to change it.
pub(crate) fn at_mut<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    segments(path).try_fold(document, |value, segment| match index(segment) {
        Some(index) => value.get_mut(index),
        None => value.get_mut(segment),
    })
}

/// The paths without wildcards that a path stands for and that exist.
pub(crate) fn each(document: &Value, path: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for segment in segments(path) {
        found = found
            .into_iter()
            .flat_map(|prefix| match segment {
                "[]" => {
                    let elements = at(document, &prefix).and_then(Value::as_array).map_or(0, Vec::len);
                    (0..elements).map(|i| format!("{prefix}[{i}]")).collect::<Vec<_>>()
                }
                key => {
                    let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
                    if at(document, &path).is_some() { vec![path] } else { Vec::new() }
                }
            })
            .collect();
    }
    found
}

/// Takes the value at a path out of its object. An object that becomes empty stays.
pub(crate) fn remove(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = split_last(path);
    at_mut(document, parent)?.as_object_mut()?.remove(key)
}

/// Puts a value to a path, making the objects on the way; where something else than an object is on the
/// way, nothing happens.
pub(crate) fn insert(document: &mut Value, path: &str, value: Value) {
    let (parent, key) = split_last(path);
    let mut place = document;
    for segment in segments(parent) {
        let next = match index(segment) {
            Some(index) => place.get_mut(index),
            None => place
                .as_object_mut()
                .map(|object| object.entry(segment).or_insert_with(|| Value::Object(Map::new()))),
        };
        let Some(next) = next else { return };
        place = next;
    }
    if let Some(object) = place.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The keys and bracketed indices of a path in order.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').flat_map(|part| {
        let (key, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        let key = (!key.is_empty()).then_some(key);
        key.into_iter().chain(indices.split_inclusive(']').filter(|s| !s.is_empty()))
    })
}

fn split_last(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn index(segment: &str) -> Option<usize> {
    segment.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}
