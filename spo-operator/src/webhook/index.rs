//! What requests are answered from: an immutable view of the cluster, built from hub objects and swapped as a whole.
//!
//! ```text
//! objects ──Index::new──► index ──Shared::swap──► every request that starts from now on
//! ```

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, PoisonError, RwLock},
};

use spo_model::{
    Severity, State,
    binding::{BoundKind, OnConflict},
    image::BoundImage,
    kind::{Kind, Scope},
    kubernetes::LabelSelector,
    names::{NamespaceName, ProfileKey},
    object::{AnyObject, Metadata, ProfileBinding, ProfileRecording},
    recording::ProfileRecordingSpec,
    status::ProfileState,
    validate::validate,
};
use spo_node::compile::Library;

use super::configuration::Configuration;

/// The field of a security context that a profile goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// `seccompProfile`.
    Seccomp,
    /// `seLinuxOptions.type`, which SelinuxProfile and RawSelinuxProfile share.
    Selinux,
    /// `appArmorProfile`.
    AppArmor,
}

impl Slot {
    /// Every field.
    pub const ALL: [Self; 3] = [Self::Seccomp, Self::Selinux, Self::AppArmor];

    /// The field of a kind of profile; `None` for other kinds.
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::SeccompProfile => Some(Self::Seccomp),
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => Some(Self::Selinux),
            Kind::AppArmorProfile => Some(Self::AppArmor),
            _ => None,
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp profile",
            Self::Selinux => "SELinux type",
            Self::AppArmor => "AppArmor profile",
        }
    }
}

/// How the operator is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The operator's own namespace.
    pub operator_namespace: NamespaceName,
    /// Whether profiles have a namespace.
    pub scope: Scope,
}

/// A compiled ProfileBinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// The kind of the profile.
    pub kind: Kind,
    /// The field it sets.
    pub slot: Slot,
    /// The profile's name.
    pub profile: String,
    /// The images.
    pub image: BoundImage,
    /// What happens where a pod says something else.
    pub on_conflict: OnConflict,
    selector: Option<LabelSelector>,
}

/// A ProfileRecording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Its name.
    pub name: String,
    /// What is recorded.
    pub spec: ProfileRecordingSpec,
}

/// What is known about a profile that pods can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its kind.
    pub kind: Kind,
    /// Its name and namespace.
    pub key: ProfileKey,
    /// What a security context has to say to use it.
    pub usage: String,
    /// Where it stands on the nodes; `None` if nobody has said yet.
    pub state: Option<ProfileState>,
    /// Why it will not be installed, if it will not.
    pub absent: Option<Absent>,
    /// When it was made, as text that sorts.
    created: String,
}

impl Profile {
    /// Less for the one of two with one name that nodes have under it, or will have.
    fn claim(&self) -> (bool, bool, bool, &str) {
        let installed = self.state == Some(ProfileState::Installed);
        (self.absent.is_some(), !installed, self.state == Some(ProfileState::Error), &self.created)
    }
}

/// Why a profile that exists is not put on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// `spec.state` says so.
    Disabled,
    /// It is part of a recording that is merged later.
    Partial,
    /// It is being deleted.
    Terminating,
}

/// An object that is there and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The view.
#[derive(Clone, Debug)]
pub struct Index {
    settings: Settings,
    bindings: BTreeMap<String, Vec<Binding>>,
    recordings: BTreeMap<String, Vec<Recording>>,
    unreadable: BTreeMap<String, Vec<Unreadable>>,
    profiles: BTreeMap<(Kind, ProfileKey), Profile>,
    users: BTreeMap<(Slot, String), Vec<(Kind, ProfileKey)>>,
    library: Library,
    configuration: Configuration,
}

impl Index {
    /// Builds the view from every object that there is, in any order.
    ///
    /// A binding that breaks a rule is kept as unreadable: nobody knows what it would enforce. A recording that
    /// breaks one records nothing.
    pub fn new<'a>(
        settings: Settings,
        objects: impl IntoIterator<Item = &'a AnyObject>,
        unreadable: impl IntoIterator<Item = Unreadable>,
    ) -> Self {
        let library = Library::sharing(settings.operator_namespace.clone());
        let mut index = Self {
            settings,
            bindings: BTreeMap::new(),
            recordings: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            profiles: BTreeMap::new(),
            users: BTreeMap::new(),
            library,
            configuration: Configuration::Absent,
        };
        let mut configurations = Vec::new();
        for object in objects {
            match object {
                AnyObject::SecurityProfilesOperatorDaemon(daemon) => {
                    if daemon.metadata.namespace.as_ref() == Some(&index.settings.operator_namespace) {
                        let settings = Configuration::Settings(Arc::new(daemon.spec.clone()));
                        configurations.push((object.name().to_owned(), settings));
                    }
                }
                _ => index.add(object),
            }
        }
        for object in unreadable {
            match object.kind {
                Kind::ProfileBinding => {
                    index.unreadable.entry(object.namespace.clone()).or_default().push(object);
                }
                Kind::SecurityProfilesOperatorDaemon
                    if object.namespace == index.settings.operator_namespace.as_str() =>
                {
                    configurations.push((object.name, Configuration::Unreadable(object.reason)));
                }
                _ => {}
            }
        }
        index.configuration = Configuration::of(configurations);
        index.bindings.values_mut().for_each(|list| list.sort_by(|a, b| a.name.cmp(&b.name)));
        index.recordings.values_mut().for_each(|list| list.sort_by(|a, b| a.name.cmp(&b.name)));
        index.unreadable.values_mut().for_each(|list| list.sort_by(|a, b| a.name.cmp(&b.name)));
        for profile in index.profiles.values() {
            if let Some(slot) = Slot::of(profile.kind) {
                let name = (profile.kind, profile.key.clone());
                index.users.entry((slot, profile.usage.clone())).or_default().push(name);
            }
        }
        index
    }

    /// The same of an operator that sees some namespaces only.
    #[must_use]
    pub fn seeing(self, namespaces: Option<Vec<NamespaceName>>) -> Self {
        Self { library: self.library.seeing(namespaces), ..self }
    }

    /// How the operator is installed.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bindings of a namespace that select a pod with these labels, by name.
    pub fn bindings<'a>(
        &'a self,
        namespace: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Binding> {
        let list = self.bindings.get(namespace).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter(|binding| binding.selector.as_ref().is_none_or(|s| s.matches(labels)))
    }

    /// The recordings of a namespace that select a pod with these labels, by name.
    pub fn recordings<'a>(
        &'a self,
        namespace: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Recording> {
        let list = self.recordings.get(namespace).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter(|recording| recording.spec.pod_selector.matches(labels))
    }

    /// The bindings of a namespace that cannot be used.
    pub fn unreadable_bindings(&self, namespace: &str) -> &[Unreadable] {
        self.unreadable.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// The profile a binding of a namespace means: the namespace's own, else one without a namespace.
    ///
    /// SelinuxProfile and RawSelinuxProfile share their names in the kernel, so a reference to the one finds the
    /// other where only that exists.
    pub fn profile(&self, namespace: &str, kind: Kind, name: &str) -> Option<&Profile> {
        let other = match kind {
            Kind::SelinuxProfile => Kind::RawSelinuxProfile,
            Kind::RawSelinuxProfile => Kind::SelinuxProfile,
            kind => kind,
        };
        [Some(namespace), None].into_iter().find_map(|namespace| {
            let key = ProfileKey::new(namespace, name).ok()?;
            let own = self.profiles.get(&(kind, key.clone()));
            own.or_else(|| self.profiles.get(&(other, key)))
        })
    }

    /// The other profile that has a profile's name in the kernel, or will get it: a pod that asks for the name would run
    /// under that one.
    ///
    /// Nodes keep a name with whoever has it. Else the oldest gets it, then the first by name, as the agents have it
    /// (`daemon::plan`); one that is not to be installed gets none, but may still have it.
    pub fn name_of_another(&self, profile: &Profile) -> Option<&Profile> {
        if profile.state == Some(ProfileState::Installed) && profile.absent.is_none() {
            return None;
        }
        let users = self.users.get(&(Slot::of(profile.kind)?, profile.usage.clone()))?;
        let others = users.iter().filter(|(kind, key)| (*kind, key) != (profile.kind, &profile.key));
        let age = |profile: &Profile| (profile.created.clone(), profile.key.clone(), profile.kind);
        let before = |other: &&Profile| {
            let may_have_it =
                other.state == Some(ProfileState::Installed) || other.absent == Some(Absent::Terminating);
            let gets_it = other.absent.is_none() && other.state != Some(ProfileState::Error);
            may_have_it
                || gets_it
                    && (profile.absent.is_some()
                        || profile.state == Some(ProfileState::Error)
                        || age(other) < age(profile))
        };
        others.filter_map(|name| self.profiles.get(name)).find(before)
    }

    /// The profiles that others build on.
    pub const fn library(&self) -> &Library {
        &self.library
    }

    /// The operator's configuration.
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    fn add(&mut self, object: &AnyObject) {
        self.library.add(object);
        match object {
            AnyObject::ProfileBinding(binding) => self.add_binding(object, binding),
            AnyObject::ProfileRecording(recording) => self.add_recording(object, recording),
            _ => {
                if let Some(profile) = profile(object) {
                    self.add_profile(profile);
                }
            }
        }
    }

    /// Two resources hold AppArmor profiles, so two objects may have one name. Nodes put one of them under it, and the
    /// other one is in an error.
    fn add_profile(&mut self, profile: Profile) {
        match self.profiles.entry((profile.kind, profile.key.clone())) {
            Entry::Vacant(new) => drop(new.insert(profile)),
            Entry::Occupied(mut there) => {
                if profile.claim() < there.get().claim() {
                    there.insert(profile);
                }
            }
        }
    }

    fn add_binding(&mut self, object: &AnyObject, binding: &ProfileBinding) {
        let (namespace, name) = (namespace_of(&binding.metadata), object.name().to_owned());
        if is_terminating(&binding.metadata) {
            return;
        }
        let kind = match binding.spec.profile_ref.kind {
            BoundKind::SeccompProfile => Kind::SeccompProfile,
            BoundKind::SelinuxProfile => Kind::SelinuxProfile,
            BoundKind::RawSelinuxProfile => Kind::RawSelinuxProfile,
            BoundKind::AppArmorProfile => Kind::AppArmorProfile,
        };
        let spec = &binding.spec;
        let image = BoundImage::read(&spec.image, spec.image_match.unwrap_or_default());
        let broken = first_error(object).or_else(|| image.as_ref().err().map(ToString::to_string));
        match (broken, image, Slot::of(kind)) {
            (None, Ok(image), Some(slot)) => {
                let (profile, selector) = (spec.profile_ref.name.clone(), spec.pod_selector.clone());
                let on_conflict = spec.on_conflict.unwrap_or_default();
                let compiled = Binding { name, kind, slot, profile, image, on_conflict, selector };
                self.bindings.entry(namespace).or_default().push(compiled);
            }
            (reason, ..) => {
                let reason = reason.unwrap_or_default();
                let entry =
                    Unreadable { kind: Kind::ProfileBinding, namespace: namespace.clone(), name, reason };
                self.unreadable.entry(namespace).or_default().push(entry);
            }
        }
    }

    fn add_recording(&mut self, object: &AnyObject, recording: &ProfileRecording) {
        if first_error(object).is_some() || is_terminating(&recording.metadata) {
            return;
        }
        let compiled = Recording { name: object.name().to_owned(), spec: recording.spec.clone() };
        self.recordings.entry(namespace_of(&recording.metadata)).or_default().push(compiled);
    }
}

/// The index that requests see now, and its replacement.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<RwLock<Option<Arc<Index>>>>);

impl Shared {
    /// The index; `None` until the first one is there.
    pub fn get(&self) -> Option<Arc<Index>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the index for every request that starts from now on.
    pub fn swap(&self, index: Index) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
    }
}

fn profile(object: &AnyObject) -> Option<Profile> {
    let key = object.key()?;
    let (usage, state) = match object {
        // Nobody's status may point at another namespace's file: the path follows from the name.
        AnyObject::SeccompProfile(p) => (key.seccomp_path().ok()?, p.status.as_ref().and_then(|s| s.status)),
        AnyObject::AppArmorProfile(p) => (key.apparmor_profile(), p.status.as_ref().and_then(|s| s.status)),
        AnyObject::SelinuxProfile(p) => selinux(&key, p.status.as_ref()),
        AnyObject::RawSelinuxProfile(p) => selinux(&key, p.status.as_ref()),
        _ => return None,
    };
    let metadata = object.metadata();
    let absent = if is_terminating(metadata) {
        Some(Absent::Terminating)
    } else if metadata.is_partial() {
        Some(Absent::Partial)
    } else {
        (object.state() == Some(State::Disabled)).then_some(Absent::Disabled)
    };
    let created = metadata.other.get("creationTimestamp").and_then(|time| time.as_str()).unwrap_or_default();
    Some(Profile { kind: object.kind(), key, usage, state, absent, created: created.to_owned() })
}

/// The type that the status announces, if it is one of this profile's names; a profile whose short name belongs to
/// another one is known by its alias.
fn selinux(
    key: &ProfileKey,
    status: Option<&spo_model::selinux::SelinuxProfileStatus>,
) -> (String, Option<ProfileState>) {
    let announced = status.and_then(|s| s.usage.clone()).filter(|usage| key.selinux_usages().contains(usage));
    (announced.unwrap_or_else(|| key.selinux_usage()), status.and_then(|s| s.status))
}

fn first_error(object: &AnyObject) -> Option<String> {
    validate(object).into_iter().find(|d| d.severity == Severity::Error).map(|d| d.to_string())
}

fn namespace_of(metadata: &Metadata) -> String {
    metadata.namespace.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn is_terminating(metadata: &Metadata) -> bool {
    metadata.other.get("deletionTimestamp").is_some_and(|time| !time.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::webhook::fixture::{index, object};

    fn seccomp(namespace: Option<&str>, status: &Value) -> AnyObject {
        object(&json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"defaultAction": "SCMP_ACT_ERRNO"}, "status": status,
        }))
    }

    #[test]
    fn a_status_that_names_another_namespaces_path_is_not_believed() {
        let hostile =
            seccomp(Some("production"), &json!({"localhostProfile": "operator/kube-system/allow-all.json"}));
        let index = index([&hostile]);
        let profile = index.profile("production", Kind::SeccompProfile, "web").expect("a profile");
        assert_eq!(profile.usage, "operator/production/web.json");
    }

    #[test]
    fn both_scopes_are_found_and_the_own_namespace_comes_first() {
        let (own, global) = (seccomp(Some("production"), &json!({})), seccomp(None, &json!({})));
        let usage = |objects: &[&AnyObject], namespace: &str| {
            index(objects.iter().copied())
                .profile(namespace, Kind::SeccompProfile, "web")
                .map(|p| p.usage.clone())
        };
        assert_eq!(usage(&[&own, &global], "production").as_deref(), Some("operator/production/web.json"));
        assert_eq!(usage(&[&own, &global], "staging").as_deref(), Some("operator/web.json"));
        assert_eq!(usage(&[&own], "staging"), None, "another tenant's profile is out of reach");
    }

    /// `apparmorprofiles` under both spellings of their kind.
    #[test]
    fn of_two_profiles_of_one_name_the_one_that_nodes_have_counts() {
        let made = |kind: &str, status: &str, state: &str| {
            object(&json!({
                "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": kind,
                "metadata": {"name": "web", "namespace": "production"},
                "spec": {"abstract": {}, "state": state}, "status": {"status": status},
            }))
        };
        let (kind, alias) = ("AppArmorProfile", "ApparmorProfile");
        for (first, second) in [(kind, alias), (alias, kind)] {
            for (status, state) in [("Error", "Enabled"), ("Pending", "Enabled"), ("Installed", "Disabled")] {
                let (owner, other) = (made(first, "Installed", "Enabled"), made(second, status, state));
                for objects in [[&owner, &other], [&other, &owner]] {
                    let index = index(objects);
                    let found = index.profile("production", Kind::AppArmorProfile, "web").expect("a profile");
                    assert_eq!(
                        (found.state, found.absent),
                        (Some(ProfileState::Installed), None),
                        "{status}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_raw_profile_is_found_and_its_alias_believed() {
        let raw = |usage: &str| {
            object(&json!({
                "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "RawSelinuxProfile",
                "metadata": {"name": "web", "namespace": "production"},
                "spec": {"policy": "(blockinherit container)"}, "status": {"usage": usage},
            }))
        };
        for (announced, used) in
            [("web_production.process", "web_production.process"), ("unconfined_t", "web.process")]
        {
            let raw = raw(announced);
            for kind in [Kind::SelinuxProfile, Kind::RawSelinuxProfile] {
                let index = index([&raw]);
                assert_eq!(index.profile("production", kind, "web").expect("found").usage, used);
            }
        }
    }

    #[test]
    fn a_binding_with_a_selector_that_means_nothing_is_unreadable() {
        let binding = object(&json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "ProfileBinding",
            "metadata": {"name": "b", "namespace": "production"},
            "spec": {"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": "*",
                     "podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        }));
        let index = index([&binding]);
        assert_eq!(index.bindings("production", &BTreeMap::new()).count(), 0);
        let found = index.unreadable_bindings("production");
        assert_eq!(found.len(), 1);
        assert!(found[0].reason.contains("In needs values"), "{}", found[0].reason);
    }

    #[test]
    fn the_configuration_of_another_namespace_is_nobodys() {
        let daemon = |namespace: &str| {
            object(&json!({
                "apiVersion": "security-profiles-operator.x-k8s.io/v1",
                "kind": "SecurityProfilesOperatorDaemon",
                "metadata": {"name": "spod", "namespace": namespace},
                "spec": {"verbosity": 1},
            }))
        };
        assert_eq!(*index([&daemon("tenant")]).configuration(), Configuration::Absent);
        assert!(index([&daemon("security-profiles-operator")]).configuration().settings().is_some());
    }
}
