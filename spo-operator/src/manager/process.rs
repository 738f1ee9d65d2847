//! The process: flags, election, the controllers of the leader, the end.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::Arc,
};

use clap::{ArgAction, Args};
use kube::Client;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    bases,
    election::{self, Ended},
    lease::{Election, Timing},
    membership::Overlaps,
    profiles,
    rendering::{OPERATOR, Renderer, Surroundings},
    spod, trust,
    uninstall::{self, Ending},
    untaint,
};
use crate::{
    cluster::names,
    metrics::{self, ClusterMetrics},
    process::{self, Common, Condition, Error, Pulse, Readiness, certificate::Certificates, serve},
    render,
};

/// Runs the controllers: the operator's own configuration, certificates, status of profiles, profiles in use.
///
/// Of several replicas one works, and another takes its place when it goes.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The name under which this replica takes part in the election; absent makes one up.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// Where certificates come from.
    #[arg(long, value_enum, env = "SPO_CERTIFICATES", default_value_t = trust::Source::Builtin)]
    certificates: trust::Source,
    /// The image of the agents and the webhook, where the operator's own Deployment does not say.
    #[arg(long, env = "SPO_IMAGE", value_name = "IMAGE")]
    image: Option<String>,
    /// The spec of the SecurityProfilesOperatorDaemon that a chart's values ask for, as JSON.
    #[arg(long, env = "SPO_SPOD", value_name = "JSON", default_value = "", hide_default_value = true)]
    spod: String,
    /// The webhook's objects are in the manifest: the SecurityProfilesOperatorDaemon that is made says so.
    #[arg(long, env = "SPO_STATIC_WEBHOOK")]
    static_webhook: bool,
    /// Accepted for manifests of the existing operator: false means --static-webhook.
    #[arg(short, long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    webhook: bool,
    #[command(flatten)]
    former: Former,
    /// The port of /metrics; absent means that none are served, 0 takes a free one, which the log names.
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// The directory with tls.crt and tls.key of the metrics.
    #[arg(long, value_name = "DIR", default_value = names::METRICS_CERTIFICATE_DIR)]
    metrics_cert_dir: PathBuf,
    /// Serve metrics without TLS and to everybody.
    #[arg(long, env = "ENABLE_INSECURE_METRICS_ACCESS", value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_insecure_metrics_access: bool,
    /// Whether the Secret `metrics-token`, with which Prometheus reads the metrics, is part of the installation; else it
    /// is told to take its own account's.
    #[arg(long, env = "SPO_METRICS_TOKEN", value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    metrics_token: bool,
    /// The kubelet's directory on nodes.
    #[arg(long, env = "KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: String,
}

/// Flags of the existing operator without effect here: a manager has all its controllers, or it would not do its work.
#[derive(Args, Clone, Debug)]
struct Former {
    /// Accepted for manifests of the existing operator, without effect.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_short_help = true)]
    with_nodestatus_controller: bool,
    /// Accepted for manifests of the existing operator, without effect.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_short_help = true)]
    with_spod_controller: bool,
    /// Accepted for manifests of the existing operator, without effect.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_short_help = true)]
    with_workload_annotator: bool,
    /// Accepted for manifests of the existing operator, without effect.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_short_help = true)]
    with_recording_merger: bool,
}

impl Former {
    /// Says which of them would have switched something off.
    fn tell(&self) {
        for (flag, on) in [
            ("--with-nodestatus-controller", self.with_nodestatus_controller),
            ("--with-spod-controller", self.with_spod_controller),
            ("--with-workload-annotator", self.with_workload_annotator),
            ("--with-recording-merger", self.with_recording_merger),
        ] {
            if !on {
                tracing::warn!("{flag}=false has no effect");
            }
        }
    }
}

/// Works until the process is told to end.
///
/// # Errors
/// A port that is taken, or no way to find the API server.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    process::run(arguments.common.verbosity, |stop| start(arguments, stop))
}

async fn start(arguments: &Arguments, stop: CancellationToken) -> Result<(), Error> {
    let common = &arguments.common;
    let namespaces = common.namespaces()?;
    arguments.former.tell();
    let readiness = Readiness::waiting_for([Condition::ApiServer]);
    let probes = process::listen("--health-port", common.health_port).await?;
    tracing::info!(probes = %probes.local_addr()?, "serving");
    let served = serve::serve(probes, None, readiness.probes(), serve::Limits::default(), stop.clone());
    let served = tokio::spawn(served);
    let client = Client::try_default().await?;
    let metrics = Arc::new(ClusterMetrics::new());
    let scraped = match arguments.metrics_port {
        Some(port) => Some(serve_metrics(arguments, port, &metrics, &client, &stop).await?),
        None => None,
    };
    let pulse = readiness.pulse().clone();
    let ready = tokio::spawn(reached(client.clone(), readiness, stop.clone()));
    let surroundings = Surroundings {
        namespace: common.operator_namespace.to_string(),
        image: arguments.image.clone(),
        kubelet_dir: arguments.kubelet_dir.clone(),
        restrict_to: common.restricted().join(","),
        service_ca: arguments.certificates == trust::Source::ServiceCa,
        no_metrics_token: !arguments.metrics_token,
        cluster_scope: common.profiles() == spo_model::kind::Scope::Cluster,
        ..Surroundings::default()
    };
    let work = Work {
        client: client.clone(),
        metrics,
        pulse: pulse.clone(),
        ending: Ending::follow(client.clone(), common.operator_namespace.as_str(), stop.clone()),
        process: stop.clone(),
        source: arguments.certificates,
        profiles: profiles::Settings {
            operator_namespace: common.operator_namespace.clone(),
            scope: common.profiles(),
            namespaces,
            kubelet_dir: arguments.kubelet_dir.clone(),
        },
        spod: spod::Settings {
            namespace: common.operator_namespace.clone(),
            surroundings,
            certificates: arguments.certificates,
            renderer: match arguments.static_webhook || !arguments.webhook {
                true => Renderer { default: render::static_spod, ..OPERATOR },
                false => OPERATOR,
            },
            values: arguments.spod.clone(),
        },
    };
    let election = Election::new(identity(arguments.identity.as_deref()), Timing::default());
    let lead = |token| work.clone().lead(token);
    let namespace = common.operator_namespace.as_str();
    let ended = election::run(client, namespace, election, stop.clone(), &pulse, lead).await;
    stop.cancel();
    let _ = tokio::join!(served, ready);
    if let Some(scraped) = scraped {
        let _ = scraped.await;
    }
    ended
}

/// Serves the figures; with TLS and to those who may read them, unless the arguments say otherwise.
async fn serve_metrics(
    arguments: &Arguments,
    port: u16,
    figures: &Arc<ClusterMetrics>,
    client: &Client,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>, Error> {
    let listener = process::listen("--metrics-port", port).await?;
    tracing::info!(metrics = %listener.local_addr()?, "serving");
    let tls = match arguments.with_insecure_metrics_access {
        true => None,
        false => {
            let certificates = Certificates::default();
            let config = Arc::new(certificates.server_config(Default::default())?);
            tokio::spawn(process::follow(certificates, arguments.metrics_cert_dir.clone(), stop.clone()));
            Some(TlsAcceptor::from(config))
        }
    };
    let guard = tls.is_some().then(|| metrics::Guard::new(client.clone()));
    let router = metrics::router(Arc::clone(figures) as _, guard);
    let limits = serve::Limits { connections: 64, ..serve::Limits::default() };
    Ok(tokio::spawn(serve::serve(listener, tls, router, limits, stop.clone())))
}

/// A replica is ready once the API server answers, leading or not.
async fn reached(client: Client, readiness: Readiness, stop: CancellationToken) {
    loop {
        if client.apiserver_version().await.is_ok() {
            readiness.reached(Condition::ApiServer);
            return;
        }
        let wait = tokio::time::sleep(std::time::Duration::from_secs(1));
        if stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// What the leader does.
#[derive(Clone)]
struct Work {
    client: Client,
    metrics: Arc<ClusterMetrics>,
    pulse: Pulse,
    ending: Ending,
    /// Tells the process to end; what a leader gets is cancelled when it leads no more, too.
    process: CancellationToken,
    source: trust::Source,
    profiles: profiles::Settings,
    spod: spod::Settings,
}

impl Work {
    /// Every controller at once, each with its own share of the pulse. If one ends, all end. When the operator is being
    /// deleted, they make way for cleaning up.
    async fn lead(self, stop: CancellationToken) -> Result<Ended, Error> {
        let (ending, process) = (self.ending.clone(), self.process.clone());
        let (client, profiles) = (self.client.clone(), self.profiles.clone());
        // Another leader may have cleaned up already, and be gone.
        if !ending.is_now().await {
            tokio::select! {
                biased;
                () = ending.begins() => {}
                // What is done halfway is done again by the next leader.
                ended = stop.run_until_cancelled(self.control(&stop)) => {
                    ended.unwrap_or(Ok(()))?;
                    if !process.is_cancelled() || !ending.is_now().await {
                        return Ok(Ended::Stopped);
                    }
                }
            }
        }
        uninstall::clean_up(&client, &profiles).await;
        // Where only the definitions were deleted nobody ends this process; so that it works again when they are back, it
        // ends itself and is started anew.
        if timeout(uninstall::LAST_WORDS, stop.cancelled()).await.is_err() {
            tracing::info!(
                "everything is released and nobody has ended this process: it ends, to begin anew"
            );
        }
        Ok(Ended::Uninstalled)
    }

    async fn control(self, stop: &CancellationToken) -> Result<(), Error> {
        let (anchor, trusted) = watch::channel(None);
        let (share, overlaps) = watch::channel(Overlaps::new());
        let (client, pulse, own) = (&self.client, &self.pulse, &self.profiles.operator_namespace);
        tokio::try_join!(
            trust::run(client.clone(), own.to_string(), self.source, anchor, pulse, stop.clone()),
            spod::run(client.clone(), self.spod, trusted, overlaps, pulse, stop.clone()),
            untaint::run(client.clone(), own.clone(), pulse, stop.clone()),
            bases::run(client.clone(), own.clone(), self.profiles.scope, pulse, stop.clone()),
            profiles::run(client.clone(), self.profiles.clone(), self.metrics, share, pulse, stop.clone()),
        )
        .map(drop)
    }
}

/// The name of the pod stays the same when its container is started again, so that takes up its own Lease at once.
fn identity(name: Option<&str>) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}_{:016x}", host.trim(), RandomState::new().hash_one(std::process::id()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Each is polled by itself, so that one goes round says nothing about the others.
    #[tokio::test]
    async fn every_controller_has_its_own_share_of_the_pulse() {
        // Nobody answers there; what controllers do about it is of no interest here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = "http://127.0.0.1:9".parse().expect("a URL");
        let client = Client::try_from(kube::Config::new(url)).expect("a client");
        let (stop, pulse) = (CancellationToken::new(), Pulse::default());
        let namespace: spo_model::names::NamespaceName = "spo".parse().expect("a name");
        let work = Work {
            client: client.clone(),
            metrics: Arc::new(ClusterMetrics::new()),
            pulse: pulse.clone(),
            ending: Ending::follow(client, "spo", stop.clone()),
            process: stop.clone(),
            source: trust::Source::Builtin,
            profiles: profiles::Settings {
                operator_namespace: namespace.clone(),
                scope: spo_model::kind::Scope::Namespaced,
                namespaces: None,
                kubelet_dir: "/var/lib/kubelet".to_owned(),
            },
            spod: spod::Settings {
                namespace,
                surroundings: Surroundings::default(),
                certificates: trust::Source::Builtin,
                renderer: OPERATOR,
                values: String::new(),
            },
        };
        let lead = tokio::spawn(work.lead(stop.clone()));
        let wanted = 5;
        let all = async {
            while pulse.all().len() < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(20), all).await.is_ok(), "{:?}", pulse.all());
        stop.cancel();
        let ended = timeout(Duration::from_secs(20), lead).await.expect("it ends").expect("no panic");
        assert_eq!(ended.expect("no error"), Ended::Stopped, "no answer is no end");
        assert!(pulse.all().is_empty(), "what has ended hangs no more: {:?}", pulse.all());
    }
}
