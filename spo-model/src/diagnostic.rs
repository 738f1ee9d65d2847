//! What is wrong with a document, where, and what to do about it.
//!
//! One rule, three audiences: the library returns [`Diagnostic`]s as data, the command line frames them
//! with the source line, the operator puts them into conditions and events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One finding about one place of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// Stable identifier of the rule, in kebab case, for example `unknown-syscall`.
    pub code: String,
    /// How bad it is. Only [`Severity::Error`] stops a profile from being used.
    pub severity: Severity,
    /// The field at fault, for example `spec.syscalls[2].names[0]`; empty for the document as a whole.
    pub path: FieldPath,
    /// What is wrong, naming the value at fault. Lower case, no trailing period.
    pub message: String,
    /// The way out, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where in the text the finding is, when the document came from text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Diagnostic {
    /// An error: the document must not be used.
    pub fn error(code: impl Into<String>, path: FieldPath, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, path, message)
    }

    /// A warning: the document is used, but its author should look at it.
    pub fn warning(code: impl Into<String>, path: FieldPath, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, path, message)
    }

    /// A finding of any severity, without help or span.
    pub fn new(
        severity: Severity,
        code: impl Into<String>,
        path: FieldPath,
        message: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), severity, path, message: message.into(), help: None, span: None }
    }

    /// The same finding with a line that says what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same finding with its place in the text.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = self.span {
            write!(f, "{}:{}: ", span.line, span.column)?;
        }
        write!(f, "{}[{}]: ", self.severity, self.code)?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

/// How bad a [`Diagnostic`] is; the order is ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not what the author meant.
    Warning,
    /// Cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A place in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset behind the last byte.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte in characters, from 1.
    pub column: u32,
}

/// The place of a value in a document: a sequence of object keys and list indices.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<PathSegment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// A key of an object.
    Key(String),
    /// An index of a list, from 0.
    Index(usize),
}

impl FieldPath {
    /// The document itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a dotted text such as `spec.syscalls`, one key per dot.
    pub fn of(dotted: &str) -> Self {
        Self(dotted.split('.').filter(|s| !s.is_empty()).map(|s| PathSegment::Key(s.to_owned())).collect())
    }

    /// This path followed by an object key.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(PathSegment::Key(key.into()))
    }

    /// This path followed by a list index.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(PathSegment::Index(index))
    }

    /// This path followed by one more step.
    #[must_use]
    pub fn with(&self, segment: PathSegment) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment);
        Self(segments)
    }

    /// Whether this is the document itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[PathSegment] {
        &self.0
    }

    /// The path without its last step, `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

impl FromIterator<PathSegment> for FieldPath {
    fn from_iter<I: IntoIterator<Item = PathSegment>>(segments: I) -> Self {
        Self(segments.into_iter().collect())
    }
}

impl fmt::Display for FieldPath {
    /// Keys joined by dots, keys that are not plain words in `["…"]`, indices in `[…]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Key(key) if is_plain(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                PathSegment::Key(key) => write!(f, "[{key:?}]")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_path(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a field path")))
    }
}

/// At most 80 characters of a text that came from outside, so that messages stay readable.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn parse_path(text: &str) -> Option<FieldPath> {
    let mut segments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            if inner.starts_with('"') {
                let mut values = serde_json::Deserializer::from_str(inner).into_iter::<String>();
                segments.push(PathSegment::Key(values.next()?.ok()?));
                rest = inner[values.byte_offset()..].strip_prefix(']')?;
            } else {
                let (index, after) = inner.split_once(']')?;
                segments.push(PathSegment::Index(index.parse().ok()?));
                rest = after;
            }
        } else {
            let word = rest.strip_prefix('.').unwrap_or(rest);
            let end = word.find(['.', '[']).unwrap_or(word.len());
            if end == 0 {
                return None;
            }
            segments.push(PathSegment::Key(word[..end].to_owned()));
            rest = &word[end..];
        }
    }
    Some(FieldPath(segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_and_parse() {
        let path = FieldPath::of("spec.allow").key("http_port_t").key("a.b").index(3).key("x");
        assert_eq!(path.to_string(), r#"spec.allow.http_port_t["a.b"][3].x"#);
        assert_eq!(parse_path(&path.to_string()), Some(path));
    }

    #[test]
    fn a_diagnostic_names_place_rule_field_and_way_out() {
        let span = Span { start: 10, end: 14, line: 3, column: 5 };
        let d =
            Diagnostic::error("unknown-syscall", FieldPath::of("spec.names").index(0), "no syscall \"opne\"")
                .with_help("did you mean \"open\"?")
                .with_span(span);
        assert_eq!(
            d.to_string(),
            "3:5: error[unknown-syscall]: spec.names[0]: no syscall \"opne\" (did you mean \"open\"?)"
        );
    }
}
