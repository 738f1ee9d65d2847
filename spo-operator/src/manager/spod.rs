//! SecurityProfilesOperatorDaemons in the cluster: what they ask for is rendered, applied, repaired and reported.
//!
//! Everything that is rendered is watched. An object is applied again when what is rendered changes, or when the object
//! is not what the last write made of it any more; otherwise nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PodSpec},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher::Event,
};
use serde_json::{Value, json};
use spo_model::{
    daemon::{DaemonState, WebhookMode},
    kind::{Kind, Scope},
    names::NamespaceName,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    anchor::Anchor,
    applied::{Key, Objects, Step},
    kinds::{ApiKind, DAEMON_SETS, KINDS, MONITORS, SERVICES},
    membership::Overlaps,
    platform::{Platform, belonging_to},
    rendering::{Renderer, Surroundings},
    rollout::Rollouts,
    spod_status::Spod,
    spod_watches::{Events, Told, events, monitors},
    static_webhook,
    trust::{self, Trusted},
};
use crate::{
    cluster::{names, request::within, resource::Resource},
    process::{Error, INTERVAL, Pulse},
    render,
};

mod configurations;
mod problems;

use problems::{overlap, without_admission};

/// The field manager of what the values of a chart say.
const VALUES_MANAGER: &str = "spo-values";

/// How long changes are gathered.
const BREATH: Duration = Duration::from_millis(50);

/// How long nothing is applied that pods come from while certificates may be in the making: a kubelet that misses what
/// a pod mounts looks again later and later. Where certificates are somebody else's, agents do not wait for them.
const CERTIFICATES: Duration = Duration::from_secs(1);

/// The least time between two reports that differ only in how far a roll-out is.
const PROGRESS: Duration = Duration::from_secs(1);

/// How often it is looked at what the cluster is. Its owner may be made anew.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What the work needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: NamespaceName,
    /// What objects depend on, as far as flags say it.
    pub surroundings: Surroundings,
    /// Who makes the certificate of the webhook.
    pub certificates: trust::Source,
    /// What renders.
    pub renderer: Renderer,
    /// The `spec` of the SPOD that the values of a chart ask for, as JSON; empty if there are none.
    pub values: String,
}

/// Keeps what SPODs ask for as it should be until it is told to stop.
///
/// # Errors
/// None so far; what fails is tried again.
pub async fn run(
    client: Client,
    settings: Settings,
    mut trusted: Trusted,
    mut overlaps: watch::Receiver<Overlaps>,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut events = events(&client, &settings.namespace);
    let mut controller = Controller::new(client, settings);
    let beat = pulse.of("the loop of the SecurityProfilesOperatorDaemons");
    loop {
        beat.beat();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(told) = events.next() => controller.take_note(told, &mut events),
            Ok(()) = trusted.changed() => controller.trust(trusted.borrow_and_update().clone()),
            Ok(()) = overlaps.changed() => {
                controller.overlaps.clone_from(&overlaps.borrow_and_update());
                controller.soon();
            }
            () = sleep_until(controller.due) => {
                // What is done halfway is done again by the next leader.
                stop.run_until_cancelled(controller.work()).await;
            }
            () = sleep(INTERVAL) => {}
        }
    }
}

struct Controller {
    client: Client,
    settings: Settings,
    around: Surroundings,
    spods: BTreeMap<String, Spod>,
    /// The SPODs of a list in progress.
    listed: BTreeSet<String>,
    /// Whether there has been a list, and whether the first look at it is over.
    complete: bool,
    settled: bool,
    own_known: bool,
    /// The operator's Deployment, as an owner.
    own: Option<Value>,
    objects: Objects,
    /// The webhook configurations of somebody else that are there although admission is off.
    left: BTreeSet<Key>,
    /// Nodes that agents of several SPODs are meant to run on.
    overlaps: Overlaps,
    rollouts: Rollouts,
    /// When each SPOD's status was written last.
    reported: BTreeMap<String, Instant>,
    /// When certificates are not waited for any longer.
    patience: Instant,
    complained: BTreeSet<String>,
    /// Whether it is known what the cluster is, and when that is looked at again.
    known: bool,
    look: Instant,
    /// Ends the watch of ServiceMonitors; `None` where there are none.
    monitors: Option<CancellationToken>,
    due: Instant,
}

impl Controller {
    fn new(client: Client, settings: Settings) -> Self {
        Self {
            client,
            around: settings.surroundings.clone(),
            settings,
            spods: BTreeMap::new(),
            listed: BTreeSet::new(),
            complete: false,
            settled: false,
            own_known: false,
            own: None,
            objects: Objects::default(),
            left: BTreeSet::new(),
            overlaps: Overlaps::new(),
            rollouts: Rollouts::default(),
            reported: BTreeMap::new(),
            patience: Instant::now() + CERTIFICATES,
            complained: BTreeSet::new(),
            known: false,
            look: Instant::now(),
            monitors: None,
            due: far(),
        }
    }

    fn namespace(&self) -> &str {
        self.settings.namespace.as_str()
    }

    fn soon(&mut self) {
        self.due = self.due.min(Instant::now() + BREATH);
    }

    fn trust(&mut self, anchor: Option<Anchor>) {
        self.around.trust = anchor;
        self.soon();
    }

    fn take_note(&mut self, told: Told, events: &mut Events) {
        match told {
            Told::Spod(event) => self.spod(event),
            Told::Own(deployment) => {
                self.own_known = true;
                self.take_after(deployment.as_deref());
                self.soon();
            }
            Told::Agents(event) => match *event {
                Event::Apply(object) | Event::InitApply(object) => {
                    self.rollouts.note(&object);
                    self.seen(&DAEMON_SETS, &object.metadata);
                    self.soon();
                }
                Event::Delete(object) => {
                    self.rollouts.forget(&object.name_any());
                    self.gone(&DAEMON_SETS, &object.name_any());
                }
                Event::Init => self.objects.list_begins(DAEMON_SETS.kind),
                Event::InitDone => self.list_ends(&DAEMON_SETS),
            },
            Told::Other(kind, Event::Apply(metadata) | Event::InitApply(metadata)) => {
                self.seen(kind, &metadata);
            }
            Told::Other(kind, Event::Delete(metadata)) => {
                self.gone(kind, metadata.name.as_deref().unwrap_or_default());
            }
            Told::Other(kind, Event::Init) => self.objects.list_begins(kind.kind),
            Told::Other(kind, Event::InitDone) => self.list_ends(kind),
            Told::Named(kind, _, Some(metadata)) => self.seen(kind, &metadata),
            Told::Named(kind, name, None) => {
                // It may have gone with its owner.
                self.look = Instant::now();
                self.gone(kind, name);
            }
            Told::Monitors(there) => self.monitors(there, events),
        }
    }

    /// Takes note of whether the cluster has ServiceMonitors, and follows them if it has.
    fn monitors(&mut self, there: bool, events: &mut Events) {
        self.around.service_monitors = there;
        if !there {
            if let Some(watch) = self.monitors.take() {
                watch.cancel();
            }
            // They went with their definition.
            self.objects.list_begins(MONITORS.kind);
            self.list_ends(&MONITORS);
        } else if self.monitors.is_none() {
            let until = CancellationToken::new();
            events.push(monitors(&self.client, &self.settings.namespace, until.clone()));
            self.monitors = Some(until);
        }
        self.soon();
    }

    fn list_ends(&mut self, kind: &'static ApiKind) {
        for (of, name) in self.objects.list_ends(kind.kind) {
            if of == DAEMON_SETS.kind {
                self.rollouts.forget(&name);
            }
            self.soon();
        }
    }

    fn spod(&mut self, event: Event<Value>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(document) | Event::Apply(document) => {
                let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.listed.insert(name.clone());
                self.spods.insert(name, Spod::of(&document));
            }
            Event::Delete(document) => {
                self.spods.remove(document["metadata"]["name"].as_str().unwrap_or_default());
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.spods.retain(|name, _| listed.contains(name));
                self.complete = true;
            }
        }
        self.soon();
    }

    /// What is rendered runs the same image as this process.
    fn take_after(&mut self, own: Option<&Deployment>) {
        self.own = own.and_then(owner);
        let template = own.and_then(|own| own.spec.template.spec.as_ref());
        let Some(PodSpec { containers, image_pull_secrets, .. }) = template else { return };
        if let Some(container) = containers.first() {
            self.around.image.clone_from(&container.image);
            self.around.pull_policy.clone_from(&container.image_pull_policy);
        }
        self.around.pull_secrets =
            image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect();
    }

    fn seen(&mut self, kind: &'static ApiKind, metadata: &ObjectMeta) {
        let key = (kind.kind, metadata.name.clone().unwrap_or_default());
        if self.objects.seen(key, metadata) {
            self.soon();
        }
    }

    fn gone(&mut self, kind: &'static ApiKind, name: &str) {
        if self.objects.gone(&(kind.kind, name.to_owned())) {
            self.soon();
        }
    }

    async fn work(&mut self) {
        self.due = far();
        if !self.complete || !self.own_known {
            return;
        }
        if let Err(error) = self.reconcile().await {
            self.complain(format!("{error}"));
            self.due = Instant::now() + RETRY;
        }
    }

    async fn reconcile(&mut self) -> Result<(), kube::Error> {
        if !self.settled {
            if !self.settings.values.is_empty() {
                self.apply_values().await?;
            } else if self.spods.is_empty() {
                self.create_default().await?;
            }
            self.settled = true;
        }
        if Instant::now() >= self.look {
            let found = Platform::of(&self.client).await;
            match found {
                Ok(platform) => {
                    self.around.settle(platform);
                    self.known = true;
                }
                // What was found before is true most probably.
                Err(error) if self.known => {
                    self.complain(format!("what the cluster is cannot be asked: {error}"));
                }
                Err(error) => return Err(error),
            }
            self.look = Instant::now() + LOOK;
        }
        self.due = self.due.min(self.look);
        // Objects that there is only one of belong to the first; further SPODs have agents of their own.
        let mut spods: Vec<String> = self.spods.keys().cloned().collect();
        spods.sort_by_key(|name| name != names::SPOD);
        let mut claimed: BTreeSet<Key> = BTreeSet::new();
        for name in spods {
            let problem = self.apply_all(&name, &mut claimed).await;
            if problem.is_some() {
                self.due = self.due.min(Instant::now() + RETRY);
            }
            self.report(&name, problem).await?;
        }
        Ok(())
    }

    /// Applies the SPOD of the chart's values under a field manager of its own, so that a value that is taken back goes
    /// and what others patched stays. Without values nothing is applied.
    ///
    /// It belongs to the operator's Deployment: its definition outlives the release, and with it the agents would.
    async fn apply_values(&self) -> Result<(), kube::Error> {
        let document = match render::configured_spod(self.namespace(), &self.settings.values) {
            Ok(document) => belonging_to(document, self.own.as_ref()),
            Err(error) => {
                tracing::error!(%error, "the values of the chart are left alone");
                return Ok(());
            }
        };
        let parameters = PatchParams::apply(VALUES_MANAGER).force();
        let patched: DynamicObject =
            within(self.spod_api().patch(names::SPOD, &parameters, &Patch::Apply(&document))).await?;
        tracing::info!(generation = patched.metadata.generation, "applied the values of the chart");
        Ok(())
    }

    async fn create_default(&mut self) -> Result<(), kube::Error> {
        let api = self.spod_api();
        let document = (self.settings.renderer.default)(self.namespace());
        let Ok(object) = serde_json::from_value(document) else { return Ok(()) };
        match within(api.create(&PostParams::default(), &object)).await {
            Ok(made) => {
                tracing::info!(name = names::SPOD, "made the SecurityProfilesOperatorDaemon");
                // The watch will say the same; until then nothing has to wait.
                if let Ok(document) = serde_json::to_value(&made) {
                    self.spods.insert(names::SPOD.to_owned(), Spod::of(&document));
                }
            }
            // Somebody was faster; the watch will say so.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Applies what differs and removes what is not rendered any more. Returns what went wrong first.
    async fn apply_all(&mut self, name: &str, claimed: &mut BTreeSet<Key>) -> Option<String> {
        let spod = self.spods.get(name)?;
        if spod.deleting {
            return None;
        }
        let uid = spod.uid.clone();
        let rendered = match &spod.object {
            Ok(object) => (self.settings.renderer.objects)(object, &self.around),
            Err(problem) => Err(problem.clone()),
        };
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(problem) => return Some(problem),
        };
        let mode = spod.mode();
        let is_static = mode == Some(WebhookMode::Static);
        if is_static {
            // What another SPOD might make of the webhook is not asked for.
            claimed.extend(static_webhook::keys());
        }
        let mut problem = None;
        if mode == Some(WebhookMode::Disabled) {
            // Nor are they made for another SPOD; but one that comes first decides.
            let off = static_webhook::configurations().into_iter();
            let off: Vec<_> = off.filter(|(_, key)| claimed.insert(key.clone())).collect();
            problem = self.remove(off).await;
        }
        let waits = self.around.trust.is_none() && Instant::now() < self.patience;
        if waits {
            self.due = self.due.min(self.patience);
        }
        let (mut wanted, mut due) = (BTreeSet::new(), Vec::new());
        for object in rendered {
            let Some(kind) = ApiKind::of(&object) else {
                problem.get_or_insert(format!(
                    "{} {} is no kind that is applied",
                    object["apiVersion"], object["kind"]
                ));
                continue;
            };
            let key = (kind.kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            wanted.insert(key.clone());
            if !claimed.insert(key.clone()) {
                continue;
            }
            // A webhook that the API server cannot trust would refuse everything. Services wait for nothing, and the
            // service CA for them.
            let untrusted = !kind.namespaced && self.around.trust.is_none();
            if untrusted || waits && *kind != SERVICES {
                continue;
            }
            match self.objects.step(&key, &object, Instant::now()) {
                Step::Keep => {}
                Step::Later(at) => self.due = self.due.min(at),
                Step::Apply => due.push((kind, key, object)),
            }
        }
        if let Some(failed) = self.apply(due).await {
            problem.get_or_insert(failed);
        }
        if problem.is_none() {
            self.prune(&uid, &wanted, is_static).await;
        }
        if is_static && let Some(failed) = self.trust_static().await {
            problem.get_or_insert(failed);
        }
        problem
    }

    /// Applies objects, all at once: none needs another to be there first. Returns what went wrong first.
    async fn apply(&mut self, due: Vec<(&'static ApiKind, Key, Value)>) -> Option<String> {
        let write = async |(kind, key, object): (&ApiKind, Key, Value)| {
            let api: Api<DynamicObject> = kind.api(&self.client, self.namespace());
            let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
            let written = within(api.patch(&key.1, &parameters, &Patch::Apply(&object))).await;
            (key, object, written)
        };
        let mut problem = None;
        for (key, object, written) in join_all(due.into_iter().map(write)).await {
            match written {
                Ok(written) => {
                    let (kind, name) = key.clone();
                    if kind == DAEMON_SETS.kind
                        && let Ok(set) = written.clone().try_parse()
                    {
                        self.rollouts.note(&set);
                    }
                    if self.objects.written(key, object, &written.metadata, Instant::now()) {
                        tracing::info!(kind, name, "applied");
                    }
                }
                Err(error) if key.0 == MONITORS.kind => {
                    // The definition may not be served yet, or not in this version: nothing else depends on it.
                    self.complain(format!("the ServiceMonitor cannot be applied: {error}"));
                    self.due = self.due.min(Instant::now() + RETRY);
                }
                Err(error) => {
                    problem.get_or_insert(format!("{} {} cannot be applied: {error}", key.0, key.1));
                }
            }
        }
        problem
    }

    /// Deletes what this SPOD owns and does not ask for any more.
    async fn prune(&mut self, uid: &str, wanted: &BTreeSet<Key>, is_static: bool) {
        // Where somebody else takes care of the webhook, its objects are theirs, whoever made them.
        let webhook = [names::WEBHOOK, names::WEBHOOK_SERVICE, names::CONVERSION_SERVICE];
        for key in self.objects.superfluous(uid, wanted) {
            if is_static && webhook.contains(&key.1.as_str()) {
                continue;
            }
            let Some(kind) = KINDS.into_iter().find(|kind| kind.kind == key.0) else { continue };
            let api: Api<DynamicObject> = kind.api(&self.client, self.namespace());
            match within(api.delete(&key.1, &DeleteParams::background())).await {
                Ok(_) => tracing::info!(kind = key.0, name = key.1, "deleted what is not asked for any more"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    self.complain(format!("{} {} cannot be deleted: {error}", key.0, key.1));
                    continue;
                }
            }
            self.objects.gone(&key);
        }
    }

    async fn report(&mut self, name: &str, problem: Option<String>) -> Result<(), kube::Error> {
        let Some(spod) = self.spods.get(name).filter(|spod| !spod.deleting) else { return Ok(()) };
        let before = spod.state();
        let problem = problem.or_else(|| overlap(name, &self.overlaps));
        let (mut state, mut message) = match (problem, self.rollouts.get(name)) {
            (Some(problem), _) => (DaemonState::Error, problem),
            (None, Some(rollout)) => rollout.state(before),
            (None, None) => (DaemonState::Creating, "the agents are being created".to_owned()),
        };
        let off = spod.mode() == Some(WebhookMode::Disabled);
        if self.around.trust.is_none() && !off && Instant::now() >= self.patience {
            (state, message) = without_admission(state, before, message, self.settings.certificates);
        }
        if let Ok(object) = &spod.object {
            let missing = (self.settings.renderer.unavailable)(object, &self.around);
            if !missing.is_empty() {
                message.push_str(&format!("; not part of this release: {}", missing.join(", ")));
            }
        }
        if off {
            message.push_str(&self.admission_is_off());
        }
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        let Some(wanted) = spod.wanted(state, message, &now) else { return Ok(()) };
        if spod.status["state"] == wanted["state"] && spod.generation == spod.observed() {
            let next = self.reported.get(name).map(|at| *at + PROGRESS);
            if let Some(next) = next.filter(|next| Instant::now() < *next) {
                self.due = self.due.min(next);
                return Ok(());
            }
        }
        self.reported.insert(name.to_owned(), Instant::now());
        let parameters =
            PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..Default::default() };
        let patch = Patch::Merge(json!({ "status": wanted }));
        match within(self.spod_api().patch_status(name, &parameters, &patch)).await {
            Ok(_) => {
                if let Some(spod) = self.spods.get_mut(name) {
                    spod.status = wanted;
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn spod_api(&self) -> Api<DynamicObject> {
        let resource = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
        resource.api(self.client.clone(), Scope::Namespaced, Some(&self.settings.namespace))
    }

    /// Says each thing once.
    fn complain(&mut self, text: String) {
        if self.complained.len() > 100 {
            self.complained.clear();
        }
        if self.complained.insert(text.clone()) {
            tracing::warn!("{text}");
        }
    }
}

/// The operator's Deployment as the owner of what is to go with it.
fn owner(own: &Deployment) -> Option<Value> {
    Some(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": own.metadata.name.as_ref()?,
        "uid": own.metadata.uid.as_ref()?, "blockOwnerDeletion": false,
    }))
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}
