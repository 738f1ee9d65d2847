//! SELinux modules go into a real policy store through the real `semodule`, and through a daemon that speaks as
//! `selinuxd` does.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use spo_model::{kind::Kind, names::ProfileKey};
use spo_node::{
    Report, State,
    artefact::{Artefact, Origin},
    host::Root,
    install,
    kernel::{Live, Selinuxd, Tools},
};

/// A root with a policy store that holds our minimal base; `None` if there is no `semodule`.
fn store() -> Option<tempfile::TempDir> {
    if !Path::new("/usr/sbin/semodule").exists() {
        let line = "SKIPPED: selinux: semodule is not installed; install with scripts/install-test-tools";
        // Not by println!, which is shown of failed tests only.
        let _ = writeln!(std::io::stderr(), "{line}");
        assert_ne!(std::env::var("SPO_REQUIRE_TOOLS").as_deref(), Ok("1"), "selinux has to run here");
        return None;
    }
    let root = tempfile::tempdir().expect("a directory");
    for dir in ["etc/selinux/mini/contexts/files", "var/lib/selinux/mini"] {
        fs::create_dir_all(root.path().join(dir)).expect("makes");
    }
    fs::write(root.path().join("etc/selinux/config"), "SELINUX=permissive\nSELINUXTYPE=mini\n")
        .expect("writes");
    let base = root.path().join("base.cil");
    // A policy without any rule cannot be read back by the tools.
    let text = spo_selinux_cil::templates::minimal_base() + "(allow kernel_t self (process (fork)))\n";
    fs::write(&base, text).expect("writes");
    let status = semodule(root.path()).args(["-N", "-X", "100", "-i"]).arg(&base).status().expect("runs");
    assert!(status.success());
    Some(root)
}

fn semodule(root: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/semodule");
    command.arg("-p").arg(root).args(["-s", "mini"]);
    command
}

/// The modules of ours in the store, by the real tool.
fn listed(root: &Path) -> Vec<String> {
    let output = semodule(root).arg("-lfull").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let ours = text.lines().filter_map(|l| l.strip_prefix("350 ")?.split_whitespace().next());
    let mut names: Vec<String> = ours.map(str::to_owned).collect();
    names.sort();
    names
}

fn module(name: &str, rule: &str) -> Artefact {
    let key = ProfileKey::new(Some("ns"), name).expect("a key");
    let text = format!("(block {name}\n    (blockinherit container)\n    {rule}\n)\n");
    let mut artefact = Artefact::new(Kind::RawSelinuxProfile, key, text.into_bytes()).expect("an artefact");
    artefact.origin = Some(Origin { path: spo_model::FieldPath::of("spec.policy"), lines_before: 1 });
    artefact
}

fn run(root: &Path, kernel: &Live, desired: &[Artefact]) -> Report {
    install(&Root::open(root).expect("a root"), kernel, desired, &|_| false).expect("the ledger works")
}

const GOOD: &str = "(allow process http_port_t (tcp_socket (name_bind)))";

#[test]
fn one_bad_module_is_found_and_the_others_are_installed() {
    let Some(root) = store() else { return };
    let kernel = Live::of(root.path());
    let desired = [
        module("first", GOOD),
        module("broken", "(allow process nosuch_t (file (read)))"),
        module("second", GOOD),
        module("odd", "(allow process http_port_t (tcp_socket (nosuch)))"),
    ];
    let report = run(root.path(), &kernel, &desired);
    let states: Vec<State> = report.outcomes.iter().map(|o| o.state).collect();
    assert_eq!(states, [State::Written, State::Failed, State::Written, State::Failed], "{report:?}");
    assert_eq!(listed(root.path()), ["spo_first", "spo_second", "spo_templates"]);
    let broken = &report.outcomes[1].diagnostics[0];
    assert_eq!(broken.path.to_string(), "spec.policy");
    assert!(broken.message.contains("line 2") && broken.message.contains("nosuch_t"), "{broken}");
    assert!(!root.path().join("etc/selinux.d/spo_broken.cil").exists());

    // Nothing changed, so nothing happens; the broken ones are tried again.
    let report = run(root.path(), &kernel, &[module("first", GOOD), module("second", GOOD)]);
    assert!(!report.changed(), "{report:?}");
    // Somebody removes one by hand, one is not wanted any more.
    assert!(
        semodule(root.path()).args(["-N", "-X", "350", "-r", "spo_first"]).status().expect("runs").success()
    );
    let report = run(root.path(), &kernel, &[module("first", GOOD)]);
    assert_eq!((report.outcomes[0].state, report.removed.len()), (State::Loaded, 1), "{report:?}");
    assert_eq!(listed(root.path()), ["spo_first", "spo_templates"]);
}

#[test]
fn a_module_that_another_needs_stays_and_says_why() {
    let Some(root) = store() else { return };
    let kernel = Live::of(root.path());
    let parent = module("parent", GOOD);
    let mut child = module("child", GOOD);
    child.bytes = b"(block child\n    (blockinherit parent)\n)\n".to_vec().into();
    let both = run(root.path(), &kernel, &[child.clone(), parent]);
    assert_eq!(both.problems().next(), None, "the order inside a transaction is free: {both:?}");
    let report = run(root.path(), &kernel, &[child]);
    assert_eq!(report.stuck.len(), 1, "{report:?}");
    assert!(root.path().join("etc/selinux.d/spo_parent.cil").exists());
    assert_eq!(listed(root.path()), ["spo_child", "spo_parent", "spo_templates"]);
    let report = run(root.path(), &kernel, &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (2, 0), "{report:?}");
    assert_eq!(listed(root.path()), [""; 0], "the templates go with the last that needs them");
}

/// The blocks of one file replace ours; others take effect for what is loaded already; ours come back.
#[test]
fn templates_of_an_administrator_take_the_place_of_ours() {
    let Some(root) = store() else { return };
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("base_container.cil");
    let block = |rule: &str| {
        format!(
            "(block container\n    (blockabstract container)\n    (type process)\n    (roletype system_r process)\n    {rule}\n)\n"
        )
    };
    let desired = [module("first", "(allow process self (process (fork)))")];
    let own = Live::of(root.path());
    assert_eq!(run(root.path(), &own, &desired).outcomes[0].state, State::Written);
    assert_eq!(listed(root.path()), ["spo_first", "spo_templates"]);

    fs::write(&file, block("(allow process self (process (signal)))")).expect("writes");
    let theirs = own.clone().with_templates(files.path());
    assert_eq!(run(root.path(), &theirs, &desired).outcomes[0].state, State::Loaded);
    assert_eq!(listed(root.path()), ["base_container", "spo_first"]);
    assert!(!run(root.path(), &theirs, &desired).changed(), "nothing changed");

    // One that cannot be: everybody hears of it, and the policy stays as it was.
    fs::write(&file, block("(allow process nosuch_t (process (signal)))")).expect("writes");
    let report = run(root.path(), &theirs, &desired);
    let message = report.outcomes[0].problem.clone().unwrap_or_default();
    assert!(message.contains("template base_container") && message.contains("nosuch_t"), "{report:?}");
    assert_eq!(listed(root.path()), ["base_container", "spo_first"]);
    fs::remove_file(&file).expect("removes");
    let report = run(root.path(), &theirs, &desired);
    let message = report.outcomes[0].problem.clone().unwrap_or_default();
    assert!(message.contains("there is no file *.cil"), "{report:?}");

    assert_eq!(run(root.path(), &own, &desired).outcomes[0].state, State::Loaded);
    assert_eq!(listed(root.path()), ["spo_first", "spo_templates"]);
    assert_eq!(run(root.path(), &own, &[]).removed.len(), 1);
    assert_eq!(listed(root.path()), [""; 0]);
}

#[test]
fn a_root_without_a_store_gets_files_only() {
    let root = tempfile::tempdir().expect("a directory");
    let report = run(root.path(), &Live::of(root.path()), &[module("first", "(allow")]);
    assert_eq!(report.outcomes[0].state, State::Written);
}

/// Answers as `selinuxd` does, from a directory: a module whose text says `bad` failed. While there is a file `starting`
/// beside the socket, it is not ready.
fn daemon(root: &Path) -> (std::path::PathBuf, Arc<Mutex<Vec<String>>>) {
    let socket = root.join("selinuxd.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (dir, starting, log) = (root.join("etc/selinux.d"), root.join("starting"), asked.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let size = stream.read(&mut request).unwrap_or(0);
            let line =
                String::from_utf8_lossy(&request[..size]).lines().next().unwrap_or_default().to_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().expect("not poisoned").push(path.clone());
            let (status, body) = match path.as_str() {
                "/ready/" => ("200 OK", format!(r#"{{"ready":{}}}"#, !starting.exists())),
                "/policies/" => {
                    let names: Vec<_> = fs::read_dir(&dir)
                        .into_iter()
                        .flatten()
                        .flatten()
                        .filter_map(|e| {
                            e.file_name().to_string_lossy().strip_suffix(".cil").map(str::to_owned)
                        })
                        .collect();
                    // It says null, not [], if there is none.
                    let text = if names.is_empty() { "null".to_owned() } else { format!("{names:?}") };
                    ("200 OK", text)
                }
                path => match fs::read_to_string(
                    dir.join(path.trim_start_matches("/policies/")).with_extension("cil"),
                ) {
                    Ok(text) if text.contains("bad") => {
                        ("200 OK", r#"{"status":"Failed","msg":"it is bad"}"#.to_owned())
                    }
                    Ok(_) => ("200 OK", r#"{"status":"Installed","msg":""}"#.to_owned()),
                    Err(_) => ("404 Not Found", "couldn't find policy".to_owned()),
                },
            };
            let _ = write!(stream, "HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
        }
    });
    (socket, asked)
}

#[test]
fn selinuxd_is_asked_what_became_of_a_module() {
    let root = tempfile::tempdir().expect("a directory");
    let (socket, asked) = daemon(root.path());
    let selinuxd = Selinuxd::new(&socket, Duration::from_secs(5));
    let kernel = Live::alternate(root.path(), &Tools::default()).with_selinuxd(selinuxd);
    let report = run(root.path(), &kernel, &[module("first", GOOD), module("worse", "(bad)")]);
    assert_eq!(report.outcomes[0].state, State::Written, "{report:?}");
    assert_eq!(report.problems().collect::<Vec<_>>(), ["selinuxd refuses the module: it is bad"]);
    assert!(
        !run(root.path(), &kernel, &[module("first", GOOD)]).outcomes.iter().any(|o| o.problem.is_some())
    );
    assert_eq!(run(root.path(), &kernel, &[]).removed.len(), 1);
    assert!(asked.lock().expect("not poisoned").iter().any(|p| p == "/policies/spo_first"));

    let nobody = Selinuxd::new(&root.path().join("nobody.sock"), Duration::from_secs(5));
    let kernel = Live::alternate(root.path(), &Tools::default()).with_selinuxd(nobody);
    let report = run(root.path(), &kernel, &[module("first", GOOD)]);
    assert_eq!(report.outcomes[0].state, State::Failed);
    assert!(report.problems().any(|problem| problem.contains("nobody.sock")), "{report:?}");
}

/// Defect 15: the existing operator crashes on a `selinuxd` that says that it is not ready.
#[test]
fn a_selinuxd_that_is_starting_is_waited_for() {
    let root = tempfile::tempdir().expect("a directory");
    let starting = root.path().join("starting");
    let (socket, _) = daemon(root.path());
    let selinuxd = Selinuxd::new(&socket, Duration::from_secs(5));
    let kernel = Live::alternate(root.path(), &Tools::default()).with_selinuxd(selinuxd);
    fs::write(&starting, "").expect("writes");
    let report = run(root.path(), &kernel, &[module("first", GOOD)]);
    assert_eq!(report.outcomes[0].state, State::Failed, "a profile that is not there counts");
    assert!(report.problems().any(|problem| problem.contains("not ready yet")), "{report:?}");
    fs::remove_file(&starting).expect("removes");
    assert_eq!(run(root.path(), &kernel, &[module("first", GOOD)]).outcomes[0].state, State::Written);
    // What is to go is not forgotten while nobody can take it out.
    fs::write(&starting, "").expect("writes");
    let report = run(root.path(), &kernel, &[]);
    assert_eq!((report.removed.len(), report.stuck.len()), (0, 1));
    fs::remove_file(&starting).expect("removes");
    assert_eq!(run(root.path(), &kernel, &[]).removed.len(), 1);
}
