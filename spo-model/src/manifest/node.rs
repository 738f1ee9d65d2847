//! The tree of a YAML text, every value with its place.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Number, Value};

use super::{
    Limits,
    scalar::{self, Scalar},
};
use crate::diagnostic::{Diagnostic, FieldPath, PathSegment, Span};

/// One document of a text: a tree of values with their places.
#[derive(Clone, Debug)]
pub struct Document {
    root: Rc<Node>,
}

impl Document {
    /// The document as JSON.
    pub fn to_value(&self) -> Value {
        self.root.to_value()
    }

    /// Where the document is.
    pub fn span(&self) -> Span {
        self.root.span
    }

    /// Where the value at a path is, or the nearest value around it that exists.
    pub fn span_of(&self, path: &FieldPath) -> Span {
        self.find(path).0
    }

    /// Where a finding about this document is: at the key for a field that should not be there, else at the
    /// value.
    pub fn locate(&self, diagnostic: &Diagnostic) -> Span {
        let (value, key) = self.find(&diagnostic.path);
        match key {
            Some(key) if diagnostic.code == "unknown-field" => key,
            _ => value,
        }
    }

    /// The finding with its place in the text that this document came from.
    ///
    /// A finding about raw policy text that has a place in that text is moved to where the text stands in the
    /// manifest.
    #[must_use]
    pub fn place(&self, mut diagnostic: Diagnostic, text: &str) -> Diagnostic {
        let body = self.raw_body(&diagnostic.path);
        diagnostic.span = Some(match (diagnostic.span, body) {
            (Some(inner), Some(node)) => within_block(node.span, inner, text),
            (None, Some(node)) => node.span,
            (_, None) => self.locate(&diagnostic),
        });
        diagnostic
    }

    /// The raw text of a profile if a path means it, under whichever name the document has it.
    fn raw_body(&self, path: &FieldPath) -> Option<&Rc<Node>> {
        let is_body = *path == FieldPath::of("spec.policy") || *path == FieldPath::of("spec.profile");
        let spec = self.root.field("spec").filter(|_| is_body)?;
        spec.field("policy").or_else(|| spec.field("profile"))
    }

    /// The span of the value at a path and of its key; where the path ends early, of the last value there is.
    fn find(&self, path: &FieldPath) -> (Span, Option<Span>) {
        let mut node = &self.root;
        let mut key_span = None;
        for segment in path.segments() {
            let next = match (segment, &node.data) {
                (PathSegment::Key(key), Data::Map(fields)) => {
                    fields.iter().find(|f| f.key == *key).map(|f| (&f.value, Some(f.span)))
                }
                (PathSegment::Index(index), Data::List(elements)) => elements.get(*index).map(|e| (e, None)),
                _ => None,
            };
            let Some((next, key)) = next else {
                // Something is missing here: point at the key of the object that lacks it.
                return (key_span.unwrap_or(node.span), key_span);
            };
            (node, key_span) = (next, key);
        }
        (node.span, key_span)
    }
}

/// Reads the documents of a text. Empty documents are left out; the items of a `List` are documents of their
/// own.
///
/// # Errors
/// The first thing that is no YAML, a key that stands twice in one object, or a broken limit.
pub fn documents(text: &str, limits: &Limits) -> Result<Vec<Document>, Diagnostic> {
    if text.len() > limits.bytes {
        let message = format!("the text has {} bytes, at most {} are read", text.len(), limits.bytes);
        return Err(Diagnostic::error("too-large", FieldPath::root(), message)
            .with_help("split it into several files"));
    }
    let mut builder = Builder {
        places: Places::of(text),
        limits,
        stack: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
    };
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, span.start, span.end)?,
            Err(error) => {
                let message = format!("no YAML: {}", error.info());
                let span = builder.places.span(*error.marker(), *error.marker());
                return Err(Diagnostic::error("syntax", FieldPath::root(), message).with_span(span));
            }
        }
    }
    Ok(builder.documents.into_iter().flat_map(items).map(|root| Document { root }).collect())
}

/// A value and where it is.
#[derive(Clone, Debug)]
struct Node {
    span: Span,
    /// How many values this one consists of once aliases are expanded.
    size: usize,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    key: String,
    span: Span,
    value: Rc<Node>,
}

impl Node {
    fn to_value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(b) => Value::Bool(*b),
            Data::Number(n) => Value::Number(n.clone()),
            Data::Text(s) => Value::String(s.clone()),
            Data::List(elements) => Value::Array(elements.iter().map(|e| e.to_value()).collect()),
            Data::Map(fields) => Value::Object(
                fields.iter().map(|f| (f.key.clone(), f.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    fn field(&self, key: &str) -> Option<&Rc<Node>> {
        match &self.data {
            Data::Map(fields) => fields.iter().find(|f| f.key == key).map(|f| &f.value),
            _ => None,
        }
    }
}

struct Builder<'l> {
    places: Places,
    limits: &'l Limits,
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    documents: Vec<Rc<Node>>,
}

/// A list or object whose end has not come yet.
struct Open {
    start: Marker,
    anchor: usize,
    size: usize,
    data: OpenData,
}

enum OpenData {
    List(Vec<Rc<Node>>),
    Map {
        fields: Vec<Field>,
        /// The line of every key there is.
        lines: HashMap<String, u32>,
        key: Option<(String, Span, bool)>,
        merged: Vec<Rc<Node>>,
    },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, start: Marker, end: Marker) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix.clone());
                let plain = style == ScalarStyle::Plain;
                let is_merge = plain && text == "<<" && tag.is_none();
                let span = self.places.span(start, end);
                // A key is text, whatever it looks like.
                let is_key =
                    matches!(self.stack.last(), Some(Open { data: OpenData::Map { key: None, .. }, .. }));
                let plain = plain && !is_key;
                let data = match scalar::resolve(text.into_owned(), plain, tag.as_deref()) {
                    Ok(Scalar::Null) => Data::Null,
                    Ok(Scalar::Bool(b)) => Data::Bool(b),
                    Ok(Scalar::Number(n)) => Data::Number(n),
                    Ok(Scalar::Text(s)) => Data::Text(s),
                    Err(message) => {
                        return Err(Diagnostic::error("syntax", FieldPath::root(), message).with_span(span));
                    }
                };
                self.add(Rc::new(Node { span, size: 1, data }), anchor, is_merge)?;
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.error(
                        "syntax",
                        "an alias refers to a value that contains it",
                        start,
                        end,
                    ));
                };
                self.add(node, 0, false)?;
            }
            Event::SequenceStart(anchor, _) => self.open(OpenData::List(Vec::new()), anchor, start, end)?,
            Event::MappingStart(anchor, _) => {
                let data = OpenData::Map {
                    fields: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(data, anchor, start, end)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(end)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, data: OpenData, anchor: usize, start: Marker, end: Marker) -> Result<(), Diagnostic> {
        if self.stack.len() >= self.limits.depth {
            let message = format!("lists and objects are nested more than {} deep", self.limits.depth);
            return Err(self.error("too-deep", &message, start, end));
        }
        self.stack.push(Open { start, anchor, size: 1, data });
        Ok(())
    }

    fn close(&mut self, end: Marker) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let span = self.places.span(open.start, end);
        let data = match open.data {
            OpenData::List(elements) => Data::List(elements),
            OpenData::Map { mut fields, mut lines, merged, .. } => {
                for node in merged {
                    merge(&mut fields, &mut lines, &node);
                }
                Data::Map(fields)
            }
        };
        self.add(Rc::new(Node { span, size: open.size, data }), open.anchor, false)
    }

    /// Puts a finished value to where it belongs.
    fn add(&mut self, node: Rc<Node>, anchor: usize, is_merge: bool) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let limit = self.limits.values;
        let Some(open) = self.stack.last_mut() else {
            if !matches!(node.data, Data::Null) {
                self.documents.push(node);
            }
            return Ok(());
        };
        open.size = open.size.saturating_add(node.size);
        if open.size > limit {
            let message = format!("the document has more than {limit} values once its aliases are expanded");
            return Err(Diagnostic::error("too-many-values", FieldPath::root(), message).with_span(node.span));
        }
        match &mut open.data {
            OpenData::List(elements) => elements.push(node),
            OpenData::Map { lines, key: key @ None, .. } => {
                let Data::Text(text) = &node.data else {
                    let problem = Diagnostic::error("syntax", FieldPath::root(), "a key has to be text");
                    return Err(problem.with_span(node.span));
                };
                let text = text.clone();
                if let Some(first) = lines.insert(text.clone(), node.span.line).filter(|_| !is_merge) {
                    let message =
                        format!("the key {:?} stands here twice", crate::diagnostic::shorten(&text));
                    let help = format!("it stands in line {first} first; remove one of them");
                    return Err(Diagnostic::error("duplicate-key", FieldPath::root(), message)
                        .with_help(help)
                        .with_span(node.span));
                }
                *key = Some((text, node.span, is_merge));
            }
            OpenData::Map { fields, key, merged, .. } => {
                if let Some((key, span, is_merge)) = key.take() {
                    match (&node.data, is_merge) {
                        (Data::Map(_), true) => merged.push(node),
                        (Data::List(nodes), true) => merged.extend(nodes.iter().cloned()),
                        _ => fields.push(Field { key, span, value: node }),
                    }
                }
            }
        }
        Ok(())
    }

    fn error(&self, code: &str, message: &str, start: Marker, end: Marker) -> Diagnostic {
        Diagnostic::error(code, FieldPath::root(), message).with_span(self.places.span(start, end))
    }
}

/// Where a place in the content of a literal block scalar is in the text around it. In a scalar of another style, the
/// scalar itself is the place.
fn within_block(block: Span, inner: Span, text: &str) -> Span {
    // The span of a block scalar starts at its content, behind the indentation of the first line.
    let indent = block.column.saturating_sub(1) as usize;
    let Some(first_line) = block.start.checked_sub(indent) else { return block };
    let header = text.get(..first_line).and_then(|before| before.lines().next_back()).unwrap_or_default();
    let indicator =
        header.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'));
    if !indicator.ends_with('|') {
        return block;
    }
    let mut start = first_line;
    for _ in 1..inner.line {
        start += text.get(start..).and_then(|t| t.find('\n')).map_or(0, |end| end + 1);
    }
    let column = inner.column as usize - 1 + indent;
    let line = text.get(start..).unwrap_or_default();
    let byte = line.char_indices().nth(column).map_or(line.len(), |(i, _)| i);
    let length = inner.end.saturating_sub(inner.start);
    let end = (start + byte + length).min(text.len());
    Span {
        start: start + byte,
        end: if text.is_char_boundary(end) { end } else { start + byte },
        line: block.line + inner.line - 1,
        column: inner.column + u32::try_from(indent).unwrap_or(0),
    }
}

/// A merge key adds the fields that are not there yet.
fn merge(fields: &mut Vec<Field>, lines: &mut HashMap<String, u32>, from: &Node) {
    if let Data::Map(others) = &from.data {
        for other in others {
            if !lines.contains_key(&other.key) {
                lines.insert(other.key.clone(), other.span.line);
                fields.push(other.clone());
            }
        }
    }
}

/// The objects of a list as `kubectl get -o yaml` prints it, or the object itself.
fn items(root: Rc<Node>) -> Vec<Rc<Node>> {
    let is_list =
        matches!(root.field("kind").map(|k| &k.data), Some(Data::Text(kind)) if kind.ends_with("List"));
    match root.field("items").map(|items| &items.data) {
        Some(Data::List(elements)) if is_list => elements.clone(),
        _ => vec![root],
    }
}

/// From the parser's character positions to byte offsets.
struct Places {
    /// The byte offset of every character, empty for ASCII text where both are the same.
    bytes: Vec<u32>,
    length: usize,
}

impl Places {
    fn of(text: &str) -> Self {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(i, _)| u32::try_from(i).unwrap_or(u32::MAX)).collect()
        };
        Self { bytes, length: text.len() }
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        Span {
            start: self.byte(start.index()),
            end: self.byte(end.index().max(start.index())),
            line: u32::try_from(start.line()).unwrap_or(u32::MAX),
            column: u32::try_from(start.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn byte(&self, index: usize) -> usize {
        if self.bytes.is_empty() {
            return index.min(self.length);
        }
        self.bytes.get(index).map_or(self.length, |&b| b as usize)
    }
}
