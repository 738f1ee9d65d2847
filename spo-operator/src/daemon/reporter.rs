//! What this node has to tell the API server, and when: a state machine without clock or network.
//!
//! ```text
//! wanted ─┐
//!         ├─ differs ──► queue ──next──► write ──done──► known
//! known ──┘ (watch)
//! ```
//!
//! Nothing is written that is there already, one object is written by one request at a time, and what fails is tried
//! again later and later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kube::runtime::watcher::Event;
use serde_json::Value;
use spo_model::{daemon::StatusMode, status::ProfileState};

use super::status::NodeStatus;
use crate::cluster::watch::{Name, identity};

/// How long an object that nobody wants may stay: the cluster's garbage collector usually is faster.
const GRACE: Duration = Duration::from_secs(2);

/// The shortest and the longest time between two writes of the one object of a node. Between them it is [`PATIENCE`]
/// times what the last one took, so that the nodes of a large cluster do not take all of an API server.
const PACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const PATIENCE: u32 = 10;

/// The first and the longest wait behind a failed write.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// One request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// This object, made or changed.
    Apply(Box<NodeStatus>),
    /// The object of this name goes.
    Delete(Name),
}

impl Write {
    /// The object's name.
    pub const fn name(&self) -> &Name {
        match self {
            Self::Apply(status) => &status.name,
            Self::Delete(name) => name,
        }
    }
}

/// What the reporter knows of an object on the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    digest: u64,
    /// The resource version; 0 if it is no number.
    version: u64,
    state: Option<ProfileState>,
    /// The digest of what we wanted when the API server answered with `digest`, which may differ: fields that its
    /// schema does not have. Writing the same again would go on for ever.
    answer_to: Option<u64>,
}

impl Known {
    fn of(document: &Value, answer_to: Option<u64>) -> Option<Self> {
        let status = NodeStatus::read(document)?;
        let version = document.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let version = version.and_then(|version| version.parse().ok()).unwrap_or(0);
        Some(Self { digest: status.digest(), version, state: status.status.status, answer_to })
    }

    fn says(&self, digest: u64) -> bool {
        self.digest == digest || self.answer_to == Some(digest)
    }
}

/// What to tell, what is told, and what is under way.
#[derive(Debug, Default)]
pub struct Reporter {
    mode: StatusMode,
    /// `None` before the first round: until then nothing is unwanted.
    wanted: Option<BTreeMap<Name, (u64, NodeStatus)>>,
    known: BTreeMap<Name, Known>,
    /// A list that is not complete yet.
    list: Option<BTreeMap<Name, Known>>,
    listed: bool,
    queue: BTreeSet<Name>,
    /// What is being written, and since when.
    busy: BTreeMap<Name, Instant>,
    later: BTreeMap<Name, Later>,
    unwanted: BTreeMap<Name, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Later {
    failures: u32,
    not_before: Instant,
}

impl Reporter {
    /// Takes note of what the node has to say now.
    pub fn want(&mut self, mode: StatusMode, wanted: BTreeMap<Name, NodeStatus>, now: Instant) {
        self.mode = mode;
        let wanted = wanted.into_iter().map(|(name, status)| (name, (status.digest(), status)));
        let before = self.wanted.replace(wanted.collect()).unwrap_or_default();
        let names: BTreeSet<Name> = before
            .into_keys()
            .chain(self.known.keys().cloned())
            .chain(self.wanted.iter().flat_map(BTreeMap::keys).cloned())
            .collect();
        for name in names {
            self.look(&name, now);
        }
    }

    /// Takes note of what the watch of this node's objects says.
    pub fn told(&mut self, event: Event<Value>, now: Instant) {
        match event {
            Event::Init => self.list = Some(BTreeMap::new()),
            Event::InitApply(document) => {
                if let (Some(list), Some(known)) = (&mut self.list, Known::of(&document, None)) {
                    list.insert(identity(&document), known);
                }
            }
            Event::InitDone => {
                let list = self.list.take().unwrap_or_default();
                let mut names: BTreeSet<Name> = list.keys().cloned().collect();
                let before = std::mem::replace(&mut self.known, list);
                for (name, before) in before {
                    // A list may be older than the answer to our own last write.
                    if let Some(known) = self.known.get_mut(&name).filter(|k| k.version <= before.version) {
                        *known = before;
                    }
                    names.insert(name);
                }
                names.extend(self.wanted.iter().flat_map(BTreeMap::keys).cloned());
                self.listed = true;
                for name in names {
                    self.look(&name, now);
                }
            }
            Event::Apply(document) => {
                let name = identity(&document);
                let Some(known) = Known::of(&document, None) else { return };
                let newer = |before: &Known| known.version == 0 || before.version < known.version;
                if self.known.get(&name).is_none_or(newer) {
                    self.known.insert(name.clone(), known);
                    self.look(&name, now);
                }
            }
            Event::Delete(document) => {
                let name = identity(&document);
                let version = Known::of(&document, None).map_or(0, |known| known.version);
                if self.known.get(&name).is_some_and(|before| before.version <= version || version == 0) {
                    self.known.remove(&name);
                    self.look(&name, now);
                }
            }
        }
    }

    /// The next request to make now, if there is one.
    pub fn next(&mut self, now: Instant) -> Option<Write> {
        if !self.listed {
            return None;
        }
        let wanted = self.wanted.as_ref()?;
        let due = |name: &&Name| {
            let later = self.later.get(*name).is_none_or(|later| later.not_before <= now);
            let kept = self.unwanted.get(*name).is_none_or(|since| now >= *since + GRACE);
            !self.busy.contains_key(*name) && later && kept
        };
        let name = self.queue.iter().find(due)?.clone();
        self.queue.remove(&name);
        self.busy.insert(name.clone(), now);
        Some(match wanted.get(&name) {
            Some((_, status)) => Write::Apply(Box::new(status.clone())),
            None => Write::Delete(name),
        })
    }

    /// When [`Self::next`] may have something that it has not now.
    pub fn wake(&self) -> Option<Instant> {
        if !self.listed || self.wanted.is_none() {
            return None;
        }
        let due = |name: &Name| {
            let later = self.later.get(name).map(|later| later.not_before);
            later.max(self.unwanted.get(name).map(|since| *since + GRACE))
        };
        self.queue.iter().filter(|name| !self.busy.contains_key(*name)).filter_map(due).min()
    }

    /// Whether everything that is wanted is there, and nothing else.
    pub fn is_idle(&self) -> bool {
        self.listed && self.wanted.is_some() && self.queue.is_empty() && self.busy.is_empty()
    }

    /// Takes note of how a request ended: for an applied object with what the API server has now.
    pub fn done(&mut self, write: &Write, result: Result<Option<&Value>, ()>, now: Instant) {
        let name = write.name();
        let took =
            self.busy.remove(name).map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        match (write, result) {
            (_, Err(())) => {
                let failures = self.later.get(name).map_or(0, |later| later.failures).saturating_add(1);
                let wait = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1) / 2;
                self.later.insert(name.clone(), Later { failures, not_before: now + wait });
                self.queue.insert(name.clone());
                return;
            }
            (Write::Apply(status), Ok(Some(document))) => {
                self.later.remove(name);
                if self.mode == StatusMode::PerNode {
                    let pause = took.saturating_mul(PATIENCE).clamp(PACE.0, PACE.1);
                    self.later.insert(name.clone(), Later { failures: 0, not_before: now + pause });
                }
                if let Some(known) = Known::of(document, Some(status.digest())) {
                    let newer = self.known.get(name).is_none_or(|before| before.version <= known.version);
                    if newer {
                        self.known.insert(name.clone(), known);
                    }
                }
            }
            (..) => {
                self.later.remove(name);
                self.known.remove(name);
            }
        }
        self.look(&name.clone(), now);
    }

    /// What the API server says about the state of an object.
    pub fn known_state(&self, name: &Name) -> Option<ProfileState> {
        self.known.get(name)?.state
    }

    /// Whether the API server has all of these as they are.
    pub fn has(&self, objects: &BTreeMap<Name, NodeStatus>) -> bool {
        objects.iter().all(|(name, object)| self.known.get(name).is_some_and(|k| k.says(object.digest())))
    }

    /// Whether the first list of what the API server has is complete.
    pub const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Puts an object on the queue if it is not as it should be.
    fn look(&mut self, name: &Name, now: Instant) {
        let Some(all) = &self.wanted else { return };
        let (wanted, known) = (all.get(name), self.known.get(name));
        let differs = match (wanted, known) {
            (Some((digest, _)), Some(known)) => !known.says(*digest),
            (None, None) => false,
            _ => true,
        };
        match wanted {
            None if differs => {
                self.unwanted.entry(name.clone()).or_insert(now);
            }
            _ => {
                self.unwanted.remove(name);
            }
        }
        if differs {
            self.queue.insert(name.clone());
        } else {
            self.queue.remove(name);
            if wanted.is_none() {
                self.later.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spo_model::kind::Scope;

    use super::*;
    use crate::daemon::{
        fixture::standing,
        status::{Reporting, per_node, per_profile},
    };

    /// An API server of a few objects, and what it was asked to do.
    struct Server {
        reporter: Reporter,
        objects: BTreeMap<Name, Value>,
        version: u64,
        now: Instant,
        writes: usize,
    }

    impl Server {
        fn new() -> Self {
            let (objects, now) = (BTreeMap::new(), Instant::now());
            let mut this = Self { reporter: Reporter::default(), objects, version: 100, now, writes: 0 };
            this.list();
            this
        }

        fn list(&mut self) {
            self.reporter.told(Event::Init, self.now);
            for object in self.objects.values() {
                self.reporter.told(Event::InitApply(object.clone()), self.now);
            }
            self.reporter.told(Event::InitDone, self.now);
        }

        fn want(&mut self, profiles: &[(&str, ProfileState)]) {
            let standings: Vec<_> =
                profiles.iter().map(|(name, state)| standing(name, *state, None)).collect();
            let reporting = Reporting {
                node: "n".to_owned(),
                scope: Scope::Namespaced,
                operator_namespace: "spo".parse().expect("a name"),
            };
            let wanted = per_profile(&standings, &reporting);
            self.reporter.want(StatusMode::PerProfile, wanted, self.now);
        }

        /// Stores an object under a new version.
        fn store(&mut self, mut object: Value) -> Value {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(identity(&object), object.clone());
            object
        }

        /// Does everything that is due now.
        fn serve(&mut self) {
            while let Some(write) = self.reporter.next(self.now) {
                self.writes += 1;
                assert!(self.writes < 1000, "it goes on for ever");
                match &write {
                    Write::Apply(status) => {
                        let object = self.store(status.document());
                        self.reporter.done(&write, Ok(Some(&object)), self.now);
                        self.reporter.told(Event::Apply(object), self.now);
                    }
                    Write::Delete(name) => {
                        let object = self.objects.remove(name).expect("is there");
                        self.reporter.done(&write, Ok(None), self.now);
                        self.reporter.told(Event::Delete(object), self.now);
                    }
                }
            }
        }
    }

    use ProfileState::{Error, Installed};

    #[test]
    fn one_write_for_each_transition_and_none_without() {
        let mut server = Server::new();
        server.want(&[("a", Installed), ("b", Installed)]);
        server.serve();
        assert_eq!(server.writes, 2);
        server.want(&[("a", Installed), ("b", Installed)]);
        server.list();
        server.serve();
        assert_eq!((server.writes, server.reporter.is_idle()), (2, true));
        server.want(&[("a", Installed), ("b", Error)]);
        server.serve();
        assert_eq!(server.writes, 3);
    }

    #[test]
    fn a_restart_writes_nothing_but_corrects_what_is_wrong() {
        let mut before = Server::new();
        before.want(&[("a", Installed), ("b", Installed)]);
        before.serve();
        let mut after = Server::new();
        after.objects = before.objects;
        after.version = 500;
        after.list();
        assert_eq!(after.reporter.next(after.now), None, "before the first round nothing is unwanted");
        after.want(&[("a", Installed), ("b", Error)]);
        after.serve();
        assert_eq!(after.writes, 1);
    }

    #[test]
    fn nothing_is_written_before_it_is_known_what_is_there() {
        let mut reporter = Reporter::default();
        let now = Instant::now();
        reporter.want(StatusMode::PerProfile, BTreeMap::new(), now);
        assert_eq!((reporter.next(now), reporter.wake()), (None, None));
        reporter.told(Event::Init, now);
        assert!(!reporter.is_listed());
    }

    #[test]
    fn what_nobody_wants_goes_after_a_while() {
        let mut server = Server::new();
        server.want(&[("a", Installed)]);
        server.serve();
        server.want(&[]);
        assert_eq!(server.reporter.next(server.now), None, "the garbage collector may do it");
        assert_eq!(server.reporter.wake(), Some(server.now + GRACE));
        server.now += GRACE;
        server.serve();
        assert!(server.objects.is_empty() && server.reporter.is_idle());
        // Collected by somebody else meanwhile: nothing to do.
        server.want(&[("b", Installed)]);
        server.serve();
        server.want(&[]);
        let object = server.objects.pop_first().expect("one").1;
        server.reporter.told(Event::Delete(object), server.now);
        server.now += GRACE;
        assert_eq!(server.reporter.next(server.now), None);
    }

    #[test]
    fn what_somebody_else_changes_or_removes_is_put_right() {
        let mut server = Server::new();
        server.want(&[("a", Installed)]);
        server.serve();
        let mut object = server.objects.values().next().expect("one").clone();
        object["status"]["status"] = json!("Error");
        let object = server.store(object);
        server.reporter.told(Event::Apply(object.clone()), server.now);
        server.serve();
        assert_eq!(server.writes, 2);
        let object = server.store(object);
        server.objects.clear();
        server.reporter.told(Event::Delete(object), server.now);
        server.serve();
        assert_eq!((server.writes, server.objects.len()), (3, 1));
    }

    /// An event that is older than the answer to the last write would cause another one.
    #[test]
    fn old_news_is_no_news() {
        let mut server = Server::new();
        server.want(&[("a", Error)]);
        server.serve();
        let old = server.objects.values().next().expect("one").clone();
        server.want(&[("a", Installed)]);
        server.serve();
        server.reporter.told(Event::Apply(old.clone()), server.now);
        server.reporter.told(Event::Delete(old), server.now);
        server.serve();
        assert_eq!(server.writes, 2);
    }

    /// A CustomResourceDefinition of another release drops fields; that must not become a loop.
    #[test]
    fn an_api_server_that_keeps_less_is_asked_once() {
        let mut server = Server::new();
        server.want(&[("a", Installed)]);
        let write = server.reporter.next(server.now).expect("a write");
        let Write::Apply(status) = &write else { panic!("{write:?}") };
        let mut document = status.document();
        document["status"].as_object_mut().expect("an object").remove("observedGeneration");
        let object = server.store(document);
        server.reporter.done(&write, Ok(Some(&object)), server.now);
        server.reporter.told(Event::Apply(object), server.now);
        assert_eq!(server.reporter.next(server.now), None);
        server.want(&[("a", Error)]);
        assert!(server.reporter.next(server.now).is_some(), "another state is news");
    }

    #[test]
    fn what_fails_is_tried_again_later_and_later() {
        let mut server = Server::new();
        server.want(&[("a", Installed)]);
        let mut waits = Vec::new();
        for _ in 0..20 {
            let write = server.reporter.next(server.now).expect("a write");
            assert_eq!(server.reporter.next(server.now), None, "one request at a time");
            server.reporter.done(&write, Err(()), server.now);
            assert_eq!(server.reporter.next(server.now), None, "not at once");
            let wake = server.reporter.wake().expect("later");
            waits.push(wake - server.now);
            server.now = wake;
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert!(waits[19] <= BACKOFF.1 && waits[0] <= Duration::from_secs(1), "{waits:?}");
        server.serve();
        assert_eq!(server.objects.len(), 1);
    }

    #[test]
    fn the_object_of_a_node_is_not_written_all_the_time() {
        let mut server = Server::new();
        let standings = [standing("a", Installed, None)];
        let reporting = Reporting {
            node: "n".to_owned(),
            scope: Scope::Namespaced,
            operator_namespace: "spo".parse().expect("a name"),
        };
        let now = server.now;
        let want = |server: &mut Server, standings: &[_]| {
            let wanted = per_node(standings, &reporting);
            server.reporter.want(StatusMode::PerNode, wanted, server.now);
            server.serve();
        };
        want(&mut server, &standings);
        assert_eq!(server.writes, 1);
        for count in 2..40 {
            let more: Vec<_> = (0..count).map(|i| standing(&format!("p{i}"), Installed, None)).collect();
            want(&mut server, &more);
            server.now += Duration::from_millis(50);
        }
        server.now += PACE.0;
        server.serve();
        let longest = server.now - now;
        let most = usize::try_from(longest.as_millis() / PACE.0.as_millis()).expect("few") + 2;
        assert!(server.writes <= most && server.reporter.is_idle(), "{} writes", server.writes);
        // An API server that is busy is asked less.
        for (took, pause) in [(200, Duration::from_secs(2)), (60_000, PACE.1)] {
            let wanted = per_node(&[standing(&format!("after-{took}"), Installed, None)], &reporting);
            server.reporter.want(StatusMode::PerNode, wanted, server.now);
            server.now += PACE.1;
            let write = server.reporter.next(server.now).expect("a write");
            let Write::Apply(status) = &write else { panic!("{write:?}") };
            let object = server.store(status.document());
            server.now += Duration::from_millis(took);
            server.reporter.done(&write, Ok(Some(&object)), server.now);
            server.reporter.want(StatusMode::PerNode, per_node(&standings, &reporting), server.now);
            assert_eq!(server.reporter.wake(), Some(server.now + pause));
        }
    }
}
