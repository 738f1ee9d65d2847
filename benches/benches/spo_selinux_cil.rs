//! Parsing and resolving SELinux policy, beside the tools of the SELinux userspace where they are installed.
//!
//! Debian's policy is used where `selinux-policy-default` is installed; the built-in base otherwise. At the end the peak
//! memory of each is printed: `cargo bench -p spo-benches --bench spo_selinux_cil -- debian`.

use std::{hint::black_box, path::Path, process::Command};

use criterion::{Criterion, criterion_group};
use spo_model::selinux::SelinuxProfileSpec;
use spo_selinux_cil::{
    Base, NoAncestors, Options, avc, render,
    resolve::{self, resolve},
    syntax::Forest,
    templates,
};

const GUIDE: &str = r#"{"allow": {"@self": {"tcp_socket": ["listen", "accept", "bind"]},
    "http_port_t": {"tcp_socket": ["name_bind"]}, "http_cache_port_t": {"tcp_socket": ["name_bind"]},
    "node_t": {"tcp_socket": ["node_bind"]}}}"#;

fn spec() -> SelinuxProfileSpec {
    serde_json::from_str(GUIDE).expect("a profile")
}

/// Debian's modules as CIL, converted by the script of the crate's tests.
fn debian() -> Option<Vec<(String, String)>> {
    let modules = Path::new("/usr/share/selinux/default");
    if !modules.join("base.pp.bz2").exists() {
        println!(
            "SKIPPED: debian: selinux-policy-default is not installed; install with scripts/install-test-tools"
        );
        return None;
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-policy-bench");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spo-selinux-cil/tests/convert-debian-policy");
    let done = Command::new("sh").arg(script).arg(modules).arg(&out).status().is_ok_and(|s| s.success());
    if !done {
        println!("SKIPPED: debian: the modules could not be converted");
        return None;
    }
    let mut files: Vec<(String, String)> = std::fs::read_dir(&out)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "cil"))
        .filter_map(|p| Some((p.display().to_string(), std::fs::read_to_string(&p).ok()?)))
        .collect();
    files.sort();
    Some(files)
}

fn parse(files: &[(String, String)]) -> Forest<'_> {
    let mut forest = Forest::new();
    for (name, text) in files {
        forest.add(name.as_str(), text.as_str()).expect("policy");
    }
    forest
}

fn whole_policy(c: &mut Criterion) {
    let Some(files) = debian() else { return };
    let options = resolve::Options::default().with_multiple_declarations(true);
    let mut group = c.benchmark_group("debian-policy");
    group.sample_size(10);
    group.bench_function("parse", |b| b.iter(|| black_box(parse(&files)).len()));
    group.bench_function("parse-and-resolve", |b| {
        b.iter(|| resolve(&parse(&files), &options).expect("policy").type_count());
    });
    for (tool, arguments) in [("secil2tree", &["-A", "parse", "-o"][..]), ("secilc", &["-m", "-N", "-o"])] {
        let out = std::env::temp_dir().join(format!("spo-bench-{}-{tool}", std::process::id()));
        let run = || {
            let mut command = Command::new(tool);
            command.args(arguments).arg(&out);
            if tool == "secilc" {
                command.arg("-f").arg(out.with_extension("contexts"));
            }
            command.args(files.iter().map(|f| &f.0)).output().is_ok_and(|o| o.status.success())
        };
        if run() {
            group.bench_function(tool, |b| b.iter(run));
        } else {
            println!("SKIPPED: peer: {tool} is not installed; install with scripts/install-test-tools");
        }
        let _ = std::fs::remove_file(&out);
        let _ = std::fs::remove_file(out.with_extension("contexts"));
    }
    group.finish();
    let modules: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let base = Base::load(modules, &options).expect("policy");
    let mut profile = spec();
    profile.inherit = serde_json::from_str(r#"[{"name": "net_container"}]"#).expect("a list");
    c.bench_function("debian-policy/check-a-profile", |b| {
        b.iter(|| base.check("web", black_box(&profile), &NoAncestors).expect("a good profile"));
    });
}

fn profiles(c: &mut Criterion) {
    let spec = spec();
    let options = Options::default();
    c.bench_function("render", |b| {
        b.iter(|| {
            render("web", Some("default"), black_box(&spec), &NoAncestors, &options).expect("a good profile")
        });
    });
    let base = Base::builtin().expect("the built-in base");
    c.bench_function("minimal-base/check-a-profile", |b| {
        b.iter(|| base.check("web", black_box(&spec), &NoAncestors).expect("a good profile"));
    });
    let text = templates::minimal_base();
    c.bench_function("minimal-base/parse-and-resolve", |b| {
        b.iter(|| {
            let forest = Forest::parse(text.as_str()).expect("the built-in base");
            resolve(&forest, &resolve::Options::default()).expect("the built-in base").type_count()
        });
    });
    let line = "type=AVC msg=audit(1795409702.723:51): avc:  denied  { getattr open } for  pid=812 comm=\"web\" path=\"/srv/x\" dev=\"vda\" ino=11 scontext=system_u:system_r:rec.process:s0:c1,c2 tcontext=system_u:object_r:var_t:s0 tclass=file permissive=1";
    c.bench_function("avc-line", |b| b.iter(|| avc::parse(black_box(line))));
}

criterion_group!(benches, profiles, whole_policy);

/// Set for the process whose memory is measured: it parses and resolves once.
const CHILD: &str = "SPO_BENCH_RESOLVE_ONCE";

fn main() {
    if std::env::var_os(CHILD).is_some() {
        let files = debian().expect("Debian's policy");
        let options = resolve::Options::default().with_multiple_declarations(true);
        black_box(resolve(&parse(&files), &options).expect("policy"));
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().any(|a| a == "--bench") {
        memory();
    }
}

/// The peak memory of parsing and resolving Debian's policy, of this crate and of the peers.
fn memory() {
    let Some(files) = debian() else { return };
    let out = std::env::temp_dir().join(format!("spo-bench-{}", std::process::id()));
    let contexts = out.with_extension("contexts");
    let files: Vec<&String> = files.iter().map(|f| &f.0).collect();
    let mut ours = Command::new(std::env::current_exe().expect("this program"));
    let mut tree = Command::new("secil2tree");
    tree.args(["-A", "parse", "-o"]).arg(&out).args(&files);
    let mut compiler = Command::new("secilc");
    compiler.args(["-m", "-N", "-o"]).arg(&out).arg("-f").arg(&contexts).args(&files);
    for (name, command) in [
        ("spo-selinux-cil, parse and resolve", ours.env(CHILD, "1")),
        ("secil2tree, parse", &mut tree),
        ("secilc", &mut compiler),
    ] {
        match peak(command) {
            Some(kilobytes) => println!("peak memory: {name}: {} MB", kilobytes / 1024),
            None => println!("SKIPPED: memory: {name} cannot be measured here"),
        }
    }
    let _ = std::fs::remove_file(&out);
    let _ = std::fs::remove_file(&contexts);
}

/// The high-water mark of a program's resident memory in kilobytes, from `/proc` while it runs.
fn peak(command: &mut Command) -> Option<u64> {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = None;
    while child.try_wait().ok()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        most = most.max(line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok()));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    most
}
