//! SecurityProfileNodeStatus: where one profile stands on one node.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::ProfileState;

/// `spec` of a SecurityProfileNodeStatus, in the hub form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeStatusSpec {
    /// The node.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub node_name: String,
}

/// `status` of a SecurityProfileNodeStatus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct NodeStatusStatus {
    /// Where the profile stands on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProfileState>,
}
