//! Objects of the group as watches tell them.
//!
//! ```text
//! watch ──follow──► event of documents ──Cache::apply──► what there is now
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    Client,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::Value;
use spo_model::{
    convert::decode,
    kind::{GROUP, Scope, Version},
    names::NamespaceName,
    object::AnyObject,
};

use super::resource::Resource;

/// What one watch says: which watch, and an event of documents.
pub type Told = (Watch, Event<Value>);

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch {
    /// Of what.
    pub resource: Resource,
    /// In which namespace; `None` for all, or where there is none.
    pub namespace: Option<NamespaceName>,
}

impl Watch {
    /// The watches of a resource in some namespaces, or in all.
    pub fn all(resource: Resource, profiles: Scope, namespaces: Option<&[NamespaceName]>) -> Vec<Self> {
        match (resource.kind().scope(profiles), namespaces) {
            (Scope::Namespaced, Some(namespaces)) => {
                namespaces.iter().map(|name| Self { resource, namespace: Some(name.clone()) }).collect()
            }
            _ => vec![Self { resource, namespace: None }],
        }
    }

    /// Follows it for ever, over interruptions. Documents come without `managedFields`.
    pub fn follow(
        self,
        client: Client,
        profiles: Scope,
        config: watcher::Config,
    ) -> Pin<Box<dyn Stream<Item = Told> + Send>> {
        let api = self.resource.api(client, profiles, self.namespace.as_ref());
        let events = watcher(api, config).default_backoff();
        let resource = self.resource;
        Box::pin(events.filter_map(move |event| {
            let this = self.clone();
            async move {
                match event {
                    Ok(event) => Some((this, documents(resource, event))),
                    Err(error) => {
                        tracing::warn!(%resource, %error, "the watch is interrupted");
                        None
                    }
                }
            }
        }))
    }
}

/// Follows several watches at once.
pub fn follow_all(
    client: &Client,
    profiles: Scope,
    config: &watcher::Config,
    watches: Vec<Watch>,
) -> impl Stream<Item = Told> + Send + use<> {
    stream::select_all(
        watches.into_iter().map(|watch| watch.follow(client.clone(), profiles, config.clone())),
    )
}

fn documents(resource: Resource, event: Event<DynamicObject>) -> Event<Value> {
    let value = |object: DynamicObject| {
        let mut document = serde_json::to_value(object).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            // The elements of a list do not say what they are.
            fields.insert("apiVersion".to_owned(), Value::from(format!("{GROUP}/{}", Version::V1)));
            fields.insert("kind".to_owned(), Value::from(resource.spelling()));
        }
        if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        document
    };
    match event {
        Event::Apply(object) => Event::Apply(value(object)),
        Event::Delete(object) => Event::Delete(value(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(value(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// An object as a watch told it.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// It can be read.
    Object(Box<AnyObject>),
    /// It is there and cannot be read: why, and the document.
    Unreadable(String, Box<Value>),
}

impl From<Value> for Entry {
    fn from(document: Value) -> Self {
        match decode(&document) {
            Ok(decoded) => Self::Object(Box::new(decoded.object)),
            Err(problems) => {
                let reason = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                tracing::warn!(name, reason, "an object cannot be read");
                Self::Unreadable(reason, Box::new(document))
            }
        }
    }
}

impl Entry {
    /// The object, if it can be read.
    pub fn object(&self) -> Option<&AnyObject> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unreadable(..) => None,
        }
    }
}

/// Namespace (empty if there is none) and name.
pub type Name = (String, String);

/// What several watches have said so far, and of each object as much as `T` keeps of it.
#[derive(Debug)]
pub struct Cache<T = Entry> {
    watches: BTreeSet<Watch>,
    objects: BTreeMap<Watch, BTreeMap<Name, T>>,
    /// Lists that are not complete yet; what they replace is used until they are.
    lists: BTreeMap<Watch, BTreeMap<Name, T>>,
}

impl<T: From<Value>> Cache<T> {
    /// Nothing so far, of these watches.
    pub fn new(watches: impl IntoIterator<Item = Watch>) -> Self {
        Self { watches: watches.into_iter().collect(), objects: BTreeMap::new(), lists: BTreeMap::new() }
    }

    /// Takes note of what a watch says.
    pub fn apply(&mut self, (watch, event): Told) {
        match event {
            Event::Init => {
                self.lists.insert(watch, BTreeMap::new());
            }
            Event::InitApply(document) => {
                self.lists.entry(watch).or_default().insert(identity(&document), T::from(document));
            }
            Event::InitDone => {
                let list = self.lists.remove(&watch).unwrap_or_default();
                self.objects.insert(watch, list);
            }
            Event::Apply(document) => {
                self.objects.entry(watch).or_default().insert(identity(&document), T::from(document));
            }
            Event::Delete(document) => {
                self.objects.entry(watch).or_default().remove(&identity(&document));
            }
        }
    }

    /// Whether every watch has listed what there is.
    pub fn is_complete(&self) -> bool {
        self.watches.iter().all(|watch| self.objects.contains_key(watch))
    }

    /// The namespace in which a resource is watched, if it is one.
    pub fn namespace_of(&self, resource: Resource) -> Option<&NamespaceName> {
        self.watches.iter().find(|watch| watch.resource == resource)?.namespace.as_ref()
    }

    /// The namespaces to which the watches of a resource are restricted, `None` if they are not.
    pub fn namespaces_of(&self, resource: Resource) -> Option<Vec<NamespaceName>> {
        let of = self.watches.iter().filter(|watch| watch.resource == resource);
        of.map(|watch| watch.namespace.clone()).collect()
    }

    /// What there is.
    pub fn entries(&self) -> impl Iterator<Item = (Resource, &Name, &T)> {
        self.objects
            .iter()
            .flat_map(|(watch, objects)| objects.iter().map(|(name, entry)| (watch.resource, name, entry)))
    }
}

/// Namespace and name of a document.
pub fn identity(document: &Value) -> Name {
    let text = |field: &str| document["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
