//! A real API server: `etcd` and `kube-apiserver` on this machine, with nothing behind them.
//!
//! The commands come from the folder that `KUBEBUILDER_ASSETS` names, else from where `scripts/kubernetes/build` puts
//! them; `etcd` may also be the distribution's.

use std::{
    error::Error,
    fs,
    io::Write as _,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{installed, printed, relay::Relay, skip, waiting::until};

/// What says that it needs an API server.
pub(crate) const TIER: &str = "api-server";

/// How long the server may take to come up.
const DEADLINE: Duration = Duration::from_secs(120);

/// Every request once, when it has been answered.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// A running API server; it ends with this value.
pub struct ApiServer {
    dir: tempfile::TempDir,
    commands: PathBuf,
    processes: Vec<Process>,
    authority: Authority,
    port: u16,
    relay: Option<Relay>,
}

/// A process, and how it is started again.
struct Process {
    name: String,
    child: Child,
    command: Command,
}

/// A certificate authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// The folder with the commands of Kubernetes, if there is one.
pub fn commands() -> Option<PathBuf> {
    let named = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let built = cache.and_then(|cache| {
        let mut found: Vec<PathBuf> =
            fs::read_dir(cache.join("spo")).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|path| path.join("complete").exists());
        found.sort();
        found.pop()
    });
    named.or(built).filter(|folder| folder.join("kube-apiserver").exists())
}

impl ApiServer {
    /// Whether one can be started here; says in one line what is missing, or panics where it has to be.
    pub fn is_possible() -> bool {
        if commands().is_none() {
            skip(TIER, "there is no kube-apiserver: run scripts/kubernetes/build or set KUBEBUILDER_ASSETS");
            return false;
        }
        installed(TIER, &["etcd"])
    }

    /// Starts one and waits until it is ready. `None` where it is not possible.
    ///
    /// # Errors
    /// The server does not come up.
    pub fn start() -> Result<Option<Self>, Box<dyn Error>> {
        if !Self::is_possible() {
            return Ok(None);
        }
        Self::start_with(&[], &[]).map(Some)
    }

    /// As [`Self::start`], with more flags for the API server, and files (name and text) of [`Self::dir`], where it runs
    /// and where `audit-policy.yaml` writes down every request without its contents.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(flags: &[&str], files: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        let commands = commands().ok_or("there is no kube-apiserver")?;
        let dir = tempfile::tempdir()?;
        let authority = Authority::new()?;
        let (server, server_key) = authority.issue(&["127.0.0.1"], None)?;
        let (client, client_key) = authority.issue(&[], Some(("admin", "system:masters")))?;
        let account = KeyPair::generate()?;
        for (name, text) in [
            ("ca.crt", &authority.certificate),
            ("server.crt", &server),
            ("server.key", &server_key),
            ("client.crt", &client),
            ("client.key", &client_key),
            ("account.key", &account.serialize_pem()),
            ("account.pub", &account.public_key_pem()),
            ("audit-policy.yaml", &AUDIT_POLICY.to_owned()),
        ] {
            fs::write(dir.path().join(name), text)?;
        }
        for (name, text) in files {
            fs::write(dir.path().join(name), text)?;
        }
        let [etcd, peers, api] = [free_port()?, free_port()?, free_port()?];
        let mut this = Self { dir, commands, processes: Vec::new(), authority, port: api, relay: None };
        let own = this.commands.join("etcd");
        let etcd_command = if own.exists() { own } else { PathBuf::from("etcd") };
        this.spawn(
            Command::new(etcd_command)
                .arg("--unsafe-no-fsync")
                .args(["--data-dir", "etcd"])
                .args(["--listen-client-urls", &format!("http://127.0.0.1:{etcd}")])
                .args(["--advertise-client-urls", &format!("http://127.0.0.1:{etcd}")])
                .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")]),
            "etcd.log",
        )?;
        this.spawn(
            Command::new(this.commands.join("kube-apiserver"))
                .arg("--bind-address=127.0.0.1")
                .arg(format!("--secure-port={api}"))
                .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
                .args(["--tls-cert-file=server.crt", "--tls-private-key-file=server.key"])
                .args(["--client-ca-file=ca.crt", "--authorization-mode=RBAC"])
                .args([
                    "--service-account-issuer=https://kubernetes",
                    "--service-account-key-file=account.pub",
                ])
                .args([
                    "--service-account-signing-key-file=account.key",
                    "--service-cluster-ip-range=10.0.0.0/24",
                ])
                // As every distribution has it; agents that load AppArmor profiles need it.
                .arg("--allow-privileged=true")
                .args(["--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"])
                .args(flags),
            "api.log",
        )?;
        fs::write(this.kubeconfig(), this.kubeconfig_text())?;
        this.wait_until_ready()?;
        Ok(this)
    }

    /// Waits until the API server answers.
    ///
    /// # Errors
    /// It does not come up.
    pub fn wait_until_ready(&self) -> Result<(), Box<dyn Error>> {
        let answers = || Ok(self.kubectl(&["get", "--raw", "/readyz"], "")?.status.success());
        until(DEADLINE, "the API server comes up", answers).map_err(|error| {
            let log = fs::read_to_string(self.dir.path().join("api.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{error}: {}", last.join("\n")).into()
        })
    }

    /// A folder that lives as long as the server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate authority, as text and as the `caBundle` of a webhook.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// A serving certificate for this machine and its key.
    ///
    /// # Errors
    /// No randomness for a key.
    pub fn certificate(&self) -> Result<(String, String), Box<dyn Error>> {
        self.authority.issue(&["127.0.0.1"], None)
    }

    /// The file by which clients find the server, as its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Starts a process that ends with the server; its output goes into a file of [`Self::dir`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self, command: &mut Command, log: &str) -> Result<(), Box<dyn Error>> {
        let file = fs::File::create(self.dir.path().join(log))?;
        // Again what was given, since a command cannot be copied.
        let mut own = Command::new(command.get_program());
        own.args(command.get_args()).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => own.env(name, value),
                None => own.env_remove(name),
            };
        }
        let child = own.stdout(file.try_clone()?).stderr(file).spawn()?;
        let name = log.strip_suffix(".log").unwrap_or(log).to_owned();
        self.processes.push(Process { name, child, command: own });
        Ok(())
    }

    /// Kills a process at once, as `kill -9` does. Its name is that of its log without `.log`; the servers' own are
    /// `etcd` and `api`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn kill(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let child = &mut self.process(name)?.child;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks a process to end (SIGTERM), and waits until it has. Says how.
    ///
    /// # Errors
    /// There is no such process, or it does not end within a minute.
    pub fn terminate(&mut self, name: &str) -> Result<ExitStatus, Box<dyn Error>> {
        let child = &mut self.process(name)?.child;
        Command::new("kill").arg(child.id().to_string()).status()?;
        let mut ended = None;
        until(Duration::from_secs(60), &format!("{name} ends"), || {
            ended = child.try_wait()?;
            Ok(ended.is_some())
        })?;
        Ok(ended.ok_or("it has not ended")?)
    }

    /// Starts a process again, as it was started first: the same data, the same ports. Its log goes on.
    ///
    /// # Errors
    /// There is no such process, or it cannot be started.
    pub fn start_again(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let log = self.dir.path().join(format!("{name}.log"));
        let log = fs::OpenOptions::new().append(true).create(true).open(log)?;
        let process = self.process(name)?;
        process.child = process.command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(())
    }

    /// The number of a process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn pid(&mut self, name: &str) -> Result<u32, Box<dyn Error>> {
        Ok(self.process(name)?.child.id())
    }

    fn process(&mut self, name: &str) -> Result<&mut Process, Box<dyn Error>> {
        let found = self.processes.iter_mut().rev().find(|process| process.name == name);
        found.ok_or_else(|| format!("there is no process {name}").into())
    }

    /// The file by which clients find the server, as the bearer of a token.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn kubeconfig_of(&self, token: &str) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.dir.path().join(format!("kubeconfig-{}", self.processes.len()));
        fs::write(&path, self.config(&serde_json::json!({ "token": token })))?;
        Ok(path)
    }

    /// Runs `kubectl` as the administrator.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        let mut child = Command::new(self.commands.join("kubectl"))
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(stdin.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    /// Runs `kubectl` as the administrator and gives all that it says; it has to succeed, and without a warning.
    ///
    /// # Errors
    /// It does not.
    pub fn calm(&self, arguments: &[&str], stdin: &str) -> Result<String, Box<dyn Error>> {
        let output = self.kubectl(arguments, stdin)?;
        let said = printed(&output);
        if !output.status.success() || said.contains("Warning") {
            return Err(format!("kubectl {}: {said}", arguments.join(" ")).into());
        }
        Ok(said)
    }

    /// A `kubectl` of the administrator that runs for long: what it prints comes as it becomes known.
    pub fn following(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.commands.join("kubectl"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Puts a relay between the server and all who get a kubeconfig from now on; the administrator connects directly.
    ///
    /// # Errors
    /// No port is free.
    pub fn relay(&mut self) -> std::io::Result<()> {
        self.relay = Some(Relay::start(self.port)?);
        Ok(())
    }

    /// The relay, if there is one.
    pub fn connections(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    fn kubeconfig_text(&self) -> String {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        self.config(&serde_json::json!(
            { "client-certificate": file("client.crt"), "client-key": file("client.key") }
        ))
    }

    fn config(&self, user: &serde_json::Value) -> String {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let port = self.relay.as_ref().map_or(self.port, Relay::port);
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster":
                { "server": format!("https://127.0.0.1:{port}"), "certificate-authority": file("ca.crt") } }],
            "users": [{ "name": "admin", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
        })
        .to_string()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// No randomness for a key.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "spo-tests");
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Its own certificate, as text.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for these names, or for a user of a group, and its key.
    ///
    /// # Errors
    /// A name is none, or there is no randomness for a key.
    pub fn issue(
        &self,
        names: &[&str],
        subject: Option<(&str, &str)>,
    ) -> Result<(String, String), Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        if let Some((user, group)) = subject {
            params.distinguished_name.push(DnType::CommonName, user);
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// A port that nobody has now, and that nobody gets before it is used: each is given once by this process, and the kernel
/// gives connections ports above these (`ip_local_port_range`, 32768 and up).
///
/// # Errors
/// None is free.
pub fn free_port() -> std::io::Result<u16> {
    const PORTS: Range<u32> = 20_000..30_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        // Processes that run at the same time begin elsewhere.
        let number = std::process::id().wrapping_mul(101).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + number % (PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}
