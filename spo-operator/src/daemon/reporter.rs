//! What this node has to tell the API server, and when: a state machine without clock or network.
//!
//! ```text
//! wanted ─┐
//!         ├─ differs ──► queue ──next──► write ──done──► known
//! known ──┘ (watch)
//! ```
//!
//! Nothing is written that is there already, one object is written by one request at a time, and what fails is tried
//! again later and later. So is what somebody else overwrites again and again. What nobody wants goes when all that is
//! wanted has been written: while one way of reporting replaces the other, nothing is left unsaid.

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

/// The pause behind a write of the one object of a node: this for each profile that it told something else of, so that one
/// profile waits for nothing and many are told together, ...
const EACH: Duration = Duration::from_millis(125);
/// ... at most so much, ...
const ALL: Duration = Duration::from_secs(1);
/// ... but at least so many times what the write took, so that the nodes of a large cluster do not take all of an API
/// server, ...
const PATIENCE: u32 = 10;
/// ... and never more than this.
const LONGEST: Duration = Duration::from_secs(30);

/// After so long without being overwritten, an object is nobody else's any more.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The first and the longest wait behind a failed write, and before the same is written a third time.
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
    wanted: Option<BTreeMap<Name, Wanted>>,
    known: BTreeMap<Name, Known>,
    /// A list that is not complete yet.
    list: Option<BTreeMap<Name, Known>>,
    listed: bool,
    /// What is wanted and not there.
    queue: BTreeSet<Name>,
    /// What is being written, and since when.
    busy: BTreeMap<Name, Instant>,
    later: BTreeMap<Name, Later>,
    /// What is there and not wanted, and since when.
    unwanted: BTreeMap<Name, Instant>,
    /// How many profiles the next write of the one object of a node tells something else of.
    changes: u32,
    /// When the node may tell as much as it likes again.
    free_at: Option<Instant>,
}

/// An object as it should be.
#[derive(Debug)]
struct Wanted {
    digest: u64,
    status: NodeStatus,
    /// Since it is wanted like this.
    written: Option<Written>,
}

/// How often the same was written, and when last.
#[derive(Clone, Copy, Debug)]
struct Written {
    times: u32,
    last: Instant,
}

impl Written {
    /// When the same may be written once more. The first time that somebody overwrites it is put right at once; whoever
    /// goes on may be another agent that does the same.
    fn again(&self) -> Instant {
        match self.times {
            0 | 1 => self.last,
            times => self.last + BACKOFF.0.saturating_mul(1 << (times - 1).min(10)).min(BACKOFF.1),
        }
    }
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
        let before = self.wanted.take().unwrap_or_default();
        let wanted = wanted.into_iter().map(|(name, status)| {
            let digest = status.digest();
            let was = before.get(&name);
            if mode == StatusMode::PerNode {
                let was = was.map(|was| &was.status);
                self.changes = self.changes.saturating_add(differences(was, &status));
            }
            let written = was.filter(|was| was.digest == digest).and_then(|was| was.written);
            (name, Wanted { digest, status, written })
        });
        self.wanted = Some(wanted.collect());
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
        let due = |name: &&Name| !self.busy.contains_key(*name) && self.due(name).is_none_or(|at| at <= now);
        let mut unwanted = self.unwanted.keys().filter(|_| self.is_told());
        let name = self.queue.iter().find(due).or_else(|| unwanted.find(due))?.clone();
        let write = match wanted.get(&name) {
            Some(wanted) => Write::Apply(Box::new(wanted.status.clone())),
            None => Write::Delete(name.clone()),
        };
        self.queue.remove(&name);
        self.busy.insert(name, now);
        Some(write)
    }

    /// Before when an object is left alone.
    fn due(&self, name: &Name) -> Option<Instant> {
        let wanted = self.wanted.as_ref().and_then(|all| all.get(name));
        let again = wanted.and_then(|wanted| wanted.written).map(|written| written.again());
        let gone = self.unwanted.get(name).map(|since| *since + GRACE);
        again.max(gone).max(self.later.get(name).map(|later| later.not_before))
    }

    /// Whether the API server is known to have all that is wanted.
    fn is_told(&self) -> bool {
        self.queue.is_empty() && !self.busy.keys().any(|name| !self.unwanted.contains_key(name))
    }

    /// When [`Self::next`] may have something that it has not now.
    pub fn wake(&self) -> Option<Instant> {
        if !self.listed || self.wanted.is_none() {
            return None;
        }
        let unwanted = self.unwanted.keys().filter(|_| self.is_told());
        let all = self.queue.iter().chain(unwanted).filter(|name| !self.busy.contains_key(*name));
        all.filter_map(|name| self.due(name)).min()
    }

    /// Whether everything that is wanted is there, and nothing else.
    pub fn is_idle(&self) -> bool {
        let nothing_left = self.queue.is_empty() && self.unwanted.is_empty() && self.busy.is_empty();
        self.listed && self.wanted.is_some() && nothing_left
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
            }
            (Write::Apply(status), Ok(Some(document))) => {
                self.later.remove(name);
                let digest = status.digest();
                self.written(name, digest, now);
                if self.mode == StatusMode::PerNode {
                    let pause = self.pause(took, now);
                    self.later.insert(name.clone(), Later { failures: 0, not_before: now + pause });
                }
                if let Some(known) = Known::of(document, Some(digest)) {
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

    fn written(&mut self, name: &Name, digest: u64, now: Instant) {
        let wanted = self.wanted.as_mut().and_then(|all| all.get_mut(name));
        let Some(wanted) = wanted.filter(|wanted| wanted.digest == digest) else { return };
        let before = wanted.written.filter(|written| now.saturating_duration_since(written.last) < FORGOTTEN);
        let times = before.map_or(0, |written| written.times).saturating_add(1);
        wanted.written = Some(Written { times, last: now });
    }

    /// How long the one object of a node is left alone after a write that took so long.
    fn pause(&mut self, took: Duration, now: Instant) -> Duration {
        let changes = std::mem::take(&mut self.changes);
        let free_at = self.free_at.map_or(now, |at| at.max(now)) + EACH.saturating_mul(changes).min(ALL);
        let free_at = free_at.min(now + ALL);
        self.free_at = Some(free_at);
        (free_at - now).max(took.saturating_mul(PATIENCE)).min(LONGEST)
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
        match wanted {
            Some(wanted) if known.is_none_or(|known| !known.says(wanted.digest)) => {
                self.queue.insert(name.clone());
                self.unwanted.remove(name);
            }
            Some(_) => {
                self.queue.remove(name);
                self.unwanted.remove(name);
                if self.mode == StatusMode::PerNode {
                    self.changes = 0;
                }
            }
            None => {
                self.queue.remove(name);
                if known.is_some() {
                    self.unwanted.entry(name.clone()).or_insert(now);
                } else {
                    self.unwanted.remove(name);
                    self.later.remove(name);
                }
            }
        }
    }
}

/// Of how many profiles an object tells something else than another one.
fn differences(before: Option<&NodeStatus>, after: &NodeStatus) -> u32 {
    let nothing = BTreeMap::new();
    let before = before.and_then(|status| status.status.profiles.as_ref()).unwrap_or(&nothing);
    let after = after.status.profiles.as_ref().unwrap_or(&nothing);
    let others = after.iter().filter(|(profile, report)| before.get(*profile) != Some(report)).count();
    let gone = before.keys().filter(|profile| !after.contains_key(*profile)).count();
    u32::try_from(others + gone).unwrap_or(u32::MAX)
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

        fn want_per_node(&mut self, profiles: &[&str]) {
            let standings: Vec<_> = profiles.iter().map(|name| standing(name, Installed, None)).collect();
            let reporting = Reporting {
                node: "n".to_owned(),
                scope: Scope::Namespaced,
                operator_namespace: "spo".parse().expect("a name"),
            };
            self.reporter.want(StatusMode::PerNode, per_node(&standings, &reporting), self.now);
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
                self.answer(&write);
            }
        }

        fn answer(&mut self, write: &Write) {
            match write {
                Write::Apply(status) => {
                    let object = self.store(status.document());
                    self.reporter.done(write, Ok(Some(&object)), self.now);
                    self.reporter.told(Event::Apply(object), self.now);
                }
                Write::Delete(name) => {
                    let object = self.objects.remove(name).expect("is there");
                    self.reporter.done(write, Ok(None), self.now);
                    self.reporter.told(Event::Delete(object), self.now);
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
        server.now += BACKOFF.1;
        server.serve();
        assert_eq!((server.writes, server.objects.len()), (3, 1));
    }

    /// As two agents of different settings on one node do to each other.
    #[test]
    fn what_is_overwritten_again_and_again_is_put_right_later_and_later() {
        let mut server = Server::new();
        server.want(&[("a", Installed)]);
        server.serve();
        let overwrite = |server: &mut Server| {
            let mut object = server.objects.values().next().expect("one").clone();
            object["status"]["status"] = json!("Error");
            let object = server.store(object);
            server.reporter.told(Event::Apply(object), server.now);
        };
        let mut waits = Vec::new();
        for _ in 0..12 {
            overwrite(&mut server);
            let wake = server.reporter.wake().unwrap_or(server.now).max(server.now);
            waits.push(wake - server.now);
            server.now = wake;
            let before = server.writes;
            server.serve();
            assert_eq!(server.writes, before + 1);
        }
        assert_eq!((waits[0], waits[1], waits[11]), (Duration::ZERO, 2 * BACKOFF.0, BACKOFF.1));
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        // What is news is told at once, whoever else writes.
        overwrite(&mut server);
        let before = server.writes;
        server.serve();
        assert_eq!(server.writes, before);
        server.want(&[("a", ProfileState::Terminating)]);
        server.serve();
        assert_eq!(server.writes, before + 1);
    }

    /// Otherwise nobody would say anything of a profile for as long as its object cannot be written.
    #[test]
    fn one_way_of_reporting_goes_when_the_other_is_complete() {
        let mut server = Server::new();
        server.want_per_node(&["a", "b"]);
        server.serve();
        server.want(&[("a", Installed), ("b", Installed)]);
        let first = server.reporter.next(server.now).expect("a write");
        let second = server.reporter.next(server.now).expect("a write");
        server.now += 10 * GRACE;
        assert_eq!(server.reporter.next(server.now), None, "both are under way");
        server.answer(&first);
        server.reporter.done(&second, Err(()), server.now);
        assert_eq!(server.reporter.next(server.now), None, "one is not written yet");
        server.now = server.reporter.wake().expect("later");
        server.serve();
        let kinds: Vec<_> = server.objects.values().map(|o| o["status"]["profiles"].is_null()).collect();
        assert_eq!(kinds, [true, true]);
        assert!(server.reporter.is_idle());
        // And back.
        server.want_per_node(&["a", "b"]);
        server.now += 10 * GRACE;
        server.serve();
        assert_eq!(server.objects.len(), 1);
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

    /// A person who applies one profile waits for it; nobody waits for one of many.
    #[test]
    fn one_profile_is_told_at_once_and_many_together() {
        let mut server = Server::new();
        let mut names: Vec<String> = (0..300).map(|i| format!("p{i:03}")).collect();
        let want = |server: &mut Server, names: &[String]| {
            server.want_per_node(&names.iter().map(String::as_str).collect::<Vec<_>>());
            server.serve();
        };
        // A roll-out of three seconds, with a round for each profile.
        for count in 1..=names.len() {
            want(&mut server, &names[..count]);
            server.now += Duration::from_millis(10);
        }
        server.now += ALL;
        server.serve();
        assert!(server.reporter.is_idle() && server.writes <= 7, "{} writes", server.writes);
        // One after the other.
        server.now += ALL;
        for i in 0..20 {
            let before = server.writes;
            names.push(format!("single-{i:02}"));
            want(&mut server, &names);
            assert_eq!((server.writes, server.reporter.is_idle()), (before + 1, true), "{i}");
            server.now += Duration::from_millis(150);
        }
        // A restart with many profiles, of which nothing has to be told, is no reason to wait.
        let mut after = Server::new();
        (after.objects, after.version) = (server.objects, 10_000);
        after.list();
        want(&mut after, &names);
        assert_eq!(after.writes, 0);
        names.pop();
        want(&mut after, &names);
        after.now += EACH;
        names.pop();
        want(&mut after, &names);
        assert_eq!(after.writes, 2);
    }

    #[test]
    fn an_api_server_that_is_busy_is_asked_less() {
        let mut server = Server::new();
        server.want_per_node(&["a"]);
        server.serve();
        for (took, pause) in [(1, EACH), (200, Duration::from_secs(2)), (60_000, LONGEST)] {
            server.now += LONGEST;
            server.want_per_node(&["a", &format!("after-{took}")]);
            let write = server.reporter.next(server.now).expect("a write");
            server.now += Duration::from_millis(took);
            server.answer(&write);
            server.want_per_node(&["a"]);
            assert_eq!(server.reporter.wake(), Some(server.now + pause), "{took}");
            server.now += LONGEST;
            server.serve();
        }
    }
}
