//! AppArmorProfile: what files, capabilities and networks a workload may use.
//!
//! Source of the rules: the `AppArmorProfile` CRD of every release (abstract since 0.9, raw text before).

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    status::{Condition, ProfileState},
    text_enum::text_enum,
};

/// `spec` of an AppArmorProfile, in the hub form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SpecFields", into = "SpecFields")]
pub struct AppArmorProfileSpec {
    /// Whether the profile is loaded on nodes.
    pub state: State,
    /// Whether violations are denied or only logged.
    pub mode: AppArmorMode,
    /// What the profile grants.
    pub body: AppArmorBody,
}

#[cfg(feature = "schema")]
impl JsonSchema for AppArmorProfileSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AppArmorProfileSpec".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        SpecFields::json_schema(generator)
    }
}

/// What an AppArmor profile grants: a description, or text in AppArmor's own language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmorBody {
    /// A description from which the text is made.
    Abstract(AppArmorAbstract),
    /// The text itself, one `profile NAME { … }`.
    Raw(String),
}

impl Default for AppArmorBody {
    fn default() -> Self {
        Self::Abstract(AppArmorAbstract::default())
    }
}

text_enum! {
    /// Whether violations are denied or only logged.
    #[derive(Default)]
    pub enum AppArmorMode {
        /// Denied.
        #[default]
        Enforce = "Enforce",
        /// Allowed and logged.
        Complain = "Complain",
    }
}

/// The abstract body: what the workload may do, without AppArmor's language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AppArmorAbstract {
    /// What may be executed and mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Executable>,
    /// What may be read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// Which kinds of network sockets may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Which capabilities may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capabilities>,
}

/// What may be executed and mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Executable {
    /// Paths that may be executed under this same profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_executables: Option<Vec<String>>,
    /// Paths that may be mapped executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_libraries: Option<Vec<String>>,
}

/// What may be read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// Paths that may be read only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub read_only_paths: Option<Vec<String>>,
    /// Paths that may be written only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub write_only_paths: Option<Vec<String>>,
    /// Paths that may be read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub read_write_paths: Option<Vec<String>>,
}

/// Which kinds of network sockets may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Whether raw sockets may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_raw: Option<bool>,
    /// Which protocols may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_protocols: Option<Protocols>,
}

/// Which protocols may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Protocols {
    /// Whether TCP may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_tcp: Option<bool>,
    /// Whether UDP may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_udp: Option<bool>,
}

/// Which capabilities may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The capabilities. One that is there in two spellings counts once.
    #[serde(default, deserialize_with = "distinct", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub allowed_capabilities: Option<Vec<Capability>>,
}

fn distinct<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Capability>>, D::Error> {
    let mut list = Option::<Vec<Capability>>::deserialize(deserializer)?;
    let mut seen = std::collections::BTreeSet::new();
    if let Some(list) = &mut list {
        list.retain(|capability| seen.insert(*capability));
    }
    Ok(list)
}

macro_rules! capabilities {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// A Linux capability (`capabilities(7)`), in number order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Capability { $(#[doc = concat!("`CAP_", $text, "`, in lower case.")] $variant,)+ }

        impl Capability {
            /// Every capability, in number order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in lower case without `cap_`, as AppArmor and the CRD write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

capabilities! {
    Chown = "chown", DacOverride = "dac_override", DacReadSearch = "dac_read_search", Fowner = "fowner",
    Fsetid = "fsetid", Kill = "kill", Setgid = "setgid", Setuid = "setuid", Setpcap = "setpcap",
    LinuxImmutable = "linux_immutable", NetBindService = "net_bind_service", NetBroadcast = "net_broadcast",
    NetAdmin = "net_admin", NetRaw = "net_raw", IpcLock = "ipc_lock", IpcOwner = "ipc_owner",
    SysModule = "sys_module", SysRawio = "sys_rawio", SysChroot = "sys_chroot", SysPtrace = "sys_ptrace",
    SysPacct = "sys_pacct", SysAdmin = "sys_admin", SysBoot = "sys_boot", SysNice = "sys_nice",
    SysResource = "sys_resource", SysTime = "sys_time", SysTtyConfig = "sys_tty_config", Mknod = "mknod",
    Lease = "lease", AuditWrite = "audit_write", AuditControl = "audit_control", Setfcap = "setfcap",
    MacOverride = "mac_override", MacAdmin = "mac_admin", Syslog = "syslog", WakeAlarm = "wake_alarm",
    BlockSuspend = "block_suspend", AuditRead = "audit_read", Perfmon = "perfmon", Bpf = "bpf",
    CheckpointRestore = "checkpoint_restore",
}

impl std::str::FromStr for Capability {
    type Err = crate::UnknownWord;

    /// Reads a capability as the CRD does: surrounding blanks and letter case do not matter, and `CAP_` in
    /// front is accepted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let folded = text.trim().to_ascii_lowercase();
        let name = folded.strip_prefix("cap_").unwrap_or(&folded);
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.as_str() == name)
            .ok_or_else(|| crate::UnknownWord::new(text, Self::ALL.iter().map(|c| c.as_str())))
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Capability {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Capability".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // Letter case, blanks and `CAP_` in front do not matter, which a schema can only say as a pattern.
        schemars::json_schema!({ "type": "string", "maxLength": 64, "pattern": "^\\s*[A-Za-z_]+\\s*$" })
    }
}

/// `status` of an AppArmorProfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AppArmorProfileStatus {
    /// Where the profile stands on the nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProfileState>,
    /// Conditions; `Ready` is the one to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])))]
    pub conditions: Option<Vec<Condition>>,
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

/// The fields as documents have them; at most one of the two bodies may be there.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SpecFields {
    /// Whether the profile is loaded on nodes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    state: State,
    /// Whether violations are denied or only logged.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    mode: AppArmorMode,
    /// A description of what the workload may do; excludes `policy`.
    #[serde(default, rename = "abstract", skip_serializing_if = "Option::is_none")]
    abstract_: Option<AppArmorAbstract>,
    /// The profile in AppArmor's own language; excludes `abstract`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 500_000)))]
    policy: Option<String>,
}

impl TryFrom<SpecFields> for AppArmorProfileSpec {
    type Error = &'static str;
    fn try_from(fields: SpecFields) -> Result<Self, Self::Error> {
        let body = match (fields.abstract_, fields.policy) {
            (Some(_), Some(_)) => return Err("both abstract and policy are given, want one of them"),
            (None, Some(text)) => AppArmorBody::Raw(text),
            (Some(description), None) => AppArmorBody::Abstract(description),
            (None, None) => AppArmorBody::default(),
        };
        Ok(Self { state: fields.state, mode: fields.mode, body })
    }
}

impl From<AppArmorProfileSpec> for SpecFields {
    fn from(spec: AppArmorProfileSpec) -> Self {
        let (abstract_, policy) = match spec.body {
            AppArmorBody::Abstract(description) => (Some(description), None),
            AppArmorBody::Raw(text) => (None, Some(text)),
        };
        Self { state: spec.state, mode: spec.mode, abstract_, policy }
    }
}
