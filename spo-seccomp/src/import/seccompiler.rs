//! The JSON of `seccompiler`: one filter per thread category.

use std::collections::BTreeMap;

use serde::Deserialize;
use spo_model::seccomp::{
    Action, ArgFilter, ArgIndex, ArgValue, Errno, Op, SeccompProfileSpec, SyscallName, SyscallRule,
};

use super::ImportError;
use crate::syscalls::Syscall;

/// Reads a file of named filters, each as one profile.
///
/// `dword` arguments compare the low 32 bits: written as a masked comparison where the operator allows it, and as
/// a plain one where the kernel looks at 32 bits of that parameter anyway.
///
/// # Errors
/// [`ImportError`] for malformed JSON, a name no architecture has (as in seccompiler), an errno above 4095, an
/// argument index above 5, and a `dword` ordering on a 64-bit parameter, which profiles cannot express.
pub fn seccompiler(json: &str) -> Result<BTreeMap<String, SeccompProfileSpec>, ImportError> {
    let filters: BTreeMap<String, Filter> = serde_json::from_str(json)?;
    filters.into_iter().map(|(name, filter)| Ok((name.clone(), filter.into_profile(&name)?))).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(alias = "default_action")]
    mismatch_action: ActionWord,
    #[serde(alias = "filter_action")]
    match_action: ActionWord,
    filter: Vec<Rule>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum ActionWord {
    Allow,
    Errno(i64),
    KillThread,
    KillProcess,
    Log,
    Trace(i64),
    Trap,
    UserNotif,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    syscall: String,
    #[serde(default)]
    #[allow(dead_code, reason = "comments are part of the format")]
    comment: Option<String>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    index: i64,
    #[serde(rename = "type")]
    width: Width,
    op: Operator,
    val: u64,
    #[serde(default)]
    #[allow(dead_code, reason = "comments are part of the format")]
    comment: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Width {
    Dword,
    Qword,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    MaskedEq(u64),
}

impl Filter {
    fn into_profile(self, name: &str) -> Result<SeccompProfileSpec, ImportError> {
        let (default, default_errno) = self.mismatch_action.resolve(&format!("{name}.mismatch_action"))?;
        let (action, errno_ret) = self.match_action.resolve(&format!("{name}.match_action"))?;
        let mut profile = SeccompProfileSpec::new(default);
        profile.default_errno_ret = default_errno;
        let mut rules = Vec::new();
        for (i, rule) in self.filter.iter().enumerate() {
            let field = format!("{name}.filter[{i}]");
            let syscall: SyscallName =
                rule.syscall.parse().map_err(|e| ImportError::value(format!("{field}.syscall"), e))?;
            let call = Syscall::by_name(syscall.as_str()).ok_or_else(|| {
                ImportError::value(format!("{field}.syscall"), format!("unknown syscall {:?}", rule.syscall))
            })?;
            let args: Result<Vec<ArgFilter>, ImportError> =
                rule.args.iter().flatten().map(|arg| arg.resolve(call, &field)).collect();
            let args = args?;
            if args.iter().enumerate().any(|(i, a)| args[..i].iter().any(|b| a.index == b.index)) {
                // Runtimes would take these as alternatives; seccompiler means all of them.
                return Err(ImportError::value(
                    format!("{field}.args"),
                    "several conditions on one argument",
                ));
            }
            let args = Some(args).filter(|args| !args.is_empty());
            rules.push(SyscallRule { names: vec![syscall], action, errno_ret, args });
        }
        profile.syscalls = Some(rules).filter(|rules| !rules.is_empty());
        Ok(profile)
    }
}

impl ActionWord {
    fn resolve(self, field: &str) -> Result<(Action, Option<Errno>), ImportError> {
        let number = |n: i64| Errno::try_from(n).map(Some).map_err(|e| ImportError::value(field, e));
        Ok(match self {
            Self::Allow => (Action::Allow, None),
            Self::Errno(n) => (Action::Errno, number(n)?),
            Self::KillThread => (Action::KillThread, None),
            Self::KillProcess => (Action::KillProcess, None),
            Self::Log => (Action::Log, None),
            Self::Trace(n) => (Action::Trace, number(n)?),
            Self::Trap => (Action::Trap, None),
            Self::UserNotif => (Action::Notify, None),
        })
    }
}

impl Argument {
    fn resolve(&self, call: Syscall, field: &str) -> Result<ArgFilter, ImportError> {
        const WORD: u64 = 0xffff_ffff;
        let index =
            ArgIndex::try_from(self.index).map_err(|e| ImportError::value(format!("{field}.args"), e))?;
        let filter = |op, value: u64, value_two: u64| ArgFilter {
            index,
            value: ArgValue(value),
            value_two: ArgValue(value_two),
            op,
        };
        let dword = self.width == Width::Dword;
        let op = match self.op {
            Operator::MaskedEq(mask) if dword => {
                return Ok(filter(Op::MaskedEqual, mask & WORD, self.val & WORD));
            }
            Operator::MaskedEq(mask) => return Ok(filter(Op::MaskedEqual, mask, self.val)),
            Operator::Eq if dword => return Ok(filter(Op::MaskedEqual, WORD, self.val & WORD)),
            Operator::Eq => Op::Equal,
            Operator::Ne => Op::NotEqual,
            Operator::Gt => Op::GreaterThan,
            Operator::Ge => Op::GreaterOrEqual,
            Operator::Lt => Op::LessThan,
            Operator::Le => Op::LessOrEqual,
        };
        if dword && call.param(index.get()).bits > 32 {
            let reason =
                format!("a dword ordering on the 64-bit parameter {} of {}", index.get(), call.name());
            return Err(ImportError::value(format!("{field}.args"), reason));
        }
        Ok(filter(op, if dword { self.val & WORD } else { self.val }, 0))
    }
}
