//! The envelope: AdmissionReview of `admission.k8s.io/v1` and `v1beta1`, in and out.
//!
//! ```text
//! bytes ──Review::read──► request ──a handler──► answer ──Review::answer──► bytes
//! ```
//!
//! Both versions have the same fields; the answer has the version of the question.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::warnings::Warnings;

/// A question of the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    api_version: String,
    /// What is asked.
    pub request: Request,
}

/// What is about to happen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Identifies the question.
    pub uid: String,
    /// The resource.
    #[serde(default)]
    pub resource: Resource,
    /// The part of it, empty for the object itself.
    #[serde(default)]
    pub sub_resource: String,
    /// The namespace, empty for objects without one.
    #[serde(default)]
    pub namespace: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// The object as it will be; null on deletion.
    #[serde(default)]
    pub object: Value,
    /// The object as it is; null on creation.
    #[serde(default)]
    pub old_object: Value,
}

/// A resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Resource {
    /// The API group, empty for the core.
    #[serde(default)]
    pub group: String,
    /// The version.
    #[serde(default)]
    pub version: String,
    /// The lower-case plural.
    #[serde(default)]
    pub resource: String,
}

impl Request {
    /// Whether it is about a part of pods in an operation.
    pub fn is_about_pods(&self, sub_resource: &str, operation: &str) -> bool {
        let of = |resource: &Resource| resource.group.is_empty() && resource.resource == "pods";
        of(&self.resource) && self.sub_resource == sub_resource && self.operation == operation
    }
}

impl Review {
    /// Reads a question.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no AdmissionReview with a request.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (api_version, request) = envelope(bytes, "AdmissionReview", &VERSIONS)?;
        let request: Request =
            serde_json::from_str(request.get()).map_err(|e| Malformed::Request(e.to_string()))?;
        if request.uid.is_empty() {
            return Err(Malformed::Request("the uid is empty".to_owned()));
        }
        Ok(Self { api_version, request })
    }

    /// The bytes that answer the question.
    ///
    /// # Errors
    /// Only if the patch is no JSON.
    pub fn answer(&self, answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
        let mut response = Map::new();
        response.insert("uid".to_owned(), json!(self.request.uid));
        response.insert("allowed".to_owned(), json!(answer.refusal.is_none()));
        if let Some(refusal) = &answer.refusal {
            let status = json!({
                "status": "Failure", "code": refusal.code, "reason": refusal.reason, "message": refusal.message,
            });
            response.insert("status".to_owned(), status);
        } else if let Some(patch) = answer.patch.as_ref().filter(|patch| !patch.0.is_empty()) {
            response.insert("patchType".to_owned(), json!("JSONPatch"));
            response.insert("patch".to_owned(), json!(base64(&serde_json::to_vec(patch)?)));
        }
        let warnings = presentable(&answer.warnings);
        if !warnings.is_empty() {
            response.insert("warnings".to_owned(), json!(warnings));
        }
        if !answer.audit.is_empty() {
            response.insert("auditAnnotations".to_owned(), json!(answer.audit));
        }
        serde_json::to_vec(
            &json!({ "apiVersion": self.api_version, "kind": "AdmissionReview", "response": response }),
        )
    }
}

/// What a handler decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why the request is refused; `None` lets it through.
    pub refusal: Option<Refusal>,
    /// What is changed in the object.
    pub patch: Option<json_patch::Patch>,
    /// What the client is told; shortened and counted when the answer is written.
    pub warnings: Vec<String>,
    /// What the audit log is told.
    pub audit: BTreeMap<String, String>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The reason word of `metav1.Status`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Answer {
    /// Lets the request through as it is.
    pub fn allow() -> Self {
        Self::default()
    }

    /// Refuses what somebody may not do.
    pub fn forbid(message: impl Into<String>) -> Self {
        Self::refuse(403, "Forbidden", message)
    }

    /// Refuses what cannot work.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::refuse(422, "Invalid", message)
    }

    fn refuse(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let message = clip(&message.into(), MESSAGE_LENGTH);
        Self { refusal: Some(Refusal { code, reason, message }), ..Self::default() }
    }
}

/// Why bytes are no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They are no JSON.
    #[error("the body is no JSON: {0}")]
    Json(String),
    /// They are something else.
    #[error("the body is no {wanted}: apiVersion {api_version:?}, kind {kind:?}")]
    Other {
        /// What was expected.
        wanted: &'static str,
        /// What the body says.
        api_version: String,
        /// What the body says.
        kind: String,
    },
    /// They hold no request that can be read.
    #[error("the request cannot be read: {0}")]
    Request(String),
}

/// Finds the request in a review, without reading it.
pub(super) fn envelope<'a>(
    bytes: &'a [u8],
    wanted: &'static str,
    versions: &[&str],
) -> Result<(String, &'a RawValue), Malformed> {
    // serde_json ends at a nesting of 128, so no body overflows the stack.
    let body: &RawValue = serde_json::from_slice(bytes).map_err(|e| Malformed::Json(e.to_string()))?;
    let review: Envelope<'_> = match body.get().starts_with('{') {
        true => serde_json::from_str(body.get()).map_err(|e| Malformed::Json(e.to_string()))?,
        false => Envelope::default(),
    };
    let text = |field: Option<&RawValue>| {
        let text: Option<String> = field.and_then(|field| serde_json::from_str(field.get()).ok());
        clip(&text.unwrap_or_default(), 80)
    };
    let (api_version, kind) = (text(review.api_version), text(review.kind));
    if kind != wanted || !versions.contains(&api_version.as_str()) {
        return Err(Malformed::Other { wanted, api_version, kind });
    }
    match review.request.filter(|request| request.get().starts_with('{')) {
        Some(request) => Ok((api_version, request)),
        None => Err(Malformed::Request("there is none".to_owned())),
    }
}

/// A review, as text: what is parsed takes much more memory.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    api_version: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// A text of at most `limit` bytes.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub("…".len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
const MESSAGE_LENGTH: usize = 8 << 10;

/// Warnings as a client gets them, from whoever collected them.
fn presentable(warnings: &[String]) -> Vec<String> {
    let mut collected = Warnings::default();
    for text in warnings {
        collected.push(format_args!("{text}"));
    }
    collected.into_lines()
}

/// RFC 4648, with padding, which the API server's decoder asks for.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn review(value: &Value) -> Result<Review, Malformed> {
        Review::read(value.to_string().as_bytes())
    }

    #[test]
    fn the_answer_has_the_version_and_the_uid_of_the_question() {
        for version in VERSIONS {
            let review = review(&json!({"apiVersion": version, "kind": "AdmissionReview",
                                        "request": {"uid": "u1", "operation": "CREATE"}}));
            let bytes = review.expect("a review").answer(&Answer::allow()).expect("JSON");
            let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
            let response = json!({"uid": "u1", "allowed": true});
            assert_eq!(
                answer,
                json!({"apiVersion": version, "kind": "AdmissionReview", "response": response})
            );
        }
    }

    #[test]
    fn what_is_no_question_is_told_why() {
        let told = |value: Value| review(&value).expect_err("malformed").to_string();
        assert!(Review::read(b"{").expect_err("malformed").to_string().starts_with("the body is no JSON"));
        assert!(told(json!([])).contains("no AdmissionReview"));
        assert!(
            told(json!({"apiVersion": "admission.k8s.io/v9", "kind": "AdmissionReview"}))
                .contains("admission.k8s.io/v9")
        );
        let request = |request: Value| {
            told(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}))
        };
        assert!(request(Value::Null).contains("there is none"));
        assert!(request(json!({"operation": "CREATE"})).contains("uid"));
        assert!(request(json!({"uid": "", "operation": "CREATE"})).contains("uid"));
        let deep = "[".repeat(100_000);
        assert!(Review::read(deep.as_bytes()).is_err(), "nesting ends, the stack does not");
    }

    #[test]
    fn a_refusal_carries_no_patch() {
        let question = Review {
            api_version: VERSIONS[0].to_owned(),
            request: Request { uid: "u".into(), ..Request::default() },
        };
        let answer =
            Answer { patch: Some(json_patch::diff(&json!({}), &json!({"a": 1}))), ..Answer::forbid("no") };
        let bytes = question.answer(&answer).expect("JSON");
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(value["response"]["allowed"], json!(false));
        assert_eq!(value["response"]["status"]["message"], json!("no"));
        assert!(value["response"].get("patch").is_none());
    }

    #[test]
    fn base64_of_the_standard() {
        // The vectors of RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Review::read(&bytes);
        }
    }
}
