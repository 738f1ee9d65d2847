//! The real parser as judge: verdicts on texts and the automata it makes of them.
//!
//! The installed parser of Debian 12 is 3.0.8, so the generated texts keep to what both know in the same
//! way. Left out on purpose, because the releases differ (and ours follows the newest): classes in rules
//! with exec modes, which became exact paths in 4.1, and priorities, which came with 4.1.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use spo_apparmor::{
    NoIncludes, ParseOptions,
    dfa::Budget,
    load,
    meaning::{Compiled, ExecOutcome, Subject, Verdict},
    render::{RenderOptions, render},
    tree::{ExecKind, Fallback, FilePerms, Version},
};
use spo_model::apparmor::{AppArmorAbstract, AppArmorBody, AppArmorMode, AppArmorProfileSpec, Filesystem};

/// Runs the parser on a text; gives whether it accepts it, and its output.
fn parser(text: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let mut child = Command::new("apparmor_parser")
        .args(["-Q", "-K"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&both).into_owned()))
}

/// Whether the tool is there; says so when it is not.
fn present() -> bool {
    let found = parser("profile p {\n}\n", &[]).is_some_and(|(ok, _)| ok);
    if !found {
        assert!(
            std::env::var_os("SPO_REQUIRE_TOOLS").is_none_or(|v| v != "1"),
            "apparmor_parser is required"
        );
        {
            use std::io::Write as _;
            // Past the capture of test output, so that a stranger sees it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: oracles: apparmor_parser is not installed; install with scripts/install-test-tools"
            );
        }
    }
    found
}

/// The automaton that `-D dfa-states` prints.
struct Dump {
    /// Allow, deny, audit and quiet bits per state.
    accepts: BTreeMap<u32, [u32; 4]>,
    next: BTreeMap<(u32, u8), u32>,
    /// The state for every byte that is neither listed nor excluded.
    default: BTreeMap<u32, (u32, Vec<u8>)>,
    start: u32,
}

impl Dump {
    fn read(text: &str) -> Self {
        let mut dump =
            Self { accepts: BTreeMap::new(), next: BTreeMap::new(), default: BTreeMap::new(), start: 1 };
        let mut at = 0;
        let number = |t: &str| t.trim_matches(['{', '}', ' ']).parse::<u32>().unwrap();
        for line in text.lines() {
            if line.contains("<==") {
                dump.start = number(line.split("<==").next().unwrap());
            } else if let Some((state, _)) = line.split_once("} perms:") {
                at = number(state);
            } else if line.starts_with('{') && line.contains("(0x") {
                let (state, bits) = line.split_once('(').unwrap();
                let bits: Vec<u32> = bits
                    .trim_end_matches(')')
                    .split('/')
                    .map(|b| u32::from_str_radix(b.trim().trim_start_matches("0x").trim(), 16).unwrap())
                    .collect();
                dump.accepts.insert(number(state), [bits[0], bits[1], bits[2], bits[3]]);
            } else if let Some(rest) = line.strip_prefix("    ") {
                let (left, right) = rest.split_once(" -> ").unwrap();
                let to = number(right.split('(').next().unwrap());
                if let Some(excluded) =
                    left.strip_prefix("[^").or_else(|| left.strip_prefix("[]").map(|_| ""))
                {
                    let excluded = excluded.trim_end_matches(']').replace("\\x0", "\0");
                    dump.default.insert(at, (to, excluded.into_bytes()));
                } else {
                    let hex = left.rsplit_once("0x").unwrap().1;
                    dump.next.insert((at, u8::from_str_radix(hex.trim(), 16).unwrap()), to);
                }
            }
        }
        dump
    }

    fn bits(&self, path: &[u8]) -> [u32; 4] {
        let mut state = self.start;
        for byte in path {
            let default =
                || self.default.get(&state).filter(|(_, not)| !not.contains(byte)).map(|(to, _)| *to);
            match self.next.get(&(state, *byte)).copied().or_else(default) {
                Some(to) => state = to,
                None => return [0; 4],
            }
        }
        self.accepts.get(&state).copied().unwrap_or_default()
    }
}

/// Small random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A glob over letters that are no hex digits, because the dump writes bytes in hex without a limit.
    fn glob(&mut self, classes: bool) -> String {
        let mut out = "/".to_owned();
        for _ in 0..1 + self.below(4) {
            let kinds: &[&str] = if classes {
                &["x", "y", "/", "*", "**", "?", "[xy]", "[^x]", "{x,y}", "{x,y/,}", "{,*}y"]
            } else {
                &["x", "y", "/", "*", "**", "?", "{x,y}", "{x,}", "x"]
            };
            out.push_str(self.pick(kinds));
        }
        out
    }

    fn rule(&mut self) -> String {
        if self.below(2) == 0 {
            let exec = self.pick(&[
                "ix",
                "ix",
                "px",
                "Px",
                "ux",
                "Ux",
                "cx",
                "cx -> c",
                "pix",
                "rix",
                "px -> x",
                "Px -> y",
                "Cix",
                "pux",
                "CUx -> c",
                "Pix -> x",
                "safe px",
                "unsafe Cx",
            ]);
            if let Some((safety, exec)) = exec.split_once(' ').filter(|(word, _)| word.ends_with("safe")) {
                return format!("{safety} {} {exec},", self.glob(false));
            }
            return format!("{}{} {exec},", self.pick(&["", "", "", "owner "]), self.glob(false));
        }
        let prefix =
            self.pick(&["", "", "", "deny ", "owner ", "audit ", "deny owner ", "audit deny ", "other "]);
        let perms = self.pick(&["r", "w", "rw", "a", "k", "m", "mr", "ra", "rwk"]);
        format!("{prefix}{} {perms},", self.glob(true))
    }
}

/// Every path over the alphabet up to a length.
fn paths(length: usize) -> Vec<String> {
    let mut all = vec!["/".to_owned()];
    let mut last = all.clone();
    for _ in 0..length {
        last = last.iter().flat_map(|t| ["x", "y", "z", "/"].map(|c| format!("{t}{c}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// Whether the exec part of one half of the parser's bits says what we say: how the next profile is found, by which
/// name, what happens when there is none, and whether the environment is scrubbed.
///
/// The index 1 is unconfined, 2 the profile that attaches, 3 the child that does; from 4 on it numbers the names, which
/// `targets` collects: two indices for one name are as wrong as two names for one index.
fn same_way(ours: &ExecOutcome, half: u32, targets: &mut BTreeMap<u32, (ExecKind, String)>) -> bool {
    let exec = ours.exec;
    let index = half >> 10 & 0xf;
    let found = match (exec.kind, &ours.target) {
        (ExecKind::Inherit, _) => index == 0,
        (ExecKind::Unconfined, _) => index == 1,
        (ExecKind::Profile, None) => index == 2,
        (ExecKind::Child, None) => index == 3,
        (kind, Some(target)) => {
            let named = (kind, target.clone());
            let one_index = targets.iter().all(|(i, n)| *i == index || *n != named);
            index >= 4 && one_index && *targets.entry(index).or_insert_with(|| named.clone()) == named
        }
    };
    let inherits = exec.kind == ExecKind::Inherit || exec.fallback == Some(Fallback::Inherit);
    let keeps = exec.kind != ExecKind::Inherit && !exec.scrub;
    found
        && inherits == (half & 0x200 != 0)
        && (exec.fallback == Some(Fallback::Unconfined)) == (half & 0x80 != 0)
        && keeps == (half & 0x100 != 0)
}

/// Pairs of names and targets: those of the real parser's automaton are ours.
#[test]
fn random_links_get_the_same_pairs() {
    if !present() {
        return;
    }
    let mut random = Random(11);
    let paths: Vec<String> = paths(3);
    let (mut compared, mut allowed) = (0_u32, 0_u32);
    for _ in 0..60 {
        let rules: Vec<String> = (0..1 + random.below(4))
            .map(|_| {
                let prefix = random.pick(&["", "", "", "deny ", "owner ", "other "]);
                let (name, target) = (random.glob(false), random.glob(false));
                match random.below(3) {
                    0 => format!("{prefix}{name} {},", random.pick(&["l", "rl", "rwl"])),
                    1 => format!("{prefix}link {name} -> {target},"),
                    _ => format!("{prefix}link subset {name} -> {target},"),
                }
            })
            .collect();
        let text = format!("profile p {{\n  {}\n}}\n", rules.join("\n  "));
        let (ok, dump) =
            parser(&text, &["-O", "no-filter-deny", "-O", "no-minimize", "-D", "dfa-states"]).unwrap();
        let unit = load(&text, &NoIncludes, OLD);
        assert!(ok && unit.is_ok(), "{text}{dump}{:?}", unit.diagnostics);
        let compiled = Compiled::new(&unit.profiles[0], Budget::default()).unwrap();
        let links = compiled.links(Budget::default()).unwrap();
        let dump = Dump::read(&dump);
        for name in &paths {
            for target in &paths {
                let bits = dump.bits(&[name.as_bytes(), b"\0", target.as_bytes()].concat());
                for (subject, shift) in [(Subject::Owner, 0), (Subject::Other, 14)] {
                    let link = |bits: u32| bits >> shift & 0x10 != 0;
                    let ours = links.query(name, target, subject);
                    // The parser's pair alone; whether the subset test holds is a question of both names.
                    let pair = ours.verdict == Verdict::Allowed || !ours.exceeds.is_empty();
                    let theirs = (link(bits[0]) && !link(bits[1]), link(bits[1]));
                    assert_eq!((pair, ours.verdict == Verdict::Denied), theirs, "{text}{name} -> {target}");
                    // It sets the bit of the test for own files only.
                    if pair && subject == Subject::Owner {
                        assert_eq!(ours.subset, bits[0] & 0x20 != 0, "{text}{name} -> {target}");
                    }
                    allowed += u32::from(pair);
                    compared += 1;
                }
            }
        }
    }
    println!("oracle: {compared} pairs compared, {allowed} of them allowed");
    assert!(allowed > 1_000 && compared - allowed > 1_000);
}

const OLD: ParseOptions = ParseOptions { version: Version::V3_0, tokens: false };

#[test]
fn random_profiles_get_the_same_verdict_and_automaton() {
    if !present() {
        return;
    }
    let mut random = Random(7);
    let paths = paths(5);
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for _ in 0..500 {
        let rules: Vec<String> = (0..1 + random.below(5)).map(|_| random.rule()).collect();
        let text = format!("profile p {{\n  {}\n}}\n", rules.join("\n  "));
        // Minimising merges states that differ in audited denies only, because the kernel never sees those.
        let (ok, dump) =
            parser(&text, &["-O", "no-filter-deny", "-O", "no-minimize", "-D", "dfa-states"]).unwrap();
        let unit = load(&text, &NoIncludes, OLD);
        let compiled =
            if unit.is_ok() { Compiled::new(&unit.profiles[0], Budget::default()).ok() } else { None };
        if ok != compiled.is_some() {
            wrong.push(format!(
                "{text}parser: {ok}, {}\nours: {:?}",
                dump.lines().last().unwrap_or(""),
                unit.diagnostics
            ));
            continue;
        }
        let Some(compiled) = compiled else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let dump = Dump::read(&dump);
        // The kernel sees a deny as a missing allow and a quiet bit. An audited deny has no quiet bit, so the
        // parser drops and merges states that differ in it only; there the deny bits say nothing.
        let loud = text.contains("audit deny");
        let mut targets = BTreeMap::new();
        for path in &paths {
            let bits = dump.bits(path.as_bytes());
            for subject in Subject::BOTH {
                let half = |b: u32| if subject == Subject::Owner { b & 0x3fff } else { b >> 14 & 0x3fff };
                let perms = |b: u32| FilePerms::from_bits(u8::try_from(half(b) & 0x7f).unwrap());
                let ours = compiled.decide(path.as_bytes(), subject);
                let shown = |deny: FilePerms| if loud { FilePerms::NONE } else { deny };
                let mine = (ours.allow, shown(ours.deny), ours.quiet);
                let theirs = (perms(bits[0]), shown(perms(bits[1])), perms(bits[3]));
                let same_exec = half(bits[0]) & 1 == 0
                    || ours.exec.as_ref().is_some_and(|e| same_way(e, half(bits[0]), &mut targets));
                if mine != theirs || !same_exec {
                    wrong.push(format!(
                        "{text}{path} {subject:?}: ours {mine:?} {:?}, parser {theirs:?} {:#x}",
                        ours.exec,
                        half(bits[0])
                    ));
                }
            }
        }
    }
    wrong.truncate(5);
    println!("oracle: {accepted} automata equal on {} paths, {refused} texts refused by both", paths.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(accepted > 300 && refused > 30, "the generator is out of balance: {accepted} {refused}");
}

/// Whatever the fields hold, the real parser takes what was rendered.
#[test]
fn rendered_profiles_are_accepted() {
    if !present() || !Path::new("/etc/apparmor.d/abstractions/base").exists() {
        return;
    }
    let files = |list: &[&str]| Some(list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    let paths = [
        "/a b",
        "/tmp/a=b",
        "/a:b",
        "/a,b",
        "/a~",
        "/ü",
        "/x[0-9]{a,b}",
        "@{HOME}/x",
        "/a,",
        "/a#b",
        "/a(b)",
    ];
    for mode in [AppArmorMode::Enforce, AppArmorMode::Complain] {
        for list in [&paths[..], &["/**"], &["/proc/sys/**"]] {
            let body = AppArmorAbstract {
                filesystem: Some(Filesystem {
                    read_only_paths: files(list),
                    write_only_paths: files(&["/w/*"]),
                    read_write_paths: files(&["/rw/**"]),
                }),
                ..Default::default()
            };
            let spec = AppArmorProfileSpec { mode, body: AppArmorBody::Abstract(body), ..Default::default() };
            let text = render("p", &spec, &RenderOptions { version: Version::V3_0, ..Default::default() })
                .unwrap()
                .text;
            let (ok, output) = parser(&text, &[]).unwrap();
            assert!(ok, "{text}\n{output}");
        }
    }
}

/// What the host's own policy includes is read like the real parser reads it.
#[test]
fn the_policy_of_this_host_is_accepted() {
    let root = Path::new("/etc/apparmor.d");
    if !present() || !root.join("tunables/global").exists() {
        return;
    }
    let mut files = spo_apparmor::Files::new();
    let mut stack = vec![root.to_path_buf()];
    let mut profiles = Vec::new();
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.insert(path.to_string_lossy(), text.clone());
                if dir == root {
                    profiles.push((path, text));
                }
            }
        }
    }
    for (path, text) in profiles {
        let (ok, _) = parser(&text, &["-I", "/etc/apparmor.d"]).unwrap();
        let unit = load(&text, &files, ParseOptions::default());
        assert_eq!(unit.is_ok(), ok, "{}: {:?}", path.display(), unit.diagnostics);
        if ok {
            for profile in &unit.profiles {
                Compiled::new(profile, Budget::default()).unwrap();
            }
        }
    }
    for name in
        ["base", "nameservice", "consoles", "openssl", "ssl_certs", "user-tmp", "gnome", "X", "dbus-session"]
    {
        if !root.join("abstractions").join(name).exists() {
            continue;
        }
        let text = format!("include <tunables/global>\nprofile p {{\n  include <abstractions/{name}>\n}}\n");
        assert!(parser(&text, &[]).unwrap().0, "{name}");
        let unit = load(&text, &files, OLD);
        assert!(unit.is_ok(), "{name}: {:?}", unit.diagnostics);
        Compiled::new(&unit.profiles[0], Budget::default()).unwrap();
    }
}

/// What the real parser says about bad texts is read with its line and its token.
#[test]
fn refusals_of_the_real_parser_are_read() {
    if !present() {
        return;
    }
    // The text, the arguments, and what a person reads in the parser's answer: line, token, profile.
    type Case<'a> = (&'a str, Option<u32>, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 16] = [
        ("profile p {\n  /a q,\n}\n", Some(2), None, None),
        ("profile p {\n\n  capability FOO,\n}\n", Some(3), Some("FOO"), None),
        ("profile p {\n  /a r\n}\n", Some(3), None, None),
        ("profile p {\n  include <no/such>\n}\n", Some(2), Some("no/such"), None),
        ("profile p {\n  /@{X} r,\n}\n", None, Some("X"), None),
        ("profile p {\n  /a px,\n  /a ux,\n}\n", None, Some("/a"), Some("p")),
        ("profile p {\n  /a* px,\n  /*b ux,\n}\n", None, None, Some("p")),
        ("profile p {\n  /{a r,\n}\n", None, Some("/{a"), Some("p")),
        ("@{A}=a\n@{A}=b\nprofile p {\n}\n", Some(3), Some("@{A}"), None),
        ("profile p {\n  network foo,\n}\n", Some(2), None, None),
        ("profile p {\n  signal set=(foo),\n}\n", Some(2), Some("foo"), None),
        ("profile p {\n  dbus foo=1,\n}\n", Some(2), Some("foo"), None),
        ("profile p {\n}\nprofile p {\n}\n", None, Some("p"), Some("p")),
        ("profile p {\n  if $x {\n  }\n}\n", Some(2), Some("$x"), None),
        ("profile p flags=(complain,enforce) {\n}\n", Some(1), Some("complain"), None),
        ("profile p {\n  /a r, # x", Some(2), Some("#"), None),
    ];
    for (text, line, token, profile) in cases {
        let (ok, output) = parser(text, &[]).unwrap();
        assert!(!ok, "{text}");
        let found = spo_apparmor::parser_output::read(&output);
        let last = found.last().unwrap_or_else(|| panic!("{text}: nothing in {output}"));
        assert_eq!(last.severity, spo_model::Severity::Error, "{output}");
        let got = (last.line, last.token.as_deref(), last.profile.as_deref());
        assert_eq!(got, (line, token, profile), "{text}{output}");
        // A line comes with a span that begins on it.
        let span = last.to_diagnostic(text, |_| false).span;
        assert!(line.is_none() || span.is_some_and(|s| Some(s.line) == line), "{text}{output}");
    }
}

/// In a file, the place names the file, and the included file where the fault is in one.
#[test]
fn refusals_name_the_file() {
    if !present() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("spo-apparmor-refusals-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let inner = write("inner", "  /a r,\n  /b q,\n");
    let outer = write("outer.aa", &format!("profile p {{\n  include \"{inner}\"\n}}\n"));
    let plain = write("plain.aa", "profile p {\n  /A RW,\n  capability FOO,\n}\n");
    let run = |file: &str| {
        let output =
            Command::new("apparmor_parser").args(["-Q", "-K", "--warn", "all", file]).output().unwrap();
        spo_apparmor::parser_output::read(&String::from_utf8_lossy(&output.stderr))
    };
    let found = run(&outer);
    let last = found.last().unwrap();
    assert_eq!((last.file.as_deref(), last.line), (Some(inner.as_str()), Some(2)), "{found:?}");
    let diagnostic = last.to_diagnostic("", |f| f == outer);
    assert!(diagnostic.message.starts_with(&format!("{inner}:2: syntax error")), "{diagnostic}");
    let found = run(&plain);
    let places: Vec<_> = found.iter().map(|d| (d.severity, d.file.as_deref(), d.line)).collect();
    assert!(places.contains(&(spo_model::Severity::Warning, Some(plain.as_str()), Some(2))), "{found:?}");
    assert!(places.contains(&(spo_model::Severity::Error, Some(plain.as_str()), Some(3))), "{found:?}");
    fs::remove_dir_all(&dir).unwrap();
}

/// Spellings at the edge of the lexer, with the verdict of the real parser.
#[test]
fn odd_spellings_get_the_same_verdict() {
    if !present() {
        return;
    }
    let mut texts: Vec<String> = [
        "deny file,",
        "audit deny file,",
        "file,",
        "audit file,",
        "\"/a\\\\\" r,",
        "\"/a\\\\\" r,\n\"/b\" r,",
        "\"/a\\\" r,",
        "\"/a\\\" b\" r,",
        "\"/a\\134\" r,\n\"/b\" r,",
        "/a\\\\\nr,",
        "/a\\\nr,",
        "/a\\\\\\\"b r,",
        "/a\\, r,",
        "/a,b r,",
        "/a#b r,",
        "/a\"b r,",
        "/a!b r,",
        "/a\\!b r,",
        "signal peer=\"a b\",",
        "signal peer=a\\ b,",
        "signal set=(hup,,int),",
        "signal set=(hup\"int\"),",
    ]
    .into_iter()
    .map(|rule| format!("profile p {{\n{rule}\n}}\n"))
    .collect();
    if Path::new("/etc/apparmor.d/abi/3.0").exists() {
        for name in [
            "<abi/3.0>",
            "< abi/3.0 >",
            "<\"abi/3.0\">",
            "<\"abi/3.0\" >",
            "< \"abi/3.0\">",
            "<abi/3\"0>",
            "<abi/3.0\">",
            "<\"abi/3.0>",
            "<\"abi/3.0\"x>",
            "\"/etc/apparmor.d/abi/3.0\"",
            "/etc/apparmor.d/abi/3.0",
            "/etc/apparmor.d/abi/3\".0",
        ] {
            texts.push(format!("abi {name},\nprofile p {{\n}}\n"));
        }
        texts.extend(
            ["<tunables/home>", "<\"tunables/home\">", "<\"tunables/home\" >", "<tunables/ho\"me>"]
                .map(|name| format!("include {name}\nprofile p {{\n}}\n")),
        );
    }
    let mut files = spo_apparmor::Files::new();
    for name in ["/etc/apparmor.d/abi/3.0", "/etc/apparmor.d/tunables/home"] {
        files.insert(name, fs::read_to_string(name).unwrap_or_default());
    }
    // Its includes do not matter here.
    files.insert("/etc/apparmor.d/tunables/home.d/x", "");
    for text in texts {
        let (ok, output) = parser(&text, &[]).unwrap();
        for version in Version::ALL {
            let unit = load(&text, &files, ParseOptions { version, tokens: false });
            assert_eq!(unit.is_ok(), ok, "{version}: {text}{output}{:?}", unit.diagnostics);
        }
    }
}
