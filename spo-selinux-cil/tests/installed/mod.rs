//! What tests find on this machine: the corpus, SELinux's own tools, a distribution's policy.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of test data; loud where it is missing.
pub(crate) fn corpus() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let root = std::env::var_os("SPO_CORPUS").map_or(default, PathBuf::from);
    if !root.is_dir() {
        say(&format!("SKIPPED: corpus: no {}; set SPO_CORPUS to the corpus directory", root.display()));
        return None;
    }
    Some(root)
}

/// Whether all tools are there; loud where one is not, an error where they must be.
pub(crate) fn tools(names: &[&str]) -> bool {
    names.iter().all(|name| {
        let found = Command::new("sh")
            .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {name}")])
            .output();
        found.is_ok_and(|o| o.status.success()) || missing(&format!("{name} is not installed"))
    })
}

/// Debian's policy as CIL, as module names and texts: converted once by the distribution's own tool, kept in the
/// target folder.
pub(crate) fn debian() -> Option<Vec<(String, String)>> {
    let modules = "/usr/share/selinux/default";
    if !Path::new(modules).join("base.pp.bz2").exists() {
        missing("selinux-policy-default is not installed");
        return None;
    }
    if !tools(&["/usr/libexec/selinux/hll/pp", "bzcat"]) {
        return None;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/convert-debian-policy");
    assert!(Command::new("sh").arg(script).arg(modules).arg(debian_folder()).status().unwrap().success());
    let mut files: Vec<_> = std::fs::read_dir(debian_folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "cil"))
        .map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), read(&p)))
        .collect();
    files.sort();
    Some(files)
}

/// Where [`debian`] keeps the converted modules.
pub(crate) fn debian_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-policy")
}

/// An empty folder below the target folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The text of a file, or a panic that names it.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// Writes texts into a folder, one file for each.
pub(crate) fn write_all(folder: &Path, texts: &[(String, String)]) -> Vec<PathBuf> {
    let write = |(name, text): &(String, String)| {
        let path = folder.join(format!("{name}.cil"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.iter().map(write).collect()
}

/// Compiles files with `secilc`; a failure is a panic with what it said.
pub(crate) fn compile<P: AsRef<Path>>(flags: &[&str], files: &[P], out: &Path) {
    let result = secilc(flags, files, out);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
}

/// Runs `secilc` on files.
pub(crate) fn secilc<P: AsRef<Path>>(flags: &[&str], files: &[P], out: &Path) -> std::process::Output {
    let mut command = Command::new("secilc");
    command.args(flags).arg("-o").arg(out).arg("-f").arg(out.with_extension("contexts"));
    command.args(files.iter().map(AsRef::as_ref)).output().unwrap()
}

/// Always false.
fn missing(what: &str) -> bool {
    say(&format!("SKIPPED: oracle: {what}; install with scripts/install-test-tools"));
    assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none_or(|v| v != "1"), "{what}, but it is required");
    false
}

/// Past the capture of test output, so that a stranger sees it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
