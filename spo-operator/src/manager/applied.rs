//! What has been applied and what is there: whether an object has to be written, and what is superfluous.
//!
//! What a write returned is compared with what watches say later, so the echo of a write is no reason for another one,
//! and what somebody else did is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::api::ObjectMeta;
use serde_json::Value;
use tokio::time::Instant;

/// The least time between two repairs of one object: somebody may repair it the other way.
pub const REPAIR: Duration = Duration::from_secs(3);

/// Kind and name of an object that is rendered.
pub type Key = (&'static str, String);

/// The objects of all SPODs.
#[derive(Debug, Default)]
pub struct Objects {
    there: BTreeMap<Key, There>,
    applied: BTreeMap<Key, Applied>,
    /// What lists in progress have named so far, by kind.
    lists: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What is known of an object that was or may be rendered.
#[derive(Debug)]
struct There {
    mark: Mark,
    owners: Vec<String>,
}

/// What the last write made of an object.
#[derive(Debug)]
struct Applied {
    rendered: Value,
    mark: Mark,
    at: Instant,
}

/// What to do about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it should be.
    Keep,
    /// Nothing before this time.
    Later(Instant),
    /// Apply it.
    Apply,
}

impl Objects {
    /// Takes note of an object that a watch has seen. Returns whether it is not what the last write made of it.
    pub fn seen(&mut self, key: Key, metadata: &ObjectMeta) -> bool {
        let there = There::of(metadata);
        let differs = self.applied.get(&key).is_none_or(|applied| applied.mark != there.mark);
        self.listed(&key);
        self.there.insert(key, there);
        differs
    }

    /// Takes note that an object is gone. Returns whether it was there.
    pub fn gone(&mut self, key: &Key) -> bool {
        let was_there = self.there.remove(key).is_some();
        if was_there {
            self.applied.remove(key);
        }
        was_there
    }

    /// Takes note that all objects of a kind are about to be listed, because the watch was interrupted.
    pub fn list_begins(&mut self, kind: &'static str) {
        self.lists.insert(kind, BTreeSet::new());
    }

    /// Takes note that all objects of a kind have been listed. Gives back those that went unseen meanwhile.
    pub fn list_ends(&mut self, kind: &'static str) -> Vec<Key> {
        let Some(listed) = self.lists.remove(kind) else { return Vec::new() };
        let gone = self.there.keys().filter(|(of, name)| *of == kind && !listed.contains(name));
        let gone: Vec<Key> = gone.cloned().collect();
        for key in &gone {
            self.gone(key);
        }
        gone
    }

    fn listed(&mut self, key: &Key) {
        if let Some(listed) = self.lists.get_mut(key.0) {
            listed.insert(key.1.clone());
        }
    }

    /// Whether an object is there, as far as is known.
    pub fn is_there(&self, key: &Key) -> bool {
        self.there.contains_key(key)
    }

    /// What to do about an object that is rendered like this.
    pub fn step(&self, key: &Key, rendered: &Value, now: Instant) -> Step {
        let Some(applied) = self.applied.get(key).filter(|applied| applied.rendered == *rendered) else {
            return Step::Apply;
        };
        if self.there.get(key).is_none_or(|there| there.mark == applied.mark) {
            return Step::Keep;
        }
        let next = applied.at + REPAIR;
        if now < next { Step::Later(next) } else { Step::Apply }
    }

    /// Takes note of what a write made of an object. Returns whether anything changed by it.
    pub fn written(&mut self, key: Key, rendered: Value, metadata: &ObjectMeta, now: Instant) -> bool {
        // A list that was asked for before does not know of it.
        self.listed(&key);
        let there = There::of(metadata);
        let mark = there.mark.clone();
        let before = self.there.insert(key.clone(), there);
        let changed = before.is_none_or(|before| before.mark != mark);
        self.applied.insert(key, Applied { rendered, mark, at: now });
        changed
    }

    /// What this owner has and does not want any more.
    pub fn superfluous(&self, owner: &str, wanted: &BTreeSet<Key>) -> Vec<Key> {
        let owned = self.there.iter().filter(|(_, there)| there.owners.iter().any(|uid| uid == owner));
        owned.map(|(key, _)| key.clone()).filter(|key| !wanted.contains(key)).collect()
    }
}

impl There {
    fn of(metadata: &ObjectMeta) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let owners: Vec<String> = owners.map(|owner| owner.uid.clone()).collect();
        Self { mark: Mark::of(metadata, &owners), owners }
    }
}

/// What an object is at: the generation counts what was wanted of it, apart from its metadata; kinds without one change
/// for no other reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    version: String,
    labels: BTreeMap<String, String>,
    owners: Vec<String>,
}

impl Mark {
    fn of(metadata: &ObjectMeta, owners: &[String]) -> Self {
        let version = match metadata.generation {
            Some(generation) => format!("{}/{generation}", metadata.uid.as_deref().unwrap_or_default()),
            None => metadata.resource_version.clone().unwrap_or_default(),
        };
        Self { version, labels: metadata.labels.clone().unwrap_or_default(), owners: owners.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        ("DaemonSet", name.to_owned())
    }

    fn metadata(generation: i64, labels: &[&str], owner: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".to_owned()),
            generation: Some(generation),
            labels: Some(labels.iter().map(|label| ((*label).to_owned(), String::new())).collect()),
            owner_references: Some(vec![OwnerReference {
                uid: owner.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        }
    }

    fn later(now: Instant) -> Instant {
        now + REPAIR
    }

    #[test]
    fn the_echo_of_a_write_is_no_reason_for_another() {
        let (mut objects, now) = (Objects::default(), Instant::now());
        let rendered = json!({ "a": 1 });
        assert_eq!(objects.step(&key("spod"), &rendered, now), Step::Apply);
        let made = metadata(1, &["app"], "1");
        assert!(objects.written(key("spod"), rendered.clone(), &made, now));
        assert_eq!(objects.step(&key("spod"), &rendered, now), Step::Keep, "before the watch says so");
        assert!(!objects.seen(key("spod"), &made));
        assert_eq!(objects.step(&key("spod"), &rendered, later(now)), Step::Keep);
        assert_eq!(objects.step(&key("spod"), &json!({ "a": 2 }), now), Step::Apply);
    }

    /// A write may be behind another one when its echo arrives.
    #[test]
    fn a_late_echo_of_an_earlier_write_is_waited_out() {
        let (mut objects, now) = (Objects::default(), Instant::now());
        objects.written(key("spod"), json!(1), &metadata(1, &[], "1"), now);
        objects.written(key("spod"), json!(2), &metadata(2, &[], "1"), now);
        assert!(objects.seen(key("spod"), &metadata(1, &[], "1")));
        assert_eq!(objects.step(&key("spod"), &json!(2), now), Step::Later(later(now)));
        assert!(!objects.seen(key("spod"), &metadata(2, &[], "1")));
        assert_eq!(objects.step(&key("spod"), &json!(2), later(now)), Step::Keep);
    }

    #[test]
    fn what_others_do_is_repaired_at_once_and_then_not_too_often() {
        let (mut objects, now) = (Objects::default(), Instant::now());
        objects.written(key("spod"), json!(1), &metadata(1, &["app"], "1"), now);
        let spec = metadata(2, &["app"], "1");
        let label = metadata(1, &[], "1");
        let owner = metadata(1, &["app"], "2");
        for foreign in [spec, label, owner] {
            assert!(objects.seen(key("spod"), &foreign), "{foreign:?}");
            assert_eq!(objects.step(&key("spod"), &json!(1), later(now)), Step::Apply);
        }
        objects.written(key("spod"), json!(1), &metadata(3, &["app"], "1"), later(now));
        objects.seen(key("spod"), &metadata(4, &["app"], "1"));
        let again = later(later(now));
        assert_eq!(objects.step(&key("spod"), &json!(1), later(now)), Step::Later(again));
        assert_eq!(objects.step(&key("spod"), &json!(1), again), Step::Apply);
    }

    #[test]
    fn what_is_gone_is_made_again() {
        let (mut objects, now) = (Objects::default(), Instant::now());
        objects.written(key("spod"), json!(1), &metadata(1, &[], "1"), now);
        assert!(objects.gone(&key("spod")));
        assert_eq!(objects.step(&key("spod"), &json!(1), now), Step::Apply);
        assert!(!objects.gone(&key("spod")), "it is told once");
    }

    /// A watch that was interrupted for long begins with a list, and nobody says what was deleted meanwhile.
    #[test]
    fn what_a_list_does_not_name_any_more_is_made_again() {
        let (mut objects, now) = (Objects::default(), Instant::now());
        for name in ["stays", "goes"] {
            objects.written(key(name), json!(1), &metadata(1, &[], "1"), now);
        }
        objects.written(("Service", "other".to_owned()), json!(1), &metadata(1, &[], "1"), now);
        objects.list_begins("DaemonSet");
        objects.seen(key("stays"), &metadata(1, &[], "1"));
        assert_eq!(objects.step(&key("goes"), &json!(1), now), Step::Keep, "half a list says nothing");
        objects.written(key("made-meanwhile"), json!(1), &metadata(1, &[], "1"), now);
        assert_eq!(objects.list_ends("DaemonSet"), [key("goes")]);
        assert_eq!(objects.step(&key("goes"), &json!(1), now), Step::Apply);
        assert_eq!(objects.superfluous("1", &BTreeSet::new()).len(), 3, "the others are there");
        assert_eq!(objects.list_ends("DaemonSet"), []);
    }

    #[test]
    fn superfluous_is_what_the_same_owner_had() {
        let mut objects = Objects::default();
        for (name, owner) in [("spod", "1"), ("old", "1"), ("other", "2")] {
            objects.seen(key(name), &metadata(1, &[], owner));
        }
        assert_eq!(objects.superfluous("1", &[key("spod")].into()), [key("old")]);
        assert_eq!(objects.superfluous("3", &BTreeSet::new()), Vec::<Key>::new());
    }
}
