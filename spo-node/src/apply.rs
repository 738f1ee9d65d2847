//! Doing what was planned, one small step after the other.
//!
//! ```text
//! ledger (pending) → stage every file → sync → files that no module takes: rename, remove, sync directories
//!                  → load, unload → the other files: rename, remove, sync directories → ledger
//! ```
//!
//! A kill at any point leaves every path with the old or the new bytes, and the ledger saying that it is ours. What
//! a security module refuses is never renamed into place, so the artefact before it stays. A module that watches the
//! files itself is asked behind the renames instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use spo_model::Diagnostic;

use crate::{
    artefact::{Artefact, BadPath, HostPath},
    content::Sha256,
    host::{Host, Replace, Staged, Stamp},
    kernel::{Change, Kernel, Load, Lsm, Order, Refusal, Unload},
    ledger::{Changed, Entry, LEDGER, Ledger, Loaded},
    observe::Observed,
    plan::{Conflict, Decision, Plan, Removal},
};

/// What became of the desired artefacts.
#[derive(Debug, Default)]
pub struct Report {
    /// One outcome per desired artefact, in their order.
    pub outcomes: Vec<Outcome>,
    /// Artefacts that were removed.
    pub removed: Vec<HostPath>,
    /// Artefacts that should have been removed and could not be, with the reason.
    pub stuck: Vec<(HostPath, String)>,
    /// The artefacts, by index, that a security module refused now.
    pub refused: Vec<(usize, Refusal)>,
}

impl Report {
    /// What went wrong, in the order of the artefacts.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let failed =
            self.outcomes.iter().filter(|o| o.state == State::Failed).filter_map(|o| o.problem.as_deref());
        failed.chain(self.stuck.iter().map(|(_, reason)| reason.as_str()))
    }

    /// Whether anything on the host was changed.
    pub fn changed(&self) -> bool {
        let changed = |o: &Outcome| matches!(o.state, State::Written | State::Loaded);
        !self.removed.is_empty() || self.outcomes.iter().any(changed)
    }
}

/// What became of one artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it is or should be.
    pub path: HostPath,
    /// Whether it is there.
    pub state: State,
    /// Why not, if it is not.
    pub problem: Option<String>,
    /// What the security module's compiler said, with places in the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether an artefact is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was there already.
    Unchanged,
    /// It was written, and loaded if the host loads its kind.
    Written,
    /// Its file was there already, and the security module has it now.
    Loaded,
    /// The host has nothing that would read it.
    Unsupported,
    /// It is not there; what was there before, if it was ours, still is.
    Failed,
}

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The ledger cannot be read.
    #[error("cannot read the ledger /{LEDGER}: {0}")]
    ReadLedger(#[source] io::Error),
    /// The ledger is damaged or of another release.
    #[error("cannot understand the ledger /{LEDGER}: {0}; nothing is touched, since what is ours is unknown")]
    ParseLedger(#[source] serde_json::Error),
    /// The ledger cannot be written.
    #[error("cannot write the ledger /{LEDGER}: {0}")]
    WriteLedger(#[source] io::Error),
    /// Another process is at work, or that cannot be told.
    #[error("cannot change this host now: {0}")]
    Lock(#[source] io::Error),
    /// A path of our own is none.
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// From how many files on one sync of the whole file system is cheaper than one per file.
const BATCH: usize = 16;

/// Does what was planned.
///
/// Afterwards the ledger that was observed is the one that is there.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be written. If that happens before anything else, nothing was changed; if
/// it happens at the end, the artefacts are in place and the next run finds the ledger's pending entries.
pub fn apply(
    host: &dyn Host,
    kernel: &dyn Kernel,
    desired: &[Artefact],
    observed: &mut Observed,
    plan: Plan,
) -> Result<Report, ApplyError> {
    let mut report =
        Report { outcomes: outcomes(desired, &plan), stuck: plan.stuck.clone(), ..Report::default() };
    if plan.is_empty() {
        return Ok(report);
    }
    let ledger = std::mem::take(&mut observed.ledger);
    observed.ledger_stamp = None;
    let mut pending = BTreeMap::new();
    for (artefact, decision) in desired.iter().zip(&plan.decisions) {
        if let Decision::Write { sha256, before } = decision {
            pending.insert(artefact.path.clone(), entry(artefact, *sha256, *before));
        }
    }
    for removal in &plan.removals {
        // If we are killed behind the removal, a file that somebody else puts here must not count as ours.
        if let Some(entry) = ledger.entries.get(&removal.path) {
            pending.insert(removal.path.clone(), Entry { pending: true, ..entry.clone() });
        }
    }
    write_ledger(host, &ledger.with(&pending))?;

    let staged = stage(host, desired, &plan, &mut report.outcomes);
    let staged = sync(host, staged, &mut report.outcomes);
    let mut work = Work {
        host,
        kernel,
        desired,
        observed,
        plan: &plan,
        pending: &pending,
        ledger,
        report,
        stuck: BTreeMap::new(),
        directories: BTreeSet::new(),
        written: BTreeSet::new(),
    };
    for (path, reason) in work.forget() {
        work.report.stuck.push((path, reason));
    }

    // What no module takes is in place before any is asked: one policy that takes minutes delays nobody's filter.
    let is_file = |index: usize| observed.survey.module(desired[index].kind).order().is_none();
    let (files, mut others): (Vec<_>, Vec<_>) = staged.into_iter().partition(|(index, _)| is_file(*index));
    work.commit(files, &BTreeMap::new());
    work.remove(|removal| removal.loaded.is_none());
    work.sync_directories();

    let ready: BTreeSet<usize> = others.iter().map(|(index, _)| *index).collect();
    let mut loaded = work.change(Order::BeforeFile, &ready);
    others.retain(|(index, file)| {
        let keep = loaded.get(index) != Some(&false);
        if !keep {
            let _ = host.discard(file);
        }
        keep
    });
    work.commit(others, &loaded);
    work.remove(|removal| removal.loaded.is_some());
    work.sync_directories();
    let written = std::mem::take(&mut work.written);
    loaded.extend(work.change(Order::AfterFile, &written));
    for (index, _) in loaded.into_iter().filter(|(_, good)| *good) {
        work.note(index);
    }
    let (report, ledger, stamp) = work.finish()?;
    (observed.ledger, observed.ledger_stamp) = (ledger, Some(stamp));
    Ok(report)
}

/// A plan on its way: what has been done of it so far.
struct Work<'a> {
    host: &'a dyn Host,
    kernel: &'a dyn Kernel,
    desired: &'a [Artefact],
    observed: &'a Observed,
    plan: &'a Plan,
    /// The entries of the ledger that were written as pending before anything changed.
    pending: &'a BTreeMap<HostPath, Entry>,
    /// The ledger as it will be.
    ledger: Ledger,
    report: Report,
    stuck: BTreeMap<HostPath, String>,
    /// Those whose names have changed and are not durable yet.
    directories: BTreeSet<String>,
    written: BTreeSet<usize>,
}

impl Work<'_> {
    /// Puts staged files into place. Those that are `loaded` belong to us even if that fails.
    fn commit(&mut self, staged: Vec<(usize, Staged)>, loaded: &BTreeMap<usize, bool>) {
        for (index, file) in staged {
            let Decision::Write { sha256, before } = &self.plan.decisions[index] else { continue };
            let replace = if before.is_some() { Replace::Yes } else { Replace::No };
            match self.host.commit(&file, replace) {
                Ok(stamp) => {
                    let mut entry = entry(&self.desired[index], *sha256, None);
                    (entry.pending, entry.stamp) = (false, Some(stamp));
                    self.ledger.entries.insert(file.path.clone(), entry);
                    self.directories.insert(file.path.split().0.to_owned());
                    self.written.insert(index);
                    let outcome = &mut self.report.outcomes[index];
                    (outcome.state, outcome.problem) = (State::Written, None);
                }
                Err(error) => {
                    let _ = self.host.discard(&file);
                    // What is loaded already must be known to be ours.
                    if loaded.contains_key(&index)
                        && let Some(entry) = self.pending.get(&file.path)
                    {
                        self.ledger.entries.insert(file.path.clone(), entry.clone());
                    }
                    fail(&mut self.report.outcomes[index], &error);
                }
            }
        }
    }

    fn remove(&mut self, which: impl Fn(&Removal) -> bool) {
        for removal in self.plan.removals.iter().filter(|removal| which(removal)) {
            if self.stuck.contains_key(&removal.path) {
                continue;
            }
            let done = if removal.file { self.host.remove(&removal.path) } else { Ok(()) };
            match done {
                Ok(()) => {
                    self.directories.insert(removal.path.split().0.to_owned());
                }
                Err(error) => {
                    self.stuck.insert(removal.path.clone(), error.to_string());
                }
            }
        }
    }

    /// The names are there, or gone; where they may not survive a power cut, that is said, and the entries stay.
    fn sync_directories(&mut self) {
        for directory in std::mem::take(&mut self.directories) {
            let Err(error) = self.host.sync_dir(&directory) else { continue };
            let touched = |path: &HostPath| path.split().0 == directory;
            for outcome in &mut self.report.outcomes {
                if outcome.state == State::Written && touched(&outcome.path) {
                    if let Some(entry) = self.ledger.entries.get_mut(&outcome.path) {
                        entry.stamp = None;
                    }
                    fail(outcome, &error);
                }
            }
            for removal in self.plan.removals.iter().filter(|removal| touched(&removal.path)) {
                let reason = || format!("it may come back after a power cut: {error}");
                self.stuck.entry(removal.path.clone()).or_insert_with(reason);
            }
        }
    }

    /// Entries whose artefact is nowhere leave the ledger, those of an interrupted removal once it is durable. Gives
    /// back those that cannot.
    fn forget(&mut self) -> Vec<(HostPath, String)> {
        let mut stuck = Vec::new();
        for path in &self.plan.forgotten {
            let interrupted = self.observed_entry_is_pending(path);
            match if interrupted { self.host.sync_dir(path.split().0) } else { Ok(()) } {
                Ok(()) => {
                    self.ledger.entries.remove(path);
                }
                Err(error) => stuck.push((path.clone(), error.to_string())),
            }
        }
        stuck
    }

    fn observed_entry_is_pending(&self, path: &HostPath) -> bool {
        self.ledger.entries.get(path).is_some_and(|entry| entry.pending)
    }

    fn finish(mut self) -> Result<(Report, Ledger, Stamp), ApplyError> {
        for removal in &self.plan.removals {
            match self.stuck.remove(&removal.path) {
                Some(reason) => {
                    // The file may be gone already, and must not count as ours if somebody else puts one there.
                    if let Some(entry) = self.ledger.entries.get_mut(&removal.path) {
                        entry.pending = true;
                    }
                    self.report.stuck.push((removal.path.clone(), reason));
                }
                None => {
                    self.ledger.entries.remove(&removal.path);
                    self.report.removed.push(removal.path.clone());
                }
            }
        }
        let stamp = write_ledger(self.host, &self.ledger.with(&BTreeMap::new()))?;
        Ok((self.report, self.ledger, stamp))
    }

    /// Loads and unloads what the modules of one order take now: of what is written, what is `ready`. Gives back
    /// whether each load went well, by the index of its artefact.
    fn change(&mut self, order: Order, ready: &BTreeSet<usize>) -> BTreeMap<usize, bool> {
        let survey = &self.observed.survey;
        let mut change = Change::default();
        let mut indices = Vec::new();
        for (index, (artefact, decision)) in self.desired.iter().zip(&self.plan.decisions).enumerate() {
            let due = match decision {
                Decision::Write { .. } => ready.contains(&index),
                Decision::Load { .. } => true,
                _ => false,
            };
            if due
                && survey.module(artefact.kind).order() == Some(order)
                && let (Some(lsm), Some(name)) = (Lsm::of(artefact.kind), artefact.loaded_name())
            {
                indices.push(index);
                let origin = artefact.origin.as_ref();
                change.loads.push(Load { lsm, name, bytes: &artefact.bytes, origin });
            }
        }
        let of_order = |lsm: Lsm| survey.lsm(lsm).order() == Some(order);
        let going: Vec<&Removal> = self
            .plan
            .removals
            .iter()
            .filter(|r| !self.stuck.contains_key(&r.path))
            .filter(|r| r.loaded.as_ref().is_some_and(|(lsm, _)| of_order(*lsm)))
            .collect();
        change.unloads = going
            .iter()
            .filter_map(|r| r.loaded.as_ref().map(|(lsm, name)| Unload { lsm: *lsm, name }))
            .collect();
        if change.loads.is_empty() && change.unloads.is_empty() {
            return BTreeMap::new();
        }
        let done = self.kernel.change(&change);
        for (removal, result) in going.into_iter().zip(done.unloads) {
            if let Err(refusal) = result {
                self.stuck.insert(removal.path.clone(), refusal.message);
            }
        }
        let report = &mut self.report;
        let results = indices.into_iter().zip(done.loads).map(|(index, result)| match result {
            Ok(()) => (index, true),
            Err(refusal) => {
                refuse(&mut report.outcomes[index], &refusal);
                report.refused.push((index, refusal));
                (index, false)
            }
        });
        results.collect()
    }

    /// Notes that the artefact of an index is loaded, if its file is there as well.
    fn note(&mut self, index: usize) {
        let artefact = &self.desired[index];
        let outcome = &mut self.report.outcomes[index];
        let sha256 = match &self.plan.decisions[index] {
            Decision::Load { sha256 } => {
                (outcome.state, outcome.problem) = (State::Loaded, None);
                *sha256
            }
            Decision::Write { sha256, .. } if outcome.state == State::Written => *sha256,
            _ => return,
        };
        if let Some(entry) = self.ledger.entries.get_mut(&artefact.path) {
            let basis = self.observed.survey.module(artefact.kind).basis().to_owned();
            entry.loaded = Some(Loaded { sha256, basis });
        }
    }
}

fn outcomes(desired: &[Artefact], plan: &Plan) -> Vec<Outcome> {
    desired
        .iter()
        .zip(&plan.decisions)
        .map(|(artefact, decision)| {
            let (state, problem) = match decision {
                Decision::Keep { .. } => (State::Unchanged, None),
                Decision::Write { .. } => (State::Failed, Some("not written".to_owned())),
                Decision::Load { .. } => (State::Failed, Some("not loaded".to_owned())),
                Decision::Refuse(conflict) => (State::Failed, Some(conflict.to_string())),
                Decision::Unsupported(reason) => (State::Unsupported, Some(reason.clone())),
            };
            let mut outcome =
                Outcome { path: artefact.path.clone(), state, problem, diagnostics: Vec::new() };
            if let Decision::Refuse(Conflict::Refused(refusal)) = decision {
                refuse(&mut outcome, refusal);
            }
            outcome
        })
        .collect()
}

fn stage(
    host: &dyn Host,
    desired: &[Artefact],
    plan: &Plan,
    outcomes: &mut [Outcome],
) -> Vec<(usize, Staged)> {
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    let mut staged = Vec::new();
    for (index, (artefact, decision)) in desired.iter().zip(&plan.decisions).enumerate() {
        if !matches!(decision, Decision::Write { .. }) {
            continue;
        }
        let (directory, _) = artefact.path.split();
        let made = if ready.contains(directory) { Ok(()) } else { host.make_dir(directory) };
        match made.and_then(|()| host.stage(&artefact.path, &artefact.bytes, artefact.mode)) {
            Ok(file) => {
                ready.insert(directory);
                staged.push((index, file));
            }
            Err(error) => fail(&mut outcomes[index], &error),
        }
    }
    staged
}

/// Makes the staged files durable and gives back those that are.
fn sync(host: &dyn Host, staged: Vec<(usize, Staged)>, outcomes: &mut [Outcome]) -> Vec<(usize, Staged)> {
    let mut one_by_one = staged.len() < BATCH;
    if !one_by_one {
        let directories: BTreeSet<&str> = staged.iter().map(|(_, file)| file.path.split().0).collect();
        one_by_one = directories.into_iter().any(|directory| host.sync_all(directory).is_err());
    }
    if !one_by_one {
        return staged;
    }
    let mut durable = Vec::with_capacity(staged.len());
    for (index, file) in staged {
        match host.sync(&file) {
            Ok(()) => durable.push((index, file)),
            Err(error) => {
                let _ = host.discard(&file);
                fail(&mut outcomes[index], &error);
            }
        }
    }
    durable
}

fn refuse(outcome: &mut Outcome, refusal: &Refusal) {
    (outcome.state, outcome.problem) = (State::Failed, Some(refusal.message.clone()));
    outcome.diagnostics.clone_from(&refusal.diagnostics);
}

fn fail(outcome: &mut Outcome, error: &io::Error) {
    outcome.state = State::Failed;
    outcome.problem = Some(error.to_string());
}

fn entry(artefact: &Artefact, sha256: Sha256, before: Option<Sha256>) -> Entry {
    Entry {
        kind: artefact.kind,
        key: artefact.key.clone(),
        kernel_name: artefact.kernel_name.clone(),
        source: artefact.source.clone(),
        sha256,
        pending: true,
        before,
        stamp: None,
        loaded: None,
    }
}

fn write_ledger(host: &dyn Host, ledger: &Changed<'_>) -> Result<Stamp, ApplyError> {
    let path: HostPath = LEDGER.parse()?;
    let bytes = serde_json::to_vec(ledger).map_err(ApplyError::ParseLedger)?;
    let (directory, _) = path.split();
    host.make_dir(directory)
        .and_then(|()| host.stage(&path, &bytes, 0o600))
        .and_then(|staged| {
            host.sync(&staged).and_then(|()| host.commit(&staged, Replace::Yes)).inspect_err(|_| {
                let _ = host.discard(&staged);
            })
        })
        .and_then(|stamp| host.sync_dir(directory).map(|()| stamp))
        .map_err(ApplyError::WriteLedger)
}
