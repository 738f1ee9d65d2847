//! The lints, and what they say about the guide's example.

mod material;

use std::collections::BTreeSet;

use material::GUIDE;

use spo_apparmor::{
    Files, NoIncludes, ParseOptions,
    lint::{CODES, FoundBy, lint},
    load,
    render::{RenderOptions, render},
    tree::Version,
};
use spo_model::{
    Diagnostic, Severity,
    apparmor::{AppArmorBody, AppArmorProfileSpec},
};

fn found(text: &str) -> Vec<String> {
    let unit = load(text, &NoIncludes, Default::default());
    assert!(unit.is_ok(), "{:?}", unit.diagnostics);
    lint(&unit, text).iter().map(ToString::to_string).collect()
}

/// The lints about the rules only, without those about what a container needs.
fn codes(body: &str) -> Vec<String> {
    let text = format!("abi <abi/4.0>,\nprofile p flags=(complain) {{\n{body}\n}}\n");
    let unit = load(&text, &NoIncludes, Default::default());
    assert!(unit.is_ok(), "{:?}", unit.diagnostics);
    let list = lint(&unit, &text);
    list.into_iter()
        .map(|d| d.code)
        .filter(|c| !matches!(c.as_str(), "no-attachment" | "target-release"))
        .collect()
}

#[test]
fn the_guides_example() {
    insta::assert_snapshot!(found(GUIDE).join("\n"));
}

#[test]
fn each_known_weakness_of_the_guides_example_is_named() {
    let list = found(GUIDE).join("\n");
    // The numbers are those of the review of the example.
    let wanted = [
        ("S1", "no-loader"),
        ("S2", "x-missing"),
        ("S2", "no-exec"),
        ("S3", "dir-self"),
        ("S3", "service-files"),
        ("S4", "log-to-stdout"),
        ("S5", "quiet-deny"),
        ("S6", "usrmerge"),
        ("S7", "deny-exec"),
        ("S8", "missing-signal"),
        ("S8", "cap-daemon"),
        ("S9", "no-abi"),
        ("S10", "net-v6"),
        ("S11", "no-attachment"),
    ];
    for (number, code) in wanted {
        assert!(list.contains(&format!("[{code}]")), "{number}: {code} is missing in\n{list}");
    }
    assert_eq!(list.matches("[quiet-deny]").count(), 3);
}

#[test]
fn rules_with_one_weakness_each() {
    let cases = [
        ("/a/[^b]x r,", "negclass-slash"),
        ("/a/../b r,", "dotdot"),
        ("deny owner /a r,\n/a r,", "owner-on-deny"),
        ("/a/* r,", "dir-self"),
        ("/bin/ls ix,", "usrmerge"),
        ("/a ux,", "unconfined-exec"),
        ("/a px,", "env-unsafe"),
        ("/a wix,", "w-and-x"),
        ("/a.sh ix,", "x-no-mr"),
        ("/proc/sys/vm/** w,", "write-proc-sys"),
        ("capability sys_admin,", "cap-dangerous"),
        ("network raw,", "net-proto"),
        ("set rlimit nofile <= 010,", "octal-rlimit"),
        ("link /a -> /b/**,", "link-target-wide"),
        ("/a r,\n/a r,", "dup-rule"),
        ("/a/{,**} r,\n/a/b r,", "dead-rule"),
        ("/a r,\ndeny /a r,", "deny-shadows-allow"),
        ("/a/{,**} r,\ndeny /a/b r,", "partly-denied"),
        ("deny capability chown,", "quiet-deny"),
        ("change_profile,", "escape"),
        ("profile c {\n profile d {\n }\n}", "hat-depth"),
    ];
    for (body, code) in cases {
        let list = codes(body);
        assert!(list.iter().any(|c| c == code), "{body}: {list:?}");
    }
}

#[test]
fn good_rules_have_no_finding() {
    for body in [
        "/a/{,**} r,",
        "/{,usr/}bin/ls Pix,",
        "/a/[^b/]x r,",
        "network inet stream,",
        "capability chown,",
        "/proc/self/stat r,",
        "set rlimit nofile <= 10,",
        "owner /h/x rw,",
    ] {
        assert_eq!(codes(body), Vec::<String>::new(), "{body}");
    }
}

#[test]
fn text_and_headers() {
    let list = found("@{X} = a\nprofile p /bin/x {\n #include if exists <x>\n}\n").join("\n");
    for code in ["var-unused", "attach-host", "hash-include", "no-abi"] {
        assert!(list.contains(&format!("[{code}]")), "{code} is missing in\n{list}");
    }
}

/// A text that shows each code, in the order of the list of checks that the specification of the crate gives (its names
/// are in the comments), and then those that came with the guide's example.
const EXAMPLES: &[(&str, &str)] = &[
    ("no-abi", "profile p {\n}\n"),
    ("no-loader", "profile p {\n /bin/x ix,\n}\n"),
    ("no-tunables", "profile p {\n include <abstractions/x>\n}\n"),
    ("hash-include", "profile p {\n #include <abstractions/x>\n}\n"),
    ("quiet-deny", "profile p {\n deny /a r,\n}\n"),
    ("deny-shadows-allow", "profile p {\n /a r,\n deny /a r,\n}\n"),
    ("dead-rule", "profile p {\n /a{,b} r,\n /ab r,\n}\n"),
    ("dup-rule", "profile p {\n /a r,\n /a r,\n}\n"),
    // X-CONFLICT
    ("exec-conflict", "profile p {\n /a* px,\n /*b ux,\n}\n"),
    ("x-no-mr", "profile p {\n /a.sh ix,\n}\n"),
    ("usrmerge", "profile p {\n /bin/sh ix,\n}\n"),
    ("negclass-slash", "profile p {\n /a[^b] r,\n}\n"),
    ("dir-self", "profile p {\n /d/** r,\n}\n"),
    ("star-needs-one", "profile p {\n /a/**/b r,\n}\n"),
    ("dotdot", "profile p {\n /a/../b r,\n}\n"),
    ("double-slash", "profile p {\n //a r,\n}\n"),
    ("unquoted-space", "profile p {\n /a b c r,\n}\n"),
    ("w-and-x", "profile p {\n /a/* w,\n /a/b ix,\n}\n"),
    ("write-proc-sys", "profile p {\n /proc/sys/vm/x w,\n}\n"),
    ("unconfined-exec", "profile p {\n /a Ux,\n}\n"),
    ("env-unsafe", "profile p {\n /a px,\n}\n"),
    ("missing-signal", "profile p {\n}\n"),
    ("missing-ptrace-self", "profile p {\n}\n"),
    ("net-v6", "profile p {\n network inet stream,\n}\n"),
    ("net-proto", "profile p {\n network raw,\n}\n"),
    // CAP-UNKNOWN and CAP-CASE
    ("unknown-capability", "profile p {\n capability foo,\n}\n"),
    ("unknown-capability", "profile p {\n capability CHOWN,\n}\n"),
    ("cap-dangerous", "profile p {\n capability mac_admin,\n}\n"),
    ("name-mismatch", "profile q {\n}\n"),
    ("name-glob", "profile p* {\n}\n"),
    ("attach-host", "profile p /bin/* {\n}\n"),
    ("mode-conflict", "profile p flags=(complain) {\n}\n"),
    // MODE-CONFLICT within one text
    ("flag-conflict", "profile p flags=(complain,kill) {\n}\n"),
    // FLAG-UNSUPPORTED
    ("needs-newer-release", "profile p flags=(interruptible) {\n}\n"),
    ("perm-case", "profile p {\n /a RW,\n}\n"),
    ("owner-on-deny", "profile p {\n deny owner /a r,\n}\n"),
    ("link-target-wide", "profile p {\n link /a -> /b/**,\n}\n"),
    ("rw-as-append", "profile p {\n /var/log/x w,\n}\n"),
    ("mount-conflict", "profile p {\n mount options=(ro,rw) /a,\n}\n"),
    ("var-unused", "@{X} = a\nprofile p {\n}\n"),
    // VAR-UNDEFINED and VAR-EMPTY
    ("undefined-variable", "profile p {\n /@{X} r,\n}\n"),
    ("empty-variable", "@{X} =\nprofile p {\n}\n"),
    ("include-missing", "profile p {\n include <nothing>\n}\n"),
    ("hat-depth", "profile p {\n profile c {\n  profile d {\n  }\n }\n}\n"),
    // TRAILING-COMMENT-NO-NEWLINE
    ("comment-without-newline", "profile p {\n}\n# x"),
    ("octal-rlimit", "profile p {\n set rlimit nofile <= 010,\n}\n"),
    ("cidr-not-supported", "profile p {\n network ip=10.0.0.0/8,\n}\n"),
    // More than the list.
    ("cap-daemon", "profile p {\n capability setuid,\n capability setgid,\n}\n"),
    ("deny-exec", "profile p {\n deny /a x,\n}\n"),
    ("escape", "profile p {\n change_profile,\n}\n"),
    ("log-to-stdout", "profile p {\n /var/log/x a,\n}\n"),
    ("no-attachment", "profile p {\n}\n"),
    ("no-exec", "profile p {\n}\n"),
    ("partly-denied", "profile p {\n /a* r,\n deny /ab r,\n}\n"),
    ("service-files", "profile p {\n}\n"),
    ("target-release", "profile p {\n userns,\n}\n"),
    ("unconfined-mode", "profile p flags=(unconfined) {\n}\n"),
    ("x-missing", "profile p {\n /bin/x mr,\n}\n"),
];

fn findings(found_by: FoundBy, text: &str) -> Vec<Diagnostic> {
    let mut files = Files::new();
    files.insert("/etc/apparmor.d/abstractions/x", "");
    match found_by {
        FoundBy::Lint => {
            let unit = load(text, &files, Default::default());
            assert!(unit.is_ok(), "{text}{:?}", unit.diagnostics);
            lint(&unit, text)
        }
        FoundBy::Load => load(text, &files, ParseOptions { version: Version::V3_0, tokens: false })
            .diagnostics
            .into_iter()
            // Whether 3.0 knows it is not what most examples are about.
            .chain(load(text, &files, Default::default()).diagnostics)
            .collect(),
        FoundBy::Render => {
            let body = AppArmorBody::Raw(text.to_owned());
            let spec = AppArmorProfileSpec { body, ..Default::default() };
            render("p", &spec, &RenderOptions::default()).expect_err("the text does not fit")
        }
    }
}

#[test]
fn every_code_has_an_example_a_place_and_a_way_out() {
    let mut shown = BTreeSet::new();
    for (wanted, text) in EXAMPLES {
        let code =
            CODES.iter().find(|c| c.code == *wanted).unwrap_or_else(|| panic!("{wanted} is not listed"));
        let all = findings(code.found_by, text);
        let found =
            all.iter().find(|d| d.code == *wanted).unwrap_or_else(|| panic!("{wanted}: {text}{all:?}"));
        assert_eq!(found.severity, code.severity, "{wanted}");
        assert!(found.span.is_some_and(|s| s.line > 0), "{wanted} has no place");
        assert!(found.help.is_some(), "{wanted} has no way out");
        shown.insert(*wanted);
        // Whatever else the lints say is listed, with the same severity.
        for other in all.iter().filter(|_| code.found_by == FoundBy::Lint) {
            let listed = CODES.iter().find(|c| c.code == other.code);
            assert_eq!(listed.map(|c| c.severity), Some(other.severity), "{}", other.code);
        }
    }
    // "too-complex" needs thousands of rules and is shown in the tests of what is slow.
    let listed: BTreeSet<&str> = CODES.iter().map(|c| c.code).filter(|c| *c != "too-complex").collect();
    assert_eq!(shown, listed);
    assert!(CODES.is_sorted_by_key(|c| c.code) && CODES.iter().all(|c| c.severity <= Severity::Error));
}
