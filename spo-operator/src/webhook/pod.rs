//! A pod as JSON: its containers, and the three fields of a security context that profiles go into.
//!
//! Kubernetes takes the container's field where there is one, else the pod's
//! (`k8s.io/kubernetes/pkg/securitycontext`), and it takes each field as a whole: a container with only an SELinux
//! level has no type, whatever the pod says.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::index::Slot;

/// The lists of containers of a pod.
pub(super) const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The labels of a pod; values that are no text do not count.
pub(super) fn labels(pod: &Value) -> BTreeMap<String, String> {
    texts(&pod["metadata"]["labels"])
}

/// The annotations of a pod.
pub(super) fn annotations(pod: &Value) -> BTreeMap<String, String> {
    texts(&pod["metadata"]["annotations"])
}

/// One annotation.
pub(super) fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"][key].as_str()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The containers of a list, none if there is no such list.
pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A container, to change it.
pub(super) fn container_mut<'a>(pod: &'a mut Value, list: &str, i: usize) -> Option<&'a mut Value> {
    pod.get_mut("spec")?.get_mut(list)?.get_mut(i)
}

/// Why a pod is not worked on: what one field says is copied into every container, so a hostile pod of a few
/// megabytes could become gigabytes.
pub(super) fn excess(pod: &Value) -> Option<String> {
    let count: usize = LISTS.iter().map(|list| containers(pod, list).len()).sum();
    if count > MOST_CONTAINERS {
        return Some(format!("the pod has {count} containers, and at most {MOST_CONTAINERS} are looked at"));
    }
    let options = field(&pod["spec"], Slot::Selinux).map_or(0, |options| options.to_string().len());
    (options > MOST_OPTIONS).then(|| {
        format!("spec.securityContext.seLinuxOptions has {options} bytes, and at most {MOST_OPTIONS} are looked at")
    })
}

/// Far more than a kubelet starts.
const MOST_CONTAINERS: usize = 1000;
/// A level that lists half of the 1024 categories has about 2,500.
const MOST_OPTIONS: usize = 8 << 10;

/// The name of a container, empty if it has none.
pub(super) fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// The image of a container, empty if it has none.
pub(super) fn image(container: &Value) -> &str {
    container["image"].as_str().unwrap_or_default()
}

/// The field of a security context, if it is set. `holder` is a container or the `spec` of a pod.
pub(super) fn field(holder: &Value, slot: Slot) -> Option<&Value> {
    Some(&holder["securityContext"][field_name(slot)]).filter(|value| !value.is_null())
}

/// The field that holds for a container: its own, else the pod's.
pub(super) fn field_in_force<'a>(pod: &'a Value, container: &'a Value, slot: Slot) -> Option<&'a Value> {
    field(container, slot).or_else(|| field(&pod["spec"], slot))
}

/// What a field says, in one word for people.
pub(super) fn meaning(field: &Value, slot: Slot) -> String {
    let text = |key: &str| field[key].as_str().unwrap_or_default().to_owned();
    match slot {
        Slot::Selinux => text("type"),
        Slot::Seccomp | Slot::AppArmor if text("type") == "Localhost" => text("localhostProfile"),
        Slot::Seccomp | Slot::AppArmor => text("type"),
    }
}

/// Whether a field says that a profile is used.
pub(super) fn says(field: Option<&Value>, slot: Slot, usage: &str) -> bool {
    let Some(field) = field else { return false };
    match slot {
        Slot::Selinux => field["type"] == usage,
        Slot::Seccomp | Slot::AppArmor => field["type"] == "Localhost" && field["localhostProfile"] == usage,
    }
}

/// Sets a field of a security context. Of SELinux only the type is set: level, user and role stay, and those of
/// `inherited`, the pod's field, are taken over where the container has none of its own.
pub(super) fn confine(holder: &mut Value, slot: Slot, usage: &str, inherited: Option<&Value>) {
    let Some(holder) = holder.as_object_mut() else { return };
    let Some(context) = object(holder.entry("securityContext").or_insert(Value::Null)) else { return };
    match slot {
        Slot::Seccomp | Slot::AppArmor => {
            let value = json!({ "type": "Localhost", "localhostProfile": usage });
            context.insert(field_name(slot).to_owned(), value);
        }
        Slot::Selinux => {
            let entry = context.entry(field_name(slot)).or_insert(Value::Null);
            if entry.is_null()
                && let Some(inherited) = inherited
            {
                *entry = inherited.clone();
            }
            if let Some(options) = object(entry) {
                options.insert("type".to_owned(), Value::from(usage));
            }
        }
    }
}

/// Brings the annotations in line that said the same before there were fields: Kubernetes refuses a pod whose
/// annotation and field differ. `container` is `None` for the pod itself.
pub(super) fn confine_annotation(pod: &mut Value, slot: Slot, container: Option<&str>, usage: &str) {
    let Some(key) = annotation_key(slot, container) else { return };
    if let Some(value) = pod.get_mut("metadata").and_then(|m| m.get_mut("annotations")?.get_mut(&key)) {
        *value = Value::from(format!("localhost/{usage}"));
    }
}

/// What the old annotation of a container says, if it is there.
pub(super) fn old_annotation<'a>(pod: &'a Value, slot: Slot, container: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"][annotation_key(slot, Some(container))?].as_str()
}

/// Sets an annotation.
pub(super) fn annotate(pod: &mut Value, key: &str, value: &str) {
    if let Some(annotations) = annotations_mut(pod) {
        annotations.insert(key.to_owned(), Value::from(value));
    }
}

/// The annotations, to change them; `None` if the pod is no object.
pub(super) fn annotations_mut(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object(pod.as_object_mut()?.entry("metadata").or_insert(Value::Null))?;
    object(metadata.entry("annotations").or_insert(Value::Null))
}

/// Whether runtimes leave a field out for this container, whatever it says: they give privileged containers neither a
/// seccomp profile nor an SELinux label.
pub(super) fn goes_without(container: &Value, slot: Slot) -> bool {
    slot != Slot::AppArmor && container["securityContext"]["privileged"] == true
}

fn annotation_key(slot: Slot, container: Option<&str>) -> Option<String> {
    match (slot, container) {
        (Slot::Seccomp, None) => Some("seccomp.security.alpha.kubernetes.io/pod".to_owned()),
        (Slot::Seccomp, Some(name)) => Some(format!("container.seccomp.security.alpha.kubernetes.io/{name}")),
        (Slot::AppArmor, Some(name)) => {
            Some(format!("container.apparmor.security.beta.kubernetes.io/{name}"))
        }
        (Slot::AppArmor, None) | (Slot::Selinux, _) => None,
    }
}

/// The field of a security context, by name.
pub(super) const fn field_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Seccomp => "seccompProfile",
        Slot::Selinux => "seLinuxOptions",
        Slot::AppArmor => "appArmorProfile",
    }
}

/// The value as an object; whatever else stood there is replaced.
fn object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}
