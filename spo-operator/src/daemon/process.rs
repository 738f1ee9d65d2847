//! The process: flags, watches, rounds, writes, the end.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{ArgAction, Args};
use futures::{StreamExt as _, stream::FuturesUnordered};
use k8s_openapi::jiff::Timestamp;
use kube::{Client, runtime::watcher};
use serde_json::Value;
use spo_model::{daemon::StatusMode, kind::Kind, names::NamespaceName};
use spo_node::{host::Root, kernel::Lsm};
use tokio::{
    task::JoinHandle,
    time::{sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    agent::{Agent, HOST_ROOT, Options, Round, kernel},
    confine::{Confinement, confine},
    events::{Transitions, event},
    kept::is_in_use,
    leave::{Signs, Watched, is_uninstall},
    reporter::{Reporter, Write},
    settings::Kinds,
    status::{Reporting, per_node, per_profile},
    write::{self, code},
};
use crate::{
    cluster::{
        names,
        news::Seen,
        resource::Resource,
        watch::{Cache, Told, Watch, follow_all},
    },
    kubelet_dir,
    metrics::{self, Metrics},
    process::{self, Beat, Common, Condition, Error, Readiness, certificate::Certificates, serve},
};

/// Puts profiles on this node, and reports where they stand.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The node this runs on.
    #[arg(long, env = "NODE_NAME", value_name = "NODE")]
    node_name: String,
    /// The SecurityProfilesOperatorDaemon that this agent belongs to: its settings count, and when it is deleted, the
    /// node is left as it was. The DaemonSet has the same name.
    #[arg(long, env = "SPOD_NAME", value_name = "NAME", default_value = names::SPOD)]
    spod_name: String,
    /// Put SeccompProfiles on the node.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_seccomp: bool,
    /// Put SelinuxProfiles on the node.
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_selinux: bool,
    /// Put AppArmorProfiles on the node.
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_apparmor: bool,
    /// Put RawSelinuxProfiles on the node too; without --with-selinux it has no effect.
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_raw_selinux: bool,
    /// Record profiles. Accepted, no effect yet: nothing records here.
    #[arg(long, env = "ENABLE_RECORDING", value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_recording: bool,
    /// Record only pods with the label spo.x-k8s.io/enable-recording=true. Accepted, no effect yet.
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_mem_optim: bool,
    /// Serve metrics without TLS and to everybody.
    #[arg(long, env = "ENABLE_INSECURE_METRICS_ACCESS", value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    with_insecure_metrics_access: bool,
    /// Where the host's root is, or those of its directories that are needed. `/` is this host; with any path but
    /// that and the default nothing is loaded into a kernel.
    #[arg(long, value_name = "DIR", default_value = HOST_ROOT)]
    root: PathBuf,
    /// The directory of the kubelet on the host, unless /var/lib/security-profiles-operator/kubelet-config.json names it.
    #[arg(long, env = "KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// The port of the metrics; 0 takes a free one, which the log names.
    #[arg(long, value_name = "PORT", default_value_t = names::HTTPS_PORT)]
    metrics_port: u16,
    /// The directory with tls.crt and tls.key of the metrics.
    #[arg(long, value_name = "DIR", default_value = names::METRICS_CERTIFICATE_DIR)]
    metrics_cert_dir: PathBuf,
    /// Leave SELinux modules to the `selinuxd` behind this socket instead of calling semodule.
    #[arg(long, value_name = "SOCKET", conflicts_with = "selinux_templates")]
    selinuxd: Option<PathBuf>,
    /// The directory with the SELinux templates (*.cil) that profiles inherit from, in place of the operator's own.
    #[arg(long, value_name = "DIR")]
    selinux_templates: Option<PathBuf>,
}

/// How long changes wait for others that come with them: after the last one, and after the first.
const QUIET: Duration = Duration::from_millis(30);
const LONGEST: Duration = Duration::from_millis(200);

/// How many requests are under way at once.
const REQUESTS: usize = 8;

/// The longest rest between two rounds, the first of which had much to do.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// The longest time between two looks at the host that nobody asked for; up to a quarter is added, so that nodes that
/// started together do not stay together.
pub(super) const LOOK: Duration = Duration::from_secs(600);

/// The same where a look is cheap: files and lists of the kernel, and no `semodule` that reads a whole policy. So long a
/// file that somebody changed or removed by hand stays as it is.
const CHEAP_LOOK: Duration = Duration::from_secs(60);

/// The wait before a round that may do what the last one could not: doubled each time, up to [`LOOK`].
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// After so long a round on the host hangs, and the process is started again: six tools of the host in a row, each of which
/// is killed after five minutes. No round of policies that a host can take needs as much.
const LONGEST_ROUND: Duration = Duration::from_secs(30 * 60);

/// How long the first round waits for what the API server has of this node.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an agent that is told to end listens to its watches, at most, and how long they have to be silent before.
const LAST_NEWS: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_millis(200);

/// Runs until the process is told to end.
///
/// # Errors
/// No host, a port that is taken, or no way to find the API server.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    // Before there is a second thread. Elsewhere the agent is none that could load anything.
    let privileged = arguments.with_apparmor && arguments.root == Path::new(HOST_ROOT);
    let confinement = privileged.then(|| confine(&kernel(&arguments.root), &kubelet(arguments)));
    process::run(arguments.common.verbosity, |stop| start(arguments, confinement, stop))
}

/// The directory of this host's kubelet, as far as it is known already.
fn kubelet(arguments: &Arguments) -> PathBuf {
    let host = Root::open(&arguments.root).ok();
    let found = host.and_then(|host| kubelet_dir::of(&host, &arguments.kubelet_dir).ok());
    found.map_or_else(|| arguments.kubelet_dir.clone(), |path| Path::new("/").join(path))
}

async fn start(
    arguments: &Arguments,
    confinement: Option<Confinement>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let common = &arguments.common;
    match confinement {
        None | Some(Confinement::Absent) => {}
        Some(Confinement::Under(profile)) => tracing::info!(profile, "confined by AppArmor"),
        Some(Confinement::Failed(reason)) => tracing::warn!(reason, "not confined by AppArmor"),
    }
    let idle =
        [("--with-recording", arguments.with_recording), ("--with-mem-optim", arguments.with_mem_optim)];
    for (flag, _) in idle.into_iter().filter(|(_, given)| *given) {
        tracing::warn!(flag, "has no effect yet: nothing records here");
    }
    let namespaces = common.namespaces()?;
    let watches = watches(common, namespaces.as_deref());
    let options = Options {
        root: arguments.root.clone(),
        kubelet: arguments.kubelet_dir.clone(),
        selinuxd: arguments.selinuxd.clone(),
        selinux_templates: arguments.selinux_templates.clone(),
        kinds: Kinds {
            seccomp: arguments.with_seccomp,
            selinux: arguments.with_selinux,
            raw_selinux: arguments.with_raw_selinux,
            apparmor: arguments.with_apparmor,
        },
        namespaces: namespaces.clone(),
        spod: arguments.spod_name.clone(),
    };
    let agent = Agent::new(options, Cache::new(watches.clone()))?;
    let reporting = Reporting {
        node: arguments.node_name.clone(),
        scope: common.profiles(),
        operator_namespace: common.operator_namespace.clone(),
    };
    let ready = Readiness::waiting_for([Condition::Caches, Condition::FirstRound]);
    let metrics = Arc::new(Metrics::new());
    let client = Client::try_default().await?;
    let certificates = Certificates::default();
    let tls = match arguments.with_insecure_metrics_access {
        true => None,
        false => {
            tokio::spawn(process::follow(
                certificates.clone(),
                arguments.metrics_cert_dir.clone(),
                stop.clone(),
            ));
            Some(TlsAcceptor::from(Arc::new(certificates.server_config(Default::default())?)))
        }
    };
    let guard = tls.is_some().then(|| metrics::Guard::new(client.clone()));
    let router = metrics::router(Arc::clone(&metrics) as _, guard);
    let (scrapes, probes) = (
        process::listen("--metrics-port", arguments.metrics_port).await?,
        process::listen("--health-port", common.health_port).await?,
    );
    tracing::info!(metrics = %scrapes.local_addr()?, probes = %probes.local_addr()?, node = reporting.node, "serving");
    let limits = serve::Limits { connections: 64, ..serve::Limits::default() };
    let servers = tokio::spawn(futures::future::join(
        serve::serve(scrapes, tls, router, limits, stop.clone()),
        serve::serve(probes, None, ready.probes(), limits, stop.clone()),
    ));
    let mut work = Loop {
        client: client.clone(),
        agent: Some(agent),
        round: None,
        beat: None,
        reporter: Reporter::default(),
        transitions: Transitions::new(Instant::now()),
        mode: StatusMode::default(),
        dirty: None,
        seen: Seen::and(in_kernel_and_in_use),
        patience: Instant::now() + PATIENCE,
        look_at: Instant::now() + LOOK,
        rested: Instant::now(),
        look: look(arguments.with_selinux, &arguments.node_name),
        failures: Failures::default(),
        reporting,
        ready,
        metrics,
    };
    work.run(watches, namespaces.as_deref(), &stop).await?;
    let watched = work.agent.as_ref().map_or(Watched::Never, Agent::watched);
    let [spod, fleet, namespace] =
        write::origin(&client, &common.operator_namespace, &arguments.spod_name).await;
    let signs = Signs { watched, spod, fleet, namespace };
    tracing::debug!(?signs, "told to end");
    if is_uninstall(signs) {
        tracing::info!("the operator is being uninstalled: everything that it put on this node is removed");
        let agent = work.agent.take();
        let left = tokio::task::spawn_blocking(move || agent.map(|agent| agent.leave())).await?;
        if let Some(report) = left.transpose()? {
            for (path, reason) in report.stuck {
                tracing::warn!(%path, reason, "cannot be removed");
            }
        }
    }
    let _ = servers.await;
    Ok(())
}

fn watches(common: &Common, namespaces: Option<&[NamespaceName]>) -> Vec<Watch> {
    let profiles = Resource::PROFILES.into_iter();
    let mut watches: Vec<Watch> =
        profiles.flat_map(|resource| Watch::all(resource, common.profiles(), namespaces)).collect();
    watches.push(Watch {
        resource: Resource::Of(Kind::SecurityProfilesOperatorDaemon),
        namespace: Some(common.operator_namespace.clone()),
    });
    watches
}

/// Everything that the loop works with.
struct Loop {
    client: Client,
    /// Away while a round is under way.
    agent: Option<Agent>,
    round: Option<JoinHandle<(Agent, Round)>>,
    /// As long as a round is under way.
    beat: Option<Beat>,
    reporter: Reporter,
    transitions: Transitions,
    mode: StatusMode,
    /// The first and the last change that no round has seen.
    dirty: Option<(Instant, Instant)>,
    seen: Seen,
    /// Until when the first round waits for what the API server has of this node.
    patience: Instant,
    look_at: Instant,
    /// Before when what has changed waits for more.
    rested: Instant,
    /// The time between two looks.
    look: Duration,
    failures: Failures,
    reporting: Reporting,
    ready: Readiness,
    metrics: Arc<Metrics>,
}

type Done = (Write, Result<Option<Value>, kube::Error>);

/// What failed in the last round, and how often nothing but that has failed in a row.
#[derive(Debug, Default)]
struct Failures {
    what: BTreeSet<String>,
    rounds: u32,
}

impl Failures {
    /// The wait before the next round, after one in which this failed; `None` if nothing did. What fails for ever does
    /// not let wait what fails for the first time.
    fn wait(&mut self, what: &BTreeSet<String>) -> Option<Duration> {
        if !what.is_subset(&self.what) {
            self.rounds = 0;
        }
        self.what.clone_from(what);
        if what.is_empty() {
            return None;
        }
        let wait = RETRY.saturating_mul(1 << self.rounds.min(10)).min(LOOK);
        self.rounds = self.rounds.saturating_add(1);
        Some(wait)
    }
}

impl Loop {
    async fn run(
        &mut self,
        watches: Vec<Watch>,
        namespaces: Option<&[NamespaceName]>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let scope = self.reporting.scope;
        // Small pages: a list is held several times over while it is read.
        let config = watcher::Config::default().page_size(100);
        let mut events = follow_all(&self.client, scope, &config, watches);
        let own = format!("{}={}", names::NODE_LABEL, self.reporting.node_label());
        let statuses = Watch::all(Resource::Of(Kind::SecurityProfileNodeStatus), scope, namespaces);
        let mut statuses = follow_all(&self.client, scope, &config.labels(&own), statuses);
        let mut writes = FuturesUnordered::new();
        let beat = self.ready.pulse().of("the loop of the agent");
        loop {
            beat.beat();
            while writes.len() < REQUESTS
                && let Some(write) = self.reporter.next(Instant::now())
            {
                writes.push(perform(self.client.clone(), scope, write));
            }
            let start = self.next_round();
            let wake = self.reporter.wake().unwrap_or_else(|| Instant::now() + LOOK);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(told) = events.next(), if self.agent.is_some() => self.told(told),
                Some((_, event)) = statuses.next() => self.reporter.told(event, Instant::now()),
                Some(done) = writes.next(), if !writes.is_empty() => self.done(done),
                finished = finished(&mut self.round), if self.round.is_some() => {
                    (self.round, self.beat) = (None, None);
                    let (agent, round) = finished?;
                    self.agent = Some(agent);
                    self.finished(round);
                }
                () = sleep_until(start.into()), if self.agent.is_some() => self.start(),
                () = sleep_until(wake.into()), if writes.len() < REQUESTS => {}
                () = sleep(process::INTERVAL) => {}
            }
        }
        if let Some(round) = self.round.take() {
            self.agent = Some(round.await?.0);
        }
        // Nothing was heard during a round, which a module can make long: that the operator is being uninstalled may be
        // in what has arrived meanwhile.
        let end = Instant::now() + LAST_NEWS;
        while Instant::now() < end
            && let Ok(Some(told)) = timeout(SILENCE, events.next()).await
        {
            self.told(told);
        }
        // What has been sent is better heard to the end, but not for long.
        let mut rest = pin!(async { while writes.next().await.is_some() {} });
        tokio::select! { () = &mut rest => {}, () = sleep(Duration::from_secs(2)) => {} }
        Ok(())
    }

    fn told(&mut self, (watch, event): Told) {
        if !self.seen.is_news(&watch, &event) {
            return;
        }
        let now = Instant::now();
        if let Some(agent) = &mut self.agent {
            agent.cache.apply((watch, event));
        }
        self.dirty = Some((self.dirty.map_or(now, |(first, _)| first), now));
    }

    /// When the next round is due.
    fn next_round(&self) -> Instant {
        match self.dirty {
            Some((first, last)) if self.is_complete() => {
                let due = (last + QUIET).min(first + LONGEST).max(self.rested).min(self.look_at);
                // What is on the API server already need not be told again; but files do not wait for it for long.
                if self.reporter.is_listed() { due } else { due.max(self.patience) }
            }
            _ => self.look_at,
        }
    }

    fn is_complete(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.cache.is_complete())
    }

    fn start(&mut self) {
        self.look_at = Instant::now() + self.look;
        if !self.is_complete() {
            return;
        }
        self.ready.reached(Condition::Caches);
        self.dirty = None;
        let Some(mut agent) = self.agent.take() else { return };
        // The loop goes on meanwhile, and its beat says nothing of the round.
        self.beat = Some(self.ready.pulse().within("a round on the host", LONGEST_ROUND));
        self.round = Some(tokio::task::spawn_blocking(move || {
            let round = agent.round();
            (agent, round)
        }));
    }

    fn finished(&mut self, round: Round) {
        let now = Instant::now();
        self.rested = now + rest(round.took);
        self.metrics.round(&round);
        if let Some(wait) = self.failures.wait(&round.retry) {
            self.look_at = self.look_at.min(now + wait);
        }
        self.mode = round.mode.unwrap_or(self.mode);
        let objects = match self.mode {
            StatusMode::PerProfile => per_profile(&round.standings, &self.reporting),
            StatusMode::PerNode => per_node(&round.standings, &self.reporting),
        };
        self.tell_errors(&round, self.mode == StatusMode::PerNode && self.reporter.has(&objects), now);
        self.reporter.want(self.mode, objects, now);
        if !round.failed {
            // Pods must not come to a node, nor the startup taint go, while nothing can be put there.
            self.ready.reached(Condition::FirstRound);
        }
        let written: u64 = round.updated.values().sum();
        tracing::debug!(profiles = round.standings.len(), written, took = ?round.took, "looked at the host");
    }

    fn tell_errors(&mut self, round: &Round, told: bool, now: Instant) {
        let reporting = &self.reporting;
        let known = |standing: &super::agent::Standing| {
            if told {
                return Some(standing.state);
            }
            let subject = &standing.subject;
            let name = spo_model::names::node_status_name(subject.kind(), &subject.key, &reporting.node);
            let namespace = subject.key.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
            self.reporter.known_state(&(namespace, name))
        };
        for standing in self.transitions.to_error(&round.standings, known) {
            let (kind, key) = (standing.subject.kind(), &standing.subject.key);
            let reason = standing.reason.map_or("", |reason| reason.word(kind));
            let message = standing.message.as_deref().unwrap_or_default();
            tracing::warn!(%kind, profile = %key, reason, message, "the profile is not on this node");
            self.metrics.error(kind, key, reason);
            if self.transitions.may_tell(now) {
                let event = event(standing, &self.reporting.node, Timestamp::now());
                tokio::spawn(write::event(self.client.clone(), event));
            }
        }
    }

    fn done(&mut self, (write, result): Done) {
        let result = match &result {
            Ok(object) => Ok(object.as_ref()),
            Err(error) => {
                let (namespace, name) = write.name();
                tracing::warn!(namespace, name, code = code(error), %error, "a node status is not written yet");
                Err(())
            }
        };
        self.reporter.done(&write, result, Instant::now());
    }
}

async fn perform(client: Client, scope: spo_model::kind::Scope, write: Write) -> Done {
    let result = write::write(client, scope, &write).await;
    (write, result)
}

async fn finished(round: &mut Option<JoinHandle<(Agent, Round)>>) -> Result<(Agent, Round), Error> {
    match round {
        Some(round) => Ok(round.await?),
        None => std::future::pending().await,
    }
}

/// Whether pods use a profile matters where the kernel has it: taking it away would free them.
fn in_kernel_and_in_use(watch: &Watch, document: &Value) -> Vec<Option<String>> {
    let in_use = Lsm::of(watch.resource.kind()).is_some() && is_in_use(document);
    vec![in_use.then(String::new)]
}

/// How long the next round waits behind one that took so long: a node that has much to do is given less to do. Where it has
/// not, a round is over in less than a third of [`QUIET`].
fn rest(took: Duration) -> Duration {
    took.saturating_mul(3).min(LONGEST_REST)
}

/// The time between two looks at a host: up to a quarter longer than the shortest, the same for one node each time.
fn look(selinux: bool, node: &str) -> Duration {
    let shortest = if selinux { LOOK } else { CHEAP_LOOK };
    let sum = node.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    shortest.mul_f64(1.0 + f64::from(sum % 1000) / 4000.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn flags(flags: &[&str]) -> Result<Arguments, clap::Error> {
        let all = ["x", "--operator-namespace", "spo", "--node-name", "n"].iter().chain(flags);
        Ok(Flags::try_parse_from(all)?.arguments)
    }

    #[test]
    fn whether_pods_use_it_is_news_where_the_kernel_has_it() {
        for (kind, news) in [(Kind::SeccompProfile, false), (Kind::AppArmorProfile, true)] {
            let watch = Watch { resource: Resource::Of(kind), namespace: None };
            let mut seen = Seen::and(in_kernel_and_in_use);
            let mut document =
                json!({ "metadata": { "name": "web", "namespace": "production", "generation": 1 } });
            seen.is_news(&watch, &watcher::Event::Apply(document.clone()));
            document["metadata"]["finalizers"] = json!(["in-use-by-active-pods"]);
            assert_eq!(seen.is_news(&watch, &watcher::Event::Apply(document)), news, "{kind}");
        }
    }

    #[test]
    fn what_is_cheap_to_look_at_is_looked_at_more_often() {
        for node in ["", "node-1", "node-2", &"n".repeat(253)] {
            let (cheap, dear) = (look(false, node), look(true, node));
            assert!(cheap >= CHEAP_LOOK && cheap <= CHEAP_LOOK * 5 / 4, "{node}: {cheap:?}");
            assert!(dear >= LOOK && dear <= LOOK * 5 / 4, "{node}: {dear:?}");
        }
        assert_ne!(look(false, "node-1"), look(false, "node-2"));
    }

    #[test]
    fn a_round_waits_for_the_one_before_only_if_that_took_long() {
        assert!(rest(Duration::from_millis(9)) < QUIET);
        assert_eq!(rest(Duration::from_millis(300)), Duration::from_millis(900));
        assert_eq!(rest(LONGEST_ROUND), LONGEST_REST);
    }

    #[test]
    fn what_fails_for_ever_does_not_delay_what_fails_for_the_first_time() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let mut failures = Failures::default();
        let waits: Vec<_> = (0..10).map(|_| failures.wait(&set(&["a", "b"]))).collect();
        assert_eq!((waits[0], waits[1], waits[9]), (Some(RETRY), Some(RETRY * 2), Some(LOOK)));
        assert_eq!(failures.wait(&set(&["a"])), Some(LOOK), "one that is mended is no reason to hurry");
        assert_eq!(failures.wait(&set(&["a", "c"])), Some(RETRY));
        assert_eq!((failures.wait(&set(&[])), failures.wait(&set(&["a"]))), (None, Some(RETRY)));
    }

    #[test]
    fn switches_are_given_as_the_existing_operator_has_them() {
        let plain = flags(&[]).expect("flags");
        assert!(plain.with_seccomp && !plain.with_apparmor && !plain.with_selinux);
        let given =
            flags(&["--with-seccomp=false", "--with-apparmor", "--with-selinux=true"]).expect("flags");
        assert!(!given.with_seccomp && given.with_apparmor && given.with_selinux);
        assert!(flags(&["--with-apparmor=maybe"]).is_err());
        // As its DaemonSet has them.
        let all =
            ["--with-recording=true", "--with-selinux=true", "--with-raw-selinux", "--with-apparmor=true"];
        let more =
            ["--with-mem-optim=true", "--with-insecure-metrics-access", "--verbosity=1", "--with-seccomp"];
        let given = flags(&[&all[..], &more].concat()).expect("flags");
        assert!(given.with_recording && given.with_raw_selinux && given.with_mem_optim);
        assert_eq!(
            (plain.spod_name.as_str(), flags(&["--spod-name=x"]).expect("flags").spod_name.as_str()),
            ("spod", "x")
        );
        assert_eq!(plain.root.to_str(), Some("/host"));
    }
}
