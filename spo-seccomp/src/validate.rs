//! Translation validation: a program means what its policy says, for every architecture, number and argument.
//!
//! The program is read back, not trusted: architecture by architecture the number line is cut wherever the
//! program's tests cut it, and for each piece the rest of the program, which may look at arguments, is turned
//! into a decision diagram, backwards from its returns. Diagrams of equal functions are the same node, so one
//! comparison covers all arguments. No sampling is involved.

use std::collections::{BTreeSet, HashMap};

use spo_model::seccomp::{Arch, Op};

use crate::{
    Policy, Verdict,
    arch::{ArchExt, Endian},
    bpf::{self, Insn, Malformed, op},
    compile::{segments, tokens},
    decision::{Comparison, Id, Store, Width},
    syscalls::X32_BIT,
};

/// A program that does not do what its policy says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The kernel would refuse the program.
    #[error("the kernel refuses the program: {0}")]
    Refused(#[from] Malformed),
    /// A number for which program and policy differ.
    #[error("for number {number:#x} of architecture {arch:#x} the program differs from the policy")]
    Differs {
        /// Audit token.
        arch: u32,
        /// Syscall number.
        number: u32,
    },
    /// The decisions over arguments became too large to compare.
    #[error("the argument conditions are too large to compare")]
    TooLarge,
    /// The program uses an instruction in a way this check does not follow.
    #[error("instruction {at} is beyond this check")]
    Unclear {
        /// Index of the instruction.
        at: usize,
    },
}

/// Compares a program with the policy for these architectures.
pub(crate) fn validate(
    policy: &Policy,
    arches: &[Arch],
    enosys: bool,
    program: &[Insn],
) -> Result<(), Mismatch> {
    bpf::verify(program)?;
    let endian = arches.first().map_or(Endian::Little, |arch| arch.endian());
    let mut reading = Reading::new(program, endian, policy.store.clone());
    let compared = compare(policy, arches, enosys, &mut reading);
    // A full store answers anything, so neither outcome would mean something.
    if reading.store.is_full() { Err(Mismatch::TooLarge) } else { compared }
}

fn compare(
    policy: &Policy,
    arches: &[Arch],
    enosys: bool,
    reading: &mut Reading<'_>,
) -> Result<(), Mismatch> {
    let program = reading.program;
    let tokens = tokens(arches);
    for token in &tokens {
        let audit = token[0].audit_token();
        let pieces = reading.pieces(audit)?;
        let expected = expectation(policy, token, enosys);
        let mut pieces = pieces.iter().peekable();
        for (i, (start, wanted)) in expected.iter().enumerate() {
            // Pieces of the program before this cut were compared with what came before it.
            while pieces.next_if(|piece| piece.end < *start).is_some() {}
            let wanted = match wanted {
                Expected::Decision(id) => *id,
                Expected::Verdict(verdict) => reading.store.leaf(*verdict),
            };
            let end = expected.get(i + 1).map_or(u32::MAX, |(next, _)| next - 1);
            for piece in pieces.clone().take_while(|piece| piece.start <= end) {
                if piece.decision != wanted {
                    return Err(Mismatch::Differs { arch: audit, number: piece.start.max(*start) });
                }
            }
        }
    }
    // One token that no test of the program names stands for all others.
    let named: BTreeSet<u32> = program.iter().map(|insn| insn.k).collect();
    let others = named.iter().copied().chain((1..).find(|token| !named.contains(token)));
    for other in others.filter(|token| !tokens.iter().any(|group| group[0].audit_token() == *token)) {
        let bad = reading.store.leaf(policy.bad_arch());
        if let Some(piece) = reading.pieces(other)?.iter().find(|piece| piece.decision != bad) {
            return Err(Mismatch::Differs { arch: other, number: piece.start });
        }
    }
    Ok(())
}

/// The decision of a program for all numbers of an audit token, as consecutive pieces of the number line.
pub(crate) struct Piece {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) decision: Id,
}

/// A program being read back.
pub(crate) struct Reading<'a> {
    program: &'a [Insn],
    endian: Endian,
    pub(crate) store: Store,
    /// The decision of the program from an instruction on, with the accumulator as given.
    memo: HashMap<(usize, Accumulator), Id>,
}

/// What the accumulator holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Accumulator {
    /// A number that the piece of the line knows.
    Known(u32),
    Number,
    /// Bits of the number.
    NumberBits(u32),
    /// Bits of an argument's half.
    Word {
        index: u8,
        high: bool,
        mask: u32,
    },
}

/// How many pieces one bit test of the number may cut a piece into.
const MAX_CUTS: usize = 1 << 13;

impl<'a> Reading<'a> {
    pub(crate) fn new(program: &'a [Insn], endian: Endian, store: Store) -> Self {
        Self { program, endian, store, memo: HashMap::new() }
    }

    /// The pieces of the number line for an audit token, in order, neighbours merged.
    pub(crate) fn pieces(&mut self, arch: u32) -> Result<Vec<Piece>, Mismatch> {
        let mut todo = vec![(0u32, u32::MAX, 0usize, Accumulator::Known(0))];
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some((start, end, at, a)) = todo.pop() {
            let insn = self.program.get(at).copied().ok_or(Mismatch::Unclear { at })?;
            let next = at + 1;
            match (insn.code, a) {
                (op::LD, _) if insn.k == bpf::OFFSET_NR => todo.push((start, end, next, Accumulator::Number)),
                (op::LD, _) if insn.k == bpf::OFFSET_ARCH => {
                    todo.push((start, end, next, Accumulator::Known(arch)));
                }
                (op::LD | op::RET, _) => {
                    let decision = self.decision(at)?;
                    match pieces.last_mut() {
                        Some(last) if last.decision == decision => last.end = end,
                        _ => pieces.push(Piece { start, end, decision }),
                    }
                }
                (op::JA, _) => todo.push((start, end, next + insn.k as usize, a)),
                (op::AND, Accumulator::Known(v)) => {
                    todo.push((start, end, next, Accumulator::Known(v & insn.k)));
                }
                (op::AND, Accumulator::Number) => {
                    todo.push((start, end, next, Accumulator::NumberBits(insn.k)));
                }
                (op::AND, Accumulator::NumberBits(mask)) => {
                    todo.push((start, end, next, Accumulator::NumberBits(mask & insn.k)));
                }
                (code, a) if is_jump(code) => {
                    let cuts = cut(start, end, a, code, insn.k).ok_or(Mismatch::Unclear { at })?;
                    for (start, end, holds) in cuts.into_iter().rev() {
                        let skip = usize::from(if holds { insn.jt } else { insn.jf });
                        todo.push((start, end, next + skip, a));
                    }
                }
                _ => return Err(Mismatch::Unclear { at }),
            }
        }
        Ok(pieces)
    }

    /// The decision of the program from a load of an argument, or a return, on.
    fn decision(&mut self, at: usize) -> Result<Id, Mismatch> {
        let entry = (at, Accumulator::Known(0));
        if let Some(id) = self.memo.get(&entry) {
            return Ok(*id);
        }
        // Jumps go forwards only, so descending order sees every instruction after those it leads to.
        let mut seen = BTreeSet::from([entry]);
        let mut todo = vec![entry];
        while let Some(state) = todo.pop() {
            if self.memo.contains_key(&state) {
                continue;
            }
            for after in self.successors(state)? {
                if seen.insert(after) {
                    todo.push(after);
                }
            }
        }
        for state in seen.into_iter().rev() {
            if !self.memo.contains_key(&state) {
                let id = self.meaning(state)?;
                self.memo.insert(state, id);
            }
        }
        self.memo.get(&entry).copied().ok_or(Mismatch::Unclear { at })
    }

    fn successors(&self, (at, a): (usize, Accumulator)) -> Result<Vec<(usize, Accumulator)>, Mismatch> {
        let unclear = Mismatch::Unclear { at };
        let insn = self.program.get(at).copied().ok_or(unclear.clone())?;
        Ok(match (insn.code, a) {
            (op::RET, _) => Vec::new(),
            (op::LD, _) if insn.k >= 16 => {
                let (index, second) = ((insn.k - 16) / 8, insn.k % 8 == 4);
                let high = second == (self.endian == Endian::Little);
                vec![(at + 1, Accumulator::Word { index: index as u8, high, mask: u32::MAX })]
            }
            (op::AND, Accumulator::Word { index, high, mask }) => {
                vec![(at + 1, Accumulator::Word { index, high, mask: mask & insn.k })]
            }
            (op::JA, _) => vec![(at + 1 + insn.k as usize, a)],
            (code, Accumulator::Word { .. }) if is_jump(code) => {
                vec![(at + 1 + usize::from(insn.jt), a), (at + 1 + usize::from(insn.jf), a)]
            }
            _ => return Err(unclear),
        })
    }

    fn meaning(&mut self, state: (usize, Accumulator)) -> Result<Id, Mismatch> {
        let (at, a) = state;
        let unclear = Mismatch::Unclear { at };
        let insn = self.program.get(at).copied().ok_or(unclear.clone())?;
        let after: Vec<Id> =
            self.successors(state)?.iter().filter_map(|state| self.memo.get(state).copied()).collect();
        match (insn.code, a, after.as_slice()) {
            (op::RET, ..) => Ok(self.store.leaf(Verdict::from_raw(insn.k))),
            (_, Accumulator::Word { index, high, mask }, &[yes, no]) => {
                if yes == no {
                    return Ok(yes);
                }
                self.test(insn, index, high, mask, yes, no).ok_or(unclear)
            }
            (_, _, &[only]) => Ok(only),
            _ => Err(unclear),
        }
    }

    /// `(word & mask) op k ? yes : no` as a diagram.
    fn test(&mut self, insn: Insn, index: u8, high: bool, mask: u32, yes: Id, no: Id) -> Option<Id> {
        let shift = if high { 32 } else { 0 };
        let k = u64::from(insn.k);
        let masked = |bits: u32, datum: u64| Comparison {
            index,
            op: Op::MaskedEqual,
            value: u64::from(bits) << shift,
            value_two: datum << shift,
        };
        let (t, f) = (self.store.leaf(Verdict::ALLOW), self.store.leaf(Verdict::KILL_PROCESS));
        let condition = match insn.code {
            op::JEQ if insn.k & !mask != 0 => return Some(no),
            op::JEQ => self.store.compare(masked(mask, k), Width::Full, t, f),
            op::JSET => self.store.compare(masked(mask & insn.k, 0), Width::Full, f, t),
            op::JGE if mask == u32::MAX => self.order(index, high, insn.k, t, t, f),
            op::JGT if mask == u32::MAX => self.order(index, high, insn.k, f, t, f),
            _ => return None,
        };
        // Where the branches look at later words only, the condition's leaves can be replaced directly.
        let word = u16::from(index) * 2 + u16::from(!high);
        let later = |store: &Store, id: Id| store.var(id) / 32 > word;
        if later(&self.store, yes) && later(&self.store, no) {
            return match insn.code {
                op::JEQ => Some(self.store.compare(masked(mask, k), Width::Full, yes, no)),
                op::JSET => Some(self.store.compare(masked(mask & insn.k, 0), Width::Full, no, yes)),
                op::JGE => Some(self.order(index, high, insn.k, yes, yes, no)),
                _ => Some(self.order(index, high, insn.k, no, yes, no)),
            };
        }
        Some(self.store.choose(condition, yes, no))
    }

    fn order(&mut self, index: u8, high: bool, k: u32, equal: Id, above: Id, below: Id) -> Id {
        let mut id = equal;
        for bit in 0..32u16 {
            let var = u16::from(index) * 64 + if high { 31 - bit } else { 63 - bit };
            id = if k >> bit & 1 == 1 {
                self.store.make(var, below, id)
            } else {
                self.store.make(var, id, above)
            };
        }
        id
    }
}

fn is_jump(code: u16) -> bool {
    matches!(code, op::JEQ | op::JGT | op::JGE | op::JSET)
}

/// The parts of a piece in which a test of the number holds or does not.
fn cut(start: u32, end: u32, a: Accumulator, code: u16, k: u32) -> Option<Vec<(u32, u32, bool)>> {
    let holds = |a: u32| match code {
        op::JEQ => a == k,
        op::JGT => a > k,
        op::JGE => a >= k,
        _ => a & k != 0,
    };
    let mut parts: Vec<(u32, u32, bool)> = Vec::new();
    let mut push = |start: u32, end: u32, holds: bool| match parts.last_mut() {
        Some(last) if last.2 == holds => last.1 = end,
        _ => parts.push((start, end, holds)),
    };
    match (a, code) {
        (Accumulator::Known(value), _) => push(start, end, holds(value)),
        (Accumulator::Number, op::JSET) => bits(start, end, k, &|n| holds(n), &mut push)?,
        (Accumulator::Number, _) => {
            // The answer changes at k and behind it only.
            let mut from = start;
            for change in
                [Some(k), k.checked_add(1)].into_iter().flatten().filter(|c| *c > start && *c <= end)
            {
                push(from, change - 1, holds(from));
                from = change;
            }
            push(from, end, holds(from));
        }
        (Accumulator::NumberBits(mask), op::JSET) => {
            bits(start, end, mask & k, &|n| holds(n & mask), &mut push)?;
        }
        (Accumulator::NumberBits(mask), _) => bits(start, end, mask, &|n| holds(n & mask), &mut push)?,
        (Accumulator::Word { .. }, _) => return None,
    }
    Some(parts)
}

/// Cuts a piece so that in each part the bits of `mask` are the same in all numbers.
fn bits(
    start: u32,
    end: u32,
    mask: u32,
    holds: &impl Fn(u32) -> bool,
    push: &mut impl FnMut(u32, u32, bool),
) -> Option<()> {
    let mut todo = vec![(start, end)];
    let mut steps = 0;
    while let Some((start, end)) = todo.pop() {
        steps += 1;
        if steps > MAX_CUTS {
            return None;
        }
        let varying = start ^ end;
        let below = if varying == 0 { 0 } else { u32::MAX >> varying.leading_zeros() };
        if mask & below == 0 {
            push(start, end, holds(start));
        } else {
            let middle = end & !(below >> 1);
            todo.push((middle, end));
            todo.push((start, middle - 1));
        }
    }
    Some(())
}

enum Expected {
    Decision(Id),
    Verdict(Verdict),
}

/// What the policy says on a token: each entry holds from its number to the next entry.
///
/// Written down separately from the segments the compiler works on, as the numbers at which the policy's answer
/// can change and its answer there.
fn expectation(policy: &Policy, token: &[Arch], enosys: bool) -> Vec<(u32, Expected)> {
    let mut cuts = vec![0, 1];
    let x86 = token.iter().any(|arch| matches!(arch, Arch::X86_64 | Arch::X32));
    if x86 {
        cuts.extend([X32_BIT, 0x8000_0000, u32::MAX]);
    }
    for arch in token.iter().filter_map(|arch| policy.arches.get(arch)) {
        cuts.extend(arch.calls.iter().flat_map(|call| [call.number, call.number.saturating_add(1)]));
        cuts.extend(segments::ceiling(policy, arch, enosys).map(|newest| newest.saturating_add(1)));
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts.into_iter().map(|number| (number, expected_at(policy, token, enosys, x86, number))).collect()
}

fn expected_at(policy: &Policy, token: &[Arch], enosys: bool, x86: bool, number: u32) -> Expected {
    let own = match number {
        _ if !x86 => token.first().copied(),
        u32::MAX => None,
        n if n >= X32_BIT => Some(Arch::X32),
        _ => Some(Arch::X86_64),
    };
    let covered = |arch: Arch| token.contains(&arch).then(|| policy.arches.get(&arch)).flatten();
    if x86 && number == u32::MAX {
        let known = covered(Arch::X86_64).or_else(|| covered(Arch::X32));
        return known.map_or(Expected::Verdict(policy.bad_arch()), |arch| Expected::Decision(arch.minus_one));
    }
    if let (0, Some(arch @ (Arch::S390 | Arch::S390x))) = (number, own)
        && covered(arch).is_some_and(|own| segments::zero_is_above(policy, arch, own, enosys))
    {
        return Expected::Verdict(segments::ABOVE_CEILING);
    }
    match own.and_then(covered) {
        None => Expected::Verdict(policy.bad_arch()),
        Some(arch) if segments::ceiling(policy, arch, enosys).is_some_and(|newest| number > newest) => {
            Expected::Verdict(segments::ABOVE_CEILING)
        }
        Some(arch) => Expected::Decision(arch.decision(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileOptions, Options, compile};

    fn example() -> Policy {
        let profile = serde_json::from_str(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
                {"names":["read","write","close","openat","mmap","exit_group"],"action":"SCMP_ACT_ALLOW"},
                {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":38,"op":"SCMP_CMP_LT"}]},
                {"names":["lseek"],"action":"SCMP_ACT_LOG","args":[{"index":1,"value":4294967297,"op":"SCMP_CMP_EQ"}]},
                {"names":["clone"],"action":"SCMP_ACT_ALLOW",
                 "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
        )
        .unwrap();
        Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap()
    }

    /// Every constant, jump and answer of the program matters, so every change of one has to be found.
    #[test]
    fn a_program_with_one_field_changed_is_refused() {
        let policy = example();
        let arches = [Arch::X86_64, Arch::X86];
        let program = compile(&policy, &arches, &CompileOptions::default()).unwrap();
        assert_eq!(validate(&policy, &arches, false, program.insns()), Ok(()));
        let mut harmless = Vec::new();
        for at in 0..program.insns().len() {
            let original = program.insns()[at];
            let mut mutants =
                vec![Insn { k: original.k ^ 1, ..original }, Insn { k: original.k ^ 0x80, ..original }];
            if is_jump(original.code) {
                mutants.push(Insn { jt: original.jf, jf: original.jt, ..original });
                mutants.push(Insn { jt: original.jt.wrapping_add(1), ..original });
                mutants.push(Insn { jf: original.jf.wrapping_add(1), ..original });
                mutants.push(Insn { code: original.code ^ 0x10, ..original });
            }
            for mutant in mutants {
                let mut changed = program.insns().to_vec();
                changed[at] = mutant;
                if validate(&policy, &arches, false, &changed).is_ok() {
                    harmless.push((at, mutant, changed));
                }
            }
        }
        // A constant can change without a difference where no call lies between; the simulator has to agree.
        for (at, mutant, changed) in harmless {
            for arch in arches {
                for nr in (0..512).chain([
                    0x3fff_ffff,
                    0x4000_0000,
                    0x4000_0201,
                    0x7fff_ffff,
                    0x8000_0000,
                    u32::MAX,
                ]) {
                    for value in [
                        0,
                        1,
                        2,
                        37,
                        38,
                        39,
                        0x2_0000,
                        0x7e02_0000,
                        1 << 31,
                        1 << 32,
                        (1 << 32) + 1,
                        u64::MAX,
                    ] {
                        let data = crate::Data::new(arch, nr, [value; 6]);
                        let after = crate::simulate::run(&changed, &data, Endian::Little).0;
                        assert_eq!(
                            after,
                            policy.eval(arch, nr, &[value; 6]),
                            "{at}: {mutant} at {nr:#x} {value:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn another_answer_to_other_architectures_is_found() {
        let policy = example();
        let program = compile(&policy, &[Arch::X86_64], &CompileOptions::default()).unwrap();
        let strict = policy.clone().with_bad_arch(Verdict::KILL_PROCESS);
        assert!(validate(&strict, &[Arch::X86_64], false, program.insns()).is_err());
        assert!(validate(&policy, &[Arch::X86], false, program.insns()).is_err());
    }
}
