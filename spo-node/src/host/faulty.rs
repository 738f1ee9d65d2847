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

/// A host that can be read, and on which every write fails with one error of the system.
pub(crate) struct Broken<'h> {
    pub(crate) host: &'h Root,
    pub(crate) errno: i32,
}

impl Broken<'_> {
    fn refuse<T>(&self) -> io::Result<T> {
        Err(io::Error::from_raw_os_error(self.errno))
    }
}

impl Host for Broken<'_> {
    fn read(&self, path: &HostPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.host.read(path, limit)
    }
    fn stamp(&self, path: &HostPath) -> io::Result<Option<Stamp>> {
        self.host.stamp(path)
    }
    fn make_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn stage(&self, _: &HostPath, _: &[u8], _: u32) -> io::Result<Staged> {
        self.refuse()
    }
    fn sync(&self, _: &Staged) -> io::Result<()> {
        self.refuse()
    }
    fn sync_all(&self, _: &str) -> io::Result<()> {
        self.refuse()
    }
    fn commit(&self, _: &Staged, _: Replace) -> io::Result<Stamp> {
        self.refuse()
    }
    fn discard(&self, _: &Staged) -> io::Result<()> {
        self.refuse()
    }
    fn remove(&self, _: &HostPath) -> io::Result<()> {
        self.refuse()
    }
    fn sync_dir(&self, _: &str) -> io::Result<()> {
        self.refuse()
    }
    fn sweep(&self, _: &str) -> io::Result<()> {
        self.refuse()
    }
}
