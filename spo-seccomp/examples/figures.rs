//! Prints instruction counts of a profile in Docker's dialect: `cargo run --example figures -- default.json`.

use spo_model::seccomp::Arch;
use spo_seccomp::{
    ArchExt, CompileOptions, Data, Options, Policy, Weights, compile,
    import::{self, DOCKER_CAPABILITIES, Host},
    simulate,
    syscalls::{KernelVersion, Syscall},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a profile")?;
    let kernel = KernelVersion { major: 6, minor: 18, patch: 0 };
    let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
    let profile = import::docker(&std::fs::read_to_string(path)?, &host)?;
    let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64))?;
    println!(
        "{:28} {:>8} {:>6} {:>9} {:>6} {:>8} {:>10}",
        "architectures", "weights", "insns", "mean", "worst", "mix", "cacheable"
    );
    for arches in [&[Arch::X86_64][..], &[Arch::X86_64, Arch::X86, Arch::X32]] {
        for (name, weights) in [("uniform", Weights::Uniform), ("typical", Weights::Typical)] {
            let options = CompileOptions::default().weights(weights);
            let program = compile(&policy, arches, &options)?;
            let (mut sum, mut worst, mut cached, mut calls) = (0, 0, 0, 0);
            for (_, number) in Syscall::of(Arch::X86_64) {
                let data = Data::new(Arch::X86_64, number, [0; 6]);
                let outcome = simulate(program.insns(), &data, Arch::X86_64.endian())?;
                calls += 1;
                sum += outcome.instructions;
                worst = worst.max(outcome.instructions);
                cached += u32::from(outcome.cached);
            }
            let (mut mix, mut total) = (0.0, 0.0);
            for (call, count) in MIX {
                let Some(number) = Syscall::by_name(call).and_then(|c| c.number(Arch::X86_64)) else {
                    continue;
                };
                let outcome = simulate(
                    program.insns(),
                    &Data::new(Arch::X86_64, number, [0; 6]),
                    Arch::X86_64.endian(),
                )?;
                mix += f64::from(outcome.instructions) * f64::from(count);
                total += f64::from(count);
            }
            let names: Vec<&str> =
                arches.iter().map(|a| a.as_str().trim_start_matches("SCMP_ARCH_")).collect();
            println!(
                "{:28} {name:>8} {:>6} {:>9.2} {worst:>6} {:>8.2} {cached:>10}",
                names.join("+"),
                program.insns().len(),
                f64::from(sum) / f64::from(calls),
                mix / total,
            );
        }
    }
    Ok(())
}

/// The mix of a database benchmark under gVisor, as its blog published it in February 2024.
const MIX: [(&str, u32); 19] = [
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
