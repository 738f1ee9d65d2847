//! The JSON for runtimes: the same bytes as oci-spec's types write, and the same meaning as the files of the existing
//! operator, which are the JSON of its custom resource.

use spo_model::seccomp::{Arch, SeccompProfileSpec};
use spo_seccomp::{Options, Policy, Relation, diff, import, runtime_spec};

fn meaning(profile: &SeccompProfileSpec) -> Policy {
    Policy::from_profile(profile, &Options::new(Arch::X86_64)).unwrap()
}

/// What the existing operator puts on disk: `state` and `baseProfileName` first, which no runtime knows; `architectures`
/// and `flags` elsewhere; an `index` of 0 written, a `value` or `valueTwo` of 0 left out, an `errnoRet` of 0 too; no
/// `defaultErrnoRet`; Go's escapes in strings.
const PEERS_FILE: &str = r#"{"state":"Enabled","baseProfileName":"runc-v1.4.0","defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"listenerPath":"/var/run/security-profiles-operator/agent.sock","listenerMetadata":"a \u003c b \u0026 c \u003e d","syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_EQ"},{"index":1,"value":3,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}]},{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967295,"op":"SCMP_CMP_EQ"}]},{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},{"names":["ptrace"],"action":"SCMP_ACT_TRACE"}],"flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}"#;

#[test]
fn a_file_of_the_existing_operator_means_what_ours_means() {
    let theirs = import::runtime_spec(PEERS_FILE).unwrap();
    assert_eq!(theirs.listener_metadata.as_deref(), Some("a < b & c > d"));
    let ours = runtime_spec::to_string(&theirs, Arch::X86_64);
    // Written once more, in the order of the specification, without what runtimes do not know, zeros spelled out.
    assert_eq!(
        ours,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW"],"listenerPath":"/var/run/security-profiles-operator/agent.sock","listenerMetadata":"a < b & c > d","syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":1,"value":3,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}]},{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967295,"op":"SCMP_CMP_EQ"}]},{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},{"names":["ptrace"],"action":"SCMP_ACT_TRACE"}]}"#
    );
    let back = import::runtime_spec(&ours).unwrap();
    assert_eq!(diff(&meaning(&theirs), &meaning(&back)).relation, Relation::Equal);
    assert_eq!(spo_seccomp::flags(&theirs), 2 | 4);
}

/// The defaults that runtimes fill in (config-linux.md, runc's and crun's readers) for what the file does not say.
#[test]
fn what_the_file_leaves_out_is_what_runtimes_take() {
    let theirs = import::runtime_spec(PEERS_FILE).unwrap();
    let policy = meaning(&theirs);
    let eval = |name: &str, args| {
        let number = spo_seccomp::syscalls::Syscall::by_name(name).unwrap().number(Arch::X86_64).unwrap();
        policy.eval(Arch::X86_64, number, &args).raw()
    };
    assert_eq!(eval("bpf", [0; 6]), 0x0005_0001, "the default errno is EPERM");
    assert_eq!(eval("ptrace", [0; 6]), 0x7ff0_0001, "EPERM also for SCMP_ACT_TRACE");
    assert_eq!(eval("clone3", [0; 6]), 0x0005_0026, "ENOSYS as written");
    assert_eq!(eval("socket", [0, 1, 0, 0, 0, 0]), 0x7fff_0000, "value 0 where there is none");
    assert_eq!(eval("socket", [0, 2, 0, 0, 0, 0]), 0x0005_0001);
    let bare = import::runtime_spec(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    assert_eq!(spo_seccomp::flags(&bare), 4, "SPEC_ALLOW without a list");
    let none = import::runtime_spec(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#).unwrap();
    assert_eq!(spo_seccomp::flags(&none), 0, "no flag for an empty list");
}

#[cfg(feature = "oci-spec")]
mod oci {
    use proptest::prelude::*;
    use spo_model::seccomp::{
        Action, ArgFilter, ArgIndex, ArgValue, Errno, Flag, Op, SyscallName, SyscallRule,
    };
    use spo_seccomp::{
        import::{DOCKER_CAPABILITIES, Host},
        syscalls::{KernelVersion, Syscall},
    };

    use super::*;

    /// Through the types of the crate and back: the same bytes, and the same meaning.
    fn through_the_types(profile: &SeccompProfileSpec) {
        let theirs = runtime_spec::to_oci(profile, Arch::X86_64).unwrap();
        let bytes = serde_json::to_string(&theirs).unwrap();
        assert_eq!(bytes, runtime_spec::to_string(profile, Arch::X86_64));
        let back = runtime_spec::from_oci(&theirs).unwrap();
        match Policy::from_profile(profile, &Options::new(Arch::X86_64)) {
            Ok(policy) => assert_eq!(diff(&policy, &meaning(&back)).relation, Relation::Equal),
            Err(error) => {
                assert_eq!(Policy::from_profile(&back, &Options::new(Arch::X86_64)).unwrap_err(), error);
            }
        }
    }

    fn rule() -> impl Strategy<Value = SyscallRule> {
        let calls: Vec<SyscallName> = Syscall::all().filter_map(|call| call.name().parse().ok()).collect();
        let filter = (0u8..6, prop::sample::select(Op::ALL), any::<u64>(), any::<u64>()).prop_map(
            |(index, op, value, two)| ArgFilter {
                index: ArgIndex::new(index).unwrap(),
                value: ArgValue(value),
                value_two: ArgValue(if op == Op::MaskedEqual { two } else { 0 }),
                op,
            },
        );
        (
            prop::collection::vec(prop::sample::select(calls), 1..6),
            prop::sample::select(Action::ALL),
            prop::option::of(0u16..4096),
            prop::option::of(prop::collection::vec(filter, 1..4)),
        )
            .prop_map(|(names, action, errno, args)| SyscallRule {
                errno_ret: errno.and_then(Errno::new),
                args,
                ..SyscallRule::new(action, names)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_profile_is_the_same_through_oci_specs_types(
            default in prop::sample::select(Action::ALL),
            errno in prop::option::of(0u16..4096),
            arches in prop::option::of(prop::sample::subsequence(vec![Arch::Native, Arch::X86_64, Arch::X86, Arch::X32], 0..=4)),
            flags in prop::option::of(prop::sample::subsequence(Flag::ALL, 0..=4)),
            metadata in prop::option::of(".{0,20}"),
            rules in prop::collection::vec(rule(), 0..8),
        ) {
            let mut profile = SeccompProfileSpec::new(default);
            profile.default_errno_ret = errno.and_then(Errno::new);
            profile.architectures = arches;
            profile.flags = flags;
            profile.listener_metadata = metadata;
            profile.syscalls = Some(rules);
            through_the_types(&profile);
        }
    }

    #[test]
    fn the_corpus_is_the_same_through_oci_specs_types() {
        through_the_types(&import::runtime_spec(PEERS_FILE).unwrap());
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
            return;
        };
        for minor in [0, 18] {
            for capabilities in [&DOCKER_CAPABILITIES[..], &["CAP_SYS_ADMIN"], &[]] {
                let kernel = KernelVersion { major: 6, minor, patch: 0 };
                let host = Host { arch: Arch::X86_64, capabilities, kernel };
                through_the_types(&import::docker(&json, &host).unwrap());
            }
        }
    }

    #[test]
    fn the_crate_has_all_architectures() {
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        profile.architectures = Some(Arch::ALL.to_vec());
        assert_eq!(
            runtime_spec::to_oci(&profile, Arch::X86_64).unwrap().architectures().as_ref().map(Vec::len),
            Some(Arch::ALL.len() - 1)
        );
    }
}
