//! How long a program is and how many instructions its answers take.
//!
//! Time depends on the machine, and Linux 5.11 and later answers most permitted calls without running the program at
//! all ([`cacheable`](crate::cacheable)). The number of instructions is what a compiler decides.

use spo_model::seccomp::Arch;

use crate::{
    Data,
    arch::ArchExt,
    bpf::{Insn, Malformed},
    simulate,
    syscalls::Syscall,
};

/// The figures of a program on one architecture, arguments all zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Instructions of the program.
    pub length: usize,
    /// Instructions run, on average over all syscalls of the architecture.
    pub mean: f64,
    /// Instructions run for the syscall that takes most.
    pub worst: u32,
    /// Instructions run, on average over [`TYPICAL_MIX`].
    pub mix: f64,
    /// Syscalls that the kernel's bitmap answers.
    pub cached: usize,
}

impl Figures {
    /// Runs a program for every syscall of an architecture.
    ///
    /// # Errors
    /// [`Malformed`] for a program that the kernel would refuse.
    pub fn of(program: &[Insn], arch: Arch) -> Result<Self, Malformed> {
        let mut all = Tally::default();
        let mut mix = Tally::default();
        let (mut worst, mut cached) = (0, 0);
        for (call, number) in Syscall::of(arch) {
            let outcome = simulate(program, &Data::new(arch, number, [0; 6]), arch.endian())?;
            worst = worst.max(outcome.instructions);
            cached += usize::from(outcome.cached);
            all.count(outcome.instructions, 1);
            if let Some((_, weight)) = TYPICAL_MIX.iter().find(|(name, _)| *name == call.name()) {
                mix.count(outcome.instructions, *weight);
            }
        }
        Ok(Self { length: program.len(), mean: all.mean(), worst, mix: mix.mean(), cached })
    }
}

/// How often a database server makes which calls: a benchmark under gVisor (gvisor.dev, February 2024, "seccomp").
pub const TYPICAL_MIX: [(&str, u64); 19] = [
    ("futex", 870_063),
    ("nanosleep", 275_649),
    ("sendmmsg", 160_201),
    ("fstat", 115_769),
    ("ppoll", 69_749),
    ("fsync", 23_131),
    ("pwrite64", 14_096),
    ("epoll_pwait", 12_266),
    ("close", 1_991),
    ("tgkill", 1_414),
    ("rt_sigreturn", 1_414),
    ("getpid", 1_413),
    ("write", 1_080),
    ("read", 1_056),
    ("openat", 836),
    ("madvise", 814),
    ("pread64", 420),
    ("sched_yield", 375),
    ("fallocate", 267),
];

#[derive(Default)]
struct Tally {
    instructions: u64,
    calls: u64,
}

impl Tally {
    fn count(&mut self, instructions: u32, times: u64) {
        self.instructions += u64::from(instructions) * times;
        self.calls += times;
    }

    fn mean(&self) -> f64 {
        self.instructions as f64 / self.calls.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::op;

    #[test]
    fn counts_what_runs() {
        // read (0 on x86_64) leaves behind the second instruction, everything else behind the third.
        let program = [
            Insn::new(op::LD, 0, 0, crate::bpf::OFFSET_NR),
            Insn::new(op::JEQ, 1, 0, 0),
            Insn::new(op::LD, 0, 0, crate::bpf::OFFSET_NR),
            Insn::new(op::RET, 0, 0, 0x7fff_0000),
        ];
        let figures = Figures::of(&program, Arch::X86_64).unwrap();
        let calls = Syscall::of(Arch::X86_64).count();
        assert_eq!((figures.length, figures.worst, figures.cached), (4, 4, calls));
        assert!((figures.mean - (4.0 - 1.0 / calls as f64)).abs() < 1e-9);
        let total: u64 = TYPICAL_MIX.iter().map(|(_, n)| n).sum();
        assert!((figures.mix - (4.0 - 1_056.0 / total as f64)).abs() < 1e-9);
    }
}
