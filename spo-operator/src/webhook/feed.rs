//! Keeps the index fresh: what the watches of the API server say becomes the next index.
//!
//! ```text
//! watch of a kind ──event──► Cache::apply ──Cache::index──► Shared::swap
//! ```
//!
//! [`Cache`] is the pure part. [`run`] is the thin one that needs an API server; the cluster tier tests it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::Value;
use spo_model::{
    convert::decode,
    kind::{GROUP, Kind, Version},
    object::AnyObject,
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::index::{Index, Settings, Shared, Unreadable};

/// The kinds that requests are answered from.
pub const KINDS: [Kind; 7] = [
    Kind::SeccompProfile,
    Kind::SelinuxProfile,
    Kind::RawSelinuxProfile,
    Kind::AppArmorProfile,
    Kind::ProfileRecording,
    Kind::ProfileBinding,
    Kind::SecurityProfilesOperatorDaemon,
];

/// Watches every kind and replaces the index after each change, until it is told to stop. The first index appears
/// once every kind has been listed.
pub async fn run(client: Client, settings: Settings, shared: Shared, stop: CancellationToken) {
    let (sender, mut events) = mpsc::channel(256);
    let mut watches = JoinSet::new();
    for kind in KINDS {
        watches.spawn(watch(client.clone(), settings.clone(), kind, sender.clone()));
    }
    drop(sender);
    let mut cache = Cache::new(settings);
    while let Some(Some((kind, event))) = stop.run_until_cancelled(events.recv()).await {
        cache.apply(kind, event);
        // A list comes as many events; one index for all that come in one breath.
        while let Ok(Some((kind, event))) = timeout(BREATH, events.recv()).await {
            cache.apply(kind, event);
            if events.is_empty() {
                break;
            }
        }
        if let Some(index) = cache.index() {
            shared.swap(index);
        }
    }
}

/// How long a change waits for others that come with it.
const BREATH: Duration = Duration::from_millis(20);

async fn watch(client: Client, settings: Settings, kind: Kind, sender: mpsc::Sender<(Kind, Event<Value>)>) {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: Version::V1.to_string(),
        api_version: format!("{GROUP}/{}", Version::V1),
        kind: kind.to_string(),
        plural: kind.plural().to_owned(),
    };
    let api: Api<DynamicObject> = match kind {
        Kind::SecurityProfilesOperatorDaemon => {
            Api::namespaced_with(client, settings.operator_namespace.as_str(), &resource)
        }
        _ => Api::all_with(client, &resource),
    };
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%kind, %error, "the watch is interrupted");
                continue;
            }
        };
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
        let event = match event {
            Event::Apply(object) => Event::Apply(value(object)),
            Event::Delete(object) => Event::Delete(value(object)),
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(value(object)),
            Event::InitDone => Event::InitDone,
        };
        if sender.send((kind, event)).await.is_err() {
            return;
        }
    }
}

/// What the watches have said so far.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    objects: BTreeMap<Kind, Objects>,
    /// Lists that are not complete yet; what they replace is used until they are.
    lists: BTreeMap<Kind, Objects>,
    complete: BTreeSet<Kind>,
}

/// Objects of one kind by namespace and name.
type Objects = BTreeMap<(String, String), Entry>;

#[derive(Debug)]
enum Entry {
    Object(Box<AnyObject>),
    Unreadable(Unreadable),
}

impl Cache {
    /// Nothing so far.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, objects: BTreeMap::new(), lists: BTreeMap::new(), complete: BTreeSet::new() }
    }

    /// Takes note of an event about an object of a kind, given as its document.
    pub fn apply(&mut self, kind: Kind, event: Event<Value>) {
        match event {
            Event::Init => {
                self.lists.insert(kind, Objects::new());
            }
            Event::InitApply(document) => {
                let (key, entry) = entry(kind, document);
                self.lists.entry(kind).or_default().insert(key, entry);
            }
            Event::InitDone => {
                self.objects.insert(kind, self.lists.remove(&kind).unwrap_or_default());
                self.complete.insert(kind);
            }
            Event::Apply(document) => {
                let (key, entry) = entry(kind, document);
                self.objects.entry(kind).or_default().insert(key, entry);
            }
            Event::Delete(document) => {
                let key = identity(&document);
                self.objects.entry(kind).or_default().remove(&key);
            }
        }
    }

    /// The index of what is known; `None` until every kind has been listed.
    pub fn index(&self) -> Option<Index> {
        if !KINDS.iter().all(|kind| self.complete.contains(kind)) {
            return None;
        }
        let entries = || self.objects.values().flat_map(BTreeMap::values);
        let objects = entries().filter_map(|entry| match entry {
            Entry::Object(object) => Some(&**object),
            Entry::Unreadable(_) => None,
        });
        let unreadable = entries().filter_map(|entry| match entry {
            Entry::Unreadable(object) => Some(object.clone()),
            Entry::Object(_) => None,
        });
        Some(Index::new(self.settings.clone(), objects, unreadable))
    }
}

fn identity(document: &Value) -> (String, String) {
    let text = |field: &str| document["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn entry(kind: Kind, mut document: Value) -> ((String, String), Entry) {
    let key = identity(&document);
    if let Some(fields) = document.as_object_mut() {
        // The elements of a list do not say what they are.
        fields.insert("apiVersion".to_owned(), Value::from(format!("{GROUP}/{}", Version::V1)));
        fields.insert("kind".to_owned(), Value::from(kind.as_str()));
    }
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let entry = match decode(&document) {
        Ok(decoded) => Entry::Object(Box::new(decoded.object)),
        Err(problems) => {
            let reason = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(%kind, namespace = key.0, name = key.1, reason, "an object cannot be read");
            let (namespace, name) = key.clone();
            Entry::Unreadable(Unreadable { kind, namespace, name, reason })
        }
    };
    (key, entry)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhook::fixture::{document, settings};

    fn profile(name: &str) -> Value {
        document("SeccompProfile", name, &json!({"defaultAction": "SCMP_ACT_ERRNO"}))
    }

    fn listed(cache: &mut Cache, kind: Kind, documents: impl IntoIterator<Item = Value>) {
        cache.apply(kind, Event::Init);
        for document in documents {
            cache.apply(kind, Event::InitApply(document));
        }
        cache.apply(kind, Event::InitDone);
    }

    fn full(profiles: impl IntoIterator<Item = Value>) -> Cache {
        let mut cache = Cache::new(settings());
        for kind in KINDS {
            listed(&mut cache, kind, []);
        }
        listed(&mut cache, Kind::SeccompProfile, profiles);
        cache
    }

    fn knows(cache: &Cache, name: &str) -> bool {
        let index = cache.index().expect("complete");
        index.profile("production", Kind::SeccompProfile, name).is_some()
    }

    #[test]
    fn there_is_no_index_before_every_kind_is_listed() {
        let mut cache = Cache::new(settings());
        for kind in KINDS {
            assert!(cache.index().is_none(), "{kind} is missing");
            cache.apply(kind, Event::Init);
            assert!(cache.index().is_none(), "{kind} is not complete");
            cache.apply(kind, Event::InitDone);
        }
        assert!(cache.index().is_some());
    }

    #[test]
    fn changes_and_deletions_are_followed() {
        let mut cache = full([profile("a")]);
        cache.apply(Kind::SeccompProfile, Event::Apply(profile("b")));
        assert!(knows(&cache, "a") && knows(&cache, "b"));
        cache.apply(Kind::SeccompProfile, Event::Delete(profile("a")));
        assert!(!knows(&cache, "a") && knows(&cache, "b"));
    }

    #[test]
    fn a_watch_that_starts_again_loses_nothing_and_drops_what_is_gone() {
        let mut cache = full([profile("a"), profile("b")]);
        cache.apply(Kind::SeccompProfile, Event::Init);
        cache.apply(Kind::SeccompProfile, Event::InitApply(profile("b")));
        assert!(knows(&cache, "a") && knows(&cache, "b"), "half a list replaces nothing");
        cache.apply(Kind::SeccompProfile, Event::InitDone);
        assert!(!knows(&cache, "a") && knows(&cache, "b"));
    }

    #[test]
    fn elements_of_lists_do_not_say_what_they_are() {
        let mut bare = profile("a");
        if let Some(fields) = bare.as_object_mut() {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        assert!(knows(&full([bare]), "a"));
    }

    #[test]
    fn a_binding_that_cannot_be_read_is_remembered_and_can_be_corrected() {
        let mut cache = full([profile("web")]);
        let reference = json!({"kind": "SeccompProfile", "name": "web"});
        let bad = document("ProfileBinding", "b", &json!({"profileRef": reference}));
        cache.apply(Kind::ProfileBinding, Event::Apply(bad));
        assert_eq!(cache.index().expect("complete").unreadable_bindings("production").len(), 1);
        let good = document("ProfileBinding", "b", &json!({"profileRef": reference, "image": "*"}));
        cache.apply(Kind::ProfileBinding, Event::Apply(good));
        let index = cache.index().expect("complete");
        assert_eq!(index.unreadable_bindings("production").len(), 0);
        assert_eq!(index.bindings("production", &BTreeMap::new()).count(), 1);
    }
}
