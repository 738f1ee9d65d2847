//! The DaemonSet of the agents.
//!
//! What a feature needs of the host, and nothing else, is mounted below `/host`, each path where the host has it; the
//! kernel's own view of itself, `/sys`, takes the place of the container's:
//!
//! | path | for | why |
//! | --- | --- | --- |
//! | the kubelet's `seccomp` | always | the filters, in `operator/`; its parent is mounted, for a mount of `operator` itself would go on showing a directory that somebody deleted |
//! | `/var/lib/security-profiles-operator` | always | the ledger, and where modules are staged for `semodule` |
//! | `/etc/apparmor.d` | AppArmor | the profiles |
//! | `/etc/selinux.d` | SELinux | the modules |
//! | `/sys` | AppArmor, SELinux | what the kernel holds, and loading; a part of it could not be mounted on nodes without the module |
//! | `/usr`, read-only | AppArmor, SELinux | whether `apparmor_parser` and `semodule` are installed |
//!
//! Without AppArmor and SELinux an agent is user 65535 without capabilities. With them it is privileged and sees the
//! host's processes, because the host's own tools compile and load for the host's kernel.

use serde_json::{Value, json};
use spo_model::daemon::{DaemonSpec, EnricherSettings, LogSource, ObjectName};

use super::{
    Environment,
    container::{add_probes, container, field, resources, variable},
    data, has_startup_taint, object, own, pod_labels, pull_secrets, put, selector, tolerate_startup_taint,
};
use crate::cluster::names;

pub(super) fn daemon_set(name: &str, spec: &DaemonSpec, environment: &Environment) -> Value {
    let pod = Pod { name, spec, environment, features: Features::of(spec, environment) };
    let mut set = object("apps/v1", "DaemonSet", Some(&environment.namespace), name, "agent");
    set["metadata"]["labels"]["name"] = json!(name);
    set["spec"] = json!({
        "selector": selector(name),
        "revisionHistoryLimit": 3,
        // An agent that is away delays changes of profiles and nothing else, but an image that does not start should
        // not take all of them.
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%" } },
        "template": pod.template(),
    });
    set
}

/// What is switched on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) apparmor: bool,
    pub(super) selinux: bool,
    raw_selinux: bool,
    log_enricher: bool,
    json_enricher: bool,
    bpf_recorder: bool,
}

impl Features {
    pub(super) fn of(spec: &DaemonSpec, environment: &Environment) -> Self {
        let selinux = spec.selinux.as_ref();
        let enricher = spec.enricher.as_ref();
        let on = |get: fn(&EnricherSettings) -> Option<bool>| enricher.and_then(get) == Some(true);
        let selinux_on = selinux.and_then(|s| s.enable).unwrap_or(environment.selinux_by_default);
        Self {
            apparmor: spec.enable_app_armor == Some(true),
            selinux: selinux_on,
            raw_selinux: selinux_on && selinux.and_then(|s| s.enable_raw_selinux_profiles) != Some(false),
            log_enricher: on(|e| e.enable_log_enricher),
            json_enricher: on(|e| e.enable_json_enricher),
            bpf_recorder: on(|e| e.enable_bpf_recorder),
        }
    }

    /// Whether the agent runs tools of the host.
    const fn host_tools(self) -> bool {
        self.apparmor || self.selinux
    }
}

struct Pod<'a> {
    name: &'a str,
    spec: &'a DaemonSpec,
    environment: &'a Environment,
    features: Features,
}

/// A volume and where a container has it.
struct Mount {
    name: &'static str,
    source: Value,
    path: String,
    read_only: bool,
}

impl Mount {
    fn host(name: &'static str, path: &str, kind: &str) -> Self {
        let source = json!({ "hostPath": { "path": path, "type": kind } });
        Self { name, source, path: format!("/host{path}"), read_only: false }
    }

    fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    fn volume(&self) -> Value {
        let mut volume = self.source.clone();
        volume["name"] = json!(self.name);
        volume
    }

    fn mount(&self) -> Value {
        let mut mount = json!({ "name": self.name, "mountPath": self.path });
        if self.read_only {
            mount["readOnly"] = json!(true);
        }
        mount
    }
}

impl Pod<'_> {
    fn template(&self) -> Value {
        let mut containers = vec![(self.agent(), self.agent_mounts())];
        if self.environment.recorders {
            containers.extend(self.recorders());
        }
        let mut init = vec![(self.enabler(), self.enabler_mounts())];
        let mut volumes: Vec<Value> = Vec::new();
        for (container, mounts) in containers.iter_mut().chain(&mut init) {
            container["volumeMounts"] = mounts.iter().map(Mount::mount).collect();
            for mount in mounts {
                if !volumes.iter().any(|volume| volume["name"] == mount.name) {
                    volumes.push(mount.volume());
                }
            }
            container["securityContext"]["seLinuxOptions"] = json!({ "type": self.selinux_type() });
        }
        let scheduling = self.spec.scheduling.as_ref();
        let priority = scheduling.and_then(|s| s.priority_class_name.as_deref());
        let mut pod = json!({
            "serviceAccountName": names::AGENT_ACCOUNT,
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "priorityClassName": priority.unwrap_or(names::AGENT_PRIORITY),
            // An agent that ends for ever takes its profiles off the node; a policy is rebuilt for that.
            "terminationGracePeriodSeconds": if self.features.host_tools() { 120 } else { 30 },
            "securityContext": {
                "fsGroup": names::UNPRIVILEGED,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "tolerations": scheduling.and_then(|s| data(s.tolerations.as_ref())).unwrap_or_else(tolerations),
            "initContainers": init.into_iter().map(|(container, _)| container).collect::<Vec<_>>(),
            "containers": containers.into_iter().map(|(container, _)| container).collect::<Vec<_>>(),
            "volumes": volumes,
        });
        if has_startup_taint(self.spec) {
            tolerate_startup_taint(&mut pod);
        }
        put(&mut pod, "affinity", scheduling.and_then(|s| data(s.affinity.as_ref())));
        let secrets = pull_secrets(self.spec.image_pull_secrets.as_ref(), &self.environment.pull_secrets);
        put(&mut pod, "imagePullSecrets", secrets);
        if self.sees_host_processes() {
            pod["hostPID"] = json!(true);
        }
        json!({
            "metadata": {
                "labels": pod_labels("agent", self.name),
                "annotations": {
                    "openshift.io/scc": "privileged",
                    "kubectl.kubernetes.io/default-container": names::OPERATOR,
                },
            },
            "spec": pod,
        })
    }

    fn sees_host_processes(&self) -> bool {
        let f = self.features;
        let recorders = f.log_enricher || f.json_enricher || f.bpf_recorder;
        f.host_tools() || self.environment.recorders && recorders
    }

    fn selinux_type(&self) -> &str {
        self.spec.selinux.as_ref().and_then(|s| s.type_tag.as_deref()).unwrap_or("spc_t")
    }

    /// Makes the directories on the host that the agent cannot make itself.
    fn enabler(&self) -> Value {
        let arguments = ["non-root-enabler".to_owned()];
        let mut container = container("non-root-enabler", &arguments, self.spec, self.environment);
        self.add_kubelet_dir(&mut container);
        container["securityContext"] = json!({
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        container["resources"] = resources("10m", "8Mi", "32Mi");
        container
    }

    fn enabler_mounts(&self) -> Vec<Mount> {
        let mut mounts = self.always();
        let profiles = json!({ "configMap": { "name": names::PROFILES_CONFIG_MAP, "optional": true } });
        mounts.push(Mount {
            name: "profiles",
            source: profiles,
            path: own::MOUNTED_AT.to_owned(),
            read_only: true,
        });
        mounts
    }

    fn agent(&self) -> Value {
        let mut container = container(names::OPERATOR, &self.agent_arguments(), self.spec, self.environment);
        if let Some(variables) = container["env"].as_array_mut() {
            variables.insert(0, field("NODE_NAME", "spec.nodeName"));
            // Which settings count, and whose end is that of the agent.
            variables.insert(1, variable("SPOD_NAME", self.name));
        }
        self.add_kubelet_dir(&mut container);
        container["ports"] =
            json!([{ "name": "https", "containerPort": names::HTTPS_PORT, "protocol": "TCP" }]);
        add_probes(&mut container);
        let context = &mut container["securityContext"];
        if self.features.host_tools() {
            *context = json!({
                "privileged": true,
                "runAsUser": 0,
                "runAsGroup": 0,
                "readOnlyRootFilesystem": true,
            });
        } else {
            // The init container has put it where the runtime looks.
            context["seccompProfile"] = json!({ "type": "Localhost", "localhostProfile": own::LOCALHOST });
        }
        // The host's tools count against the container that runs them; `semodule` holds a distribution's whole policy.
        let limit = match (self.features.selinux, self.features.apparmor) {
            (true, _) => "1Gi",
            (false, true) => "256Mi",
            (false, false) => "96Mi",
        };
        let own = self.spec.daemon_resource_requirements.as_ref();
        container["resources"] = data(own).unwrap_or_else(|| resources("20m", "24Mi", limit));
        container
    }

    fn agent_arguments(&self) -> Vec<String> {
        let f = self.features;
        let insecure = self.spec.enable_insecure_metrics_access == Some(true);
        let flags = [
            ("--with-selinux=true", f.selinux),
            ("--with-raw-selinux=true", f.raw_selinux),
            ("--with-apparmor=true", f.apparmor),
            ("--with-recording=true", f.log_enricher || f.bpf_recorder),
            ("--with-mem-optim=true", self.spec.enable_memory_optimization == Some(true)),
            ("--with-insecure-metrics-access=true", insecure),
        ];
        let on = flags.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.to_owned());
        let templates = self.templates().map(|_| format!("--selinux-templates={SELINUX_TEMPLATES}"));
        ["daemon".to_owned(), "--with-seccomp=true".to_owned()]
            .into_iter()
            .chain(on)
            .chain(templates)
            .collect()
    }

    /// The ConfigMap with the SELinux templates of the administrator.
    fn templates(&self) -> Option<&ObjectName> {
        let settings = self.spec.selinux.as_ref().filter(|_| self.features.selinux)?;
        settings.custom_templates_config_map.as_ref()
    }

    fn agent_mounts(&self) -> Vec<Mount> {
        let mut mounts = self.always();
        if self.features.apparmor {
            mounts.push(Mount::host("apparmor-profiles", "/etc/apparmor.d", "DirectoryOrCreate"));
        }
        if self.features.selinux {
            mounts.push(Mount::host("selinux-modules", "/etc/selinux.d", "DirectoryOrCreate"));
        }
        if self.features.host_tools() {
            mounts.push(Mount::host("sys", "/sys", "Directory").at("/sys"));
            mounts.push(Mount::host("usr", "/usr", "Directory").read_only());
        }
        if let Some(name) = self.templates() {
            mounts.push(Mount {
                name: "selinux-templates",
                source: json!({ "configMap": { "name": name.as_str() } }),
                path: SELINUX_TEMPLATES.to_owned(),
                read_only: true,
            });
        }
        if self.spec.enable_insecure_metrics_access != Some(true) {
            // Optional, so that installing profiles never waits for a certificate.
            let secret = json!({ "secret": { "secretName": names::METRICS_SECRET, "optional": true,
                "defaultMode": 0o440 } });
            mounts.push(Mount {
                name: "metrics-certificate",
                source: secret,
                path: names::METRICS_CERTIFICATE_DIR.to_owned(),
                read_only: true,
            });
        }
        mounts
    }

    fn always(&self) -> Vec<Mount> {
        let seccomp = format!("{}/seccomp", self.environment.kubelet_dir.trim_end_matches('/'));
        vec![
            Mount::host("seccomp", &seccomp, "DirectoryOrCreate"),
            Mount::host("ledger", "/var/lib/security-profiles-operator", "DirectoryOrCreate"),
        ]
    }

    fn add_kubelet_dir(&self, container: &mut Value) {
        if let Some(variables) = container["env"].as_array_mut() {
            variables.push(variable("KUBELET_DIR", self.environment.kubelet_dir.trim_end_matches('/')));
        }
    }

    /// The containers of the recorders; each has to see every process of the host, and reads the kernel's log.
    fn recorders(&self) -> Vec<(Value, Vec<Mount>)> {
        let default = EnricherSettings::default();
        let settings = self.spec.enricher.as_ref().unwrap_or(&default);
        let flag = |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
        let mut all = Vec::new();
        if self.features.log_enricher {
            let source = settings.log_enricher_source.map(|source| match source {
                LogSource::Auditd => "Auditd".to_owned(),
                LogSource::Bpf => "Bpf".to_owned(),
            });
            let flags = [
                flag("enricher-filters-json", settings.log_enricher_filters.clone()),
                flag("enricher-log-source", source),
            ];
            all.push(("log-enricher", flags.into_iter().flatten().collect(), true));
        }
        if self.features.bpf_recorder {
            all.push(("bpf-recorder", Vec::new(), false));
        }
        if self.features.json_enricher {
            let number = |value: Option<i32>| value.map(|value| value.to_string());
            let options = settings.json_enricher_options.clone().unwrap_or_default();
            let flags = [
                flag("enricher-filters-json", settings.json_enricher_filters.clone()),
                flag("audit-log-interval-seconds", number(options.audit_log_interval_seconds)),
                flag("audit-log-path", options.audit_log_path),
                flag("audit-log-maxsize", number(options.audit_log_max_size)),
                flag("audit-log-maxbackup", number(options.audit_log_max_backups)),
                flag("audit-log-maxage", number(options.audit_log_max_age)),
            ];
            all.push(("json-enricher", flags.into_iter().flatten().collect(), true));
        }
        let build = |(name, flags, logs): (&'static str, Vec<String>, bool)| {
            let arguments: Vec<String> = [name.to_owned()].into_iter().chain(flags).collect();
            let mut container = container(name, &arguments, self.spec, self.environment);
            if let Some(variables) = container["env"].as_array_mut() {
                variables.insert(0, field("NODE_NAME", "spec.nodeName"));
            }
            container["securityContext"] = json!({ "privileged": true, "runAsUser": 0, "runAsGroup": 0,
                "readOnlyRootFilesystem": true });
            container["resources"] = resources("20m", "32Mi", "128Mi");
            (container, self.recorder_mounts(logs))
        };
        all.into_iter().map(build).collect()
    }

    fn recorder_mounts(&self, logs: bool) -> Vec<Mount> {
        let proc = self.spec.host_proc_volume_path.as_ref().map_or("/proc", |path| path.as_str());
        let mut mounts = vec![
            Mount::host("proc", proc, "Directory").at("/proc").read_only(),
            Mount::host("debug", "/sys/kernel/debug", "Directory").at("/sys/kernel/debug").read_only(),
            Mount::host("tracing", "/sys/kernel/tracing", "Directory").at("/sys/kernel/tracing").read_only(),
            Mount {
                name: "sockets",
                source: json!({ "emptyDir": {} }),
                path: "/var/run/grpc".to_owned(),
                read_only: false,
            },
        ];
        if logs {
            mounts.push(Mount::host("logs", "/var/log", "Directory").at("/var/log").read_only());
        }
        mounts
    }
}

/// Where a ConfigMap of SELinux templates is mounted.
const SELINUX_TEMPLATES: &str = "/usr/share/selinuxd/templates";

/// The taints that agents tolerate unless the SPOD says otherwise.
fn tolerations() -> Value {
    json!([
        { "key": "node-role.kubernetes.io/master", "operator": "Exists", "effect": "NoSchedule" },
        { "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" },
        { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" },
    ])
}
