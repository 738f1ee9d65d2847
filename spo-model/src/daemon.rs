//! SecurityProfilesOperatorDaemon (SPOD): how the operator itself is set up.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    diagnostic::{Diagnostic, FieldPath},
    kubernetes::{Affinity, LabelSelector, LocalObjectReference, ResourceRequirements, Toleration},
    seccomp::Action,
    status::Condition,
    text_enum::{checked_string, text_enum},
};

/// `spec` of a SecurityProfilesOperatorDaemon, in the hub form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DaemonSpec {
    /// How much is logged; 0 and 1 are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int32")))]
    pub verbosity: Option<u32>,
    /// Whether profiling endpoints are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_profiling: Option<bool>,
    /// Whether only pods labelled `spo.x-k8s.io/enable-recording=true` are tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_memory_optimization: Option<bool>,
    /// Whether metrics are served without TLS and authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_insecure_metrics_access: Option<bool>,
    /// Whether AppArmor profiles are managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_app_armor: Option<bool>,
    /// Where the host's `/proc` is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_proc_volume_path: Option<HostProcPath>,
    /// Secrets for pulling the operator's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Resources of the daemon's main container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_resource_requirements: Option<ResourceRequirements>,
    /// SELinux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<SelinuxSettings>,
    /// Log and JSON enrichers, and the eBPF recorder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enricher: Option<EnricherSettings>,
    /// Admission webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
    /// Where the daemon runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<SchedulingSettings>,
    /// What profiles may contain and where they may come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecuritySettings>,
    /// How nodes report; absent means `PerProfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_mode: Option<StatusMode>,
}

text_enum! {
    /// How nodes report where profiles stand.
    #[derive(Default)]
    pub enum StatusMode {
        /// One SecurityProfileNodeStatus for each profile and node.
        #[default]
        PerProfile = "PerProfile",
        /// One SecurityProfileNodeStatus for each node, with all its profiles: for clusters where nodes times profiles
        /// would be too many objects.
        PerNode = "PerNode",
    }
}

/// SELinux settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SelinuxSettings {
    /// Whether SELinux profiles are managed; absent means only where the platform is known to use SELinux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Whether RawSelinuxProfiles are accepted; absent means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_raw_selinux_profiles: Option<bool>,
    /// The SELinux type the daemon runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "spc_t")))]
    pub type_tag: Option<String>,
    /// What profiles may inherit and allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = {})))]
    pub options: Option<SelinuxOptions>,
    /// A ConfigMap of `.cil` files that replaces the templates shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_templates_config_map: Option<ObjectName>,
}

/// What SELinux profiles may inherit and allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SelinuxOptions {
    /// Templates that profiles may inherit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = ["container"], "x-kubernetes-list-type" = "set")))]
    pub allowed_system_profiles: Option<Vec<String>>,
    /// Types added to the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub denied_types: Option<Vec<String>>,
    /// Classes added to the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub denied_classes: Option<Vec<String>>,
    /// Permissions added to the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub denied_permissions: Option<Vec<String>>,
    /// Types taken off the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_types: Option<Vec<String>>,
    /// Classes taken off the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_classes: Option<Vec<String>>,
    /// Permissions taken off the built-in deny list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_permissions: Option<Vec<String>>,
}

/// Enricher and recorder settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EnricherSettings {
    /// Whether the log enricher runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_log_enricher: Option<bool>,
    /// Filters of the log enricher, a JSON list as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_enricher_filters: Option<String>,
    /// Where the log enricher reads; absent means auditd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_enricher_source: Option<LogSource>,
    /// Whether the JSON enricher runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_json_enricher: Option<bool>,
    /// Filters of the JSON enricher, a JSON list as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_enricher_filters: Option<String>,
    /// Where the JSON enricher writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_enricher_options: Option<JsonEnricherOptions>,
    /// Whether the eBPF recorder runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub enable_bpf_recorder: Option<bool>,
}

text_enum! {
    /// Where the log enricher reads.
    pub enum LogSource {
        /// The audit log, or syslog where there is none.
        Auditd = "Auditd",
        /// An eBPF program.
        Bpf = "Bpf",
    }
}

/// Where the JSON enricher writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct JsonEnricherOptions {
    /// Seconds between two records of one process; absent means 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1), extend("format" = "int32")))]
    pub audit_log_interval_seconds: Option<i32>,
    /// The file; absent means standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_log_path: Option<String>,
    /// The file's size at which it is rotated, in MB; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1), extend("format" = "int32")))]
    pub audit_log_max_size: Option<i32>,
    /// How many rotated files are kept; 0 keeps all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int32")))]
    pub audit_log_max_backups: Option<i32>,
    /// How many days rotated files are kept; 0 keeps them for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int32")))]
    pub audit_log_max_age: Option<i32>,
}

/// Webhook settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookSettings {
    /// Who takes care of admission; absent means `Managed`, or `Static` where `staticConfig` is true. Conversion between
    /// versions, and the Deployment that serves it, are there in every mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<WebhookMode>,
    /// The older way to say `mode`: true means `Static`. Not to contradict `mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub static_config: Option<bool>,
    /// Settings of single webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub options: Option<Vec<WebhookOptions>>,
    /// Where the webhook's pods run, where the manager makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<WebhookScheduling>,
}

impl WebhookSettings {
    /// Who takes care of admission, as `mode` or the older `staticConfig` says.
    ///
    /// # Errors
    /// [`ModeContradiction`] if both are there and do not mean the same.
    pub fn effective_mode(&self) -> Result<WebhookMode, ModeContradiction> {
        match (self.mode, self.static_config) {
            (Some(mode), Some(is_static)) if is_static != (mode == WebhookMode::Static) => {
                Err(ModeContradiction)
            }
            (Some(mode), _) => Ok(mode),
            (None, Some(true)) => Ok(WebhookMode::Static),
            (None, _) => Ok(WebhookMode::Managed),
        }
    }
}

/// `mode` and `staticConfig` of the webhook do not mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.webhook.mode and spec.webhook.staticConfig contradict each other")]
pub struct ModeContradiction;

text_enum! {
    /// Who takes care of admission.
    #[derive(Default)]
    pub enum WebhookMode {
        /// The manager makes the webhook and what makes the API server ask it.
        #[default]
        Managed = "Managed",
        /// Somebody else keeps the objects of the webhook; the manager only tells them whom to trust.
        Static = "Static",
        /// The API server asks nobody: the manager removes the MutatingWebhookConfiguration and the
        /// ValidatingWebhookConfiguration that it has made. Nothing is bound to images, no pod is marked for recording,
        /// and no profile is checked before it is stored; agents still refuse bad profiles by themselves. The Deployment
        /// stays, because it converts between versions.
        Disabled = "Disabled",
    }
}

/// Where the webhook's pods run. Each field takes the place of what holds without it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookScheduling {
    /// Taints they tolerate; absent means those of `spec.scheduling`, or without these the taints of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "atomic")))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Where they may and should run; absent means on different nodes as far as there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Labels of nodes they run on, besides `kubernetes.io/os: linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-map-type" = "atomic")))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Their priority class; absent means the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// Settings of one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookOptions {
    /// The webhook, for example `binding.spo.io`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub name: String,
    /// What happens while the webhook cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
    /// Replaces the webhook's namespace selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Replaces the webhook's object selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_selector: Option<LabelSelector>,
}

text_enum! {
    /// What happens while a webhook cannot be reached.
    pub enum FailurePolicy {
        /// The request is refused.
        Fail = "Fail",
        /// The request goes on without the webhook.
        Ignore = "Ignore",
    }
}

/// Where the daemon runs. The tolerations are also the webhook's, unless it has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchedulingSettings {
    /// Taints it tolerates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "atomic")))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Where it may and should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Its priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "system-node-critical")))]
    pub priority_class_name: Option<String>,
    /// Whether the manager takes the taint `security-profiles-operator.x-k8s.io/agent-not-ready` off a node as soon as the
    /// node and its agent are ready, which an agent is once it has put every profile there. Whoever makes nodes puts the
    /// taint on them, for example `kubelet --register-with-taints`, on those only that the daemon runs on. The daemon and
    /// the webhook tolerate it. Absent means no: a node that has the taint then keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_taint: Option<bool>,
}

/// What profiles may contain and where they may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecuritySettings {
    /// The syscalls a profile may allow; absent or empty means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_syscalls: Option<Vec<String>>,
    /// The actions that `allowedSyscalls` restricts; absent or empty means `ALLOW`, `LOG`, `TRACE`, `NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "atomic")))]
    pub allowed_seccomp_actions: Option<Vec<Action>>,
    /// Syscalls that no seccomp profile may allow, log, trace or notify about, not by its default action either. One
    /// that does is not installed. Calls that 32-bit machines reach through `socketcall` or `ipc` need these in the
    /// list too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub denied_syscalls: Option<Vec<String>>,
    /// What becomes of seccomp profiles that these lists do not allow; absent means `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden_profiles: Option<ForbiddenProfiles>,
    /// Syscalls that every seccomp profile allows, whatever it says. Meant for what a container runtime needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub enforced_syscalls: Option<Vec<String>>,
    /// Whether profiles are pulled from registries without checking their signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub disable_oci_artifact_signature_verification: Option<bool>,
    /// What the signer's identity has to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = ".*")))]
    pub allowed_identity_regexp: Option<String>,
    /// What the issuer of the signer's identity has to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = ".*")))]
    pub allowed_oidc_issuer_regexp: Option<String>,
}

impl SecuritySettings {
    /// An error for each syscall that is denied to all profiles and allowed in all.
    pub fn contradictions(&self) -> Vec<Diagnostic> {
        let denied: BTreeSet<&String> = self.denied_syscalls.iter().flatten().collect();
        let enforced = self.enforced_syscalls.iter().flatten().enumerate();
        let both = enforced.filter(|(_, name)| denied.contains(name));
        both.map(|(i, name)| {
            let message = format!(
                "{:?} is in spec.security.deniedSyscalls too; it cannot be denied and always allowed",
                crate::diagnostic::shorten(name)
            );
            let path = FieldPath::of("spec.security.enforcedSyscalls").index(i);
            Diagnostic::error("denied-and-enforced", path, message)
                .with_help("take it out of one of the lists")
        })
        .collect()
    }
}

text_enum! {
    /// What becomes of seccomp profiles that `allowedSyscalls` or `deniedSyscalls` does not allow. They are on no node in
    /// either case.
    #[derive(Default)]
    pub enum ForbiddenProfiles {
        /// They stay, and say what is not allowed.
        #[default]
        Keep = "Keep",
        /// They are deleted, once every node that is ready refuses them. One that pods use is terminating until they are
        /// gone, and what the operator brings is kept.
        Delete = "Delete",
    }
}

/// `status` of a SecurityProfilesOperatorDaemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DaemonStatus {
    /// Where the roll-out stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DaemonState>,
    /// Conditions; `Ready` is the one to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])))]
    pub conditions: Option<Vec<Condition>>,
}

text_enum! {
    /// Where the roll-out of the daemon stands.
    pub enum DaemonState {
        /// Not looked at yet.
        Pending = "Pending",
        /// Being created.
        Creating = "Creating",
        /// Being changed.
        Updating = "Updating",
        /// Runs everywhere.
        Running = "Running",
        /// Cannot run.
        Error = "Error",
    }
}

checked_string! {
    /// A path at or below `/proc`.
    pub struct HostProcPath: check_host_proc, { "type": "string", "pattern": "^/proc(/.*)?$" }
}

checked_string! {
    /// The name of an object: a DNS-1123 subdomain.
    pub struct ObjectName: crate::names::check_subdomain, {
        "type": "string",
        "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
    }
}

fn check_host_proc(text: &str) -> Result<(), &'static str> {
    let below = text.strip_prefix("/proc").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below && !text.split('/').any(|part| part == "..") {
        Ok(())
    } else {
        Err("want /proc or a path below it without `..`")
    }
}
