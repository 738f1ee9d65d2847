//! Search trees over a number line with the least expected number of tests.
//!
//! The optimum over trees of thresholds is an interval dynamic program. Two kinds of leaves beat thresholds
//! and are weighed against them for every range of pieces:
//!
//! - a chain of equality tests, where everything but a few single numbers has one target: each removes two
//!   boundaries with one test;
//! - one bit test (`nr & mask`), where it happens to separate the two targets of a range.
//!
//! Numbers with great weight may in addition be tested for equality before anything else.
//! All of these keep the kernel's bitmap cache working.

use super::segments::{Piece, Target};

/// A decision tree over one 32-bit word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Nothing left to test.
    Leaf(Target),
    /// A test and what follows.
    Node(Test, Box<Tree>, Box<Tree>),
}

/// A test of the word `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `a >= k`
    AtLeast(u32),
    /// `a == k`
    Equal(u32),
    /// `a & mask != 0`
    AnyBit(u32),
    /// `a & mask == k`; afterwards `a` is gone.
    Masked(u32, u32),
}

impl Tree {
    fn node(test: Test, yes: Self, no: Self) -> Self {
        if yes == no { yes } else { Self::Node(test, Box::new(yes), Box::new(no)) }
    }

    /// Number of instructions for the tests.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Node(Test::Masked(..), yes, no) => 2 + yes.size() + no.size(),
            Self::Node(_, yes, no) => 1 + yes.size() + no.size(),
        }
    }
}

/// The best tree for pieces that cover the line from 0, neighbours differing in target.
///
/// `points` are single numbers with their weights, heaviest first, for which a test at the root is considered.
pub(crate) fn optimal(pieces: &[Piece], points: &[(u32, u32)]) -> Tree {
    let mut pieces = pieces.to_vec();
    let mut best = solve(&pieces);
    let mut before: u64 = 0;
    let mut taken: Vec<(u32, Target)> = Vec::new();
    let mut found: Option<(usize, Tree)> = None;
    for (position, &(number, weight)) in (1u64..).zip(points) {
        let Some(piece) = pieces.iter_mut().find(|p| p.start <= number && number <= p.end) else { break };
        piece.weight = piece.weight.saturating_sub(weight);
        taken.push((number, piece.target));
        before += u64::from(weight) * position;
        let rest = solve(&pieces);
        let rest_weight: u64 = pieces.iter().map(|p| u64::from(p.weight)).sum();
        let cost = before + rest.0 + rest_weight * position;
        if cost < best.0 {
            best = (cost, rest.1.clone());
            found = Some((taken.len(), rest.1));
        }
    }
    let (tests, tree) = found.unwrap_or((0, best.1));
    taken[..tests]
        .iter()
        .rev()
        .fold(tree, |rest, (number, target)| Tree::node(Test::Equal(*number), Tree::Leaf(*target), rest))
}

/// At most this many equality tests in a row.
const CHAIN: usize = 6;
/// Pieces beyond which a cheaper, merely good tree is made; quadratic tables would grow too large.
const EXACT: usize = 700;
/// Added for each test, so that of equally fast trees the smaller one is taken.
const SIZE_COST: u32 = 1;
/// Scale of weights against [`SIZE_COST`].
const UNIT: u32 = 64;

fn solve(pieces: &[Piece]) -> (u64, Tree) {
    match pieces {
        [] => (0, Tree::Leaf(Target::Fixed(0))),
        [only] => (0, Tree::Leaf(only.target)),
        _ if pieces.len() > EXACT => {
            let (low, high) = pieces.split_at(pieces.len() / 2);
            let (a, b) = (solve(low), solve(high));
            let weight: u64 = pieces.iter().map(|p| u64::from(p.weight)).sum();
            (a.0 + b.0 + weight, Tree::node(Test::AtLeast(high[0].start), b.1, a.1))
        }
        _ => Table::fill(pieces).answer(),
    }
}

struct Table<'a> {
    pieces: &'a [Piece],
    /// `cost[i * n + j]` and its transpose, so that both scans run along memory.
    cost: Vec<u32>,
    transposed: Vec<u32>,
    /// Sums of weights, for the weight of a range.
    sums: Vec<u32>,
}

impl<'a> Table<'a> {
    fn fill(pieces: &'a [Piece]) -> Self {
        let n = pieces.len();
        let mut sums = vec![0u32];
        let mut sum = 0u32;
        for piece in pieces {
            sum = sum.saturating_add(piece.weight.saturating_mul(UNIT));
            sums.push(sum);
        }
        let mut table = Self { pieces, cost: vec![0; n * n], transposed: vec![0; n * n], sums };
        for i in (0..n).rev() {
            let mut shape = Shape::new(&pieces[i]);
            for j in i + 1..n {
                let split = table.split_cost(i, j);
                let leaf = shape.add_and_price(&pieces[i..=j]);
                let cost = leaf.map_or(split, |leaf| leaf.min(split));
                table.cost[i * n + j] = cost;
                table.transposed[j * n + i] = cost;
            }
        }
        table
    }

    fn sides(&self, i: usize, j: usize) -> (&[u32], &[u32]) {
        let n = self.pieces.len();
        (&self.cost[i * n + i..i * n + j], &self.transposed[j * n + i + 1..=j * n + j])
    }

    fn split_cost(&self, i: usize, j: usize) -> u32 {
        let (low, high) = self.sides(i, j);
        let best = low.iter().zip(high).map(|(a, b)| a.saturating_add(*b)).fold(u32::MAX, u32::min);
        best.saturating_add(self.sums[j + 1] - self.sums[i]).saturating_add(SIZE_COST)
    }

    fn answer(&self) -> (u64, Tree) {
        let n = self.pieces.len();
        (u64::from(self.cost[n - 1] / UNIT), self.tree(0, n - 1))
    }

    fn tree(&self, i: usize, j: usize) -> Tree {
        if i == j {
            return Tree::Leaf(self.pieces[i].target);
        }
        let cost = self.cost[i * self.pieces.len() + j];
        if self.split_cost(i, j) > cost
            && let Some(leaf) = leaf(&self.pieces[i..=j])
        {
            return leaf;
        }
        let (low, high) = self.sides(i, j);
        let sums = low.iter().zip(high).map(|(a, b)| a.saturating_add(*b));
        let k = i + sums.enumerate().min_by_key(|(_, cost)| *cost).map_or(0, |(k, _)| k);
        Tree::node(Test::AtLeast(self.pieces[k + 1].start), self.tree(k + 1, j), self.tree(i, k))
    }
}

/// What is known of a growing range of pieces, to price its leaves in little time per step.
///
/// What a longer range lacks, every range that contains it lacks too, so most ranges are done after a glance.
struct Shape {
    /// Two targets at most can be told apart by one bit test.
    targets: [Option<(Target, u32)>; 2],
    /// Whether all numbers with a target might share a bit that the others lack.
    bit_test: [bool; 2],
    chain: bool,
}

impl Shape {
    fn new(first: &Piece) -> Self {
        let bits = bits_in(first.start, first.end);
        Self { targets: [Some((first.target, bits)), None], bit_test: [true; 2], chain: true }
    }

    /// Takes in the last piece of the range, and gives the cost of the range's cheapest leaf.
    fn add_and_price(&mut self, pieces: &[Piece]) -> Option<u32> {
        let last = pieces.last()?;
        let bits = bits_in(last.start, last.end);
        let slot = self.targets.iter_mut().find(|slot| slot.is_none_or(|(target, _)| target == last.target));
        match slot {
            Some(Some((_, known))) => *known |= bits,
            Some(empty) => *empty = Some((last.target, bits)),
            None => self.bit_test = [false; 2],
        }
        if self.bit_test != [false; 2] {
            let found = self.bit_mask(pieces);
            if found.is_some() {
                let weight: u32 = pieces.iter().map(|p| p.weight).fold(0, u32::saturating_add);
                return Some(weight.saturating_mul(UNIT).saturating_add(SIZE_COST));
            }
        }
        if self.chain {
            let priced = chain_rest(pieces).map(|rest| chain_cost(pieces, rest));
            self.chain = priced.is_some();
            return priced;
        }
        None
    }

    /// A mask that separates two targets, and the target whose numbers have a bit of it.
    fn bit_mask(&mut self, pieces: &[Piece]) -> Option<(u32, Target, Target)> {
        let [Some(a), Some(b)] = self.targets else { return None };
        for (side, (with, without)) in [(a, b), (b, a)].into_iter().enumerate() {
            if !self.bit_test[side] {
                continue;
            }
            let mask = !without.1;
            let mut having = pieces.iter().filter(|p| p.target == with.0);
            if mask != 0 && having.all(|p| any_bit_in_all(mask, p.start, p.end)) {
                return Some((mask, with.0, without.0));
            }
            self.bit_test[side] = false;
        }
        None
    }
}

/// The cheapest leaf of a range: one bit test, or a chain of equality tests.
fn leaf(pieces: &[Piece]) -> Option<Tree> {
    let mut shape = Shape::new(pieces.first()?);
    for end in 2..=pieces.len() {
        let _ = shape.add_and_price(&pieces[..end]);
    }
    if let Some((mask, with, without)) = shape.bit_mask(pieces) {
        let mask = smallest_mask(mask, pieces, with);
        return Some(Tree::node(Test::AnyBit(mask), Tree::Leaf(with), Tree::Leaf(without)));
    }
    let rest = chain_rest(pieces)?;
    let in_order = chained(pieces, rest);
    Some(
        in_order
            .iter()
            .rev()
            .fold(Tree::Leaf(rest), |tree, p| Tree::node(Test::Equal(p.start), Tree::Leaf(p.target), tree)),
    )
}

/// The target of everything in a range but a few single numbers, `None` when there is no such target.
///
/// A range that has none has none with more pieces either.
fn chain_rest(pieces: &[Piece]) -> Option<Target> {
    if pieces.len() > 2 * CHAIN + 1 {
        return None;
    }
    let mut long = pieces.iter().filter(|p| p.start != p.end);
    let rest = match long.next() {
        Some(first) => first.target,
        // Single numbers only: the target of most of them.
        None => pieces.iter().max_by_key(|p| pieces.iter().filter(|q| q.target == p.target).count())?.target,
    };
    let fits = long.all(|p| p.target == rest) && pieces.iter().filter(|p| p.target != rest).count() <= CHAIN;
    fits.then_some(rest)
}

/// The single numbers of a chain, the heaviest first.
fn chained(pieces: &[Piece], rest: Target) -> Vec<&Piece> {
    let mut tested: Vec<&Piece> = pieces.iter().filter(|p| p.target != rest).collect();
    tested.sort_by_key(|p| std::cmp::Reverse(p.weight));
    tested
}

fn chain_cost(pieces: &[Piece], rest: Target) -> u32 {
    let tested = chained(pieces, rest);
    let tests = tested.len() as u32;
    let rest_weight: u32 =
        pieces.iter().filter(|p| p.target == rest).map(|p| p.weight).fold(0, u32::saturating_add);
    let tested_weight = (1u32..).zip(&tested).map(|(position, p)| p.weight.saturating_mul(position));
    let weight = tested_weight.fold(rest_weight.saturating_mul(tests), u32::saturating_add);
    weight.saturating_mul(UNIT).saturating_add(SIZE_COST * tests)
}

/// All bits that are set in some number from `start` to `end`.
fn bits_in(start: u32, end: u32) -> u32 {
    let varying = start ^ end;
    let below = if varying == 0 { 0 } else { u32::MAX >> varying.leading_zeros() };
    // Below the highest bit that differs, both extremes of every bit occur.
    end | start | below
}

/// Whether every number from `start` to `end` has a bit of `mask`.
fn any_bit_in_all(mask: u32, start: u32, end: u32) -> bool {
    if end - start > 512 {
        // Long pieces: only bits that all of them share count.
        let varying = start ^ end;
        let below = if varying == 0 { 0 } else { u32::MAX >> varying.leading_zeros() };
        return start & !below & mask != 0;
    }
    (start..=end).all(|number| number & mask != 0)
}

/// The mask without bits that no number of the target needs, for a stable and readable constant.
fn smallest_mask(mask: u32, pieces: &[Piece], target: Target) -> u32 {
    let mut mask = mask;
    for bit in (0..32).rev() {
        let smaller = mask & !(1 << bit);
        let enough = pieces
            .iter()
            .filter(|p| p.target == target)
            .all(|p| smaller != 0 && any_bit_in_all(smaller, p.start, p.end));
        if enough {
            mask = smaller;
        }
    }
    mask
}
