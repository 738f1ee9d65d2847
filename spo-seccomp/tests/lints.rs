//! Each lint on a profile that earns it and one that does not.

use spo_model::{
    Severity,
    seccomp::{Arch, SeccompProfileSpec},
};
use spo_seccomp::lint;

fn findings(json: &str) -> Vec<(String, Severity, String)> {
    let profile: SeccompProfileSpec = serde_json::from_str(json).unwrap();
    lint(&profile, Arch::X86_64).into_iter().map(|d| (d.code, d.severity, d.path.to_string())).collect()
}

/// A profile under which runc can start containers, with one more rule.
fn with(rule: &str) -> String {
    format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {{"names":["faccessat","close","execve","fstatfs","getdents64","openat","write","capget","capset","chdir","fstat",
              "getcwd","getppid","newfstatat","prctl","read","setgid","setgroups","setuid"],"action":"SCMP_ACT_ALLOW"}},
            {rule}]}}"#
    )
}

fn codes(rule: &str) -> Vec<String> {
    findings(&with(rule)).into_iter().map(|(code, ..)| code).collect()
}

#[test]
fn a_plain_profile_has_no_findings() {
    assert_eq!(codes(r#"{"names":["exit_group"],"action":"SCMP_ACT_ALLOW"}"#), Vec::<String>::new());
}

#[test]
fn each_rule_finds_its_mistake() {
    let allow = |call: &str| format!(r#"{{"names":["{call}"],"action":"SCMP_ACT_ALLOW"}}"#);
    let arg = |call: &str, action: &str, args: &str| {
        format!(r#"{{"names":["{call}"],"action":"SCMP_ACT_{action}","args":[{args}]}}"#)
    };
    let eq = |index: u8, value: u64| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_EQ"}}"#);
    for (rule, code) in [
        (allow("opne"), "unknown-syscall"),
        (allow("s390_sthyi"), "syscall-not-on-arch"),
        (allow("bpf"), "dangerous-syscall"),
        (allow("clone"), "clone3-without-enosys"),
        (arg("ioctl", "ALLOW", &eq(1, 1 << 33)), "high-word"),
        (arg("read", "KILL", &eq(0, 1)), "unreachable-rule"),
        (r#"{"names":["dup"],"action":"SCMP_ACT_ERRNO"}"#.to_owned(), "rule-is-default"),
        (
            r#"{"names":["statx"],"action":"SCMP_ACT_ERRNO","errnoRet":13}"#.to_owned(),
            "errno-without-fallback",
        ),
        (r#"{"names":["write"],"action":"SCMP_ACT_NOTIFY"}"#.to_owned(), "notify-refused"),
        (arg("dup2", "ALLOW", &format!("{},{}", eq(0, 1), eq(0, 2))), "repeated-argument"),
        (
            format!("{},{}", arg("dup2", "ALLOW", &eq(0, 1)), arg("dup2", "KILL", &eq(1, 1))),
            "overlapping-actions",
        ),
        (
            format!("{},{}", arg("dup2", "ALLOW", &eq(0, 1)), arg("dup2", "KILL", &eq(0, 1))),
            "contradicting-rules",
        ),
    ] {
        let found = codes(&rule);
        assert!(found.iter().any(|c| c == code), "{rule} gives {found:?}, not {code}");
    }
    let enosys = r#"{"names":["clone"],"action":"SCMP_ACT_ALLOW"},{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
    assert!(!codes(enosys).contains(&"clone3-without-enosys".to_owned()));
    let apart = format!("{},{}", arg("dup2", "ALLOW", &eq(0, 1)), arg("dup2", "KILL", &eq(0, 2)));
    assert!(!codes(&apart).contains(&"overlapping-actions".to_owned()));
}

#[test]
fn whole_profiles() {
    let open = findings(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]}"#,
    );
    let open: Vec<&str> = open.iter().map(|(code, ..)| code.as_str()).collect();
    assert_eq!(open, ["default-allow", "missing-compat-arch"]);
    let socket = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
        {"names":["socket"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(
        findings(socket)
            .iter()
            .any(|(code, _, path)| { code == "multiplexed-arguments" && path == "spec.syscalls[0].args" })
    );
}

#[test]
fn a_profile_no_container_starts_under_is_an_error() {
    let missing = with(r#"{"names":["exit_group"],"action":"SCMP_ACT_ALLOW"}"#).replace("\"openat\",", "");
    let found = findings(&missing);
    assert!(found.iter().any(|(code, severity, _)| code == "runtime-floor" && *severity == Severity::Error));
    let unprivileged =
        with(r#"{"names":["exit_group"],"action":"SCMP_ACT_ALLOW"}"#).replace("\"setuid\"", "\"dup\"");
    let found = findings(&unprivileged);
    assert!(
        found.iter().any(|(code, severity, _)| code == "runtime-floor" && *severity == Severity::Warning)
    );
    assert!(!found.iter().any(|(_, severity, _)| *severity == Severity::Error));
}
