//! Which release and which kernel a text needs.

use std::collections::BTreeSet;

use crate::{
    Unit,
    parse::Need,
    tree::{Class, RuleKind, Version},
};

/// What a text needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The oldest release that takes the text.
    pub version: Version,
    /// Why, the constructs that need the most first.
    pub needs: Vec<Need>,
    /// The kernel features that enforce its rules.
    pub features: BTreeSet<Feature>,
}

impl Target {
    /// The features without which rules of the text are silently not enforced on a kernel that has `present`.
    pub fn ignored<'a>(&'a self, present: &'a BTreeSet<Feature>) -> impl Iterator<Item = Feature> + 'a {
        self.features.difference(present).copied()
    }
}

/// A kernel feature, by its path below `/sys/kernel/security/apparmor/features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is named after its directory")]
pub enum Feature {
    File,
    Caps,
    Rlimit,
    Network,
    NetworkV9,
    Mount,
    Dbus,
    Signal,
    Ptrace,
    Unix,
    Namespaces,
    Mqueue,
    IoUring,
    Stacking,
}

impl Feature {
    /// Every feature with its path.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::File, "file"),
        (Self::Caps, "caps"),
        (Self::Rlimit, "rlimit"),
        (Self::Network, "network_v8"),
        (Self::NetworkV9, "network_v9"),
        (Self::Mount, "mount"),
        (Self::Dbus, "dbus"),
        (Self::Signal, "signal"),
        (Self::Ptrace, "ptrace"),
        (Self::Unix, "network/af_unix"),
        (Self::Namespaces, "namespaces/userns_create"),
        (Self::Mqueue, "ipc/posix_mqueue"),
        (Self::IoUring, "io_uring"),
        (Self::Stacking, "domain/stack"),
    ];

    /// The path below the features directory.
    pub fn path(self) -> &'static str {
        Self::ALL.iter().find(|(f, _)| *f == self).map_or("", |(_, path)| path)
    }
}

/// The features among the paths below `/sys/kernel/security/apparmor/features`.
pub fn features_of<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<Feature> {
    let paths: BTreeSet<&str> = paths.into_iter().map(|p| p.trim_matches('/')).collect();
    Feature::ALL
        .into_iter()
        .filter(|(_, path)| paths.iter().any(|p| p == path || p.starts_with(&format!("{path}/"))))
        .map(|(feature, _)| feature)
        .collect()
}

/// What a unit needs.
pub fn target(unit: &Unit) -> Target {
    let mut needs = unit.needs.clone();
    needs.sort_by_key(|n| (std::cmp::Reverse(n.version), n.range));
    let version = needs.first().map_or(Version::V3_0, |n| n.version);
    let mut features = BTreeSet::new();
    for flat in unit.profiles.iter().flat_map(|p| &p.rules) {
        match &flat.rule.kind {
            RuleKind::File(file) => {
                features.insert(Feature::File);
                if file.target.as_ref().is_some_and(|t| t.text.starts_with('&')) {
                    features.insert(Feature::Stacking);
                }
            }
            RuleKind::Link(_) => {
                features.insert(Feature::File);
            }
            RuleKind::Capability(_) => {
                features.insert(Feature::Caps);
            }
            RuleKind::Network(rule) => {
                features.insert(Feature::Network);
                if !rule.perms.is_empty() || !rule.conditions.is_empty() || !rule.peer.is_empty() {
                    features.insert(Feature::NetworkV9);
                }
            }
            RuleKind::Class(rule) => {
                features.insert(match rule.class {
                    Class::Unix => Feature::Unix,
                    Class::Dbus => Feature::Dbus,
                    Class::Signal => Feature::Signal,
                    Class::Ptrace => Feature::Ptrace,
                    Class::Mqueue => Feature::Mqueue,
                    Class::IoUring => Feature::IoUring,
                    Class::Userns => Feature::Namespaces,
                });
            }
            RuleKind::Mount(_) | RuleKind::PivotRoot(_) => {
                features.insert(Feature::Mount);
            }
            RuleKind::ChangeProfile(change) => {
                features.insert(Feature::File);
                if change.target.as_ref().is_some_and(|t| t.text.starts_with('&')) {
                    features.insert(Feature::Stacking);
                }
            }
            RuleKind::Rlimit(_) => {
                features.insert(Feature::Rlimit);
            }
            // Grants everything, so a class that is not mediated changes nothing.
            RuleKind::All => {}
        }
    }
    Target { version, needs, features }
}
