use proptest::prelude::*;
use serde_json::json;
use spo_model::{kind::Kind, object::AnyObject};

use super::*;
use crate::webhook::{
    fixture::{create, index, object, own, patched},
    index::Settings,
    index::Unreadable,
};

const NOW: u64 = 1_700_000_000;

fn recording(name: &str, kind: &str, recorder: &str, extra: &Value) -> AnyObject {
    let mut spec =
        json!({"kind": kind, "recorder": recorder, "podSelector": {"matchLabels": {"app": "web"}}});
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    own("ProfileRecording", name, &spec)
}

fn pod(spec: &Value) -> Value {
    json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": spec})
}

fn two() -> Value {
    pod(&json!({
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "nginx", "image": "nginx"}],
    }))
}

fn ask(objects: &[AnyObject], pod: &Value) -> (Answer, Value) {
    let request = create(pod);
    let answer = admit(&request, &index(objects), NOW);
    let out = patched(&request, &answer);
    (answer, out)
}

#[test]
fn each_pair_has_its_annotation_and_what_it_needs_of_the_security_context() {
    let logging = json!({"seccompProfile": {
        "type": "Localhost", "localhostProfile": "operator/security-profiles-operator/log-enricher-trace.json"}});
    for (kind, recorder, key, context) in [
        ("SeccompProfile", "Logs", "io.containers.trace-logs/", logging),
        ("SeccompProfile", "Bpf", "io.containers.trace-bpf/", Value::Null),
        (
            "SelinuxProfile",
            "Logs",
            "io.containers.trace-avcs/",
            json!({"seLinuxOptions": {"type": SELINUX_TYPE}}),
        ),
        ("AppArmorProfile", "Bpf", "io.containers.trace-bpf-apparmor/", Value::Null),
    ] {
        let (answer, out) = ask(&[recording("rec", kind, recorder, &json!({}))], &two());
        assert_eq!(answer.warnings, Vec::<String>::new());
        for (list, name) in [("initContainers", "init"), ("containers", "nginx")] {
            let value =
                out["metadata"]["annotations"][format!("{key}{name}")].as_str().expect("an annotation");
            let parts: Vec<_> = value.split('_').collect();
            assert_eq!(
                (parts[0], parts[1], parts[3], parts.len()),
                ("rec", name, "1700000000", 4),
                "{value}"
            );
            assert!(parts[2].len() == 5 && parts[2].bytes().all(|b| b.is_ascii_alphanumeric()), "{value}");
            assert_eq!(out["spec"][list][0]["securityContext"], context, "{kind} {recorder}");
        }
        assert_eq!(out["metadata"]["annotations"].as_object().expect("fields").len(), 2);
    }
}

/// DEFECT 36: the path had a namespace that the file had not.
#[test]
fn defect_36_the_path_of_the_logging_profile_is_the_one_of_its_scope() {
    let object = recording("rec", "SeccompProfile", "Logs", &json!({}));
    let settings = Settings { operator_namespace: "spo".parse().expect("a name"), scope: Scope::Cluster };
    let request = create(&two());
    let answer = admit(&request, &Index::new(settings, [&object], []), NOW);
    let out = patched(&request, &answer);
    let context = &out["spec"]["containers"][0]["securityContext"]["seccompProfile"];
    assert_eq!(context["localhostProfile"], "operator/log-enricher-trace.json");
}

#[test]
fn only_the_containers_that_are_listed_and_the_pods_that_are_selected() {
    let only = recording("rec", "SeccompProfile", "Bpf", &json!({"containers": ["nginx"]}));
    let (_, out) = ask(std::slice::from_ref(&only), &two());
    let keys: Vec<_> = out["metadata"]["annotations"].as_object().expect("fields").keys().cloned().collect();
    assert_eq!(keys, ["io.containers.trace-bpf/nginx"]);
    let mut other = two();
    other["metadata"]["labels"]["app"] = json!("db");
    assert_eq!(ask(&[only], &other).1, other);
    let none = recording("rec", "SeccompProfile", "Bpf", &json!({"containers": ["gone"]}));
    let (answer, out) = ask(&[none], &two());
    assert_eq!(out, two());
    assert!(answer.warnings[0].contains("none of its containers"), "{:?}", answer.warnings);
}

#[test]
fn a_pod_cannot_switch_a_recorder_on_itself() {
    let mut forged = two();
    forged["metadata"]["annotations"] = json!({
        "io.containers.trace-bpf/nginx": "victim_nginx_abcde_1", "io.containers.trace-logs/nginx": "x",
        "io.containers.other/nginx": "stays",
    });
    let (answer, out) = ask(&[], &forged);
    assert_eq!(out["metadata"]["annotations"], json!({"io.containers.other/nginx": "stays"}));
    assert_eq!(answer.warnings.len(), 2);
    let (_, out) = ask(&[recording("rec", "SeccompProfile", "Bpf", &json!({}))], &forged);
    let value = out["metadata"]["annotations"]["io.containers.trace-bpf/nginx"].as_str().expect("text");
    assert!(value.starts_with("rec_nginx_"), "{value}");
}

#[test]
fn a_bound_container_is_not_loosened() {
    let profile = own("SeccompProfile", "web", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    let bound = own(
        "ProfileBinding",
        "b",
        &json!({"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": "*"}),
    );
    let logs = recording("rec", "SeccompProfile", "Logs", &json!({}));
    let objects = [profile.clone(), bound.clone(), logs];
    // The binding webhook is asked first.
    let request = create(&two());
    let pod = patched(&request, &crate::webhook::binding::admit(&request, &index(&objects)));
    assert_ne!(pod, two());
    let (answer, out) = ask(&objects, &pod);
    assert_eq!(out, pod);
    assert_eq!(answer.warnings.len(), 2);
    assert!(
        answer.warnings.iter().all(|w| w.contains("confined by ProfileBinding b")),
        "{:?}",
        answer.warnings
    );
    // A recorder that only watches loosens nothing.
    let bpf = recording("rec", "SeccompProfile", "Bpf", &json!({}));
    assert_ne!(ask(&[profile, bound, bpf], &pod).1, pod);
}

/// A binding is in force where the namespace has its label, and where it says so the pod has the profile already.
#[test]
fn a_binding_that_confines_nothing_keeps_nobody_from_recording() {
    let logs = recording("rec", "SeccompProfile", "Logs", &json!({}));
    let bound = |image: &str| {
        let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": image});
        own("ProfileBinding", "b", &spec)
    };
    let profile = own("SeccompProfile", "web", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    let alone = ask(std::slice::from_ref(&logs), &two());
    for image in ["*", "nginx"] {
        assert_eq!(ask(&[profile.clone(), bound(image), logs.clone()], &two()), alone, "{image}");
    }
}

#[test]
fn the_first_recording_by_name_holds_and_what_was_there_is_told() {
    let both = [
        recording("b", "SeccompProfile", "Logs", &json!({})),
        recording("a", "SeccompProfile", "Logs", &json!({})),
    ];
    let pod = pod(&json!({"containers": [
        {"name": "c", "image": "x",
         "securityContext": {"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}},
    ]}));
    let (answer, out) = ask(&both, &pod);
    let value = out["metadata"]["annotations"]["io.containers.trace-logs/c"].as_str().expect("text");
    assert!(value.starts_with("a_c_"), "{value}");
    for wanted in ["recorded by a already", "RuntimeDefault", "privileged"] {
        assert!(answer.warnings.iter().any(|w| w.contains(wanted)), "{wanted}: {:?}", answer.warnings);
    }
}

#[test]
fn a_recorder_that_is_switched_off_loosens_nothing() {
    let daemon = |spec: &Value| {
        object(&json!({"apiVersion": "security-profiles-operator.x-k8s.io/v1",
                       "kind": "SecurityProfilesOperatorDaemon",
                       "metadata": {"name": "spod", "namespace": "security-profiles-operator"}, "spec": spec}))
    };
    let logs = recording("rec", "SeccompProfile", "Logs", &json!({}));
    let off = daemon(&json!({"enricher": {"enableBpfRecorder": true}}));
    let (answer, out) = ask(&[logs.clone(), off], &two());
    assert_eq!(out, two());
    assert!(answer.warnings[0].contains("not switched on"), "{:?}", answer.warnings);
    let on = daemon(&json!({"enableMemoryOptimization": true, "enricher": {"enableLogEnricher": true}}));
    let (_, out) = ask(&[logs, on], &two());
    assert_eq!(out["metadata"]["labels"], json!({"app": "web", TRACKED_LABEL: "true"}));
}

/// Whether a recorder runs cannot be told from settings that cannot be read.
#[test]
fn settings_that_cannot_be_read_loosen_nothing() {
    let logs = recording("rec", "SeccompProfile", "Logs", &json!({}));
    let unreadable = Unreadable {
        kind: Kind::SecurityProfilesOperatorDaemon,
        namespace: "security-profiles-operator".to_owned(),
        name: "spod".to_owned(),
        reason: String::new(),
    };
    let request = create(&two());
    let answer =
        admit(&request, &Index::new(crate::webhook::fixture::settings(), [&logs], [unreadable]), NOW);
    assert_eq!(patched(&request, &answer), two());
}

/// DEFECT 35: updates tried to change fields that cannot be changed.
#[test]
fn defect_35_only_creation_is_looked_at() {
    let object = recording("rec", "SeccompProfile", "Logs", &json!({}));
    for operation in ["UPDATE", "DELETE", "CONNECT"] {
        let mut request = create(&two());
        request.operation = operation.to_owned();
        assert_eq!(admit(&request, &index([&object]), NOW), Answer::allow(), "{operation}");
    }
}

#[test]
fn the_same_request_has_the_same_answer_and_another_one_another_nonce() {
    let object = recording("rec", "SeccompProfile", "Bpf", &json!({}));
    let index = index([&object]);
    let (first, mut second) = (create(&two()), create(&two()));
    assert_eq!(admit(&first, &index, NOW), admit(&second, &index, NOW));
    second.uid = "another".to_owned();
    assert_ne!(admit(&first, &index, NOW).patch, admit(&second, &index, NOW).patch);
}

proptest! {
    #[test]
    fn names_that_are_no_labels_are_left_out(name in "\\PC{0,70}") {
        let object = recording("rec", "SeccompProfile", "Logs", &json!({}));
        let pod = pod(&json!({"containers": [{"name": name, "image": "x"}]}));
        let (_, out) = ask(&[object], &pod);
        if name.parse::<NamespaceName>().is_err() {
            prop_assert_eq!(out, pod);
        } else {
            prop_assert!(out["metadata"]["annotations"].is_object());
        }
    }
}
