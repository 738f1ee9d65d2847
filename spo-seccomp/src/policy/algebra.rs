//! Union, intersection and subtraction of policies, exact for every single call.

use std::cmp::Ordering;

use spo_model::seccomp::{Arch, Errno};

use super::{Applied, ArchPolicy, Call, Origin, Policy, PolicyError};
use crate::{
    Verdict,
    decision::{Id, ImportMemo, Store},
};

impl Policy {
    /// Permits what either policy permits: for every call the less restrictive of both verdicts, this policy's
    /// when they are level.
    ///
    /// # Errors
    /// [`PolicyError::TooComplex`] when the decisions combine to something too large.
    pub fn union(&self, other: &Self) -> Result<Self, PolicyError> {
        self.combine(other, &Verdict::less_restrictive)
    }

    /// Permits what both policies permit: for every call the more restrictive of both verdicts.
    ///
    /// # Errors
    /// As [`Policy::union`].
    pub fn intersect(&self, other: &Self) -> Result<Self, PolicyError> {
        self.combine(other, &Verdict::more_restrictive)
    }

    /// This policy without the calls that `other` permits: "default minus X".
    ///
    /// A call that `other` permits (allow, log, trace, notify) gets this policy's default verdict if that denies,
    /// and `ERRNO(EPERM)` otherwise, unless it is denied more strictly already. Architectures that only
    /// `other` knows are not added.
    ///
    /// # Errors
    /// As [`Policy::union`].
    pub fn subtract(&self, other: &Self) -> Result<Self, PolicyError> {
        let default = self.arches.values().find_map(|arch| self.store.verdict(arch.default));
        let denied = default.filter(|v| !v.permits()).unwrap_or(Verdict::errno(Errno::EPERM));
        let mut result = self.combine(other, &|own: Verdict, taken: Verdict| {
            if taken.permits() { own.more_restrictive(denied) } else { own }
        })?;
        result.bad_arch = self.bad_arch;
        result.arches.retain(|arch, _| self.arches.contains_key(arch));
        Ok(result)
    }

    fn combine(&self, other: &Self, f: &impl Fn(Verdict, Verdict) -> Verdict) -> Result<Self, PolicyError> {
        let mut result = Self {
            store: Store::default(),
            arches: std::collections::BTreeMap::new(),
            bad_arch: f(self.bad_arch, other.bad_arch),
            applied: Vec::with_capacity(self.applied.len() + other.applied.len()),
            profiles: [self.profiles.as_slice(), &other.profiles].concat(),
            unknown: self.unknown.clone(),
        };
        let shift = self.profiles.len();
        result.unknown.extend(other.unknown.iter().map(|(name, o)| (name.clone(), shifted(*o, shift))));
        let mut sides = [Side::new(self, 0), Side::new(other, shift)];
        let arches: std::collections::BTreeSet<Arch> =
            self.architectures().chain(other.architectures()).collect();
        for arch in arches {
            let combined = combine_arch(&mut result, &mut sides, arch, f);
            result.arches.insert(arch, combined);
        }
        if result.store.is_full() { Err(PolicyError::TooComplex) } else { Ok(result) }
    }
}

struct Side<'a> {
    policy: &'a Policy,
    memo: ImportMemo,
    shift: usize,
}

impl<'a> Side<'a> {
    fn new(policy: &'a Policy, shift: usize) -> Self {
        Self { policy, memo: ImportMemo::default(), shift }
    }

    fn import(&mut self, store: &mut Store, id: Id) -> Id {
        store.import(&self.policy.store, id, &mut self.memo)
    }

    fn import_or_bad_arch(&mut self, store: &mut Store, id: Option<Id>) -> Id {
        match id {
            Some(id) => self.import(store, id),
            None => store.leaf(self.policy.bad_arch),
        }
    }

    fn append_rules(&self, rules: std::ops::Range<u32>, to: &mut Vec<Applied>) {
        let rules = self.policy.applied.get(rules.start as usize..rules.end as usize).unwrap_or_default();
        to.extend(
            rules.iter().map(|rule| Applied { origin: shifted(rule.origin, self.shift), ..rule.clone() }),
        );
    }
}

fn shifted(origin: Origin, by: usize) -> Origin {
    Origin { profile: origin.profile + by, ..origin }
}

fn combine_arch(
    result: &mut Policy,
    [left, right]: &mut [Side<'_>; 2],
    arch: Arch,
    f: &impl Fn(Verdict, Verdict) -> Verdict,
) -> ArchPolicy {
    let store = &mut result.store;
    let (a, b) = (left.policy.arches.get(&arch), right.policy.arches.get(&arch));
    let a_default = left.import_or_bad_arch(store, a.map(|p| p.default));
    let b_default = right.import_or_bad_arch(store, b.map(|p| p.default));
    let default = store.apply(a_default, b_default, f);
    let a_calls = a.map_or(&[][..], |p| &p.calls);
    let b_calls = b.map_or(&[][..], |p| &p.calls);
    let mut calls = Vec::with_capacity(a_calls.len().max(b_calls.len()));
    let (mut i, mut j) = (0, 0);
    while i < a_calls.len() || j < b_calls.len() {
        let order = match (a_calls.get(i), b_calls.get(j)) {
            (Some(x), Some(y)) => x.number.cmp(&y.number),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let start = result.applied.len() as u32;
        let (mut x, mut y, mut number) = (a_default, b_default, 0);
        if order != Ordering::Greater {
            let call: &Call = &a_calls[i];
            (x, number) = (left.import(store, call.decision), call.number);
            left.append_rules(call.rules.clone(), &mut result.applied);
            i += 1;
        }
        if order != Ordering::Less {
            let call: &Call = &b_calls[j];
            (y, number) = (right.import(store, call.decision), call.number);
            right.append_rules(call.rules.clone(), &mut result.applied);
            j += 1;
        }
        let decision = store.apply(x, y, f);
        calls.push(Call { number, decision, rules: start..result.applied.len() as u32 });
    }
    let newest = a.and_then(|p| p.newest).max(b.and_then(|p| p.newest));
    let mut minus_one = default;
    if matches!(arch, Arch::X86_64 | Arch::X32) {
        let x = left.import_or_bad_arch(store, left.policy.beyond_x32(u32::MAX));
        let y = right.import_or_bad_arch(store, right.policy.beyond_x32(u32::MAX));
        minus_one = store.apply(x, y, f);
    }
    ArchPolicy { default, calls, newest, minus_one }
}
