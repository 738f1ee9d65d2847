//! What an agent keeps of a profile, or of the settings: what every round asks for, and the rest as text.
//!
//! Every node has every profile of the cluster, and reads most of them once. As text a profile takes a fifth of the
//! memory that it takes as an object.

use serde_json::Value;
use spo_model::{convert::decode, kind::Kind, object::AnyObject};

use crate::cluster::{names, news::of_spec};

/// An object of the cluster.
#[derive(Debug)]
pub struct Kept {
    /// Its identity.
    pub uid: Box<str>,
    /// How often what is wanted of it has changed.
    pub generation: i64,
    /// Stands for what is wanted of it.
    pub spec: u64,
    /// When it was made, as text that sorts.
    pub created: Box<str>,
    /// Whether somebody asked for its deletion.
    pub deleting: bool,
    /// Whether it is part of a recording.
    pub partial: bool,
    /// Whether profiles of other namespaces may build on it.
    pub shares_base: bool,
    /// Whether pods run under it, as the manager's finalizer says.
    pub in_use: bool,
    /// What it builds on: the names, in whatever namespace.
    pub bases: Box<[(Kind, Box<str>)]>,
    /// The document, or why it cannot be read.
    content: Result<Box<str>, Box<str>>,
}

impl Kept {
    /// The object.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn object(&self) -> Result<AnyObject, String> {
        let text = self.content.as_deref().map_err(ToString::to_string)?;
        let document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        read(&document)
    }

    /// Why it cannot be read; `None` if it can.
    pub fn problem(&self) -> Option<&str> {
        self.content.as_deref().err().map(|reason| &**reason)
    }
}

impl From<Value> for Kept {
    fn from(mut document: Value) -> Self {
        let metadata = document.get("metadata");
        let text =
            |field: &str| metadata.and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default();
        let (uid, created) = (text("uid").into(), text("creationTimestamp").into());
        let generation =
            metadata.and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or_default();
        let spec = of_spec(&document);
        let deleting = metadata.is_some_and(|m| m.get("deletionTimestamp").is_some());
        let in_use = is_in_use(&document);
        let object = read(&document).inspect_err(|reason| {
            tracing::warn!(name = text("name"), reason, "an object cannot be read");
        });
        strip(&mut document);
        let bases = object.as_ref().map_or_else(|_| Vec::new(), bases);
        let partial = object.as_ref().is_ok_and(|object| object.metadata().is_partial());
        let shares_base = object.as_ref().is_ok_and(|object| object.metadata().shares_base());
        let content = match object {
            Ok(_) => Ok(document.to_string().into()),
            Err(reason) => Err(reason.into()),
        };
        Self {
            uid,
            generation,
            spec,
            created,
            deleting,
            partial,
            shares_base,
            in_use,
            bases: bases.into(),
            content,
        }
    }
}

/// Whether pods run under a profile.
pub(super) fn is_in_use(document: &Value) -> bool {
    let finalizers = document.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().any(|finalizer| finalizer == names::IN_USE_FINALIZER)
}

fn read(document: &Value) -> Result<AnyObject, String> {
    let problems = match decode(document) {
        Ok(decoded) => return Ok(decoded.object),
        Err(problems) => problems,
    };
    Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Takes out what no agent reads, or what is kept beside the text.
fn strip(document: &mut Value) {
    let Some(fields) = document.as_object_mut() else { return };
    fields.remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let read = ["name", "namespace", "labels", "annotations"];
    *metadata =
        std::mem::take(metadata).into_iter().filter(|(field, _)| read.contains(&field.as_str())).collect();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// The kinds and names of what a profile builds on.
fn bases(object: &AnyObject) -> Vec<(Kind, Box<str>)> {
    match object {
        AnyObject::SeccompProfile(profile) => {
            let base = profile.spec.base_profile_name.as_ref();
            let name = base.map(|base| base.profile_name().unwrap_or(base.as_str()));
            name.map(|name| (Kind::SeccompProfile, name.into())).into_iter().collect()
        }
        AnyObject::SelinuxProfile(profile) => {
            let inherited = profile.spec.inherits().into_iter();
            inherited.map(|inherit| (Kind::SelinuxProfile, inherit.name.as_str().into())).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::daemon::fixture::{object, profile};

    #[test]
    fn what_no_agent_reads_is_not_kept() {
        let mut document = profile("web", &["read"]);
        document["status"] = json!({ "activeWorkloads": ["x"] });
        document["metadata"]["finalizers"] = json!(["in-use"]);
        document["metadata"]["annotations"] =
            json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}", "other": "stays" });
        let kept = Kept::from(document);
        let text = kept.content.as_deref().expect("can be read");
        for gone in ["activeWorkloads", "in-use", "last-applied", "creationTimestamp"] {
            assert!(!text.contains(gone), "{text}");
        }
        assert!(text.contains(r#""annotations":{"other":"stays"}"#), "{text}");
        assert_eq!((&*kept.uid, &*kept.created, kept.generation), ("uid-web", "2026-01-01T00:00:00Z", 1));
    }

    #[test]
    fn an_object_is_what_its_document_says() {
        let mut document = profile("web", &["read", "write"]);
        document["spec"]["baseProfileName"] = json!("runc");
        document["metadata"]["labels"] = json!({ "spo.x-k8s.io/partial": "true" });
        let kept = Kept::from(document.clone());
        assert!(kept.partial && !kept.deleting);
        assert_eq!(*kept.bases, [(Kind::SeccompProfile, "runc".into())]);
        let (AnyObject::SeccompProfile(kept), Ok(AnyObject::SeccompProfile(direct))) =
            (kept.object().expect("can be read"), read(&document))
        else {
            panic!("a SeccompProfile");
        };
        assert_eq!(kept.spec, direct.spec);
        assert_eq!(kept.metadata.labels, direct.metadata.labels);
    }

    #[test]
    fn what_cannot_be_read_says_why_and_what_it_is() {
        let mut document = object("SeccompProfile", "web", &json!({ "defaultAction": "SCMP_ACT_NONSENSE" }));
        document["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        let kept = Kept::from(document);
        assert!(kept.problem().is_some_and(|why| why.contains("SCMP_ACT_NONSENSE")), "{:?}", kept.problem());
        assert_eq!(kept.object().err().as_deref(), kept.problem());
        assert!(kept.deleting && &*kept.uid == "uid-web");
        // Nothing at all is no object either.
        assert!(Kept::from(Value::Null).problem().is_some());
        assert!(Kept::from(Value::Object(Map::new())).problem().is_some());
    }
}
