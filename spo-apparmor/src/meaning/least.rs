//! What a profile grants against what was used.

use std::collections::{BTreeMap, BTreeSet};

use super::{Compiled, Grant, Grants, Subject, grants::grants_of};
use crate::{
    expand::FlatProfile,
    tree::{Access, FilePerms},
};

/// Something that a program did or tried to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Accessed a file.
    File {
        /// The path.
        path: String,
        /// The permissions used.
        perms: FilePerms,
        /// Whose file.
        subject: Subject,
    },
    /// Used another grant.
    Grant(Grant),
}

/// A rule that is wider than its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBroad {
    /// The rule.
    pub rule: usize,
    /// Its glob.
    pub glob: String,
    /// The paths that were used under it.
    pub used: Vec<String>,
    /// Permissions that were not used under it.
    pub unused: FilePerms,
}

/// How a profile stands to events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Least {
    /// Events the profile does not allow; file events with what is missing only.
    pub missing: Vec<Event>,
    /// Rules that no event used.
    pub unused: Vec<usize>,
    /// Rules with a wildcard under which at most three paths were used, or with unused permissions.
    pub over_broad: Vec<OverBroad>,
}

/// Compares a profile with events.
pub fn least(profile: &FlatProfile, compiled: &Compiled, grants: &Grants, events: &[Event]) -> Least {
    let mut result = Least::default();
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut paths: BTreeMap<usize, (BTreeSet<&str>, FilePerms)> = BTreeMap::new();
    for event in events {
        match event {
            Event::File { path, perms, subject } => {
                let answer = compiled.query(path, *perms, *subject);
                let missing = perms.without(answer.allowed);
                if !missing.is_empty() {
                    let (path, subject) = (path.clone(), *subject);
                    result.missing.push(Event::File { path, perms: missing, subject });
                }
                for entry in answer.rules.iter().filter(|e| e.access != Access::Deny) {
                    used.insert(entry.rule);
                    let record = paths.entry(entry.rule).or_default();
                    record.0.insert(path);
                    record.1 = record.1 | entry.perms.intersection(*perms);
                }
            }
            Event::Grant(grant) => {
                if !grants.allows(grant) {
                    result.missing.push(event.clone());
                }
                for (index, flat) in profile.rules.iter().enumerate() {
                    if grants_of(&flat.rule).iter().any(|g| g.covers(grant)) {
                        used.insert(index);
                    }
                }
            }
        }
    }
    let rlimit = |index: usize| matches!(profile.rules[index].rule.kind, crate::tree::RuleKind::Rlimit(_));
    result.unused = (0..profile.rules.len())
        .filter(|i| {
            !used.contains(i) && !rlimit(*i) && profile.rules[*i].rule.prefix.access != Some(Access::Deny)
        })
        .collect();
    for entry in compiled.entries() {
        let Some((used, perms)) = paths.get(&entry.rule) else { continue };
        let unused = entry.perms.without(perms.effective());
        // Write brings append with it; only one of them is ever asked for.
        let unused =
            if perms.contains(FilePerms::APPEND) { unused } else { unused.without(FilePerms::APPEND) };
        if (!entry.exact && used.len() <= 3) || !unused.is_empty() {
            result.over_broad.push(OverBroad {
                rule: entry.rule,
                glob: entry.path.clone(),
                used: used.iter().map(|p| (*p).to_owned()).collect(),
                unused,
            });
        }
    }
    result
}
