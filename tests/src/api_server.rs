//! A real API server: `etcd` and `kube-apiserver` on this machine, with nothing behind them.
//!
//! The commands come from the folder that `KUBEBUILDER_ASSETS` names, else from where `scripts/kubernetes/build` puts
//! them; `etcd` may also be the distribution's.

use std::{
    error::Error,
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// How long the server may take to come up.
const DEADLINE: Duration = Duration::from_secs(120);

/// A running API server; it ends with this value.
pub struct ApiServer {
    dir: tempfile::TempDir,
    commands: PathBuf,
    processes: Vec<Child>,
    servers: Vec<Server>,
    authority: Authority,
    url: String,
}

/// `etcd` or `kube-apiserver`, which can be ended and started again.
struct Server {
    name: &'static str,
    command: Command,
    child: Option<Child>,
}

impl Server {
    /// Starts it; its output goes behind what is in its file already.
    fn start(&mut self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let log =
            fs::File::options().create(true).append(true).open(dir.join(format!("{}.log", self.name)))?;
        let command = self.command.current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Authority {
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
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// The commands are missing, or the server does not come up.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with more flags for `kube-apiserver`. Relative paths are below [`Self::dir`], where
    /// `audit-policy.yaml` writes down every request without its contents.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(flags: &[&str]) -> Result<Self, Box<dyn Error>> {
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
        let [etcd, peers, api] = [free_port()?, free_port()?, free_port()?];
        let url = format!("https://127.0.0.1:{api}");
        let mut this = Self { dir, commands, processes: Vec::new(), servers: Vec::new(), authority, url };
        let own = this.commands.join("etcd");
        let etcd_command = if own.exists() { own } else { PathBuf::from("etcd") };
        let mut etcd_server = Command::new(etcd_command);
        etcd_server
            .arg("--unsafe-no-fsync")
            .args(["--data-dir", "etcd"])
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{etcd}")])
            .args(["--advertise-client-urls", &format!("http://127.0.0.1:{etcd}")])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")]);
        let mut api_server = Command::new(this.commands.join("kube-apiserver"));
        api_server
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={api}"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
            .args(["--tls-cert-file=server.crt", "--tls-private-key-file=server.key"])
            .args(["--client-ca-file=ca.crt", "--authorization-mode=RBAC"])
            .args(["--service-account-issuer=https://kubernetes", "--service-account-key-file=account.pub"])
            .args([
                "--service-account-signing-key-file=account.key",
                "--service-cluster-ip-range=10.0.0.0/24",
            ])
            .args(["--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"])
            .args(flags);
        for (name, command) in [("etcd", etcd_server), ("api", api_server)] {
            this.servers.push(Server { name, command, child: None });
            this.start_again(name)?;
        }
        fs::write(this.kubeconfig(), this.kubeconfig_text())?;
        this.wait()?;
        Ok(this)
    }

    /// Waits until the API server says that it is ready.
    ///
    /// # Errors
    /// It does not.
    pub fn wait(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while !self.kubectl(&["get", "--raw", "/readyz"], "")?.status.success() {
            let ended = self.servers.iter_mut().any(|server| {
                server.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
            });
            if ended || start.elapsed() > DEADLINE {
                let log = fs::read_to_string(self.dir.path().join("api.log"))?;
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("the API server does not come up: {}", last.join("\n")).into());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Kills `etcd` or `api`.
    pub fn kill(&mut self, name: &str) {
        self.servers.iter_mut().filter(|server| server.name == name).for_each(Server::stop);
    }

    /// Starts `etcd` or `api` again; [`Self::wait`] says when it is back.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_again(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let dir = self.dir.path().to_owned();
        self.servers.iter_mut().filter(|server| server.name == name).try_for_each(|server| server.start(&dir))
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
        let log = fs::File::create(self.dir.path().join(log))?;
        let child = command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.processes.push(child);
        Ok(())
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

    fn kubeconfig_text(&self) -> String {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster":
                { "server": self.url, "certificate-authority": file("ca.crt") } }],
            "users": [{ "name": "admin", "user":
                { "client-certificate": file("client.crt"), "client-key": file("client.key") } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
        })
        .to_string()
    }
}

/// Every request once, when it has been answered.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.servers.iter_mut().rev().for_each(Server::stop);
    }
}

impl Authority {
    fn new() -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "spo-tests");
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    fn issue(
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

/// A port that nobody has now.
///
/// # Errors
/// None is free.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
