//! The lints, and what they say about the guide's example.

use spo_apparmor::{NoIncludes, lint::lint, load};

const GUIDE: &str = "\
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
