//! What only the cluster can tell: whose the operator's objects are, and what kind of cluster it is.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
};
use serde_json::{Value, json};

use crate::{
    cluster::{names, request::within},
    render::account::OWNER_ROLE,
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Platform {
    /// The reference to what owns the objects that no SPOD can own; `None` where there is no such thing, as where the
    /// operator is run by hand.
    pub owner: Option<Value>,
    /// Whether this is OpenShift, whose nodes always have SELinux.
    pub openshift: bool,
}

impl Platform {
    /// Asks the cluster. What may not be asked for is taken as absent, and said.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn of(client: &Client) -> Result<Self, kube::Error> {
        let (owner, openshift) = tokio::try_join!(owner(client), is_openshift(client))?;
        Ok(Self { owner, openshift })
    }
}

/// The ClusterRole of the manifest as an owner: it goes when the operator is uninstalled, in whichever way, and stays
/// when the operator's Deployment is replaced. So what it owns, the certificate authority above all, survives a
/// replacement and does not outlive the operator.
///
/// # Errors
/// There is no answer.
pub async fn owner(client: &Client) -> Result<Option<Value>, kube::Error> {
    let role = resource("rbac.authorization.k8s.io", "ClusterRole", "clusterroles");
    let Some(found) = look(client, &role, OWNER_ROLE).await? else { return Ok(None) };
    Ok(found.metadata.uid.map(|uid| {
        json!({ "apiVersion": role.api_version, "kind": role.kind, "name": OWNER_ROLE, "uid": uid,
            "blockOwnerDeletion": false })
    }))
}

/// An object with its owner, if that is known.
pub fn belonging_to(mut document: Value, owner: Option<&Value>) -> Value {
    if let Some(owner) = owner {
        document["metadata"]["ownerReferences"] = json!([owner]);
    }
    document
}

/// By its ClusterOperator `openshift-apiserver`, as the existing operator knows it.
async fn is_openshift(client: &Client) -> Result<bool, kube::Error> {
    let operators = resource("config.openshift.io", "ClusterOperator", "clusteroperators");
    Ok(look(client, &operators, names::OPENSHIFT).await?.is_some())
}

async fn look(
    client: &Client,
    resource: &ApiResource,
    name: &str,
) -> Result<Option<PartialObjectMeta<DynamicObject>>, kube::Error> {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), resource);
    match within(api.get_opt(name)).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            tracing::warn!(kind = resource.kind, name, "there is no right to look at it: taken as absent");
            Ok(None)
        }
        // A kind that is not there is no object that is not there, to the client.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer,
    }
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
