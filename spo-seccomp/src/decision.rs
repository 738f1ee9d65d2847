//! Decisions over syscall arguments, as shared, ordered, reduced decision diagrams.
//!
//! A decision is a function from six 64-bit arguments to a [`Verdict`]. It is kept as a diagram that tests one
//! bit per node, argument 0 first and high bits first. In that form two decisions are the same function
//! exactly when they are the same node, which makes union, comparison and translation validation exact and
//! cheap: a comparison with a constant is at most 64 nodes, and almost every syscall is a single leaf.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use spo_model::seccomp::Op;

use crate::Verdict;

/// A decision in a [`Store`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Id(u32);

/// The nodes of many decisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    nodes: Vec<Node>,
    leaves: Vec<Verdict>,
    unique: HashMap<Node, Id, BuildHasherDefault<Mix>>,
    full: bool,
    /// Steps of all operations so far; bounds the time that untrusted conditions can take.
    steps: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node {
    /// `argument * 64 + (63 - bit)`.
    pub(crate) var: u16,
    pub(crate) zero: Id,
    pub(crate) one: Id,
}

/// The part of an argument a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// All 64 bits.
    Full,
    /// The low word, the high word counting as zero.
    Low,
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Comparison {
    pub(crate) index: u8,
    pub(crate) op: Op,
    pub(crate) value: u64,
    pub(crate) value_two: u64,
}

const LEAF: u32 = 0x8000_0000;
/// More nodes than any sensible profile needs by orders of magnitude; beyond, the store is full for good.
const MAX_NODES: usize = 1 << 20;
/// A few seconds of work in the worst case; a thousand times what large profiles take.
const MAX_STEPS: u32 = 1 << 23;

impl Id {
    pub(crate) fn is_leaf(self) -> bool {
        self.0 & LEAF != 0
    }
}

impl Store {
    /// The decision that always gives `verdict`.
    pub(crate) fn leaf(&mut self, verdict: Verdict) -> Id {
        let found = self.leaves.iter().position(|v| *v == verdict);
        let index = found.unwrap_or_else(|| {
            self.leaves.push(verdict);
            self.leaves.len() - 1
        });
        Id(index as u32 | LEAF)
    }

    /// The verdict of a leaf, `None` for a decision that depends on arguments.
    pub(crate) fn verdict(&self, id: Id) -> Option<Verdict> {
        id.is_leaf().then(|| self.leaves[(id.0 & !LEAF) as usize])
    }

    /// The top node, `None` for a leaf.
    pub(crate) fn node(&self, id: Id) -> Option<Node> {
        (!id.is_leaf()).then(|| self.nodes[id.0 as usize])
    }

    /// Whether a decision was too large to be represented. Everything made since is meaningless.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn make(&mut self, var: u16, zero: Id, one: Id) -> Id {
        if zero == one {
            return zero;
        }
        let node = Node { var, zero, one };
        if let Some(id) = self.unique.get(&node) {
            return *id;
        }
        if self.nodes.len() >= MAX_NODES {
            self.full = true;
            return zero;
        }
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        self.unique.insert(node, id);
        id
    }

    /// The verdict of a decision for these arguments.
    pub(crate) fn eval(&self, mut id: Id, args: &[u64; 6]) -> Verdict {
        while let Some(node) = self.node(id) {
            let (argument, bit) = (usize::from(node.var / 64), 63 - node.var % 64);
            id = if args[argument] >> bit & 1 == 1 { node.one } else { node.zero };
        }
        self.leaves[(id.0 & !LEAF) as usize]
    }

    /// `comparison ? yes : no`, where neither branch looks at the argument or an earlier one.
    pub(crate) fn compare(&mut self, c: Comparison, width: Width, yes: Id, no: Id) -> Id {
        let top = u16::from(c.index) * 64;
        let constant = |holds: bool| if holds { yes } else { no };
        let bits = match width {
            Width::Full => 64,
            Width::Low => 32,
        };
        if width == Width::Low {
            // The high word counts as zero, so a constant beyond the low word decides the comparison.
            let beyond = c.value >> 32 != 0;
            match c.op {
                Op::Equal | Op::GreaterOrEqual | Op::GreaterThan if beyond => return no,
                Op::NotEqual | Op::LessOrEqual | Op::LessThan if beyond => return yes,
                Op::MaskedEqual if (c.value & c.value_two) >> 32 != 0 => return no,
                _ => {}
            }
        }
        match c.op {
            Op::Equal => self.equal(top, bits, u64::MAX, c.value, yes, no),
            Op::NotEqual => self.equal(top, bits, u64::MAX, c.value, no, yes),
            // libseccomp takes datum bits outside the mask as zero.
            Op::MaskedEqual => self.equal(top, bits, c.value, c.value & c.value_two, yes, no),
            Op::GreaterOrEqual => self.at_least(top, bits, c.value, yes, yes, no),
            Op::GreaterThan => self.at_least(top, bits, c.value, constant(false), yes, no),
            Op::LessThan => self.at_least(top, bits, c.value, no, no, yes),
            Op::LessOrEqual => self.at_least(top, bits, c.value, yes, no, yes),
        }
    }

    fn equal(&mut self, top: u16, bits: u16, mask: u64, datum: u64, yes: Id, no: Id) -> Id {
        let mut id = yes;
        for bit in (0..bits).filter(|bit| mask >> bit & 1 == 1) {
            let var = top + 63 - bit;
            id = if datum >> bit & 1 == 1 { self.make(var, no, id) } else { self.make(var, id, no) };
        }
        id
    }

    fn at_least(&mut self, top: u16, bits: u16, value: u64, equal: Id, above: Id, below: Id) -> Id {
        let mut id = equal;
        for bit in 0..bits {
            let var = top + 63 - bit;
            id = if value >> bit & 1 == 1 { self.make(var, below, id) } else { self.make(var, id, above) };
        }
        id
    }

    /// The decision that applies `f` to the verdicts of two decisions, for all arguments.
    pub(crate) fn apply(&mut self, a: Id, b: Id, f: &impl Fn(Verdict, Verdict) -> Verdict) -> Id {
        let mut memo = Memo::default();
        self.apply_with(a, b, f, &mut memo)
    }

    fn apply_with(&mut self, a: Id, b: Id, f: &impl Fn(Verdict, Verdict) -> Verdict, memo: &mut Memo) -> Id {
        if let (Some(x), Some(y)) = (self.verdict(a), self.verdict(b)) {
            return self.leaf(f(x, y));
        }
        if !self.step() {
            return a;
        }
        if let Some(id) = memo.get(&(a, b)) {
            return *id;
        }
        let var = self.var(a).min(self.var(b));
        let (a0, a1) = self.cofactors(a, var);
        let (b0, b1) = self.cofactors(b, var);
        let zero = self.apply_with(a0, b0, f, memo);
        let one = self.apply_with(a1, b1, f, memo);
        let id = self.make(var, zero, one);
        memo.insert((a, b), id);
        id
    }

    /// Counts a step; false when there have been too many, after which results mean nothing.
    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.full |= self.steps > MAX_STEPS;
        !self.full
    }

    /// `condition ? yes : no`; the condition's leaves are `KILL_PROCESS` for false and anything else for true.
    pub(crate) fn choose(&mut self, condition: Id, yes: Id, no: Id) -> Id {
        let mut memo = HashMap::default();
        self.choose_with(condition, yes, no, &mut memo)
    }

    fn choose_with(&mut self, c: Id, yes: Id, no: Id, memo: &mut ChooseMemo) -> Id {
        if yes == no {
            return yes;
        }
        if let Some(verdict) = self.verdict(c) {
            return if verdict == Verdict::KILL_PROCESS { no } else { yes };
        }
        if !self.step() {
            return no;
        }
        if let Some(id) = memo.get(&(c, yes, no)) {
            return *id;
        }
        let var = self.var(c).min(self.var(yes)).min(self.var(no));
        let (c0, c1) = self.cofactors(c, var);
        let (y0, y1) = self.cofactors(yes, var);
        let (n0, n1) = self.cofactors(no, var);
        let zero = self.choose_with(c0, y0, n0, memo);
        let one = self.choose_with(c1, y1, n1, memo);
        let id = self.make(var, zero, one);
        memo.insert((c, yes, no), id);
        id
    }

    /// Copies a decision of another store into this one.
    pub(crate) fn import(&mut self, other: &Self, id: Id, memo: &mut ImportMemo) -> Id {
        let Some(node) = other.node(id) else {
            return match other.verdict(id) {
                Some(verdict) => self.leaf(verdict),
                None => id,
            };
        };
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let zero = self.import(other, node.zero, memo);
        let one = self.import(other, node.one, memo);
        let copy = self.make(node.var, zero, one);
        memo.insert(id, copy);
        copy
    }

    /// Arguments for which the decision gives a verdict that `wanted` accepts, zero where nothing else is needed.
    pub(crate) fn find(&self, id: Id, wanted: &impl Fn(Verdict) -> bool) -> Option<[u64; 6]> {
        let mut dead = std::collections::HashSet::new();
        let mut args = [0; 6];
        self.find_in(id, wanted, &mut args, &mut dead).then_some(args)
    }

    fn find_in(
        &self,
        id: Id,
        wanted: &impl Fn(Verdict) -> bool,
        args: &mut [u64; 6],
        dead: &mut std::collections::HashSet<Id>,
    ) -> bool {
        let Some(node) = self.node(id) else {
            return self.verdict(id).is_some_and(wanted);
        };
        if dead.contains(&id) {
            return false;
        }
        if self.find_in(node.zero, wanted, args, dead) {
            return true;
        }
        if self.find_in(node.one, wanted, args, dead) {
            args[usize::from(node.var / 64)] |= 1 << (63 - node.var % 64);
            return true;
        }
        dead.insert(id);
        false
    }

    /// Every verdict the decision can give, in the order of the diagram.
    pub(crate) fn verdicts(&self, id: Id) -> Vec<Verdict> {
        let (mut seen, mut found, mut todo) = (std::collections::HashSet::new(), Vec::new(), vec![id]);
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.node(id) {
                Some(node) => todo.extend([node.one, node.zero]),
                None => found.extend(self.verdict(id).filter(|v| !found.contains(v))),
            }
        }
        found
    }

    /// The number of nodes of a decision, counting no further than `limit`.
    pub(crate) fn size(&self, id: Id, limit: usize) -> usize {
        let (mut seen, mut todo) = (std::collections::HashSet::new(), vec![id]);
        while let Some(id) = todo.pop() {
            if let Some(node) = self.node(id).filter(|_| seen.len() < limit && seen.insert(id)) {
                todo.extend([node.zero, node.one]);
            }
        }
        seen.len()
    }

    /// The variable tested first, past all variables for a leaf.
    pub(crate) fn var(&self, id: Id) -> u16 {
        self.node(id).map_or(u16::MAX, |node| node.var)
    }

    pub(crate) fn cofactors(&self, id: Id, var: u16) -> (Id, Id) {
        match self.node(id) {
            Some(node) if node.var == var => (node.zero, node.one),
            _ => (id, id),
        }
    }
}

type Memo = HashMap<(Id, Id), Id, BuildHasherDefault<Mix>>;
type ChooseMemo = HashMap<(Id, Id, Id), Id, BuildHasherDefault<Mix>>;
pub(crate) type ImportMemo = HashMap<Id, Id, BuildHasherDefault<Mix>>;

/// A multiplicative hash for small integers; the keys are our own node numbers, not input.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(c: Comparison, width: Width, argument: u64) -> bool {
        let a = if width == Width::Low { argument & 0xffff_ffff } else { argument };
        match c.op {
            Op::NotEqual => a != c.value,
            Op::LessThan => a < c.value,
            Op::LessOrEqual => a <= c.value,
            Op::Equal => a == c.value,
            Op::GreaterOrEqual => a >= c.value,
            Op::GreaterThan => a > c.value,
            Op::MaskedEqual => a & c.value == c.value & c.value_two,
        }
    }

    fn edge() -> impl Strategy<Value = u64> {
        prop_oneof![
            prop::sample::select(vec![
                0,
                1,
                2,
                38,
                0x7fff_ffff,
                0xffff_ffff,
                1 << 32,
                (1 << 32) + 1,
                u64::MAX
            ]),
            any::<u64>(),
            (0u64..16),
        ]
    }

    proptest! {
        #[test]
        fn a_diagram_of_a_comparison_is_the_comparison(
            op in prop::sample::select(Op::ALL),
            value in edge(),
            value_two in edge(),
            argument in edge(),
            index in 0u8..6,
            full in any::<bool>(),
        ) {
            let mut store = Store::default();
            let (yes, no) = (store.leaf(Verdict::ALLOW), store.leaf(Verdict::KILL_THREAD));
            let c = Comparison { index, op, value, value_two };
            let width = if full { Width::Full } else { Width::Low };
            let id = store.compare(c, width, yes, no);
            let mut args = [7; 6];
            args[usize::from(index)] = argument;
            prop_assert_eq!(store.eval(id, &args) == Verdict::ALLOW, holds(c, width, argument));
            if let Some(found) = store.find(id, &|v| v == Verdict::ALLOW) {
                prop_assert!(holds(c, width, found[usize::from(index)]));
            }
        }
    }
}
