//! Tests across crates that need more than this process.
//!
//! | tier | command | needs |
//! | --- | --- | --- |
//! | kernel | `cargo test -p spo-tests --test kernel` | `runc`; `user-mode-linux`, `busybox-static`, `apparmor`, `policycoreutils`, `secilc` |
//! | guide | `cargo test -p spo-tests --test guide` | as cluster; `nginx-light`, `curl` |
//! | cluster | `cargo test -p spo-tests --test cluster` | root; `containerd`, `runc` and more, and what `scripts/kubernetes/build` builds |
//! | API server | `cargo test -p spo-tests --test api_server` | `etcd-server`, and what `scripts/kubernetes/build` builds with Go |
//! | manager | `cargo test -p spo-tests --test manager` | the same; `curl` |
//! | agent | `cargo test -p spo-tests --test daemon` | the same; root for an agent that is not |
//! | acceptance, hostile users | `cargo test -p spo-tests --test acceptance --test hostile --test namespaced` | the same |
//! | what is installed | `cargo test -p spo-tests --test deploy --test chart` | the same; `buildah` |
//! | faults on real nodes | `cargo test -p spo-tests --test faults` | as guide |
//! | scale | `cargo test -p spo-tests --test scale` | the same |
//!
//! `scripts/install-test-tools` installs what they need. A tier whose tools are missing says so in one line and
//! passes, unless `SPO_REQUIRE_TOOLS=1`; CI fails when a line says so.

pub mod api_server;
pub mod audit;
pub mod cluster;
pub mod document;
pub mod fleet;
pub mod guest;
pub mod objects;
pub mod operator;
pub mod operator_image;
pub mod relay;
pub mod scrape;
mod waiting;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Whether programs are installed; says in one line which one is not, or panics where it has to be.
///
/// # Panics
/// With `SPO_REQUIRE_TOOLS=1` and a program that is missing.
pub fn installed(tier: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let missing = programs.iter().find(|name| !folders.iter().any(|folder| folder.join(name).is_file()));
    match missing {
        None => true,
        Some(name) => {
            skip(tier, &format!("{name} is not installed"));
            false
        }
    }
}

/// Says in one line why a tier cannot run.
///
/// # Panics
/// With `SPO_REQUIRE_TOOLS=1`.
pub fn skip(tier: &str, reason: &str) {
    // Not by println!, which is shown of failed tests only.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {tier}: {reason}; install with scripts/install-test-tools");
    assert_ne!(std::env::var("SPO_REQUIRE_TOOLS").as_deref(), Ok("1"), "{tier} has to run here: {reason}");
}

/// All that a command has printed.
pub fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A file of `deploy/`.
///
/// # Errors
/// There is none.
pub fn manifest(name: &str) -> std::io::Result<String> {
    std::fs::read_to_string(workspace().join("deploy").join(name))
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds a binary of the workspace and says where it is.
///
/// # Panics
/// If it does not build.
pub fn binary(package: &str, name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
            "--package",
            package,
            "--bin",
            name,
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{package} does not build");
    // One JSON object a line; the one of the binary names its file.
    let messages = String::from_utf8_lossy(&output.stdout);
    let end = format!("/{name}\"");
    let found =
        messages.lines().filter_map(|line| line.split_once("\"executable\":\"")).find_map(|(_, rest)| {
            let at = rest.find('"')?;
            rest[..=at].ends_with(&end).then(|| PathBuf::from(&rest[..at]))
        });
    found.expect("cargo names the binary")
}
