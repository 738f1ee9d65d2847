//! Doing what was planned, one small step after the other.
//!
//! ```text
//! ledger (pending) → stage every file → sync → rename each → sync directories → remove → ledger
//! ```
//!
//! A kill at any point leaves every path with the old or the new bytes, and the ledger saying that it is ours.

use std::{collections::BTreeSet, io};

use crate::{
    artefact::{Artefact, BadPath, HostPath},
    host::{Host, Replace, Staged},
    ledger::{Entry, LEDGER, Ledger},
    observe::Observed,
    plan::{Decision, Plan},
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
}

impl Report {
    /// What went wrong, in the order of the artefacts.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let failed = self.outcomes.iter().filter_map(|o| o.problem.as_deref());
        failed.chain(self.stuck.iter().map(|(_, reason)| reason.as_str()))
    }

    /// Whether anything on the host was changed.
    pub fn changed(&self) -> bool {
        !self.removed.is_empty() || self.outcomes.iter().any(|o| o.state == State::Written)
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
}

/// Whether an artefact is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was there already.
    Unchanged,
    /// It was written.
    Written,
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
    /// A path of our own is none.
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// From how many files on one sync of the whole file system is cheaper than one per file.
const BATCH: usize = 16;

/// Does what was planned.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be written. If that happens before anything else, nothing was changed; if
/// it happens at the end, the artefacts are in place and the next run finds the ledger's pending entries.
pub fn apply(
    host: &dyn Host,
    desired: &[Artefact],
    observed: Observed,
    plan: Plan,
) -> Result<Report, ApplyError> {
    let mut ledger = observed.ledger;
    if plan.is_empty() {
        return Ok(Report { outcomes: outcomes(desired, &plan), ..Report::default() });
    }
    for path in &plan.forgotten {
        ledger.entries.remove(path);
    }
    let mut pending = ledger.clone();
    for (artefact, decision) in desired.iter().zip(&plan.decisions) {
        if let Decision::Write { sha256, before } = decision {
            pending.entries.insert(artefact.path.clone(), entry(artefact, sha256, before.clone()));
        }
    }
    for path in &plan.removals {
        // If we are killed behind the removal, a file that somebody else puts here must not count as ours.
        if let Some(entry) = pending.entries.get_mut(path) {
            entry.pending = true;
        }
    }
    write_ledger(host, &pending)?;

    let mut report = Report { outcomes: outcomes(desired, &plan), ..Report::default() };
    let staged = stage(host, desired, &plan, &mut report.outcomes);
    let staged = sync(host, staged, &mut report.outcomes);
    let mut directories = BTreeSet::new();
    for (index, file) in staged {
        let Decision::Write { sha256, before } = &plan.decisions[index] else { continue };
        let replace = if before.is_some() { Replace::Yes } else { Replace::No };
        match host.commit(&file, replace) {
            Ok(stamp) => {
                let mut entry = entry(&desired[index], sha256, None);
                (entry.pending, entry.stamp) = (false, Some(stamp));
                ledger.entries.insert(file.path.clone(), entry);
                directories.insert(file.path.split().0.to_owned());
                report.outcomes[index].state = State::Written;
                report.outcomes[index].problem = None;
            }
            Err(error) => {
                let _ = host.discard(&file);
                fail(&mut report.outcomes[index], &error);
            }
        }
    }
    for path in plan.removals {
        match host.remove(&path) {
            Ok(()) => {
                directories.insert(path.split().0.to_owned());
                ledger.entries.remove(&path);
                report.removed.push(path);
            }
            Err(error) => report.stuck.push((path, error.to_string())),
        }
    }
    for directory in &directories {
        if let Err(error) = host.sync_dir(directory) {
            // The names are there, but may not survive a power cut: say so, and leave the entries pending.
            let touched = |path: &HostPath| path.split().0 == directory;
            for outcome in
                report.outcomes.iter_mut().filter(|o| o.state == State::Written && touched(&o.path))
            {
                if let Some(entry) = ledger.entries.get_mut(&outcome.path) {
                    entry.stamp = None;
                }
                fail(outcome, &error);
            }
        }
    }
    write_ledger(host, &ledger)?;
    Ok(report)
}

fn outcomes(desired: &[Artefact], plan: &Plan) -> Vec<Outcome> {
    desired
        .iter()
        .zip(&plan.decisions)
        .map(|(artefact, decision)| {
            let (state, problem) = match decision {
                Decision::Keep { .. } => (State::Unchanged, None),
                Decision::Write { .. } => (State::Failed, Some("not written".to_owned())),
                Decision::Refuse(conflict) => (State::Failed, Some(conflict.to_string())),
            };
            Outcome { path: artefact.path.clone(), state, problem }
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

fn fail(outcome: &mut Outcome, error: &io::Error) {
    outcome.state = State::Failed;
    outcome.problem = Some(error.to_string());
}

fn entry(artefact: &Artefact, sha256: &str, before: Option<String>) -> Entry {
    Entry {
        kind: artefact.kind,
        key: artefact.key.clone(),
        kernel_name: artefact.kernel_name.clone(),
        source: artefact.source.clone(),
        sha256: sha256.to_owned(),
        pending: true,
        before,
        stamp: None,
    }
}

fn write_ledger(host: &dyn Host, ledger: &Ledger) -> Result<(), ApplyError> {
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
        .and_then(|_| host.sync_dir(directory))
        .map_err(ApplyError::WriteLedger)
}
