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
