//! Prepares a node, once and with rights, so that the agent needs none: the folders it writes into are given to its
//! user, and the filters of the operator's own pods are put where container runtimes look.
//!
//! Whoever has a foothold on the node may have put symbolic links where this runs as root, so every step works on an
//! opened directory and follows none. It may run at any time, also beside an agent: what is right already stays.
//!
//! The existing operator has `operator` of the kubelet's folder as a symbolic link to
//! `/var/lib/security-profiles-operator`. It becomes a real folder with the same files, in one exchange, so that
//! containers which restart meanwhile find their filter.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use clap::{ArgAction, Args};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, fchmod, fchown, fstat,
        fsync, mkdirat, open, openat2, readlinkat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};

use spo_node::host::Root;

use crate::{cluster::names, kubelet_dir, process, render::own};

/// Makes the folders of the agent on this node and gives them to its user.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the host's folders are mounted.
    #[arg(long, value_name = "DIR", default_value = "/host")]
    root: PathBuf,
    /// The kubelet's directory on the host, unless /var/lib/security-profiles-operator/kubelet-config.json names it.
    #[arg(long, env = "KUBELET_DIR", value_name = "DIR", default_value = crate::render::KUBELET_DIR)]
    kubelet_dir: PathBuf,
    /// The directory with filters that replace or add to those of this program.
    #[arg(long, value_name = "DIR", default_value = own::MOUNTED_AT)]
    profiles: PathBuf,
    /// The user and group of the agent.
    #[arg(long, value_name = "ID", default_value_t = names::UNPRIVILEGED as u32)]
    user: u32,
    /// Accepted for manifests of the existing operator: every runtime is prepared the same way.
    #[arg(short, long, default_value = "", hide = true)]
    runtime: String,
    /// Accepted for manifests of the existing operator, without effect: an agent loads its AppArmor profile itself.
    #[arg(short, long, env = "SPO_APPARMOR", value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    apparmor: bool,
}

/// Prepares the node.
///
/// # Errors
/// [`Error`] names the path that is not as it has to be.
pub fn run(arguments: &Arguments) -> Result<(), process::Error> {
    let mut filters = BTreeMap::from([(own::SECCOMP_FILE.to_owned(), own::seccomp().into_bytes())]);
    filters.extend(read_filters(&arguments.profiles)?);
    if arguments.apparmor {
        println!("--apparmor has no effect: an agent loads its AppArmor profile itself");
    }
    let kubelet = kubelet_of(&arguments.root, &arguments.kubelet_dir)?;
    let done = prepare(&arguments.root, &kubelet, arguments.user, &filters);
    for line in done.map_err(|error| explained(error, &kubelet, &arguments.kubelet_dir))? {
        println!("{line}");
    }
    Ok(())
}

/// The directory of the kubelet of the host whose root is seen at `root`.
fn kubelet_of(root: &Path, given: &Path) -> Result<PathBuf, Error> {
    let fail = |reason: String| Error { path: root.display().to_string(), reason };
    let host = Root::open(root).map_err(|error| fail(error.to_string()))?;
    let kubelet = kubelet_dir::of(&host, given).map_err(|error| fail(error.to_string()))?;
    Ok(Path::new("/").join(kubelet))
}

/// Files that no kubelet reads would be worse than none: a node whose kubelet is elsewhere than the pods of the operator
/// have it mounted gets no agent.
fn explained(error: Error, kubelet: &Path, given: &Path) -> Error {
    if kubelet.components().eq(given.components()) {
        return error;
    }
    let reason = format!(
        "{}; the kubelet of this node is at {}, as /{} says, and this pod has that of {}",
        error.reason,
        kubelet.display(),
        kubelet_dir::FILE,
        given.display()
    );
    Error { reason, ..error }
}

/// Why a node cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Error {
    path: String,
    reason: String,
}

/// Prepares the node whose root is seen at `root` and says what changed, one line each.
///
/// # Errors
/// [`Error`] names the path that is not as it has to be.
pub fn prepare(
    root: &Path,
    kubelet_dir: &Path,
    user: u32,
    filters: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<String>, Error> {
    let root = Folder::open(root)?;
    let owner = Owner { uid: Uid::from_raw(user), gid: Gid::from_raw(user) };
    let mut done = Vec::new();
    let ledger = root.make_all(LEDGER)?;
    ledger.give(owner, 0o744, &mut done)?;
    let kubelet = kubelet_dir.to_string_lossy();
    let seccomp = root.make_all(&format!("{}/seccomp", kubelet.trim_matches('/')))?;
    migrate(&seccomp, &ledger, owner, &mut done)?;
    let operator = seccomp.make(OPERATOR)?;
    operator.give(owner, 0o744, &mut done)?;
    for (name, bytes) in filters {
        operator.write(name, bytes, owner, &mut done)?;
    }
    Ok(done)
}

/// The folder of the ledger, and of the existing operator's filters.
const LEDGER: &str = "var/lib/security-profiles-operator";
/// The folder of filters below the kubelet's.
const OPERATOR: &str = "operator";
/// The folder that takes its place when it is a link.
const BESIDE: &str = ".operator.spo-new";
/// The most that a filter may have, in bytes.
const LARGEST: u64 = 4 << 20;
/// The most filters that are taken over; the existing operator keeps one file for each profile.
const MOST: usize = 20_000;

#[derive(Clone, Copy)]
struct Owner {
    uid: Uid,
    gid: Gid,
}

/// An opened directory and what messages call it.
struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Folder {
    fn open(path: &Path) -> Result<Self, Error> {
        let fd = open(path, DIRECTORY, Mode::empty()).map_err(|errno| at(path, errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A directory in this one, made if it is not there.
    fn make(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(at(&path, errno)),
        }
        let fd =
            openat2(&self.fd, name, DIRECTORY, Mode::empty(), BENEATH).map_err(|errno| at(&path, errno))?;
        Ok(Self { fd, path })
    }

    /// A path of directories below this one.
    fn make_all(&self, path: &str) -> Result<Self, Error> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let first = parts.next().ok_or_else(|| at(&self.path, Errno::INVAL))?;
        if path.split('/').any(|part| part == "..") {
            return Err(Error { path: path.to_owned(), reason: "the path has `..`".to_owned() });
        }
        parts.try_fold(self.make(first)?, |folder, part| folder.make(part))
    }

    fn give(&self, owner: Owner, mode: u32, done: &mut Vec<String>) -> Result<(), Error> {
        if give(&self.fd, owner, mode).map_err(|errno| at(&self.path, errno))? {
            done.push(format!("gave {} to {} with mode {mode:o}", self.path.display(), owner.uid.as_raw()));
        }
        Ok(())
    }

    /// Puts a file into place unless it has these bytes.
    fn write(&self, name: &str, bytes: &[u8], owner: Owner, done: &mut Vec<String>) -> Result<(), Error> {
        let path = self.path.join(name);
        let fail = |error: io::Error| Error { path: path.display().to_string(), reason: error.to_string() };
        if self.read(name).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let temporary = format!(".{name}.spo-new");
        match unlinkat(&self.fd, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(&path, errno)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat2(&self.fd, &temporary, flags, Mode::from_raw_mode(0o600), BENEATH)
            .map_err(|errno| at(&path, errno))?;
        let mut file = fs::File::from(file);
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
        give(&file, owner, 0o644).map_err(|errno| at(&path, errno))?;
        renameat(&self.fd, &temporary, &self.fd, name).map_err(|errno| at(&path, errno))?;
        fsync(&self.fd).map_err(|errno| at(&path, errno))?;
        done.push(format!("wrote {}", path.display()));
        Ok(())
    }

    /// The bytes of a regular file.
    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            openat2(&self.fd, name, flags, Mode::empty(), BENEATH).map_err(|errno| at(&path, errno))?;
        let stat = fstat(&file).map_err(|errno| at(&path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error {
                path: path.display().to_string(),
                reason: "it is no regular file".to_owned(),
            });
        }
        let mut bytes = Vec::new();
        let read = fs::File::from(file).take(LARGEST + 1).read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 <= LARGEST => Ok(bytes),
            Ok(_) => Err(Error {
                path: path.display().to_string(),
                reason: format!("it has more than {LARGEST} bytes"),
            }),
            Err(error) => Err(Error { path: path.display().to_string(), reason: error.to_string() }),
        }
    }
}

/// Turns the link that the existing operator left into a folder with the files behind it.
fn migrate(seccomp: &Folder, old: &Folder, owner: Owner, done: &mut Vec<String>) -> Result<(), Error> {
    let path = seccomp.path.join(OPERATOR);
    let is_link = match statat(&seccomp.fd, OPERATOR, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
        Err(Errno::NOENT) => false,
        Err(errno) => return Err(at(&path, errno)),
    };
    if !is_link {
        return Ok(());
    }
    let target = readlinkat(&seccomp.fd, OPERATOR, Vec::new()).map_err(|errno| at(&path, errno))?;
    if target.to_bytes() != format!("/{LEDGER}").as_bytes() {
        let reason = format!("it is a symbolic link to {target:?}, which nobody known made; remove it");
        return Err(Error { path: path.display().to_string(), reason });
    }
    let beside = seccomp.make(BESIDE)?;
    beside.give(owner, 0o744, &mut Vec::new())?;
    let entries = Dir::read_from(&old.fd).map_err(|errno| at(&old.path, errno))?;
    for entry in entries.take(MOST) {
        let entry = entry.map_err(|errno| at(&old.path, errno))?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.ends_with(".json") || NOT_FILTERS.contains(&name) {
            continue;
        }
        // What is no regular file of a sensible size was never a filter.
        if let Ok(bytes) = old.read(name) {
            beside.write(name, &bytes, owner, &mut Vec::new())?;
        }
    }
    renameat_with(&seccomp.fd, BESIDE, &seccomp.fd, OPERATOR, RenameFlags::EXCHANGE)
        .map_err(|errno| at(&path, errno))?;
    unlinkat(&seccomp.fd, BESIDE, AtFlags::empty()).map_err(|errno| at(&seccomp.path.join(BESIDE), errno))?;
    done.push(format!("turned {} from a link into a folder", path.display()));
    Ok(())
}

/// Files that the existing operator and our ledger keep beside filters.
const NOT_FILTERS: [&str; 2] = ["kubelet-config.json", "ledger.json"];

/// The filters of a mounted ConfigMap; none if nothing is mounted.
fn read_filters(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let fail =
        |path: &Path, error: io::Error| Error { path: path.display().to_string(), reason: error.to_string() };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(fail(directory, error)),
    };
    let mut filters = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| fail(directory, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The kubelet mounts each key as a link to a file in a folder whose name starts with a dot.
        if name.ends_with(".json") && !name.starts_with('.') {
            filters.insert(name.to_owned(), fs::read(&path).map_err(|error| fail(&path, error))?);
        }
    }
    Ok(filters)
}

/// Owner and mode, if they are others.
fn give(fd: impl std::os::fd::AsFd, owner: Owner, mode: u32) -> Result<bool, Errno> {
    let stat = fstat(&fd)?;
    let mut changed = false;
    if stat.st_uid != owner.uid.as_raw() || stat.st_gid != owner.gid.as_raw() {
        fchown(&fd, Some(owner.uid), Some(owner.gid))?;
        changed = true;
    }
    if stat.st_mode & 0o7777 != mode {
        fchmod(&fd, Mode::from_raw_mode(mode))?;
        changed = true;
    }
    Ok(changed)
}

fn at(path: &Path, errno: Errno) -> Error {
    let reason = match errno {
        Errno::LOOP | Errno::NOTDIR => {
            "it is a symbolic link or no directory, and links are not followed".to_owned()
        }
        Errno::XDEV => "the path leaves the root".to_owned(),
        other => io::Error::from(other).to_string(),
    };
    Error { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn me() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn filters() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("own.json".to_owned(), b"{}".to_vec())])
    }

    fn prepared(root: &Path) -> Result<Vec<String>, Error> {
        prepare(root, Path::new("/var/lib/kubelet"), me(), &filters())
    }

    /// As the DaemonSet of the existing operator has them.
    #[test]
    fn flags_of_the_existing_operator_are_taken() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            arguments: Arguments,
        }
        for (flags, apparmor) in [
            (&["--runtime=containerd"][..], false),
            (&["--runtime=cri-o", "--apparmor=true"], true),
            (&["-r", "docker", "-a"], true),
            (&["--runtime=", "--apparmor"], true),
            (&["--apparmor=false"], false),
        ] {
            let all = ["non-root-enabler"].iter().chain(flags);
            let parsed = <Flags as clap::Parser>::try_parse_from(all).expect("taken");
            assert_eq!(parsed.arguments.apparmor, apparmor, "{flags:?}");
        }
    }

    #[test]
    fn a_node_that_says_where_its_kubelet_is_is_prepared_there() {
        let root = tempfile::tempdir().expect("a folder");
        let given = Path::new("/var/lib/kubelet");
        assert_eq!(kubelet_of(root.path(), given).expect("as given"), given);
        let file = root.path().join(kubelet_dir::FILE);
        fs::create_dir_all(file.parent().expect("a folder")).expect("makes");
        fs::write(&file, r#"{"kubeletDir":"/data/my-kubelet"}"#).expect("writes");
        let kubelet = kubelet_of(root.path(), given).expect("as the file says");
        prepare(root.path(), &kubelet, me(), &filters()).expect("prepares");
        assert!(root.path().join("data/my-kubelet/seccomp/operator/own.json").exists());
        assert!(!root.path().join("var/lib/kubelet").exists());
        // As where the pod has another directory mounted, and all else is read only.
        fs::write(root.path().join("data/my-kubelet/seccomp/file"), "").expect("writes");
        let other = Path::new("/data/my-kubelet/seccomp/file");
        let error = prepare(root.path(), other, me(), &filters()).expect_err("cannot be prepared");
        let told = explained(error, other, given).to_string();
        assert!(told.contains("kubelet-config.json") && told.contains("/var/lib/kubelet"), "{told}");
        fs::write(&file, r#"{"kubeletDir":"../etc"}"#).expect("writes");
        assert!(kubelet_of(root.path(), given).is_err());
    }

    #[test]
    fn the_second_time_changes_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(!prepared(root.path()).expect("prepares").is_empty());
        let operator = root.path().join("var/lib/kubelet/seccomp/operator");
        let metadata = fs::metadata(&operator).expect("there");
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o744, me()));
        assert_eq!(fs::read(operator.join("own.json")).expect("there"), b"{}");
        let nothing: Vec<String> = Vec::new();
        assert_eq!(prepared(root.path()).expect("prepares"), nothing);
    }

    #[test]
    fn a_link_of_the_existing_operator_becomes_a_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let old = root.path().join("var/lib/security-profiles-operator");
        let seccomp = root.path().join("var/lib/kubelet/seccomp");
        fs::create_dir_all(&old).expect("makes");
        fs::create_dir_all(&seccomp).expect("makes");
        for name in ["web.json", "kubelet-config.json", "notes.txt"] {
            fs::write(old.join(name), name).expect("writes");
        }
        symlink("/etc/passwd", old.join("link.json")).expect("links");
        symlink("/var/lib/security-profiles-operator", seccomp.join("operator")).expect("links");
        prepared(root.path()).expect("prepares");
        let operator = seccomp.join("operator");
        assert!(fs::symlink_metadata(&operator).expect("there").is_dir());
        let mut names: Vec<String> = fs::read_dir(&operator)
            .expect("reads")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["own.json", "web.json"], "filters and nothing else, and no link followed");
        assert!(!seccomp.join(BESIDE).exists());
        assert!(prepared(root.path()).expect("prepares").is_empty());
    }

    #[test]
    fn links_are_not_followed() {
        for at in [
            "var/lib/security-profiles-operator",
            "var/lib/kubelet/seccomp",
            "var/lib/kubelet/seccomp/operator",
        ] {
            let (root, elsewhere) =
                (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
            let link = root.path().join(at);
            fs::create_dir_all(link.parent().expect("has one")).expect("makes");
            symlink(elsewhere.path(), &link).expect("links");
            let error = prepared(root.path()).expect_err("refuses").to_string();
            assert!(error.contains(at) && error.contains("link"), "{error}");
            assert_eq!(fs::read_dir(elsewhere.path()).expect("reads").count(), 0);
        }
    }
}
