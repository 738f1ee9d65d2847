//! The manager on a real API server: the real binary, simulated nodes, and what it writes.

use std::{
    error::Error,
    fs,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::{ApiServer, commands, free_port},
    binary, installed, skip, workspace,
};

const GROUP: &str = "security-profiles-operator.x-k8s.io";
const NAMESPACE: &str = "security-profiles-operator";
const AUDIT: [&str; 2] = ["--audit-policy-file=audit-policy.yaml", "--audit-log-path=audit.log"];

/// A server with our definitions and namespaces; nobody converts.
struct Cluster {
    server: ApiServer,
    managers: Vec<Manager>,
}

/// A manager; killed at the end.
struct Manager {
    name: String,
    child: Child,
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cluster {
    fn start(flags: &[&str]) -> Result<Option<Self>, Box<dyn Error>> {
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
        let server = ApiServer::start_with(flags)?;
        let this = Self { server, managers: Vec::new() };
        let mut definitions = String::new();
        for entry in fs::read_dir(workspace().join("deploy/crds/namespaced"))? {
            definitions.push_str(&format!("---\n{}", fs::read_to_string(entry?.path())?));
        }
        this.apply_text(&definitions)?;
        this.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        for namespace in [NAMESPACE, "production"] {
            this.kubectl(&["create", "namespace", namespace])?;
        }
        Ok(Some(this))
    }

    fn manager(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let log = fs::File::create(self.log(name))?;
        let child = Command::new(binary("spo-operator", "spo-operator"))
            .args(["manager", "--health-port", &free_port()?.to_string()])
            .env("KUBECONFIG", self.server.kubeconfig())
            .env("OPERATOR_NAMESPACE", NAMESPACE)
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.managers.push(Manager { name: name.to_owned(), child });
        Ok(())
    }

    fn log(&self, manager: &str) -> std::path::PathBuf {
        self.server.dir().join(format!("{manager}.log"))
    }

    fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        self.server.kubectl(arguments, stdin)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        let output = self.try_kubectl(arguments, "")?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(format!("kubectl {arguments:?}: {}", text(&output)).into()),
        }
    }

    fn apply_text(&self, documents: &str) -> Result<(), Box<dyn Error>> {
        let output = self.try_kubectl(&["apply", "--server-side", "-f", "-"], documents)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{documents}: {}", text(&output)).into()),
        }
    }

    fn apply(&self, document: &Value) -> Result<(), Box<dyn Error>> {
        self.apply_text(&document.to_string())
    }

    /// An object, or null.
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, Box<dyn Error>> {
        let arguments = ["get", resource, name, "-n", namespace, "-o", "json", "--ignore-not-found"];
        let text = self.kubectl(&arguments)?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Waits until an object is as it should be; says what it is if it does not become so.
    fn until(
        &self,
        what: &str,
        (resource, namespace, name): (&str, &str, &str),
        seconds: u64,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Box<dyn Error>> {
        let start = Instant::now();
        let mut found = Err("nothing was asked".into());
        while start.elapsed() < Duration::from_secs(seconds) {
            // The server may be away for a while; that is what some tests are about.
            found = self.get(resource, namespace, name);
            if let Ok(object) = &found
                && is(object)
            {
                return found;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let logs: Vec<String> = self
            .managers
            .iter()
            .map(|manager| fs::read_to_string(self.log(&manager.name)).unwrap_or_default())
            .collect();
        Err(format!("not within {seconds} s: {what}: {found:?}\n{}", logs.join("\n")).into())
    }

    fn node(&self, name: &str, ready: bool) -> Result<(), Box<dyn Error>> {
        let status = if ready { "True" } else { "False" };
        self.apply(&json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } } }))?;
        // The API server taints new nodes as not ready until somebody says otherwise.
        self.kubectl(&["patch", "node", name, "--type=merge", "-p", r#"{"spec":{"taints":null}}"#])?;
        let patch = json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        self.kubectl(&[
            "patch",
            "node",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch.to_string(),
        ])?;
        Ok(())
    }

    fn profile(&self, name: &str) -> Result<(), Box<dyn Error>> {
        self.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": name, "namespace": "production" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                { "action": "SCMP_ACT_ALLOW", "names": ["read", "write", "exit_group"] }] } }))
    }

    /// What an agent says about a profile.
    fn report(&self, node: &str, profile: &str, state: &str, message: &str) -> Result<(), Box<dyn Error>> {
        let object = self.get("seccompprofiles", "production", profile)?;
        self.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfileNodeStatus",
            "metadata": { "name": format!("seccomp-{profile}-{node}"), "namespace": "production",
                "ownerReferences": [{ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
                    "name": profile, "uid": object["metadata"]["uid"], "controller": true }] },
            "spec": { "nodeName": node },
            "status": { "status": state, "message": message,
                "observedGeneration": object["metadata"]["generation"] } }))
    }

    /// How many requests changed something since the audit log had this many lines, without those for the Lease.
    fn writes(&self, user_agent: &str, from: usize) -> Result<Vec<String>, Box<dyn Error>> {
        let log = fs::read_to_string(self.server.dir().join("audit.log"))?;
        let writes = log.lines().skip(from).filter_map(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let verb = event["verb"].as_str()?;
            let changes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
            let agent = event["userAgent"].as_str().unwrap_or_default();
            let lease = event["objectRef"]["resource"] == "leases";
            (changes && !lease && agent.contains(user_agent))
                .then(|| format!("{verb} {}", event["requestURI"].as_str().unwrap_or_default()))
        });
        Ok(writes.collect())
    }

    fn audited(&self) -> Result<usize, Box<dyn Error>> {
        Ok(fs::read_to_string(self.server.dir().join("audit.log"))?.lines().count())
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ready(object: &Value) -> &Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready")).unwrap_or(&Value::Null)
}

const SPOD: (&str, &str, &str) = ("spod", NAMESPACE, "spod");

const fn seccomp(name: &str) -> (&str, &str, &str) {
    ("seccompprofiles", "production", name)
}

#[test]
fn the_operator_sets_itself_up_and_follows_its_nodes() -> Result<(), Box<dyn Error>> {
    let Some(mut cluster) = Cluster::start(&AUDIT)? else { return Ok(()) };
    cluster.node("a", true)?;
    cluster.node("b", true)?;
    binary("spo-operator", "spo-operator");
    let start = Instant::now();
    cluster.manager("first")?;

    // A SPOD within seconds, and what it asks for.
    cluster.until("a SPOD", SPOD, 5, |spod| !spod.is_null())?;
    println!("SPOD after {:?}", start.elapsed());
    let spod = cluster.until("a state", SPOD, 5, |spod| spod["status"]["state"] == "Creating")?;
    assert_eq!(ready(&spod)["status"], "False", "{spod}");
    let agents = cluster.until("agents", ("daemonset", NAMESPACE, "spod"), 5, |d| !d.is_null())?;
    assert_eq!(agents["metadata"]["ownerReferences"][0]["uid"], spod["metadata"]["uid"]);

    // Certificates, and who trusts them.
    for secret in ["spo-certificate-authority", "webhook-server-cert", "metrics-server-cert"] {
        let found = cluster.until("a Secret", ("secret", NAMESPACE, secret), 5, |s| !s.is_null())?;
        assert_eq!(found["type"], "kubernetes.io/tls");
    }
    let authority = cluster.get("secret", NAMESPACE, "spo-certificate-authority")?;
    for definition in ["seccompprofiles", "apparmorprofilealiases", "securityprofilesoperatordaemons"] {
        let name = format!("{definition}.{GROUP}");
        let bundle = &authority["data"]["ca.crt"];
        cluster.until("a caBundle", ("crd", "", &name), 5, |crd| {
            crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] == *bundle
        })?;
    }

    // Nodes report, and the profile says so.
    cluster.profile("web")?;
    let web = cluster.until("a first status", seccomp("web"), 5, |p| p["status"]["status"] == "Pending")?;
    assert_eq!(web["status"]["localhostProfile"], "operator/production/web.json");
    cluster.report("a", "web", "Installed", "")?;
    cluster.report("b", "web", "Error", "no space left on device")?;
    let web = cluster.until("an error", seccomp("web"), 5, |p| p["status"]["status"] == "Error")?;
    let message = ready(&web)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("no space left on device") && message.contains("on b"), "{message}");
    cluster.report("b", "web", "Installed", "")?;
    let web = cluster.until("ready", seccomp("web"), 5, |p| ready(p)["status"] == "True")?;
    assert_eq!(web["status"]["nodes"], "2/2");
    let table = cluster.kubectl(&["get", "seccompprofile", "web", "-n", "production"])?;
    assert!(table.contains("2/2") && table.contains("Installed"), "{table}");

    // While nothing changes, nothing is written.
    thread::sleep(Duration::from_secs(2));
    let from = cluster.audited()?;
    thread::sleep(Duration::from_secs(12));
    // kubectl is silent meanwhile, so all of it is ours.
    let writes = cluster.writes("", from)?;
    assert!(writes.is_empty(), "{writes:?}");
    Ok(())
}
