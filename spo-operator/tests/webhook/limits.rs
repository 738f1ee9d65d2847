//! Bodies that are too large, too slow, or too many.

use std::time::Duration;

use serde_json::json;
use spo_model::kind::GROUP;
use spo_operator::{
    process::certificate::TlsVersion,
    webhook::server::{Lane, Limits},
};

use super::server::{Server, Talk as _, admission, exchange, head};
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

fn with_admission(admission: Lane) -> Limits {
    Limits { admission, ..Limits::default() }
}
