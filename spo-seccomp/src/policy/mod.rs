//! A policy: for every architecture and syscall number, the exact [`Verdict`] for every combination of arguments.
//!
//! A profile is text about names; a policy is a function of calls. [`Policy::from_profile`] gives the profile
//! its meaning, [`Policy::to_profile`] writes a meaning down again, and everything between (union,
//! comparison, compilation) works on the function and cannot be fooled by the order or the spelling of rules.

mod algebra;
mod canonical_order;
mod read;
mod write;

use std::collections::BTreeMap;

use spo_model::seccomp::{Arch, SyscallName};

use crate::{
    Source, Verdict,
    decision::{Comparison, Id, Store, Width},
    syscalls::{Syscall, X32_BIT},
};

pub(crate) use read::decide;
pub use write::{NotExpressible, Written};

/// What a filter decides, for every architecture it knows.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) store: Store,
    pub(crate) arches: BTreeMap<Arch, ArchPolicy>,
    pub(crate) bad_arch: Verdict,
    /// All rules that took part, per call in the order they are tried.
    pub(crate) applied: Vec<Applied>,
    /// The profiles that took part; [`Origin::profile`] is an index into it.
    pub(crate) profiles: Vec<Source>,
    pub(crate) unknown: Vec<(SyscallName, Origin)>,
}

#[derive(Clone, Debug)]
pub(crate) struct ArchPolicy {
    pub(crate) default: Id,
    /// Calls with a decision of their own, sorted by number.
    pub(crate) calls: Vec<Call>,
    /// The largest number a rule names, whatever its action.
    pub(crate) newest: Option<u32>,
    /// On x86_64 and x32: the decision on -1, which a tracer sets to skip a call.
    pub(crate) minus_one: Id,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) decision: Id,
    /// Into [`Policy::applied`].
    pub(crate) rules: std::ops::Range<u32>,
}

/// A rule as it applies to one call on one architecture.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) origin: Origin,
    pub(crate) verdict: Verdict,
    pub(crate) conditions: Option<std::sync::Arc<[(Comparison, Width)]>>,
}

/// The profile and rule a decision comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Which of the profiles that make up the policy, from 0.
    pub profile: usize,
    /// Index of the rule in that profile's `syscalls`.
    pub rule: usize,
}

/// How a profile is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// What overlapping rules mean.
    pub semantics: Semantics,
    /// What `SCMP_ARCH_NATIVE` and an absent list of architectures stand for.
    pub native: Arch,
    /// Whether the native architecture is covered even when the profile does not list it, as runtimes built on
    /// libseccomp do.
    pub always_native: bool,
    /// Whether arguments are compared with all their bits, as libseccomp does, where the kernel looks only at the
    /// low 32 of an `int`.
    pub strict64: bool,
    /// What a rule with conditions means for `socketcall` and `ipc`, where the conditions cannot be checked.
    pub multiplexers: Multiplexers,
}

impl Options {
    /// As runc and crun read a profile on a machine of the `native` architecture, but for argument widths, which
    /// are the kernel's.
    pub fn new(native: Arch) -> Self {
        Self {
            semantics: Semantics::Libseccomp,
            native,
            always_native: true,
            strict64: false,
            multiplexers: Multiplexers::Allow,
        }
    }

    /// The same with another meaning of overlapping rules.
    #[must_use]
    pub fn semantics(self, semantics: Semantics) -> Self {
        Self { semantics, ..self }
    }

    /// The same with libseccomp's comparisons of all 64 bits.
    #[must_use]
    pub fn strict64(self, strict64: bool) -> Self {
        Self { strict64, ..self }
    }

    /// The same with another treatment of multiplexers.
    #[must_use]
    pub fn multiplexers(self, multiplexers: Multiplexers) -> Self {
        Self { multiplexers, ..self }
    }

    /// The same with or without the native architecture when the profile lists others only.
    #[must_use]
    pub fn always_native(self, always_native: bool) -> Self {
        Self { always_native, ..self }
    }
}

/// What overlapping rules for one syscall mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// As runtimes built on libseccomp: an unconditional rule beats all others, rules with the default action do
    /// not count, conditions on the same argument are alternatives, and overlapping rules are tried in
    /// libseccomp's canonical order.
    Libseccomp,
    /// The first rule that matches wins; all conditions of a rule have to hold.
    FirstMatch,
}

/// What a rule with conditions means for a multiplexer (`socketcall`, `ipc`), which passes the real arguments in
/// memory, where no filter can see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplexers {
    /// The rule counts there without its conditions, as in libseccomp: `socket` limited to some families is
    /// unlimited through `socketcall`.
    Allow,
    /// A rule with conditions that permits a call does not count there; one that denies counts without them.
    Deny,
    /// No rule opens a multiplexer; only rules that name `socketcall` or `ipc` do.
    Skip,
}

/// Why a profile has no meaning, or one too large to handle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Two rules with the same conditions and different actions; libseccomp refuses them with `EEXIST`.
    #[error(
        "rules {first} and {second} give {syscall} different actions under the same conditions on {arch}"
    )]
    Contradiction {
        /// The syscall.
        syscall: String,
        /// The architecture.
        arch: Arch,
        /// Index of the earlier rule in its profile.
        first: usize,
        /// Index of the later one.
        second: usize,
    },
    /// The argument conditions combine to a decision of more than a million tests.
    #[error("the argument conditions combine to a decision that is too large")]
    TooComplex,
}

impl Policy {
    /// A policy that gives one verdict to everything on some architectures.
    pub fn uniform(verdict: Verdict, arches: impl IntoIterator<Item = Arch>) -> Self {
        let mut store = Store::default();
        let default = store.leaf(verdict);
        let empty = ArchPolicy { default, calls: Vec::new(), newest: None, minus_one: default };
        let arches = arches
            .into_iter()
            .map(|arch| (crate::ArchExt::resolve(arch, Arch::Native), empty.clone()))
            .collect();
        Self {
            store,
            arches,
            bad_arch: Verdict::KILL_THREAD,
            applied: Vec::new(),
            profiles: vec![Source::default()],
            unknown: Vec::new(),
        }
    }

    /// The verdict on a call. `number` is what the kernel sees, with bit 30 for x32.
    ///
    /// x86_64 and x32 share one audit token, so for either of them the number decides which of the two tables
    /// is asked. An x86_64-only policy answers x32 numbers as a wrong architecture, and -1, which a tracer sets
    /// to skip a call, with its default (libseccomp's behaviour).
    pub fn eval(&self, arch: Arch, number: u32, args: &[u64; 6]) -> Verdict {
        match self.decision(arch, number) {
            Some(id) => self.store.eval(id, args),
            None => self.bad_arch,
        }
    }

    /// The architectures the policy knows, in order.
    pub fn architectures(&self) -> impl Iterator<Item = Arch> {
        self.arches.keys().copied()
    }

    /// The answer to calls of architectures the policy does not know; `KILL_THREAD` as in libseccomp unless
    /// changed.
    pub fn bad_arch(&self) -> Verdict {
        self.bad_arch
    }

    /// The same policy with another answer to unknown architectures.
    #[must_use]
    pub fn with_bad_arch(mut self, verdict: Verdict) -> Self {
        self.bad_arch = verdict;
        self
    }

    /// The verdict on calls no rule names, `None` for an architecture the policy does not know.
    pub fn default_verdict(&self, arch: Arch) -> Option<Verdict> {
        self.store.verdict(self.arches.get(&arch)?.default)
    }

    /// The syscalls of an architecture that can happen for at least some arguments, sorted by name.
    pub fn permitted(&self, arch: Arch) -> Vec<Syscall> {
        Syscall::of(arch)
            .filter(|(_, number)| {
                self.decision(arch, *number)
                    .is_some_and(|id| self.store.verdicts(id).iter().any(|verdict| verdict.permits()))
            })
            .map(|(call, _)| call)
            .collect()
    }

    /// Names in the profiles that no architecture has, with their places.
    pub fn unknown_names(&self) -> &[(SyscallName, Origin)] {
        &self.unknown
    }

    /// The profile an [`Origin`] points to, `None` for an origin of another policy.
    pub fn source(&self, origin: Origin) -> Option<&Source> {
        self.profiles.get(origin.profile)
    }

    /// The same policy with labels and places for its profiles, in the order of [`Origin::profile`].
    ///
    /// Missing ones stay as they are, surplus ones do not count.
    #[must_use]
    pub fn with_sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        for (own, source) in self.profiles.iter_mut().zip(sources) {
            *own = source;
        }
        self
    }

    /// The decision on a number, `None` for a wrong architecture.
    pub(crate) fn decision(&self, arch: Arch, number: u32) -> Option<Id> {
        let (own, shares_token) = match arch {
            Arch::X86_64 | Arch::X32 if number & X32_BIT != 0 && number < 0x8000_0000 => (Arch::X32, true),
            Arch::X86_64 | Arch::X32 => (Arch::X86_64, true),
            other => (other, false),
        };
        if shares_token && number >= 0x8000_0000 {
            return self.beyond_x32(number);
        }
        Some(self.arches.get(&own)?.decision(number))
    }

    /// Numbers with bit 31 on x86_64's token: no syscall has one, a tracer can set them.
    pub(crate) fn beyond_x32(&self, number: u32) -> Option<Id> {
        let (x86_64, x32) = (self.arches.get(&Arch::X86_64), self.arches.get(&Arch::X32));
        if number == u32::MAX {
            x86_64.or(x32).map(|arch| arch.minus_one)
        } else {
            x32.map(|arch| arch.default)
        }
    }

    /// Whether some arguments satisfy the conditions of both rules.
    pub(crate) fn both_match(&self, a: &Applied, b: &Applied) -> bool {
        let mut store = Store::default();
        let no = store.leaf(Verdict::KILL_PROCESS);
        let [first, second] = [a, b].map(|rule| {
            let rule = Applied { verdict: Verdict::ALLOW, ..rule.clone() };
            decide(&mut store, &[rule], no)
        });
        let both = store.apply(first, second, &Verdict::more_restrictive);
        both != no
    }

    /// Whether libseccomp may decide something else than the rules together say.
    pub(crate) fn diverges(a: &Applied, b: &Applied) -> bool {
        canonical_order::diverges(a, b)
    }

    pub(crate) fn rules_of(&self, arch: Arch, number: u32) -> &[Applied] {
        let call = self.arches.get(&arch).and_then(|policy| policy.call(number));
        let range = call.map_or(0..0, |call| call.rules.clone());
        self.applied.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

impl ArchPolicy {
    pub(crate) fn call(&self, number: u32) -> Option<&Call> {
        let index = self.calls.binary_search_by_key(&number, |call| call.number).ok()?;
        self.calls.get(index)
    }

    pub(crate) fn decision(&self, number: u32) -> Id {
        self.call(number).map_or(self.default, |call| call.decision)
    }
}

impl Applied {
    /// Whether the rule's conditions hold.
    pub(crate) fn matches(&self, args: &[u64; 6]) -> bool {
        self.conditions.as_deref().unwrap_or_default().iter().all(|(c, width)| c.holds(*width, args))
    }
}
