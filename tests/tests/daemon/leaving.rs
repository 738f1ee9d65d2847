//! When a node is left as it was before the operator came, and when not.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use spo_tests::operator::{Admission, GROUP, NAMESPACE, Operator};

use super::{Outcome, agents, profile, settings, turn, until_state};

/// What takes a profile off a node by mistake frees the pods that run under it.
#[test]
fn an_agent_leaves_its_node_empty_when_its_own_spod_is_gone() -> Outcome {
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    let mut pool = settings(&json!({}));
    pool["metadata"]["name"] = json!("pool-a");
    let daemon_set = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "pool-a", "namespace": NAMESPACE },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    // Another one of the well-known name is not the agent's, whatever it says and whatever becomes of it.
    operator.apply(&settings(&json!({ "security": { "allowedSyscalls": ["nanosleep"] } })))?;
    operator.apply(&pool)?;
    operator.apply(&daemon_set)?;
    let ports = agents(&mut operator, &["node-a"], &["--spod-name=pool-a"])?[0];
    operator.apply(&profile("web", &["read"], None))?;
    until_state(&operator, &["web"], &["node-a"], "Installed")?;
    let ledger = operator.root("node-a").join("var/lib/security-profiles-operator/ledger.json");
    let file = operator.file("node-a", "web");
    let is_left = || file.exists() && ledger.exists();

    // A roll-out, a drain.
    operator.server.terminate("node-a")?;
    assert!(is_left(), "{}", operator.log("node-a"));

    // The SPOD of others.
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.kubectl(&["delete", "spod", "spod", "-n", NAMESPACE])?;
    operator.server.terminate("node-a")?;
    assert!(is_left(), "{}", operator.log("node-a"));

    // The DaemonSet alone, which a manager would make again.
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.kubectl(&["delete", "daemonset", "pool-a", "-n", NAMESPACE, "--wait=false"])?;
    operator.server.terminate("node-a")?;
    assert!(is_left(), "{}", operator.log("node-a"));

    // An API server that does not answer says nothing.
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.server.kill("api")?;
    operator.server.terminate("node-a")?;
    assert!(is_left(), "{}", operator.log("node-a"));
    operator.server.start_again("api")?;
    operator.server.wait_until_ready()?;

    // Its own SPOD, while the DaemonSet is there, as with --cascade=orphan: its next pod would come.
    operator.apply(&daemon_set)?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.kubectl(&["delete", "spod", "pool-a", "-n", NAMESPACE])?;
    thread::sleep(Duration::from_secs(1));
    operator.server.terminate("node-a")?;
    assert!(is_left(), "{}", operator.log("node-a"));

    // Its own SPOD, and what the garbage collector takes with it.
    operator.apply(&pool)?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.kubectl(&["delete", "spod", "pool-a", "-n", NAMESPACE])?;
    operator.kubectl(&["delete", "daemonset", "pool-a", "-n", NAMESPACE])?;
    thread::sleep(Duration::from_secs(1));
    operator.server.terminate("node-a")?;
    assert!(!file.exists() && !ledger.exists(), "{}", operator.log("node-a"));
    assert!(!operator.root("node-a").join("var/lib/kubelet/seccomp/operator").exists());

    // The namespace, while all else is there still: nothing but its end lets a node be empty here.
    operator.apply(&pool)?;
    operator.apply(&daemon_set)?;
    operator.server.start_again("node-a")?;
    operator.agent_is_ready("node-a", ports)?;
    operator.holds("the profile is there again", || Ok(is_left()))?;
    operator.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    operator.server.terminate("node-a")?;
    assert!(!file.exists() && !ledger.exists(), "{}", operator.log("node-a"));
    Ok(())
}

/// A `selinuxd` that takes every module, and answers nobody while it is held.
#[derive(Clone, Default)]
struct Selinuxd {
    held: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Selinuxd {
    fn start(socket: &Path) -> std::io::Result<Self> {
        let this = Self::default();
        let (listener, me) = (UnixListener::bind(socket)?, this.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                me.asked.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 1024];
                let length = stream.read(&mut head).unwrap_or_default();
                while me.held.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
                let asked = String::from_utf8_lossy(&head[..length]).into_owned();
                let body = match asked.split(' ').nth(1) {
                    Some("/ready/") => r#"{"ready":true}"#,
                    Some("/policies/") => "[]",
                    _ => r#"{"status":"Installed"}"#,
                };
                let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
            }
        });
        Ok(this)
    }
}

/// Everything of an uninstallation happens while a module keeps the agent busy: the rights to ask are gone when it has
/// time again, and only its watch can tell.
#[test]
fn an_agent_that_is_busy_during_the_uninstallation_leaves_its_node_empty() -> Outcome {
    let _turn = turn();
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.apply(&settings(&json!({})))?;
    let socket = operator.server.dir().join("selinuxd.sock");
    let selinuxd = Selinuxd::start(&socket)?;
    let socket = format!("--selinuxd={}", socket.display());
    agents(&mut operator, &["node-a"], &["--with-selinux", &socket])?;
    let module = |class: &str| {
        json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SelinuxProfile",
            "metadata": { "name": "module", "namespace": "production" },
            "spec": { "inherit": [{ "kind": "System", "name": "container" }],
                "allow": { "@self": { class: ["getattr"] } } } })
    };
    operator.apply(&profile("web", &["read"], None))?;
    operator.apply(&module("file"))?;
    until_state(&operator, &["module", "web"], &["node-a"], "Installed")?;
    let ledger = operator.root("node-a").join("var/lib/security-profiles-operator/ledger.json");
    assert!(ledger.exists() && operator.file("node-a", "web").exists());

    selinuxd.held.store(true, Ordering::SeqCst);
    let before = selinuxd.asked.load(Ordering::SeqCst);
    operator.apply(&module("dir"))?;
    operator
        .holds("the agent waits for the module", || Ok(selinuxd.asked.load(Ordering::SeqCst) > before))?;
    operator.kubectl(&["delete", "spod", "spod", "-n", NAMESPACE])?;
    operator.kubectl(&["delete", "clusterrolebindings", "spod", "spod-profiles"])?;
    operator.kubectl(&["delete", "rolebindings", "spod", "-n", NAMESPACE])?;
    thread::sleep(Duration::from_secs(1));
    let held = Arc::clone(&selinuxd.held);
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        held.store(false, Ordering::SeqCst);
    });
    operator.server.terminate("node-a")?;
    later.join().map_err(|_| "nobody let it go")?;
    let log = operator.log("node-a");
    assert!(!ledger.exists() && !operator.file("node-a", "web").exists(), "{log}");
    Ok(())
}
