//! Ways out of the confinement.

use super::{Compiled, Grants, Subject};
use crate::{
    expand::FlatProfile,
    tree::{Access, ExecKind, Fallback, FilePerms, Mode, RuleKind},
};

/// A way in which a confined task can leave or weaken its confinement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escape {
    /// A short identifier, in kebab case.
    pub code: &'static str,
    /// What it can do, with the path or grant.
    pub message: String,
    /// The rule, where one rule is the cause.
    pub rule: Option<usize>,
}

/// The capabilities that are as good as having no profile, with the reason.
const CAPABILITIES: [(&str, &str); 7] = [
    ("mac_admin", "can load and remove policy"),
    ("mac_override", "can override mandatory access control"),
    ("sys_module", "can load kernel modules"),
    ("sys_rawio", "can write to devices and kernel memory"),
    ("sys_admin", "can mount, and change namespaces"),
    ("sys_ptrace", "can look into other processes"),
    ("sys_boot", "can load another kernel"),
];

/// Files of which writing changes what is confined.
const POLICY_FILES: [(&str, &str); 5] = [
    ("/etc/apparmor.d/x", "the policy files of the host"),
    ("/sys/kernel/security/apparmor/.replace", "the kernel's policy interface"),
    ("/proc/sys/kernel/core_pattern", "the program that the kernel runs for core dumps"),
    ("/proc/sysrq-trigger", "the system request trigger"),
    ("/dev/mem", "physical memory"),
];

/// Searches a profile for ways out; the order is that of severity within each class of ways.
pub fn escapes(profile: &FlatProfile, compiled: &Compiled, grants: &Grants) -> Vec<Escape> {
    let mut found = Vec::new();
    let mut push = |code, message: String, rule| found.push(Escape { code, message, rule });
    if let Some(mode @ (Mode::Unconfined | Mode::DefaultAllow | Mode::Complain)) = profile.mode() {
        push("mode", format!("the mode {} denies nothing", mode.as_str()), None);
    }
    for entry in compiled.entries() {
        let Some(outcome) = &entry.exec else { continue };
        if entry.access == Access::Deny {
            continue;
        }
        let target = outcome.target.as_deref().unwrap_or_default();
        if outcome.exec.kind == ExecKind::Unconfined || target == "unconfined" {
            push("exec-unconfined", format!("programs of {:?} run unconfined", entry.path), Some(entry.rule));
        } else if outcome.exec.fallback == Some(Fallback::Unconfined) {
            let message =
                format!("programs of {:?} run unconfined when their profile is missing", entry.path);
            push("exec-fallback", message, Some(entry.rule));
        }
    }
    for (index, flat) in profile.rules.iter().enumerate() {
        if let RuleKind::ChangeProfile(change) = &flat.rule.kind
            && flat.rule.prefix.access != Some(Access::Deny)
        {
            let target = change.target.as_ref().map_or("any profile", |t| t.text.as_str());
            if change.target.is_none() || target == "unconfined" || target.contains('*') {
                push("change-profile", format!("can change to {target}"), Some(index));
            }
        }
    }
    for (set, word) in compiled.dfa.shortest().iter().enumerate() {
        let Some(word) = word else { continue };
        for subject in Subject::BOTH {
            let decision = &compiled.decisions[set][subject.half()];
            let leaves = decision.exec.as_ref().is_some_and(|e| e.exec.kind != ExecKind::Inherit);
            if leaves && decision.allow.contains(FilePerms::WRITE) {
                let path = String::from_utf8_lossy(word);
                push("write-and-exec", format!("can write {path:?} and run it under another profile"), None);
                break;
            }
        }
    }
    for (path, what) in POLICY_FILES {
        let decision = compiled.decide(path.as_bytes(), Subject::Owner);
        if decision.allow.intersects(FilePerms::WRITE | FilePerms::APPEND) {
            push("write-policy", format!("can write {what} ({path})"), None);
        }
    }
    for (name, what) in CAPABILITIES {
        if grants.allowed.iter().any(|g| g.class == "capability" && g.what == name) {
            push("capability", format!("with {name} it {what}"), None);
        }
    }
    for (class, what) in
        [("mount", "can mount, and so change what paths mean"), ("pivot_root", "can change its root")]
    {
        if grants.allowed.iter().any(|g| g.class == class) {
            push("mount", what.to_owned(), None);
        }
    }
    let traces = |g: &&super::Grant| g.class == "ptrace" && g.what == "trace";
    if let Some(grant) = grants.allowed.iter().find(traces) {
        match grant.narrowed.get("peer").map(String::as_str) {
            None => push("ptrace", "can trace every process".to_owned(), None),
            Some("unconfined") => push("ptrace", "can trace unconfined processes".to_owned(), None),
            Some(_) => {}
        }
    }
    found.dedup();
    found
}
