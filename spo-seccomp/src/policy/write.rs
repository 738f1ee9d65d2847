//! From a policy back to a profile.
//!
//! A profile can say less than a policy: one condition per argument and rule, one set of rules for all
//! architectures, libseccomp's reading of overlaps. So a profile is proposed, read again, and compared with the
//! policy for every architecture, number and argument; only an exact one is returned.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::seccomp::{
    Action, Arch, ArgFilter, ArgIndex, ArgValue, Errno, Op, SeccompProfileSpec, SyscallName, SyscallRule,
};

use super::{Applied, Options, Origin, Policy, Semantics, read};
use crate::{
    Verdict,
    arch::ArchExt,
    decision::{Comparison, Id, ImportMemo, Store},
    syscalls::Syscall,
};

/// A profile written from a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The profile, with its architectures listed.
    pub profile: SeccompProfileSpec,
    /// For each rule of the profile the rules it comes from.
    pub origins: Vec<Vec<Origin>>,
}

/// Why no profile means the same as a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotExpressible {
    /// Architectures have different defaults.
    #[error("the default is {first_default} on {first} and {second_default} on {second}")]
    Defaults {
        /// An architecture.
        first: Arch,
        /// Its default.
        first_default: Verdict,
        /// Another one.
        second: Arch,
        /// Its default.
        second_default: Verdict,
    },
    /// The policy covers nothing.
    #[error("the policy covers no architecture")]
    NoArchitecture,
    /// The answer to other architectures is not libseccomp's.
    #[error("other architectures get {0}, which a profile cannot say")]
    BadArch(Verdict),
    /// A number without a name.
    #[error("number {number} of {arch} has no name and a decision of its own")]
    Unnamed {
        /// The architecture.
        arch: Arch,
        /// The number.
        number: u32,
    },
    /// What no set of rules says: several conditions on one argument, or different rules on different
    /// architectures.
    #[error("no rules of a profile give {syscall} its decision on {arch}")]
    Decision {
        /// The syscall.
        syscall: String,
        /// The architecture where the best attempt differs.
        arch: Arch,
    },
    /// The conditions are too large.
    #[error("the argument conditions combine to a decision that is too large")]
    TooComplex,
}

impl Policy {
    /// The profile that means this policy when it is read with `options` (but always with libseccomp's semantics and
    /// the listed architectures only).
    ///
    /// Names come sorted, permissive rules first; the same policy gives the same profile.
    ///
    /// # Errors
    /// [`NotExpressible`] with the reason, when no profile means exactly the same.
    pub fn to_profile(&self, options: &Options) -> Result<Written, NotExpressible> {
        let default = self.common_default()?;
        if self.bad_arch != Verdict::KILL_THREAD {
            return Err(NotExpressible::BadArch(self.bad_arch));
        }
        let options = Options { semantics: Semantics::Libseccomp, always_native: false, ..*options };
        let names = self.names()?;
        let mut failure = None;
        // What a multiplexer permits usually follows from the calls behind it, so it is tried without rules first.
        for with_multiplexers in [false, true] {
            let written = self.propose(&names, default, with_multiplexers);
            match self.difference(&written.profile, &options)? {
                None => return Ok(written),
                Some(difference) => failure = Some(difference),
            }
        }
        Err(failure.unwrap_or(NotExpressible::NoArchitecture))
    }

    fn common_default(&self) -> Result<Verdict, NotExpressible> {
        let mut defaults = self.arches.keys().filter_map(|arch| Some((*arch, self.default_verdict(*arch)?)));
        let (first, first_default) = defaults.next().ok_or(NotExpressible::NoArchitecture)?;
        match defaults.find(|(_, verdict)| *verdict != first_default) {
            Some((second, second_default)) => {
                Err(NotExpressible::Defaults { first, first_default, second, second_default })
            }
            None => Ok(first_default),
        }
    }

    /// Every named call with the architecture whose decision its rules are made from, 64-bit ones first.
    fn names(&self) -> Result<BTreeMap<&'static str, (Arch, u32)>, NotExpressible> {
        let mut arches: Vec<Arch> = self.architectures().collect();
        arches.sort_by_key(|arch| arch.is_32_bit());
        let mut names = BTreeMap::new();
        for arch in arches {
            for call in &self.arches[&arch].calls {
                match Syscall::by_number(arch, call.number) {
                    Some(syscall) => {
                        names.entry(syscall.name()).or_insert((arch, call.number));
                    }
                    None if call.decision == self.arches[&arch].default => {}
                    None => return Err(NotExpressible::Unnamed { arch, number: call.number }),
                }
            }
        }
        Ok(names)
    }

    fn propose(
        &self,
        names: &BTreeMap<&'static str, (Arch, u32)>,
        default: Verdict,
        multiplexers: bool,
    ) -> Written {
        let mut scratch = self.store.clone();
        let mut grouped: BTreeMap<Key, Vec<SyscallName>> = BTreeMap::new();
        for (name, (arch, number)) in names {
            if !multiplexers && matches!(*name, "socketcall" | "ipc") {
                continue;
            }
            let Ok(syscall) = name.parse::<SyscallName>() else { continue };
            for rule in self.rules_for(&mut scratch, *arch, *number, default) {
                grouped.entry(rule).or_default().push(syscall.clone());
            }
        }
        let (action, errno) = words(default);
        let mut profile = SeccompProfileSpec::new(action);
        profile.default_errno_ret = errno;
        profile.architectures = Some(self.architectures().collect());
        let (mut rules, mut origins) = (Vec::new(), Vec::new());
        for (key, names) in grouped {
            let (action, errno_ret) = words(key.verdict());
            let args = (!key.filters.is_empty()).then_some(key.filters);
            rules.push(SyscallRule { names, action, errno_ret, args });
            origins.push(key.origins.into_iter().collect());
        }
        profile.syscalls = (!rules.is_empty()).then_some(rules);
        Written { profile, origins }
    }

    fn rules_for(&self, scratch: &mut Store, arch: Arch, number: u32, default: Verdict) -> Vec<Key> {
        let Some(policy) = self.arches.get(&arch) else { return Vec::new() };
        let decision = policy.decision(number);
        if decision == policy.default {
            return Vec::new();
        }
        let applied = self.rules_of(arch, number);
        let from = |verdict: Verdict| -> BTreeSet<Origin> {
            let exact: BTreeSet<Origin> =
                applied.iter().filter(|r| r.verdict == verdict).map(|r| r.origin).collect();
            if exact.is_empty() { applied.iter().map(|r| r.origin).collect() } else { exact }
        };
        if let Some(verdict) = self.store.verdict(decision) {
            return vec![Key::new(verdict, Vec::new(), from(verdict))];
        }
        let kept: Vec<Applied> = applied.iter().filter(|rule| rule.verdict != default).cloned().collect();
        let own = read::libseccomp_rules(kept, "", arch).ok();
        let own = own.filter(|rules| read::decide(scratch, rules, policy.default) == decision);
        if let Some(rules) = own {
            return rules
                .iter()
                .map(|rule| {
                    let same = |other: &&Applied| {
                        other.verdict == rule.verdict && other.conditions == rule.conditions
                    };
                    let origins = applied.iter().filter(same).map(|other| other.origin).collect();
                    let conditions = rule.conditions.as_deref().unwrap_or_default();
                    Key::new(rule.verdict, conditions.iter().map(|(c, _)| *c).collect(), origins)
                })
                .collect();
        }
        let mut rules = Vec::new();
        let mut path = Vec::new();
        paths(&self.store, decision, default, &mut path, &mut rules);
        rules.into_iter().map(|(verdict, conditions)| Key::new(verdict, conditions, from(verdict))).collect()
    }

    /// Where a profile means something else, if it does.
    fn difference(
        &self,
        profile: &SeccompProfileSpec,
        options: &Options,
    ) -> Result<Option<NotExpressible>, NotExpressible> {
        let unclear = |arch: Arch, number: u32| NotExpressible::Decision {
            syscall: Syscall::by_number(arch, number).map_or("an unnamed call", Syscall::name).to_owned(),
            arch,
        };
        let again = match Self::from_profile(profile, options) {
            Ok(policy) => policy,
            Err(super::PolicyError::Contradiction { syscall, arch, .. }) => {
                return Ok(Some(NotExpressible::Decision { syscall, arch }));
            }
            Err(super::PolicyError::TooComplex) => return Err(NotExpressible::TooComplex),
        };
        let mut store = self.store.clone();
        let mut memo = ImportMemo::default();
        for (arch, own) in &self.arches {
            let Some(other) = again.arches.get(arch) else { return Ok(Some(unclear(*arch, u32::MAX))) };
            let numbers: BTreeSet<u32> =
                own.calls.iter().chain(&other.calls).map(|call| call.number).collect();
            for number in numbers {
                let copy = store.import(&again.store, other.decision(number), &mut memo);
                if copy != own.decision(number) {
                    return Ok(Some(unclear(*arch, number)));
                }
            }
            if store.import(&again.store, other.minus_one, &mut memo) != own.minus_one {
                return Ok(Some(unclear(*arch, u32::MAX)));
            }
        }
        if store.is_full() { Err(NotExpressible::TooComplex) } else { Ok(None) }
    }
}

/// A rule without its names; the order is the order of rules in the profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Inverted, so that permissive rules come first.
    verdict: u32,
    filters: Vec<ArgFilter>,
    origins: BTreeSet<Origin>,
}

impl Key {
    fn new(verdict: Verdict, conditions: Vec<Comparison>, origins: BTreeSet<Origin>) -> Self {
        let mut filters: Vec<ArgFilter> = conditions
            .into_iter()
            .filter_map(|c| {
                Some(ArgFilter {
                    index: ArgIndex::new(c.index)?,
                    value: ArgValue(c.value),
                    value_two: ArgValue(c.value_two),
                    op: c.op,
                })
            })
            .collect();
        filters.sort();
        Self { verdict: !verdict.raw(), filters, origins }
    }

    fn verdict(&self) -> Verdict {
        Verdict::from_raw(!self.verdict)
    }
}

/// The action and errno as a profile spells them; `EPERM` is what an absent errno means.
fn words(verdict: Verdict) -> (Action, Option<Errno>) {
    match verdict.action() {
        (Action::KillThread, _) => (Action::Kill, None),
        (action, errno) => (action, errno.filter(|errno| *errno != Errno::EPERM)),
    }
}

/// The conjunctions under which a decision differs from the default, as far as rules can say them.
fn paths(
    store: &Store,
    id: Id,
    default: Verdict,
    path: &mut Vec<Comparison>,
    rules: &mut Vec<(Verdict, Vec<Comparison>)>,
) {
    const MAX_RULES: usize = 1000;
    if let Some(verdict) = store.verdict(id) {
        if verdict != default && rules.len() < MAX_RULES {
            rules.push((verdict, path.clone()));
        }
        return;
    }
    for (condition, next) in alternatives(store, id) {
        path.push(condition);
        paths(store, next, default, path, rules);
        path.pop();
    }
}

/// Conditions on the first argument a decision looks at, and where they lead. Values in several ranges that no
/// single condition covers are left out; the profile is then found to differ.
fn alternatives(store: &Store, id: Id) -> Vec<(Comparison, Id)> {
    let Some(node) = store.node(id) else { return Vec::new() };
    let index = (node.var / 64) as u8;
    let (bits, max) = if node.var % 64 >= 32 { (32, u64::from(u32::MAX)) } else { (64, u64::MAX) };
    let condition = |op, value, value_two| Comparison { index, op, value, value_two };
    if let Some(pieces) = ranges(store, id, index, bits) {
        let mut found = Vec::new();
        for (i, &(start, target)) in pieces.iter().enumerate() {
            let end = pieces.get(i + 1).map_or(max, |next| next.0 - 1);
            let single = match (start, end) {
                (a, b) if a == b => Some(condition(Op::Equal, a, 0)),
                (0, b) => Some(condition(Op::LessOrEqual, b, 0)),
                (a, b) if b == max => Some(condition(Op::GreaterOrEqual, a, 0)),
                _ => None,
            };
            // Two pieces around a single value are one condition.
            if let [(0, a), (k, _), (after, b)] = pieces[..]
                && a == b
                && after == k + 1
                && i != 1
            {
                if i == 0 {
                    found.push((condition(Op::NotEqual, k, 0), a));
                }
                continue;
            }
            found.extend(single.map(|c| (c, target)));
        }
        return found;
    }
    let (mut mask, mut datum, mut at) = (0u64, 0u64, id);
    let Some(first) = store.node(id) else { return Vec::new() };
    let inside = |id: Id| store.node(id).is_some_and(|n| n.var / 64 == u16::from(index));
    let other = if inside(first.zero) { first.one } else { first.zero };
    while let Some(node) = store.node(at).filter(|_| inside(at)) {
        let bit = 1u64 << (63 - node.var % 64);
        if node.zero == other {
            (mask, datum, at) = (mask | bit, datum | bit, node.one);
        } else if node.one == other {
            (mask, at) = (mask | bit, node.zero);
        } else {
            return Vec::new();
        }
    }
    let mut found = vec![(condition(Op::MaskedEqual, mask, datum), at)];
    if mask.count_ones() == 1 {
        found.push((condition(Op::MaskedEqual, mask, !datum & mask), other));
    }
    found
}

/// The ranges of an argument, with where they lead; `None` when there are too many.
fn ranges(store: &Store, id: Id, index: u8, bits: u16) -> Option<Vec<(u64, Id)>> {
    let mut pieces: Vec<(u64, Id)> = Vec::new();
    let mut todo = vec![(id, bits, 0u64)];
    while let Some((id, left, start)) = todo.pop() {
        let inside = store.node(id).is_some_and(|n| n.var / 64 == u16::from(index));
        if !inside || left == 0 {
            if pieces.last().is_none_or(|last| last.1 != id) {
                pieces.push((start, id));
            }
            if pieces.len() > 64 {
                return None;
            }
            continue;
        }
        if todo.len() > 128 {
            return None;
        }
        let (zero, one) = store.cofactors(id, u16::from(index) * 64 + 64 - left);
        todo.push((one, left - 1, start | 1 << (left - 1)));
        todo.push((zero, left - 1, start));
    }
    Some(pieces)
}
