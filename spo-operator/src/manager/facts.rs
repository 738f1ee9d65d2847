//! What of each object is of interest. Documents come from the API server, where others write them: whatever a field
//! holds, reading it gives an answer.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde_json::Value;
use spo_model::{
    Severity,
    convert::decode,
    names::ProfileKey,
    node_status::{NodeReport, UidStart},
    object::AnyObject,
    seccomp::Arch,
    status::{Condition, ProfileState},
};
use spo_seccomp::ArchExt as _;

use super::{bindings::PodFacts, texts::Texts};
use crate::{
    aggregate::Report,
    cluster::{
        resource::Resource,
        watch::{Name, identity},
    },
    workloads::{Use, uses},
};

/// Which profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace, empty if it has none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Id {
    /// Of texts as documents have them.
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.into(), name: name.into() }
    }

    /// The key by which paths and names are made; `None` for texts that are no names.
    pub fn key(&self) -> Option<ProfileKey> {
        ProfileKey::new(Some(&*self.namespace).filter(|namespace| !namespace.is_empty()), &self.name).ok()
    }

    /// Every name by which pods may know it.
    pub fn names(&self) -> Vec<Use> {
        self.key().map_or_else(Vec::new, |key| Use::names_of(self.resource.kind(), &key))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, namespace, name } = self;
        write!(f, "{} {namespace}/{name}", resource.spelling())
    }
}

/// What of a profile is of interest.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
    /// Its generation.
    pub generation: Option<i64>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Its status as it is.
    pub status: Value,
    /// What its author should know, for a condition.
    pub warning: Option<Arc<str>>,
}

impl Profile {
    /// Of a document.
    pub fn of(resource: Resource, mut document: Value) -> (Id, Self) {
        let (namespace, name) = identity(&document);
        let metadata = &document["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().into();
        let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
        let profile = Self {
            uid: text("uid"),
            version: text("resourceVersion"),
            generation: metadata["generation"].as_i64(),
            created: metadata["creationTimestamp"]
                .as_str()
                .and_then(|text| text.parse::<Timestamp>().ok())
                .map(Timestamp::as_second),
            deleting: metadata["deletionTimestamp"].is_string(),
            finalizers: finalizers.filter_map(Value::as_str).map(str::to_owned).collect(),
            status: document.get_mut("status").map(Value::take).unwrap_or_default(),
            warning: None,
        };
        (Id::new(resource, &namespace, &name), profile)
    }

    /// Whether it is a later state of the same object. Resource versions of one kind are numbers that grow; where they are
    /// none, nothing is newer.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let number = |version: &str| version.parse::<u128>().ok();
        number(&self.version).zip(number(&other.version)).is_some_and(|(own, other)| own > other)
    }

    /// Its conditions, as far as they can be read.
    pub fn conditions(&self) -> Vec<Condition> {
        let conditions = self.status["conditions"].as_array().into_iter().flatten();
        conditions.filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
    }
}

/// What the author of a profile should know although nothing is wrong with it: no container starts under it, because
/// the runtime itself needs calls that it denies. Only of profiles that say everything themselves; a base is there to
/// bring these calls.
pub fn warning(document: &Value) -> Option<Arc<str>> {
    let Ok(AnyObject::SeccompProfile(profile)) = decode(document).map(|decoded| decoded.object) else {
        return None;
    };
    if profile.spec.base_profile_name.is_some() {
        return None;
    }
    let lints = spo_seccomp::lint::lint(&profile.spec, Arch::host());
    let floor = lints.iter().find(|lint| lint.code == "runtime-floor" && lint.severity > Severity::Info)?;
    let help = floor.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let message: String = floor.message.chars().take(400).collect();
    Some(format!("warning: {message}{help}").into())
}

/// What of a SecurityProfileNodeStatus is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub node: Arc<str>,
    /// The uid of the profile that it belongs to; `None` if it is a node's report about all profiles.
    pub owner: Option<Arc<str>>,
    /// What it says, in the order of the profiles.
    pub reports: Vec<(Id, Report)>,
    /// Which profiles of those names it says that about, one for each report; empty for one of an owner.
    pub uids: Box<[Option<UidStart>]>,
}

impl NodeStatus {
    /// Of a document; `None` if it names no node.
    pub fn of(document: &Value) -> (Name, Option<Self>) {
        let name = identity(document);
        let status = &document["status"];
        // The releases up to 0.10 had the two fields at the top.
        let node = document["spec"]["nodeName"].as_str().or_else(|| document["nodeName"].as_str());
        let Some(node) = node.filter(|node| !node.is_empty()) else { return (name, None) };
        let owners = document["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owner = owners.into_iter().find_map(|owner| {
            let resource = profile_resource(owner["kind"].as_str()?)?;
            Some((Id::new(resource, &name.0, owner["name"].as_str()?), owner["uid"].as_str()?))
        });
        // There may be a hundred thousand of these, most with one report: nothing is to be left between them.
        let (reports, uids) = if let Some((id, _)) = &owner {
            let state = status["status"].as_str().or_else(|| status.as_str()).and_then(|s| s.parse().ok());
            let report = Report {
                state: state.unwrap_or(ProfileState::Pending),
                generation: status["observedGeneration"].as_i64(),
                message: status["message"].as_str().filter(|text| !text.is_empty()).map(Into::into),
            };
            (vec![(id.clone(), report)], Box::default())
        } else {
            let all = status["profiles"].as_object().into_iter().flatten();
            let mut all: Vec<(Id, (Report, Option<UidStart>))> =
                all.filter_map(|(key, text)| Some((id(key)?, report(text.as_str()?)))).collect();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            let uids = all.iter().map(|(_, (_, uid))| *uid).collect();
            let mut reports = Vec::with_capacity(all.len());
            reports.extend(all.into_iter().map(|(id, (report, _))| (id, report)));
            (reports, uids)
        };
        let owner = owner.map(|(_, uid)| uid.into());
        (name, Some(Self { node: node.into(), owner, reports, uids }))
    }

    /// Lets it have the texts that others have.
    pub fn share(&mut self, texts: &mut Texts) {
        texts.share(&mut self.node);
        if let Some(owner) = &mut self.owner {
            texts.share(owner);
        }
        for (id, _) in &mut self.reports {
            texts.share(&mut id.namespace);
            texts.share(&mut id.name);
        }
    }

    /// What it says about a profile of a name, and the beginning of that profile's uid if it is of no owner and says it.
    pub fn report(&self, id: &Id) -> Option<(&Report, Option<UidStart>)> {
        let at = self.reports.binary_search_by(|(of, _)| of.cmp(id)).ok()?;
        let uid = self.uids.get(at).copied().flatten();
        self.reports.get(at).map(|(_, report)| (report, uid))
    }
}

fn profile_resource(kind: &str) -> Option<Resource> {
    Resource::of_spelling(kind).filter(|resource| resource.kind().is_profile())
}

/// `<Kind>/<namespace>/<name>`, or without the namespace where there is none.
fn id(key: &str) -> Option<Id> {
    let (kind, rest) = key.split_once('/')?;
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    Some(Id::new(profile_resource(kind)?, namespace, name))
}

/// A text that is no report is one that something is wrong with.
fn report(text: &str) -> (Report, Option<UidStart>) {
    match text.parse::<NodeReport>() {
        Ok(NodeReport { state, generation, uid, message }) => {
            (Report { state, generation: Some(generation), message: message.map(Into::into) }, uid)
        }
        Err(why) => {
            (Report { state: ProfileState::Error, generation: None, message: Some(why.into()) }, None)
        }
    }
}

/// The profiles that a pod uses, and its images; `None` for a pod that uses none, which is most of them.
pub fn pod(pod: &Pod) -> (Name, Option<PodFacts>) {
    let name =
        (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
    let uses = uses(pod);
    if uses.is_empty() {
        return (name, None);
    }
    let spec = pod.spec.as_ref();
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let images = containers.filter_map(|container| container.image.as_deref()).map(Box::from).collect();
    (name, Some(PodFacts { uses, images }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spo_model::kind::Kind;

    use super::*;

    fn web() -> Id {
        Id::new(Resource::Of(Kind::SeccompProfile), "shop", "web")
    }

    #[test]
    fn a_node_status_is_of_its_owner() {
        let document = json!({
            "metadata": { "name": "any-name", "namespace": "shop", "ownerReferences": [
                { "kind": "Other", "name": "x", "uid": "0" },
                { "kind": "SeccompProfile", "name": "web", "uid": "1" }] },
            "spec": { "nodeName": "a" },
            "status": { "status": "Error", "observedGeneration": 3, "message": "no space" },
        });
        let (name, found) = NodeStatus::of(&document);
        assert_eq!(name, ("shop".to_owned(), "any-name".to_owned()));
        let report =
            Report { state: ProfileState::Error, generation: Some(3), message: Some("no space".into()) };
        let want = NodeStatus {
            node: "a".into(),
            owner: Some("1".into()),
            reports: vec![(web(), report)],
            uids: Box::default(),
        };
        assert_eq!(found, Some(want));
    }

    #[test]
    fn a_node_that_reports_all_at_once_is_read_the_same() {
        let document = json!({
            "metadata": { "name": "node-a" }, "spec": { "nodeName": "a" },
            "status": { "profiles": { "SeccompProfile/shop/web": "Error@2: no space", "SeccompProfile/web": "odd",
                "ApparmorProfile/shop/web": "Installed@1/0b0ddf11", "Pod/shop/web": "Installed@1", "odd": "Installed@1" } },
        });
        let found = NodeStatus::of(&document).1.expect("a status");
        assert_eq!(found.owner, None);
        let states: Vec<_> =
            found.reports.iter().map(|(id, r)| (id.to_string(), r.state, r.generation)).collect();
        assert_eq!(
            states,
            [
                ("SeccompProfile /web".to_owned(), ProfileState::Error, None),
                ("SeccompProfile shop/web".to_owned(), ProfileState::Error, Some(2)),
                ("ApparmorProfile shop/web".to_owned(), ProfileState::Installed, Some(1)),
            ]
        );
        assert_eq!(*found.uids, [None, None, UidStart::of("0b0ddf11-8a55-4b66-a1b0-000000000000")]);
    }

    /// The guide's profile, exactly as written, lets no container start; one with a base may.
    #[test]
    fn a_profile_under_which_nothing_starts_is_warned_about() {
        let of = |spec: Value| {
            warning(
                &json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
                "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }),
            )
        };
        let few = json!([{ "action": "SCMP_ACT_ALLOW", "names": ["read", "write"] }]);
        let found = of(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": few })).expect("a warning");
        assert!(
            found.starts_with("warning: no container can start") && found.contains("base profile"),
            "{found}"
        );
        let based = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": few, "baseProfileName": "runc" });
        assert_eq!(of(based), None);
        assert_eq!(of(json!({ "defaultAction": "SCMP_ACT_LOG" })), None);
        assert_eq!(warning(&json!({ "kind": "SeccompProfile" })), None);
    }

    #[test]
    fn odd_documents_are_read_without_harm() {
        for odd in [json!(null), json!([]), json!("x"), json!({ "metadata": 1, "spec": [], "status": 7 })] {
            assert_eq!(NodeStatus::of(&odd).1, None);
            let (_, profile) = Profile::of(Resource::Of(Kind::SeccompProfile), odd);
            assert!(profile.conditions().is_empty() && !profile.deleting);
        }
        let odd = json!({ "spec": { "nodeName": "a" }, "status": { "profiles": 3 } });
        assert_eq!(NodeStatus::of(&odd).1.expect("a status").reports, []);
    }
}
