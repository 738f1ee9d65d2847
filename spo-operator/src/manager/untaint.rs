//! Takes the taint of new nodes off those whose agent is ready: the watches and writes of [`startup_taint`].
//!
//! Nodes and agents are followed only while a SPOD asks for it, and each node is written once.

use std::time::Duration;

use futures::{Stream, StreamExt as _, future::join_all, stream, stream::BoxStream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use spo_model::{
    kind::{Kind, Scope},
    names::NamespaceName,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::startup_taint::{self, Taints};
use crate::{
    cluster::{names, request::within, resource::Resource, watch::Watch},
    process::{Error, INTERVAL, Pulse},
};

/// How long changes are gathered.
const BREATH: Duration = Duration::from_millis(50);

/// How long after a failure it is tried again. A conflict is one: a kubelet has written about its node.
const RETRY: Duration = Duration::from_secs(2);

/// How many nodes are written at once.
const AT_ONCE: usize = 16;

/// Works until it is told to stop.
///
/// # Errors
/// None so far; what fails is tried again.
pub async fn run(
    client: Client,
    namespace: NamespaceName,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Error> {
    let spods = Watch {
        resource: Resource::Of(Kind::SecurityProfilesOperatorDaemon),
        namespace: Some(namespace.clone()),
    };
    let mut spods = spods.follow(client.clone(), Scope::Namespaced, watcher::Config::default());
    let (mut taints, mut followed) = (Taints::default(), None);
    let mut due: Option<Instant> = None;
    let beat = pulse.of("the loop of the startup taint");
    loop {
        beat.beat();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some((_, event)) = spods.next() => {
                taints.spod(event);
                if !taints.is_asked() {
                    followed = None;
                    taints.forget();
                } else if followed.is_none() {
                    followed = Some(follow(&client, namespace.as_str()));
                }
            }
            Some(told) = next(&mut followed) => match told {
                Told::Node(event) => taints.node(*event),
                Told::Agent(event) => taints.agent(*event),
            },
            () = until(due) => {
                due = None;
                let Some(done) = stop.run_until_cancelled(work(&client, &mut taints)).await else {
                    return Ok(());
                };
                if !done {
                    due = Some(Instant::now() + RETRY);
                }
                continue;
            }
            () = sleep(INTERVAL) => {}
        }
        if due.is_none() && !taints.due().is_empty() {
            due = Some(Instant::now() + BREATH);
        }
    }
}

enum Told {
    Node(Box<Event<Node>>),
    Agent(Box<Event<Pod>>),
}

fn follow(client: &Client, namespace: &str) -> BoxStream<'static, Told> {
    // Small pages: a list is held while it is read, and nodes are large.
    let config = watcher::Config::default().page_size(100);
    let nodes = watcher(Api::<Node>::all(client.clone()), config.clone());
    let agents = config.labels(&format!("{}={},{COMPONENT}", names::APP_LABEL, names::OPERATOR));
    let agents = watcher(Api::<Pod>::namespaced(client.clone(), namespace), agents);
    let nodes = uninterrupted("nodes", nodes.default_backoff()).map(|event| Told::Node(Box::new(event)));
    let agents = uninterrupted("agents", agents.default_backoff()).map(|event| Told::Agent(Box::new(event)));
    stream::select(nodes, agents).boxed()
}

/// What the pods of agents have besides the label of all.
const COMPONENT: &str = "app.kubernetes.io/component=agent";

fn uninterrupted<T: Send + 'static>(
    what: &'static str,
    events: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, T> {
    let told = events.filter_map(move |event| async move {
        event.inspect_err(|error| tracing::warn!(what, %error, "the watch is interrupted")).ok()
    });
    told.boxed()
}

async fn next(followed: &mut Option<BoxStream<'static, Told>>) -> Option<Told> {
    match followed {
        Some(followed) => followed.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Takes the taint off some nodes; returns whether all went well.
async fn work(client: &Client, taints: &mut Taints) -> bool {
    let mut good = true;
    let due = taints.due();
    for some in due.chunks(AT_ONCE) {
        let each = some.iter().map(async |name| (name, untaint(client, name).await));
        for (name, result) in join_all(each).await {
            match result {
                Ok(()) => taints.lost(name),
                Err(error) => {
                    tracing::warn!(node = name, %error, "the node keeps the taint for now");
                    good = false;
                }
            }
        }
    }
    good
}

async fn untaint(client: &Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Node>(&()));
    let Some(node) = within(api.get_opt(name)).await? else { return Ok(()) };
    let node = serde_json::to_value(&node).map_err(kube::Error::SerdeError)?;
    let Some(patch) = startup_taint::patch(&node) else { return Ok(()) };
    let parameters =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match within(api.patch(name, &parameters, &Patch::Merge(patch))).await {
        Ok(_) => tracing::info!(node = name, "the agent is ready: took the taint off"),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
