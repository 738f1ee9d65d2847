//! The agent on a real API server: several nodes, each a folder, with the rights that the agent's service account has.

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::{ApiServer, commands, free_port},
    binary, installed, skip, workspace,
};

const GROUP: &str = "security-profiles-operator.x-k8s.io";
const OPERATOR: &str = "security-profiles-operator";

type Outcome = Result<(), Box<dyn Error>>;

/// What a node says about a profile: profile, node, state, message.
type Said = [String; 4];

/// One cluster at a time: what is measured should not depend on the others.
static TURN: Mutex<()> = Mutex::new(());

/// A server with our definitions and the agent's rights, and the agents on it.
struct Cluster {
    _turn: MutexGuard<'static, ()>,
    server: ApiServer,
    operator: PathBuf,
    kubeconfig: PathBuf,
}

/// What an agent serves on.
#[derive(Clone, Copy)]
struct Ports {
    health: u16,
    metrics: u16,
}

impl Cluster {
    fn start() -> Result<Option<Self>, Box<dyn Error>> {
        if commands().is_none() {
            skip(
                "api-server",
                "there is no kube-apiserver: run scripts/kubernetes/build or set KUBEBUILDER_ASSETS",
            );
            return Ok(None);
        }
        if !installed("api-server", &["etcd"]) {
            return Ok(None);
        }
        let operator = binary("spo-operator", "spo-operator");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = ApiServer::start_with(
            &["--audit-policy-file=audit.json", "--audit-log-path=audit.log"],
            &[("audit.json", &audit_policy().to_string())],
        )?;
        let mut all = String::new();
        for entry in fs::read_dir(workspace().join("deploy/crds/namespaced"))? {
            let mut definition: Value = serde_saphyr::from_str(&fs::read_to_string(entry?.path())?)?;
            definition["spec"]["conversion"] = json!({ "strategy": "None" });
            all.push_str(&format!("---\n{definition}\n"));
        }
        let mut this = Self { _turn: turn, server, operator, kubeconfig: PathBuf::new() };
        this.kubectl(&["apply", "--server-side", "-f", "-"], &all)?;
        this.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
        for namespace in ["production", OPERATOR] {
            this.kubectl(&["create", "namespace", namespace], "")?;
        }
        this.kubectl(&["apply", "-f", "-"], &rights().to_string())?;
        let token = this.kubectl(&["create", "token", "spod", "-n", OPERATOR], "")?;
        this.kubeconfig = this.server.kubeconfig_of(token.trim())?;
        Ok(Some(this))
    }

    /// Runs kubectl, which has to succeed.
    fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String, Box<dyn Error>> {
        let output = self.server.kubectl(arguments, stdin)?;
        match output.status.success() {
            true => Ok(text(&output)),
            false => Err(format!("kubectl {}: {}", arguments.join(" "), text(&output)).into()),
        }
    }

    fn apply(&self, document: &Value) -> Outcome {
        self.kubectl(&["apply", "-f", "-"], &document.to_string()).map(drop)
    }

    /// Starts an agent and waits until it is ready.
    fn agent(&mut self, node: &str, flags: &[&str]) -> Result<Ports, Box<dyn Error>> {
        let ports = Ports { health: free_port()?, metrics: free_port()? };
        let root = self.root(node);
        fs::create_dir_all(&root)?;
        let mut command = Command::new(&self.operator);
        command
            .args(["daemon", "--health-port", &ports.health.to_string()])
            .args(["--metrics-port", &ports.metrics.to_string(), "--root"])
            .arg(&root)
            .args(flags)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("OPERATOR_NAMESPACE", OPERATOR)
            .env("NODE_NAME", node);
        self.server.spawn(&mut command, &format!("{node}.log"))?;
        self.until_ready(node, ports)?;
        Ok(ports)
    }

    fn until_ready(&self, node: &str, ports: Ports) -> Outcome {
        let log = self.server.dir().join(format!("{node}.log"));
        until(&format!("{node} is ready: {}", log.display()), || {
            let answer = http(ports.health, "/readyz", "");
            Ok(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
        })
        .map_err(|error| format!("{error}: {}", fs::read_to_string(&log).unwrap_or_default()).into())
    }

    fn root(&self, node: &str) -> PathBuf {
        self.server.dir().join("nodes").join(node)
    }

    fn file(&self, node: &str, profile: &str) -> PathBuf {
        self.root(node).join(format!("var/lib/kubelet/seccomp/operator/production/{profile}.json"))
    }

    /// What all nodes say about all profiles, in order.
    fn said(&self) -> Result<Vec<Said>, Box<dyn Error>> {
        let list = self.kubectl(&["get", "spns", "-A", "-o", "json"], "")?;
        let list: Value = serde_json::from_str(&list)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().into_iter().flatten();
        let mut found: Vec<Said> = items
            .map(|item| {
                let (status, owner) = (&item["status"], &item["metadata"]["ownerReferences"][0]["name"]);
                [
                    text(owner),
                    text(&item["spec"]["nodeName"]),
                    text(&status["status"]),
                    text(&status["message"]),
                ]
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// Waits until every node says the same about some profiles. Gives back the messages.
    fn until_state(
        &self,
        profiles: &[&str],
        nodes: &[&str],
        state: &str,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let mut last = Vec::new();
        until(&format!("{profiles:?} {state}"), || {
            last = self.said()?;
            last.retain(|[profile, ..]| profiles.contains(&profile.as_str()));
            let right = |[_, node, said, _]: &Said| nodes.contains(&node.as_str()) && said == state;
            Ok(last.len() == nodes.len() * profiles.len() && last.iter().all(right))
        })
        .map_err(|error| format!("{error}: {last:?}"))?;
        Ok(last.into_iter().map(|[.., message]| message).collect())
    }

    /// The successful writes that agents have made so far: verb, resource, name.
    fn writes(&self) -> Result<Vec<[String; 3]>, Box<dyn Error>> {
        // Lines are written behind the answers.
        thread::sleep(Duration::from_millis(300));
        let log = fs::read_to_string(self.server.dir().join("audit.log"))?;
        let mut writes = Vec::new();
        for line in log.lines() {
            let event: Value = serde_json::from_str(line)?;
            if event["user"]["username"] != format!("system:serviceaccount:{OPERATOR}:spod") {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let what = &event["objectRef"];
            writes.push([text(&event["verb"]), text(&what["resource"]), text(&what["name"])]);
        }
        Ok(writes)
    }

    fn status_writes(&self) -> Result<usize, Box<dyn Error>> {
        let writes = self.writes()?;
        Ok(writes.iter().filter(|[_, resource, _]| resource == "securityprofilenodestatuses").count())
    }
}

/// Only writes, each once, when they are done.
fn audit_policy() -> Value {
    json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"] }] })
}

/// What an agent may do, and no more.
fn rights() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let profiles = [
        "seccompprofiles",
        "selinuxprofiles",
        "rawselinuxprofiles",
        "apparmorprofiles",
        "apparmorprofilealiases",
    ];
    let account = json!({ "name": "spod", "namespace": OPERATOR });
    let subject = json!({ "kind": "ServiceAccount", "name": "spod", "namespace": OPERATOR });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": account },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": OPERATOR } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "stranger", "namespace": OPERATOR } },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "spod" },
          "rules": [
            rule(GROUP, &profiles, &["list", "watch"]),
            rule(GROUP, &["securityprofilenodestatuses"], &["list", "watch", "create", "patch", "delete"]),
            rule("", &["events"], &["create"]),
            rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
            rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
          ] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "spod" },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spod" },
          "subjects": [subject] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": account,
          "rules": [
            rule(GROUP, &["securityprofilesoperatordaemons"], &["list", "watch"]),
            rule("apps", &["daemonsets"], &["get"]),
          ] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": account,
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "spod" },
          "subjects": [subject] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
          "metadata": { "name": "spo-metrics-client" },
          "rules": [{ "nonResourceURLs": ["/metrics", "/metrics-spod"], "verbs": ["get"] }] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
          "metadata": { "name": "spo-metrics-client" },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spo-metrics-client" },
          "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": OPERATOR }] },
    ]})
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
        "metadata": { "name": "spod", "namespace": OPERATOR }, "spec": spec })
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Box<dyn Error>>) -> Outcome {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > Duration::from_secs(45) {
            return Err(format!("waited in vain: {what}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The answer to a request without TLS.
fn http(port: u16, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[test]
fn profiles_land_on_every_node_with_one_write_each() -> Outcome {
    let Some(mut cluster) = Cluster::start()? else { return Ok(()) };
    let nodes = ["node-a", "node-b", "node-c"];
    let mut ports = Vec::new();
    for node in nodes {
        ports.push(cluster.agent(node, &["--with-insecure-metrics-access"])?);
    }
    // Section 2 of the guide, as written.
    let guide = fs::read_to_string(workspace().join("examples/guide/02-seccomp.yaml"))?;
    cluster.kubectl(&["apply", "-f", "-"], &guide)?;
    cluster.until_state(&["restricted-workload"], &nodes, "Installed")?;
    for node in nodes {
        let file: Value = serde_json::from_str(&read(&cluster.file(node, "restricted-workload"))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO", "{node}: {file}");
    }
    assert_eq!(cluster.status_writes()?, 3, "{:?}", cluster.writes()?);
    let list = cluster.kubectl(&["get", "spns", "-n", "production", "-o", "json"], "")?;
    let list: Value = serde_json::from_str(&list)?;
    let first = &list["items"][0];
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "SeccompProfile", "{first}");
    assert_eq!(first["metadata"]["labels"]["spo.x-k8s.io/profile-kind"], "SeccompProfile");
    assert_eq!(first["status"]["observedGeneration"], 1);

    // Many at once: one write each. A change: one more each. Somebody else's label or annotation: none.
    let many: Vec<Value> = (0..20).map(|i| profile(&format!("p{i}"), &["read", "write"], None)).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": many }))?;
    let names: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
    cluster.until_state(&names.iter().map(String::as_str).collect::<Vec<_>>(), &nodes, "Installed")?;
    assert_eq!(cluster.status_writes()?, 3 + 20 * 3);
    cluster.apply(&profile("p0", &["read", "write", "close"], None))?;
    until("the change is on the nodes", || {
        Ok(nodes.iter().all(|node| read(&cluster.file(node, "p0")).is_ok_and(|file| file.contains("close"))))
    })?;
    until("the change is reported", || Ok(cluster.status_writes()? == 3 + 20 * 3 + 3))?;
    cluster.kubectl(&["label", "seccompprofile", "p1", "-n", "production", "a=b"], "")?;
    cluster.kubectl(&["annotate", "seccompprofile", "p1", "-n", "production", "a=b"], "")?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.status_writes()?, 66, "nothing changed");

    // A restart, polite or not, writes nothing and leaves everything.
    let before = fs::metadata(cluster.file("node-a", "p0"))?.modified()?;
    cluster.server.kill("node-a")?;
    cluster.server.start_again("node-a")?;
    cluster.until_ready("node-a", ports[0])?;
    thread::sleep(Duration::from_secs(1));
    assert_eq!(cluster.status_writes()?, 66, "a restart changes nothing: {:?}", cluster.writes()?);
    assert_eq!(fs::metadata(cluster.file("node-a", "p0"))?.modified()?, before);

    // Deletion. Nobody collects garbage here, so the agents do it themselves.
    cluster.kubectl(&["delete", "seccompprofile", "p0", "-n", "production"], "")?;
    until("the files are gone", || Ok(nodes.iter().all(|node| !cluster.file(node, "p0").exists())))?;
    until("the statuses are gone", || Ok(!cluster.said()?.iter().any(|[profile, ..]| profile == "p0")))?;

    // What a finalizer holds stays until it is let go.
    let mut held = profile("held", &["read"], None);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.apply(&held)?;
    cluster.until_state(&["held"], &nodes, "Installed")?;
    cluster.kubectl(&["delete", "seccompprofile", "held", "-n", "production", "--wait=false"], "")?;
    cluster.until_state(&["held"], &nodes, "Terminating")?;
    assert!(cluster.file("node-b", "held").exists());
    let free = r#"{"metadata":{"finalizers":null}}"#;
    cluster
        .kubectl(&["patch", "seccompprofile", "held", "-n", "production", "--type=merge", "-p", free], "")?;
    until("it is gone", || Ok(!cluster.file("node-b", "held").exists()))?;

    // Metrics, in both formats.
    let metrics = http(ports[1].metrics, "/metrics-spod", "").unwrap_or_default();
    assert!(
        metrics.contains("security_profiles_operator_seccomp_profile_total{operation=\"update\"} 23\n"),
        "{metrics}"
    );
    assert!(metrics.contains("# TYPE security_profiles_operator_seccomp_profile_audit_total counter\n"));
    Ok(())
}

#[test]
fn administrators_crashes_and_outages() -> Outcome {
    let Some(mut cluster) = Cluster::start()? else { return Ok(()) };
    let nodes = ["node-a", "node-b"];
    let mut ports = Vec::new();
    for node in nodes {
        ports.push(cluster.agent(node, &["--with-insecure-metrics-access"])?);
    }

    // A base that comes later.
    cluster.apply(&profile("user", &["read"], Some("base")))?;
    let messages = cluster.until_state(&["user"], &nodes, "Error")?;
    assert!(messages.iter().all(|message| message.contains("base")), "{messages:?}");
    cluster.apply(&profile("base", &["mount"], None))?;
    cluster.until_state(&["user", "base"], &nodes, "Installed")?;
    assert!(read(&cluster.file("node-a", "user"))?.contains("mount"));

    // What an administrator forbids: said with every offender, gone from the nodes, and nobody's object is deleted.
    cluster.apply(&profile("wild", &["read", "bpf", "mount"], None))?;
    cluster.until_state(&["wild"], &nodes, "Installed")?;
    let strict = json!({ "security": { "allowedSyscalls": ["read", "write", "close"] } });
    cluster.apply(&settings(&strict))?;
    for message in cluster.until_state(&["wild"], &nodes, "Error")? {
        assert!(message.starts_with("not allowed: "), "{message}");
        assert!(message.contains("bpf") && message.contains("mount"), "{message}");
    }
    assert!(!cluster.file("node-a", "wild").exists(), "no new container may get it");
    cluster.kubectl(&["get", "seccompprofile", "wild", "-n", "production"], "")?;
    until("there is an event", || {
        let events = cluster.kubectl(&["get", "events", "-n", "production", "-o", "json"], "")?;
        let events: Value = serde_json::from_str(&events)?;
        let about = |event: &Value| {
            event["reason"] == "ProfileNotAllowed" && event["involvedObject"]["name"] == "wild"
        };
        Ok(events["items"].as_array().into_iter().flatten().any(about))
    })?;
    let metrics = http(ports[0].metrics, "/metrics-spod", "").unwrap_or_default();
    assert!(metrics.contains("seccomp_profile_error_total{reason=\"ProfileNotAllowed\"}"), "{metrics}");
    cluster.apply(&settings(&json!({})))?;
    cluster.until_state(&["wild", "user", "base"], &nodes, "Installed")?;

    // One object for each node, and back.
    cluster.apply(&settings(&json!({ "statusMode": "PerNode" })))?;
    until("each node has one object", || {
        let list = cluster.kubectl(&["get", "spns", "-A", "-o", "json"], "")?;
        let list: Value = serde_json::from_str(&list)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let good = |item: &Value| {
            item["metadata"]["namespace"] == OPERATOR
                && item["status"]["profiles"]["SeccompProfile/production/wild"] == "Installed@1"
        };
        Ok(items.len() == nodes.len() && items.iter().all(good))
    })?;
    let before = cluster.status_writes()?;
    let many: Vec<Value> = (0..40).map(|i| profile(&format!("p{i}"), &["read", "write"], None)).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": many }))?;
    until("all are reported", || {
        let one = cluster.kubectl(&["get", "spns", "node-node-b", "-n", OPERATOR, "-o", "json"], "")?;
        let one: Value = serde_json::from_str(&one)?;
        Ok(one["status"]["profiles"].as_object().is_some_and(|profiles| profiles.len() == 43))
    })?;
    let writes = cluster.status_writes()? - before;
    assert!(writes < 40, "{writes} writes for 40 profiles on 2 nodes");
    cluster.server.kill("node-a")?;
    cluster.server.start_again("node-a")?;
    cluster.until_ready("node-a", ports[0])?;
    thread::sleep(Duration::from_secs(1));
    assert_eq!(cluster.status_writes()? - before, writes, "a restart changes nothing");
    cluster.apply(&settings(&json!({})))?;
    let names: Vec<String> = (0..40).map(|i| format!("p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.until_state(&names, &nodes, "Installed")?;
    until("the objects of the nodes are gone", || {
        let list = cluster.kubectl(&["get", "spns", "-n", OPERATOR, "-o", "name"], "")?;
        Ok(!list.contains("node-node"))
    })?;

    // Killed in the middle of a roll-out.
    let more: Vec<Value> = (0..60).map(|i| profile(&format!("q{i}"), &["read", "openat"], None)).collect();
    let more = json!({ "apiVersion": "v1", "kind": "List", "items": more });
    for _ in 0..3 {
        thread::scope(|scope| -> Outcome {
            let (config, more) = (cluster.server.kubeconfig(), &more);
            let apply = scope.spawn(move || kubectl_apply(&config, more));
            thread::sleep(Duration::from_millis(400));
            cluster.server.kill("node-a")?;
            cluster.server.start_again("node-a")?;
            apply.join().map_err(|_| "kubectl ends")?.map_err(Into::into)
        })?;
    }
    let names: Vec<String> = (0..60).map(|i| format!("q{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.until_state(&names, &nodes, "Installed")?;
    for name in &names {
        let file: Value = serde_json::from_str(&read(&cluster.file("node-a", name))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO");
    }
    let folder = cluster.file("node-a", "q0");
    let left = fs::read_dir(folder.parent().ok_or("a folder")?)?.count();
    assert_eq!(left, 3 + 40 + 60, "nothing half-written is left");

    // The API server goes, and comes back with the same data. Nothing is removed meanwhile.
    cluster.server.kill("api")?;
    thread::sleep(Duration::from_secs(2));
    assert!(cluster.file("node-a", "q0").exists() && cluster.file("node-b", "wild").exists());
    cluster.server.start_again("api")?;
    cluster.server.wait_until_ready()?;
    let before = cluster.status_writes()?;
    cluster.apply(&profile("after", &["read"], None))?;
    cluster.until_state(&["after"], &nodes, "Installed")?;
    assert!(cluster.file("node-a", "q0").exists() && cluster.file("node-b", "wild").exists());
    assert_eq!(cluster.status_writes()? - before, 2, "what was said is not said again");

    // Somebody else writes our objects again and again: it ends well, and without a fight.
    let list = cluster.kubectl(&["get", "spns", "-n", "production", "-o", "name"], "")?;
    let after = list.lines().find(|line| line.contains("seccomp-after-node-a")).ok_or("its status")?;
    let before = cluster.status_writes()?;
    for i in 0..10 {
        let state = if i % 2 == 0 { "Error" } else { "Pending" };
        let patch =
            json!({ "status": { "status": state }, "metadata": { "labels": { "x": i.to_string() } } });
        cluster
            .kubectl(&["patch", after, "-n", "production", "--type=merge", "-p", &patch.to_string()], "")?;
    }
    cluster.until_state(&["after"], &nodes, "Installed")?;
    let writes = cluster.status_writes()? - before;
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
    let Some(mut cluster) = Cluster::start()? else { return Ok(()) };
    if !installed("api-server", &["curl"]) {
        return Ok(());
    }
    let folder = cluster.server.dir().join("metrics");
    fs::create_dir(&folder)?;
    let (certificate, key) = cluster.server.certificate()?;
    fs::write(folder.join("tls.crt"), certificate)?;
    fs::write(folder.join("tls.key"), key)?;
    let directory = folder.display().to_string();
    let flags = ["--metrics-cert-dir", &directory];
    let ports = cluster.agent("node-a", &flags)?;
    cluster.apply(&profile("web", &["read"], None))?;
    cluster.until_state(&["web"], &["node-a"], "Installed")?;

    // Who may read: nobody without a token, and of those who have one, who may get the path.
    let token = |account: &str| cluster.kubectl(&["create", "token", account, "-n", OPERATOR], "");
    let authority = cluster.server.dir().join("ca.crt");
    let get = |path: &str, headers: &[&str]| -> Result<(String, String), Box<dyn Error>> {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--http1.1", "-w", "\n%{http_code} %{content_type}", "--cacert"])
            .arg(&authority);
        for header in headers {
            command.args(["-H", header]);
        }
        let output = command.arg(format!("https://127.0.0.1:{}{path}", ports.metrics)).output()?;
        let text = text(&output);
        let (body, end) = text.rsplit_once('\n').ok_or(text.clone())?;
        Ok((body.to_owned(), end.to_owned()))
    };
    until("there is a certificate", || Ok(get("/metrics", &[])?.1.starts_with("401")))?;
    let good = format!("Authorization: Bearer {}", token("default")?.trim());
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
    let stranger = format!("Authorization: Bearer {}", token("stranger")?.trim());
    let (body, end) = get("/metrics-spod", &[&stranger])?;
    assert!(end.starts_with("403") && body.contains("stranger"), "{end}: {body}");
    let (body, end) = get("/metrics-spod", &["Authorization: Bearer nonsense"])?;
    assert!(end.starts_with("401") && body.contains("not valid"), "{end}: {body}");
    assert!(get("/metrics-spod", &["Authorization: Basic YTpi"])?.1.starts_with("401"));
    assert!(get("/nothing", &[&good])?.1.starts_with("404"));

    // The end of a pod is not the end of the operator, as long as its DaemonSet is there.
    let daemon_set = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "spod", "namespace": OPERATOR },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    cluster.apply(&daemon_set)?;
    cluster.server.terminate("node-a")?;
    let ledger = cluster.root("node-a").join("var/lib/security-profiles-operator/ledger.json");
    assert!(cluster.file("node-a", "web").exists() && ledger.exists());

    // An API server that does not answer says nothing about it either.
    cluster.server.start_again("node-a")?;
    cluster.until_ready("node-a", ports)?;
    cluster.server.kill("api")?;
    cluster.server.terminate("node-a")?;
    assert!(cluster.file("node-a", "web").exists() && ledger.exists());
    cluster.server.start_again("api")?;
    cluster.server.wait_until_ready()?;

    // Without its DaemonSet the operator is gone, and so is what it put there.
    cluster.server.start_again("node-a")?;
    cluster.until_ready("node-a", ports)?;
    cluster.kubectl(&["delete", "daemonset", "spod", "-n", OPERATOR, "--wait=false"], "")?;
    cluster.server.terminate("node-a")?;
    assert!(!cluster.file("node-a", "web").exists() && !ledger.exists());
    assert!(!cluster.root("node-a").join("var/lib/kubelet/seccomp/operator").exists());
    Ok(())
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
    let Some(mut cluster) = Cluster::start()? else { return Ok(()) };
    let names = fs::read_to_string(workspace().join("spo-model/src/syscall_names.rs"))?;
    let names: Vec<&str> = names
        .split('"')
        .filter(|name| name.len() > 2 && name.bytes().all(|b| b.is_ascii_lowercase()))
        .take(60)
        .collect();
    assert_eq!(names.len(), 60);
    let all: Vec<Value> = (0..1000).map(|i| profile(&format!("p{i:04}"), &names, None)).collect();
    let file = cluster.server.dir().join("all.json");
    fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string())?;
    cluster.kubectl(&["create", "-f", &file.display().to_string()], "")?;
    let ports = cluster.agent("node-a", &["--with-insecure-metrics-access"])?;
    until("all are reported", || Ok(cluster.status_writes()? == 1000))?;
    let allocated = |cluster: &mut Cluster| -> Result<u64, Box<dyn Error>> {
        let status = read(Path::new(&format!("/proc/{}/status", cluster.server.pid("node-a")?)))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("a line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let first = allocated(&mut cluster)?;
    // Again, from what is there: nothing is written.
    cluster.server.kill("node-a")?;
    cluster.server.start_again("node-a")?;
    cluster.until_ready("node-a", ports)?;
    thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.status_writes()?, 1000);
    let second = allocated(&mut cluster)?;
    eprintln!("1,000 profiles: {first} kB after installing, {second} kB after a restart");
    assert!(first.max(second) <= BUDGET, "{first} kB, {second} kB");
    Ok(())
}
