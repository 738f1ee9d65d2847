//! A real process, killed at random moments a thousand times.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const KILLS: usize = 1000;
const PROFILES: usize = 12;

fn profile(name: &str, calls: &str) -> String {
    format!(
        "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n\
         metadata: {{name: {name}, namespace: ns}}\n\
         spec: {{defaultAction: SCMP_ACT_ERRNO, syscalls: [{{action: SCMP_ACT_ALLOW, names: [{calls}]}}]}}\n"
    )
}

/// The text of a manifest directory: every profile in one version, so that a run changes all of them.
fn manifests(dir: &Path, calls: &str) {
    let text: Vec<String> = (0..PROFILES).map(|i| profile(&format!("p{i}"), calls)).collect();
    fs::write(dir.join("all.yaml"), text.join("---\n")).expect("writes");
}

fn command(manifests: &Path, node: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spo-operator"));
    command.arg("standalone").arg("--manifests").arg(manifests).arg("--root").arg(node);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Every visible file in the profiles' directory with its content.
fn artefacts(node: &Path) -> BTreeMap<String, String> {
    let dir = node.join("var/lib/kubelet/seccomp/operator/ns");
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries
        .map(|entry| entry.expect("readable"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, fs::read_to_string(path).expect("readable")))
        .collect()
}

/// A small generator of its own, so that a failure can be repeated from its seed.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_kill_at_any_moment_leaves_old_or_new_and_the_next_run_converges() {
    let (odd, even, node) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (odd, even, node) = (odd.expect("a folder"), even.expect("a folder"), node.expect("a folder"));
    manifests(odd.path(), "read");
    manifests(even.path(), "write");
    let full = |dir: &Path| {
        let status = command(dir, node.path()).status().expect("runs");
        assert!(status.success());
        artefacts(node.path())
    };
    let versions = [full(odd.path()), full(even.path())];
    assert_eq!(versions[0].len(), PROFILES);
    assert_ne!(versions[0], versions[1]);

    let start = std::time::Instant::now();
    full(odd.path());
    let whole = start.elapsed().max(Duration::from_millis(2));
    let theirs = node.path().join("var/lib/kubelet/seccomp/operator/ns/theirs.json");
    fs::write(&theirs, "theirs").expect("writes");

    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let dir = if kill % 2 == 0 { even.path() } else { odd.path() };
        let mut child = command(dir, node.path()).spawn().expect("starts");
        let nanos = next(&mut seed) % u64::try_from(whole.as_nanos()).expect("short");
        std::thread::sleep(Duration::from_nanos(nanos));
        // The process may have ended already; then this was a run that was not interrupted.
        let _ = child.kill();
        interrupted += usize::from(!child.wait().expect("ends").success());
        let mut there = artefacts(node.path());
        assert_eq!(there.remove("theirs.json").as_deref(), Some("theirs"), "kill {kill}");
        assert_eq!(there.len(), PROFILES, "kill {kill}");
        for (name, content) in &there {
            let whole = versions.iter().any(|version| version[name] == *content);
            assert!(whole, "kill {kill}: {name} is {content:?}");
        }
    }
    assert!(interrupted > KILLS / 4, "only {interrupted} of {KILLS} runs were interrupted");
    for (dir, version) in [(even.path(), &versions[1]), (odd.path(), &versions[0])] {
        let mut there = full(dir);
        there.remove("theirs.json");
        assert_eq!(there, *version, "the next run converges");
    }
    let dir = node.path().join("var/lib/kubelet/seccomp/operator/ns");
    let left = fs::read_dir(dir).expect("readable").count();
    assert_eq!(left, PROFILES + 1, "nothing is left behind");
}
