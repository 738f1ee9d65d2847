//! The operator's check of a profile against lists of syscalls and actions: what profiles may allow, and what none may.

use std::{collections::BTreeSet, fmt};

use spo_model::{
    Diagnostic, FieldPath,
    seccomp::{Action, SeccompProfileSpec, SyscallName},
};

/// What a cluster's administrator allows profiles to permit, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// The syscalls a profile may permit. Empty: all but those that are denied.
    pub syscalls: BTreeSet<SyscallName>,
    /// The syscalls that no profile may permit, not even for some arguments, not by its default action either.
    pub denied: BTreeSet<SyscallName>,
    /// The permissive actions that may appear (allow, log, trace, notify) where `syscalls` says what may be permitted.
    /// Empty: all of them.
    pub actions: BTreeSet<Action>,
    /// The existing operator's reading: an action that is not listed is not checked instead of refused.
    pub unlisted_actions_pass: bool,
}

impl AllowList {
    /// Whether some of what a profile permits, as an earlier list has found, is not allowed by this one either.
    ///
    /// That a list of actions names one that permits nothing is a fault of the list, and no profile's.
    pub fn refuses(&self, excess: &Excess) -> bool {
        let syscall = |name: &SyscallName| {
            self.denied.contains(name) || !self.syscalls.is_empty() && !self.syscalls.contains(name)
        };
        excess.syscalls.iter().any(syscall)
            || excess.default_action.is_some_and(|action| self.checks(action))
            || excess.denied_default.is_some() && !self.denied.is_empty()
            || excess.actions.iter().any(|action| self.refuses_action(*action))
    }

    fn lists(&self, action: Action) -> bool {
        self.actions.is_empty() || self.actions.contains(&action)
    }

    /// Whether a rule with this action is refused whatever its syscalls.
    fn refuses_action(&self, action: Action) -> bool {
        !self.syscalls.is_empty()
            && is_permissive(action)
            && !self.lists(action)
            && !self.unlisted_actions_pass
    }

    /// Whether the syscalls of a rule with this action have to be listed.
    fn checks(&self, action: Action) -> bool {
        !self.syscalls.is_empty()
            && is_permissive(action)
            && (self.lists(action) || !self.unlisted_actions_pass)
    }
}

/// Everything in a (merged) profile that the list does not allow, in the order of the document; empty when it passes.
///
/// Rules that deny are free. A permissive default action is refused, since it permits calls the list does not name; where
/// only some calls are denied, a profile with such a default has to deny each of them in a rule without conditions.
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
            Finding::Syscall(_, _, name) | Finding::Denied(_, _, name) => {
                excess.syscalls.insert(name.clone());
            }
            Finding::DeniedByDefault(action, name) => {
                excess.denied_default = Some(action);
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
    /// The default action, if it permits syscalls that are denied.
    pub denied_default: Option<Action>,
    /// Actions of rules.
    pub actions: BTreeSet<Action>,
    /// Syscalls.
    pub syscalls: BTreeSet<SyscallName>,
}

impl Excess {
    /// Reads the sentence back, with or without the words `not allowed: ` in front.
    ///
    /// What was cut off is not in it, and neither is what is no part of such a sentence: a reader can rely on what is
    /// there, not on what is missing. Of the number of syscalls that are only counted nothing is said.
    pub fn told_by(sentence: &str) -> Self {
        let mut excess = Self::default();
        for part in sentence.strip_prefix(NOT_ALLOWED).unwrap_or(sentence).split("; ") {
            let after = |start: &str| part.strip_prefix(start);
            let names = after(SYSCALLS).or_else(|| after(SYSCALL)).map(without_count);
            if let Some(names) = names {
                excess.syscalls.extend(names.split(", ").filter_map(|name| name.parse::<SyscallName>().ok()));
            } else if let Some(names) = after("the actions ").or_else(|| after("the action ")) {
                excess.actions.extend(names.split(", ").filter_map(|name| name.parse::<Action>().ok()));
            } else if let Some(rest) = after(DEFAULT_ACTION) {
                match rest.strip_suffix(DENIED_BY_NO_RULE) {
                    Some(action) => excess.denied_default = action.parse().ok(),
                    None => excess.default_action = rest.parse().ok(),
                }
            } else if let Some(rest) = after(LISTED) {
                excess.listed = rest.strip_suffix(PERMITS_NOTHING).and_then(|action| action.parse().ok());
            }
        }
        excess
    }

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
                (false, more) => self.sentence(&format!("{SYSCALLS}{} and {more} more", names.join(", "))),
            }
        };
        let fits = |told: &usize| counted(*told).len() <= most;
        counted((1..self.syscalls.len()).rev().find(fits).unwrap_or(0))
    }

    fn sentence(&self, syscalls: &str) -> String {
        let actions: Vec<String> = self.actions.iter().map(Action::to_string).collect();
        let parts = [
            self.listed.map(|a| format!("{LISTED}{a}{PERMITS_NOTHING}")),
            self.default_action.map(|a| format!("{DEFAULT_ACTION}{a}")),
            self.denied_default.map(|a| format!("{DEFAULT_ACTION}{a}{DENIED_BY_NO_RULE}")),
            (!actions.is_empty())
                .then(|| format!("the action{} {}", plural(actions.len()), actions.join(", "))),
            (!self.syscalls.is_empty()).then(|| syscalls.to_owned()),
        ];
        format!("{NOT_ALLOWED}{}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.syscalls.iter().map(SyscallName::as_str).collect();
        let start = if names.len() == 1 { SYSCALL } else { SYSCALLS };
        f.write_str(&self.sentence(&format!("{start}{}", names.join(", "))))
    }
}

/// The parts of the sentence, for who writes and who reads it.
const NOT_ALLOWED: &str = "not allowed: ";
const LISTED: &str = "the list of allowed actions names ";
const PERMITS_NOTHING: &str = ", which permits nothing";
const DEFAULT_ACTION: &str = "the default action ";
const DENIED_BY_NO_RULE: &str = " where no rule denies a denied syscall";
const SYSCALL: &str = "the syscall ";
const SYSCALLS: &str = "the syscalls ";

/// Names without `and 280 more` behind them.
fn without_count(names: &str) -> &str {
    names.rsplit_once(" and ").map_or(names, |(names, _)| names)
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
    Denied(usize, usize, &'a SyscallName),
    DeniedByDefault(Action, &'a SyscallName),
}

impl Finding<'_> {
    fn diagnostic(self) -> Diagnostic {
        let spec = FieldPath::of("spec");
        let rule = |i: usize| spec.key("syscalls").index(i);
        match self {
            Self::ListDenies(action) => Diagnostic::error(
                "allowed-action-denies",
                FieldPath::root(),
                format!("{LISTED}{action}{PERMITS_NOTHING}"),
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
            Self::Denied(i, j, name) => {
                let message = format!("the syscall {name} is denied to all profiles");
                Diagnostic::error("syscall-denied", rule(i).key("names").index(j), message)
            }
            Self::DeniedByDefault(action, name) => {
                let message =
                    format!("the default action {action} permits {name}, which is denied to all profiles");
                Diagnostic::error("syscall-denied", spec.key("defaultAction"), message)
            }
        }
    }
}

fn findings<'a>(profile: &'a SeccompProfileSpec, list: &'a AllowList) -> Vec<Finding<'a>> {
    let mut found = Vec::new();
    if !list.syscalls.is_empty() {
        beyond(profile, list, &mut found);
    }
    if !list.denied.is_empty() {
        denied(profile, &list.denied, &mut found);
    }
    found
}

/// What a profile permits although it is denied.
fn denied<'a>(
    profile: &'a SeccompProfileSpec,
    denied: &'a BTreeSet<SyscallName>,
    found: &mut Vec<Finding<'a>>,
) {
    let mut outright: BTreeSet<&SyscallName> = BTreeSet::new();
    for (i, rule) in profile.rules().iter().enumerate() {
        if is_permissive(rule.action) {
            let names = rule.names.iter().enumerate().filter(|(_, name)| denied.contains(*name));
            found.extend(names.map(|(j, name)| Finding::Denied(i, j, name)));
        } else if rule.conditions().is_empty() {
            outright.extend(&rule.names);
        }
    }
    if is_permissive(profile.default_action) {
        let open = denied.iter().filter(|name| !outright.contains(name));
        found.extend(open.map(|name| Finding::DeniedByDefault(profile.default_action, name)));
    }
}

/// What a profile permits beyond the list of what it may permit.
fn beyond<'a>(profile: &'a SeccompProfileSpec, list: &AllowList, found: &mut Vec<Finding<'a>>) {
    found
        .extend(list.actions.iter().find(|action| !is_permissive(**action)).map(|a| Finding::ListDenies(*a)));
    if list.checks(profile.default_action) {
        found.push(Finding::Default(profile.default_action));
    }
    for (i, rule) in profile.rules().iter().enumerate() {
        if list.refuses_action(rule.action) {
            found.push(Finding::Action(i, rule.action));
        }
        if !list.checks(rule.action) {
            continue;
        }
        let names = rule.names.iter().enumerate().filter(|(_, name)| !list.syscalls.contains(*name));
        found.extend(names.map(|(j, name)| Finding::Syscall(i, j, name)));
    }
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
    fn what_is_denied_may_be_permitted_in_no_way() {
        let list = AllowList { denied: [name("bpf"), name("mount")].into(), ..AllowList::default() };
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        let mut for_some = SyscallRule::new(Action::Log, [name("bpf")]);
        for_some.args = serde_json::from_str(r#"[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#).unwrap();
        profile.syscalls = Some(vec![
            SyscallRule::new(Action::Allow, [name("read"), name("mount")]),
            SyscallRule::new(Action::Kill, [name("mount")]),
            for_some.clone(),
        ]);
        let want = ["syscall-denied spec.syscalls[0].names[1]", "syscall-denied spec.syscalls[2].names[0]"];
        assert_eq!(codes(&profile, &list), want);
        for action in [Action::Allow, Action::Log, Action::Trace, Action::Notify] {
            profile.syscalls = Some(vec![SyscallRule::new(action, [name("bpf")])]);
            assert_eq!(codes(&profile, &list).len(), 1, "{action}");
        }
        profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, [name("read")])]);
        assert!(codes(&profile, &list).is_empty());
        // By the default action too, unless a rule denies the call whatever its arguments.
        profile.default_action = Action::Log;
        for_some.action = Action::Errno;
        profile.syscalls = Some(vec![SyscallRule::new(Action::Errno, [name("mount")]), for_some.clone()]);
        assert_eq!(codes(&profile, &list), ["syscall-denied spec.defaultAction"]);
        let said = excess(&profile, &list).map(|excess| excess.to_string()).unwrap_or_default();
        assert!(
            said.starts_with("not allowed: the default action SCMP_ACT_LOG") && said.ends_with("syscall bpf")
        );
        for_some.args = None;
        profile.syscalls = Some(vec![SyscallRule::new(Action::Errno, [name("mount")]), for_some]);
        assert!(codes(&profile, &list).is_empty());
    }

    #[test]
    fn both_lists_hold_together() {
        let list = AllowList {
            syscalls: [name("read"), name("bpf")].into(),
            denied: [name("bpf")].into(),
            ..AllowList::default()
        };
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        profile.syscalls =
            Some(vec![SyscallRule::new(Action::Allow, [name("read"), name("bpf"), name("acct")])]);
        let said = excess(&profile, &list).map(|excess| excess.to_string());
        assert_eq!(said.as_deref(), Some("not allowed: the syscalls acct, bpf"));
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

    #[test]
    fn what_was_cut_off_is_not_told() {
        let told = |sentence: &str| Excess::told_by(sentence);
        let two = Excess { syscalls: [name("acct"), name("bpf")].into(), ..Excess::default() };
        assert_eq!(told("not allowed: the syscalls acct, bpf and 280 more"), two);
        assert_eq!(told("the syscalls acct, bpf, mou…"), two);
        for nothing in ["", "not allowed: 300 syscalls", "the syscall", "bpf", "the base cannot be had; bpf"]
        {
            assert_eq!(told(nothing), Excess::default(), "{nothing}");
        }
    }

    #[test]
    fn what_one_list_refused_another_may_allow() {
        let list = |syscalls: &[&str], denied: &[&str], actions: &[Action]| AllowList {
            syscalls: syscalls.iter().map(|text| name(text)).collect(),
            denied: denied.iter().map(|text| name(text)).collect(),
            actions: actions.iter().copied().collect(),
            ..AllowList::default()
        };
        let (any, few, deny) = (list(&[], &[], &[]), list(&["read"], &[], &[]), list(&[], &["bpf"], &[]));
        let allow_only = list(&["read"], &[], &[Action::Allow]);
        let syscall = |text: &str| Excess { syscalls: [name(text)].into(), ..Excess::default() };
        assert!(few.refuses(&syscall("bpf")) && deny.refuses(&syscall("bpf")));
        assert!(
            !any.refuses(&syscall("bpf"))
                && !deny.refuses(&syscall("acct"))
                && !few.refuses(&syscall("read"))
        );
        let default = Excess { default_action: Some(Action::Allow), ..Excess::default() };
        assert!(few.refuses(&default) && !any.refuses(&default) && !deny.refuses(&default));
        let denied = Excess { denied_default: Some(Action::Log), ..Excess::default() };
        assert!(deny.refuses(&denied) && !few.refuses(&denied));
        let action = Excess { actions: [Action::Log].into(), ..Excess::default() };
        assert!(allow_only.refuses(&action) && !few.refuses(&action));
        let fault = Excess { listed: Some(Action::Kill), ..Excess::default() };
        assert!(!list(&["read"], &["bpf"], &[Action::Kill]).refuses(&fault));
    }

    mod properties {
        use proptest::{collection::btree_set, option, prelude::*, sample::select};

        use super::*;

        fn actions() -> impl Strategy<Value = Action> {
            select(vec![Action::Allow, Action::Log, Action::Trace, Action::Notify, Action::KillProcess])
        }

        prop_compose! {
            fn some_excess()(
                listed in option::of(actions()),
                default_action in option::of(actions()),
                denied_default in option::of(actions()),
                actions in btree_set(actions(), 0..4),
                syscalls in btree_set("[a-z][a-z0-9_]{0,20}", 0..40),
            ) -> Excess {
                let syscalls = syscalls.iter().map(|text| name(text)).collect();
                Excess { listed, default_action, denied_default, actions, syscalls }
            }
        }

        proptest! {
            #[test]
            fn a_sentence_tells_what_it_was_made_of(excess in some_excess()) {
                prop_assert_eq!(Excess::told_by(&excess.to_string()), excess);
            }

            #[test]
            fn a_short_one_tells_part_of_it(excess in some_excess(), most in 0usize..400) {
                let told = Excess::told_by(&excess.within(most));
                prop_assert!(told.syscalls.is_subset(&excess.syscalls));
                prop_assert_eq!(told.actions, excess.actions);
            }

            #[test]
            fn what_a_list_refuses_it_refuses(
                permitted in btree_set(select(vec!["read", "write", "bpf", "mount", "acct"]), 1..5),
                listed in btree_set(select(vec!["read", "write", "bpf"]), 0..3),
                denied in btree_set(select(vec!["bpf", "mount"]), 0..3),
                named in btree_set(select(vec![Action::Allow, Action::Log]), 0..3),
                action in select(vec![Action::Allow, Action::Log, Action::Trace]),
                default_action in select(vec![Action::Errno, Action::Log]),
            ) {
                let mut profile = SeccompProfileSpec::new(default_action);
                profile.syscalls = Some(vec![SyscallRule::new(action, permitted.iter().map(|text| name(text)))]);
                let list = AllowList {
                    syscalls: listed.iter().map(|text| name(text)).collect(),
                    denied: denied.iter().map(|text| name(text)).collect(),
                    actions: named,
                    unlisted_actions_pass: false,
                };
                let told = excess(&profile, &list).map(|excess| Excess::told_by(&excess.to_string()));
                prop_assert_eq!(told.is_some(), told.is_some_and(|told| list.refuses(&told)));
            }
        }
    }
}
