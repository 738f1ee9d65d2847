//! The classes that are not files, as sets of grants.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::apparmor::Capability;

use crate::{
    aare::Aare,
    expand::FlatProfile,
    parse::{SIGNALS, SOCKET_TYPES},
    tree::{Access, Class, ClassPerms, Condition, Rule, RuleKind},
};

/// One indivisible thing a profile may do, for example to send `term` to peer `x`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The class, for example `signal`.
    pub class: &'static str,
    /// What of the class, for example `send term`; empty where the class has no parts.
    pub what: String,
    /// What narrows it: conditions and their glob.
    pub narrowed: BTreeMap<String, String>,
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.class)?;
        if !self.what.is_empty() {
            write!(f, " {}", self.what)?;
        }
        self.narrowed.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl Grant {
    /// Whether everything the other grants is granted by this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.class == other.class
            && self.what == other.what
            && self.narrowed.iter().all(|(key, glob)| {
                other.narrowed.get(key).is_some_and(|value| {
                    glob == value
                        || Aare::parse(glob).is_ok_and(|glob| {
                            let literal = Aare::parse(value).ok().and_then(|v| v.as_literal());
                            literal.is_some_and(|text| glob.matches(&text))
                        })
                })
            })
    }

    /// Whether there may be something that both grant.
    fn overlaps(&self, other: &Self) -> bool {
        self.class == other.class
            && self.what == other.what
            && self.narrowed.iter().all(|(key, a)| {
                other.narrowed.get(key).is_none_or(|b| match (Aare::parse(a), Aare::parse(b)) {
                    (Ok(a), Ok(b)) => !matches!(crate::dfa::intersection_witness(&a, &b), Ok(None)),
                    _ => true,
                })
            })
    }
}

/// What a profile grants besides files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// What is allowed and not wholly denied.
    pub allowed: BTreeSet<Grant>,
    /// Denies that take a part of an allowed grant away.
    pub carved: BTreeSet<Grant>,
    /// Denies that meet no allow: they only keep the log quiet.
    pub quiet: BTreeSet<Grant>,
}

impl Grants {
    /// The grants of a profile.
    pub fn of(profile: &FlatProfile) -> Self {
        let mut allowed = BTreeSet::new();
        let mut denied: BTreeSet<Grant> = BTreeSet::new();
        for flat in &profile.rules {
            let set = if flat.rule.prefix.access == Some(Access::Deny) { &mut denied } else { &mut allowed };
            set.extend(grants_of(&flat.rule));
        }
        // Only grants of the same class and part can meet.
        let mut by_part: BTreeMap<(&str, &str), Vec<&Grant>> = BTreeMap::new();
        for deny in &denied {
            by_part.entry((deny.class, &deny.what)).or_default().push(deny);
        }
        let beaten = |g: &Grant| {
            by_part.get(&(g.class, g.what.as_str())).is_some_and(|list| list.iter().any(|d| d.covers(g)))
        };
        allowed.retain(|g: &Grant| !beaten(g));
        let mut left: BTreeMap<(&str, &str), Vec<&Grant>> = BTreeMap::new();
        for allow in &allowed {
            left.entry((allow.class, &allow.what)).or_default().push(allow);
        }
        let (carved, quiet) = denied.iter().cloned().partition(|d| {
            left.get(&(d.class, d.what.as_str())).is_some_and(|list| list.iter().any(|a| a.overlaps(d)))
        });
        Self { allowed, carved, quiet }
    }

    /// Whether a grant is allowed, and no deny touches it.
    pub fn allows(&self, grant: &Grant) -> bool {
        self.allowed.iter().any(|g| g.covers(grant)) && !self.carved.iter().any(|d| d.overlaps(grant))
    }
}

/// The grants of one rule; none for file rules.
pub(crate) fn grants_of(rule: &Rule) -> Vec<Grant> {
    let plain = |class, what: String| Grant { class, what, narrowed: BTreeMap::new() };
    match &rule.kind {
        RuleKind::Capability(names) if names.is_empty() => {
            Capability::ALL.iter().map(|c| plain("capability", c.as_str().to_owned())).collect()
        }
        RuleKind::Capability(names) => names.iter().map(|n| plain("capability", n.text.clone())).collect(),
        RuleKind::Network(network) => {
            let narrowed = narrow(&network.conditions, &network.peer);
            let perms = words(network.perms, ClassPerms::SOCKET);
            let mut list = Vec::new();
            for (family, kind) in network_parts(network.family, network.socket_type, network.protocol) {
                for perm in &perms {
                    let what = format!("{family} {kind} {perm}");
                    list.push(Grant { class: "network", what, narrowed: narrowed.clone() });
                }
            }
            list
        }
        RuleKind::Class(class) => {
            let mut narrowed = narrow(&class.conditions, &class.peer);
            if let Some(name) = &class.name {
                narrowed.insert("name".to_owned(), name.text.clone());
            }
            let perms = words(class.perms, class.class.permissions());
            if class.class == Class::Signal {
                let set: Vec<String> = class
                    .conditions
                    .iter()
                    .filter(|c| c.key == "set")
                    .flat_map(|c| c.values.iter().map(|v| v.text.clone()))
                    .collect();
                narrowed.remove("set");
                let every = || {
                    let words = SIGNALS.iter().map(|s| (*s).to_owned());
                    words.chain((0..=32).map(|n| format!("rtmin+{n}"))).collect()
                };
                let signals: Vec<String> = if set.is_empty() { every() } else { set };
                return perms
                    .iter()
                    .flat_map(|perm| signals.iter().map(move |signal| format!("{perm} {signal}")))
                    .map(|what| Grant { class: "signal", what, narrowed: narrowed.clone() })
                    .collect();
            }
            perms
                .into_iter()
                .map(|perm| Grant {
                    class: class.class.as_str(),
                    what: perm.to_owned(),
                    narrowed: narrowed.clone(),
                })
                .collect()
        }
        RuleKind::Mount(mount) => {
            let mut narrowed = narrow(&mount.conditions, &[]);
            for (key, value) in [("source", &mount.source), ("target", &mount.target)] {
                if let Some(value) = value {
                    narrowed.insert(key.to_owned(), value.text.clone());
                }
            }
            vec![Grant { class: mount.kind.as_str(), what: String::new(), narrowed }]
        }
        RuleKind::PivotRoot(pivot) => {
            let mut narrowed = narrow(&pivot.conditions, &[]);
            for (key, value) in [("root", &pivot.new_root), ("profile", &pivot.profile)] {
                if let Some(value) = value {
                    narrowed.insert(key.to_owned(), value.text.clone());
                }
            }
            vec![Grant { class: "pivot_root", what: String::new(), narrowed }]
        }
        RuleKind::ChangeProfile(change) => {
            let mut narrowed = BTreeMap::new();
            for (key, value) in [("exec", &change.exec), ("target", &change.target)] {
                if let Some(value) = value {
                    narrowed.insert(key.to_owned(), value.text.clone());
                }
            }
            vec![Grant { class: "change_profile", what: String::new(), narrowed }]
        }
        RuleKind::Rlimit(limit) => {
            let narrowed = BTreeMap::from([("limit".to_owned(), limit.text.clone())]);
            vec![Grant { class: "rlimit", what: limit.resource.to_owned(), narrowed }]
        }
        RuleKind::All => all_grants(),
        RuleKind::File(_) | RuleKind::Link(_) => Vec::new(),
    }
}

fn all_grants() -> Vec<Grant> {
    let class_rule = |class| {
        RuleKind::Class(crate::tree::ClassRule {
            class,
            perms: ClassPerms::default(),
            name: None,
            conditions: Vec::new(),
            peer: Vec::new(),
        })
    };
    let mount = |kind| {
        RuleKind::Mount(crate::tree::MountRule { kind, conditions: Vec::new(), source: None, target: None })
    };
    use crate::tree::MountKind::{Mount, Remount, Umount};
    let classes = [
        Class::Unix,
        Class::Dbus,
        Class::Signal,
        Class::Ptrace,
        Class::Mqueue,
        Class::IoUring,
        Class::Userns,
    ];
    let mut kinds: Vec<RuleKind> = classes.into_iter().map(class_rule).collect();
    kinds.extend([Mount, Remount, Umount].map(mount));
    kinds.push(RuleKind::Capability(Vec::new()));
    kinds.push(RuleKind::Network(crate::tree::NetworkRule::default()));
    kinds.push(RuleKind::ChangeProfile(crate::tree::ChangeProfileRule::default()));
    kinds.push(RuleKind::PivotRoot(crate::tree::PivotRootRule {
        conditions: Vec::new(),
        new_root: None,
        profile: None,
    }));
    kinds.into_iter().flat_map(|kind| grants_of(&Rule::new(kind))).collect()
}

fn words(perms: ClassPerms, all: ClassPerms) -> Vec<&'static str> {
    if perms.is_empty() { all.words().collect() } else { perms.words().collect() }
}

fn narrow(conditions: &[Condition], peer: &[Condition]) -> BTreeMap<String, String> {
    let value = |c: &Condition| {
        let values: Vec<_> = c.values.iter().map(|v| v.text.as_str()).collect();
        if values.len() == 1 { values[0].to_owned() } else { format!("{{{}}}", values.join(",")) }
    };
    let own = conditions.iter().map(|c| (c.key.clone(), value(c)));
    own.chain(peer.iter().map(|c| (format!("peer.{}", c.key), value(c)))).collect()
}

/// Families and types a network rule is about; `tcp` alone is about both versions of IP.
fn network_parts(
    family: Option<&'static str>,
    kind: Option<&'static str>,
    protocol: Option<&'static str>,
) -> Vec<(&'static str, &'static str)> {
    let families: Vec<&'static str> = match (family, protocol) {
        (Some(family), _) => vec![family],
        (None, Some("icmp")) => vec!["inet"],
        (None, Some(_)) => vec!["inet", "inet6"],
        (None, None) => crate::parse::NETWORK_FAMILIES.to_vec(),
    };
    let kinds: Vec<&'static str> = match (kind, protocol) {
        (Some(kind), _) => vec![kind],
        (None, Some("tcp")) => vec!["stream"],
        (None, Some("udp")) => vec!["dgram"],
        (None, Some(_)) => vec!["raw"],
        (None, None) => SOCKET_TYPES.to_vec(),
    };
    families.iter().flat_map(|f| kinds.iter().map(move |k| (*f, *k))).collect()
}
