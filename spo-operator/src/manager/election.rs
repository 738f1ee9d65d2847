//! The election on a real Lease: reads, writes, and the work that only the leader does.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    lease::{Election, Record, Renewal, Step},
    platform,
};
use crate::{
    cluster::names,
    process::{Beat, Error, Pulse},
};

/// How the work of a leader ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop; somebody else may go on.
    Stopped,
    /// The operator is being deleted, and nobody is to go on.
    Uninstalled,
}

/// Takes part in the election until it is told to stop, and runs `lead` while it leads. The token that `lead` gets is
/// cancelled when the leadership or the process ends; a `lead` that does not return then is dropped. A `lead` that has
/// nothing left to do is the end of the election too.
///
/// # Errors
/// The work of the leader failed.
pub async fn run<F>(
    client: Client,
    namespace: &str,
    mut election: Election,
    stop: CancellationToken,
    pulse: &Pulse,
    mut lead: impl FnMut(CancellationToken) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<Ended, Error>> + Send + 'static,
{
    let leases = Api::namespaced(client.clone(), namespace);
    let beat = pulse.of("the election");
    let mut candidate = Candidate { client, leases, owner: None, start: Instant::now(), beat };
    loop {
        if stop.run_until_cancelled(candidate.win(&mut election)).await.is_none() {
            return Ok(());
        }
        tracing::info!(identity = election.identity(), "leading");
        let token = stop.child_token();
        let mut work = tokio::spawn(lead(token.clone()));
        let ended = tokio::select! {
            ended = &mut work => Some(ended),
            () = candidate.keep(&mut election) => None,
            // What a leader does at the end of its process it does as the leader.
            () = late(&stop) => None,
        };
        token.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => finish(work).await,
        };
        match ended {
            // A Lease that nobody gives back keeps the next replica, which is about to be ended as well, from
            // beginning all anew.
            Some(Ok(Ok(Ended::Uninstalled))) => return Ok(()),
            Some(Ok(Err(error))) => {
                candidate.release(&election).await;
                return Err(error);
            }
            Some(Err(error)) if !error.is_cancelled() => {
                candidate.release(&election).await;
                return Err(error.into());
            }
            Some(Ok(Ok(Ended::Stopped)) | Err(_)) | None => {}
        }
        if stop.is_cancelled() {
            candidate.release(&election).await;
            return Ok(());
        }
        tracing::warn!("leading no more");
    }
}

/// How long the work of a leader may take at the end of its process, while it leads: less than the time a pod has to
/// end, and more than cleaning up takes.
const LAST: Duration = Duration::from_secs(25);

/// What is left between the moment at which a leader stops acting and that at which another may start.
const GRACE: Duration = Duration::from_secs(4);

async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST).await;
}

/// What work that has been told to end ends with; `None` if it does not and is dropped.
async fn finish<T>(mut work: JoinHandle<T>) -> Option<Result<T, JoinError>> {
    match timeout(GRACE, &mut work).await {
        Ok(ended) => Some(ended),
        Err(_) => {
            work.abort();
            let _ = work.await;
            None
        }
    }
}

struct Candidate {
    client: Client,
    leases: Api<Lease>,
    /// What the Lease belongs to, as it was when it was taken.
    owner: Option<OwnerReference>,
    start: Instant,
    beat: Beat,
}

impl Candidate {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns when the Lease is held.
    async fn win(&mut self, election: &mut Election) {
        let mut complained = String::new();
        loop {
            self.beat.beat();
            let wait = match self.look(election).await {
                Ok(Step::Wait(wait)) => wait,
                Ok(step) => match self.write(election, step).await {
                    Ok(()) => return,
                    Err(error) if is_conflict(&error) => election.timing().retry,
                    Err(error) => complain(&mut complained, &error, election.timing().retry),
                },
                Err(error) => complain(&mut complained, &error, election.timing().retry),
            };
            sleep(jitter(wait, election.identity(), self.now())).await;
        }
    }

    /// Returns when the Lease is held no more.
    async fn keep(&mut self, election: &mut Election) {
        let mut complained = String::new();
        loop {
            self.beat.beat();
            let Some(Renewal { wait, limit }) = election.renewal(self.now(), !complained.is_empty()) else {
                let left = election.acts_until().map(|until| until.saturating_sub(self.now()));
                sleep(left.unwrap_or_default()).await;
                election.resign();
                return;
            };
            sleep(wait).await;
            let renewal = async {
                match self.look(election).await? {
                    step @ Step::Renew(_) => self.write(election, step).await.map(|()| true),
                    _ => Ok(false),
                }
            };
            match timeout(limit, renewal).await {
                Ok(Ok(true)) => complained.clear(),
                Ok(Err(error)) => {
                    complain(&mut complained, &error, wait);
                }
                Err(_) => {
                    let silence = kube::Error::Service("no answer in time".into());
                    complain(&mut complained, &silence, wait);
                }
                // Somebody else has it.
                Ok(Ok(false)) => {
                    election.resign();
                    return;
                }
            }
        }
    }

    async fn look(&self, election: &mut Election) -> Result<Step, kube::Error> {
        let lease = bounded(self.leases.get_opt(names::LEASE)).await?;
        Ok(election.look(lease.as_ref().map(record), self.now()))
    }

    async fn write(&mut self, election: &mut Election, step: Step) -> Result<(), kube::Error> {
        let began = self.now();
        let identity = election.identity();
        let seconds = i32::try_from(election.timing().lease.as_secs()).unwrap_or(i32::MAX);
        if matches!(step, Step::Create | Step::Take(_)) {
            let owner = bounded(platform::owner(&self.client)).await?;
            self.owner = owner.and_then(|owner| serde_json::from_value(owner).ok());
        }
        match step {
            Step::Create => {
                let lease = self.document(identity, seconds, 0, None, None);
                bounded(self.leases.create(&PostParams::default(), &lease)).await?;
            }
            Step::Take(record) | Step::Renew(record) => {
                let more = i32::from(record.holder != identity);
                let transitions = record.transitions.saturating_add(more);
                let acquired = record.acquired.filter(|_| more == 0);
                let version = Some(record.version);
                let lease = self.document(identity, seconds, transitions, version, acquired);
                bounded(self.leases.replace(names::LEASE, &PostParams::default(), &lease)).await?;
            }
            Step::Wait(_) => return Ok(()),
        }
        election.held(began);
        Ok(())
    }

    /// Lets others start at once.
    async fn release(&self, election: &Election) {
        let give = async {
            let Some(lease) = self.leases.get_opt(names::LEASE).await? else { return Ok(()) };
            let record = record(&lease);
            if record.holder == election.identity() {
                let lease = self.document("", 1, record.transitions, Some(record.version), None);
                self.leases.replace(names::LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(Duration::from_secs(3), give).await {
            Ok(Ok(())) => tracing::info!("released the Lease"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease is not released"),
            Err(_) => tracing::warn!("the Lease is not released: no answer"),
        }
    }

    fn document(
        &self,
        holder: &str,
        seconds: i32,
        transitions: i32,
        version: Option<String>,
        acquired: Option<Timestamp>,
    ) -> Lease {
        let now = MicroTime(Timestamp::now());
        let metadata = ObjectMeta {
            name: Some(names::LEASE.to_owned()),
            resource_version: version,
            labels: Some([(names::APP_LABEL.to_owned(), names::OPERATOR.to_owned())].into()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(transitions),
            acquire_time: Some(acquired.map_or_else(|| now.clone(), MicroTime)),
            renew_time: Some(now),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// A request that gets no answer must not outlast the leadership.
async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match timeout(Duration::from_secs(4), request).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service("no answer within 4 seconds".into())),
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Says each new reason once.
fn complain(complained: &mut String, error: &kube::Error, wait: Duration) -> Duration {
    let text = error.to_string();
    if *complained != text {
        tracing::warn!(%error, "the Lease cannot be had");
        *complained = text;
    }
    wait
}

/// Up to a fifth more, so that candidates that started together do not ask together.
fn jitter(wait: Duration, identity: &str, now: Duration) -> Duration {
    use std::hash::{Hash as _, Hasher as _};
    let mut hash = std::hash::DefaultHasher::new();
    (identity, now).hash(&mut hash);
    wait + wait.mul_f64((hash.finish() % 1000) as f64 / 5000.0)
}
