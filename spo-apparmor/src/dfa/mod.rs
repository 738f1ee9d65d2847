//! Many globs as one deterministic automaton over bytes, whose states know the globs that match there.
//!
//! Built by subset construction over byte classes. The number of states is bounded by a [`Budget`], because
//! a few `**` in the middle of patterns can need exponentially many.

mod nfa;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

pub(crate) use nfa::{intersection_within, intersection_witness};

use crate::aare::{Aare, ByteSet};
use nfa::{Nfa, Pair, State};

/// How much an automaton may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most states.
    pub states: usize,
    /// The most numbers kept while building, about four bytes each.
    pub work: usize,
}

impl Default for Budget {
    /// 200,000 states and 256 MiB.
    fn default() -> Self {
        Self { states: 200_000, work: 64 << 20 }
    }
}

/// The automaton would outgrow its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the patterns need more than {states} states together")]
pub struct TooComplex {
    /// How many states were made.
    pub states: usize,
}

/// A deterministic automaton.
#[derive(Clone, Debug)]
pub struct Dfa {
    classes: Box<[u8; 256]>,
    /// One byte of each class, to show.
    samples: Vec<u8>,
    width: usize,
    next: Vec<u32>,
    /// Per state an index into `sets`.
    accepts: Vec<u32>,
    /// The distinct sets of globs, the empty one first.
    sets: Vec<Box<[u32]>>,
}

/// The state from which nothing matches.
pub(crate) const DEAD: u32 = 0;
/// The first state.
pub(crate) const START: u32 = 1;

impl Dfa {
    /// Builds the automaton of the globs; the number of a glob is its index.
    ///
    /// # Errors
    /// When the budget is not enough.
    pub fn build(globs: &[&Aare], budget: Budget) -> Result<Self, TooComplex> {
        let mut nfa = Nfa::default();
        let starts: Vec<u32> =
            globs.iter().enumerate().map(|(i, g)| nfa.add(g, u32::try_from(i).unwrap_or(u32::MAX))).collect();
        if nfa.states.len() > budget.work {
            return Err(TooComplex { states: nfa.states.len() });
        }
        Builder::new(&nfa).run(&starts, budget)
    }

    /// The globs that match the whole text, ascending.
    pub fn matches(&self, text: &[u8]) -> &[u32] {
        &self.sets[self.set_index(text)]
    }

    /// The number of states, the dead one included.
    pub fn len(&self) -> usize {
        self.accepts.len()
    }

    /// Whether nothing matches at all.
    pub fn is_empty(&self) -> bool {
        self.sets.len() <= 1
    }

    /// Which of the sets of globs belongs to a text.
    #[inline]
    pub(crate) fn set_index(&self, text: &[u8]) -> usize {
        let mut state = START;
        for b in text {
            state = self.step(state, *b);
            if state == DEAD {
                return 0;
            }
        }
        self.accepts[state as usize] as usize
    }

    #[inline]
    pub(crate) fn step(&self, state: u32, byte: u8) -> u32 {
        self.next[state as usize * self.width + usize::from(self.classes[usize::from(byte)])]
    }

    pub(crate) fn accept_of(&self, state: u32) -> usize {
        self.accepts[state as usize] as usize
    }

    /// The distinct sets of globs that match some text; the first is empty.
    pub(crate) fn sets(&self) -> &[Box<[u32]>] {
        &self.sets
    }

    /// A shortest text for each set of globs, by breadth-first search.
    pub(crate) fn shortest(&self) -> Vec<Option<Vec<u8>>> {
        let mut found: Vec<Option<Vec<u8>>> = vec![None; self.sets.len()];
        let mut back: Vec<Option<(u32, u8)>> = vec![None; self.len()];
        let mut seen = vec![false; self.len()];
        let mut queue = VecDeque::from([START]);
        seen[START as usize] = true;
        while let Some(state) = queue.pop_front() {
            let set = self.accept_of(state);
            if found[set].is_none() {
                let mut word = Vec::new();
                let mut at = state;
                while let Some((before, byte)) = back[at as usize] {
                    word.push(byte);
                    at = before;
                }
                word.reverse();
                found[set] = Some(word);
            }
            for &byte in &self.samples {
                let next = self.step(state, byte);
                if next != DEAD && !seen[next as usize] {
                    seen[next as usize] = true;
                    back[next as usize] = Some((state, byte));
                    queue.push_back(next);
                }
            }
        }
        found
    }
}

/// A breadth-first walk over the pairs of states of two automata that some text reaches together.
///
/// Calls `visit` with the sets of both and the text once per new pair of sets, until it returns `false`.
///
/// # Errors
/// When there are more pairs than `budget` allows.
pub(crate) fn walk_pairs(
    a: &Dfa,
    b: &Dfa,
    budget: Budget,
    mut visit: impl FnMut(usize, usize, &[u8]) -> bool,
) -> Result<(), TooComplex> {
    let bytes = samples_of(&[a, b]);
    let mut back: HashMap<Pair, Option<(Pair, u8)>> = HashMap::from([((START, START), None)]);
    let mut queue = VecDeque::from([(START, START)]);
    let mut seen = std::collections::HashSet::new();
    while let Some(pair) = queue.pop_front() {
        let sets = (a.accept_of(pair.0), b.accept_of(pair.1));
        if seen.insert(sets) && !visit(sets.0, sets.1, &way_to(&back, pair)) {
            return Ok(());
        }
        for &byte in &bytes {
            let next = (a.step(pair.0, byte), b.step(pair.1, byte));
            if next != (DEAD, DEAD) && !back.contains_key(&next) {
                back.insert(next, Some((pair, byte)));
                queue.push_back(next);
            }
        }
        if back.len() > budget.states.saturating_mul(10) {
            return Err(TooComplex { states: back.len() });
        }
    }
    Ok(())
}

/// The bytes by which a search came to a state, when it noted for each state the one before and the byte.
pub(crate) fn way_to<S: Copy + Eq + Hash>(back: &HashMap<S, Option<(S, u8)>>, state: S) -> Vec<u8> {
    let mut word = Vec::new();
    let mut at = state;
    while let Some(Some((before, byte))) = back.get(&at) {
        word.push(*byte);
        at = *before;
    }
    word.reverse();
    word
}

/// One readable byte of each class of the partitions of all automata together.
pub(crate) fn samples_of(all: &[&Dfa]) -> Vec<u8> {
    let mut groups: BTreeMap<Vec<u8>, ByteSet> = BTreeMap::new();
    for byte in 0..=255_u8 {
        let class = all.iter().map(|dfa| dfa.classes[usize::from(byte)]).collect();
        groups.entry(class).or_default().insert(byte);
    }
    let mut samples: Vec<u8> = groups.values().filter_map(nfa::readable_byte).collect();
    samples.sort_unstable();
    samples
}

struct Builder<'a> {
    nfa: &'a Nfa,
    classes: Box<[u8; 256]>,
    width: usize,
    /// The classes of each consuming state.
    moves: Vec<Vec<u8>>,
    mark: Vec<u32>,
    round: u32,
}

impl<'a> Builder<'a> {
    fn new(nfa: &'a Nfa) -> Self {
        let (classes, width) = partition(nfa);
        let mut cache: HashMap<ByteSet, Vec<u8>> = HashMap::new();
        let moves = nfa
            .states
            .iter()
            .map(|state| match state {
                State::Set(set, _) => cache.entry(*set).or_insert_with(|| classes_of(set, &classes)).clone(),
                _ => Vec::new(),
            })
            .collect();
        Self { nfa, classes, width, moves, mark: vec![0; nfa.states.len()], round: 0 }
    }

    fn run(mut self, starts: &[u32], budget: Budget) -> Result<Dfa, TooComplex> {
        let mut ids: HashMap<Box<[u32]>, u32> = HashMap::new();
        let mut list: Vec<Box<[u32]>> = Vec::new();
        let mut work = 0_usize;
        let empty: Box<[u32]> = Box::from([]);
        ids.insert(empty.clone(), DEAD);
        list.push(empty);
        let first = self.closure(starts);
        ids.insert(first.clone(), START);
        list.push(first);
        let mut next = vec![DEAD; self.width];
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); self.width];
        let mut at = 1;
        while at < list.len() {
            for &state in &*list[at] {
                if let State::Set(_, to) = &self.nfa.states[state as usize] {
                    for &class in &self.moves[state as usize] {
                        buckets[usize::from(class)].push(*to);
                    }
                }
            }
            for bucket in &mut buckets {
                if bucket.is_empty() {
                    next.push(DEAD);
                    continue;
                }
                let set = self.closure(bucket);
                bucket.clear();
                let id = match ids.get(&set) {
                    Some(id) => *id,
                    None => {
                        let id = u32::try_from(list.len()).unwrap_or(u32::MAX);
                        work += set.len() + self.width;
                        if list.len() >= budget.states || work > budget.work {
                            return Err(TooComplex { states: list.len() });
                        }
                        ids.insert(set.clone(), id);
                        list.push(set);
                        id
                    }
                };
                next.push(id);
            }
            at += 1;
        }
        Ok(self.finish(&list, next))
    }

    fn finish(self, list: &[Box<[u32]>], next: Vec<u32>) -> Dfa {
        let mut sets: Vec<Box<[u32]>> = vec![Box::from([])];
        let mut known: HashMap<Box<[u32]>, u32> = HashMap::from([(Box::from([]), 0)]);
        let accepts = list
            .iter()
            .map(|states| {
                let mut rules: Vec<u32> = states
                    .iter()
                    .filter_map(|s| match self.nfa.states[*s as usize] {
                        State::Accept(rule) => Some(rule),
                        _ => None,
                    })
                    .collect();
                rules.sort_unstable();
                rules.dedup();
                let rules: Box<[u32]> = rules.into();
                *known.entry(rules.clone()).or_insert_with(|| {
                    sets.push(rules);
                    u32::try_from(sets.len() - 1).unwrap_or(u32::MAX)
                })
            })
            .collect();
        let mut groups = vec![ByteSet::default(); self.width];
        for byte in 0..=255_u8 {
            groups[usize::from(self.classes[usize::from(byte)])].insert(byte);
        }
        let samples = groups.iter().filter_map(nfa::readable_byte).collect();
        Dfa { classes: self.classes, samples, width: self.width, next, accepts, sets }
    }

    /// The consuming and accepting states that are reached without a byte, sorted.
    fn closure(&mut self, states: &[u32]) -> Box<[u32]> {
        self.round += 1;
        let mut out = Vec::with_capacity(states.len());
        let mut stack: Vec<u32> = states.to_vec();
        while let Some(s) = stack.pop() {
            if self.mark[s as usize] == self.round {
                continue;
            }
            self.mark[s as usize] = self.round;
            match &self.nfa.states[s as usize] {
                State::Split(next) => stack.extend(next),
                _ => out.push(s),
            }
        }
        out.sort_unstable();
        out.into()
    }
}

/// Bytes that no glob tells apart get the same class.
fn partition(nfa: &Nfa) -> (Box<[u8; 256]>, usize) {
    let mut distinct: Vec<ByteSet> = nfa
        .states
        .iter()
        .filter_map(|s| if let State::Set(set, _) = s { Some(*set) } else { None })
        .collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut classes = Box::new([0_u8; 256]);
    let mut count = 1_usize;
    for set in &distinct {
        let mut split: HashMap<u8, u8> = HashMap::new();
        let mut outside = [false; 256];
        for byte in 0..=255_u8 {
            if !set.contains(byte) {
                outside[usize::from(classes[usize::from(byte)])] = true;
            }
        }
        for byte in 0..=255_u8 {
            let class = classes[usize::from(byte)];
            if set.contains(byte) && outside[usize::from(class)] {
                let new = *split.entry(class).or_insert_with(|| {
                    count += 1;
                    u8::try_from(count - 1).unwrap_or(u8::MAX)
                });
                classes[usize::from(byte)] = new;
            }
        }
    }
    (classes, count)
}

fn classes_of(set: &ByteSet, classes: &[u8; 256]) -> Vec<u8> {
    let mut list: Vec<u8> =
        (0..=255_u8).filter(|b| set.contains(*b)).map(|b| classes[usize::from(b)]).collect();
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_know_their_globs() {
        let globs: Vec<_> = ["/a/**", "/a/b", "/*/b"].iter().map(|g| Aare::parse(g).unwrap()).collect();
        let dfa = Dfa::build(&globs.iter().collect::<Vec<_>>(), Budget::default()).unwrap();
        assert_eq!(dfa.matches(b"/a/b"), [0, 1, 2]);
        assert_eq!(dfa.matches(b"/a/c/d"), [0]);
        assert_eq!(dfa.matches(b"/x/b"), [2]);
        assert!(dfa.matches(b"/a/").is_empty());
    }

    #[test]
    fn explosion_is_an_error() {
        let glob = Aare::parse(&format!("/**a{}", "?".repeat(30))).unwrap();
        let budget = Budget { states: 1_000, ..Budget::default() };
        assert!(Dfa::build(&[&glob], budget).is_err());
    }
}
