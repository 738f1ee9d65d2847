//! One SecurityProfilesOperatorDaemon as it is known, and the status that it should have.

use serde_json::{Value, json};
use spo_model::{
    convert::decode,
    daemon::{DaemonState, WebhookMode, WebhookSettings},
    object::{AnyObject, SecurityProfilesOperatorDaemon},
    status::Condition,
};

use super::rollout::condition;

/// What of a SPOD is of interest.
pub struct Spod {
    /// As it can be read, or why it cannot.
    pub object: Result<Box<SecurityProfilesOperatorDaemon>, String>,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its status as it is.
    pub status: Value,
}

impl Spod {
    /// Of a document.
    pub fn of(document: &Value) -> Self {
        let object = match decode(document).map(|decoded| decoded.object) {
            Ok(AnyObject::SecurityProfilesOperatorDaemon(object)) => Ok(Box::new(object)),
            Ok(_) => Err("it is of another kind".to_owned()),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        };
        let metadata = &document["metadata"];
        Self {
            object,
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            generation: metadata["generation"].as_i64(),
            deleting: metadata["deletionTimestamp"].is_string(),
            status: document["status"].clone(),
        }
    }

    /// The generation that its condition `Ready` is about.
    pub fn observed(&self) -> Option<i64> {
        let mut conditions = self.status["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == Condition::READY)?["observedGeneration"].as_i64()
    }

    /// Who takes care of admission; `None` if it does not say, or says two things.
    pub fn mode(&self) -> Option<WebhookMode> {
        let webhook = self.object.as_ref().ok()?.spec.webhook.as_ref();
        webhook.map_or(Ok(WebhookMode::default()), WebhookSettings::effective_mode).ok()
    }

    /// The state that its status says.
    pub fn state(&self) -> Option<DaemonState> {
        self.status["state"].as_str().and_then(|state| state.parse().ok())
    }

    /// The status that it should have in a state, if it has another. Conditions of others stay.
    pub fn wanted(&self, state: DaemonState, message: String, now: &str) -> Option<Value> {
        let conditions = self.status["conditions"].as_array().into_iter().flatten();
        let conditions: Vec<Condition> =
            conditions.filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect();
        let ready = conditions.iter().find(|condition| condition.type_ == Condition::READY);
        let ready = condition(state, message, self.generation, ready, now);
        let others = conditions.iter().filter(|condition| condition.type_ != Condition::READY).cloned();
        let conditions: Vec<Condition> = [ready].into_iter().chain(others).collect();
        let wanted = json!({ "state": state, "conditions": conditions });
        let same =
            self.status["state"] == wanted["state"] && self.status["conditions"] == wanted["conditions"];
        (!same).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spod(status: Value) -> Spod {
        let metadata = json!({ "name": "spod", "namespace": "spo", "uid": "1", "generation": 3 });
        Spod::of(&json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1",
            "kind": "SecurityProfilesOperatorDaemon", "metadata": metadata, "spec": {}, "status": status }))
    }

    /// The existing operator declares the state and never sets it.
    #[test]
    fn what_cannot_be_applied_is_an_error_and_is_over_when_it_can() {
        let fine = spod(json!({})).wanted(DaemonState::Running, "3 of 3 agents are ready".into(), "one");
        let mut spod = spod(fine.expect("a status"));
        assert_eq!(spod.wanted(DaemonState::Running, "3 of 3 agents are ready".into(), "two"), None);
        let other = json!({ "type": "Other", "status": "True", "lastTransitionTime": "zero", "reason": "R",
            "message": "" });
        spod.status["conditions"].as_array_mut().expect("conditions").push(other.clone());
        let wanted =
            spod.wanted(DaemonState::Error, "the API server refuses it".into(), "two").expect("a status");
        assert_eq!(wanted["state"], "Error");
        let ready = &wanted["conditions"][0];
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Unavailable")));
        assert_eq!(
            (&ready["message"], &ready["lastTransitionTime"]),
            (&json!("the API server refuses it"), &json!("two"))
        );
        assert_eq!(ready["observedGeneration"], 3);
        assert_eq!(wanted["conditions"][1]["type"], "Other", "what others say stays");
        spod.status = wanted;
        assert_eq!(spod.state(), Some(DaemonState::Error));
        assert!(spod.wanted(DaemonState::Running, String::new(), "three").is_some());
    }

    #[test]
    fn one_that_cannot_be_read_says_why() {
        let odd = Spod::of(&json!({ "kind": "Pod" }));
        assert!(odd.object.is_err() && odd.mode().is_none() && odd.state().is_none());
    }
}
