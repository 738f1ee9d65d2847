//! The three promises, with failures injected at every step.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, Instant},
};

use spo_model::{kind::Kind, names::ProfileKey};

use crate::{
    Report, State,
    artefact::Artefact,
    host::{
        Host as _, Root,
        faulty::{Broken, Faulty},
    },
    install, install_again,
    kernel::{FilesOnly, Lsm, Order, fake::Fake},
    ledger::LEDGER,
    memory::Memory,
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
    install(&host, &FilesOnly, desired, &|_| false).expect("the ledger works")
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
    for desired in [vec![seccomp("a", "ours"), seccomp("b", "ours")], vec![]] {
        let report = run(dir.path(), &desired);
        assert_eq!(fs::read_to_string(&path).expect("there"), "theirs");
        if let Some(outcome) = report.outcomes.first() {
            assert_eq!(outcome.state, State::Failed);
            assert!(outcome.problem.as_deref().is_some_and(|p| p.contains("not ours")), "{outcome:?}");
        }
    }
    assert_eq!(files(dir.path()).len(), 1);
}

/// As the migration of another operator's folder leaves them.
#[test]
fn a_file_that_is_what_is_wanted_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(at("a"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
    fs::write(&path, "same").expect("writes");
    assert_eq!(run(dir.path(), &[seccomp("a", "same")]).problems().next(), None);
    assert!(!run(dir.path(), &[seccomp("a", "same")]).changed());
    assert_eq!(run(dir.path(), &[]).removed.len(), 1, "from then on it is ours");
    assert!(!path.exists());
}

#[test]
fn two_processes_do_not_change_a_host_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, mut second) =
        (Root::open(dir.path()).expect("a root"), Root::open(dir.path()).expect("a root"));
    second.patience = Duration::ZERO;
    let lock = first.lock().expect("locks");
    assert!(lock.is_some());
    let error = install(&second, &FilesOnly, &[seccomp("a", "1")], &|_| false).expect_err("refuses");
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(files(dir.path()).is_empty());
    drop(lock);
    install(&second, &FilesOnly, &[seccomp("a", "1")], &|_| false).expect("works");
    // Nor does a lock outlive what it is for.
    install(&second, &FilesOnly, &[seccomp("a", "2")], &|_| false).expect("works");
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
        let problem = match install(&host, &FilesOnly, &[seccomp("a", "x")], &|_| false) {
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

/// SELinux modules of all namespaces and of both kinds have one folder and one name space.
#[test]
fn a_name_in_the_kernel_is_free_when_its_owner_has_gone() {
    let (selinux, raw, apparmor) = (Kind::SelinuxProfile, Kind::RawSelinuxProfile, Kind::AppArmorProfile);
    for (first, second) in [
        ((selinux, "a"), (selinux, "b")),
        ((selinux, "a"), (raw, "a")),
        ((raw, "b"), (selinux, "b")),
        ((apparmor, "a"), (apparmor, "b")),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let kernel = Fake::default();
        let of = |(kind, namespace), text| artefact(kind, namespace, "web", text);
        let both = [of(first, "first"), of(second, "second")];
        let report = run_with(dir.path(), &kernel, &both);
        assert_eq!(report.outcomes[1].state, State::Failed, "{first:?} has the name");
        let report = run_with(dir.path(), &kernel, &both[1..]);
        assert_eq!(report.problems().next(), None, "{second:?}");
        let held: Vec<String> = kernel.held.borrow().values().cloned().collect();
        assert_eq!(held, ["second"]);
        assert_eq!(files(dir.path()).into_values().collect::<Vec<_>>(), ["second"]);
        assert!(!run_with(dir.path(), &kernel, &both[1..]).changed(), "and stays so");
        // The one that was first comes again: now it is the one that waits.
        let report = run_with(dir.path(), &kernel, &both);
        assert_eq!((report.outcomes[0].state, report.outcomes[1].state), (State::Failed, State::Unchanged));
        run_with(dir.path(), &kernel, &[]);
        assert!(kernel.held.borrow().is_empty() && files(dir.path()).is_empty());
    }
}

/// The same bytes under another kind are another profile's.
#[test]
fn a_profile_that_changes_its_kind_is_known_by_the_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = Fake::default();
    run_with(dir.path(), &kernel, &[artefact(Kind::SelinuxProfile, "a", "web", "same")]);
    run_with(dir.path(), &kernel, &[artefact(Kind::RawSelinuxProfile, "a", "web", "same")]);
    let host = Root::open(dir.path()).expect("a root");
    let ledger = crate::observe::read_ledger(&host).expect("reads");
    let kinds: Vec<Kind> = ledger.entries.values().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::RawSelinuxProfile]);
}

#[test]
fn what_the_caller_keeps_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut a = seccomp("a", "x");
    a.source = "broken.yaml".to_owned();
    run(dir.path(), &[a, seccomp("b", "x")]);
    let host = Root::open(dir.path()).expect("a root");
    install(&host, &FilesOnly, &[], &|entry| entry.source == "broken.yaml").expect("the ledger works");
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
        let error = install(&host, &FilesOnly, &[], &|_| false).expect_err("refuses").to_string();
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
        install(&counting, &FilesOnly, &after, &|_| false).expect("works");
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
            let report = install(&faulty, &FilesOnly, &after, &|_| false);
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

#[test]
fn a_removal_that_is_not_durable_is_not_told_as_done() {
    let attempt = |fails_at| {
        let dir = tempfile::tempdir().expect("a directory");
        run(dir.path(), &[seccomp("gone", "old")]);
        let host = Root::open(dir.path()).expect("a root");
        let faulty = Faulty { host: &host, steps: Cell::new(0), fails_at, dies: false };
        let report = install(&faulty, &FilesOnly, &[], &|_| false);
        (dir, report, faulty.steps.get())
    };
    let total = attempt(usize::MAX).2;
    let undurable: Vec<_> = (0..total)
        .map(attempt)
        .filter(|(_, report, _)| {
            report.as_ref().is_ok_and(|r| r.stuck.iter().any(|(_, why)| why.contains("power cut")))
        })
        .collect();
    let [(dir, report, _)] = &undurable[..] else { panic!("one step is that: {}", undurable.len()) };
    assert!(report.as_ref().is_ok_and(|report| report.removed.is_empty()));
    // The next run finds nothing to remove, and makes that durable before it forgets.
    assert_eq!(run(dir.path(), &[]).problems().next(), None);
    let ledger = fs::read_to_string(dir.path().join(LEDGER)).expect("reads");
    assert!(!ledger.contains("gone"), "{ledger}");
}

/// AppArmor and SELinux artefacts on a host with a kernel, and what the kernel holds afterwards.
fn run_with(dir: &Path, kernel: &Fake, desired: &[Artefact]) -> Report {
    let host = Root::open(dir).expect("a root");
    install(&host, kernel, desired, &|_| false).expect("the ledger works")
}

fn apparmor(namespace: &str, name: &str, content: &str) -> Artefact {
    artefact(Kind::AppArmorProfile, namespace, name, content)
}

#[test]
fn profiles_are_loaded_once_and_again_after_a_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kernel = Fake { boot: "one".to_owned(), ..Fake::default() };
    let desired = [apparmor("ns", "web", "1"), artefact(Kind::SelinuxProfile, "ns", "db", "1")];
    assert!(run_with(dir.path(), &kernel, &desired).problems().next().is_none());
    assert_eq!(kernel.text(Lsm::AppArmor, "web").as_deref(), Some("1"));
    assert_eq!(kernel.text(Lsm::Selinux, "spo_db").as_deref(), Some("1"));
    assert!(!run_with(dir.path(), &kernel, &desired).changed());
    assert_eq!(*kernel.batches.borrow(), 1, "both in one batch, and nothing the second time");

    // AppArmor forgets with a boot, the SELinux store does not.
    kernel.held.borrow_mut().remove(&(Lsm::AppArmor, "web".to_owned()));
    kernel.boot = "two".to_owned();
    let states: Vec<_> = run_with(dir.path(), &kernel, &desired).outcomes.iter().map(|o| o.state).collect();
    assert_eq!(states, [State::Loaded, State::Unchanged]);
    // Modules of SELinux are built on templates, and loaded again with others.
    kernel.templates = "others".to_owned();
    let states: Vec<_> = run_with(dir.path(), &kernel, &desired).outcomes.iter().map(|o| o.state).collect();
    assert_eq!(states, [State::Unchanged, State::Loaded]);
    // Somebody unloads it by hand.
    kernel.held.borrow_mut().clear();
    assert!(run_with(dir.path(), &kernel, &desired).changed());
    assert_eq!(kernel.text(Lsm::Selinux, "spo_db").as_deref(), Some("1"));

    let report = run_with(dir.path(), &kernel, &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (2, 0));
    assert!(kernel.held.borrow().is_empty() && files(dir.path()).is_empty());
}

/// Unloaded, it would let them do anything.
#[test]
fn what_processes_run_under_stays_until_they_have_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kernel = Fake { used: Some("web"), ..Fake::default() };
    run_with(dir.path(), &kernel, &[apparmor("ns", "web", "1"), apparmor("ns", "idle", "1")]);
    for _ in 0..2 {
        let report = run_with(dir.path(), &kernel, &[]);
        assert!(report.problems().eq(["kept: process 7 runs under it"]), "{report:?}");
        assert_eq!(kernel.text(Lsm::AppArmor, "web").as_deref(), Some("1"));
        assert_eq!(kernel.text(Lsm::AppArmor, "idle"), None);
        assert_eq!(files(dir.path()).len(), 1, "its file too: it is loaded again when the node starts");
    }
    // Wanted again meanwhile, it is the same.
    let report = run_with(dir.path(), &kernel, &[apparmor("ns", "web", "2")]);
    assert_eq!((report.outcomes[0].state, report.stuck.len()), (State::Written, 0));
    assert_eq!(kernel.text(Lsm::AppArmor, "web").as_deref(), Some("2"));
    kernel.used = None;
    assert_eq!(run_with(dir.path(), &kernel, &[]).removed.len(), 1);
    assert!(kernel.held.borrow().is_empty() && files(dir.path()).is_empty());
}

#[test]
fn what_the_module_refuses_does_not_replace_what_was_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = Fake::default();
    run_with(dir.path(), &kernel, &[apparmor("ns", "web", "good")]);
    let report =
        run_with(dir.path(), &kernel, &[apparmor("ns", "web", "bad"), apparmor("ns", "new", "good")]);
    assert_eq!(report.outcomes[0].problem.as_deref(), Some("bad policy"));
    assert_eq!(report.outcomes[1].state, State::Written, "one bad profile stops no other");
    assert_eq!(kernel.text(Lsm::AppArmor, "web").as_deref(), Some("good"));
    let there = files(dir.path());
    assert_eq!(there.get("etc/apparmor.d/spo.ns.web").map(String::as_str), Some("good"));
    assert_eq!(there.len(), 2, "no leftovers: {there:?}");
    // Repaired, it goes in.
    assert!(run_with(dir.path(), &kernel, &[apparmor("ns", "web", "better")]).problems().next().is_none());
    assert_eq!(kernel.text(Lsm::AppArmor, "web").as_deref(), Some("better"));
}

/// A policy may take its compiler minutes, and its tenant is not the only one.
#[test]
fn files_do_not_wait_for_a_security_module() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |file: &str| Some(dir.path().join(file));
    let mut kernel = Fake { looks_for: of(&at("a")), ..Fake::default() };
    let module = artefact(Kind::SelinuxProfile, "ns", "db", "1");
    run_with(dir.path(), &kernel, &[module, seccomp("a", "1")]);
    let changed = artefact(Kind::SelinuxProfile, "ns", "db", "2");
    run_with(dir.path(), &kernel, std::slice::from_ref(&changed));
    assert_eq!(*kernel.seen.borrow(), [true, false], "written, then removed, before the module is loaded");
    kernel.looks_for = of(&changed.path.to_string());
    run_with(dir.path(), &kernel, &[]);
    assert_eq!(kernel.seen.borrow().last(), Some(&true), "what is loaded goes behind the kernel");
}

#[test]
fn a_module_that_was_refused_is_left_alone_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Root::open(dir.path()).expect("a root");
    let mut kernel = Fake::default();
    let second = Duration::from_secs(1);
    let (start, mut memory) = (Instant::now(), Memory::new(second * 5, second * 15));
    let mut run = |kernel: &Fake, desired: &[Artefact], at: u32| {
        let report = install_again(&host, kernel, desired, &|_| false, &mut memory, start + second * at)
            .expect("works");
        (report.outcomes[0].problem.clone(), *kernel.batches.borrow())
    };
    let of = |text| artefact(Kind::SelinuxProfile, "ns", "db", text);
    let no = Some("bad policy".to_owned());
    assert_eq!(run(&kernel, &[of("bad")], 0), (no.clone(), 1));
    // Somebody else's filter, and another: no transaction, and the reason stands.
    assert_eq!(run(&kernel, &[of("bad"), seccomp("a", "1")], 1), (no.clone(), 1));
    assert_eq!(run(&kernel, &[of("bad"), seccomp("a", "2")], 4), (no.clone(), 1));
    assert!(files(dir.path()).contains_key(&at("a")));
    // Another module does not drag it along.
    let apparmor = apparmor("ns", "web", "good");
    assert_eq!(run(&kernel, &[of("bad"), apparmor.clone()], 4), (no.clone(), 2));
    assert_eq!(run(&kernel, &[of("bad"), apparmor.clone()], 5), (no.clone(), 3), "its time has come");
    assert_eq!(run(&kernel, &[of("bad"), apparmor.clone()], 14), (no.clone(), 3), "twice as long");
    assert_eq!(run(&kernel, &[of("bad"), apparmor.clone()], 15), (no.clone(), 4));
    assert_eq!(
        run(&kernel, &[of("bad"), apparmor.clone()], 30),
        (no.clone(), 5),
        "and never longer than 15 s"
    );
    // Another text, and other templates, are worth a try at once.
    assert_eq!(run(&kernel, &[of("bad too"), apparmor.clone()], 31), (no.clone(), 6));
    kernel.templates = "others".to_owned();
    assert_eq!(run(&kernel, &[of("bad too"), apparmor.clone()], 32), (no, 7));
    assert_eq!(run(&kernel, &[of("good"), apparmor], 33), (None, 8));
}

/// A name that a refused module does not take is not that of its predecessor for ever.
#[test]
fn what_is_gone_does_not_stay_because_its_successor_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Root::open(dir.path()).expect("a root");
    let kernel = Fake::default();
    let mut memory = Memory::new(Duration::from_secs(5), Duration::from_secs(5));
    let of = |namespace, text| artefact(Kind::SelinuxProfile, namespace, "web", text);
    run_with(dir.path(), &kernel, &[of("a", "good")]);
    for _ in 0..2 {
        install_again(&host, &kernel, &[of("b", "bad")], &|_| false, &mut memory, Instant::now())
            .expect("works");
    }
    assert!(kernel.held.borrow().is_empty() && files(dir.path()).is_empty());
}

#[test]
fn what_cannot_be_looked_at_is_not_said_to_be_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &[seccomp("a", "1")]);
    fs::remove_file(dir.path().join(at("a"))).expect("removes");
    fs::create_dir(dir.path().join(at("a"))).expect("makes");
    let report = run(dir.path(), &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (0, 1));
    assert!(report.stuck[0].1.contains("no regular file"), "{:?}", report.stuck);
}

#[test]
fn a_foreign_profile_in_the_kernel_is_never_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = Fake::default();
    kernel.held.borrow_mut().insert((Lsm::AppArmor, "docker-default".to_owned()), "theirs".to_owned());
    let report = run_with(dir.path(), &kernel, &[apparmor("ns", "docker-default", "ours")]);
    let problem = report.outcomes[0].problem.as_deref().unwrap_or_default();
    assert!(problem.contains("\"docker-default\" is loaded and not ours"), "{problem}");
    run_with(dir.path(), &kernel, &[]);
    assert_eq!(kernel.text(Lsm::AppArmor, "docker-default").as_deref(), Some("theirs"));
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_host_without_the_module_says_so_and_gets_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = Fake { no_apparmor: Some("AppArmor is not enabled"), ..Fake::default() };
    let report = run_with(dir.path(), &kernel, &[apparmor("ns", "web", "1"), seccomp("a", "1")]);
    assert_eq!(report.outcomes[0].state, State::Unsupported);
    assert_eq!(report.outcomes[0].problem.as_deref(), Some("AppArmor is not enabled"));
    assert_eq!(report.problems().next(), None, "it is no failure");
    assert_eq!(report.outcomes[1].state, State::Written);
    assert_eq!(files(dir.path()).len(), 1);
}

/// A host that has the module is one where pods are meant to be confined by it.
#[test]
fn a_module_that_cannot_be_used_now_is_a_failure_and_forgets_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kernel = Fake::default();
    let of = |content| [artefact(Kind::SelinuxProfile, "ns", "db", content)];
    run_with(dir.path(), &kernel, &of("1"));
    kernel.selinux_away = Some("semodule hangs");
    let report = run_with(dir.path(), &kernel, &of("2"));
    assert_eq!(report.outcomes[0].state, State::Failed);
    assert_eq!(report.problems().collect::<Vec<_>>(), ["semodule hangs"]);
    assert_eq!(files(dir.path()).len(), 1, "what was there stays");
    let report = run_with(dir.path(), &kernel, &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (0, 1));
    kernel.selinux_away = None;
    let report = run_with(dir.path(), &kernel, &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (1, 0));
    assert_eq!(kernel.text(Lsm::Selinux, "db"), None);
    assert!(kernel.held.borrow().is_empty());
}

#[test]
fn a_module_that_watches_the_files_is_asked_behind_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let kernel = Fake { order: Some(Order::AfterFile), ..Fake::default() };
    let of = |content| [artefact(Kind::SelinuxProfile, "ns", "db", content)];
    let report = run_with(dir.path(), &kernel, &of("bad"));
    assert_eq!(report.outcomes[0].state, State::Failed);
    assert_eq!(files(dir.path()).len(), 1, "the file comes first");
    assert!(run_with(dir.path(), &kernel, &of("good")).problems().next().is_none());
    assert_eq!(kernel.text(Lsm::Selinux, "spo_db").as_deref(), Some("good"));
    assert_eq!(run_with(dir.path(), &kernel, &[]).removed.len(), 1);
    assert!(kernel.held.borrow().is_empty());
}

/// As the test above for files, with a kernel: whatever step fails or is the last, the kernel holds the old or the
/// new text, and the next run brings file and kernel to the same.
#[test]
fn file_and_kernel_converge_after_a_failure_of_any_step() {
    let before = [apparmor("ns", "changed", "old"), apparmor("ns", "gone", "old")];
    let after = [apparmor("ns", "changed", "new"), apparmor("ns", "added", "new")];
    let attempt = |fails_at, dies| {
        let dir = tempfile::tempdir().expect("a directory");
        let kernel = Fake::default();
        run_with(dir.path(), &kernel, &before);
        let host = Root::open(dir.path()).expect("a root");
        let faulty = Faulty { host: &host, steps: Cell::new(0), fails_at, dies };
        let _ = install(&faulty, &kernel, &after, &|_| false);
        (dir, kernel, faulty.steps.get())
    };
    let total = attempt(usize::MAX, false).2;
    assert!(total > 20, "{total} steps");
    for dies in [false, true] {
        for fails_at in 0..total {
            let (dir, kernel, _) = attempt(fails_at, dies);
            let changed = kernel.text(Lsm::AppArmor, "changed");
            assert!(matches!(changed.as_deref(), Some("old" | "new")), "step {fails_at}: {changed:?}");
            let again = run_with(dir.path(), &kernel, &after);
            assert_eq!(again.problems().next(), None, "step {fails_at}, dies {dies}");
            let held: Vec<_> =
                kernel.held.borrow().iter().map(|((_, n), t)| (n.clone(), t.clone())).collect();
            let want = [("added", "new"), ("changed", "new")].map(|(n, t)| (n.to_owned(), t.to_owned()));
            assert_eq!(held, want, "step {fails_at}, dies {dies}");
            assert_eq!(files(dir.path()).len(), 2);
        }
    }
}

#[test]
fn a_full_or_read_only_file_system_and_a_removed_directory_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &[seccomp("a", "old")]);
    let host = Root::open(dir.path()).expect("a root");
    for (errno, words) in [(28, "No space left"), (30, "Read-only file system")] {
        let broken = Broken { host: &host, errno };
        let error = install(&broken, &FilesOnly, &[seccomp("a", "new")], &|_| false).expect_err("no ledger");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "old".into())]));
    }
    fs::remove_dir_all(dir.path().join("var/lib/kubelet")).expect("removes");
    assert!(run(dir.path(), &[seccomp("a", "new")]).problems().next().is_none());
    assert_eq!(files(dir.path()), BTreeMap::from([(at("a"), "new".into())]));
}

/// Says in one line that a tier cannot run, or fails where it has to.
pub(crate) fn skipped(tier: &str, reason: &str) {
    // Not by println!, which is shown of failed tests only.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {tier}: {reason}; install with scripts/install-test-tools");
    assert_ne!(std::env::var("SPO_REQUIRE_TOOLS").as_deref(), Ok("1"), "{tier} has to run here");
}
