//! SeccompProfile: which syscalls a workload may make.
//!
//! Source of the rules: the `SeccompProfile` CRD and the seccomp section of the OCI runtime specification
//! (`config-linux.md#seccomp`), whose vocabulary the CRD uses.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    names::{ProfileKey, check_label, check_subdomain},
    status::{Condition, ProfileState},
    text_enum::{checked_string, text_enum},
};

/// `spec` of a SeccompProfile, in the hub form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfileSpec {
    /// Whether the profile is put on nodes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub state: State,
    /// Another SeccompProfile by name, or `oci://` and an artifact reference, whose syscalls this profile
    /// inherits. `<namespace>/<name>` is one of another namespace; it needs the label `spo.x-k8s.io/share-base: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_profile_name: Option<BaseProfileName>,
    /// What happens to a syscall that no rule matches.
    pub default_action: Action,
    /// The errno of the default action when it is `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`; absent means `EPERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<Errno>,
    /// The architectures the filter covers; absent means the native one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub architectures: Option<Vec<Arch>>,
    /// The socket of the agent that answers `SCMP_ACT_NOTIFY` notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<ListenerPath>,
    /// Opaque text handed to that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "atomic")))]
    pub syscalls: Option<Vec<SyscallRule>>,
    /// Flags of `seccomp(2)` for the filter; absent lets the runtime choose, an empty list means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub flags: Option<Vec<Flag>>,
}

impl SeccompProfileSpec {
    /// An enabled profile with a default action and nothing else.
    pub fn new(default_action: Action) -> Self {
        Self {
            state: State::Enabled,
            base_profile_name: None,
            default_action,
            default_errno_ret: None,
            architectures: None,
            listener_path: None,
            listener_metadata: None,
            syscalls: None,
            flags: None,
        }
    }

    /// The rules, an empty slice when there are none.
    pub fn rules(&self) -> &[SyscallRule] {
        self.syscalls.as_deref().unwrap_or_default()
    }
}

/// One rule: what happens to some syscalls when all argument filters match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// The syscalls.
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("x-kubernetes-list-type" = "set")))]
    pub names: Vec<SyscallName>,
    /// What happens to them.
    pub action: Action,
    /// The errno of `SCMP_ACT_ERRNO` or the message of `SCMP_ACT_TRACE`; absent means `EPERM`, 0 pretends
    /// success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<Errno>,
    /// Conditions on the arguments; all have to hold. Absent means always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 6), extend("x-kubernetes-list-type" = "atomic")))]
    pub args: Option<Vec<ArgFilter>>,
}

impl SyscallRule {
    /// A rule without conditions.
    pub fn new(action: Action, names: impl IntoIterator<Item = SyscallName>) -> Self {
        Self { names: names.into_iter().collect(), action, errno_ret: None, args: None }
    }

    /// The conditions, an empty slice when there are none.
    pub fn conditions(&self) -> &[ArgFilter] {
        self.args.as_deref().unwrap_or_default()
    }
}

/// A comparison of one syscall argument with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ArgFilter {
    /// Which argument, from 0 to 5.
    pub index: ArgIndex,
    /// The value compared with; the mask when `op` is `SCMP_CMP_MASKED_EQ`.
    #[serde(default, skip_serializing_if = "ArgValue::is_zero")]
    pub value: ArgValue,
    /// The value the masked argument must have; only for `SCMP_CMP_MASKED_EQ`.
    #[serde(default, skip_serializing_if = "ArgValue::is_zero")]
    pub value_two: ArgValue,
    /// The comparison.
    pub op: Op,
}

text_enum! {
    /// What happens to a syscall. The order is the declaration order, not the order of strictness.
    pub enum Action {
        /// Kill the thread (`SECCOMP_RET_KILL_THREAD`).
        Kill = "SCMP_ACT_KILL",
        /// Kill the process (`SECCOMP_RET_KILL_PROCESS`).
        KillProcess = "SCMP_ACT_KILL_PROCESS",
        /// Kill the thread (`SECCOMP_RET_KILL_THREAD`).
        KillThread = "SCMP_ACT_KILL_THREAD",
        /// Send SIGSYS (`SECCOMP_RET_TRAP`).
        Trap = "SCMP_ACT_TRAP",
        /// Fail with an errno (`SECCOMP_RET_ERRNO`).
        Errno = "SCMP_ACT_ERRNO",
        /// Tell the tracer (`SECCOMP_RET_TRACE`).
        Trace = "SCMP_ACT_TRACE",
        /// Allow (`SECCOMP_RET_ALLOW`).
        Allow = "SCMP_ACT_ALLOW",
        /// Log and allow (`SECCOMP_RET_LOG`).
        Log = "SCMP_ACT_LOG",
        /// Ask the listener (`SECCOMP_RET_USER_NOTIF`).
        Notify = "SCMP_ACT_NOTIFY",
    }
}

text_enum! {
    /// An architecture token of the OCI runtime specification, and `SCMP_ARCH_NATIVE` of the CRD.
    pub enum Arch {
        /// The architecture of the node.
        Native = "SCMP_ARCH_NATIVE",
        /// 32-bit x86.
        X86 = "SCMP_ARCH_X86",
        /// 64-bit x86.
        X86_64 = "SCMP_ARCH_X86_64",
        /// 64-bit x86 with 32-bit pointers.
        X32 = "SCMP_ARCH_X32",
        /// 32-bit ARM, EABI.
        Arm = "SCMP_ARCH_ARM",
        /// 64-bit ARM.
        Aarch64 = "SCMP_ARCH_AARCH64",
        /// 64-bit LoongArch. Not in the old served version.
        Loongarch64 = "SCMP_ARCH_LOONGARCH64",
        /// Motorola 68000. Not in the old served version.
        M68k = "SCMP_ARCH_M68K",
        /// MIPS o32, big endian.
        Mips = "SCMP_ARCH_MIPS",
        /// MIPS n64, big endian.
        Mips64 = "SCMP_ARCH_MIPS64",
        /// MIPS n32, big endian.
        Mips64n32 = "SCMP_ARCH_MIPS64N32",
        /// MIPS o32, little endian.
        Mipsel = "SCMP_ARCH_MIPSEL",
        /// MIPS n64, little endian.
        Mipsel64 = "SCMP_ARCH_MIPSEL64",
        /// MIPS n32, little endian.
        Mipsel64n32 = "SCMP_ARCH_MIPSEL64N32",
        /// PA-RISC, 32 bits.
        Parisc = "SCMP_ARCH_PARISC",
        /// PA-RISC, 64 bits.
        Parisc64 = "SCMP_ARCH_PARISC64",
        /// PowerPC, 32 bits, big endian.
        Ppc = "SCMP_ARCH_PPC",
        /// PowerPC, 64 bits, big endian.
        Ppc64 = "SCMP_ARCH_PPC64",
        /// PowerPC, 64 bits, little endian.
        Ppc64le = "SCMP_ARCH_PPC64LE",
        /// 64-bit RISC-V.
        Riscv64 = "SCMP_ARCH_RISCV64",
        /// IBM s390, 31 bits.
        S390 = "SCMP_ARCH_S390",
        /// IBM z, 64 bits.
        S390x = "SCMP_ARCH_S390X",
        /// SuperH, little endian. Not in the old served version.
        Sh = "SCMP_ARCH_SH",
        /// SuperH, big endian. Not in the old served version.
        Sheb = "SCMP_ARCH_SHEB",
    }
}

text_enum! {
    /// How an argument is compared (unsigned).
    pub enum Op {
        /// Not equal.
        NotEqual = "SCMP_CMP_NE",
        /// Less than.
        LessThan = "SCMP_CMP_LT",
        /// Less than or equal.
        LessOrEqual = "SCMP_CMP_LE",
        /// Equal.
        Equal = "SCMP_CMP_EQ",
        /// Greater than or equal.
        GreaterOrEqual = "SCMP_CMP_GE",
        /// Greater than.
        GreaterThan = "SCMP_CMP_GT",
        /// `argument & value == valueTwo`.
        MaskedEqual = "SCMP_CMP_MASKED_EQ",
    }
}

text_enum! {
    /// A flag of `seccomp(2)`.
    pub enum Flag {
        /// Apply to all threads.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
        /// Log every action but allow.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// Do not force speculative store bypass mitigation.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        /// While a notification is answered, only fatal signals interrupt.
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
}

checked_string! {
    /// A syscall name in the form the kernel uses: lower-case letters, digits and underscores.
    ///
    /// The form says nothing about whether a kernel has the syscall: see [`SyscallName::is_known`].
    pub struct SyscallName: check_syscall_name, {
        "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-z_][a-z0-9_]*$"
    }
}

checked_string! {
    /// The name of a base profile: a SeccompProfile's name, `<namespace>/<name>` of one that another namespace shares,
    /// or `oci://` and an artifact reference.
    pub struct BaseProfileName: check_base_profile_name, {
        "type": "string", "minLength": 1, "maxLength": 1024
    }
}

impl BaseProfileName {
    /// The artifact reference without `oci://`, `None` for the name of a profile in the cluster.
    pub fn oci_reference(&self) -> Option<&str> {
        self.as_str().strip_prefix("oci://")
    }

    /// The profile that is meant where the namespace is said, `None` for a name alone and for an artifact.
    pub fn key(&self) -> Option<ProfileKey> {
        if self.oci_reference().is_some() {
            return None;
        }
        let (namespace, name) = self.as_str().split_once('/')?;
        ProfileKey::new(Some(namespace), name).ok()
    }

    /// The name of the profile in the cluster, without its namespace; `None` for an artifact.
    pub fn profile_name(&self) -> Option<&str> {
        let name = self.as_str().split_once('/').map_or(self.as_str(), |(_, name)| name);
        self.oci_reference().is_none().then_some(name)
    }
}

checked_string! {
    /// The path of a notification socket, a file below `/var/run/security-profiles-operator/`.
    pub struct ListenerPath: check_listener_path, {
        "type": "string", "pattern": "^/var/run/security-profiles-operator/[a-zA-Z0-9_\\-\\.]+$"
    }
}

/// An errno from 0 to 4095, the range `SECCOMP_RET_DATA` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct Errno(u16);

impl Errno {
    /// The largest errno the kernel can return from a filter (`MAX_ERRNO`).
    pub const MAX: u16 = 4095;
    /// `EPERM`, what runtimes return when a profile names no errno.
    pub const EPERM: Self = Self(1);
    /// `ENOSYS`.
    pub const ENOSYS: Self = Self(38);

    /// The number as an errno, `None` above 4095.
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for Errno {
    type Error = OutOfRange;
    fn try_from(number: i64) -> Result<Self, OutOfRange> {
        u16::try_from(number).ok().and_then(Self::new).ok_or(OutOfRange {
            what: "errno",
            number,
            max: i64::from(Self::MAX),
        })
    }
}

impl From<Errno> for u16 {
    fn from(errno: Errno) -> Self {
        errno.0
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Errno {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Errno".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": Self::MAX })
    }
}

/// The index of a syscall argument, from 0 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u8")]
pub struct ArgIndex(u8);

impl ArgIndex {
    /// The largest index: a syscall has six arguments.
    pub const MAX: u8 = 5;

    /// The number as an index, `None` above 5.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for ArgIndex {
    type Error = OutOfRange;
    fn try_from(number: i64) -> Result<Self, OutOfRange> {
        u8::try_from(number).ok().and_then(Self::new).ok_or(OutOfRange {
            what: "argument index",
            number,
            max: i64::from(Self::MAX),
        })
    }
}

impl From<ArgIndex> for u8 {
    fn from(index: ArgIndex) -> Self {
        index.0
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for ArgIndex {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ArgIndex".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": Self::MAX })
    }
}

/// A 64-bit unsigned argument value.
///
/// Read from a number, or from a decimal or `0x` text. Written as a number up to 2^63−1 and as decimal text
/// above, because a Kubernetes API server keeps integers only in the signed 64-bit range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgValue(pub u64);

impl ArgValue {
    /// Whether the value is 0, which documents leave out.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature `skip_serializing_if` wants")]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl From<u64> for ArgValue {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl std::str::FromStr for ArgValue {
    type Err = crate::InvalidText;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_only = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit());
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) if digits_only(hex) => u64::from_str_radix(hex, 16).ok(),
            None if digits_only(text) => text.parse().ok(),
            _ => None,
        };
        parsed.map(Self).ok_or_else(|| {
            crate::InvalidText::new(text, "want a decimal or 0x number from 0 to 18446744073709551615")
        })
    }
}

impl Serialize for ArgValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if i64::try_from(self.0).is_ok() {
            serializer.serialize_u64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ArgValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ArgValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number from 0 to 18446744073709551615, as a number or text")
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<ArgValue, E> {
                Ok(ArgValue(value))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<ArgValue, E> {
                u64::try_from(value).map(ArgValue).map_err(|_| {
                    E::custom(format!(
                        "argument value {value} is negative; write the unsigned number the kernel sees, {}",
                        value.cast_unsigned()
                    ))
                })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ArgValue, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for ArgValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ArgValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "minimum": 0,
            "pattern": "^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})$",
        })
    }
}

/// A number outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {number} is out of range, want 0 to {max}")]
pub struct OutOfRange {
    what: &'static str,
    number: i64,
    max: i64,
}

/// `status` of a SeccompProfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfileStatus {
    /// Where the profile stands on the nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProfileState>,
    /// Conditions; `Ready` is the one to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])))]
    pub conditions: Option<Vec<Condition>>,
    /// The file on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Pods that use the profile, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-list-type" = "set")))]
    pub active_workloads: Option<Vec<String>>,
    /// The value for a pod's `localhostProfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localhost_profile: Option<String>,
    /// How many of the pods there are; the list names some of them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0), extend("format" = "int64")))]
    pub active_workload_count: Option<i64>,
    /// On how many nodes it is installed, of how many that could have it, for example `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
}

fn check_syscall_name(text: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    if first && text.len() <= 64 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Ok(())
    } else {
        Err("a syscall name has 1 to 64 lower-case letters, digits and underscores, and no digit in front")
    }
}

fn check_base_profile_name(text: &str) -> Result<(), &'static str> {
    match text.strip_prefix("oci://") {
        Some("") => Err("an artifact reference has to follow oci://"),
        Some(reference) if text.len() <= 1024 && reference.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        Some(_) => Err("an artifact reference has at most 1024 printable ASCII characters and no blank"),
        None => match text.split_once('/') {
            None => check_subdomain(text),
            Some((namespace, name)) if check_label(namespace).is_ok() && check_subdomain(name).is_ok() => {
                Ok(())
            }
            Some(_) => {
                Err("want the name of a SeccompProfile, <namespace>/<name> of one in another namespace, or \
                            oci:// and an artifact reference")
            }
        },
    }
}

fn check_listener_path(text: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    match text.strip_prefix("/var/run/security-profiles-operator/") {
        Some("." | "..") => Err("the socket needs a file name"),
        Some(name) if !name.is_empty() && name.bytes().all(allowed) => Ok(()),
        _ => {
            Err("want /var/run/security-profiles-operator/ and a file name of letters, digits, `_`, `-`, `.`")
        }
    }
}
