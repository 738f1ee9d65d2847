//! Objects of any kind in the hub form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    apparmor::{AppArmorProfileSpec, AppArmorProfileStatus},
    binding::ProfileBindingSpec,
    daemon::{DaemonSpec, DaemonStatus, ObjectName},
    kind::Kind,
    names::{NamespaceName, ProfileKey, SHARE_BASE_LABEL},
    node_status::{NodeStatusSpec, NodeStatusStatus},
    recording::{ActiveWorkloads, ProfileRecordingSpec},
    seccomp::{SeccompProfileSpec, SeccompProfileStatus},
    selinux::{RawSelinuxProfileSpec, SelinuxProfileSpec, SelinuxProfileStatus},
    status::State,
};

/// An object: metadata, what is wanted, what is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object<S, T> {
    /// Name, namespace, labels, annotations, and the rest as it came.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
    /// What is, as far as somebody reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<T>,
}

/// The part of `metadata` the model reads, and the rest untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The object's name; absent while the API server still has to generate one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ObjectName>,
    /// The object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceName>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Every other field.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Metadata {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the object is part of a recording that is merged later and must not be installed
    /// (label `spo.x-k8s.io/partial`, any value).
    pub fn is_partial(&self) -> bool {
        self.label(PARTIAL_LABEL).is_some()
    }

    /// Whether profiles of other namespaces may build on it (label [`SHARE_BASE_LABEL`] with the value `true`).
    pub fn shares_base(&self) -> bool {
        self.label(SHARE_BASE_LABEL) == Some("true")
    }
}

/// Marks a recorded profile that is merged with others later.
pub const PARTIAL_LABEL: &str = "spo.x-k8s.io/partial";

macro_rules! objects {
    ($($kind:ident($spec:ty, $status:ty),)+) => {
        /// An object of any kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum AnyObject {
            $(#[doc = concat!("A ", stringify!($kind), ".")] $kind($kind),)+
        }

        $(
            #[doc = concat!("A ", stringify!($kind), " in the hub form.")]
            pub type $kind = Object<$spec, $status>;

            impl From<$kind> for AnyObject {
                fn from(object: $kind) -> Self {
                    Self::$kind(object)
                }
            }
        )+

        impl AnyObject {
            /// The kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)+ }
            }

            /// The metadata.
            pub const fn metadata(&self) -> &Metadata {
                match self { $(Self::$kind(object) => &object.metadata,)+ }
            }

            /// The metadata, to change it.
            pub const fn metadata_mut(&mut self) -> &mut Metadata {
                match self { $(Self::$kind(object) => &mut object.metadata,)+ }
            }

            #[cfg(feature = "documents")]
            /// The object as v1 has it, without `apiVersion` and `kind`.
            pub(crate) fn to_body(&self) -> Result<Value, serde_json::Error> {
                match self { $(Self::$kind(object) => serde_json::to_value(object),)+ }
            }

            #[cfg(feature = "documents")]
            /// Reads what v1 has, without `apiVersion` and `kind`.
            pub(crate) fn from_body(kind: Kind, body: Value) -> Result<Self, PathError> {
                match kind { $(Kind::$kind => read::<$kind>(body).map(Self::$kind),)+ }
            }
        }

        #[cfg(feature = "documents")]
        /// The schemas of `spec` and `status` of a kind.
        pub(crate) fn schemas(kind: Kind, generator: &mut schemars::SchemaGenerator) -> [schemars::Schema; 2] {
            match kind {
                $(Kind::$kind => [generator.subschema_for::<$spec>(), generator.subschema_for::<$status>()],)+
            }
        }
    };
}

objects! {
    SeccompProfile(SeccompProfileSpec, SeccompProfileStatus),
    SelinuxProfile(SelinuxProfileSpec, SelinuxProfileStatus),
    RawSelinuxProfile(RawSelinuxProfileSpec, SelinuxProfileStatus),
    AppArmorProfile(AppArmorProfileSpec, AppArmorProfileStatus),
    ProfileRecording(ProfileRecordingSpec, ActiveWorkloads),
    ProfileBinding(ProfileBindingSpec, ActiveWorkloads),
    SecurityProfileNodeStatus(NodeStatusSpec, NodeStatusStatus),
    SecurityProfilesOperatorDaemon(DaemonSpec, DaemonStatus),
}

impl AnyObject {
    /// The object's name, empty while it has none.
    pub fn name(&self) -> &str {
        self.metadata().name.as_ref().map_or("", ObjectName::as_str)
    }

    /// The name and namespace by which a profile is identified; `None` while it has no name.
    pub fn key(&self) -> Option<ProfileKey> {
        let metadata = self.metadata();
        Some(ProfileKey { namespace: metadata.namespace.clone(), name: metadata.name.clone()? })
    }

    /// `spec.state` of a profile; `None` for other kinds.
    pub const fn state(&self) -> Option<State> {
        match self {
            Self::SeccompProfile(p) => Some(p.spec.state),
            Self::SelinuxProfile(p) => Some(p.spec.state),
            Self::RawSelinuxProfile(p) => Some(p.spec.state),
            Self::AppArmorProfile(p) => Some(p.spec.state),
            _ => None,
        }
    }
}

#[cfg(feature = "documents")]
pub(crate) type PathError = serde_path_to_error::Error<serde_json::Error>;

#[cfg(feature = "documents")]
fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, PathError> {
    serde_path_to_error::deserialize(body)
}
