//! SecurityProfileNodeStatus: where one profile stands on one node.

use std::{collections::BTreeMap, fmt, str::FromStr};

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
#[serde(rename_all = "camelCase")]
pub struct NodeStatusStatus {
    /// Where the profile stands on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProfileState>,
    /// The generation of the profile that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int64")))]
    pub observed_generation: Option<i64>,
    /// Why, for people, if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32768)))]
    pub message: Option<String>,
    /// Where every profile stands on the node, in the object of a node that reports all at once
    /// ([`StatusMode::PerNode`](crate::daemon::StatusMode)): the key is `<Kind>/<namespace>/<name>`, the value a
    /// [`NodeReport`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // One writer has all of it: a field manager for each key would be most of the object.
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-map-type" = "atomic")))]
    pub profiles: Option<BTreeMap<String, String>>,
}

/// What a node says about one profile, in the text form of [`NodeStatusStatus::profiles`]:
/// `<State>@<generation>`, and behind it `: <message>` if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Where the profile stands.
    pub state: ProfileState,
    /// The generation of the profile that this is about.
    pub generation: i64,
    /// Why, for people, if it is not there.
    pub message: Option<String>,
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.state, self.generation)?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

impl FromStr for NodeReport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "want <State>@<generation>, and behind it `: <message>` if there is one";
        let (head, message) =
            text.split_once(": ").map_or((text, None), |(head, message)| (head, Some(message)));
        let (state, generation) = head.split_once('@').ok_or(FORM)?;
        Ok(Self {
            state: state.parse().map_err(|_| FORM)?,
            generation: generation.parse().map_err(|_| FORM)?,
            message: message.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for message in [None, Some("a: b@c".to_owned()), Some(String::new())] {
            let report = NodeReport { state: ProfileState::Error, generation: 3, message };
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        assert_eq!(
            NodeReport { state: ProfileState::Installed, generation: 12, message: None }.to_string(),
            "Installed@12"
        );
        for wrong in ["", "Installed", "Installed@", "Installed@x", "Gone@1"] {
            assert!(wrong.parse::<NodeReport>().is_err(), "{wrong}");
        }
    }
}
