//! The operator's check of a profile against a list of allowed syscalls and actions.

use std::collections::BTreeSet;

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
    if list.syscalls.is_empty() {
        return Vec::new();
    }
    let spec = FieldPath::of("spec");
    let mut found = Vec::new();
    if let Some(action) = list.actions.iter().find(|action| !is_permissive(**action)) {
        found.push(Diagnostic::error(
            "allowed-action-denies",
            FieldPath::root(),
            format!("the list of allowed actions names {action}, which permits nothing"),
        ));
    }
    let listed = |action: Action| list.actions.is_empty() || list.actions.contains(&action);
    let refused = |action: Action| is_permissive(action) && !listed(action) && !list.unlisted_actions_pass;
    let checked = |action: Action| is_permissive(action) && (listed(action) || !list.unlisted_actions_pass);
    if checked(profile.default_action) {
        found.push(Diagnostic::error(
            "default-action-not-allowed",
            spec.key("defaultAction"),
            format!("the default action {} permits every syscall", profile.default_action),
        ));
    }
    for (i, rule) in profile.rules().iter().enumerate() {
        let path = spec.key("syscalls").index(i);
        if refused(rule.action) {
            let message = format!("the action {} is not allowed", rule.action);
            found.push(Diagnostic::error("action-not-allowed", path.key("action"), message));
        }
        if !checked(rule.action) {
            continue;
        }
        for (j, name) in rule.names.iter().enumerate().filter(|(_, name)| !list.syscalls.contains(*name)) {
            let message = format!("the syscall {name} is not allowed");
            found.push(Diagnostic::error("syscall-not-allowed", path.key("names").index(j), message));
        }
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
}
