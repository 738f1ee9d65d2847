//! What is wrong with an object beyond the form of its fields: all problems at once.
//!
//! The form (types, words, limits, lists) is checked while a document is read; see [`crate::convert`]. Here are
//! the rules between fields and about names. Where the schema language of Kubernetes can state such a rule
//! cheaply, the CRD states it too, as CEL: `cel_rules` is that list, and a test holds both to the same verdict.

mod daemon;
mod profiles;
mod workloads;

use serde_json::{Value, json};

use crate::{
    diagnostic::{Diagnostic, FieldPath},
    kind::Kind,
    object::AnyObject,
};

/// Every problem of an object, in the order of its fields.
pub fn validate(object: &AnyObject) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    name(object, &mut problems);
    match object {
        AnyObject::SeccompProfile(profile) => profiles::seccomp(profile, &mut problems),
        AnyObject::SelinuxProfile(profile) => profiles::selinux(profile, &mut problems),
        AnyObject::RawSelinuxProfile(profile) => profiles::raw_selinux(profile, &mut problems),
        AnyObject::AppArmorProfile(profile) => profiles::apparmor(profile, &mut problems),
        AnyObject::ProfileRecording(recording) => workloads::recording(recording, &mut problems),
        AnyObject::ProfileBinding(binding) => workloads::binding(binding, &mut problems),
        AnyObject::SecurityProfileNodeStatus(_) => {}
        AnyObject::SecurityProfilesOperatorDaemon(daemon) => daemon::daemon(daemon, &mut problems),
    }
    problems
}

/// The rules a CRD states as CEL: the place of the schema they stand at, and the rules.
pub(crate) fn cel_rules(kind: Kind) -> Vec<(&'static str, Value)> {
    let rule = |rule: &str, message: &str| json!({ "rule": rule, "message": message });
    match kind {
        Kind::SeccompProfile => {
            vec![("spec", json!([rule("self.defaultAction != 'SCMP_ACT_NOTIFY'", profiles::NOTIFY_DEFAULT)]))]
        }
        Kind::AppArmorProfile => {
            vec![(
                "spec",
                json!([rule(
                    "!(has(self.abstract) && has(self.policy))",
                    "want abstract or policy, not both"
                )]),
            )]
        }
        Kind::ProfileRecording => vec![(
            "spec",
            json!([
                rule("self.kind != 'SelinuxProfile' || self.recorder == 'Logs'", workloads::SELINUX_BY_LOGS),
                rule(
                    "!(self.kind in ['AppArmorProfile', 'ApparmorProfile']) || self.recorder == 'Bpf'",
                    workloads::APPARMOR_BY_BPF
                ),
            ]),
        )],
        Kind::SecurityProfilesOperatorDaemon => vec![(
            "spec.webhook",
            json!([rule(
                "!has(self.mode) || !has(self.staticConfig) || self.staticConfig == (self.mode == 'Static')",
                daemon::MODE
            )]),
        )],
        _ => Vec::new(),
    }
}

fn name(object: &AnyObject, problems: &mut Vec<Diagnostic>) {
    let metadata = object.metadata();
    if metadata.name.is_none() && !metadata.other.contains_key("generateName") {
        problems.push(
            Diagnostic::error("required", FieldPath::of("metadata.name"), "the object has no name")
                .with_help("add metadata.name"),
        );
    }
}

#[cfg(test)]
mod tests;
