//! The end of an installation: nothing that only a running operator can release is left behind.
//!
//! Whoever deletes the operator's Deployment wants it gone. Profiles that pods use have a finalizer that nobody would
//! take off any more, so their namespaces could not be deleted; and webhook configurations without a webhook refuse
//! what they are asked about.

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use spo_model::kind::{GROUP, Kind};
use tokio::time::timeout;

use super::profiles::Settings;
use crate::cluster::{names, resource::Resource, watch::Watch};

/// The longest that cleaning up may take: less than the time a pod has to end.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a manager that has cleaned up waits to be ended.
pub const LAST_WORDS: Duration = Duration::from_secs(60);

/// How many profiles are released at once: the rights to do so may go at any moment.
const AT_ONCE: usize = 16;

/// Returns when the operator is being deleted, as the first of two things says: its Deployment was there and is going or
/// gone, or the definition of its profiles is going. `kubectl delete -f` takes the definitions first and the rights to
/// release anything some tenths of a second later. Without either, as where the process is run by hand, never.
pub async fn begins(client: Client, namespace: &str) {
    let own: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let definition = ApiResource {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: "customresourcedefinitions".to_owned(),
    };
    let definitions: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &definition);
    let seccomp = format!("{}.{GROUP}", Kind::SeccompProfile.plural());
    tokio::select! {
        () = goes(own, names::OPERATOR) => {}
        () = goes(definitions, &seccomp) => {}
    }
}

/// Returns when an object that was there is being deleted, or gone.
async fn goes<K>(api: Api<K>, name: &str)
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher::watch_object(api, name).default_backoff());
    let mut was_there = false;
    while let Some(told) = events.next().await {
        let Ok(object) = told else { continue };
        let stays = object.as_ref().is_some_and(|object| object.meta().deletion_timestamp.is_none());
        if !stays && (was_there || object.is_some()) {
            return;
        }
        was_there |= stays;
    }
    std::future::pending::<()>().await;
}

/// Takes the finalizer off every profile and removes the webhook configurations, as far as it is allowed to.
pub async fn clean_up(client: &Client, settings: &Settings) {
    tracing::info!("the operator is being deleted: releasing what it holds");
    let all = async { tokio::join!(release(client, settings), remove_webhooks(client)) };
    if timeout(LIMIT, all).await.is_err() {
        tracing::warn!("not everything could be released in time");
    }
}

async fn remove_webhooks(client: &Client) {
    let parameters = DeleteParams::default();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let results = [
        mutating.delete(names::MUTATING_WEBHOOKS, &parameters).await.map(drop),
        validating.delete(names::VALIDATING_WEBHOOKS, &parameters).await.map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a webhook configuration is not deleted");
    }
}

async fn release(client: &Client, settings: &Settings) {
    let all = |resource| Watch::all(resource, settings.scope, settings.namespaces.as_deref());
    let watches = stream::iter(Resource::PROFILES.into_iter().flat_map(all));
    let each = |watch: Watch| async move {
        let api = watch.resource.api(client.clone(), settings.scope, watch.namespace.as_ref());
        let mut page = ListParams::default().limit(500);
        loop {
            let Ok(list) = api.list_metadata(&page).await else { break };
            let one = |profile: PartialObjectMeta<DynamicObject>| async move {
                let namespace = profile.metadata.namespace.as_deref().and_then(|name| name.parse().ok());
                let api = watch.resource.api(client.clone(), settings.scope, namespace.as_ref());
                release_one(&api, &profile).await;
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

async fn release_one(api: &Api<DynamicObject>, profile: &PartialObjectMeta<DynamicObject>) {
    let (Some(name), Some(finalizers)) = (&profile.metadata.name, &profile.metadata.finalizers) else {
        return;
    };
    let rest: Vec<&String> = finalizers.iter().filter(|one| *one != names::IN_USE_FINALIZER).collect();
    if rest.len() == finalizers.len() {
        return;
    }
    let version = &profile.metadata.resource_version;
    let patch = json!({ "metadata": { "finalizers": rest, "resourceVersion": version } });
    if let Err(error) = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        tracing::warn!(profile = name, %error, "a profile is not released");
    }
}
