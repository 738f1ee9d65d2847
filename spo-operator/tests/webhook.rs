//! The webhook as the API server meets it: a real TLS client, one connection after the other.

use std::{future::poll_fn, path::Path, pin::Pin, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use spo_model::{
    convert::{self, decode},
    kind::{GROUP, Kind, Scope},
    manifest::{self, Limits as ManifestLimits},
    object::AnyObject,
};
use spo_operator::{
    cluster::resource::Resource,
    process::{
        Pulse,
        certificate::{Certificates, TlsVersion},
        serve::{self, serve},
    },
    webhook::{
        index::{Index, Settings, Shared},
        server::{App, Lane, Limits},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

/// Reading and writing a whole piece at a time.
trait Talk: AsyncRead + AsyncWrite + Unpin {
    async fn write_all(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *self).poll_write(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// What arrives until there are `enough` bytes or the server closes, and how it ended.
    async fn read(&mut self, enough: usize) -> (Vec<u8>, std::io::Result<()>) {
        let mut bytes = Vec::new();
        while bytes.len() < enough {
            let mut space = vec![0; (enough - bytes.len()).min(16 << 10)];
            let mut buffer = ReadBuf::new(&mut space);
            if let Err(error) = poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut buffer)).await {
                return (bytes, Err(error));
            }
            if buffer.filled().is_empty() {
                break;
            }
            bytes.extend_from_slice(buffer.filled());
        }
        (bytes, Ok(()))
    }

    /// The same until the end. A server that closes without a TLS goodbye has answered all the same.
    async fn read_to_end(&mut self) -> Vec<u8> {
        self.read(usize::MAX).await.0
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Talk for T {}

/// A certificate of its own authority.
struct Pair {
    chain: String,
    key: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    Pair { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

struct Server {
    port: u16,
    certificates: Certificates,
    index: Shared,
    pair: Pair,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(lowest: TlsVersion, limits: Limits) -> Self {
        let (certificates, index, stop) =
            (Certificates::default(), Shared::default(), CancellationToken::new());
        let pair = pair();
        certificates.set(pair.chain.as_bytes(), pair.key.as_bytes()).expect("a pair");
        let app = App::new(index.clone(), certificates.clone(), limits, Pulse::default(), stop.clone());
        let tls = TlsAcceptor::from(Arc::new(certificates.server_config(lowest).expect("a configuration")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task =
            tokio::spawn(serve(listener, Some(tls), app.router(), serve::Limits::default(), stop.clone()));
        Self { port, certificates, index, pair, stop, task }
    }

    async fn with(objects: &[AnyObject]) -> Self {
        let server = Self::start(TlsVersion::V1_2, Limits::default()).await;
        server.know(objects);
        server
    }

    fn know(&self, objects: &[AnyObject]) {
        let settings = Settings {
            operator_namespace: "security-profiles-operator".parse().expect("a name"),
            scope: Scope::Namespaced,
        };
        self.index.swap(Index::new(settings, objects, []));
    }

    async fn connect(
        &self,
        pair: &Pair,
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pair.chain.as_bytes()).expect("a certificate"))
            .expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    async fn stream(&self) -> TlsStream<TcpStream> {
        self.connect(&self.pair, &["h2", "http/1.1"], rustls::ALL_VERSIONS).await.expect("a connection")
    }

    /// The status and the body that answer one request on a connection of its own.
    async fn send(&self, head: &str, body: &[u8]) -> (u16, String) {
        exchange(self.stream().await, head, body).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.send(&head, body.as_bytes()).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.post(path, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), b"").await
    }
}

async fn exchange(mut stream: TlsStream<TcpStream>, head: &str, body: &[u8]) -> (u16, String) {
    stream.write_all(head.as_bytes()).await.expect("writes");
    stream.write_all(body).await.expect("writes");
    let bytes = stream.read_to_end().await;
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn admission(resource: [&str; 2], namespace: &str, object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": namespace,
        "resource": {"group": resource[0], "version": "v1", "resource": resource[1]},
        "object": object, "oldObject": null, "dryRun": false, "options": {},
    }})
}

fn object(kind: &str, name: &str, spec: &Value) -> AnyObject {
    let document = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
                          "metadata": {"name": name, "namespace": "production"}, "spec": spec});
    decode(&document).expect("an object").object
}

/// Standard base64, as RFC 4648 has it; the server's own encoder is not asked.
fn unbase64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("no base64 digit: {c}"),
    };
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        word = word << 6 | u32::from(digit(c));
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 255).expect("a byte"));
        }
    }
    bytes
}

#[tokio::test]
async fn every_manifest_of_the_guide_is_converted_to_every_version_and_back() {
    let server = Server::start(TlsVersion::V1_2, Limits::default()).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = std::collections::BTreeSet::new();
    for folder in ["guide", "guide-oci"].map(|name| folder.join(name)) {
        for entry in std::fs::read_dir(folder).expect("the guide") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
            for document in manifest::documents(&text, &ManifestLimits::default()).expect("YAML") {
                let original = document.to_value();
                if !convert::is_ours(&original) {
                    continue;
                }
                let kind: Kind = original["kind"].as_str().expect("a kind").parse().expect("a kind");
                seen.insert(kind);
                let from = original["apiVersion"].as_str().expect("a version").to_owned();
                for version in kind.versions() {
                    let there = one(&server, &original, &format!("{GROUP}/{version}")).await;
                    assert_eq!(there["apiVersion"], format!("{GROUP}/{version}"));
                    assert_eq!(there["kind"], original["kind"]);
                    assert_eq!(there["metadata"]["name"], original["metadata"]["name"]);
                    // Not by its text: an API server has filled in defaults before it asks, which this one has not.
                    let back = one(&server, &there, &from).await;
                    assert_eq!(back["apiVersion"], original["apiVersion"]);
                    let read = |document: &Value| decode(document).expect("decodes").object;
                    assert_eq!(read(&back), read(&original), "and back");
                }
            }
        }
    }
    for kind in [Kind::SeccompProfile, Kind::SelinuxProfile, Kind::AppArmorProfile, Kind::ProfileRecording] {
        assert!(seen.contains(&kind), "the guide has a {kind}");
    }
}

/// Converts one object, alone and as the last of three.
async fn one(server: &Server, object: &Value, desired: &str) -> Value {
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
                        "request": {"uid": "u", "desiredAPIVersion": desired, "objects": [object, object, object]}});
    let answer = server.ask("/convert", &review).await;
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["result"]["status"]),
        (&json!("u"), &json!("Success")),
        "{answer}"
    );
    let objects = response["convertedObjects"].as_array().expect("a list");
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0], objects[2]);
    objects[2].clone()
}

#[tokio::test]
async fn an_unknown_version_is_a_failure_and_never_a_part_of_the_answer() {
    let server = Server::start(TlsVersion::V1_2, Limits::default()).await;
    let good = json!({"apiVersion": format!("{GROUP}/v1beta1"), "kind": "SeccompProfile",
                      "metadata": {"name": "a"}, "spec": {"defaultAction": "SCMP_ACT_LOG"}});
    let mut bad = good.clone();
    bad["apiVersion"] = json!(format!("{GROUP}/v1beta9"));
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
                        "request": {"uid": "u", "desiredAPIVersion": format!("{GROUP}/v1"), "objects": [good, bad]}});
    let response = server.ask("/convert", &review).await["response"].clone();
    assert_eq!(response["uid"], "u");
    assert_eq!(response["convertedObjects"], json!([]));
    assert_eq!(response["result"]["status"], "Failure");
    let message = response["result"]["message"].as_str().expect("text");
    assert!(message.contains("SeccompProfile has no version \"v1beta9\""), "{message}");
}

#[tokio::test]
async fn the_guides_pod_gets_the_guides_profile() {
    let profile =
        object("SeccompProfile", "restricted-workload", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    let reference = json!({"kind": "SeccompProfile", "name": "restricted-workload"});
    let binding =
        object("ProfileBinding", "nginx-binding", &json!({"profileRef": reference, "image": "nginx:1.21"}));
    let server = Server::with(&[profile, binding]).await;
    let mut pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx:1.21"}]}});
    let question = admission(["", "pods"], "production", &pod);
    let answer = server.ask("/mutate-v1-pod-binding", &question).await;
    assert_eq!(answer["response"]["uid"], question["request"]["uid"]);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let patch = unbase64(answer["response"]["patch"].as_str().expect("a patch"));
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
    json_patch::patch(&mut pod, &patch).expect("applies");
    let context = &pod["spec"]["containers"][0]["securityContext"]["seccompProfile"];
    let path = "operator/production/restricted-workload.json";
    assert_eq!(*context, json!({"type": "Localhost", "localhostProfile": path}));
    // In another namespace nothing is bound.
    let elsewhere = server.ask("/mutate-v1-pod-binding", &admission(["", "pods"], "staging", &pod)).await;
    assert_eq!(elsewhere["response"]["allowed"], true);
    assert!(elsewhere["response"].get("patch").is_none());
}

#[tokio::test]
async fn recording_and_validation_answer_on_their_paths() {
    let spec = json!({"kind": "SeccompProfile", "recorder": "Bpf", "podSelector": {}});
    let server = Server::with(&[object("ProfileRecording", "rec", &spec)]).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let answer = server.ask("/mutate-v1-pod-recording", &admission(["", "pods"], "production", &pod)).await;
    let patch =
        String::from_utf8(unbase64(answer["response"]["patch"].as_str().expect("a patch"))).expect("text");
    assert!(patch.contains("io.containers.trace-bpf/c"), "{patch}");
    let raw = json!({"apiVersion": format!("{GROUP}/v1alpha2"), "kind": "RawSelinuxProfile",
                     "metadata": {"name": "r", "namespace": "production"}, "spec": {"policy": "(typepermissive x)"}});
    for path in ["/validate-rawselinuxprofile", "/validate-profile"] {
        let answer = server.ask(path, &admission([GROUP, "rawselinuxprofiles"], "production", &raw)).await;
        assert_eq!(answer["response"]["allowed"], false, "{answer}");
        let message = answer["response"]["status"]["message"].as_str().expect("text");
        assert!(message.contains("spec.policy"), "{message}");
    }
}

#[tokio::test]
async fn the_certificate_is_swapped_while_connections_are_served() {
    let server = Server::with(&[]).await;
    let mut old = server.stream().await;
    let head = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    old.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let (byte, _) = old.read(1).await;
        assert_eq!(byte.len(), 1, "the server goes on: {answer:?}");
        answer.extend(byte);
    }
    let new = pair();
    server.certificates.set(new.chain.as_bytes(), new.key.as_bytes()).expect("a pair");
    let of_new = server.connect(&new, &["http/1.1"], rustls::ALL_VERSIONS).await;
    assert!(of_new.is_ok(), "the next handshake has the new certificate");
    let of_old = server.connect(&server.pair, &["http/1.1"], rustls::ALL_VERSIONS).await;
    assert!(of_old.is_err(), "and not the old one");
    let rest = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (status, _) = exchange(old, rest, b"").await;
    assert_eq!(status, 200, "the connection that was open goes on");
}

#[tokio::test]
async fn http_2_is_not_offered() {
    let server = Server::with(&[]).await;
    let both = server.stream().await;
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(server.connect(&server.pair, &["h2"], rustls::ALL_VERSIONS).await.is_err());
    let none = server.connect(&server.pair, &[], rustls::ALL_VERSIONS).await.expect("a connection");
    let head = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(none, head, b"").await.0, 200, "a client without ALPN speaks HTTP/1.1 too");
}

#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let any = Server::start(TlsVersion::V1_2, Limits::default()).await;
    let strict = Server::start(TlsVersion::V1_3, Limits::default()).await;
    let old: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let stream = any.connect(&any.pair, &["http/1.1"], old).await.expect("1.2 is spoken");
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(strict.connect(&strict.pair, &["http/1.1"], old).await.is_err(), "1.2 is refused");
    assert!(strict.connect(&strict.pair, &["http/1.1"], rustls::ALL_VERSIONS).await.is_ok());
    // An alert record (21), fatal (2); 70 is protocol_version (RFC 8446, section 6). The same greeting as TLS 1.2
    // fails for another reason, so it is the version that is refused.
    for server in [&any, &strict] {
        assert_eq!(alert(server, &client_hello(2)).await, (21, 2, 70));
    }
    assert_ne!(alert(&any, &client_hello(3)).await, (21, 2, 70));
}

/// The record of a ClientHello (RFC 5246, section 7.4.1.2) of version 3.`minor`: 2 is TLS 1.1, 3 is TLS 1.2.
fn client_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session, one cipher suite, no compression; the signature algorithms, which rustls looks for first.
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0, 0, 10, 0, 13, 0, 6, 0, 4, 8, 4, 4, 3]);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

/// Type, level and description of the alert that answers a greeting.
async fn alert(server: &Server, hello: &[u8]) -> (u8, u8, u8) {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connects");
    socket.write_all(hello).await.expect("writes");
    let answer = socket.read_to_end().await;
    assert!(answer.len() >= 7, "{answer:?}");
    (answer[0], answer[5], answer[6])
}

#[tokio::test]
async fn a_large_object_is_answered_and_a_larger_body_refused_with_a_reason() {
    let server = Server::with(&[]).await;
    let raw = |bytes: usize| {
        let policy = "(allow process self (file (read)))".repeat(bytes / 34);
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "RawSelinuxProfile",
               "metadata": {"name": "r", "namespace": "production"}, "spec": {"policy": policy}})
    };
    let question = admission([GROUP, "rawselinuxprofiles"], "production", &raw(3 << 20));
    let answer = server.ask("/validate-profile", &question).await;
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().expect("text");
    assert!(message.starts_with("spec.policy: ") && message.contains("500000"), "{message}");
    assert!(message.len() < 1000, "the object does not come back");
    let question = admission([GROUP, "rawselinuxprofiles"], "production", &raw(9 << 20));
    let (status, text) = server.post("/validate-profile", &question).await;
    assert_eq!((status, text.as_str()), (413, "the body has more than 8388608 bytes\n"));
}

#[tokio::test]
async fn what_is_no_question_gets_a_clear_text() {
    let server = Server::with(&[]).await;
    for (path, body, wanted) in [
        ("/convert", json!({"kind": "AdmissionReview"}), "no ConversionReview"),
        ("/mutate-v1-pod-binding", json!({"kind": "ConversionReview"}), "no AdmissionReview"),
        (
            "/validate-profile",
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
            "there is none",
        ),
    ] {
        let (status, text) = server.post(path, &body).await;
        assert!(status == 400 && text.contains(wanted), "{status} {text}");
    }
    let head = "POST /convert HTTP/1.1\r\nhost: x\r\ncontent-type: text/yaml\r\ncontent-length: 2\r\nconnection: close\r\n\r\n";
    let (status, text) = server.send(head, b"{}").await;
    assert_eq!((status, text.as_str()), (400, "want application/json, not \"text/yaml\"\n"));
    assert_eq!(server.get("/convert").await.0, 405);
    assert_eq!(
        server.get("/debug/pprof/heap").await.0,
        404,
        "DEFECT 46: nothing is open that nobody asked for"
    );
}

#[tokio::test]
async fn without_a_length_the_limit_holds_all_the_same() {
    let limits = with_admission(Lane { body: 1000, ..Limits::default().admission });
    let server = Server::start(TlsVersion::V1_2, limits).await;
    server.know(&[]);
    let head = "POST /validate-profile HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n0\r\n\r\n", " ".repeat(0x400));
    assert_eq!(server.send(head, chunk.as_bytes()).await.0, 413);
    let head = "POST /validate-profile HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999999999999999\r\nconnection: close\r\n\r\n";
    assert_eq!(server.send(head, b"").await.0, 400);
}

fn with_admission(admission: Lane) -> Limits {
    Limits { admission, ..Limits::default() }
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn a_client_that_stops_talking_is_given_up_and_holds_nobody_up() {
    let limits = Limits {
        request: Duration::from_millis(1500),
        silence: Duration::from_millis(300),
        admission: Lane { body: 8 << 20, bodies: 1 << 20, work: 8 << 20 },
        ..Limits::default()
    };
    let server = Server::start(TlsVersion::V1_2, limits).await;
    server.know(&[]);
    let head = head("/validate-profile", 8 << 20);
    let (status, text) = server.send(&head, b"{").await;
    assert_eq!((status, text.as_str()), (408, "the body does not go on\n"));
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "x"}]}});
    let question = admission(["", "pods"], "p", &pod);
    // What was only announced takes no memory.
    let mut announced = Vec::new();
    for _ in 0..20 {
        let mut slow = server.stream().await;
        slow.write_all(head.as_bytes()).await.expect("writes");
        announced.push(slow);
    }
    assert_eq!(server.post("/mutate-v1-pod-binding", &question).await.0, 200);
    // All of the memory is taken by bodies that do not go on: one more goes past them.
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = server.stream().await;
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(&vec![b' '; 600 << 10]).await.expect("writes");
        slow.push(stream);
    }
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(server.post("/mutate-v1-pod-binding", &question).await.0);
    }
    assert!(statuses.ends_with(&[200, 200]), "{statuses:?}");
}

/// Bodies that have arrived in part do not wait for each other for ever.
#[tokio::test]
async fn bodies_that_do_not_fit_at_once_are_read_one_after_the_other() {
    let lane = Lane { body: 2 << 20, bodies: 2 << 20, work: 64 << 20 };
    let server = Server::start(TlsVersion::V1_2, with_admission(lane)).await;
    server.know(&[]);
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "x"}], "x": "y".repeat(1 << 20)}});
    let body = admission(["", "pods"], "p", &pod).to_string();
    let head = head("/mutate-v1-pod-binding", body.len());
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = server.stream().await;
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(&body.as_bytes()[..900 << 10]).await.expect("writes");
        streams.push(stream);
    }
    let rest = &body.as_bytes()[900 << 10..];
    let ends = streams.into_iter().map(|stream| exchange(stream, "", rest));
    let answers = futures::future::join_all(ends).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
}

#[tokio::test]
async fn a_body_that_would_grow_too_large_is_refused_before_it_does() {
    let server = Server::with(&[]).await;
    for (path, kind, version) in [
        ("/validate-profile", "AdmissionReview", "admission.k8s.io/v1"),
        ("/convert", "ConversionReview", "apiextensions.k8s.io/v1"),
    ] {
        let grows = vec![r#"{"":0}"#; 1 << 20].join(",");
        let body = format!(
            r#"{{"apiVersion":"{version}","kind":"{kind}","request":{{"uid":"u","operation":"CREATE","desiredAPIVersion":"{GROUP}/v1","object":[],"objects":[[{grows}]]}}}}"#
        );
        let (status, text) = server.send(&head(path, body.len()), body.as_bytes()).await;
        assert_eq!(status, 413, "{text}");
        assert!(text.contains("bytes of memory"), "{text}");
    }
    // A list of many objects is none of that.
    let profile = json!({"apiVersion": format!("{GROUP}/v1beta1"), "kind": "SeccompProfile", "metadata": {"name": "a"},
        "spec": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["read", "write"]}]}});
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u", "desiredAPIVersion": format!("{GROUP}/v1"), "objects": vec![profile; 10_000]}});
    let answer = server.ask("/convert", &review).await;
    assert_eq!(answer["response"]["convertedObjects"].as_array().map(Vec::len), Some(10_000));
}

#[tokio::test]
async fn ready_means_certificate_and_index() {
    let server = Server::start(TlsVersion::V1_2, Limits::default()).await;
    assert_eq!(server.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz").await, (503, "the caches are not filled yet\n".to_owned()));
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "x"}]}});
    let question = admission(["", "pods"], "production", &pod);
    // Not known is not allowed: the failure policy decides.
    assert_eq!(server.post("/mutate-v1-pod-binding", &question).await.0, 503);
    server.know(&[]);
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.post("/mutate-v1-pod-binding", &question).await.0, 200);
    // The probes' own port has no TLS, so it can say that the certificate is missing.
    let limits = serve::Limits::default();
    let app = App::new(
        Shared::default(),
        Certificates::default(),
        Limits::default(),
        Pulse::default(),
        CancellationToken::new(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, None, app.probes(), limits, CancellationToken::new()));
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("writes");
    let text = String::from_utf8(socket.read_to_end().await).expect("text");
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(text.ends_with("no certificate yet, the caches are not filled yet\n"), "{text}");
}

/// The API server refuses a certificate that is over, so a replica with one must not be asked.
#[tokio::test]
async fn not_ready_with_a_certificate_that_has_expired() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let made = params.self_signed(&key).expect("a certificate");
    let server = Server::with(&[]).await;
    assert_eq!(server.get("/readyz").await.0, 200);
    server.certificates.set(made.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a pair");
    let app = App::new(
        server.index.clone(),
        server.certificates.clone(),
        Limits::default(),
        Pulse::default(),
        CancellationToken::new(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, None, app.probes(), serve::Limits::default(), CancellationToken::new()));
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("writes");
    let text = String::from_utf8(socket.read_to_end().await).expect("text");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("the certificate has expired\n"), "{text}");
}

#[tokio::test]
async fn the_end_answers_what_was_asked_and_takes_nothing_new() {
    let server = Server::with(&[]).await;
    let mut open = server.stream().await;
    let body =
        admission(["", "pods"], "production", &json!({"spec": {"containers": [{"name": "c"}]}})).to_string();
    let head = format!(
        "POST /mutate-v1-pod-binding HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(10);
    open.write_all(head.as_bytes()).await.expect("writes");
    open.write_all(first.as_bytes()).await.expect("writes");
    // The request has to have arrived: a connection without one is closed at once.
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.cancel();
    let (status, _) = exchange(open, rest, b"").await;
    assert_eq!(status, 200);
    server.task.await.expect("ends");
    assert!(TcpStream::connect(("127.0.0.1", server.port)).await.is_err());
}

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
