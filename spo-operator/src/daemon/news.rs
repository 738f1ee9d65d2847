//! What of all that watches tell is news to an agent.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use kube::runtime::watcher;
use serde_json::Value;
use spo_node::kernel::Lsm;

use super::kept::is_in_use;
use crate::cluster::watch::{Watch, identity};

/// What was told of each object, as far as an agent cares: a manager writes the status of a profile once for each
/// node that gets it, and each time every agent hears of it.
#[derive(Debug, Default)]
pub struct Seen(HashMap<u64, u64>);

impl Seen {
    /// Takes note of an event; whether the agent has something to do because of it.
    pub fn is_news(&mut self, watch: &Watch, event: &watcher::Event<Value>) -> bool {
        let id = |document: &Value| digest(&(watch.resource, identity(document)));
        match event {
            watcher::Event::Init | watcher::Event::InitDone => true,
            watcher::Event::InitApply(document) => {
                self.0.insert(id(document), print(watch, document));
                true
            }
            watcher::Event::Apply(document) => {
                let print = print(watch, document);
                self.0.insert(id(document), print) != Some(print)
            }
            watcher::Event::Delete(document) => {
                self.0.remove(&id(document));
                true
            }
        }
    }
}

/// Stands for all of an object that an agent reads; a generation stands for a whole spec.
///
/// Whether pods use a profile matters where the kernel has it: taking it away would free them.
fn print(watch: &Watch, document: &Value) -> u64 {
    let field = |name: &str| document.get("metadata").and_then(|m| m.get(name)).map(ToString::to_string);
    let in_use = Lsm::of(watch.resource.kind()).is_some() && is_in_use(document);
    digest(&(["uid", "generation", "deletionTimestamp", "labels"].map(field), in_use))
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
    use crate::{cluster::resource::Resource, daemon::fixture::profile};

    /// The status of a profile changes once for each node; no agent has to look at its host for that.
    #[test]
    fn a_new_status_is_no_news() {
        let watch = Watch { resource: Resource::Of(Kind::SeccompProfile), namespace: None };
        let mut seen = Seen::default();
        let mut document = profile("web", &["read"]);
        let mut news = |document: &Value| seen.is_news(&watch, &watcher::Event::Apply(document.clone()));
        assert!(news(&document));
        document["status"] = json!({ "status": "Installed" });
        document["metadata"]["resourceVersion"] = json!("7");
        document["metadata"]["finalizers"] = json!(["x"]);
        assert!(!news(&document));
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
    fn whether_pods_use_it_is_news_where_the_kernel_has_it() {
        for (kind, news) in [(Kind::SeccompProfile, false), (Kind::AppArmorProfile, true)] {
            let watch = Watch { resource: Resource::Of(kind), namespace: None };
            let (mut seen, mut document) = (Seen::default(), profile("web", &["read"]));
            seen.is_news(&watch, &watcher::Event::Apply(document.clone()));
            document["metadata"]["finalizers"] = json!(["in-use-by-active-pods"]);
            assert_eq!(seen.is_news(&watch, &watcher::Event::Apply(document)), news, "{kind}");
        }
    }
}
