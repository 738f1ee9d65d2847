//! Where a profile stands on all nodes together.
//!
//! The nodes that count are those that an agent is meant to run on, by name: one that is not ready keeps its last
//! word and freezes nothing, one that is gone is forgotten. A node that has nothing which would read the profile says
//! `Unsupported` and is not counted against it.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::status::{Condition, ConditionStatus, ProfileState, Reason};

/// What the nodes say about a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The worst state of the nodes that count.
    pub state: ProfileState,
    /// How many have it.
    pub installed: usize,
    /// How many could have it.
    pub total: usize,
    /// The nodes that keep it from being ready, with what they say, in the order of their names.
    pub behind: BTreeMap<String, ProfileState>,
    /// The reports of nodes that are not meant any more.
    pub stale: BTreeSet<String>,
}

/// The most nodes that a message names.
const NAMED: usize = 5;

impl Summary {
    /// The summary of what the nodes say, by name; a node that has said nothing yet is `Pending`.
    pub fn of(nodes: &BTreeSet<String>, reports: &BTreeMap<String, ProfileState>) -> Self {
        let said = |node: &String| reports.get(node).copied().unwrap_or(ProfileState::Pending);
        let counted: Vec<(&String, ProfileState)> = nodes
            .iter()
            .map(|node| (node, said(node)))
            .filter(|(_, s)| *s != ProfileState::Unsupported)
            .collect();
        let state = match nodes.is_empty() {
            // There is nobody to ask yet.
            true => ProfileState::Pending,
            false => ProfileState::aggregate(nodes.iter().map(said)),
        };
        let has = |state: ProfileState| state == ProfileState::Installed;
        Self {
            state,
            installed: counted.iter().filter(|(_, state)| has(*state)).count(),
            total: counted.len(),
            behind: counted.iter().filter(|(_, s)| !has(*s)).map(|(n, s)| ((*n).clone(), *s)).collect(),
            stale: reports.keys().filter(|node| !nodes.contains(*node)).cloned().collect(),
        }
    }

    /// The condition `Ready`. It keeps the time of `before` if it says the same as that.
    pub fn condition(&self, generation: Option<i64>, before: Option<&Condition>, now: &str) -> Condition {
        let (status, reason) = self.state.readiness();
        let mut condition = Condition {
            type_: Condition::READY.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: now.to_owned(),
            reason: reason.to_string(),
            message: self.message(reason),
        };
        if let Some(before) = before.filter(|before| before.status == status) {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
        condition
    }

    fn message(&self, reason: Reason) -> String {
        let counts = format!("installed on {} of {} nodes", self.installed, self.total);
        if self.state == ProfileState::Unsupported {
            return "no node has the security module that this profile is for".to_owned();
        }
        if reason == Reason::Available {
            return counts;
        }
        let worst =
            self.behind.iter().filter(|(_, state)| **state == self.state).map(|(node, _)| node.as_str());
        let mut names: Vec<&str> = worst.collect();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if names.is_empty() {
            counts
        } else {
            format!("{counts}; {} on {}{more}", self.state, names.join(", "))
        }
    }
}

/// Whether a condition is one that has been reached and stays, as `kubectl wait` looks for it.
pub fn is_ready(condition: &Condition) -> bool {
    condition.type_ == Condition::READY && condition.status == ConditionStatus::True
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(nodes: &[&str], reports: &[(&str, ProfileState)]) -> Summary {
        let nodes = nodes.iter().map(|n| (*n).to_owned()).collect();
        Summary::of(&nodes, &reports.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect())
    }

    use ProfileState::{Error, Installed, Pending, Unsupported};

    #[test]
    fn the_worst_node_decides_and_is_named() {
        let found = summary(&["a", "b", "c"], &[("a", Installed), ("b", Error), ("c", Installed)]);
        assert_eq!((found.state, found.installed, found.total), (Error, 2, 3));
        let condition = found.condition(Some(3), None, "now");
        assert_eq!((condition.status, &condition.reason[..]), (ConditionStatus::False, "Unavailable"));
        assert_eq!(condition.message, "installed on 2 of 3 nodes; Error on b");
        assert_eq!(condition.observed_generation, Some(3));
    }

    /// The existing operator counts reports against a DaemonSet, so one missing node freezes every profile.
    #[test]
    fn membership_is_by_name_not_by_count() {
        // As many reports as nodes, but one is of a node that is gone.
        let found = summary(&["a", "b"], &[("a", Installed), ("gone", Installed)]);
        assert_eq!((found.state, found.total), (Pending, 2));
        assert_eq!(found.stale, BTreeSet::from(["gone".to_owned()]));
        let found = summary(&["a", "b"], &[("a", Installed), ("b", Installed), ("gone", Error)]);
        assert_eq!(found.state, Installed, "a vanished node holds nothing up");
    }

    #[test]
    fn nodes_that_cannot_have_it_are_not_counted() {
        let found = summary(&["a", "b"], &[("a", Installed), ("b", Unsupported)]);
        assert_eq!((found.state, found.installed, found.total), (Installed, 1, 1));
        assert_eq!(found.condition(None, None, "now").message, "installed on 1 of 1 nodes");
        let found = summary(&["a"], &[("a", Unsupported)]);
        assert_eq!(found.state, Unsupported);
        assert!(!is_ready(&found.condition(None, None, "now")));
        assert_eq!(summary(&[], &[]).state, Pending);
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let found = summary(&["a"], &[("a", Installed)]);
        let first = found.condition(Some(1), None, "one");
        assert!(is_ready(&first));
        let second = found.condition(Some(1), Some(&first), "two");
        assert_eq!(second, first);
        let failed = summary(&["a"], &[("a", Error)]).condition(Some(1), Some(&first), "three");
        assert_eq!(failed.last_transition_time, "three");
    }

    #[test]
    fn a_message_names_a_few_nodes_only() {
        let nodes: Vec<String> = (0..5000).map(|i| format!("node-{i:04}")).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let message = summary(&nodes, &[]).condition(None, None, "now").message;
        assert!(
            message
                .ends_with("Pending on node-0000, node-0001, node-0002, node-0003, node-0004 and 4995 more")
        );
    }
}
