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
        let server = ApiServer::start_with(flags, &[])?;
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
            // No webhook runs here, and its configurations would refuse every profile.
            .env("SPO_STATIC_WEBHOOK", "true")
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
    /// Those of kubectl are the test's own.
    fn writes(&self, from: usize) -> Result<Vec<String>, Box<dyn Error>> {
        let log = fs::read_to_string(self.server.dir().join("audit.log"))?;
        let writes = log.lines().skip(from).filter_map(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let verb = event["verb"].as_str()?;
            let changes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
            let agent = event["userAgent"].as_str().unwrap_or_default();
            let lease = event["objectRef"]["resource"] == "leases";
            (changes && !lease && !agent.starts_with("kubectl"))
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
    let writes = cluster.writes(from)?;
    assert!(writes.is_empty(), "{writes:?}");
    Ok(())
}

#[test]
fn another_replica_takes_over_when_the_leader_is_killed() -> Result<(), Box<dyn Error>> {
    let Some(mut cluster) = Cluster::start(&[])? else { return Ok(()) };
    const LEASE: (&str, &str, &str) = ("lease", NAMESPACE, "security-profiles-operator-lock");
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    cluster.node("a", true)?;
    cluster.manager("first")?;
    cluster.until("a leader", LEASE, 10, |lease| holder(lease) == "first")?;
    cluster.manager("second")?;
    cluster.until("a SPOD", SPOD, 10, |spod| !spod.is_null())?;
    thread::sleep(Duration::from_secs(3));
    assert_eq!(holder(&cluster.get(LEASE.0, LEASE.1, LEASE.2)?), "first", "one that holds it keeps it");

    // kill -9: nothing is released.
    let start = Instant::now();
    cluster.managers.remove(0);
    cluster.until("the other leads", LEASE, 25, |lease| holder(lease) == "second")?;
    println!("taken over after {:?}", start.elapsed());
    cluster.profile("web")?;
    cluster.report("a", "web", "Installed", "")?;
    cluster.until("a status by the other", seccomp("web"), 10, |p| ready(p)["status"] == "True")?;

    // One that is told to end gives the Lease back, so the next need not wait.
    cluster.manager("third")?;
    let second = cluster.managers.first_mut().ok_or("no second")?;
    let ended = Command::new("kill").arg(second.child.id().to_string()).status()?;
    assert!(ended.success() && second.child.wait()?.success());
    let start = Instant::now();
    cluster.until("the third leads", LEASE, 10, |lease| holder(lease) == "third")?;
    println!("handed over after {:?}", start.elapsed());
    Ok(())
}

#[test]
fn profiles_in_use_stay_and_vanished_nodes_do_not_matter() -> Result<(), Box<dyn Error>> {
    let Some(mut cluster) = Cluster::start(&[])? else { return Ok(()) };
    for (node, ready) in [("a", true), ("a-b", true), ("away", false), ("gone", true)] {
        cluster.node(node, ready)?;
    }
    cluster.manager("first")?;
    cluster.until("agents", ("daemonset", NAMESPACE, "spod"), 10, |d| !d.is_null())?;
    cluster.profile("web")?;
    for node in ["a", "a-b"] {
        cluster.report(node, "web", "Installed", "")?;
    }
    let web = cluster.until("two of three", seccomp("web"), 10, |p| p["status"]["nodes"] == "2/3")?;
    assert_eq!(web["status"]["status"], "Pending");
    // The node that has said nothing goes, and the one that is not ready freezes nothing.
    cluster.kubectl(&["delete", "node", "gone"])?;
    let web = cluster.until("ready", seccomp("web"), 10, |p| ready(p)["status"] == "True")?;
    assert!(ready(&web)["message"].as_str().unwrap_or_default().contains("away"), "{web}");
    // Nor does what it said before stay for ever.
    cluster.report("gone", "web", "Error", "from the past")?;
    let status = ("securityprofilenodestatuses", "production", "seccomp-web-gone");
    cluster.until("the status of a node that is gone", status, 20, Value::is_null)?;
    let web = cluster.get("seccompprofiles", "production", "web")?;
    assert_eq!(ready(&web)["status"], "True", "{web}");

    // Pods of every form hold it.
    let localhost =
        |path: &str| json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": path } });
    let with = |name: &str, init: Value, container: Value| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "production" },
            "spec": { "initContainers": [{ "name": "i", "image": "i", "securityContext": init }],
                "containers": [{ "name": "c", "image": "c", "securityContext": container }] } })
    };
    cluster.apply(&with("long", json!({}), localhost("operator/production/web.json")))?;
    cluster.apply(&with("short", localhost("operator/web.json"), json!({})))?;
    let web = cluster.until("in use", seccomp("web"), 10, |p| p["status"]["activeWorkloadCount"] == 2)?;
    assert_eq!(web["metadata"]["finalizers"], json!(["in-use-by-active-pods"]));
    assert_eq!(web["status"]["activeWorkloads"], json!(["production/long", "production/short"]));
    // As the existing operator leaves it.
    let finalizers = json!({ "metadata": { "finalizers": ["in-use-by-active-pods", "gone-deleted"] } });
    let patch = finalizers.to_string();
    cluster.kubectl(&["patch", "seccompprofile", "web", "-n", "production", "--type=merge", "-p", &patch])?;
    cluster.kubectl(&["delete", "seccompprofile", "web", "-n", "production", "--wait=false"])?;
    let web = cluster.until("terminating", seccomp("web"), 10, |p| p["status"]["status"] == "Terminating")?;
    assert!(ready(&web)["message"].as_str().unwrap_or_default().contains("used by 2 pods"), "{web}");
    for pod in ["long", "short"] {
        let arguments = ["delete", "pod", pod, "-n", "production", "--force", "--grace-period=0"];
        cluster.kubectl(&arguments)?;
    }
    cluster.until("gone with its last pod", seccomp("web"), 10, Value::is_null)?;
    // There is no garbage collector here: what nobody else collects, the manager does.
    let status = ("securityprofilenodestatuses", "production", "seccomp-web-a");
    cluster.until("the status of a profile that is gone", status, 25, Value::is_null)?;

    // SELinux and AppArmor profiles are held the same way, and by ephemeral containers too.
    cluster.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SelinuxProfile",
        "metadata": { "name": "selinux", "namespace": "production" }, "spec": { "allow": {} } }))?;
    cluster.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "AppArmorProfile",
        "metadata": { "name": "apparmor", "namespace": "production" }, "spec": { "abstract": {} } }))?;
    let pod = with("both", json!({ "seLinuxOptions": { "type": "selinux.process" } }), json!({}));
    cluster.apply(&pod)?;
    let ephemeral = json!({ "spec": { "ephemeralContainers": [{ "name": "e", "image": "e", "securityContext":
        { "appArmorProfile": { "type": "Localhost", "localhostProfile": "apparmor" } } }] } });
    cluster.kubectl(&[
        "patch",
        "pod",
        "both",
        "-n",
        "production",
        "--subresource=ephemeralcontainers",
        "-p",
        &ephemeral.to_string(),
    ])?;
    for (resource, name) in [("selinuxprofiles", "selinux"), ("apparmorprofiles", "apparmor")] {
        cluster.until("in use", (resource, "production", name), 10, |profile| {
            profile["metadata"]["finalizers"] == json!(["in-use-by-active-pods"])
                && profile["status"]["activeWorkloads"] == json!(["production/both"])
        })?;
    }
    // A pod that has ended uses nothing.
    let ended = json!({ "status": { "phase": "Succeeded" } }).to_string();
    cluster.kubectl(&[
        "patch",
        "pod",
        "both",
        "-n",
        "production",
        "--subresource=status",
        "--type=merge",
        "-p",
        &ended,
    ])?;
    cluster.until("free", ("selinuxprofiles", "production", "selinux"), 10, |profile| {
        profile["metadata"]["finalizers"].is_null() && profile["status"]["activeWorkloads"].is_null()
    })?;
    Ok(())
}

#[test]
fn it_converges_after_outages_and_repairs_what_others_change() -> Result<(), Box<dyn Error>> {
    let Some(mut cluster) = Cluster::start(&[])? else { return Ok(()) };
    cluster.node("a", true)?;
    cluster.manager("first")?;
    cluster.until("agents", ("daemonset", NAMESPACE, "spod"), 10, |d| !d.is_null())?;

    // What is deleted or changed comes back.
    cluster.kubectl(&["delete", "daemonset", "spod", "-n", NAMESPACE])?;
    cluster.until("agents again", ("daemonset", NAMESPACE, "spod"), 10, |d| !d.is_null())?;
    let other = r#"{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}"#;
    cluster.kubectl(&["patch", "daemonset", "spod", "-n", NAMESPACE, "--type=merge", "-p", other])?;
    cluster.until("repaired agents", ("daemonset", NAMESPACE, "spod"), 10, |d| {
        d["spec"]["template"]["spec"]["serviceAccountName"] == "spod"
    })?;
    let secret = ("secret", NAMESPACE, "webhook-server-cert");
    let before = cluster.get(secret.0, secret.1, secret.2)?;
    cluster.kubectl(&["delete", "secret", secret.2, "-n", NAMESPACE])?;
    cluster.until("a certificate again", secret, 10, |found| {
        !found.is_null() && found["metadata"]["uid"] != before["metadata"]["uid"]
    })?;

    for server in ["api", "etcd"] {
        cluster.server.kill(server)?;
        thread::sleep(Duration::from_secs(2));
        cluster.server.start_again(server)?;
        cluster.server.wait_until_ready()?;
        let name = format!("after-{server}");
        let start = Instant::now();
        while cluster.profile(&name).is_err() && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(500));
        }
        cluster.report("a", &name, "Installed", "")?;
        cluster.until("it converges", seccomp(&name), 60, |p| ready(p)["status"] == "True")?;
        println!("{server}: converged after {:?}", start.elapsed());
    }
    Ok(())
}

/// An address of this machine that is not its loopback, which endpoints must not name.
fn address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent; the kernel only chooses the address it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The kubelet's part: the Secret as files, each replaced at once.
fn mount(secret: &Value, folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for name in ["tls.key", "tls.crt"] {
        let text = secret["data"][name].as_str().ok_or("no such field")?;
        let decoded = Command::new("sh").args(["-c", &format!("echo '{text}' | base64 -d")]).output()?;
        fs::write(folder.join(format!("{name}.new")), decoded.stdout)?;
        fs::rename(folder.join(format!("{name}.new")), folder.join(name))?;
    }
    Ok(())
}

#[test]
fn conversion_works_through_our_authority_and_while_certificates_change() -> Result<(), Box<dyn Error>> {
    let Some(address) = address() else {
        skip("api-server", "this machine has no address but its loopback, which endpoints must not name");
        return Ok(());
    };
    // As in a cluster, the API server calls the Service by name; only its endpoint is this machine.
    let Some(mut cluster) = Cluster::start(&["--enable-aggregator-routing=true"])? else { return Ok(()) };
    let [port, health] = [free_port()?, free_port()?];
    cluster.manager("first")?;
    let secret = ("secret", NAMESPACE, "webhook-server-cert");
    let found = cluster.until("a certificate", secret, 10, |secret| !secret.is_null())?;
    let folder = cluster.server.dir().join("serving");
    mount(&found, &folder)?;
    let mut webhook = Command::new(binary("spo-operator", "spo-operator"));
    webhook
        .args(["webhook", "--port", &port.to_string(), "--health-port", &health.to_string(), "--cert-dir"])
        .arg(&folder)
        .env("KUBECONFIG", cluster.server.kubeconfig())
        .env("OPERATOR_NAMESPACE", NAMESPACE);
    cluster.server.spawn(&mut webhook, "webhook.log")?;
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "webhook-service", "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "https", "port": 443, "targetPort": port }] } }))?;
    cluster.apply(
        &json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "webhook-service-1", "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": "webhook-service" } },
        "ports": [{ "name": "https", "port": port }], "endpoints": [{ "addresses": [address] }] }),
    )?;

    cluster.profile("web")?;
    let old = format!("seccompprofiles.v1beta1.{GROUP}");
    let converted = |cluster: &Cluster, what: &str| {
        cluster.until(what, (&old, "production", "web"), 20, |profile| {
            profile["apiVersion"] == format!("{GROUP}/v1beta1")
        })
    };
    converted(&cluster, "the old version")?;

    // Both Secrets are lost: what is mounted is trusted on, and what is made next is trusted too.
    for name in ["spo-certificate-authority", "webhook-server-cert"] {
        cluster.kubectl(&["delete", "secret", name, "-n", NAMESPACE])?;
        let again = ("secret", NAMESPACE, name);
        cluster.until("a Secret again", again, 10, |secret| !secret.is_null())?;
        thread::sleep(Duration::from_secs(2));
        converted(&cluster, "the old version with the old certificate")?;
    }
    let renewed = cluster.get(secret.0, secret.1, secret.2)?;
    assert_ne!(renewed["data"]["tls.crt"], found["data"]["tls.crt"]);
    mount(&renewed, &folder)?;
    // The webhook looks at its files every few seconds.
    thread::sleep(Duration::from_secs(6));
    let log = fs::read_to_string(cluster.server.dir().join("webhook.log"))?;
    assert_eq!(log.matches("the certificate is in use").count(), 2, "{log}");
    converted(&cluster, "the old version with the new certificate")?;

    // Whoever applies the definitions again takes the bundle away; it comes back.
    let name = format!("seccompprofiles.{GROUP}");
    let patch = r#"{"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":null}}}}}"#;
    cluster.kubectl(&["patch", "crd", &name, "--type=merge", "-p", patch])?;
    cluster.until("the caBundle again", ("crd", "", &name), 10, |crd| {
        !crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_null()
    })?;
    converted(&cluster, "the old version at the end")?;
    Ok(())
}

#[test]
fn an_operator_that_is_deleted_holds_nothing_any_more() -> Result<(), Box<dyn Error>> {
    let Some(mut cluster) = Cluster::start(&[])? else { return Ok(()) };
    let labels = json!({ "app": "operator-test" });
    cluster.apply(&json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "security-profiles-operator", "namespace": NAMESPACE },
        "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "manager", "image": "example.org/spo:1" }] } } } }))?;
    cluster.manager("first")?;
    // What is rendered runs the operator's own image.
    let agents = cluster.until("agents", ("daemonset", NAMESPACE, "spod"), 10, |d| !d.is_null())?;
    assert_eq!(agents["spec"]["template"]["spec"]["containers"][0]["image"], "example.org/spo:1");
    cluster.profile("web")?;
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "namespace": "production" },
        "spec": { "containers": [{ "name": "c", "image": "c" }], "securityContext": { "seccompProfile":
            { "type": "Localhost", "localhostProfile": "operator/production/web.json" } } } }))?;
    cluster.until("in use", seccomp("web"), 10, |p| !p["metadata"]["finalizers"].is_null())?;
    cluster.kubectl(&["delete", "deployment", "security-profiles-operator", "-n", NAMESPACE])?;
    cluster.until("released", seccomp("web"), 10, |p| p["metadata"]["finalizers"].is_null())?;
    thread::sleep(Duration::from_secs(2));
    cluster.kubectl(&["delete", "seccompprofile", "web", "-n", "production", "--timeout=10s"])?;
    Ok(())
}

/// Many nodes report about many profiles at once. The existing operator writes each profile once for each report.
#[test]
fn a_roll_out_costs_two_writes_for_each_profile_at_most() -> Result<(), Box<dyn Error>> {
    const PROFILES: usize = 60;
    let nodes = ["a", "b", "c", "d"];
    let Some(mut cluster) = Cluster::start(&AUDIT)? else { return Ok(()) };
    for node in nodes {
        cluster.node(node, true)?;
    }
    cluster.manager("first")?;
    cluster.until("agents", ("daemonset", NAMESPACE, "spod"), 10, |d| !d.is_null())?;
    thread::sleep(Duration::from_secs(2));
    let from = cluster.audited()?;
    let profile = |i: usize| {
        json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": format!("p-{i}"), "namespace": "production" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                { "action": "SCMP_ACT_ALLOW", "names": ["read", "write", "exit_group"] }] } })
    };
    let list = |items: Vec<Value>| json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    cluster.apply_text(&list((0..PROFILES).map(profile).collect()))?;
    let made = cluster.kubectl(&["get", "seccompprofiles", "-n", "production", "-o", "json"])?;
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
    cluster.apply_text(&list(statuses.collect()))?;
    let start = Instant::now();
    for i in 0..PROFILES {
        let name = format!("p-{i}");
        cluster.until("ready", seccomp(&name), 20, |p| ready(p)["status"] == "True")?;
    }
    println!("all ready {:?} after the last report", start.elapsed());
    thread::sleep(Duration::from_secs(2));
    let writes = cluster.writes(from)?;
    println!("{} writes for {PROFILES} profiles on {} nodes", writes.len(), nodes.len());
    assert!(writes.len() <= 2 * PROFILES, "{writes:?}");
    let pid = cluster.managers[0].child.id();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
