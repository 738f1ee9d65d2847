//! Reading and judging AppArmor policy, beside `apparmor_parser` on the same files in the same run.
//!
//! The conformance suite is looked up like in the tests (`SPO_CORPUS`, default `../shared/corpus`), the policy
//! of the host in `/etc/apparmor.d`; what is absent is left out with a line that says so.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spo_apparmor::{
    Files, IncludeCache, NoIncludes, ParseOptions, load, load_cached,
    meaning::{Compiled, Subject},
    parse, parse_rules,
};

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { walk(&path, out) } else { out.push(path) }
    }
}

/// The files below a directory that are text, as a resolver and as a list.
fn corpus(dir: &Path, mount: &str, mut files: Files) -> (Files, Vec<(PathBuf, String)>) {
    let mut paths = Vec::new();
    walk(dir, &mut paths);
    let mut list = Vec::new();
    for path in paths {
        if let (Ok(text), Ok(name)) = (fs::read_to_string(&path), path.strip_prefix(dir)) {
            files.insert(format!("{mount}/{}", name.display()), text.clone());
            list.push((path, text));
        }
    }
    (files, list)
}

/// One process of the real parser for these files.
fn real_parser(paths: &[&Path], directory: &Path) {
    let status = Command::new("apparmor_parser")
        .args(["-Q", "-K", "-N", "-j1", "-I"])
        .arg(directory)
        .args(paths)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = black_box(status);
}

fn suites(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let base = std::env::var_os("SPO_CORPUS").map_or_else(|| root.join("../shared/corpus"), PathBuf::from);
    let suite = if base.is_absolute() { base } else { root.join(base) }.join("apparmor/simple_tests");
    let host = PathBuf::from("/etc/apparmor.d");
    let real = Command::new("apparmor_parser").arg("--version").output().is_ok();
    if !real {
        println!("SKIPPED: apparmor_parser is not installed, only our times are measured");
    }
    let in_suite = Files::new().with_search(["/tst/simple_tests"]).with_working_directory("/tst");
    for (name, dir, mount, files) in [
        ("simple_tests", suite, "/tst/simple_tests", in_suite),
        ("etc_apparmor.d", host, "/etc/apparmor.d", Files::new()),
    ] {
        let (files, list) = corpus(&dir, mount, files);
        let profiles: Vec<_> = list
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|e| e == "sd") || path.parent() == Some(&dir))
            .collect();
        if profiles.is_empty() {
            println!("SKIPPED: nothing in {}", dir.display());
            continue;
        }
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        let bytes: usize = profiles.iter().map(|(_, text)| text.len()).sum();
        group.throughput(Throughput::Bytes(bytes as u64));
        println!("{name}: {} files, {bytes} bytes", profiles.len());
        // Each file alone against a process per file; all files together, with shared includes, against one process.
        // The real parser stops at the first file that it refuses, so the suite is measured file by file only.
        group.bench_function("parse and check, file by file", |b| {
            b.iter(|| {
                for (_, text) in &profiles {
                    black_box(load(text, &files, ParseOptions::default()));
                }
            });
        });
        group.bench_function("parse and check, together", |b| {
            b.iter(|| {
                let mut cache = IncludeCache::new();
                for (_, text) in &profiles {
                    black_box(load_cached(text, &files, ParseOptions::default(), &mut cache));
                }
            });
        });
        if real {
            let paths: Vec<&Path> = profiles.iter().map(|(path, _)| path.as_path()).collect();
            group.bench_function("apparmor_parser -Q -K -N, file by file", |b| {
                b.iter(|| paths.iter().for_each(|path| real_parser(&[path], &dir)));
            });
            if name != "simple_tests" {
                group.bench_function("apparmor_parser -Q -K -N, together", |b| {
                    b.iter(|| real_parser(&paths, &dir));
                });
            }
        }
        group.finish();
        let mut group = c.benchmark_group(format!("{name}/syntax"));
        let all: usize = list.iter().map(|(_, text)| text.len()).sum();
        group.throughput(Throughput::Bytes(all as u64));
        group.bench_function("parse every file", |b| {
            b.iter(|| {
                for (path, text) in &list {
                    let rules = path.components().any(|c| c.as_os_str() == "abstractions");
                    let read = if rules { parse_rules } else { parse };
                    black_box(read(text, ParseOptions::default()));
                }
            });
        });
        group.finish();
    }
}

/// A large generated profile: throughput without the cost of opening many small texts.
fn large(c: &mut Criterion) {
    let mut text = "profile p {\n".to_owned();
    for i in 0..20_000 {
        text.push_str(&format!(
            "  /usr/share/application-{i}/data/** r,\n  owner @{{HOME}}/.config/app{i}/{{a,b}}* rwk,\n"
        ));
        text.push_str(
            "  capability net_bind_service,\n  # a comment as people write them\n  network inet stream,\n",
        );
    }
    text.push_str("}\n");
    let mut group = c.benchmark_group("large");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |b| b.iter(|| black_box(parse(&text, ParseOptions::default()))));
    // What combinators would cost: only the five statements of this text, without recovery, expected tokens,
    // positions, or what depends on the release.
    assert_eq!(combinators::statements(&text).map(|list| list.len()), Some(80_000));
    group.bench_function("nom, the statements of this text only", |b| {
        b.iter(|| black_box(combinators::statements(&text)));
    });
    group.finish();
}

/// The statements of [`large`] read with nom.
mod combinators {
    use nom::{
        IResult, Parser,
        branch::alt,
        bytes::complete::{tag, take_till, take_while1},
        character::complete::{alpha1, char, multispace0, multispace1, space1},
        combinator::{all_consuming, map, opt, value},
        multi::many0,
        sequence::{delimited, preceded, terminated},
    };

    /// One statement.
    #[derive(Debug)]
    pub(super) enum Statement {
        /// A path with permissions, perhaps for own files only.
        #[allow(dead_code, reason = "made to be measured")]
        File(bool, String, String),
        /// A capability.
        #[allow(dead_code, reason = "made to be measured")]
        Capability(String),
        /// A socket family and type.
        #[allow(dead_code, reason = "made to be measured")]
        Network(String, String),
    }

    pub(super) fn statements(text: &str) -> Option<Vec<Statement>> {
        let body =
            delimited(tag("profile p {"), many0(preceded(trivia, statement)), preceded(trivia, char('}')));
        all_consuming(terminated(body, multispace0)).parse(text).ok().map(|(_, list)| list)
    }

    fn trivia(text: &str) -> IResult<&str, ()> {
        let comment = value((), (char('#'), take_till(|c| c == '\n')));
        value((), many0(alt((value((), multispace1), comment)))).parse(text)
    }

    fn word(text: &str) -> IResult<&str, &str> {
        take_while1(|c: char| c.is_ascii_alphanumeric() || c == '_').parse(text)
    }

    fn path(text: &str) -> IResult<&str, &str> {
        take_while1(|c: char| !c.is_whitespace() && !matches!(c, '"' | '!')).parse(text)
    }

    fn statement(text: &str) -> IResult<&str, Statement> {
        let capability =
            map(preceded((tag("capability"), space1), word), |c| Statement::Capability(c.to_owned()));
        let network = map((preceded((tag("network"), space1), word), preceded(space1, word)), |(f, t)| {
            Statement::Network(f.to_owned(), t.to_owned())
        });
        let file = map(
            (opt(terminated(tag("owner"), space1)), path, preceded(space1, alpha1)),
            |(owner, path, perms): (Option<&str>, &str, &str)| {
                Statement::File(owner.is_some(), path.to_owned(), perms.to_owned())
            },
        );
        terminated(alt((capability, network, file)), char(',')).parse(text)
    }
}

fn queries(c: &mut Criterion) {
    let text = "profile p {\n  /etc/** r,\n  deny /etc/shadow rw,\n  owner /home/*/** rw,\n  /usr/{,local/}bin/* ix,\n  /var/log/{nginx,app}/*.log w,\n}\n";
    let unit = load(text, &NoIncludes, ParseOptions::default());
    let compiled = Compiled::new(&unit.profiles[0], Default::default()).expect("the profile compiles");
    c.bench_function("query/decide", |b| {
        b.iter(|| black_box(compiled.decide(black_box(b"/home/alice/projects/src/main.rs"), Subject::Owner)));
    });
    c.bench_function("compile/five rules", |b| {
        b.iter(|| black_box(Compiled::new(&unit.profiles[0], Default::default())));
    });
}

criterion_group!(benches, large, queries, suites);
criterion_main!(benches);
