//! What happens when a container of a pod that is there gets another image.
//!
//! The security context of a pod never changes, the images of its containers may (`kubectl set image`). So a pod could
//! be made with an image that no binding is about, and then run a bound one unconfined. Nothing can be patched here:
//! what the container does not have already, it cannot get.

use spo_model::binding::OnConflict;

use super::{Found, Said, Work};
use crate::webhook::{index::Slot, pod, review::clip};

impl Work<'_> {
    /// Refuses a container whose new image is bound to a profile that it does not run under.
    pub(super) fn look_at(&mut self, slot: Slot, (list, i): (&str, usize), found: &Found<'_>) {
        let (pod, binding) = (&self.request.object, found.binding);
        let container = &pod["spec"][list][i];
        let who = format!("container {:?}", clip(pod::name(container), 63));
        let has = Said::in_force(pod, slot, (list, i));
        if binding.on_conflict == OnConflict::Keep {
            let profile = self.index.profile(&self.request.namespace, binding.kind, &binding.profile);
            if !has.zip(profile).is_some_and(|(has, profile)| has.is(slot, profile)) {
                self.warnings.push(format_args!(
                    "{who} does not get the {} of ProfileBinding {} with its new image: a pod keeps what it was made with",
                    slot.name(),
                    binding.name
                ));
            }
            return;
        }
        let Some(profile) = self.resolve(binding, &who) else { return };
        if has.is_some_and(|has| has.is(slot, &profile)) {
            self.is_left_out(slot, binding, (list, i), &profile, &who);
            return;
        }
        let namespace = &self.request.namespace;
        self.refusals.entry(binding.name.clone()).or_insert_with(|| {
            format!(
                "ProfileBinding {namespace}/{} gives {who} with the image {:?} the {} {:?}, which it does not have, and a \
                 pod keeps what it was made with; delete the pod and create it again with that image",
                binding.name,
                clip(pod::image(container), 255),
                slot.name(),
                profile.usage,
            )
        });
    }
}
