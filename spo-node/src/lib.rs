//! Puts security profiles on one host, and takes them off again.
//!
//! ```text
//! profiles ──compile──► desired artefacts ─┐
//!                                          ├─ plan ──► actions ──apply──► outcomes, new ledger
//! host ──observe──────► observed ───────────┘
//! kernel ──survey─────────┘
//! ```
//!
//! * [`compile`]: one profile and those it builds on → the bytes that go onto a node. Every process that compiles
//!   calls this, so a profile means the same everywhere.
//! * [`desired`]: what one profile asks of a host, within what an administrator allows.
//! * [`restrictions`]: what the settings of a cluster let profiles be.
//! * [`artefact`]: what has to be on the host: a path below the host's root, bytes, a name in the kernel.
//! * [`kernel`]: the security modules that take AppArmor profiles and SELinux modules: AppArmor through
//!   `apparmor_parser` and securityfs, SELinux through `semodule` or `selinuxd`; a host that lacks one says
//!   [`State::Unsupported`], which is no failure; one that has it but not what is needed to use it fails.
//! * [`observe`]: what is there, and which of it is ours according to the [`ledger`].
//! * [`plan`]: the difference, as a pure function.
//! * [`apply`]: does it, one small step after the other.
//! * [`content`]: bytes that are hashed once.
//! * [`memory`]: what a process that comes back remembers: the ledger while its file looks as it did, and what security
//!   modules did not take (`refused`), which they are not asked at once again.
//!
//! Three promises, whatever happens and whenever the process is killed:
//!
//! 1. every artefact is the old one or the new one, never a part of either: it is written to a temporary file,
//!    synced, and renamed;
//! 2. nothing that is not ours is overwritten or removed: a path is ours only if the ledger, which is written
//!    first, says so;
//! 3. no path leaves the root: directories are opened with `openat2(2)` and `RESOLVE_BENEATH |
//!    RESOLVE_NO_SYMLINKS`, so a planted symlink is an error.
//!
//! ```
//! use spo_model::{kind::Kind, names::ProfileKey};
//! use spo_node::{artefact::Artefact, host::Root, install, kernel::FilesOnly};
//!
//! let dir = tempfile::tempdir()?;
//! let host = Root::open(dir.path())?;
//! let key = ProfileKey::new(Some("production"), "web")?;
//! let artefact = Artefact::new(Kind::SeccompProfile, key, br#"{"defaultAction":"SCMP_ACT_ERRNO"}"#.to_vec())?;
//!
//! let report = install(&host, &FilesOnly, &[artefact], &|_| false)?;
//! assert!(report.problems().next().is_none());
//! assert!(dir.path().join("var/lib/kubelet/seccomp/operator/production/web.json").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod apply;
pub mod artefact;
pub mod compile;
pub mod content;
pub mod desired;
#[cfg(test)]
mod fixture;
pub mod host;
pub mod kernel;
pub mod ledger;
pub mod memory;
pub mod observe;
pub mod plan;
mod refused;
pub mod restrictions;
pub mod uninstall;

pub use apply::{ApplyError, Outcome, Report, State};
pub use uninstall::{uninstall, uninstall_but};

use std::time::Instant;

use artefact::Artefact;
use content::Sha256;
use host::Host;
use kernel::Kernel;
use ledger::Entry;
use memory::Memory;

/// Brings a host to the state desired: observes, plans, applies.
///
/// Artefacts of ours that are not desired are removed unless `keep` says otherwise, which is how a caller that
/// could not read a manifest keeps what came from it.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be read or written; then nothing was changed. What goes wrong with a
/// single artefact is in the report.
pub fn install(
    host: &dyn Host,
    kernel: &dyn Kernel,
    desired: &[Artefact],
    keep: &dyn Fn(&Entry) -> bool,
) -> Result<Report, ApplyError> {
    // Two at once would sweep up each other's files.
    let _lock = host.lock().map_err(ApplyError::Lock)?;
    let mut observed = observe::observe(host, kernel, desired)?;
    let plan = plan::plan(desired, &observed, keep);
    apply::apply(host, kernel, desired, &mut observed, plan)
}

/// As [`install`], for a process that does it again and again: a ledger that looks as it did is not read again, and what
/// a security module refused is not handed to it again before its time; the last answer stands until then.
///
/// # Errors
/// As [`install`].
pub fn install_again(
    host: &dyn Host,
    kernel: &dyn Kernel,
    desired: &[Artefact],
    keep: &dyn Fn(&Entry) -> bool,
    memory: &mut Memory,
    now: Instant,
) -> Result<Report, ApplyError> {
    // Two at once would sweep up each other's files.
    let _lock = host.lock().map_err(ApplyError::Lock)?;
    let (ledger, stamp) = memory.take(host)?;
    let mut observed = observe::observe_beside(host, kernel, desired, ledger, stamp);
    let survey = observed.survey.clone();
    let why_not =
        |artefact: &Artefact, sha256: Sha256| memory.refused.why_not(artefact, sha256, &survey, now);
    let plan = plan::plan_but(desired, &observed, keep, &why_not);
    let report = apply::apply(host, kernel, desired, &mut observed, plan)?;
    memory.put(observed.ledger, observed.ledger_stamp);
    memory.refused.note(desired, &survey, &report, now);
    Ok(report)
}

#[cfg(test)]
pub(crate) mod tests;
