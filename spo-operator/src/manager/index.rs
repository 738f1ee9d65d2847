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
    bindings::{self, Binding, Bindings, PodFacts},
    facts::{Id, NodeStatus, Profile},
    membership::{NodeFacts, runs_on},
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

/// The most characters of a refusal.
const REFUSED: usize = 4000;

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

/// What is known.
#[derive(Debug)]
pub struct Index {
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
    /// The nodes that agents are meant to run on, and whether they are ready.
    members: BTreeMap<Box<str>, bool>,
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
    pub fn new(watches: Watches) -> Self {
        Self {
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
        let mut ready = self.members.iter().filter(|(_, ready)| **ready).map(|(node, _)| node);
        // Counting first: while a roll-out is under way this is asked once for each node.
        let few = heard < self.members.len() && ready.clone().count() > heard;
        let has_spoken = |node: &str| {
            self.reports.of(id, profile, node).is_some_and(|report| report.is_about(profile.generation))
        };
        heard > 0 && !few && ready.all(|node| has_spoken(node))
    }

    /// A profile as it is known.
    pub fn profile(&self, id: &Id) -> Option<&Profile> {
        self.profiles.get(id)
    }

    /// Takes note of a profile as a write returned it, before the watch says so.
    pub fn written(&mut self, id: &Id, profile: Profile) {
        if let Some(known) = self.profiles.get_mut(id) {
            let warning = known.warning.take().filter(|_| known.generation == profile.generation);
            *known = Profile { warning, ..profile };
        }
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
            finalizers: finalizers(profile, !pods.is_empty())
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

    /// The node statuses that belong to nobody: their node is gone, or their profile.
    pub fn stale(&self) -> Vec<Name> {
        if !self.is_complete() {
            return Vec::new();
        }
        self.reports.stale(|id| self.profiles.get(id), |node| self.nodes.get(node).is_some())
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

    fn status(&self, id: &Id, profile: &Profile, pods: &BTreeSet<&Name>, now: &str) -> Option<Value> {
        let report = |node: &str| self.reports.of(id, profile, node);
        let members = self.members.iter().map(|(node, ready)| (&**node, *ready));
        let mut summary = Summary::of(members, profile.generation, report);
        let mut more = Vec::new();
        if profile.deleting {
            summary.state = ProfileState::Terminating;
            summary.behind.clear();
            if let Some(pod) = pods.first() {
                more.push(format!("used by {} pods, for example {}/{}", pods.len(), pod.0, pod.1));
            }
        }
        more.extend(profile.warning.as_deref().map(str::to_owned));
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
        let named: Vec<String> =
            pods.iter().take(PODS).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
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
                wanted["path"] = json!(path.map(|path| format!("/var/lib/kubelet/seccomp/{path}")));
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
        let members: BTreeMap<Box<str>, bool> = self
            .nodes
            .iter()
            .filter(|(_, node)| runs(node))
            .map(|(name, node)| (name.clone(), node.ready))
            .collect();
        if members != self.members {
            self.members = members;
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
mod tests {
    use super::*;
    use crate::{aggregate::Report, cluster::resource::Resource};

    const SECCOMP: Resource = Resource::Of(Kind::SeccompProfile);

    fn web() -> Id {
        Id::new(SECCOMP, "shop", "web")
    }

    fn profile(finalizers: &[&str], deleting: bool) -> Profile {
        Profile {
            uid: "1".into(),
            version: "7".into(),
            generation: Some(1),
            deleting,
            finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
            status: Value::Null,
            warning: None,
        }
    }

    fn name(namespace: &str, name: &str) -> Name {
        (namespace.to_owned(), name.to_owned())
    }

    fn node(index: &mut Index, name: &str, ready: bool) {
        let facts = NodeFacts { name: name.to_owned(), ready, ..NodeFacts::default() };
        index.take_note(0, Fact::Node(Event::Apply((name.into(), Some(facts)))));
    }

    fn report(index: &mut Index, node: &str, uid: &str, state: ProfileState) {
        let report = Report { state, generation: Some(1), message: None };
        let status =
            NodeStatus { node: node.into(), owner: Some(uid.into()), reports: vec![(web(), report)] };
        index.take_note(0, Fact::Status(Event::Apply((name("shop", &format!("web-{node}")), Some(status)))));
    }

    fn uses(index: &mut Index, pod: (&str, &str), used: &[Use]) {
        let used = (!used.is_empty())
            .then(|| PodFacts { uses: used.iter().cloned().collect(), ..PodFacts::default() });
        index.take_note(0, Fact::Pod(Event::Apply((name(pod.0, pod.1), used))));
    }

    /// One profile, agents on every node, no node.
    fn index(profile: Profile) -> Index {
        let mut index = Index::new(Watches { profiles: 1, statuses: 1, pods: 1 });
        index.take_note(0, Fact::Profile(Event::Init));
        index.take_note(0, Fact::Profile(Event::InitApply((web(), Some(profile)))));
        assert!(index.take_dirty().is_empty(), "half of the facts");
        index.take_note(0, Fact::Profile(Event::InitDone));
        index.take_note(0, Fact::Status(Event::InitDone));
        index.take_note(0, Fact::Node(Event::InitDone));
        index.take_note(0, Fact::Pod(Event::InitDone));
        let agents = (name("spo", "spod"), Some(Box::new(PodSpec::default())));
        index.take_note(0, Fact::Agents(Event::InitApply(agents)));
        assert_eq!(index.wanted(&web(), "now"), None, "half of the facts decide nothing");
        index.take_note(0, Fact::Agents(Event::InitDone));
        assert_eq!(index.take_dirty().len(), 1);
        index
    }

    fn status(index: &Index) -> Value {
        index.wanted(&web(), "now").and_then(|wanted| wanted.status).expect("a status")
    }

    /// What was wanted is there.
    fn settle(index: &mut Index) {
        let mut profile = index.profile(&web()).expect("a profile").clone();
        if let Some(wanted) = index.wanted(&web(), "now") {
            if let Some(Value::Object(fields)) = wanted.status {
                // As a merge patch leaves it.
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
                profile.status = Value::Object(fields.collect());
            }
            profile.finalizers = wanted.finalizers.map_or(profile.finalizers, |(finalizers, _)| finalizers);
        }
        index.written(&web(), profile);
        assert_eq!(index.wanted(&web(), "later"), None, "a second look writes nothing");
    }

    #[test]
    fn nodes_make_the_status_and_each_change_is_one() {
        let mut index = index(profile(&[], false));
        assert_eq!(status(&index)["status"], "Pending");
        node(&mut index, "a", true);
        node(&mut index, "b", true);
        report(&mut index, "a", "1", ProfileState::Installed);
        assert_eq!((&status(&index)["status"], &status(&index)["nodes"]), (&json!("Pending"), &json!("1/2")));
        report(&mut index, "b", "1", ProfileState::Installed);
        assert_eq!(index.take_dirty().len(), 1);
        let found = status(&index);
        assert_eq!(found["localhostProfile"], "operator/shop/web.json");
        assert_eq!(found["conditions"][0]["status"], "True");
        settle(&mut index);
        report(&mut index, "b", "1", ProfileState::Installed);
        assert!(index.take_dirty().is_empty(), "saying the same again is no change");
        // A profile that was deleted and made again is another one.
        report(&mut index, "b", "0", ProfileState::Installed);
        assert_eq!(status(&index)["nodes"], "1/2");
    }

    /// The existing operator writes no status at all for a profile that it refuses.
    #[test]
    fn a_profile_that_is_not_allowed_says_what_is_not() {
        let mut index = index(profile(&[], false));
        node(&mut index, "a", true);
        let say = |index: &mut Index, state, message: Option<&str>| {
            let report = Report { state, generation: Some(1), message: message.map(Into::into) };
            let status =
                NodeStatus { node: "a".into(), owner: Some("1".into()), reports: vec![(web(), report)] };
            index.take_note(0, Fact::Status(Event::Apply((name("shop", "web-a"), Some(status)))));
        };
        say(&mut index, ProfileState::Installed, None);
        assert_eq!(
            status(&index)["conditions"].as_array().map(Vec::len),
            Some(1),
            "nothing was ever refused"
        );
        say(&mut index, ProfileState::Error, Some("not allowed: mount, ptrace"));
        let found = status(&index)["conditions"][1].clone();
        assert_eq!((&found["type"], &found["status"]), (&json!("Allowed"), &json!("False")));
        assert_eq!(found["message"], "mount, ptrace");
        settle(&mut index);
        say(&mut index, ProfileState::Pending, None);
        assert_eq!(status(&index)["conditions"][1], found, "nobody has looked again yet");
        say(&mut index, ProfileState::Installed, None);
        assert_eq!(status(&index)["conditions"][1]["status"], "True");
    }

    /// For the existing operator each of these freezes every profile, or makes a hot loop.
    #[test]
    fn nodes_that_are_away_or_gone_hold_nothing_up() {
        let mut index = index(profile(&[], false));
        node(&mut index, "a", true);
        node(&mut index, "b", false);
        // The name of a node may be a part of another's.
        node(&mut index, "a-2", true);
        report(&mut index, "a", "1", ProfileState::Installed);
        assert_eq!(status(&index)["status"], "Pending", "a-2 has said nothing");
        report(&mut index, "a-2", "1", ProfileState::Installed);
        assert_eq!(status(&index)["status"], "Installed");
        report(&mut index, "gone", "1", ProfileState::Error);
        assert_eq!(status(&index)["status"], "Installed");
        assert_eq!(index.stale(), [name("shop", "web-gone")]);
        index.take_note(0, Fact::Node(Event::Delete(("a-2".into(), None))));
        assert_eq!(status(&index)["nodes"], "1/1");
        assert_eq!(index.stale().len(), 2);
    }

    #[test]
    fn the_statuses_of_a_profile_that_is_gone_are_stale() {
        let mut index = index(profile(&[], false));
        node(&mut index, "a", true);
        report(&mut index, "a", "1", ProfileState::Installed);
        assert!(index.stale().is_empty());
        index.take_note(0, Fact::Profile(Event::Delete((web(), None))));
        assert_eq!(index.stale(), [name("shop", "web-a")]);
        assert_eq!(index.wanted(&web(), "now"), None);
    }

    #[test]
    fn the_first_pod_puts_the_finalizer_on_and_the_last_takes_it_off() {
        let mut index = index(profile(&["other/one"], false));
        settle(&mut index);
        let path = Use::Seccomp("operator/shop/web.json".to_owned());
        uses(&mut index, ("shop", "p"), std::slice::from_ref(&path));
        let wanted = index.wanted(&web(), "now").expect("a write");
        assert_eq!(
            wanted.finalizers,
            Some((vec!["other/one".into(), "in-use-by-active-pods".into()], "7".into()))
        );
        assert_eq!(wanted.status.expect("a status")["activeWorkloads"], json!(["shop/p"]));
        settle(&mut index);
        uses(&mut index, ("elsewhere", "q"), std::slice::from_ref(&path));
        assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, None, "it is there");
        assert_eq!(status(&index)["activeWorkloadCount"], 2);
        settle(&mut index);
        uses(&mut index, ("shop", "p"), &[]);
        uses(&mut index, ("elsewhere", "q"), &[]);
        let wanted = index.wanted(&web(), "now").expect("a write");
        assert_eq!(wanted.finalizers, Some((vec!["other/one".into()], "7".into())));
        assert_eq!(wanted.status.expect("a status")["activeWorkloads"], Value::Null);
    }

    #[test]
    fn a_path_without_a_namespace_holds_the_profile_of_its_own_namespace_alone() {
        let mut index = index(profile(&[], false));
        let vague = Use::Seccomp("operator/web.json".to_owned());
        uses(&mut index, ("elsewhere", "p"), std::slice::from_ref(&vague));
        assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, None);
        uses(&mut index, ("shop", "p"), &[vague]);
        assert!(index.wanted(&web(), "now").expect("a write").finalizers.is_some());
    }

    #[test]
    fn a_profile_in_use_stays_terminating_until_the_last_pod_is_gone() {
        let mut index = index(profile(&["in-use-by-active-pods", "node-1-deleted", "x/y-deleted"], true));
        uses(&mut index, ("shop", "p"), &[Use::Seccomp("operator/shop/web.json".to_owned())]);
        let wanted = index.wanted(&web(), "now").expect("a write");
        // Those of nodes are of the existing operator, and nobody else takes them off.
        assert_eq!(
            wanted.finalizers,
            Some((vec!["in-use-by-active-pods".into(), "x/y-deleted".into()], "7".into()))
        );
        let status = wanted.status.expect("a status");
        assert_eq!(status["status"], "Terminating");
        let message = status["conditions"][0]["message"].as_str().expect("a message");
        assert!(message.contains("used by 1 pods, for example shop/p"), "{message}");
        uses(&mut index, ("shop", "p"), &[]);
        let wanted = index.wanted(&web(), "now").expect("a write");
        assert_eq!(wanted.finalizers, Some((vec!["x/y-deleted".into()], "7".into())));
        // One that is being deleted takes no new finalizer.
        assert_eq!(finalizers(&profile(&[], true), true), None);
    }

    #[test]
    fn a_status_does_not_grow_with_the_pods() {
        let mut index = index(profile(&[], false));
        for pod in 0..1000 {
            let pod = format!("pod-{pod:04}");
            uses(&mut index, ("shop", &pod), &[Use::Seccomp("operator/shop/web.json".to_owned())]);
        }
        let status = status(&index);
        assert_eq!(status["activeWorkloads"].as_array().map(Vec::len), Some(PODS));
        assert_eq!(status["activeWorkloadCount"], 1000);
    }
}
