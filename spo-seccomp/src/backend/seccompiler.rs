//! Policies for the `seccompiler` crate, and programs in its type.

use std::collections::BTreeMap;

use ::seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use spo_model::seccomp::{Action, Arch, ArgFilter, Op, SeccompProfileSpec};

use crate::{Program, Verdict, arch::ArchExt, syscalls::Syscall};

/// Why a profile does not fit seccompiler's model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// seccompiler knows x86_64, aarch64 and riscv64.
    #[error("seccompiler has no {0}")]
    Arch(Arch),
    /// A filter has one action for matches.
    #[error("seccompiler has one action for all rules, found {0} and {1}")]
    SeveralActions(Verdict, Verdict),
    /// It cannot notify.
    #[error("seccompiler has no {0}")]
    Action(Verdict),
    /// An unconditional rule behind a conditional one would be lost.
    #[error("seccompiler refuses the filter: {0}")]
    Backend(#[from] Error),
}

/// The program in seccompiler's type, to apply it with `seccompiler::apply_filter`.
pub fn to_bpf_program(program: &Program) -> BpfProgram {
    program
        .insns()
        .iter()
        .map(|insn| sock_filter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
        .collect()
}

/// Compiles a profile with seccompiler instead, for one architecture.
///
/// # Errors
/// [`Unfit`] when the profile has several actions, an action or architecture the crate lacks, or is too long for
/// it (five instructions for each syscall, 4096 in all).
pub fn compile(profile: &SeccompProfileSpec, arch: Arch) -> Result<BpfProgram, Unfit> {
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
        Arch::Riscv64 => TargetArch::riscv64,
        other => return Err(Unfit::Arch(other)),
    };
    let default = Verdict::of(profile.default_action, profile.default_errno_ret);
    let mut matching: Option<Verdict> = None;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut unconditional = Vec::new();
    for rule in profile.rules() {
        let verdict = Verdict::of(rule.action, rule.errno_ret);
        if verdict == default {
            continue;
        }
        match matching {
            Some(other) if other != verdict => return Err(Unfit::SeveralActions(other, verdict)),
            _ => matching = Some(verdict),
        }
        let filters = rule.conditions();
        let repeats =
            filters.iter().enumerate().any(|(i, a)| filters[..i].iter().any(|b| a.index == b.index));
        for call in rule.names.iter().filter_map(|name| Syscall::by_name(name.as_str())) {
            let Some(number) = call.number(arch).map(i64::from) else { continue };
            if filters.is_empty() {
                unconditional.push(number);
            }
            for conjunction in if repeats { filters.chunks(1).collect() } else { vec![filters] } {
                let conditions: Result<Vec<_>, _> =
                    conjunction.iter().map(|f| condition(f, call, arch)).collect();
                let conditions = conditions.map_err(Error::Backend)?;
                if !conditions.is_empty() {
                    let rule = SeccompRule::new(conditions).map_err(Error::Backend)?;
                    rules.entry(number).or_default().push(rule);
                }
            }
        }
    }
    // An empty list is how seccompiler spells "whatever the arguments".
    for number in unconditional {
        rules.insert(number, Vec::new());
    }
    let matching = matching.unwrap_or(if default == Verdict::ALLOW { Verdict::LOG } else { Verdict::ALLOW });
    let filter =
        SeccompFilter::new(rules, action(default)?, action(matching)?, target).map_err(Error::Backend)?;
    BpfProgram::try_from(filter).map_err(|e| Unfit::Backend(Error::Backend(e)))
}

fn condition(
    filter: &ArgFilter,
    call: Syscall,
    arch: Arch,
) -> Result<SeccompCondition, ::seccompiler::BackendError> {
    let narrow = arch.is_32_bit() || call.param(filter.index.get()).bits <= 32;
    let width = if narrow { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    let (op, value) = match filter.op {
        Op::Equal => (SeccompCmpOp::Eq, filter.value.0),
        Op::NotEqual => (SeccompCmpOp::Ne, filter.value.0),
        Op::GreaterThan => (SeccompCmpOp::Gt, filter.value.0),
        Op::GreaterOrEqual => (SeccompCmpOp::Ge, filter.value.0),
        Op::LessThan => (SeccompCmpOp::Lt, filter.value.0),
        Op::LessOrEqual => (SeccompCmpOp::Le, filter.value.0),
        Op::MaskedEqual => (SeccompCmpOp::MaskedEq(filter.value.0), filter.value_two.0),
    };
    SeccompCondition::new(filter.index.get(), width, op, value)
}

fn action(verdict: Verdict) -> Result<SeccompAction, Unfit> {
    let (action, errno) = verdict.action();
    let number = errno.map_or(0, |errno| u32::from(errno.get()));
    Ok(match action {
        Action::Kill | Action::KillThread => SeccompAction::KillThread,
        Action::KillProcess => SeccompAction::KillProcess,
        Action::Trap => SeccompAction::Trap,
        Action::Errno => SeccompAction::Errno(number),
        Action::Trace => SeccompAction::Trace(number),
        Action::Allow => SeccompAction::Allow,
        Action::Log => SeccompAction::Log,
        Action::Notify => return Err(Unfit::Action(verdict)),
    })
}
