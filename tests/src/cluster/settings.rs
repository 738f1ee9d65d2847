//! What kubelet, containerd and the pod network of a node are told.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::DNS;

/// Where the files of a node are, as its own processes see them.
pub(super) struct Places {
    /// The registry's mirrors.
    pub(super) mirrors: PathBuf,
    /// The settings of the pod network.
    pub(super) cni: PathBuf,
    /// The addresses that pods were given.
    pub(super) addresses: PathBuf,
    /// The cluster's authority, and the node's own certificate and key.
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What the kernel of a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modules {
    /// Neither AppArmor nor SELinux.
    None,
    /// AppArmor.
    AppArmor,
    /// SELinux.
    Selinux,
}

pub(super) fn containerd(places: &Places, modules: Modules) -> String {
    format!(
        "version = 2
disabled_plugins = [\"io.containerd.internal.v1.tracing\", \"io.containerd.tracing.processor.v1.otlp\"]
[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"registry.k8s.io/pause:1\"
  disable_apparmor = {}
  enable_selinux = {}
  restrict_oom_score_adj = true
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
  runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".registry]
  config_path = {:?}
[plugins.\"io.containerd.grpc.v1.cri\".cni]
  bin_dir = \"/usr/lib/cni\"
  conf_dir = {:?}
",
        modules != Modules::AppArmor,
        modules == Modules::Selinux,
        places.mirrors,
        places.cni,
    )
}

pub(super) fn pod_network(places: &Places, number: usize) -> Value {
    json!({ "cniVersion": "0.4.0", "name": format!("pods-{number}"), "plugins": [{
        "type": "ptp", "ipMasq": false, "ipam": {
            "type": "host-local", "dataDir": places.addresses,
            "ranges": [[{ "subnet": format!("10.88.{number}.0/24") }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    }]})
}

pub(super) fn kubelet(places: &Places, address: &str, group: &Path, lease: u8) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true },
            "x509": { "clientCAFile": places.authority } },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs", "cgroupRoot": group, "failCgroupV1": false,
        "failSwapOn": false, "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock", "runtimeRequestTimeout": "10m",
        "address": address, "healthzPort": 0, "readOnlyPort": 0,
        "tlsCertFile": places.certificate, "tlsPrivateKeyFile": places.key,
        "resolvConf": "", "clusterDNS": [DNS], "clusterDomain": "cluster.local",
        // Rules for Services are the host's.
        "makeIPTablesUtilChains": false,
        "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": lease,
        "imageGCHighThresholdPercent": 100, "evictionHard": { "memory.available": "30Mi" },
    })
}

/// A file by which a client finds the API server.
pub(super) fn kubeconfig(server: &str, places: &Places) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server, "certificate-authority": places.authority } }],
        "users": [{ "name": "u", "user":
            { "client-certificate": places.certificate, "client-key": places.key } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    })
}
