//! What on the host is ours.
//!
//! One file below the root. It is written before artefacts change, with the entries to come marked as pending,
//! and again afterwards; so at every moment a path that is ours is in it, and a path that is not in it is not
//! ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use spo_model::{kind::Kind, names::ProfileKey};

use crate::{artefact::HostPath, content::Sha256, host::Stamp};

/// Where the ledger is, relative to the root.
pub const LEDGER: &str = "var/lib/security-profiles-operator/ledger.json";

/// Every artefact of ours, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The format of this file.
    #[serde(default)]
    format: Format,
    /// The artefacts.
    pub entries: BTreeMap<HostPath, Entry>,
}

impl Ledger {
    /// The ledger with some entries as they are about to be.
    pub(crate) const fn with<'a>(&'a self, changes: &'a BTreeMap<HostPath, Entry>) -> Changed<'a> {
        Changed { ledger: self, changes }
    }
}

/// A ledger of which some entries are others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'a> {
    ledger: &'a Ledger,
    changes: &'a BTreeMap<HostPath, Entry>,
}

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Text<'a> {
            format: Format,
            entries: Entries<'a>,
        }
        Text { format: self.ledger.format, entries: Entries(*self) }.serialize(serializer)
    }
}

struct Entries<'a>(Changed<'a>);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Changed { ledger, changes } = self.0;
        let stay = ledger.entries.iter().filter(|(path, _)| !changes.contains_key(*path));
        serializer.collect_map(stay.chain(changes))
    }
}

/// One artefact of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The kind of the profile it is of.
    #[serde(with = "kind_text")]
    pub kind: Kind,
    /// The profile it is of.
    pub key: ProfileKey,
    /// Its name in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_name: Option<String>,
    /// The manifest it came from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Whether it was about to be written when the ledger was: the file may be absent, the one before, or the
    /// new one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// SHA-256 of the bytes before, while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha256>,
    /// How the file looked after it was written, so that an unchanged one need not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// What of it the security module has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
}

/// What a security module was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// What it is good for ([`Module::Loads`](crate::kernel::Module::Loads)).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub basis: String,
}

/// The format of the ledger; another one is an error, never a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "1")]
    One,
}

mod kind_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use spo_model::kind::Kind;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde wants")]
    pub(super) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
