//! Rules one after the other, as they are written.
//!
//! A tree over words is smaller and faster for everything profiles contain in practice, but many masks with
//! scattered bits multiply in it. Then the plain chain is taken: at most seven instructions for a condition.

use spo_model::seccomp::{Arch, Op};

use super::{emit::Assembler, search::Test};
use crate::{
    Policy, Verdict,
    bpf::{self, Insn, op},
    decision::{Comparison, Id, Store, Width},
    policy::Applied,
};

/// Diagrams smaller than this always become trees.
const LARGE: usize = 600;

/// The rules that make up a decision and its default, when the decision is so large that they may be shorter.
pub(super) fn rules(policy: &Policy, decision: Id) -> Option<(Vec<Applied>, Verdict)> {
    if policy.store.size(decision, LARGE) < LARGE {
        return None;
    }
    let (arch, number): (Arch, u32) = policy.arches.iter().find_map(|(arch, own)| {
        own.calls.iter().find(|call| call.decision == decision).map(|call| (*arch, call.number))
    })?;
    let default = policy.arches.get(&arch)?.default;
    let rules = policy.rules_of(arch, number).to_vec();
    let mut scratch: Store = policy.store.clone();
    // After a union the rules alone need not tell the whole decision.
    (crate::policy::decide(&mut scratch, &rules, default) == decision)
        .then(|| Some((rules, policy.store.verdict(default)?)))
        .flatten()
}

impl Assembler {
    /// The position of the first instruction of a chain of rules.
    pub(super) fn chain(&mut self, rules: &[Applied], default: Verdict) -> usize {
        let mut next = self.ret(default.raw());
        for rule in rules.iter().rev() {
            let mut at = self.ret(rule.verdict.raw());
            for (comparison, width) in rule.conditions.as_deref().unwrap_or_default() {
                at = self.comparison(*comparison, *width, at, next);
            }
            next = at;
        }
        next
    }

    fn comparison(&mut self, c: Comparison, width: Width, yes: usize, no: usize) -> usize {
        if width == Width::Low && c.value >> 32 != 0 {
            // The upper half counts as zero.
            let holds = match c.op {
                Op::NotEqual | Op::LessThan | Op::LessOrEqual => true,
                Op::MaskedEqual => c.value_two >> 32 == 0,
                _ => false,
            };
            match (c.op, holds) {
                (Op::MaskedEqual, true) => {}
                (_, true) => return yes,
                (_, false) => return no,
            }
        }
        let (low, high) = (c.value as u32, (c.value >> 32) as u32);
        let full = width == Width::Full;
        match c.op {
            Op::Equal => self.equal(c.index, full, (low, high), yes, no),
            Op::NotEqual => self.equal(c.index, full, (low, high), no, yes),
            Op::MaskedEqual => {
                let (low_datum, high_datum) = (c.value_two as u32, (c.value_two >> 32) as u32);
                let mut at = yes;
                if low != 0 {
                    at = self.branch(Test::Masked(low, low_datum), at, no);
                    at = self.load(c.index, false, at);
                }
                if full && high != 0 {
                    at = self.branch(Test::Masked(high, high_datum), at, no);
                    at = self.load(c.index, true, at);
                }
                at
            }
            Op::GreaterOrEqual => self.at_least(c.index, full, (low, high), false, yes, no),
            Op::GreaterThan => self.at_least(c.index, full, (low, high), true, yes, no),
            Op::LessThan => self.at_least(c.index, full, (low, high), false, no, yes),
            Op::LessOrEqual => self.at_least(c.index, full, (low, high), true, no, yes),
        }
    }

    fn equal(&mut self, index: u8, full: bool, (low, high): (u32, u32), yes: usize, no: usize) -> usize {
        let at = self.branch(Test::Equal(low), yes, no);
        let at = self.load(index, false, at);
        if !full {
            return at;
        }
        let at = self.branch(Test::Equal(high), at, no);
        self.load(index, true, at)
    }

    fn at_least(
        &mut self,
        index: u8,
        full: bool,
        (low, high): (u32, u32),
        beyond: bool,
        yes: usize,
        no: usize,
    ) -> usize {
        let at = match (beyond, low.checked_add(1)) {
            (false, _) => self.branch(Test::AtLeast(low), yes, no),
            (true, Some(above)) => self.branch(Test::AtLeast(above), yes, no),
            (true, None) => no,
        };
        let at = self.load(index, false, at);
        if !full {
            return at;
        }
        let equal = self.branch(Test::Equal(high), at, no);
        let at = match high.checked_add(1) {
            Some(above) => self.branch(Test::AtLeast(above), yes, equal),
            None => equal,
        };
        self.load(index, true, at)
    }

    fn load(&mut self, index: u8, high: bool, then: usize) -> usize {
        self.fall_into(then);
        let offset = bpf::offset_of_argument(index, high, self.endian());
        self.push(Insn::new(op::LD, 0, 0, offset))
    }
}
