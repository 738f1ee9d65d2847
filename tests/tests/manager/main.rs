//! The manager on a real API server: the real binary, simulated nodes, and what it writes.

mod admission_off;
mod certificates;
mod forbidden;
mod nodes;
mod platform;
mod static_webhook;
mod taint;
mod uninstall;

use std::{
    collections::BTreeMap,
    error::Error,
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::free_port,
    installed,
    objects::{Named, condition},
    operator::{Admission, GROUP, NAMESPACE, Operator},
};

fn profile(operator: &Operator, name: &str) -> Result<String, Box<dyn Error>> {
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": name, "namespace": "production" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "action": "SCMP_ACT_ALLOW", "names": ["read", "write", "exit_group"] }] } }))
}

/// What an agent says about a profile.
fn report(
    operator: &Operator,
    node: &str,
    profile: &str,
    state: &str,
    message: &str,
) -> Result<String, Box<dyn Error>> {
    let object = operator.get(seccomp(profile))?;
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": format!("seccomp-{profile}-{node}"), "namespace": "production",
            "ownerReferences": [{ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
                "name": profile, "uid": object["metadata"]["uid"], "controller": true }] },
        "spec": { "nodeName": node },
        "status": { "status": state, "message": message,
            "observedGeneration": object["metadata"]["generation"] } }))
}

fn ready(object: &Value) -> &Value {
    condition(object, "Ready")
}

const SPOD: Named<'_> = ("spod", NAMESPACE, "spod");

const fn seccomp(name: &str) -> Named<'_> {
    ("seccompprofiles", "production", name)
}

#[test]
fn the_operator_sets_itself_up_and_follows_its_nodes() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator.node("b")?;
    let start = Instant::now();
    operator.manager("first", &[])?;

    // A SPOD within seconds, and what it asks for.
    while operator.get(SPOD)?.is_null() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "no SPOD within seconds:\n{}",
            operator.log("first")
        );
        thread::sleep(Duration::from_millis(50));
    }
    println!("SPOD after {:?}", start.elapsed());
    let spod = operator.until("a state", SPOD, |spod| spod["status"]["state"] == "Creating")?;
    assert_eq!(ready(&spod)["status"], "False", "{spod}");
    let agents = operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    assert_eq!(agents["metadata"]["ownerReferences"][0]["uid"], spod["metadata"]["uid"]);

    // Certificates, and who trusts them.
    for secret in ["spo-certificate-authority", "webhook-server-cert", "metrics-server-cert"] {
        let found = operator.until("a Secret", ("secret", NAMESPACE, secret), |s| !s.is_null())?;
        assert_eq!(found["type"], "kubernetes.io/tls");
        goes_with_the_operator(&operator, &found)?;
    }
    let lease = operator.get(("lease", NAMESPACE, "security-profiles-operator-lock"))?;
    goes_with_the_operator(&operator, &lease)?;
    let base = ("seccompprofiles", NAMESPACE, "runc-v1.4.2");
    goes_with_the_operator(&operator, &operator.until("a base profile", base, |base| !base.is_null())?)?;
    let authority = operator.get(("secret", NAMESPACE, "spo-certificate-authority"))?;
    for definition in ["seccompprofiles", "apparmorprofilealiases", "securityprofilesoperatordaemons"] {
        let name = format!("{definition}.{GROUP}");
        let bundle = &authority["data"]["ca.crt"];
        operator.until("a caBundle", ("crd", "", &name), |crd| {
            crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] == *bundle
        })?;
    }

    // Nodes report, and the profile says so.
    profile(&operator, "web")?;
    let web = operator.until("a first status", seccomp("web"), |p| p["status"]["status"] == "Pending")?;
    assert_eq!(web["status"]["localhostProfile"], "operator/production/web.json");
    report(&operator, "a", "web", "Installed", "")?;
    report(&operator, "b", "web", "Error", "no space left on device")?;
    let web = operator.until("an error", seccomp("web"), |p| p["status"]["status"] == "Error")?;
    let message = ready(&web)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("no space left on device") && message.contains("on b"), "{message}");
    report(&operator, "b", "web", "Installed", "")?;
    let web = operator.until("ready", seccomp("web"), |p| ready(p)["status"] == "True")?;
    assert_eq!(web["status"]["nodes"], "2/2");
    let table = operator.kubectl(&["get", "seccompprofile", "web", "-n", "production"])?;
    assert!(table.contains("2/2") && table.contains("Installed"), "{table}");
    let told = [("Error".to_owned(), "Warning".to_owned()), ("Installed".to_owned(), "Normal".to_owned())];
    operator.holds("each transition is told once", || Ok(events(&operator, "web")? == told))?;

    // While nothing changes, nothing is written.
    thread::sleep(Duration::from_secs(2));
    let mut log = operator.audit()?;
    thread::sleep(Duration::from_secs(12));
    let writes = log.writes_of(NAMESPACE)?;
    assert!(writes.is_empty(), "{writes:?}");
    Ok(())
}

/// What the operator has made belongs to what is deleted with it, in whichever way.
fn goes_with_the_operator(operator: &Operator, object: &Value) -> Result<(), Box<dyn Error>> {
    let role = operator.get(("clusterrole", "", NAMESPACE))?;
    let owner = &object["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&json!("ClusterRole"), &role["metadata"]["uid"]),
        "{object}"
    );
    Ok(())
}

/// Reason and type of the manager's events on a seccomp profile of `production`, by reason.
fn events(operator: &Operator, profile: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = operator.list("events", "production", "")?.into_iter().filter(|event| {
        event["involvedObject"]["name"] == profile && event["source"]["component"] == NAMESPACE
    });
    let mut all: Vec<_> = all.map(|event| (text(&event["reason"]), text(&event["type"]))).collect();
    all.sort();
    Ok(all)
}

/// The SPOD may have any name: its agents count, and none of another name is made.
#[test]
fn agents_of_a_spod_of_any_name_count() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator
        .apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "guards", "namespace": NAMESPACE }, "spec": {} }))?;
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "guards"), |d| !d.is_null())?;
    profile(&operator, "web")?;
    report(&operator, "a", "web", "Installed", "")?;
    let web = operator.until("ready", seccomp("web"), |p| ready(p)["status"] == "True")?;
    assert_eq!(web["status"]["nodes"], "1/1");
    assert!(operator.get(("daemonset", NAMESPACE, "spod"))?.is_null() && operator.get(SPOD)?.is_null());
    Ok(())
}

/// The existing operator declares the state `Error` and never sets it.
#[test]
fn a_spod_that_cannot_be_applied_is_an_error_until_it_can() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    operator.until("a state", SPOD, |spod| spod["status"]["state"] == "Creating")?;
    let patch = |spec: &str| {
        operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", spec])
    };
    // The API server refuses a toleration of whatever value that names one.
    patch(r#"{"spec":{"tolerations":[{"key":"pool","operator":"Exists","value":"a"}]}}"#)?;
    let spod = operator.until("an error", SPOD, |spod| spod["status"]["state"] == "Error")?;
    let said = ready(&spod);
    assert_eq!((&said["status"], &said["reason"]), (&json!("False"), &json!("Unavailable")));
    assert!(said["message"].as_str().unwrap_or_default().contains("tolerations"), "{said}");
    assert_eq!(said["observedGeneration"], spod["metadata"]["generation"]);
    patch(r#"{"spec":{"tolerations":null}}"#)?;
    operator.until("no error", SPOD, |spod| spod["status"]["state"] == "Creating")?;
    Ok(())
}

#[test]
fn another_replica_takes_over_when_the_leader_is_killed() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    const LEASE: Named<'_> = ("lease", NAMESPACE, "security-profiles-operator-lock");
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    operator.node("a")?;
    operator.manager("first", &[])?;
    operator.until("a leader", LEASE, |lease| holder(lease) == "first")?;
    operator.manager("second", &[])?;
    operator.until("a SPOD", SPOD, |spod| !spod.is_null())?;
    thread::sleep(Duration::from_secs(3));
    assert_eq!(holder(&operator.get(LEASE)?), "first", "one that holds it keeps it");

    // kill -9: nothing is released.
    let start = Instant::now();
    operator.server.kill("first")?;
    operator.until("the other leads", LEASE, |lease| holder(lease) == "second")?;
    println!("taken over after {:?}", start.elapsed());
    profile(&operator, "web")?;
    report(&operator, "a", "web", "Installed", "")?;
    operator.until("a status by the other", seccomp("web"), |p| ready(p)["status"] == "True")?;

    // One that is told to end gives the Lease back, so the next need not wait.
    operator.manager("third", &[])?;
    assert!(operator.server.terminate("second")?.success());
    let start = Instant::now();
    operator.until("the third leads", LEASE, |lease| holder(lease) == "third")?;
    println!("handed over after {:?}", start.elapsed());
    // A leader that begins tells nothing that was told before.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(events(&operator, "web")?, [("Installed".to_owned(), "Normal".to_owned())]);
    Ok(())
}

#[test]
fn profiles_in_use_stay_and_vanished_nodes_do_not_matter() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    for node in ["a", "a-b", "away", "gone"] {
        operator.node(node)?;
    }
    operator.node_is_ready("away", false)?;
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    profile(&operator, "web")?;
    for node in ["a", "a-b"] {
        report(&operator, node, "web", "Installed", "")?;
    }
    let web = operator.until("two of three", seccomp("web"), |p| p["status"]["nodes"] == "2/3")?;
    assert_eq!(web["status"]["status"], "Pending");
    // The node that has said nothing goes, and the one that is not ready freezes nothing.
    operator.kubectl(&["delete", "node", "gone"])?;
    let web = operator.until("ready", seccomp("web"), |p| ready(p)["status"] == "True")?;
    assert!(ready(&web)["message"].as_str().unwrap_or_default().contains("away"), "{web}");
    // Nor does what it said before stay for ever.
    report(&operator, "gone", "web", "Error", "from the past")?;
    let status = ("securityprofilenodestatuses", "production", "seccomp-web-gone");
    operator.until("the status of a node that is gone", status, Value::is_null)?;
    let web = operator.get(("seccompprofiles", "production", "web"))?;
    assert_eq!(ready(&web)["status"], "True", "{web}");

    // Pods of every form hold it.
    let localhost =
        |path: &str| json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": path } });
    let with = |name: &str, init: Value, container: Value| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "production" },
            "spec": { "initContainers": [{ "name": "i", "image": "i", "securityContext": init }],
                "containers": [{ "name": "c", "image": "c", "securityContext": container }] } })
    };
    operator.apply(&with("long", json!({}), localhost("operator/production/web.json")))?;
    operator.apply(&with("short", localhost("operator/web.json"), json!({})))?;
    let web = operator.until("in use", seccomp("web"), |p| p["status"]["activeWorkloadCount"] == 2)?;
    assert_eq!(web["metadata"]["finalizers"], json!(["in-use-by-active-pods"]));
    assert_eq!(web["status"]["activeWorkloads"], json!(["production/long", "production/short"]));
    // As the existing operator leaves it.
    let finalizers = json!({ "metadata": { "finalizers": ["in-use-by-active-pods", "gone-deleted"] } });
    let patch = finalizers.to_string();
    operator.kubectl(&[
        "patch",
        "seccompprofile",
        "web",
        "-n",
        "production",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    operator.kubectl(&["delete", "seccompprofile", "web", "-n", "production", "--wait=false"])?;
    let web = operator.until("terminating", seccomp("web"), |p| p["status"]["status"] == "Terminating")?;
    assert!(ready(&web)["message"].as_str().unwrap_or_default().contains("used by 2 pods"), "{web}");
    for pod in ["long", "short"] {
        let arguments = ["delete", "pod", pod, "-n", "production", "--force", "--grace-period=0"];
        operator.kubectl(&arguments)?;
    }
    operator.until("gone with its last pod", seccomp("web"), Value::is_null)?;
    // There is no garbage collector here: what nobody else collects, the manager does.
    let status = ("securityprofilenodestatuses", "production", "seccomp-web-a");
    operator.until("the status of a profile that is gone", status, Value::is_null)?;

    // SELinux and AppArmor profiles are held the same way, and by ephemeral containers too.
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SelinuxProfile",
        "metadata": { "name": "selinux", "namespace": "production" }, "spec": { "allow": {} } }))?;
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "AppArmorProfile",
        "metadata": { "name": "apparmor", "namespace": "production" }, "spec": { "abstract": {} } }))?;
    let pod = with("both", json!({ "seLinuxOptions": { "type": "selinux.process" } }), json!({}));
    operator.apply(&pod)?;
    let patch = |subresource: &str, patch: Value| {
        let subresource = format!("--subresource={subresource}");
        operator.kubectl(&[
            "patch",
            "pod",
            "both",
            "-n",
            "production",
            &subresource,
            "-p",
            &patch.to_string(),
        ])
    };
    let context = json!({ "appArmorProfile": { "type": "Localhost", "localhostProfile": "apparmor" } });
    let ephemeral = json!([{ "name": "e", "image": "e", "securityContext": context }]);
    patch("ephemeralcontainers", json!({ "spec": { "ephemeralContainers": ephemeral } }))?;
    for (resource, name) in [("selinuxprofiles", "selinux"), ("apparmorprofiles", "apparmor")] {
        operator.until("in use", (resource, "production", name), |profile| {
            profile["metadata"]["finalizers"] == json!(["in-use-by-active-pods"])
                && profile["status"]["activeWorkloads"] == json!(["production/both"])
        })?;
    }
    // A pod that has ended uses nothing.
    patch("status", json!({ "status": { "phase": "Succeeded" } }))?;
    operator.until("free", ("selinuxprofiles", "production", "selinux"), |profile| {
        profile["metadata"]["finalizers"].is_null() && profile["status"]["activeWorkloads"].is_null()
    })?;
    Ok(())
}

#[test]
fn it_converges_after_outages_and_repairs_what_others_change() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;

    // What is deleted or changed comes back.
    operator.kubectl(&["delete", "daemonset", "spod", "-n", NAMESPACE])?;
    operator.until("agents again", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    let other = r#"{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}"#;
    operator.kubectl(&["patch", "daemonset", "spod", "-n", NAMESPACE, "--type=merge", "-p", other])?;
    operator.until("repaired agents", ("daemonset", NAMESPACE, "spod"), |d| {
        d["spec"]["template"]["spec"]["serviceAccountName"] == "spod"
    })?;
    let secret = ("secret", NAMESPACE, "webhook-server-cert");
    let before = operator.get(secret)?;
    operator.kubectl(&["delete", "secret", secret.2, "-n", NAMESPACE])?;
    operator.until("a certificate again", secret, |found| {
        !found.is_null() && found["metadata"]["uid"] != before["metadata"]["uid"]
    })?;

    for server in ["api", "etcd"] {
        operator.server.kill(server)?;
        thread::sleep(Duration::from_secs(2));
        operator.server.start_again(server)?;
        operator.server.wait_until_ready()?;
        let name = format!("after-{server}");
        let start = Instant::now();
        while profile(&operator, &name).is_err() && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(500));
        }
        report(&operator, "a", &name, "Installed", "")?;
        operator.until("it converges", seccomp(&name), |p| ready(p)["status"] == "True")?;
        println!("{server}: converged after {:?}", start.elapsed());
    }
    Ok(())
}

#[test]
fn an_operator_that_is_deleted_holds_nothing_any_more() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    let image = "security-profiles-operator=example.org/spo:1";
    operator.kubectl(&["set", "image", "deployment/security-profiles-operator", image, "-n", NAMESPACE])?;
    operator.manager("first", &[])?;
    // What is rendered runs the operator's own image.
    let agents = operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    assert_eq!(agents["spec"]["template"]["spec"]["containers"][0]["image"], "example.org/spo:1");
    profile(&operator, "web")?;
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "namespace": "production" },
        "spec": { "containers": [{ "name": "c", "image": "c" }], "securityContext": { "seccompProfile":
            { "type": "Localhost", "localhostProfile": "operator/production/web.json" } } } }))?;
    operator.until("in use", seccomp("web"), |p| !p["metadata"]["finalizers"].is_null())?;
    operator.kubectl(&["delete", "deployment", "security-profiles-operator", "-n", NAMESPACE])?;
    operator.until("released", seccomp("web"), |p| p["metadata"]["finalizers"].is_null())?;
    thread::sleep(Duration::from_secs(2));
    operator.kubectl(&["delete", "seccompprofile", "web", "-n", "production", "--timeout=10s"])?;
    Ok(())
}

/// Where profiles stand is in the manager's metrics, for those who may read them, and as long as there are profiles.
#[test]
fn metrics_say_where_profiles_stand_to_those_who_may_know() -> Result<(), Box<dyn Error>> {
    if !installed("api-server", &["curl"]) {
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    for account in ["default", "stranger"] {
        operator.kubectl(&["create", "serviceaccount", account, "-n", NAMESPACE])?;
    }
    let (port, directory) = (free_port()?, operator.metrics_certificate()?);
    operator.manager("first", &[&format!("--metrics-port={port}"), "--metrics-cert-dir", &directory])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    let get = |headers: &[&str]| operator.scrape(port, "/metrics", headers);

    // Not without a token, nor with one of somebody who may not.
    operator.holds("it asks who is there", || Ok(get(&[])?.1.starts_with("401")))?;
    let (body, end) = get(&["Authorization: Bearer nonsense"])?;
    assert!(end.starts_with("401"), "{end}: {body}");
    let (body, end) = get(&[&operator.bearer("stranger")?])?;
    assert!(end.starts_with("403") && !body.contains("profile_state"), "{end}: {body}");
    let good = operator.bearer("default")?;
    let states = || -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
        let (body, end) = get(&[&good])?;
        assert!(end.starts_with("200 text/plain; version=0.0.4"), "{end}: {body}");
        let series = body.lines().filter_map(|line| {
            line.strip_prefix("security_profiles_operator_profile_state")?.rsplit_once(' ')
        });
        series.map(|(labels, count)| Ok((labels.to_owned(), count.parse()?))).collect()
    };
    // The operator's own profiles count as any other; nobody reports about them here.
    let of = |kind: &str, state: &str| format!("{{kind=\"{kind}\",state=\"{state}\"}}");
    let [pending, installed, error] = ["Pending", "Installed", "Error"].map(|s| of("SeccompProfile", s));
    operator.until("the operator's own", ("seccompprofiles", NAMESPACE, "crun-v1.26"), |p| {
        p["status"]["status"] == "Pending"
    })?;
    let bases = operator.list("seccompprofiles", NAMESPACE, "")?.len() as u64;
    operator.holds("only the operator's own", || Ok(states()? == [(pending.clone(), bases)].into()))?;
    for (name, state) in [("one", "Installed"), ("two", "Installed"), ("three", "Error"), ("four", "")] {
        profile(&operator, name)?;
        if !state.is_empty() {
            report(&operator, "a", name, state, "as the test wants it")?;
        }
    }
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SelinuxProfile",
        "metadata": { "name": "selinux", "namespace": "production" }, "spec": { "allow": {} } }))?;
    let selinux = of("SelinuxProfile", "Pending");
    let wanted = [(pending.clone(), bases + 1), (installed, 2), (error, 1), (selinux.clone(), 1)];
    let mut last = BTreeMap::new();
    let counted = operator.holds("all are counted", || {
        last = states()?;
        Ok(last == wanted.clone().into())
    });
    counted.map_err(|error| format!("{error}: {last:?}"))?;
    // What is gone has no series, not one of 0.
    operator.kubectl(&["delete", "seccompprofiles", "--all", "-n", "production", "--timeout=60s"])?;
    operator
        .holds("nothing is left", || Ok(states()? == [(pending.clone(), bases), (selinux.clone(), 1)].into()))
}

/// Many nodes report about many profiles at once. The existing operator writes each profile once for each report.
#[test]
fn a_roll_out_costs_two_writes_for_each_profile_at_most() -> Result<(), Box<dyn Error>> {
    const PROFILES: usize = 60;
    let nodes = ["a", "b", "c", "d"];
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    for node in nodes {
        operator.node(node)?;
    }
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    thread::sleep(Duration::from_secs(2));
    let mut log = operator.audit()?;
    let lists = |operator: &Operator| -> Result<usize, Box<dyn Error>> {
        let log = fs::read_to_string(operator.server.dir().join("audit.log"))?;
        let ours = |line: &&str| {
            line.contains("\"username\":\"system:serviceaccount:security-profiles-operator:")
                && line.contains("\"verb\":\"list\"")
                && line.contains("\"resource\":\"nodes\"")
        };
        Ok(log.lines().filter(ours).count())
    };
    let listed = lists(&operator)?;
    let profile = |i: usize| {
        json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": format!("p-{i}"), "namespace": "production" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                { "action": "SCMP_ACT_ALLOW", "names": ["read", "write", "exit_group"] }] } })
    };
    let list = |items: Vec<Value>| json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    operator.apply_text(&list((0..PROFILES).map(profile).collect()))?;
    let made = operator.kubectl(&["get", "seccompprofiles", "-n", "production", "-o", "json"])?;
    let made: Value = serde_json::from_str(&made)?;
    // In one object for each node, as nodes of large clusters report.
    let states: serde_json::Map<String, Value> = made["items"]
        .as_array()
        .ok_or("no list")?
        .iter()
        .map(|p| {
            let name = p["metadata"]["name"].as_str().unwrap_or_default();
            (
                format!("SeccompProfile/production/{name}"),
                json!(format!("Installed@{}", p["metadata"]["generation"])),
            )
        })
        .collect();
    let statuses = nodes.iter().map(|node| {
        json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfileNodeStatus",
            "metadata": { "name": format!("node-{node}"), "namespace": NAMESPACE },
            "spec": { "nodeName": node }, "status": { "profiles": states } })
    });
    operator.apply_text(&list(statuses.collect()))?;
    let start = Instant::now();
    for i in 0..PROFILES {
        let name = format!("p-{i}");
        operator.until("ready", seccomp(&name), |p| ready(p)["status"] == "True")?;
    }
    println!("all ready {:?} after the last report", start.elapsed());
    thread::sleep(Duration::from_secs(2));
    let writes = log.writes_of(NAMESPACE)?;
    println!("{} writes for {PROFILES} profiles on {} nodes", writes.len(), nodes.len());
    assert!(writes.len() <= 2 * PROFILES, "{writes:?}");
    // The existing operator lists all nodes twice for each report.
    assert_eq!(lists(&operator)?, listed, "nodes are listed while profiles roll out");
    let pid = operator.server.pid("first")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
