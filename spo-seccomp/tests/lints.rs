//! Each lint on a profile that earns it and one that does not.

use spo_model::{
    Severity,
    seccomp::{Arch, SeccompProfileSpec},
};
use spo_seccomp::lint::{Runtime, lint, lint_for};

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
    let less = |index: u8, value: u64| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_LT"}}"#);
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
        (
            format!("{},{}", arg("lseek", "ALLOW", &less(1, 3)), arg("lseek", "ALLOW", &less(1, 1 << 33))),
            "libseccomp-differs",
        ),
    ] {
        let found = codes(&rule);
        assert!(found.iter().any(|c| c == code), "{rule} gives {found:?}, not {code}");
    }
    let enosys = r#"{"names":["clone"],"action":"SCMP_ACT_ALLOW"},{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
    assert!(!codes(enosys).contains(&"clone3-without-enosys".to_owned()));
    let apart = format!("{},{}", arg("dup2", "ALLOW", &eq(0, 1)), arg("dup2", "KILL", &eq(0, 2)));
    assert!(!codes(&apart).contains(&"overlapping-actions".to_owned()));
    // Alternatives on one argument are the idiom for "one of", and libseccomp reads them as they are.
    let either = format!("{},{}", arg("dup2", "ALLOW", &eq(0, 1)), arg("dup2", "ALLOW", &eq(0, 2)));
    assert!(!codes(&either).contains(&"libseccomp-differs".to_owned()));
    let more = |index: u8, value: u64| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_GT"}}"#);
    let docker =
        [less(0, 38), eq(0, 39), more(0, 40)].map(|filter| arg("socket", "ALLOW", &filter)).join(",");
    assert!(!codes(&docker).contains(&"libseccomp-differs".to_owned()));
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

/// The findings `runtime-floor` of a profile without some of the calls of [`with`].
fn floor(without: &[&str], runtimes: &[Runtime]) -> Vec<(Severity, String)> {
    let mut json = with(r#"{"names":["exit_group"],"action":"SCMP_ACT_ALLOW"}"#);
    for call in without {
        assert!(json.contains(&format!("\"{call}\"")), "{call} is not there");
        json = json.replace(&format!("\"{call}\""), "\"dup\"");
    }
    let profile: SeccompProfileSpec = serde_json::from_str(&json).unwrap();
    let found = lint_for(&profile, Arch::X86_64, runtimes).into_iter().filter(|d| d.code == "runtime-floor");
    found.map(|d| (d.severity, d.message)).collect()
}

#[test]
fn a_profile_no_container_starts_under_is_an_error() {
    let found = floor(&["execve"], &Runtime::ALL);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(severity, _)| *severity == Severity::Error));
    assert_eq!(found[1].1, "no container can start under crun, which itself needs execve");
    let found = floor(&["openat"], &[Runtime::Runc]);
    assert_eq!(
        found,
        [(Severity::Error, "no container can start under runc, which itself needs openat".to_owned())]
    );
    let found = floor(&["setuid", "faccessat"], &[Runtime::Runc]);
    let message = "a container starts under runc only with allowPrivilegeEscalation: false, \
                   otherwise runc itself needs setuid, faccessat or faccessat2";
    assert_eq!(found, [(Severity::Warning, message.to_owned())]);
}

#[test]
fn a_profile_that_is_enough_for_one_runtime_is_no_mistake() {
    assert_eq!(floor(&[], &Runtime::ALL), [], "enough for runc, and crun has no finding of its own");
    let crun: Vec<&str> = [Runtime::Crun.floor().always, Runtime::Crun.floor().privileged].concat();
    let json = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": crun, "action": "SCMP_ACT_ALLOW"}],
    });
    let found: Vec<_> =
        findings(&json.to_string()).into_iter().filter(|(code, ..)| code == "runtime-floor").collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, Severity::Info, "runc, which is not the runtime this profile is for");
}

/// The base profiles that the project ships are enough for the runtime they are named after.
#[test]
fn shipped_base_profiles_start_their_runtime() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base-profiles");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(runtime) = Runtime::ALL.into_iter().find(|runtime| name.starts_with(runtime.name())) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let document = spo_model::manifest::documents(&text, &Default::default()).unwrap().remove(0);
        let profile: SeccompProfileSpec =
            serde_json::from_value(document.to_value()["spec"].clone()).unwrap();
        for finding in lint_for(&profile, Arch::X86_64, &[runtime]) {
            assert_ne!(finding.code, "runtime-floor", "{name}: {finding}");
        }
        for finding in lint(&profile, Arch::X86_64) {
            assert!(
                finding.code != "runtime-floor" || finding.severity == Severity::Info,
                "{name}: {finding}"
            );
        }
        seen.push(runtime);
    }
    assert!(Runtime::ALL.iter().all(|runtime| seen.contains(runtime)), "{seen:?}");
}
