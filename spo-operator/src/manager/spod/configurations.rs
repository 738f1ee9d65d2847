//! Webhook configurations that a SPOD does not render: those of a manifest are trusted, and where admission is off, those
//! that the manager has made are removed.

use serde_json::json;
use tokio::time::Instant;

use super::{
    super::{
        applied::{Key, Step},
        kinds::ApiKind,
        static_webhook,
    },
    Controller,
};

impl Controller {
    /// Puts whom to trust into webhook configurations that somebody else keeps, where they are there. Returns what went
    /// wrong first.
    pub(super) async fn trust_static(&mut self) -> Option<String> {
        let anchor = self.around.trust.clone()?;
        let (mut problem, trusted) = (None, json!(anchor.bundle()));
        for (kind, key) in static_webhook::configurations() {
            match self.objects.step(&key, &trusted, Instant::now()) {
                Step::Apply if self.objects.is_there(&key) => {}
                Step::Later(at) => {
                    self.due = self.due.min(at);
                    continue;
                }
                Step::Keep | Step::Apply => continue,
            }
            match static_webhook::trust(&self.client, kind, &key.1, &anchor, self.namespace()).await {
                Ok(Some(metadata)) => {
                    self.objects.written(key, trusted.clone(), &metadata, Instant::now());
                }
                // The watch will say so.
                Ok(None) => {}
                Err(error) => {
                    problem.get_or_insert(format!("{} {} cannot be patched: {error}", key.0, key.1));
                }
            }
        }
        problem
    }

    /// Removes webhook configurations that the manager has made. Returns what went wrong first.
    pub(super) async fn remove(&mut self, off: Vec<(&'static ApiKind, Key)>) -> Option<String> {
        let mut problem = None;
        for (kind, key) in off {
            // So one of somebody else is looked at once, and again when it changes.
            match self.objects.step(&key, &json!("off"), Instant::now()) {
                Step::Apply if self.objects.is_there(&key) => {}
                Step::Later(at) => {
                    self.due = self.due.min(at);
                    continue;
                }
                Step::Keep | Step::Apply => continue,
            }
            match static_webhook::remove(&self.client, kind, &key.1, self.namespace()).await {
                Ok(None) => {
                    self.objects.gone(&key);
                    self.left.remove(&key);
                }
                Ok(Some(metadata)) => {
                    self.left.insert(key.clone());
                    self.objects.written(key, json!("off"), &metadata, Instant::now());
                }
                Err(error) => {
                    problem.get_or_insert(format!("{} {} cannot be deleted: {error}", key.0, key.1));
                }
            }
        }
        problem
    }

    /// What users of a SPOD without admission have to know, to be put behind its message.
    pub(super) fn admission_is_off(&self) -> String {
        let mut text =
            "; admission is off (spec.webhook.mode is Disabled): nothing is bound, marked for recording or \
                        checked before it is stored"
                .to_owned();
        for key in self.left.iter().filter(|key| self.objects.is_there(key)) {
            text.push_str(&format!("; {} {} is left: somebody else has made it", key.0, key.1));
        }
        text
    }
}
