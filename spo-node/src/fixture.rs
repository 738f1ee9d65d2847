//! What the tests begin with.

use serde_json::{Value, json};
use spo_model::{convert::decode, object::AnyObject};

/// An object called `web` in the namespace `production`.
pub(crate) fn object(kind: &str, spec: Value) -> AnyObject {
    let document = json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": kind,
        "metadata": { "name": "web", "namespace": "production" }, "spec": spec,
    });
    decode(&document).expect("an object").object
}
