//! A host as the few steps that bring an artefact onto it.
//!
//! Every method is one step that either happens or fails, so a test can let each of them fail in turn.

mod root;

#[cfg(test)]
pub(crate) mod faulty;

use std::{io, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};

pub use root::Root;

use crate::artefact::HostPath;

/// A host on which artefacts can be put.
pub trait Host {
    /// Waits until no other process changes the host, and keeps others from it; `None` where that is not possible.
    ///
    /// # Errors
    /// Another process goes on for too long, a symlink on the way, no permission.
    fn lock(&self) -> io::Result<Option<Lock>> {
        Ok(None)
    }

    /// The bytes of a regular file, `None` if nothing is there.
    ///
    /// # Errors
    /// Anything but a regular file at the path, a symlink on the way, a file larger than `limit`.
    fn read(&self, path: &HostPath, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// How a regular file looks from outside, `None` if nothing is there.
    ///
    /// # Errors
    /// Anything but a regular file at the path, a symlink on the way.
    fn stamp(&self, path: &HostPath) -> io::Result<Option<Stamp>>;

    /// As [`Self::stamp`] for many paths; those of one directory should follow each other.
    fn stamps(&self, paths: &[&HostPath]) -> Vec<io::Result<Option<Stamp>>> {
        paths.iter().map(|path| self.stamp(path)).collect()
    }

    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// A symlink or file on the way, no permission, no space.
    fn make_dir(&self, dir: &str) -> io::Result<()>;

    /// Writes bytes to a temporary file beside the path.
    ///
    /// # Errors
    /// No permission, no space, the directory is gone.
    fn stage(&self, path: &HostPath, bytes: &[u8], mode: u32) -> io::Result<Staged>;

    /// Makes a temporary file's bytes durable.
    ///
    /// # Errors
    /// The file system cannot keep them.
    fn sync(&self, staged: &Staged) -> io::Result<()>;

    /// Makes all temporary files of a directory's file system durable at once.
    ///
    /// # Errors
    /// The file system cannot keep them.
    fn sync_all(&self, dir: &str) -> io::Result<()>;

    /// Puts a temporary file into its place, and says how it looks there.
    ///
    /// # Errors
    /// With `Replace::No`, [`io::ErrorKind::AlreadyExists`] if something is there.
    fn commit(&self, staged: &Staged, replace: Replace) -> io::Result<Stamp>;

    /// Removes a temporary file that is not wanted any more.
    ///
    /// # Errors
    /// No permission.
    fn discard(&self, staged: &Staged) -> io::Result<()>;

    /// Removes a file; nothing there is fine.
    ///
    /// # Errors
    /// No permission, a symlink on the way.
    fn remove(&self, path: &HostPath) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The file system cannot keep them.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Removes temporary files that a killed process left in a directory; no directory is fine.
    ///
    /// # Errors
    /// No permission, a symlink on the way.
    fn sweep(&self, dir: &str) -> io::Result<()>;
}

/// As long as it lives, no other process changes this host through us.
#[derive(Debug)]
pub struct Lock {
    pub(crate) _directory: OwnedFd,
}

/// Whether a file that is there already may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It may: it is ours.
    Yes,
    /// It may not: the path was free when it was planned.
    No,
}

/// A temporary file on its way to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Where it is going.
    pub path: HostPath,
    /// Its name until then, in the same directory.
    pub temporary: String,
}

/// How a file looks from outside; any change of its content or its attributes changes the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// The time of the last change of the inode, in nanoseconds since the epoch.
    pub changed: i128,
    /// The permission bits.
    pub mode: u32,
}
