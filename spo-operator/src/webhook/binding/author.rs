//! What the author of a pod says about a profile, as Kubernetes will read it, for bindings that do not just replace it.
//!
//! A container's own field counts as a whole, then its AppArmor annotation from before there were fields, then the
//! pod's field. A field that names no profile says nothing: SELinux options with only a level, say. Annotations for
//! seccomp say nothing either: Kubernetes has not read them since 1.27.

use serde_json::Value;

use crate::webhook::{
    index::{Profile, Slot},
    pod,
    review::clip,
};

/// A profile that the author asks for.
#[derive(Debug)]
pub(super) struct Said<'a> {
    /// The field or annotation, by its path in the pod.
    pub(super) place: String,
    /// What it says, for people.
    pub(super) meaning: String,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Field(&'a Value),
    Annotation(&'a str),
}

impl<'a> Said<'a> {
    /// What the pod itself says.
    pub(super) fn of_pod(pod: &'a Value, slot: Slot) -> Option<Self> {
        Self::of_field(pod::field(&pod["spec"], slot)?, slot, "spec")
    }

    /// What a container itself says. `annotated` is whether annotations count: they do when the pod is made.
    pub(super) fn of_container(
        pod: &'a Value,
        slot: Slot,
        (list, i): (&str, usize),
        annotated: bool,
    ) -> Option<Self> {
        let container = &pod["spec"][list][i];
        if let Some(field) = pod::field(container, slot) {
            return Self::of_field(field, slot, &format!("spec.{list}[{i}]"));
        }
        let name = pod::name(container);
        let wanted = annotated && slot == Slot::AppArmor;
        let text = pod::old_annotation(pod, slot, name).filter(|text| wanted && !text.is_empty())?;
        Some(Self {
            place: format!("the AppArmor annotation of container {:?}", clip(name, 63)),
            meaning: text.to_owned(),
            source: Source::Annotation(text),
        })
    }

    /// What holds for a container of a pod that is there.
    pub(super) fn in_force(pod: &'a Value, slot: Slot, (list, i): (&str, usize)) -> Option<Self> {
        let own = Self::of_container(pod, slot, (list, i), true);
        let silent = pod::field(&pod["spec"][list][i], slot).is_none();
        own.or_else(|| silent.then(|| Self::of_pod(pod, slot)).flatten())
    }

    fn of_field(field: &'a Value, slot: Slot, holder: &str) -> Option<Self> {
        let meaning = pod::meaning(field, slot);
        let part = if slot == Slot::Selinux { ".type" } else { "" };
        let place = format!("{holder}.securityContext.{}{part}", pod::field_name(slot));
        (!meaning.is_empty()).then_some(Self { place, meaning, source: Source::Field(field) })
    }

    /// Whether that is a profile: by the name it is used by, or the SELinux alias that has its namespace in it.
    pub(super) fn is(&self, slot: Slot, profile: &Profile) -> bool {
        let alias = || Some(format!("{}.process", profile.key.selinux_alias_block()?));
        match self.source {
            Source::Field(field) => {
                pod::says(Some(field), slot, &profile.usage)
                    || slot == Slot::Selinux && alias().is_some_and(|alias| self.meaning == alias)
            }
            Source::Annotation(text) => text.strip_prefix("localhost/") == Some(&profile.usage),
        }
    }
}
