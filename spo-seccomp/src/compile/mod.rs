//! From a policy to a BPF program, through these representations:
//!
//! 1. [`Policy`]: per architecture a decision for each number;
//! 2. [`segments`]: the number line of one audit token, cut where the decision changes; the x32 guard, the
//!    `ENOSYS` ceiling and -1 are ordinary segments;
//! 3. [`search`]: the search tree with the least expected number of tests over the segments' weights;
//! 4. [`words`]: each decision over arguments as search trees over 32-bit words;
//! 5. [`emit`]: instructions, written from the end so that every jump target is known, returns and argument
//!    blocks shared;
//! 6. [`peephole`]: the program without instructions that turned out to be needless;
//! 7. [`validate`](crate::validate): all paths of the result compared with the policy. A program that fails is
//!    never returned.

mod chain;
pub(crate) mod emit;
mod peephole;
pub(crate) mod search;
pub(crate) mod segments;
pub(crate) mod words;

use std::collections::BTreeMap;

use spo_model::seccomp::{Arch, Flag, SeccompProfileSpec};

use crate::{
    Policy,
    arch::{ArchExt, Endian},
    bpf::{self, Insn},
    syscalls::Syscall,
    validate::{self, Mismatch},
};

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
    arches: Vec<Arch>,
    endian: Endian,
}

impl Program {
    /// The instructions.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The instructions by value.
    pub fn into_insns(self) -> Vec<Insn> {
        self.insns
    }

    /// The architectures covered.
    pub fn arches(&self) -> &[Arch] {
        &self.arches
    }

    /// The byte order the program is for.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// The program as bytes in its byte order.
    pub fn to_bytes(&self) -> Vec<u8> {
        bpf::to_bytes(&self.insns, self.endian)
    }
}

/// How to compile.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompileOptions {
    /// Whether numbers above the largest one the profile names answer `ENOSYS` instead of a denying default, so
    /// that a libc can fall back from a call that is newer than the profile. runc does so, with a stub before
    /// libseccomp's program; on s390 and s390x its stub and this option give `ENOSYS` for number 0 too.
    pub enosys_ceiling: bool,
    /// What the search tree is optimised for.
    pub weights: Weights,
}

impl Default for CompileOptions {
    /// No ceiling, uniform weights.
    fn default() -> Self {
        Self { enosys_ceiling: false, weights: Weights::Uniform }
    }
}

impl CompileOptions {
    /// The same with or without the `ENOSYS` ceiling.
    #[must_use]
    pub fn enosys_ceiling(self, enosys_ceiling: bool) -> Self {
        Self { enosys_ceiling, ..self }
    }

    /// The same optimised for other weights.
    #[must_use]
    pub fn weights(self, weights: Weights) -> Self {
        Self { weights, ..self }
    }
}

/// How often each syscall is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Every syscall of the architecture alike.
    Uniform,
    /// The mix of a busy database server, as published by the gVisor project.
    Typical,
    /// Counts by syscall name, for example from a recording; calls that are not named hardly count.
    Counts(BTreeMap<String, u64>),
}

/// Why a policy has no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The list of architectures is empty after resolving it.
    #[error("the policy covers no architecture")]
    NoArchitecture,
    /// An architecture the policy does not cover.
    #[error("the policy does not cover {0}")]
    NotCovered(Arch),
    /// One program cannot serve both byte orders.
    #[error("{0} and {1} have different byte orders and cannot share a program")]
    MixedEndian(Arch, Arch),
    /// The kernel refuses more than 4096 instructions.
    #[error("the program has {length} instructions, the kernel takes 4096; most go to {}", costs(costliest))]
    TooLong {
        /// Instructions of the program.
        length: usize,
        /// The syscalls whose conditions take most instructions, with their numbers of instructions.
        costliest: Vec<(String, usize)>,
    },
    /// The decisions over arguments became too large while the program was checked.
    #[error("the argument conditions are too large to compile")]
    TooComplex,
    /// The program does not do what the policy says. This is a defect of the compiler; the program is withheld.
    #[error("internal error, the program is withheld: {0}")]
    Internal(#[source] Mismatch),
}

/// Compiles a policy for some of its architectures, an empty list standing for all of them.
///
/// The first architecture given is tested first. x86_64 without x32 guards against x32 numbers.
///
/// # Errors
/// [`CompileError`]; the program is checked against the policy on every path before it is returned.
pub fn compile(policy: &Policy, arches: &[Arch], options: &CompileOptions) -> Result<Program, CompileError> {
    let arches = choose_architectures(policy, arches)?;
    let endian = arches[0].endian();
    let (insns, costs) = assemble(policy, &arches, options);
    let insns = peephole::shorten(insns);
    if insns.len() > bpf::MAX_INSNS {
        return Err(too_long(policy, &arches, &insns, &costs));
    }
    validate::validate(policy, &arches, options.enosys_ceiling, &insns).map_err(
        |mismatch| match mismatch {
            Mismatch::TooLarge => CompileError::TooComplex,
            other => CompileError::Internal(other),
        },
    )?;
    Ok(Program { insns, arches, endian })
}

fn assemble(policy: &Policy, arches: &[Arch], options: &CompileOptions) -> (Vec<Insn>, Vec<emit::Cost>) {
    let mut assembler = emit::Assembler::new(arches.first().map_or(Endian::Little, |arch| arch.endian()));
    for token in tokens(arches).iter().rev() {
        let segments = segments::segments(policy, token, options.enosys_ceiling);
        let weighted = segments::weighted(&segments, token, &options.weights);
        let tree = search::optimal(&weighted.pieces, &weighted.points);
        assembler.token(policy, token[0].audit_token(), &tree);
    }
    assembler.finish(policy.bad_arch())
}

/// The flags a profile asks for, as the `seccomp(2)` argument.
///
/// Without a list runtimes choose `SPEC_ALLOW`; an empty list means none.
pub fn flags(profile: &SeccompProfileSpec) -> u32 {
    let Some(flags) = &profile.flags else { return 4 };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            Flag::Tsync => 1,
            Flag::Log => 2,
            Flag::SpecAllow => 4,
            Flag::WaitKillableRecv => 32,
        }
    })
}

/// The architectures that share an audit token, in the order given.
pub(crate) fn tokens(arches: &[Arch]) -> Vec<Vec<Arch>> {
    let mut groups: Vec<Vec<Arch>> = Vec::new();
    for &arch in arches {
        match groups.iter_mut().find(|group| group[0].audit_token() == arch.audit_token()) {
            Some(group) => group.push(arch),
            None => groups.push(vec![arch]),
        }
    }
    groups
}

fn choose_architectures(policy: &Policy, wanted: &[Arch]) -> Result<Vec<Arch>, CompileError> {
    let mut arches: Vec<Arch> = Vec::new();
    let all: Vec<Arch> = policy.architectures().collect();
    for &arch in if wanted.is_empty() { &all } else { wanted } {
        let arch = arch.resolve(Arch::Native);
        if !all.contains(&arch) {
            return Err(CompileError::NotCovered(arch));
        }
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    let first = *arches.first().ok_or(CompileError::NoArchitecture)?;
    if wanted.is_empty() {
        // The 64-bit architecture is the one most calls come from.
        arches.sort_by_key(|arch| arch.is_32_bit());
    }
    match arches.iter().find(|arch| arch.endian() != first.endian()) {
        Some(other) => Err(CompileError::MixedEndian(first, *other)),
        None => Ok(arches),
    }
}

fn too_long(policy: &Policy, arches: &[Arch], insns: &[Insn], costs: &[emit::Cost]) -> CompileError {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for cost in costs {
        let call = arches.iter().find_map(|arch| {
            let call = policy.arches.get(arch)?.calls.iter().find(|call| call.decision == cost.decision)?;
            Some(Syscall::by_number(*arch, call.number)?.name().to_owned())
        });
        *named.entry(call.unwrap_or_else(|| "other calls".to_owned())).or_default() += cost.instructions;
    }
    let mut costliest: Vec<(String, usize)> = named.into_iter().collect();
    costliest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    costliest.truncate(5);
    CompileError::TooLong { length: insns.len(), costliest }
}

fn costs(costliest: &[(String, usize)]) -> String {
    costliest.iter().map(|(name, n)| format!("{name} ({n})")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::{
        Action, ArgFilter, ArgIndex, ArgValue, Op, SeccompProfileSpec, SyscallName, SyscallRule,
    };

    use super::*;
    use crate::{Data, Options, simulate};

    /// What the last pass is worth: over many profiles with conditions programs are shorter, and no call takes longer.
    #[test]
    fn the_peephole_shortens_programs_and_no_path_grows() {
        let names: Vec<SyscallName> =
            Syscall::of(Arch::X86_64).filter_map(|(call, _)| call.name().parse().ok()).collect();
        let mut state = 7u32;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let (mut before, mut after) = (0, 0);
        for _ in 0..60 {
            let rules = (0..30).map(|_| {
                let calls: Vec<SyscallName> =
                    (0..1 + random(12)).map(|_| names[random(names.len())].clone()).collect();
                let action = [Action::Allow, Action::Log, Action::Allow][random(3)];
                let args = (0..random(3)).filter_map(|i| {
                    let value = ArgValue([0, 1, 38, 0xffff_ffff, 1 << 32, u64::MAX][random(6)]);
                    let op = Op::ALL[random(Op::ALL.len())];
                    Some(ArgFilter { index: ArgIndex::new(i as u8)?, value, value_two: ArgValue(0), op })
                });
                let args: Vec<ArgFilter> = args.collect();
                SyscallRule { args: (!args.is_empty()).then_some(args), ..SyscallRule::new(action, calls) }
            });
            let mut profile = SeccompProfileSpec::new(Action::Errno);
            let arches = [Arch::X86_64, Arch::X86, Arch::X32];
            profile.architectures = Some(arches.to_vec());
            profile.syscalls = Some(rules.collect());
            let options = Options::new(Arch::X86_64).semantics(crate::Semantics::FirstMatch);
            let policy = Policy::from_profile(&profile, &options).unwrap();
            let (long, _) = assemble(&policy, &arches, &CompileOptions::default());
            let short = peephole::shorten(long.clone());
            (before, after) = (before + long.len(), after + short.len());
            for number in (0..500).chain([0x4000_0000, 0x4000_0200, u32::MAX]) {
                let data = Data::new(Arch::X86_64, number, [1 << 32, 38, 0, 0, 0, 0]);
                let [a, b] = [&long, &short].map(|program| simulate(program, &data, Endian::Little).unwrap());
                assert_eq!((a.verdict, a.cached), (b.verdict, b.cached), "{number:#x}");
                assert!(b.instructions <= a.instructions, "{number:#x} takes longer");
            }
        }
        println!("{before} instructions, {after} after the peephole");
        assert!(after * 100 < before * 99, "it saves at least a hundredth: {before} to {after}");
    }
}
