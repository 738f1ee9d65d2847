//! The whole operator on an API server alone: manager, webhook and agents as processes of this machine, each with the
//! rights of its own service account, as `deploy/operator.yaml` gives them.
//!
//! `SPO_OPERATOR_BINARY` names the program to run, if it is not to be built.
//!
//! What a cluster would do besides is done here: nodes are made by hand, each the folder of an agent; the Secret of the
//! webhook is mounted as files; an EndpointSlice says where the webhook is. Nothing collects garbage and nothing runs
//! pods.

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    api_server::{ApiServer, commands, free_port},
    binary, installed, skip, workspace,
};

/// The group of the kinds.
pub const GROUP: &str = "security-profiles-operator.x-k8s.io";

/// The operator's namespace.
pub const NAMESPACE: &str = "security-profiles-operator";

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with the operator on it; all of it ends with this value.
pub struct Operator {
    /// The API server, and the processes: `manager-<n>`, `webhook`, and agents by the names of their nodes.
    pub server: ApiServer,
    program: PathBuf,
    webhook: Ports,
    agents: Vec<(String, Ports)>,
    managers: usize,
}

/// What a process serves on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Probes.
    pub health: u16,
    /// The webhook, or metrics.
    pub serving: u16,
}

/// A resource, a namespace (empty if it has none), a name.
pub type Named<'a> = (&'a str, &'a str, &'a str);

impl Operator {
    /// Installs the operator and starts a manager, a webhook and an agent for each of these nodes. `None` where what is
    /// needed is missing.
    ///
    /// # Errors
    /// Something does not become ready.
    pub fn start(nodes: &[&str]) -> Result<Option<Self>, Box<dyn Error>> {
        const TIER: &str = "api-server";
        if commands().is_none() {
            skip(TIER, "there is no kube-apiserver: run scripts/kubernetes/build or set KUBEBUILDER_ASSETS");
            return Ok(None);
        }
        let Some(address) = address() else {
            skip(TIER, "this machine has no address but its loopback, which endpoints must not name");
            return Ok(None);
        };
        if !installed(TIER, &["etcd", "curl"]) {
            return Ok(None);
        }
        let program = std::env::var_os("SPO_OPERATOR_BINARY")
            .map_or_else(|| binary("spo-operator", "spo-operator"), PathBuf::from);
        let flags = [
            // The API server calls Services by name; only their endpoints are this machine.
            "--enable-aggregator-routing=true",
            "--audit-policy-file=audit-policy.yaml",
            "--audit-log-path=audit.log",
        ];
        let server = ApiServer::start_with(&flags, &[])?;
        let webhook = Ports { health: free_port()?, serving: free_port()? };
        let mut this = Self { server, program, webhook, agents: Vec::new(), managers: 0 };
        let manifest = fs::read_to_string(workspace().join("deploy/operator.yaml"))?;
        this.apply_text(&manifest)?;
        this.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        this.kubectl(&["create", "namespace", "production"])?;
        for node in nodes {
            this.node(node)?;
        }
        this.manager()?;
        this.until("a certificate", ("secret", NAMESPACE, "webhook-server-cert"), |secret| {
            secret["data"]["tls.crt"].is_string()
        })?;
        this.mount()?;
        this.endpoint(address)?;
        this.start_webhook()?;
        for node in nodes {
            this.agent(node, &["--with-insecure-metrics-access"])?;
        }
        let configuration = ("mutatingwebhookconfiguration", "", "spo-mutating-webhook-configuration");
        this.until("the webhooks are asked", configuration, |found| {
            found["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        })?;
        this.until("conversion", ("crd", "", &format!("seccompprofiles.{GROUP}")), |crd| {
            crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_string()
        })?;
        // The API server takes up a configuration a moment after it is there.
        let probe = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": "probe", "namespace": "production" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "probe" } });
        this.holds("profiles are validated", || {
            let said = this.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &probe.to_string())?;
            Ok(!said.status.success() && text(&said).contains("webhook"))
        })?;
        Ok(Some(this))
    }

    /// Adds a node without an agent.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn node(&self, name: &str) -> Result<(), Box<dyn Error>> {
        self.apply(&json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } } }))?;
        // The API server taints new nodes as not ready until somebody says otherwise.
        self.kubectl(&["patch", "node", name, "--type=merge", "-p", r#"{"spec":{"taints":null}}"#])?;
        let ready =
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }).to_string();
        self.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &ready])?;
        Ok(())
    }

    /// Starts one more manager.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn manager(&mut self) -> Result<(), Box<dyn Error>> {
        self.managers += 1;
        let name = format!("manager-{}", self.managers);
        let kubeconfig = self.kubeconfig("security-profiles-operator", None)?;
        let mut command = self.command("manager", free_port()?, &kubeconfig);
        command.env("POD_NAME", &name);
        self.server.spawn(&mut command, &format!("{name}.log"))
    }

    /// Starts the agent of a node and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn agent(&mut self, node: &str, flags: &[&str]) -> Result<Ports, Box<dyn Error>> {
        let ports = Ports { health: free_port()?, serving: free_port()? };
        let root = self.root(node);
        fs::create_dir_all(&root)?;
        let kubeconfig = self.kubeconfig("spod", Some(node))?;
        let mut command = self.command("daemon", ports.health, &kubeconfig);
        command.args(["--metrics-port", &ports.serving.to_string(), "--root"]).arg(&root).args(flags);
        command.env("NODE_NAME", node);
        self.server.spawn(&mut command, &format!("{node}.log"))?;
        self.agents.push((node.to_owned(), ports));
        self.holds(&format!("{node} is ready"), || Ok(is_ready(ports)))?;
        Ok(ports)
    }

    /// Waits until the webhook says that it is ready.
    ///
    /// # Errors
    /// It does not.
    pub fn webhook_is_ready(&self) -> Result<(), Box<dyn Error>> {
        self.holds("the webhook is ready", || Ok(is_ready(self.webhook)))
    }

    /// The ports of the webhook.
    pub const fn webhook(&self) -> Ports {
        self.webhook
    }

    /// The kubelet's part: the Secret of the webhook as files, each replaced at once.
    ///
    /// # Errors
    /// There is no such Secret.
    pub fn mount(&self) -> Result<(), Box<dyn Error>> {
        let secret = self.get(("secret", NAMESPACE, "webhook-server-cert"))?;
        let folder = self.server.dir().join("serving");
        fs::create_dir_all(&folder)?;
        for name in ["tls.key", "tls.crt"] {
            let text = secret["data"][name].as_str().ok_or("no such field")?;
            let decoded = Command::new("sh").args(["-c", &format!("echo '{text}' | base64 -d")]).output()?;
            fs::write(folder.join(format!("{name}.new")), decoded.stdout)?;
            fs::rename(folder.join(format!("{name}.new")), folder.join(name))?;
        }
        Ok(())
    }

    /// The folder that is a node's root.
    pub fn root(&self, node: &str) -> PathBuf {
        self.server.dir().join("nodes").join(node)
    }

    /// The seccomp file of a profile of the namespace `production` on a node.
    pub fn file(&self, node: &str, profile: &str) -> PathBuf {
        self.root(node).join(format!("var/lib/kubelet/seccomp/operator/production/{profile}.json"))
    }

    /// Runs kubectl as the administrator, whatever comes of it.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        self.server.kubectl(arguments, stdin)
    }

    /// Runs kubectl, which has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        let output = self.try_kubectl(arguments, "")?;
        match output.status.success() {
            true => Ok(text(&output)),
            false => Err(format!("kubectl {}: {}", arguments.join(" "), text(&output)).into()),
        }
    }

    /// Applies documents.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply_text(&self, documents: &str) -> Result<String, Box<dyn Error>> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let output = self.try_kubectl(&arguments, documents)?;
        match output.status.success() {
            true => Ok(text(&output)),
            false => Err(text(&output).into()),
        }
    }

    /// Applies a document; returns what kubectl says, warnings included.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, document: &Value) -> Result<String, Box<dyn Error>> {
        self.apply_text(&document.to_string())
    }

    /// Applies a document that has to be refused, with this in the reason.
    ///
    /// # Errors
    /// It is taken, or refused for another reason.
    pub fn refused(&self, document: &Value, why: &str) -> Result<String, Box<dyn Error>> {
        self.refused_to(&["apply", "--server-side", "-f", "-"], document, why)
    }

    /// As [`Self::refused`], with these arguments for kubectl.
    ///
    /// # Errors
    /// As [`Self::refused`].
    pub fn refused_to(
        &self,
        arguments: &[&str],
        document: &Value,
        why: &str,
    ) -> Result<String, Box<dyn Error>> {
        let output = self.try_kubectl(arguments, &document.to_string())?;
        let said = text(&output);
        match !output.status.success() && said.contains(why) {
            true => Ok(said),
            false => Err(format!("not refused because of {why:?}: {said}").into()),
        }
    }

    /// An object, or null.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub fn get(&self, (resource, namespace, name): Named<'_>) -> Result<Value, Box<dyn Error>> {
        let mut arguments = vec!["get", resource, name, "-o", "json", "--ignore-not-found"];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        let output = self.try_kubectl(&arguments, "")?;
        if !output.status.success() {
            return Err(text(&output).into());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Objects by a selector.
    ///
    /// # Errors
    /// They cannot be asked for.
    pub fn list(
        &self,
        resource: &str,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, Box<dyn Error>> {
        let output =
            self.try_kubectl(&["get", resource, "-n", namespace, "-l", selector, "-o", "json"], "")?;
        if !output.status.success() {
            return Err(text(&output).into());
        }
        let mut list: Value = serde_json::from_slice(&output.stdout)?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Waits until an object is as it should be; says what it is if it does not become so.
    ///
    /// # Errors
    /// It does not.
    pub fn until(
        &self,
        what: &str,
        named: Named<'_>,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Box<dyn Error>> {
        let mut found = Ok(Value::Null);
        self.holds(what, || {
            // The server may be away for a while; that is what some tests are about.
            found = self.get(named);
            Ok(found.as_ref().is_ok_and(&is))
        })
        .map_err(|error| format!("{error}\n{named:?}: {found:?}"))?;
        found
    }

    /// Waits until something holds; says what the processes said if it does not.
    ///
    /// # Errors
    /// It does not.
    pub fn holds(
        &self,
        what: &str,
        mut holds: impl FnMut() -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while !holds()? {
            if start.elapsed() > PATIENCE {
                return Err(format!("waited in vain: {what}\n{}", self.logs()).into());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits until a seccomp profile of `production` is installed on every node.
    ///
    /// # Errors
    /// It does not become so.
    pub fn is_installed(&self, profile: &str) -> Result<Value, Box<dyn Error>> {
        self.until(profile, ("seccompprofiles", "production", profile), |found| {
            let ready = condition(found, "Ready");
            found["status"]["status"] == "Installed"
                && ready["status"] == "True"
                && ready["observedGeneration"] == found["metadata"]["generation"]
        })
    }

    /// What a process has said so far.
    pub fn log(&self, process: &str) -> String {
        fs::read_to_string(self.server.dir().join(format!("{process}.log"))).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let managers = (1..=self.managers).map(|number| format!("manager-{number}"));
        let agents = self.agents.iter().map(|(node, _)| node.clone());
        let names = managers.chain(["webhook".to_owned()]).chain(agents);
        let end = |name: String| {
            let log = self.log(&name);
            let lines: Vec<&str> = log.lines().collect();
            format!("-- {name}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        names.map(end).collect::<Vec<_>>().join("\n")
    }

    fn start_webhook(&mut self) -> Result<(), Box<dyn Error>> {
        let kubeconfig = self.kubeconfig("spo-webhook", None)?;
        let mut command = self.command("webhook", self.webhook.health, &kubeconfig);
        command.args(["--port", &self.webhook.serving.to_string(), "--cert-dir"]);
        command.arg(self.server.dir().join("serving"));
        self.server.spawn(&mut command, "webhook.log")?;
        self.webhook_is_ready()
    }

    /// The Service is the manager's.
    fn endpoint(&self, address: IpAddr) -> Result<(), Box<dyn Error>> {
        self.until("a Service", ("service", NAMESPACE, "webhook-service"), |service| !service.is_null())?;
        self.apply(&json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": { "name": "webhook-service-1", "namespace": NAMESPACE,
                "labels": { "kubernetes.io/service-name": "webhook-service" } },
            "ports": [{ "name": "https", "port": self.webhook.serving }],
            "endpoints": [{ "addresses": [address] }] }))?;
        Ok(())
    }

    fn command(&self, process: &str, health: u16, kubeconfig: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([process, "--health-port", &health.to_string()])
            .env("KUBECONFIG", kubeconfig)
            .env("OPERATOR_NAMESPACE", NAMESPACE);
        command
    }

    /// With the token of a service account; that of an agent is bound to its node, as a kubelet has it.
    fn kubeconfig(&self, account: &str, node: Option<&str>) -> Result<PathBuf, Box<dyn Error>> {
        let mut arguments = vec!["create", "token", account, "-n", NAMESPACE];
        if let Some(node) = node {
            arguments.extend(["--bound-object-kind=Node", "--bound-object-name", node]);
        }
        self.server.kubeconfig_of(self.kubectl(&arguments)?.trim())
    }
}

/// A condition of an object, or null.
pub fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == name)).unwrap_or(&Value::Null)
}

/// The answer to a request without TLS.
pub fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// What a command printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn is_ready(ports: Ports) -> bool {
    http(ports.health, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// An address of this machine that is not its loopback, which endpoints must not name.
fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent; the kernel only chooses the address it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
