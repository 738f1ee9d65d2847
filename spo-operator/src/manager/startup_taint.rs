//! Nodes that join with a taint until their agent is ready: which of them can lose it.
//!
//! Pods that start on a new node before its agent has put the profiles there fail for want of them. A cluster can
//! register its nodes with the taint [`names::STARTUP_TAINT`], and a SPOD with `spec.scheduling.startupTaint` lets the
//! manager take it off. An agent is ready once it has looked at every profile and put on its node what belongs there; see
//! [`Condition::FirstRound`](crate::process::Condition::FirstRound).
//!
//! A node that is not ready keeps the taint: what the API server has of its pods may be of the machine before.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{ResourceExt, runtime::watcher::Event};
use serde_json::{Value, json};

use super::spod_status::Spod;
use crate::cluster::names;

/// What is known of SPODs, nodes and agents.
#[derive(Debug, Default)]
pub struct Taints {
    /// The SPODs that ask for it.
    spods: Known<()>,
    /// The nodes that are ready and have the taint.
    nodes: Known<()>,
    /// The agents that are ready, by the names of their pods.
    agents: Known<Agent>,
}

/// An agent that is ready.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Agent {
    node: String,
    spod: String,
}

impl Taints {
    /// Takes note of what the watch of SPODs says.
    pub fn spod(&mut self, event: Event<Value>) {
        let name = |spod: &Value| spod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.spods.told(event, name, |spod| asks(spod).then_some(()));
    }

    /// Takes note of what the watch of nodes says.
    pub fn node(&mut self, event: Event<Node>) {
        self.nodes
            .told(event, ResourceExt::name_any, |node| (is_ready(node) && has_taint(node)).then_some(()));
    }

    /// Takes note of what the watch of agents' pods says.
    pub fn agent(&mut self, event: Event<Pod>) {
        self.agents.told(event, ResourceExt::name_any, agent);
    }

    /// Whether any SPOD asks for it.
    pub fn is_asked(&self) -> bool {
        !self.spods.all.is_empty()
    }

    /// Forgets nodes and agents, which are not followed any more.
    pub fn forget(&mut self) {
        (self.nodes, self.agents) = Default::default();
    }

    /// Takes note that a node has lost the taint, before the watch says so.
    pub fn lost(&mut self, node: &str) {
        self.nodes.all.remove(node);
    }

    /// The nodes that can lose the taint.
    pub fn due(&self) -> Vec<String> {
        let counts = |agent: &&Agent| {
            self.spods.all.contains_key(&agent.spod) && self.nodes.all.contains_key(&agent.node)
        };
        let due: BTreeSet<&String> =
            self.agents.all.values().filter(counts).map(|agent| &agent.node).collect();
        due.into_iter().cloned().collect()
    }
}

/// The merge patch that takes the taint off a node and keeps every other; `None` if it has none. The API server refuses it
/// with a conflict if the node has changed meanwhile, because a list is patched as a whole.
pub fn patch(node: &Value) -> Option<Value> {
    let taints = node.pointer("/spec/taints")?.as_array()?;
    let rest: Vec<&Value> = taints.iter().filter(|taint| taint["key"] != names::STARTUP_TAINT).collect();
    if rest.len() == taints.len() {
        return None;
    }
    let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
    let version = node.pointer("/metadata/resourceVersion")?;
    Some(json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": rest } }))
}

/// What one watch has told, by name, as far as it is of interest.
#[derive(Debug)]
struct Known<T> {
    all: BTreeMap<String, T>,
    /// A list that is not complete yet; what it replaces is used until it is.
    list: BTreeMap<String, T>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), list: BTreeMap::new() }
    }
}

impl<T> Known<T> {
    fn told<K>(&mut self, event: Event<K>, name: impl Fn(&K) -> String, of: impl Fn(&K) -> Option<T>) {
        match event {
            Event::Init => self.list.clear(),
            Event::InitApply(object) => {
                if let Some(kept) = of(&object) {
                    self.list.insert(name(&object), kept);
                }
            }
            Event::InitDone => self.all = std::mem::take(&mut self.list),
            Event::Apply(object) => match of(&object) {
                Some(kept) => drop(self.all.insert(name(&object), kept)),
                None => drop(self.all.remove(&name(&object))),
            },
            Event::Delete(object) => drop(self.all.remove(&name(&object))),
        }
    }
}

fn asks(document: &Value) -> bool {
    let spod = Spod::of(document);
    let scheduling = spod.object.as_ref().ok().and_then(|spod| spod.spec.scheduling.as_ref());
    !spod.deleting && scheduling.is_some_and(|scheduling| scheduling.startup_taint == Some(true))
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn has_taint(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == names::STARTUP_TAINT)
}

/// A pod of the agents' DaemonSet that is ready to stay; the DaemonSet is called as its SPOD.
fn agent(pod: &Pod) -> Option<Agent> {
    let controls = |owner: &&OwnerReference| {
        owner.controller == Some(true) && owner.kind == "DaemonSet" && owner.api_version == "apps/v1"
    };
    let set = pod.metadata.owner_references.iter().flatten().find(controls)?;
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let node = pod.spec.as_ref()?.node_name.clone()?;
    Some(Agent { node, spod: set.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spod(name: &str, on: bool) -> Value {
        json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1",
            "kind": "SecurityProfilesOperatorDaemon", "metadata": { "name": name, "namespace": "spo" },
            "spec": { "scheduling": { "startupTaint": on } } })
    }

    fn node(name: &str, ready: &str, key: &str) -> Node {
        serde_json::from_value(json!({ "metadata": { "name": name },
            "spec": { "taints": [{ "key": key, "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] } }))
        .expect("a node")
    }

    fn pod(name: &str, node: &str, ready: &str, set: &str) -> Pod {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": set, "uid": "1",
            "controller": true });
        serde_json::from_value(json!({ "metadata": { "name": name, "ownerReferences": [owner] },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] } }))
        .expect("a pod")
    }

    fn with(nodes: Vec<Node>, pods: Vec<Pod>) -> Taints {
        let mut taints = Taints::default();
        taints.spod(Event::Apply(spod("spod", true)));
        nodes.into_iter().for_each(|node| taints.node(Event::Apply(node)));
        pods.into_iter().for_each(|pod| taints.agent(Event::Apply(pod)));
        taints
    }

    const TAINT: &str = names::STARTUP_TAINT;

    #[test]
    fn a_node_loses_the_taint_when_and_only_when_its_own_agent_is_ready() {
        let nodes = || vec![node("a", "True", TAINT), node("b", "True", TAINT)];
        assert_eq!(with(nodes(), vec![]).due(), [""; 0]);
        let mut taints = with(nodes(), vec![pod("x", "a", "False", "spod")]);
        assert_eq!(taints.due(), [""; 0]);
        taints.agent(Event::Apply(pod("x", "a", "True", "spod")));
        assert_eq!(taints.due(), ["a"]);
        taints.lost("a");
        assert_eq!(taints.due(), [""; 0]);
        // The node is made anew, and its agent has gone meanwhile.
        taints.agent(Event::Delete(pod("x", "a", "True", "spod")));
        taints.node(Event::Apply(node("a", "True", TAINT)));
        assert_eq!(taints.due(), [""; 0]);
    }

    #[test]
    fn what_is_no_agent_of_a_spod_that_asks_for_it_does_not_count() {
        let nodes = || vec![node("a", "True", TAINT)];
        assert_eq!(with(nodes(), vec![pod("x", "a", "True", "other")]).due(), [""; 0]);
        let mut alone = pod("x", "a", "True", "spod");
        alone.metadata.owner_references = None;
        let mut leaving = pod("x", "a", "True", "spod");
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2024-01-01T00:00:00Z")).expect("a time");
        for pod in [alone, leaving] {
            assert_eq!(with(nodes(), vec![pod]).due(), [""; 0]);
        }
        for (ready, key) in [("False", TAINT), ("Unknown", TAINT), ("True", "other")] {
            let taints = with(vec![node("a", ready, key)], vec![pod("x", "a", "True", "spod")]);
            assert_eq!(taints.due(), [""; 0], "{ready} {key}");
        }
        // Switched off again.
        let mut taints = with(nodes(), vec![pod("x", "a", "True", "spod")]);
        assert!(taints.is_asked() && taints.due() == ["a"]);
        taints.spod(Event::Apply(spod("spod", false)));
        assert!(!taints.is_asked() && taints.due().is_empty());
    }

    /// A watch that was interrupted begins with a list.
    #[test]
    fn what_a_list_does_not_name_is_gone_once_it_is_complete() {
        let mut taints = with(vec![node("a", "True", TAINT)], vec![pod("x", "a", "True", "spod")]);
        taints.agent(Event::Init);
        assert_eq!(taints.due(), ["a"], "half a list says nothing");
        taints.agent(Event::InitDone);
        assert_eq!(taints.due(), [""; 0]);
    }

    #[test]
    fn every_other_taint_stays_and_a_node_that_has_changed_is_not_patched() {
        let ours = |effect: &str| json!({ "key": TAINT, "effect": effect });
        let other = json!({ "key": "other", "effect": "NoExecute", "timeAdded": "2024-01-01T00:00:00Z" });
        let node =
            |taints: Value| json!({ "metadata": { "resourceVersion": "7" }, "spec": { "taints": taints } });
        let some = patch(&node(json!([ours("NoSchedule"), other, ours("NoExecute")])));
        assert_eq!(
            some,
            Some(json!({ "metadata": { "resourceVersion": "7" }, "spec": { "taints": [other] } }))
        );
        let last = patch(&node(json!([ours("NoSchedule")]))).expect("a patch");
        assert_eq!(last["spec"], json!({ "taints": null }));
        assert_eq!(patch(&node(json!([other]))), None);
        assert_eq!(patch(&json!({ "metadata": { "resourceVersion": "7" }, "spec": {} })), None);
    }
}
