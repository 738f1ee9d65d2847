//! Which processes run under AppArmor profiles.
//!
//! The kernel asks nobody when a profile is unloaded: whatever runs under it goes on unconfined. So processes are looked
//! at first. What the kernel says of each is its label, in `/proc/<pid>/attr` (`proc_pid_attr(5)`):
//!
//! ```text
//! unconfined
//! web (enforce)
//! web//child//&other (mixed)
//! ```
//!
//! Profiles are stacked with `//&`; `//` comes before the name of a child or hat; the mode is in brackets behind all.
//! The label is that of a process's first thread: containers are started under their profile, and all threads have it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::Path,
};

use rustix::io::Errno;

/// The processes that run under a profile or one of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Users {
    /// One of them.
    pub(super) process: u32,
    /// How many there are.
    pub(super) count: usize,
}

/// Who runs under each of these profiles, if anybody, as the files below `proc` (`/proc`) say. The process that asks does
/// not count: what confines it is its own affair.
///
/// # Errors
/// What a process runs under cannot be told, or there are too many. One that ends meanwhile is no error.
pub(super) fn users<'n>(proc: &Path, names: &[&'n str]) -> io::Result<BTreeMap<&'n str, Users>> {
    let mut users: BTreeMap<&str, Users> = BTreeMap::new();
    let mut looked_at = 0;
    for entry in fs::read_dir(proc)? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if process == std::process::id() {
            continue;
        }
        looked_at += 1;
        if looked_at > MOST {
            return Err(io::Error::other(format!("there are more than {MOST} processes")));
        }
        let label = label(&proc.join(process.to_string()))
            .map_err(|error| io::Error::new(error.kind(), format!("process {process}: {error}")))?;
        let Some(label) = label else { continue };
        for name in names.iter().filter(|name| is_under(&label, name)) {
            users.entry(name).or_insert(Users { process, count: 0 }).count += 1;
        }
    }
    Ok(users)
}

/// The most processes that are looked at; a node has some thousands.
const MOST: usize = 200_000;

/// The most of a label that is read, in bytes; the kernel gives at most a page.
const LONGEST: u64 = 64 << 10;

/// What the kernel says of a process; `None` if it has ended.
fn label(process: &Path) -> io::Result<Option<String>> {
    // AppArmor's own place for it since Linux 5.8, else the one that all security modules share.
    for place in ["attr/apparmor/current", "attr/current"] {
        let mut bytes = Vec::new();
        let read = fs::File::open(process.join(place)).and_then(|f| f.take(LONGEST).read_to_end(&mut bytes));
        match read {
            Ok(_) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether a label has a profile or one of its children.
fn is_under(label: &str, name: &str) -> bool {
    let label = label.trim_end_matches(['\n', '\0']);
    let profiles = match label.rsplit_once(" (") {
        Some((profiles, mode)) if mode.ends_with(')') => profiles,
        _ => label,
    };
    profiles.split("//&").any(|profile| {
        profile.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("//"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_its_profiles_and_their_parents() {
        for label in [
            "web (enforce)\n",
            "web (complain)",
            "web\0",
            "web//hat (enforce)",
            "other//&web (mixed)",
            "web//child//deep//&other (enforce)",
            ":inner://x//&web (enforce)",
        ] {
            assert!(is_under(label, "web"), "{label}");
        }
        for label in [
            "unconfined\n",
            "",
            "webserver (enforce)",
            "my-web (enforce)",
            "other//web (enforce)",
            "other//&webs (enforce)",
            "x (web)",
            // Of a namespace of policies: another profile.
            ":inner:web (enforce)",
        ] {
            assert!(!is_under(label, "web"), "{label}");
        }
        assert!(is_under("a (b) c (enforce)", "a (b) c") && !is_under("a (b) c (enforce)", "a"));
    }

    fn process(proc: &Path, number: u32, place: &str, label: &str) {
        let file = proc.join(number.to_string()).join(place);
        fs::create_dir_all(file.parent().expect("a folder")).expect("makes");
        fs::write(file, label).expect("writes");
    }

    #[test]
    fn processes_are_counted_for_each_profile() {
        let proc = tempfile::tempdir().expect("a directory");
        let own = std::process::id();
        // Larger than any real one.
        let at = |n: u32| 5_000_000 + n;
        process(proc.path(), at(1), "attr/apparmor/current", "web (enforce)\n");
        // Of another security module.
        process(proc.path(), at(1), "attr/current", "system_u:system_r:web:s0");
        process(proc.path(), at(2), "attr/current", "web//hat (enforce)\n");
        process(proc.path(), at(3), "attr/apparmor/current", "unconfined\n");
        process(proc.path(), at(4), "attr/apparmor/current", "db (complain)\n");
        process(proc.path(), own, "attr/apparmor/current", "own (enforce)\n");
        // One that has just ended, and what is no process.
        fs::create_dir_all(proc.path().join("5000005")).expect("makes");
        fs::create_dir_all(proc.path().join("sys")).expect("makes");
        let found = users(proc.path(), &["web", "db", "own", "idle"]).expect("reads");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["db", "web"]);
        assert_eq!(found["web"].count, 2);
        assert!([at(1), at(2)].contains(&found["web"].process));
        assert_eq!(found["db"], Users { process: at(4), count: 1 });
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        let proc = tempfile::tempdir().expect("a directory");
        assert!(users(&proc.path().join("nothing"), &["web"]).is_err());
        // A directory cannot be read as a file.
        fs::create_dir_all(proc.path().join("5000001/attr/apparmor/current")).expect("makes");
        let error = users(proc.path(), &["web"]).expect_err("cannot be told").to_string();
        assert!(error.contains("process 5000001"), "{error}");
    }
}
