//! Decisions over arguments as trees of word tests.
//!
//! A node of a decision diagram tests one bit; a BPF instruction tests a word of 32. From a node, everything the
//! diagram does before it leaves the node's word is one function of that word, and this module finds a short
//! tree for it: thresholds and equality tests when the function has few intervals, a bit test or a masked
//! comparison when it depends on scattered bits, and one bit at a time when nothing better is found.

use super::{
    search::{self, Test, Tree},
    segments::{Piece, Target},
};
use crate::decision::{Id, Store};

/// The word a decision looks at first: twice the argument, plus one for the low half. `None` for a leaf.
pub(crate) fn word_of(store: &Store, id: Id) -> Option<u16> {
    store.node(id).map(|node| node.var / 32)
}

/// The tests of a decision's first word. Leaves are decisions that look at later words or, where more tests of
/// the same word follow a masked comparison or a single bit, at the same one.
pub(crate) fn tree(store: &Store, id: Id) -> Tree {
    let Some(word) = word_of(store, id) else { return Tree::Leaf(Target::Decision(id)) };
    let by_intervals = intervals(store, id, word).map(|pieces| search::optimal(&pieces, &[]));
    let by_bits = cube(store, id, word);
    match (by_intervals, by_bits) {
        (Some(a), Some(b)) if b.size() + pending(store, &b, word) < a.size() => b,
        (Some(a), _) => a,
        (None, Some(b)) => b,
        (None, None) => match store.node(id) {
            Some(node) => bit(node.var, node.one, node.zero),
            None => Tree::Leaf(Target::Decision(id)),
        },
    }
}

/// More intervals than this are not worth a tree of thresholds.
const MAX_PIECES: usize = 48;

fn intervals(store: &Store, id: Id, word: u16) -> Option<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut todo = vec![(id, 32u32, 0u32)];
    while let Some((id, bits, start)) = todo.pop() {
        if word_of(store, id) != Some(word) {
            let target = Target::Decision(id);
            match pieces.last_mut() {
                Some(last) if last.target == target => {}
                _ => {
                    if let Some(last) = pieces.last_mut() {
                        last.end = start - 1;
                    }
                    pieces.push(Piece { start, end: u32::MAX, target, weight: 1 });
                    if pieces.len() > MAX_PIECES {
                        return None;
                    }
                }
            }
            continue;
        }
        // Split at the next bit whether or not the function tests it: a skipped bit repeats the pattern.
        if todo.len() > 64 {
            return None;
        }
        let bit = bits - 1;
        let (zero, one) = store.cofactors(id, word * 32 + 31 - bit as u16);
        todo.push((one, bit, start | 1 << bit));
        todo.push((zero, bit, start));
    }
    Some(pieces)
}

/// `a & mask == k`, where all other values of the tested bits lead to one decision.
fn cube(store: &Store, id: Id, word: u16) -> Option<Tree> {
    let inside = |id: Id| word_of(store, id) == Some(word);
    let first = store.node(id)?;
    let candidates = [first.zero, first.one];
    let best = candidates
        .into_iter()
        .map(|other| {
            let (mut mask, mut k, mut at) = (0u32, 0u32, id);
            while let Some(node) = store.node(at).filter(|_| inside(at)) {
                let bit = 1u32 << (31 - node.var % 32);
                if node.zero == other {
                    (mask, k, at) = (mask | bit, k | bit, node.one);
                } else if node.one == other {
                    (mask, at) = (mask | bit, node.zero);
                } else {
                    break;
                }
            }
            (mask, k, at, other)
        })
        .max_by_key(|(mask, _, at, _)| (mask.count_ones(), !inside(*at)))?;
    let (mask, k, rest, other) = best;
    let (rest, other) = (Tree::Leaf(Target::Decision(rest)), Tree::Leaf(Target::Decision(other)));
    let tree = match (mask.count_ones(), k) {
        (0, _) => return None,
        (_, 0) => Tree::Node(Test::AnyBit(mask), Box::new(other), Box::new(rest)),
        (1, _) => Tree::Node(Test::AnyBit(mask), Box::new(rest), Box::new(other)),
        _ => Tree::Node(Test::Masked(mask, k), Box::new(rest), Box::new(other)),
    };
    Some(tree)
}

/// An estimate of the tests that follow in the same word.
fn pending(store: &Store, tree: &Tree, word: u16) -> usize {
    match tree {
        Tree::Leaf(Target::Decision(id)) if word_of(store, *id) == Some(word) => 3,
        Tree::Leaf(_) => 0,
        Tree::Node(_, yes, no) => pending(store, yes, word) + pending(store, no, word),
    }
}

fn bit(var: u16, one: Id, zero: Id) -> Tree {
    let leaf = |id| Box::new(Tree::Leaf(Target::Decision(id)));
    Tree::Node(Test::AnyBit(1 << (31 - var % 32)), leaf(one), leaf(zero))
}
