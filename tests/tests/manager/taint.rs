//! Nodes that join with a taint until their agent is ready. Nothing runs pods here: those of the agents are made by hand.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::{Named, text},
    operator::{Admission, NAMESPACE, Operator},
};

type Outcome = Result<(), Box<dyn Error>>;

const AGENTS: Named<'_> = ("daemonset", NAMESPACE, "spod");
const TAINT: &str = "security-profiles-operator.x-k8s.io/agent-not-ready";

/// A node that is ready, with the taint and another one.
fn node(operator: &Operator, name: &str) -> Outcome {
    operator.node(name)?;
    taint(operator, name)
}

fn taint(operator: &Operator, name: &str) -> Outcome {
    let ours = format!("{TAINT}=:NoSchedule");
    operator.kubectl(&["taint", "node", name, &ours, "other=x:NoExecute", "--overwrite"])?;
    Ok(())
}

/// A pod that is labelled as an agent, on a node; of the agents' DaemonSet or of nobody.
fn pod(operator: &Operator, node: &str, set: Option<&Value>) -> Outcome {
    let owner = set.map(|set| {
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "spod",
            "uid": set["metadata"]["uid"], "controller": true })
    });
    let labels = json!({ "app": "security-profiles-operator", "app.kubernetes.io/component": "agent" });
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("agent-{node}"), "namespace": NAMESPACE, "labels": labels,
            "ownerReferences": owner.into_iter().collect::<Vec<_>>() },
        "spec": { "nodeName": node, "serviceAccountName": "spod",
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "c", "image": "c" }] } }))?;
    Ok(())
}

/// What the kubelet would say of it.
fn is_ready(operator: &Operator, node: &str, ready: &str) -> Outcome {
    let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } }).to_string();
    let name = format!("agent-{node}");
    let arguments = ["patch", "pod", &name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p"];
    operator.kubectl(&[&arguments[..], &[&status]].concat())?;
    Ok(())
}

fn taints(node: &Value) -> Vec<&str> {
    let taints = node["spec"]["taints"].as_array();
    taints.into_iter().flatten().filter_map(|taint| taint["key"].as_str()).collect()
}

fn loses_it(operator: &Operator, name: &str) -> Outcome {
    let found =
        operator.until("the taint goes", ("node", "", name), |node| !taints(node).contains(&TAINT))?;
    assert_eq!(taints(&found), ["other"], "every other stays");
    Ok(())
}

fn has_it(operator: &Operator, name: &str) -> Outcome {
    let found = operator.get(("node", "", name))?;
    assert_eq!(taints(&found).len(), 2, "{name}: {}\n{}", found["spec"], operator.log("first"));
    Ok(())
}

#[test]
fn a_node_loses_its_taint_when_and_only_when_its_agent_is_ready() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    for name in ["a", "b", "c", "d"] {
        node(&operator, name)?;
    }
    operator.manager("first", &[])?;
    let set = operator.until("agents", AGENTS, |set| !set.is_null())?;
    assert!(!set.to_string().contains(TAINT));
    for name in ["a", "b", "d"] {
        pod(&operator, name, Some(&set))?;
    }
    is_ready(&operator, "a", "True")?;
    pod(&operator, "c", None)?;
    is_ready(&operator, "c", "True")?;
    thread::sleep(Duration::from_secs(3));
    has_it(&operator, "a")?;

    let on = r#"{"spec":{"scheduling":{"startupTaint":true}}}"#;
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", on])?;
    loses_it(&operator, "a")?;
    operator.until("agents tolerate it", AGENTS, |set| set.to_string().contains(TAINT))?;
    for name in ["b", "c", "d"] {
        has_it(&operator, name)?;
    }
    is_ready(&operator, "b", "False")?;
    thread::sleep(Duration::from_secs(2));
    has_it(&operator, "b")?;
    is_ready(&operator, "b", "True")?;
    loses_it(&operator, "b")?;

    // A node that comes back has to wait again, and what happens while nobody leads is made up for.
    assert!(operator.server.terminate("first")?.success());
    is_ready(&operator, "d", "True")?;
    operator.kubectl(&["delete", "pod", "agent-a", "-n", NAMESPACE, "--force", "--grace-period=0"])?;
    taint(&operator, "a")?;
    operator.manager("second", &[])?;
    loses_it(&operator, "d")?;
    thread::sleep(Duration::from_secs(2));
    for name in ["a", "c"] {
        has_it(&operator, name)?;
    }
    let written = operator.written()?;
    let of_nodes = written.iter().filter(|write| write.resource == "nodes" && write.code == 200);
    let of_nodes: Vec<&str> = of_nodes.map(|write| write.name.as_str()).collect();
    assert_eq!(of_nodes, ["a", "b", "d"], "each once");
    Ok(())
}

/// The right to patch nodes is for this taint alone.
#[test]
fn the_manager_may_do_nothing_else_to_a_node() -> Outcome {
    let Some(operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    node(&operator, "a")?;
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:security-profiles-operator");
    let says = |patch: &Value| -> Result<String, Box<dyn Error>> {
        let patch = patch.to_string();
        let arguments = ["patch", "node", "a", &account, "--type=merge", "-p", &patch];
        Ok(text(&operator.try_kubectl(&arguments, "")?))
    };
    let refused = "may take the taint";
    let ours = json!({ "key": TAINT, "effect": "NoSchedule" });
    let other = json!({ "key": "other", "value": "x", "effect": "NoExecute" });
    // A policy takes effect a moment after it is there.
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    operator.holds("the policy is in force", || Ok(says(&label)?.contains(refused)))?;
    for bad in [
        json!({ "metadata": { "annotations": { "x": "y" } } }),
        json!({ "metadata": { "finalizers": ["example.com/x"] } }),
        json!({ "metadata": { "labels": null } }),
        json!({ "spec": { "unschedulable": true } }),
        json!({ "spec": { "podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"] } }),
        json!({ "spec": { "providerID": "x" } }),
        json!({ "spec": { "taints": [ours] } }),
        json!({ "spec": { "taints": null } }),
        json!({ "spec": { "taints": [ours, other, { "key": "new", "effect": "NoSchedule" }] } }),
        json!({ "spec": { "taints": [{ "key": "other", "value": "y", "effect": "NoExecute" }] } }),
    ] {
        let said = says(&bad)?;
        assert!(said.contains(refused), "{bad}: {said}");
    }
    let before = operator.get(("node", "", "a"))?;
    let kept: Vec<Value> = before["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|taint| taint["key"] != TAINT)
        .cloned()
        .collect();
    // Nor does it lose what somebody else writes at the same time: it says what it has seen.
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "taints": kept } });
    let said = says(&stale)?;
    assert!(said.contains("has been modified"), "{said}");
    let said = says(&json!({ "spec": { "taints": kept } }))?;
    assert!(said.contains("patched"), "{said}");
    assert_eq!(taints(&operator.get(("node", "", "a"))?), ["other"]);
    let said = operator.try_kubectl(&["delete", "node", "a", &account], "")?;
    assert!(text(&said).contains("forbidden"), "{}", text(&said));
    // Nor does an agent have the right.
    let agent = format!("--as=system:serviceaccount:{NAMESPACE}:spod");
    let said =
        operator.try_kubectl(&["patch", "node", "a", &agent, "--type=merge", "-p", r#"{"spec":{}}"#], "")?;
    assert!(text(&said).contains("forbidden"), "{}", text(&said));
    Ok(())
}
