//! A manager and agents as processes of this machine, on an API server alone: each agent's node is a folder.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    api_server::{ApiServer, commands},
    audit::AuditLog,
    binary, installed, skip, workspace,
};

/// The operator's namespace, and its manager's service account.
pub const OPERATOR: &str = "security-profiles-operator";

/// The agents' service account.
pub const AGENT: &str = "spod";

/// The namespace of profiles.
pub const NAMESPACE: &str = "production";

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// A server with our definitions, and a file by which each account of the operator finds it.
pub struct Fleet {
    /// The API server.
    pub server: ApiServer,
    operator: PathBuf,
}

impl Fleet {
    /// Starts everything: a manager called `manager` and agents called `node-0`, `node-1`, …. `None` if a tool is missing,
    /// which [`skip`] has said then. `SPO_OPERATOR_BINARY` names the operator, else it is built.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(nodes: usize) -> Fallible<Option<Self>> {
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
        let operator = match std::env::var_os("SPO_OPERATOR_BINARY") {
            Some(named) => named.into(),
            None => binary("spo-operator", "spo-operator"),
        };
        let server = ApiServer::start_with(
            &[
                "--audit-policy-file=audit-policy.yaml",
                "--audit-log-path=audit.log",
                // The manager registers webhooks, and there is no network in which they could be reached.
                "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
            ],
            &[],
        )?;
        let mut this = Self { server, operator };
        let mut definitions = String::new();
        for entry in fs::read_dir(workspace().join("deploy/crds/namespaced"))? {
            definitions.push_str(&format!("---\n{}", fs::read_to_string(entry?.path())?));
        }
        this.kubectl(&["apply", "--server-side", "-f", "-"], &definitions)?;
        this.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
        for namespace in [OPERATOR, NAMESPACE] {
            this.kubectl(&["create", "namespace", namespace], "")?;
        }
        for account in [OPERATOR, AGENT] {
            // What each may do is the business of other tests; here only who does it counts.
            let subject = format!("--serviceaccount={OPERATOR}:{account}");
            this.kubectl(&["create", "serviceaccount", account, "-n", OPERATOR], "")?;
            this.kubectl(
                &["create", "clusterrolebinding", account, "--clusterrole=cluster-admin", &subject],
                "",
            )?;
        }
        let manager = this.kubeconfig(OPERATOR)?;
        this.spawn("manager", &manager, &["manager"], &[("POD_NAME", "manager")])?;
        until("there is a SPOD", || {
            let found = this.server.kubectl(&["get", "spod", "spod", "-n", OPERATOR], "")?;
            Ok(found.status.success())
        })?;
        this.nodes(&(0..nodes).map(|number| format!("node-{number}")).collect::<Vec<_>>())?;
        Ok(Some(this))
    }

    /// Nodes that are ready, each with an agent that works in a folder.
    fn nodes(&mut self, names: &[String]) -> Fallible {
        let documents = |rest: &Value| {
            let document = |name| {
                let mut node = json!({ "apiVersion": "v1", "kind": "Node",
                    "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } } });
                node["status"] = rest.clone();
                format!("---\n{node}\n")
            };
            names.iter().map(document).collect::<String>()
        };
        self.kubectl(&["apply", "--server-side", "-f", "-"], &documents(&json!({})))?;
        self.kubectl(&["taint", "nodes", "--all", "node.kubernetes.io/not-ready-"], "")?;
        let ready = documents(&json!({ "conditions": [{ "type": "Ready", "status": "True" }] }));
        self.kubectl(&["apply", "--server-side", "--subresource=status", "-f", "-"], &ready)?;
        let kubeconfig = self.kubeconfig(AGENT)?;
        for name in names {
            let root = self.server.dir().join("nodes").join(name);
            fs::create_dir_all(&root)?;
            let root = root.to_string_lossy().into_owned();
            self.spawn(
                name,
                &kubeconfig,
                &["daemon", "--metrics-port=0", "--with-insecure-metrics-access", "--root", &root],
                &[("NODE_NAME", name)],
            )?;
        }
        Ok(())
    }

    /// A file by which an account finds the server.
    fn kubeconfig(&self, account: &str) -> Fallible<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "-n", OPERATOR], "")?;
        self.server.kubeconfig_of(token.trim())
    }

    fn spawn(
        &mut self,
        name: &str,
        kubeconfig: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Fallible {
        let mut command = Command::new(&self.operator);
        command
            .args(flags)
            .arg("--health-port=0")
            .env("KUBECONFIG", kubeconfig)
            .env("OPERATOR_NAMESPACE", OPERATOR)
            .envs(environment.iter().copied());
        self.server.spawn(&mut command, &format!("{name}.log"))
    }

    /// Runs `kubectl` as the administrator and gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Fallible<String> {
        let output = self.server.kubectl(arguments, stdin)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(format!("kubectl {}: {said}{why}", arguments.join(" ")).into())
            }
        }
    }

    /// Every object of a resource.
    ///
    /// # Errors
    /// The API server does not say.
    pub fn list(&self, resource: &str) -> Fallible<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", resource, "-A", "-o", "json"], "")?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The audit log from now on.
    ///
    /// # Errors
    /// There is none.
    pub fn log(&self) -> Fallible<AuditLog> {
        // Lines are written behind the answers.
        thread::sleep(Duration::from_secs(1));
        AuditLog::from_now(&self.server.dir().join("audit.log"))
    }
}

/// Looks often whether something is so.
///
/// # Errors
/// It does not become so within minutes, or cannot be found out.
pub fn until(what: &str, mut is: impl FnMut() -> Fallible<bool>) -> Fallible {
    let start = Instant::now();
    while !is()? {
        if start.elapsed() > Duration::from_secs(300) {
            return Err(format!("it does not happen that {what}").into());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
