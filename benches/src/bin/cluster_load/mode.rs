//! How nodes report.

use clap::ValueEnum;

/// `spec.statusMode` of the SecurityProfilesOperatorDaemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One status for each profile and node.
    PerProfile,
    /// One status for each node.
    PerNode,
}

impl Mode {
    /// The one that was asked for, else both.
    pub(crate) fn chosen(asked: Option<Self>) -> Vec<Self> {
        asked.map_or_else(|| vec![Self::PerProfile, Self::PerNode], |mode| vec![mode])
    }

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PerProfile => "a status per profile and node",
            Self::PerNode => "a status per node",
        }
    }

    /// The arguments of `kubectl` that switch it on.
    pub(crate) const fn patch(self, namespace: &str) -> [&str; 7] {
        let patch = match self {
            Self::PerProfile => r#"{"spec":{"statusMode":"PerProfile"}}"#,
            Self::PerNode => r#"{"spec":{"statusMode":"PerNode"}}"#,
        };
        ["patch", "spod/spod", "-n", namespace, "--type=merge", "-p", patch]
    }
}
