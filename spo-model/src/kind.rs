//! The eight kinds: their names, versions, scope and how `kubectl` prints them.

use crate::text_enum::text_enum;

/// The API group of every kind.
pub const GROUP: &str = "security-profiles-operator.x-k8s.io";

text_enum! {
    /// A kind of the API group. `ApparmorProfile` is read as `AppArmorProfile`.
    pub enum Kind {
        /// Syscalls.
        SeccompProfile = "SeccompProfile",
        /// An SELinux profile as a description.
        SelinuxProfile = "SelinuxProfile",
        /// An SELinux profile as policy text.
        RawSelinuxProfile = "RawSelinuxProfile",
        /// An AppArmor profile.
        AppArmorProfile = "AppArmorProfile" | "ApparmorProfile",
        /// Record a profile.
        ProfileRecording = "ProfileRecording",
        /// Bind a profile to images.
        ProfileBinding = "ProfileBinding",
        /// A profile's state on a node.
        SecurityProfileNodeStatus = "SecurityProfileNodeStatus",
        /// The operator's configuration.
        SecurityProfilesOperatorDaemon = "SecurityProfilesOperatorDaemon",
    }
}

text_enum! {
    /// A served version of the API group.
    pub enum Version {
        /// Recording, binding, AppArmor, node status and SPOD up to 0.10.
        V1alpha1 = "v1alpha1",
        /// SELinux up to 0.10.
        V1alpha2 = "v1alpha2",
        /// Seccomp up to 0.10.
        V1beta1 = "v1beta1",
        /// All kinds, stored.
        V1 = "v1",
    }
}

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

impl Scope {
    /// The word a CRD uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaced => "Namespaced",
            Self::Cluster => "Cluster",
        }
    }
}

/// A column `kubectl get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The JSON type.
    pub type_: &'static str,
    /// Where the value is.
    pub json_path: &'static str,
    /// Above 0 the column is printed with `-o wide` only.
    pub priority: i32,
}

impl Kind {
    /// The lower-case plural in URLs and in `kubectl get`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::SeccompProfile => "seccompprofiles",
            Self::SelinuxProfile => "selinuxprofiles",
            Self::RawSelinuxProfile => "rawselinuxprofiles",
            Self::AppArmorProfile => "apparmorprofiles",
            Self::ProfileRecording => "profilerecordings",
            Self::ProfileBinding => "profilebindings",
            Self::SecurityProfileNodeStatus => "securityprofilenodestatuses",
            Self::SecurityProfilesOperatorDaemon => "securityprofilesoperatordaemons",
        }
    }

    /// The lower-case singular.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::SeccompProfile => "seccompprofile",
            Self::SelinuxProfile => "selinuxprofile",
            Self::RawSelinuxProfile => "rawselinuxprofile",
            Self::AppArmorProfile => "apparmorprofile",
            Self::ProfileRecording => "profilerecording",
            Self::ProfileBinding => "profilebinding",
            Self::SecurityProfileNodeStatus => "securityprofilenodestatus",
            Self::SecurityProfilesOperatorDaemon => "securityprofilesoperatordaemon",
        }
    }

    /// The short name `kubectl` knows, if there is one.
    pub const fn short_name(self) -> Option<&'static str> {
        match self {
            Self::SeccompProfile => Some("sp"),
            Self::AppArmorProfile => Some("aa"),
            Self::SecurityProfileNodeStatus => Some("spns"),
            Self::SecurityProfilesOperatorDaemon => Some("spod"),
            _ => None,
        }
    }

    /// The version served beside `v1`: the one that releases up to 0.10 had.
    pub const fn old_version(self) -> Version {
        match self {
            Self::SeccompProfile => Version::V1beta1,
            Self::SelinuxProfile | Self::RawSelinuxProfile => Version::V1alpha2,
            _ => Version::V1alpha1,
        }
    }

    /// The served versions, the stored one first.
    pub const fn versions(self) -> [Version; 2] {
        [Version::V1, self.old_version()]
    }

    /// Whether objects of the kind are profiles that end up on nodes.
    pub const fn is_profile(self) -> bool {
        matches!(
            self,
            Self::SeccompProfile | Self::SelinuxProfile | Self::RawSelinuxProfile | Self::AppArmorProfile
        )
    }

    /// The kind's scope when profiles have the scope given: recordings, bindings and the SPOD always live in
    /// a namespace, profiles and node statuses as the installation chose.
    pub const fn scope(self, profiles: Scope) -> Scope {
        match self {
            Self::ProfileRecording | Self::ProfileBinding | Self::SecurityProfilesOperatorDaemon => {
                Scope::Namespaced
            }
            _ => profiles,
        }
    }

    /// The columns `kubectl get` prints.
    pub const fn columns(self) -> &'static [Column] {
        const fn text(name: &'static str, json_path: &'static str, priority: i32) -> Column {
            Column { name, type_: "string", json_path, priority }
        }
        const AGE: Column =
            Column { name: "Age", type_: "date", json_path: ".metadata.creationTimestamp", priority: 0 };
        const STATUS: Column = text("Status", ".status.status", 0);
        const NODES: Column = text("Nodes", ".status.nodes", 0);
        match self {
            Self::SeccompProfile => {
                const { &[STATUS, NODES, AGE, text("LocalhostProfile", ".status.localhostProfile", 10)] }
            }
            Self::SelinuxProfile | Self::RawSelinuxProfile => {
                const { &[text("Usage", ".status.usage", 0), text("State", ".status.status", 0), NODES] }
            }
            Self::AppArmorProfile => const { &[STATUS, NODES] },
            Self::ProfileRecording => const { &[text("PodSelector", ".spec.podSelector", 10)] },
            Self::ProfileBinding => &[],
            Self::SecurityProfileNodeStatus => const { &[STATUS, AGE, text("Node", ".spec.nodeName", 10)] },
            Self::SecurityProfilesOperatorDaemon => const { &[text("State", ".status.state", 0)] },
        }
    }
}

/// A version of the group that some release served and none does now, with what became of it.
#[cfg(feature = "documents")]
pub(crate) fn retired(kind: Kind, version: &str) -> Option<&'static str> {
    match (kind, version) {
        (Kind::SeccompProfile, "v1alpha1") => Some("write it as v1beta1 or v1"),
        (Kind::SelinuxProfile, "v1alpha1") => Some("a raw policy is a RawSelinuxProfile now"),
        _ => None,
    }
}
