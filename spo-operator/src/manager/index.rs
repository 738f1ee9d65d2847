//! What is known, and what follows from it for each profile: a pure state machine that watches feed.
//!
//! ```text
//! profiles, bindings, node statuses, nodes, agents, pods ──take note──► Index ──wanted──► status, finalizers
//!                                                                   └─stale──► node statuses of nobody
//! ```

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodSpec;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use spo_model::{
    kind::Kind,
    status::{Condition, ConditionStatus, ProfileState},
};

use super::{
    bases,
    bindings::{self, Binding, Bindings, PodFacts},
    facts::{Id, NodeStatus, Profile},
    forbidden::{Blame, Policy},
    membership::{NodeFacts, Overlaps, overlaps, runs_on, stays_on},
    mirror::Mirror,
    reports::Reports,
};
use crate::{
    aggregate::Summary,
    cluster::{names, watch::Name},
    metrics::cluster::States,
    workloads::Use,
};

/// Whether the administrator's settings allow what a profile permits.
const ALLOWED: &str = "Allowed";

/// How the message of a node begins that refuses a profile for that reason; what is not allowed follows, in full.
const NOT_ALLOWED: &str = "not allowed: ";

/// The most characters of a refusal: the API takes 32,768 in a condition's message.
const REFUSED: usize = 32_000;

/// The most pods that a status names.
const PODS: usize = 20;

/// Something that a watch says, with the number of the watch.
#[derive(Debug)]
pub enum Fact {
    /// About a profile.
    Profile(Event<(Id, Option<Profile>)>),
    /// About a node status.
    Status(Event<(Name, Option<NodeStatus>)>),
    /// About a node.
    Node(Event<(Box<str>, Option<NodeFacts>)>),
    /// About a DaemonSet of agents.
    Agents(Event<(Name, Option<Box<PodSpec>>)>),
    /// About a pod that uses profiles.
    Pod(Event<(Name, Option<PodFacts>)>),
    /// About a binding.
    Binding(Event<(Id, Option<Binding>)>),
    /// About what a SPOD asks for about profiles that are not allowed.
    Policy(Event<(Name, Option<Policy>)>),
}

/// How many watches there are of each kind of thing that may be spread over namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Watches {
    /// Of profiles.
    pub profiles: usize,
    /// Of node statuses.
    pub statuses: usize,
    /// Of pods.
    pub pods: usize,
}

/// What statuses depend on besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The operator's namespace, whose profiles are everybody's.
    pub operator: Box<str>,
    /// The kubelet's directory on nodes.
    pub kubelet_dir: Box<str>,
}

/// How long a node is new. Its agent is started meanwhile, and says nothing about profiles that were there before.
const NEW: i64 = 120;

/// A node that agents are meant to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    ready: bool,
    created: Option<i64>,
}

impl Member {
    /// Whether the node has joined lately, after a profile was made. What such a node has not said yet holds nothing up:
    /// else each node that joins would make every profile wait.
    fn is_new_to(self, profile: &Profile, now: i64) -> bool {
        let later = self.created.zip(profile.created).is_some_and(|(node, profile)| node > profile);
        later && self.created.is_some_and(|created| now < created.saturating_add(NEW))
    }
}

/// What is known.
#[derive(Debug)]
pub struct Index {
    place: Place,
    watches: Watches,
    profiles: Mirror<Id, Profile>,
    reports: Reports,
    nodes: Mirror<Box<str>, NodeFacts>,
    agents: Mirror<Name, Box<PodSpec>>,
    pods: Mirror<Name, PodFacts>,
    bindings: Bindings,
    /// Which pods use a name.
    used: BTreeMap<Use, BTreeSet<Name>>,
    /// Which profiles have a name.
    named: BTreeMap<Use, BTreeSet<Id>>,
    /// The nodes that agents are meant to run on.
    members: BTreeMap<Box<str>, Member>,
    overlaps: Overlaps,
    /// What time it is, in seconds since 1970.
    now: i64,
    /// When the next node is new no more.
    ages: Option<i64>,
    /// What SPODs ask for about profiles that are not allowed.
    policies: Mirror<Name, Policy>,
    dirty: BTreeSet<Id>,
    settled: bool,
}

/// What has to be written about a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// A merge patch of its status.
    pub status: Option<Value>,
    /// All its finalizers, over this version of it.
    pub finalizers: Option<(Vec<String>, Box<str>)>,
}

impl Index {
    /// Nothing so far.
    pub fn new(place: Place, watches: Watches) -> Self {
        Self {
            place,
            watches,
            profiles: Mirror::default(),
            reports: Reports::default(),
            nodes: Mirror::default(),
            agents: Mirror::default(),
            pods: Mirror::default(),
            bindings: Bindings::default(),
            used: BTreeMap::new(),
            named: BTreeMap::new(),
            members: BTreeMap::new(),
            overlaps: Overlaps::new(),
            now: 0,
            ages: None,
            policies: Mirror::default(),
            dirty: BTreeSet::new(),
            settled: false,
        }
    }

    /// Takes note of what a watch says.
    pub fn take_note(&mut self, watch: usize, fact: Fact) {
        match fact {
            Fact::Profile(event) => {
                for (id, before) in self.profiles.apply(watch, event) {
                    if before.is_none() != self.profiles.get(&id).is_none() {
                        self.rename(&id);
                    }
                    self.dirty.insert(id);
                }
            }
            Fact::Status(event) => self.dirty.extend(self.reports.take_note(watch, event)),
            Fact::Node(event) => {
                let done = matches!(event, Event::InitDone);
                let changed = !self.nodes.apply(watch, event).is_empty();
                self.recount(changed || done);
            }
            Fact::Agents(event) => {
                let done = matches!(event, Event::InitDone);
                let changed = !self.agents.apply(watch, event).is_empty();
                self.recount(changed || done);
            }
            Fact::Pod(event) => {
                for (name, before) in self.pods.apply(watch, event) {
                    self.dirty.extend(self.bindings.of(&name.0).cloned());
                    self.reuse(&name, before.unwrap_or_default().uses);
                }
            }
            Fact::Policy(event) => {
                self.policies.apply(watch, event);
            }
            Fact::Binding(event) => self.dirty.extend(self.bindings.take_note(watch, event)),
        }
        if !self.settled && self.is_complete() {
            // Nothing was decided from half of the facts, so all of it is now.
            self.settled = true;
            self.dirty.extend(self.profiles.iter().map(|(id, _)| id.clone()));
        }
    }

    /// Whether every watch has listed what there is.
    pub fn is_complete(&self) -> bool {
        self.profiles.is_complete(self.watches.profiles)
            && self.reports.is_complete(self.watches.statuses)
            && self.pods.is_complete(self.watches.pods)
            && self.nodes.is_complete(1)
            && self.agents.is_complete(1)
    }

    /// The profiles that something changed about; each is told once.
    pub fn take_dirty(&mut self) -> BTreeSet<Id> {
        match self.is_complete() {
            true => std::mem::take(&mut self.dirty),
            false => BTreeSet::new(),
        }
    }

    /// Whether every node that is ready has said where a profile stands as it is now, so that nothing more is to be
    /// expected about it. Nobody says more about one that is being deleted.
    pub fn is_settled(&self, id: &Id) -> bool {
        let Some(profile) = self.profiles.get(id) else { return true };
        if profile.deleting {
            return true;
        }
        let heard = self.reports.count(id);
        let mut ready = self.members(id, profile).filter(|(_, ready)| *ready).map(|(node, _)| node);
        // Counting first: while a roll-out is under way this is asked once for each node.
        let few = heard < self.members.len() && ready.clone().count() > heard;
        let has_spoken = |node: &str| {
            self.reports.of(id, profile, node).is_some_and(|report| report.is_about(profile.generation))
        };
        heard > 0 && !few && ready.all(has_spoken)
    }

    /// The nodes that count for a profile, and whether they are ready.
    fn members<'a>(
        &'a self,
        id: &'a Id,
        profile: &'a Profile,
    ) -> impl Iterator<Item = (&'a str, bool)> + Clone {
        let members = self.members.iter().map(|(node, member)| (&**node, member));
        let counting = members.filter(|(node, member)| {
            !member.is_new_to(profile, self.now) || self.reports.of(id, profile, node).is_some()
        });
        counting.map(|(node, member)| (node, member.ready))
    }

    /// Takes note of what time it is, in seconds since 1970: a node is not new for ever.
    pub fn tick(&mut self, now: i64) {
        self.now = now;
        if self.ages.is_some_and(|ages| ages <= now) {
            self.dirty.extend(self.profiles.iter().map(|(id, _)| id.clone()));
        }
        if self.ages.is_none_or(|ages| ages <= now) {
            self.ages = self.next_age();
        }
    }

    /// When the next node is new no more, in seconds since 1970.
    pub const fn ages(&self) -> Option<i64> {
        self.ages
    }

    fn next_age(&self) -> Option<i64> {
        let ages = self.members.values().filter_map(|member| Some(member.created?.saturating_add(NEW)));
        ages.filter(|at| *at > self.now).min()
    }

    /// The nodes that agents of several SPODs are meant to run on.
    pub const fn overlaps(&self) -> &Overlaps {
        &self.overlaps
    }

    /// The seccomp profiles that are not allowed and that SPODs ask to be deleted, each with who is to blame.
    ///
    /// Every node that is ready and has looked at it has to refuse it as it is now, by a SPOD that still does and asks
    /// for it, and its own status has to say so. What the operator brings is never deleted.
    pub fn forbidden(&self) -> Vec<(Id, Blame)> {
        let asked = self.policies.is_complete(1) && self.policies.iter().any(|(_, policy)| policy.deletes);
        if !asked || !self.is_complete() {
            return Vec::new();
        }
        self.profiles
            .iter()
            .filter_map(|(id, profile)| Some((id.clone(), self.blame(id, profile)?)))
            .collect()
    }

    fn blame(&self, id: &Id, profile: &Profile) -> Option<Blame> {
        let brought =
            *id.namespace == *self.place.operator || id.namespace.is_empty() && bases::is_one(&id.name);
        if id.resource.kind() != Kind::SeccompProfile || profile.deleting || brought {
            return None;
        }
        let says_so = |condition: &Condition| {
            condition.type_ == ALLOWED
                && condition.status == ConditionStatus::False
                && condition.observed_generation == profile.generation
        };
        if profile.generation.is_none() || !profile.conditions().iter().any(says_so) {
            return None;
        }
        let mut blame = None;
        for (node, ready) in self.members(id, profile) {
            let report = self.reports.of(id, profile, node).filter(|_| ready);
            let Some(report) = report.filter(|report| report.state != ProfileState::Unsupported) else {
                continue;
            };
            let message = report.message.as_deref().and_then(|message| message.strip_prefix(NOT_ALLOWED))?;
            if report.generation != profile.generation {
                return None;
            }
            let facts = self.nodes.get(node)?;
            let mut agents = self.agents.iter().filter(|(_, template)| runs_on(template, facts));
            let (Some((spod, _)), None) = (agents.next(), agents.next()) else { return None };
            let policy = self.policies.get(spod).filter(|policy| policy.deletes && policy.forbids(message));
            policy?;
            blame.get_or_insert_with(|| Blame {
                spod: spod.1.clone(),
                message: message.to_owned(),
                uid: profile.uid.clone(),
                version: profile.version.clone(),
            });
        }
        blame
    }

    /// A profile as it is known.
    pub fn profile(&self, id: &Id) -> Option<&Profile> {
        self.profiles.get(id)
    }

    /// Takes note of a profile as a request returned it, before the watch says so; the watch may know better already.
    pub fn written(&mut self, id: &Id, profile: Profile) {
        if let Some(known) = self.profiles.get_mut(id).filter(|known| !known.is_newer_than(&profile)) {
            let warning = known.warning.take().filter(|_| known.generation == profile.generation);
            *known = Profile { warning, ..profile };
        }
    }

    /// Takes note of a profile as it was asked for, because a write met a version that it did not expect.
    pub fn asked(&mut self, id: &Id, profile: Profile) {
        self.written(id, profile);
        self.dirty.insert(id.clone());
    }

    /// What has to be written about a profile; `None` if there is nothing.
    pub fn wanted(&self, id: &Id, now: &str) -> Option<Wanted> {
        if id.resource == bindings::RESOURCE {
            return self.wanted_binding(id);
        }
        let profile = self.profiles.get(id).filter(|_| self.is_complete())?;
        let pods = self.users(id);
        let wanted = Wanted {
            status: self.status(id, profile, &pods, now),
            finalizers: finalizers(profile, pods.iter().any(|pod| self.holds(pod, id)))
                .map(|finalizers| (finalizers, profile.version.clone())),
        };
        Some(wanted).filter(|wanted| *wanted != Wanted::default())
    }

    fn wanted_binding(&self, id: &Id) -> Option<Wanted> {
        let binding = self.bindings.get(id).filter(|_| self.is_complete())?;
        let names = binding.names();
        let users: BTreeSet<&Name> = names.iter().filter_map(|name| self.used.get(name)).flatten().collect();
        let users = users.into_iter().filter_map(|pod| Some((pod, self.pods.get(pod)?)));
        let status = bindings::status(id, binding, users)?;
        Some(Wanted { status: Some(status), finalizers: None })
    }

    /// How many profiles of each kind say that they are in which state.
    pub fn states(&self) -> States {
        let mut states = States::new();
        for (id, profile) in self.profiles.iter() {
            let state = profile.status["status"].as_str().and_then(|text| text.parse().ok());
            *states.entry((id.resource.kind(), state.unwrap_or(ProfileState::Pending))).or_default() += 1;
        }
        states
    }

    /// The node statuses that belong to nobody: their node is gone or has no agent any more, or their profile is gone.
    pub fn stale(&self) -> Vec<Name> {
        if !self.is_complete() {
            return Vec::new();
        }
        self.reports.stale(|id| self.profiles.get(id), |node| self.may_have_agent(node))
    }

    /// Whether somebody may be there who writes the statuses of a node. While there are no agents at all, as where they
    /// are about to be made anew, nobody is taken for gone.
    fn may_have_agent(&self, node: &str) -> bool {
        let Some(node) = self.nodes.get(node) else { return false };
        let mut agents = self.agents.iter().peekable();
        agents.peek().is_none() || agents.any(|(_, template)| stays_on(template, node))
    }

    fn users(&self, id: &Id) -> BTreeSet<&Name> {
        let names = id.names();
        let pods = names.iter().flat_map(|name| {
            let pods = self.used.get(name).into_iter().flatten();
            // A path without a namespace means a file that is not there where profiles have one. It holds the profile
            // of its own namespace, in case it was meant so, but it must not hold those of others.
            let vague = matches!(name, Use::Seccomp(path) if path.matches('/').count() == 1);
            let elsewhere = move |pod: &&Name| vague && !id.namespace.is_empty() && *pod.0 != *id.namespace;
            pods.filter(move |pod| !elsewhere(pod))
        });
        pods.collect()
    }

    /// Whether a pod may hold a profile that it uses: one of the profile's namespace may. What the operator brings is
    /// for pods of all namespaces, and so is what has none. Others are shown and hold nothing, for whoever may make a
    /// pod anywhere could keep every namespace from being deleted.
    fn holds(&self, pod: &Name, id: &Id) -> bool {
        id.namespace.is_empty() || *id.namespace == *self.place.operator || *pod.0 == *id.namespace
    }

    fn status(&self, id: &Id, profile: &Profile, pods: &BTreeSet<&Name>, now: &str) -> Option<Value> {
        let report = |node: &str| self.reports.of(id, profile, node);
        let mut summary = Summary::of(self.members(id, profile), profile.generation, report);
        let mut more = Vec::new();
        if profile.deleting {
            summary.state = ProfileState::Terminating;
            summary.behind.clear();
            let mut holders = pods.iter().filter(|pod| self.holds(pod, id));
            if let Some(pod) = holders.next() {
                more.push(format!("used by {} pods, for example {}/{}", holders.count() + 1, pod.0, pod.1));
            }
        }
        // Where nodes install something else than the profile says, they say themselves what is wrong with it.
        let warning = profile.warning.as_deref().filter(|_| summary.notes.is_empty());
        more.extend(warning.map(str::to_owned));
        let before = profile.conditions();
        let of = |type_: &str| before.iter().find(|condition| condition.type_ == type_);
        let ready = summary.condition(profile.generation, &more, of(Condition::READY), now);
        let refused = self.members.keys().find_map(|node| {
            let message =
                report(node).filter(|report| report.generation >= profile.generation)?.message.as_ref();
            message.and_then(|message| message.strip_prefix(NOT_ALLOWED))
        });
        let allowed = allowed(refused, summary.state, profile.generation, of(ALLOWED), now);
        let ours = [Condition::READY, ALLOWED];
        let others = before.iter().filter(|condition| !ours.contains(&&*condition.type_)).cloned();
        let conditions: Vec<Condition> = [ready].into_iter().chain(allowed).chain(others).collect();
        // Pods of others do not push away those of the profile's own namespace.
        let (own, others): (Vec<&Name>, Vec<&Name>) = pods.iter().partition(|pod| *pod.0 == *id.namespace);
        let named = own.into_iter().chain(others).take(PODS);
        let named: Vec<String> = named.map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        let or_null = |empty: bool, value: Value| if empty { Value::Null } else { value };
        let mut wanted = json!({
            "status": summary.state,
            "nodes": summary.counts(),
            "conditions": conditions,
            "activeWorkloads": or_null(named.is_empty(), json!(named)),
            "activeWorkloadCount": or_null(pods.is_empty(), json!(pods.len())),
        });
        let key = id.key();
        match id.resource.kind() {
            Kind::SeccompProfile => {
                let path = key.and_then(|key| key.seccomp_path().ok());
                wanted["localhostProfile"] = json!(path);
                wanted["path"] = json!(path.map(|path| format!("{}/seccomp/{path}", self.place.kubelet_dir)));
            }
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => {
                wanted["usage"] = json!(key.map(|key| key.selinux_usage()));
            }
            _ => {}
        }
        let fields = wanted.as_object()?;
        let differs =
            fields.iter().any(|(field, value)| profile.status.get(field).unwrap_or(&Value::Null) != value);
        differs.then_some(wanted)
    }

    fn rename(&mut self, id: &Id) {
        let is_there = self.profiles.get(id).is_some();
        for name in id.names() {
            if is_there {
                self.named.entry(name).or_default().insert(id.clone());
            } else if let Some(ids) = self.named.get_mut(&name) {
                ids.remove(id);
                if ids.is_empty() {
                    self.named.remove(&name);
                }
            }
        }
    }

    fn reuse(&mut self, pod: &Name, before: BTreeSet<Use>) {
        let none = PodFacts::default();
        let after = &self.pods.get(pod).unwrap_or(&none).uses;
        for name in before.symmetric_difference(after) {
            if after.contains(name) {
                self.used.entry(name.clone()).or_default().insert(pod.clone());
            } else if let Some(pods) = self.used.get_mut(name) {
                pods.remove(pod);
                if pods.is_empty() {
                    self.used.remove(name);
                }
            }
            self.dirty.extend(self.named.get(name).into_iter().flatten().cloned());
        }
    }

    fn recount(&mut self, changed: bool) {
        if !changed || !self.nodes.is_complete(1) || !self.agents.is_complete(1) {
            return;
        }
        let runs = |node: &NodeFacts| self.agents.iter().any(|(_, template)| runs_on(template, node));
        let members: BTreeMap<Box<str>, Member> = self
            .nodes
            .iter()
            .filter(|(_, node)| runs(node))
            .map(|(name, node)| (name.clone(), Member { ready: node.ready, created: node.created }))
            .collect();
        let agents: Vec<(&str, &PodSpec)> =
            self.agents.iter().map(|((_, name), template)| (name.as_str(), &**template)).collect();
        self.overlaps = overlaps(&agents, self.nodes.iter().map(|(_, node)| node));
        if members != self.members {
            self.members = members;
            self.ages = self.next_age();
            self.dirty.extend(self.profiles.iter().map(|(id, _)| id.clone()));
        }
    }
}

/// The condition that says whether the administrator's settings allow what a profile permits. It appears with the first
/// refusal and stays; while nodes have not looked again, it says what it said.
fn allowed(
    refused: Option<&str>,
    state: ProfileState,
    generation: Option<i64>,
    before: Option<&Condition>,
    now: &str,
) -> Option<Condition> {
    let (status, reason, message) = match (refused, before) {
        (Some(refused), _) => (ConditionStatus::False, "NotAllowed", refused),
        (None, None) => return None,
        (None, Some(before)) if matches!(state, ProfileState::Pending | ProfileState::InProgress) => {
            return Some(before.clone());
        }
        (None, Some(_)) => (ConditionStatus::True, "Allowed", ""),
    };
    let since = before.filter(|before| before.status == status).map(|before| &before.last_transition_time);
    Some(Condition {
        type_: ALLOWED.to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: since.map_or_else(|| now.to_owned(), Clone::clone),
        reason: reason.to_owned(),
        message: message.chars().take(REFUSED).collect(),
    })
}

/// The finalizers that a profile should have, if they are not those that it has.
///
/// One finalizer holds a profile while pods use it. The existing operator has one for each node beside it
/// (`<node>-deleted`), which nobody takes off once that node, or that operator, is gone.
fn finalizers(profile: &Profile, used: bool) -> Option<Vec<String>> {
    let ours = |finalizer: &str| finalizer == names::IN_USE_FINALIZER;
    let of_nodes = |finalizer: &str| finalizer.ends_with("-deleted") && !finalizer.contains('/');
    let keep = |finalizer: &&String| (used || !ours(finalizer)) && !(profile.deleting && of_nodes(finalizer));
    let mut wanted: Vec<String> = profile.finalizers.iter().filter(keep).cloned().collect();
    // An object that is being deleted takes no more finalizers.
    if used && !profile.deleting && !wanted.iter().any(|finalizer| ours(finalizer)) {
        wanted.push(names::IN_USE_FINALIZER.to_owned());
    }
    (wanted != profile.finalizers).then_some(wanted)
}

#[cfg(test)]
mod tests;
