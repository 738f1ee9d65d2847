//! How the metrics of the agents, the managers and the webhooks are found.

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

/// What tells Prometheus to scrape each agent, each manager and each webhook that the manager runs.
pub(super) fn service_monitors(spec: &DaemonSpec, webhook: bool, environment: &Environment) -> Vec<Value> {
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
    let agents = [PROCESS, SPOD].map(|path| match insecure {
        true => json!({ "path": path, "port": PORT, "interval": INTERVAL, "scheme": "http" }),
        false => endpoint(path, &METRICS, environment),
    });
    // The SPOD says nothing about the managers, which it comes from.
    let managers = vec![endpoint(PROCESS, &METRICS, environment)];
    let mut monitors = vec![
        monitor("security-profiles-operator-monitor", AGENTS, agents.into()),
        monitor("security-profiles-operator-manager-monitor", MANAGERS, managers),
    ];
    if webhook {
        let webhooks = vec![endpoint(PROCESS, &ADMISSION, environment)];
        monitors.push(monitor("security-profiles-operator-webhook-monitor", WEBHOOKS, webhooks));
    }
    monitors
}

/// A certificate, as who connects knows it.
struct Server {
    /// The Service that it is for. Managers have the agents' certificate, and from the service CA that is for one Service
    /// alone.
    service: &'static str,
    /// The Secret in which it is.
    secret: &'static str,
}

const METRICS: Server = Server { service: names::METRICS_SERVICE, secret: names::METRICS_SECRET };
const ADMISSION: Server = Server { service: names::WEBHOOK_SERVICE, secret: names::WEBHOOK_SECRET };

const INTERVAL: &str = "10s";

/// What Services are parts of, by which ServiceMonitors find them.
const AGENTS: &str = "metrics";
const MANAGERS: &str = "manager-metrics";
pub(super) const WEBHOOKS: &str = "webhook";

fn endpoint(path: &str, server: &Server, environment: &Environment) -> Value {
    let mut endpoint = json!({ "path": path, "port": PORT, "interval": INTERVAL, "scheme": "https" });
    let authority = match environment.service_ca {
        true => json!({ "configMap": { "name": service_ca::AUTHORITY.0, "key": service_ca::AUTHORITY.1 } }),
        false => json!({ "secret": { "name": server.secret, "key": "ca.crt" } }),
    };
    if environment.metrics_token {
        endpoint["authorization"] =
            json!({ "type": "Bearer", "credentials": { "name": METRICS_TOKEN, "key": "token" } });
    } else {
        // Prometheus's own account, which an administrator has given the right to read them.
        endpoint["bearerTokenFile"] = json!("/var/run/secrets/kubernetes.io/serviceaccount/token");
    }
    endpoint["tlsConfig"] = json!({
        "serverName": format!("{}.{}.svc", server.service, environment.namespace),
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
            json!(service_monitors(&DaemonSpec::default(), true, &environment)).to_string()
        };
        assert!(text(true).contains(METRICS_TOKEN));
        assert!(!text(false).contains(METRICS_TOKEN) && text(false).contains("bearerTokenFile"));
    }
}
