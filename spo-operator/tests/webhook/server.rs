//! A server on a port of its own, and a TLS client that asks it.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use spo_model::{
    convert::decode,
    kind::{GROUP, Scope},
    object::AnyObject,
};
use spo_operator::{
    process::{
        Pulse,
        certificate::{Certificates, TlsVersion},
        serve::{self, serve},
    },
    webhook::{
        index::{Index, Settings, Shared},
        server::{App, Limits},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
/// Reading and writing a whole piece at a time.
pub(crate) trait Talk: AsyncRead + AsyncWrite + Unpin {
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
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

pub(crate) fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    Pair { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) certificates: Certificates,
    pub(crate) index: Shared,
    pub(crate) pair: Pair,
    pub(crate) stop: CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(lowest: TlsVersion, limits: Limits) -> Self {
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

    pub(crate) async fn with(objects: &[AnyObject]) -> Self {
        let server = Self::start(TlsVersion::V1_2, Limits::default()).await;
        server.know(objects);
        server
    }

    pub(crate) fn know(&self, objects: &[AnyObject]) {
        let settings = Settings {
            operator_namespace: "security-profiles-operator".parse().expect("a name"),
            scope: Scope::Namespaced,
        };
        self.index.swap(Index::new(settings, objects, []));
    }

    pub(crate) async fn connect(
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

    pub(crate) async fn stream(&self) -> TlsStream<TcpStream> {
        self.connect(&self.pair, &["h2", "http/1.1"], rustls::ALL_VERSIONS).await.expect("a connection")
    }

    /// The status and the body that answer one request on a connection of its own.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> (u16, String) {
        exchange(self.stream().await, head, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.send(&head, body.as_bytes()).await
    }

    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.post(path, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), b"").await
    }

    /// What `/readyz` says on the probes' own port, which has no TLS, of a process with these certificates and this
    /// index.
    pub(crate) async fn probe(certificates: Certificates, index: Shared) -> String {
        let app =
            App::new(index, certificates, Limits::default(), Pulse::default(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, None, app.probes(), serve::Limits::default(), CancellationToken::new()));
        let mut socket = TcpStream::connect(address).await.expect("connects");
        let head = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        socket.write_all(head).await.expect("writes");
        String::from_utf8(socket.read_to_end().await).expect("text")
    }
}

pub(crate) async fn exchange(mut stream: TlsStream<TcpStream>, head: &str, body: &[u8]) -> (u16, String) {
    stream.write_all(head.as_bytes()).await.expect("writes");
    stream.write_all(body).await.expect("writes");
    let bytes = stream.read_to_end().await;
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, body.to_owned())
}

pub(crate) fn admission(resource: [&str; 2], namespace: &str, object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": namespace,
        "resource": {"group": resource[0], "version": "v1", "resource": resource[1]},
        "object": object, "oldObject": null, "dryRun": false, "options": {},
    }})
}

pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> AnyObject {
    let document = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
                          "metadata": {"name": name, "namespace": "production"}, "spec": spec});
    decode(&document).expect("an object").object
}

pub(crate) fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}
