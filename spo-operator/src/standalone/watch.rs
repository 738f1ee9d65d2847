//! Following a directory of manifests as it changes.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher as _};

use super::{Options, Report, RunError, run_once};

/// How long to wait for further changes, so that a save that consists of several steps is one change.
const SETTLE: Duration = Duration::from_millis(50);

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The first run could do nothing at all.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system cannot tell of changes.
    #[error("cannot watch {path}: {source}", path = path.display())]
    Notify {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
}

/// Brings the host to what the manifests say, now and after every change of theirs, until `show` says stop.
///
/// `show` is called after every run. A run that can do nothing at all, for example because the directory is away
/// for a moment, is shown as an error and tried again at the next change.
///
/// # Errors
/// [`WatchError`] if the first run fails as a whole or changes cannot be watched.
pub fn watch(
    options: &Options,
    show: &mut dyn FnMut(Result<&Report, &RunError>) -> bool,
) -> Result<(), WatchError> {
    let (sender, changes) = channel();
    // Watching starts before the first run, so that no change falls between them.
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.as_ref().map_or(true, |e| !matches!(e.kind, EventKind::Access(_)));
        if matters {
            // The receiver is gone only when watching has ended.
            let _ = sender.send(());
        }
    })
    .map_err(|source| WatchError::Notify { path: "the manifests".into(), source })?;
    for path in &options.manifests {
        watcher
            .watch(path, RecursiveMode::Recursive)
            .map_err(|source| WatchError::Notify { path: path.clone(), source })?;
    }
    let first = run_once(options)?;
    let mut go_on = show(Ok(&first));
    while go_on && wait(&changes) {
        go_on = match run_once(options) {
            Ok(report) => show(Ok(&report)),
            Err(error) => show(Err(&error)),
        };
    }
    Ok(())
}

/// Waits for a change and for its end; false if there will be none.
fn wait(changes: &Receiver<()>) -> bool {
    if changes.recv().is_err() {
        return false;
    }
    // A directory that never rests is looked at all the same.
    for _ in 0..10 {
        match changes.recv_timeout(SETTLE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
