//! Where the kubelet of a node has its directory.
//!
//! One DaemonSet is for all nodes, and its `KUBELET_DIR` too. A node whose kubelet is elsewhere says so in a file of its
//! own, as with the existing operator: `/var/lib/security-profiles-operator/kubelet-config.json`, with
//! `{"kubeletDir":"/somewhere"}`. It wins. The label of the existing operator does not count: it cannot express every
//! path, and whoever may label a node would say where root writes.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use spo_node::{
    artefact::{BadPath, HostPath},
    host::{Host as _, Root},
};

/// The file of a node.
pub const FILE: &str = "var/lib/security-profiles-operator/kubelet-config.json";

/// The directory of the kubelet of a host, relative to its root: what its file says, else the one that is given.
///
/// # Errors
/// [`Error`] if it is no absolute path without `..`, or the file cannot be understood.
pub fn of(host: &Root, given: &Path) -> Result<String, Error> {
    let file: HostPath = FILE.parse()?;
    let Some(bytes) = host.read(&file, LARGEST).map_err(Error::Read)? else { return relative(given) };
    let config: Config = serde_json::from_slice(&bytes).map_err(Error::Parse)?;
    relative(&config.kubelet_dir)
}

/// A directory of the kubelet, relative to the root.
fn relative(directory: &Path) -> Result<String, Error> {
    let bad = || Error::Directory(directory.to_owned());
    let path = directory.to_str().filter(|path| path.starts_with('/')).ok_or_else(bad)?.trim_matches('/');
    path.parse::<HostPath>().map_err(|_| bad())?;
    Ok(path.to_owned())
}

/// The most that the file may have, in bytes.
const LARGEST: u64 = 64 << 10;

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "kubeletDir")]
    kubelet_dir: PathBuf,
}

/// Why the directory of a kubelet is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read /{FILE}: {0}")]
    Read(#[source] io::Error),
    /// The file is not understood.
    #[error("cannot understand /{FILE}: {0}; want {{\"kubeletDir\":\"/var/lib/kubelet\"}}")]
    Parse(#[source] serde_json::Error),
    /// It is none.
    #[error("the kubelet's directory {} is no absolute path without `..`", .0.display())]
    Directory(PathBuf),
    /// A path of our own is none.
    #[error(transparent)]
    Path(#[from] BadPath),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: Option<&str>, given: &str) -> Result<String, String> {
        let root = tempfile::tempdir().expect("a folder");
        if let Some(text) = file {
            let path = root.path().join(FILE);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
            std::fs::write(path, text).expect("writes");
        }
        let host = Root::open(root.path()).expect("a root");
        of(&host, Path::new(given)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_of_a_node_wins() {
        let given = "/var/lib/kubelet";
        assert_eq!(with(None, given).as_deref(), Ok("var/lib/kubelet"));
        assert_eq!(
            with(Some(r#"{"kubeletDir":"/data/my-kubelet/"}"#), given).as_deref(),
            Ok("data/my-kubelet")
        );
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        for bad in ["/", "", "/var/../../etc", "var/lib/kubelet"] {
            assert!(with(None, bad).is_err_and(|why| why.contains("no absolute path")), "{bad:?}");
            let file = format!(r#"{{"kubeletDir":"{bad}"}}"#);
            assert!(with(Some(&file), "/var/lib/kubelet").is_err(), "{bad:?}");
        }
        for odd in ["", "{}", "[]", r#"{"kubeletDir":7}"#] {
            let why = with(Some(odd), "/var/lib/kubelet").expect_err("refused");
            assert!(why.contains("kubelet-config.json"), "{why}");
        }
    }
}
