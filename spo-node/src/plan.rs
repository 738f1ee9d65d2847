//! The difference between what is desired and what is there, as a pure function.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use spo_model::{kind::Kind, names::ProfileKey};

use crate::{
    artefact::{Artefact, GlobalName, HostPath, loaded_name},
    content::Sha256,
    kernel::{Lsm, Module, Refusal},
    ledger::{Entry, Loaded},
    observe::{Found, Observed},
};

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One decision per desired artefact, in their order.
    pub decisions: Vec<Decision>,
    /// Artefacts of ours that are not wanted any more.
    pub removals: Vec<Removal>,
    /// Artefacts of ours that are not wanted any more and stay for now, with the reason.
    pub stuck: Vec<(HostPath, String)>,
    /// Entries of the ledger whose artefact is nowhere any more.
    pub forgotten: Vec<HostPath>,
}

impl Plan {
    /// Whether nothing on the host has to change.
    pub fn is_empty(&self) -> bool {
        let idle = |d: &Decision| {
            matches!(d, Decision::Keep { .. } | Decision::Refuse(_) | Decision::Unsupported(_))
        };
        self.removals.is_empty() && self.forgotten.is_empty() && self.decisions.iter().all(idle)
    }
}

/// What to do about one desired artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is there already.
    Keep {
        /// SHA-256 of its bytes.
        sha256: Sha256,
    },
    /// Its file is there, but the security module does not have it, or not as it is now.
    Load {
        /// SHA-256 of its bytes.
        sha256: Sha256,
    },
    /// It has to be written, and loaded if the host loads its kind.
    Write {
        /// SHA-256 of the bytes to come.
        sha256: Sha256,
        /// SHA-256 of the bytes of ours that are there now.
        before: Option<Sha256>,
    },
    /// It cannot be put there.
    Refuse(Conflict),
    /// The host has nothing that would read it, with the reason.
    Unsupported(String),
}

/// An artefact of ours that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its path.
    pub path: HostPath,
    /// Whether the file is there and ours.
    pub file: bool,
    /// Its name in the security module, if it is there.
    pub loaded: Option<(Lsm, String)>,
}

/// Why an artefact cannot be put to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Something that is not ours is there.
    Foreign(HostPath),
    /// The path cannot be looked at.
    Unreadable(String),
    /// The name in the kernel belongs to another profile.
    NameTaken {
        /// What name.
        name: String,
        /// The kind of the profile that has it.
        owner_kind: Kind,
        /// The profile that has it.
        owner: ProfileKey,
    },
    /// Something that is not ours is loaded under its name.
    ForeignName(GlobalName),
    /// The security module that would take it cannot be used now.
    Unavailable(String),
    /// The security module refused it as it is, and is not asked again yet.
    Refused(Refusal),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(path) => {
                write!(f, "/{path} is there and not ours; it is left alone: remove it or rename the profile")
            }
            Self::Unreadable(reason) | Self::Unavailable(reason) => f.write_str(reason),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NameTaken { name, owner_kind, owner } => {
                write!(f, "the {name} belongs to {owner_kind} {owner}; rename this profile")
            }
            Self::ForeignName(name) => {
                write!(
                    f,
                    "the {name} is loaded and not ours; it is left alone: unload it or rename the profile"
                )
            }
        }
    }
}

/// What to do to get from what is observed to what is desired.
///
/// The first of several artefacts that want one kernel name gets it, unless the ledger says that another one has
/// it already. Artefacts of ours that are not desired are removed unless `keep` says otherwise.
pub fn plan(desired: &[Artefact], observed: &Observed, keep: &dyn Fn(&Entry) -> bool) -> Plan {
    plan_but(desired, observed, keep, &|_, _| None)
}

/// As [`plan`], but for artefacts that a security module has refused: those are not handed to it.
pub(crate) fn plan_but(
    desired: &[Artefact],
    observed: &Observed,
    keep: &dyn Fn(&Entry) -> bool,
    refused: &dyn Fn(&Artefact, Sha256) -> Option<Refusal>,
) -> Plan {
    let wanted: BTreeSet<(&HostPath, Kind, &ProfileKey)> =
        desired.iter().map(|a| (&a.path, a.kind, &a.key)).collect();
    // By profile and not by path alone: SELinux modules of several namespaces and of both kinds share paths.
    let kept =
        |path: &HostPath, entry: &Entry| wanted.contains(&(path, entry.kind, &entry.key)) || keep(entry);
    let mut owners = owners(desired, observed, &kept);
    let mut plan = Plan::default();
    let mut claimed: HashMap<&HostPath, &Artefact> = HashMap::new();
    let mut replaced: BTreeSet<&HostPath> = BTreeSet::new();
    for artefact in desired {
        let decision = match claimed.get(&artefact.path) {
            Some(first) => Decision::Refuse(Conflict::NameTaken {
                name: format!("path /{}", artefact.path),
                owner_kind: first.kind,
                owner: first.key.clone(),
            }),
            None => match decide(artefact, observed, &mut owners) {
                Decision::Write { sha256, before } => refused(artefact, sha256)
                    .map_or(Decision::Write { sha256, before }, |r| Decision::Refuse(Conflict::Refused(r))),
                Decision::Load { sha256 } => refused(artefact, sha256)
                    .map_or(Decision::Load { sha256 }, |r| Decision::Refuse(Conflict::Refused(r))),
                other => other,
            },
        };
        // Whoever may not have the name leaves the path to its owner.
        if !matches!(decision, Decision::Refuse(Conflict::NameTaken { .. })) {
            claimed.entry(&artefact.path).or_insert(artefact);
        }
        if matches!(decision, Decision::Write { .. }) {
            replaced.insert(&artefact.path);
        }
        plan.decisions.push(decision);
    }
    for (path, entry) in &observed.ledger.entries {
        // What another profile takes over is replaced, in the kernel too, and not removed.
        if kept(path, entry) || replaced.contains(path) {
            continue;
        }
        if let Module::Unavailable(reason) = observed.survey.module(entry.kind) {
            // Forgotten now, it would stay in the kernel for ever.
            plan.stuck.push((path.clone(), reason.clone()));
            continue;
        }
        let file = match observed.files.get(path) {
            Some(Found::File { sha256, .. }) => is_ours(entry, *sha256),
            // What cannot be looked at now may be ours still.
            Some(Found::Unreadable(error)) => {
                plan.stuck.push((path.clone(), error.to_string()));
                continue;
            }
            _ => false,
        };
        let loaded = held(entry, path, observed);
        if file || loaded.is_some() {
            plan.removals.push(Removal { path: path.clone(), file, loaded });
        } else {
            plan.forgotten.push(path.clone());
        }
    }
    plan
}

type Owners = BTreeMap<GlobalName, (Kind, ProfileKey)>;

/// Who has which kernel name now. An owner that is itself going away frees its name.
fn owners(desired: &[Artefact], observed: &Observed, kept: &dyn Fn(&HostPath, &Entry) -> bool) -> Owners {
    type Of<'a> = (&'a HostPath, Kind, &'a ProfileKey);
    let still_wants: BTreeMap<Of<'_>, Option<GlobalName>> =
        desired.iter().map(|a| ((&a.path, a.kind, &a.key), a.global_name())).collect();
    observed
        .ledger
        .entries
        .iter()
        .filter(|(path, entry)| kept(path, entry))
        .filter_map(|(path, entry)| {
            let name = GlobalName::of(entry.kind, entry.kernel_name.as_deref()?)?;
            let same = still_wants
                .get(&(path, entry.kind, &entry.key))
                .is_none_or(|wanted| wanted.as_ref() == Some(&name));
            same.then(|| (name, (entry.kind, entry.key.clone())))
        })
        .collect()
}

fn decide(artefact: &Artefact, observed: &Observed, owners: &mut Owners) -> Decision {
    if let Some(name) = artefact.global_name() {
        let me = (artefact.kind, artefact.key.clone());
        let owner = owners.entry(name.clone()).or_insert_with(|| me.clone());
        if *owner != me {
            let (owner_kind, owner) = owner.clone();
            return Decision::Refuse(Conflict::NameTaken { name: name.to_string(), owner_kind, owner });
        }
    }
    let module = observed.survey.module(artefact.kind);
    match module {
        Module::Unsupported(reason) => return Decision::Unsupported(reason.clone()),
        Module::Unavailable(reason) => return Decision::Refuse(Conflict::Unavailable(reason.clone())),
        Module::Files | Module::Loads { .. } => {}
    }
    let sha256 = artefact.bytes.sha256();
    let entry = observed.ledger.entries.get(&artefact.path);
    if entry.is_none()
        && let Some(loaded) = artefact.loaded_name().filter(|name| module.holds(name))
        && let Some(name) = artefact.global_name()
        && !is_held_by_ours(artefact.kind, loaded, observed)
    {
        return Decision::Refuse(Conflict::ForeignName(name));
    }
    match (observed.files.get(&artefact.path), entry) {
        (Some(Found::Unreadable(error)), _) => Decision::Refuse(Conflict::Unreadable(error.to_string())),
        (Some(Found::Nothing) | None, _) => Decision::Write { sha256, before: None },
        (Some(Found::File { sha256: there, stamp }), Some(entry)) if is_ours(entry, *there) => {
            let unchanged = *there == sha256 && stamp.mode == artefact.mode;
            let same_profile = (entry.kind, &entry.key) == (artefact.kind, &artefact.key);
            let same_entry = !entry.pending && same_profile && entry.source == artefact.source;
            if !(unchanged && same_entry && entry.stamp == Some(*stamp)) {
                Decision::Write { sha256, before: Some(*there) }
            } else if is_loaded(artefact, entry, sha256, observed) {
                Decision::Keep { sha256 }
            } else {
                Decision::Load { sha256 }
            }
        }
        // Exactly what is wanted, as of an operator before us: nothing of anybody's is lost by taking it over.
        (Some(Found::File { sha256: there, .. }), None) if *there == sha256 => {
            Decision::Write { sha256, before: Some(*there) }
        }
        (Some(Found::File { .. }), _) => Decision::Refuse(Conflict::Foreign(artefact.path.clone())),
    }
}

/// Whether the security module has an artefact as it is; always so where nothing is loaded.
fn is_loaded(artefact: &Artefact, entry: &Entry, sha256: Sha256, observed: &Observed) -> bool {
    let module = observed.survey.module(artefact.kind);
    let Module::Loads { names, .. } = module else { return true };
    let same = |loaded: &Loaded| loaded.sha256 == sha256 && loaded.basis == module.basis();
    artefact.loaded_name().is_none_or(|name| names.contains(name)) && entry.loaded.as_ref().is_some_and(same)
}

/// Whether a name that a module holds is that of a profile of ours, which then is about to give it up: otherwise it would
/// be the owner.
fn is_held_by_ours(kind: Kind, name: &str, observed: &Observed) -> bool {
    let mut all = observed.ledger.entries.iter();
    all.any(|(path, entry)| {
        Lsm::of(entry.kind) == Lsm::of(kind)
            && loaded_name(entry.kind, entry.kernel_name.as_deref(), path) == Some(name)
    })
}

/// The name that an entry has in its security module, if it is loaded.
fn held(entry: &Entry, path: &HostPath, observed: &Observed) -> Option<(Lsm, String)> {
    let name = loaded_name(entry.kind, entry.kernel_name.as_deref(), path)?;
    let loaded = observed.survey.module(entry.kind).holds(name);
    loaded.then(|| Some((Lsm::of(entry.kind)?, name.to_owned()))).flatten()
}

/// Whether a file with this hash is what the ledger's entry speaks of.
///
/// A file of ours that somebody edited is repaired. A write that was interrupted is another matter: then only
/// the bytes before and the bytes to come can be ours, because something else may have taken the free path.
fn is_ours(entry: &Entry, sha256: Sha256) -> bool {
    !entry.pending || entry.sha256 == sha256 || entry.before == Some(sha256)
}
