//! What this node says about profiles, as the objects that say it: pure.
//!
//! One SecurityProfileNodeStatus per profile ([`per_profile`]), or one for the node ([`per_node`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde_json::{Map, Value, json};
use spo_model::{
    kind::{GROUP, Kind, Scope, Version},
    names::{NamespaceName, ProfileKey, node_status_name, profile_id},
    node_status::{NodeReport, NodeStatusStatus, UidStart},
    status::ProfileState,
};
use spo_node::content::Sha256;

use super::agent::Standing;
use crate::cluster::{names, watch::Name};

/// The most of a message that an object for one profile carries, in bytes: as much as its schema takes, so that all that
/// an administrator does not allow has room.
const MESSAGE: usize = 32 << 10;

/// The most of a message that the object of a node carries for each profile, in bytes.
const SHORT_MESSAGE: usize = 256;

/// The most of all messages that the object of a node carries, in bytes; an object has to stay below 1.5 MiB.
const ALL_MESSAGES: usize = 512 << 10;

/// The labels by which people and managers find the objects.
const LABELS: [&str; 3] = [names::PROFILE_ID_LABEL, names::PROFILE_KIND_LABEL, names::NODE_LABEL];

/// The node that reports.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// Its name.
    pub node: String,
    /// The scope of profiles.
    pub scope: Scope,
    /// The operator's namespace.
    pub operator_namespace: NamespaceName,
}

impl Reporting {
    /// The value of the label with the node's name.
    pub fn node_label(&self) -> String {
        node_label(&self.node)
    }

    /// The one object of this node.
    fn own_name(&self) -> Name {
        let namespace = match self.scope {
            Scope::Namespaced => self.operator_namespace.to_string(),
            Scope::Cluster => String::new(),
        };
        (namespace, node_object_name(&self.node))
    }
}

/// The value of [`names::NODE_LABEL`] for a node: its name, or a hash of it where that is too long for a label.
pub fn node_label(node: &str) -> String {
    if node.len() <= 63 { node.to_owned() } else { format!("{:.63}", Sha256::of(node.as_bytes())) }
}

/// The name of the one object of a node that reports all of its profiles at once.
pub fn node_object_name(node: &str) -> String {
    let name = format!("node-{node}");
    if name.len() <= 253 { name } else { format!("node-{}", Sha256::of(node.as_bytes())) }
}

/// A SecurityProfileNodeStatus: as it should be, or as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Namespace and name.
    pub name: Name,
    /// The values of [`LABELS`].
    labels: [Option<String>; 3],
    /// Kind, name and uid of the profile.
    owner: Option<[String; 3]>,
    node: String,
    /// What it says.
    pub status: NodeStatusStatus,
}

impl NodeStatus {
    /// What a watch told; `None` if it has no name.
    pub fn read(document: &Value) -> Option<Self> {
        let metadata = document.get("metadata")?;
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let name = (text(metadata, "namespace").unwrap_or_default(), text(metadata, "name")?);
        let labels = LABELS.map(|label| text(metadata.get("labels")?, label));
        let owner = match metadata.get("ownerReferences").and_then(Value::as_array).map(Vec::as_slice) {
            None | Some([]) => None,
            Some([one]) => {
                let text = |field: &str| text(one, field).unwrap_or_default();
                Some([text("kind"), text("name"), text("uid")])
            }
            // Never what we want.
            Some(_) => Some([String::new(), String::new(), String::new()]),
        };
        let status = document.get("status").cloned().unwrap_or_else(|| json!({}));
        Some(Self {
            name,
            labels,
            owner,
            node: document.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().to_owned(),
            // What cannot be read is different from whatever we want to say.
            status: serde_json::from_value(status).unwrap_or_else(|error| NodeStatusStatus {
                message: Some(format!("unreadable: {error}")),
                ..NodeStatusStatus::default()
            }),
        })
    }

    /// Stands for everything it says.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.labels, &self.owner, &self.node).hash(&mut hasher);
        let NodeStatusStatus { status, observed_generation, message, profiles } = &self.status;
        (status, observed_generation, message, profiles).hash(&mut hasher);
        hasher.finish()
    }

    /// The object, to be applied.
    pub fn document(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(self.name.1));
        if !self.name.0.is_empty() {
            metadata.insert("namespace".to_owned(), json!(self.name.0));
        }
        let labels = LABELS.into_iter().zip(&self.labels);
        let labels: BTreeMap<_, _> =
            labels.filter_map(|(label, value)| Some((label, value.as_ref()?))).collect();
        metadata.insert("labels".to_owned(), json!(labels));
        let version = format!("{GROUP}/{}", Version::V1);
        if let Some([kind, name, uid]) = &self.owner {
            let owner = json!([{ "apiVersion": version, "kind": kind, "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": false }]);
            metadata.insert("ownerReferences".to_owned(), owner);
        }
        json!({
            "apiVersion": version, "kind": Kind::SecurityProfileNodeStatus.as_str(), "metadata": metadata,
            "spec": { "nodeName": self.node }, "status": self.status,
        })
    }
}

/// One object for each profile.
pub fn per_profile(standings: &[Standing], reporting: &Reporting) -> BTreeMap<Name, NodeStatus> {
    let mut seen: BTreeSet<(Kind, &ProfileKey)> = BTreeSet::new();
    let objects = standings.iter().map(|standing| {
        let subject = &standing.subject;
        let (kind, key) = (subject.kind(), &subject.key);
        let mut name = node_status_name(kind, key, &reporting.node);
        if !seen.insert((kind, key)) {
            // Two resources have profiles of one kind; the younger of two that share a name says so beside the other.
            name = second_name(&name);
        }
        let namespace = key.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
        let labels = [profile_id(kind, key.name.as_str()), kind.to_string(), reporting.node_label()];
        let name = (namespace, name);
        let object = NodeStatus {
            name: name.clone(),
            labels: labels.map(Some),
            owner: Some([subject.resource.spelling().to_owned(), key.name.to_string(), subject.uid.clone()]),
            node: reporting.node.clone(),
            status: NodeStatusStatus {
                status: Some(standing.state),
                observed_generation: Some(subject.generation),
                message: standing.message.as_ref().map(|message| cut(message, MESSAGE)),
                profiles: None,
            },
        };
        (name, object)
    });
    objects.collect()
}

/// The same with `second-` in front, and as much less of what follows it as it takes: what makes it a name of its own
/// is at the end.
fn second_name(name: &str) -> String {
    const FRONT: &str = "second-";
    let over = (FRONT.len() + name.len()).saturating_sub(253);
    let rest = name.get(over..).unwrap_or(name);
    format!("{FRONT}{}", rest.trim_start_matches(['-', '.']))
}

/// One object for the node. Its messages are whole as long as all of them have room in it.
pub fn per_node(standings: &[Standing], reporting: &Reporting) -> BTreeMap<Name, NodeStatus> {
    let mut room = ALL_MESSAGES;
    let lengths = standings.iter().filter_map(|standing| Some(standing.message.as_ref()?.len().min(MESSAGE)));
    let most = if lengths.sum::<usize>() <= room { MESSAGE } else { SHORT_MESSAGE };
    let mut worst = ProfileState::Unsupported;
    let profiles = standings.iter().map(|standing| {
        let subject = &standing.subject;
        let message = standing.message.as_ref().map(|message| shorten(message, most));
        let message = message.filter(|message| {
            let fits = room >= message.len();
            room = room.saturating_sub(message.len());
            fits
        });
        worst = worst.min(standing.state);
        let uid = UidStart::of(&subject.uid);
        let report = NodeReport { state: standing.state, generation: subject.generation, uid, message };
        (profile_text(standing), report.to_string())
    });
    let profiles: BTreeMap<String, String> = profiles.collect();
    let name = reporting.own_name();
    let status = NodeStatusStatus {
        status: Some(if profiles.is_empty() { ProfileState::Installed } else { worst }),
        profiles: Some(profiles),
        ..NodeStatusStatus::default()
    };
    let labels = [None, None, Some(reporting.node_label())];
    let node = reporting.node.clone();
    [(name.clone(), NodeStatus { name, labels, owner: None, node, status })].into()
}

/// `<Kind>/<namespace>/<name>`, the kind as the resource spells it.
fn profile_text(standing: &Standing) -> String {
    let subject = &standing.subject;
    let namespace = subject.key.namespace.as_ref().map_or("", NamespaceName::as_str);
    format!("{}/{namespace}/{}", subject.resource.spelling(), subject.key.name)
}

/// As [`cut`]; a list of syscalls at the end ([`spo_seccomp::Excess`]) is cut between names, and the others are counted.
fn shorten(text: &str, most: usize) -> String {
    const LIST: &str = "the syscalls ";
    if text.len() > most
        && let Some((head, list)) = text.rsplit_once(LIST)
        && list.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b' '))
    {
        let names: Vec<&str> = list.split(", ").collect();
        let told = |n: usize| format!("{head}{LIST}{} and {} more", names[..n].join(", "), names.len() - n);
        if let Some(fitting) = (1..names.len()).rev().map(told).find(|text| text.len() <= most) {
            return fitting;
        }
    }
    cut(text, most)
}

/// The beginning of a text, with a mark where it was cut.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    const MARK: &str = " …";
    let end = (0..=most - MARK.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::resource::Resource,
        daemon::fixture::{standing, subject},
    };

    fn reporting(node: &str) -> Reporting {
        Reporting {
            node: node.to_owned(),
            scope: Scope::Namespaced,
            operator_namespace: "spo".parse().expect("a name"),
        }
    }

    fn only(objects: BTreeMap<Name, NodeStatus>) -> NodeStatus {
        assert_eq!(objects.len(), 1);
        objects.into_values().next().expect("one")
    }

    #[test]
    fn what_is_written_is_read_back_as_the_same() {
        let standings = [standing("web", ProfileState::Error, Some("why: \"x\""))];
        for written in [
            only(per_profile(&standings, &reporting("node-1"))),
            only(per_node(&standings, &reporting("node-1"))),
        ] {
            let mut document = written.document();
            // What the API server and others add means nothing.
            document["metadata"]["uid"] = json!("x");
            document["metadata"]["labels"]["other"] = json!("y");
            let read = NodeStatus::read(&document).expect("a status");
            assert_eq!((&read, read.digest()), (&written, written.digest()));
            for (pointer, value) in [
                ("/status/status", json!("Installed")),
                ("/status/observedGeneration", json!(7)),
                ("/spec/nodeName", json!("other")),
                ("/metadata/labels/spo.x-k8s.io~1node-name", json!("other")),
            ] {
                let mut changed = document.clone();
                let Some(place) = changed.pointer_mut(pointer) else { continue };
                *place = value;
                let changed = NodeStatus::read(&changed).expect("a status");
                assert_ne!(changed.digest(), written.digest(), "{pointer}");
            }
        }
    }

    #[test]
    fn an_object_of_another_owner_is_not_ours() {
        let written = only(per_profile(&[standing("web", ProfileState::Installed, None)], &reporting("n")));
        let mut other = written.document();
        other["metadata"]["ownerReferences"][0]["uid"] = json!("of the profile before");
        assert_ne!(NodeStatus::read(&other).expect("a status").digest(), written.digest());
    }

    /// The existing operator makes an invalid label of a long node name.
    #[test]
    fn long_node_names_fit() {
        let long = format!("{}.example.com", "n".repeat(240));
        let written = only(per_profile(&[standing("web", ProfileState::Installed, None)], &reporting(&long)));
        let document = written.document();
        let label = document["metadata"]["labels"][names::NODE_LABEL].as_str().expect("a label");
        assert_eq!((label.len(), document["spec"]["nodeName"].as_str()), (63, Some(long.as_str())));
        assert!(written.name.1.len() <= 253 && node_object_name(&long).len() <= 253);
        assert_ne!(node_label(&long), node_label(&format!("{long}a")));
        assert_eq!(node_label("node-1"), "node-1");
    }

    #[test]
    fn two_resources_with_one_key_have_two_statuses() {
        let of = |resource| Standing {
            subject: subject(resource, "web"),
            state: ProfileState::Installed,
            message: None,
            reason: None,
        };
        let both = [of(Resource::Of(Kind::AppArmorProfile)), of(Resource::ApparmorAlias)];
        let objects = per_profile(&both, &reporting(&"n".repeat(253)));
        let kinds: Vec<_> =
            objects.values().map(|o| o.owner.as_ref().expect("an owner")[0].clone()).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(objects.keys().all(|(_, name)| name.len() <= 253));
        let node = only(per_node(&both, &reporting("n"))).status.profiles.expect("profiles");
        let keys: Vec<_> = node.keys().map(String::as_str).collect();
        assert_eq!(keys, ["AppArmorProfile/production/web", "ApparmorProfile/production/web"]);
    }

    #[test]
    fn the_object_of_a_node_stays_below_what_an_api_server_takes() {
        let long = "x".repeat(100_000);
        let standings: Vec<Standing> =
            (0..5000).map(|i| standing(&format!("p{i}"), ProfileState::Error, Some(&long))).collect();
        let object = only(per_node(&standings, &reporting("n")));
        let bytes = object.document().to_string().len();
        assert!(bytes < 1_000_000, "{bytes}");
        assert_eq!(object.status.status, Some(ProfileState::Error));
        let report = object.status.profiles.expect("profiles");
        let first: NodeReport = report["SeccompProfile/production/p0"].parse().expect("a report");
        assert!(first.message.is_some_and(|m| m.ends_with('…') && m.len() <= SHORT_MESSAGE));
        assert_eq!(report["SeccompProfile/production/p4999"], "Error@1/uid-p499");
    }

    #[test]
    fn every_syscall_that_is_not_allowed_is_told_or_counted() {
        let names: Vec<String> = (0..300).map(|i| format!("some_longer_call_{i:03}")).collect();
        let message = format!("not allowed: the syscalls {}", names.join(", "));
        let standings = [standing("web", ProfileState::Error, Some(&message))];
        let whole = only(per_profile(&standings, &reporting("n"))).status.message;
        assert_eq!(whole.as_deref(), Some(&message[..]));
        let told_by_node = |standings: &[Standing]| {
            let profiles = only(per_node(standings, &reporting("n"))).status.profiles.expect("profiles");
            let report: NodeReport = profiles["SeccompProfile/production/web"].parse().expect("a report");
            report.message.expect("a message")
        };
        assert_eq!(told_by_node(&standings), message, "one object has room for it too");
        let many: Vec<Standing> = (0..200)
            .map(|i| standing(&format!("web-{i}"), ProfileState::Error, Some(&message)))
            .chain(standings)
            .collect();
        let many: Vec<Standing> = many.into_iter().rev().collect();
        let short = told_by_node(&many);
        let told = names.iter().filter(|name| short.contains(&name[..])).count();
        assert!(told > 5 && short.len() <= SHORT_MESSAGE, "{short}");
        assert!(short.ends_with(&format!(", {} and {} more", names[told - 1], 300 - told)), "{short}");
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        for most in 10..30 {
            let text = cut(&"ä€".repeat(20), most);
            assert!(text.len() <= most && text.ends_with('…'), "{most}");
        }
        assert_eq!(cut("short", 10), "short");
    }
}
