//! Objects and requests for the tests of the decisions.

use serde_json::{Value, json};
use spo_model::{convert::decode, kind::Scope, object::AnyObject};

use super::{
    index::{Index, Settings},
    review::{Answer, Request, Resource},
};

pub(super) const GROUP: &str = "security-profiles-operator.x-k8s.io";

/// An object from its document.
pub(super) fn object(document: &Value) -> AnyObject {
    match decode(document) {
        Ok(decoded) => decoded.object,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// An object of v1 in the namespace `production`.
pub(super) fn own(kind: &str, name: &str, spec: &Value) -> AnyObject {
    object(&document(kind, name, spec))
}

/// Its document.
pub(super) fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
           "metadata": {"name": name, "namespace": "production"}, "spec": spec})
}

pub(super) fn settings() -> Settings {
    Settings {
        operator_namespace: "security-profiles-operator".parse().expect("a name"),
        scope: Scope::Namespaced,
    }
}

pub(super) fn index<'a>(objects: impl IntoIterator<Item = &'a AnyObject>) -> Index {
    Index::new(settings(), objects, [])
}

/// A request about a pod of the namespace `production`.
pub(super) fn create(pod: &Value) -> Request {
    Request {
        uid: "8b0c7a3e".to_owned(),
        resource: Resource { group: String::new(), version: "v1".to_owned(), resource: "pods".to_owned() },
        namespace: "production".to_owned(),
        operation: "CREATE".to_owned(),
        object: pod.clone(),
        ..Request::default()
    }
}

/// The object after its patch.
pub(super) fn patched(request: &Request, answer: &Answer) -> Value {
    assert_eq!(answer.refusal, None);
    let mut object = request.object.clone();
    if let Some(patch) = &answer.patch {
        json_patch::patch(&mut object, patch).expect("the patch applies");
    }
    object
}

/// The message of a refusal.
pub(super) fn refused(answer: &Answer) -> &str {
    let refusal = answer.refusal.as_ref().expect("refused");
    assert_eq!(answer.patch, None, "what is refused is not changed");
    &refusal.message
}
