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
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    api_server::{ApiServer, TIER, free_port},
    audit::{AuditLog, Write},
    binary, installed,
    objects::text,
    skip, workspace,
};

/// The group of the kinds.
pub const GROUP: &str = "security-profiles-operator.x-k8s.io";

/// The operator's namespace.
pub const NAMESPACE: &str = "security-profiles-operator";

/// A server with the operator on it; all of it ends with this value.
pub struct Operator {
    /// The API server, and the processes: managers by their names, `webhook`, and agents by the names of their nodes.
    pub server: ApiServer,
    program: PathBuf,
    webhook: Ports,
    processes: Vec<String>,
    restricted_to: Option<String>,
}

/// Whether the API server asks webhooks about what is created; about versions it does in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As in every cluster.
    On,
    /// For tests without our webhook, since what cannot be asked refuses.
    Off,
}

/// What a process serves on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Probes.
    pub health: u16,
    /// The webhook, or metrics.
    pub serving: u16,
}

impl Operator {
    /// Installs the operator and starts a manager called `manager`, a webhook and an agent for each of these nodes.
    /// `None` where what is needed is missing.
    ///
    /// # Errors
    /// Something does not become ready.
    pub fn start(nodes: &[&str]) -> Result<Option<Self>, Box<dyn Error>> {
        if !installed(TIER, &["curl"]) || !is_reachable() {
            return Ok(None);
        }
        let Some(mut this) = Self::install(Admission::On)? else { return Ok(None) };
        this.run(nodes)?;
        Ok(Some(this))
    }

    /// As [`Self::start`], through a relay: all connections of the operator to the API server can be cut.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_relayed(nodes: &[&str]) -> Result<Option<Self>, Box<dyn Error>> {
        if !installed(TIER, &["curl"]) || !is_reachable() {
            return Ok(None);
        }
        let Some(mut this) = Self::install(Admission::On)? else { return Ok(None) };
        this.server.relay()?;
        this.run(nodes)?;
        Ok(Some(this))
    }

    fn run(&mut self, nodes: &[&str]) -> Result<(), Box<dyn Error>> {
        for node in nodes {
            self.node(node)?;
        }
        self.manager("manager", &[])?;
        self.serve()?;
        for node in nodes {
            self.agent(node, &["--with-insecure-metrics-access"])?;
        }
        self.is_asked()
    }

    /// An API server with all that `deploy/operator.yaml` installs, the namespace `production`, and no process of the
    /// operator yet. `None` where what is needed is missing.
    ///
    /// # Errors
    /// The server does not come up, or refuses what is installed.
    pub fn install(admission: Admission) -> Result<Option<Self>, Box<dyn Error>> {
        Self::install_from("deploy/operator.yaml", admission)
    }

    /// As [`Self::install`], with another file of this repository.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub fn install_from(file: &str, admission: Admission) -> Result<Option<Self>, Box<dyn Error>> {
        if !ApiServer::is_possible() {
            return Ok(None);
        }
        let program = std::env::var_os("SPO_OPERATOR_BINARY")
            .map_or_else(|| binary("spo-operator", "spo-operator"), PathBuf::from);
        let mut flags = vec![
            // The API server calls Services by name; only their endpoints are this machine.
            "--enable-aggregator-routing=true",
            "--audit-policy-file=audit-policy.yaml",
            "--audit-log-path=audit.log",
        ];
        if admission == Admission::Off {
            flags.push("--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook");
        }
        let server = ApiServer::start_with(&flags, &[])?;
        let webhook = Ports { health: free_port()?, serving: free_port()? };
        let this = Self { server, program, webhook, processes: Vec::new(), restricted_to: None };
        this.kubectl(&["create", "namespace", "production"])?;
        let manifest = fs::read_to_string(workspace().join(file))?;
        this.apply_text(&manifest.replace("NS_REPLACE", "production"))?;
        this.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        Ok(Some(this))
    }

    /// Lets processes that start from now on look at these namespaces only, and at the operator's own.
    pub fn restrict_to(&mut self, namespaces: &str) {
        self.restricted_to = Some(namespaces.to_owned());
    }

    /// Adds a node that is ready, without an agent.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn node(&self, name: &str) -> Result<(), Box<dyn Error>> {
        self.nodes(&[name.to_owned()])
    }

    /// As [`Self::node`], of many at once.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn nodes(&self, names: &[String]) -> Result<(), Box<dyn Error>> {
        let each = |status: Value| {
            let node = |name| {
                let metadata = json!({ "name": name, "labels": { "kubernetes.io/os": "linux" } });
                let node =
                    json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status });
                format!("---\n{node}\n")
            };
            names.iter().map(node).collect::<String>()
        };
        self.kubectl_of(&["apply", "-f", "-"], &each(json!({})))?;
        // The API server taints new nodes as not ready until somebody says otherwise.
        let nodes = names.iter().map(String::as_str);
        let untaint: Vec<&str> =
            ["taint", "nodes"].into_iter().chain(nodes).chain(["node.kubernetes.io/not-ready-"]).collect();
        self.kubectl(&untaint)?;
        let ready = each(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }));
        self.kubectl_of(&["apply", "--server-side", "--subresource=status", "-f", "-"], &ready)?;
        Ok(())
    }

    /// What the kubelet of a node would say about it.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn node_is_ready(&self, name: &str, ready: bool) -> Result<(), Box<dyn Error>> {
        let status = if ready { "True" } else { "False" };
        let patch =
            json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } }).to_string();
        self.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &patch])?;
        Ok(())
    }

    /// Starts a manager with more flags; its name is the one by which it takes part in the election.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn manager(&mut self, name: &str, flags: &[&str]) -> Result<(), Box<dyn Error>> {
        let kubeconfig = self.kubeconfig("security-profiles-operator", None)?;
        let mut command = self.command("manager", free_port()?, &kubeconfig);
        command.args(flags).env("POD_NAME", name);
        self.spawn(&mut command, name)
    }

    /// Starts the webhook once it has a certificate, and waits until it is ready.
    ///
    /// # Errors
    /// Nobody makes a certificate or its Service, or it does not become ready.
    pub fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        self.until("a certificate", ("secret", NAMESPACE, "webhook-server-cert"), |secret| {
            secret["data"]["tls.crt"].is_string()
        })?;
        self.mount()?;
        self.endpoint()?;
        let kubeconfig = self.kubeconfig("spo-webhook", None)?;
        let mut command = self.command("webhook", self.webhook.health, &kubeconfig);
        command.args(["--port", &self.webhook.serving.to_string(), "--cert-dir"]);
        command.arg(self.server.dir().join("serving"));
        self.spawn(&mut command, "webhook")?;
        self.webhook_is_ready()
    }

    /// Waits until the API server asks the webhook, about what is created and about versions.
    ///
    /// # Errors
    /// It does not.
    pub fn is_asked(&self) -> Result<(), Box<dyn Error>> {
        let configuration = ("mutatingwebhookconfiguration", "", "spo-mutating-webhook-configuration");
        self.until("the webhooks are asked", configuration, |found| {
            found["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        })?;
        self.until("conversion", ("crd", "", &format!("seccompprofiles.{GROUP}")), |crd| {
            crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_string()
        })?;
        // The API server takes up a configuration a moment after it is there.
        let probe = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": "probe", "namespace": "production" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "probe" } });
        self.holds("profiles are validated", || {
            let said = self.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &probe.to_string())?;
            Ok(!said.status.success() && text(&said).contains("denied the request"))
        })
    }

    /// Starts the agent of a node and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn agent(&mut self, node: &str, flags: &[&str]) -> Result<Ports, Box<dyn Error>> {
        let ports = self.start_agent(node, flags)?;
        self.agent_is_ready(node, ports)?;
        Ok(ports)
    }

    /// Starts the agent of a node.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent(&mut self, node: &str, flags: &[&str]) -> Result<Ports, Box<dyn Error>> {
        let ports = Ports { health: free_port()?, serving: free_port()? };
        let mut command = self.agent_command(node, ports)?;
        self.spawn(command.args(flags), node)?;
        Ok(ports)
    }

    /// As [`Self::start_agent`], of one whose ports nobody asks: whichever are free when it starts.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent_anywhere(&mut self, node: &str, flags: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut command = self.agent_command(node, Ports { health: 0, serving: 0 })?;
        self.spawn(command.args(flags), node)
    }

    /// As [`Self::agent`], but as the DaemonSet runs it: by a user without a name and without capabilities, who can read
    /// what is in this value's folder. Needs root, and `setpriv` of util-linux.
    ///
    /// # Errors
    /// As [`Self::agent`].
    pub fn unprivileged_agent(&mut self, node: &str, user: u32) -> Result<Ports, Box<dyn Error>> {
        let ports = Ports { health: free_port()?, serving: free_port()? };
        let agent = self.agent_command(node, ports)?;
        fs::set_permissions(self.server.dir(), fs::Permissions::from_mode(0o711))?;
        let program = self.server.dir().join("agent");
        fs::copy(&self.program, &program)?;
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
            .arg(program)
            .args(agent.get_args());
        command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.spawn(&mut command, node)?;
        self.agent_is_ready(node, ports)?;
        Ok(ports)
    }

    fn agent_command(&self, node: &str, ports: Ports) -> Result<Command, Box<dyn Error>> {
        let root = self.root(node);
        fs::create_dir_all(&root)?;
        let kubeconfig = self.kubeconfig("spod", Some(node))?;
        let mut command = self.command("daemon", ports.health, &kubeconfig);
        command.args(["--metrics-port", &ports.serving.to_string(), "--root"]).arg(&root);
        command.env("NODE_NAME", node);
        Ok(command)
    }

    /// Prepares a node for [`Self::unprivileged_agent`], as the init container of the DaemonSet does.
    ///
    /// # Errors
    /// It cannot be prepared.
    pub fn prepare(&self, node: &str, user: u32) -> Result<(), Box<dyn Error>> {
        let root = self.root(node);
        fs::create_dir_all(&root)?;
        let mut command = Command::new(&self.program);
        command.args(["non-root-enabler", "--user", &user.to_string(), "--root"]).arg(&root);
        let output = command.output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(text(&output).into()),
        }
    }

    /// Waits until the agent of a node says that it is ready.
    ///
    /// # Errors
    /// It does not.
    pub fn agent_is_ready(&self, node: &str, ports: Ports) -> Result<(), Box<dyn Error>> {
        self.holds(&format!("{node} is ready"), || Ok(is_ready(ports)))
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
            fs::write(folder.join(format!("{name}.new")), decoded(&secret["data"][name])?)?;
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

    /// What a process has said so far.
    pub fn log(&self, process: &str) -> String {
        fs::read_to_string(self.server.dir().join(format!("{process}.log"))).unwrap_or_default()
    }

    /// What the operator has written since the server came up, apart from Leases.
    ///
    /// # Errors
    /// The audit log cannot be read.
    pub fn written(&self) -> Result<Vec<Write>, Box<dyn Error>> {
        // Lines are written behind the answers.
        thread::sleep(Duration::from_millis(300));
        AuditLog::whole(&self.audit_log()).writes_of(NAMESPACE)
    }

    /// The audit log from now on.
    ///
    /// # Errors
    /// There is none.
    pub fn audit(&self) -> Result<AuditLog, Box<dyn Error>> {
        thread::sleep(Duration::from_secs(1));
        AuditLog::from_now(&self.audit_log())
    }

    fn audit_log(&self) -> PathBuf {
        self.server.dir().join("audit.log")
    }

    /// The last words of all processes.
    pub(crate) fn logs(&self) -> String {
        let end = |name: &String| {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            format!("-- {name}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.processes.iter().map(end).collect::<Vec<_>>().join("\n")
    }

    /// The Service is the manager's.
    fn endpoint(&self) -> Result<(), Box<dyn Error>> {
        let address = address().ok_or("no address that endpoints may name")?;
        for service in ["webhook-service", "webhook-conversion"] {
            self.until("a Service", ("service", NAMESPACE, service), |service| !service.is_null())?;
            self.apply(&json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "addressType": "IPv4",
                "metadata": { "name": format!("{service}-1"), "namespace": NAMESPACE,
                    "labels": { "kubernetes.io/service-name": service } },
                "ports": [{ "name": "https", "port": self.webhook.serving }],
                "endpoints": [{ "addresses": [address] }] }))?;
        }
        Ok(())
    }

    fn spawn(&mut self, command: &mut Command, name: &str) -> Result<(), Box<dyn Error>> {
        self.processes.push(name.to_owned());
        self.server.spawn(command, &format!("{name}.log"))
    }

    fn command(&self, process: &str, health: u16, kubeconfig: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([process, "--health-port", &health.to_string()])
            .env("KUBECONFIG", kubeconfig)
            .env("OPERATOR_NAMESPACE", NAMESPACE);
        if let Some(namespaces) = &self.restricted_to {
            command.env("RESTRICT_TO_NAMESPACE", namespaces);
        }
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

/// What a field in base64 says.
///
/// # Errors
/// It is no such field.
pub fn decoded(field: &Value) -> Result<String, Box<dyn Error>> {
    let text = field.as_str().ok_or("no such field")?;
    let output = Command::new("sh").args(["-c", &format!("echo '{text}' | base64 -d")]).output()?;
    Ok(String::from_utf8(output.stdout)?)
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

/// Whether the API server can reach a webhook on this machine; says so in one line if it cannot.
pub fn is_reachable() -> bool {
    if address().is_none() {
        skip(TIER, "this machine has no address but its loopback, which endpoints must not name");
    }
    address().is_some()
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
