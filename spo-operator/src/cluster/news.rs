//! What of all that watches tell is news to who reads only a part of each object.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use kube::runtime::watcher;
use serde_json::Value;

use super::watch::{Watch, identity};

/// What was told of each object, as far as anybody cares: a manager writes the status of a profile once for each
/// node that gets it, and each time every process hears of it.
#[derive(Debug)]
pub struct Seen {
    prints: HashMap<u64, u64>,
    also: Also,
}

/// What is read of an object besides its spec and metadata.
pub type Also = fn(&Watch, &Value) -> Vec<Option<String>>;

impl Seen {
    /// Cares for spec and metadata, and for this.
    pub fn and(also: Also) -> Self {
        Self { prints: HashMap::new(), also }
    }

    /// Takes note of an event; whether there is something to do because of it.
    pub fn is_news(&mut self, watch: &Watch, event: &watcher::Event<Value>) -> bool {
        let id = |document: &Value| digest(&(watch.resource, identity(document)));
        match event {
            watcher::Event::Init | watcher::Event::InitDone => true,
            watcher::Event::InitApply(document) => {
                let print = self.print(watch, document);
                self.prints.insert(id(document), print);
                true
            }
            watcher::Event::Apply(document) => {
                let print = self.print(watch, document);
                self.prints.insert(id(document), print) != Some(print)
            }
            watcher::Event::Delete(document) => {
                self.prints.remove(&id(document));
                true
            }
        }
    }

    /// Stands for all of an object that is read.
    fn print(&self, watch: &Watch, document: &Value) -> u64 {
        let metadata = ["uid", "generation", "deletionTimestamp", "labels"];
        let metadata = metadata.map(|name| document.get("metadata").and_then(|m| m.get(name)));
        let metadata = metadata.map(|field| field.map(ToString::to_string));
        digest(&(of_spec(document), metadata, (self.also)(watch, document)))
    }
}

/// Stands for the spec of an object, within this process. Its generation does not: the API server counts it in the version
/// of the request, and what that version hides changes without it.
pub fn of_spec(document: &Value) -> u64 {
    digest(&document.get("spec").map(Value::to_string))
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spo_model::kind::Kind;

    use super::*;
    use crate::cluster::resource::Resource;

    fn profile() -> Value {
        json!({ "metadata": { "namespace": "production", "name": "web", "uid": "1", "generation": 1 } })
    }

    /// The status of a profile changes once for each node; no agent has to look at its host for that.
    #[test]
    fn a_new_status_is_no_news() {
        let watch = Watch { resource: Resource::Of(Kind::SeccompProfile), namespace: None };
        let mut seen = Seen::and(|_, _| Vec::new());
        let mut document = profile();
        let mut news = |document: &Value| seen.is_news(&watch, &watcher::Event::Apply(document.clone()));
        assert!(news(&document));
        document["status"] = json!({ "status": "Installed" });
        document["metadata"]["resourceVersion"] = json!("7");
        document["metadata"]["finalizers"] = json!(["x"]);
        assert!(!news(&document));
        // By a request in an old version that does not show the field.
        document["spec"] = json!({ "onConflict": "Deny" });
        assert!(news(&document), "spec");
        for (field, value) in [
            ("generation", json!(2)),
            ("labels", json!({ "spo.x-k8s.io/partial": "" })),
            ("deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("uid", json!("another")),
        ] {
            document["metadata"][field] = value;
            assert!(news(&document), "{field}");
        }
        seen.is_news(&watch, &watcher::Event::Delete(document.clone()));
        assert!(seen.is_news(&watch, &watcher::Event::Apply(document)), "it came back");
    }

    #[test]
    fn what_else_is_read_is_news() {
        let watch = Watch { resource: Resource::Of(Kind::SeccompProfile), namespace: None };
        let mut seen =
            Seen::and(|_, document| vec![document.pointer("/status/status").map(Value::to_string)]);
        let mut document = profile();
        let mut news = |document: &Value| seen.is_news(&watch, &watcher::Event::Apply(document.clone()));
        assert!(news(&document));
        document["status"] = json!({ "nodes": "1/2" });
        assert!(!news(&document));
        document["status"] = json!({ "nodes": "2/2", "status": "Installed" });
        assert!(news(&document));
    }
}
