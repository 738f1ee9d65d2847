//! What is told about recordings takes little memory, however many there are for however many containers. Alone in its
//! process, so that nothing else is counted.

use std::fs;

use serde_json::{Value, json};
use spo_model::{
    convert::decode,
    kind::{GROUP, Scope},
};
use spo_operator::webhook::{
    index::{Index, Settings},
    recording,
    review::Review,
};

const RECORDINGS: usize = 2000;
const CONTAINERS: usize = 1000;

#[test]
fn recordings_of_large_pods_are_told_about_in_little_memory() {
    let object = |number: usize| {
        let spec = json!({ "kind": "SeccompProfile", "recorder": "Logs", "podSelector": {} });
        decode(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "ProfileRecording", "spec": spec,
            "metadata": { "name": format!("recording-{number:04}"), "namespace": "production" } }))
        .expect("a recording")
        .object
    };
    let objects: Vec<_> = (0..RECORDINGS).map(object).collect();
    let settings = Settings { operator_namespace: "spo".parse().expect("a name"), scope: Scope::Namespaced };
    let index = Index::new(settings, &objects, []);
    let containers: Vec<Value> = (0..CONTAINERS)
        .map(|number| json!({ "name": format!("container-{number}"), "image": "x" }))
        .collect();
    let question = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "namespace": "production",
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "object": { "metadata": { "name": "p" }, "spec": { "containers": containers } } } });
    let review = Review::read(question.to_string().as_bytes()).expect("a review");
    let before = most_memory();
    let answer = recording::admit(&review.request, &index, 1_700_000_000);
    let took = most_memory() - before;
    println!("{} KiB", took >> 10);
    assert_eq!(answer.warnings.len(), 15);
    assert!(answer.warnings[0].contains("is recorded by recording-0000 already"), "{:?}", answer.warnings);
    assert!(took < 16 << 20, "{} MiB", took >> 20);
}

/// The most that this process has had, in bytes.
fn most_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}
