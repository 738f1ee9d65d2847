//! How the metrics of the agents and of the managers are found.

use serde_json::{Value, json};
use spo_model::daemon::DaemonSpec;

use super::{Environment, object, service_ca};
use crate::{
    cluster::names,
    metrics::server::{PROCESS, SPOD},
};

/// The Service of the managers' metrics. Only the one that leads has figures of the cluster.
pub const MANAGER_SERVICE: &str = "metrics-manager";

/// The port of the Services; ServiceMonitors go by this name.
pub(super) const PORT: &str = "https";

/// The Services in front of all agents and of all managers.
pub(super) fn services(environment: &Environment) -> Vec<Value> {
    let service = |name: &str, component: &str, pods: &str| {
        let mut service = object("v1", "Service", Some(&environment.namespace), name, component);
        service["spec"] = json!({
            "selector": { names::APP_LABEL: names::OPERATOR, "app.kubernetes.io/component": pods },
            "ports": [{ "name": PORT, "port": 443, "targetPort": names::HTTPS_PORT, "protocol": "TCP" }],
        });
        service
    };
    let mut agents = service(names::METRICS_SERVICE, AGENTS, "agent");
    service_ca::serve(&mut agents, names::METRICS_SECRET, environment);
    vec![agents, service(MANAGER_SERVICE, MANAGERS, "manager")]
}

/// What tells Prometheus to scrape each agent and each manager.
pub(super) fn service_monitors(spec: &DaemonSpec, environment: &Environment) -> Vec<Value> {
    let monitor = |name: &str, component: &str, endpoints: Vec<Value>| {
        let namespace = &environment.namespace;
        let mut monitor =
            object("monitoring.coreos.com/v1", "ServiceMonitor", Some(namespace), name, component);
        monitor["spec"] = json!({
            "selector": { "matchLabels":
                { names::APP_LABEL: names::OPERATOR, "app.kubernetes.io/component": component } },
            "namespaceSelector": { "matchNames": [namespace] },
            "endpoints": endpoints,
        });
        monitor
    };
    let insecure = spec.enable_insecure_metrics_access == Some(true);
    let agents = [PROCESS, SPOD].map(|path| endpoint(path, insecure, environment));
    // The SPOD says nothing about the managers, which it comes from.
    let managers = vec![endpoint(PROCESS, false, environment)];
    vec![
        monitor("security-profiles-operator-monitor", AGENTS, agents.into()),
        monitor("security-profiles-operator-manager-monitor", MANAGERS, managers),
    ]
}

/// What Services are parts of, by which ServiceMonitors find them.
const AGENTS: &str = "metrics";
const MANAGERS: &str = "manager-metrics";

fn endpoint(path: &str, insecure: bool, environment: &Environment) -> Value {
    let mut endpoint = json!({ "path": path, "port": PORT, "interval": "10s" });
    if insecure {
        endpoint["scheme"] = json!("http");
        return endpoint;
    }
    let authority = match environment.service_ca {
        true => json!({ "configMap": { "name": service_ca::AUTHORITY.0, "key": service_ca::AUTHORITY.1 } }),
        false => json!({ "secret": { "name": names::METRICS_SECRET, "key": "ca.crt" } }),
    };
    endpoint["scheme"] = json!("https");
    if environment.metrics_token {
        endpoint["authorization"] =
            json!({ "type": "Bearer", "credentials": { "name": METRICS_TOKEN, "key": "token" } });
    } else {
        // Prometheus's own account, which an administrator has given the right to read them.
        endpoint["bearerTokenFile"] = json!("/var/run/secrets/kubernetes.io/serviceaccount/token");
    }
    // Managers have the agents' certificate, and from the service CA that is for one Service alone.
    endpoint["tlsConfig"] = json!({
        "serverName": format!("{}.{}.svc", names::METRICS_SERVICE, environment.namespace),
        "ca": authority,
    });
    endpoint
}

/// The Secret with a token that may read the metrics.
pub(super) const METRICS_TOKEN: &str = "metrics-token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_name_no_secret_that_is_not_installed() {
        let text = |metrics_token: bool| {
            let environment = Environment { metrics_token, ..Environment::new("spo") };
            json!(service_monitors(&DaemonSpec::default(), &environment)).to_string()
        };
        assert!(text(true).contains(METRICS_TOKEN));
        assert!(!text(false).contains(METRICS_TOKEN) && text(false).contains("bearerTokenFile"));
    }
}
