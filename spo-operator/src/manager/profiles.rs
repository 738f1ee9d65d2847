//! Profiles in the cluster: what nodes and pods say becomes status and finalizers, by as few writes as possible.
//!
//! Transitions of many nodes come close together. A profile is looked at at once when every node has said where it
//! stands, else some time after the last thing that was said about it and not too long after the first (`Pace`), and
//! written only if that changes what is there. So a roll-out is one write for each profile most often, however many
//! nodes there are, and the last node's word is heard without delay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::{api::core::v1::Event as ClusterEvent, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use spo_model::{
    kind::{Kind, Scope},
    names::NamespaceName,
};
use tokio::{
    sync::watch as tell,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    facts::{Id, Profile},
    forbidden::Blame,
    index::{Fact, Index, Place, Wanted},
    membership::Overlaps,
    sources,
    transitions::{self, Allowance, Transition},
};
use crate::{
    cluster::{names, request::within, resource::Resource, watch::Name},
    metrics::cluster::{ClusterMetrics, Written},
    process::{Error, INTERVAL, Pulse},
};

/// How long a profile is left alone before it is looked at.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// After the last thing that was said.
    breath: Duration,
    /// After the first at most.
    patience: Duration,
}

/// Nothing more is to be expected; what was said together is taken together.
const SETTLED: Pace = Pace { breath: Duration::from_millis(20), patience: Duration::from_millis(20) };

/// A roll-out is under way: who looks at it wants to see that it goes on, and no more.
const UNDER_WAY: Pace = Pace { breath: Duration::from_secs(5), patience: Duration::from_secs(10) };

/// Pods and nodes come and go in groups.
const AROUND: Pace = Pace { breath: Duration::from_millis(250), patience: Duration::from_secs(1) };

/// How long node statuses are left alone before those of nobody are looked for among all of them.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a node status of nobody is left to others, who collect it most often.
const ORPHANED: Duration = Duration::from_secs(10);

/// How long settings are left before a profile is deleted by them: agents look again first, and people change their minds.
const CONSIDERED: Duration = Duration::from_secs(10);

/// The time between two deletions of profiles that are not allowed, and between looks for them.
const JUDGE: Duration = Duration::from_millis(500);

/// More than a second that has begun has left.
const BEGUN: Duration = Duration::from_millis(1);

/// How long changes are left before profiles are counted again.
const COUNT: Duration = Duration::from_secs(1);

/// How many profiles are written at once.
const WRITERS: usize = 8;

/// What the work needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub operator_namespace: NamespaceName,
    /// The scope of profiles.
    pub scope: Scope,
    /// The namespaces that are looked at; `None` for all.
    pub namespaces: Option<Vec<NamespaceName>>,
    /// The kubelet's directory on nodes.
    pub kubelet_dir: String,
}

/// Keeps status and finalizers of all profiles as they should be until it is told to stop.
///
/// # Errors
/// None so far; what fails is tried again.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<ClusterMetrics>,
    overlaps: tell::Sender<Overlaps>,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (mut facts, watches) = sources::facts(&client, &settings);
    let place = Place {
        operator: settings.operator_namespace.as_str().into(),
        kubelet_dir: settings.kubelet_dir.trim_end_matches('/').into(),
    };
    let mut keeper = Keeper::new(client, settings, Index::new(place, watches), metrics, overlaps);
    let beat = pulse.of("the loop of the profiles");
    loop {
        beat.beat();
        let due = keeper.due();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some((watch, fact)) = facts.next() => keeper.take_note(watch, fact),
            Some(done) = keeper.writes.next() => keeper.finished(done),
            () = sleep_until(due) => keeper.work(),
            () = sleep(INTERVAL) => {}
        }
    }
}

/// When a profile has to be looked at.
#[derive(Clone, Copy, Debug)]
struct Due {
    first: Instant,
    at: Instant,
}

enum Done {
    Profile(Id, Duration, Result<Option<Profile>, kube::Error>),
    /// A profile as it is after a conflict; `None` if it is gone.
    Asked(Id, Result<Option<Profile>, kube::Error>),
    /// A profile that is not allowed, and whether it is deleted.
    Deleted(Id, Blame, Result<(), kube::Error>),
    /// An event is stored, or not.
    Told,
    Status(Name, Result<(), kube::Error>),
}

impl Drop for Keeper {
    /// Who leads no more does not know any more where profiles stand.
    fn drop(&mut self) {
        self.metrics.stand(Default::default());
    }
}

struct Keeper {
    client: Client,
    settings: Settings,
    index: Index,
    due: BTreeMap<Id, Due>,
    writing: BTreeSet<Id>,
    /// How often writing a profile failed in a row.
    failed: BTreeMap<Id, u32>,
    /// Node statuses of nobody, and since when; looked for when something has changed.
    stale: BTreeMap<Name, Instant>,
    sweep: Option<Instant>,
    metrics: Arc<ClusterMetrics>,
    /// What writes that are under way change.
    transitions: BTreeMap<Id, Transition>,
    events: Allowance,
    /// When profiles that are not allowed are looked for, and since when SPODs say what they say.
    judge: Option<Instant>,
    settled: Instant,
    overlaps: tell::Sender<Overlaps>,
    /// When where all profiles stand is counted again.
    count: Option<Instant>,
    writes: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Keeper {
    fn new(
        client: Client,
        settings: Settings,
        index: Index,
        metrics: Arc<ClusterMetrics>,
        overlaps: tell::Sender<Overlaps>,
    ) -> Self {
        Self {
            client,
            settings,
            index,
            due: BTreeMap::new(),
            writing: BTreeSet::new(),
            failed: BTreeMap::new(),
            stale: BTreeMap::new(),
            sweep: None,
            judge: None,
            settled: Instant::now(),
            overlaps,
            metrics,
            count: None,
            transitions: BTreeMap::new(),
            events: Allowance::new(Instant::now()),
            writes: FuturesUnordered::new(),
        }
    }

    fn take_note(&mut self, watch: usize, fact: Fact) {
        let sweep = !matches!(fact, Fact::Pod(_) | Fact::Binding(_));
        let around = matches!(fact, Fact::Pod(_) | Fact::Agents(_) | Fact::Node(_));
        let counts = matches!(fact, Fact::Profile(_));
        let judges = matches!(fact, Fact::Profile(_) | Fact::Status(_));
        let now = Instant::now();
        self.index.tick(Timestamp::now().as_second());
        if matches!(fact, Fact::Policy(_)) {
            self.settled = now + CONSIDERED;
            self.judge = Some(self.settled);
        }
        self.index.take_note(watch, fact);
        if judges && self.judge.is_none() {
            self.judge = Some(self.settled.max(now + JUDGE));
        }
        if around {
            let found = self.index.overlaps();
            self.overlaps.send_if_modified(|known| {
                let differs = known != found;
                if differs {
                    known.clone_from(found);
                }
                differs
            });
        }
        if counts && self.count.is_none() {
            self.count = Some(now + COUNT);
        }
        self.plan(around, now);
        if sweep && self.sweep.is_none() {
            self.sweep = Some(now + SWEEP);
        }
    }

    /// Says when what has changed is looked at.
    fn plan(&mut self, around: bool, now: Instant) {
        for id in self.index.take_dirty() {
            let pace = match () {
                () if around => AROUND,
                () if self.index.is_settled(&id) => SETTLED,
                () => UNDER_WAY,
            };
            let due = self.due.entry(id).or_insert(Due { first: now, at: now });
            due.at = (now + pace.breath).min(due.first + pace.patience);
        }
    }

    /// When there is something to do.
    fn due(&self) -> Instant {
        let next = match self.writes.len() < WRITERS {
            true => self.due.iter().filter(|(id, _)| !self.writing.contains(id)).map(|(_, due)| due.at).min(),
            false => None,
        };
        let far = Instant::now() + Duration::from_secs(3600);
        let ages = self.index.ages().map(|at| {
            let left = at.saturating_sub(Timestamp::now().as_second());
            // A second has begun before it is over.
            Instant::now() + Duration::from_secs(u64::try_from(left).unwrap_or_default()) + BEGUN
        });
        [next, self.sweep, self.count, self.judge, ages].into_iter().flatten().min().unwrap_or(far)
    }

    fn work(&mut self) {
        let now = Instant::now();
        self.index.tick(Timestamp::now().as_second());
        self.plan(true, now);
        if self.judge.is_some_and(|at| at <= now) {
            self.judge(now);
        }
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        if self.count.is_some_and(|at| at <= now) {
            self.count = None;
            self.metrics.stand(self.index.states());
        }
        let ready: Vec<Id> = self
            .due
            .iter()
            .filter(|(id, due)| due.at <= now && !self.writing.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        let time = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        for id in ready {
            if self.writes.len() >= WRITERS {
                return;
            }
            self.due.remove(&id);
            let Some(wanted) = self.index.wanted(&id, &time) else {
                self.failed.remove(&id);
                continue;
            };
            self.writing.insert(id.clone());
            let before = self.index.profile(&id).map(|profile| &profile.status);
            let transition = before.zip(wanted.status.as_ref()).and_then(|(b, a)| Transition::between(b, a));
            if let Some(transition) = transition {
                self.transitions.insert(id.clone(), transition);
            }
            let api = self.api(id.resource, &id.namespace);
            self.writes.push(write(api, id, wanted).boxed());
        }
    }

    fn finished(&mut self, done: Done) {
        match done {
            Done::Profile(id, took, result) => {
                self.writing.remove(&id);
                let transition = self.transitions.remove(&id);
                let how = match &result {
                    Ok(_) => Written::Done,
                    Err(error) if is_code(error, 409) => Written::Conflict,
                    Err(_) => Written::Failed,
                };
                self.metrics.wrote(how, took);
                match result {
                    Ok(Some(profile)) => {
                        self.failed.remove(&id);
                        if let Some(transition) = transition {
                            self.tell(&id, &profile, &transition);
                        }
                        self.index.written(&id, profile);
                    }
                    Ok(None) => {}
                    Err(error) if is_code(&error, 409) => self.ask(id),
                    Err(error) => self.retry(id, &error),
                }
            }
            Done::Asked(id, result) => {
                self.writing.remove(&id);
                match result {
                    Ok(Some(profile)) => {
                        self.index.asked(&id, profile);
                        self.again(id);
                    }
                    // The watch will say that it is gone.
                    Ok(None) => {}
                    Err(error) => self.retry(id, &error),
                }
            }
            Done::Deleted(id, blame, result) => {
                self.writing.remove(&id);
                match result {
                    Ok(()) => {
                        let (profile, spod) = (&id, &blame.spod);
                        tracing::info!(%profile, spod, "deleted a profile that is not allowed");
                        self.store(transitions::deletion(&id, &blame, Timestamp::now()));
                    }
                    // It is gone, or another one than the nodes have refused, about which they will say more.
                    Err(error) if is_code(&error, 404) || is_code(&error, 409) => {}
                    Err(error) => {
                        tracing::warn!(profile = %id, %error, "a profile that is not allowed stays");
                    }
                }
                self.judge = Some(Instant::now() + JUDGE);
            }
            Done::Told => {}
            Done::Status(name, Err(error)) if !is_code(&error, 404) => {
                tracing::warn!(status = name.1, %error, "a node status of nobody stays");
                self.sweep = Some(Instant::now() + ORPHANED);
            }
            Done::Status(..) => {}
        }
    }

    /// A conflict is no failure: somebody else wrote meanwhile. The watch has told that already, or will; what was told
    /// already is not told again, so the profile is asked for.
    fn ask(&mut self, id: Id) {
        self.writing.insert(id.clone());
        let api = self.api(id.resource, &id.namespace);
        let asked = async move {
            let found = within(api.get_opt(&id.name)).await;
            let profile = |object: DynamicObject| {
                serde_json::to_value(object).ok().map(|document| Profile::of(id.resource, document).1)
            };
            let found = found.map(|object| object.and_then(profile));
            Done::Asked(id, found)
        };
        self.writes.push(asked.boxed());
    }

    fn retry(&mut self, id: Id, error: &kube::Error) {
        tracing::warn!(profile = %id, %error, "a profile cannot be written");
        self.again(id);
    }

    /// It is tried again, less and less often.
    fn again(&mut self, id: Id) {
        let times = self.failed.entry(id.clone()).or_default();
        *times = times.saturating_add(1);
        let now = Instant::now();
        let at = now + Duration::from_millis(250 << (*times).min(7));
        self.due.insert(id, Due { first: now, at });
    }

    /// Makes an event of what a write has changed. Nobody waits for it and nothing depends on it.
    fn tell(&mut self, id: &Id, written: &Profile, transition: &Transition) {
        if !self.events.may_tell(transition, Instant::now()) {
            return;
        }
        self.store(transition.event(id, written, Timestamp::now()));
    }

    fn store(&mut self, event: ClusterEvent) {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<ClusterEvent> = Api::namespaced(self.client.clone(), &namespace);
        let made = async move {
            let parameters =
                PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
            if let Err(error) = within(api.create(&parameters, &event)).await {
                tracing::debug!(%error, "an event is not stored");
            }
            Done::Told
        };
        self.writes.push(made.boxed());
    }

    /// Deletes one of the profiles that are not allowed, where a SPOD asks for that; the next one follows. One that pods
    /// use stays until they are gone, as with any deletion.
    fn judge(&mut self, now: Instant) {
        self.judge = None;
        let forbidden = self.index.forbidden();
        let Some((id, blame)) = forbidden.into_iter().find(|(id, _)| !self.writing.contains(id)) else {
            return;
        };
        self.judge = Some(now + JUDGE);
        if self.writes.len() >= WRITERS {
            return;
        }
        self.writing.insert(id.clone());
        let api = self.api(id.resource, &id.namespace);
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: Some(blame.uid.to_string()),
            resource_version: Some(blame.version.to_string()),
        });
        let deleted = async move {
            let result = within(api.delete(&id.name, &parameters)).await.map(|_| ());
            Done::Deleted(id, blame, result)
        };
        self.writes.push(deleted.boxed());
    }

    fn sweep(&mut self, now: Instant) {
        let stale: BTreeSet<Name> = self.index.stale().into_iter().collect();
        self.stale.retain(|name, _| stale.contains(name));
        for name in stale {
            self.stale.entry(name).or_insert(now);
        }
        let over: Vec<Name> = self
            .stale
            .iter()
            .filter(|(_, since)| **since + ORPHANED <= now)
            .map(|(name, _)| name.clone())
            .take(WRITERS)
            .collect();
        for name in over {
            self.stale.remove(&name);
            let api = self.api(Resource::Of(Kind::SecurityProfileNodeStatus), &name.0);
            tracing::info!(namespace = name.0, status = name.1, "deleting a node status of nobody");
            self.writes.push(
                async move {
                    let result = within(api.delete(&name.1, &DeleteParams::default())).await.map(|_| ());
                    Done::Status(name, result)
                }
                .boxed(),
            );
        }
        let next = self.stale.values().min().map(|since| (*since + ORPHANED).max(now + SWEEP));
        self.sweep = next;
    }

    fn api(&self, resource: Resource, namespace: &str) -> Api<DynamicObject> {
        let namespace = namespace.parse().ok();
        resource.api(self.client.clone(), self.settings.scope, namespace.as_ref())
    }
}

async fn write(api: Api<DynamicObject>, id: Id, wanted: Wanted) -> Done {
    let start = Instant::now();
    let result = write_both(&api, &id, wanted).await;
    let took = start.elapsed();
    match result {
        // It has been deleted, which the watch will say.
        Err(error) if is_code(&error, 404) => Done::Profile(id, took, Ok(None)),
        result => Done::Profile(id, took, result),
    }
}

async fn write_both(
    api: &Api<DynamicObject>,
    id: &Id,
    wanted: Wanted,
) -> Result<Option<Profile>, kube::Error> {
    let parameters =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..Default::default() };
    let mut written = None;
    if let Some((finalizers, version)) = wanted.finalizers {
        // With a version: somebody else may have added a finalizer of their own meanwhile.
        let metadata = json!({ "finalizers": finalizers, "resourceVersion": version });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let object = within(api.patch(&id.name, &parameters, &patch)).await?;
        if object.metadata.deletion_timestamp.is_some() && finalizers.is_empty() {
            // That was the last thing that held it.
            return Ok(None);
        }
        written = Some(object);
    }
    if let Some(status) = wanted.status {
        let patch = Patch::Merge(json!({ "status": status }));
        written = Some(within(api.patch_status(&id.name, &parameters, &patch)).await?);
    }
    let document = written.and_then(|object| serde_json::to_value(object).ok());
    Ok(document.map(|document| Profile::of(id.resource, document).1))
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
