//! Why a call gets the verdict it gets.

use std::fmt;

use spo_model::{FieldPath, Span, seccomp::Arch};

use crate::{Origin, Policy, Verdict, syscalls::Syscall};

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// Where it comes from.
    pub reason: Reason,
    /// The label of the profile that decides, empty where none was given, or where the defaults of several profiles
    /// make up the verdict together; see [`Policy::with_sources`].
    pub profile: String,
    /// The place of the rule, or of the default action, in the text of that profile, where it is known.
    pub span: Option<Span>,
    /// Whether other arguments of the same call get another verdict.
    pub depends_on_arguments: bool,
}

/// Where a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This rule.
    Rule(Origin),
    /// No rule matches; the default action.
    Default,
    /// The policy does not cover the architecture.
    WrongArchitecture,
}

impl Origin {
    /// The rule's place in its profile, for example `spec.syscalls[3]`.
    pub fn path(self) -> FieldPath {
        FieldPath::of("spec.syscalls").index(self.rule)
    }
}

/// Explains the verdict on a call. `number` is what the kernel sees, with bit 30 for x32.
pub fn explain(policy: &Policy, arch: Arch, number: u32, args: &[u64; 6]) -> Explanation {
    let verdict = policy.eval(arch, number, args);
    let Some(decision) = policy.decision(arch, number) else {
        let reason = Reason::WrongArchitecture;
        let profile = String::new();
        return Explanation { verdict, reason, profile, span: None, depends_on_arguments: false };
    };
    let own = if number & crate::syscalls::X32_BIT != 0 && arch == Arch::X86_64 { Arch::X32 } else { arch };
    // Rules are kept in the order they are tried; after a union the first one with the verdict decided.
    let rule = policy.rules_of(own, number).iter().find(|rule| rule.verdict == verdict && rule.matches(args));
    let (source, span) = match (rule, policy.profiles.as_slice()) {
        (Some(rule), _) => {
            let name = Syscall::by_number(own, number).map(Syscall::name);
            let source = policy.source(rule.origin);
            (source, source.and_then(|source| source.rule(rule.origin.rule, name)))
        }
        (None, [only]) => (Some(only), only.default_action()),
        // The default of several profiles together is in none of them.
        (None, _) => (None, None),
    };
    Explanation {
        verdict,
        reason: rule.map_or(Reason::Default, |rule| Reason::Rule(rule.origin)),
        profile: source.map_or_else(String::new, |source| source.label().to_owned()),
        span,
        depends_on_arguments: !decision.is_leaf(),
    }
}

/// Explains the verdict on a named call, `None` when the architecture has no such call.
pub fn explain_name(policy: &Policy, arch: Arch, name: &str, args: &[u64; 6]) -> Option<Explanation> {
    Some(explain(policy, arch, Syscall::by_name(name)?.number(arch)?, args))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verdict)?;
        match self.reason {
            Reason::Rule(origin) => write!(f, "rule {}", origin.path())?,
            Reason::Default => f.write_str("no rule matches, the default action")?,
            Reason::WrongArchitecture => f.write_str("the profile does not cover this architecture")?,
        }
        match (self.profile.as_str(), self.span) {
            ("", None) => {}
            ("", Some(span)) => write!(f, " at {}:{}", span.line, span.column)?,
            (profile, None) => write!(f, " of {profile}")?,
            (profile, Some(span)) => write!(f, " at {profile}:{}:{}", span.line, span.column)?,
        }
        if self.depends_on_arguments { f.write_str(" (other arguments get another verdict)") } else { Ok(()) }
    }
}
