//! A whole cluster on this machine: a control plane and real nodes (kubelet, containerd, runc, kube-proxy) with cluster
//! DNS and a registry that stands in for all others.
//!
//! ```text
//! network namespace of the cluster: every address is on its loopback device
//!   etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, coredns, docker-registry
//!   mount namespace of node-1: kubelet, containerd, shims; the node's own /var/lib/kubelet, /run/containerd, …
//!   mount namespace of node-2: …
//! ```
//!
//! Everything is below one temporary folder and ends with the value: processes, mounts, control groups, namespaces.
//! Needs root.

mod guest_node;
mod image;
mod network;
mod node;
mod settings;

use std::{
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

pub use guest_node::{GUEST_PROGRAMS, GuestNode};
pub use image::Image;
pub use node::Node;

use crate::{
    api_server::{Authority, commands},
    guest::Security,
    installed, skip,
    waiting::until,
};
use network::Network;
use settings::Places;

/// The address of the API server, which is also that of the Service `kubernetes`.
const API: &str = "10.96.0.1";
/// The addresses of Services.
const SERVICES: &str = "10.96.0.0/16";
/// The address of the cluster's DNS.
const DNS: &str = "10.96.0.10";
/// The address of the machine that the control plane and the registry run on.
const CONTROL_PLANE: &str = "10.89.0.254";
/// The registry.
const REGISTRY: &str = "10.89.0.254:5000";

/// How long something may take to become true.
const DEADLINE: Duration = Duration::from_secs(90);

/// What the cluster's nodes and control plane need to be installed, besides [`commands`].
pub const PROGRAMS: &[&str] = &[
    "etcd",
    "containerd",
    "runc",
    "skopeo",
    "docker-registry",
    "iptables",
    "conntrack",
    "ip",
    "nsenter",
    "unshare",
];

/// A running cluster; it ends with this value.
pub struct Cluster {
    dir: tempfile::TempDir,
    commands: PathBuf,
    authority: Authority,
    network: Network,
    nodes: Vec<Node>,
    /// How many nodes there have been: no name is given twice.
    numbers: usize,
    guests: Vec<GuestNode>,
}

impl Cluster {
    /// Whether a cluster can be started here; says in one line what is missing, or panics where it has to be.
    pub fn is_possible(tier: &str, programs: &[&str]) -> bool {
        let root = fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"));
        if !root {
            skip(tier, "nodes need root");
            return false;
        }
        let built = commands().filter(|folder| folder.join("coredns").exists());
        if built.is_none() {
            skip(tier, "there is no kubelet: run scripts/kubernetes/build or set KUBEBUILDER_ASSETS");
            return false;
        }
        installed(tier, programs)
    }

    /// Starts a control plane without nodes, and the registry with the image that every pod needs.
    ///
    /// # Errors
    /// A program is missing, this is not root, or the API server does not come up.
    pub fn start(name: &str) -> Result<Self, Box<dyn Error>> {
        let commands = commands().ok_or("there is no kube-apiserver")?;
        let dir = tempfile::Builder::new().prefix("spo-cluster-").tempdir()?;
        fs::create_dir(dir.path().join("logs"))?;
        let network = Network::new(name, &dir.path().join("logs"))?;
        let mut this = Self {
            dir,
            commands,
            authority: Authority::new()?,
            network,
            nodes: Vec::new(),
            numbers: 0,
            guests: Vec::new(),
        };
        for address in [API, DNS, CONTROL_PLANE] {
            this.network.add_address(address)?;
        }
        this.network.add_services(SERVICES, CONTROL_PLANE)?;
        this.start_registry()?;
        this.start_control_plane()?;
        let sleeper = Image::new("registry.k8s.io/pause:1", &["/bin/sleep", "2147483647"]);
        this.push(&sleeper.with_busybox())?;
        Ok(this)
    }

    /// Starts one more node and waits until it is ready. Nodes are called `node-1`, `node-2`, ….
    ///
    /// # Errors
    /// It cannot be started or does not become ready.
    pub fn add_nodes(&mut self, count: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..count {
            self.numbers += 1;
            let number = self.numbers;
            let name = format!("node-{number}");
            let address = format!("10.89.0.{number}");
            self.network.add_address(&address)?;
            let pair = self
                .authority
                .issue(&[&address, &name], Some((&format!("system:node:{name}"), "system:nodes")))?;
            self.kubeconfig(&name, &pair)?;
            let node = Node::start(number, &mut self.network, self.dir.path(), &self.commands)?;
            self.nodes.push(node);
        }
        let names: Vec<String> = self.nodes.iter().map(Node::name).collect();
        self.until_ready(&names)
    }

    /// Boots one more node in a guest whose kernel has a security module, and says what it is called. It is ready some
    /// seconds later.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn add_guest(&mut self, security: Security) -> Result<String, Box<dyn Error>> {
        let number = 101 + self.guests.len();
        let name = format!("node-{number}");
        let subject = format!("system:node:{name}");
        let names = [format!("10.89.0.{number}"), name.clone()];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pair = self.authority.issue(&names, Some((&subject, "system:nodes")))?;
        let guest =
            GuestNode::start(number, security, &pair, &mut self.network, self.dir.path(), &self.commands)?;
        self.guests.push(guest);
        Ok(name)
    }

    /// Waits until nodes are ready.
    ///
    /// # Errors
    /// They do not become so in time.
    pub fn until_ready(&self, nodes: &[String]) -> Result<(), Box<dyn Error>> {
        self.until("the nodes are ready", || {
            // Pods need the account of their namespace, which comes some moments after it.
            if !self.kubectl(&["get", "serviceaccount", "default"], "")?.status.success() {
                return Ok(false);
            }
            let mut arguments = vec!["wait", "--for=condition=Ready", "--timeout=1s", "node"];
            arguments.extend(nodes.iter().map(String::as_str));
            Ok(self.kubectl(&arguments, "")?.status.success())
        })
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Sends a signal to processes of nodes, as [`Node::signal`]; `None` for every node. Says how many there were.
    ///
    /// # Errors
    /// There is no `kill`.
    pub fn signal(&self, node: Option<&str>, signal: &str, words: &str) -> Result<usize, Box<dyn Error>> {
        let chosen = self.nodes.iter().filter(|one| node.is_none_or(|name| one.name() == name));
        chosen.map(|node| node.signal(&self.network, signal, words)).sum()
    }

    /// A node, to stop and start it.
    pub fn node(&mut self, name: &str) -> Option<(&mut Node, &mut Network)> {
        let node = self.nodes.iter_mut().find(|node| node.name() == name)?;
        Some((node, &mut self.network))
    }

    /// Ends a node for ever, as a machine that is switched off; its Node object stays.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(at) = self.nodes.iter().position(|node| node.name() == name) {
            self.nodes.remove(at).end(&mut self.network);
        }
    }

    /// A folder that lives as long as the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the kernel of a guest node has logged, a second ago at most.
    ///
    /// # Errors
    /// There is no such guest, or it has said nothing yet.
    pub fn kernel_log(&self, guest: &str) -> Result<String, Box<dyn Error>> {
        let guest = self.guests.iter().find(|node| node.name() == guest).ok_or("there is no such guest")?;
        Ok(String::from_utf8_lossy(&fs::read(guest.kernel_log())?).into_owned())
    }

    /// Makes an image known to every node under its own name.
    ///
    /// # Errors
    /// A file of it is missing, or the registry does not take it.
    pub fn push(&self, image: &Image) -> Result<(), Box<dyn Error>> {
        let layout = tempfile::tempdir_in(self.dir.path())?;
        image.write(layout.path())?;
        let mut command = self.network.command("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        command.arg(format!("oci:{}:image", layout.path().display()));
        command.arg(format!("docker://{REGISTRY}/{}", image.repository()));
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", image.name(), String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Runs `kubectl` as the administrator.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        self.run(&self.commands.join("kubectl"), arguments, stdin)
    }

    /// Runs `kubectl` and gives what it says.
    ///
    /// # Errors
    /// It fails.
    pub fn good(&self, arguments: &[&str], stdin: &str) -> Result<String, Box<dyn Error>> {
        let output = self.kubectl(arguments, stdin)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("kubectl {}: {said}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))
            .into())
    }

    /// A `kubectl` of the administrator that runs for long: what it prints comes as it becomes known.
    pub fn following(&self, arguments: &[&str]) -> Command {
        let mut command = self.network.command(self.commands.join("kubectl"));
        command
            .args(arguments)
            .env("KUBECONFIG", self.dir.path().join("admin.kubeconfig"))
            .env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// The API server's audit log: every request that changes something.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// Runs `helm` as the administrator.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn helm(&self, arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
        self.run(&self.commands.join("helm"), arguments, "")
    }

    /// Runs commands of a document as they are written there, with `kubectl` and `helm` on the path; all that they print is
    /// the standard output.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn shell(&self, line: &str, folder: &Path) -> Result<Output, Box<dyn Error>> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.network.command("bash");
        command
            .args(["-ec", &format!("exec 2>&1\n{line}")])
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", self.commands.display()))
            .env("KUBECONFIG", self.dir.path().join("admin.kubeconfig"))
            .env("HOME", self.dir.path())
            // Open and silent, as a terminal nobody types in: `kubectl run -i` ends when it closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let terminal = child.stdin.take();
        let output = child.wait_with_output()?;
        drop(terminal);
        Ok(output)
    }

    fn run(&self, program: &Path, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        let mut child = self
            .network
            .command(program)
            .args(arguments)
            .env("KUBECONFIG", self.dir.path().join("admin.kubeconfig"))
            .env("HOME", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // Who does not read has said why by other means.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }

    /// Waits until something is true.
    ///
    /// # Errors
    /// It does not become true in time, or cannot be found out.
    pub fn until(
        &self,
        what: &str,
        test: impl FnMut() -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        until(DEADLINE, what, test)
    }

    /// Stops a process of the control plane as a crash does: `etcd`, `kube-apiserver`, ….
    pub fn kill(&mut self, process: &str) {
        self.network.kill(process);
    }

    /// Starts a process again that was killed, as it was.
    ///
    /// # Errors
    /// It was never started, or cannot be.
    pub fn restart(&mut self, process: &str) -> Result<(), Box<dyn Error>> {
        self.network.restart(process)
    }

    fn kubeconfig(&self, user: &str, (certificate, key): &(String, String)) -> Result<(), Box<dyn Error>> {
        let file = |name: String| self.dir.path().join(name);
        let (pem, secret) = (file(format!("{user}.crt")), file(format!("{user}.key")));
        fs::write(&pem, certificate)?;
        fs::write(&secret, key)?;
        let places = Places {
            mirrors: file("mirrors".to_owned()),
            cni: PathBuf::new(),
            addresses: PathBuf::new(),
            authority: file("ca.crt".to_owned()),
            certificate: pem,
            key: secret,
        };
        let config = settings::kubeconfig(&format!("https://{API}:443"), &places);
        Ok(fs::write(file(format!("{user}.kubeconfig")), config.to_string())?)
    }

    fn start_registry(&mut self) -> Result<(), Box<dyn Error>> {
        let dir = self.dir.path().to_owned();
        let settings = serde_json::json!({ "version": "0.1", "http": { "addr": REGISTRY },
            "storage": { "filesystem": { "rootdirectory": dir.join("registry") } } });
        fs::write(dir.join("registry.yaml"), settings.to_string())?;
        let mirrors = dir.join("mirrors/_default");
        fs::create_dir_all(&mirrors)?;
        let hosts = format!("[host.\"http://{REGISTRY}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        fs::write(mirrors.join("hosts.toml"), hosts)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.join("registry.yaml"));
        self.network.spawn("registry", command)?;
        let network = &self.network;
        self.until("the registry answers", || {
            let probe = format!("exec 3<>/dev/tcp/{}", REGISTRY.replace(':', "/"));
            Ok(network.command("bash").args(["-c", &probe]).stderr(Stdio::null()).status()?.success())
        })
    }

    fn start_control_plane(&mut self) -> Result<(), Box<dyn Error>> {
        let dir = self.dir.path().to_owned();
        let server = self
            .authority
            .issue(&["127.0.0.1", CONTROL_PLANE, API, "localhost", "kubernetes.default.svc"], None)?;
        let admin = self.authority.issue(&[], Some(("admin", "system:masters")))?;
        fs::write(dir.join("ca.crt"), self.authority.certificate())?;
        fs::write(dir.join("server.crt"), &server.0)?;
        fs::write(dir.join("server.key"), &server.1)?;
        let account = rcgen::KeyPair::generate()?;
        fs::write(dir.join("account.key"), account.serialize_pem())?;
        fs::write(dir.join("account.pub"), account.public_key_pem())?;
        self.kubeconfig("admin", &admin)?;

        let file = |name: &str| dir.join(name).display().to_string();
        let flag = |name: &str, value: &str| format!("--{name}={value}");
        let mut etcd = Command::new("etcd");
        etcd.arg("--unsafe-no-fsync").args(["--data-dir", &file("etcd")]).args([
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]);
        self.network.spawn("etcd", etcd)?;
        let mut api = Command::new(self.commands.join("kube-apiserver"));
        api.args(["--bind-address=0.0.0.0", "--secure-port=443", "--etcd-servers=http://127.0.0.1:2379"])
            .arg(flag("advertise-address", CONTROL_PLANE))
            .args([
                flag("tls-cert-file", &file("server.crt")),
                flag("tls-private-key-file", &file("server.key")),
            ])
            .arg(flag("client-ca-file", &file("ca.crt")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("service-account-key-file", &file("account.pub")))
            .arg(flag("service-account-signing-key-file", &file("account.key")))
            .arg(flag("kubelet-client-certificate", &file("admin.crt")))
            .arg(flag("kubelet-client-key", &file("admin.key")))
            .arg(flag("kubelet-certificate-authority", &file("ca.crt")))
            .args([
                "--kubelet-preferred-address-types=InternalIP",
                &flag("service-cluster-ip-range", SERVICES),
            ])
            .args(["--allow-privileged=true", "--authorization-mode=Node,RBAC"])
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg(flag("audit-log-path", &file("audit.log")))
            .arg(flag("audit-policy-file", &file("audit.yaml")));
        let policy = serde_json::json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{ "level": "Metadata", "userGroups": ["system:serviceaccounts:security-profiles-operator"] },
                      { "level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"] },
                      { "level": "None" }] });
        fs::write(dir.join("audit.yaml"), policy.to_string())?;
        self.network.spawn("kube-apiserver", api)?;
        self.until("the API server is ready", || {
            Ok(self.kubectl(&["get", "--raw", "/readyz"], "")?.status.success())
        })?;

        let kubeconfig = flag("kubeconfig", &file("admin.kubeconfig"));
        let mut controllers = Command::new(self.commands.join("kube-controller-manager"));
        controllers
            .args([&kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false"])
            .arg(flag("root-ca-file", &file("ca.crt")))
            .arg(flag("service-account-private-key-file", &file("account.key")))
            .args(["--use-service-account-credentials", "--authentication-skip-lookup"])
            // A node that is gone is noticed in seconds, not in the minute that is the default.
            .args(["--node-monitor-grace-period=12s", "--node-monitor-period=2s"]);
        self.network.spawn("kube-controller-manager", controllers)?;
        let mut scheduler = Command::new(self.commands.join("kube-scheduler"));
        scheduler.args([&kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false"]);
        scheduler.arg("--authentication-skip-lookup");
        self.network.spawn("kube-scheduler", scheduler)?;
        let proxy = serde_json::json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
            "clusterCIDR": "10.88.0.0/16", "hostnameOverride": "node-1",
            "clientConnection": { "kubeconfig": file("admin.kubeconfig") },
            // The machine's own settings stay.
            "conntrack": { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
            "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
        });
        fs::write(dir.join("proxy.yaml"), proxy.to_string())?;
        let mut proxy = Command::new(self.commands.join("kube-proxy"));
        proxy.arg(flag("config", &file("proxy.yaml")));
        self.network.spawn("kube-proxy", proxy)?;
        let zone = format!(
            ".:53 {{\n  bind {DNS}\n  kubernetes cluster.local {{\n    kubeconfig {} c\n  }}\n}}\n",
            file("admin.kubeconfig")
        );
        fs::write(dir.join("Corefile"), zone)?;
        let mut dns = Command::new(self.commands.join("coredns"));
        dns.args(["-conf", &file("Corefile")]);
        self.network.spawn("coredns", dns)?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() || std::env::var_os("SPO_KEEP_LOGS").is_some() {
            // What the processes said goes with the folder otherwise.
            let kept = std::env::temp_dir().join("spo-cluster-logs");
            let _ = fs::remove_dir_all(&kept);
            let copied = Command::new("cp").arg("-r").arg(self.dir.path().join("logs")).arg(&kept).status();
            eprintln!("the logs of the cluster are in {} ({copied:?})", kept.display());
        }
        for node in self.nodes.drain(..) {
            node.end(&mut self.network);
        }
        for guest in self.guests.drain(..) {
            guest.end(&mut self.network);
        }
        self.network.end();
    }
}
