//! The order in which libseccomp tries overlapping rules of one syscall.
//!
//! libseccomp keeps the rules of a syscall as a tree of 32-bit comparisons whose levels are sorted (`src/db.c`), so
//! insertion order does not count: higher arguments are tried first, the high word before the low one, equality
//! tests before orderings, and of two orderings the one with the narrower range. A chain that fails half-way
//! continues with its next sibling, so the tree means: the first matching rule in the sorted order.

use std::cmp::Ordering;

use spo_model::seccomp::Op;

use crate::decision::{Comparison, Width};

/// Compares two rules' conditions, each sorted by descending argument.
pub(super) fn compare(a: &[(Comparison, Width)], b: &[(Comparison, Width)]) -> Ordering {
    let mut x = a.iter().flat_map(|(c, width)| words(*c, *width));
    let mut y = b.iter().flat_map(|(c, width)| words(*c, *width));
    loop {
        match (x.next(), y.next()) {
            (Some(x), Some(y)) => match x.cmp(&y) {
                Ordering::Equal => {}
                order => return order,
            },
            // The longer chain is the narrower condition.
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
        }
    }
}

/// One 32-bit comparison; the order of these is the order on a level of the tree.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    /// Negative: later arguments and high words come first.
    place: i16,
    class: u8,
    /// Smaller data first for less-than, larger data first otherwise.
    datum: i64,
    op: Op,
    mask: u32,
}

/// The words a comparison is made of, high before low; a masked comparison skips words its mask leaves out.
fn words(c: Comparison, width: Width) -> impl Iterator<Item = Word> {
    let high = width == Width::Full && (c.op != Op::MaskedEqual || c.value >> 32 != 0);
    let low = c.op != Op::MaskedEqual || c.value & 0xffff_ffff != 0;
    let datum = if c.op == Op::MaskedEqual { c.value_two } else { c.value };
    let word = move |shift: u32| {
        let datum = i64::from((datum >> shift) as u32);
        let class = match c.op {
            Op::Equal | Op::NotEqual | Op::MaskedEqual => 0,
            Op::LessThan | Op::LessOrEqual => 1,
            Op::GreaterThan | Op::GreaterOrEqual => 2,
        };
        Word {
            place: -(i16::from(c.index) * 2 + i16::from(shift != 0)),
            class,
            datum: if class == 1 { datum } else { -datum },
            op: c.op,
            mask: if c.op == Op::MaskedEqual { (c.value >> shift) as u32 } else { 0 },
        }
    };
    [high.then(|| word(32)), low.then(|| word(0))].into_iter().flatten()
}
