//! The profiles of the operator's own pods.

use serde_json::{Value, json};

/// The filter of an agent without AppArmor and SELinux, as pods name it.
pub const LOCALHOST: &str = "operator/security-profiles-operator.json";

/// The filter's file in the operator's folder, and its key in the ConfigMap.
pub const SECCOMP_FILE: &str = "security-profiles-operator.json";

/// Where the ConfigMap is mounted.
pub const MOUNTED_AT: &str = "/opt/spo-profiles";

/// What an agent and `runc` or `crun` before it call, on any architecture; names that one does not have are skipped
/// by container runtimes.
const SYSCALLS: &str = include_str!("own/syscalls.txt");

/// The AppArmor profile of an agent that loads profiles into the kernel, as text, and its key in the ConfigMap.
pub const APPARMOR: (&str, &str) = ("spo-agent.apparmor", include_str!("own/spo-agent"));

/// That profile for a kubelet whose directory may be elsewhere; `None` for one that no profile should name.
pub fn apparmor(kubelet: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let kubelet = kubelet.trim_matches('/');
    let named =
        !kubelet.is_empty() && kubelet.chars().all(plain) && kubelet.split('/').all(|part| part != "..");
    named.then(|| APPARMOR.1.replace("/host/var/lib/kubelet/", &format!("/host/{kubelet}/")))
}

/// The name of that profile in the kernel.
pub const APPARMOR_NAME: &str = "spo-agent";

/// The filter of an agent, as text for a container runtime.
pub fn seccomp() -> String {
    let names: Vec<&str> = SYSCALLS
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    let profile: Value = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    });
    let mut text = serde_json::to_string_pretty(&profile).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::SyscallName;

    use super::*;

    #[test]
    fn every_syscall_exists_and_stands_there_once() {
        let profile: Value = serde_json::from_str(&seccomp()).expect("JSON");
        let names: Vec<String> =
            serde_json::from_value(profile["syscalls"][0]["names"].clone()).expect("names");
        for name in &names {
            assert!(name.parse::<SyscallName>().is_ok_and(|name| name.is_known()), "{name}");
        }
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    /// What would let a taken-over agent into other processes or the kernel stays forbidden. (`mount`, `setns` and
    /// `unshare` are there for crun; an agent has no capability to use them.)
    #[test]
    fn what_an_agent_never_needs_is_not_there() {
        let text = seccomp();
        let never = [
            "ptrace",
            "bpf",
            "init_module",
            "finit_module",
            "kexec_load",
            "keyctl",
            "process_vm_readv",
            "process_vm_writev",
            "userfaultfd",
            "perf_event_open",
            "io_uring_setup",
            "chroot",
        ];
        for name in never {
            assert!(!text.contains(&format!("\"{name}\"")), "{name}");
        }
    }

    /// The profile is read by our own compiler, and says what it is meant to.
    #[test]
    fn the_apparmor_profile_keeps_the_agent_to_its_files() {
        use spo_apparmor::{
            NoIncludes, ParseOptions, load,
            meaning::{Compiled, Subject, Verdict},
            tree::FilePerms,
        };
        let moved = apparmor("/data/kubelet-1/").expect("a profile");
        let moved = load(&moved, &NoIncludes, ParseOptions::default());
        let moved = Compiled::new(&moved.profiles[0], Default::default()).expect("compiles");
        let filter = "/host/data/kubelet-1/seccomp/operator/production/web.json";
        assert_eq!(moved.query(filter, FilePerms::WRITE, Subject::Other).verdict, Verdict::Allowed);
        for odd in ["/", "/data/**", "/a b", "/data/../etc", "/x,\n  /** rw"] {
            assert_eq!(apparmor(odd), None, "{odd}");
        }
        assert_eq!(apparmor("/var/lib/kubelet").as_deref(), Some(APPARMOR.1));
        let unit = load(APPARMOR.1, &NoIncludes, ParseOptions::default());
        let agent = Compiled::new(&unit.profiles[0], Default::default()).expect("compiles");
        let may = |path: &str, perms| agent.query(path, perms, Subject::Other).verdict == Verdict::Allowed;
        for path in [
            "/host/var/lib/kubelet/seccomp/operator/production/web.json",
            "/host/var/lib/security-profiles-operator/ledger.json",
            "/host/etc/apparmor.d/spo.production.web",
            "/sys/kernel/security/apparmor/.replace",
        ] {
            assert!(may(path, FilePerms::WRITE), "{path}");
        }
        for path in [
            "/host/etc/passwd",
            "/host/etc/apparmor.d/usr.sbin.sshd",
            "/host/var/lib/kubelet/config.yaml",
            "/host/usr/sbin/apparmor_parser",
            "/sys/kernel/security/apparmor/policy/revision",
            "/spo-operator",
        ] {
            assert!(!may(path, FilePerms::WRITE), "{path}");
        }
    }

    /// A container runtime installs the filter before it is done itself.
    #[test]
    fn the_container_runtimes_get_what_they_need() {
        let text = seccomp();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base-profiles");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("base profiles") {
            let profile = std::fs::read_to_string(entry.expect("an entry").path()).expect("reads");
            for name in profile.lines().filter_map(|line| line.strip_prefix("    - ")) {
                assert!(text.contains(&format!("\"{name}\"")), "{name}");
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
