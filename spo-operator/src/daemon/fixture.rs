//! What the tests of the agent begin with.

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use spo_model::{kind::Kind, names::ProfileKey, status::ProfileState};

use super::{agent::Standing, kept::Kept, plan::Subject};
use crate::cluster::{
    resource::Resource,
    watch::{Cache, Watch},
};

pub(super) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": kind,
        "metadata": { "name": name, "namespace": "production", "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": spec,
    })
}

pub(super) fn profile(name: &str, syscalls: &[&str]) -> Value {
    let rules = json!([{ "action": "SCMP_ACT_ALLOW", "names": syscalls }]);
    object("SeccompProfile", name, &json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }))
}

/// A cache that was told of these.
pub(super) fn cache(documents: &[Value]) -> Cache<Kept> {
    let settings = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
    let watches = Resource::PROFILES.into_iter().chain([settings]);
    let watches: Vec<Watch> = watches.map(|resource| Watch { resource, namespace: None }).collect();
    let mut cache = Cache::new(watches.clone());
    for watch in watches {
        cache.apply((watch.clone(), Event::Init));
        for document in documents {
            let kind = document["kind"].as_str().expect("a kind");
            if Resource::of_spelling(kind) == Some(watch.resource) {
                cache.apply((watch.clone(), Event::InitApply(document.clone())));
            }
        }
        cache.apply((watch, Event::InitDone));
    }
    cache
}

pub(super) fn subject(resource: Resource, name: &str) -> Subject {
    Subject {
        resource,
        key: ProfileKey::new(Some("production"), name).expect("a key"),
        uid: format!("uid-{name}"),
        generation: 1,
        deleting: false,
        created: String::new(),
    }
}

pub(super) fn standing(name: &str, state: ProfileState, message: Option<&str>) -> Standing {
    let subject = subject(Resource::Of(Kind::SeccompProfile), name);
    Standing { subject, state, message: message.map(str::to_owned), reason: None }
}
