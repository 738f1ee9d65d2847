//! What a manager keeps of each node status of a large cluster stays small: names that come back are kept once. Alone in
//! its process, so that nothing else is counted.

use std::fs;

use kube::runtime::watcher::Event;
use serde_json::json;
use spo_model::kind::Kind;
use spo_operator::{
    cluster::resource::Resource,
    manager::{
        facts::{NodeStatus, Profile},
        index::{Fact, Index, Place, Watches},
    },
};

const NODES: usize = 200;
const PROFILES: usize = 500;

#[test]
fn a_hundred_thousand_node_statuses_are_small() {
    let before = own_memory();
    let place = Place { operator: "spo".into(), kubelet_dir: "/var/lib/kubelet".into() };
    let mut index = Index::new(place, Watches { profiles: 1, statuses: 1, pods: 1 });
    let profile = Resource::Of(Kind::SeccompProfile);
    for number in 0..PROFILES {
        let document = json!({ "metadata": { "namespace": "production", "name": format!("profile-{number}"),
            "uid": uid(number), "resourceVersion": "1000000", "generation": 1 },
            "status": { "status": "Installed", "nodes": "200/200" } });
        let (id, found) = Profile::of(profile, document);
        index.take_note(0, Fact::Profile(Event::Apply((id, Some(found)))));
        for node in 0..NODES {
            let node = format!("node-{node}.example.com");
            let name = format!("seccompprofile-profile-{number}-{node}-0123456789abcdef");
            let (name, status) = NodeStatus::of(&json!({
                "metadata": { "namespace": "production", "name": name, "ownerReferences": [
                    { "kind": "SeccompProfile", "name": format!("profile-{number}"), "uid": uid(number) }] },
                "spec": { "nodeName": node }, "status": { "status": "Installed", "observedGeneration": 1 } }));
            assert!(status.is_some());
            index.take_note(0, Fact::Status(Event::Apply((name, status))));
        }
    }
    let each = own_memory().saturating_sub(before) / (NODES * PROFILES);
    drop(index);
    println!("{each} bytes for each node status");
    assert!(each < 500, "{each} bytes for each node status");
}

fn uid(number: usize) -> String {
    format!("{number:08}-0000-4000-8000-000000000000")
}

/// What this process has of its own, in bytes.
fn own_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}
