//! The seccomp section of the OCI runtime specification, as bytes that are the same for the same profile.

use serde_json::{Map, Value, json};
use spo_model::seccomp::{Arch, ArgFilter, Op, SeccompProfileSpec, SyscallRule};

use crate::arch::ArchExt;

/// The profile as the `linux.seccomp` object of a runtime-spec `config.json`, for runtimes on `native` machines.
///
/// Keys come in the order of the specification. `SCMP_ARCH_NATIVE`, which runtimes do not know, becomes the
/// architecture; an absent errno stays absent (runtimes take `EPERM`), and so does an absent list of flags, which
/// means the runtime's choice, while an empty list means none. Base profiles have to be resolved before, see
/// [`inherit`](crate::inherit).
pub fn to_json(profile: &SeccompProfileSpec, native: Arch) -> Value {
    let mut out = Map::new();
    out.insert("defaultAction".into(), json!(profile.default_action.as_str()));
    if let Some(errno) = profile.default_errno_ret {
        out.insert("defaultErrnoRet".into(), json!(errno.get()));
    }
    if let Some(arches) = profile.architectures.as_deref().filter(|arches| !arches.is_empty()) {
        let mut words: Vec<&str> = Vec::new();
        for arch in arches {
            let word = arch.resolve(native).as_str();
            if !words.contains(&word) {
                words.push(word);
            }
        }
        out.insert("architectures".into(), json!(words));
    }
    if let Some(flags) = &profile.flags {
        let known = flags.iter().map(|flag| flag.as_str());
        // TSYNC is no flag of the specification; runtimes apply it themselves.
        let words: Vec<&str> = known.filter(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC").collect();
        out.insert("flags".into(), json!(words));
    }
    if let Some(path) = &profile.listener_path {
        out.insert("listenerPath".into(), json!(path.as_str()));
    }
    if let Some(metadata) = &profile.listener_metadata {
        out.insert("listenerMetadata".into(), json!(metadata));
    }
    if !profile.rules().is_empty() {
        out.insert("syscalls".into(), profile.rules().iter().map(rule).collect());
    }
    Value::Object(out)
}

/// [`to_json`] as compact text, key by key in the order of the specification, without a newline at the end.
///
/// This is the file a kubelet's `localhostProfile` names.
pub fn to_string(profile: &SeccompProfileSpec, native: Arch) -> String {
    let mut text = String::new();
    write(&to_json(profile, native), &mut text);
    text
}

/// [`to_json`] in the types of the crate `oci-spec`, which Rust runtimes (youki, containerd's shims) are built on.
///
/// Serialised as JSON it is [`to_string`], byte for byte.
///
/// # Errors
/// A word of the specification that the crate does not know; 0.10 knows all.
#[cfg(feature = "oci-spec")]
pub fn to_oci(
    profile: &SeccompProfileSpec,
    native: Arch,
) -> Result<oci_spec::runtime::LinuxSeccomp, OciError> {
    Ok(serde_json::from_value(to_json(profile, native))?)
}

/// The profile that a runtime was given in the types of the crate `oci-spec`.
///
/// # Errors
/// As [`import::runtime_spec`](crate::import::runtime_spec).
#[cfg(feature = "oci-spec")]
pub fn from_oci(seccomp: &oci_spec::runtime::LinuxSeccomp) -> Result<SeccompProfileSpec, OciError> {
    Ok(crate::import::runtime_spec(&serde_json::to_string(seccomp)?)?)
}

/// What one of the two sides cannot say.
#[cfg(feature = "oci-spec")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// A value that oci-spec's types do not have, or that has no JSON.
    #[error("not in the types of oci-spec: {0}")]
    Types(#[from] serde_json::Error),
    /// A value that profiles do not have.
    #[error(transparent)]
    Profile(#[from] crate::import::ImportError),
}

fn rule(rule: &SyscallRule) -> Value {
    let mut out = Map::new();
    out.insert("names".into(), rule.names.iter().map(|name| json!(name.as_str())).collect());
    out.insert("action".into(), json!(rule.action.as_str()));
    if let Some(errno) = rule.errno_ret {
        out.insert("errnoRet".into(), json!(errno.get()));
    }
    if !rule.conditions().is_empty() {
        out.insert("args".into(), rule.conditions().iter().map(argument).collect());
    }
    Value::Object(out)
}

fn argument(filter: &ArgFilter) -> Value {
    let mut out = Map::new();
    out.insert("index".into(), json!(filter.index.get()));
    // The specification requires the value, so 0 is written too.
    out.insert("value".into(), json!(filter.value.0));
    if filter.op == Op::MaskedEqual {
        out.insert("valueTwo".into(), json!(filter.value_two.0));
    }
    out.insert("op".into(), json!(filter.op.as_str()));
    Value::Object(out)
}

/// The keys in the order of the specification's tables.
const ORDER: [&str; 15] = [
    "defaultAction",
    "defaultErrnoRet",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
    "names",
    "action",
    "errnoRet",
    "args",
    "index",
    "value",
    "valueTwo",
    "op",
];

/// `serde_json` sorts keys or keeps their order depending on a feature that any crate of a build may switch on;
/// the bytes must not depend on that.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            text.push('{');
            let keys = ORDER.iter().filter_map(|key| Some((key, map.get(*key)?)));
            for (i, (key, value)) in keys.enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push('"');
                text.push_str(key);
                text.push_str("\":");
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::{Action, ArgIndex, ArgValue, Errno};

    use super::*;

    #[test]
    fn keys_follow_the_specification() {
        let mut profile = SeccompProfileSpec::new(Action::Errno);
        profile.default_errno_ret = Some(Errno::ENOSYS);
        profile.architectures = Some(vec![Arch::Native, Arch::X86_64, Arch::X86]);
        profile.flags = Some(vec![]);
        let mut rule = SyscallRule::new(Action::Allow, ["read".parse().unwrap()]);
        let index = ArgIndex::new(0).unwrap();
        rule.args =
            Some(vec![ArgFilter { index, value: ArgValue(0), value_two: ArgValue(0), op: Op::Equal }]);
        profile.syscalls = Some(vec![rule]);
        assert_eq!(
            to_string(&profile, Arch::X86_64),
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"flags":[],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#
        );
        let back = crate::import::runtime_spec(&to_string(&profile, Arch::X86_64)).unwrap();
        assert_eq!(back.syscalls, profile.syscalls);
    }
}
