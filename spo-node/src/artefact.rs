//! What has to be on the host.

use std::fmt;

use serde::{Deserialize, Serialize};
use spo_model::{
    FieldPath,
    kind::Kind,
    names::{NameTooLong, ProfileKey},
};

use crate::{content::Content, kernel::Lsm};

/// Where the kubelet looks for seccomp profiles, relative to the root.
pub const SECCOMP_DIR: &str = "var/lib/kubelet/seccomp";
/// Where AppArmor profiles are, relative to the root.
pub const APPARMOR_DIR: &str = "etc/apparmor.d";
/// Where SELinux modules are put for installation, relative to the root.
pub const SELINUX_DIR: &str = "etc/selinux.d";

/// One file that a profile becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The kind of the profile.
    pub kind: Kind,
    /// The profile.
    pub key: ProfileKey,
    /// Where it has to be.
    pub path: HostPath,
    /// The name that it has in the kernel, for kinds whose names are global to the host.
    pub kernel_name: Option<String>,
    /// The bytes.
    pub bytes: Content,
    /// The permission bits.
    pub mode: u32,
    /// The manifest it came from, recorded so that a broken manifest does not remove what it brought.
    pub source: String,
    /// Which of its lines its author wrote, if any.
    pub origin: Option<Origin>,
}

/// A field of a profile whose text stands in its artefact line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The field.
    pub path: FieldPath,
    /// How many lines of the artefact come before its first.
    pub lines_before: u32,
}

impl Artefact {
    /// The artefact of a profile of a kind, at the place and with the mode that the kind has.
    ///
    /// # Errors
    /// [`ArtefactError`] if the kind is no profile or the name fits no file.
    pub fn new(kind: Kind, key: ProfileKey, bytes: Vec<u8>) -> Result<Self, ArtefactError> {
        let (path, kernel_name, mode) = match kind {
            Kind::SeccompProfile => (format!("{SECCOMP_DIR}/{}", key.seccomp_path()?), None, 0o644),
            Kind::AppArmorProfile => {
                (format!("{APPARMOR_DIR}/{}", key.apparmor_file()?), Some(key.apparmor_profile()), 0o644)
            }
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => {
                (format!("{SELINUX_DIR}/{}.cil", key.selinux_module()?), Some(key.selinux_block()), 0o600)
            }
            _ => return Err(ArtefactError::NoProfile(kind)),
        };
        Ok(Self {
            kind,
            key,
            path: path.parse()?,
            kernel_name,
            bytes: bytes.into(),
            mode,
            source: String::new(),
            origin: None,
        })
    }

    /// What two artefacts may not share: the name in the kernel, within one security module.
    pub(crate) fn global_name(&self) -> Option<GlobalName> {
        GlobalName::of(self.kind, self.kernel_name.as_deref()?)
    }

    /// The name under which the security module holds it.
    pub(crate) fn loaded_name(&self) -> Option<&str> {
        loaded_name(self.kind, self.kernel_name.as_deref(), &self.path)
    }
}

/// Why a profile has no artefact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// The kind is not one that ends up on nodes.
    #[error("a {0} is not installed on nodes")]
    NoProfile(Kind),
    /// The name fits no file.
    #[error(transparent)]
    Name(#[from] NameTooLong),
    /// The path would leave the root.
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// The name under which a security module holds an artefact: AppArmor by the profile, SELinux by the module, which
/// has the name of its file.
pub(crate) fn loaded_name<'a>(
    kind: Kind,
    kernel_name: Option<&'a str>,
    path: &'a HostPath,
) -> Option<&'a str> {
    match Lsm::of(kind)? {
        Lsm::AppArmor => kernel_name,
        Lsm::Selinux => path.split().1.strip_suffix(".cil"),
    }
}

/// A name in the kernel, global to the host within its security module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GlobalName {
    module: &'static str,
    name: String,
}

impl GlobalName {
    pub(crate) fn of(kind: Kind, name: &str) -> Option<Self> {
        let module = match kind {
            Kind::AppArmorProfile => "AppArmor profile",
            // Both kinds become blocks of one policy.
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => "SELinux block",
            _ => return None,
        };
        Some(Self { module, name: name.to_owned() })
    }
}

impl fmt::Display for GlobalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.module, self.name)
    }
}

/// A path relative to the host's root: at least one component, none of them empty, `.`, `..` or holding a NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

impl HostPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory and the file name.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or((".", &self.0))
    }
}

impl std::str::FromStr for HostPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let good = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0');
        if text.split('/').all(good) { Ok(Self(text.to_owned())) } else { Err(BadPath(text.to_owned())) }
    }
}

impl TryFrom<String> for HostPath {
    type Error = BadPath;
    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A path that could leave the root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path below the root")]
pub struct BadPath(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        let key = ProfileKey::new(Some("production"), "web").expect("a key");
        let place = |kind| Artefact::new(kind, key.clone(), Vec::new()).map(|a| (a.path.to_string(), a.mode));
        assert_eq!(
            place(Kind::SeccompProfile),
            Ok(("var/lib/kubelet/seccomp/operator/production/web.json".to_owned(), 0o644))
        );
        assert_eq!(place(Kind::AppArmorProfile), Ok(("etc/apparmor.d/spo.production.web".to_owned(), 0o644)));
        assert_eq!(place(Kind::SelinuxProfile), Ok(("etc/selinux.d/spo_web.cil".to_owned(), 0o600)));
        assert_eq!(place(Kind::ProfileBinding), Err(ArtefactError::NoProfile(Kind::ProfileBinding)));
    }

    #[test]
    fn paths_cannot_leave_the_root() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\0b"] {
            assert!(bad.parse::<HostPath>().is_err(), "{bad:?}");
        }
    }
}
