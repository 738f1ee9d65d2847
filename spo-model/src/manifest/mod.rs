//! Reading manifests: text with one or more YAML or JSON documents, every problem with its line and column.
//!
//! ```text
//! text ──yaml events──► node tree with spans ──► documents ──decode, validate──► entries
//! ```
//!
//! Text is untrusted: its size, the depth of its nesting and what its aliases expand to are limited, and a
//! document that breaks a limit is an error before any memory is spent on it.

mod node;
mod scalar;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use node::{Document, documents};

use crate::{
    convert::{self, Decoded},
    diagnostic::{Diagnostic, FieldPath, Severity, Span},
    validate::validate,
};

/// How much a text may demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Nested lists and objects.
    pub depth: usize,
    /// Values of one document after its aliases are expanded.
    pub values: usize,
}

impl Default for Limits {
    /// 32 MiB, 64 levels, 2,000,000 values: more than any API server takes.
    fn default() -> Self {
        Self { bytes: 32 << 20, depth: 64, values: 2_000_000 }
    }
}

/// One document of a manifest.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the document says about itself: `kind`, empty if it says nothing.
    pub kind: String,
    /// `metadata.name`, empty if there is none.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// Where the document is.
    pub span: Span,
    /// What it is.
    pub content: Content,
    /// Everything found about it, in the order of the text. An error means that it must not be used.
    pub diagnostics: Vec<Diagnostic>,
}

impl Entry {
    /// Whether one of the findings is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// What a document is.
#[derive(Clone, Debug)]
pub enum Content {
    /// An object of our group. Look at the entry's diagnostics before using it.
    Object(Box<Decoded>),
    /// An object of another group, for example a Pod.
    Foreign,
    /// Nothing that can be read; the entry's diagnostics say why.
    Unreadable,
}

/// Reads every document of a text: decoded, validated, every finding with its place.
///
/// # Errors
/// A text that is no YAML, or that exceeds a limit: then nothing of it is used.
pub fn read(text: &str, limits: &Limits) -> Result<Vec<Entry>, Diagnostic> {
    Ok(documents(text, limits)?.iter().map(entry).collect())
}

fn entry(document: &Document) -> Entry {
    let value = document.to_value();
    let (content, mut diagnostics) = inspect(&value);
    for diagnostic in &mut diagnostics {
        diagnostic.span = diagnostic.span.or_else(|| Some(document.locate(diagnostic)));
    }
    diagnostics.sort_by_key(|d| d.span.map_or(0, |s| s.start));
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(crate::diagnostic::shorten);
    Entry {
        kind: text("/kind").unwrap_or_default(),
        name: text("/metadata/name").unwrap_or_default(),
        namespace: text("/metadata/namespace"),
        span: document.span(),
        content,
        diagnostics,
    }
}

fn inspect(value: &Value) -> (Content, Vec<Diagnostic>) {
    if !value.is_object() {
        let problem = Diagnostic::error("type", FieldPath::root(), "the document is no object")
            .with_help("a manifest starts with apiVersion and kind");
        return (Content::Unreadable, vec![problem]);
    }
    let has_identity = value["apiVersion"].is_string() && value["kind"].is_string();
    if has_identity && !convert::is_ours(value) {
        return (Content::Foreign, Vec::new());
    }
    match convert::decode(value) {
        Ok(decoded) => {
            let diagnostics = validate(&decoded.object);
            (Content::Object(Box::new(decoded)), diagnostics)
        }
        Err(problems) => (Content::Unreadable, problems),
    }
}
