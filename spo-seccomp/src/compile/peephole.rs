//! Instructions that a finished program does not need.
//!
//! The assembler writes from the end and cannot know what will still be jumped to: a return is copied when the first one
//! moves out of reach, and the copy may make an earlier copy needless. Here the whole program is known.
//!
//! Every rewrite keeps the path of every call as long as it was or makes it shorter, and uses only instructions that the
//! program had, so what the kernel's bitmap answers stays the same.

use std::collections::HashMap;

use crate::bpf::{Insn, op};

/// The same program without needless instructions.
pub(super) fn shorten(mut program: Vec<Insn>) -> Vec<Insn> {
    loop {
        let length = program.len();
        aim(&mut program);
        program = sweep(&program);
        // Shorter jumps may reach what they did not before.
        if program.len() == length {
            return program;
        }
    }
}

/// A conditional jump reaches 255 instructions ahead.
const REACH: usize = 255;

/// Points jumps at the ends of chains of jumps, and at the last return of an answer within reach, so that the ones before
/// are no longer needed.
fn aim(program: &mut [Insn]) {
    let mut returns: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, insn) in program.iter().enumerate().filter(|(_, insn)| insn.code == op::RET) {
        returns.entry(insn.k).or_default().push(at);
    }
    for at in 0..program.len() {
        let insn = program[at];
        let best = |target: usize| {
            let end = follow(program, target);
            let answer = program.get(end).filter(|insn| insn.code == op::RET);
            let same = answer.and_then(|insn| returns.get(&insn.k)).map_or(&[][..], Vec::as_slice);
            let reachable = same.partition_point(|ret| *ret <= at + 1 + REACH);
            let last = same[..reachable].last().copied().filter(|ret| *ret > at);
            last.unwrap_or(if end <= at + 1 + REACH { end } else { target })
        };
        match insn.code {
            op::JA => {
                let end = follow(program, at);
                match program.get(end) {
                    Some(answer) if answer.code == op::RET => program[at] = *answer,
                    _ => program[at].k = (end - at - 1) as u32,
                }
            }
            code if is_branch(code) => {
                let (yes, no) = (best(at + 1 + usize::from(insn.jt)), best(at + 1 + usize::from(insn.jf)));
                program[at] = if yes == no {
                    Insn::new(op::JA, 0, 0, (yes - at - 1) as u32)
                } else {
                    Insn::new(code, (yes - at - 1) as u8, (no - at - 1) as u8, insn.k)
                };
            }
            _ => {}
        }
    }
}

/// Leaves out what no path runs, loads of what is loaded already, and jumps to the next instruction.
fn sweep(program: &[Insn]) -> Vec<Insn> {
    // What the accumulator holds when an instruction is run: the word at an offset, or something else.
    let mut holds: Vec<Option<Accumulator>> = vec![None; program.len()];
    let mut needed = vec![false; program.len()];
    if let Some(first) = holds.first_mut() {
        *first = Some(Accumulator::Other);
    }
    for (at, insn) in program.iter().enumerate() {
        let Some(before) = holds[at] else { continue };
        let after = match insn.code {
            op::LD => Accumulator::Word(insn.k),
            code if code == op::JA || code == op::RET || is_branch(code) => before,
            _ => Accumulator::Other,
        };
        needed[at] = (insn.code != op::LD || before != after) && !(insn.code == op::JA && insn.k == 0);
        let mut flows = |target: usize| {
            if let Some(there) = holds.get_mut(target) {
                let joined =
                    if there.is_none_or(|known| known == after) { after } else { Accumulator::Other };
                *there = Some(joined);
            }
        };
        match insn.code {
            op::RET => {}
            op::JA => flows(at + 1 + insn.k as usize),
            code if is_branch(code) => {
                flows(at + 1 + usize::from(insn.jt));
                flows(at + 1 + usize::from(insn.jf));
            }
            _ => flows(at + 1),
        }
    }
    let mut before = Vec::with_capacity(program.len() + 1);
    let mut count = 0;
    for needed in &needed {
        before.push(count);
        count += usize::from(*needed);
    }
    before.push(count);
    // What is left out and run falls through to the next instruction, which is run then too.
    let distance = |at: usize, target: usize| before.get(target).map_or(0, |there| there - before[at] - 1);
    let kept = program.iter().enumerate().filter(|(at, _)| needed[*at]);
    kept.map(|(at, insn)| match insn.code {
        op::JA => Insn { k: distance(at, at + 1 + insn.k as usize) as u32, ..*insn },
        code if is_branch(code) => Insn {
            jt: distance(at, at + 1 + usize::from(insn.jt)) as u8,
            jf: distance(at, at + 1 + usize::from(insn.jf)) as u8,
            ..*insn
        },
        _ => *insn,
    })
    .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accumulator {
    /// The word at this offset of the data.
    Word(u32),
    Other,
}

/// Where a chain of unconditional jumps ends; jumps lead forward only.
fn follow(program: &[Insn], mut at: usize) -> usize {
    while let Some(insn) = program.get(at).filter(|insn| insn.code == op::JA) {
        at += 1 + insn.k as usize;
    }
    at
}

fn is_branch(code: u16) -> bool {
    matches!(code, op::JEQ | op::JGE | op::JSET | op::JGT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ret(answer: u32) -> Insn {
        Insn::new(op::RET, 0, 0, answer)
    }

    #[test]
    fn what_is_not_needed_goes() {
        let program = vec![
            Insn::new(op::LD, 0, 0, 0),
            Insn::new(op::JEQ, 0, 1, 7), // 7: the next, a jump to a return
            Insn::new(op::JA, 0, 0, 3),
            Insn::new(op::LD, 0, 0, 0),  // loaded already
            Insn::new(op::JGE, 1, 1, 9), // both ways lead to the same
            ret(5),                      // never run
            ret(1),
        ];
        // All ways lead to the last return, so not even the first test is left.
        assert_eq!(shorten(program), [Insn::new(op::LD, 0, 0, 0), ret(1)]);
    }

    #[test]
    fn copies_of_a_return_within_reach_become_one() {
        let program = vec![
            Insn::new(op::LD, 0, 0, 0),
            Insn::new(op::JEQ, 0, 1, 7),
            ret(1),
            Insn::new(op::JEQ, 0, 1, 8),
            ret(2),
            ret(1),
        ];
        let wanted = vec![
            Insn::new(op::LD, 0, 0, 0),
            Insn::new(op::JEQ, 2, 0, 7),
            Insn::new(op::JEQ, 0, 1, 8),
            ret(2),
            ret(1),
        ];
        assert_eq!(shorten(program), wanted);
    }
}
