//! The whole operator on an API server alone: the cases of the existing operator's acceptance suite that need neither
//! recorder nor kernel nor kubelet, and outages of every part.
//!
//! The faults that were found in the existing operator, each with a test that shows that we have it not. Where a file is
//! named it is that of the test, else the test is in this folder.
//!
//! | fault of the existing operator | test |
//! | --- | --- |
//! | 1 names of node statuses collide | `node_status_names_never_collide` (`spo-model/src/names.rs`) |
//! | 2 finalizers of two nodes are one | `profiles_come_and_go`: there is one finalizer, for all nodes |
//! | 3 a node that is not ready freezes all profiles | `a_node_that_is_not_ready_freezes_nothing` (`spo-operator/src/aggregate.rs`), `profiles_in_use_stay_and_vanished_nodes_do_not_matter` (`tests/tests/manager/main.rs`) |
//! | 4 a node without an agent makes a hot loop | `membership_is_by_name_not_by_count` (`spo-operator/src/aggregate.rs`), `the_status_of_a_node_that_is_not_selected_any_more_counts_for_nothing_and_goes` (`spo-operator/src/manager/index/tests.rs`) |
//! | 5 all nodes are listed for each reconciliation | `a_roll_out_costs_two_writes_for_each_profile_at_most` (`tests/tests/manager/main.rs`) counts, `foreign_writers_hold_nothing_up`: nothing is asked for in peace |
//! | 6 names are compared as parts of others | `namespaces_are_whole_names` (`spo-operator/src/process/mod.rs`), `membership_is_by_name_not_by_count` (`spo-operator/src/aggregate.rs`) |
//! | 7 the DaemonSet has to be called `spod` | `agents_of_a_spod_of_any_name_count` (`tests/tests/manager/main.rs`), `agents_are_known_by_their_owner_and_not_by_name` (`spo-operator/src/manager/sources.rs`) |
//! | 8 a refused profile has no status | `defect_8_what_the_configuration_forbids_is_refused_with_all_offenders` (`spo-operator/src/webhook/validate/tests.rs`), `administrators_say_which_syscalls_are_allowed` |
//! | 9 allowed actions and an empty list are ignored | `administrators_say_which_syscalls_are_allowed` |
//! | 10 each node annotates the profile | `accounts_have_the_rights_they_need_and_no_more` (`tests/tests/deploy.rs`): agents may not write profiles |
//! | 11 disabled and partial AppArmor profiles are loaded | `a_profile_asks_for_its_artefact_unless_it_is_off` (`spo-node/src/desired.rs`) |
//! | 12 AppArmor profiles of the host are replaced | `a_foreign_profile_in_the_kernel_is_never_replaced` (`spo-node/src/tests.rs`) |
//! | 13 success is not told | `only_a_transition_is_told` (`spo-operator/src/daemon/events.rs`), `readers_of_metrics_and_the_end` (`tests/tests/daemon/main.rs`) |
//! | 14 nodes without AppArmor restart for ever | `a_host_without_the_module_says_so_and_gets_no_file` (`spo-node/src/tests.rs`) |
//! | 15 a `selinuxd` that is not ready makes a crash | `a_selinuxd_that_is_starting_is_waited_for` (`spo-node/tests/selinux.rs`) |
//! | 16 SELinux profiles are written twice in 30 s | `one_write_for_each_transition_and_none_without` (`spo-operator/src/daemon/reporter/tests.rs`) |
//! | 17 privileged Jobs reload SELinux | `accounts_have_the_rights_they_need_and_no_more` (`tests/tests/deploy.rs`): agents may not make Jobs |
//! | 18 the block of a raw profile is not what its status says | `a_raw_profile_is_found_and_its_alias_believed` (`spo-operator/src/webhook/index.rs`), `selinux_profiles_in_a_guest` (`tests/tests/kernel.rs`) |
//! | 19 raw policy leaves its block | `defect_19_raw_selinux_text_cannot_leave_its_block` (`spo-operator/src/webhook/validate/tests.rs`), `raw_policy_stays_inside_its_block` (`spo-selinux-cil/src/render/tests.rs`) |
//! | 20 SELinux profiles in use are removed | `a_profile_that_is_held_stays_and_says_so` (`spo-operator/src/daemon/agent/tests.rs`), `profiles_in_use_stay_and_vanished_nodes_do_not_matter` (`tests/tests/manager/main.rs`) |
//! | 21 containers, kinds and paths that do not count as use | `profiles_come_and_go`, `every_container_counts_and_so_does_the_pod` (`spo-operator/src/workloads.rs`) |
//! | 22 the SPOD does not follow its DaemonSet | `it_runs_only_when_everything_is_of_the_latest_generation` (`spo-operator/src/manager/rollout.rs`), `it_converges_after_outages_and_repairs_what_others_change` and `a_spod_that_cannot_be_applied_is_an_error_until_it_can` (`tests/tests/manager/main.rs`) |
//! | 23 what is switched off stays | `nothing_sticks` (`spo-operator/src/render/tests.rs`), `the_configuration_takes_effect` |
//! | 24 the SELinux type of a container is overwritten | `what_people_would_read` (`spo-operator/src/render/tests.rs`) |
//! | 25 fields cannot be cleared | `the_configuration_takes_effect` |
//! | 26 the operator's namespace is taken for granted | `names_follow_the_environment` (`spo-operator/src/render/tests.rs`) |
//! | 27 the ServiceMonitor names no port of its Service | `the_monitors_find_the_services_ports` (`spo-operator/src/render/tests.rs`) |
//! | 28 a label switches the webhooks off | `nobody_evades_a_binding` (`tests/tests/hostile.rs`), `webhooks_cannot_be_evaded_and_do_not_block` (`spo-operator/src/render/tests.rs`) |
//! | 29 admission writes | `accounts_have_the_rights_they_need_and_no_more` (`tests/tests/deploy.rs`): the webhook may write nothing |
//! | 30 admission waits for profiles | `there_is_no_index_before_every_kind_is_listed` (`spo-operator/src/webhook/feed.rs`), `a_binding_to_a_missing_profile_refuses_the_pod_and_says_what_to_do` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 31 a binding is evaded by `Unconfined` | `nobody_evades_a_binding` (`tests/tests/hostile.rs`), `defect_31_a_wildcard_cannot_be_evaded` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 32 there is one wildcard | `bindings_decide_what_pods_run_under`, `defect_32_there_is_one_wildcard_per_field_and_the_first_by_name_holds` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 33 a second binding undoes the first | `defect_33_several_bindings_of_one_container_all_hold` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 34 a webhook that is away holds deletions up | `it_converges_after_every_outage`, `defects_34_and_35_only_creation_is_looked_at` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 35 updates change what cannot be changed | `defects_34_and_35_only_creation_is_looked_at` (`spo-operator/src/webhook/binding/tests.rs`) |
//! | 36 a path of a profile that is elsewhere | `defect_36_the_path_of_the_logging_profile_is_the_one_of_its_scope` (`spo-operator/src/webhook/recording/tests.rs`) |
//! | 37 conversion loses kinds and fields | `every_kind_is_read_in_every_version`, `defect_37_every_kind_is_converted_both_ways_without_loss` (`spo-operator/src/webhook/convert.rs`) |
//! | 42 the kubelet's directory is a label | `a_kubelet_may_be_elsewhere` (`spo-operator/src/daemon/plan/tests.rs`) |
//! | 44 the manager may not write AppArmor profiles | `accounts_have_the_rights_they_need_and_no_more` (`tests/tests/deploy.rs`) |
//! | 45 the webhook holds all pods | `accounts_have_the_rights_they_need_and_no_more` (`tests/tests/deploy.rs`): it may not even list them |
//! | 46 a profiler and metrics are open | `nothing_else_is_served` |
//! | 47 files that are stale | `the_files_are_up_to_date` (`tests/tests/deploy.rs`) |
//!
//! 38 to 41 are faults of recorders and enrichers, and 43 of the images of both, which are not there yet.

mod outages;
mod profiles;

use std::{error::Error, fs};

use serde_json::{Value, json};
use spo_tests::{
    objects::text,
    operator::{GROUP, NAMESPACE, Operator, http},
    workspace,
};

type Outcome = Result<(), Box<dyn Error>>;

const NODES: [&str; 2] = ["node-a", "node-b"];

fn seccomp(name: &str, default: &str, allow: &[&str]) -> Value {
    let mut spec = json!({ "defaultAction": default });
    if !allow.is_empty() {
        spec["syscalls"] = json!([{ "action": "SCMP_ACT_ALLOW", "names": allow }]);
    }
    object("SeccompProfile", name, &spec)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": { "name": name, "namespace": "production" }, "spec": spec })
}

fn localhost(path: &str) -> Value {
    json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": path } })
}

const fn named<'a>(resource: &'a str, name: &'a str) -> (&'a str, &'a str, &'a str) {
    (resource, "production", name)
}

const SPOD: (&str, &str, &str) = ("spod", NAMESPACE, "spod");

fn patch_spod(operator: &Operator, spec: &Value) -> Result<String, Box<dyn Error>> {
    let patch = json!({ "spec": spec }).to_string();
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", &patch])
}

/// What the file of a profile on a node allows, by its own words.
fn allowed(operator: &Operator, node: &str, profile: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let path = operator.file(node, profile);
    let file = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file: Value = serde_json::from_str(&file)?;
    let rules = file["syscalls"].as_array().into_iter().flatten();
    let mut names: Vec<String> = rules
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Cases 18, 22, 23, 25 and 26: what the SecurityProfilesOperatorDaemon says is in the objects, and goes with it.
#[test]
fn the_configuration_takes_effect() -> Outcome {
    let Some(operator) = Operator::start(&[])? else { return Ok(()) };
    let agents = ("daemonset", NAMESPACE, "spod");
    let has = |flag: &'static str| move |set: &Value| set["spec"]["template"].to_string().contains(flag);
    for (spec, off, flag) in [
        (json!({ "enableSelinux": true }), json!({ "enableSelinux": false }), "--with-selinux=true"),
        (
            json!({ "enableMemoryOptimization": true }),
            json!({ "enableMemoryOptimization": false }),
            "--with-mem-optim=true",
        ),
        (json!({ "enableLogEnricher": true }), json!({ "enableLogEnricher": null }), "--with-recording=true"),
        (
            json!({ "daemonResourceRequirements": { "requests": { "memory": "256Mi", "cpu": "250m" },
                "limits": { "memory": "512Mi", "cpu": "500m" } } }),
            json!({ "daemonResourceRequirements": null }),
            "\"512Mi\"",
        ),
    ] {
        for _ in 0..2 {
            patch_spod(&operator, &spec)?;
            operator.until(flag, agents, has(flag))?;
            patch_spod(&operator, &off)?;
            operator.until(&format!("no {flag}"), agents, |set| !set.is_null() && !has(flag)(set))?;
        }
    }
    // 25.
    let hooks = ("mutatingwebhookconfiguration", "", "spo-mutating-webhook-configuration");
    let of = |configuration: &Value, name: &str| -> Value {
        let all = configuration["webhooks"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|hook| hook["name"] == name).unwrap_or_default()
    };
    let before = operator.get(hooks)?;
    let option = json!({ "name": "binding.spo.io", "failurePolicy": "Ignore",
        "namespaceSelector": { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["a"] }] },
        "objectSelector": { "matchLabels": { "bind": "yes" } } });
    patch_spod(&operator, &json!({ "webhook": { "options": [option] } }))?;
    let after = operator
        .until("the options", hooks, |found| of(found, "binding.spo.io")["failurePolicy"] == "Ignore")?;
    for field in ["namespaceSelector", "objectSelector"] {
        assert_eq!(of(&after, "binding.spo.io")[field], option[field], "{after}");
    }
    assert_eq!(of(&after, "recording.spo.io"), of(&before, "recording.spo.io"));
    patch_spod(&operator, &json!({ "webhook": { "options": [] } }))?;
    operator.until("the defaults again", hooks, |found| found["webhooks"] == before["webhooks"])?;
    Ok(())
}

/// Case 27, and more: every kind is stored in its old version, and read and changed in both by kubectl.
#[test]
fn every_kind_is_read_in_every_version() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    let allow = json!({ "@self": { "tcp_socket": ["listen"] } });
    let apparmor = json!({ "policy": "profile alias { /bin/true r, }" });
    let abstracted = json!({ "abstract": { "executable": { "allowedExecutables": ["/bin/true"] } } });
    let raw = json!({ "policy": "(blockinherit container)(allow process process (process (fork)))" });
    let reference = json!({ "kind": "SeccompProfile", "name": "web" });
    let selector = json!({ "matchLabels": { "app": "web" } });
    let recording = json!({ "kind": "SeccompProfile", "recorder": "logs", "mergeStrategy": "none",
        "podSelector": selector });
    // In the version that each kind had before.
    for (kind, plural, old, spec) in [
        ("SeccompProfile", "seccompprofiles", "v1beta1", json!({ "defaultAction": "SCMP_ACT_ERRNO" })),
        ("SelinuxProfile", "selinuxprofiles", "v1alpha2", json!({ "allow": allow })),
        ("RawSelinuxProfile", "rawselinuxprofiles", "v1alpha2", raw),
        ("AppArmorProfile", "apparmorprofiles", "v1alpha1", abstracted),
        ("ApparmorProfile", "apparmorprofilealiases", "v1alpha1", apparmor),
        (
            "ProfileBinding",
            "profilebindings",
            "v1alpha1",
            json!({ "profileRef": reference, "image": "nginx" }),
        ),
        ("ProfileRecording", "profilerecordings", "v1alpha1", recording),
    ] {
        let name = plural.trim_end_matches('s');
        let name = if name.ends_with("aliase") { "alias" } else { name };
        let document = json!({ "apiVersion": format!("{GROUP}/{old}"), "kind": kind,
            "metadata": { "name": name, "namespace": "production" }, "spec": spec });
        operator.apply(&document).map_err(|error| format!("{kind}: {error}"))?;
        let read = |version: &str| -> Result<Value, Box<dyn Error>> {
            let found = operator.get((&format!("{plural}.{version}.{GROUP}"), "production", name))?;
            assert_eq!(found["apiVersion"], format!("{GROUP}/{version}"), "{found}");
            Ok(found)
        };
        let back = read(old)?;
        for (field, value) in spec.as_object().into_iter().flatten() {
            assert_eq!(back["spec"][field], *value, "{kind} {old}: {field}");
        }
        let new = read("v1")?;
        if kind == "ProfileRecording" {
            assert_eq!(
                (&new["spec"]["recorder"], &new["spec"]["mergeStrategy"]),
                (&json!("Logs"), &json!("None"))
            );
        }
        // A change in the new version is seen in the old one, and takes nothing away.
        let resource = format!("{plural}.v1.{GROUP}");
        operator.kubectl(&["annotate", &resource, name, "-n", "production", "changed=yes"])?;
        let changed = read(old)?;
        assert_eq!(changed["metadata"]["annotations"]["changed"], "yes");
        assert_eq!(changed["spec"], back["spec"], "{kind}");
    }
    // What the old version has no word for is not lost when it is changed there.
    let binding = object(
        "ProfileBinding",
        "chosen",
        &json!({ "profileRef": reference, "image": "nginx",
        "podSelector": selector }),
    );
    operator.apply(&binding)?;
    let old = format!("profilebindings.v1alpha1.{GROUP}");
    let image = r#"{"spec":{"image":"redis"}}"#;
    operator.kubectl(&["patch", &old, "chosen", "-n", "production", "--type=merge", "-p", image])?;
    let found = operator.get((&format!("profilebindings.v1.{GROUP}"), "production", "chosen"))?;
    assert_eq!(
        (&found["spec"]["podSelector"], &found["spec"]["image"]),
        (&selector, &json!("redis")),
        "{found}"
    );
    // Those of the operator itself.
    let status = json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": "status", "namespace": "production" }, "nodeName": "x", "status": "Installed" });
    // What no profile owns the manager collects sooner or later, so what the server makes of it is looked at.
    let asked = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let printed = operator.try_kubectl(&asked, &status.to_string())?;
    let found: Value = serde_json::from_slice(&printed.stdout).map_err(|_| text(&printed))?;
    assert_eq!((&found["nodeName"], &found["status"]), (&json!("x"), &json!("Installed")), "{found}");
    operator.apply(&seccomp("everywhere", "SCMP_ACT_ERRNO", &["read"]))?;
    operator.is_installed("everywhere")?;
    let name = operator.list("spns", "production", "spo.x-k8s.io/profile-id=SeccompProfile-everywhere")?;
    let name =
        name.first().and_then(|found| found["metadata"]["name"].as_str()).ok_or("a status of node-a")?;
    let read = |plural: &str, version: &str, namespace: &str, name: &str| -> Result<Value, Box<dyn Error>> {
        let found = operator.get((&format!("{plural}.{version}.{GROUP}"), namespace, name))?;
        assert_eq!(found["apiVersion"], format!("{GROUP}/{version}"), "{found}");
        Ok(found)
    };
    // The old version had two shapes; what was not written in the older one is shown in the newer.
    for version in ["v1alpha1", "v1"] {
        let found = read("securityprofilenodestatuses", version, "production", name)?;
        assert_eq!(
            (&found["spec"]["nodeName"], &found["status"]["status"]),
            (&json!("node-a"), &json!("Installed")),
            "{found}"
        );
    }
    // A field of the old version, in the group that it has now, and what the old version hides beside it.
    patch_spod(&operator, &json!({ "security": { "deniedSyscalls": ["bpf"] } }))?;
    let spod = "securityprofilesoperatordaemons";
    let flat = r#"{"spec":{"allowedSyscalls":["read"]}}"#;
    let old = format!("{spod}.v1alpha1.{GROUP}");
    operator.kubectl(&["patch", &old, "spod", "-n", NAMESPACE, "--type=merge", "-p", flat])?;
    let security = &read(spod, "v1", NAMESPACE, "spod")?["spec"]["security"];
    assert_eq!(
        (&security["allowedSyscalls"], &security["deniedSyscalls"]),
        (&json!(["read"]), &json!(["bpf"])),
        "{security}"
    );
    // As it was written there.
    let old = &read(spod, "v1alpha1", NAMESPACE, "spod")?["spec"];
    assert_eq!(old["allowedSyscalls"], json!(["read"]), "{old}");
    assert!(!old.to_string().contains("deniedSyscalls"), "{old}");
    Ok(())
}

/// Cases 28 to 30, and the same of the other kinds: pods with the image, with any image, in a namespace without the
/// label.
#[test]
fn bindings_decide_what_pods_run_under() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    operator.kubectl(&["create", "namespace", "unlabelled"])?;
    operator.kubectl(&["label", "namespace", "production", "spo.x-k8s.io/enable-binding="])?;
    operator.apply(&object("SelinuxProfile", "errorlogger", &json!({ "allow": {} })))?;
    operator.apply(&seccomp("web", "SCMP_ACT_ERRNO", &["read"]))?;
    let usage = operator.until("a usage", named("selinuxprofiles", "errorlogger"), |profile| {
        profile["status"]["usage"].is_string()
    })?["status"]["usage"]
        .clone();
    let bind = |name: &str, kind: &str, profile: &str, image: &str| {
        let reference = json!({ "kind": kind, "name": profile });
        object("ProfileBinding", name, &json!({ "profileRef": reference, "image": image }))
    };
    let pod = |namespace: &str, name: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
            "spec": { "initContainers": [{ "name": "i", "image": "busybox:latest" }],
                "containers": [{ "name": "c", "image": "nginx" }] } })
    };
    let made = |namespace: &str| -> Result<Value, Box<dyn Error>> {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = operator.try_kubectl(&arguments, &pod(namespace, "p").to_string())?;
        Ok(serde_json::from_slice(&output.stdout).map_err(|_| text(&output))?)
    };
    let type_of = |context: &Value| context["securityContext"]["seLinuxOptions"]["type"].clone();
    // 28: the image.
    operator.apply(&bind("exact", "SelinuxProfile", "errorlogger", "busybox:latest"))?;
    operator.holds("bound", || Ok(type_of(&made("production")?["spec"]["initContainers"][0]) == usage))?;
    let found = made("production")?;
    assert!(
        type_of(&found["spec"]["containers"][0]).is_null() && type_of(&found["spec"]).is_null(),
        "{found}"
    );
    // 29: any image; the effective value of every container, which is its own, else the pod's.
    operator.kubectl(&["delete", "profilebinding", "exact", "-n", "production"])?;
    operator.apply(&bind("any", "SelinuxProfile", "errorlogger", "*"))?;
    operator.apply(&bind("calls", "SeccompProfile", "web", "*"))?;
    operator.holds("bound by both", || {
        let found = made("production")?;
        let effective = |list: &str| {
            let own = type_of(&found["spec"][list][0]);
            if own.is_null() { type_of(&found["spec"]) } else { own }
        };
        let path = &found["spec"]["securityContext"]["seccompProfile"]["localhostProfile"];
        Ok(effective("initContainers") == usage
            && effective("containers") == usage
            && path == "operator/production/web.json")
    })?;
    // Who runs under a binding is in its status, and no longer than it does.
    operator.apply(&pod("production", "runs"))?;
    for binding in ["any", "calls"] {
        operator.until("active", named("profilebindings", binding), |found| {
            found["status"]["activeWorkloads"] == json!(["production/runs"])
        })?;
    }
    for (resource, name) in [("selinuxprofiles", "errorlogger"), ("seccompprofiles", "web")] {
        operator.until("in use", named(resource, name), |found| {
            found["status"]["activeWorkloads"] == json!(["production/runs"])
                && found["metadata"]["finalizers"] == json!(["in-use-by-active-pods"])
        })?;
    }
    operator.kubectl(&["delete", "pod", "runs", "-n", "production", "--force", "--grace-period=0"])?;
    operator.until("idle", named("profilebindings", "calls"), |found| {
        found["status"]["activeWorkloads"].is_null()
    })?;
    // 30: without the label nothing is bound.
    let mut elsewhere = bind("any", "SelinuxProfile", "errorlogger", "*");
    elsewhere["metadata"]["namespace"] = json!("unlabelled");
    operator.apply(&elsewhere)?;
    let found = made("unlabelled")?;
    assert!(type_of(&found["spec"]).is_null(), "{found}");
    // A binding lasts as long as it is there.
    operator.kubectl(&["delete", "profilebinding", "any", "calls", "-n", "production"])?;
    operator
        .holds("free", || Ok(made("production")?["spec"]["securityContext"]["seLinuxOptions"].is_null()))?;
    Ok(())
}

/// Probes and metrics are the only things that are open, and no profiler is.
#[test]
fn nothing_else_is_served() -> Outcome {
    let Some(mut operator) = Operator::start(&[])? else { return Ok(()) };
    operator.node("node-a")?;
    let open = ["--with-insecure-metrics-access"];
    let agent = operator.agent("node-a", &open)?;
    operator.manager("second", &[&open[..], &["--metrics-port", "0"]].concat())?;
    let port = |operator: &Operator, what: &str| -> Option<u16> {
        let log = operator.log("second");
        let address = log.split(what).nth(1)?.split_whitespace().next()?;
        address.rsplit(':').next()?.parse().ok()
    };
    operator.holds("the manager serves", || Ok(port(&operator, " metrics=").is_some()))?;
    let manager = [port(&operator, " probes="), port(&operator, " metrics=")].map(Option::unwrap_or_default);
    operator.holds("the manager is ready", || {
        Ok(http(manager[0], "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
    })?;
    let answers = |port: u16, paths: &[&str], code: &str| -> Outcome {
        for path in paths {
            let answer = http(port, path).ok_or("no answer")?;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{port} {path}: {answer}");
        }
        Ok(())
    };
    let profilers = ["/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile"];
    for probes in [operator.webhook().health, agent.health, manager[0]] {
        answers(probes, &["/livez", "/readyz"], "200")?;
        answers(probes, &["/metrics", "/metrics-spod", "/convert", "/"], "404")?;
        answers(probes, &profilers, "404")?;
    }
    for metrics in [agent.serving, manager[1]] {
        answers(metrics, &["/metrics"], "200")?;
        answers(metrics, &["/livez", "/convert", "/"], "404")?;
        answers(metrics, &profilers, "404")?;
    }
    operator.until("a state", SPOD, |spod| spod["status"]["state"].is_string())?;
    Ok(())
}

/// Each test that the table at the top names is there.
#[test]
fn every_test_of_the_table_exists() -> Outcome {
    const OWN: &str = "tests/tests/acceptance";
    let read = |path: &str| {
        let path = workspace().join(path);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let table = read(&format!("{OWN}/main.rs"))?;
    let mut own = String::new();
    for entry in fs::read_dir(workspace().join(OWN))? {
        own.push_str(&fs::read_to_string(entry?.path())?);
    }
    let mut count = 0;
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2) {
        let tests = row.rsplit(" | ").next().unwrap_or_default();
        for test in tests.split(", `") {
            let quoted: Vec<&str> = test.split('`').map(str::trim).filter(|part| !part.is_empty()).collect();
            let name = quoted.first().ok_or("no name")?;
            let file = quoted.iter().find(|part| part.ends_with(".rs"));
            let text = file.map_or(Ok(own.clone()), |file| read(file))?;
            let place = file.unwrap_or(&OWN);
            assert!(text.contains(&format!("fn {name}(")), "{name} is not in {place}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
    Ok(())
}
