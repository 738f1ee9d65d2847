//! The order in which libseccomp tries overlapping rules of one syscall.
//!
//! libseccomp keeps the rules of a syscall as a tree whose levels are sorted (`src/db.c`), so insertion order
//! does not count: conditions on higher arguments are tried first, equality tests before orderings, and of two
//! orderings the one with the narrower range. A chain that fails half-way continues with its next sibling, so
//! the tree means: the first matching rule in the sorted order.

use std::cmp::Ordering;

use spo_model::seccomp::Op;

use crate::decision::{Comparison, Width};

/// Compares two rules' conditions, each sorted by descending argument.
pub(super) fn compare(a: &[(Comparison, Width)], b: &[(Comparison, Width)]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        let order = compare_conditions(x.0, y.0);
        if order != Ordering::Equal {
            return order;
        }
    }
    // The longer chain is the narrower condition.
    b.len().cmp(&a.len())
}

fn compare_conditions(a: Comparison, b: Comparison) -> Ordering {
    b.index.cmp(&a.index).then_with(|| class(a.op).cmp(&class(b.op))).then_with(|| {
        let datum = |c: Comparison| match c.op {
            Op::MaskedEqual => (c.value, c.value & c.value_two),
            _ => (u64::MAX, c.value),
        };
        match class(a.op) {
            1 => datum(a).cmp(&datum(b)),
            _ => datum(b).cmp(&datum(a)),
        }
        .then_with(|| a.op.cmp(&b.op))
    })
}

fn class(op: Op) -> u8 {
    match op {
        Op::Equal | Op::NotEqual | Op::MaskedEqual => 0,
        Op::LessThan | Op::LessOrEqual => 1,
        Op::GreaterThan | Op::GreaterOrEqual => 2,
    }
}
