//! Documents in all dialects: read or refused, and what is read compiles to a validated program or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_model::seccomp::{Arch, SeccompProfileSpec};
use spo_seccomp::{
    CompileOptions, Options, Policy, compile,
    import::{self, DOCKER_CAPABILITIES, Host},
    lint,
    syscalls::KernelVersion,
};

fn through(profile: &SeccompProfileSpec) {
    let _ = lint(profile, Arch::X86_64);
    let options = Options::new(Arch::X86_64);
    let Ok(policy) = Policy::from_profile(profile, &options) else { return };
    if let Err(error) = compile(&policy, &[Arch::X86_64], &CompileOptions::default().enosys_ceiling(true)) {
        assert!(!error.to_string().contains("internal error"), "{error}");
    }
    let _ = policy.to_profile(&options);
}

fuzz_target!(|text: &str| {
    let kernel = KernelVersion { major: 6, minor: 1, patch: 0 };
    let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
    if let Ok(profile) = import::runtime_spec(text) {
        through(&profile);
    }
    if let Ok(profile) = import::docker(text, &host) {
        through(&profile);
    }
    if let Ok(profiles) = import::seccompiler(text) {
        profiles.values().for_each(through);
    }
});
