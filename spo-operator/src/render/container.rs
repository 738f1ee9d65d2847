//! What the containers of all processes have in common.

use serde_json::{Value, json};
use spo_model::daemon::DaemonSpec;

use super::Environment;
use crate::cluster::names;

/// A container of the operator's image.
pub(super) fn container(
    name: &str,
    arguments: &[String],
    spec: &DaemonSpec,
    environment: &Environment,
) -> Value {
    let mut container = json!({
        "name": name,
        "image": environment.image,
        "args": arguments,
        "env": variables(spec, environment),
        "securityContext": unprivileged(),
        // What a process says last is its error; `kubectl describe` then shows it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    super::put(&mut container, "imagePullPolicy", environment.pull_policy.clone().map(Value::from));
    container
}

/// No rights at all.
pub(super) fn unprivileged() -> Value {
    json!({
        "runAsUser": names::UNPRIVILEGED,
        "runAsGroup": names::UNPRIVILEGED,
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// The probes of a process. It is asked every second whether it is ready, since it tells from memory, and is restarted
/// after three failures in a row, but not within its first half minute.
///
/// There is no startup probe: the kubelet asks whether a container is ready only after it has noted that one succeeded,
/// which makes each pod up to two seconds later ready than its process is.
pub(super) fn add_probes(container: &mut Value) {
    let get = |path: &str| json!({ "path": path, "port": "health", "scheme": "HTTP" });
    container["livenessProbe"] = json!({ "httpGet": get("/livez"), "initialDelaySeconds": 30, "periodSeconds": 10,
        "failureThreshold": 3, "timeoutSeconds": 3 });
    container["readinessProbe"] = json!({ "httpGet": get("/readyz"), "periodSeconds": 1, "failureThreshold": 10,
        "timeoutSeconds": 1 });
    let health = json!({ "name": "health", "containerPort": names::HEALTH_PORT, "protocol": "TCP" });
    match container.get_mut("ports").and_then(Value::as_array_mut) {
        Some(ports) => ports.push(health),
        None => container["ports"] = json!([health]),
    }
}

/// Requests and the limit of memory. There is no limit of CPU: it would only make a burst of profiles slow.
pub(super) fn resources(cpu: &str, memory: &str, limit: &str) -> Value {
    json!({ "requests": { "cpu": cpu, "memory": memory }, "limits": { "memory": limit } })
}

/// A variable with a field of the pod.
pub(super) fn field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } })
}

/// A variable.
pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn variables(spec: &DaemonSpec, environment: &Environment) -> Value {
    let mut all = vec![
        field("OPERATOR_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
        variable("SPO_VERBOSITY", &spec.verbosity.unwrap_or(0).min(255).to_string()),
    ];
    all.extend(scope(environment));
    Value::Array(all)
}

/// The variables about which profiles are looked at.
pub(super) fn scope(environment: &Environment) -> Vec<Value> {
    let mut all = Vec::new();
    if environment.cluster_scope {
        all.push(variable("SPO_SCOPE", "cluster"));
    }
    if !environment.restrict_to.is_empty() {
        all.push(variable("RESTRICT_TO_NAMESPACE", &environment.restrict_to));
    }
    all
}
