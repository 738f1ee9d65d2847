//! The process: its flags, its watches, its memory, its end.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use spo_model::kind::{GROUP, Kind};
use spo_operator::{cluster::resource::Resource, process::certificate::Certificates, webhook::index::Shared};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::{Server, Talk as _, admission, head, pair};
/// What an API server says to the watches: lists with one profile, then a binding, then nothing more.
async fn api_server(binding: Value) -> u16 {
    use axum::{Json, Router, body::Body, extract::RawQuery, response::IntoResponse as _, routing::get};
    let mut router = Router::new();
    let all = Kind::ALL.iter().map(|kind| Resource::Of(*kind)).chain([Resource::ApparmorAlias]);
    for resource in all {
        let kind = resource.kind();
        let binding = binding.clone();
        let answer = move |RawQuery(query): RawQuery| async move {
            let metadata = json!({"resourceVersion": "7"});
            if !query.is_some_and(|query| query.contains("watch=")) {
                let profile = json!({"metadata": {"name": "web", "namespace": "production", "resourceVersion": "5"},
                                     "spec": {"defaultAction": "SCMP_ACT_ERRNO"}});
                let items = if kind == Kind::SeccompProfile { vec![profile] } else { Vec::new() };
                let list = json!({"apiVersion": format!("{GROUP}/v1"), "kind": format!("{kind}List"),
                                  "metadata": metadata, "items": items});
                return Json(list).into_response();
            }
            let event = format!("{}\n", json!({"type": "ADDED", "object": binding}));
            let first: Vec<_> = (kind == Kind::ProfileBinding).then_some(event).into_iter().collect();
            let events = futures::stream::iter(first.into_iter().map(Ok::<_, std::io::Error>));
            Body::from_stream(futures::StreamExt::chain(events, futures::stream::pending())).into_response()
        };
        let path = match kind {
            Kind::SecurityProfilesOperatorDaemon => {
                format!("/apis/{GROUP}/v1/namespaces/spo/{resource}")
            }
            _ => format!("/apis/{GROUP}/v1/{resource}"),
        };
        router = router.route(&path, get(answer));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// The process with an API server that has one profile and this binding; without a certificate so far.
async fn process(binding: Value) -> (tokio::process::Child, Server, tempfile::TempDir) {
    let api = api_server(binding).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    write(
        "kubeconfig",
        &json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
                "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{api}")}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]})
        .to_string(),
    );
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_spo-operator"))
        .args(["webhook", "-p", "0", "--health-port", "0", "--tls-min-version", "1.3", "-s", "--cert-dir"])
        .arg(folder.path())
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .env("OPERATOR_NAMESPACE", "spo")
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let log = child.stderr.take().expect("a log").into_owned_fd().expect("a descriptor");
    let port = tokio::task::spawn_blocking(move || serving_port(log)).await.expect("reads");
    let pair = pair();
    let (certificates, index, stop) = (Certificates::default(), Shared::default(), CancellationToken::new());
    let server = Server { port, certificates, index, pair, stop, task: tokio::spawn(async {}) };
    (child, server, folder)
}

/// However much is asked at once, and of whatever shape, the process stays below what its pod may use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_load_takes_more_memory_than_the_pod_may_use() {
    let none =
        json!({"metadata": {"name": "b", "namespace": "production", "resourceVersion": "8"}, "spec": {}});
    let (child, server, folder) = process(none).await;
    std::fs::write(folder.path().join("tls.crt"), &server.pair.chain).expect("writes");
    std::fs::write(folder.path().join("tls.key"), &server.pair.key).expect("writes");
    let connect = || server.connect(&server.pair, &["http/1.1"], rustls::ALL_VERSIONS);
    until(async || connect().await.is_ok(), "the certificate is read").await;
    until(async || server.get("/readyz").await.0 == 200, "the caches are filled").await;
    let asks = |path: &'static str, body: String, times: usize| {
        let (body, server) = (Arc::new(body), &server);
        let one = move |body: Arc<String>| async move {
            let mut stream = server.stream().await;
            // Refused bodies are not read to their end, and then neither can be.
            let _ = stream.write_all(head(path, body.len()).as_bytes()).await;
            let _ = stream.write_all(body.as_bytes()).await;
            let answer = stream.read_to_end().await;
            String::from_utf8_lossy(&answer).get(9..12).and_then(|status| status.parse::<u16>().ok())
        };
        futures::future::join_all((0..times).map(move |_| one(Arc::clone(&body))))
    };
    let small = |count: usize| vec![r#"{"":0}"#; count].join(",");
    let question = |object: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","namespace":"p","resource":{{"group":"{GROUP}","version":"v1","resource":"x"}},"object":{object}}}}}"#
        )
    };
    let list = |object: &str| {
        format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"u","desiredAPIVersion":"{GROUP}/v1beta1","objects":[{object}]}}}}"#
        )
    };
    let profile = |calls: &str| {
        format!(
            r#"{{"apiVersion":"{GROUP}/v1","kind":"SeccompProfile","metadata":{{"name":"a"}},"spec":{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{calls}]}}}}"#
        )
    };
    let long = |bytes: usize| profile(&format!(r#"{{"action":"{}"}}"#, "x".repeat(bytes)));
    let answers = futures::future::join4(
        // Nearly all that one question may become, and as many bytes as it may have.
        asks("/validate-profile", question(&profile(&small(45_000))), 24),
        asks("/validate-profile", question(&long((8 << 20) - 1000)), 12),
        asks("/convert", list(&profile(&small(55_000))), 12),
        asks("/convert", list(&long((32 << 20) - 1000)), 6),
    )
    .await;
    let statuses: Vec<_> = [answers.0, answers.1, answers.2, answers.3].concat();
    assert!(statuses.contains(&Some(200)), "{statuses:?}");
    let text =
        std::fs::read_to_string(format!("/proc/{}/status", child.id().expect("it runs"))).expect("it runs");
    let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("memory");
    let most: usize = most.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    println!("{} MiB at most; {statuses:?}", most >> 10);
    // Of 512 MiB (`render/webhooks.rs`), with room for the caches of a large cluster.
    assert!(most < 448 << 10, "{} MiB", most >> 10);
    assert_eq!(server.get("/livez").await.0, 200);
}

/// The process as a pod runs it: certificate from a mounted directory, index from watches, the end by SIGTERM.
/// The API server is a stand-in; the cluster tier has the real one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_becomes_ready_binds_and_ends() {
    let bound = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ProfileBinding",
                       "metadata": {"name": "b", "namespace": "production", "resourceVersion": "8"},
                       "spec": {"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": "nginx"}});
    let (mut child, server, folder) = process(bound).await;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    let connect = || server.connect(&server.pair, &["http/1.1"], rustls::ALL_VERSIONS);
    assert!(connect().await.is_err(), "there is no certificate yet");
    write("tls.crt", &server.pair.chain);
    write("tls.key", &server.pair.key);
    until(async || connect().await.is_ok(), "the certificate is read").await;
    until(async || server.get("/readyz").await.0 == 200, "the caches are filled").await;
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "docker.io/library/nginx:latest"}]}});
    let question = admission(["", "pods"], "production", &pod);
    let has_patch = async || {
        let answer = server.ask("/mutate-v1-pod-binding", &question).await;
        answer["response"]["patch"].is_string()
    };
    until(has_patch, "the event of the watch is in the index").await;
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    assert!(child.wait().await.expect("ends").success());
}

/// The port in the line of the log that says it; the rest of the log is read on, so that the process never waits.
fn serving_port(log: std::os::fd::OwnedFd) -> u16 {
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(std::fs::File::from(log)).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("webhooks="))).expect("a line");
    std::thread::spawn(move || lines.for_each(drop));
    let address = line.split("webhooks=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Waits for something that comes by itself, and fails when it never does.
async fn until(check: impl AsyncFn() -> bool, what: &str) {
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[test]
fn the_help_names_every_flag() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spo-operator"))
        .args(["webhook", "--help"])
        .env_remove("OPERATOR_NAMESPACE")
        .env("COLUMNS", "100")
        .output()
        .expect("runs");
    assert!(output.status.success());
    insta::assert_snapshot!("help", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_process_without_its_namespace_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spo-operator"))
        .arg("webhook")
        .env_remove("OPERATOR_NAMESPACE")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--operator-namespace"), "{text}");
}
