//! Binding: which profile each container of a new pod runs under.
//!
//! A binding is an enforcement, so what it says replaces what the pod says, and the pod's author is told; unless its
//! `onConflict` says otherwise, see below. For each container and each field of the security context (seccomp, SELinux,
//! AppArmor) the first of these decides:
//!
//! 1. a binding whose image is written exactly as the container's;
//! 2. a binding whose image means the same ([`Reference`](spo_model::image::Reference));
//! 3. a binding to the image's repository, whatever the tag (`imageMatch: Repository`);
//! 4. a binding to a [`Pattern`](spo_model::image::Pattern) (`imageMatch: Glob`), the one with the most literal
//!    characters first;
//! 5. a binding to `*`: one per field, which also sets the pod's own field, so that it holds for what is added later.
//!
//! Two bindings of one rank: the first by name. Where they are about the same image, a warning names the other.
//!
//! What is left out is always filled in. Where the pod's author has set the field himself, in the container or for all
//! containers that leave it out in the pod, the `onConflict` of the binding that decides counts:
//!
//! | `onConflict` | what the author says |
//! | --- | --- |
//! | `Override`, the default | is replaced |
//! | `Keep` | stays, whatever it is: a default and no enforcement, since a pod that says `Unconfined` evades it |
//! | `Deny` | refuses the pod, unless it is the same profile |
//!
//! The pod's field does not count as the author's where it says what the binding to `*` says: that binding may have put
//! it there. What an overriding `*` puts there also holds for containers whose own binding keeps.
//!
//! A binding whose profile does not exist refuses the pods that need it. A profile that exists and is not installed does
//! not: no container is started with a seccomp file, an AppArmor profile or an SELinux type that its node does not have,
//! so nothing runs unconfined, and it starts once the node has it. The names of AppArmor and SELinux are those of the
//! node, though, whatever the namespace: a pod is refused while another profile has the name or is to get it
//! ([`Index::name_of_another`]), since it would run under that one.
//!
//! No pod is exempt, whatever its labels say. Pods for Windows are left alone: a node with Linux refuses them.
//!
//! Requests that are looked at: CREATE of pods, and UPDATE of `pods/ephemeralcontainers`, where the containers that
//! come in addition are treated as if they had been there from the start.

mod author;
mod choice;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spo_model::{binding::OnConflict, status::ProfileState};

use self::author::Said;
pub(super) use self::choice::{Bindings, Found};
use super::{
    index::{Absent, Binding, Index, Profile, Slot},
    pod,
    review::{Answer, Request, clip},
};

/// Decides about a pod.
pub fn admit(request: &Request, index: &Index) -> Answer {
    let lists: &[&str] = if request.is_about_pods("", "CREATE") {
        &pod::LISTS
    } else if request.is_about_pods("ephemeralcontainers", "UPDATE") {
        &["ephemeralContainers"]
    } else {
        return Answer::allow();
    };
    let whole = lists.len() > 1;
    if pod::containers(&request.object, "containers").is_empty() {
        return Answer::invalid("the request holds no pod: spec.containers is missing or empty");
    }
    if let [broken, ..] = index.unreadable_bindings(&request.namespace) {
        return Answer::forbid(format!(
            "ProfileBinding {}/{} cannot be read, so nobody knows what it enforces here: {}; \
             correct or delete it",
            broken.namespace, broken.name, broken.reason
        ));
    }
    let labels = pod::labels(&request.object);
    let bindings = Bindings::of(index, &request.namespace, &labels);
    if bindings.is_empty() {
        return Answer::allow();
    }
    if request.object["spec"]["os"]["name"] == "windows" {
        return Answer {
            warnings: vec!["profiles are not bound to pods for Windows".to_owned()],
            ..Answer::allow()
        };
    }
    if let Some(excess) = pod::excess(&request.object) {
        return Answer::invalid(excess);
    }
    let there: BTreeSet<&str> =
        pod::containers(&request.old_object, "ephemeralContainers").iter().map(pod::name).collect();
    let mut work = Work {
        request,
        index,
        bindings: &bindings,
        pod: request.object.clone(),
        whole,
        warnings: Vec::new(),
        refusals: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        audit: Vec::new(),
    };
    work.warnings.extend(bindings.unused.iter().cloned());
    for slot in Slot::ALL {
        if whole && let Some(binding) = bindings.any(slot) {
            work.confine_pod(slot, binding);
        }
        for list in lists {
            for (i, container) in pod::containers(&request.object, list).iter().enumerate() {
                // Containers that are there already cannot be changed.
                if !whole && there.contains(pod::name(container)) {
                    continue;
                }
                let image = container["image"].as_str().unwrap_or_default();
                if let Some(found) = bindings.find(slot, image) {
                    work.confine_container(slot, list, i, container, &found);
                }
            }
        }
    }
    work.answer()
}

/// A pod on its way.
struct Work<'a> {
    request: &'a Request,
    index: &'a Index,
    bindings: &'a Bindings<'a>,
    pod: Value,
    /// Whether the pod itself is being made, so that all of it can be changed.
    whole: bool,
    warnings: Vec<String>,
    /// Why the pod is refused, once per binding however many containers it is about.
    refusals: BTreeMap<String, String>,
    /// What the pod says and a binding denies, by the binding and the place.
    conflicts: BTreeMap<(String, String), String>,
    audit: Vec<String>,
}

impl<'a> Work<'a> {
    fn confine_pod(&mut self, slot: Slot, binding: &Binding) {
        let said = Said::of_pod(&self.request.object, slot);
        if self.keeps(slot, binding, said.as_ref(), "pod") {
            return;
        }
        let Some(profile) = self.resolve(binding, "the pod") else { return };
        if self.denies(slot, binding, &profile, said.as_ref(), "the pod") {
            return;
        }
        let before = pod::field(&self.pod["spec"], slot).cloned();
        if let Some(spec) = self.pod.get_mut("spec")
            && !pod::says(before.as_ref(), slot, &profile.usage)
        {
            pod::confine(spec, slot, &profile.usage, None);
            self.tell_replaced(slot, binding, &profile, before.as_ref(), "the pod");
        }
        pod::confine_annotation(&mut self.pod, slot, None, &profile.usage);
        self.audit.push(format!("pod {} {} by {}", profile.kind, profile.key, binding.name));
    }

    fn confine_container(&mut self, slot: Slot, list: &str, i: usize, container: &Value, found: &Found<'_>) {
        let name = pod::name(container);
        let who = format!("container {:?}", clip(name, 63));
        let said = self.author_says(slot, list, i, found.binding);
        if self.keeps(slot, found.binding, said.as_ref(), name) {
            return;
        }
        let Some(profile) = self.resolve(found.binding, &who) else { return };
        if self.denies(slot, found.binding, &profile, said.as_ref(), &who) {
            return;
        }
        let own = pod::field(container, slot);
        let annotated = self.whole && pod::old_annotation(&self.pod, slot, name).is_some();
        let of_pod = pod::field(&self.pod["spec"], slot);
        let inherits = own.is_none() && !annotated && pod::says(of_pod, slot, &profile.usage);
        if slot == Slot::Seccomp && pod::is_privileged(container) {
            self.warnings.push(format!(
                "{who} is privileged: container runtimes leave the seccomp profile of ProfileBinding {} out",
                found.binding.name
            ));
        }
        if found.by_wildcard && inherits {
            return;
        }
        if !pod::says(own, slot, &profile.usage) {
            let of_pod = of_pod.filter(|_| slot == Slot::Selinux).cloned();
            if let Some(target) = pod::container_mut(&mut self.pod, list, i) {
                pod::confine(target, slot, &profile.usage, of_pod.as_ref());
            }
            self.tell_replaced(slot, found.binding, &profile, own, &who);
        }
        if self.whole {
            pod::confine_annotation(&mut self.pod, slot, Some(name), &profile.usage);
        }
        self.audit.push(format!("{name} {} {} by {}", profile.kind, profile.key, found.binding.name));
    }

    /// What the pod's author says about a container, if its binding asks for that.
    fn author_says(&self, slot: Slot, list: &str, i: usize, binding: &Binding) -> Option<Said<'a>> {
        if binding.on_conflict == OnConflict::Override {
            return None;
        }
        let pod = &self.request.object;
        let own = Said::of_container(pod, slot, (list, i), self.whole);
        if own.is_some() || pod::field(&pod["spec"][list][i], slot).is_some() {
            return own;
        }
        let said = Said::of_pod(pod, slot)?;
        let any = self.bindings.any(slot);
        let bound = any.and_then(|any| self.index.profile(&self.request.namespace, any.kind, &any.profile));
        (!bound.is_some_and(|profile| said.is(slot, profile))).then_some(said)
    }

    /// Whether a binding leaves what the author says.
    fn keeps(&mut self, slot: Slot, binding: &Binding, said: Option<&Said<'_>>, name: &str) -> bool {
        let Some(said) = said.filter(|_| binding.on_conflict == OnConflict::Keep) else { return false };
        let meaning = clip(&said.meaning, 64);
        self.audit.push(format!("{name} keeps the {} {meaning:?} despite {}", slot.name(), binding.name));
        true
    }

    /// Whether a binding refuses what the author says.
    fn denies(
        &mut self,
        slot: Slot,
        binding: &Binding,
        profile: &Profile,
        said: Option<&Said<'_>>,
        who: &str,
    ) -> bool {
        let conflict = said.filter(|said| binding.on_conflict == OnConflict::Deny && !said.is(slot, profile));
        let Some(said) = conflict else { return false };
        let key = (binding.name.clone(), said.place.clone());
        self.conflicts.entry(key).or_insert_with(|| {
            format!(
                "ProfileBinding {}/{} gives {who} the {} {:?}, but {} says {:?}; leave that out, or say the same",
                self.request.namespace,
                binding.name,
                slot.name(),
                profile.usage,
                said.place,
                clip(&said.meaning, 64),
            )
        });
        true
    }

    /// The profile of a binding, if a pod may run under it.
    fn resolve(&mut self, binding: &Binding, who: &str) -> Option<Profile> {
        let namespace = &self.request.namespace;
        let (kind, name) = (binding.kind, &binding.profile);
        let by = format!("ProfileBinding {namespace}/{}", binding.name);
        let Some(profile) = self.index.profile(namespace, kind, name) else {
            self.refusals.entry(binding.name.clone()).or_insert_with(|| {
                format!(
                    "{by} applies to {who}, but there is no {kind} {name:?} in namespace {namespace}; \
                     create the profile, or change or delete the binding"
                )
            });
            return None;
        };
        if self.index.name_of_another(profile).is_some() {
            // Not whose it is: that is another tenant's business.
            let state = waits(profile).unwrap_or_default();
            self.refusals.entry(binding.name.clone()).or_insert_with(|| {
                format!(
                    "{by} applies to {who}, but {kind} {} is {state} and another profile holds the name {:?} on the \
                     nodes; rename the profile",
                    profile.key, profile.usage
                )
            });
            return None;
        }
        if let Some(state) = waits(profile) {
            self.warnings.push(format!(
                "{kind} {} of {by} is {state}: containers do not start until it is installed",
                profile.key
            ));
        }
        Some(profile.clone())
    }

    fn tell_replaced(
        &mut self,
        slot: Slot,
        binding: &Binding,
        profile: &Profile,
        before: Option<&Value>,
        who: &str,
    ) {
        let before = before.map(|field| pod::meaning(field, slot)).filter(|text| !text.is_empty());
        if let Some(before) = before {
            self.warnings.push(format!(
                "ProfileBinding {} replaces the {} {:?} of {who} by {:?}",
                binding.name,
                slot.name(),
                clip(&before, 64),
                profile.usage
            ));
        }
    }

    fn answer(self) -> Answer {
        if !self.refusals.is_empty() || !self.conflicts.is_empty() {
            let more = self.conflicts.len().saturating_sub(CONFLICTS);
            let more =
                (more > 0).then(|| format!("and {more} more places say something else than their binding"));
            let conflicts = self.conflicts.into_values().take(CONFLICTS);
            let lines: Vec<_> = self.refusals.into_values().chain(conflicts).chain(more).collect();
            return Answer { warnings: self.warnings, ..Answer::forbid(lines.join("\n")) };
        }
        let mut audit = BTreeMap::new();
        if !self.audit.is_empty() {
            audit.insert("bound".to_owned(), clip(&self.audit.join("; "), AUDIT_LENGTH));
        }
        let patch = Some(json_patch::diff(&self.request.object, &self.pod));
        Answer { refusal: None, patch, warnings: self.warnings, audit }
    }
}

/// So many conflicts are told one by one.
const CONFLICTS: usize = 10;

/// A pod can have a thousand containers; an entry of the audit log should not.
const AUDIT_LENGTH: usize = 2048;

/// The word for a profile that containers have to wait for.
fn waits(profile: &Profile) -> Option<String> {
    match (profile.absent, profile.state) {
        (Some(Absent::Disabled), _) => Some("disabled".to_owned()),
        (Some(Absent::Partial), _) => Some("a partial recording".to_owned()),
        (Some(Absent::Terminating), _) => Some("being deleted".to_owned()),
        (None, Some(ProfileState::Installed)) => None,
        (None, Some(state)) => Some(format!("in state {state}")),
        (None, None) => Some("not installed yet".to_owned()),
    }
}

#[cfg(test)]
mod tests;
