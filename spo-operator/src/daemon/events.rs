//! Events on profiles that could not be put on this node: at the transition only, and not many at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use spo_model::{
    kind::{GROUP, Version},
    status::ProfileState,
};

use super::{agent::Standing, plan::Subject};
use crate::cluster::{names, resource::Resource};

/// How many events may come at once, and the time after which there may be one more.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(10);

/// The longest message of an event that the API server takes, in bytes.
const MESSAGE: usize = 1024;

type Id = (Resource, spo_model::names::ProfileKey);

/// What was said last about each profile, and how many events are left.
#[derive(Debug)]
pub struct Transitions {
    states: BTreeMap<Id, ProfileState>,
    left: u32,
    refilled: Instant,
}

impl Transitions {
    /// Nothing was said so far.
    pub fn new(now: Instant) -> Self {
        Self { states: BTreeMap::new(), left: BURST, refilled: now }
    }

    /// The profiles that are in error now and were not before. `before` is what the API server has from an earlier
    /// life of this agent.
    pub fn to_error<'a>(
        &mut self,
        standings: &'a [Standing],
        before: impl Fn(&Standing) -> Option<ProfileState>,
    ) -> Vec<&'a Standing> {
        let mut states = BTreeMap::new();
        let mut fresh = Vec::new();
        for standing in standings {
            let id = (standing.subject.resource, standing.subject.key.clone());
            let last = self.states.remove(&id).or_else(|| before(standing));
            if standing.state == ProfileState::Error && last != Some(ProfileState::Error) {
                fresh.push(standing);
            }
            states.insert(id, standing.state);
        }
        self.states = states;
        fresh
    }

    /// Whether one more event may be made now.
    pub fn may_tell(&mut self, now: Instant) -> bool {
        let intervals = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if let Ok(intervals) = u32::try_from(intervals)
            && intervals > 0
        {
            self.left = self.left.saturating_add(intervals).min(BURST);
            self.refilled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The event about a profile in error.
pub fn event(standing: &Standing, node: &str, now: Timestamp) -> Event {
    let Subject { resource, key, uid, .. } = &standing.subject;
    let reason = standing.reason.map(|reason| reason.word(resource.kind()).to_owned());
    let mut message = standing.message.clone().unwrap_or_default();
    let end = (0..=MESSAGE.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or_default());
    // Events on objects without a namespace are kept in this one.
    let namespace = key.namespace.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.", key.name.as_str().chars().take(200).collect::<String>())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(format!("{GROUP}/{}", Version::V1)),
            kind: Some(resource.spelling().to_owned()),
            name: Some(key.name.to_string()),
            namespace: key.namespace.as_ref().map(ToString::to_string),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason,
        message: Some(message),
        source: Some(EventSource {
            component: Some(names::AGENT_ACCOUNT.to_owned()),
            host: Some(node.to_owned()),
        }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fixture::standing;

    #[test]
    fn only_a_transition_is_told() {
        let mut transitions = Transitions::new(Instant::now());
        let error = [standing("a", ProfileState::Error, Some("x"))];
        let fine = [standing("a", ProfileState::Installed, None)];
        assert_eq!(transitions.to_error(&error, |_| None).len(), 1);
        assert_eq!(transitions.to_error(&error, |_| None).len(), 0, "said already");
        assert_eq!(transitions.to_error(&fine, |_| None).len(), 0);
        assert_eq!(transitions.to_error(&error, |_| None).len(), 1);
        let mut restarted = Transitions::new(Instant::now());
        let known = |_: &Standing| Some(ProfileState::Error);
        assert_eq!(restarted.to_error(&error, known).len(), 0, "said in an earlier life");
    }

    #[test]
    fn many_errors_make_few_events() {
        let start = Instant::now();
        let mut transitions = Transitions::new(start);
        let told = (0..1000).filter(|_| transitions.may_tell(start)).count();
        assert_eq!(told, BURST as usize);
        assert!(transitions.may_tell(start + REFILL) && !transitions.may_tell(start + REFILL));
        let later = (0..1000).filter(|_| transitions.may_tell(start + 1000 * REFILL)).count();
        assert_eq!(later, BURST as usize);
    }

    #[test]
    fn a_message_fits() {
        let long = standing("a", ProfileState::Error, Some(&"€".repeat(1000)));
        let event = event(&long, "n", Timestamp::UNIX_EPOCH);
        assert!(event.message.is_some_and(|message| message.len() <= MESSAGE && message.len() > MESSAGE - 3));
    }
}
