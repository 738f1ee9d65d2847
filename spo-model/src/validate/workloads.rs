//! Rules about recordings and bindings.

use crate::{
    diagnostic::{Diagnostic, FieldPath},
    image::BoundImage,
    kubernetes::{LabelSelector, SelectorOperator},
    names::NamespaceName,
    object::{ProfileBinding, ProfileRecording},
    recording::{ProfileKind, Recorder},
};

pub(super) const SELINUX_BY_LOGS: &str = "SELinux profiles are recorded from logs only";
pub(super) const APPARMOR_BY_BPF: &str = "AppArmor profiles are recorded by eBPF only";

pub(super) fn recording(recording: &ProfileRecording, problems: &mut Vec<Diagnostic>) {
    // The name becomes part of annotations and names in which only a label is safe.
    if let Some(name) = &recording.metadata.name
        && name.as_str().parse::<NamespaceName>().is_err()
    {
        problems.push(
            Diagnostic::error(
                "recording-name",
                FieldPath::of("metadata.name"),
                format!("{:?} is no DNS label, so nothing could be recorded", name.as_str()),
            )
            .with_help("use at most 63 lower-case letters, digits and `-`"),
        );
    }
    let spec = &recording.spec;
    let wrong = match (spec.kind, spec.recorder) {
        (ProfileKind::SelinuxProfile, Recorder::Bpf) => Some((SELINUX_BY_LOGS, "set spec.recorder to Logs")),
        (ProfileKind::AppArmorProfile, Recorder::Logs) => Some((APPARMOR_BY_BPF, "set spec.recorder to Bpf")),
        _ => None,
    };
    if let Some((message, help)) = wrong {
        problems.push(Diagnostic::error("recorder", FieldPath::of("spec.recorder"), message).with_help(help));
    }
    selector(&spec.pod_selector, &FieldPath::of("spec.podSelector"), problems);
}

pub(super) fn binding(binding: &ProfileBinding, problems: &mut Vec<Diagnostic>) {
    let image = &binding.spec.image;
    if image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = format!("the image {:?} contains a blank", crate::diagnostic::shorten(image));
        problems.push(Diagnostic::error("image", FieldPath::of("spec.image"), message));
    } else if let Err(error) = BoundImage::read(image, binding.spec.image_match.unwrap_or_default()) {
        let problem = Diagnostic::error("image-match", FieldPath::of("spec.image"), error.to_string());
        problems.push(problem.with_help(error.help()));
    }
    let name = &binding.spec.profile_ref.name;
    if let Err(error) = name.parse::<crate::daemon::ObjectName>() {
        problems.push(Diagnostic::error(
            "profile-ref",
            FieldPath::of("spec.profileRef.name"),
            error.to_string(),
        ));
    }
    if let Some(pods) = &binding.spec.pod_selector {
        selector(pods, &FieldPath::of("spec.podSelector"), problems);
    }
}

/// The rules of `metav1.LabelSelectorAsSelector`.
pub(super) fn selector(selector: &LabelSelector, path: &FieldPath, problems: &mut Vec<Diagnostic>) {
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let values = requirement.values.as_deref().unwrap_or_default();
        let wants_values = matches!(requirement.operator, SelectorOperator::In | SelectorOperator::NotIn);
        let message = match (wants_values, values.is_empty()) {
            (true, true) => format!("{} needs values", requirement.operator),
            (false, false) => format!("{} takes no values", requirement.operator),
            _ => continue,
        };
        let place = path.key("matchExpressions").index(i).key("values");
        problems.push(Diagnostic::error("selector", place, message));
    }
}
