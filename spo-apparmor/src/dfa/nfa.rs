//! Globs → one non-deterministic automaton.

use std::collections::{HashMap, VecDeque};

use super::{TooComplex, way_to};
use crate::aare::{Aare, ByteSet, Node};

/// A state of the automaton.
#[derive(Debug)]
pub(super) enum State {
    /// Goes on with one byte of the set.
    Set(ByteSet, u32),
    /// Goes on anywhere without a byte.
    Split(Vec<u32>),
    /// The glob with this number has matched.
    Accept(u32),
}

/// Globs side by side.
#[derive(Debug, Default)]
pub(super) struct Nfa {
    pub(super) states: Vec<State>,
}

impl Nfa {
    pub(super) fn push(&mut self, state: State) -> u32 {
        self.states.push(state);
        u32::try_from(self.states.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds a glob; gives its first state.
    pub(super) fn add(&mut self, glob: &Aare, number: u32) -> u32 {
        let accept = self.push(State::Accept(number));
        self.sequence(&glob.nodes, accept)
    }

    /// Built from the end to the start, so that the following state is always known.
    fn sequence(&mut self, nodes: &[Node], mut next: u32) -> u32 {
        for node in nodes.iter().rev() {
            next = match node {
                Node::Byte(b) => self.push(State::Set(ByteSet::of(*b), next)),
                Node::Set(set) => self.push(State::Set(*set, next)),
                Node::Star { wide, component } => {
                    let again = self.push(State::Split(Vec::new()));
                    let set = if *wide { ByteSet::ANY } else { ByteSet::not_slash() };
                    let step = self.push(State::Set(set, again));
                    self.states[again as usize] = State::Split(vec![step, next]);
                    if *component { self.push(State::Set(ByteSet::not_slash(), again)) } else { again }
                }
                Node::Alternatives(list) => {
                    let starts = list.iter().map(|n| self.sequence(n, next)).collect();
                    self.push(State::Split(starts))
                }
            };
        }
        next
    }

    /// Appends the states that consume or accept and are reached from `state` without a byte.
    fn close(&self, state: u32, out: &mut Vec<u32>) {
        let mut stack = vec![state];
        let mut seen = Vec::new();
        while let Some(s) = stack.pop() {
            match &self.states[s as usize] {
                State::Split(next) => {
                    if !seen.contains(&s) {
                        seen.push(s);
                        stack.extend(next);
                    }
                }
                _ => out.push(s),
            }
        }
    }
}

/// Two states that some text reaches together.
pub(super) type Pair = (u32, u32);

/// The most pairs of states that a comparison of two globs looks at.
const MAX_PAIRS: usize = 2_000_000;

/// A shortest text that both globs match.
///
/// # Errors
/// When the comparison would look at more than two million pairs of states.
pub(crate) fn intersection_witness(a: &Aare, b: &Aare) -> Result<Option<Vec<u8>>, TooComplex> {
    intersection_within(a, b, &mut { MAX_PAIRS })
}

/// The same with a budget of pairs that several comparisons share.
///
/// # Errors
/// When the budget is used up.
pub(crate) fn intersection_within(
    a: &Aare,
    b: &Aare,
    budget: &mut usize,
) -> Result<Option<Vec<u8>>, TooComplex> {
    let mut nfa = Nfa::default();
    let (start_a, start_b) = (nfa.add(a, 0), nfa.add(b, 1));
    let mut queue = VecDeque::new();
    // Each pair with the pair and byte it was reached by.
    let mut from: HashMap<Pair, Option<(Pair, u8)>> = HashMap::new();
    let mut reach = |queue: &mut VecDeque<(u32, u32)>, p: u32, q: u32, back: Option<(Pair, u8)>| {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        nfa.close(p, &mut left);
        nfa.close(q, &mut right);
        for &l in &left {
            for &r in &right {
                from.entry((l, r)).or_insert_with(|| {
                    queue.push_back((l, r));
                    back
                });
            }
        }
        if from.len() > *budget { Err(TooComplex { states: from.len() }) } else { Ok(()) }
    };
    reach(&mut queue, start_a, start_b, None)?;
    let mut end = None;
    while let Some((l, r)) = queue.pop_front() {
        match (&nfa.states[l as usize], &nfa.states[r as usize]) {
            (State::Accept(_), State::Accept(_)) => {
                end = Some((l, r));
                break;
            }
            (State::Set(x, next_l), State::Set(y, next_r)) => {
                let both = ByteSet([x.0[0] & y.0[0], x.0[1] & y.0[1], x.0[2] & y.0[2], x.0[3] & y.0[3]]);
                if let Some(byte) = readable_byte(&both) {
                    reach(&mut queue, *next_l, *next_r, Some(((l, r), byte)))?;
                }
            }
            _ => {}
        }
    }
    *budget -= from.len().min(*budget);
    Ok(end.map(|at| way_to(&from, at)))
}

/// A byte of the set, a letter where there is one.
pub(super) fn readable_byte(set: &ByteSet) -> Option<u8> {
    let all = || (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z').chain([b'/', b'.', b'-', b'_']);
    // NUL stands between the parts of a pair and nowhere else.
    all().chain(0x21..=0x7e).chain(1..=0xff).chain([0]).find(|b| set.contains(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_match_both_globs() {
        let cases = [
            ("/a*", "/*b", true),
            ("/a/**", "/*/b", true),
            ("/a?", "/ab", true),
            ("/a", "/b", false),
            ("/*", "/a/b", false),
            ("/**/x", "/[^a]**", true),
            ("/{a,b}c", "/b{c,d}", true),
        ];
        for (a, b, meet) in cases {
            let (a, b) = (Aare::parse(a).unwrap(), Aare::parse(b).unwrap());
            let witness = intersection_witness(&a, &b).unwrap();
            assert_eq!(witness.is_some(), meet, "{a} {b}");
            if let Some(w) = witness {
                assert!(a.matches(&w) && b.matches(&w));
            }
        }
    }
}
