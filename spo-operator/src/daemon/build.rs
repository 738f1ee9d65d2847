//! From a profile to its artefact, and what that depends on: another compile is due when that changes, and not before.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
};

use spo_model::{Diagnostic, FieldPath, Severity, kind::Kind, names::NamespaceName, status::ProfileState};
use spo_node::{
    artefact::{HostPath, SECCOMP_DIR},
    compile::{ENFORCED, Library},
    desired::Desired,
    restrictions::Restrictions,
};

use super::{kept::Kept, plan::Subject, refusal::in_one_sentence};

/// The profiles that others build on.
pub(super) struct Bases<'a> {
    number: u64,
    kept: Vec<&'a Kept>,
}

impl<'a> Bases<'a> {
    pub(super) fn of(subjects: &[(Subject, &'a Kept)]) -> Self {
        let wanted: BTreeSet<(Kind, &str)> = subjects
            .iter()
            .flat_map(|(_, kept)| kept.bases.iter().map(|(kind, name)| (*kind, &**name)))
            .collect();
        let is_base = |subject: &Subject| wanted.contains(&(subject.kind(), subject.key.name.as_str()));
        let found = || subjects.iter().filter(|(subject, _)| is_base(subject));
        // A label makes no new generation.
        let each =
            found().map(|(s, kept)| (s.resource, &s.key, &s.uid, kept.spec, kept.partial, kept.shares_base));
        let number = hash(&each.collect::<Vec<_>>());
        Self { number, kept: found().map(|(_, kept)| *kept).collect() }
    }

    /// Stands for all of them.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// They, as profiles find them: `shared` is the namespace of those that the operator brings, `seen` are the
    /// namespaces that it is restricted to.
    pub(super) fn library(
        &self,
        shared: Option<&NamespaceName>,
        seen: Option<Vec<NamespaceName>>,
    ) -> Library {
        let library = shared.cloned().map_or_else(Library::default, Library::sharing);
        let mut library = library.seeing(seen);
        for kept in &self.kept {
            if let Ok(object) = kept.object() {
                library.add(&object);
            }
        }
        library
    }
}

/// What a profile asks of a host.
pub(super) fn compile(kept: &Kept, library: &Library, allowed: &Restrictions) -> Desired {
    match kept.object() {
        Ok(object) => {
            let desired = Desired::of(&object, library, allowed);
            in_one_sentence(
                desired.unwrap_or(Desired::Nothing(ProfileState::Disabled)),
                &object,
                library,
                allowed,
            )
        }
        Err(reason) => Desired::Refused(vec![Diagnostic::error("unreadable", FieldPath::root(), reason)]),
    }
}

/// What the author of a profile has to hear about how it is installed: that it allows more than it says, and what its
/// runtime lacks all the same.
pub(super) fn note(desired: &Desired) -> Option<Arc<str>> {
    let Desired::Artefact(_, found) = desired else { return None };
    let widened = found.iter().find(|warning| warning.code == ENFORCED)?;
    let floor = found.iter().find(|lint| lint.code == "runtime-floor" && lint.severity > Severity::Info);
    let floor = floor.map(|lint| format!("; warning: {}", lint.message)).unwrap_or_default();
    Some(format!("{}{floor}", widened.message).into())
}

/// Stands for everything that the compiled profile depends on; `bases` and `rules` stand for all bases and all limits.
pub(super) fn input(subject: &Subject, kept: &Kept, bases: u64, rules: u64) -> u64 {
    let bases = if kept.bases.is_empty() { 0 } else { bases };
    let rules = if is_restricted(subject.kind()) { rules } else { 0 };
    hash(&(&subject.uid, kept.spec, kept.partial, bases, rules))
}

/// Stands for a value, within this process.
pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The same for a kubelet whose directory is elsewhere.
pub(super) fn at(desired: Desired, kubelet: &str) -> Desired {
    match desired {
        Desired::Artefact(mut artefact, warnings) => {
            if let Some(path) = seccomp_path(&artefact.path, kubelet) {
                artefact.path = path;
            }
            Desired::Artefact(artefact, warnings)
        }
        other => other,
    }
}

fn seccomp_path(path: &HostPath, kubelet: &str) -> Option<HostPath> {
    let rest = path.as_str().strip_prefix(SECCOMP_DIR)?.strip_prefix('/')?;
    format!("{kubelet}/seccomp/{rest}").parse().ok()
}

/// Whether the settings say what profiles of a kind may be.
pub(super) const fn is_restricted(kind: Kind) -> bool {
    matches!(kind, Kind::SeccompProfile | Kind::SelinuxProfile | Kind::RawSelinuxProfile)
}
