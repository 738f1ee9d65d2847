//! The check of a document against a schema: all problems at once.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::diagnostic::{Diagnostic, FieldPath, shorten};

/// Everything in a document that its schema does not accept.
pub(crate) fn check(schema: &Value, document: &Value) -> Vec<Diagnostic> {
    let mut problems = Problems::default();
    object(schema, document, &FieldPath::root(), &mut problems);
    problems.list
}

/// What was found so far, and the patterns met so far: a list of a million names is checked with one expression.
#[derive(Default)]
struct Problems {
    list: Vec<Diagnostic>,
    patterns: HashMap<String, Option<regex_lite::Regex>>,
}

impl Problems {
    fn push(&mut self, problem: Diagnostic) {
        self.list.push(problem);
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether a text matches a pattern. Patterns are our own, so one that does not compile is a defect a unit test
    /// finds.
    fn matches(&mut self, pattern: &str, text: &str) -> bool {
        if !self.patterns.contains_key(pattern) {
            self.patterns.insert(pattern.to_owned(), regex_lite::Regex::new(pattern).ok());
        }
        self.patterns[pattern].as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// More problems than a person reads are cut off.
const MOST: usize = 100;

fn value(schema: &Value, document: &Value, path: &FieldPath, problems: &mut Problems) {
    if problems.len() >= MOST {
        return;
    }
    if let Some(inner) = schema.get("x-spo-text-or") {
        if !document.is_string() {
            value(inner, document, path, problems);
        }
        return;
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true) {
        return;
    }
    let wanted = if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        "integer or text"
    } else {
        schema["type"].as_str().unwrap_or_default()
    };
    let fits = match wanted {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "integer" => is_integer(document),
        "integer or text" => is_integer(document) || document.is_string(),
        _ => true,
    };
    if !fits {
        let message = format!("want {}, found {}", article(wanted), describe(document));
        let mut problem = Diagnostic::error("type", path.clone(), message);
        if wanted == "string" && !document.is_object() && !document.is_array() {
            problem = problem.with_help(format!("put it in quotes: \"{document}\""));
        }
        problems.push(problem);
        return;
    }
    match document {
        Value::Object(_) => object(schema, document, path, problems),
        Value::Array(elements) => array(schema, elements, path, problems),
        Value::String(content) => text(schema, content, path, problems),
        Value::Number(_) => number(schema, document, path, problems),
        _ => {}
    }
}

fn object(schema: &Value, document: &Value, path: &FieldPath, problems: &mut Problems) {
    let Some(fields) = document.as_object() else {
        problems.push(Diagnostic::error(
            "type",
            path.clone(),
            format!("want an object, found {}", describe(document)),
        ));
        return;
    };
    let properties = schema["properties"].as_object();
    let others = schema.get("additionalProperties").filter(|s| s.is_object());
    let is_root = path.is_root();
    for (key, field) in fields {
        if problems.len() >= MOST {
            return;
        }
        let place = path.key(key);
        match (properties.and_then(|p| p.get(key)), others) {
            (Some(schema), _) => value(schema, field, &place, problems),
            (None, Some(schema)) => value(schema, field, &place, problems),
            (None, None) if is_root && key == "metadata" => {}
            (None, None) => {
                let known: Vec<&str> =
                    properties.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
                let mut problem = Diagnostic::error(
                    "unknown-field",
                    place,
                    format!("there is no field {:?} here", shorten(key)),
                );
                if let Some(near) = nearest(key, &known) {
                    problem = problem.with_help(format!("did you mean {near:?}?"));
                } else if !known.is_empty() && known.len() <= 12 {
                    problem = problem.with_help(format!("the fields are {}", known.join(", ")));
                }
                problems.push(problem);
            }
        }
    }
    for field in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(field) {
            problems.push(Diagnostic::error("required", path.key(field), format!("{field} is missing")));
        }
    }
}

fn array(schema: &Value, elements: &[Value], path: &FieldPath, problems: &mut Problems) {
    let limit = |word: &str| schema[word].as_u64().and_then(|n| usize::try_from(n).ok());
    if limit("minItems").is_some_and(|min| elements.len() < min) {
        problems.push(Diagnostic::error(
            "length",
            path.clone(),
            "the list is empty, want at least one element",
        ));
    }
    if let Some(max) = limit("maxItems").filter(|&max| elements.len() > max) {
        let message = format!("the list has {} elements, want at most {max}", elements.len());
        problems.push(Diagnostic::error("length", path.clone(), message));
    }
    for (i, element) in elements.iter().enumerate() {
        value(&schema["items"], element, &path.index(i), problems);
    }
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => repeats(elements, path, problems, |element| Some(element.to_string())),
        Some("map") => {
            let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            repeats(elements, path, problems, |element| {
                Some(keys.iter().map(|&key| format!("{} ", element[key])).collect())
            });
        }
        _ => {}
    }
}

fn repeats(
    elements: &[Value],
    path: &FieldPath,
    problems: &mut Problems,
    identity: impl Fn(&Value) -> Option<String>,
) {
    let mut seen = HashSet::new();
    for (i, element) in elements.iter().enumerate() {
        if problems.len() >= MOST {
            return;
        }
        if identity(element).is_some_and(|id| !seen.insert(id)) {
            let message = format!("{} stands in the list twice", describe(element));
            problems
                .push(Diagnostic::error("duplicate", path.index(i), message).with_help("remove one of them"));
        }
    }
}

fn text(schema: &Value, text: &str, path: &FieldPath, problems: &mut Problems) {
    if text.is_empty() && schema["x-spo-blank"] == Value::Bool(true) {
        return;
    }
    if let Some(words) = schema["enum"].as_array() {
        let any_case = schema["x-spo-any-case"] == Value::Bool(true);
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if !words.iter().any(|w| *w == text || any_case && w.eq_ignore_ascii_case(text)) {
            let accepted: Vec<&str> = words.iter().copied().filter(|w| !w.is_empty()).collect();
            let message = format!("unknown value {:?}, accepted: {}", shorten(text), accepted.join(", "));
            let mut problem = Diagnostic::error("unknown-value", path.clone(), message);
            if let Some(near) = nearest(text, &accepted) {
                problem = problem.with_help(format!("did you mean {near:?}?"));
            }
            problems.push(problem);
        }
    }
    let length = text.chars().count();
    let limit = |word: &str| schema[word].as_u64().and_then(|n| usize::try_from(n).ok());
    if limit("minLength").is_some_and(|min| length < min) {
        problems.push(Diagnostic::error("length", path.clone(), "the text is empty"));
    } else if let Some(max) = limit("maxLength").filter(|&max| length > max) {
        let message = format!("the text has {length} characters, want at most {max}");
        problems.push(Diagnostic::error("length", path.clone(), message));
    } else if let Some(pattern) = schema["pattern"].as_str()
        && !problems.matches(pattern, text)
    {
        let message = format!("{:?} does not match {pattern}", shorten(text));
        problems.push(Diagnostic::error("pattern", path.clone(), message));
    }
}

fn number(schema: &Value, number: &Value, path: &FieldPath, problems: &mut Problems) {
    let wide = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let Some(found) = wide(number) else { return };
    let (min, max) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    #[allow(clippy::cast_precision_loss, reason = "limits are small; a number near 2^63 compares the same")]
    let real = found as f64;
    if min.is_some_and(|min| real < min) || max.is_some_and(|max| real > max) {
        let range = match (min, max) {
            (Some(min), Some(max)) => format!("from {min} to {max}"),
            (Some(min), None) => format!("of at least {min}"),
            (None, Some(max)) => format!("of at most {max}"),
            (None, None) => String::new(),
        };
        problems.push(Diagnostic::error(
            "range",
            path.clone(),
            format!("{found} is out of range, want a number {range}"),
        ));
    } else if schema["format"] == "int32" && i32::try_from(found).is_err() {
        let message = format!("{found} does not fit 32 bits");
        problems.push(Diagnostic::error("range", path.clone(), message));
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn article(word: &str) -> String {
    match word {
        "array" => "a list".to_owned(),
        "string" => "text".to_owned(),
        "object" | "integer" => format!("an {word}"),
        "integer or text" => "an integer or text".to_owned(),
        _ => format!("a {word}"),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {:?}", shorten(s)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The word that differs least, if it differs little.
fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let budget = (text.len() / 4).clamp(1, 3);
    words
        .iter()
        .map(|word| (distance(&text.to_ascii_lowercase(), &word.to_ascii_lowercase()), *word))
        .filter(|(distance, _)| *distance <= budget)
        .min()
        .map(|(_, word)| word)
}

/// The Levenshtein distance of two texts in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{kind::Kind, schema};

    /// A pattern that does not compile would accept every text.
    #[test]
    fn every_pattern_compiles() {
        fn walk(schema: &Value, found: &mut usize) {
            match schema {
                Value::Object(fields) => {
                    if let Some(Value::String(pattern)) = fields.get("pattern") {
                        assert!(regex_lite::Regex::new(pattern).is_ok(), "{pattern}");
                        *found += 1;
                    }
                    fields.values().for_each(|value| walk(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let mut found = 0;
        for &kind in Kind::ALL {
            for version in kind.versions() {
                walk(schema::of(kind, version), &mut found);
            }
        }
        assert!(found > 20, "only {found} patterns");
    }
}
