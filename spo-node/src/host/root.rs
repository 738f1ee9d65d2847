//! A directory as the root of a host: `/` itself, a mounted host, or a folder that stands for one.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, fchmod, flock, fstat,
        fsync, mkdirat, open, openat2, renameat, renameat_with, statat, syncfs, unlinkat,
    },
    io::Errno,
};

use super::{Host, Lock, Replace, Staged, Stamp};
use crate::{artefact::HostPath, ledger::LEDGER};

/// A directory as the root of a host.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    counter: AtomicU64,
    /// How long it waits for another process.
    pub(crate) patience: Duration,
}

impl Root {
    /// Opens a directory as the root of a host.
    ///
    /// # Errors
    /// It does not exist, is no directory, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { directory, counter: AtomicU64::new(0), patience: Duration::from_secs(10) })
    }

    /// Opens a directory below the root: no symlink, no way out.
    fn directory(&self, dir: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        openat2(&self.directory, dir, flags, Mode::empty(), BENEATH).map_err(|errno| explain(errno, dir))
    }

    /// As [`Self::directory`], `None` if it does not exist.
    fn existing(&self, dir: &str) -> io::Result<Option<OwnedFd>> {
        match self.directory(dir) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Root {
    /// Removes a directory if it is empty; one that is not, or is not there, is fine.
    ///
    /// # Errors
    /// No permission, a symlink on the way.
    pub fn remove_empty_dir(&self, dir: &str) -> io::Result<()> {
        let (parent, name) = dir.rsplit_once('/').unwrap_or((".", dir));
        let Some(directory) = self.existing(parent)? else { return Ok(()) };
        match unlinkat(&directory, name, AtFlags::REMOVEDIR) {
            // BUSY: something is mounted there.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(()),
            Err(errno) => Err(explain(errno, dir)),
        }
    }
}

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const TEMPORARY_START: &str = ".spo-";
const TEMPORARY_END: &str = ".tmp";

impl Host for Root {
    /// Locks the ledger's directory (flock(2)), so that there is no file more to leave behind.
    fn lock(&self) -> io::Result<Option<Lock>> {
        let dir = LEDGER.rsplit_once('/').map_or(".", |(dir, _)| dir);
        self.make_dir(dir)?;
        let directory = self.directory(dir)?;
        let end = Instant::now() + self.patience;
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock { _directory: directory })),
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(Errno::WOULDBLOCK) => {
                    let message = format!("another process changes this host: it holds /{dir}");
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
                }
                // A filter over this process or a file system without such locks: as it was before there were any.
                Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(None),
                Err(errno) => return Err(explain(errno, dir)),
            }
        }
    }

    fn read(&self, path: &HostPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let (dir, name) = path.split();
        let Some(directory) = self.existing(dir)? else { return Ok(None) };
        // Non-blocking, so that a planted FIFO cannot make us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat2(&directory, name, flags, Mode::empty(), BENEATH) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(explain(errno, path.as_str())),
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular(path));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let message = format!("{path} has more than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(Some(bytes))
    }

    fn stamp(&self, path: &HostPath) -> io::Result<Option<Stamp>> {
        let Some(directory) = self.existing(path.split().0)? else { return Ok(None) };
        stamp_in(&directory, path)
    }

    fn stamps(&self, paths: &[&HostPath]) -> Vec<io::Result<Option<Stamp>>> {
        let mut stamps = Vec::with_capacity(paths.len());
        for paths in paths.chunk_by(|a, b| a.split().0 == b.split().0) {
            // One directory opened for all of its files; if that fails, every path says so by itself.
            match paths.first().map(|path| self.existing(path.split().0)) {
                Some(Ok(Some(directory))) => {
                    stamps.extend(paths.iter().map(|path| stamp_in(&directory, path)));
                }
                _ => stamps.extend(paths.iter().map(|path| self.stamp(path))),
            }
        }
        stamps
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        if self.existing(dir)?.is_some() {
            return Ok(());
        }
        let mut so_far = String::new();
        for part in dir.split('/') {
            let parent = if so_far.is_empty() { ".".to_owned() } else { so_far.clone() };
            let directory = self.directory(&parent)?;
            match mkdirat(&directory, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => fsync(&directory)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(explain(errno, dir)),
            }
            so_far = if so_far.is_empty() { part.to_owned() } else { format!("{so_far}/{part}") };
        }
        self.directory(dir).map(drop)
    }

    fn stage(&self, path: &HostPath, bytes: &[u8], mode: u32) -> io::Result<Staged> {
        let (dir, _) = path.split();
        let directory = self.directory(dir)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let (temporary, file) = loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let temporary = format!("{TEMPORARY_START}{}-{number}{TEMPORARY_END}", std::process::id());
            match openat2(&directory, &temporary, flags, Mode::from_raw_mode(0o600), BENEATH) {
                Ok(file) => break (temporary, file),
                // A killed process with our number left it.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(explain(errno, path.as_str())),
            }
        };
        let staged = Staged { path: path.clone(), temporary };
        let mut file = std::fs::File::from(file);
        let written = file.write_all(bytes).and_then(|()| Ok(fchmod(&file, Mode::from_raw_mode(mode))?));
        if let Err(error) = written {
            // The error that matters is the first; a leftover is swept at the next start.
            let _ = self.discard(&staged);
            return Err(io::Error::new(error.kind(), format!("cannot write {path}: {error}")));
        }
        Ok(staged)
    }

    fn sync(&self, staged: &Staged) -> io::Result<()> {
        let (dir, _) = staged.path.split();
        let directory = self.directory(dir)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat2(&directory, &staged.temporary, flags, Mode::empty(), BENEATH)
            .map_err(|errno| explain(errno, staged.path.as_str()))?;
        Ok(fsync(&file)?)
    }

    fn sync_all(&self, dir: &str) -> io::Result<()> {
        Ok(syncfs(self.directory(dir)?)?)
    }

    fn commit(&self, staged: &Staged, replace: Replace) -> io::Result<Stamp> {
        let (dir, name) = staged.path.split();
        let directory = self.directory(dir)?;
        match replace {
            Replace::Yes => renameat(&directory, &staged.temporary, &directory, name),
            Replace::No => {
                renameat_with(&directory, &staged.temporary, &directory, name, RenameFlags::NOREPLACE)
            }
        }
        .map_err(|errno| explain(errno, staged.path.as_str()))?;
        Ok(stamp_of(&statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn discard(&self, staged: &Staged) -> io::Result<()> {
        let (dir, _) = staged.path.split();
        Ok(unlinkat(self.directory(dir)?, &staged.temporary, AtFlags::empty())?)
    }

    fn remove(&self, path: &HostPath) -> io::Result<()> {
        let (dir, name) = path.split();
        let Some(directory) = self.existing(dir)? else { return Ok(()) };
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(explain(errno, path.as_str())),
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self.existing(dir)? {
            Some(directory) => Ok(fsync(directory)?),
            None => Ok(()),
        }
    }

    fn sweep(&self, dir: &str) -> io::Result<()> {
        let Some(directory) = self.existing(dir)? else { return Ok(()) };
        let names = rustix::fs::Dir::read_from(&directory)?;
        for entry in names {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(TEMPORARY_START.as_bytes()) && name.ends_with(TEMPORARY_END.as_bytes()) {
                match unlinkat(&directory, entry.file_name(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(explain(errno, dir)),
                }
            }
        }
        Ok(())
    }
}

fn stamp_in(directory: &OwnedFd, path: &HostPath) -> io::Result<Option<Stamp>> {
    match statat(directory, path.split().1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => Err(not_regular(path)),
        Ok(stat) => Ok(Some(stamp_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(explain(errno, path.as_str())),
    }
}

fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the field types differ by architecture"
    )]
    Stamp {
        inode: stat.st_ino as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        changed: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        mode: stat.st_mode & 0o7777,
    }
}

fn not_regular(path: &HostPath) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path} is no regular file, so it is not ours and stays"),
    )
}

/// The error with the path and, for the errors of `RESOLVE_…`, what they mean.
fn explain(errno: Errno, path: &str) -> io::Error {
    let error = io::Error::from(errno);
    let reason = match errno {
        Errno::LOOP => "there is a symbolic link on the way, which is not followed".to_owned(),
        Errno::XDEV => "the path leaves the root".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{path}: {reason}"))
}
