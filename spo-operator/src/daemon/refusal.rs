//! Why a profile is not put on a node: in one word, and in a sentence for its status.

use spo_model::{Diagnostic, FieldPath, kind::Kind, object::AnyObject};
use spo_node::{
    compile::{Library, excess},
    desired::Desired,
    restrictions::Restrictions,
};

/// Why a profile is not put on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub message: String,
    /// In one word.
    pub reason: ErrorReason,
    /// Whether what is there of the profile stays. What an administrator forbids does not: a new pod must not get
    /// it. What that means for containers that run is in the documentation of [`daemon`](super).
    pub keep: bool,
}

/// Why a profile could not be put on a node, in one word: of events, and of the label `reason` of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorReason {
    /// The profile cannot be read or compiled.
    Invalid,
    /// What it builds on cannot be had.
    Base,
    /// The cluster's settings forbid it.
    NotAllowed,
    /// It could not be brought onto the node.
    Install,
}

impl ErrorReason {
    /// The word for a kind; those of the existing operator where it has one.
    pub const fn word(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::NotAllowed, _) => "ProfileNotAllowed",
            (Self::Base, Kind::SeccompProfile) => "CannotPullSeccompProfile",
            (Self::Invalid, Kind::SeccompProfile) => "InvalidSeccompProfile",
            (Self::Install, Kind::SeccompProfile) => "CannotSaveSeccompProfile",
            (_, Kind::AppArmorProfile) => "CannotLoadAppArmorProfile",
            (Self::Install, _) => "CannotSaveSelinuxPolicy",
            (_, _) => "CannotWritePolicyFile",
        }
    }
}

impl Refusal {
    /// Of what was found wrong with a profile.
    pub fn of(problems: &[Diagnostic]) -> Self {
        let reason = reason(problems);
        Self { message: message(problems, reason), reason, keep: reason != ErrorReason::NotAllowed }
    }
}

/// Whether it is the settings that keep a profile off a host.
pub fn is_not_allowed(problems: &[Diagnostic]) -> bool {
    reason(problems) == ErrorReason::NotAllowed
}

fn reason(problems: &[Diagnostic]) -> ErrorReason {
    let has = |end: &str| problems.iter().any(|problem| problem.code.ends_with(end));
    match () {
        () if ["-not-allowed", "allowed-action-denies", "-denied", "raw-selinux-disabled"]
            .into_iter()
            .any(has) =>
        {
            ErrorReason::NotAllowed
        }
        () if has("base-profile") => ErrorReason::Base,
        () => ErrorReason::Invalid,
    }
}

/// Every problem; the word in front is what a reader of the status goes by.
fn message(problems: &[Diagnostic], reason: ErrorReason) -> String {
    let word = match reason {
        // The sentence has it already.
        ErrorReason::NotAllowed if problems.iter().all(|problem| problem.code != NOT_ALLOWED) => {
            "not allowed: "
        }
        _ => "",
    };
    let each = problems.iter().map(|problem| match &problem.help {
        _ if problem.path.is_root() => problem.message.clone(),
        Some(help) => format!("{}: {} ({help})", problem.path, problem.message),
        None => format!("{}: {}", problem.path, problem.message),
    });
    format!("{word}{}", each.collect::<Vec<_>>().join("; "))
}

/// The code of the one diagnostic that tells all that is not allowed.
const NOT_ALLOWED: &str = "seccomp-not-allowed";

/// What is not allowed, told for a status: hundreds of syscalls with the place of each would not fit.
pub(super) fn in_one_sentence(
    desired: Desired,
    object: &AnyObject,
    library: &Library,
    allowed: &Restrictions,
) -> Desired {
    match (desired, object) {
        (Desired::Refused(problems), AnyObject::SeccompProfile(profile))
            if reason(&problems) == ErrorReason::NotAllowed =>
        {
            let told = excess(profile, library, &allowed.seccomp);
            let told =
                told.map(|excess| Diagnostic::error(NOT_ALLOWED, FieldPath::root(), excess.to_string()));
            Desired::Refused(told.map_or(problems, |told| vec![told]))
        }
        (other, _) => other,
    }
}
