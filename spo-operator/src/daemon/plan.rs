//! From what the cluster asks for to what this node should have: pure.
//!
//! ```text
//! profiles, settings, ledger ──Builder::plan──► artefacts, and a verdict for each profile
//! ```
//!
//! A profile is compiled again only if it, something it builds on, or what is allowed has changed.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spo_model::{kind::Kind, names::ProfileKey, status::ProfileState};
use spo_node::{
    artefact::Artefact,
    desired::Desired,
    kernel::Lsm,
    ledger::{Entry as Placed, Ledger},
    restrictions::Restrictions,
};

use super::{
    build::{Bases, at, compile, hash, input, is_restricted, note},
    kept::Kept,
    refusal::{ErrorReason, Refusal},
    settings::{Kinds, Settings},
};
use crate::cluster::{
    resource::Resource,
    watch::{Cache, Name},
};

/// One profile object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its resource.
    pub resource: Resource,
    /// Its name and namespace.
    pub key: ProfileKey,
    /// Its identity.
    pub uid: String,
    /// The generation that is looked at.
    pub generation: i64,
    /// Whether somebody asked for its deletion.
    pub deleting: bool,
    /// When it was made, as text that sorts.
    pub(super) created: String,
}

impl Subject {
    fn of(resource: Resource, name: &Name, kept: &Kept) -> Option<Self> {
        let namespace = Some(name.0.as_str()).filter(|namespace| !namespace.is_empty());
        Some(Self {
            resource,
            key: ProfileKey::new(namespace, &name.1).ok()?,
            uid: kept.uid.to_string(),
            generation: kept.generation,
            deleting: kept.deleting,
            created: kept.created.to_string(),
        })
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        self.resource.kind()
    }
}

/// What is to become of a profile on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The artefact of this index is put there.
    Place(usize),
    /// Nothing is put there, and why if that is not in the profile itself.
    Nothing(ProfileState, Option<&'static str>),
    /// It cannot be put there.
    Refused(Refusal),
}

/// What this node should have.
#[derive(Debug, Default)]
pub struct Plan {
    /// The artefacts, the oldest profile's first: it gets a name in the kernel that several want.
    pub artefacts: Vec<Artefact>,
    /// What the author of each of them has to hear although it is installed.
    pub notes: Vec<Option<Arc<str>>>,
    /// Every profile, and what is to become of it.
    pub verdicts: Vec<(Subject, Verdict)>,
    kept: BTreeSet<(Kind, ProfileKey)>,
    off: Vec<Kind>,
}

impl Plan {
    /// Whether an artefact that nothing asks for stays: it is of a profile that cannot be judged, of a kind that is
    /// switched off (unloading it would free the pods that run under it), or of a namespace that is not watched.
    pub fn keeps(&self, entry: &Placed, watched: impl Fn(&ProfileKey) -> bool) -> bool {
        self.off.contains(&entry.kind)
            || self.kept.contains(&(entry.kind, entry.key.clone()))
            || !watched(&entry.key)
    }
}

/// Compiles, and remembers what it compiled.
#[derive(Debug, Default)]
pub struct Builder {
    built: BTreeMap<(Resource, ProfileKey), Built>,
    /// How many profiles were compiled so far.
    pub compiled: u64,
}

#[derive(Debug)]
struct Built {
    /// Stands for everything that the result depends on.
    input: u64,
    desired: Desired,
    note: Option<Arc<str>>,
}

impl Builder {
    /// What the node should have. The artefacts are lent: give them back with [`Self::take_back`].
    ///
    /// `kubelet` is the directory of the kubelet, relative to the root.
    pub fn plan(
        &mut self,
        cache: &Cache<Kept>,
        kinds: Kinds,
        settings: &Settings,
        ledger: &Ledger,
        kubelet: &str,
    ) -> Plan {
        let mut subjects: Vec<(Subject, &Kept)> = cache
            .entries()
            .filter(|(resource, ..)| resource.kind().is_profile())
            .filter_map(|(resource, name, kept)| Some((Subject::of(resource, name, kept)?, kept)))
            .collect();
        subjects.sort_by(|(a, _), (b, _)| {
            (&a.created, &a.key, a.resource).cmp(&(&b.created, &b.key, b.resource))
        });
        let bases = Bases::of(&subjects);
        // Nothing needs it while nothing has to be compiled.
        let library =
            LazyCell::new(|| bases.library(cache.namespace_of(SETTINGS), cache.namespaces_of(SECCOMP)));
        // What is there already was allowed when it came, so it is only compared.
        let everything = Restrictions::unlimited();
        let (allowed, settings_problem) = match &settings.allowed {
            Ok(allowed) => (allowed, None),
            Err(reason) => (&everything, Some(reason)),
        };
        let rules = hash(&format!("{:?}", settings.allowed));
        let mut plan = Plan {
            off: PROFILES.into_iter().filter(|k| kinds.off(*k).is_some()).collect(),
            ..Plan::default()
        };
        let mut previous = std::mem::take(&mut self.built);
        for (subject, kept) in subjects {
            let verdict = if let Some(why) = kinds.off(subject.kind()) {
                Verdict::Nothing(ProfileState::Disabled, Some(why))
            } else if let Some(reason) = kept.problem() {
                refused(reason.to_owned(), ErrorReason::Invalid, true)
            } else {
                let input = input(&subject, kept, bases.number(), rules);
                let id = (subject.resource, subject.key.clone());
                let (built, note) = match previous.remove(&id).filter(|built| built.input == input) {
                    Some(built) => (built.desired, built.note),
                    None => {
                        self.compiled += 1;
                        let desired = compile(kept, &library, allowed);
                        let note = note(&desired);
                        (at(desired, kubelet), note)
                    }
                };
                let (verdict, desired) = judge(built, &id, settings_problem, ledger, &mut plan);
                if matches!(verdict, Verdict::Place(_)) {
                    plan.notes.push(note.clone());
                }
                self.built.insert(id, Built { input, desired, note });
                verdict
            };
            let verdict = match verdict {
                Verdict::Nothing(ProfileState::Disabled, None)
                    if kept.in_use && Lsm::of(subject.kind()).is_some() && has(ledger, &subject) =>
                {
                    plan.kept.insert((subject.kind(), subject.key.clone()));
                    Verdict::Nothing(ProfileState::Disabled, Some(STILL_USED))
                }
                other => other,
            };
            if let Verdict::Refused(Refusal { keep: true, .. }) = &verdict {
                plan.kept.insert((subject.kind(), subject.key.clone()));
            }
            plan.verdicts.push((subject, verdict));
        }
        plan
    }

    /// Takes the artefacts of a plan back, so that what did not change need not be compiled again.
    pub fn take_back(&mut self, artefacts: Vec<Artefact>, verdicts: &[(Subject, Verdict)]) {
        let mut artefacts: Vec<Option<Artefact>> = artefacts.into_iter().map(Some).collect();
        for (subject, verdict) in verdicts {
            let Verdict::Place(index) = verdict else { continue };
            let artefact = artefacts.get_mut(*index).and_then(Option::take);
            let built = self.built.get_mut(&(subject.resource, subject.key.clone()));
            if let (Some(artefact), Some(built)) = (artefact, built) {
                built.desired = Desired::Artefact(Box::new(artefact), Vec::new());
            }
        }
    }
}

/// Why a profile that is switched off is there still: without it, AppArmor would let the pods under it do anything, and
/// SELinux nothing.
const STILL_USED: &str = "kept: pods run under it; it goes with the last of them";

fn has(ledger: &Ledger, subject: &Subject) -> bool {
    ledger.entries.values().any(|entry| (entry.kind, &entry.key) == (subject.kind(), &subject.key))
}

const PROFILES: [Kind; 4] =
    [Kind::SeccompProfile, Kind::SelinuxProfile, Kind::RawSelinuxProfile, Kind::AppArmorProfile];

/// The verdict about a compiled profile, and what is to be remembered of it while its artefact is lent.
fn judge(
    desired: Desired,
    id: &(Resource, ProfileKey),
    settings_problem: Option<&String>,
    ledger: &Ledger,
    plan: &mut Plan,
) -> (Verdict, Desired) {
    match desired {
        Desired::Nothing(state) => (Verdict::Nothing(state, None), Desired::Nothing(state)),
        Desired::Refused(problems) => (Verdict::Refused(Refusal::of(&problems)), Desired::Refused(problems)),
        Desired::Artefact(artefact, warnings) => {
            if let Some(problem) = settings_problem
                && is_restricted(id.0.kind())
                && !is_there(&artefact, ledger)
            {
                let message = format!(
                    "not allowed: what the SecurityProfilesOperatorDaemon allows is not known ({problem}), so \
                     nothing new is installed"
                );
                let verdict = refused(message, ErrorReason::NotAllowed, true);
                return (verdict, Desired::Artefact(artefact, warnings));
            }
            let verdict = Verdict::Place(plan.artefacts.len());
            plan.artefacts.push(*artefact);
            // Until it is given back.
            (verdict, Desired::Nothing(ProfileState::InProgress))
        }
    }
}

fn is_there(artefact: &Artefact, ledger: &Ledger) -> bool {
    let placed = ledger.entries.get(&artefact.path);
    let same = |entry: &Placed| (entry.kind, &entry.key) == (artefact.kind, &artefact.key);
    placed.is_some_and(|e| same(e) && !e.pending && e.sha256 == artefact.bytes.sha256())
}

fn refused(message: String, reason: ErrorReason, keep: bool) -> Verdict {
    Verdict::Refused(Refusal { message, reason, keep })
}

/// What has bases in other namespaces.
const SECCOMP: Resource = Resource::Of(Kind::SeccompProfile);

/// What is watched in the operator's own namespace alone.
const SETTINGS: Resource = Resource::Of(Kind::SecurityProfilesOperatorDaemon);

#[cfg(test)]
mod tests;
