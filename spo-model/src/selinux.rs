//! SelinuxProfile and RawSelinuxProfile: what a workload's SELinux type may do.
//!
//! Source of the rules: the `SelinuxProfile` and `RawSelinuxProfile` CRDs; identifiers as SELinux's CIL
//! compiler reads them.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    status::{Condition, ProfileState},
    text_enum::{checked_string, text_enum},
};

/// `spec` of a SelinuxProfile, in the hub form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SelinuxProfileSpec {
    /// Whether the profile is installed on nodes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub state: State,
    /// Whether violations are denied or only logged.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub mode: SelinuxMode,
    /// What the profile builds on; absent means the system template `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(default = "default_inherit", extend("x-kubernetes-list-type" = "atomic")))]
    pub inherit: Option<Vec<Inherit>>,
    /// What the profile's type may do: target type → object class → permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<BTreeMap<TargetType, BTreeMap<ClassName, Vec<PermissionName>>>>,
}

impl SelinuxProfileSpec {
    /// What the profile builds on, with the default for an absent list.
    pub fn inherits(&self) -> Vec<Inherit> {
        self.inherit.clone().or_else(default_inherit).unwrap_or_default()
    }
}

/// One thing a SelinuxProfile builds on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Inherit {
    /// What kind of thing it is.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub kind: InheritKind,
    /// Its name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: SelinuxName,
}

text_enum! {
    /// What kind of thing a SelinuxProfile builds on.
    #[derive(Default)]
    pub enum InheritKind {
        /// A template of the node's policy.
        #[default]
        System = "System",
        /// Another SelinuxProfile.
        SelinuxProfile = "SelinuxProfile",
    }
}

text_enum! {
    /// Whether violations are denied or only logged.
    #[derive(Default)]
    pub enum SelinuxMode {
        /// Denied.
        #[default]
        Enforcing = "Enforcing",
        /// Allowed and logged.
        Permissive = "Permissive",
    }
}

checked_string! {
    /// A key of `allow`: the word `@self` for the profile's own process type, or a type's name.
    pub struct TargetType: check_target, {
        "type": "string", "maxLength": 2047, "pattern": "^([a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*|@self)$"
    }
}

impl TargetType {
    /// The word for the profile's own process type.
    pub const OWN: &'static str = "@self";

    /// Whether this is the profile's own process type.
    pub fn is_own(&self) -> bool {
        self.as_str() == Self::OWN
    }
}

checked_string! {
    /// The name of an object class, for example `tcp_socket`.
    pub struct ClassName: check_identifier, {
        "type": "string", "maxLength": 2047, "pattern": "^[a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*$"
    }
}

checked_string! {
    /// The name of a permission, for example `name_bind`.
    pub struct PermissionName: check_identifier, {
        "type": "string", "maxLength": 2047, "pattern": "^[a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*$"
    }
}

checked_string! {
    /// The name of a template or profile.
    pub struct SelinuxName: check_identifier, {
        "type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*$"
    }
}

/// `spec` of a RawSelinuxProfile, in the hub form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RawSelinuxProfileSpec {
    /// Whether the profile is installed on nodes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub state: State,
    /// CIL statements that go into the profile's block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 500_000)))]
    pub policy: Option<String>,
}

/// `status` of a SelinuxProfile and of a RawSelinuxProfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SelinuxProfileStatus {
    /// Where the profile stands on the nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProfileState>,
    /// Conditions; `Ready` is the one to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])))]
    pub conditions: Option<Vec<Condition>>,
    /// The value for a pod's `seLinuxOptions.type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// Pods that use the profile, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub active_workloads: Option<Vec<String>>,
    /// How many of the pods there are; the list names some of them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int64")))]
    pub active_workload_count: Option<i64>,
    /// On how many nodes it is installed, of how many that could have it, for example `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
}

#[allow(clippy::unnecessary_wraps, reason = "the type of the field whose default it is")]
fn default_inherit() -> Option<Vec<Inherit>> {
    let name = SelinuxName("container".to_owned());
    Some(vec![Inherit { kind: InheritKind::System, name }])
}

/// Words the CIL compiler reads as operators inside lists, never as names (`cil_build_ast.c`).
const OPERATORS: [&str; 5] = ["all", "and", "not", "or", "xor"];

fn check_identifier(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() >= 2048 {
        return Err("an SELinux identifier has 1 to 2047 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
        return Err("an SELinux identifier has letters, digits, `.`, `-` and `_`");
    }
    if text.split('.').any(str::is_empty) {
        return Err("an SELinux identifier has no dot in front, at the end or beside another dot");
    }
    if OPERATORS.contains(&text) {
        return Err("`all`, `and`, `not`, `or` and `xor` are operators of the policy language");
    }
    Ok(())
}

fn check_target(text: &str) -> Result<(), &'static str> {
    if text == TargetType::OWN { Ok(()) } else { check_identifier(text) }
}
