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
    hash::{DefaultHasher, Hasher as _},
};

use spo_model::{
    Diagnostic, FieldPath,
    kind::Kind,
    names::{NamespaceName, ProfileKey},
    object::AnyObject,
    status::ProfileState,
};
use spo_node::{
    artefact::{Artefact, HostPath, SECCOMP_DIR, digest},
    compile::{Library, excess},
    desired::Desired,
    kernel::Lsm,
    ledger::{Entry as Placed, Ledger},
    restrictions::Restrictions,
};

use super::{
    kept::Kept,
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

/// Why a profile is not put on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub message: String,
    /// In one word.
    pub reason: ErrorReason,
    /// Whether what is there of the profile stays. What an administrator forbids does not: a new pod must not get
    /// it. Running containers are not touched by that, since the kernel has their filter already.
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

/// What this node should have.
#[derive(Debug, Default)]
pub struct Plan {
    /// The artefacts, the oldest profile's first: it gets a name in the kernel that several want.
    pub artefacts: Vec<Artefact>,
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
        let bases_number = bases.number();
        // Nothing needs it while nothing has to be compiled.
        let library = LazyCell::new(|| bases.library(cache.namespace_of(SETTINGS)));
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
        for (subject, kept) in &subjects {
            let id = (subject.resource, subject.key.clone());
            let verdict = if let Some(why) = kinds.off(subject.kind()) {
                Verdict::Nothing(ProfileState::Disabled, Some(why))
            } else if let Some(reason) = kept.problem() {
                refused(reason.to_owned(), ErrorReason::Invalid, true)
            } else {
                let input = input(subject, kept, bases_number, rules);
                let built = match previous.remove(&id).filter(|built| built.input == input) {
                    Some(built) => built.desired,
                    None => {
                        self.compiled += 1;
                        at(compile(kept, &library, allowed), kubelet)
                    }
                };
                let (verdict, desired) = judge(built, &id, settings_problem, ledger, &mut plan);
                self.built.insert(id, Built { input, desired });
                verdict
            };
            let verdict = match verdict {
                Verdict::Nothing(ProfileState::Disabled, None)
                    if kept.in_use && Lsm::of(subject.kind()).is_some() && has(ledger, subject) =>
                {
                    plan.kept.insert((subject.kind(), subject.key.clone()));
                    Verdict::Nothing(ProfileState::Disabled, Some(STILL_USED))
                }
                other => other,
            };
            if let Verdict::Refused(Refusal { keep: true, .. }) = &verdict {
                plan.kept.insert((subject.kind(), subject.key.clone()));
            }
            plan.verdicts.push((subject.clone(), verdict));
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
        Desired::Refused(problems) => {
            let reason = reason(&problems);
            let verdict = refused(message(&problems, reason), reason, reason != ErrorReason::NotAllowed);
            (verdict, Desired::Refused(problems))
        }
        Desired::Artefact(artefact, warnings) => {
            if let Some(problem) = settings_problem
                && is_restricted(id.0.kind())
                && !is_there(&artefact, ledger)
            {
                let message = format!(
                    "not allowed: what the SecurityProfilesOperatorDaemon allows cannot be read ({problem}), so \
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
    placed.is_some_and(|e| same(e) && !e.pending && e.sha256 == digest(&artefact.bytes))
}

/// Whether the settings say what profiles of a kind may be.
const fn is_restricted(kind: Kind) -> bool {
    matches!(kind, Kind::SeccompProfile | Kind::SelinuxProfile | Kind::RawSelinuxProfile)
}

fn refused(message: String, reason: ErrorReason, keep: bool) -> Verdict {
    Verdict::Refused(Refusal { message, reason, keep })
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

/// What is watched in the operator's own namespace alone.
const SETTINGS: Resource = Resource::Of(Kind::SecurityProfilesOperatorDaemon);

/// The profiles that others build on.
struct Bases<'a>(Vec<(&'a Subject, &'a Kept)>);

impl<'a> Bases<'a> {
    fn of(subjects: &'a [(Subject, &'a Kept)]) -> Self {
        let wanted: BTreeSet<(Kind, &str)> = subjects
            .iter()
            .flat_map(|(_, kept)| kept.bases.iter().map(|(kind, name)| (*kind, &**name)))
            .collect();
        let is_base = |subject: &Subject| wanted.contains(&(subject.kind(), subject.key.name.as_str()));
        let found = subjects.iter().filter(|(subject, _)| is_base(subject));
        Self(found.map(|(subject, kept)| (subject, *kept)).collect())
    }

    /// Stands for all of them.
    fn number(&self) -> u64 {
        let each = self.0.iter().map(|(s, _)| (s.resource, &s.key, &s.uid, s.generation));
        hash(&each.collect::<Vec<_>>())
    }

    fn library(&self, shared: Option<&NamespaceName>) -> Library {
        let mut library = shared.cloned().map_or_else(Library::default, Library::sharing);
        for (_, kept) in &self.0 {
            if let Ok(object) = kept.object() {
                library.add(&object);
            }
        }
        library
    }
}

fn compile(kept: &Kept, library: &Library, allowed: &Restrictions) -> Desired {
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

/// What is not allowed, told for a status: hundreds of syscalls with the place of each would not fit.
fn in_one_sentence(
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

const NOT_ALLOWED: &str = "seccomp-not-allowed";

fn input(subject: &Subject, kept: &Kept, bases: u64, rules: u64) -> u64 {
    let bases = if kept.bases.is_empty() { 0 } else { bases };
    let rules = if is_restricted(subject.kind()) { rules } else { 0 };
    hash(&(&subject.uid, subject.generation, kept.partial, bases, rules))
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The same for a kubelet whose directory is elsewhere.
fn at(desired: Desired, kubelet: &str) -> Desired {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spo_model::daemon::StatusMode;

    use super::*;
    use crate::daemon::fixture::{cache, object, profile};

    const ALL: Kinds = Kinds { seccomp: true, selinux: true, raw_selinux: true, apparmor: true };
    const KUBELET: &str = "var/lib/kubelet";

    fn open() -> Settings {
        Settings { allowed: Ok(Restrictions::default()), mode: Some(StatusMode::PerProfile) }
    }

    fn plan(builder: &mut Builder, documents: &[Value], kinds: Kinds, settings: &Settings) -> Plan {
        builder.plan(&cache(documents), kinds, settings, &Ledger::default(), KUBELET)
    }

    /// Plans and gives the artefacts back, as a round does.
    fn compiled(builder: &mut Builder, documents: &[Value]) -> u64 {
        let before = builder.compiled;
        let mut plan = plan(builder, documents, ALL, &open());
        builder.take_back(std::mem::take(&mut plan.artefacts), &plan.verdicts);
        builder.compiled - before
    }

    fn refusal(plan: &Plan, name: &str) -> Refusal {
        let found = plan.verdicts.iter().find(|(subject, _)| subject.key.name.as_str() == name);
        match found {
            Some((_, Verdict::Refused(refusal))) => refusal.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn generation(mut document: Value, generation: i64) -> Value {
        document["metadata"]["generation"] = json!(generation);
        document
    }

    fn on(mut document: Value, base: &str) -> Value {
        document["spec"]["baseProfileName"] = json!(base);
        document
    }

    #[test]
    fn only_what_changed_is_compiled() {
        let mut builder = Builder::default();
        let mut all: Vec<Value> = (0..5).map(|i| profile(&format!("p{i}"), &["read"])).collect();
        assert_eq!(compiled(&mut builder, &all), 5);
        assert_eq!(compiled(&mut builder, &all), 0);
        all[2] = generation(profile("p2", &["write"]), 2);
        assert_eq!(compiled(&mut builder, &all), 1);
        // A new label makes no new generation; this one matters all the same.
        all[3]["metadata"]["labels"] = json!({ "spo.x-k8s.io/partial": "true" });
        assert_eq!(compiled(&mut builder, &all), 1);
        all.truncate(1);
        assert_eq!(compiled(&mut builder, &all), 0);
        assert_eq!(builder.built.len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn a_base_that_arrives_or_changes_reaches_those_who_build_on_it() {
        let mut builder = Builder::default();
        let user = on(profile("user", &["read"]), "base");
        let lone = plan(&mut builder, std::slice::from_ref(&user), ALL, &open());
        let missing = refusal(&lone, "user");
        assert_eq!((missing.reason, missing.keep), (ErrorReason::Base, true), "{missing:?}");
        let mut all = vec![user, profile("base", &["mount"]), profile("other", &["read"])];
        let both = plan(&mut builder, &all, ALL, &open());
        let text = |plan: &Plan| {
            let mine = plan.artefacts.iter().find(|artefact| artefact.key.name.as_str() == "user");
            String::from_utf8(mine.expect("an artefact").bytes.clone()).expect("text")
        };
        assert!(text(&both).contains("mount"));
        builder.take_back(both.artefacts, &both.verdicts);
        all[1] = generation(profile("base", &["umount2"]), 2);
        let before = builder.compiled;
        let changed = plan(&mut builder, &all, ALL, &open());
        assert!(text(&changed).contains("umount2") && !text(&changed).contains("\"mount\""));
        assert_eq!(builder.compiled - before, 2, "the base and its user, not the other");
    }

    /// The existing operator ignores a change of the allowed actions, and says nothing on the profile.
    #[test]
    fn what_is_forbidden_is_named_in_full_and_goes() {
        let mut builder = Builder::default();
        let all = [profile("wild", &["read", "mount", "bpf"]), profile("tame", &["read"])];
        assert_eq!(plan(&mut builder, &all, ALL, &open()).artefacts.len(), 2);
        let spec = json!({ "security": { "allowedSyscalls": ["read"] } });
        let daemon = object("SecurityProfilesOperatorDaemon", "spod", &spec);
        let strict = Settings::of(&cache(&[daemon]), "spod");
        let plan = plan(&mut builder, &all, ALL, &strict);
        let refusal = refusal(&plan, "wild");
        assert_eq!(refusal.message, "not allowed: the syscalls bpf, mount");
        assert_eq!(refusal.reason.word(Kind::SeccompProfile), "ProfileNotAllowed");
        assert_eq!(plan.artefacts.len(), 1);
        assert!(!plan.keeps(&placed("wild"), |_| true), "no new container may get it");
    }

    #[test]
    fn settings_that_cannot_be_read_let_nothing_new_through_and_remove_nothing() {
        let mut builder = Builder::default();
        let broken = Settings { allowed: Err("odd".to_owned()), mode: None };
        let all = [profile("old", &["read"]), profile("new", &["read"])];
        let first = plan(&mut builder, &all[..1], ALL, &open());
        let mut ledger = Ledger::default();
        let old = &first.artefacts[0];
        let there = Placed { sha256: digest(&old.bytes), ..placed("old") };
        ledger.entries.insert(old.path.clone(), there);
        // As after a restart: nothing is remembered.
        let plan = Builder::default().plan(&cache(&all), ALL, &broken, &ledger, KUBELET);
        assert_eq!(plan.artefacts.len(), 1, "{:?}", plan.verdicts);
        let refusal = refusal(&plan, "new");
        assert!(
            refusal.keep && refusal.message.starts_with("not allowed: ") && refusal.message.contains("odd")
        );
        assert!(plan.keeps(&placed("new"), |_| true), "its earlier version stays");
        let changed = [generation(profile("old", &["write"]), 2)];
        let plan = Builder::default().plan(&cache(&changed), ALL, &broken, &ledger, KUBELET);
        assert!(plan.artefacts.is_empty() && plan.keeps(&placed("old"), |_| true));
    }

    fn selinux(kind: &str) -> Value {
        let spec = match kind {
            "SelinuxProfile" => json!({ "allow": { "etc_t": { "file": ["read"] } } }),
            _ => json!({ "policy": "(blockinherit container)\n(allow process etc_t (file (read)))" }),
        };
        object(kind, "web", &spec)
    }

    fn selinux_settings(selinux: &Value) -> Settings {
        let spec = json!({ "selinux": selinux });
        Settings::of(&cache(&[object("SecurityProfilesOperatorDaemon", "spod", &spec)]), "spod")
    }

    #[test]
    fn a_change_of_the_selinux_rules_reaches_profiles_that_are_compiled_already() {
        let denied = |kind| match kind {
            "SelinuxProfile" => selinux_settings(&json!({ "options": { "deniedTypes": ["etc_t"] } })),
            _ => selinux_settings(&json!({ "enableRawSelinuxProfiles": false })),
        };
        for kind in ["SelinuxProfile", "RawSelinuxProfile"] {
            let (mut builder, all) = (Builder::default(), [selinux(kind)]);
            let first = plan(&mut builder, &all, ALL, &open());
            assert_eq!(first.artefacts.len(), 1, "{kind}: {:?}", first.verdicts);
            builder.take_back(first.artefacts, &first.verdicts);
            let strict = plan(&mut builder, &all, ALL, &denied(kind));
            let refusal = refusal(&strict, "web");
            assert_eq!(
                (refusal.reason, refusal.keep),
                (ErrorReason::NotAllowed, false),
                "{kind}: {refusal:?}"
            );
            let again = plan(&mut builder, &all, ALL, &open());
            assert_eq!(again.artefacts.len(), 1, "{kind}: {:?}", again.verdicts);
        }
    }

    #[test]
    fn unreadable_settings_let_no_new_selinux_profile_through_and_remove_none() {
        let broken = Settings { allowed: Err("odd".to_owned()), mode: None };
        for kind in ["SelinuxProfile", "RawSelinuxProfile"] {
            let fresh = plan(&mut Builder::default(), &[selinux(kind)], ALL, &broken);
            let refusal = refusal(&fresh, "web");
            assert!(refusal.keep && refusal.message.contains("odd"), "{kind}: {refusal:?}");
        }
        // The built-in list denies this; settings that cannot be read now allowed it once.
        let shadow =
            object("SelinuxProfile", "web", &json!({ "allow": { "shadow_t": { "file": ["read"] } } }));
        let generous = selinux_settings(&json!({ "options": { "allowedTypes": ["shadow_t"] } }));
        let first = plan(&mut Builder::default(), std::slice::from_ref(&shadow), ALL, &generous);
        let there = &first.artefacts[0];
        let entry = Placed { kind: there.kind, sha256: digest(&there.bytes), ..placed("web") };
        let mut ledger = Ledger::default();
        ledger.entries.insert(there.path.clone(), entry);
        let documents = cache(&[shadow]);
        let again = Builder::default().plan(&documents, ALL, &broken, &ledger, KUBELET);
        assert_eq!(again.artefacts.len(), 1, "{:?}", again.verdicts);
        // In another namespace it is another profile, at the same place on the host.
        let elsewhere = ProfileKey::new(Some("staging"), "web").expect("a key");
        ledger.entries.values_mut().for_each(|entry| entry.key = elsewhere.clone());
        let other = Builder::default().plan(&documents, ALL, &broken, &ledger, KUBELET);
        assert!(other.artefacts.is_empty(), "{:?}", other.verdicts);
    }

    #[test]
    fn what_cannot_be_judged_stays() {
        let mut builder = Builder::default();
        let unreadable = object("SeccompProfile", "odd", &json!({ "defaultAction": "SCMP_ACT_NONSENSE" }));
        let plan = plan(&mut builder, &[unreadable], ALL, &open());
        assert_eq!(refusal(&plan, "odd").reason, ErrorReason::Invalid);
        assert!(plan.keeps(&placed("odd"), |_| true));
        assert!(!plan.keeps(&placed("gone"), |_| true));
        assert!(plan.keeps(&placed("gone"), |_| false), "its namespace is not watched");
    }

    /// It is in the kernel that pods are confined by these, and not by what they were started with.
    #[test]
    fn what_is_switched_off_stays_while_pods_use_it() {
        let off = |kind: &str, in_use: bool| {
            let body = json!({ "state": "Disabled", "policy": "(allow process etc_t (file (read)))" });
            let seccomp = json!({ "state": "Disabled", "defaultAction": "SCMP_ACT_ERRNO" });
            let mut document = object(kind, "web", if kind == "SeccompProfile" { &seccomp } else { &body });
            if in_use {
                document["metadata"]["finalizers"] = json!(["x", "in-use-by-active-pods"]);
            }
            document
        };
        for (kind, stays) in
            [("AppArmorProfile", true), ("RawSelinuxProfile", true), ("SeccompProfile", false)]
        {
            let entry = Placed { kind: kind.parse().expect("a kind"), ..placed("web") };
            let mut ledger = Ledger::default();
            ledger.entries.insert("etc/some/file".parse().expect("a path"), entry.clone());
            let plan = |in_use, ledger: &Ledger| {
                let documents = cache(&[off(kind, in_use)]);
                let plan = Builder::default().plan(&documents, ALL, &open(), ledger, KUBELET);
                let Verdict::Nothing(ProfileState::Disabled, why) = plan.verdicts[0].1 else {
                    panic!("{kind}: {:?}", plan.verdicts)
                };
                (plan.keeps(&entry, |_| true), why.is_some())
            };
            assert_eq!(plan(true, &ledger), (stays, stays), "{kind}");
            assert_eq!(plan(false, &ledger), (false, false), "{kind}: nobody uses it");
            assert_eq!(plan(true, &Ledger::default()), (false, false), "{kind}: it never was there");
        }
    }

    /// Unloading AppArmor profiles would free the pods that run under them.
    #[test]
    fn a_kind_that_is_switched_off_is_left_alone() {
        let kinds = Kinds { seccomp: false, ..ALL };
        let plan = plan(&mut Builder::default(), &[profile("web", &["read"])], kinds, &open());
        assert!(plan.artefacts.is_empty());
        assert!(matches!(&plan.verdicts[0].1, Verdict::Nothing(ProfileState::Disabled, Some(_))));
        assert!(plan.keeps(&placed("gone"), |_| true));
    }

    #[test]
    fn a_kubelet_may_be_elsewhere() {
        let documents = cache(&[profile("web", &["read"])]);
        let plan = Builder::default().plan(&documents, ALL, &open(), &Ledger::default(), "data/kubelet");
        assert_eq!(plan.artefacts[0].path.as_str(), "data/kubelet/seccomp/operator/production/web.json");
    }

    #[test]
    fn the_oldest_comes_first() {
        let mut young = profile("a", &["read"]);
        young["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        let plan = plan(&mut Builder::default(), &[young, profile("b", &["read"])], ALL, &open());
        assert_eq!(plan.artefacts[0].key.name.as_str(), "b");
    }

    fn placed(name: &str) -> Placed {
        Placed {
            kind: Kind::SeccompProfile,
            key: ProfileKey::new(Some("production"), name).expect("a key"),
            kernel_name: None,
            source: String::new(),
            sha256: String::new(),
            pending: false,
            before: None,
            stamp: None,
            loaded: None,
        }
    }
}
