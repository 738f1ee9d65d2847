//! A host whose steps fail as a test says.

use std::{cell::Cell, io};

use super::{Host, Replace, Root, Staged, Stamp};
use crate::artefact::HostPath;

/// A host that counts its steps and lets one of them, or all from one on, fail.
pub(crate) struct Faulty<'h> {
    pub(crate) host: &'h Root,
    /// Steps done so far.
    pub(crate) steps: Cell<usize>,
    /// The first step that fails.
    pub(crate) fails_at: usize,
    /// Whether every step behind it fails too, as after a kill.
    pub(crate) dies: bool,
}

impl Faulty<'_> {
    fn step(&self) -> io::Result<()> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        if step == self.fails_at || self.dies && step > self.fails_at {
            return Err(io::Error::other(format!("injected failure of step {step}")));
        }
        Ok(())
    }
}

impl Host for Faulty<'_> {
    fn read(&self, path: &HostPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.step()?;
        self.host.read(path, limit)
    }
    fn stamp(&self, path: &HostPath) -> io::Result<Option<Stamp>> {
        self.step()?;
        self.host.stamp(path)
    }
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.step()?;
        self.host.make_dir(dir)
    }
    fn stage(&self, path: &HostPath, bytes: &[u8], mode: u32) -> io::Result<Staged> {
        self.step()?;
        self.host.stage(path, bytes, mode)
    }
    fn sync(&self, staged: &Staged) -> io::Result<()> {
        self.step()?;
        self.host.sync(staged)
    }
    fn sync_all(&self, dir: &str) -> io::Result<()> {
        self.step()?;
        self.host.sync_all(dir)
    }
    fn commit(&self, staged: &Staged, replace: Replace) -> io::Result<Stamp> {
        self.step()?;
        self.host.commit(staged, replace)
    }
    fn discard(&self, staged: &Staged) -> io::Result<()> {
        self.step()?;
        self.host.discard(staged)
    }
    fn remove(&self, path: &HostPath) -> io::Result<()> {
        self.step()?;
        self.host.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.step()?;
        self.host.sync_dir(dir)
    }
    fn sweep(&self, dir: &str) -> io::Result<()> {
        self.step()?;
        self.host.sweep(dir)
    }
}
