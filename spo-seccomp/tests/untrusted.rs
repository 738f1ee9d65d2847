//! Arbitrary input: documents, profiles, bytes. Nothing panics, and what compiles has been validated. The fuzz
//! targets run the same functions.

use proptest::prelude::*;
use spo_model::seccomp::{Arch, SeccompProfileSpec};
use spo_seccomp::{
    CompileOptions, Data, Endian, Options, Policy, bpf, compile, diff_programs,
    import::{self, DOCKER_CAPABILITIES, Host},
    lint, simulate,
    syscalls::KernelVersion,
};

const SEEDS: [&str; 4] = [
    r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"}}]}"#,
    r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["socket","clone"],"action":"SCMP_ACT_ERRNO","errnoRet":97,"args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"},{"index":1,"value":7,"op":"SCMP_CMP_GT"}]}]}"#,
    r#"{"main":{"mismatch_action":{"errno":5},"match_action":"allow","filter":[{"syscall":"ioctl","args":[{"index":1,"type":"dword","op":{"masked_eq":255},"val":7}]}]}}"#,
    r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"name":"read","names":null,"action":"SCMP_ACT_TRAP","args":null}]}}}"#,
];

fn import_all(text: &str) {
    let kernel = KernelVersion { major: 6, minor: 1, patch: 0 };
    let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
    let _ = import::runtime_spec(text).map(|profile| through(&profile));
    let _ = import::docker(text, &host).map(|profile| through(&profile));
    let _ = import::seccompiler(text).map(|profiles| profiles.values().for_each(through));
}

fn through(profile: &SeccompProfileSpec) {
    let _ = lint(profile, Arch::X86_64);
    if let Ok(policy) = Policy::from_profile(profile, &Options::new(Arch::X86_64)) {
        let _ = compile(&policy, &[Arch::X86_64], &CompileOptions::default().enosys_ceiling(true))
            .map_err(|error| assert!(!error.to_string().contains("internal error"), "{error}"));
        let _ = policy.to_profile(&Options::new(Arch::X86_64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_refused_calmly(text in ".{0,200}") {
        import_all(&text);
    }

    #[test]
    fn mutated_documents_are_read_or_refused(
        seed in prop::sample::select(&SEEDS[..]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = seed.as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            if byte < 32 { bytes.remove(at); } else { bytes[at] = byte; }
        }
        import_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_programs_are_run_compared_and_read_back(
        insns in prop::collection::vec(insn(), 1..40),
        nr: u32,
        a in any::<u64>(),
    ) {
        let mut program = insns;
        program.push(bpf::Insn::new(bpf::op::RET, 0, 0, 0x7fff_0000));
        let data = Data::new(Arch::X86_64, nr, [a; 6]);
        let outcome = simulate(&program, &data, Endian::Little);
        let _ = diff_programs(&program, &program, &[Arch::X86_64]).map(|diff| assert!(diff.changes.is_empty()));
        if let (Ok(policy), Ok(outcome)) = (Policy::from_program(&program, &[Arch::X86_64, Arch::X32]), outcome) {
            prop_assert_eq!(policy.eval(Arch::X86_64, nr, &[a; 6]).raw(), outcome.verdict.raw());
        }
    }
}

/// Instructions a filter is made of, with jumps that often stay inside.
fn insn() -> impl Strategy<Value = bpf::Insn> {
    use bpf::op;
    let code = prop::sample::select(vec![
        op::LD,
        op::LD,
        op::JEQ,
        op::JGT,
        op::JGE,
        op::JSET,
        op::AND,
        op::JA,
        op::RET,
        0x07,
    ]);
    (code, 0u8..4, 0u8..4, prop_oneof![0u32..64, any::<u32>(), Just(0xc000_003e)]).prop_map(
        |(code, jt, jf, k)| {
            let k = match code {
                op::LD => k % 16 * 4,
                op::JA => k % 4,
                op::RET => {
                    if k % 2 == 0 {
                        0x7fff_0000
                    } else {
                        0x0005_0001
                    }
                }
                _ => k,
            };
            bpf::Insn::new(code, jt, jf, k)
        },
    )
}

#[test]
fn many_conditions_do_not_explode() {
    // Every rule a different mask: the worst that conditions can do to a diagram.
    for rules in [10u64, 100, 1000] {
        let list: Vec<String> = (0..rules)
            .map(|i| {
                let mask = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
                let args: Vec<String> = (0..6)
                    .map(|a| {
                        format!(
                            r#"{{"index":{a},"value":"{mask}","valueTwo":"{}","op":"SCMP_CMP_MASKED_EQ"}}"#,
                            mask >> a
                        )
                    })
                    .collect();
                format!(r#"{{"names":["mmap"],"action":"SCMP_ACT_ALLOW","args":[{}]}}"#, args.join(","))
            })
            .collect();
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, list.join(","));
        let profile: SeccompProfileSpec = serde_json::from_str(&json).unwrap();
        match Policy::from_profile(&profile, &Options::new(Arch::X86_64)) {
            Ok(policy) => {
                let program = compile(&policy, &[], &CompileOptions::default());
                if rules <= 10 {
                    program.expect("a small profile compiles");
                }
            }
            Err(error) => assert!(error.to_string().contains("too large"), "{error}"),
        }
    }
}
