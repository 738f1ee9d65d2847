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
const ALL: Duration = Duration::from_millis(1500);
/// ... but at least so many times what the write took longer than an API server takes that has little to do, so that the
/// nodes of a large cluster do not take all of it, ...
const PATIENCE: u32 = 10;
const UNHURRIED: Duration = Duration::from_millis(50);
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
        // Nothing that was looked at before needs another look, unless it is wanted otherwise.
        let again = self.mode == mode && self.wanted.is_some();
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
        let all = self.wanted.iter().flatten();
        let other =
            all.filter(|(name, new)| before.get(*name).is_none_or(|old| !again || old.digest != new.digest));
        let mut names: BTreeSet<Name> = other.map(|(name, _)| name.clone()).collect();
        let is_wanted = |name: &Name| self.wanted.as_ref().is_some_and(|wanted| wanted.contains_key(name));
        names.extend(before.into_keys().filter(|name| !is_wanted(name)));
        if !again {
            names.extend(self.known.keys().cloned());
        }
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
        (free_at - now).max(took.saturating_sub(UNHURRIED).saturating_mul(PATIENCE)).min(LONGEST)
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
mod tests;
