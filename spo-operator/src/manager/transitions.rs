//! Events on profiles: one for each transition of a profile as a whole, and not many at once.
//!
//! What a transition is follows from the status that is replaced, so a leader that begins tells nothing that was told
//! before.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde_json::Value;
use spo_model::{
    kind::{GROUP, Version},
    status::{Condition, ProfileState},
};
use tokio::time::Instant;

use super::{
    facts::{Id, Profile},
    forbidden::Blame,
};
use crate::cluster::names;

/// How many events may come at once, and the time after which there may be one more. Those that are about trouble are
/// counted apart, so that a roll-out of many profiles does not silence them.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(10);

/// The longest message of an event that the API server takes, in bytes.
const MESSAGE: usize = 1024;

/// What becomes of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    state: ProfileState,
    message: String,
}

impl Transition {
    /// What a status changes, if it takes the profile somewhere: what is under way only is none.
    pub fn between(before: &Value, after: &Value) -> Option<Self> {
        let state = |status: &Value| status["status"].as_str()?.parse::<ProfileState>().ok();
        let new = state(after).filter(|new| state(before) != Some(*new))?;
        if matches!(new, ProfileState::Pending | ProfileState::InProgress) {
            return None;
        }
        let mut conditions = after["conditions"].as_array().into_iter().flatten();
        let ready = conditions.find(|condition| condition["type"] == Condition::READY);
        let message = ready.and_then(|ready| ready["message"].as_str()).unwrap_or_default();
        Some(Self { state: new, message: message.to_owned() })
    }

    fn is_trouble(&self) -> bool {
        self.state == ProfileState::Error
    }

    /// As an event on the profile.
    pub fn event(&self, id: &Id, profile: &Profile, now: Timestamp) -> Event {
        let type_ = if self.is_trouble() { "Warning" } else { "Normal" };
        event(id, &profile.uid, type_, &self.state.to_string(), self.message.clone(), now)
    }
}

/// That a profile was deleted because a SPOD does not allow it, as an event on the profile that was.
pub fn deletion(id: &Id, blame: &Blame, now: Timestamp) -> Event {
    let message = format!(
        "deleted: the SecurityProfilesOperatorDaemon {} does not allow it and asks for that \
         (spec.security.forbiddenProfiles); not allowed: {}",
        blame.spod, blame.message
    );
    event(id, &blame.uid, "Warning", "Forbidden", message, now)
}

fn event(id: &Id, uid: &str, type_: &str, reason: &str, mut message: String, now: Timestamp) -> Event {
    message.truncate(message.floor_char_boundary(MESSAGE));
    let namespace = Some(id.namespace.to_string()).filter(|namespace| !namespace.is_empty());
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.", id.name.chars().take(200).collect::<String>())),
            // Events on objects without a namespace are kept in this one.
            namespace: Some(namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(format!("{GROUP}/{}", Version::V1)),
            kind: Some(id.resource.spelling().to_owned()),
            name: Some(id.name.to_string()),
            namespace,
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        },
        type_: Some(type_.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        source: Some(EventSource { component: Some(names::OPERATOR.to_owned()), host: None }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// How many events are left.
#[derive(Debug)]
pub struct Allowance {
    trouble: Bucket,
    others: Bucket,
}

impl Allowance {
    /// All of it.
    pub fn new(now: Instant) -> Self {
        Self { trouble: Bucket::new(now), others: Bucket::new(now) }
    }

    /// Whether this may be told now.
    pub fn may_tell(&mut self, transition: &Transition, now: Instant) -> bool {
        match transition.is_trouble() {
            true => self.trouble.take(now),
            false => self.others.take(now),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { left: BURST, refilled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let intervals = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if intervals > 0 {
            let more = u32::try_from(intervals).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.refilled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spo_model::kind::Kind;

    use super::*;
    use crate::cluster::resource::Resource;

    fn status(state: &str) -> Value {
        json!({ "status": state, "conditions": [
            { "type": "Allowed", "message": "other" }, { "type": "Ready", "message": "on 2 of 3 nodes" }] })
    }

    #[test]
    fn only_where_a_profile_gets_to_is_told_and_once() {
        let told = |before: Value, after: Value| {
            Transition::between(&before, &after).map(|transition| transition.state)
        };
        assert_eq!(told(status("Pending"), status("Installed")), Some(ProfileState::Installed));
        assert_eq!(told(status("Installed"), status("Error")), Some(ProfileState::Error));
        assert_eq!(told(status("Installed"), status("Installed")), None, "a new leader counts again");
        assert_eq!(told(status("Error"), json!({ "status": "Error", "nodes": "1/3" })), None);
        for under_way in ["Pending", "InProgress"] {
            assert_eq!(told(Value::Null, status(under_way)), None);
        }
        assert_eq!(told(status("Installed"), json!({ "status": 7 })), None);
    }

    #[test]
    fn an_event_says_of_which_profile_and_what() {
        let id = Id::new(Resource::Of(Kind::SeccompProfile), "shop", "web");
        let (_, profile) = Profile::of(id.resource, json!({ "metadata": { "uid": "1" } }));
        let event = |before: &str, after: &Value| {
            let transition = Transition::between(&status(before), after).expect("a transition");
            transition.event(&id, &profile, Timestamp::UNIX_EPOCH)
        };
        let found = event("Installed", &status("Error"));
        assert_eq!((found.type_.as_deref(), found.reason.as_deref()), (Some("Warning"), Some("Error")));
        assert_eq!(found.message.as_deref(), Some("on 2 of 3 nodes"));
        let object = found.involved_object;
        assert_eq!((object.kind.as_deref(), object.uid.as_deref()), (Some("SeccompProfile"), Some("1")));
        assert_eq!(
            (object.namespace.as_deref(), found.metadata.namespace.as_deref()),
            (Some("shop"), Some("shop"))
        );
        let long = json!({ "status": "Installed", "conditions": [{ "type": "Ready", "message": "€".repeat(1000) }] });
        let found = event("Error", &long);
        assert_eq!(found.type_.as_deref(), Some("Normal"));
        assert!(found.message.is_some_and(|message| message.len() <= MESSAGE && message.len() > MESSAGE - 3));
    }

    #[test]
    fn many_transitions_make_few_events_and_do_not_hide_trouble() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let fine = Transition::between(&Value::Null, &status("Installed")).expect("a transition");
        let trouble = Transition::between(&Value::Null, &status("Error")).expect("a transition");
        assert_eq!((0..1000).filter(|_| allowance.may_tell(&fine, start)).count(), BURST as usize);
        assert!(allowance.may_tell(&trouble, start));
        assert!(allowance.may_tell(&fine, start + REFILL) && !allowance.may_tell(&fine, start + REFILL));
        let later = start + 1000 * REFILL;
        assert_eq!((0..1000).filter(|_| allowance.may_tell(&fine, later)).count(), BURST as usize);
    }
}
