use super::*;
use crate::{aggregate::Report, cluster::resource::Resource};

const SECCOMP: Resource = Resource::Of(Kind::SeccompProfile);

fn web() -> Id {
    Id::new(SECCOMP, "shop", "web")
}

fn profile(finalizers: &[&str], deleting: bool) -> Profile {
    Profile {
        uid: "1".into(),
        version: "7".into(),
        generation: Some(1),
        created: None,
        deleting,
        finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
        status: Value::Null,
        warning: None,
    }
}

fn name(namespace: &str, name: &str) -> Name {
    (namespace.to_owned(), name.to_owned())
}

fn node(index: &mut Index, name: &str, ready: bool) {
    let facts = NodeFacts { name: name.to_owned(), ready, ..NodeFacts::default() };
    index.take_note(0, Fact::Node(Event::Apply((name.into(), Some(facts)))));
}

fn report(index: &mut Index, node: &str, uid: &str, state: ProfileState) {
    let report = Report { state, generation: Some(1), message: None };
    let status = NodeStatus {
        node: node.into(),
        owner: Some(uid.into()),
        reports: vec![(web(), report)],
        uids: Box::default(),
    };
    index.take_note(0, Fact::Status(Event::Apply((name("shop", &format!("web-{node}")), Some(status)))));
}

fn uses(index: &mut Index, pod: (&str, &str), used: &[Use]) {
    let used =
        (!used.is_empty()).then(|| PodFacts { uses: used.iter().cloned().collect(), ..PodFacts::default() });
    index.take_note(0, Fact::Pod(Event::Apply((name(pod.0, pod.1), used))));
}

/// One profile, agents on every node, no node.
fn index(profile: Profile) -> Index {
    let place = Place { operator: "spo".into(), kubelet_dir: "/var/lib/kubelet".into() };
    let mut index = Index::new(place, Watches { profiles: 1, statuses: 1, pods: 1 });
    index.take_note(0, Fact::Profile(Event::Init));
    index.take_note(0, Fact::Profile(Event::InitApply((web(), Some(profile)))));
    assert!(index.take_dirty().is_empty(), "half of the facts");
    index.take_note(0, Fact::Profile(Event::InitDone));
    index.take_note(0, Fact::Status(Event::InitDone));
    index.take_note(0, Fact::Node(Event::InitDone));
    index.take_note(0, Fact::Pod(Event::InitDone));
    let agents = (name("spo", "spod"), Some(Box::new(PodSpec::default())));
    index.take_note(0, Fact::Agents(Event::InitApply(agents)));
    assert_eq!(index.wanted(&web(), "now"), None, "half of the facts decide nothing");
    index.take_note(0, Fact::Agents(Event::InitDone));
    assert_eq!(index.take_dirty().len(), 1);
    index
}

fn status(index: &Index) -> Value {
    index.wanted(&web(), "now").and_then(|wanted| wanted.status).expect("a status")
}

/// What was wanted is there.
fn settle(index: &mut Index) {
    let mut profile = index.profile(&web()).expect("a profile").clone();
    if let Some(wanted) = index.wanted(&web(), "now") {
        if let Some(Value::Object(fields)) = wanted.status {
            // As a merge patch leaves it.
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            profile.status = Value::Object(fields.collect());
        }
        profile.finalizers = wanted.finalizers.map_or(profile.finalizers, |(finalizers, _)| finalizers);
    }
    index.written(&web(), profile);
    assert_eq!(index.wanted(&web(), "later"), None, "a second look writes nothing");
}

#[test]
fn nodes_make_the_status_and_each_change_is_one() {
    let mut index = index(profile(&[], false));
    assert_eq!(status(&index)["status"], "Pending");
    node(&mut index, "a", true);
    node(&mut index, "b", true);
    report(&mut index, "a", "1", ProfileState::Installed);
    assert_eq!((&status(&index)["status"], &status(&index)["nodes"]), (&json!("Pending"), &json!("1/2")));
    report(&mut index, "b", "1", ProfileState::Installed);
    assert_eq!(index.take_dirty().len(), 1);
    let found = status(&index);
    assert_eq!(found["localhostProfile"], "operator/shop/web.json");
    assert_eq!(found["conditions"][0]["status"], "True");
    settle(&mut index);
    report(&mut index, "b", "1", ProfileState::Installed);
    assert!(index.take_dirty().is_empty(), "saying the same again is no change");
    // A profile that was deleted and made again is another one.
    report(&mut index, "b", "0", ProfileState::Installed);
    assert_eq!(status(&index)["nodes"], "1/2");
}

/// The existing operator writes no status at all for a profile that it refuses.
#[test]
fn a_profile_that_is_not_allowed_says_what_is_not() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    let say = |index: &mut Index, state, message: Option<&str>| {
        let report = Report { state, generation: Some(1), message: message.map(Into::into) };
        let status = NodeStatus {
            node: "a".into(),
            owner: Some("1".into()),
            reports: vec![(web(), report)],
            uids: Box::default(),
        };
        index.take_note(0, Fact::Status(Event::Apply((name("shop", "web-a"), Some(status)))));
    };
    say(&mut index, ProfileState::Installed, None);
    assert_eq!(status(&index)["conditions"].as_array().map(Vec::len), Some(1), "nothing was ever refused");
    say(&mut index, ProfileState::Error, Some("not allowed: mount, ptrace"));
    let found = status(&index)["conditions"][1].clone();
    assert_eq!((&found["type"], &found["status"]), (&json!("Allowed"), &json!("False")));
    assert_eq!(found["message"], "mount, ptrace");
    settle(&mut index);
    say(&mut index, ProfileState::Pending, None);
    assert_eq!(status(&index)["conditions"][1], found, "nobody has looked again yet");
    say(&mut index, ProfileState::Installed, None);
    assert_eq!(status(&index)["conditions"][1]["status"], "True");
}

/// For the existing operator each of these freezes every profile, or makes a hot loop.
#[test]
fn nodes_that_are_away_or_gone_hold_nothing_up() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    node(&mut index, "b", false);
    // The name of a node may be a part of another's.
    node(&mut index, "a-2", true);
    report(&mut index, "a", "1", ProfileState::Installed);
    assert_eq!(status(&index)["status"], "Pending", "a-2 has said nothing");
    report(&mut index, "a-2", "1", ProfileState::Installed);
    assert_eq!(status(&index)["status"], "Installed");
    report(&mut index, "gone", "1", ProfileState::Error);
    assert_eq!(status(&index)["status"], "Installed");
    assert_eq!(index.stale(), [name("shop", "web-gone")]);
    index.take_note(0, Fact::Node(Event::Delete(("a-2".into(), None))));
    assert_eq!(status(&index)["nodes"], "1/1");
    assert_eq!(index.stale().len(), 2);
}

/// For the existing operator this is a hot loop: there is a status too many, and its node exists.
#[test]
fn the_status_of_a_node_that_is_not_selected_any_more_counts_for_nothing_and_goes() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    node(&mut index, "b", true);
    report(&mut index, "a", "1", ProfileState::Installed);
    report(&mut index, "b", "1", ProfileState::Error);
    assert_eq!(status(&index)["status"], "Error");
    assert!(index.stale().is_empty());
    let agents =
        |template: Option<PodSpec>| Fact::Agents(Event::Apply((name("spo", "spod"), template.map(Box::new))));
    let on_a = PodSpec { node_name: Some("a".to_owned()), ..PodSpec::default() };
    index.take_note(0, agents(Some(on_a)));
    assert_eq!((&status(&index)["status"], &status(&index)["nodes"]), (&json!("Installed"), &json!("1/1")));
    assert_eq!(index.stale(), [name("shop", "web-b")]);
    settle(&mut index);
    index.take_dirty();
    // It goes, and that is the end of it.
    index.take_note(0, Fact::Status(Event::Delete((name("shop", "web-b"), None))));
    assert_eq!((index.wanted(&web(), "later"), index.stale()), (None, Vec::new()));
    // Agents that are made anew are not all gone.
    index.take_note(0, agents(None));
    assert!(index.stale().is_empty());
}

#[test]
fn the_statuses_of_a_profile_that_is_gone_are_stale() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    report(&mut index, "a", "1", ProfileState::Installed);
    assert!(index.stale().is_empty());
    index.take_note(0, Fact::Profile(Event::Delete((web(), None))));
    assert_eq!(index.stale(), [name("shop", "web-a")]);
    assert_eq!(index.wanted(&web(), "now"), None);
}

#[test]
fn the_first_pod_puts_the_finalizer_on_and_the_last_takes_it_off() {
    let mut index = index(profile(&["other/one"], false));
    settle(&mut index);
    let path = Use::Seccomp("operator/shop/web.json".to_owned());
    uses(&mut index, ("shop", "p"), std::slice::from_ref(&path));
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(
        wanted.finalizers,
        Some((vec!["other/one".into(), "in-use-by-active-pods".into()], "7".into()))
    );
    assert_eq!(wanted.status.expect("a status")["activeWorkloads"], json!(["shop/p"]));
    settle(&mut index);
    uses(&mut index, ("elsewhere", "q"), std::slice::from_ref(&path));
    assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, None, "it is there");
    assert_eq!(status(&index)["activeWorkloadCount"], 2);
    settle(&mut index);
    uses(&mut index, ("shop", "p"), &[]);
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(wanted.finalizers, Some((vec!["other/one".into()], "7".into())));
    uses(&mut index, ("elsewhere", "q"), &[]);
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(wanted.status.expect("a status")["activeWorkloads"], Value::Null);
}

/// Whoever may make a pod in one namespace could keep all others from being deleted.
#[test]
fn a_pod_of_another_tenant_is_shown_and_holds_nothing() {
    let mut index = index(profile(&[], false));
    let path = Use::Seccomp("operator/shop/web.json".to_owned());
    for pod in 0..100 {
        uses(&mut index, ("attacker", &format!("p-{pod:02}")), std::slice::from_ref(&path));
    }
    uses(&mut index, ("shop", "own"), std::slice::from_ref(&path));
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert!(wanted.finalizers.is_some(), "its own holds it");
    let status = wanted.status.expect("a status");
    assert_eq!(
        (&status["activeWorkloads"][0], &status["activeWorkloadCount"]),
        (&json!("shop/own"), &json!(101))
    );
    uses(&mut index, ("shop", "own"), &[]);
    assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, None);
    // Nor does a finalizer of before stay on while the namespace is deleted.
    let mut index = self::index(profile(&["in-use-by-active-pods"], true));
    uses(&mut index, ("attacker", "p"), std::slice::from_ref(&path));
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(wanted.finalizers, Some((Vec::new(), "7".into())));
    let message = wanted.status.expect("a status")["conditions"][0]["message"].to_string();
    assert!(!message.contains("attacker"), "{message}");
}

#[test]
fn what_the_operator_brings_is_held_by_pods_of_all_namespaces() {
    let mut index = index(profile(&[], false));
    let base = Id::new(SECCOMP, "spo", "runc");
    index.take_note(0, Fact::Profile(Event::Apply((base.clone(), Some(profile(&[], false))))));
    uses(&mut index, ("shop", "p"), &[Use::Seccomp("operator/spo/runc.json".to_owned())]);
    assert!(index.wanted(&base, "now").expect("a write").finalizers.is_some());
}

/// An answer may come after the watch has told of something newer. What was newer would be forgotten, and every write
/// from then on be a conflict.
#[test]
fn a_late_answer_does_not_undo_what_the_watch_knows() {
    let mut index = index(profile(&["in-use-by-active-pods"], false));
    let at = |version: &str, deleting: bool| Profile {
        version: version.into(),
        ..profile(&["in-use-by-active-pods"], deleting)
    };
    index.take_note(0, Fact::Profile(Event::Apply((web(), Some(at("10", true))))));
    index.written(&web(), at("9", false));
    let known = index.profile(&web()).expect("a profile");
    assert!(known.deleting && *known.version == *"10");
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(wanted.finalizers, Some((Vec::new(), "10".into())));
    // What was asked for after a conflict is newer than both.
    index.take_dirty();
    index.asked(&web(), at("11", true));
    assert_eq!(index.take_dirty(), [web()].into(), "it is looked at again");
    assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, Some((Vec::new(), "11".into())));
}

#[test]
fn the_path_is_in_the_kubelets_directory() {
    let mut index = index(profile(&[], false));
    index.place.kubelet_dir = "/data/kubelet".into();
    assert_eq!(status(&index)["path"], "/data/kubelet/seccomp/operator/shop/web.json");
}

#[test]
fn a_refusal_is_told_as_far_as_a_condition_has_room() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    let names: Vec<String> = (0..300).map(|i| format!("a_long_name_of_a_system_call_{i:03}")).collect();
    let say = |index: &mut Index, names: &[String]| {
        let message = Some(format!("not allowed: {}", names.join(", ")).into());
        let report = Report { state: ProfileState::Error, generation: Some(1), message };
        let status = NodeStatus {
            node: "a".into(),
            owner: Some("1".into()),
            reports: vec![(web(), report)],
            uids: Box::default(),
        };
        index.take_note(0, Fact::Status(Event::Apply((name("shop", "web-a"), Some(status)))));
    };
    say(&mut index, &names);
    assert_eq!(status(&index)["conditions"][1]["message"], names.join(", "));
    let many: Vec<String> = names.iter().cycle().take(3000).cloned().collect();
    say(&mut index, &many);
    let message = status(&index)["conditions"][1]["message"].as_str().expect("a message").to_owned();
    assert!(message.len() <= 32_768 && message.len() > 30_000, "{}", message.len());
}

#[test]
fn a_path_without_a_namespace_holds_the_profile_of_its_own_namespace_alone() {
    let mut index = index(profile(&[], false));
    let vague = Use::Seccomp("operator/web.json".to_owned());
    uses(&mut index, ("elsewhere", "p"), std::slice::from_ref(&vague));
    assert_eq!(index.wanted(&web(), "now").expect("a write").finalizers, None);
    uses(&mut index, ("shop", "p"), &[vague]);
    assert!(index.wanted(&web(), "now").expect("a write").finalizers.is_some());
}

#[test]
fn a_profile_in_use_stays_terminating_until_the_last_pod_is_gone() {
    let mut index = index(profile(&["in-use-by-active-pods", "node-1-deleted", "x/y-deleted"], true));
    uses(&mut index, ("shop", "p"), &[Use::Seccomp("operator/shop/web.json".to_owned())]);
    let wanted = index.wanted(&web(), "now").expect("a write");
    // Those of nodes are of the existing operator, and nobody else takes them off.
    assert_eq!(
        wanted.finalizers,
        Some((vec!["in-use-by-active-pods".into(), "x/y-deleted".into()], "7".into()))
    );
    let status = wanted.status.expect("a status");
    assert_eq!(status["status"], "Terminating");
    let message = status["conditions"][0]["message"].as_str().expect("a message");
    assert!(message.contains("used by 1 pods, for example shop/p"), "{message}");
    uses(&mut index, ("shop", "p"), &[]);
    let wanted = index.wanted(&web(), "now").expect("a write");
    assert_eq!(wanted.finalizers, Some((vec!["x/y-deleted".into()], "7".into())));
    // One that is being deleted takes no new finalizer.
    assert_eq!(finalizers(&profile(&[], true), true), None);
}

#[test]
fn a_status_does_not_grow_with_the_pods() {
    let mut index = index(profile(&[], false));
    for pod in 0..1000 {
        let pod = format!("pod-{pod:04}");
        uses(&mut index, ("shop", &pod), &[Use::Seccomp("operator/shop/web.json".to_owned())]);
    }
    let status = status(&index);
    assert_eq!(status["activeWorkloads"].as_array().map(Vec::len), Some(PODS));
    assert_eq!(status["activeWorkloadCount"], 1000);
}

/// What is found out about a profile gets to who reads its status, and yields to what nodes say themselves.
#[test]
fn a_warning_gets_into_the_condition() {
    let document = json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
        "metadata": { "name": "web", "namespace": "shop" }, "spec": { "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": ["read", "write"] }] } });
    let warning = crate::manager::facts::warning(&document);
    assert!(warning.is_some());
    let mut index = index(Profile { warning, ..profile(&[], false) });
    node(&mut index, "a", true);
    report(&mut index, "a", "1", ProfileState::Installed);
    let ready = status(&index)["conditions"][0].clone();
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    let message = ready["message"].as_str().expect("a message");
    assert!(message.starts_with("installed on 1 of 1 nodes; warning: no container can start"), "{message}");
    // What a write returns has no warning; the generation's is kept.
    settle(&mut index);
}

fn joins(index: &mut Index, name: &str, created: i64, ready: bool) {
    let facts = NodeFacts { name: name.to_owned(), ready, created: Some(created), ..NodeFacts::default() };
    index.take_note(0, Fact::Node(Event::Apply((name.into(), Some(facts)))));
}

/// Each node that joins would make every profile wait, and cost two writes for each.
#[test]
fn a_node_that_joins_costs_one_write_and_makes_nothing_wait() {
    let mut index = index(Profile { created: Some(1000), ..profile(&[], false) });
    index.tick(2000);
    joins(&mut index, "a", 500, true);
    report(&mut index, "a", "1", ProfileState::Installed);
    settle(&mut index);
    // It joins, becomes ready, and its agent is started.
    joins(&mut index, "b", 2000, false);
    assert_eq!(index.wanted(&web(), "now"), None);
    joins(&mut index, "b", 2000, true);
    assert_eq!(index.wanted(&web(), "now"), None);
    assert!(index.is_settled(&web()), "nothing more is to be expected at once");
    report(&mut index, "b", "1", ProfileState::Installed);
    let found = status(&index);
    assert_eq!((&found["nodes"], &found["status"]), (&json!("2/2"), &json!("Installed")));
    settle(&mut index);
    // Once it has spoken it counts: a new generation waits for it.
    let mut later = index.profile(&web()).expect("a profile").clone();
    (later.generation, later.version) = (Some(2), "8".into());
    index.take_note(0, Fact::Profile(Event::Apply((web(), Some(later)))));
    assert_eq!(status(&index)["nodes"], "0/2");
}

#[test]
fn a_node_is_not_new_for_ever_and_never_to_a_profile_that_is_newer() {
    let mut index = index(Profile { created: Some(1000), ..profile(&[], false) });
    index.tick(2000);
    joins(&mut index, "b", 2000, true);
    assert_eq!(status(&index)["status"], "Pending", "nobody has reported at all");
    joins(&mut index, "a", 500, true);
    assert_eq!((&status(&index)["status"], &status(&index)["nodes"]), (&json!("Pending"), &json!("0/1")));
    report(&mut index, "a", "1", ProfileState::Installed);
    settle(&mut index);
    index.take_dirty();
    assert_eq!(index.ages(), Some(2000 + NEW));
    index.tick(2000 + NEW);
    assert_eq!(index.take_dirty(), [web()].into(), "an agent that does not come is waited for");
    let found = status(&index);
    assert_eq!((&found["status"], &found["nodes"]), (&json!("Pending"), &json!("1/2")));
    assert_eq!(index.ages(), None);
    // A new profile is installed where every node has it.
    let mut index = self::index(Profile { created: Some(2001), ..profile(&[], false) });
    index.tick(2001);
    joins(&mut index, "a", 500, true);
    joins(&mut index, "b", 2000, true);
    report(&mut index, "a", "1", ProfileState::Installed);
    assert_eq!(status(&index)["status"], "Pending");
}

fn asks(index: &mut Index, security: Value) {
    let spec = serde_json::from_value(json!({ "security": security })).expect("settings");
    index.take_note(0, Fact::Policy(Event::Init));
    index.take_note(0, Fact::Policy(Event::InitApply((name("spo", "spod"), Policy::of(&spec)))));
    index.take_note(0, Fact::Policy(Event::InitDone));
}

fn refuses(index: &mut Index, node: &str, generation: i64) {
    let message = Some("not allowed: the syscalls bpf, mount".into());
    let report = Report { state: ProfileState::Error, generation: Some(generation), message };
    let status = NodeStatus {
        node: node.into(),
        owner: Some("1".into()),
        reports: vec![(web(), report)],
        uids: Box::default(),
    };
    index.take_note(0, Fact::Status(Event::Apply((name("shop", &format!("web-{node}")), Some(status)))));
}

#[test]
fn a_profile_is_deleted_if_all_refuse_it_and_somebody_asks() {
    let mut index = index(profile(&[], false));
    let delete = || json!({ "deniedSyscalls": ["bpf"], "forbiddenProfiles": "Delete" });
    node(&mut index, "a", true);
    node(&mut index, "b", true);
    asks(&mut index, delete());
    refuses(&mut index, "a", 1);
    report(&mut index, "b", "1", ProfileState::Installed);
    settle(&mut index);
    assert_eq!(index.forbidden(), [], "a node has it");
    refuses(&mut index, "b", 1);
    settle(&mut index);
    let found = index.forbidden();
    let blame = Blame {
        spod: "spod".to_owned(),
        message: "the syscalls bpf, mount".to_owned(),
        uid: "1".into(),
        version: "7".into(),
    };
    assert_eq!(found, [(web(), blame)]);
    // Nobody asks, or not any more, or for something else.
    for other in [
        json!({ "deniedSyscalls": ["bpf"] }),
        json!({ "deniedSyscalls": ["bpf"], "forbiddenProfiles": "Keep" }),
        json!({ "deniedSyscalls": ["ptrace"], "forbiddenProfiles": "Delete" }),
        json!({ "deniedSyscalls": ["NOT A NAME"], "forbiddenProfiles": "Delete" }),
    ] {
        asks(&mut index, other.clone());
        assert_eq!(index.forbidden(), [], "{other}");
    }
    asks(&mut index, delete());
    assert_eq!(index.forbidden().len(), 1);
    // A profile that was edited is another one until nodes have looked at it.
    let mut edited = index.profile(&web()).expect("a profile").clone();
    edited.generation = Some(2);
    index.take_note(0, Fact::Profile(Event::Apply((web(), Some(edited)))));
    assert_eq!(index.forbidden(), []);
    // Nor is one deleted twice.
    refuses(&mut index, "a", 2);
    refuses(&mut index, "b", 2);
    settle(&mut index);
    assert_eq!(index.forbidden().len(), 1);
    let deleting = Profile { deleting: true, ..index.profile(&web()).expect("a profile").clone() };
    index.take_note(0, Fact::Profile(Event::Apply((web(), Some(deleting)))));
    assert_eq!(index.forbidden(), []);
}

#[test]
fn what_the_operator_brings_is_never_deleted() {
    let mut index = index(profile(&[], false));
    node(&mut index, "a", true);
    asks(&mut index, json!({ "deniedSyscalls": ["bpf"], "forbiddenProfiles": "Delete" }));
    refuses(&mut index, "a", 1);
    settle(&mut index);
    assert_eq!(index.forbidden().len(), 1);
    index.place.operator = "shop".into();
    assert_eq!(index.forbidden(), []);
}
