use serde_json::{Value, json};
use spo_model::daemon::StatusMode;
use spo_node::content::Sha256;

use super::*;
use crate::daemon::fixture::{cache, object, profile};

const ALL: Kinds = Kinds { seccomp: true, selinux: true, raw_selinux: true, apparmor: true };
const KUBELET: &str = "var/lib/kubelet";

fn open() -> Settings {
    Settings { allowed: Ok(Restrictions::default()), mode: Some(StatusMode::PerProfile) }
}

fn plan(builder: &mut Builder, documents: &[Value], kinds: Kinds, settings: &Settings) -> Plan {
    builder.plan(&cache(documents), kinds, settings, &Ledger::default(), KUBELET)
}

/// Plans and gives the artefacts back, as a round does.
fn compiled(builder: &mut Builder, documents: &[Value]) -> u64 {
    let before = builder.compiled;
    let mut plan = plan(builder, documents, ALL, &open());
    builder.take_back(std::mem::take(&mut plan.artefacts), &plan.verdicts);
    builder.compiled - before
}

fn refusal(plan: &Plan, name: &str) -> Refusal {
    let found = plan.verdicts.iter().find(|(subject, _)| subject.key.name.as_str() == name);
    match found {
        Some((_, Verdict::Refused(refusal))) => refusal.clone(),
        other => panic!("{other:?}"),
    }
}

fn generation(mut document: Value, generation: i64) -> Value {
    document["metadata"]["generation"] = json!(generation);
    document
}

fn on(mut document: Value, base: &str) -> Value {
    document["spec"]["baseProfileName"] = json!(base);
    document
}

#[test]
fn only_what_changed_is_compiled() {
    let mut builder = Builder::default();
    let mut all: Vec<Value> = (0..5).map(|i| profile(&format!("p{i}"), &["read"])).collect();
    assert_eq!(compiled(&mut builder, &all), 5);
    assert_eq!(compiled(&mut builder, &all), 0);
    all[2] = generation(profile("p2", &["write"]), 2);
    assert_eq!(compiled(&mut builder, &all), 1);
    // A new label makes no new generation; this one matters all the same.
    all[3]["metadata"]["labels"] = json!({ "spo.x-k8s.io/partial": "true" });
    assert_eq!(compiled(&mut builder, &all), 1);
    all.truncate(1);
    assert_eq!(compiled(&mut builder, &all), 0);
    assert_eq!(builder.built.len(), 1, "what is gone is forgotten");
}

#[test]
fn a_base_that_arrives_or_changes_reaches_those_who_build_on_it() {
    let mut builder = Builder::default();
    let user = on(profile("user", &["read"]), "base");
    let lone = plan(&mut builder, std::slice::from_ref(&user), ALL, &open());
    let missing = refusal(&lone, "user");
    assert_eq!((missing.reason, missing.keep), (ErrorReason::Base, true), "{missing:?}");
    let mut all = vec![user, profile("base", &["mount"]), profile("other", &["read"])];
    let both = plan(&mut builder, &all, ALL, &open());
    let text = |plan: &Plan| {
        let mine = plan.artefacts.iter().find(|artefact| artefact.key.name.as_str() == "user");
        String::from_utf8(mine.expect("an artefact").bytes.to_vec()).expect("text")
    };
    assert!(text(&both).contains("mount"));
    builder.take_back(both.artefacts, &both.verdicts);
    all[1] = generation(profile("base", &["umount2"]), 2);
    let before = builder.compiled;
    let changed = plan(&mut builder, &all, ALL, &open());
    assert!(text(&changed).contains("umount2") && !text(&changed).contains("\"mount\""));
    assert_eq!(builder.compiled - before, 2, "the base and its user, not the other");
}

/// A label makes no new generation, and what it lets or forbids has to reach the nodes.
#[test]
fn a_base_of_another_namespace_is_used_while_it_is_shared() {
    let mut builder = Builder::default();
    let mut all = vec![on(profile("user", &["read"]), "bases/base"), profile("base", &["mount"])];
    all[1]["metadata"]["namespace"] = json!("bases");
    let lone = refusal(&plan(&mut builder, &all[..1], ALL, &open()), "user");
    let unshared = plan(&mut builder, &all, ALL, &open());
    assert_eq!(refusal(&unshared, "user"), lone, "nobody can tell whether it is there");
    assert_eq!((lone.reason, lone.keep), (ErrorReason::Base, true), "{lone:?}");
    builder.take_back(unshared.artefacts, &unshared.verdicts);
    all[1]["metadata"]["labels"] = json!({ "spo.x-k8s.io/share-base": "true" });
    let shared = plan(&mut builder, &all, ALL, &open());
    let mine = shared.artefacts.iter().find(|artefact| artefact.key.name.as_str() == "user");
    let text = String::from_utf8(mine.expect("an artefact").bytes.to_vec()).expect("text");
    assert!(text.contains("mount"), "{text}");
    builder.take_back(shared.artefacts, &shared.verdicts);
    all[1]["metadata"]["labels"] = json!({ "spo.x-k8s.io/share-base": "false" });
    let again = plan(&mut builder, &all, ALL, &open());
    assert_eq!(refusal(&again, "user"), lone);
    assert!(again.keeps(&placed("user"), |_| true), "what is there stays");
}

/// The existing operator ignores a change of the allowed actions, and says nothing on the profile.
#[test]
fn what_is_forbidden_is_named_in_full_and_goes() {
    let mut builder = Builder::default();
    let all = [profile("wild", &["read", "mount", "bpf"]), profile("tame", &["read"])];
    assert_eq!(plan(&mut builder, &all, ALL, &open()).artefacts.len(), 2);
    let spec = json!({ "security": { "allowedSyscalls": ["read"] } });
    let daemon = object("SecurityProfilesOperatorDaemon", "spod", &spec);
    let strict = Settings::of(&cache(&[daemon]), "spod").expect("settings");
    let plan = plan(&mut builder, &all, ALL, &strict);
    let refusal = refusal(&plan, "wild");
    assert_eq!(refusal.message, "not allowed: the syscalls bpf, mount");
    assert_eq!(refusal.reason.word(Kind::SeccompProfile), "ProfileNotAllowed");
    assert_eq!(plan.artefacts.len(), 1);
    assert!(!plan.keeps(&placed("wild"), |_| true), "no new container may get it");
}

/// A profile is not made weaker without a word, and a change of what every profile allows reaches them all.
#[test]
fn what_every_profile_allows_is_added_and_told() {
    let mut builder = Builder::default();
    let all = [profile("narrow", &["read"]), profile("wide", &["read", "futex"])];
    let first = plan(&mut builder, &all, ALL, &open());
    assert!(first.notes.iter().all(Option::is_none), "{:?}", first.notes);
    builder.take_back(first.artefacts, &first.verdicts);
    let spec = json!({ "security": { "enforcedSyscalls": ["futex"] } });
    let enforcing = Settings::of(&cache(&[object("SecurityProfilesOperatorDaemon", "spod", &spec)]), "spod")
        .expect("settings");
    // The second time nothing is compiled, and the same is told.
    for _ in 0..2 {
        let changed = plan(&mut builder, &all, ALL, &enforcing);
        assert_eq!(changed.artefacts.len(), 2);
        for (artefact, note) in changed.artefacts.iter().zip(&changed.notes) {
            assert!(String::from_utf8_lossy(&artefact.bytes).contains("futex"), "{artefact:?}");
            let told = note.as_deref().is_some_and(|note| note.contains("make futex"));
            assert_eq!(told, artefact.key.name.as_str() == "narrow", "{note:?}");
        }
        builder.take_back(changed.artefacts, &changed.verdicts);
    }
    assert_eq!(builder.compiled, 4);
    let both = json!({ "security": { "enforcedSyscalls": ["futex"], "deniedSyscalls": ["futex"] } });
    let odd = Settings::of(&cache(&[object("SecurityProfilesOperatorDaemon", "spod", &both)]), "spod")
        .expect("settings");
    assert!(
        plan(&mut Builder::default(), &all, ALL, &odd).artefacts.is_empty(),
        "nothing new is let through"
    );
}

#[test]
fn what_is_denied_to_all_profiles_is_refused_as_what_is_not_allowed() {
    let spec = json!({ "security": { "deniedSyscalls": ["mount", "bpf"] } });
    let strict = Settings::of(&cache(&[object("SecurityProfilesOperatorDaemon", "spod", &spec)]), "spod")
        .expect("settings");
    let all = [profile("wild", &["read", "mount", "bpf"]), profile("tame", &["read"])];
    let plan = plan(&mut Builder::default(), &all, ALL, &strict);
    let refusal = refusal(&plan, "wild");
    assert_eq!(refusal.message, "not allowed: the syscalls bpf, mount");
    assert_eq!((refusal.reason, refusal.keep), (ErrorReason::NotAllowed, false));
    assert_eq!(plan.artefacts.len(), 1);
}

#[test]
fn settings_that_cannot_be_read_let_nothing_new_through_and_remove_nothing() {
    let mut builder = Builder::default();
    let broken = Settings { allowed: Err("odd".to_owned()), mode: None };
    let all = [profile("old", &["read"]), profile("new", &["read"])];
    let first = plan(&mut builder, &all[..1], ALL, &open());
    let mut ledger = Ledger::default();
    let old = &first.artefacts[0];
    let there = Placed { sha256: old.bytes.sha256(), ..placed("old") };
    ledger.entries.insert(old.path.clone(), there);
    // As after a restart: nothing is remembered.
    let plan = Builder::default().plan(&cache(&all), ALL, &broken, &ledger, KUBELET);
    assert_eq!(plan.artefacts.len(), 1, "{:?}", plan.verdicts);
    let refusal = refusal(&plan, "new");
    assert!(refusal.keep && refusal.message.starts_with("not allowed: ") && refusal.message.contains("odd"));
    assert!(plan.keeps(&placed("new"), |_| true), "its earlier version stays");
    let changed = [generation(profile("old", &["write"]), 2)];
    let plan = Builder::default().plan(&cache(&changed), ALL, &broken, &ledger, KUBELET);
    assert!(plan.artefacts.is_empty() && plan.keeps(&placed("old"), |_| true));
}

fn selinux(kind: &str) -> Value {
    let spec = match kind {
        "SelinuxProfile" => json!({ "allow": { "etc_t": { "file": ["read"] } } }),
        _ => json!({ "policy": "(blockinherit container)\n(allow process etc_t (file (read)))" }),
    };
    object(kind, "web", &spec)
}

fn selinux_settings(selinux: &Value) -> Settings {
    let spec = json!({ "selinux": selinux });
    Settings::of(&cache(&[object("SecurityProfilesOperatorDaemon", "spod", &spec)]), "spod")
        .expect("settings")
}

#[test]
fn a_change_of_the_selinux_rules_reaches_profiles_that_are_compiled_already() {
    let denied = |kind| match kind {
        "SelinuxProfile" => selinux_settings(&json!({ "options": { "deniedTypes": ["etc_t"] } })),
        _ => selinux_settings(&json!({ "enableRawSelinuxProfiles": false })),
    };
    for kind in ["SelinuxProfile", "RawSelinuxProfile"] {
        let (mut builder, all) = (Builder::default(), [selinux(kind)]);
        let first = plan(&mut builder, &all, ALL, &open());
        assert_eq!(first.artefacts.len(), 1, "{kind}: {:?}", first.verdicts);
        builder.take_back(first.artefacts, &first.verdicts);
        let strict = plan(&mut builder, &all, ALL, &denied(kind));
        let refusal = refusal(&strict, "web");
        assert_eq!((refusal.reason, refusal.keep), (ErrorReason::NotAllowed, false), "{kind}: {refusal:?}");
        let again = plan(&mut builder, &all, ALL, &open());
        assert_eq!(again.artefacts.len(), 1, "{kind}: {:?}", again.verdicts);
    }
}

#[test]
fn unreadable_settings_let_no_new_selinux_profile_through_and_remove_none() {
    let broken = Settings { allowed: Err("odd".to_owned()), mode: None };
    for kind in ["SelinuxProfile", "RawSelinuxProfile"] {
        let fresh = plan(&mut Builder::default(), &[selinux(kind)], ALL, &broken);
        let refusal = refusal(&fresh, "web");
        assert!(refusal.keep && refusal.message.contains("odd"), "{kind}: {refusal:?}");
    }
    // The built-in list denies this; settings that cannot be read now allowed it once.
    let shadow = object("SelinuxProfile", "web", &json!({ "allow": { "shadow_t": { "file": ["read"] } } }));
    let generous = selinux_settings(&json!({ "options": { "allowedTypes": ["shadow_t"] } }));
    let first = plan(&mut Builder::default(), std::slice::from_ref(&shadow), ALL, &generous);
    let there = &first.artefacts[0];
    let entry = Placed { kind: there.kind, sha256: there.bytes.sha256(), ..placed("web") };
    let mut ledger = Ledger::default();
    ledger.entries.insert(there.path.clone(), entry);
    let documents = cache(&[shadow]);
    let again = Builder::default().plan(&documents, ALL, &broken, &ledger, KUBELET);
    assert_eq!(again.artefacts.len(), 1, "{:?}", again.verdicts);
    // In another namespace it is another profile, at the same place on the host.
    let elsewhere = ProfileKey::new(Some("staging"), "web").expect("a key");
    ledger.entries.values_mut().for_each(|entry| entry.key = elsewhere.clone());
    let other = Builder::default().plan(&documents, ALL, &broken, &ledger, KUBELET);
    assert!(other.artefacts.is_empty(), "{:?}", other.verdicts);
}

#[test]
fn what_cannot_be_judged_stays() {
    let mut builder = Builder::default();
    let unreadable = object("SeccompProfile", "odd", &json!({ "defaultAction": "SCMP_ACT_NONSENSE" }));
    let plan = plan(&mut builder, &[unreadable], ALL, &open());
    assert_eq!(refusal(&plan, "odd").reason, ErrorReason::Invalid);
    assert!(plan.keeps(&placed("odd"), |_| true));
    assert!(!plan.keeps(&placed("gone"), |_| true));
    assert!(plan.keeps(&placed("gone"), |_| false), "its namespace is not watched");
}

/// It is in the kernel that pods are confined by these, and not by what they were started with.
#[test]
fn what_is_switched_off_stays_while_pods_use_it() {
    let off = |kind: &str, in_use: bool| {
        let body = json!({ "state": "Disabled", "policy": "(allow process etc_t (file (read)))" });
        let seccomp = json!({ "state": "Disabled", "defaultAction": "SCMP_ACT_ERRNO" });
        let mut document = object(kind, "web", if kind == "SeccompProfile" { &seccomp } else { &body });
        if in_use {
            document["metadata"]["finalizers"] = json!(["x", "in-use-by-active-pods"]);
        }
        document
    };
    for (kind, stays) in [("AppArmorProfile", true), ("RawSelinuxProfile", true), ("SeccompProfile", false)] {
        let entry = Placed { kind: kind.parse().expect("a kind"), ..placed("web") };
        let mut ledger = Ledger::default();
        ledger.entries.insert("etc/some/file".parse().expect("a path"), entry.clone());
        let plan = |in_use, ledger: &Ledger| {
            let documents = cache(&[off(kind, in_use)]);
            let plan = Builder::default().plan(&documents, ALL, &open(), ledger, KUBELET);
            let Verdict::Nothing(ProfileState::Disabled, why) = plan.verdicts[0].1 else {
                panic!("{kind}: {:?}", plan.verdicts)
            };
            (plan.keeps(&entry, |_| true), why.is_some())
        };
        assert_eq!(plan(true, &ledger), (stays, stays), "{kind}");
        assert_eq!(plan(false, &ledger), (false, false), "{kind}: nobody uses it");
        assert_eq!(plan(true, &Ledger::default()), (false, false), "{kind}: it never was there");
    }
}

/// Unloading AppArmor profiles would free the pods that run under them.
#[test]
fn a_kind_that_is_switched_off_is_left_alone() {
    let kinds = Kinds { seccomp: false, ..ALL };
    let plan = plan(&mut Builder::default(), &[profile("web", &["read"])], kinds, &open());
    assert!(plan.artefacts.is_empty());
    assert!(matches!(&plan.verdicts[0].1, Verdict::Nothing(ProfileState::Disabled, Some(_))));
    assert!(plan.keeps(&placed("gone"), |_| true));
}

#[test]
fn a_kubelet_may_be_elsewhere() {
    let documents = cache(&[profile("web", &["read"])]);
    let plan = Builder::default().plan(&documents, ALL, &open(), &Ledger::default(), "data/kubelet");
    assert_eq!(plan.artefacts[0].path.as_str(), "data/kubelet/seccomp/operator/production/web.json");
}

#[test]
fn the_oldest_comes_first() {
    let mut young = profile("a", &["read"]);
    young["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    let plan = plan(&mut Builder::default(), &[young, profile("b", &["read"])], ALL, &open());
    assert_eq!(plan.artefacts[0].key.name.as_str(), "b");
}

fn placed(name: &str) -> Placed {
    Placed {
        kind: Kind::SeccompProfile,
        key: ProfileKey::new(Some("production"), name).expect("a key"),
        kernel_name: None,
        source: String::new(),
        sha256: Sha256::of(b""),
        pending: false,
        before: None,
        stamp: None,
        loaded: None,
    }
}
