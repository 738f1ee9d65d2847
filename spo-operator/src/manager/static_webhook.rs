//! Webhook objects that are in the manifest, and not the manager's to make: whom to trust is all that it tells them,
//! because nobody else knows the operator's own authority.

use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta, Patch, PatchParams},
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
