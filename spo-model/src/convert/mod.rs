//! Reading a document of any version into the hub, writing the hub as a document of any version.
//!
//! ```text
//! document ──schema check──► document ──lift──► v1 document ──remembered fields──► v1 document ──serde──► hub
//!     hub  ──serde──► v1 document ──lower──► document ──remembered spelling, hidden fields──► document
//! ```
//!
//! What a version cannot show travels in one annotation ([`MEMORY`]), per version as a list of places: what the
//! document shows there and what belongs there. It comes back wherever the visible value has not changed, so a
//! client that edits the old version loses only what it overwrites. The spelling of an old document (`disabled:
//! true` instead of `state: Disabled`) is kept the same way.

mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use memory::MEMORY;

use crate::{
    diagnostic::{Diagnostic, FieldPath, PathSegment},
    kind::{GROUP, Kind, Version, retired},
    object::AnyObject,
    schema, served,
};
use memory::Memory;

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The object in the hub form.
    pub object: AnyObject,
    /// The version it was written in.
    pub version: Version,
    /// Whether the kind was spelled `ApparmorProfile`.
    pub alias_kind: bool,
}

/// Whether a document is of our group, so that [`decode`] has to be able to read it.
pub fn is_ours(document: &Value) -> bool {
    let group = document.get("apiVersion").and_then(Value::as_str).and_then(|v| v.split_once('/'));
    group.is_some_and(|(group, _)| group == GROUP)
}

/// Reads a document of any kind and version of the group.
///
/// # Errors
/// All problems at once: unknown kind or version, fields that the version's schema does not have or whose value
/// it does not accept, fields that contradict each other.
pub fn decode(document: &Value) -> Result<Decoded, Vec<Diagnostic>> {
    let (kind, version, alias_kind) = identify(document).map_err(|d| vec![d])?;
    let mut body = document.clone();
    drop_nulls(&mut body);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
        if !fields.contains_key("spec") && schema::may_lack_spec(kind, version) {
            fields.insert("spec".to_owned(), Value::Object(Map::new()));
        }
    }
    check(kind, version, &body)?;
    let mut memory = Memory::take(&mut body).map_err(|d| vec![d])?;
    let original = body.clone();
    served::lift(kind, version, &mut body)?;
    if version != Version::V1 {
        let shown = visible(kind, version, &body);
        if memory.restore(Version::V1, &mut body) {
            check(kind, Version::V1, &body)?;
            if visible(kind, version, &body) != shown {
                return Err(vec![memory::forged(version)]);
            }
        } else {
            check(kind, Version::V1, &body)?;
        }
    }
    let mut object = read(kind, body)?;
    memory.forget(Version::V1);
    remember_spelling(&mut memory, &object, version, &original);
    memory.store(object.metadata_mut());
    Ok(Decoded { object, version, alias_kind })
}

/// Writes an object as a document of a version.
///
/// # Errors
/// [`EncodeError::NotServed`] if the kind has no such version.
pub fn encode(object: &AnyObject, version: Version) -> Result<Value, EncodeError> {
    let kind = object.kind();
    if !kind.versions().contains(&version) {
        return Err(EncodeError::NotServed { kind, version });
    }
    let mut full = object.to_body()?;
    let mut memory = Memory::take(&mut full).unwrap_or_default();
    memory.forget(Version::V1);
    let mut shown = full.clone();
    served::lower(kind, version, &mut shown);
    if version != Version::V1 {
        let mut visible = shown.clone();
        // What is written out of v1 reads back without contradiction: nothing was moved or flagged.
        if served::lift(kind, version, &mut visible).is_ok() {
            normalise(kind, &mut visible);
            memory.remember(Version::V1, &visible, &full);
        }
    }
    if version != Version::V1 {
        respell(&memory, kind, version, &mut shown);
    }
    memory.forget(version);
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), Value::from(format!("{GROUP}/{version}")));
    document.insert("kind".to_owned(), Value::from(kind.as_str()));
    memory.write(&mut shown);
    if let Value::Object(fields) = shown {
        document.extend(fields);
    }
    Ok(Value::Object(document))
}

/// Writes a document in another version.
///
/// # Errors
/// As [`decode`]; a version that the kind has not is a problem of code `version`.
pub fn convert(document: &Value, to: Version) -> Result<Value, Vec<Diagnostic>> {
    let decoded = decode(document)?;
    let mut converted = encode(&decoded.object, to)
        .map_err(|e| vec![Diagnostic::error("version", FieldPath::of("apiVersion"), e.to_string())])?;
    if decoded.alias_kind {
        converted["kind"] = Value::from("ApparmorProfile");
    }
    Ok(converted)
}

/// Why an object cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The kind has no such version.
    #[error("{kind} is not served in version {version}, only in {} and {}", kind.versions()[0], kind.versions()[1])]
    NotServed {
        /// The kind.
        kind: Kind,
        /// The version.
        version: Version,
    },
    /// The object does not fit JSON.
    #[error("the object cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

fn identify(document: &Value) -> Result<(Kind, Version, bool), Diagnostic> {
    let text = |field: &str| match document.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(Diagnostic::error("type", FieldPath::of(field), format!("{field} is no text"))),
        None => Err(Diagnostic::error("required", FieldPath::of(field), format!("{field} is missing"))
            .with_help(format!("every manifest has an apiVersion such as {GROUP}/v1 and a kind"))),
    };
    let (api_version, kind_text) = (text("apiVersion")?, text("kind")?);
    let path = FieldPath::of("apiVersion");
    let Some((GROUP, version_text)) = api_version.split_once('/') else {
        let message = format!("{:?} is not of group {GROUP}", crate::diagnostic::shorten(api_version));
        return Err(Diagnostic::error("group", path, message));
    };
    let kind: Kind = kind_text
        .parse()
        .map_err(|e: crate::UnknownWord| Diagnostic::error("kind", FieldPath::of("kind"), e.to_string()))?;
    let served = kind.versions();
    match served.iter().find(|v| v.as_str() == version_text) {
        Some(&version) => Ok((kind, version, kind_text != kind.as_str())),
        None => {
            let message = format!("{kind} has no version {:?}", crate::diagnostic::shorten(version_text));
            let help = retired(kind, version_text)
                .map_or_else(|| format!("accepted: {}, {}", served[0], served[1]), str::to_owned);
            Err(Diagnostic::error("version", path, message).with_help(help))
        }
    }
}

fn check(kind: Kind, version: Version, body: &Value) -> Result<(), Vec<Diagnostic>> {
    let problems = schema::check(schema::of(kind, version), body);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn read(kind: Kind, body: Value) -> Result<AnyObject, Vec<Diagnostic>> {
    AnyObject::from_body(kind, body).map_err(|error| {
        use serde_path_to_error::Segment;
        let path = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(PathSegment::Index(*index)),
                Segment::Map { key } => Some(PathSegment::Key(key.clone())),
                Segment::Enum { variant } => Some(PathSegment::Key(variant.clone())),
                Segment::Unknown => None,
            })
            .collect();
        vec![Diagnostic::error("value", path, error.inner().to_string())]
    })
}

/// Keeps how an old document spelled things where writing it anew would spell them otherwise.
fn remember_spelling(memory: &mut Memory, object: &AnyObject, version: Version, original: &Value) {
    memory.forget(version);
    if version == Version::V1 {
        return;
    }
    let Ok(mut canonical) = object.to_body() else { return };
    served::lower(object.kind(), version, &mut canonical);
    memory.remember(version, &canonical, original);
}

/// Spells a document as it was spelled when it was read, if that still means the same.
fn respell(memory: &Memory, kind: Kind, version: Version, shown: &mut Value) {
    let mut spelled = shown.clone();
    if !memory.restore(version, &mut spelled) {
        return;
    }
    let mut read_back = spelled.clone();
    if served::lift(kind, version, &mut read_back).is_err() {
        return;
    }
    let mut plain = shown.clone();
    if served::lift(kind, version, &mut plain).is_err() {
        return;
    }
    normalise(kind, &mut read_back);
    normalise(kind, &mut plain);
    if read_back == plain && schema::check(schema::of(kind, version), &spelled).is_empty() {
        *shown = spelled;
    }
}

/// What a version shows of a v1 document, as v1 reads it. What is judged by somebody who sees only that version (a policy
/// of the API server, a webhook) must be what is stored: the annotation, which any client can write, changes none of it.
fn visible(kind: Kind, version: Version, body: &Value) -> Value {
    let mut shown = body.clone();
    served::lower(kind, version, &mut shown);
    // What is written out of v1 reads back without contradiction.
    if served::lift(kind, version, &mut shown).is_ok() {
        normalise(kind, &mut shown);
    }
    drop_empty(&mut shown);
    shown
}

/// An object that holds nothing but what the version hides is one that it does not show.
fn drop_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(drop_empty);
        fields.retain(|_, value| value.as_object().is_none_or(|fields| !fields.is_empty()));
    }
}

/// Brings a v1 document into the form in which the hub writes it: defaults filled in, values in canonical
/// spelling.
fn normalise(kind: Kind, body: &mut Value) {
    if let Ok(object) = AnyObject::from_body(kind, body.clone())
        && let Ok(canonical) = object.to_body()
    {
        *body = canonical;
    }
}

/// Kubernetes reads an explicit null as an absent field.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, v| !v.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
