//! On which nodes an agent runs: what the DaemonSet controller decides, from the DaemonSet and the node alone.
//!
//! The existing operator compares the number of reports with a number in the DaemonSet's status, so a node that is not
//! ready, gone, or not selected any more stops everything. Here membership is a set of names.
//!
//! The rules are those of `pkg/controller/daemon` of Kubernetes: node selector, required node affinity, and taints
//! against tolerations, to which the controller adds some of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// What of a node is of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints that keep pods away: key, value, effect.
    pub taints: Vec<(String, String, String)>,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// When it joined, in seconds since 1970.
    pub created: Option<i64>,
}

/// Two DaemonSets of agents, by name, and the nodes that both are meant to run on.
pub type Overlaps = BTreeMap<(String, String), Vec<Box<str>>>;

/// The nodes that several DaemonSets are meant to run on.
pub fn overlaps<'a>(
    agents: &[(&'a str, &'a PodSpec)],
    nodes: impl Iterator<Item = &'a NodeFacts>,
) -> Overlaps {
    let mut found = Overlaps::new();
    if agents.len() < 2 {
        return found;
    }
    for node in nodes {
        let on: Vec<&str> =
            agents.iter().filter(|(_, template)| runs_on(template, node)).map(|(name, _)| *name).collect();
        for (i, one) in on.iter().enumerate() {
            for other in on.iter().skip(i + 1) {
                let pair = ((*one).to_owned(), (*other).to_owned());
                found.entry(pair).or_default().push(node.name.as_str().into());
            }
        }
    }
    found
}

impl NodeFacts {
    /// Of a node.
    pub fn of(node: Node) -> Self {
        let spec = node.spec.unwrap_or_default();
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let keeps_away = |taint: &Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        let taints = spec.taints.into_iter().flatten().filter(keeps_away);
        Self {
            created: node.metadata.creation_timestamp.map(|time| time.0.as_second()),
            name: node.metadata.name.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            taints: taints.map(|taint| (taint.key, taint.value.unwrap_or_default(), taint.effect)).collect(),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        }
    }
}

/// Whether pods of a DaemonSet with this template are meant to run on a node.
pub fn runs_on(template: &PodSpec, node: &NodeFacts) -> bool {
    is_selected(template, node)
        && node.taints.iter().all(|(key, value, effect)| {
            let own = template.tolerations.iter().flatten();
            own.into_iter().any(|toleration| tolerates(toleration, key, value, effect))
                || is_tolerated_by_default(template, key, effect)
        })
}

/// Whether a pod of a DaemonSet with this template stays on a node if it is there already: a taint that keeps only new
/// pods away does not end it.
pub fn stays_on(template: &PodSpec, node: &NodeFacts) -> bool {
    let ends = |(_, _, effect): &&(String, String, String)| effect == "NoExecute";
    let taints = node.taints.iter().filter(ends).cloned().collect();
    runs_on(template, &NodeFacts { taints, ..node.clone() })
}

fn is_selected(template: &PodSpec, node: &NodeFacts) -> bool {
    if template.node_name.as_ref().is_some_and(|name| !name.is_empty() && *name != node.name) {
        return false;
    }
    let selector = template.node_selector.iter().flatten();
    if selector.into_iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
        return false;
    }
    let affinity = template.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// A term without any requirement matches no node.
fn matches(term: &NodeSelectorTerm, node: &NodeFacts) -> bool {
    let mut expressions = term.match_expressions.iter().flatten().peekable();
    let mut fields = term.match_fields.iter().flatten().peekable();
    if expressions.peek().is_none() && fields.peek().is_none() {
        return false;
    }
    expressions.all(|wanted| is_met(wanted, node.labels.get(&wanted.key).map(String::as_str)))
        && fields.all(|wanted| wanted.key == "metadata.name" && is_met(wanted, Some(&node.name)))
}

fn is_met(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|wanted| wanted == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let than = || Some((number(value?)?, number(values.first()?)?));
    match wanted.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => than().is_some_and(|(value, than)| value > than),
        "Lt" => than().is_some_and(|(value, than)| value < than),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (its_key, its_effect) = (text(&toleration.key), text(&toleration.effect));
    if !its_effect.is_empty() && its_effect != effect || !its_key.is_empty() && its_key != key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => !its_key.is_empty() && text(&toleration.value) == value,
        _ => false,
    }
}

/// What the DaemonSet controller tolerates for every DaemonSet (`AddOrUpdateDaemonPodTolerations`), and what keeps new
/// pods from a node that has failed but leaves there those it has: the node lifecycle controller gives such a node its
/// taints in both effects. Its agent is meant to be there, and its reports stay true.
fn is_tolerated_by_default(template: &PodSpec, key: &str, effect: &str) -> bool {
    let Some(condition) = key.strip_prefix("node.kubernetes.io/") else { return false };
    match (condition, effect) {
        ("not-ready" | "unreachable", _)
        | ("disk-pressure" | "memory-pressure" | "pid-pressure" | "unschedulable", "NoSchedule") => true,
        ("network-unavailable", "NoSchedule") => template.host_network == Some(true),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(labels: Value, taints: Value) -> NodeFacts {
        let node = json!({
            "metadata": { "name": "node-1", "labels": labels }, "spec": { "taints": taints },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        NodeFacts::of(serde_json::from_value(node).expect("a node"))
    }

    fn runs(template: Value, labels: Value, taints: Value) -> bool {
        let mut template = template;
        template["containers"] = json!([]);
        runs_on(&serde_json::from_value(template).expect("a template"), &node(labels, taints))
    }

    #[test]
    fn nodes_of_two_agents_are_found() {
        let template = |pool: Option<&str>| -> PodSpec {
            let selector = pool.map_or(json!({}), |pool| json!({ "pool": pool }));
            serde_json::from_value(json!({ "containers": [], "nodeSelector": selector })).expect("a template")
        };
        let named = |name: &str, pool: &str| NodeFacts {
            name: name.to_owned(),
            ..node(json!({ "pool": pool }), json!([]))
        };
        let nodes = [named("one", "a"), named("two", "b"), named("three", "a")];
        let (all, a, b) = (template(None), template(Some("a")), template(Some("b")));
        assert!(overlaps(&[("x", &a), ("y", &b)], nodes.iter()).is_empty());
        assert!(overlaps(&[("x", &all)], nodes.iter()).is_empty());
        let found = overlaps(&[("x", &all), ("y", &a)], nodes.iter());
        let wanted = [(("x".to_owned(), "y".to_owned()), vec!["one".into(), "three".into()])];
        assert_eq!(found, wanted.into());
    }

    #[test]
    fn the_selector_decides() {
        let linux = || json!({ "nodeSelector": { "kubernetes.io/os": "linux" } });
        assert!(runs(linux(), json!({ "kubernetes.io/os": "linux" }), json!([])));
        assert!(!runs(linux(), json!({ "kubernetes.io/os": "windows" }), json!([])));
        assert!(!runs(linux(), json!({}), json!([])));
        assert!(runs(json!({}), json!({}), json!([])));
    }

    #[test]
    fn required_affinity_is_any_of_its_terms_and_all_of_their_parts() {
        let affinity = |terms: Value| {
            json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                { "nodeSelectorTerms": terms } } } })
        };
        let wants = |key: &str, operator: &str, values: Value| {
            json!({ "matchExpressions": [{ "key": key,
            "operator": operator, "values": values }] })
        };
        let labels = || json!({ "zone": "a", "cores": "8" });
        for (term, expected) in [
            (wants("zone", "In", json!(["a", "b"])), true),
            (wants("zone", "In", json!(["c"])), false),
            (wants("zone", "NotIn", json!(["c"])), true),
            (wants("rack", "NotIn", json!(["c"])), true),
            (wants("rack", "Exists", json!([])), false),
            (wants("rack", "DoesNotExist", json!([])), true),
            (wants("cores", "Gt", json!(["4"])), true),
            (wants("cores", "Lt", json!(["4"])), false),
            (wants("zone", "Near", json!(["a"])), false),
            (json!({}), false),
            (
                json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["node-1"] }] }),
                true,
            ),
            // A part of a name is not the name.
            (
                json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["node-10", "node"] }] }),
                false,
            ),
        ] {
            assert_eq!(runs(affinity(json!([term])), labels(), json!([])), expected, "{term}");
        }
        let one_of = json!([wants("zone", "In", json!(["c"])), wants("zone", "In", json!(["a"]))]);
        assert!(runs(affinity(one_of), labels(), json!([])));
        let both = json!([{ "matchExpressions": [
            { "key": "zone", "operator": "In", "values": ["a"] }, { "key": "rack", "operator": "Exists" }] }]);
        assert!(!runs(affinity(both), labels(), json!([])));
        assert!(!runs(affinity(json!([])), labels(), json!([])), "no term matches no node");
    }

    #[test]
    fn taints_keep_agents_away_unless_they_are_tolerated() {
        let taint = |effect: &str| json!([{ "key": "gpu", "value": "yes", "effect": effect }]);
        assert!(!runs(json!({}), json!({}), taint("NoSchedule")));
        assert!(!runs(json!({}), json!({}), taint("NoExecute")));
        assert!(runs(json!({}), json!({}), taint("PreferNoSchedule")));
        for (toleration, expected) in [
            (json!({ "operator": "Exists" }), true),
            (json!({ "key": "gpu", "operator": "Exists" }), true),
            (json!({ "key": "gpu", "operator": "Exists", "effect": "NoExecute" }), false),
            (json!({ "key": "gpu", "value": "yes" }), true),
            (json!({ "key": "gpu", "value": "no", "operator": "Equal" }), false),
            (json!({ "key": "other", "operator": "Exists" }), false),
        ] {
            let template = json!({ "tolerations": [toleration] });
            assert_eq!(runs(template, json!({}), taint("NoSchedule")), expected, "{toleration}");
        }
    }

    #[test]
    fn an_agent_stays_where_only_new_pods_are_kept_away() {
        let stays = |template: Value, effect: &str| {
            let mut template = template;
            template["containers"] = json!([]);
            let taints = json!([{ "key": "gpu", "value": "yes", "effect": effect }]);
            stays_on(&serde_json::from_value(template).expect("a template"), &node(json!({}), taints))
        };
        assert!(stays(json!({}), "NoSchedule") && !stays(json!({}), "NoExecute"));
        assert!(stays(json!({ "tolerations": [{ "operator": "Exists" }] }), "NoExecute"));
        assert!(!stays(json!({ "nodeSelector": { "pool": "a" } }), "NoSchedule"), "the selector ends it");
    }

    /// A node that is not ready is a member: what it reported counts, and what it did not is said.
    #[test]
    fn what_the_controller_tolerates_is_tolerated() {
        let taint = |key: &str, effect: &str| json!([{ "key": format!("node.kubernetes.io/{key}"), "effect": effect }]);
        for (key, effect) in [
            ("not-ready", "NoExecute"),
            ("unreachable", "NoExecute"),
            ("not-ready", "NoSchedule"),
            ("unreachable", "NoSchedule"),
            ("unschedulable", "NoSchedule"),
            ("disk-pressure", "NoSchedule"),
        ] {
            assert!(runs(json!({}), json!({}), taint(key, effect)), "{key}");
        }
        assert!(!runs(json!({}), json!({}), taint("network-unavailable", "NoSchedule")));
        assert!(runs(json!({ "hostNetwork": true }), json!({}), taint("network-unavailable", "NoSchedule")));
    }
}
