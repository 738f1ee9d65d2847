//! The seccomp compiler on docker's default profile, beside libseccomp and seccompiler (feature `peers`).
//!
//! Wall time only; instruction counts come from `cargo run -p spo-seccomp --example figures`.

use std::{collections::BTreeMap, hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use spo_model::seccomp::{Action, Arch, SeccompProfileSpec, SyscallRule};
use spo_seccomp::{
    CompileOptions, Data, Endian, Options, Policy, Weights, compile, import,
    import::{DOCKER_CAPABILITIES, Host},
    inherit, runtime_spec, simulate,
    syscalls::{KernelVersion, Syscall},
};

fn docker() -> Option<SeccompProfileSpec> {
    let corpus = std::env::var_os("SPO_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), Into::into);
    let path = corpus.join("seccomp/moby-default.json");
    let Ok(json) = std::fs::read_to_string(&path) else {
        println!("SKIPPED: corpus: {} is not there, measuring a made-up profile", path.display());
        return None;
    };
    let kernel = KernelVersion { major: 6, minor: 18, patch: 0 };
    let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
    import::docker(&json, &host).ok()
}

/// Every syscall of x86_64 from `from` on, in steps.
fn many(from: usize, step: usize) -> SeccompProfileSpec {
    let names = Syscall::of(Arch::X86_64).skip(from).step_by(step).take(300);
    let names = names.filter_map(|(call, _)| call.name().parse().ok());
    let mut profile = SeccompProfileSpec::new(Action::Errno);
    profile.architectures = Some(vec![Arch::X86_64]);
    profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, names)]);
    profile
}

fn compiling(c: &mut Criterion) {
    let profile = docker().unwrap_or_else(|| many(0, 1));
    let options = Options::new(Arch::X86_64);
    let policy = Policy::from_profile(&profile, &options).expect("a policy");
    let one = [Arch::X86_64];
    let three = [Arch::X86_64, Arch::X86, Arch::X32];
    let mut group = c.benchmark_group("compile docker's default");
    let uniform = CompileOptions::default();
    group.bench_function("ours, x86_64, with validation", |b| {
        b.iter(|| compile(black_box(&policy), &one, &uniform).expect("a program"));
    });
    if policy.architectures().count() == 3 {
        group.bench_function("ours, x86_64+x86+x32, with validation", |b| {
            b.iter(|| compile(black_box(&policy), &three, &uniform).expect("a program"));
        });
    }
    let counts: BTreeMap<String, u64> = [("futex", 870_063), ("nanosleep", 275_649), ("read", 1_056)]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
    let weighted = CompileOptions::default().weights(Weights::Counts(counts));
    group.bench_function("ours, x86_64, recorded frequencies", |b| {
        b.iter(|| compile(black_box(&policy), &one, &weighted).expect("a program"));
    });
    let alone = SeccompProfileSpec { architectures: Some(one.to_vec()), ..profile.clone() };
    group.bench_function("ours, profile to program, x86_64", |b| {
        b.iter(|| {
            let policy = Policy::from_profile(black_box(&alone), &options).expect("a policy");
            compile(&policy, &one, &uniform).expect("a program")
        });
    });
    #[cfg(feature = "peers")]
    {
        use spo_seccomp::backend::{
            libseccomp::{self, Layout},
            seccompiler,
        };
        for (name, layout) in [("linear", Layout::Linear), ("tree", Layout::Tree)] {
            group.bench_function(format!("libseccomp {name}, profile to program, x86_64"), |b| {
                b.iter(|| libseccomp::compile(black_box(&alone), &one, layout).expect("a program"));
            });
        }
        // seccompiler has one action per filter: the unconditional permissions only.
        let mut simple = alone.clone();
        if let Some(rules) = &mut simple.syscalls {
            rules.retain(|rule| rule.action == Action::Allow && rule.conditions().is_empty());
        }
        group.bench_function("seccompiler, unconditional rules only", |b| {
            b.iter(|| seccompiler::compile(black_box(&simple), Arch::X86_64).expect("a program"));
        });
    }
    group.finish();
}

fn policies(c: &mut Criterion) {
    let options = Options::new(Arch::X86_64);
    let profiles = [many(0, 1), many(60, 1)];
    let [a, b] = [&profiles[0], &profiles[1]].map(|p| Policy::from_profile(p, &options).expect("a policy"));
    c.bench_function("union of two policies of 300 calls", |bench| {
        bench.iter(|| black_box(&a).union(black_box(&b)).expect("a policy"));
    });
    c.bench_function("inherit, two profiles of 300 calls, written back", |bench| {
        bench.iter(|| inherit(&[&profiles[0], &profiles[1]], &options).expect("a profile"));
    });
    c.bench_function("runtime-spec JSON of 300 calls", |bench| {
        bench.iter(|| runtime_spec::to_string(black_box(&profiles[0]), Arch::X86_64));
    });
    let program = compile(&a, &[], &CompileOptions::default()).expect("a program");
    c.bench_function("simulate one call", |bench| {
        let data = Data::new(Arch::X86_64, 202, [0; 6]);
        bench.iter(|| simulate(black_box(program.insns()), &data, Endian::Little));
    });
}

criterion_group!(benches, compiling, policies);
criterion_main!(benches);
