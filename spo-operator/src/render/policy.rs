//! What binds the operator itself: agents to their own nodes, pods to the connections they need.

use serde_json::{Value, json};
use spo_model::{
    kind::{GROUP, Kind},
    names::NODE_STATUS_NODE,
};

use super::object;
use crate::cluster::names;

/// The policy by which an agent writes about its own node only, and its binding.
///
/// The API server puts the node of a pod-bound token into the request's user (KEP 4193); a token without a node may
/// write nothing.
pub(super) fn own_node(namespace: &str) -> Vec<Value> {
    const NAME: &str = "spo-agents-report-their-own-node";
    let account = format!("system:serviceaccount:{namespace}:{}", names::AGENT_ACCOUNT);
    let mut policy =
        object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", None, NAME, "agent");
    policy["spec"] = json!({
        "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [{
            "apiGroups": [GROUP],
            // What is stored is judged, in whatever version the request is: an annotation holds what others hide.
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": [Kind::SecurityProfileNodeStatus.plural()],
            "scope": "*",
        }] },
        "matchConditions": [
            { "name": "an-agent", "expression": format!("request.userInfo.username == '{account}'") },
        ],
        "variables": [
            { "name": "node", "expression":
                "has(request.userInfo.extra) && 'authentication.kubernetes.io/node-name' in request.userInfo.extra \
                 ? request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''" },
            { "name": "reported", "expression": format!("object == null ? '' : {}", node_of("object")) },
            { "name": "ending", "expression": format!(
                "variables.node.size() > {NODE_STATUS_NODE} \
                 ? '-' + variables.node.substring(0, {NODE_STATUS_NODE}) + 'x' + string(variables.node.size()) \
                 : '-' + variables.node + '-' + string(variables.node.size())") },
            { "name": "stored", "expression": format!("oldObject == null ? '' : {}", node_of("oldObject")) },
        ],
        "validations": [
            { "expression": "variables.node != ''", "reason": "Forbidden",
              "message": "an agent needs a token that is bound to its node" },
            { "expression": "object == null || variables.reported == variables.node", "reason": "Forbidden",
              "messageExpression": "'the agent of node ' + variables.node + ' cannot report for another node'" },
            { "expression": "oldObject == null || variables.stored == variables.node", "reason": "Forbidden",
              "messageExpression":
                "'the agent of node ' + variables.node + ' cannot change what another node reported'" },
            // Reports of whole nodes are found by name.
            { "expression":
                "object == null || !object.metadata.name.startsWith('node-') \
                 || object.metadata.name == 'node-' + variables.node", "reason": "Forbidden",
              "messageExpression": "'the agent of node ' + variables.node + ' cannot take the name of another node'" },
            // Those of single profiles end in their node (`spo_model::names::node_status_suffix`). Who could take that
            // of another node would silence it.
            { "expression":
                "object == null || oldObject != null || object.metadata.name.startsWith('node-') \
                 || object.metadata.name.endsWith(variables.ending)", "reason": "Forbidden",
              "messageExpression":
                "'the agent of node ' + variables.node + ' cannot take a name that does not end in ' \
                 + variables.ending" },
        ],
    });
    let mut binding =
        object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", None, NAME, "agent");
    binding["spec"] = json!({ "policyName": NAME, "validationActions": ["Deny"] });
    vec![policy, binding]
}

/// The policy by which the manager takes the taint of new nodes off and does nothing else to a node, and its binding.
pub(super) fn startup_taint(namespace: &str) -> Vec<Value> {
    const NAME: &str = "spo-manager-takes-one-taint";
    let taint = names::STARTUP_TAINT;
    let account = format!("system:serviceaccount:{namespace}:{}", names::OPERATOR);
    let mut policy =
        object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", None, NAME, "manager");
    let same = |path: &str, fields: &[&str]| {
        let same = |field: &&str| format!("object.{path}.?{field} == oldObject.{path}.?{field}");
        fields.iter().map(same).collect::<Vec<_>>().join(" && ")
    };
    let message = format!("the manager may take the taint {taint} off a node, and change nothing else");
    let validation =
        |expression: String| json!({ "expression": expression, "reason": "Forbidden", "message": message });
    policy["spec"] = json!({
        "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [{
            "apiGroups": [""],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": ["nodes", "nodes/*"],
            "scope": "*",
        }] },
        "matchConditions": [
            { "name": "the-manager", "expression": format!("request.userInfo.username == '{account}'") },
        ],
        "validations": [
            validation("request.operation == 'UPDATE' && request.?subResource.orValue('') == ''".to_owned()),
            validation(same("metadata", &["labels", "annotations", "finalizers", "ownerReferences"])),
            // Every field of a NodeSpec but the taints.
            validation(same(
                "spec",
                &["podCIDR", "podCIDRs", "providerID", "unschedulable", "configSource", "externalID"],
            )),
            validation(format!(
                "object.spec.?taints.orValue([]) \
                 == oldObject.spec.?taints.orValue([]).filter(taint, taint.key != '{taint}')"
            )),
        ],
    });
    let mut binding =
        object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", None, NAME, "manager");
    binding["spec"] = json!({ "policyName": NAME, "validationActions": ["Deny"] });
    vec![policy, binding]
}

fn node_of(object: &str) -> String {
    format!("(has({object}.spec) && has({object}.spec.nodeName) ? {object}.spec.nodeName : '')")
}

/// Room for pods of the priority class of nodes' agents: some clusters (GKE) allow it only where a quota speaks of it.
pub(super) fn quota(namespace: &str) -> Value {
    let mut quota = object("v1", "ResourceQuota", Some(namespace), "spo-node-critical", "agent");
    quota["spec"] = json!({
        // More than a cluster has nodes.
        "hard": { "pods": "100k" },
        "scopeSelector": { "matchExpressions":
            [{ "scopeName": "PriorityClass", "operator": "In", "values": [names::AGENT_PRIORITY] }] },
    });
    quota
}

/// What may connect: the API server to webhooks, whoever scrapes to metrics; from the pods, the API server and DNS.
///
/// There is no rule for probes: what comes from a pod's own node is always let through (Kubernetes, "Network Policies"),
/// and nobody but the kubelet has to ask.
pub(super) fn network(namespace: &str) -> Vec<Value> {
    let policy = |name: &str, selector: Value, types: &[&str], rules: Value| {
        let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", Some(namespace), name, "network");
        policy["spec"] = json!({ "podSelector": selector, "policyTypes": types });
        if let (Some(spec), Some(rules)) = (policy["spec"].as_object_mut(), rules.as_object()) {
            spec.extend(rules.clone());
        }
        policy
    };
    let pods = |name: &str| json!({ "matchLabels": { names::APP_LABEL: names::OPERATOR, "name": name } });
    // Whatever their SPOD is called.
    let agents = json!({ "matchLabels": { names::APP_LABEL: names::OPERATOR,
        "app.kubernetes.io/component": "agent" } });
    let every = json!({ "matchLabels": { names::APP_LABEL: names::OPERATOR } });
    let tcp = |ports: &[u16]| -> Vec<Value> {
        ports.iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect()
    };
    let serving = json!({ "ingress": [{ "ports": tcp(&[names::HTTPS_PORT]) }] });
    // The ports of API servers, as distributions have them; policies see the port behind the Service.
    let mut out = tcp(&[443, 6443, 8443, 16443, 53, 5353]);
    // OpenShift's DNS listens on 5353.
    out.extend([53, 5353].map(|port| json!({ "protocol": "UDP", "port": port })));
    vec![
        policy("spo-deny", every.clone(), &["Ingress", "Egress"], json!({})),
        policy("spo-api-server", every, &["Egress"], json!({ "egress": [{ "ports": out }] })),
        policy("spo-manager", pods(names::OPERATOR), &["Ingress"], serving.clone()),
        policy("spo-webhook", pods(names::WEBHOOK), &["Ingress"], serving.clone()),
        policy("spo-agent", agents, &["Ingress"], serving),
    ]
}
