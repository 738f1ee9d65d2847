//! Profiles in the dialects of other tools, as the hub type.
//!
//! Every importer keeps the meaning or fails: what the hub type cannot say is an error that names it.

mod docker;
mod runtime_spec;
mod seccompiler;

pub use docker::{DOCKER_CAPABILITIES, Host, docker};
pub use runtime_spec::runtime_spec;
pub use seccompiler::seccompiler;

/// Why a document was not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not JSON, or JSON of another shape.
    #[error("not a seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that the format allows and the profile type does not.
    #[error("{field}: {reason}")]
    Value {
        /// The field, as a path.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `architectures` and `archMap` together.
    #[error("architectures and archMap exclude each other")]
    ArchitecturesTwice,
}

impl ImportError {
    fn value(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Value { field: field.into(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::{Action, Arch, ArgValue, Op};

    use super::*;
    use crate::syscalls::KernelVersion;

    const DIALECT: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS",
        "archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
                   {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
        "syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW"},
            {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64"]}},
            {"names":["sync"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}}]}"#;

    fn names(capabilities: &[&str], arch: Arch, major: u8) -> Vec<String> {
        let host = Host { arch, capabilities, kernel: KernelVersion { major, minor: 0, patch: 0 } };
        let profile = docker(DIALECT, &host).unwrap();
        profile.rules().iter().flat_map(|rule| &rule.names).map(ToString::to_string).collect()
    }

    #[test]
    fn rules_depend_on_the_machine_and_the_container() {
        assert_eq!(names(&[], Arch::X86_64, 6), ["read", "ptrace", "clone3", "arch_prctl"]);
        assert_eq!(names(&[], Arch::X86_64, 4), ["read", "clone3", "arch_prctl"]);
        assert_eq!(names(&["CAP_BPF", "CAP_SYS_ADMIN"], Arch::Aarch64, 6), ["read", "ptrace", "bpf", "sync"]);
        let host = Host {
            arch: Arch::X86_64,
            capabilities: &[],
            kernel: KernelVersion { major: 6, minor: 0, patch: 0 },
        };
        let profile = docker(DIALECT, &host).unwrap();
        assert_eq!(profile.architectures, Some(vec![Arch::X86_64, Arch::X86]));
        assert_eq!(profile.default_errno_ret.map(spo_model::seccomp::Errno::get), Some(38));
        let twice = DIALECT.replace("\"archMap\"", "\"architectures\":[\"SCMP_ARCH_X86_64\"],\"archMap\"");
        assert!(matches!(docker(&twice, &host), Err(ImportError::ArchitecturesTwice)));
        assert!(docker(&DIALECT.replace("4.8", "new"), &host).is_err(), "a release nobody can compare with");
    }

    #[test]
    fn conditional_rules_are_not_read_as_unconditional_ones() {
        let one = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}}]}"#;
        assert!(runtime_spec(one).is_err());
        assert!(runtime_spec(&one.replace(r#","includes":{"caps":["CAP_BPF"]}"#, "")).is_ok());
        for (from, to) in [("SCMP_ACT_ALLOW", "SCMP_ACT_ALOW"), ("bpf", "bpf;rm"), ("[\"bpf\"]", "[]")] {
            let bad = one.replace(r#","includes":{"caps":["CAP_BPF"]}"#, "").replace(from, to);
            assert!(runtime_spec(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dwords_compare_the_low_word() {
        let filter = |arg: &str| {
            format!(
                r#"{{"vmm":{{"mismatch_action":"trap","match_action":"allow",
                    "filter":[{{"syscall":"ioctl","args":[{arg}]}}]}}}}"#
            )
        };
        let read = |arg: &str| seccompiler(&filter(arg)).map(|mut f| f.remove("vmm").unwrap());
        let equal = read(r#"{"index":2,"type":"dword","op":"eq","val":5}"#).unwrap();
        let condition = equal.rules()[0].conditions()[0];
        assert_eq!((condition.op, condition.value), (Op::MaskedEqual, ArgValue(0xffff_ffff)));
        assert_eq!(equal.default_action, Action::Trap);
        assert!(
            read(r#"{"index":1,"type":"dword","op":"gt","val":5}"#).is_ok(),
            "the command has 32 bits anyway"
        );
        assert!(read(r#"{"index":2,"type":"dword","op":"gt","val":5}"#).is_err(), "the argument has 64");
        assert!(read(r#"{"index":6,"type":"qword","op":"eq","val":5}"#).is_err());
        assert!(seccompiler(&filter("").replace("ioctl", "ioctrl")).is_err());
    }
}
