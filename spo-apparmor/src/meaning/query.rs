//! Questions about one path, and which paths have a permission.

use super::{Compiled, Decision, Entry, ExecOutcome, Subject};
use crate::{
    Unit,
    aare::Aare,
    expand::FlatProfile,
    tree::{Access, ExecKind, Fallback, FilePerms},
};

/// Whether an access goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every permission that was asked for is allowed.
    Allowed,
    /// A rule denies one of them.
    Denied,
    /// No rule allows one of them.
    NotAllowed,
}

/// The answer to a question about a path.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Whether it goes through.
    pub verdict: Verdict,
    /// What of the question is allowed.
    pub allowed: FilePerms,
    /// What of it a rule denies.
    pub denied: FilePerms,
    /// The rules that match the path and are about one of the permissions.
    pub rules: Vec<&'a Entry>,
    /// How a program would run, when `x` was asked for and is allowed.
    pub exec: Option<&'a ExecOutcome>,
}

/// One way in which a permission is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The glob of the rule.
    pub glob: String,
    /// A shortest path that really has the permission.
    pub example: String,
    /// The rule.
    pub rule: usize,
}

impl Compiled {
    /// May the path be accessed like this?
    ///
    /// ```
    /// use spo_apparmor::{NoIncludes, load, meaning::{Compiled, Subject, Verdict}, tree::FilePerms};
    ///
    /// let unit = load("profile p {\n  /etc/** r,\n  deny /etc/shadow rw,\n}\n", &NoIncludes, Default::default());
    /// let compiled = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
    /// let read = |path| compiled.query(path, FilePerms::READ, Subject::Other).verdict;
    /// assert_eq!(read("/etc/hosts"), Verdict::Allowed);
    /// assert_eq!(read("/etc/shadow"), Verdict::Denied);
    /// assert_eq!(read("/root/x"), Verdict::NotAllowed);
    /// ```
    pub fn query(&self, path: &str, perms: FilePerms, subject: Subject) -> Answer<'_> {
        let set = self.dfa.set_index(path.as_bytes());
        let decision: &Decision = &self.decisions[set][subject.half()];
        let allowed = decision.allow.intersection(perms);
        let denied = decision.deny.intersection(perms);
        let verdict = if !denied.is_empty() {
            Verdict::Denied
        } else if allowed == perms {
            Verdict::Allowed
        } else {
            Verdict::NotAllowed
        };
        let rules = self
            .entries_of_set(set)
            .filter(|e| e.in_half(subject.half()) && e.perms.intersects(perms))
            .collect();
        let exec = if allowed.contains(FilePerms::EXEC) { decision.exec.as_ref() } else { None };
        Answer { verdict, allowed, denied, rules, exec }
    }

    /// Paths that may be written and executed: a shortest one per set of rules, the owner half, and the rules.
    pub(crate) fn writable_programs(&self) -> Vec<(String, usize, Vec<&Entry>)> {
        let writes = FilePerms::WRITE | FilePerms::APPEND;
        let both = |d: &Decision| d.allow.contains(FilePerms::EXEC) && d.allow.intersects(writes);
        let shortest = self.dfa.shortest();
        let mut found = Vec::new();
        for (set, word) in shortest.iter().enumerate() {
            let half = self.decisions[set].iter().position(both);
            if let (Some(word), Some(half)) = (word, half) {
                let path = String::from_utf8_lossy(word).into_owned();
                found.push((path, half, self.entries_of_set(set).collect()));
            }
        }
        found
    }

    /// The paths that have all of the permissions, as the globs of the rules with an example each.
    ///
    /// A rule is listed when some path gets a permission through it; the example takes denies into account.
    pub fn which(&self, perms: FilePerms, subject: Subject) -> Vec<Which> {
        let shortest = self.dfa.shortest();
        let mut found: Vec<Which> = Vec::new();
        for entry in self
            .entries
            .iter()
            .filter(|e| e.access == Access::Allow && e.perms.intersects(perms) && e.in_half(subject.half()))
        {
            let example = (0..self.decisions.len())
                .filter(|set| self.decisions[*set][subject.half()].allow.contains(perms))
                .filter(|set| self.dfa.sets()[*set].contains(&entry.glob))
                .filter_map(|set| shortest[set].as_ref())
                .min_by_key(|word| (word.len(), (*word).clone()));
            if let Some(example) = example
                && !found.iter().any(|w| w.glob == entry.path)
            {
                let example = String::from_utf8_lossy(example).into_owned();
                found.push(Which { glob: entry.path.clone(), example, rule: entry.rule });
            }
        }
        found
    }
}

impl Unit {
    /// The name of the profile a program runs under after exec, as far as the unit knows it.
    ///
    /// `None` when a profile outside of the unit would be looked up by path.
    pub fn profile_after_exec(
        &self,
        profile: &FlatProfile,
        outcome: &ExecOutcome,
        path: &str,
    ) -> Option<String> {
        let fallback = || match outcome.exec.fallback {
            Some(Fallback::Inherit) => Some(profile.name.clone()),
            Some(Fallback::Unconfined) => Some("unconfined".to_owned()),
            None => None,
        };
        let matching = |p: &&FlatProfile| {
            p.attachments.iter().any(|a| Aare::parse(a).is_ok_and(|a| a.matches(path.as_bytes())))
        };
        match (outcome.exec.kind, &outcome.target) {
            (ExecKind::Inherit, _) => Some(profile.name.clone()),
            (ExecKind::Unconfined, _) => Some("unconfined".to_owned()),
            (ExecKind::Profile, Some(target)) => Some(target.clone()),
            (ExecKind::Child, Some(target)) => Some(format!("{}//{target}", profile.name)),
            (ExecKind::Profile, None) => {
                let found = self.profiles.iter().filter(|p| p.parent.is_none()).filter(matching);
                found.map(|p| p.name.clone()).next().or_else(fallback)
            }
            (ExecKind::Child, None) => {
                let parent = self.profiles.iter().position(|p| p.name == profile.name);
                let found = self
                    .profiles
                    .iter()
                    .filter(|p| p.parent.is_some() && p.parent == parent)
                    .filter(matching);
                found.map(|p| p.name.clone()).next().or_else(fallback)
            }
        }
    }
}
