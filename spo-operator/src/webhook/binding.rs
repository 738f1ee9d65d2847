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
//! A privileged container is bound like any other, but container runtimes give it neither a seccomp profile nor an
//! SELinux type. Taking `privileged` away would break it, so its author and the audit log are told; only `Deny` refuses
//! it.
//!
//! Requests that are looked at: CREATE of pods; UPDATE of `pods/ephemeralcontainers`, where the containers that come in
//! addition are treated as if they had been there from the start; and UPDATE of pods, where containers with another
//! image are only looked at (`update`), since the profile of a container never changes.

mod author;
mod choice;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;
use spo_model::{binding::OnConflict, status::ProfileState};

use self::author::Said;
pub(super) use self::choice::{Bindings, Found};
use super::{
    index::{Absent, Binding, Index, Profile, Slot},
    pod,
    review::{Answer, Request, clip},
    warnings::Warnings,
};

/// Decides about a pod.
pub fn admit(request: &Request, index: &Index) -> Answer {
    let Some(asked) = Asked::of(request) else { return Answer::allow() };
    if pod::containers(&request.object, "containers").is_empty() {
        return Answer::invalid("the request holds no pod: spec.containers is missing or empty");
    }
    let there = asked.there(&request.old_object);
    let is_new = |list, container| !there.contains(&asked.identity(list, container));
    let mut all = asked.lists().iter().flat_map(|list| {
        pod::containers(&request.object, list).iter().map(move |container| (*list, container))
    });
    if asked == Asked::Images && !all.any(|(list, container)| is_new(list, container)) {
        return Answer::allow();
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
    let mut work = Work {
        request,
        index,
        pod: request.object.clone(),
        whole: asked == Asked::Pod,
        warnings: bindings.unused.clone(),
        bindings,
        refusals: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        audit: String::new(),
    };
    for slot in Slot::ALL {
        if work.whole
            && let Some(binding) = work.bindings.any(slot)
        {
            work.confine_pod(slot, binding);
        }
        for list in asked.lists() {
            for (i, container) in pod::containers(&request.object, list).iter().enumerate() {
                if !is_new(list, container) {
                    continue;
                }
                match work.bindings.find(slot, pod::image(container)) {
                    Some(found) if asked == Asked::Images => work.look_at(slot, (list, i), &found),
                    Some(found) => work.confine_container(slot, list, i, container, &found),
                    None => {}
                }
            }
        }
    }
    work.answer()
}

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The pod is made, so that all of it can be changed.
    Pod,
    /// It gets more ephemeral containers. Those that are there already cannot be changed.
    Ephemeral,
    /// Some of it changes; of all that bindings are about, that can only be the images of containers.
    Images,
}

impl Asked {
    fn of(request: &Request) -> Option<Self> {
        let cases = [
            ("", "CREATE", Self::Pod),
            ("ephemeralcontainers", "UPDATE", Self::Ephemeral),
            ("", "UPDATE", Self::Images),
        ];
        cases.into_iter().find_map(|(part, does, asked)| request.is_about_pods(part, does).then_some(asked))
    }

    const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &pod::LISTS,
            Self::Ephemeral => &["ephemeralContainers"],
            Self::Images => &["initContainers", "containers"],
        }
    }

    /// What makes a container another one.
    fn identity<'a>(self, list: &'a str, container: &'a Value) -> [&'a str; 3] {
        let image = if self == Self::Images { pod::image(container) } else { "" };
        [list, pod::name(container), image]
    }

    /// The containers that are there already.
    fn there(self, old: &Value) -> BTreeSet<[&str; 3]> {
        let lists = if self == Self::Pod { &[] } else { self.lists() };
        let all = lists.iter().flat_map(|list| pod::containers(old, list).iter().map(move |c| (*list, c)));
        all.map(|(list, container)| self.identity(list, container)).collect()
    }
}

/// A pod on its way.
struct Work<'a> {
    request: &'a Request,
    index: &'a Index,
    bindings: Bindings<'a>,
    pod: Value,
    /// Whether the pod itself is being made, so that all of it can be changed.
    whole: bool,
    warnings: Warnings,
    /// Why the pod is refused, once per binding however many containers it is about.
    refusals: BTreeMap<String, String>,
    /// What the pod says and a binding denies, by the binding and the place.
    conflicts: BTreeMap<(String, String), String>,
    /// Not longer than the audit log takes, by one note at most.
    audit: String,
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
        self.note(format_args!("pod {} {} by {}", profile.kind, profile.key, binding.name));
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
        if self.is_left_out(slot, found.binding, (list, i), &profile, &who) {
            return;
        }
        let own = pod::field(container, slot);
        let annotated = self.whole && pod::old_annotation(&self.pod, slot, name).is_some();
        let of_pod = pod::field(&self.pod["spec"], slot);
        let inherits = own.is_none() && !annotated && pod::says(of_pod, slot, &profile.usage);
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
        let name = clip(name, 63);
        self.note(format_args!("{name} {} {} by {}", profile.kind, profile.key, found.binding.name));
    }

    /// Tells that a profile does not hold for a privileged container; whether the container is refused therefore.
    fn is_left_out(
        &mut self,
        slot: Slot,
        binding: &Binding,
        (list, i): (&str, usize),
        profile: &Profile,
        who: &str,
    ) -> bool {
        let container = &self.request.object["spec"][list][i];
        if !pod::goes_without(container, slot) {
            return false;
        }
        let (field, what) = (format!("spec.{list}[{i}].securityContext.privileged"), slot.name());
        if binding.on_conflict == OnConflict::Deny {
            let namespace = &self.request.namespace;
            self.conflicts.entry((binding.name.clone(), field)).or_insert_with_key(|(_, field)| {
                format!(
                    "ProfileBinding {namespace}/{} gives {who} the {what} {:?}, but {field} makes container runtimes \
                     leave that out; leave `privileged` out",
                    binding.name, profile.usage,
                )
            });
            return true;
        }
        self.warnings.push(format_args!(
            "{who} is privileged: container runtimes leave the {what} of ProfileBinding {} out",
            binding.name
        ));
        let name = clip(pod::name(container), 63);
        self.note(format_args!("{name} goes without the {what} of {}: it is privileged", binding.name));
        false
    }

    /// Takes note for the audit log.
    fn note(&mut self, text: fmt::Arguments<'_>) {
        if self.audit.len() <= AUDIT_LENGTH {
            let separator = if self.audit.is_empty() { "" } else { "; " };
            self.audit.push_str(&format!("{separator}{text}"));
        }
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
        let name = clip(name, 63);
        self.note(format_args!("{name} keeps the {} {meaning:?} despite {}", slot.name(), binding.name));
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
            self.warnings.push(format_args!(
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
            self.warnings.push(format_args!(
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
            return Answer { warnings: self.warnings.into_lines(), ..Answer::forbid(lines.join("\n")) };
        }
        let mut audit = BTreeMap::new();
        if !self.audit.is_empty() {
            audit.insert("bound".to_owned(), clip(&self.audit, AUDIT_LENGTH));
        }
        let patch = Some(json_patch::diff(&self.request.object, &self.pod));
        Answer { refusal: None, patch, warnings: self.warnings.into_lines(), audit }
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
