//! The three promises, with failures injected at every step.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use spo_model::{kind::Kind, names::ProfileKey};

use crate::{
    Report, State,
    artefact::Artefact,
    host::{Root, faulty::Faulty},
    install,
    ledger::LEDGER,
};

fn artefact(kind: Kind, namespace: &str, name: &str, content: &str) -> Artefact {
    let key = ProfileKey::new((!namespace.is_empty()).then_some(namespace), name).expect("a key");
    Artefact::new(kind, key, content.as_bytes().to_vec()).expect("an artefact")
}

fn seccomp(name: &str, content: &str) -> Artefact {
    artefact(Kind::SeccompProfile, "ns", name, content)
}

fn run(dir: &Path, desired: &[Artefact]) -> Report {
    let host = Root::open(dir).expect("a root");
    install(&host, desired, &|_| false).expect("the ledger works")
}

/// Every file below a directory that is not the ledger, with its content.
fn files(dir: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found.remove(LEDGER);
    found
}

fn at(name: &str) -> String {
    format!("var/lib/kubelet/seccomp/operator/ns/{name}.json")
}

#[test]
fn artefacts_come_change_and_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = run(dir.path(), &[seccomp("a", "1"), seccomp("b", "1")]);
    assert!(report.changed() && report.problems().next().is_none());
    assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "1".into()), (at("b"), "1".into())]));
    let mode = fs::metadata(dir.path().join(at("a"))).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let ledger = fs::metadata(dir.path().join(LEDGER)).expect("there").modified().expect("a time");
    assert!(!run(dir.path(), &[seccomp("a", "1"), seccomp("b", "1")]).changed());
    assert_eq!(fs::metadata(dir.path().join(LEDGER)).expect("there").modified().expect("a time"), ledger);

    let report = run(dir.path(), &[seccomp("a", "2"), seccomp("b", "1")]);
    assert_eq!((report.outcomes[0].state, report.outcomes[1].state), (State::Written, State::Unchanged));
    let report = run(dir.path(), &[seccomp("a", "2")]);
    assert_eq!(report.removed.len(), 1);
    assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "2".into())]));
}

#[test]
fn a_batch_is_as_durable_as_single_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let many: Vec<_> = (0..200).map(|i| seccomp(&format!("p{i}"), "x")).collect();
    assert!(run(dir.path(), &many).problems().next().is_none());
    assert_eq!(files(dir.path()).len(), 200);
    assert!(!run(dir.path(), &many).changed());
}

#[test]
fn what_somebody_edited_or_deleted_is_repaired() {
    let dir = tempfile::tempdir().expect("a directory");
    let desired = [seccomp("a", "good"), seccomp("b", "good")];
    run(dir.path(), &desired);
    fs::write(dir.path().join(at("a")), "weak").expect("writes");
    fs::remove_file(dir.path().join(at("b"))).expect("removes");
    assert!(run(dir.path(), &desired).changed());
    assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "good".into()), (at("b"), "good".into())]));
    fs::set_permissions(dir.path().join(at("a")), fs::Permissions::from_mode(0o666))
        .expect("changes the mode");
    assert!(run(dir.path(), &desired).changed(), "the mode is part of the artefact");
}

#[test]
fn a_foreign_file_is_never_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(at("a"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
    fs::write(&path, "theirs").expect("writes");
    for desired in [vec![seccomp("a", "ours"), seccomp("b", "ours")], vec![], vec![seccomp("a", "theirs")]] {
        let report = run(dir.path(), &desired);
        assert_eq!(fs::read_to_string(&path).expect("there"), "theirs");
        if let Some(outcome) = report.outcomes.first() {
            assert_eq!(outcome.state, State::Failed);
            assert!(outcome.problem.as_deref().is_some_and(|p| p.contains("not ours")), "{outcome:?}");
        }
    }
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn planted_links_lead_nowhere() {
    let outside = tempfile::tempdir().expect("a directory");
    for depth in ["var", "var/lib/kubelet/seccomp/operator", "var/lib/kubelet/seccomp/operator/ns"] {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join(depth);
        fs::create_dir_all(link.parent().expect("a parent")).expect("makes");
        symlink(outside.path(), &link).expect("links");
        // `var` also holds the ledger; then nothing can be done at all.
        let host = Root::open(dir.path()).expect("a root");
        let problem = match install(&host, &[seccomp("a", "x")], &|_| false) {
            Ok(report) => report.problems().next().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        assert!(problem.as_deref().is_some_and(|p| p.contains("symbolic link")), "{depth}: {problem:?}");
        assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0, "{depth}");
    }
    // A link in the place of the file itself.
    let dir = tempfile::tempdir().expect("a directory");
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").expect("writes");
    let link = dir.path().join(at("a"));
    fs::create_dir_all(link.parent().expect("a parent")).expect("makes");
    symlink(&victim, &link).expect("links");
    assert!(run(dir.path(), &[seccomp("a", "x")]).problems().next().is_some());
    assert_eq!(fs::read_to_string(&victim).expect("there"), "precious");
    assert!(link.is_symlink());
}

#[test]
fn directories_and_pipes_in_the_place_of_a_file_are_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join(at("a"))).expect("makes");
    let pipe = dir.path().join(at("b"));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
    let report = run(dir.path(), &[seccomp("a", "x"), seccomp("b", "x")]);
    assert_eq!(report.problems().filter(|p| p.contains("no regular file")).count(), 2);
}

#[test]
fn the_first_owner_keeps_a_kernel_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |namespace| artefact(Kind::AppArmorProfile, namespace, "web", "x");
    assert!(run(dir.path(), &[of("b")]).problems().next().is_none());
    // `a` comes first in the list, but `b` had the name before this process started.
    let report = run(dir.path(), &[of("a"), of("b")]);
    assert_eq!(report.outcomes[1].state, State::Unchanged);
    let problem = report.outcomes[0].problem.as_deref().unwrap_or_default();
    assert!(problem.contains("AppArmor profile \"web\" belongs to AppArmorProfile b/web"), "{problem}");
    // When the owner goes, the name is free.
    assert!(run(dir.path(), &[of("a")]).problems().next().is_none());
    // The two SELinux kinds share one name space.
    let selinux =
        [artefact(Kind::SelinuxProfile, "a", "db", "x"), artefact(Kind::RawSelinuxProfile, "b", "db", "y")];
    assert!(run(dir.path(), &selinux).outcomes[1].problem.is_some());
}

#[test]
fn what_the_caller_keeps_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut a = seccomp("a", "x");
    a.source = "broken.yaml".to_owned();
    run(dir.path(), &[a, seccomp("b", "x")]);
    let host = Root::open(dir.path()).expect("a root");
    install(&host, &[], &|entry| entry.source == "broken.yaml").expect("the ledger works");
    assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "x".into())]));
}

#[test]
fn a_damaged_ledger_stops_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &[seccomp("a", "x")]);
    for damage in ["", "{", "[]", r#"{"format":"2","entries":{}}"#, r#"{"format":"1","entries":{"../x":{}}}"#]
    {
        fs::write(dir.path().join(LEDGER), damage).expect("writes");
        let host = Root::open(dir.path()).expect("a root");
        let error = install(&host, &[], &|_| false).expect_err("refuses").to_string();
        assert!(error.contains("nothing is touched"), "{error}");
        assert_eq!(files(dir.path()).len(), 1);
    }
}

/// Lets every single step of a run fail, once with the run going on behind it and once as if the process had
/// been killed there, and looks at every file afterwards.
#[test]
fn after_a_failure_of_any_step_everything_is_old_or_new_and_the_next_run_converges() {
    let before = [seccomp("changed", "old"), seccomp("gone", "old"), seccomp("same", "same")];
    let after = [seccomp("changed", "new"), seccomp("same", "same"), seccomp("added", "new")];
    let states = |name: &str| -> &[Option<&str>] {
        match name {
            "changed" => &[Some("old"), Some("new")],
            "gone" => &[Some("old"), None],
            "added" => &[None, Some("new")],
            _ => &[Some("same")],
        }
    };
    let total = {
        let dir = tempfile::tempdir().expect("a directory");
        run(dir.path(), &before);
        let host = Root::open(dir.path()).expect("a root");
        let counting = Faulty { host: &host, steps: Cell::new(0), fails_at: usize::MAX, dies: false };
        install(&counting, &after, &|_| false).expect("works");
        counting.steps.get()
    };
    assert!(total > 20, "{total} steps");
    for dies in [false, true] {
        for fails_at in 0..total {
            let dir = tempfile::tempdir().expect("a directory");
            run(dir.path(), &before);
            let theirs = dir.path().join(at("theirs"));
            fs::write(&theirs, "theirs").expect("writes");
            let host = Root::open(dir.path()).expect("a root");
            let faulty = Faulty { host: &host, steps: Cell::new(0), fails_at, dies };
            let report = install(&faulty, &after, &|_| false);
            let there = files(dir.path());
            for name in ["changed", "gone", "same", "added"] {
                let content = there.get(&at(name)).map(String::as_str);
                assert!(
                    states(name).contains(&content),
                    "step {fails_at}, dies {dies}: {name} is {content:?}"
                );
                if let Ok(report) = &report
                    && let Some(i) = after.iter().position(|a| a.path.as_str() == at(name))
                    && report.outcomes[i].state != State::Failed
                {
                    assert_eq!(content, states(name).last().copied().flatten(), "reported as there: {name}");
                }
            }
            let again = run(dir.path(), &after);
            assert_eq!(again.problems().next(), None, "step {fails_at}, dies {dies}");
            let mut expected = BTreeMap::from([(at("theirs"), "theirs".to_owned())]);
            expected.extend(
                after.iter().map(|a| (a.path.to_string(), String::from_utf8_lossy(&a.bytes).into_owned())),
            );
            assert_eq!(files(dir.path()), expected, "step {fails_at}, dies {dies}: converged, no leftovers");
        }
    }
}
