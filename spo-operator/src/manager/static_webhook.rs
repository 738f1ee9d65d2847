//! Webhook objects that no SPOD renders. Those of a manifest are not the manager's to make: whom to trust is all that it
//! tells them, because nobody else knows the operator's own authority. Where admission is off, the webhook configurations
//! that the manager has made are removed, and those of somebody else are left.

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, Preconditions},
    core::PartialObjectMeta,
};

use super::{
    anchor::{Anchor, configuration_patch},
    applied::Key,
    kinds::{ApiKind, BUDGETS, DEPLOYMENTS, MUTATING, SERVICES, VALIDATING},
};
use crate::cluster::{names, request::within};

/// The webhook configurations.
pub fn configurations() -> [(&'static ApiKind, Key); 2] {
    let key = |kind: &'static ApiKind, name: &str| (kind, (kind.kind, name.to_owned()));
    [key(&MUTATING, names::MUTATING_WEBHOOKS), key(&VALIDATING, names::VALIDATING_WEBHOOKS)]
}

/// Every object of the webhook.
pub fn keys() -> impl Iterator<Item = Key> {
    let workload = [
        (DEPLOYMENTS.kind, names::WEBHOOK),
        (BUDGETS.kind, names::WEBHOOK),
        (SERVICES.kind, names::WEBHOOK_SERVICE),
    ];
    let workload = workload.map(|(kind, name)| (kind, name.to_owned()));
    configurations().map(|(_, key)| key).into_iter().chain(workload)
}

/// Patches whom to trust into a configuration that is there. Gives back what is known of it then; `None` if it is not
/// there, in which case it is not made.
///
/// # Errors
/// That of a request.
pub async fn trust(
    client: &Client,
    kind: &ApiKind,
    name: &str,
    anchor: &Anchor,
    namespace: &str,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let api: Api<DynamicObject> = kind.api(client, namespace);
    let Some(found) = within(api.get_opt(name)).await? else { return Ok(None) };
    let document = serde_json::to_value(&found).map_err(kube::Error::SerdeError)?;
    let Some(patch) = configuration_patch(&document, anchor, namespace) else {
        return Ok(Some(found.metadata));
    };
    let parameters =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = within(api.patch(name, &parameters, &Patch::Strategic(patch))).await?;
    tracing::info!(kind = kind.kind, name, "told the configuration whom to trust");
    Ok(Some(patched.metadata))
}

/// Removes a configuration that the manager has made. Gives back what is known of it where somebody else has made it, in
/// which case it stays; `None` if it is not there any more.
///
/// # Errors
/// That of a request.
pub async fn remove(
    client: &Client,
    kind: &ApiKind,
    name: &str,
    namespace: &str,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let api: Api<PartialObjectMeta<DynamicObject>> = kind.api(client, namespace);
    let Some(found) = within(api.get_opt(name)).await? else { return Ok(None) };
    if !is_ours(&found.metadata) {
        return Ok(Some(found.metadata));
    }
    delete(&api, name, found.metadata).await?;
    tracing::info!(kind = kind.kind, name, "deleted: admission is off");
    Ok(None)
}

/// Deletes this very configuration, and not another one of its name.
///
/// # Errors
/// That of the request.
pub async fn delete(
    api: &Api<PartialObjectMeta<DynamicObject>>,
    name: &str,
    found: ObjectMeta,
) -> Result<(), kube::Error> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: found.uid, ..Preconditions::default() }),
        ..DeleteParams::default()
    };
    match within(api.delete(name, &parameters)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// Whether the manager has made an object. What only got its `caBundle` from it was updated, and not applied.
pub fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(names::FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
    })
}
