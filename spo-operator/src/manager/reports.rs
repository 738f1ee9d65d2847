//! What nodes have said about profiles: every node status, found by profile and node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::runtime::watcher::Event;
use spo_model::node_status::UidStart;

use super::{
    facts::{Id, NodeStatus, Profile},
    mirror::Mirror,
    texts::Texts,
};
use crate::{aggregate::Report, cluster::watch::Name};

/// Namespace and name of a node status.
type StatusName = Arc<(Arc<str>, Box<str>)>;

/// The reports of all nodes.
#[derive(Debug, Default)]
pub struct Reports {
    statuses: Mirror<StatusName, NodeStatus>,
    /// What node statuses have in common.
    texts: Texts,
    /// Which node says something about a profile, and in which node status: the one that was told last.
    heard: Heard,
    /// The other node statuses of a node that say something about the same profile. There are none but while one way of
    /// reporting replaces the other.
    others: Others,
}

impl Reports {
    /// Takes note of what a watch says about a node status. Returns the profiles that something else is said about.
    pub fn take_note(&mut self, watch: usize, event: Event<(Name, Option<NodeStatus>)>) -> BTreeSet<Id> {
        let event = self.compact(event);
        let mut changed = BTreeSet::new();
        for (name, before) in self.statuses.apply(watch, event) {
            self.rehear(&name, before, &mut changed);
        }
        changed
    }

    /// Whether so many watches have listed what there is.
    pub fn is_complete(&self, watches: usize) -> bool {
        self.statuses.is_complete(watches)
    }

    /// What a node says about a profile. A profile that was deleted and made again is another one, which what is said
    /// about its predecessor does not concern.
    pub fn of(&self, id: &Id, profile: &Profile, node: &str) -> Option<&Report> {
        let (node, last) = self.heard.get(id)?.get_key_value(node)?;
        let others = match self.others.is_empty() {
            true => None,
            false => self.others.get(&(id.clone(), Arc::clone(node))),
        };
        let of = |name: &StatusName| {
            let status = self.statuses.get(name)?;
            let (report, uid) = status.report(id)?;
            let current = status.owner.as_ref().is_none_or(|uid| **uid == *profile.uid)
                && uid.is_none_or(|uid| Some(uid) == UidStart::of(&profile.uid));
            current.then_some(report)
        };
        // Of several that are about one generation the last.
        others.into_iter().flatten().chain([last]).filter_map(of).max_by_key(|report| report.generation)
    }

    /// How many nodes say something about a profile, or about a predecessor of it.
    pub fn count(&self, id: &Id) -> usize {
        self.heard.get(id).map_or(0, BTreeMap::len)
    }

    /// The node statuses that belong to nobody: nobody is on their node who writes them, or their profile is gone.
    pub fn stale<'a>(
        &self,
        profile: impl Fn(&Id) -> Option<&'a Profile>,
        is_node: impl Fn(&str) -> bool,
    ) -> Vec<Name> {
        // Of a node there may be as many as there are profiles.
        let mut nodes: HashMap<&Arc<str>, bool> = HashMap::new();
        for (_, status) in self.statuses.iter() {
            nodes.entry(&status.node).or_insert_with_key(|node| is_node(node));
        }
        let is_stale = |status: &NodeStatus| {
            let profile = status.reports.first().and_then(|(id, _)| profile(id));
            let orphan = status.owner.as_ref().is_some_and(|uid| profile.is_none_or(|p| *p.uid != **uid));
            orphan || nodes.get(&status.node) != Some(&true)
        };
        let stale = self.statuses.iter().filter(|(_, status)| is_stale(status));
        stale.map(|(name, _)| (name.0.to_string(), name.1.to_string())).collect()
    }

    /// As it is kept: of the many node statuses each is as small as it can be.
    fn compact(
        &mut self,
        event: Event<(Name, Option<NodeStatus>)>,
    ) -> Event<(StatusName, Option<NodeStatus>)> {
        let mut compact = |((namespace, name), mut status): (Name, Option<NodeStatus>)| {
            let mut namespace = namespace.into();
            self.texts.share(&mut namespace);
            if let Some(status) = &mut status {
                status.share(&mut self.texts);
            }
            (Arc::new((namespace, name.into())), status)
        };
        match event {
            Event::Apply(told) => Event::Apply(compact(told)),
            Event::Delete(told) => Event::Delete(compact(told)),
            Event::InitApply(told) => Event::InitApply(compact(told)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }
    }

    fn rehear(&mut self, name: &StatusName, before: Option<NodeStatus>, changed: &mut BTreeSet<Id>) {
        let after = self.statuses.get(name);
        if let Some(status) = &before {
            for (id, _) in &status.reports {
                forget(&mut self.heard, &mut self.others, id, &status.node, name);
                if after.is_none_or(|after| after.report(id) != status.report(id)) {
                    changed.insert(id.clone());
                }
            }
        }
        if let Some(status) = after {
            for (id, _) in &status.reports {
                let nodes = self.heard.entry(id.clone()).or_default();
                if let Some(other) = nodes.insert(status.node.clone(), name.clone()).filter(|o| o != name) {
                    self.others.entry((id.clone(), status.node.clone())).or_default().push(other);
                }
                if before.as_ref().is_none_or(|before| before.report(id) != status.report(id)) {
                    changed.insert(id.clone());
                }
            }
        }
    }
}

type Heard = BTreeMap<Id, BTreeMap<Arc<str>, StatusName>>;
type Others = BTreeMap<(Id, Arc<str>), Vec<StatusName>>;

/// A node says nothing about a profile any more in a node status of this name, but perhaps in another one.
fn forget(heard: &mut Heard, others: &mut Others, id: &Id, node: &Arc<str>, name: &StatusName) {
    let key = (!others.is_empty()).then(|| (id.clone(), Arc::clone(node)));
    let mut rest = key.as_ref().and_then(|key| others.get_mut(key));
    if let Some(rest) = &mut rest {
        rest.retain(|other| other != name);
    }
    let Some(nodes) = heard.get_mut(id) else { return };
    if nodes.get(node) == Some(name) {
        match rest.as_mut().and_then(|rest| rest.pop()) {
            Some(other) => nodes.insert(Arc::clone(node), other),
            None => nodes.remove(node),
        };
    }
    if nodes.is_empty() {
        heard.remove(id);
    }
    if rest.is_some_and(|rest| rest.is_empty())
        && let Some(key) = &key
    {
        others.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use spo_model::{kind::Kind, status::ProfileState};

    use super::*;
    use crate::cluster::resource::Resource;

    fn id(name: &str) -> Id {
        Id::new(Resource::Of(Kind::SeccompProfile), "shop", name)
    }

    fn profile(uid: &str) -> Profile {
        Profile {
            uid: uid.into(),
            version: "7".into(),
            generation: Some(1),
            created: None,
            deleting: false,
            finalizers: Vec::new(),
            status: Value::Null,
            warning: None,
        }
    }

    fn name(name: &str) -> Name {
        ("shop".to_owned(), name.to_owned())
    }

    fn says(node: &str, owner: Option<&str>, reports: &[(&str, ProfileState)]) -> NodeStatus {
        let report = |state| Report { state, generation: Some(1), message: None };
        let reports = reports.iter().map(|(name, state)| (id(name), report(*state))).collect();
        NodeStatus { node: node.into(), owner: owner.map(Into::into), reports, uids: Box::default() }
    }

    fn tell(reports: &mut Reports, status: &str, says: Option<NodeStatus>) -> Vec<Id> {
        let told = (name(status), says);
        reports.take_note(0, Event::Apply(told)).into_iter().collect()
    }

    #[test]
    fn only_profiles_that_something_else_is_said_about_are_returned() {
        use ProfileState::{Installed, Pending};
        let mut reports = Reports::default();
        let first = says("a", None, &[("db", Pending), ("web", Installed)]);
        assert_eq!(tell(&mut reports, "node-a", Some(first.clone())), [id("db"), id("web")]);
        assert_eq!(tell(&mut reports, "node-a", Some(first)), []);
        let second = says("a", None, &[("db", Installed), ("web", Installed)]);
        assert_eq!(tell(&mut reports, "node-a", Some(second)), [id("db")]);
        let third = says("a", None, &[("db", Installed)]);
        assert_eq!(tell(&mut reports, "node-a", Some(third)), [id("web")]);
        assert_eq!((reports.count(&id("db")), reports.count(&id("web"))), (1, 0));
        assert_eq!(tell(&mut reports, "node-a", None), [id("db")]);
        assert_eq!(reports.count(&id("db")), 0);
    }

    #[test]
    fn what_is_said_about_a_predecessor_is_not_said_about_a_profile() {
        let mut reports = Reports::default();
        let web = [("web", ProfileState::Installed)];
        tell(&mut reports, "web-a", Some(says("a", Some("1"), &web)));
        assert!(reports.of(&id("web"), &profile("1"), "a").is_some());
        assert!(reports.of(&id("web"), &profile("2"), "a").is_none());
        assert!(reports.of(&id("web"), &profile("1"), "b").is_none());
        // A node's report about all profiles is of no single one.
        tell(&mut reports, "node-b", Some(says("b", None, &web)));
        assert!(reports.of(&id("web"), &profile("2"), "b").is_some());
    }

    /// The same node may say something in two objects while one way of reporting replaces the other.
    #[test]
    fn the_end_of_an_older_node_status_leaves_the_newer_one() {
        let mut reports = Reports::default();
        let web = [("web", ProfileState::Installed)];
        tell(&mut reports, "web-a", Some(says("a", Some("1"), &web)));
        tell(&mut reports, "node-a", Some(says("a", None, &web)));
        assert_eq!(tell(&mut reports, "web-a", None), [id("web")]);
        assert!(reports.of(&id("web"), &profile("1"), "a").is_some());
    }

    /// A new leader lists them in whatever order.
    #[test]
    fn the_end_of_a_node_status_that_was_listed_last_leaves_the_other() {
        let mut reports = Reports::default();
        let web = [("web", ProfileState::Installed)];
        let heard = |reports: &Reports| reports.of(&id("web"), &profile("1"), "a").is_some();
        for (newer, older) in [("web-a", "node-a"), ("node-a", "web-a")] {
            let owner = |name: &str| (name == "web-a").then_some("1");
            tell(&mut reports, newer, Some(says("a", owner(newer), &web)));
            tell(&mut reports, older, Some(says("a", owner(older), &web)));
            assert_eq!(tell(&mut reports, older, None), [id("web")]);
            assert!(heard(&reports) && reports.others.is_empty());
            assert_eq!(tell(&mut reports, newer, None), [id("web")]);
            assert!(!heard(&reports) && reports.count(&id("web")) == 0);
        }
        // The one that knows the newer generation has the word, whichever was told last.
        let mut newer = says("a", Some("1"), &web);
        newer.reports[0].1.generation = Some(2);
        tell(&mut reports, "web-a", Some(newer));
        tell(&mut reports, "node-a", Some(says("a", None, &web)));
        let found = reports.of(&id("web"), &profile("1"), "a").expect("a report");
        assert_eq!(found.generation, Some(2));
        // As well as one that is about this profile and not about its predecessor.
        assert!(reports.of(&id("web"), &profile("2"), "a").is_some_and(|r| r.generation == Some(1)));
    }

    /// A profile that is deleted and made again starts with the same generation.
    #[test]
    fn what_a_node_says_in_all_is_about_profiles_with_their_uids() {
        let (old, new) = ("0b0ddf11-8a55-4b66-a1b0-000000000000", "7f3e9c22-8a55-4b66-a1b0-000000000000");
        let mut reports = Reports::default();
        let mut all = says("a", None, &[("web", ProfileState::Installed)]);
        all.uids = [UidStart::of(old)].into();
        tell(&mut reports, "node-a", Some(all.clone()));
        assert!(reports.of(&id("web"), &profile(old), "a").is_some());
        assert!(reports.of(&id("web"), &profile(new), "a").is_none());
        all.uids = [UidStart::of(new)].into();
        assert_eq!(tell(&mut reports, "node-a", Some(all)), [id("web")], "which it is about is news");
        assert!(reports.of(&id("web"), &profile(new), "a").is_some());
    }

    #[test]
    fn a_node_status_without_its_node_or_its_profile_is_stale() {
        let mut reports = Reports::default();
        let web = [("web", ProfileState::Installed)];
        tell(&mut reports, "web-a", Some(says("a", Some("1"), &web)));
        tell(&mut reports, "node-b", Some(says("b", None, &web)));
        let (one, two) = (profile("1"), profile("2"));
        let stale = |profile: Option<&Profile>, nodes: &[&str]| {
            reports.stale(|_| profile, |node| nodes.contains(&node))
        };
        assert_eq!(stale(Some(&one), &["a", "b"]), []);
        assert_eq!(stale(Some(&two), &["a", "b"]), [name("web-a")]);
        assert_eq!(stale(None, &["a", "b"]), [name("web-a")], "what a node says in all stays");
        assert_eq!(stale(Some(&one), &["a"]), [name("node-b")]);
    }
}
