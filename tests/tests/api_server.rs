//! The webhook on a real API server: every version of the guide's manifests, bindings, refusals and warnings.

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::{ApiServer, commands, free_port},
    binary, installed, skip, workspace,
};

const GROUP: &str = "security-profiles-operator.x-k8s.io";

/// A server with our definitions, and our webhook beside it.
fn cluster() -> Result<Option<ApiServer>, Box<dyn Error>> {
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
    let mut server = ApiServer::start()?;
    let [port, health] = [free_port()?, free_port()?];
    let (certificate, key) = server.certificate()?;
    let folder = server.dir().join("serving");
    fs::create_dir(&folder)?;
    fs::write(folder.join("tls.crt"), certificate)?;
    fs::write(folder.join("tls.key"), key)?;
    let mut command = Command::new(operator);
    command
        .args(["webhook", "--port", &port.to_string(), "--health-port", &health.to_string(), "--cert-dir"])
        .arg(&folder)
        .env("KUBECONFIG", server.kubeconfig())
        .env("OPERATOR_NAMESPACE", "security-profiles-operator");
    let definitions = definitions(&server, port)?;
    let applied = server.kubectl(&["apply", "--server-side", "-f", "-"], &definitions)?;
    assert!(applied.status.success(), "{}", text(&applied));
    let wait =
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
    assert!(wait.status.success(), "{}", text(&wait));
    server.spawn(&mut command, "webhook.log")?;
    let start = Instant::now();
    while !ready(health) {
        let log = fs::read_to_string(server.dir().join("webhook.log"))?;
        assert!(start.elapsed() < Duration::from_secs(60), "the webhook is not ready: {log}");
        thread::sleep(Duration::from_millis(100));
    }
    let configured = server.kubectl(&["apply", "-f", "-"], &configurations(&server, port).to_string())?;
    assert!(configured.status.success(), "{}", text(&configured));
    for namespace in ["production", "security-profiles-operator"] {
        server.kubectl(&["create", "namespace", namespace], "")?;
    }
    Ok(Some(server))
}

/// Our CustomResourceDefinitions, converted by the webhook on this machine.
fn definitions(server: &ApiServer, port: u16) -> Result<String, Box<dyn Error>> {
    let mut all = String::new();
    for entry in fs::read_dir(workspace().join("deploy/crds/namespaced"))? {
        let mut definition: Value = serde_saphyr::from_str(&fs::read_to_string(entry?.path())?)?;
        definition["spec"]["conversion"]["webhook"]["clientConfig"] = client(server, port, "/convert");
        all.push_str(&format!("---\n{definition}\n"));
    }
    Ok(all)
}

fn client(server: &ApiServer, port: u16, path: &str) -> Value {
    let bundle = base64(server.authority().as_bytes());
    json!({ "url": format!("https://127.0.0.1:{port}{path}"), "caBundle": bundle })
}

fn configurations(server: &ApiServer, port: u16) -> Value {
    let hook = |name: &str, path: &str, rule: Value| {
        json!({ "name": name, "clientConfig": client(server, port, path), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail" })
    };
    let pods =
        json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] });
    let ours = json!({ "operations": ["CREATE", "UPDATE"], "apiGroups": [GROUP], "apiVersions": ["*"],
        "resources": ["seccompprofiles", "selinuxprofiles", "rawselinuxprofiles", "apparmorprofiles"] });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
          "metadata": { "name": "spo" }, "webhooks": [hook("binding.spo.io", "/mutate-v1-pod-binding", pods)] },
        { "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
          "metadata": { "name": "spo" }, "webhooks": [hook("validate.spo.io", "/validate-profile", ours)] },
    ]})
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_guide_on_a_real_api_server() -> Result<(), Box<dyn Error>> {
    let Some(server) = cluster()? else { return Ok(()) };
    let get = |resource: &str, version: &str, name: &str| -> Result<Value, Box<dyn Error>> {
        let resource = format!("{resource}.{version}.{GROUP}");
        let output = server.kubectl(&["get", &resource, name, "-n", "production", "-o", "json"], "")?;
        serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {}", text(&output)).into())
    };

    // Section 2: the profile as written, in the version of the guide; the lints are printed by kubectl.
    let guide = |name: &str| fs::read_to_string(workspace().join("examples/guide").join(name));
    let applied = server.kubectl(&["apply", "-f", "-"], &guide("02-seccomp.yaml")?)?;
    assert!(applied.status.success(), "{}", text(&applied));
    assert!(text(&applied).contains("Warning: ") && text(&applied).contains("execve"), "{}", text(&applied));
    for (version, switch) in [("v1", "state"), ("v1beta1", "disabled")] {
        let profile = get("seccompprofiles", version, "restricted-workload")?;
        assert_eq!(profile["apiVersion"], format!("{GROUP}/{version}"));
        assert_eq!(profile["spec"]["syscalls"][0]["names"][0], "read", "{profile}");
        let other = if switch == "state" { "disabled" } else { "state" };
        assert!(profile["spec"][other].is_null(), "{version} has no {other}: {profile}");
    }
    // Sections 4, 5 and 6.
    for name in ["04-apparmor.yaml", "05-selinux.yaml", "06-base-local.yaml"] {
        let applied = server.kubectl(&["apply", "-f", "-"], &guide(name)?)?;
        assert!(applied.status.success(), "{name}: {}", text(&applied));
    }
    for version in ["v1", "v1alpha2"] {
        let profile = get("selinuxprofiles", version, "nginx-selinux")?;
        assert_eq!(profile["spec"]["inherit"][0]["name"], "container", "{profile}");
    }

    // What cannot work is refused, with the place and the way out.
    let wrong =
        guide("02-seccomp.yaml")?.replace("- openat", "- opnat").replace("restricted-workload", "wrong");
    let refused = server.kubectl(&["apply", "-f", "-"], &wrong)?;
    assert!(!refused.status.success());
    assert!(text(&refused).contains("opnat") && text(&refused).contains("openat"), "{}", text(&refused));

    // Section 7: a bound image gets its profile without asking, whatever the pod says about itself.
    let applied = server.kubectl(&["apply", "-f", "-"], &guide("07-binding.yaml")?)?;
    assert!(applied.status.success(), "{}", text(&applied));
    let binding = server.kubectl(&["get", "profilebindings", "-n", "production", "-o", "json"], "")?;
    let binding: Value = serde_json::from_slice(&binding.stdout)?;
    let spec = &binding["items"][0]["spec"];
    let (image, profile) = (&spec["image"], spec["profileRef"]["name"].as_str().unwrap_or_default());
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bound", "namespace": "production",
            "labels": { "name": "security-profiles-operator" } },
        "spec": { "securityContext": { "seccompProfile": { "type": "Unconfined" } },
            "containers": [{ "name": "c", "image": image }] } });
    // The index follows the watches, which takes a moment.
    let start = Instant::now();
    let context = loop {
        let made = server.kubectl(&["create", "-o", "json", "-f", "-"], &pod.to_string())?;
        if made.status.success() {
            let made: Value = serde_json::from_slice(&made.stdout)?;
            let context = made["spec"]["containers"][0]["securityContext"].clone();
            if !context.is_null() || start.elapsed() > Duration::from_secs(10) {
                break context;
            }
            server.kubectl(
                &["delete", "pod", "bound", "-n", "production", "--force", "--grace-period=0"],
                "",
            )?;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{}",
            text(&server.kubectl(&["get", "pods", "-A"], "")?)
        );
        thread::sleep(Duration::from_millis(100));
    };
    let want = format!("operator/production/{profile}.json");
    assert_eq!(context["seccompProfile"]["localhostProfile"], want, "{context}");
    Ok(())
}
