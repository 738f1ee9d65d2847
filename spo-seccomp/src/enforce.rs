//! Calls that an administrator lets every profile make, whatever it says: what a new container runtime needs, for
//! example.

use std::collections::BTreeSet;

use spo_model::seccomp::{Action, SeccompProfileSpec, SyscallName, SyscallRule};

/// A profile in which some calls are always allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// The profile: its own rules without these calls, and one more that allows them.
    pub profile: SeccompProfileSpec,
    /// The calls that the profile itself does not allow, or not always.
    pub added: BTreeSet<SyscallName>,
}

/// A (merged) profile with calls that are always allowed; `None` if it allows all of them as it is.
///
/// No other rule names such a call any more, so arguments and order decide nothing.
pub fn enforce(profile: &SeccompProfileSpec, calls: &BTreeSet<SyscallName>) -> Option<Enforced> {
    let added: BTreeSet<SyscallName> =
        calls.iter().filter(|name| !is_always_allowed(profile, name)).cloned().collect();
    if added.is_empty() {
        return None;
    }
    let mut enforced = profile.clone();
    let mut rules = enforced.syscalls.take().unwrap_or_default();
    for rule in &mut rules {
        rule.names.retain(|name| !added.contains(name));
    }
    rules.retain(|rule| !rule.names.is_empty());
    // Runtimes take no rule that says what the default says.
    if profile.default_action != Action::Allow {
        rules.push(SyscallRule::new(Action::Allow, added.iter().cloned()));
    }
    enforced.syscalls = Some(rules);
    Some(Enforced { profile: enforced, added })
}

fn is_always_allowed(profile: &SeccompProfileSpec, name: &SyscallName) -> bool {
    let mut named = profile.rules().iter().filter(|rule| rule.names.contains(name)).peekable();
    match named.peek() {
        None => profile.default_action == Action::Allow,
        Some(_) => named.all(|rule| rule.action == Action::Allow && rule.conditions().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::Arch;

    use super::*;
    use crate::{Options, Policy, Verdict, syscalls::Syscall};

    fn profile(json: &str) -> SeccompProfileSpec {
        serde_json::from_str(json).expect("a profile")
    }

    fn names(names: &[&str]) -> BTreeSet<SyscallName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    fn verdict(profile: &SeccompProfileSpec, name: &str, args: [u64; 6]) -> Verdict {
        let policy = Policy::from_profile(profile, &Options::new(Arch::X86_64)).expect("a policy");
        let number = Syscall::by_name(name).and_then(|call| call.number(Arch::X86_64)).expect("a call");
        policy.eval(Arch::X86_64, number, &args)
    }

    const NARROW: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"action": "SCMP_ACT_ALLOW", "names": ["read", "futex"]},
        {"action": "SCMP_ACT_KILL_PROCESS", "names": ["execve"]},
        {"action": "SCMP_ACT_ALLOW", "names": ["socket", "personality"], "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;

    #[test]
    fn they_are_allowed_whatever_the_profile_says_and_nothing_else_is() {
        let narrow = profile(NARROW);
        let found = enforce(&narrow, &names(&["futex", "execve", "socket", "getpid"])).expect("changed");
        assert_eq!(found.added, names(&["execve", "socket", "getpid"]), "futex is allowed already");
        for (call, argument) in
            [("execve", 0), ("socket", 1), ("socket", 7), ("getpid", 0), ("futex", 0), ("read", 0)]
        {
            assert_eq!(verdict(&found.profile, call, [argument; 6]), Verdict::ALLOW, "{call}");
        }
        for (call, argument) in [("personality", 1), ("personality", 7), ("write", 0), ("ptrace", 0)] {
            let before = verdict(&narrow, call, [argument; 6]);
            assert_eq!(verdict(&found.profile, call, [argument; 6]), before, "{call}");
        }
    }

    #[test]
    fn a_profile_that_allows_them_stays_as_it_is() {
        assert_eq!(enforce(&profile(NARROW), &names(&["read", "futex"])), None);
        assert_eq!(enforce(&profile(NARROW), &names(&[])), None);
        assert_eq!(enforce(&profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), &names(&["ptrace"])), None);
    }

    #[test]
    fn where_the_default_allows_only_the_denial_goes() {
        let wide = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO", "names": ["bpf"]}]}"#,
        );
        let found = enforce(&wide, &names(&["bpf"])).expect("changed");
        assert_eq!(found.profile.rules(), []);
        assert_eq!(verdict(&found.profile, "bpf", [0; 6]), Verdict::ALLOW);
        // Logging lets it through too, but not silently: that is not what the administrator asked for.
        let log =
            enforce(&profile(r#"{"defaultAction": "SCMP_ACT_LOG"}"#), &names(&["bpf"])).expect("changed");
        assert_eq!(verdict(&log.profile, "bpf", [0; 6]), Verdict::ALLOW);
    }
}
