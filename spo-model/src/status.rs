//! States and conditions that all profile kinds share.

#[cfg(feature = "schema")]
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
        /// The node has nothing that would read it, for example no AppArmor; it is not counted.
        Unsupported = "Unsupported",
    }
}

impl ProfileState {
    /// The state of a profile whose nodes have these states: the worst of them, `Installed` if there are none.
    /// Nodes that do not support it count only if no other does.
    pub fn aggregate(nodes: impl IntoIterator<Item = Self>) -> Self {
        nodes.into_iter().min().unwrap_or(Self::Installed)
    }

    /// What the condition `Ready` says in this state, and its reason.
    pub const fn readiness(self) -> (ConditionStatus, Reason) {
        match self {
            Self::Pending | Self::InProgress => (ConditionStatus::False, Reason::Creating),
            Self::Installed => (ConditionStatus::True, Reason::Available),
            Self::Terminating => (ConditionStatus::False, Reason::Deleting),
            Self::Error | Self::Partial | Self::Disabled | Self::Unsupported => {
                (ConditionStatus::False, Reason::Unavailable)
            }
        }
    }
}

text_enum! {
    /// Why an object is ready or not.
    pub enum Reason {
        /// It is there.
        Available = "Available",
        /// It is not there, and that is not about to change by itself.
        Unavailable = "Unavailable",
        /// It is being put there.
        Creating = "Creating",
        /// It is being removed.
        Deleting = "Deleting",
        /// It has not been looked at yet.
        Pending = "Pending",
        /// It is being changed.
        Updating = "Updating",
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

impl Condition {
    /// The one condition type that there is; `kubectl wait --for=condition=ready` matches it.
    pub const READY: &'static str = "Ready";

    /// Whether setting this condition over another would change anything: the time alone does not count.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.type_, self.status, &self.reason, &self.message)
            == (&other.type_, other.status, &other.reason, &other.message)
    }
}

/// A condition of an object, as `k8s.io/apimachinery` `metav1.Condition` defines it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it says, for example `Ready`.
    #[serde(rename = "type")]
    #[cfg_attr(
        feature = "schema",
        schemars(
            length(max = 316),
            regex(
                pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
            )
        )
    )]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object it was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int64")))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, RFC 3339.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub last_transition_time: String,
    /// Why, in one CamelCase word.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))
    )]
    pub reason: String,
    /// Why, for people. The releases before 1.0 allowed it to be absent.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 32768)))]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_node_decides() {
        use ProfileState::*;
        // The ranks of the specification, from the worst to the best.
        let ranks = [Error, Terminating, Partial, Disabled, Pending, InProgress, Installed];
        for (i, worse) in ranks.iter().enumerate() {
            for better in &ranks[i..] {
                assert_eq!(ProfileState::aggregate([*better, *worse, Installed]), *worse);
            }
        }
        assert_eq!(ProfileState::aggregate([]), Installed);
    }

    #[test]
    fn readiness_of_every_state() {
        for (state, status, reason) in [
            ("Pending", "False", "Creating"),
            ("InProgress", "False", "Creating"),
            ("Installed", "True", "Available"),
            ("Terminating", "False", "Deleting"),
            ("Error", "False", "Unavailable"),
            ("Partial", "False", "Unavailable"),
            ("Disabled", "False", "Unavailable"),
        ] {
            let (found, why) = state.parse::<ProfileState>().expect("a state").readiness();
            assert_eq!((found.as_str(), why.as_str()), (status, reason), "{state}");
        }
    }
}
