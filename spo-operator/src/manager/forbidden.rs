//! Profiles that the settings do not allow, and whether they are to be deleted.
//!
//! An agent refuses a profile by the settings that it knows. They may have changed since, in the same moment in which
//! somebody asks for deletion, so whoever deletes looks whether the settings as they are now forbid the same.

use spo_model::daemon::{DaemonSpec, ForbiddenProfiles};
use spo_node::restrictions::Restrictions;
use spo_seccomp::Excess;

/// What a SPOD asks for about profiles that it does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether they are to be deleted.
    pub deletes: bool,
    restrictions: Restrictions,
}

/// Who does not allow a profile, and in which state it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The name of the SPOD.
    pub spod: String,
    /// What is not allowed.
    pub message: String,
    /// The uid of the profile.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
}

impl Policy {
    /// Of a SPOD; `None` for settings that cannot be read, by which nothing is deleted.
    pub fn of(spec: &DaemonSpec) -> Option<Self> {
        let asked = spec.security.as_ref().and_then(|security| security.forbidden_profiles);
        let deletes = asked == Some(ForbiddenProfiles::Delete);
        Some(Self { deletes, restrictions: Restrictions::of(spec).ok()? })
    }

    /// Whether the settings still forbid something that a node refused, as its report tells ([`Excess::told_by`]). A
    /// report without such a sentence forbids nothing.
    pub fn forbids(&self, refused: &str) -> bool {
        self.restrictions.seccomp.refuses(&Excess::told_by(refused))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(security: Value) -> Option<Policy> {
        Policy::of(&serde_json::from_value(json!({ "security": security })).expect("settings"))
    }

    #[test]
    fn nothing_is_deleted_unless_somebody_asks() {
        assert!(policy(json!({})).is_some_and(|policy| !policy.deletes));
        assert!(policy(json!({ "forbiddenProfiles": "Keep" })).is_some_and(|policy| !policy.deletes));
        assert!(policy(json!({ "forbiddenProfiles": "Delete" })).is_some_and(|policy| policy.deletes));
        let unreadable = json!({ "forbiddenProfiles": "Delete", "allowedSyscalls": ["NOT A NAME"] });
        assert_eq!(policy(unreadable), None);
    }

    #[test]
    fn what_is_allowed_by_now_is_not_forbidden() {
        let forbids = |security: Value, refused: &str| policy(security).expect("a policy").forbids(refused);
        let few = || json!({ "allowedSyscalls": ["read"], "enforcedSyscalls": ["fstatfs"] });
        assert!(forbids(few(), "the syscalls bpf, mount"));
        assert!(forbids(few(), "the action SCMP_ACT_LOG; the syscall bpf"));
        let allow_only = json!({ "allowedSyscalls": ["read"], "allowedSeccompActions": ["SCMP_ACT_ALLOW"] });
        assert!(forbids(allow_only, "the action SCMP_ACT_LOG") && !forbids(few(), "the action SCMP_ACT_LOG"));
        assert!(!forbids(few(), "the syscall read") && !forbids(few(), "the syscall fstatfs"));
        assert!(forbids(few(), "the default action SCMP_ACT_ALLOW"));
        assert!(!forbids(json!({}), "the default action SCMP_ACT_ALLOW; the syscalls bpf, mount"));
        let denied = || json!({ "deniedSyscalls": ["bpf"] });
        assert!(forbids(denied(), "the syscalls bpf, mount") && !forbids(denied(), "the syscall mount"));
        let default = "the default action SCMP_ACT_LOG where no rule denies a denied syscall";
        assert!(forbids(denied(), default) && !forbids(few(), default));
        assert!(!forbids(
            few(),
            "what the SecurityProfilesOperatorDaemon allows cannot be read (x), so nothing is"
        ));
    }

    /// The words of an agent are those that are looked for.
    #[test]
    fn the_words_of_an_agent_are_understood() {
        let spec = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "action": "SCMP_ACT_ALLOW", "names": ["read", "bpf"] }] });
        let spec = serde_json::from_value(spec).expect("a profile");
        let policy = policy(json!({ "allowedSyscalls": ["read"] })).expect("a policy");
        let said = spo_seccomp::excess(&spec, &policy.restrictions.seccomp).expect("not allowed").to_string();
        assert!(policy.forbids(said.strip_prefix("not allowed: ").expect("its beginning")), "{said}");
    }
}
