use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use spo_model::manifest::{self, Limits};

use super::*;
use crate::webhook::{
    fixture::{GROUP as OURS, document, index, object, own, refused, settings},
    index::Unreadable,
    review::Resource,
};

fn request(operation: &str, object: &Value) -> Request {
    Request {
        uid: "1".to_owned(),
        resource: Resource { group: OURS.to_owned(), version: "v1".to_owned(), resource: "x".to_owned() },
        namespace: "production".to_owned(),
        operation: operation.to_owned(),
        object: object.clone(),
        ..Request::default()
    }
}

fn check(document: &Value, objects: &[AnyObject]) -> Answer {
    admit(&request("CREATE", document), &index(objects))
}

fn daemon(spec: &Value) -> AnyObject {
    object(&json!({"apiVersion": format!("{OURS}/v1"), "kind": "SecurityProfilesOperatorDaemon",
                   "metadata": {"name": "spod", "namespace": "security-profiles-operator"}, "spec": spec}))
}

fn seccomp(spec: &Value) -> Value {
    document("SeccompProfile", "web", spec)
}

#[test]
fn every_manifest_of_the_guide_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/guide");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the guide") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        for document in manifest::documents(&text, &Limits::default()).expect("YAML") {
            let value = document.to_value();
            if convert::is_ours(&value) {
                seen += 1;
                assert_eq!(check(&value, &[]).refusal, None, "{value}");
            }
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn all_errors_are_told_at_once_with_their_places() {
    let bad = seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"action": "SCMP_ACT_ALLOW", "names": ["raed", "write"]}, {"action": "SCMP_ACT_NOTIFY", "names": ["write"]},
    ]}));
    let answer = check(&bad, &[]);
    let message = refused(&answer);
    assert!(message.starts_with("2 problems:\n- spec.syscalls[0].names[0]: "), "{message}");
    assert!(message.contains("did you mean \"read\"?"), "{message}");
    assert!(message.contains("\n- spec.syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used"), "{message}");
    let form = check(&seccomp(&json!({"defaultAction": "nope"})), &[]);
    assert!(refused(&form).starts_with("spec.defaultAction: "), "{form:?}");
}

#[test]
fn lints_come_back_as_warnings() {
    // runc itself calls futex, fstatfs, execve … after the filter is installed.
    let narrow = seccomp(
        &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["read"]}]}),
    );
    let answer = check(&narrow, &[]);
    assert_eq!(answer.refusal, None);
    assert!(answer.warnings.iter().any(|w| w.contains("[runtime-floor]")), "{:?}", answer.warnings);
}

/// DEFECT 19: a parenthesis in a comment closed the block around the text.
#[test]
fn defect_19_raw_selinux_text_cannot_leave_its_block() {
    let check = |policy: &str| check(&document("RawSelinuxProfile", "web", &json!({"policy": policy})), &[]);
    assert_eq!(check("(blockinherit container)").refusal, None);
    for hostile in [
        "(blockinherit container)) (allow domain file_type (file (write))) (block x",
        "(blockinherit container) ; (\n)\n(typepermissive container_t)",
        "(blockinherit container)(allow kernel_t shadow_t (file (read)))",
        "(blockinherit container)(typeattributeset domain (all))",
        "",
        "(((",
    ] {
        assert!(!refused(&check(hostile)).is_empty(), "{hostile:?}");
    }
}

#[test]
fn raw_apparmor_text_is_parsed_and_its_place_told() {
    let check = |policy: &str| check(&document("AppArmorProfile", "web", &json!({"policy": policy})), &[]);
    assert_eq!(check("profile web {\n  /etc/hosts r,\n}\n").refusal, None);
    let broken = check("profile web {\n  /etc/hosts r\n}\n");
    assert!(refused(&broken).starts_with("spec.policy: line "), "{broken:?}");
    let foreign = check("profile web { /etc/hosts r, }\nprofile docker-default { /** rwix, }\n");
    assert!(!refused(&foreign).is_empty(), "a second profile would replace somebody else's");
}

#[test]
fn a_base_that_is_not_there_yet_is_a_warning_and_a_cycle_an_error() {
    let based = |base: &str| seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": base}));
    let answer = check(&based("later"), &[]);
    assert_eq!(answer.refusal, None);
    assert!(answer.warnings[0].contains("\"later\" does not exist"), "{:?}", answer.warnings);
    let back =
        own("SeccompProfile", "later", &json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "web"}));
    assert!(refused(&check(&based("later"), &[back])).contains("cycle"));
    assert_eq!(check(&based("oci://example.org/base:v1"), &[]), Answer::allow(), "the nodes pull it");
    let heir =
        document("SelinuxProfile", "web", &json!({"inherit": [{"kind": "SelinuxProfile", "name": "later"}]}));
    let answer = check(&heir, &[]);
    assert_eq!(answer.refusal, None);
    assert!(answer.warnings[0].contains("later"), "{:?}", answer.warnings);
}

/// What there is in the other namespace must not be found out by asking for it.
#[test]
fn a_base_of_another_namespace_that_is_not_shared_is_as_one_that_is_not_there() {
    let user = seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "bases/floor"}));
    let floor = |labels: &Value| {
        let spec = json!({"defaultAction": "SCMP_ACT_ERRNO",
                          "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["ptrace"]}]});
        let mut floor = document("SeccompProfile", "floor", &spec);
        floor["metadata"]["namespace"] = json!("bases");
        floor["metadata"]["labels"] = labels.clone();
        object(&floor)
    };
    let absent = check(&user, &[]);
    assert_eq!(absent.refusal, None, "it may come, and be shared, later");
    assert!(absent.warnings[0].contains("bases/floor is not there or not shared"), "{absent:?}");
    assert_eq!(check(&user, &[floor(&json!({}))]), absent);
    let list = daemon(&json!({"security": {"allowedSyscalls": ["read"]}}));
    assert_eq!(check(&user, &[floor(&json!({})), list.clone()]), check(&user, std::slice::from_ref(&list)));
    let shared = floor(&json!({"spo.x-k8s.io/share-base": "true"}));
    let answer = check(&user, std::slice::from_ref(&shared));
    assert!(!answer.warnings.iter().any(|warning| warning.contains("[base-profile]")), "{answer:?}");
    assert!(refused(&check(&user, &[shared, list])).contains("ptrace"), "it counts as any other base");
    // The profile that is about to be is seen where it closes a cycle.
    let mut back = document(
        "SeccompProfile",
        "floor",
        &json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "production/web"}),
    );
    back["metadata"]["namespace"] = json!("bases");
    back["metadata"]["labels"] = json!({"spo.x-k8s.io/share-base": "true"});
    assert!(
        refused(&check(&user, &[object(&back)])).contains("production/web → bases/floor → production/web")
    );
}

#[test]
fn a_base_that_can_never_be_had_is_refused_at_once() {
    let mut user = seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "bases/floor"}));
    let few = index([]).seeing(Some(vec!["production".parse().expect("a name")]));
    let answer = admit(&request("CREATE", &user), &few);
    assert!(refused(&answer).contains("restricted to some namespaces, and bases is none"), "{answer:?}");
    let cluster = crate::webhook::index::Settings { scope: Scope::Cluster, ..settings() };
    user["metadata"] = json!({"name": "web"});
    let answer = admit(&request("CREATE", &user), &Index::new(cluster, [], []));
    assert!(refused(&answer).contains("a base is named without one"), "{answer:?}");
}

/// DEFECT 8: a profile that the list forbids was accepted and never heard of again.
#[test]
fn defect_8_what_the_configuration_forbids_is_refused_with_all_offenders() {
    let list = daemon(&json!({"security": {"allowedSyscalls": ["read", "exit_group"]}}));
    let rule = |names: Value| {
        seccomp(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": names}]}),
        )
    };
    let objects = std::slice::from_ref(&list);
    assert_eq!(check(&rule(json!(["read"])), objects).refusal, None);
    let answer = check(&rule(json!(["read", "ptrace", "mount"])), objects);
    let message = refused(&answer);
    assert!(
        message.contains("ptrace is not allowed") && message.contains("mount is not allowed"),
        "{message}"
    );
    // What is inherited counts as well, and a list of nonsense is no permission.
    let base = own(
        "SeccompProfile",
        "base",
        &json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["ptrace"]}]}),
    );
    let heir = seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "base"}));
    assert!(refused(&check(&heir, &[list, base])).contains("ptrace"));
    let nonsense = daemon(&json!({"security": {"allowedSyscalls": ["NOT A NAME"]}}));
    assert!(refused(&check(&rule(json!(["read"])), &[nonsense])).contains("SecurityProfilesOperatorDaemon"));
}

/// What cannot be read may restrict anything.
#[test]
fn a_configuration_that_cannot_be_read_lets_no_profile_through() {
    let unreadable = Unreadable {
        kind: Kind::SecurityProfilesOperatorDaemon,
        namespace: "security-profiles-operator".to_owned(),
        name: "spod".to_owned(),
        reason: "spec.verbosity: want a number".to_owned(),
    };
    let closed = Index::new(settings(), [], [unreadable]);
    let ask = |document: &Value| admit(&request("CREATE", document), &closed);
    let message = ask(&seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO"})));
    assert!(refused(&message).contains("cannot be read") && refused(&message).contains("spec.verbosity"));
    // What makes it right again gets through.
    let mut right = document("SecurityProfilesOperatorDaemon", "spod", &json!({"verbosity": 1}));
    right["metadata"]["namespace"] = json!("security-profiles-operator");
    assert_eq!(ask(&right).refusal, None);
}

#[test]
fn what_is_denied_to_all_profiles_is_refused_and_what_they_are_given_is_told() {
    let list = daemon(&json!({"security": {"deniedSyscalls": ["bpf"], "enforcedSyscalls": ["futex"]}}));
    let rule = |action: &str, names: Value| {
        seccomp(&json!({"defaultAction": action, "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": names}]}))
    };
    let objects = std::slice::from_ref(&list);
    let denied = check(&rule("SCMP_ACT_ERRNO", json!(["read", "bpf"])), objects);
    assert!(
        refused(&denied).starts_with("spec.syscalls[0].names[1]: the syscall bpf is denied"),
        "{denied:?}"
    );
    let open = check(&rule("SCMP_ACT_LOG", json!(["read"])), objects);
    assert!(refused(&open).starts_with("spec.defaultAction: "), "{open:?}");
    let fine = check(&rule("SCMP_ACT_ERRNO", json!(["read"])), objects);
    assert_eq!(fine.refusal, None);
    assert!(fine.warnings.iter().any(|w| w.contains("make futex") && w.contains("[enforced-syscalls]")));
    let both = json!({"security": {"deniedSyscalls": ["bpf"], "enforcedSyscalls": ["bpf"]}});
    let mut spod = document("SecurityProfilesOperatorDaemon", "spod", &both);
    spod["metadata"]["namespace"] = json!("security-profiles-operator");
    assert!(refused(&check(&spod, &[])).contains("spec.security.enforcedSyscalls[0]"));
}

#[test]
fn a_second_configuration_loosens_nothing() {
    let mut list = document(
        "SecurityProfilesOperatorDaemon",
        "spod",
        &json!({"security": {"allowedSyscalls": ["read"]}}),
    );
    list["metadata"]["namespace"] = json!("security-profiles-operator");
    let mut second = document("SecurityProfilesOperatorDaemon", "z", &json!({}));
    second["metadata"]["namespace"] = json!("security-profiles-operator");
    let wide = seccomp(
        &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["ptrace"]}]}),
    );
    for second in ["a", "z"].map(|name| {
        second["metadata"]["name"] = json!(name);
        object(&second)
    }) {
        assert!(refused(&check(&wide, &[object(&list), second])).contains("ptrace is not allowed"));
    }
}

#[test]
fn selinux_options_of_the_configuration_hold_at_admission() {
    let options = daemon(&json!({"selinux": {"enableRawSelinuxProfiles": false,
                                             "options": {"allowedSystemProfiles": ["container"]}}}));
    let heir = document("SelinuxProfile", "web", &json!({"inherit": [{"name": "net_container"}]}));
    let answer = check(&heir, std::slice::from_ref(&options));
    assert!(refused(&answer).contains("spec.inherit[0].name: the template \"net_container\" is not allowed"));
    let raw = document("RawSelinuxProfile", "web", &json!({"policy": "(blockinherit container)"}));
    assert!(refused(&check(&raw, &[options])).contains("switched off"));
}

#[test]
fn fields_of_the_old_configuration_work_and_are_told() {
    let flat = json!({"apiVersion": format!("{OURS}/v1"), "kind": "SecurityProfilesOperatorDaemon",
                      "metadata": {"name": "spod", "namespace": "security-profiles-operator"},
                      "spec": {"enableSelinux": true, "verbosity": 1, "allowedSyscalls": ["read"],
                               "enricher": {"enableLogEnricher": true}}});
    let answer = check(&flat, &[]);
    assert_eq!(answer.refusal, None);
    let told: Vec<_> = answer.warnings.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "spec.allowedSyscalls: spec.allowedSyscalls is a field of release 0.10 \
             (write spec.security.allowedSyscalls) [old-field]",
            "spec.enableSelinux: spec.enableSelinux is a field of release 0.10 \
             (write spec.selinux.enable) [old-field]",
        ]
    );
}

#[test]
fn an_old_field_that_contradicts_its_group_is_refused_and_both_are_named() {
    let both = document(
        "SecurityProfilesOperatorDaemon",
        "spod",
        &json!({"enableLogEnricher": true, "enricher": {"enableLogEnricher": false}}),
    );
    let answer = check(&both, &[]);
    let message = refused(&answer);
    assert!(
        message.contains("spec.enableLogEnricher is true, but spec.enricher.enableLogEnricher is false"),
        "{message}"
    );
}

#[test]
fn a_disabled_profile_has_to_be_right_too_and_a_generated_name_is_no_fault() {
    let mut raw = document("RawSelinuxProfile", "web", &json!({"policy": "((", "state": "Disabled"}));
    assert!(!refused(&check(&raw, &[])).is_empty());
    raw["spec"]["policy"] = json!("(blockinherit container)");
    raw["metadata"] = json!({"generateName": "web-", "namespace": "production"});
    assert_eq!(check(&raw, &[]).refusal, None);
}

#[test]
fn finalizers_come_off_whatever_the_rules_have_become() {
    let mut bad = seccomp(&json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
    let mut update = request("UPDATE", &bad);
    update.old_object = bad.clone();
    assert_eq!(admit(&update, &index([])), Answer::allow(), "spec is as it was");
    update.old_object["spec"] = json!({"defaultAction": "SCMP_ACT_ERRNO"});
    assert!(admit(&update, &index([])).refusal.is_some());
    bad["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    update.object = bad;
    assert_eq!(admit(&update, &index([])), Answer::allow(), "it is on its way out");
}

#[test]
fn what_is_not_ours_is_not_looked_at() {
    let bad = seccomp(&json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
    assert_eq!(admit(&request("DELETE", &Value::Null), &index([])), Answer::allow());
    let mut status = request("UPDATE", &bad);
    status.sub_resource = "status".to_owned();
    assert_eq!(admit(&status, &index([])), Answer::allow());
    let mut pods = request("CREATE", &bad);
    pods.resource.group = String::new();
    assert_eq!(admit(&pods, &index([])), Answer::allow());
    assert!(admit(&request("CREATE", &Value::Null), &index([])).refusal.is_some());
}

#[test]
fn recordings_and_bindings_are_validated_as_well() {
    let bad = document(
        "ProfileRecording",
        "r",
        &json!({"kind": "SelinuxProfile", "recorder": "Bpf", "podSelector": {}}),
    );
    assert!(refused(&check(&bad, &[])).contains("from logs only"));
    let bad = document(
        "ProfileBinding",
        "b",
        &json!({"profileRef": {"kind": "SeccompProfile", "name": "A B"}, "image": "x"}),
    );
    assert!(refused(&check(&bad, &[])).contains("spec.profileRef.name"));
}

#[test]
fn a_very_wrong_object_has_an_answer_of_a_sane_size() {
    let names: Vec<_> = (0..5000).map(|i| format!("nothing_{i}")).collect();
    let answer = check(
        &seccomp(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": names}]}),
        ),
        &[],
    );
    let message = refused(&answer);
    assert!(message.len() < 10_000 && message.contains("5000 problems") && message.contains("and 4975 more"));
}

/// One of the documents with one of its values replaced.
fn mutated(documents: &[Value], which: usize, at: usize, with: &Value) -> Value {
    fn places(value: &Value, here: &str, found: &mut Vec<String>) {
        found.push(here.to_owned());
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    places(value, &format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            Value::Array(list) => {
                for (i, value) in list.iter().enumerate() {
                    places(value, &format!("{here}/{i}"), found);
                }
            }
            _ => {}
        }
    }
    let mut document = documents[which % documents.len()].clone();
    let mut found = Vec::new();
    places(&document, "", &mut found);
    if let Some(place) = document.pointer_mut(&found[at % found.len()]) {
        *place = with.clone();
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_object_is_answered(which in any::<usize>(), at in any::<usize>(), text in "\\PC{0,40}|[(){};# a-z@/*]{0,60}") {
        let policy = "profile web {\n  /etc/hosts r,\n}\n";
        let documents = [
            seccomp(&json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"action": "SCMP_ACT_ALLOW", "names": ["read"], "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]})),
            document("SelinuxProfile", "web", &json!({"allow": {"http_port_t": {"tcp_socket": ["name_bind"]}}})),
            document("RawSelinuxProfile", "web", &json!({"policy": "(blockinherit container)"})),
            document("AppArmorProfile", "web", &json!({"policy": policy})),
            document("AppArmorProfile", "web", &json!({"abstract": {"filesystem": {"readOnlyPaths": ["/etc/**"]}}})),
            document("SecurityProfilesOperatorDaemon", "spod", &json!({"enableSelinux": true, "verbosity": 1})),
            document("ProfileBinding", "b", &json!({"profileRef": {"kind": "SeccompProfile", "name": "w"}, "image": "x"})),
        ];
        for with in [json!(text), json!([text]), json!({text.clone(): text}), Value::Null, json!(-1)] {
            let answer = check(&mutated(&documents, which, at, &with), &[]);
            if let Some(refusal) = answer.refusal {
                prop_assert!(!refusal.message.is_empty() && refusal.message.len() <= 8 << 10);
            }
        }
    }
}
