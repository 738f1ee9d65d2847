//! ProfileRecording: turn what some pods do into a profile.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{kubernetes::LabelSelector, text_enum::text_enum};

/// `spec` of a ProfileRecording, in the hub form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProfileRecordingSpec {
    /// What kind of profile is made.
    pub kind: ProfileKind,
    /// Where the observations come from.
    pub recorder: Recorder,
    /// Whether the profiles of several containers are merged when the recording is deleted.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub merge_strategy: MergeStrategy,
    /// The pods that are recorded; an empty selector means all of the namespace.
    pub pod_selector: LabelSelector,
    /// The containers that are recorded; absent means all containers and init containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub containers: Option<Vec<String>>,
    /// Whether the profile that is made starts out disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub disable_profile_after_recording: Option<bool>,
}

text_enum! {
    /// The kinds of profile that can be recorded. The 0.9 and 0.10 releases, and the guide, spell the
    /// last one `ApparmorProfile`.
    pub enum ProfileKind {
        /// Syscalls.
        SeccompProfile = "SeccompProfile",
        /// SELinux permissions.
        SelinuxProfile = "SelinuxProfile",
        /// AppArmor rules.
        AppArmorProfile = "AppArmorProfile" | "ApparmorProfile",
    }
}

text_enum! {
    /// Where observations come from.
    pub enum Recorder {
        /// An eBPF program.
        Bpf = "Bpf",
        /// The kernel's audit records.
        Logs = "Logs",
    }
}

text_enum! {
    /// What happens to the profiles of one recording.
    #[derive(Default)]
    pub enum MergeStrategy {
        /// One profile per container.
        #[default]
        None = "None",
        /// One profile per container name, merged over all pods when the recording is deleted.
        Containers = "Containers",
    }
}

/// `status` of a ProfileRecording and of a ProfileBinding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ActiveWorkloads {
    /// Pods that the object applies to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub active_workloads: Option<Vec<String>>,
}
