//! ProfileBinding: give every pod with some image a profile.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{kubernetes::LabelSelector, recording::ProfileKind};

/// `spec` of a ProfileBinding, in the hub form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProfileBindingSpec {
    /// The profile.
    pub profile_ref: ProfileRef,
    /// The image of the containers that get it, compared as text; `*` is a fallback for the whole pod.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub image: String,
    /// Restricts the binding to some pods; absent or empty means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// A profile by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ProfileRef {
    /// Its kind.
    pub kind: ProfileKind,
    /// Its name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub name: String,
}
