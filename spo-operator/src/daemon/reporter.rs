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

/// The time between two writes of the one object of a node.
const PACE: Duration = Duration::from_millis(500);

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
    busy: BTreeSet<Name>,
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
            !self.busy.contains(*name) && later && kept
        };
        let name = self.queue.iter().find(due)?.clone();
        self.queue.remove(&name);
        self.busy.insert(name.clone());
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
        self.queue.iter().filter(|name| !self.busy.contains(*name)).filter_map(due).min()
    }

    /// Whether everything that is wanted is there, and nothing else.
    pub fn is_idle(&self) -> bool {
        self.listed && self.wanted.is_some() && self.queue.is_empty() && self.busy.is_empty()
    }

    /// Takes note of how a request ended: for an applied object with what the API server has now.
    pub fn done(&mut self, write: &Write, result: Result<Option<&Value>, ()>, now: Instant) {
        let name = write.name();
        self.busy.remove(name);
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
                    self.later.insert(name.clone(), Later { failures: 0, not_before: now + PACE });
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
