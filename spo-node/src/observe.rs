//! What is on the host, as far as it matters to what is desired.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::{
    apply::ApplyError,
    artefact::{Artefact, HostPath},
    content::Sha256,
    host::{Host, Stamp},
    kernel::{Kernel, Lsm, Survey},
    ledger::{LEDGER, Ledger},
};

/// The largest artefact that is read back, in bytes.
const LARGEST: u64 = 64 << 20;

/// What is on the host at every path that is ours or desired.
#[derive(Debug, Default)]
pub struct Observed {
    /// What is ours.
    pub ledger: Ledger,
    /// How the ledger's file looked, if that is known.
    pub(crate) ledger_stamp: Option<Stamp>,
    /// What is there.
    pub files: BTreeMap<HostPath, Found>,
    /// What the security modules can do and hold.
    pub survey: Survey,
}

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// SHA-256 of its bytes.
        sha256: Sha256,
        /// How it looks from outside.
        stamp: Stamp,
    },
    /// Something that cannot be looked at, or is no regular file.
    Unreadable(io::Error),
}

/// Looks at every path that is ours or desired, and sweeps up what a killed process left.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be read.
pub fn observe(host: &dyn Host, kernel: &dyn Kernel, desired: &[Artefact]) -> Result<Observed, ApplyError> {
    Ok(observe_beside(host, kernel, desired, read_ledger(host)?, None))
}

/// As [`observe`], for whoever knows the ledger.
pub(crate) fn observe_beside(
    host: &dyn Host,
    kernel: &dyn Kernel,
    desired: &[Artefact],
    ledger: Ledger,
    ledger_stamp: Option<Stamp>,
) -> Observed {
    let kinds = ledger.entries.values().map(|e| e.kind).chain(desired.iter().map(|a| a.kind));
    let survey = kernel.survey(&kinds.filter_map(Lsm::of).collect());
    let paths: BTreeSet<&HostPath> = ledger.entries.keys().chain(desired.iter().map(|a| &a.path)).collect();
    let ledger_dir = LEDGER.rsplit_once('/').map(|(dir, _)| dir);
    let directories: BTreeSet<&str> = paths.iter().map(|path| path.split().0).chain(ledger_dir).collect();
    for directory in directories {
        // Leftovers are invisible to everybody else, so failing to remove one is no reason to stop.
        let _ = host.sweep(directory);
    }
    let paths: Vec<&HostPath> = paths.into_iter().collect();
    let stamps = host.stamps(&paths);
    let files =
        paths.into_iter().zip(stamps).map(|(path, stamp)| (path.clone(), look(host, path, stamp, &ledger)));
    let files = files.collect();
    Observed { ledger, ledger_stamp, files, survey }
}

fn look(host: &dyn Host, path: &HostPath, stamp: io::Result<Option<Stamp>>, ledger: &Ledger) -> Found {
    let stamp = match stamp {
        Ok(Some(stamp)) => stamp,
        Ok(None) => return Found::Nothing,
        Err(error) => return Found::Unreadable(error),
    };
    // A file that looks as it did after we wrote it holds what we wrote.
    if let Some(entry) = ledger.entries.get(path).filter(|e| !e.pending && e.stamp == Some(stamp)) {
        return Found::File { sha256: entry.sha256, stamp };
    }
    match host.read(path, LARGEST) {
        Ok(Some(bytes)) => Found::File { sha256: Sha256::of(&bytes), stamp },
        Ok(None) => Found::Nothing,
        Err(error) => Found::Unreadable(error),
    }
}

/// The ledger of a host; an empty one where there is none.
///
/// # Errors
/// [`ApplyError`] if it cannot be read or understood.
pub fn read_ledger(host: &dyn Host) -> Result<Ledger, ApplyError> {
    let path: HostPath = LEDGER.parse()?;
    match host.read(&path, LARGEST).map_err(ApplyError::ReadLedger)? {
        None => Ok(Ledger::default()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(ApplyError::ParseLedger),
    }
}
