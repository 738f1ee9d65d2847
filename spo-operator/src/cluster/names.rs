//! What the operator's objects, labels and ports are called. The names are those of the existing operator wherever it
//! has one, because manifests, dashboards and scripts use them.

/// The operator: its namespace, its Deployment, its service account, the label `app` of all that belongs to it.
pub const OPERATOR: &str = "security-profiles-operator";

/// The SecurityProfilesOperatorDaemon that the operator makes when there is none, and the label `name` of agents.
pub const SPOD: &str = "spod";

/// The priority class of agents, unless the SPOD names another.
pub const AGENT_PRIORITY: &str = "system-node-critical";

/// The service account of the agents.
pub const AGENT_ACCOUNT: &str = "spod";

/// The Deployment of the webhook.
pub const WEBHOOK: &str = "security-profiles-operator-webhook";

/// The service account of the webhook.
pub const WEBHOOK_ACCOUNT: &str = "spo-webhook";

/// The Service of the webhook, for admission: only replicas that are ready.
pub const WEBHOOK_SERVICE: &str = "webhook-service";

/// The Service of the webhook for conversion, which works before a replica is ready; see [`spo_model::crd`].
pub const CONVERSION_SERVICE: &str = "webhook-conversion";

/// The Secret with the webhook's certificate (`tls.crt`, `tls.key`).
pub const WEBHOOK_SECRET: &str = "webhook-server-cert";

/// The Service of the metrics.
pub const METRICS_SERVICE: &str = "metrics";

/// The Secret with the certificate of the metrics.
pub const METRICS_SECRET: &str = "metrics-server-cert";

/// The Secret with the operator's own certificate authority.
pub const AUTHORITY_SECRET: &str = "spo-certificate-authority";

/// The ConfigMap with the profiles of the operator's own pods.
pub const PROFILES_CONFIG_MAP: &str = "security-profiles-operator-profile";

/// The Lease of the leading manager.
pub const LEASE: &str = "security-profiles-operator-lock";

/// The MutatingWebhookConfiguration.
pub const MUTATING_WEBHOOKS: &str = "spo-mutating-webhook-configuration";

/// The ValidatingWebhookConfiguration.
pub const VALIDATING_WEBHOOKS: &str = "spo-validating-webhook-configuration";

/// The ClusterOperator by which OpenShift is known.
pub const OPENSHIFT: &str = "openshift-apiserver";

/// The definition of ServiceMonitors.
pub const MONITORS_DEFINITION: &str = "servicemonitors.monitoring.coreos.com";

/// The field manager of everything that is rendered.
pub const FIELD_MANAGER: &str = "spo-operator";

/// The label `app` of everything that belongs to the operator.
pub const APP_LABEL: &str = "app";

/// The label of a node status that says of which profile it is; see [`spo_model::names::profile_id`].
pub const PROFILE_ID_LABEL: &str = "spo.x-k8s.io/profile-id";

/// The label of a node status with the kind of its profile.
pub const PROFILE_KIND_LABEL: &str = "spo.x-k8s.io/profile-kind";

/// The label of a node status with its node; names of more than 63 characters are hashed.
pub const NODE_LABEL: &str = "spo.x-k8s.io/node-name";

/// The label by which a namespace takes part in bindings.
pub const BINDING_LABEL: &str = "spo.x-k8s.io/enable-binding";

/// The label by which a namespace takes part in recordings.
pub const RECORDING_LABEL: &str = "spo.x-k8s.io/enable-recording";

/// The key of the taint of nodes whose agent is not ready; see [`crate::manager::startup_taint`].
pub const STARTUP_TAINT: &str = "security-profiles-operator.x-k8s.io/agent-not-ready";

/// Holds a profile that pods use.
pub const IN_USE_FINALIZER: &str = "in-use-by-active-pods";

/// The port of the webhooks, and of the metrics.
pub const HTTPS_PORT: u16 = 9443;

/// The port of `/livez` and `/readyz`.
pub const HEALTH_PORT: u16 = 8085;

/// Where a mounted certificate of the webhook is.
pub const WEBHOOK_CERTIFICATE_DIR: &str = "/tmp/k8s-webhook-server/serving-certs";

/// Where a mounted certificate of the metrics is.
pub const METRICS_CERTIFICATE_DIR: &str = "/var/run/secrets/metrics";

/// The user and group of processes that need no rights.
pub const UNPRIVILEGED: i64 = 65535;
