//! The webhook as the API server meets it: a real TLS client, one connection after the other.

mod limits;
mod process;
mod server;

use std::{path::Path, time::Duration};

use rustls::ProtocolVersion;
use serde_json::{Value, json};
use server::{Server, Talk as _, admission, exchange, object, pair};
use spo_model::{
    convert::{self, decode},
    kind::{GROUP, Kind},
    manifest::{self, Limits as ManifestLimits},
};
use spo_operator::{
    process::certificate::{Certificates, TlsVersion},
    webhook::{index::Shared, server::Limits},
};
use tokio::net::TcpStream;
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
    let text = Server::probe(Certificates::default(), Shared::default()).await;
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
    let text = Server::probe(server.certificates.clone(), server.index.clone()).await;
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
