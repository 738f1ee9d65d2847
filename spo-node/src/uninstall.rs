//! Leaving a host as it was before.

use std::collections::BTreeSet;

use crate::{
    apply::{ApplyError, Report},
    artefact::HostPath,
    host::{Host as _, Root},
    install,
    kernel::Kernel,
    ledger::{Entry, LEDGER},
    observe::read_ledger,
};

/// Removes every artefact that is ours, from files and from the kernel; then, if all are gone, the ledger and the
/// directories of ours that are empty.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be read or written; then nothing was changed. What could not be removed is in
/// the report, and stays in the ledger.
pub fn uninstall(host: &Root, kernel: &dyn Kernel) -> Result<Report, ApplyError> {
    uninstall_but(host, kernel, &|_| None)
}

/// As [`uninstall`], but for entries that the caller cannot remove, for which `why_not` gives the reason: for example
/// because it sees neither their files nor their security module. They stay in the ledger and are in the report.
///
/// # Errors
/// As [`uninstall`].
pub fn uninstall_but(
    host: &Root,
    kernel: &dyn Kernel,
    why_not: &dyn Fn(&Entry) -> Option<String>,
) -> Result<Report, ApplyError> {
    let before = read_ledger(host)?;
    let mut report = install(host, kernel, &[], &|entry| why_not(entry).is_some())?;
    let left = before.entries.iter().filter_map(|(path, entry)| Some((path.clone(), why_not(entry)?)));
    report.stuck.extend(left);
    if !read_ledger(host)?.entries.is_empty() {
        return Ok(report);
    }
    let ledger: HostPath = LEDGER.parse()?;
    host.remove(&ledger).map_err(ApplyError::WriteLedger)?;
    // The deepest first; none but those that nobody else has a reason to make.
    let ours = |directory: &&str| directory.split('/').any(|part| part == "operator");
    let mut directories = BTreeSet::new();
    for path in before.entries.keys() {
        let mut directory = path.split().0;
        while ours(&directory) {
            directories.insert(directory);
            directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
    directories.insert(ledger.split().0);
    for directory in directories.into_iter().rev() {
        // A directory that stays is no harm.
        let _ = host.remove_empty_dir(directory);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use spo_model::{kind::Kind, names::ProfileKey};

    use super::*;
    use crate::{artefact::Artefact, kernel::FilesOnly};

    #[test]
    fn nothing_of_ours_is_left_and_nothing_else_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Root::open(folder.path()).expect("a root");
        let artefact = |kind, namespace: &str| {
            let key = ProfileKey::new(Some(namespace), "web").expect("a key");
            Artefact::new(kind, key, b"{}".to_vec()).expect("an artefact")
        };
        let all = [
            artefact(Kind::SeccompProfile, "a"),
            artefact(Kind::SeccompProfile, "b"),
            artefact(Kind::AppArmorProfile, "a"),
        ];
        install(&host, &FilesOnly, &all, &|_| false).expect("installs");
        let foreign = folder.path().join("var/lib/kubelet/seccomp/operator/b/other.json");
        std::fs::write(&foreign, "{}").expect("writes");
        let report = uninstall(&host, &FilesOnly).expect("uninstalls");
        assert_eq!((report.removed.len(), report.stuck.len()), (3, 0));
        let there = |path: &str| folder.path().join(path).exists();
        assert!(foreign.exists(), "not ours");
        assert!(!there("var/lib/kubelet/seccomp/operator/a"));
        assert!(!there("var/lib/security-profiles-operator"));
        assert!(there("etc/apparmor.d") && !there("etc/apparmor.d/spo.a.web"));
        uninstall(&host, &FilesOnly).expect("a second time");
    }

    #[test]
    fn what_cannot_be_removed_is_not_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Root::open(folder.path()).expect("a root");
        let key = ProfileKey::new(Some("a"), "web").expect("a key");
        let of = |kind| Artefact::new(kind, key.clone(), b"{}".to_vec()).expect("an artefact");
        let all = [of(Kind::SeccompProfile), of(Kind::AppArmorProfile)];
        install(&host, &FilesOnly, &all, &|_| false).expect("installs");
        // As in a container where the folder is not mounted.
        std::fs::rename(folder.path().join("etc"), folder.path().join("away")).expect("renames");
        let why_not =
            |entry: &Entry| (entry.kind == Kind::AppArmorProfile).then(|| "out of reach".to_owned());
        let report = uninstall_but(&host, &FilesOnly, &why_not).expect("uninstalls");
        assert_eq!(report.stuck, [(all[1].path.clone(), "out of reach".to_owned())]);
        assert_eq!(report.removed, [all[0].path.clone()]);
        std::fs::rename(folder.path().join("away"), folder.path().join("etc")).expect("renames");
        assert_eq!(uninstall(&host, &FilesOnly).expect("uninstalls").removed, [all[1].path.clone()]);
    }
}
