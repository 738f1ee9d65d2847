//! What the work on profiles hears of: watches of profiles, bindings, node statuses, pods, SPODs, nodes and agents, each
//! object as the little that is kept of it.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod, PodSpec},
};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::Value;
use spo_model::{
    kind::{Kind, Scope},
    names::NamespaceName,
};

use super::{
    bindings::{self, Binding},
    facts::{NodeStatus, Profile, pod, warning},
    forbidden::Policy,
    index::{Fact, Watches},
    membership::NodeFacts,
    profiles::Settings,
    spod_status::Spod,
};
use crate::cluster::{
    names,
    news::of_spec,
    resource::Resource,
    watch::{Name, Watch, identity},
};

/// What watches tell, and which watch of its kind told it.
pub type Facts = Pin<Box<dyn Stream<Item = (usize, Fact)> + Send>>;

/// Follows everything that the state of profiles depends on, for ever.
pub fn facts(client: &Client, settings: &Settings) -> (Facts, Watches) {
    let config = watcher::Config::default();
    let namespaces = settings.namespaces.as_deref();
    let all = |resource| Watch::all(resource, settings.scope, namespaces);
    let mut streams: Vec<Facts> = Vec::new();
    let profiles: Vec<Watch> = Resource::PROFILES.into_iter().flat_map(all).collect();
    let statuses = all(Resource::Of(Kind::SecurityProfileNodeStatus));
    let pods: Vec<Option<&NamespaceName>> = match namespaces {
        None => vec![None],
        Some(some) => some.iter().map(Some).collect(),
    };
    let watches = Watches { profiles: profiles.len(), statuses: statuses.len(), pods: pods.len() };
    for (number, watch) in profiles.into_iter().enumerate() {
        let resource = watch.resource;
        let told = watch.follow(client.clone(), settings.scope, config.clone());
        let mut warnings = Warnings::default();
        streams.push(Box::pin(told.map(move |(_, event)| {
            let gone = matches!(event, Event::Delete(_));
            if matches!(event, Event::Init) {
                warnings.0.clear();
            }
            let profile = |document: Value| {
                let warn = document.get("spec").is_some_and(|spec| !gone && spec["syscalls"].is_array());
                let warning = warn.then(|| warnings.of(&document)).flatten();
                let (id, profile) = Profile::of(resource, document);
                if gone {
                    warnings.0.remove(&profile.uid);
                }
                (id, Some(Profile { warning, ..profile }))
            };
            (number, Fact::Profile(map(event, profile)))
        })));
    }
    for (number, watch) in all(bindings::RESOURCE).into_iter().enumerate() {
        let told = watch.follow(client.clone(), settings.scope, config.clone());
        streams.push(Box::pin(
            told.map(move |(_, event)| {
                (number, Fact::Binding(map(event, |document| Binding::of(&document))))
            }),
        ));
    }
    for (number, watch) in statuses.into_iter().enumerate() {
        let told = watch.follow(client.clone(), settings.scope, config.clone());
        streams.push(Box::pin(told.map(move |(_, event)| {
            (number, Fact::Status(map(event, |document| NodeStatus::of(&document))))
        })));
    }
    for (number, namespace) in pods.into_iter().enumerate() {
        let api: Api<Pod> = match namespace {
            None => Api::all(client.clone()),
            Some(namespace) => Api::namespaced(client.clone(), namespace.as_str()),
        };
        // Pods are the largest objects in number and size: a page of them is all that is ever held.
        let told = followed(api, config.clone().page_size(100), "pods");
        streams.push(Box::pin(told.map(move |event| (number, Fact::Pod(map(event, |object| pod(&object)))))));
    }
    let spods = Watch {
        resource: Resource::Of(Kind::SecurityProfilesOperatorDaemon),
        namespace: Some(settings.operator_namespace.clone()),
    };
    let spods = spods.follow(client.clone(), Scope::Namespaced, config.clone());
    streams.push(Box::pin(spods.map(|(_, event)| (0, Fact::Policy(map(event, policy))))));
    let nodes = followed(Api::<Node>::all(client.clone()), config.clone(), "nodes");
    streams.push(Box::pin(nodes.map(|event| {
        let node = |node| {
            let facts = NodeFacts::of(node);
            (facts.name.clone().into_boxed_str(), Some(facts))
        };
        (0, Fact::Node(map(event, node)))
    })));
    let agents: Api<DaemonSet> = Api::namespaced(client.clone(), settings.operator_namespace.as_str());
    let agents =
        followed(agents, config.labels(&format!("{}={}", names::APP_LABEL, names::OPERATOR)), "daemonsets");
    streams.push(Box::pin(agents.map(|event| (0, Fact::Agents(map(event, agent))))));
    (Box::pin(stream::select_all(streams)), watches)
}

/// What was found out about each spec of a profile, by uid: most events are about its status.
#[derive(Default)]
struct Warnings(BTreeMap<Box<str>, Judged>);

/// What stands for a spec, and what is wrong with it.
type Judged = (u64, Option<Arc<str>>);

impl Warnings {
    fn of(&mut self, document: &Value) -> Option<Arc<str>> {
        let (uid, spec) = (document["metadata"]["uid"].as_str().unwrap_or_default(), of_spec(document));
        if let Some((known, warning)) = self.0.get(uid)
            && *known == spec
        {
            return warning.clone();
        }
        let warning = warning(document);
        self.0.insert(uid.into(), (spec, warning.clone()));
        warning
    }
}

/// Follows objects for ever, over interruptions.
fn followed<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
) -> impl Stream<Item = Event<K>> + Send
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(move |event| async move {
        event.inspect_err(|error| tracing::warn!(what, %error, "the watch is interrupted")).ok()
    })
}

fn map<A, B>(event: Event<A>, f: impl FnOnce(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(f(object)),
        Event::Delete(object) => Event::Delete(f(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(f(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// What a SPOD asks for about profiles that are not allowed.
fn policy(document: Value) -> (Name, Option<Policy>) {
    let policy = Spod::of(&document).object.ok().and_then(|spod| Policy::of(&spod.spec));
    (identity(&document), policy)
}

/// The template of a DaemonSet of agents; other DaemonSets of the operator are of no interest. Every DaemonSet of agents
/// counts, whatever it is called: there is one for each SecurityProfilesOperatorDaemon.
fn agent(object: DaemonSet) -> (Name, Option<Box<PodSpec>>) {
    let name = (object.metadata.namespace.unwrap_or_default(), object.metadata.name.unwrap_or_default());
    let template = object.spec.template;
    let owners = object.metadata.owner_references.unwrap_or_default();
    let is_agent = owners.iter().any(|owner| owner.kind == Kind::SecurityProfilesOperatorDaemon.as_str());
    let spec = template.spec.filter(|_| is_agent);
    // Of the containers nothing is of interest.
    let spec = spec.map(|spec| {
        Box::new(PodSpec { containers: Vec::new(), init_containers: None, volumes: None, ..spec })
    });
    (name, spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The existing operator knows the agents of the SecurityProfilesOperatorDaemon `spod` alone.
    #[test]
    fn agents_are_known_by_their_owner_and_not_by_name() {
        let set = |name: &str, owner: &str| {
            let owners = json!([{ "apiVersion": "v1", "kind": owner, "name": "x", "uid": "1" }]);
            let document = json!({ "metadata": { "name": name, "namespace": "spo", "ownerReferences": owners },
                "spec": { "selector": {}, "template": { "spec": { "containers": [{ "name": "c" }] } } } });
            agent(serde_json::from_value(document).expect("a DaemonSet")).1
        };
        for name in ["spod", "any-other"] {
            let template = set(name, "SecurityProfilesOperatorDaemon").expect("agents");
            assert!(template.containers.is_empty(), "nothing is kept that nobody looks at");
        }
        assert!(set("spod", "Deployment").is_none());
    }
}
