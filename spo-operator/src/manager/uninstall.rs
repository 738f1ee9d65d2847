//! The end of an installation: nothing that only a running operator can release is left behind.
//!
//! Whoever deletes the operator's Deployment wants it gone. Profiles that pods use have a finalizer that nobody would
//! take off any more, so their namespaces could not be deleted; and webhook configurations without a webhook refuse
//! what they are asked about.
//!
//! A Deployment or a definition may also go to come back at once (`kubectl replace --force`), which cannot be told from
//! the end at that moment. So finalizers are released in any case: the next leader puts them on again. But the webhook
//! goes on, and pods are bound meanwhile, as long as its configurations are left: those that the manager made belong to
//! a ClusterRole of the manifest, with which garbage collection takes them, however the operator is uninstalled. They
//! are removed here where that ClusterRole may stay: when the namespace goes, and when they have no owner. Those that
//! came with a manifest go with it.

use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, ObjectList, ObjectMeta, Patch, PatchParams},
    core::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use spo_model::kind::{GROUP, Kind};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{profiles::Settings, static_webhook};
use crate::cluster::{self, names, request::within, resource::Resource};

/// The longest that cleaning up may take: less than the time a pod has to end.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a manager that has cleaned up waits to be ended.
pub const LAST_WORDS: Duration = Duration::from_secs(60);

/// How many profiles are released at once: the rights to do so may go at any moment.
const AT_ONCE: usize = 16;

/// What is known of the end of the operator. It is followed from the start of a process on, leading or not: a replica
/// that becomes the leader when everything is gone would take that for a cluster without a Deployment, as where the
/// process is run by hand.
#[derive(Clone)]
pub struct Ending {
    told: watch::Receiver<Signs>,
    client: Client,
    namespace: Arc<str>,
}

/// What watches have told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    deployment: Sign,
    definition: Sign,
}

impl Signs {
    const fn is_over(self) -> bool {
        self.deployment.goes || self.definition.goes
    }

    const fn times(self) -> u32 {
        self.deployment.times.wrapping_add(self.definition.times)
    }
}

/// What a watch has told of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sign {
    /// Whether it was there at any time.
    was_there: bool,
    /// Whether it was there and is going or gone.
    goes: bool,
    /// How often it went.
    times: u32,
}

impl Sign {
    /// Takes note of whether the object is there, and whether it is there to stay.
    const fn note(&mut self, is_there: bool, stays: bool) {
        let goes = !stays && (self.was_there || is_there);
        if goes && !self.goes {
            self.times = self.times.wrapping_add(1);
        }
        self.goes = goes;
        self.was_there |= is_there;
    }
}

impl Ending {
    /// Follows what tells of the end, until the process is told to stop: the operator's Deployment, and the definition of
    /// its profiles. `kubectl delete -f` takes the definitions first and the rights to release anything some tenths of a
    /// second later.
    pub fn follow(client: Client, namespace: &str, stop: CancellationToken) -> Self {
        let (tell, told) = watch::channel(Signs::default());
        let own: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let definition = ApiResource {
            group: "apiextensions.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "apiextensions.k8s.io/v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            plural: "customresourcedefinitions".to_owned(),
        };
        let definitions: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &definition);
        tokio::spawn(async move {
            let seccomp = format!("{}.{GROUP}", Kind::SeccompProfile.plural());
            let followed = async {
                tokio::join!(
                    follow(own, names::OPERATOR, &tell, |signs| &mut signs.deployment),
                    follow(definitions, &seccomp, &tell, |signs| &mut signs.definition),
                )
            };
            stop.run_until_cancelled(followed).await;
        });
        Self { told, client, namespace: namespace.into() }
    }

    /// Returns when the operator is being deleted, as one of the watches says, from now on or already. Without a
    /// Deployment and a definition, as where the process is run by hand, never.
    pub async fn begins(&self) {
        let mut told = self.told.clone();
        let before = told.borrow_and_update().times();
        // One that has come back at once has gone all the same.
        if told.wait_for(|signs| signs.is_over() || signs.times() != before).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the operator is being deleted, as the API server says now. Namespaces may be emptied of pods before
    /// anything else in them goes, so the end of a process may be the first that it is told.
    ///
    /// What is not answered in time, or may not be asked, is no end.
    pub async fn is_now(&self) -> bool {
        let seen = *self.told.borrow();
        let own: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let (own, space) = tokio::join!(
            timeout(ASKING, own.get_metadata_opt(names::OPERATOR)),
            timeout(ASKING, spaces.get_metadata_opt(&self.namespace)),
        );
        let (Ok(own), Ok(space)) = (&own, &space) else { return seen.is_over() };
        let goes = |metadata: &ObjectMeta| metadata.deletion_timestamp.is_some();
        let own_goes = match own {
            Ok(Some(found)) => goes(&found.metadata),
            Ok(None) => seen.deployment.was_there,
            Err(_) => seen.deployment.goes,
        };
        let space_goes = matches!(space, Ok(Some(found)) if goes(&found.metadata));
        own_goes || space_goes || seen.definition.goes
    }
}

/// How long the API server may take to say whether the operator is being deleted.
const ASKING: Duration = Duration::from_secs(2);

/// Follows an object for ever.
async fn follow<K>(
    api: Api<K>,
    name: &str,
    tell: &watch::Sender<Signs>,
    sign: impl Fn(&mut Signs) -> &mut Sign,
) where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher::watch_object(api, name).default_backoff());
    while let Some(told) = events.next().await {
        let Ok(object) = told else { continue };
        let stays = object.as_ref().is_some_and(|object| object.meta().deletion_timestamp.is_none());
        tell.send_if_modified(|signs| {
            let before = *signs;
            sign(signs).note(object.is_some(), stays);
            *signs != before
        });
    }
}

/// Takes the finalizer off every profile and removes the webhook configurations that nobody else will remove, as far as
/// it is allowed to.
pub async fn clean_up(client: &Client, settings: &Settings) {
    tracing::info!("the operator is being deleted: releasing what it holds");
    let namespace = settings.operator_namespace.as_str();
    let all = async { tokio::join!(release(client, settings), remove_webhooks(client, namespace)) };
    if timeout(LIMIT, all).await.is_err() {
        tracing::warn!("not everything could be released in time");
    }
}

async fn remove_webhooks(client: &Client, namespace: &str) {
    let stays = namespace_stays(client, namespace).await;
    for (kind, (_, name)) in static_webhook::configurations() {
        let api: Api<PartialObjectMeta<DynamicObject>> = kind.api(client, namespace);
        let removed = async {
            let Some(found) = within(api.get_opt(&name)).await? else { return Ok(()) };
            if !is_to_remove(&found.metadata, stays) {
                return Ok(());
            }
            static_webhook::delete(&api, &name, found.metadata).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(name, %error, "a webhook configuration is not deleted");
        }
    }
}

/// Whether a webhook configuration is the manager's, and nobody else will remove it.
fn is_to_remove(metadata: &ObjectMeta, namespace_stays: bool) -> bool {
    let owned = metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
    static_webhook::is_ours(metadata) && !(owned && namespace_stays)
}

/// Whether the operator's namespace is there to stay. One that cannot be looked at is not: the right to look at it goes
/// with it.
async fn namespace_stays(client: &Client, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(client.clone());
    within(api.get_metadata(namespace)).await.is_ok_and(|found| found.metadata.deletion_timestamp.is_none())
}

async fn release(client: &Client, settings: &Settings) {
    let all = |resource| cluster::watch::Watch::all(resource, settings.scope, settings.namespaces.as_deref());
    let watches = stream::iter(Resource::PROFILES.into_iter().flat_map(all));
    let each = |watch: cluster::watch::Watch| async move {
        let api = watch.resource.api(client.clone(), settings.scope, watch.namespace.as_ref());
        let mut page = ListParams::default().limit(500);
        loop {
            let Some(list) = listed(&api, &page, watch.resource).await else { break };
            let one = |profile: PartialObjectMeta<DynamicObject>| async move {
                let namespace = profile.metadata.namespace.as_deref().and_then(|name| name.parse().ok());
                let api = watch.resource.api(client.clone(), settings.scope, namespace.as_ref());
                release_one(&api, profile).await;
            };
            stream::iter(list.items).for_each_concurrent(AT_ONCE, one).await;
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = ListParams::default().limit(500).continue_token(&token),
                None => break,
            }
        }
    };
    watches.for_each_concurrent(None, each).await;
}

/// A page of profiles; `None` if there is no way to get it, which is said.
async fn listed(
    api: &Api<DynamicObject>,
    page: &ListParams,
    resource: Resource,
) -> Option<ObjectList<PartialObjectMeta<DynamicObject>>> {
    let mut pauses = [1, 2, 4].into_iter();
    loop {
        let error = match within(api.list_metadata(page)).await {
            Ok(list) => return Some(list),
            Err(error) => error,
        };
        let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
        match pauses.next().filter(|_| code != 403) {
            // The definition is gone, and with it every object.
            _ if code == 404 => return None,
            Some(pause) => {
                tracing::warn!(%resource, %error, "profiles cannot be listed yet");
                sleep(Duration::from_secs(pause)).await;
            }
            None => {
                let finalizer = names::IN_USE_FINALIZER;
                tracing::error!(%resource, %error, finalizer, "profiles in use keep the finalizer");
                return None;
            }
        }
    }
}

/// Takes the finalizer off one profile. Everybody writes at this moment: what the manager has sent before still arrives, and
/// the API server marks one object after the other as being deleted. So a conflict is tried again.
async fn release_one(api: &Api<DynamicObject>, profile: PartialObjectMeta<DynamicObject>) {
    let name = profile.metadata.name.clone().unwrap_or_default();
    let mut metadata = profile.metadata;
    let mut pauses = [0, 20, 100, 400, 800, 1600].into_iter().map(Duration::from_millis);
    while let Some(patch) = release_patch(&metadata) {
        let patched = within(api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch))).await;
        let Err(error) = patched else { return };
        let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
        match pauses.next().filter(|_| code != 403) {
            _ if code == 404 => return,
            Some(pause) => sleep(pause).await,
            None => {
                tracing::warn!(profile = name, %error, "a profile is not released");
                return;
            }
        }
        match within(api.get_metadata_opt(&name)).await {
            Ok(Some(found)) => metadata = found.metadata,
            Ok(None) => return,
            Err(error) => tracing::debug!(profile = name, %error, "a profile cannot be looked at"),
        }
    }
}

/// What takes our finalizer off a profile and leaves those of others; `None` if it is not there.
fn release_patch(metadata: &ObjectMeta) -> Option<serde_json::Value> {
    let finalizers = metadata.finalizers.as_ref()?;
    let rest: Vec<&String> = finalizers.iter().filter(|one| *one != names::IN_USE_FINALIZER).collect();
    let version = &metadata.resource_version;
    (rest.len() < finalizers.len())
        .then(|| json!({ "metadata": { "finalizers": rest, "resourceVersion": version } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_can_go_and_what_came_back_is_there() {
        let mut sign = Sign::default();
        sign.note(false, false);
        assert!(!sign.goes, "a process that is run by hand has no Deployment");
        sign.note(true, true);
        assert!(!sign.goes);
        sign.note(true, false);
        assert!(sign.goes, "it is being deleted");
        sign.note(false, false);
        assert_eq!((sign.goes, sign.times), (true, 1), "it went once");
        sign.note(true, true);
        assert!(!sign.goes);
        sign.note(false, false);
        assert_eq!((sign.goes, sign.times), (true, 2));
        let mut late = Sign::default();
        late.note(true, false);
        assert!(late.goes, "one that is seen going was there");
    }

    #[test]
    fn only_our_finalizer_is_taken_off_and_only_from_the_version_that_was_seen() {
        let metadata = |finalizers: &[&str]| -> ObjectMeta {
            serde_json::from_value(json!({ "finalizers": finalizers, "resourceVersion": "7" }))
                .expect("metadata")
        };
        let ours = names::IN_USE_FINALIZER;
        let patch = release_patch(&metadata(&["other", ours]));
        let wanted = json!({ "metadata": { "finalizers": ["other"], "resourceVersion": "7" } });
        assert_eq!(patch, Some(wanted));
        assert_eq!(release_patch(&metadata(&["other"])), None);
        assert_eq!(release_patch(&ObjectMeta::default()), None);
    }

    #[test]
    fn webhook_configurations_are_left_to_whoever_takes_them_along() {
        let found = |operation: &str, owned: bool| -> ObjectMeta {
            let owner = json!({ "apiVersion": "v1", "kind": "ClusterRole", "name": "spo", "uid": "1" });
            let owners = if owned { vec![owner] } else { Vec::new() };
            let managed = json!([{ "manager": "kubectl", "operation": "Apply" },
                { "manager": "spo-operator", "operation": operation }]);
            serde_json::from_value(json!({ "ownerReferences": owners, "managedFields": managed }))
                .expect("metadata")
        };
        assert!(!is_to_remove(&found("Apply", true), true), "the webhook goes on, or the owner takes it");
        assert!(is_to_remove(&found("Apply", true), false), "the webhook goes, its owner may stay");
        assert!(is_to_remove(&found("Apply", false), true));
        // What only got its caBundle from us is of a manifest.
        assert!(!is_to_remove(&found("Update", false), false));
        assert!(!is_to_remove(&ObjectMeta::default(), false));
    }
}
