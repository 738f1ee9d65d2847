//! The size and speed of programs, in instructions, against the figures the project promises; and the peers' figures
//! printed beside them (`cargo run --example figures` prints ours alone).

use spo_model::seccomp::{Arch, SeccompProfileSpec};
use spo_seccomp::{
    CompileOptions, Options, Policy, Weights,
    bpf::Insn,
    compile,
    figures::Figures,
    import::{self, DOCKER_CAPABILITIES, Host},
    syscalls::KernelVersion,
};

fn docker() -> Option<SeccompProfileSpec> {
    let corpus = std::env::var_os("SPO_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        Into::into,
    );
    let path = corpus.join("seccomp/moby-default.json");
    let Ok(json) = std::fs::read_to_string(&path) else {
        {
            use std::io::Write as _;
            // Past the capture of test output, so that a stranger sees it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: corpus: {} is not there", path.display());
        }
        return None;
    };
    let kernel = KernelVersion { major: 6, minor: 18, patch: 0 };
    let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
    Some(import::docker(&json, &host).expect("docker's default is read"))
}

fn figures(program: &[Insn]) -> Figures {
    Figures::of(program, Arch::X86_64).expect("a loadable program")
}

#[test]
fn dockers_default_is_as_small_and_fast_as_promised() {
    let Some(profile) = docker() else { return };
    let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap();
    let one = [Arch::X86_64];
    let three = [Arch::X86_64, Arch::X86, Arch::X32];
    let program = |arches: &[Arch], weights| {
        let options = CompileOptions::default().weights(weights);
        figures(compile(&policy, arches, &options).unwrap().insns())
    };
    let print = |name: &str, f: &Figures| {
        println!("{name:36} {:5} {:7.2} {:5} {:7.2} {:5}", f.length, f.mean, f.worst, f.mix, f.cached);
    };
    println!("{:36} {:>5} {:>7} {:>5} {:>7} {:>5}", "", "insns", "mean", "worst", "mix", "cached");
    let uniform = program(&one, Weights::Uniform);
    print("x86_64, uniform weights", &uniform);
    assert!(uniform.length <= 110 && uniform.mean <= 9.1 && uniform.worst <= 16 && uniform.cached == 306);
    let typical = program(&one, Weights::Typical);
    print("x86_64, weights of the mix", &typical);
    assert!(typical.mix <= 6.3 && typical.cached == 306);
    let all = program(&three, Weights::Uniform);
    print("x86_64+x86+x32, uniform weights", &all);
    assert!(all.length <= 360 && all.cached == 306);

    #[cfg(feature = "libseccomp")]
    for (name, arches) in [("x86_64", &one[..]), ("x86_64+x86+x32", &three)] {
        use spo_seccomp::backend::libseccomp::{self, Layout};
        for (kind, layout) in [("O1", Layout::Linear), ("O2", Layout::Tree)] {
            let theirs = figures(&libseccomp::compile(&profile, arches, layout).unwrap());
            print(&format!("libseccomp {kind}, {name}"), &theirs);
        }
    }
}
