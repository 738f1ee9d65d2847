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

/// What the API server says about the agents' DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// It is there.
    There,
    /// It is not, or it is being deleted.
    Gone,
    /// We may not ask.
    Forbidden,
    /// There is no answer.
    Silent,
}

/// Asks for the agents' DaemonSet.
pub async fn fleet(client: Client, namespace: &NamespaceName) -> Fleet {
    let api: Api<DaemonSet> = Api::namespaced(client, namespace.as_str());
    match timeout(Duration::from_secs(5), api.get_metadata(names::SPOD)).await {
        Ok(Ok(found)) if found.metadata.deletion_timestamp.is_some() => Fleet::Gone,
        Ok(Ok(_)) => Fleet::There,
        Ok(Err(error)) => match code(&error) {
            Some(404) => Fleet::Gone,
            Some(401 | 403) => Fleet::Forbidden,
            _ => Fleet::Silent,
        },
        Err(_) => Fleet::Silent,
    }
}

/// The HTTP status of an answer.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
