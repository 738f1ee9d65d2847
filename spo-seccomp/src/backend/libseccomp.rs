//! The same profile through the C library, as runc builds it.
//!
//! Needs libseccomp 2.5 or later at build and run time.

use std::io::Read;

use ::libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError,
};
use spo_model::seccomp::{Action, Arch, ArgFilter, Errno, Op, SeccompProfileSpec};

use crate::{
    arch::ArchExt,
    bpf::{self, Insn},
};

/// How libseccomp lays out its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One comparison per syscall (`SCMP_FLTATR_CTL_OPTIMIZE` 1, the default).
    Linear,
    /// A binary tree (level 2, which runc chooses for more than 32 rules).
    Tree,
}

/// Why libseccomp gave no program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library refused something.
    #[error("libseccomp: {0}")]
    Library(#[from] SeccompError),
    /// The program could not be read back.
    #[error("reading the exported program: {0}")]
    Export(#[from] std::io::Error),
}

/// The program libseccomp makes of a profile for exactly these architectures, all of one byte order.
///
/// Rules with the default action and names the library does not know are left out, and conditions on a repeated
/// argument become alternatives, all as in runc.
///
/// # Errors
/// [`Error::Library`] for what the library refuses, for example two actions under the same conditions.
pub fn compile(profile: &SeccompProfileSpec, arches: &[Arch], layout: Layout) -> Result<Vec<Insn>, Error> {
    let default = action(profile.default_action, profile.default_errno_ret);
    let mut filter = ScmpFilterContext::new(default)?;
    let native = ScmpArch::native();
    // Architectures of another byte order can be added only once the native one is gone.
    if !arches.iter().any(|arch| scmp(*arch) == native) {
        filter.remove_arch(native)?;
    }
    for arch in arches {
        if scmp(*arch) != native {
            filter.add_arch(scmp(*arch))?;
        }
    }
    if layout == Layout::Tree {
        filter.set_ctl_optimize(2)?;
    }
    for rule in profile.rules() {
        let verdict = action(rule.action, rule.errno_ret);
        if verdict == default {
            continue;
        }
        let filters = rule.conditions();
        let repeats =
            filters.iter().enumerate().any(|(i, a)| filters[..i].iter().any(|b| a.index == b.index));
        let conjunctions: Vec<&[ArgFilter]> =
            if repeats { filters.chunks(1).collect() } else { vec![filters] };
        for name in &rule.names {
            let Ok(call) = ScmpSyscall::from_name(name.as_str()) else { continue };
            for conditions in &conjunctions {
                let compares: Vec<ScmpArgCompare> = conditions.iter().map(compare).collect();
                filter.add_rule_conditional(verdict, call, &compares)?;
            }
        }
    }
    export(&filter, arches)
}

/// The number libseccomp gives a syscall on an architecture; `None` for its pseudo numbers and unknown names.
pub fn resolve(name: &str, arch: Arch) -> Option<u32> {
    let number = ScmpSyscall::from_name_by_arch(name, scmp(arch)).ok()?.as_raw_syscall();
    u32::try_from(number).ok()
}

/// Whether the library has the name, on whatever architecture.
pub fn knows(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}

/// Version of the library in use, as `(major, minor, micro)`.
pub fn version() -> Option<(u32, u32, u32)> {
    let version = ::libseccomp::ScmpVersion::current().ok()?;
    Some((version.major, version.minor, version.micro))
}

fn export(filter: &ScmpFilterContext, arches: &[Arch]) -> Result<Vec<Insn>, Error> {
    let (mut reader, writer) = std::io::pipe()?;
    // A program can be larger than a pipe's buffer, so somebody has to read while the library writes.
    let bytes = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        let written = filter.export_bpf(&writer);
        drop(writer);
        let bytes = reading.join().unwrap_or_else(|_| Err(std::io::Error::other("the reader stopped")));
        written?;
        Ok::<_, Error>(bytes?)
    })?;
    let endian = arches.first().map_or(crate::Endian::Little, |arch| arch.endian());
    bpf::from_bytes(&bytes, endian).ok_or_else(|| Error::Export(std::io::Error::other("half an instruction")))
}

fn compare(filter: &ArgFilter) -> ScmpArgCompare {
    let (value, op) = match filter.op {
        Op::NotEqual => (filter.value.0, ScmpCompareOp::NotEqual),
        Op::LessThan => (filter.value.0, ScmpCompareOp::Less),
        Op::LessOrEqual => (filter.value.0, ScmpCompareOp::LessOrEqual),
        Op::Equal => (filter.value.0, ScmpCompareOp::Equal),
        Op::GreaterOrEqual => (filter.value.0, ScmpCompareOp::GreaterEqual),
        Op::GreaterThan => (filter.value.0, ScmpCompareOp::Greater),
        Op::MaskedEqual => (filter.value_two.0, ScmpCompareOp::MaskedEqual(filter.value.0)),
    };
    ScmpArgCompare::new(u32::from(filter.index.get()), op, value)
}

fn action(action: Action, errno: Option<Errno>) -> ScmpAction {
    let errno = errno.unwrap_or(Errno::EPERM).get();
    match action {
        Action::Kill | Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Errno => ScmpAction::Errno(i32::from(errno)),
        Action::Trace => ScmpAction::Trace(errno),
        Action::Allow => ScmpAction::Allow,
        Action::Log => ScmpAction::Log,
        Action::Notify => ScmpAction::Notify,
    }
}

fn scmp(arch: Arch) -> ScmpArch {
    match arch {
        Arch::Native => ScmpArch::Native,
        Arch::X86 => ScmpArch::X86,
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X32 => ScmpArch::X32,
        Arch::Arm => ScmpArch::Arm,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Loongarch64 => ScmpArch::Loongarch64,
        Arch::M68k => ScmpArch::M68k,
        Arch::Mips => ScmpArch::Mips,
        Arch::Mips64 => ScmpArch::Mips64,
        Arch::Mips64n32 => ScmpArch::Mips64N32,
        Arch::Mipsel => ScmpArch::Mipsel,
        Arch::Mipsel64 => ScmpArch::Mipsel64,
        Arch::Mipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::Parisc => ScmpArch::Parisc,
        Arch::Parisc64 => ScmpArch::Parisc64,
        Arch::Ppc => ScmpArch::Ppc,
        Arch::Ppc64 => ScmpArch::Ppc64,
        Arch::Ppc64le => ScmpArch::Ppc64Le,
        Arch::Riscv64 => ScmpArch::Riscv64,
        Arch::S390 => ScmpArch::S390,
        Arch::S390x => ScmpArch::S390X,
        Arch::Sh => ScmpArch::Sh,
        Arch::Sheb => ScmpArch::Sheb,
    }
}
