//! The operator's check of a profile against a list of allowed syscalls and actions.

use std::{collections::BTreeSet, fmt};

use spo_model::{
    Diagnostic, FieldPath,
    seccomp::{Action, SeccompProfileSpec, SyscallName},
};

/// What a cluster's administrator allows profiles to permit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// The syscalls a profile may permit. Empty: no check at all.
    pub syscalls: BTreeSet<SyscallName>,
    /// The permissive actions that may appear (allow, log, trace, notify). Empty: all of them.
    pub actions: BTreeSet<Action>,
    /// The existing operator's reading: an action that is not listed is not checked instead of refused.
    pub unlisted_actions_pass: bool,
}

/// Everything in a (merged) profile that the list does not allow, in the order of the document; empty when it passes.
///
/// Rules that deny are free. A permissive default action is refused, since it permits calls the list does not name.
/// Arguments do not count: a call that is permitted for some arguments is permitted.
pub fn check_allowed(profile: &SeccompProfileSpec, list: &AllowList) -> Vec<Diagnostic> {
    findings(profile, list).into_iter().map(Finding::diagnostic).collect()
}

/// As [`check_allowed`], for a status or a log: each thing once and without its place, which with hundreds of syscalls
/// is most of the text. `None` when the profile passes.
pub fn excess(profile: &SeccompProfileSpec, list: &AllowList) -> Option<Excess> {
    let mut excess = Excess::default();
    for finding in findings(profile, list) {
        match finding {
            Finding::ListDenies(action) => excess.listed = Some(action),
            Finding::Default(action) => excess.default_action = Some(action),
            Finding::Action(_, action) => {
                excess.actions.insert(action);
            }
            Finding::Syscall(_, _, name) => {
                excess.syscalls.insert(name.clone());
            }
        }
    }
    (excess != Excess::default()).then_some(excess)
}

/// What a profile permits beyond an [`AllowList`].
///
/// The text form is one sentence, the syscalls at its end:
/// `not allowed: the default action SCMP_ACT_LOG; the action SCMP_ACT_TRACE; the syscalls bpf, mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excess {
    /// An action of the list itself that permits nothing, so that no profile can pass.
    pub listed: Option<Action>,
    /// The default action, if it permits every call.
    pub default_action: Option<Action>,
    /// Actions of rules.
    pub actions: BTreeSet<Action>,
    /// Syscalls.
    pub syscalls: BTreeSet<SyscallName>,
}

impl Excess {
    /// The sentence in at most `most` bytes: syscalls that do not fit are counted, `… and 280 more`. What comes before
    /// them is never shortened.
    pub fn within(&self, most: usize) -> String {
        let whole = self.to_string();
        if whole.len() <= most {
            return whole;
        }
        let counted = |told: usize| {
            let names: Vec<&str> = self.syscalls.iter().take(told).map(SyscallName::as_str).collect();
            match (names.is_empty(), self.syscalls.len() - told) {
                (true, all) => self.sentence(&format!("{all} syscalls")),
                (false, more) => self.sentence(&format!("the syscalls {} and {more} more", names.join(", "))),
            }
        };
        let fits = |told: &usize| counted(*told).len() <= most;
        counted((1..self.syscalls.len()).rev().find(fits).unwrap_or(0))
    }

    fn sentence(&self, syscalls: &str) -> String {
        let actions: Vec<String> = self.actions.iter().map(Action::to_string).collect();
        let parts = [
            self.listed.map(|a| format!("the list of allowed actions names {a}, which permits nothing")),
            self.default_action.map(|a| format!("the default action {a}")),
            (!actions.is_empty())
                .then(|| format!("the action{} {}", plural(actions.len()), actions.join(", "))),
            (!self.syscalls.is_empty()).then(|| syscalls.to_owned()),
        ];
        format!("not allowed: {}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.syscalls.iter().map(SyscallName::as_str).collect();
        f.write_str(&self.sentence(&format!("the syscall{} {}", plural(names.len()), names.join(", "))))
    }
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// One thing that the list does not allow, with the indices of its rule and name.
enum Finding<'a> {
    ListDenies(Action),
    Default(Action),
    Action(usize, Action),
    Syscall(usize, usize, &'a SyscallName),
}

impl Finding<'_> {
    fn diagnostic(self) -> Diagnostic {
        let spec = FieldPath::of("spec");
        let rule = |i: usize| spec.key("syscalls").index(i);
        match self {
            Self::ListDenies(action) => Diagnostic::error(
                "allowed-action-denies",
                FieldPath::root(),
                format!("the list of allowed actions names {action}, which permits nothing"),
            ),
            Self::Default(action) => Diagnostic::error(
                "default-action-not-allowed",
                spec.key("defaultAction"),
                format!("the default action {action} permits every syscall"),
            ),
            Self::Action(i, action) => {
                let message = format!("the action {action} is not allowed");
                Diagnostic::error("action-not-allowed", rule(i).key("action"), message)
            }
            Self::Syscall(i, j, name) => {
                let message = format!("the syscall {name} is not allowed");
                Diagnostic::error("syscall-not-allowed", rule(i).key("names").index(j), message)
            }
        }
    }
}

fn findings<'a>(profile: &'a SeccompProfileSpec, list: &AllowList) -> Vec<Finding<'a>> {
    if list.syscalls.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    found
        .extend(list.actions.iter().find(|action| !is_permissive(**action)).map(|a| Finding::ListDenies(*a)));
    let listed = |action: Action| list.actions.is_empty() || list.actions.contains(&action);
    let refused = |action: Action| is_permissive(action) && !listed(action) && !list.unlisted_actions_pass;
    let checked = |action: Action| is_permissive(action) && (listed(action) || !list.unlisted_actions_pass);
    if checked(profile.default_action) {
        found.push(Finding::Default(profile.default_action));
    }
    for (i, rule) in profile.rules().iter().enumerate() {
        if refused(rule.action) {
            found.push(Finding::Action(i, rule.action));
        }
        if !checked(rule.action) {
            continue;
        }
        let names = rule.names.iter().enumerate().filter(|(_, name)| !list.syscalls.contains(*name));
        found.extend(names.map(|(j, name)| Finding::Syscall(i, j, name)));
    }
    found
}

fn is_permissive(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log | Action::Trace | Action::Notify)
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::SyscallRule;

    use super::*;

    fn name(text: &str) -> SyscallName {
        text.parse().unwrap()
    }

    fn codes(profile: &SeccompProfileSpec, list: &AllowList) -> Vec<String> {
        check_allowed(profile, list).iter().map(|d| format!("{} {}", d.code, d.path)).collect()
    }

    #[test]
    fn all_offenders_are_listed_in_order() {
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        profile.syscalls = Some(vec![
            SyscallRule::new(Action::Allow, [name("read"), name("ptrace"), name("bpf")]),
            SyscallRule::new(Action::Kill, [name("mount")]),
            SyscallRule::new(Action::Log, [name("read")]),
        ]);
        let list = AllowList { syscalls: [name("read")].into(), ..AllowList::default() };
        let want = [
            "syscall-not-allowed spec.syscalls[0].names[1]",
            "syscall-not-allowed spec.syscalls[0].names[2]",
        ];
        assert_eq!(codes(&profile, &list), want);
        let strict = AllowList { actions: [Action::Allow].into(), ..list.clone() };
        assert_eq!(codes(&profile, &strict)[2], "action-not-allowed spec.syscalls[2].action");
        assert!(codes(&profile, &AllowList::default()).is_empty(), "no list, no check");
        profile.default_action = Action::Allow;
        assert_eq!(codes(&profile, &list)[0], "default-action-not-allowed spec.defaultAction");
        let compat = AllowList { actions: [Action::Log].into(), unlisted_actions_pass: true, ..list };
        assert!(codes(&profile, &compat).is_empty(), "the existing operator checks listed actions only");
    }

    #[test]
    fn the_sentence_names_everything_once_and_sorted() {
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        profile.syscalls = Some(vec![
            SyscallRule::new(Action::Allow, [name("ptrace"), name("bpf"), name("read")]),
            SyscallRule::new(Action::Allow, [name("bpf")]),
            SyscallRule::new(Action::Log, [name("acct")]),
        ]);
        let list = AllowList {
            syscalls: [name("read")].into(),
            actions: [Action::Allow].into(),
            ..AllowList::default()
        };
        let said = |profile: &SeccompProfileSpec| excess(profile, &list).map(|excess| excess.to_string());
        let want = "not allowed: the action SCMP_ACT_LOG; the syscalls acct, bpf, ptrace";
        assert_eq!(said(&profile).as_deref(), Some(want));
        profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, [name("bpf")])]);
        assert_eq!(said(&profile).as_deref(), Some("not allowed: the syscall bpf"));
        profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, [name("read")])]);
        assert_eq!(said(&profile), None);
        profile.default_action = Action::Allow;
        assert_eq!(said(&profile).as_deref(), Some("not allowed: the default action SCMP_ACT_ALLOW"));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let names: BTreeSet<SyscallName> =
            (0..300).map(|i| name(&format!("some_longer_call_{i:03}"))).collect();
        let many = Excess { syscalls: names, ..Excess::default() };
        // A condition of Kubernetes has room for 32,768 bytes.
        let whole = many.within(32 << 10);
        assert_eq!(whole, many.to_string());
        assert!(whole.ends_with("some_longer_call_298, some_longer_call_299"));
        let short = many.within(256);
        assert!(short.len() <= 256, "{short}");
        // 256 bytes less both ends, and 22 for each name with its comma.
        assert!(short.starts_with("not allowed: the syscalls some_longer_call_000, some_longer_call_001, "));
        let told = short.matches("some_longer_call_").count();
        assert!(short.ends_with(&format!(" and {} more", 300 - told)) && told == 9, "{told}: {short}");
        assert_eq!(many.within(10), "not allowed: 300 syscalls");
    }
}
