//! The standalone agent as a user runs it: the guide's manifests, bad input, edits, a host with other people's
//! files on it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// A folder of manifests and a folder that stands for a node.
struct Bench {
    manifests: TempDir,
    node: TempDir,
}

impl Bench {
    fn new(manifests: &[(&str, &str)]) -> Self {
        let folder = || tempfile::tempdir().expect("a folder");
        let bench = Self { manifests: folder(), node: folder() };
        for (name, text) in manifests {
            bench.write(name, text);
        }
        bench
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.manifests.path().join(name), text).expect("writes");
    }

    fn command(&self) -> Command {
        command(&[self.manifests.path()], self.node.path())
    }

    fn run(&self) -> Output {
        self.command().output().expect("runs")
    }

    /// Runs, and expects a failure that says all of `wanted` and writes no profile.
    fn refuses(&self, wanted: &[&str]) {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
        }
        assert_eq!(files(self.node.path()), BTreeMap::new(), "nothing is written");
    }

    fn json(&self) -> Value {
        let output = self.command().args(["--output", "json"]).output().expect("runs");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn command(manifests: &[&Path], node: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spo-operator"));
    command.arg("standalone").arg("--root").arg(node);
    for directory in manifests {
        command.arg("--manifests").arg(directory);
    }
    command
}

/// Every artefact below a folder: path → (content, time of last change).
type Files = BTreeMap<String, (String, SystemTime)>;

fn files(dir: &Path) -> Files {
    fn walk(root: &Path, dir: &Path, found: &mut Files) {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, found);
            } else if !path.to_string_lossy().ends_with(".tmp") {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                let content = fs::read_to_string(&path).unwrap_or_default();
                found.insert(name, (content, metadata.modified().expect("a time")));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found.remove("var/lib/security-profiles-operator/ledger.json");
    found
}

fn seccomp(name: &str, calls: &str) -> String {
    format!(
        "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\n\
         metadata: {{name: {name}, namespace: ns}}\n\
         spec:\n  defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - action: SCMP_ACT_ALLOW\n    names: [{calls}]\n"
    )
}

fn path_of(name: &str) -> String {
    format!("var/lib/kubelet/seccomp/operator/ns/{name}.json")
}

fn run_guide(node: &Path) -> Output {
    let (bases, guide) = (workspace().join("deploy/base-profiles"), workspace().join("examples/guide"));
    command(&[&bases, &guide], node).output().expect("runs")
}

#[test]
fn the_guide_installs_and_a_second_run_changes_nothing() {
    let node = tempfile::tempdir().expect("a folder");
    let first = run_guide(node.path());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stdout));
    let there = files(node.path());
    for wanted in [
        "var/lib/kubelet/seccomp/operator/production/restricted-workload.json",
        "var/lib/kubelet/seccomp/operator/production/app-with-network.json",
        "etc/apparmor.d/spo.production.nginx-apparmor",
        "etc/selinux.d/spo_nginx-selinux.cil",
    ] {
        assert!(there.contains_key(wanted), "{wanted} is missing in {:?}", there.keys());
    }
    let second = run_guide(node.path());
    assert!(second.status.success());
    assert!(String::from_utf8_lossy(&second.stdout).contains("(0 written), 0 removed, 0 with errors"));
    assert_eq!(files(node.path()), there);
}

#[test]
fn the_base_profiles_calls_are_in_the_profile_that_builds_on_it() {
    let node = tempfile::tempdir().expect("a folder");
    run_guide(node.path());
    let path = node.path().join("var/lib/kubelet/seccomp/operator/production/app-with-network.json");
    let profile: Value = serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON");
    let mut allowed: Vec<&str> = profile["syscalls"]
        .as_array()
        .expect("rules")
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().expect("names"))
        .filter_map(Value::as_str)
        .collect();
    allowed.sort_unstable();
    allowed.dedup();
    for call in ["execve", "openat2", "socket", "connect", "sendto", "recvfrom"] {
        assert!(allowed.contains(&call), "{call} is missing");
    }
    assert_eq!(allowed.len(), 43, "40 of the base, 4 of the profile, recvfrom in both");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn a_base_in_a_registry_is_an_error_with_a_way_out() {
    let node = tempfile::tempdir().expect("a folder");
    let output = command(&[&workspace().join("examples/guide-oci")], node.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("oci://ghcr.io/security-profiles/runc:v1.4.0"), "{text}");
    assert!(text.contains("baseProfileName: runc-v1.4.0"), "{text}");
    assert!(files(node.path()).is_empty());
}

// Bad input.

#[test]
fn a_wrong_type_is_named_with_its_place() {
    let text = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\nmetadata: {name: x}\n\
                spec:\n  defaultAction: SCMP_ACT_ERRNO\n  syscalls: everything\n";
    Bench::new(&[("x.yaml", text)])
        .refuses(&["line 6:13: spec.syscalls: want a list, found the text \"everything\""]);
}

#[test]
fn an_unknown_syscall_is_named_with_the_nearest_one() {
    Bench::new(&[("x.yaml", &seccomp("x", "read, opnat"))]).refuses(&[
        "line 8:19: spec.syscalls[0].names[1]: no kernel has a syscall \"opnat\" (did you mean \"openat\"?)",
    ]);
}

#[test]
fn a_cycle_of_bases_is_printed() {
    let based = |name: &str, base: &str| {
        seccomp(name, "read").replace("spec:\n", &format!("spec:\n  baseProfileName: {base}\n"))
    };
    Bench::new(&[("a.yaml", &based("a", "b")), ("b.yaml", &based("b", "c")), ("c.yaml", &based("c", "a"))])
        .refuses(&["the base profiles form a cycle: ns/a → ns/b → ns/c → ns/a"]);
}

#[test]
fn a_base_of_another_namespace_has_to_be_shared() {
    let user = seccomp("user", "read").replace("spec:\n", "spec:\n  baseProfileName: bases/floor\n");
    let floor = seccomp("floor", "mount").replace("namespace: ns", "namespace: bases");
    let bench = Bench::new(&[("all.yaml", &format!("{user}---\n{floor}"))]);
    let output = bench.run();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("the base profile bases/floor is not there or not shared"), "{text}");
    assert!(!files(bench.node.path()).contains_key(&path_of("user")));
    let label = "namespace: bases, labels: {spo.x-k8s.io/share-base: \"true\"}";
    bench.write("all.yaml", &format!("{user}---\n{}", floor.replace("namespace: bases", label)));
    assert!(bench.run().status.success());
    assert!(files(bench.node.path())[&path_of("user")].0.contains("mount"));
    // What is on a host stays as it was when the base is not shared any more.
    bench.write("all.yaml", &format!("{user}---\n{floor}"));
    assert!(!bench.run().status.success());
    assert!(files(bench.node.path())[&path_of("user")].0.contains("mount"));
}

#[test]
fn a_file_of_200_mb_is_not_read() {
    let bench = Bench::new(&[]);
    let file = fs::File::create(bench.manifests.path().join("x.yaml")).expect("creates");
    file.set_len(200 << 20).expect("sparse");
    bench.refuses(&["the file has 209715200 bytes, at most 33554432 are read"]);
}

#[test]
fn an_alias_bomb_does_not_explode() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..40 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    Bench::new(&[("x.yaml", &text)]).refuses(&["more than 2000000 values once its aliases are expanded"]);
}

#[test]
fn deep_nesting_is_an_error() {
    let nested = |open: &str, close: &str, depth| format!("{}{}", open.repeat(depth), close.repeat(depth));
    Bench::new(&[("x.yaml", &nested("[", "]", 100))]).refuses(&["nested more than 64 deep"]);
    Bench::new(&[("x.yaml", &nested("- ", "", 100))]).refuses(&["nested more than 64 deep"]);
    // The scanner below has a limit of its own that comes first here.
    Bench::new(&[("x.json", &nested("{\"a\":", "}", 100_000))]).refuses(&["recursion limit exceeded"]);
}

#[test]
fn a_name_cannot_be_a_path() {
    for name in ["../../etc/cron.d/x", "..", "a/b", "\"a\\0b\""] {
        Bench::new(&[("x.yaml", &seccomp(name, "read"))]).refuses(&["metadata.name"]);
    }
    Bench::new(&[("x.yaml", &seccomp("x", "read").replace("namespace: ns", "namespace: ../.."))])
        .refuses(&["metadata.namespace"]);
}

#[test]
fn a_planted_symlink_is_not_followed() {
    let outside = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&[("x.yaml", &seccomp("x", "read"))]);
    let link = bench.node.path().join("var/lib/kubelet/seccomp/operator");
    fs::create_dir_all(link.parent().expect("a parent")).expect("makes");
    symlink(outside.path(), &link).expect("links");
    let output = bench.run();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("there is a symbolic link on the way, which is not followed"), "{text}");
    assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
}

#[test]
fn text_that_is_no_manifest_is_an_error_of_that_file_only() {
    let group = "apiVersion: security-profiles-operator.x-k8s.io/v1";
    let bench = Bench::new(&[
        ("binary.yaml", "\u{1}\u{2}"),
        ("good.yaml", &seccomp("good", "read")),
        ("half.yaml", &format!("{group}\nkind: [\n")),
        ("kind.yaml", &format!("{group}\nkind: SecompProfile\nmetadata: {{name: x}}\n")),
        ("twice.yaml", "kind: A\nkind: B\n"),
    ]);
    fs::write(bench.manifests.path().join("latin.yaml"), b"name: \xe4\n").expect("writes");
    let report = bench.json();
    assert_eq!((&report["installed"], &report["errors"]), (&1.into(), &5.into()), "{report:#}");
    let text = report.to_string();
    for wanted in ["no YAML", "unknown value", "stands here twice", "not UTF-8"] {
        assert!(text.contains(wanted), "{wanted}: {report:#}");
    }
}

// Changes.

#[test]
fn a_foreign_file_is_never_touched() {
    let bench = Bench::new(&[("x.yaml", &seccomp("x", "read"))]);
    let path = bench.node.path().join(path_of("x"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
    fs::write(&path, "theirs").expect("writes");
    let output = bench.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not ours"));
    fs::remove_file(bench.manifests.path().join("x.yaml")).expect("removes");
    bench.run();
    assert_eq!(fs::read_to_string(&path).expect("there"), "theirs");
}

#[test]
fn a_manifest_that_breaks_takes_nothing_away() {
    let bench = Bench::new(&[("a.yaml", &format!("{}---\n{}", seccomp("a", "read"), seccomp("b", "read")))]);
    assert!(bench.run().status.success());
    let before = files(bench.node.path());
    assert_eq!(before.len(), 2);
    // The whole file is no YAML any more.
    bench.write("a.yaml", "{");
    assert_eq!(bench.run().status.code(), Some(1));
    assert_eq!(files(bench.node.path()), before);
    // One document is wrong, the other is gone: the first stays, the second goes.
    bench.write("a.yaml", &seccomp("a", "raed"));
    assert_eq!(bench.run().status.code(), Some(1));
    assert_eq!(files(bench.node.path()).into_keys().collect::<Vec<_>>(), [path_of("a")]);
}

#[test]
fn disabling_a_profile_takes_it_off_the_host() {
    let bench = Bench::new(&[("a.yaml", &seccomp("a", "read"))]);
    bench.run();
    bench.write("a.yaml", &seccomp("a", "read").replace("spec:\n", "spec:\n  disabled: true\n"));
    let output = bench.run();
    assert!(output.status.success(), "a disabled profile is no error");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Disabled"));
    assert!(files(bench.node.path()).is_empty());
}

#[test]
fn one_profile_in_two_files_is_an_error_of_the_second() {
    let bench = Bench::new(&[("a.yaml", &seccomp("x", "read")), ("b.yaml", &seccomp("x", "write"))]);
    let output = bench.run();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("b.yaml: the same profile is in ") && text.contains("a.yaml:1 already"), "{text}");
    assert!(files(bench.node.path())[&path_of("x")].0.contains("read"));
}

#[test]
fn watching_follows_every_change() {
    let bench = Bench::new(&[("a.yaml", &seccomp("a", "read")), ("b.yaml", &seccomp("b", "read"))]);
    let mut child =
        bench.command().args(["--watch", "--output", "json"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut until = |what: &str, wanted: &dyn Fn(&Files) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            lines.next().expect("goes on").expect("readable");
            if wanted(&files(bench.node.path())) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}");
        }
    };
    until("the first run", &|there| there.len() == 2);
    let before = files(bench.node.path());
    bench.write("a.yaml", &seccomp("a", "read, write"));
    until("the edit", &|there| there[&path_of("a")].0.contains("write"));
    assert_eq!(files(bench.node.path())[&path_of("b")], before[&path_of("b")], "the other is left alone");
    fs::remove_file(bench.manifests.path().join("a.yaml")).expect("removes");
    until("the removal", &|there| there.len() == 1);
    child.kill().expect("ends");
    child.wait().expect("ended");
}

// What people read.

#[test]
fn the_report_as_data_has_stable_fields() {
    let report = Bench::new(&[("a.yaml", &seccomp("a", "read"))]).json();
    let document = &report["documents"][0];
    for (field, value) in [
        ("kind", "SeccompProfile"),
        ("namespace", "ns"),
        ("name", "a"),
        ("artefact", "var/lib/kubelet/seccomp/operator/ns/a.json"),
        ("state", "Installed"),
    ] {
        assert_eq!(document[field], value, "{document:#}");
    }
    assert_eq!((&document["line"], &document["changed"]), (&1.into(), &true.into()));
    assert_eq!((&report["installed"], &report["errors"]), (&1.into(), &0.into()));
}

#[test]
fn help_teaches() {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_spo-operator")).args(args).output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    };
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("standalone-help", help(&["standalone", "--help"]));
}

/// The guide's artefacts are what the real tools take.
#[test]
fn the_real_compilers_accept_what_is_written() {
    let node = tempfile::tempdir().expect("a folder");
    let guide = workspace().join("examples/guide");
    let bases = workspace().join("deploy/base-profiles");
    let output = command(&[&guide, &bases], node.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let tool = |tier: &str, path: &str| {
        let there = Path::new(path).exists();
        if !there {
            let reason = format!("{path} is not installed; install with scripts/install-test-tools");
            // Not by println!, which is shown of failed tests only.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {tier}: {reason}");
            assert_ne!(std::env::var("SPO_REQUIRE_TOOLS").as_deref(), Ok("1"), "{tier} has to run here");
        }
        there
    };
    if tool("apparmor", "/usr/sbin/apparmor_parser") {
        let profile = node.path().join("etc/apparmor.d/spo.production.nginx-apparmor");
        let output =
            Command::new("/usr/sbin/apparmor_parser").arg("-QK").arg(&profile).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    if tool("selinux", "/usr/bin/secilc") {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().join("base.cil");
        let templates = dir.path().join("templates.cil");
        fs::write(&base, spo_selinux_cil::templates::minimal_base()).expect("writes");
        fs::write(&templates, spo_selinux_cil::templates::TEMPLATES).expect("writes");
        let output = Command::new("/usr/bin/secilc")
            .arg("-o")
            .arg(dir.path().join("policy"))
            .args(["-f", "/dev/null"])
            .args([&base, &templates, &node.path().join("etc/selinux.d/spo_nginx-selinux.cil")])
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn settings_hold_profiles_back() {
    let settings = "apiVersion: security-profiles-operator.x-k8s.io/v1alpha1\n\
                    kind: SecurityProfilesOperatorDaemon\nmetadata: {name: spod}\nspec: {allowedSyscalls: [read]}\n";
    let bench = Bench::new(&[("a.yaml", &seccomp("a", "read, write, mount")), ("spod.yaml", settings)]);
    bench.refuses(&["the syscall write is not allowed", "the syscall mount is not allowed"]);
    bench.write("a.yaml", &seccomp("a", "read"));
    assert_eq!(bench.run().status.code(), Some(0));
}
