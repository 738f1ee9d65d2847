//! Prints instruction counts of a profile in Docker's dialect: `cargo run --example figures -- default.json`.

use spo_model::seccomp::Arch;
use spo_seccomp::{
    CompileOptions, Options, Policy, Weights, compile,
    figures::Figures,
    import::{self, DOCKER_CAPABILITIES, Host},
    syscalls::KernelVersion,
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
            let Figures { length, mean, worst, mix, cached, .. } =
                Figures::of(program.insns(), Arch::X86_64)?;
            let names: Vec<&str> =
                arches.iter().map(|a| a.as_str().trim_start_matches("SCMP_ARCH_")).collect();
            println!(
                "{:28} {name:>8} {length:>6} {mean:>9.2} {worst:>6} {mix:>8.2} {cached:>10}",
                names.join("+")
            );
        }
    }
    Ok(())
}
