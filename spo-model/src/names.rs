//! The one place for names and paths: where a profile's file is, what it is called in the kernel.
//!
//! | thing | name |
//! | --- | --- |
//! | seccomp file below the kubelet's seccomp directory | `operator/<ns>/<name>.json`, `operator/<name>.json` without namespace |
//! | SELinux block | `<name>`, with the alias block `<name>_<ns>` |
//! | SELinux process type | `<name>.process` |
//! | SELinux module | `spo_<name>`: `_` cannot occur in an object's name, so no module of a distribution is shadowed |
//! | AppArmor profile in the kernel | `<name>` |
//! | AppArmor file | `spo.<ns>.<name>` |
//! | label `spo.x-k8s.io/profile-id` | `<Kind>-<name>`, hashed from 63 characters on |
//! | node status object | `<short kind>-<profile>-<node>`, hashed where it would not fit |

use std::fmt;

use serde::{Deserialize, Serialize};
#[cfg(feature = "documents")]
use sha2::{Digest, Sha256};

#[cfg(feature = "documents")]
use crate::kind::Kind;
use crate::{daemon::ObjectName, text_enum::checked_string};

checked_string! {
    /// The name of a namespace: a DNS-1123 label.
    pub struct NamespaceName: check_label, {
        "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
    }
}

/// The label by which the owner of a SeccompProfile lets profiles of other namespaces build on it, with the value `true`.
pub const SHARE_BASE_LABEL: &str = "spo.x-k8s.io/share-base";

/// What identifies a profile of some kind: its name, and its namespace where profiles have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProfileKey {
    /// The namespace, `None` where profiles are cluster-scoped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceName>,
    /// The name.
    pub name: ObjectName,
}

impl ProfileKey {
    /// A key from texts.
    ///
    /// # Errors
    /// [`InvalidText`](crate::InvalidText) if the namespace is no DNS label or the name no DNS subdomain.
    pub fn new(namespace: Option<&str>, name: &str) -> Result<Self, crate::InvalidText> {
        Ok(Self { namespace: namespace.map(str::parse).transpose()?, name: name.parse()? })
    }

    /// The value of a pod's `localhostProfile`: the seccomp file below the kubelet's seccomp directory.
    ///
    /// A name that already ends in `.json` gets the suffix like any other, so that `a` and `a.json` are two
    /// files.
    ///
    /// # Errors
    /// [`NameTooLong`] if the file name would not fit into the 255 bytes that file systems allow.
    pub fn seccomp_path(&self) -> Result<String, NameTooLong> {
        let file = format!("{}.json", self.name);
        if file.len() > 255 {
            return Err(NameTooLong { name: self.name.to_string(), what: "seccomp file", max: 250 });
        }
        Ok(match &self.namespace {
            Some(namespace) => format!("operator/{namespace}/{file}"),
            None => format!("operator/{file}"),
        })
    }

    /// The name of the SELinux block.
    pub fn selinux_block(&self) -> String {
        self.name.to_string()
    }

    /// The SELinux type of the workload, the value for `seLinuxOptions.type`.
    pub fn selinux_usage(&self) -> String {
        format!("{}.process", self.name)
    }

    /// The block of aliases under which releases up to 0.8 knew the profile; `None` without a namespace.
    pub fn selinux_alias_block(&self) -> Option<String> {
        self.namespace.as_ref().map(|namespace| format!("{}_{namespace}", self.name))
    }

    /// Every type by which some release let pods name the profile: `<name>.process`, `<name>_.process`
    /// (0.9.0, and raw profiles later) and `<name>_<ns>.process` (up to 0.8).
    pub fn selinux_usages(&self) -> Vec<String> {
        let old = self.namespace.as_ref().map_or("", NamespaceName::as_str);
        let mut usages = vec![self.selinux_usage(), format!("{}_.process", self.name)];
        if !old.is_empty() {
            usages.push(format!("{}_{old}.process", self.name));
        }
        usages
    }

    /// The SELinux module.
    ///
    /// # Errors
    /// [`NameTooLong`] if the module's file `<module>.cil` would not fit into 255 bytes.
    pub fn selinux_module(&self) -> Result<String, NameTooLong> {
        let module = format!("spo_{}", self.name);
        if module.len() + ".cil".len() > 255 {
            return Err(NameTooLong { name: self.name.to_string(), what: "SELinux module file", max: 247 });
        }
        Ok(module)
    }

    /// The profile's name in the kernel, the value of a pod's `appArmorProfile.localhostProfile`.
    pub fn apparmor_profile(&self) -> String {
        self.name.to_string()
    }

    /// The file below `/etc/apparmor.d`: own prefix, namespace where there is one, name.
    ///
    /// # Errors
    /// [`NameTooLong`] if it would not fit into 255 bytes.
    pub fn apparmor_file(&self) -> Result<String, NameTooLong> {
        let file = match &self.namespace {
            Some(namespace) => format!("spo.{namespace}.{}", self.name),
            None => format!("spo..{}", self.name),
        };
        if file.len() > 255 {
            return Err(NameTooLong { name: self.name.to_string(), what: "AppArmor file", max: 187 });
        }
        Ok(file)
    }

    /// Whether a pod's `localhostProfile` means this profile. Both path shapes count; a path with a namespace
    /// means only the profile of that namespace.
    pub fn is_at_seccomp_path(&self, localhost_profile: &str) -> bool {
        let Some(path) = SeccompPath::parse(localhost_profile) else { return false };
        path.name == self.name && (path.namespace.is_none() || path.namespace == self.namespace)
    }
}

impl fmt::Display for ProfileKey {
    /// `namespace/name`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// A pod's `localhostProfile` that names a file of ours: `operator/<name>.json` or
/// `operator/<ns>/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompPath {
    /// The namespace in the path.
    pub namespace: Option<NamespaceName>,
    /// The profile's name.
    pub name: ObjectName,
}

impl SeccompPath {
    /// Reads a path; `None` if it is none of ours.
    pub fn parse(localhost_profile: &str) -> Option<Self> {
        let stem = localhost_profile.strip_prefix("operator/")?.strip_suffix(".json")?;
        let (namespace, name) = match stem.split_once('/') {
            Some((namespace, name)) => (Some(namespace.parse().ok()?), name),
            None => (None, stem),
        };
        Some(Self { namespace, name: name.parse().ok()? })
    }
}

/// A name from which a file name would become too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is too long for the {what}, which allows {max} characters")]
pub struct NameTooLong {
    name: String,
    what: &'static str,
    max: usize,
}

/// The value of the label `spo.x-k8s.io/profile-id`: `<Kind>-<name>` if that has fewer than 63 characters,
/// else `<Kind>-` and as many hexadecimal digits of its SHA-256 as fit into 63.
#[cfg(feature = "documents")]
pub fn profile_id(kind: Kind, name: &str) -> String {
    let id = format!("{kind}-{name}");
    if id.len() < 63 {
        return id;
    }
    let room = 63 - kind.as_str().len() - 1;
    format!("{kind}-{}", &hex_digest(&id)[..room])
}

/// The name of the node status object of a profile on a node: `<kind>-<profile>-<hash><suffix>`, with the
/// [`node_status_suffix`] of the node.
///
/// The hash is one of kind, namespace, profile and node, so no two have one name, however much of the front has to be
/// cut.
#[cfg(feature = "documents")]
pub fn node_status_name(kind: Kind, key: &ProfileKey, node: &str) -> String {
    let word = match kind {
        Kind::SeccompProfile => "seccomp",
        Kind::SelinuxProfile => "selinux",
        Kind::RawSelinuxProfile => "rawselinux",
        Kind::AppArmorProfile => "apparmor",
        _ => "other",
    };
    let namespace = key.namespace.as_ref().map_or("", NamespaceName::as_str);
    // The parts may hold `-` and `.`, so joined they are ambiguous: the hash over unambiguous parts decides.
    let digest = hex_digest(&format!("{word}/{namespace}/{}/{node}", key.name));
    let suffix = node_status_suffix(node);
    let room = 253_usize.saturating_sub(suffix.len() + 17);
    let readable: String = format!("{word}-{}", key.name).chars().take(room).collect();
    format!("{}-{}{suffix}", readable.trim_end_matches(['-', '.']), &digest[..16])
}

/// How many characters of a node's name are in the names of its node statuses.
pub const NODE_STATUS_NODE: usize = 180;

/// How the names of a node's statuses end: `-<node>-<length of the node's name>`.
///
/// The length makes it unambiguous, so that a policy can tell by the name alone whose object it is: without it, those
/// of node `a-b` would end as those of node `b` do. A node's name of more than [`NODE_STATUS_NODE`] characters is cut
/// there, and an `x` stands where it was.
pub fn node_status_suffix(node: &str) -> String {
    let length = node.chars().count();
    let mark = if length > NODE_STATUS_NODE { 'x' } else { '-' };
    let node: String = node.chars().take(NODE_STATUS_NODE).collect();
    format!("-{node}{mark}{length}")
}

/// The name under which releases up to 1.0 stored the node status of a profile: `<profile>-<node>`.
pub fn old_node_status_name(profile: &str, node: &str) -> String {
    format!("{profile}-{node}")
}

/// Checks a DNS-1123 subdomain: what Kubernetes takes as the name of most objects.
///
/// # Errors
/// Says what the rule is.
pub(crate) fn check_subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() <= 253 && text.split('.').all(is_label_text) {
        Ok(())
    } else {
        Err("want a DNS-1123 subdomain: at most 253 lower-case letters, digits, `-` and `.`, \
             with a letter or digit at both ends of every part")
    }
}

/// Checks a DNS-1123 label: what Kubernetes takes as the name of a namespace.
///
/// # Errors
/// Says what the rule is.
pub(crate) fn check_label(text: &str) -> Result<(), &'static str> {
    if text.len() <= 63 && is_label_text(text) {
        Ok(())
    } else {
        Err("want a DNS-1123 label: at most 63 lower-case letters, digits and `-`, \
             with a letter or digit at both ends")
    }
}

fn is_label_text(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
}

#[cfg(feature = "documents")]
fn hex_digest(text: &str) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Sha256::digest(text.as_bytes()).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(all(test, feature = "documents"))]
mod tests {
    use super::*;

    fn key(namespace: Option<&str>, name: &str) -> ProfileKey {
        ProfileKey::new(namespace, name).expect("a good key")
    }

    #[test]
    fn the_guides_names() {
        let workload = key(Some("production"), "restricted-workload");
        assert_eq!(workload.seccomp_path().unwrap(), "operator/production/restricted-workload.json");
        assert_eq!(
            key(None, "restricted-workload").seccomp_path().unwrap(),
            "operator/restricted-workload.json"
        );
        let nginx = key(Some("production"), "nginx-selinux");
        assert_eq!(nginx.selinux_usage(), "nginx-selinux.process");
        assert_eq!(nginx.selinux_alias_block().as_deref(), Some("nginx-selinux_production"));
        assert_eq!(nginx.selinux_module().unwrap(), "spo_nginx-selinux");
        assert_eq!(
            nginx.selinux_usages(),
            ["nginx-selinux.process", "nginx-selinux_.process", "nginx-selinux_production.process"]
        );
        assert_eq!(key(Some("production"), "nginx-apparmor").apparmor_profile(), "nginx-apparmor");
    }

    #[test]
    fn both_path_shapes_find_the_profile_and_no_other() {
        let mine = key(Some("production"), "web");
        assert!(mine.is_at_seccomp_path("operator/production/web.json"));
        assert!(mine.is_at_seccomp_path("operator/web.json"));
        assert!(!mine.is_at_seccomp_path("operator/staging/web.json"), "another tenant's path");
        for foreign in
            ["operator/../web.json", "operator/a/b/web.json", "web.json", "operator/web", "operator/.json"]
        {
            assert!(!mine.is_at_seccomp_path(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_name_that_ends_in_json_has_a_file_of_its_own() {
        assert_ne!(key(None, "a").seccomp_path(), key(None, "a.json").seccomp_path());
    }

    #[test]
    fn profile_ids_follow_the_hashing_rule() {
        assert_eq!(profile_id(Kind::SeccompProfile, "web"), "SeccompProfile-web");
        // The vector of the specification: 63 characters or more are hashed.
        assert_eq!(
            profile_id(
                Kind::SeccompProfile,
                "this-is-a-very-long-name-surely-over-64-characters-omg-its-overflowing"
            ),
            "SeccompProfile-9d42ecd8a72de861cc202ee69381e536088eec6dc43f8f8e"
        );
        let at_62 = "a".repeat(62 - "SeccompProfile-".len());
        assert_eq!(profile_id(Kind::SeccompProfile, &at_62), format!("SeccompProfile-{at_62}"));
        let at_63 = profile_id(Kind::SeccompProfile, &format!("{at_62}a"));
        assert!(!at_63.contains("aaaa") && at_63.len() == 63, "exactly 63 is hashed too: {at_63}");
    }

    #[test]
    fn node_status_names_never_collide() {
        let web = key(None, "web");
        let names = [
            node_status_name(Kind::SeccompProfile, &web, "node-1"),
            node_status_name(Kind::AppArmorProfile, &web, "node-1"),
            node_status_name(Kind::SeccompProfile, &key(None, "web-node"), "1"),
            node_status_name(Kind::SeccompProfile, &key(Some("a"), "web"), "node-1"),
            node_status_name(Kind::SeccompProfile, &key(Some("b"), "web"), "node-1"),
            node_status_name(Kind::SeccompProfile, &web, &format!("{}1", "n".repeat(252))),
            node_status_name(Kind::SeccompProfile, &web, &format!("{}2", "n".repeat(252))),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        for name in &names {
            assert!(check_subdomain(name).is_ok(), "{name}");
        }
        assert!(names[0].starts_with("seccomp-web-") && names[0].ends_with("-node-1-6"), "{}", names[0]);
        // Whose it is can be told by the end alone.
        let nodes = ["b", "a-b", "a-b-1", "1", "a-b-3", "b-1"];
        for owner in nodes {
            let name = node_status_name(Kind::SeccompProfile, &web, owner);
            let claims = nodes.into_iter().filter(|node| name.ends_with(&node_status_suffix(node)));
            assert_eq!(claims.collect::<Vec<_>>(), [owner]);
        }
        assert_eq!(old_node_status_name("web", "node-1"), "web-node-1");
    }

    #[test]
    fn names_that_fit_no_file_are_errors() {
        let long = key(None, &["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join("."));
        assert!(long.seccomp_path().unwrap_err().to_string().contains("too long for the seccomp file"));
        assert!(long.selinux_module().is_err());
        assert!(long.apparmor_file().is_err());
    }

    #[test]
    fn keys_cannot_hold_paths() {
        for bad in ["../x", "a/b", "", ".", "..", "A", "-a", "a-", "a..b", "a\0b", "ä"] {
            assert!(ProfileKey::new(None, bad).is_err(), "{bad:?}");
            assert!(ProfileKey::new(Some(bad), "x").is_err(), "{bad:?}");
        }
        assert!(ProfileKey::new(Some("a.b"), "x").is_err(), "a namespace has no dot");
    }
}
