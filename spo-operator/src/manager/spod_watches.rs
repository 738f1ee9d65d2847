//! What the controller of SPODs follows: SPODs, the operator's own Deployment, and everything that is rendered.
//! ServiceMonitors are followed where the cluster has their definition, which is followed too.

use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::Value;
use spo_model::{
    kind::{Kind, Scope},
    names::NamespaceName,
};
use tokio_util::sync::CancellationToken;

use super::kinds::{ApiKind, BUDGETS, DEFINITIONS, DEPLOYMENTS, MONITORS, MUTATING, SERVICES, VALIDATING};
use crate::cluster::{names, resource::Resource, watch::Watch};

/// What a watch says.
pub enum Told {
    /// About a SPOD.
    Spod(Event<Value>),
    /// About the operator's own Deployment.
    Own(Option<Box<Deployment>>),
    /// About a DaemonSet of agents.
    Agents(Box<Event<DaemonSet>>),
    /// About another object of ours.
    Other(&'static ApiKind, Event<ObjectMeta>),
    /// About an object that is followed by name.
    Named(&'static ApiKind, &'static str, Option<ObjectMeta>),
    /// Whether the cluster has ServiceMonitors.
    Monitors(bool),
}

/// What watches say.
pub type Events = stream::SelectAll<BoxStream<'static, Told>>;

/// Everything that is followed.
pub fn events(client: &Client, namespace: &NamespaceName) -> Events {
    let place = namespace.as_str();
    let spods = Watch {
        resource: Resource::Of(Kind::SecurityProfilesOperatorDaemon),
        namespace: Some(namespace.clone()),
    };
    let config = watcher::Config::default();
    let spods = spods.follow(client.clone(), Scope::Namespaced, config.clone());
    let own: Api<Deployment> = Api::namespaced(client.clone(), place);
    let own = watcher::watch_object(own, names::OPERATOR).default_backoff();
    let ours = config.labels(&format!("{}={}", names::APP_LABEL, names::OPERATOR));
    let agents = watcher(Api::<DaemonSet>::namespaced(client.clone(), place), ours).default_backoff();
    let mut all: Vec<BoxStream<'static, Told>> = vec![
        spods.map(|(_, event)| Told::Spod(event)).boxed(),
        told("the operator's Deployment", own.map(|told| told.map(|own| Told::Own(own.map(Box::new))))),
        told("daemonsets", agents.map(|told| told.map(|event| Told::Agents(Box::new(event))))),
    ];
    for kind in [&DEPLOYMENTS, &SERVICES, &BUDGETS] {
        all.push(objects(client, namespace, kind));
    }
    let definition: Api<PartialObjectMeta<DynamicObject>> = DEFINITIONS.api(client, place);
    let definition = watcher::watch_object(definition, names::MONITORS_DEFINITION).default_backoff();
    let is_there = |found: Option<PartialObjectMeta<DynamicObject>>| {
        found.is_some_and(|found| found.metadata.deletion_timestamp.is_none())
    };
    let definition = definition.map(move |told| told.map(|found| Told::Monitors(is_there(found))));
    all.push(told(DEFINITIONS.plural, definition));
    for (kind, name) in [(&MUTATING, names::MUTATING_WEBHOOKS), (&VALIDATING, names::VALIDATING_WEBHOOKS)] {
        // By name: the operator has no business with the configurations of others.
        let api: Api<PartialObjectMeta<DynamicObject>> = kind.api(client, place);
        let events = watcher::watch_object(api, name).default_backoff();
        let events = events.map(move |told| {
            told.map(|object| Told::Named(kind, name, object.map(|object| object.metadata)))
        });
        all.push(told(kind.plural, events));
    }
    stream::select_all(all)
}

/// The ServiceMonitors, until this token says that there are none any more.
pub fn monitors(
    client: &Client,
    namespace: &NamespaceName,
    until: CancellationToken,
) -> BoxStream<'static, Told> {
    objects(client, namespace, &MONITORS).take_until(until.cancelled_owned()).boxed()
}

/// Objects of a kind that belong to the operator.
fn objects(client: &Client, namespace: &NamespaceName, kind: &'static ApiKind) -> BoxStream<'static, Told> {
    let api: Api<PartialObjectMeta<DynamicObject>> = kind.api(client, namespace.as_str());
    let ours = watcher::Config::default().labels(&format!("{}={}", names::APP_LABEL, names::OPERATOR));
    let events = watcher(api, ours).default_backoff();
    told(kind.plural, events.map(move |told| told.map(|event| Told::Other(kind, metadata(event)))))
}

fn told(
    what: &'static str,
    events: impl Stream<Item = Result<Told, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, Told> {
    let events = events.filter_map(move |event| async move {
        event.inspect_err(|error| tracing::warn!(what, %error, "the watch is interrupted")).ok()
    });
    events.boxed()
}

fn metadata(event: Event<PartialObjectMeta<DynamicObject>>) -> Event<ObjectMeta> {
    match event {
        Event::Apply(object) => Event::Apply(object.metadata),
        Event::Delete(object) => Event::Delete(object.metadata),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object.metadata),
        Event::InitDone => Event::InitDone,
    }
}
