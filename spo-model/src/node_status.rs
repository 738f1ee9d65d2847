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
/// `<State>@<generation>/<uid>`, and behind it `: <message>` if there is one. The uid is the beginning of the profile's: one
/// that was deleted and made again starts with the same generation. It may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Where the profile stands.
    pub state: ProfileState,
    /// The generation of the profile that this is about.
    pub generation: i64,
    /// Which profile of that name this is about, if that is said.
    pub uid: Option<UidStart>,
    /// Why, for people, if it is not there.
    pub message: Option<String>,
}

/// The beginning of a uid: enough to tell a profile from others that had its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidStart([u8; Self::LENGTH]);

impl UidStart {
    const LENGTH: usize = 8;

    /// That of a uid; `None` of one that is too short or is no UUID.
    pub fn of(uid: &str) -> Option<Self> {
        let start: [u8; Self::LENGTH] = uid.as_bytes().get(..Self::LENGTH)?.try_into().ok()?;
        start.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').then_some(Self(start))
    }
}

impl fmt::Display for UidStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.state, self.generation)?;
        self.uid.iter().try_for_each(|uid| write!(f, "/{uid}"))?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

impl FromStr for NodeReport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "want <State>@<generation>/<uid>, and behind it `: <message>` if there is one";
        let (head, message) =
            text.split_once(": ").map_or((text, None), |(head, message)| (head, Some(message)));
        let (state, generation) = head.split_once('@').ok_or(FORM)?;
        let (generation, uid) = generation
            .split_once('/')
            .map_or((generation, None), |(generation, uid)| (generation, Some(uid)));
        Ok(Self {
            state: state.parse().map_err(|_| FORM)?,
            generation: generation.parse().map_err(|_| FORM)?,
            uid: uid
                .map(|uid| UidStart::of(uid).filter(|_| uid.len() == UidStart::LENGTH).ok_or(FORM))
                .transpose()?,
            message: message.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for message in [None, Some("a: b@c/d".to_owned()), Some(String::new())] {
            for uid in [None, UidStart::of("0b0ddf11-8a55-4b66-a1b0-000000000000")] {
                let report =
                    NodeReport { state: ProfileState::Error, generation: 3, uid, message: message.clone() };
                assert_eq!(report.to_string().parse(), Ok(report));
            }
        }
        let of = |uid| {
            NodeReport { state: ProfileState::Installed, generation: 12, uid, message: None }.to_string()
        };
        assert_eq!(of(None), "Installed@12");
        assert_eq!(of(UidStart::of("0b0ddf11-8a55-4b66-a1b0-000000000000")), "Installed@12/0b0ddf11");
        for wrong in [
            "",
            "Installed",
            "Installed@",
            "Installed@x",
            "Gone@1",
            "Installed@1/",
            "Installed@1/0b0ddf1",
            "Installed@1/0b0ddf111",
            "Installed@1/0b0ddf 1",
        ] {
            assert!(wrong.parse::<NodeReport>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_uid_has_a_beginning_if_it_is_one() {
        assert_eq!(UidStart::of("0b0ddf11-8a55"), UidStart::of("0b0ddf11-ffff"));
        for wrong in ["", "short", "a b c d e f", "ääääää"] {
            assert_eq!(UidStart::of(wrong), None, "{wrong}");
        }
    }
}
