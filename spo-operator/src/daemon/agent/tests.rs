use serde_json::{Value, json};

use super::*;
use crate::daemon::fixture::{cache, object, profile};

/// An agent whose settings say nothing.
fn agent(root: &Path, documents: &[Value]) -> Agent {
    let mut agent = agent_alone(root, documents);
    agent.settings = Settings::of(&cache(&[spod("spod", &json!({}))]), "spod");
    agent
}

fn spod(name: &str, spec: &Value) -> Value {
    object("SecurityProfilesOperatorDaemon", name, spec)
}

/// An agent that knows of no settings but those among the documents.
fn agent_alone(root: &Path, documents: &[Value]) -> Agent {
    let kinds = Kinds { seccomp: true, selinux: true, raw_selinux: true, apparmor: true };
    let options = Options {
        root: root.to_owned(),
        kubelet: "/var/lib/kubelet".into(),
        selinuxd: None,
        selinux_templates: None,
        kinds,
        namespaces: None,
        spod: "spod".to_owned(),
    };
    Agent::new(options, cache(documents)).expect("an agent")
}

fn states(round: &Round) -> Vec<(String, ProfileState)> {
    round.standings.iter().map(|s| (s.subject.resource.spelling().to_owned(), s.state)).collect()
}

fn apparmor(kind: &str, created: &str) -> Value {
    let mut document =
        object(kind, "web", &json!({ "policy": "profile web flags=(attach_disconnected) { file, }" }));
    document["metadata"]["creationTimestamp"] = json!(created);
    document
}

use ProfileState::{Error, Installed, Terminating};

#[test]
fn a_second_round_changes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let documents = [profile("a", &["read"]), profile("b", &["read"])];
    let mut agent = agent(root.path(), &documents);
    let first = agent.round();
    assert_eq!(first.updated.get(&Kind::SeccompProfile), Some(&2));
    let second = agent.round();
    assert_eq!((second.standings == first.standings, second.updated.len()), (true, 0));
    // Somebody edits a file: put right, without anybody asking.
    let file = root.path().join("var/lib/kubelet/seccomp/operator/production/a.json");
    std::fs::write(&file, "{}").expect("writes");
    assert_eq!(agent.round().updated.get(&Kind::SeccompProfile), Some(&1));
    assert!(std::fs::read_to_string(&file).expect("reads").contains("SCMP_ACT_ERRNO"));
    agent.cache = cache(&documents[..1]);
    assert_eq!(agent.round().removed.get(&Kind::SeccompProfile), Some(&1));
    assert!(file.exists());
    agent.cache = cache(&[]);
    assert_eq!(agent.round().removed.get(&Kind::SeccompProfile), Some(&1));
    assert!(!file.parent().expect("a folder").exists(), "nothing is left in it");
}

#[test]
fn nothing_is_left_of_an_agent_that_leaves() {
    let root = tempfile::tempdir().expect("a folder");
    let seccomp = root.path().join("var/lib/kubelet/seccomp");
    let (filter, foreign) = (seccomp.join(own::LOCALHOST), seccomp.join("somebody-elses.json"));
    std::fs::create_dir_all(filter.parent().expect("a folder")).expect("a folder");
    for file in [&filter, &foreign] {
        std::fs::write(file, "{}").expect("writes");
    }
    let mut agent = agent(root.path(), &[profile("a", &["read"])]);
    agent.round();
    assert!(seccomp.join("operator/production/a.json").exists());
    assert_eq!(agent.leave().expect("leaves").stuck, []);
    assert!(!seccomp.join("operator").exists() && foreign.exists());
    assert!(!root.path().join("var/lib/security-profiles-operator").exists());
}

#[test]
fn an_agent_that_cannot_reach_a_kind_says_what_it_leaves() {
    let root = tempfile::tempdir().expect("a folder");
    let documents = [apparmor("AppArmorProfile", "2026-01-01T00:00:00Z"), profile("a", &["read"])];
    let mut agent = agent(root.path(), &documents);
    agent.round();
    agent.options.kinds.apparmor = false;
    agent.round();
    let report = agent.leave().expect("leaves");
    let [(path, reason)] = &report.stuck[..] else { panic!("{:?}", report.stuck) };
    assert_eq!(path.as_str(), "etc/apparmor.d/spo.production.web");
    assert!(reason.contains("enableAppArmor") && reason.contains("delete profiles before"), "{reason}");
    assert!(root.path().join(path.as_str()).exists());
    let ledger = agent.memory.ledger(&agent.host).expect("reads");
    assert_eq!(ledger.entries.keys().collect::<Vec<_>>(), [path]);
}

#[test]
fn a_round_that_was_not_the_first_of_its_host_changes_nothing_either() {
    let root = tempfile::tempdir().expect("a folder");
    let documents = [profile("a", &["read"])];
    agent(root.path(), &documents).round();
    let restarted = agent(root.path(), &documents).round();
    assert_eq!((restarted.updated.len(), states(&restarted)[0].1), (0, Installed));
}

/// As a module says of a profile that processes run under.
#[test]
fn a_profile_that_is_switched_off_and_cannot_go_says_why() {
    let root = tempfile::tempdir().expect("a folder");
    let mut document = apparmor("AppArmorProfile", "2026-01-01T00:00:00Z");
    let mut agent = agent(root.path(), &[document.clone()]);
    agent.round();
    let file = root.path().join("etc/apparmor.d/spo.production.web");
    std::fs::remove_file(&file).expect("removes");
    std::fs::create_dir(&file).expect("a folder, which is not ours to remove");
    document["spec"]["state"] = json!("Disabled");
    document["metadata"]["generation"] = json!(2);
    agent.cache = cache(&[document]);
    let round = agent.round();
    assert_eq!((round.standings[0].state, round.retry.len()), (ProfileState::Disabled, 1));
    let message = round.standings[0].message.as_deref().unwrap_or_default();
    assert!(message.contains("no regular file"), "{message}");
}

/// `apparmorprofiles` and `apparmorprofilealiases` may hold the same name; a kernel has room for one.
#[test]
fn the_older_of_two_gets_the_name_and_the_other_says_who_has_it() {
    let (old, young) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for (first, second) in [("AppArmorProfile", "ApparmorProfile"), ("ApparmorProfile", "AppArmorProfile")] {
        let root = tempfile::tempdir().expect("a folder");
        let round = agent(root.path(), &[apparmor(first, old), apparmor(second, young)]).round();
        assert_eq!(states(&round), [(first.to_owned(), Installed), (second.to_owned(), Error)], "{round:?}");
        let message = round.standings[1].message.as_deref().unwrap_or_default();
        assert!(message.contains("production/web"), "{message}");
        assert!(root.path().join("etc/apparmor.d/spo.production.web").exists());
    }
}

#[test]
fn a_name_of_another_namespace_is_taken() {
    let root = tempfile::tempdir().expect("a folder");
    let mut other = apparmor("AppArmorProfile", "2026-01-02T00:00:00Z");
    other["metadata"]["namespace"] = json!("staging");
    let round = agent(root.path(), &[apparmor("AppArmorProfile", "2026-01-01T00:00:00Z"), other]).round();
    assert_eq!(round.standings[1].state, Error);
    assert_eq!(round.retry.len(), 1, "the name may become free");
}

#[test]
fn a_profile_that_is_held_stays_and_says_so() {
    let root = tempfile::tempdir().expect("a folder");
    let mut held = profile("a", &["read"]);
    held["metadata"]["deletionTimestamp"] = json!("2026-01-03T00:00:00Z");
    let round = agent(root.path(), &[held]).round();
    assert_eq!(round.standings[0].state, Terminating);
    assert!(root.path().join("var/lib/kubelet/seccomp/operator/production/a.json").exists());
}

#[test]
fn a_host_that_cannot_be_changed_is_said_on_every_profile() {
    let root = tempfile::tempdir().expect("a folder");
    let ledger = root.path().join("var/lib/security-profiles-operator/ledger.json");
    std::fs::create_dir_all(ledger.parent().expect("a folder")).expect("a folder");
    std::fs::write(&ledger, "not a ledger").expect("writes");
    let mut agent = agent(root.path(), &[profile("a", &["read"])]);
    let round = agent.round();
    assert!(round.failed && !round.retry.is_empty());
    assert_eq!(round.standings[0].state, Error);
    assert!(round.standings[0].message.as_deref().is_some_and(|m| m.contains("ledger")), "{round:?}");
    std::fs::remove_file(&ledger).expect("removes");
    let round = agent.round();
    assert_eq!((round.standings[0].state, round.failed), (Installed, false));
}

#[test]
fn the_own_spod_is_told_from_others_and_remembered_when_it_goes() {
    let root = tempfile::tempdir().expect("a folder");
    let spod = |name| spod(name, &json!({}));
    let mut agent = agent_alone(root.path(), &[spod("pool-a")]);
    agent.round();
    assert_eq!(agent.watched(), Watched::Never);
    agent.cache = cache(&[spod("spod"), spod("pool-a")]);
    agent.round();
    assert_eq!(agent.watched(), Watched::There);
    agent.cache = cache(&[spod("pool-a")]);
    agent.round();
    assert_eq!(agent.watched(), Watched::Gone);
}

/// As `kubectl replace --force` does it: what is forbidden must not slip in meanwhile.
#[test]
fn settings_that_are_deleted_count_until_others_come() {
    let root = tempfile::tempdir().expect("a folder");
    let strict = json!({ "security": { "allowedSyscalls": ["read"] }, "statusMode": "PerNode" });
    let (good, wild) = (profile("good", &["read"]), profile("wild", &["bpf"]));
    let mut agent = agent_alone(root.path(), &[spod("spod", &strict), good.clone(), wild.clone()]);
    let of = |round: &Round| round.standings.iter().map(|s| s.state).collect::<Vec<_>>();
    let first = agent.round();
    agent.cache = cache(&[good.clone(), wild.clone(), profile("later", &["mount"])]);
    let without = agent.round();
    assert_eq!((of(&first), of(&without)), (vec![Installed, Error], vec![Installed, Error, Error]));
    assert_eq!(without.mode, Some(StatusMode::PerNode), "nor does it report in another way");
    agent.cache = cache(&[spod("spod", &json!({})), good, wild]);
    assert_eq!(of(&agent.round()), [Installed, Installed]);
}

/// It cannot know what was forbidden before it started.
#[test]
fn an_agent_that_starts_without_settings_keeps_what_is_there_and_installs_when_they_come() {
    let root = tempfile::tempdir().expect("a folder");
    let (old, new) = (profile("old", &["read"]), profile("young", &["read"]));
    agent(root.path(), std::slice::from_ref(&old)).round();
    let mut agent = agent_alone(root.path(), &[old.clone(), new.clone()]);
    let round = agent.round();
    assert_eq!((round.standings[0].state, round.standings[1].state), (Installed, Error));
    let message = round.standings[1].message.as_deref().unwrap_or_default();
    assert!(message.contains("there is no SecurityProfilesOperatorDaemon spod"), "{message}");
    assert!(!round.failed && round.retry.is_empty(), "it is no fault of the node");
    agent.cache = cache(&[spod("spod", &json!({})), old, new]);
    assert!(agent.round().standings.iter().all(|s| s.state == Installed));
}

#[test]
fn a_kubelet_directory_cannot_leave_the_root() {
    let root = tempfile::tempdir().expect("a folder");
    for bad in ["/", "/var/../../etc", ""] {
        let mut options = agent(root.path(), &[]).options;
        options.kubelet = bad.into();
        assert!(matches!(Agent::new(options, cache(&[])), Err(OpenError::Kubelet(_))), "{bad:?}");
    }
}

#[test]
fn a_node_that_says_where_its_kubelet_is_gets_its_files_there() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join(kubelet_dir::FILE);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("makes");
    std::fs::write(&file, r#"{"kubeletDir":"/data/my-kubelet"}"#).expect("writes");
    agent(root.path(), &[profile("a", &["read"])]).round();
    assert!(root.path().join("data/my-kubelet/seccomp/operator/production/a.json").exists());
    assert!(!root.path().join("var/lib/kubelet").exists());
}
