//! The order in which libseccomp tries the conditional rules of one syscall, and where that is not all there is to it.
//!
//! libseccomp keeps the rules of a syscall as a tree of 32-bit comparisons (`src/db.c`). A level of it is sorted: higher
//! arguments are tried first, the high word before the low one, equality tests before orderings, and of two orderings
//! the one with the narrower range; what is level after that stays in the order of insertion. Rules that begin with the
//! same comparison share it, and are sorted by what follows. A chain that fails half-way continues with its next
//! sibling. So the tree means: the first matching rule in the order of [`sort`], but for the pairs that [`diverges`]
//! names, where sharing a comparison changes what a rule says.

use std::collections::HashMap;

use spo_model::seccomp::Op;

use super::Applied;
use crate::decision::{Comparison, Width};

/// Sorts rules, each with its conditions by descending argument, from the order of insertion to that of the tree.
pub(super) fn sort(rules: Vec<Applied>) -> Vec<Applied> {
    let chains = rules.into_iter().map(|rule| {
        let conditions = rule.conditions.as_deref().unwrap_or_default();
        // A chain begins with the lowest argument, though on a level the highest comes first.
        (conditions.iter().rev().flat_map(|(c, width)| words(*c, *width)).collect(), rule)
    });
    let mut sorted = Vec::new();
    level(chains.collect(), 0, &mut sorted);
    sorted
}

/// Whether libseccomp may decide something else than what two rules of a syscall say one after the other, in either
/// order.
///
/// - Of 64-bit orderings with different high words or actions, and of masks beside orderings, on one argument only the
///   comparisons of the high words are merged, which makes one of the rules wider or narrower (GHSA-4q85-33p6-j5g6 is
///   one case; 2.6.1 has others).
/// - A conjunction that shares an argument with another rule may compare a constant with the word of another argument
///   (2.5.4), or lose rules that it is taken to contain.
/// - Two inequalities with different actions on one argument share the answer for other high words.
pub(super) fn diverges(a: &Applied, b: &Applied) -> bool {
    let [x, y] = [a, b].map(|rule| rule.conditions.as_deref().unwrap_or_default());
    let conjunction = x.len() > 1 || y.len() > 1;
    let pairs = x.iter().flat_map(|(c, _)| y.iter().map(move |(d, _)| (c, d)));
    pairs.filter(|(c, d)| c.index == d.index).any(|(c, d)| match (class(c.op), class(d.op)) {
        _ if conjunction => true,
        (Class::Equality, Class::Equality) => {
            c.op == Op::NotEqual && d.op == Op::NotEqual && a.verdict != b.verdict
        }
        (Class::Equality, _) => c.op == Op::MaskedEqual,
        (_, Class::Equality) => d.op == Op::MaskedEqual,
        _ => c.value >> 32 != d.value >> 32 || a.verdict != b.verdict,
    })
}

/// Rules with the comparisons they are made of.
type Chains = Vec<(Vec<Word>, Applied)>;

/// Chains by their comparison at a depth, those with the same one by the next.
fn level(chains: Chains, depth: usize, sorted: &mut Vec<Applied>) {
    let mut nodes: Vec<(Word, Chains)> = Vec::new();
    let mut places: HashMap<Word, usize> = HashMap::new();
    for (words, rule) in chains {
        let Some(word) = words.get(depth).copied() else {
            sorted.push(rule);
            continue;
        };
        let place = *places.entry(word).or_insert(nodes.len());
        match nodes.get_mut(place) {
            Some((_, chains)) => chains.push((words, rule)),
            None => nodes.push((word, vec![(words, rule)])),
        }
    }
    // A stable sort: what is level stays in the order of insertion.
    nodes.sort_by_key(|(word, _)| word.rank());
    for (_, chains) in nodes {
        match <[_; 1]>::try_from(chains) {
            Ok([(_, rule)]) => sorted.push(rule),
            Err(chains) => level(chains, depth + 1, sorted),
        }
    }
}

/// One 32-bit comparison, equal to another one where libseccomp's tree has one node for both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Word {
    /// Argument and half, the high half of the last argument being the largest.
    place: u8,
    class: Class,
    /// `NotEqual` is an equality test whose other branch counts, `LessThan` and `LessOrEqual` likewise.
    test: Op,
    datum: u32,
    mask: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Class {
    Equality,
    Less,
    Greater,
}

impl Word {
    fn rank(&self) -> (std::cmp::Reverse<u8>, Class, i64) {
        let datum = i64::from(self.datum);
        let datum = if self.class == Class::Less { datum } else { -datum };
        (std::cmp::Reverse(self.place), self.class, datum)
    }
}

fn class(op: Op) -> Class {
    match op {
        Op::Equal | Op::NotEqual | Op::MaskedEqual => Class::Equality,
        Op::LessThan | Op::LessOrEqual => Class::Less,
        Op::GreaterThan | Op::GreaterOrEqual => Class::Greater,
    }
}

/// The words a comparison is made of, high before low.
fn words(c: Comparison, width: Width) -> impl Iterator<Item = Word> {
    let masked = c.op == Op::MaskedEqual;
    let (datum, mask) = if masked { (c.value_two, c.value) } else { (c.value, u64::MAX) };
    let test = match c.op {
        Op::NotEqual => Op::Equal,
        Op::LessThan => Op::GreaterOrEqual,
        Op::LessOrEqual => Op::GreaterThan,
        op => op,
    };
    let word = move |shift: u32| Word {
        place: c.index * 2 + u8::from(shift != 0),
        class: class(c.op),
        test,
        datum: (datum >> shift) as u32,
        mask: (mask >> shift) as u32,
    };
    [(width == Width::Full).then(|| word(32)), Some(word(0))].into_iter().flatten()
}
