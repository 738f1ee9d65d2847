//! ProfileBinding: give every pod with some image a profile.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{kubernetes::LabelSelector, text_enum::text_enum};

/// `spec` of a ProfileBinding, in the hub form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProfileBindingSpec {
    /// The profile.
    pub profile_ref: ProfileRef,
    /// The image of the containers that get it, read as `imageMatch` says; `*` is a fallback for the whole pod.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub image: String,
    /// How `image` is read; absent means `Exact`: one image, as it is written or in its full form. `Repository`: every
    /// tag and digest of a repository. `Glob`: every image of a pattern in which `*` stands for any text without `/`,
    /// `**` for any text and `?` for one character; without a tag it is about every tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_match: Option<ImageMatch>,
    /// What happens where a pod sets a profile of this kind itself; absent means `Override`: the binding's replaces it.
    /// `Keep`: it stays, so this is for defaults and not for enforcement: a pod that says `Unconfined` evades the
    /// binding. `Deny`: the pod is refused, unless it sets the same profile. Container runtimes give a privileged container
    /// neither a seccomp profile nor an SELinux type: `Deny` refuses it for these kinds, the others only warn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// Restricts the binding to some pods; absent or empty means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// A profile by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ProfileRef {
    /// Its kind.
    pub kind: BoundKind,
    /// Its name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub name: String,
}

text_enum! {
    /// How the image of a binding is read; `*` is every image whatever stands here. Of several bindings for one image,
    /// an exact one comes before one of a repository, and that before patterns, those with more literal characters
    /// first; `*` is last.
    #[derive(Default)]
    pub enum ImageMatch {
        /// One image: the same text, or a reference that means the same.
        #[default]
        Exact = "Exact",
        /// Every tag and digest of a repository.
        Repository = "Repository",
        /// Every image that a [`Pattern`](crate::image::Pattern) describes.
        Glob = "Glob",
    }
}

text_enum! {
    /// What a binding does where the author of a pod has set a profile of its kind himself, in a container or, for the
    /// containers that leave it out, in the pod.
    #[derive(Default)]
    pub enum OnConflict {
        /// The binding's profile replaces it: nobody evades the binding.
        #[default]
        Override = "Override",
        /// It stays, and only what says nothing is filled in. For defaults, not for enforcement: a pod that says
        /// `Unconfined` runs unconfined.
        Keep = "Keep",
        /// The pod is refused, unless it says the same profile.
        Deny = "Deny",
    }
}

text_enum! {
    /// The kinds of profile that can be bound: all that end up on nodes. The existing operator knows no
    /// `RawSelinuxProfile` here. The 0.9 and 0.10 releases, and the guide, spell the last one `ApparmorProfile`.
    pub enum BoundKind {
        /// Syscalls.
        SeccompProfile = "SeccompProfile",
        /// SELinux permissions.
        SelinuxProfile = "SelinuxProfile",
        /// An SELinux module as its author wrote it.
        RawSelinuxProfile = "RawSelinuxProfile",
        /// AppArmor rules.
        AppArmorProfile = "AppArmorProfile" | "ApparmorProfile",
    }
}
