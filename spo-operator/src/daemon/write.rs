//! The requests to the API server: thin.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Event};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use spo_model::{
    kind::{Kind, Scope},
    names::NamespaceName,
};
use tokio::time::timeout;

use super::reporter::Write;
use crate::cluster::{names, resource::Resource};

/// How long one request may take; an API server that hangs must not hold a place for ever.
const REQUEST: Duration = Duration::from_secs(30);

/// Does one write. Gives back the object as the API server has it now, `None` if it has none.
pub async fn write(client: Client, scope: Scope, write: &Write) -> Result<Option<Value>, kube::Error> {
    let (namespace, name) = write.name();
    // A namespace that is none cannot be asked for; the cluster-wide path answers for it.
    let namespace: Option<NamespaceName> = namespace.parse().ok();
    let api = Resource::Of(Kind::SecurityProfileNodeStatus).api(client, scope, namespace.as_ref());
    let request = async {
        match write {
            Write::Apply(status) => {
                let parameters = PatchParams::apply(names::AGENT_ACCOUNT).force();
                let object: DynamicObject =
                    api.patch(name, &parameters, &Patch::Apply(status.document())).await?;
                Ok(serde_json::to_value(object).ok())
            }
            Write::Delete(_) => match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => Ok(None),
                Err(error) if code(&error) == Some(404) => Ok(None),
                Err(error) => Err(error),
            },
        }
    };
    timeout(REQUEST, request).await.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
}

/// Makes an event. Nobody waits for it and nothing depends on it.
pub async fn event(client: Client, event: Event) {
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client, &namespace);
    let parameters =
        PostParams { field_manager: Some(names::AGENT_ACCOUNT.to_owned()), ..PostParams::default() };
    match timeout(REQUEST, api.create(&parameters, &event)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an event is not stored"),
        Err(_) => tracing::debug!("storing an event took too long"),
    }
}

/// What the API server says about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    There,
    /// It is not, or it is being deleted.
    Gone,
    /// We may not ask.
    Forbidden,
    /// There is no answer.
    Silent,
}

/// Asks for what tells an uninstallation from a restart: the SecurityProfilesOperatorDaemon of a name, the DaemonSet that
/// is made from it, and their namespace.
pub async fn origin(client: &Client, namespace: &NamespaceName, spod: &str) -> [Answer; 3] {
    let settings = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
    let settings = settings.api(client.clone(), Scope::Namespaced, Some(namespace));
    let fleet: Api<DaemonSet> = Api::namespaced(client.clone(), namespace.as_str());
    let answers = tokio::join!(
        answer(is_deleted(&settings, spod)),
        answer(is_deleted(&fleet, spod)),
        answer(is_going(client, namespace)),
    );
    answers.into()
}

async fn is_deleted<K>(api: &Api<K>, name: &str) -> Result<bool, kube::Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(api.get_metadata(name).await?.metadata.deletion_timestamp.is_some())
}

/// Whether a namespace is being deleted. Nothing can be made in one that is, and the refusal says so: asked by an event
/// that is not stored, this needs no right to look at namespaces.
async fn is_going(client: &Client, namespace: &NamespaceName) -> Result<bool, kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace.as_str());
    let mut event = Event { reason: Some("Leaving".to_owned()), ..Event::default() };
    event.metadata.generate_name = Some(format!("{}-", names::AGENT_ACCOUNT));
    event.metadata.namespace = Some(namespace.to_string());
    event.involved_object.namespace = Some(namespace.to_string());
    let parameters = PostParams { dry_run: true, field_manager: Some(names::AGENT_ACCOUNT.to_owned()) };
    match api.create(&parameters, &event).await {
        Err(kube::Error::Api(status)) if is_about_a_namespace_that_goes(&status) => Ok(true),
        other => other.map(|_| false),
    }
}

/// `NamespaceLifecycle` of the API server names the cause.
fn is_about_a_namespace_that_goes(status: &kube::core::Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

async fn answer(going: impl Future<Output = Result<bool, kube::Error>>) -> Answer {
    match timeout(Duration::from_secs(5), going).await {
        Ok(Ok(true)) => Answer::Gone,
        Ok(Ok(false)) => Answer::There,
        Ok(Err(error)) => match code(&error) {
            Some(404) => Answer::Gone,
            Some(401 | 403) => Answer::Forbidden,
            _ => Answer::Silent,
        },
        Err(_) => Answer::Silent,
    }
}

/// The HTTP status of an answer.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
