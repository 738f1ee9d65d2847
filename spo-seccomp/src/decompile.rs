//! From a program back to the policy it carries out, for filters whose profile is lost.

use std::collections::BTreeMap;

use spo_model::seccomp::Arch;

use crate::{
    Policy, Verdict,
    arch::{ArchExt, Endian},
    bpf::{self, Insn},
    compile::tokens,
    decision::{Id, Store},
    policy::{ArchPolicy, Call},
    syscalls::X32_BIT,
    validate::{Mismatch, Reading},
};

/// Why a program has no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompileError {
    /// The program is malformed, or uses instructions that filters do not need (the X register, memory, arithmetic
    /// other than AND).
    #[error(transparent)]
    Unclear(#[from] Mismatch),
    /// The decision changes more often along the numbers than syscalls exist.
    #[error("the program decides on more than {0} numbers of {1} one by one")]
    TooManyNumbers(u32, Arch),
    /// Two audit tokens that were not given have different answers, or the answer depends on the number.
    #[error("the program tells apart architectures that were not asked for")]
    OtherArchitectures,
}

const MAX_NUMBERS: u32 = 1 << 16;

impl Policy {
    /// The policy of a program on some architectures of one byte order; every other architecture has to get one
    /// answer, as with every profile.
    ///
    /// # Errors
    /// [`DecompileError`].
    pub fn from_program(program: &[Insn], arches: &[Arch]) -> Result<Self, DecompileError> {
        bpf::verify(program).map_err(Mismatch::from)?;
        let endian = arches.first().map_or(Endian::Little, |arch| arch.endian());
        let mut reading = Reading::new(program, endian, Store::default());
        let mut lines: Vec<(Arch, ArchPolicy)> = Vec::new();
        for token in tokens(arches) {
            let pieces = reading.pieces(token[0].audit_token())?;
            let line: BTreeMap<u32, Id> = pieces.iter().map(|piece| (piece.start, piece.decision)).collect();
            for arch in token {
                let (first, last) = match arch {
                    Arch::X86_64 => (0, X32_BIT - 1),
                    Arch::X32 => (X32_BIT, u32::MAX - 1),
                    _ => (0, u32::MAX),
                };
                lines.push((arch, arch_policy(&line, arch, first, last)?));
            }
        }
        let bad_arch = other_architectures(&mut reading, program, arches)?;
        if reading.store.is_full() {
            return Err(Mismatch::TooLarge.into());
        }
        let mut policy = Self::uniform(Verdict::KILL_THREAD, []).with_bad_arch(bad_arch);
        policy.store = reading.store;
        policy.arches = lines.into_iter().collect();
        Ok(policy)
    }
}

fn at(line: &BTreeMap<u32, Id>, number: u32) -> Option<Id> {
    line.range(..=number).next_back().map(|(_, id)| *id)
}

fn arch_policy(
    line: &BTreeMap<u32, Id>,
    arch: Arch,
    first: u32,
    last: u32,
) -> Result<ArchPolicy, DecompileError> {
    let too_many = || DecompileError::TooManyNumbers(MAX_NUMBERS, arch);
    let default = at(line, last).ok_or_else(too_many)?;
    let mut calls: Vec<Call> = Vec::new();
    let mut starts = vec![first];
    starts.extend(line.range(first.saturating_add(1)..=last).map(|(start, _)| *start));
    for (i, start) in starts.iter().enumerate() {
        let Some(decision) = at(line, *start).filter(|id| *id != default) else { continue };
        let end = starts.get(i + 1).map_or(last, |next| next.saturating_sub(1));
        if end - start >= MAX_NUMBERS || calls.len() as u32 >= MAX_NUMBERS {
            return Err(too_many());
        }
        calls.extend((*start..=end).map(|number| Call { number, decision, rules: 0..0 }));
    }
    let newest = calls.last().map(|call| call.number);
    let minus_one = at(line, u32::MAX).ok_or_else(too_many)?;
    Ok(ArchPolicy { default, calls, newest, minus_one })
}

fn other_architectures(
    reading: &mut Reading<'_>,
    program: &[Insn],
    arches: &[Arch],
) -> Result<Verdict, DecompileError> {
    let known: Vec<u32> = arches.iter().map(|arch| arch.audit_token()).collect();
    let constants: std::collections::BTreeSet<u32> = program.iter().map(|insn| insn.k).collect();
    let fresh = (1..).find(|token| !constants.contains(token));
    let mut answer = None;
    for token in constants.iter().copied().chain(fresh).filter(|token| !known.contains(token)) {
        let pieces = reading.pieces(token)?;
        let [only] = pieces.as_slice() else { return Err(DecompileError::OtherArchitectures) };
        let verdict = reading.store.verdict(only.decision).ok_or(DecompileError::OtherArchitectures)?;
        if answer.is_some_and(|answer| answer != verdict) {
            return Err(DecompileError::OtherArchitectures);
        }
        answer = Some(verdict);
    }
    answer.ok_or(DecompileError::OtherArchitectures)
}
