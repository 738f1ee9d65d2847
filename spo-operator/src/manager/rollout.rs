//! Where the roll-out of the agents stands: what a DaemonSet says, as the state of its SPOD.
//!
//! The existing operator compares two numbers of the DaemonSet's status, so it says `Running` before the DaemonSet
//! controller has even seen a change, and while old pods run on.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use spo_model::{
    daemon::DaemonState,
    status::{Condition, ConditionStatus, Reason},
};

/// What of a DaemonSet is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Its generation.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed: i64,
    /// On how many nodes a pod is meant to run.
    pub desired: i32,
    /// How many have a pod of the latest template.
    pub updated: i32,
    /// How many have a pod that is ready.
    pub ready: i32,
}

impl Rollout {
    /// Of a DaemonSet.
    pub fn of(object: &DaemonSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            generation: object.metadata.generation.unwrap_or_default(),
            observed: status.observed_generation.unwrap_or_default(),
            desired: status.desired_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or_default(),
            ready: status.number_ready,
        }
    }

    /// The state, and why. A roll-out that was never complete is one that creates.
    pub fn state(&self, before: Option<DaemonState>) -> (DaemonState, String) {
        let Self { desired, updated, ready, .. } = *self;
        let new =
            self.generation <= 1 && !matches!(before, Some(DaemonState::Running | DaemonState::Updating));
        let going_on = if new { DaemonState::Creating } else { DaemonState::Updating };
        if self.observed < self.generation {
            return (going_on, "the DaemonSet controller has not seen the latest change yet".to_owned());
        }
        if desired == 0 {
            return (DaemonState::Running, "no node is selected".to_owned());
        }
        if updated < desired {
            return (going_on, format!("{updated} of {desired} agents are up to date, {ready} are ready"));
        }
        let counts = format!("{ready} of {desired} agents are ready");
        match ready >= desired {
            true => (DaemonState::Running, counts),
            false => (going_on, counts),
        }
    }
}

/// The DaemonSets by name, each as it was last seen or made.
#[derive(Debug, Default)]
pub struct Rollouts(BTreeMap<String, (Option<String>, Rollout)>);

impl Rollouts {
    /// Takes note of a DaemonSet that a watch or the answer to a write has shown. What is older than what is known is
    /// left: the answer to a write may come before the watch tells of an earlier state, by which the roll-out that the
    /// write began would look complete.
    pub fn note(&mut self, object: &DaemonSet) {
        let (name, uid) = (object.metadata.name.clone().unwrap_or_default(), object.metadata.uid.clone());
        let rollout = Rollout::of(object);
        let known = self.0.get(&name).filter(|(of, _)| *of == uid);
        if known.is_none_or(|(_, known)| known.generation <= rollout.generation) {
            self.0.insert(name, (uid, rollout));
        }
    }

    /// Takes note that a DaemonSet is gone.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// What is known of a DaemonSet.
    pub fn get(&self, name: &str) -> Option<&Rollout> {
        self.0.get(name).map(|(_, rollout)| rollout)
    }
}

/// The condition `Ready` of a SPOD in a state. It keeps the time of `before` if its status is the same.
pub fn condition(
    state: DaemonState,
    message: String,
    generation: Option<i64>,
    before: Option<&Condition>,
    now: &str,
) -> Condition {
    let (status, reason) = match state {
        DaemonState::Pending => (ConditionStatus::False, Reason::Pending),
        DaemonState::Creating => (ConditionStatus::False, Reason::Creating),
        DaemonState::Updating => (ConditionStatus::False, Reason::Updating),
        DaemonState::Running => (ConditionStatus::True, Reason::Available),
        DaemonState::Error => (ConditionStatus::False, Reason::Unavailable),
    };
    let since = before.filter(|before| before.status == status).map(|before| &before.last_transition_time);
    Condition {
        type_: Condition::READY.to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: since.map_or_else(|| now.to_owned(), Clone::clone),
        reason: reason.to_string(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the template makes the roll-out incomplete from the moment it is written.
    #[test]
    fn an_old_event_does_not_hide_what_was_written() {
        let set = |uid: &str, generation: i64, observed: i64| -> DaemonSet {
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "spod", "uid": uid, "generation": generation }, "spec": { "selector": {}, "template": {} },
                "status": { "observedGeneration": observed, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
                    "numberMisscheduled": 0, "updatedNumberScheduled": 3, "numberReady": 3 } }))
            .expect("a DaemonSet")
        };
        let mut rollouts = Rollouts::default();
        let state = |rollouts: &Rollouts| rollouts.get("spod").map(|rollout| rollout.state(None).0);
        rollouts.note(&set("a", 1, 1));
        assert_eq!(state(&rollouts), Some(DaemonState::Running));
        // What the API server answers to the write, then what the watch had on its way.
        rollouts.note(&set("a", 2, 1));
        rollouts.note(&set("a", 1, 1));
        assert_eq!(state(&rollouts), Some(DaemonState::Updating));
        rollouts.note(&set("a", 2, 2));
        assert_eq!(state(&rollouts), Some(DaemonState::Running));
        // Another one of the same name begins anew.
        rollouts.note(&set("b", 1, 0));
        assert_eq!(state(&rollouts), Some(DaemonState::Creating));
        rollouts.forget("spod");
        assert_eq!(state(&rollouts), None);
    }

    const DONE: Rollout = Rollout { generation: 1, observed: 1, desired: 3, updated: 3, ready: 3 };

    fn state(rollout: Rollout, before: Option<DaemonState>) -> DaemonState {
        rollout.state(before).0
    }

    /// Each of these is `Running` for the existing operator, as soon as as many pods are ready as are wanted.
    #[test]
    fn it_runs_only_when_everything_is_of_the_latest_generation() {
        assert_eq!(state(DONE, None), DaemonState::Running);
        for early in [
            Rollout::default(),
            Rollout { generation: 2, ..DONE },
            Rollout { updated: 1, ..DONE },
            Rollout { generation: 1, ..Rollout::default() },
        ] {
            let early = Rollout { generation: early.generation.max(1), ..early };
            assert_ne!(state(early, None), DaemonState::Running, "{early:?}");
        }
        assert_ne!(state(Rollout { ready: 2, ..DONE }, None), DaemonState::Running);
    }

    #[test]
    fn a_change_of_what_ran_is_an_update() {
        let changed = Rollout { generation: 2, ..DONE };
        assert_eq!(state(changed, Some(DaemonState::Running)), DaemonState::Updating);
        assert_eq!(state(Rollout { ready: 2, ..DONE }, Some(DaemonState::Running)), DaemonState::Updating);
        assert_eq!(state(Rollout { ready: 2, ..DONE }, Some(DaemonState::Creating)), DaemonState::Creating);
    }

    #[test]
    fn where_no_node_is_selected_there_is_nothing_to_wait_for() {
        let none = Rollout { desired: 0, updated: 0, ready: 0, ..DONE };
        assert_eq!(none.state(None), (DaemonState::Running, "no node is selected".to_owned()));
    }
}
