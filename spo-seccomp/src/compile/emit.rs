//! Instructions, written from the last to the first, so that the place of every jump's target is known.

use std::collections::HashMap;

use super::{
    chain,
    search::{Test, Tree},
    segments::Target,
    words,
};
use crate::{
    Policy, Verdict,
    arch::Endian,
    bpf::{self, Insn, op},
    decision::Id,
    policy::Applied,
};

/// Writes one program backwards.
pub(crate) struct Assembler {
    endian: Endian,
    /// The program from its end; a position is an index here, and jumps go to smaller ones.
    reversed: Vec<Insn>,
    returns: HashMap<u32, usize>,
    blocks: HashMap<Id, Block>,
    starts: Vec<(u32, usize)>,
    costs: Vec<Cost>,
}

/// The instructions that a decision over arguments took.
pub(crate) struct Cost {
    pub(crate) decision: Id,
    pub(crate) instructions: usize,
}

/// The tests of a decision: with the load of their word, and behind it.
#[derive(Clone, Copy)]
struct Block {
    load: usize,
    tests: usize,
    word: u16,
}

/// A conditional jump reaches 255 instructions ahead.
const REACH: usize = 255;

impl Assembler {
    pub(crate) fn new(endian: Endian) -> Self {
        Self {
            endian,
            reversed: Vec::new(),
            returns: HashMap::new(),
            blocks: HashMap::new(),
            starts: Vec::new(),
            costs: Vec::new(),
        }
    }

    pub(super) fn endian(&self) -> Endian {
        self.endian
    }

    /// Adds the code for the numbers of one token. The token added last comes first in the program.
    pub(crate) fn token(&mut self, policy: &Policy, token: u32, tree: &Tree) {
        let root = self.tree(policy, tree, None);
        self.fall_into(root);
        let start = self.push(Insn::new(op::LD, 0, 0, bpf::OFFSET_NR));
        self.starts.push((token, start));
    }

    /// Adds the choice between the tokens and returns the program.
    pub(crate) fn finish(mut self, bad_arch: Verdict) -> (Vec<Insn>, Vec<Cost>) {
        let mut otherwise = self.ret(bad_arch.raw());
        for (token, start) in std::mem::take(&mut self.starts) {
            otherwise = self.branch(Test::Equal(token), start, otherwise);
        }
        self.fall_into(otherwise);
        self.push(Insn::new(op::LD, 0, 0, bpf::OFFSET_ARCH));
        self.reversed.reverse();
        (self.reversed, self.costs)
    }

    /// The position of a tree's first instruction.
    fn tree(&mut self, policy: &Policy, tree: &Tree, word: Option<u16>) -> usize {
        match tree {
            Tree::Leaf(target) => self.target(policy, *target, word),
            Tree::Node(test, yes, no) => {
                let word_after = if matches!(test, Test::Masked(..)) { None } else { word };
                let yes_at = self.tree(policy, yes, word_after);
                let no_at = self.tree(policy, no, word_after);
                // A return may have moved out of reach, or a nearer one been written, in the meantime.
                let yes_at = self.refresh(policy, yes, yes_at);
                self.branch(*test, yes_at, no_at)
            }
        }
    }

    fn target(&mut self, policy: &Policy, target: Target, loaded: Option<u16>) -> usize {
        match target {
            Target::Fixed(answer) => self.ret(answer),
            Target::Decision(id) => match policy.store.verdict(id) {
                Some(verdict) => self.ret(verdict.raw()),
                None => self.block(policy, id, loaded),
            },
        }
    }

    fn block(&mut self, policy: &Policy, id: Id, loaded: Option<u16>) -> usize {
        let block = match self.blocks.get(&id) {
            Some(block) => *block,
            None => {
                if let Some((rules, default)) = chain::rules(policy, id) {
                    return self.chain_block(id, &rules, default);
                }
                let before = self.reversed.len();
                let word = words::word_of(&policy.store, id).unwrap_or_default();
                let tree = words::tree(&policy.store, id);
                let tests = self.tree(policy, &tree, Some(word));
                let tests = self.fall_into(tests);
                let offset = bpf::offset_of_argument((word / 2) as u8, word.is_multiple_of(2), self.endian);
                let load = self.push(Insn::new(op::LD, 0, 0, offset));
                let block = Block { load, tests, word };
                self.blocks.insert(id, block);
                self.costs.push(Cost { decision: id, instructions: self.reversed.len() - before });
                block
            }
        };
        if loaded == Some(block.word) { block.tests } else { block.load }
    }

    /// The rules of a large decision one after the other.
    fn chain_block(&mut self, id: Id, rules: &[Applied], default: Verdict) -> usize {
        let before = self.reversed.len();
        let load = self.chain(rules, default);
        let instructions = self.reversed.len() - before;
        self.costs.push(Cost { decision: id, instructions });
        // Nothing is known to be loaded at its start, so every jump goes to the first load.
        self.blocks.insert(id, Block { load, tests: load, word: u16::MAX });
        load
    }

    /// A return of `answer` within reach of the next instruction.
    pub(super) fn ret(&mut self, answer: u32) -> usize {
        match self.returns.get(&answer) {
            // Leave room for a few instructions before the jump.
            Some(&at) if self.distance(at) + 8 <= REACH => at,
            _ => {
                let at = self.push(Insn::new(op::RET, 0, 0, answer));
                self.returns.insert(answer, at);
                at
            }
        }
    }

    fn refresh(&mut self, policy: &Policy, tree: &Tree, at: usize) -> usize {
        let answer = match tree {
            Tree::Leaf(Target::Fixed(answer)) => Some(*answer),
            Tree::Leaf(Target::Decision(id)) => policy.store.verdict(*id).map(Verdict::raw),
            Tree::Node(..) => None,
        };
        match answer {
            Some(answer) if self.distance(at) > REACH => {
                self.returns.get(&answer).copied().filter(|near| self.distance(*near) <= REACH).unwrap_or(at)
            }
            _ => at,
        }
    }

    pub(super) fn branch(&mut self, test: Test, yes: usize, no: usize) -> usize {
        let yes = self.near(yes, 2);
        let no = self.near(no, 1);
        let (mut code, mut k) = match test {
            Test::AtLeast(k) => (op::JGE, k),
            Test::Equal(k) => (op::JEQ, k),
            Test::AnyBit(mask) => (op::JSET, mask),
            Test::Masked(_, k) => (op::JEQ, k),
        };
        let (mut jt, mut jf) = (self.distance(yes), self.distance(no));
        if code == op::JSET && k == 0 {
            (code, k, jt, jf) = (op::JGE, 0, jf, jf);
        }
        let at = self.push(Insn::new(code, jt as u8, jf as u8, k));
        match test {
            Test::Masked(mask, _) => self.push(Insn::new(op::AND, 0, 0, mask)),
            _ => at,
        }
    }

    /// The target itself, or a long jump to it when it would be out of reach after `slack` more instructions.
    fn near(&mut self, target: usize, slack: usize) -> usize {
        if self.distance(target) + slack - 1 <= REACH {
            return target;
        }
        match self.reversed.get(target) {
            // A copy of a return is as long as a jump and faster.
            Some(insn) if insn.code == op::RET => {
                let insn = *insn;
                let at = self.push(insn);
                self.returns.insert(insn.k, at);
                at
            }
            _ => {
                let distance = self.distance(target) as u32;
                self.push(Insn::new(op::JA, 0, 0, distance))
            }
        }
    }

    /// Makes the next instruction pushed run into `target`.
    pub(super) fn fall_into(&mut self, target: usize) -> usize {
        match self.distance(target) {
            0 => target,
            _ => match self.reversed.get(target) {
                Some(insn) if insn.code == op::RET => {
                    let insn = *insn;
                    self.push(insn)
                }
                _ => {
                    let distance = self.distance(target) as u32;
                    self.push(Insn::new(op::JA, 0, 0, distance))
                }
            },
        }
    }

    /// Instructions to skip from the next one pushed to a position.
    fn distance(&self, target: usize) -> usize {
        self.reversed.len() - 1 - target
    }

    pub(super) fn push(&mut self, insn: Insn) -> usize {
        self.reversed.push(insn);
        self.reversed.len() - 1
    }
}
