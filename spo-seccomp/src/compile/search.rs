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
    cost: Vec<u64>,
    transposed: Vec<u64>,
    /// The leaf that beats all thresholds for a range, if there is one.
    leaves:
        std::collections::HashMap<(usize, usize), Tree, std::hash::BuildHasherDefault<crate::decision::Mix>>,
    sums: Vec<u64>,
}

impl<'a> Table<'a> {
    fn fill(pieces: &'a [Piece]) -> Self {
        let n = pieces.len();
        let mut sums = vec![0u64];
        let mut sum = 0u64;
        for piece in pieces {
            sum += u64::from(piece.weight) * u64::from(UNIT);
            sums.push(sum);
        }
        let mut table = Self {
            pieces,
            cost: vec![0; n * n],
            transposed: vec![0; n * n],
            leaves: std::collections::HashMap::default(),
            sums,
        };
        for i in (0..n).rev() {
            let mut shape = Shape::new(&pieces[i]);
            for j in i + 1..n {
                shape.add(&pieces[j]);
                let split = table.best_split(i, j).1;
                let special = shape.leaf(&pieces[i..=j]).filter(|(cost, _)| *cost < split);
                let cost = match special {
                    Some((cost, tree)) => {
                        table.leaves.insert((i, j), tree);
                        cost
                    }
                    None => split,
                };
                table.cost[i * n + j] = cost;
                table.transposed[j * n + i] = cost;
            }
        }
        table
    }

    fn best_split(&self, i: usize, j: usize) -> (usize, u64) {
        let n = self.pieces.len();
        let low = &self.cost[i * n + i..i * n + j];
        let high = &self.transposed[j * n + i + 1..=j * n + j];
        let (mut best, mut at) = (u64::MAX, 0);
        for (k, (a, b)) in low.iter().zip(high).enumerate() {
            let cost = a + b;
            if cost < best {
                (best, at) = (cost, k);
            }
        }
        (i + at, best + self.sums[j + 1] - self.sums[i] + u64::from(SIZE_COST))
    }

    fn answer(mut self) -> (u64, Tree) {
        let n = self.pieces.len();
        let tree = self.tree(0, n - 1);
        (self.cost[n - 1] / u64::from(UNIT), tree)
    }

    fn tree(&mut self, i: usize, j: usize) -> Tree {
        if i == j {
            return Tree::Leaf(self.pieces[i].target);
        }
        if let Some(leaf) = self.leaves.remove(&(i, j)) {
            return leaf;
        }
        let k = self.best_split(i, j).0;
        let low = self.tree(i, k);
        let high = self.tree(k + 1, j);
        Tree::node(Test::AtLeast(self.pieces[k + 1].start), high, low)
    }
}

/// What is known of a growing range of pieces, to find leaves in constant time per step.
struct Shape {
    targets: [Option<TargetShape>; 2],
    more_targets: bool,
}

#[derive(Clone, Copy)]
struct TargetShape {
    target: Target,
    /// Pieces with the target, and whether all of them are single numbers.
    pieces: usize,
    singles: bool,
    weight: u64,
    /// All bits that occur in a number with the target.
    bits: u32,
}

impl Shape {
    fn new(first: &Piece) -> Self {
        let mut shape = Self { targets: [None, None], more_targets: false };
        shape.add(first);
        shape
    }

    fn add(&mut self, piece: &Piece) {
        for slot in &mut self.targets {
            match slot {
                Some(known) if known.target == piece.target => {
                    known.pieces += 1;
                    known.singles &= piece.start == piece.end;
                    known.weight += u64::from(piece.weight) * u64::from(UNIT);
                    known.bits |= bits_in(piece.start, piece.end);
                    return;
                }
                None => {
                    *slot = Some(TargetShape {
                        target: piece.target,
                        pieces: 1,
                        singles: piece.start == piece.end,
                        weight: u64::from(piece.weight) * u64::from(UNIT),
                        bits: bits_in(piece.start, piece.end),
                    });
                    return;
                }
                Some(_) => {}
            }
        }
        self.more_targets = true;
    }

    /// The cheapest leaf for the range, with its cost.
    fn leaf(&self, pieces: &[Piece]) -> Option<(u64, Tree)> {
        let [Some(a), Some(b)] = self.targets else { return None };
        if self.more_targets {
            return mixed_chain(pieces);
        }
        let size = u64::from(SIZE_COST);
        for (with, without) in [(a, b), (b, a)] {
            let mask = !without.bits;
            let all = |p: &Piece| p.target != with.target || any_bit_in_all(mask, p.start, p.end);
            if mask != 0 && pieces.iter().all(all) {
                let mask = smallest_mask(mask, pieces, with.target);
                let tree =
                    Tree::node(Test::AnyBit(mask), Tree::Leaf(with.target), Tree::Leaf(without.target));
                return Some((a.weight + b.weight + size, tree));
            }
        }
        let chain = |singles: TargetShape, rest: TargetShape| {
            let usable = singles.singles && singles.pieces <= CHAIN;
            usable.then(|| equality_chain(pieces, singles.target, rest.target))
        };
        [chain(a, b), chain(b, a)].into_iter().flatten().min_by_key(|(cost, _)| *cost)
    }
}

/// Equality tests for all single numbers, where several targets occur but all longer pieces share one.
fn mixed_chain(pieces: &[Piece]) -> Option<(u64, Tree)> {
    if pieces.len() > 2 * CHAIN + 1 {
        return None;
    }
    let long = pieces.iter().find(|p| p.start != p.end)?;
    let singles = pieces.iter().filter(|p| p.target != long.target);
    let usable = singles.clone().all(|p| p.start == p.end) && singles.count() <= CHAIN;
    usable.then(|| chain(pieces, long.target))
}

fn equality_chain(pieces: &[Piece], _singles: Target, rest: Target) -> (u64, Tree) {
    chain(pieces, rest)
}

fn chain(pieces: &[Piece], rest: Target) -> (u64, Tree) {
    let mut tested: Vec<&Piece> = pieces.iter().filter(|p| p.target != rest).collect();
    tested.sort_by_key(|p| std::cmp::Reverse(p.weight));
    let unit = u64::from(UNIT);
    let rest_weight: u64 =
        pieces.iter().filter(|p| p.target == rest).map(|p| u64::from(p.weight) * unit).sum();
    let mut cost = rest_weight * tested.len() as u64 + u64::from(SIZE_COST) * tested.len() as u64;
    for (position, piece) in (1u64..).zip(&tested) {
        cost += u64::from(piece.weight) * unit * position;
    }
    let tree = tested
        .iter()
        .rev()
        .fold(Tree::Leaf(rest), |tree, p| Tree::node(Test::Equal(p.start), Tree::Leaf(p.target), tree));
    (cost, tree)
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
