//! What nodes have said about profiles: every node status, found by profile and node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::runtime::watcher::Event;

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
    /// Which node says something about a profile, and in which node status.
    heard: BTreeMap<Id, BTreeMap<Arc<str>, StatusName>>,
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
        let status = self.statuses.get(self.heard.get(id)?.get(node)?)?;
        let current = status.owner.as_ref().is_none_or(|uid| **uid == *profile.uid);
        status.report(id).filter(|_| current)
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
                if let Some(nodes) = self.heard.get_mut(id) {
                    if nodes.get(&status.node) == Some(name) {
                        nodes.remove(&status.node);
                    }
                    if nodes.is_empty() {
                        self.heard.remove(id);
                    }
                }
                if after.is_none_or(|after| after.report(id) != status.report(id)) {
                    changed.insert(id.clone());
                }
            }
        }
        if let Some(status) = after {
            for (id, _) in &status.reports {
                self.heard.entry(id.clone()).or_default().insert(status.node.clone(), name.clone());
                if before.as_ref().is_none_or(|before| before.report(id) != status.report(id)) {
                    changed.insert(id.clone());
                }
            }
        }
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
        NodeStatus { node: node.into(), owner: owner.map(Into::into), reports }
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
