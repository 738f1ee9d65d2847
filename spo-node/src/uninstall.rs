//! Leaving a host as it was before.

use std::collections::BTreeSet;

use crate::{
    apply::{ApplyError, Report},
    artefact::HostPath,
    host::{Host as _, Root},
    install,
    kernel::Kernel,
    ledger::LEDGER,
    observe::read_ledger,
};

/// Removes every artefact that is ours, from files and from the kernel; then, if all are gone, the ledger and the
/// directories of ours that are empty.
///
/// # Errors
/// [`ApplyError`] if the ledger cannot be read or written; then nothing was changed. What could not be removed is in
/// the report, and stays in the ledger.
pub fn uninstall(host: &Root, kernel: &dyn Kernel) -> Result<Report, ApplyError> {
    let before = read_ledger(host)?;
    let report = install(host, kernel, &[], &|_| false)?;
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
}
