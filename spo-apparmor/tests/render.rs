//! From the resource to text: the defects of the existing operator, one test each, and the guide's example.
//!
//! | what the existing operator does | test |
//! | --- | --- |
//! | an empty name makes the header's flags the name; names with blanks or braces pass | `bad_names_are_refused` |
//! | paths with `,` `[` `{` `^` `!` `:` `=` `~` `%` `#` `(` or beyond ASCII are refused | `legal_names_of_files_are_accepted_and_quoted_where_needed` |
//! | a blank passes and is written without quotes | the same |
//! | `ptrace (read),` as a path, with and without a comment behind it | `the_old_ptrace_spelling_becomes_a_rule` |
//! | unknown variables, unbalanced braces, one alternative, empty strings pass | `bad_paths_are_refused_with_their_field` |
//! | `..` is looked for in some lists only and not at the end, and `/..foo` is refused | that one, and the one about legal names |
//! | capabilities in capitals or with blanks pass and are written so; `SYS_RAWIO` is not `sys_rawio` | `capabilities_come_out_in_the_spelling_of_the_language` |
//! | a value can hold further rules | `no_value_leaves_its_place` |
//! | a field twice is two rules | `what_is_said_twice_is_one_rule` |
//! | read-only takes the write from an overlapping read-write | `read_only_does_not_beat_read_write` |
//! | write-only and read-only take both away where they overlap | `write_only_and_read_only_overlap_to_both` |
//! | write-only takes the read from an executable | `a_writable_script_stays_readable_for_its_interpreter` |
//! | the fixed denies hit `shm*`, because negated classes match a slash | `the_fixed_denies_spare_what_they_mean_to_spare` |
//! | a read-only glob takes the write from what the base abstraction grants; denies also act in complain mode | `nothing_denies_a_device_that_the_base_abstraction_grants` |

mod material;

use material::GUIDE;
use spo_apparmor::{
    Files, NoIncludes, ParseOptions, Rendered, load,
    meaning::{Compiled, Subject, Verdict},
    render::{Builtin, NameMismatch, RenderOptions, render, to_abstract},
    tree::FilePerms,
};
use spo_model::{
    Diagnostic,
    apparmor::{
        AppArmorAbstract, AppArmorBody, AppArmorMode, AppArmorProfileSpec, Capabilities, Capability,
        Executable, Filesystem, Network, Protocols,
    },
};

fn raw(text: &str) -> AppArmorProfileSpec {
    AppArmorProfileSpec { body: AppArmorBody::Raw(text.to_owned()), ..Default::default() }
}

fn described(body: AppArmorAbstract) -> AppArmorProfileSpec {
    AppArmorProfileSpec { body: AppArmorBody::Abstract(body), ..Default::default() }
}

fn strings(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|s| (*s).to_owned()).collect())
}

fn files(read: &[&str], write: &[&str], both: &[&str]) -> AppArmorAbstract {
    AppArmorAbstract {
        filesystem: Some(Filesystem {
            read_only_paths: strings(read),
            write_only_paths: strings(write),
            read_write_paths: strings(both),
        }),
        ..Default::default()
    }
}

fn run(name: &str, spec: &AppArmorProfileSpec) -> Result<Rendered, Vec<Diagnostic>> {
    render(name, spec, &RenderOptions::default())
}

fn codes(result: Result<Rendered, Vec<Diagnostic>>) -> Vec<String> {
    result.expect_err("must be refused").into_iter().map(|d| d.code).collect()
}

fn verdict(text: &str, path: &str, perms: &str) -> Verdict {
    let unit = load(text, &Builtin, ParseOptions::default());
    assert!(unit.is_ok(), "{:?}", unit.diagnostics);
    let compiled = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
    compiled.query(path, perms.parse::<FilePerms>().unwrap(), Subject::Other).verdict
}

#[test]
fn the_guides_raw_profile_comes_through_unchanged() {
    let rendered = run("nginx-apparmor", &raw(GUIDE)).unwrap();
    assert_eq!(rendered.text, GUIDE);
    assert_eq!(rendered.name, "nginx-apparmor");
}

#[test]
fn complain_mode_is_put_into_the_flags() {
    let mut spec = raw(GUIDE);
    spec.mode = AppArmorMode::Complain;
    let text = run("nginx-apparmor", &spec).unwrap().text;
    assert!(
        text.starts_with("profile nginx-apparmor flags=(complain,attach_disconnected,mediate_deleted) {")
    );
    let mut spec = raw("profile p {\n}\n");
    spec.mode = AppArmorMode::Complain;
    assert_eq!(run("p", &spec).unwrap().text, "profile p flags=(complain) {\n}\n");
    spec.body = AppArmorBody::Raw("profile p # flags\n{\n}\n".to_owned());
    assert_eq!(run("p", &spec).unwrap().text, "profile p flags=(complain) # flags\n{\n}\n");
    assert_eq!(codes(run("p", &raw("profile p flags=(complain) {\n}\n"))), ["mode-conflict"]);
}

#[test]
fn an_abstract_body_has_the_whole_shape() {
    let body = AppArmorAbstract {
        executable: Some(Executable {
            allowed_executables: strings(&["/usr/sbin/nginx"]),
            allowed_libraries: strings(&["/usr/lib/libz.so.1"]),
        }),
        network: Some(Network {
            allow_raw: Some(false),
            allowed_protocols: Some(Protocols { allow_tcp: Some(true), allow_udp: Some(false) }),
        }),
        capability: Some(Capabilities {
            allowed_capabilities: Some(vec![Capability::Setuid, Capability::Chown, Capability::Chown]),
        }),
        ..files(&["/etc/nginx/**"], &["/var/log/nginx/*"], &["/var/cache/nginx/**"])
    };
    let options = RenderOptions { protect: false, ..Default::default() };
    let text = render("web", &described(body.clone()), &options).unwrap().text;
    let expected = "\
include <tunables/global>

profile web flags=(attach_disconnected,mediate_deleted) {
  include <abstractions/base>
  /usr/sbin/nginx rix,
  /usr/lib/libz.so.1 mr,
  /etc/nginx/** r,
  /var/log/nginx/* wlk,
  /var/cache/nginx/** rwlk,
  network tcp,
  capability chown,
  capability setuid,
}
";
    assert_eq!(text, expected);
    // And back: nothing is lost on the way.
    let parsed = spo_apparmor::parse(&text, ParseOptions::default());
    let (back, left) = to_abstract(parsed.policy.profiles().next().unwrap());
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(back.executable, body.executable);
    assert_eq!(back.filesystem, body.filesystem);
}

#[test]
fn read_only_does_not_beat_read_write() {
    let text = run("p", &described(files(&["/r/*"], &[], &["/r/foo"]))).unwrap().text;
    assert_eq!(verdict(&text, "/r/foo", "rw"), Verdict::Allowed);
    assert_eq!(verdict(&text, "/r/other", "r"), Verdict::Allowed);
    assert_eq!(verdict(&text, "/r/other", "w"), Verdict::NotAllowed);
}

#[test]
fn write_only_and_read_only_overlap_to_both() {
    let text = run("p", &described(files(&["/w/x"], &["/w/*"], &[]))).unwrap().text;
    assert_eq!(verdict(&text, "/w/x", "rw"), Verdict::Allowed);
    assert_eq!(verdict(&text, "/w/y", "r"), Verdict::NotAllowed);
}

#[test]
fn a_writable_script_stays_readable_for_its_interpreter() {
    let body = AppArmorAbstract {
        executable: Some(Executable { allowed_executables: strings(&["/s"]), allowed_libraries: None }),
        ..files(&[], &["/s"], &[])
    };
    let text = run("p", &described(body)).unwrap().text;
    assert_eq!(verdict(&text, "/s", "rwx"), Verdict::Allowed);
}

#[test]
fn the_fixed_denies_spare_what_they_mean_to_spare() {
    let text = run("p", &described(files(&[], &[], &["/proc/**", "/sys/**"]))).unwrap();
    // A grant below /proc lifts the protection there, and says so.
    assert!(text.diagnostics.iter().any(|d| d.code == "grant-lifts-protection"));
    let text = run("p", &described(files(&[], &[], &["/**"]))).unwrap().text;
    assert_eq!(verdict(&text, "/proc/sys/kernel/shmmax", "w"), Verdict::Allowed);
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sysrq-trigger",
        "/proc/kcore",
        "/proc/irq/1/smp_affinity",
        "/proc/sys/kernel/sh",
        "/proc/meminfo",
    ] {
        assert_eq!(verdict(&text, path, "w"), Verdict::Denied, "{path}");
    }
    assert_eq!(verdict(&text, "/proc/1/attr/current", "w"), Verdict::Allowed);
    assert_eq!(verdict(&text, "/proc/kcore", "r"), Verdict::Denied);
}

#[test]
fn nothing_denies_a_device_that_the_base_abstraction_grants() {
    let mut spec = described(files(&["/dev/*"], &[], &[]));
    let mut host = Files::new();
    host.insert("/etc/apparmor.d/tunables/global", "@{PROC}=/proc/\n");
    host.insert("/etc/apparmor.d/abstractions/base", "  /dev/null rw,\n");
    let text =
        render("p", &spec, &RenderOptions { resolver: Some(&host), ..Default::default() }).unwrap().text;
    let unit = load(&text, &host, ParseOptions::default());
    let compiled = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
    let write = compiled.query("/dev/null", FilePerms::WRITE, Subject::Other);
    assert_eq!(write.verdict, Verdict::Allowed);
    spec.mode = AppArmorMode::Complain;
    assert!(!run("p", &spec).unwrap().text.contains("deny"), "a deny also acts in complain mode");
}

#[test]
fn bad_names_are_refused() {
    let spec = described(AppArmorAbstract::default());
    for name in ["", "a b", "a{b}", "a\"b", "a/b", "unconfined", ".x", "a\nb", "p flags=(unconfined)"] {
        assert_eq!(codes(run(name, &spec)), ["bad-name"], "{name:?}");
    }
}

#[test]
fn bad_paths_are_refused_with_their_field() {
    let cases = [
        ("", "bad-path"),
        ("etc/x", "bad-path"),
        ("/a/../b", "bad-path"),
        ("/a/..", "bad-path"),
        ("/a\nb", "bad-path"),
        ("/a\"b", "bad-path"),
        ("@{nothing}/x", "bad-path"),
        ("/x@{nothing}", "unknown-variable"),
        ("/a{b", "bad-glob"),
        ("/a{b}", "bad-glob"),
        ("/a]", "bad-glob"),
        ("/a\\", "bad-glob"),
        ("/a/@{x", "unknown-variable"),
        ("ptrace (read), /etc/shadow rw,", "bad-path"),
        ("@{pid}/x", "bad-path"),
    ];
    for (path, code) in cases {
        let errors = run("p", &described(files(&["/ok", path], &[], &[]))).expect_err(path);
        assert_eq!(errors[0].code, code, "{path:?}");
        assert_eq!(errors[0].path.to_string(), "spec.abstract.filesystem.readOnlyPaths[1]", "{path:?}");
    }
}

#[test]
fn legal_names_of_files_are_accepted_and_quoted_where_needed() {
    let paths = [
        "/a b",
        "/tmp/a=b",
        "/a:b",
        "/a,b",
        "/a~",
        "/a^b",
        "/a!b",
        "/..foo",
        "/a%#(x)",
        "/ü",
        "/x[0-9]{a,b}",
        "@{HOME}/x",
        "/a,",
    ];
    for path in paths {
        let rendered =
            run("p", &described(files(&[path], &[], &[]))).unwrap_or_else(|e| panic!("{path}: {e:?}"));
        let unit = load(&rendered.text, &Builtin, ParseOptions::default());
        assert!(unit.is_ok(), "{path}");
    }
    let text = run("p", &described(files(&["/a b"], &[], &[]))).unwrap().text;
    assert!(text.contains("  \"/a b\" r,\n"), "{text}");
}

#[test]
fn no_value_leaves_its_place() {
    // Whatever a path holds, the profile has the rules of its fields and nothing more.
    let attacks = [
        "/a r,\n  /etc/shadow rw,",
        "/a\" rw, /etc/shadow \"",
        "/a rw, /etc/shadow",
        "/x} profile q {",
        "/a#",
    ];
    for attack in attacks {
        if let Ok(rendered) = run("p", &described(files(&[attack], &[], &[]))) {
            assert_ne!(verdict(&rendered.text, "/etc/shadow", "r"), Verdict::Allowed, "{attack}");
            assert_ne!(verdict(&rendered.text, "/etc/shadow", "w"), Verdict::Allowed, "{attack}");
            assert_eq!(load(&rendered.text, &Builtin, ParseOptions::default()).profiles.len(), 1);
        }
    }
}

#[test]
fn the_old_ptrace_spelling_becomes_a_rule() {
    for word in ["ptrace (read),", "ptrace (read), # for the debugger"] {
        let rendered = run("p", &described(files(&[word, "/a"], &[], &[]))).unwrap();
        assert!(
            rendered.text.contains("  ptrace read,\n") && rendered.text.contains("  /a r,\n"),
            "{}",
            rendered.text
        );
        assert_eq!(rendered.diagnostics[0].code, "rule-as-path");
    }
}

#[test]
fn capabilities_come_out_in_the_spelling_of_the_language() {
    let spec: AppArmorProfileSpec = serde_json::from_str(
        r#"{"abstract": {"capability": {"allowedCapabilities": ["DAC_OVERRIDE", " chown", "SYS_RAWIO"]}}}"#,
    )
    .unwrap();
    let rendered = run("p", &spec).unwrap();
    for line in
        ["  capability chown,\n", "  capability dac_override,\n", "  capability sys_rawio,\n", "  mount,\n"]
    {
        assert!(rendered.text.contains(line), "{line}");
    }
    assert!(rendered.diagnostics.iter().any(|d| d.code == "rawio-grants-mount"));
}

#[test]
fn raw_bodies_that_must_not_be_loaded_are_refused() {
    let cases = [
        ("profile q {\n}\n", "name-mismatch"),
        ("profile p {\n}\nprofile q {\n}\n", "several-profiles"),
        ("# nothing\n", "no-profile"),
        ("", "no-profile"),
        ("profile p /usr/bin/x {\n}\n", "attachment"),
        ("profile p flags=(unconfined) {\n}\n", "unconfined"),
        ("profile p {\n profile c flags=(default_allow) {\n }\n}\n", "unconfined"),
        ("profile :ns:p {\n}\n", "namespace"),
        ("profile p {\n include <local/x>\n}\n", "include-not-allowed"),
        ("profile p {\n include \"/etc/passwd\"\n}\n", "include-not-allowed"),
        ("profile p {\n include <abstractions/../../x>\n}\n", "include-not-allowed"),
        ("include if exists </etc/x>\nprofile p {\n}\n", "include-not-allowed"),
        ("profile p {\n /a ix,\n /a px,\n}\n", "exec-conflict"),
        ("profile p {\n /a@{nothing} r,\n}\n", "undefined-variable"),
        ("profile p {\n /a q,\n}\n", "bad-permissions"),
        ("profile p {\n", "unclosed-brace"),
    ];
    for (text, code) in cases {
        assert_eq!(codes(run("p", &raw(text)))[0], code, "{text}");
    }
    let errors = run("p", &raw("profile p {\n  /a q,\n}\n")).unwrap_err();
    let span = errors[0].span.unwrap();
    assert_eq!((span.line, span.column), (2, 6));
}

#[test]
fn a_name_can_be_rewritten_on_request() {
    let options = RenderOptions { name_mismatch: NameMismatch::Rewrite, ..Default::default() };
    let rendered = render("p", &raw("# keep\nprofile   q { # this\n}\n"), &options).unwrap();
    assert_eq!(rendered.text, "# keep\nprofile   p { # this\n}\n");
}

#[test]
fn a_last_line_without_newline_is_completed() {
    assert_eq!(run("p", &raw("profile p {\n}\n# end")).unwrap().text, "profile p {\n}\n# end\n");
}

#[test]
fn includes_are_not_needed_for_a_check() {
    assert!(
        !load("include <tunables/global>\nprofile p {\n}\n", &NoIncludes, ParseOptions::default()).is_ok()
    );
    assert!(run("p", &raw("include <tunables/global>\nprofile p {\n  @{HOME}/x r,\n}\n")).is_ok());
}

#[test]
fn what_is_said_twice_is_one_rule() {
    let text = run("p", &described(files(&["/a", "/a"], &[], &[]))).unwrap().text;
    assert_eq!(text.matches("/a ").count(), 1, "{text}");
}
