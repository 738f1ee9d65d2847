//! What the operator makes of the cluster that it is in: OpenShift, and Prometheus' kinds, whenever they come.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::Named,
    operator::{Admission, NAMESPACE, Operator},
};

type Outcome = Result<(), Box<dyn Error>>;

const AGENTS: Named<'_> = ("daemonset", NAMESPACE, "spod");

/// A definition of somebody else's kind, without a schema.
fn definition(group: &str, kind: &str, plural: &str, scope: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": { "group": group, "scope": scope, "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema } }] } })
}

/// Nodes of OpenShift have SELinux, so it is on unless somebody says otherwise.
#[test]
fn selinux_is_on_in_openshift_unless_the_spod_says_otherwise() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.apply(&definition("config.openshift.io", "ClusterOperator", "clusteroperators", "Cluster"))?;
    operator.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
    operator.holds("a ClusterOperator", || {
        let object = json!({ "apiVersion": "config.openshift.io/v1", "kind": "ClusterOperator",
            "metadata": { "name": "openshift-apiserver" } });
        Ok(operator.apply(&object).is_ok())
    })?;
    operator.manager("first", &[])?;
    let has = |set: &Value| set.to_string().contains("--with-selinux=true");
    let agents = operator.until("agents", AGENTS, |set| !set.is_null())?;
    assert!(has(&agents), "from the first: {agents}");
    let off = r#"{"spec":{"selinux":{"enable":false}}}"#;
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", off])?;
    operator.until("it is off", AGENTS, |set| !set.is_null() && !has(set))?;
    Ok(())
}

/// Prometheus' operator is installed after ours, and more than once.
#[test]
fn monitors_come_with_their_definition_and_come_back() -> Outcome {
    const MONITORS: [&str; 3] = [
        "security-profiles-operator-monitor",
        "security-profiles-operator-manager-monitor",
        "security-profiles-operator-webhook-monitor",
    ];
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    operator.until("agents", AGENTS, |set| !set.is_null())?;
    let resource = "servicemonitors.monitoring.coreos.com";
    let stub = definition("monitoring.coreos.com", "ServiceMonitor", "servicemonitors", "Namespaced");
    let there = |operator: &Operator, what: &str, name: &str| {
        // The kind itself may not be served yet.
        operator
            .holds(what, || Ok(operator.get((resource, NAMESPACE, name)).is_ok_and(|found| !found.is_null())))
    };
    for round in ["the first time", "again"] {
        operator.apply(&stub)?;
        for name in MONITORS {
            there(&operator, &format!("{name} {round}"), name)?;
        }
        for name in MONITORS {
            operator.kubectl(&["delete", resource, name, "-n", NAMESPACE])?;
            there(&operator, &format!("{name} after it was deleted"), name)?;
        }
        operator.kubectl(&["delete", "crd", resource, "--timeout=60s"])?;
    }
    // Without the definition nothing is asked for in vain.
    thread::sleep(Duration::from_secs(2));
    let mut log = operator.audit()?;
    thread::sleep(Duration::from_secs(5));
    let writes = log.writes_of(NAMESPACE)?;
    assert!(writes.is_empty(), "{writes:?}");
    Ok(())
}
