//! The process: flags, certificate, watches, server, the end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{ArgAction, Args};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    feed,
    index::{Settings, Shared},
    server::{App, Limits},
};
use crate::{
    cluster::names,
    metrics::Guard,
    process::{self, Common, Error, LowestTls, Pulse, certificate::Certificates, serve},
};

/// Answers the API server: binds profiles to pods, marks pods for recording, validates and converts objects.
///
/// Serves HTTPS with the certificate in --cert-dir, which is read again whenever it changes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The port of the webhooks; 0 takes a free one, which the log names.
    #[arg(short, long, default_value_t = names::HTTPS_PORT)]
    port: u16,
    /// The lowest version of TLS that is spoken.
    #[arg(long, value_enum, default_value = "1.2", value_name = "VERSION")]
    tls_min_version: LowestTls,
    /// The directory with tls.crt and tls.key.
    #[arg(long, value_name = "DIR", default_value = names::WEBHOOK_CERTIFICATE_DIR)]
    cert_dir: PathBuf,
    /// Accepted for manifests of the existing operator: the webhook objects are never changed by this process.
    #[arg(short = 's', long = "static", value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    static_config: bool,
}

/// How long new connections are served once the process is told to end. So long it takes until every node has heard
/// that this replica is not ready any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until the process is told to end.
///
/// # Errors
/// A port that is taken, no way to find the API server, or watches that end.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    process::run(arguments.common.verbosity, |stop| start(arguments, stop))
}

async fn start(arguments: &Arguments, stop: CancellationToken) -> Result<(), Error> {
    let common = &arguments.common;
    let settings =
        Settings { operator_namespace: common.operator_namespace.clone(), scope: common.profiles() };
    let namespaces = common.namespaces()?;
    if arguments.static_config {
        tracing::info!("--static has no effect: this process never changes webhook objects");
    }
    let (certificates, shared) = (Certificates::default(), Shared::default());
    let pulse = Pulse::default();
    let app = App::new(shared.clone(), certificates.clone(), Limits::default(), pulse.clone(), stop.clone());
    let config = certificates.server_config(arguments.tls_min_version.into())?;
    let tls = TlsAcceptor::from(Arc::new(config));
    let (webhooks, probes) = (
        process::listen("--port", arguments.port).await?,
        process::listen("--health-port", common.health_port).await?,
    );
    let client = kube::Client::try_default().await?;
    let app = app.guarded_by(Guard::new(client.clone()));
    tracing::info!(webhooks = %webhooks.local_addr()?, probes = %probes.local_addr()?, "serving");
    tokio::spawn(process::follow(certificates, arguments.cert_dir.clone(), stop.clone()));
    let beat = pulse.of("the watches");
    // Until the last request is answered, which is later than the process is told to end.
    let over = CancellationToken::new();
    let watches = tokio::spawn(feed::run(client, settings, namespaces, shared, beat, over.clone()));
    let limits = serve::Limits { farewell: FAREWELL, ..serve::Limits::default() };
    let few = serve::Limits { connections: 64, ..limits };
    let served = async {
        tokio::join!(
            serve::serve(webhooks, Some(tls), app.router(), limits, stop.clone()),
            serve::serve(probes, None, app.probes(), few, stop.clone()),
        );
    };
    tokio::select! {
        // Without it requests would be answered from what was true once.
        ended = watches => ended?,
        () = served => {
            over.cancel();
            Ok(())
        }
    }
}
