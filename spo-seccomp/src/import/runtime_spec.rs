//! The seccomp section of the OCI runtime specification, and the keys that Docker's dialect adds to it.

use serde::Deserialize;
use spo_model::seccomp::{
    Action, Arch, ArgFilter, ArgIndex, ArgValue, Errno, Flag, ListenerPath, Op, SeccompProfileSpec,
    SyscallName, SyscallRule,
};

use super::ImportError;

/// Reads the seccomp section of a runtime-spec `config.json`, or a whole `config.json`.
///
/// # Errors
/// [`ImportError`] for malformed JSON, unknown words, an errno above 4095, an argument index above 5, or a listener
/// outside the operator's folder. Keys the specification does not have are ignored, as runtimes do.
pub fn runtime_spec(json: &str) -> Result<SeccompProfileSpec, ImportError> {
    let mut document: serde_json::Value = serde_json::from_str(json)?;
    if let Some(section) = document.pointer_mut("/linux/seccomp") {
        document = section.take();
    }
    let document: Document = serde_json::from_value(document)?;
    if document.arch_map.is_some() {
        return Err(ImportError::value("archMap", "belongs to Docker's dialect, import it as such"));
    }
    if let Some(i) =
        document.syscalls.iter().position(|rule| rule.includes.is_some() || rule.excludes.is_some())
    {
        let reason = "includes and excludes belong to Docker's dialect, import it as such";
        return Err(ImportError::value(format!("syscalls[{i}]"), reason));
    }
    let architectures = document.architectures.clone();
    document.into_profile(architectures)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    default_action: Action,
    default_errno_ret: Option<i64>,
    /// Podman's spelling.
    default_errno: Option<String>,
    pub(super) architectures: Option<Vec<Arch>>,
    pub(super) arch_map: Option<Vec<ArchMapEntry>>,
    flags: Option<Vec<Flag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArchMapEntry {
    pub(super) architecture: Arch,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) sub_architectures: Vec<Arch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    /// The older form with one name.
    name: Option<String>,
    action: Action,
    errno_ret: Option<i64>,
    errno: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    args: Vec<Argument>,
    pub(super) includes: Option<super::docker::Filter>,
    pub(super) excludes: Option<super::docker::Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: i64,
    #[serde(default)]
    value: ArgValue,
    #[serde(default)]
    value_two: ArgValue,
    op: Op,
}

impl Document {
    pub(super) fn into_profile(
        self,
        architectures: Option<Vec<Arch>>,
    ) -> Result<SeccompProfileSpec, ImportError> {
        let mut profile = SeccompProfileSpec::new(self.default_action);
        profile.default_errno_ret =
            errno(self.default_errno_ret, self.default_errno.as_deref(), "defaultErrnoRet")?;
        profile.architectures = architectures.filter(|arches| !arches.is_empty());
        profile.flags = self.flags;
        profile.listener_metadata = self.listener_metadata.filter(|text| !text.is_empty());
        profile.listener_path = match self.listener_path.filter(|path| !path.is_empty()) {
            Some(path) => {
                let path: ListenerPath = path.parse().map_err(|e| ImportError::value("listenerPath", e))?;
                Some(path)
            }
            None => None,
        };
        let rules: Result<Vec<SyscallRule>, ImportError> = self
            .syscalls
            .into_iter()
            .enumerate()
            .map(|(i, rule)| rule.into_rule(&format!("syscalls[{i}]")))
            .collect();
        profile.syscalls = Some(rules?).filter(|rules| !rules.is_empty());
        Ok(profile)
    }
}

impl Rule {
    fn into_rule(self, field: &str) -> Result<SyscallRule, ImportError> {
        let mut names: Vec<SyscallName> = Vec::new();
        for name in self.names.into_iter().chain(self.name) {
            let name = name.parse().map_err(|e| ImportError::value(format!("{field}.names"), e))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(ImportError::value(format!("{field}.names"), "names no syscall"));
        }
        let errno_ret = errno(self.errno_ret, self.errno.as_deref(), &format!("{field}.errnoRet"))?;
        let args: Result<Vec<ArgFilter>, ImportError> = self
            .args
            .iter()
            .enumerate()
            .map(|(i, arg)| {
                let index = ArgIndex::try_from(arg.index)
                    .map_err(|e| ImportError::value(format!("{field}.args[{i}].index"), e))?;
                Ok(ArgFilter { index, value: arg.value, value_two: arg.value_two, op: arg.op })
            })
            .collect();
        Ok(SyscallRule {
            names,
            action: self.action,
            errno_ret,
            args: Some(args?).filter(|args| !args.is_empty()),
        })
    }
}

fn errno(number: Option<i64>, name: Option<&str>, field: &str) -> Result<Option<Errno>, ImportError> {
    if let Some(number) = number {
        return Errno::try_from(number).map(Some).map_err(|e| ImportError::value(field, e));
    }
    match name.filter(|name| !name.is_empty()) {
        None => Ok(None),
        Some(name) => {
            let known = ERRNOS.iter().find(|(known, _)| *known == name);
            let number = known.ok_or_else(|| ImportError::value(field, format!("unknown errno {name:?}")))?;
            Ok(Errno::new(number.1))
        }
    }
}

/// `null` where Go writes an empty list.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The errno names that profiles use; numbers of the generic table.
const ERRNOS: [(&str, u16); 17] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("ENXIO", 6),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("EPIPE", 32),
    ("ENOSYS", 38),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];
