//! States and conditions that all profile kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;

text_enum! {
    /// Whether a profile is put on nodes.
    #[derive(Default)]
    pub enum State {
        /// It is.
        #[default]
        Enabled = "Enabled",
        /// It is not.
        Disabled = "Disabled",
    }
}

text_enum! {
    /// Where a profile stands on one node or on all; declared from the worst to the best, so that the state
    /// of several nodes together is the minimum.
    pub enum ProfileState {
        /// Could not be put there.
        Error = "Error",
        /// Is being removed.
        Terminating = "Terminating",
        /// Part of a recording that is merged later.
        Partial = "Partial",
        /// Switched off.
        Disabled = "Disabled",
        /// Not looked at yet.
        Pending = "Pending",
        /// Being put there.
        InProgress = "InProgress",
        /// There.
        Installed = "Installed",
    }
}

text_enum! {
    /// The status of a [`Condition`].
    pub enum ConditionStatus {
        /// Holds.
        True = "True",
        /// Does not hold.
        False = "False",
        /// Cannot be told.
        Unknown = "Unknown",
    }
}

/// A condition of an object, as `k8s.io/apimachinery` `metav1.Condition` defines it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it says, for example `Ready`.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object it was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int64"))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one CamelCase word.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, for people. The releases before 1.0 allowed it to be absent.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
}
