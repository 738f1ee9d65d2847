//! Profiles on their way to the nodes and off them again, and what an administrator says about them.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::condition,
    operator::{GROUP, NAMESPACE, Operator},
    workspace,
};

use crate::{NODES, Outcome, allowed, localhost, named, patch_spod, seccomp};

/// Cases 1, 2, 7 and 24: profiles arrive as they were written, with their base, under names of any length; they leave
/// when nobody uses them, whatever a dead node has left behind.
#[test]
fn profiles_come_and_go() -> Outcome {
    let Some(operator) = Operator::start(&NODES)? else { return Ok(()) };
    // 1.
    for (name, default, allow) in [
        ("profile-allow-unsafe", "SCMP_ACT_ALLOW", &[][..]),
        ("profile-complain-unsafe", "SCMP_ACT_LOG", &["read", "write"]),
        ("profile-block-all", "SCMP_ACT_ERRNO", &[]),
    ] {
        operator.apply(&seccomp(name, default, allow))?;
        let profile = operator.is_installed(name)?;
        assert_eq!(profile["status"]["nodes"], "2/2");
        assert_eq!(profile["status"]["localhostProfile"], format!("operator/production/{name}.json"));
        for node in NODES {
            let file: Value = serde_json::from_str(&fs::read_to_string(operator.file(node, name))?)?;
            assert_eq!(file["defaultAction"], default);
            assert_eq!(allowed(&operator, node, name)?, allow);
            let labels =
                format!("spo.x-k8s.io/profile-id=SeccompProfile-{name},spo.x-k8s.io/node-name={node}");
            let statuses = operator.list("securityprofilenodestatuses", "production", &labels)?;
            assert_eq!(statuses.len(), 1, "{statuses:?}");
            assert_eq!(statuses[0]["status"]["status"], "Installed");
        }
    }
    // 2.
    operator
        .until("a base profile", ("seccompprofiles", NAMESPACE, "runc-v1.4.2"), |base| !base.is_null())?;
    let mut hello = seccomp("hello", "SCMP_ACT_ERRNO", &["arch_prctl", "set_tid_address", "uname"]);
    hello["spec"]["baseProfileName"] = json!("runc-v1.4.2");
    operator.apply(&hello)?;
    operator.is_installed("hello")?;
    let base = fs::read_to_string(workspace().join("deploy/base-profiles/runc-v1.4.2.yaml"))?;
    let base: Value = serde_saphyr::from_str(&base)?;
    let of_base = base["spec"]["syscalls"][0]["names"].as_array().ok_or("names")?;
    let there = allowed(&operator, "node-a", "hello")?;
    for name in of_base.iter().filter_map(Value::as_str).chain(["uname", "set_tid_address"]) {
        assert!(there.iter().any(|allowed| allowed == name), "{name} is not in {there:?}");
    }
    // 24.
    let long = "a-very-long-profile-name-".repeat(3).chars().take(73).collect::<String>();
    let long = long.trim_end_matches('-').to_owned() + "x";
    operator.apply(&seccomp(&long, "SCMP_ACT_ERRNO", &["read"]))?;
    operator.is_installed(&long)?;
    let all = operator.list("securityprofilenodestatuses", "production", "")?;
    let of_long = |status: &&Value| status["metadata"]["ownerReferences"][0]["name"] == long.as_str();
    let one = all.iter().find(of_long).ok_or("no status of the long name")?;
    let id = one["metadata"]["labels"]["spo.x-k8s.io/profile-id"].as_str().ok_or("no label")?;
    let labels = format!("spo.x-k8s.io/profile-id={id}");
    let found = operator.list("securityprofilenodestatuses", "production", &labels)?;
    assert_eq!(found.len(), NODES.len(), "{found:?}");
    // 7: a finalizer and a status that a dead node left behind.
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": "delete-me", "namespace": "production", "finalizers": ["fake-node-deleted"] },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO" } }))?;
    let profile = operator.is_installed("delete-me")?;
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": "delete-me-fake-node", "namespace": "production",
            "labels": { "spo.x-k8s.io/profile-id": "SeccompProfile-delete-me", "spo.x-k8s.io/node-name": "fake-node" },
            "ownerReferences": [{ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
                "name": "delete-me", "uid": profile["metadata"]["uid"], "controller": true }] },
        "spec": { "nodeName": "fake-node" }, "status": { "status": "Installed" } }))?;
    operator.kubectl(&["delete", "seccompprofile", "delete-me", "-n", "production", "--timeout=60s"])?;
    operator.holds("the file goes", || Ok(!operator.file("node-a", "delete-me").exists()))?;
    let fake = named("securityprofilenodestatuses", "delete-me-fake-node");
    operator.until("the status of the dead node goes", fake, Value::is_null)?;
    // 7: every way in which a pod names a profile.
    let none = json!({});
    for way in ["pod", "container", "init", "annotation"] {
        let name = format!("used-by-{way}");
        operator.apply(&seccomp(&name, "SCMP_ACT_ERRNO", &["read"]))?;
        operator.is_installed(&name)?;
        let context = localhost(&format!("operator/production/{name}.json"));
        let of = |place: &str| if way == place { &context } else { &none };
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "production" },
            "spec": { "securityContext": of("pod"),
                "initContainers": [{ "name": "i", "image": "i", "securityContext": of("init") }],
                "containers": [{ "name": "c", "image": "c", "securityContext": of("container") }] } });
        if way == "annotation" {
            let path = format!("localhost/operator/production/{name}.json");
            pod["metadata"]["annotations"] = json!({ "seccomp.security.alpha.kubernetes.io/pod": path });
        }
        operator.apply(&pod)?;
        let profile = named("seccompprofiles", &name);
        operator.until("in use", profile, |found| !found["metadata"]["finalizers"].is_null())?;
        operator.kubectl(&["delete", "seccompprofile", &name, "-n", "production", "--wait=false"])?;
        let found = operator.until("terminating", profile, |p| p["status"]["status"] == "Terminating")?;
        assert_eq!(condition(&found, "Ready")["reason"], "Deleting", "{found}");
        thread::sleep(Duration::from_secs(1));
        assert!(NODES.iter().all(|node| operator.file(node, &name).exists()), "a pod runs under it");
        operator.kubectl(&["delete", "pod", &name, "-n", "production", "--force", "--grace-period=0"])?;
        operator.until("gone", profile, Value::is_null)?;
        operator.holds("no file", || Ok(NODES.iter().all(|node| !operator.file(node, &name).exists())))?;
    }
    Ok(())
}

/// Cases 4, 5 and 6: what an administrator forbids is refused at once, and what is there already is taken off the nodes
/// with a reason. The existing operator deletes the object; we delete nobody's.
#[test]
fn administrators_say_which_syscalls_are_allowed() -> Outcome {
    let Some(operator) = Operator::start(&NODES)? else { return Ok(()) };
    for (name, default, allow) in
        [("keep-me", "SCMP_ACT_ERRNO", &["exit", "futex"][..]), ("allow-me", "SCMP_ACT_ALLOW", &[])]
    {
        operator.apply(&seccomp(name, default, allow))?;
        operator.is_installed(name)?;
    }
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "namespace": "production" },
        "spec": { "securityContext": localhost("operator/production/allow-me.json"),
            "containers": [{ "name": "c", "image": "c" }] } }))?;
    operator.until("in use", named("seccompprofiles", "allow-me"), |p| {
        p["status"]["activeWorkloads"] == json!(["production/user"])
    })?;
    let list = |names: &[&str]| json!({ "security": { "allowedSyscalls": names } });
    patch_spod(&operator, &list(&["exit", "exit_group", "futex", "nanosleep"]))?;
    // 6.
    let found = operator.until("not allowed", named("seccompprofiles", "allow-me"), |profile| {
        condition(profile, "Allowed")["status"] == "False" && profile["status"]["status"] == "Error"
    })?;
    assert!(found["metadata"]["deletionTimestamp"].is_null(), "nobody's object is deleted: {found}");
    // 4.
    operator.apply(&seccomp("allowed-1", "SCMP_ACT_ERRNO", &["exit_group", "nanosleep"]))?;
    operator.is_installed("allowed-1")?;
    for (denied, why) in [
        (seccomp("denied-1", "SCMP_ACT_ERRNO", &["exit", "bpf", "mount"]), "bpf"),
        (seccomp("denied-1", "SCMP_ACT_ERRNO", &["exit", "bpf", "mount"]), "mount"),
        (seccomp("denied-2", "SCMP_ACT_LOG", &[]), "SCMP_ACT_LOG"),
    ] {
        operator.refused(&denied, why)?;
    }
    let statuses = operator.list("securityprofilenodestatuses", "production", "")?;
    assert!(!json!(statuses).to_string().contains("denied-"), "{statuses:?}");
    // Which actions may be used at all is the administrator's word, too, and takes effect at once.
    let mut logging = seccomp("logging", "SCMP_ACT_ERRNO", &[]);
    logging["spec"]["syscalls"] = json!([{ "action": "SCMP_ACT_LOG", "names": ["exit"] }]);
    operator.apply(&logging)?;
    operator.is_installed("logging")?;
    patch_spod(&operator, &json!({ "security": { "allowedSeccompActions": ["SCMP_ACT_ALLOW"] } }))?;
    let found = operator.until("not allowed", named("seccompprofiles", "logging"), |profile| {
        condition(profile, "Allowed")["status"] == "False"
    })?;
    let message = condition(&found, "Allowed")["message"].as_str().unwrap_or_default();
    assert!(message.contains("SCMP_ACT_LOG"), "{found}");
    patch_spod(&operator, &json!({ "security": { "allowedSeccompActions": null } }))?;
    operator.is_installed("logging")?;
    // 5.
    patch_spod(&operator, &list(&["exit", "exit_group", "nanosleep"]))?;
    let found = operator.until("not allowed any more", named("seccompprofiles", "keep-me"), |profile| {
        condition(profile, "Allowed")["status"] == "False"
    })?;
    assert!(
        condition(&found, "Allowed")["message"].as_str().unwrap_or_default().contains("futex"),
        "{found}"
    );
    operator.holds("off the nodes", || Ok(NODES.iter().all(|n| !operator.file(n, "keep-me").exists())))?;
    operator.is_installed("allowed-1")?;
    // All is well again with the list gone.
    patch_spod(&operator, &json!({ "security": null }))?;
    for name in ["keep-me", "allow-me", "allowed-1"] {
        let found = operator.is_installed(name)?;
        assert_ne!(condition(&found, "Allowed")["status"], "False", "{found}");
    }
    operator.kubectl(&["delete", "pod", "user", "-n", "production", "--force", "--grace-period=0"])?;
    operator.kubectl(&["delete", "seccompprofile", "allow-me", "-n", "production", "--timeout=60s"])?;
    operator.holds("no file", || Ok(NODES.iter().all(|node| !operator.file(node, "allow-me").exists())))
}
