//! The process: flags, certificate, watches, server, the end.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use spo_model::{kind::Scope, names::NamespaceName};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    certificate::{Certificates, TlsVersion},
    feed,
    index::{Settings, Shared},
    server::{self, App, Limits},
};

/// Answers the API server: binds profiles to pods, marks pods for recording, validates and converts objects.
///
/// Serves HTTPS with the certificate in --cert-dir, which is read again whenever it changes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The port of the webhooks; 0 takes a free one, which the log names.
    #[arg(short, long, default_value_t = 9443)]
    port: u16,
    /// The port of /livez and /readyz without TLS; the webhooks' port has them too.
    #[arg(long, default_value_t = 8085)]
    health_port: u16,
    /// The lowest version of TLS that is spoken.
    #[arg(long, value_enum, default_value = "1.2", value_name = "VERSION")]
    tls_min_version: LowestTls,
    /// The directory with tls.crt and tls.key.
    #[arg(long, value_name = "DIR", default_value = "/tmp/k8s-webhook-server/serving-certs")]
    cert_dir: PathBuf,
    /// Whether profiles have a namespace; as the CustomResourceDefinitions say.
    #[arg(long, value_enum, default_value_t = ProfileScope::Namespaced)]
    scope: ProfileScope,
    /// Accepted for manifests of the existing operator: the webhook objects are never changed by this process.
    #[arg(short = 's', long = "static")]
    static_config: bool,
    /// The operator's own namespace.
    #[arg(long, env = "OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: NamespaceName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LowestTls {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileScope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// Serves until the process is told to end.
///
/// # Errors
/// A port that is taken, or no way to find the API server.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // A thread costs memory on every replica, and decisions take microseconds.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().worker_threads(2).max_blocking_threads(16);
    runtime.build()?.block_on(start(arguments))
}

async fn start(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Whoever embeds this may have done both already.
    let _ = tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).try_init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings {
        operator_namespace: arguments.operator_namespace.clone(),
        scope: match arguments.scope {
            ProfileScope::Namespaced => Scope::Namespaced,
            ProfileScope::Cluster => Scope::Cluster,
        },
    };
    let lowest = match arguments.tls_min_version {
        LowestTls::V1_2 => TlsVersion::V1_2,
        LowestTls::V1_3 => TlsVersion::V1_3,
    };
    if arguments.static_config {
        tracing::info!("--static has no effect: this process never changes webhook objects");
    }
    let stop = end_of_process()?;
    let (certificates, shared, limits) = (Certificates::default(), Shared::default(), Limits::default());
    let app = App::new(shared.clone(), certificates.clone(), limits);
    let tls = TlsAcceptor::from(std::sync::Arc::new(certificates.server_config(lowest)?));
    let (webhooks, probes) = (listen(arguments.port).await?, listen(arguments.health_port).await?);
    let client = kube::Client::try_default().await?;
    tracing::info!(webhooks = %webhooks.local_addr()?, probes = %probes.local_addr()?, "serving");
    tokio::spawn(follow(certificates, arguments.cert_dir.clone(), stop.clone()));
    let watches = tokio::spawn(feed::run(client, settings, shared, stop.clone()));
    tokio::join!(
        server::serve(webhooks, Some(tls), app.router(), limits, stop.clone()),
        server::serve(probes, None, app.probes(), limits, stop.clone()),
    );
    watches.await?;
    Ok(())
}

/// Listens on every address, IPv6 and IPv4, or IPv4 alone where the kernel has no IPv6.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        listening => listening,
    }
}

/// Looks at the directory of the certificate until the end. Kubernetes replaces a mounted Secret by renaming a
/// symbolic link, so the contents are compared.
async fn follow(certificates: Certificates, directory: PathBuf, stop: CancellationToken) {
    let (mut seen, mut complained) = (None, String::new());
    loop {
        match certificates.load(&directory, &mut seen) {
            Ok(true) => tracing::info!(directory = %directory.display(), "the certificate is in use"),
            Ok(false) => {}
            Err(error) => {
                let text = error.to_string();
                if text != complained {
                    tracing::warn!(%error, "the certificate in use stays");
                    complained = text;
                }
            }
        }
        // A mount takes up to a minute to follow its Secret; a few seconds more do not matter.
        let wait = if certificates.is_there() { Duration::from_secs(5) } else { Duration::from_millis(250) };
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Cancelled by SIGTERM or SIGINT.
fn end_of_process() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        token.cancel();
    });
    Ok(stop)
}
