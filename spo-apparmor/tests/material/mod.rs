//! What several tests read: the corpus, and the example of the user guide.

// Each test takes what it needs.
#![allow(dead_code)]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The AppArmor text of the guide.
pub(crate) const GUIDE: &str = "\
profile nginx-apparmor flags=(attach_disconnected,mediate_deleted) {
  capability net_bind_service,
  capability setgid,
  capability setuid,

  network inet tcp,
  network inet udp,

  /usr/sbin/nginx mr,
  /var/log/nginx/** w,
  /var/cache/nginx/** rw,
  /etc/nginx/** r,

  deny /bin/bash rx,
  deny /usr/bin/curl rx,
  deny /usr/bin/wget rx,
}
";

/// A folder of `apparmor` in the corpus (`SPO_CORPUS`, by default beside the workspace); says so when it is absent.
pub(crate) fn corpus(folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let base = std::env::var_os("SPO_CORPUS").map_or_else(|| root.join("../shared/corpus"), PathBuf::from);
    let base = if base.is_absolute() { base } else { root.join(base) };
    let dir = base.join("apparmor").join(folder);
    if dir.is_dir() {
        return Some(dir);
    }
    // Past the capture of test output, so that a stranger sees it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: corpus: apparmor/{folder} not found, set SPO_CORPUS");
    None
}

/// The files below a folder, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// What a tree says, without the places and the kind of quotes.
pub(crate) fn meaning(policy: &spo_apparmor::tree::Policy) -> String {
    let dump = format!("{policy:?}");
    let mut out = String::with_capacity(dump.len());
    let mut rest = dump.as_str();
    while let Some(at) = rest.find("TextRange {") {
        out.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('}').unwrap() + 1..];
    }
    out.push_str(rest);
    // The old "#include" and quotes that are not needed are spellings, not meanings.
    out.replace("hash: true", "hash: false")
        .replace("quoted: true", "quoted: false")
        .replace("capitals: true", "capitals: false")
}
