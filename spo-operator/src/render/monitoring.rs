//! How the metrics of the agents are found.

use serde_json::{Value, json};
use spo_model::daemon::DaemonSpec;

use super::{Environment, object};
use crate::cluster::names;

/// The port of the Service; a ServiceMonitor goes by this name.
pub(super) const PORT: &str = "https";

/// The Service in front of all agents.
pub(super) fn service(environment: &Environment) -> Value {
    let mut service =
        object("v1", "Service", Some(&environment.namespace), names::METRICS_SERVICE, "metrics");
    service["spec"] = json!({
        "selector": { names::APP_LABEL: names::OPERATOR, "app.kubernetes.io/component": "agent" },
        "ports": [{ "name": PORT, "port": 443, "targetPort": names::HTTPS_PORT, "protocol": "TCP" }],
    });
    service
}

/// What tells Prometheus to scrape each agent.
pub(super) fn service_monitor(spec: &DaemonSpec, environment: &Environment) -> Value {
    let namespace = &environment.namespace;
    let insecure = spec.enable_insecure_metrics_access == Some(true);
    let endpoint = |path: &str| {
        let mut endpoint = json!({ "path": path, "port": PORT, "interval": "10s" });
        if insecure {
            endpoint["scheme"] = json!("http");
        } else {
            endpoint["scheme"] = json!("https");
            endpoint["authorization"] =
                json!({ "type": "Bearer", "credentials": { "name": METRICS_TOKEN, "key": "token" } });
            endpoint["tlsConfig"] = json!({
                "serverName": format!("{}.{namespace}.svc", names::METRICS_SERVICE),
                "ca": { "secret": { "name": names::METRICS_SECRET, "key": "ca.crt" } },
            });
        }
        endpoint
    };
    let mut monitor = object(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        Some(namespace),
        "security-profiles-operator-monitor",
        "metrics",
    );
    monitor["spec"] = json!({
        "selector": { "matchLabels": { names::APP_LABEL: names::OPERATOR,
            "app.kubernetes.io/component": "metrics" } },
        "namespaceSelector": { "matchNames": [namespace] },
        "endpoints": [endpoint("/metrics"), endpoint("/metrics-spod")],
    });
    monitor
}

/// The Secret with a token that may read the metrics.
pub(super) const METRICS_TOKEN: &str = "metrics-token";
