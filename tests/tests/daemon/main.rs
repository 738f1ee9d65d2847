//! The agent on a real API server: several nodes, each a folder, with the rights that the agent's service account has.

mod leaving;

use std::{
    error::Error,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::commands,
    audit::Write,
    binary, installed,
    objects::text,
    operator::{Admission, GROUP, NAMESPACE, Operator, Ports, http},
    skip, workspace,
};

type Outcome = Result<(), Box<dyn Error>>;

/// What a node says about a profile: profile, node, state, message.
type Said = [String; 4];

/// One cluster at a time: what is measured should not depend on the others.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds nodes with agents that are ready, and the settings that a manager makes before there are agents.
fn agents(operator: &mut Operator, nodes: &[&str], flags: &[&str]) -> Result<Vec<Ports>, Box<dyn Error>> {
    if operator.list("spod", NAMESPACE, "")?.is_empty() {
        operator.apply(&settings(&json!({})))?;
    }
    let start = |node: &&str| {
        operator.node(node)?;
        operator.agent(node, flags)
    };
    nodes.iter().map(start).collect()
}

/// What all nodes say about all profiles, in order.
fn said(operator: &Operator) -> Result<Vec<Said>, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |item: &Value| {
        let (status, owner) = (&item["status"], &item["metadata"]["ownerReferences"][0]["name"]);
        [owner, &item["spec"]["nodeName"], &status["status"], &status["message"]].map(text)
    };
    let mut found: Vec<Said> = operator.list("spns", "", "")?.iter().map(of).collect();
    found.sort();
    Ok(found)
}

/// Waits until every node says the same about some profiles. Gives back the messages.
fn until_state(
    operator: &Operator,
    profiles: &[&str],
    nodes: &[&str],
    state: &str,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut last = Vec::new();
    let found = operator.holds(&format!("{profiles:?} {state}"), || {
        last = said(operator)?;
        last.retain(|[profile, ..]| profiles.contains(&profile.as_str()));
        let right = |[_, node, said, _]: &Said| nodes.contains(&node.as_str()) && said == state;
        Ok(last.len() == nodes.len() * profiles.len() && last.iter().all(right))
    });
    found.map_err(|error| format!("{error}: {last:?}"))?;
    Ok(last.into_iter().map(|[.., message]| message).collect())
}

/// What agents have written so far.
fn agent_writes(operator: &Operator) -> Result<Vec<Write>, Box<dyn Error>> {
    Ok(operator.written()?.into_iter().filter(|write| write.user == "spod").collect())
}

/// How often agents have written statuses so far.
fn status_writes(operator: &Operator) -> Result<usize, Box<dyn Error>> {
    let writes = agent_writes(operator)?;
    Ok(writes.iter().filter(|write| write.resource == "securityprofilenodestatuses").count())
}

/// What agents have asked for without changing it: whether a watch, and the path with its query.
fn agent_reads(operator: &Operator) -> Result<Vec<String>, Box<dyn Error>> {
    let log = read(&operator.server.dir().join("audit.log"))?;
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reads = entries.filter(|entry| {
        let agent = entry["user"]["username"].as_str().is_some_and(|name| name.ends_with(":spod"));
        agent && ["get", "list", "watch"].iter().any(|verb| entry["verb"] == *verb)
    });
    Ok(reads.filter_map(|entry| entry["requestURI"].as_str().map(str::to_owned)).collect())
}

fn profile(name: &str, syscalls: &[&str], base: Option<&str>) -> Value {
    let mut profile = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": name, "namespace": "production" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": syscalls }] },
    });
    if let Some(base) = base {
        profile["spec"]["baseProfileName"] = json!(base);
    }
    profile
}

fn settings(spec: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "spod", "namespace": NAMESPACE }, "spec": spec })
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[test]
fn profiles_land_on_every_node_with_one_write_each() -> Outcome {
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    let nodes = ["node-a", "node-b", "node-c"];
    let flags = ["--with-insecure-metrics-access", "--with-apparmor", "--with-selinux"];
    let ports = agents(&mut operator, &nodes, &flags)?;
    // Section 2 of the guide, but in the version that is stored: nobody converts here.
    let guide = fs::read_to_string(workspace().join("examples/guide/02-seccomp.yaml"))?;
    operator.apply_text(&guide.replace("/v1beta1\n", "/v1\n"))?;
    until_state(&operator, &["restricted-workload"], &nodes, "Installed")?;
    for node in nodes {
        let file: Value = serde_json::from_str(&read(&operator.file(node, "restricted-workload"))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO", "{node}: {file}");
    }
    assert_eq!(status_writes(&operator)?, 3, "{:?}", operator.written()?);
    let statuses = operator.list("spns", "production", "")?;
    let first = &statuses[0];
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "SeccompProfile", "{first}");
    assert_eq!(first["metadata"]["labels"]["spo.x-k8s.io/profile-kind"], "SeccompProfile");
    assert_eq!(first["status"]["observedGeneration"], 1);

    // Many at once: one write each. A change: one more each. Somebody else's label or annotation: none.
    let many: Vec<Value> = (0..20).map(|i| profile(&format!("p{i}"), &["read", "write"], None)).collect();
    operator.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": many }))?;
    let names: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
    until_state(&operator, &names.iter().map(String::as_str).collect::<Vec<_>>(), &nodes, "Installed")?;
    assert_eq!(status_writes(&operator)?, 3 + 20 * 3);
    operator.apply(&profile("p0", &["read", "write", "close"], None))?;
    operator.holds("the change is on the nodes", || {
        Ok(nodes.iter().all(|node| read(&operator.file(node, "p0")).is_ok_and(|file| file.contains("close"))))
    })?;
    operator.holds("the change is reported", || Ok(status_writes(&operator)? == 3 + 20 * 3 + 3))?;
    operator.kubectl(&["label", "seccompprofile", "p1", "-n", "production", "a=b"])?;
    operator.kubectl(&["annotate", "seccompprofile", "p1", "-n", "production", "a=b"])?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(status_writes(&operator)?, 66, "nothing changed");

    // A restart, polite or not, writes nothing and leaves everything.
    let before = fs::metadata(operator.file("node-a", "p0"))?.modified()?;
    let written = agent_writes(&operator)?;
    operator.server.kill("node-a")?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports[0])?;
    thread::sleep(Duration::from_secs(1));
    assert_eq!(agent_writes(&operator)?, written, "a restart writes nothing at all");
    assert_eq!(fs::metadata(operator.file("node-a", "p0"))?.modified()?, before);

    // Deletion. Nobody collects garbage here, so the agents do it themselves.
    operator.kubectl(&["delete", "seccompprofile", "p0", "-n", "production"])?;
    operator
        .holds("the files are gone", || Ok(nodes.iter().all(|node| !operator.file(node, "p0").exists())))?;
    operator.holds("the statuses are gone", || {
        Ok(!said(&operator)?.iter().any(|[profile, ..]| profile == "p0"))
    })?;

    // What a finalizer holds stays until it is let go.
    let mut held = profile("held", &["read"], None);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    operator.apply(&held)?;
    until_state(&operator, &["held"], &nodes, "Installed")?;
    operator.kubectl(&["delete", "seccompprofile", "held", "-n", "production", "--wait=false"])?;
    until_state(&operator, &["held"], &nodes, "Terminating")?;
    assert!(operator.file("node-b", "held").exists());
    let free = r#"{"metadata":{"finalizers":null}}"#;
    operator.kubectl(&["patch", "seccompprofile", "held", "-n", "production", "--type=merge", "-p", free])?;
    operator.holds("it is gone", || Ok(!operator.file("node-b", "held").exists()))?;

    // Metrics, in both formats.
    let metrics = http(ports[1].serving, "/metrics-spod").unwrap_or_default();
    assert!(
        metrics.contains("security_profiles_operator_seccomp_profile_total{operation=\"update\"} 23\n"),
        "{metrics}"
    );

    // Success is counted for every kind, and so is the end.
    for (kind, plural, counter, spec) in [
        (
            "AppArmorProfile",
            "apparmorprofiles",
            "apparmor",
            json!({ "abstract": { "filesystem": { "readOnlyPaths": ["/etc/hosts"] } } }),
        ),
        (
            "SelinuxProfile",
            "selinuxprofiles",
            "selinux",
            json!({ "inherit": [{ "kind": "System", "name": "container" }] }),
        ),
    ] {
        let name = format!("counted-{counter}");
        operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind,
            "metadata": { "name": name, "namespace": "production" }, "spec": spec }))?;
        until_state(&operator, &[&name], &nodes, "Installed")?;
        let counted = |operation: &str| {
            let line = format!(
                "security_profiles_operator_{counter}_profile_total{{operation=\"{operation}\"}} 1\n"
            );
            http(ports[1].serving, "/metrics-spod").unwrap_or_default().contains(&line)
        };
        assert!(counted("update"), "{counter}");
        operator.kubectl(&["delete", plural, &name, "-n", "production"])?;
        operator.holds("the end is counted", || Ok(counted("delete")))?;
    }

    // Nobody asks for what is of another node, for a pod or for a node.
    let reads = agent_reads(&operator)?;
    let of_statuses: Vec<&String> =
        reads.iter().filter(|path| path.contains("/securityprofilenodestatuses?")).collect();
    assert!(of_statuses.len() >= nodes.len());
    for path in of_statuses {
        assert!(path.contains("labelSelector=spo.x-k8s.io%2Fnode-name%3Dnode-"), "{path}");
    }
    for path in &reads {
        assert!(!path.contains("/pods") && !path.contains("/nodes"), "{path}");
    }
    assert!(metrics.contains("# TYPE security_profiles_operator_seccomp_profile_audit_total counter\n"));
    Ok(())
}

#[test]
fn administrators_crashes_and_outages() -> Outcome {
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    let nodes = ["node-a", "node-b"];
    let ports = agents(&mut operator, &nodes, &["--with-insecure-metrics-access"])?;

    // A base that comes later.
    operator.apply(&profile("user", &["read"], Some("base")))?;
    let messages = until_state(&operator, &["user"], &nodes, "Error")?;
    assert!(messages.iter().all(|message| message.contains("base")), "{messages:?}");
    operator.apply(&profile("base", &["mount"], None))?;
    until_state(&operator, &["user", "base"], &nodes, "Installed")?;
    assert!(read(&operator.file("node-a", "user"))?.contains("mount"));

    // What an administrator forbids: said with every offender, gone from the nodes, and nobody's object is deleted.
    operator.apply(&profile("wild", &["read", "bpf", "mount"], None))?;
    until_state(&operator, &["wild"], &nodes, "Installed")?;
    let strict = json!({ "security": { "allowedSyscalls": ["read", "write", "close"] } });
    operator.apply(&settings(&strict))?;
    for message in until_state(&operator, &["wild"], &nodes, "Error")? {
        assert!(message.starts_with("not allowed: "), "{message}");
        assert!(message.contains("bpf") && message.contains("mount"), "{message}");
    }
    assert!(!operator.file("node-a", "wild").exists(), "no new container may get it");
    operator.kubectl(&["get", "seccompprofile", "wild", "-n", "production"])?;
    operator.holds("there is an event", || {
        let events = operator.list("events", "production", "")?;
        let about = |event: &Value| {
            event["reason"] == "ProfileNotAllowed" && event["involvedObject"]["name"] == "wild"
        };
        Ok(events.iter().any(about))
    })?;
    let metrics = http(ports[0].serving, "/metrics-spod").unwrap_or_default();
    assert!(metrics.contains("seccomp_profile_error_total{reason=\"ProfileNotAllowed\"}"), "{metrics}");
    operator.apply(&settings(&json!({})))?;
    until_state(&operator, &["wild", "user", "base"], &nodes, "Installed")?;

    // One object for each node, and back.
    operator.apply(&settings(&json!({ "statusMode": "PerNode" })))?;
    operator.holds("each node has one object", || {
        let items = operator.list("spns", "", "")?;
        let good = |item: &Value| {
            item["metadata"]["namespace"] == NAMESPACE
                && item["status"]["profiles"]["SeccompProfile/production/wild"]
                    .as_str()
                    .is_some_and(|said| said.starts_with("Installed@1/"))
        };
        Ok(items.len() == nodes.len() && items.iter().all(good))
    })?;
    let before = status_writes(&operator)?;
    let many: Vec<Value> = (0..40).map(|i| profile(&format!("p{i}"), &["read", "write"], None)).collect();
    operator.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": many }))?;
    operator.until("all are reported", ("spns", NAMESPACE, "node-node-b"), |one| {
        one["status"]["profiles"].as_object().is_some_and(|profiles| profiles.len() == 43)
    })?;
    let writes = status_writes(&operator)? - before;
    assert!(writes < 40, "{writes} writes for 40 profiles on 2 nodes");
    operator.server.kill("node-a")?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports[0])?;
    thread::sleep(Duration::from_secs(1));
    assert_eq!(status_writes(&operator)? - before, writes, "a restart changes nothing");
    operator.apply(&settings(&json!({})))?;
    let names: Vec<String> = (0..40).map(|i| format!("p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    until_state(&operator, &names, &nodes, "Installed")?;
    operator.holds("the objects of the nodes are gone", || {
        let list = operator.kubectl(&["get", "spns", "-n", NAMESPACE, "-o", "name"])?;
        Ok(!list.contains("node-node"))
    })?;

    // Killed in the middle of a roll-out.
    let more: Vec<Value> = (0..60).map(|i| profile(&format!("q{i}"), &["read", "openat"], None)).collect();
    let more = json!({ "apiVersion": "v1", "kind": "List", "items": more });
    for _ in 0..3 {
        thread::scope(|scope| -> Outcome {
            let (config, more) = (operator.server.kubeconfig(), &more);
            let apply = scope.spawn(move || kubectl_apply(&config, more));
            thread::sleep(Duration::from_millis(400));
            operator.server.kill("node-a")?;
            operator.server.start_again("node-a")?;
            apply.join().map_err(|_| "kubectl ends")?.map_err(Into::into)
        })?;
    }
    let names: Vec<String> = (0..60).map(|i| format!("q{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    until_state(&operator, &names, &nodes, "Installed")?;
    for name in &names {
        let file: Value = serde_json::from_str(&read(&operator.file("node-a", name))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO");
    }
    let folder = operator.file("node-a", "q0");
    let left = fs::read_dir(folder.parent().ok_or("a folder")?)?.count();
    assert_eq!(left, 3 + 40 + 60, "nothing half-written is left");

    // The API server goes, and comes back with the same data. Nothing is removed meanwhile.
    operator.server.kill("api")?;
    thread::sleep(Duration::from_secs(2));
    assert!(operator.file("node-a", "q0").exists() && operator.file("node-b", "wild").exists());
    operator.server.start_again("api")?;
    operator.server.wait_until_ready()?;
    let before = status_writes(&operator)?;
    operator.apply(&profile("after", &["read"], None))?;
    until_state(&operator, &["after"], &nodes, "Installed")?;
    assert!(operator.file("node-a", "q0").exists() && operator.file("node-b", "wild").exists());
    assert_eq!(status_writes(&operator)? - before, 2, "what was said is not said again");

    // Somebody else writes our objects again and again: it ends well, and without a fight.
    let list = operator.kubectl(&["get", "spns", "-n", "production", "-o", "name"])?;
    let after = list
        .lines()
        .find(|line| line.contains("/seccomp-after-") && line.ends_with("-node-a-6"))
        .ok_or("its status")?;
    let before = status_writes(&operator)?;
    for i in 0..10 {
        let state = if i % 2 == 0 { "Error" } else { "Pending" };
        let patch =
            json!({ "status": { "status": state }, "metadata": { "labels": { "x": i.to_string() } } });
        operator.kubectl(&["patch", after, "-n", "production", "--type=merge", "-p", &patch.to_string()])?;
    }
    until_state(&operator, &["after"], &nodes, "Installed")?;
    let writes = status_writes(&operator)? - before;
    assert!((1..=10).contains(&writes), "{writes} writes against 10");
    Ok(())
}

fn kubectl_apply(kubeconfig: &Path, document: &Value) -> Result<(), String> {
    let kubectl = commands().ok_or("there is no kubectl")?.join("kubectl");
    let file = kubeconfig.with_file_name("many.json");
    fs::write(&file, document.to_string()).map_err(|e| e.to_string())?;
    let mut command = Command::new(kubectl);
    command.args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(&file);
    let output = command.env("KUBECONFIG", kubeconfig).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(text(&output)) }
}

#[test]
fn readers_of_metrics_and_the_end() -> Outcome {
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    if !installed("api-server", &["curl"]) {
        return Ok(());
    }
    let directory = operator.metrics_certificate()?;
    let flags = ["--metrics-cert-dir", &directory];
    for account in ["default", "stranger"] {
        operator.kubectl(&["create", "serviceaccount", account, "-n", NAMESPACE])?;
    }
    let ports = agents(&mut operator, &["node-a"], &flags)?[0];
    operator.apply(&profile("web", &["read"], None))?;
    until_state(&operator, &["web"], &["node-a"], "Installed")?;

    // Who may read: nobody without a token, and of those who have one, who may get the path.
    let get = |path: &str, headers: &[&str]| operator.scrape(ports.serving, path, headers);
    operator.holds("there is a certificate", || Ok(get("/metrics", &[])?.1.starts_with("401")))?;
    let good = operator.bearer("default")?;
    let (body, end) = get("/metrics-spod", &[&good])?;
    assert!(end.starts_with("200 text/plain; version=0.0.4"), "{end}: {body}");
    assert!(
        body.contains("security_profiles_operator_seccomp_profile_total{operation=\"update\"} 1\n"),
        "{body}"
    );
    let (body, end) = get("/metrics", &[&good, "Accept: application/openmetrics-text"])?;
    assert!(
        end.starts_with("200 application/openmetrics-text") && body.ends_with("# EOF\n"),
        "{end}: {body}"
    );
    let stranger = operator.bearer("stranger")?;
    let (body, end) = get("/metrics-spod", &[&stranger])?;
    assert!(end.starts_with("403") && body.contains("stranger"), "{end}: {body}");
    let (body, end) = get("/metrics-spod", &["Authorization: Bearer nonsense"])?;
    assert!(end.starts_with("401") && body.contains("not valid"), "{end}: {body}");
    assert!(get("/metrics-spod", &["Authorization: Basic YTpi"])?.1.starts_with("401"));
    assert!(get("/nothing", &[&good])?.1.starts_with("404"));
    Ok(())
}

/// Case 1 of the existing acceptance suite: the folder of the operator belongs to the agent's user and has mode 744. What
/// we put there nobody else can write, and all of it is regular files, whatever lay there before.
#[test]
fn files_on_a_node_are_the_agents_alone() -> Outcome {
    const USER: u32 = 65535;
    let _turn = turn();
    if fs::metadata("/proc/self")?.uid() != 0 {
        skip("api-server", "an agent of another user needs root");
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    if !installed("api-server", &["setpriv"]) {
        return Ok(());
    }
    operator.apply(&settings(&json!({})))?;
    operator.node("node-a")?;
    operator.prepare("node-a", USER)?;
    let ports = operator.unprivileged_agent("node-a", USER)?;
    let profiles = ["profile-allow-unsafe", "profile-complain-unsafe", "profile-block-all"];
    for name in profiles {
        operator.apply(&profile(name, &["read"], None))?;
    }
    until_state(&operator, &profiles, &["node-a"], "Installed")?;

    let top = operator.root("node-a").join("var/lib/kubelet/seccomp/operator");
    let of_top = fs::symlink_metadata(&top)?;
    assert_eq!((of_top.mode(), of_top.uid(), of_top.gid()), (0o040_744, USER, USER));
    let mut found = Vec::new();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(&top)?.display().to_string();
            let of = fs::symlink_metadata(&path)?;
            assert_eq!((of.uid(), of.gid()), (USER, USER), "{name}");
            assert_eq!(of.mode() & 0o022, 0, "others can write {name}: {:o}", of.mode());
            if of.is_dir() {
                folders.push(path);
                continue;
            }
            assert_eq!((of.mode(), of.nlink()), (0o100_644, 1), "{name}");
            found.push(name);
        }
    }
    found.sort();
    let mut wanted: Vec<String> = profiles.iter().map(|name| format!("production/{name}.json")).collect();
    // Under this one the agent itself runs.
    wanted.push("security-profiles-operator.json".to_owned());
    wanted.sort();
    assert_eq!(found, wanted);

    // A link in the place of a file is neither followed nor replaced, and its target stays as it is.
    let target = operator.root("node-a").join("target.json");
    fs::write(&target, "{}")?;
    std::os::unix::fs::chown(&target, Some(USER), Some(USER))?;
    let link = operator.file("node-a", "linked");
    std::os::unix::fs::symlink(&target, &link)?;
    operator.apply(&profile("linked", &["read"], None))?;
    let said = until_state(&operator, &["linked"], &["node-a"], "Error")?;
    assert!(said[0].contains("no regular file"), "{said:?}");
    assert_eq!(read(&target)?, "{}");
    assert!(fs::symlink_metadata(&link)?.is_symlink());
    // Nor does it stop the others.
    operator.apply(&profile("next", &["read"], None))?;
    until_state(&operator, &["next"], &["node-a"], "Installed")?;
    operator.agent_is_ready("node-a", ports)
}

/// A process of a container, seen from which the host's files are elsewhere, runs a command of the host. The host is
/// a process namespace of its own here, whose process 1 has a file that the container has not.
#[test]
fn a_command_of_the_host_is_run_from_a_container() -> Outcome {
    const HOST: &str =
        "mount -t tmpfs host /mnt && echo host > /mnt/mark && unshare --mount sh -c \"$1\" - \"$2\"; exit $?";
    let operator = binary("spo-operator", "spo-operator");
    let inside = |container: &str| {
        let flags = ["--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"];
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", HOST, "-", container]).arg(&operator).output()
    };
    let without = inside("umount /mnt; test ! -e /mnt/mark")?;
    if !without.status.success() {
        skip("host-exec", &format!("no namespaces can be made here: {}", text(&without)));
        return Ok(());
    }
    let said =
        inside("umount /mnt; \"$1\" host-exec -- /bin/sh -c 'cat /mnt/mark; echo \"$@\"; exit 3' - --flag")?;
    assert_eq!((text(&said).as_str(), said.status.code()), ("host\n--flag\n", Some(3)));
    let missing = inside("\"$1\" host-exec -- /no/such/tool")?;
    assert!(!missing.status.success() && text(&missing).contains("/no/such/tool"), "{}", text(&missing));
    Ok(())
}

/// The budget of an agent is 25 MB for 1,000 profiles. What it allocates is measured here: the pages of its program
/// are shared, and larger without optimisation.
#[test]
fn a_thousand_profiles_need_little_memory() -> Outcome {
    const BUDGET: u64 = 18 << 10;
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    let names = fs::read_to_string(workspace().join("spo-model/src/syscall_names.rs"))?;
    let names: Vec<&str> = names
        .split('"')
        .filter(|name| name.len() > 2 && name.bytes().all(|b| b.is_ascii_lowercase()))
        .take(60)
        .collect();
    assert_eq!(names.len(), 60);
    let all: Vec<Value> = (0..1000).map(|i| profile(&format!("p{i:04}"), &names, None)).collect();
    let file = operator.server.dir().join("all.json");
    fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string())?;
    operator.kubectl(&["create", "-f", &file.display().to_string()])?;
    let ports = agents(&mut operator, &["node-a"], &["--with-insecure-metrics-access"])?[0];
    operator.holds("all are reported", || Ok(status_writes(&operator)? == 1000))?;
    let allocated = |operator: &mut Operator| -> Result<u64, Box<dyn Error>> {
        let status = read(Path::new(&format!("/proc/{}/status", operator.server.pid("node-a")?)))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("a line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let first = allocated(&mut operator)?;
    // Again, from what is there: nothing is written.
    operator.server.kill("node-a")?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    thread::sleep(Duration::from_secs(3));
    assert_eq!(status_writes(&operator)?, 1000);
    let second = allocated(&mut operator)?;
    eprintln!("1,000 profiles: {first} kB after installing, {second} kB after a restart");
    assert!(first.max(second) <= BUDGET, "{first} kB, {second} kB");
    Ok(())
}
