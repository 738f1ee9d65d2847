//! Security profiles as Kubernetes resources: the operator's processes, and the same work on a host without a
//! cluster.
//!
//! * [`standalone`]: a directory of manifests in the place of an API server.
//! * [`aggregate`]: where a profile stands on all nodes together.
//! * [`workloads`]: which profiles a pod uses.
//! * [`daemon`]: the agent of a node.
//! * [`metrics`]: its metrics.
//! * [`webhook`]: admission and conversion for the API server.
//! * [`render`]: what the operator's configuration becomes in a cluster, and the files of `deploy/`.
//! * [`non_root_enabler`]: prepares a node, once, with the rights that the agent then does without.
//! * [`manager`]: what happens once per cluster: configuration, certificates, status, election.
//! * [`cluster`]: what things are called in a cluster, and the objects of the group as watches tell them.
//! * [`process`]: what every process has: flags, log, probes, certificates.
//!
//! ```
//! use spo_operator::standalone::{Options, run_once};
//!
//! let manifests = tempfile::tempdir()?;
//! std::fs::write(
//!     manifests.path().join("profile.yaml"),
//!     "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\n\
//!      kind: SeccompProfile\n\
//!      metadata: {name: reader, namespace: production}\n\
//!      spec: {defaultAction: SCMP_ACT_ERRNO, syscalls: [{action: SCMP_ACT_ALLOW, names: [read]}]}\n",
//! )?;
//! let node = tempfile::tempdir()?;
//! let report = run_once(&Options::new(manifests.path(), node.path()))?;
//! assert!(report.is_success());
//! assert!(node.path().join("var/lib/kubelet/seccomp/operator/production/reader.json").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod cluster;
pub mod daemon;
pub mod kubelet_dir;
pub mod manager;
pub mod metrics;
pub mod non_root_enabler;
pub mod process;
pub mod render;
pub mod standalone;
pub mod version;
pub mod webhook;
pub mod workloads;
