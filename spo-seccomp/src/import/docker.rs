//! Docker's dialect: rules that depend on capabilities, architecture and kernel release.

use serde::Deserialize;
use spo_model::seccomp::{Arch, SeccompProfileSpec};

use super::{ImportError, runtime_spec::Document};
use crate::syscalls::KernelVersion;

/// The container and machine a dialect profile is resolved for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// The native architecture.
    pub arch: Arch,
    /// The container's capabilities, with `CAP_` in front.
    pub capabilities: &'a [&'a str],
    /// The kernel's release.
    pub kernel: KernelVersion,
}

/// The capabilities Docker gives a container by default.
pub const DOCKER_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Resolves a profile with `archMap`, `includes` and `excludes` for one machine.
///
/// A rule counts when all of `includes` and none of `excludes` holds, as in moby's `profiles/seccomp`.
///
/// # Errors
/// As [`runtime_spec`](super::runtime_spec), and for a kernel release that is no pair of numbers.
pub fn docker(json: &str, host: &Host<'_>) -> Result<SeccompProfileSpec, ImportError> {
    let mut document: Document = serde_json::from_str(json)?;
    let architectures = match (document.architectures.take(), document.arch_map.take()) {
        (Some(own), Some(map)) if !own.is_empty() && !map.is_empty() => {
            return Err(ImportError::ArchitecturesTwice);
        }
        (Some(own), _) if !own.is_empty() => Some(own),
        (_, Some(map)) => map.into_iter().find(|entry| entry.architecture == host.arch).map(|entry| {
            let mut arches = vec![entry.architecture];
            arches.extend(entry.sub_architectures);
            arches
        }),
        _ => None,
    };
    let mut kept = Vec::new();
    for (i, rule) in document.syscalls.into_iter().enumerate() {
        let includes = Filter::kernel(rule.includes.as_ref(), i)?;
        let excludes = Filter::kernel(rule.excludes.as_ref(), i)?;
        let included = rule.includes.as_ref().is_none_or(|f| f.all_hold(host, includes));
        let excluded = rule.excludes.as_ref().is_some_and(|f| f.some_holds(host, excludes));
        if included && !excluded {
            kept.push(rule);
        }
    }
    document.syscalls = kept;
    document.into_profile(architectures)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Filter {
    fn kernel(filter: Option<&Self>, rule: usize) -> Result<Option<KernelVersion>, ImportError> {
        let Some(text) = filter.and_then(|f| f.min_kernel.as_deref()).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let mut parts = text.splitn(2, '.').map(|part| part.parse::<u8>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Some(KernelVersion { major, minor, patch: 0 })),
            _ => Err(ImportError::value(
                format!("syscalls[{rule}].minKernel"),
                format!("want two numbers, found {text:?}"),
            )),
        }
    }

    fn all_hold(&self, host: &Host<'_>, kernel: Option<KernelVersion>) -> bool {
        let arches = self.arches.as_deref().unwrap_or_default();
        (arches.is_empty() || arches.iter().any(|arch| is_arch(arch, host.arch)))
            && self.caps.iter().flatten().all(|cap| host.capabilities.contains(&cap.as_str()))
            && kernel.is_none_or(|kernel| host.kernel >= kernel)
    }

    fn some_holds(&self, host: &Host<'_>, kernel: Option<KernelVersion>) -> bool {
        self.arches.iter().flatten().any(|arch| is_arch(arch, host.arch))
            || self.caps.iter().flatten().any(|cap| host.capabilities.contains(&cap.as_str()))
            || kernel.is_some_and(|kernel| host.kernel >= kernel)
    }
}

/// Go's names of architectures; x86 and x32 are never native there.
fn is_arch(name: &str, arch: Arch) -> bool {
    let go = match arch {
        Arch::X86_64 => "amd64",
        Arch::X86 => "386",
        Arch::Aarch64 => "arm64",
        Arch::Arm => "arm",
        Arch::Loongarch64 => "loong64",
        Arch::Mips => "mips",
        Arch::Mipsel => "mipsle",
        Arch::Mips64 => "mips64",
        Arch::Mipsel64 => "mips64le",
        Arch::Ppc64 => "ppc64",
        Arch::Ppc64le => "ppc64le",
        Arch::Riscv64 => "riscv64",
        Arch::S390x => "s390x",
        _ => return false,
    };
    name == go
}
