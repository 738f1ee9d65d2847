//! What every process of the operator has: flags, log, the end, ports, probes, certificates.

pub mod certificate;
mod pulse;
pub mod serve;

use std::{
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use axum::{Router, http::StatusCode, response::IntoResponse as _, routing::get};
use clap::{Args, ValueEnum};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use spo_model::{kind::Scope, names::NamespaceName};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::cluster::names;
use certificate::{Certificates, TlsVersion};

pub use self::pulse::{Beat, INTERVAL, Pulse};

/// Why a process cannot start or go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The flags of every process that talks to an API server.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The operator's own namespace.
    #[arg(long, env = "OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    pub operator_namespace: NamespaceName,
    /// Whether profiles have a namespace; as the CustomResourceDefinitions say.
    #[arg(long, value_enum, env = "SPO_SCOPE", default_value_t = ProfileScope::Namespaced)]
    pub scope: ProfileScope,
    /// The namespaces that are looked at, separated by commas; empty means all. The operator's own is always one.
    #[arg(long, env = "RESTRICT_TO_NAMESPACE", value_name = "NAMESPACES", value_delimiter = ',')]
    pub restrict_to_namespace: Vec<String>,
    /// The same, as the Operator Lifecycle Manager gives it; the other comes first.
    #[arg(long, env = "WATCH_NAMESPACE", value_name = "NAMESPACES", value_delimiter = ',', hide = true)]
    pub watch_namespace: Vec<String>,
    /// The port of /livez and /readyz, without TLS; 0 takes a free one, which the log names.
    #[arg(long, default_value_t = names::HEALTH_PORT)]
    pub health_port: u16,
    /// How much is logged: 0 or 1.
    #[arg(short = 'V', long, env = "SPO_VERBOSITY", default_value_t = 0, value_name = "N")]
    pub verbosity: u8,
}

impl Common {
    /// The scope of profiles.
    pub const fn profiles(&self) -> Scope {
        match self.scope {
            ProfileScope::Namespaced => Scope::Namespaced,
            ProfileScope::Cluster => Scope::Cluster,
        }
    }

    /// The namespaces that were given, without the operator's own; none means all.
    pub fn restricted(&self) -> Vec<&str> {
        fn names(list: &[String]) -> Vec<&str> {
            list.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect()
        }
        match names(&self.restrict_to_namespace) {
            own if own.is_empty() => names(&self.watch_namespace),
            own => own,
        }
    }

    /// The namespaces that are looked at: `None` for all. By whole names, each once.
    ///
    /// # Errors
    /// A text that is no name of a namespace.
    pub fn namespaces(&self) -> Result<Option<Vec<NamespaceName>>, Error> {
        let mut names = Vec::new();
        for text in self.restricted() {
            names.push(text.parse().map_err(|e| format!("--restrict-to-namespace {text:?}: {e}"))?);
        }
        if names.is_empty() {
            return Ok(None);
        }
        names.push(self.operator_namespace.clone());
        names.sort();
        names.dedup();
        Ok(Some(names))
    }
}

/// Whether profiles have a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileScope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// The lowest version of TLS that is spoken, as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LowestTls {
    /// 1.2 and 1.3.
    #[value(name = "1.2")]
    V1_2,
    /// 1.3 alone.
    #[value(name = "1.3")]
    V1_3,
}

impl From<LowestTls> for TlsVersion {
    fn from(flag: LowestTls) -> Self {
        match flag {
            LowestTls::V1_2 => Self::V1_2,
            LowestTls::V1_3 => Self::V1_3,
        }
    }
}

/// Runs a process to its end on a runtime of few threads: each costs memory on every node and replica.
///
/// # Errors
/// Whatever the process ends with.
pub fn run<F>(verbosity: u8, work: impl FnOnce(CancellationToken) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().worker_threads(2).max_blocking_threads(16);
    runtime.build()?.block_on(async {
        log(verbosity);
        // Whoever embeds this may have done so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        work(end_of_process()?).await
    })
}

/// Logs to standard error; `RUST_LOG` has the last word.
fn log(verbosity: u8) {
    let verbosity = verbosity.max(LEAST.get().copied().unwrap_or_default());
    let default = if verbosity == 0 { "info" } else { "info,spo_operator=debug,spo_node=debug" };
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, problem) = match wanted.parse::<tracing_subscriber::EnvFilter>() {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (tracing_subscriber::EnvFilter::new(default), None),
        Err(error) => (tracing_subscriber::EnvFilter::new(default), Some(error)),
    };
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    // Whoever embeds this may have done so already.
    let _ = subscriber.try_init();
    tracing::info!(verbosity, "Set logging verbosity to {verbosity}");
    if let Some(error) = problem {
        tracing::warn!(%error, "RUST_LOG is {wanted:?}, which cannot be read; {default:?} holds");
    }
}

/// Makes processes log so much, whatever their own flags say; to be called before [`run`].
pub fn log_at_least(verbosity: u8) {
    // Whoever comes first has said it.
    let _ = LEAST.set(verbosity);
}

static LEAST: OnceLock<u8> = OnceLock::new();

/// Listens on a port, which a flag chose, at every address, IPv6 and IPv4, or IPv4 alone where the kernel has no IPv6.
///
/// # Errors
/// The port cannot be had.
pub async fn listen(flag: &'static str, port: u16) -> Result<TcpListener, ListenError> {
    let listening = match listen_to_both(port) {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        listening => listening,
    };
    listening.map_err(|source| ListenError { flag, port, source })
}

/// Listens at every address of both families, whatever `net.ipv6.bindv6only` says.
fn listen_to_both(port: u16) -> std::io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    rustix::net::listen(&socket, 1024)?;
    TcpListener::from_std(socket.into())
}

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on port {port}: {source}; {flag} chooses another one")]
pub struct ListenError {
    /// The flag that chose it.
    pub flag: &'static str,
    /// The port.
    pub port: u16,
    /// Why.
    pub source: std::io::Error,
}

/// Looks at the directory of the certificate until the end. Kubernetes replaces a mounted Secret by renaming a
/// symbolic link, so the contents are compared.
pub async fn follow(certificates: Certificates, directory: PathBuf, stop: CancellationToken) {
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
pub fn end_of_process() -> std::io::Result<CancellationToken> {
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

/// Something that a process has to reach before it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The API server answers.
    ApiServer,
    /// What is watched has been listed.
    Caches,
    /// The node has been looked at.
    FirstRound,
}

impl Condition {
    /// For people.
    const fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "the API server",
            Self::Caches => "the caches",
            Self::FirstRound => "the first look at the host",
        }
    }
}

/// What has to be reached before a process is ready; `/readyz` names what is not.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    missing: Arc<Mutex<Vec<Condition>>>,
    pulse: Pulse,
}

impl Readiness {
    /// Not ready before each of these is [`Self::reached`].
    pub fn waiting_for(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self { missing: Arc::new(Mutex::new(conditions.into_iter().collect())), pulse: Pulse::default() }
    }

    /// Takes note that a condition holds, from now on.
    pub fn reached(&self, condition: Condition) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).retain(|missing| *missing != condition);
    }

    /// What is missing.
    pub fn missing(&self) -> Vec<Condition> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The loops of the process, which `/livez` asks about.
    pub const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// `/livez`, `/readyz`, and `/healthz` as the existing operator has it.
    pub fn probes(&self) -> Router {
        let (this, pulse) = (self.clone(), self.pulse.clone());
        let ready = move || async move {
            match this.missing().as_slice() {
                [] => "ok\n".into_response(),
                missing => {
                    let names: Vec<_> = missing.iter().map(|condition| condition.name()).collect();
                    let text = format!("waiting for {}\n", names.join(", "));
                    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
                }
            }
        };
        self.pulse
            .probe()
            .route("/healthz", get(move || async move { pulse.answer() }))
            .route("/readyz", get(ready))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        common: Common,
    }

    fn namespaces(list: &str) -> Vec<String> {
        let flags =
            Flags::parse_from(["x", "--operator-namespace", "spo", "--restrict-to-namespace", list]).common;
        let names = flags.namespaces().expect("names").unwrap_or_default();
        names.iter().map(ToString::to_string).collect()
    }

    /// The existing operator leaves its own namespace out if the list contains it as a part of a longer name.
    #[test]
    fn namespaces_are_whole_names() {
        assert_eq!(namespaces("my-spo,a"), ["a", "my-spo", "spo"]);
        assert_eq!(namespaces("spo, a,"), ["a", "spo"]);
        assert_eq!(namespaces(""), [""; 0]);
    }

    #[test]
    fn the_namespaces_of_the_lifecycle_manager_hold_where_there_are_no_others() {
        let restricted = |flags: &[&str]| {
            let all = ["x", "--operator-namespace", "spo"].iter().chain(flags);
            Flags::parse_from(all).common.restricted().join(",")
        };
        assert_eq!(restricted(&["--watch-namespace", "a, b"]), "a,b");
        assert_eq!(restricted(&["--watch-namespace", "a", "--restrict-to-namespace", "c"]), "c");
        assert_eq!(restricted(&["--watch-namespace", "a", "--restrict-to-namespace", ""]), "a");
    }

    #[tokio::test]
    async fn both_families_are_answered() {
        let listening = listen("--port", 0).await.expect("a port");
        let address = listening.local_addr().expect("an address");
        tokio::net::TcpStream::connect(("127.0.0.1", address.port())).await.expect("IPv4");
        if address.is_ipv6() {
            assert!(!sockopt::ipv6_v6only(&listening).expect("an option"), "whatever the default is");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_with_its_flag() {
        let taken = listen("--port", 0).await.expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let error = listen("--health-port", port).await.expect_err("it is taken").to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--health-port"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let ready = Readiness::waiting_for([Condition::Caches, Condition::FirstRound]);
        ready.reached(Condition::Caches);
        assert_eq!(ready.missing(), [Condition::FirstRound]);
        ready.reached(Condition::FirstRound);
        assert!(ready.missing().is_empty());
    }
}
