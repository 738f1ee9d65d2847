//! Where a profile stands on all nodes together.
//!
//! The nodes that count are those that an agent is meant to run on, by name: one that is not ready keeps its last
//! word and freezes nothing, one that is gone is forgotten. A node that has nothing which would read the profile says
//! `Unsupported` and is not counted against it.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::status::{Condition, ConditionStatus, ProfileState, Reason};

/// What one node says about a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the profile stands there.
    pub state: ProfileState,
    /// The generation of the profile that this is about; `None` if the node does not say.
    pub generation: Option<i64>,
    /// Why, for people.
    pub message: Option<Box<str>>,
}

impl Report {
    /// Whether this is about a generation, as far as both are known.
    pub(crate) fn is_about(&self, generation: Option<i64>) -> bool {
        self.generation.is_none() || generation.is_none() || self.generation >= generation
    }
}

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
    pub behind: BTreeMap<String, (ProfileState, Option<Box<str>>)>,
    /// What nodes say that have it, each text once: that it is not quite as its author wrote it.
    pub notes: BTreeSet<Box<str>>,
    /// The nodes that are not ready and have not said anything about this generation. They hold nothing up.
    pub silent: BTreeSet<String>,
}

/// The most nodes that a message names.
const NAMED: usize = 5;

/// The most characters of what one node says that a message repeats.
const QUOTED: usize = 500;

impl Summary {
    /// The summary of what nodes say about a generation of a profile. The nodes are those that an agent is meant to run
    /// on, each with whether it is ready; one that is ready and has said nothing yet is `Pending`.
    pub fn of<'a>(
        nodes: impl IntoIterator<Item = (&'a str, bool)>,
        generation: Option<i64>,
        report: impl Fn(&str) -> Option<&'a Report>,
    ) -> Self {
        let mut summary = Self {
            state: ProfileState::Unsupported,
            installed: 0,
            total: 0,
            behind: BTreeMap::new(),
            notes: BTreeSet::new(),
            silent: BTreeSet::new(),
        };
        let mut heard = false;
        for (node, ready) in nodes {
            let report = report(node).filter(|report| report.is_about(generation));
            let (state, message) = match report {
                Some(report) => (report.state, report.message.clone()),
                None if ready => (ProfileState::Pending, None),
                None => {
                    summary.silent.insert(node.to_owned());
                    continue;
                }
            };
            heard = true;
            summary.state = summary.state.min(state);
            if state == ProfileState::Unsupported {
                continue;
            }
            summary.total += 1;
            if state == ProfileState::Installed {
                summary.installed += 1;
                summary.notes.extend(message.filter(|message| !message.is_empty()));
            } else {
                summary.behind.insert(node.to_owned(), (state, message));
            }
        }
        if !heard {
            // There is nobody to ask yet.
            summary.state = ProfileState::Pending;
        }
        summary
    }

    /// `installed/total`, as `kubectl get` prints it.
    pub fn counts(&self) -> String {
        format!("{}/{}", self.installed, self.total)
    }

    /// The condition `Ready`, with something more to say. It keeps the time of `before` if its status is the same.
    pub fn condition(
        &self,
        generation: Option<i64>,
        more: &[String],
        before: Option<&Condition>,
        now: &str,
    ) -> Condition {
        let (status, reason) = self.state.readiness();
        let mut message = self.message(reason);
        for more in more {
            message.push_str("; ");
            message.push_str(more);
        }
        let mut condition = Condition {
            type_: Condition::READY.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: now.to_owned(),
            reason: reason.to_string(),
            message,
        };
        if let Some(before) = before.filter(|before| before.status == status) {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
        condition
    }

    fn message(&self, reason: Reason) -> String {
        let mut message = match self.state {
            ProfileState::Unsupported => {
                "no node has the security module that this profile is for".to_owned()
            }
            ProfileState::Pending if self.total == 0 => "no node has an agent that is ready".to_owned(),
            _ => format!("installed on {} of {} nodes", self.installed, self.total),
        };
        if reason != Reason::Available {
            let worst = self.behind.iter().filter(|(_, (state, _))| *state == self.state);
            let names: Vec<&str> = worst.clone().map(|(node, _)| node.as_str()).collect();
            if !names.is_empty() {
                message.push_str(&format!("; {} on {}", self.state, listed(&names)));
            }
            // Most often all nodes say the same, so each text is told once.
            let said: BTreeSet<&str> = worst.filter_map(|(_, (_, said))| said.as_deref()).collect();
            for said in said.into_iter().take(2) {
                message.push_str(": ");
                message.extend(said.chars().take(QUOTED));
            }
        }
        for note in self.notes.iter().take(2) {
            message.push_str("; ");
            message.extend(note.chars().take(QUOTED));
        }
        if !self.silent.is_empty() {
            let names: Vec<&str> = self.silent.iter().map(String::as_str).collect();
            message.push_str(&format!("; not ready and not counted: {}", listed(&names)));
        }
        message
    }
}

/// A few names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let few = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => few,
        more => format!("{few} and {more} more"),
    }
}

/// Whether a condition is one that has been reached and stays, as `kubectl wait` looks for it.
pub fn is_ready(condition: &Condition) -> bool {
    condition.type_ == Condition::READY && condition.status == ConditionStatus::True
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(state: ProfileState, generation: i64) -> Report {
        Report { state, generation: Some(generation), message: None }
    }

    /// Of ready nodes, about generation 1.
    fn summary(nodes: &[&str], reports: &[(&str, ProfileState)]) -> Summary {
        let nodes: Vec<(&str, bool)> = nodes.iter().map(|node| (*node, true)).collect();
        let reports: Vec<(&str, Report)> = reports.iter().map(|(n, s)| (*n, said(*s, 1))).collect();
        of(&nodes, &reports, 1)
    }

    fn of(nodes: &[(&str, bool)], reports: &[(&str, Report)], generation: i64) -> Summary {
        let reports: BTreeMap<&str, &Report> = reports.iter().map(|(node, report)| (*node, report)).collect();
        Summary::of(nodes.iter().copied(), Some(generation), |node| reports.get(node).copied())
    }

    use ProfileState::{Error, Installed, Pending, Unsupported};

    #[test]
    fn the_worst_node_decides_and_is_named() {
        let found = summary(&["a", "b", "c"], &[("a", Installed), ("b", Error), ("c", Installed)]);
        assert_eq!((found.state, found.installed, found.total), (Error, 2, 3));
        let condition = found.condition(Some(3), &[], None, "now");
        assert_eq!((condition.status, &condition.reason[..]), (ConditionStatus::False, "Unavailable"));
        assert_eq!(condition.message, "installed on 2 of 3 nodes; Error on b");
        assert_eq!(condition.observed_generation, Some(3));
        assert_eq!(found.counts(), "2/3");
    }

    #[test]
    fn what_failing_nodes_say_is_told_once() {
        let failed = Report { message: Some("no space".into()), ..said(Error, 1) };
        let found = of(&[("a", true), ("b", true)], &[("a", failed.clone()), ("b", failed)], 1);
        let message = found.condition(None, &["mind the gap".to_owned()], None, "now").message;
        assert_eq!(message, "installed on 0 of 2 nodes; Error on a, b: no space; mind the gap");
        let long = Report { message: Some("x".repeat(100_000).into()), ..said(Error, 1) };
        let found = of(&[("a", true)], &[("a", long)], 1);
        assert!(found.condition(None, &[], None, "now").message.len() < 1000);
    }

    #[test]
    fn what_nodes_say_that_have_it_is_told_once() {
        let noted = Report { message: Some("more is allowed".into()), ..said(Installed, 1) };
        let found = of(&[("a", true), ("b", true)], &[("a", noted.clone()), ("b", noted)], 1);
        let condition = found.condition(None, &[], None, "now");
        assert!(is_ready(&condition));
        assert_eq!(condition.message, "installed on 2 of 2 nodes; more is allowed");
    }

    /// The existing operator counts reports against a DaemonSet, so one missing node freezes every profile.
    #[test]
    fn membership_is_by_name_not_by_count() {
        // As many reports as nodes, but one is of a node that is gone.
        let found = summary(&["a", "b"], &[("a", Installed), ("gone", Installed)]);
        assert_eq!((found.state, found.total), (Pending, 2));
        let found = summary(&["a", "b"], &[("a", Installed), ("b", Installed), ("gone", Error)]);
        assert_eq!(found.state, Installed, "a vanished node holds nothing up");
    }

    /// The existing operator waits for the DaemonSet to be complete, for ever if a node stays away.
    #[test]
    fn a_node_that_is_not_ready_freezes_nothing() {
        let found = of(&[("a", true), ("b", false)], &[("a", said(Installed, 1))], 1);
        assert_eq!((found.state, found.installed, found.total), (Installed, 1, 1));
        let condition = found.condition(None, &[], None, "now");
        assert!(is_ready(&condition));
        assert_eq!(condition.message, "installed on 1 of 1 nodes; not ready and not counted: b");
        // Its last word counts as long as it is about this generation.
        let last = |generation| {
            of(&[("a", true), ("b", false)], &[("a", said(Installed, 2)), ("b", said(Error, generation))], 2)
        };
        assert_eq!((last(2).state, last(1).state), (Error, Installed));
        // With nobody there it is not installed.
        assert_eq!(of(&[("a", false)], &[], 1).state, Pending);
    }

    #[test]
    fn a_report_about_an_older_generation_is_none() {
        let old = [("a", said(Installed, 1))];
        assert_eq!(of(&[("a", true)], &old, 2).state, Pending);
        assert_eq!(of(&[("a", true)], &old, 1).state, Installed);
        let vague = Report { generation: None, ..said(Installed, 0) };
        assert_eq!(of(&[("a", true)], &[("a", vague)], 7).state, Installed, "of an agent that does not say");
    }

    #[test]
    fn nodes_that_cannot_have_it_are_not_counted() {
        let found = summary(&["a", "b"], &[("a", Installed), ("b", Unsupported)]);
        assert_eq!((found.state, found.installed, found.total), (Installed, 1, 1));
        assert_eq!(found.condition(None, &[], None, "now").message, "installed on 1 of 1 nodes");
        let found = summary(&["a"], &[("a", Unsupported)]);
        assert_eq!(found.state, Unsupported);
        assert!(!is_ready(&found.condition(None, &[], None, "now")));
        assert_eq!(summary(&[], &[]).state, Pending);
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let found = summary(&["a"], &[("a", Installed)]);
        let first = found.condition(Some(1), &[], None, "one");
        assert!(is_ready(&first));
        let second = found.condition(Some(1), &[], Some(&first), "two");
        assert_eq!(second, first);
        let failed = summary(&["a"], &[("a", Error)]).condition(Some(1), &[], Some(&first), "three");
        assert_eq!(failed.last_transition_time, "three");
    }

    #[test]
    fn a_message_names_a_few_nodes_only() {
        let nodes: Vec<String> = (0..5000).map(|i| format!("node-{i:04}")).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let message = summary(&nodes, &[]).condition(None, &[], None, "now").message;
        assert!(
            message
                .ends_with("Pending on node-0000, node-0001, node-0002, node-0003, node-0004 and 4995 more")
        );
    }
}
