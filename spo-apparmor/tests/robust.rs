//! No input panics or hangs: the twin of the fuzz targets on the stable toolchain.

mod material;

use std::fs;

use proptest::prelude::*;
use spo_apparmor::{
    ParseOptions,
    dfa::Budget,
    lint::lint,
    load,
    meaning::Compiled,
    parse, print,
    render::{Builtin, RenderOptions, render},
};
use spo_model::apparmor::{AppArmorAbstract, AppArmorBody, AppArmorProfileSpec, Executable, Filesystem};

fn judge(text: &str) {
    let unit = load(text, &Builtin, ParseOptions { tokens: true, ..Default::default() });
    let _ = lint(&unit, text);
    for profile in &unit.profiles {
        let _ = Compiled::new(profile, Budget { states: 2_000, work: 1 << 20 });
    }
    let first = parse(text, ParseOptions { tokens: true, ..Default::default() });
    let mut end = 0;
    for token in &first.tokens {
        assert!(token.range.start >= end, "tokens overlap");
        assert!(
            text.is_char_boundary(token.range.start as usize)
                && text.is_char_boundary(token.range.end as usize)
        );
        end = token.range.end;
    }
    if first.is_ok() {
        // Between the tokens of a legal text there is only white space, and the backslash of continued lines.
        let mut at = 0;
        for token in &first.tokens {
            let gap = &text[at..token.range.start as usize];
            assert!(
                gap.chars().all(|c| c.is_whitespace() || c == '\\'),
                "{gap:?} is in no token of {text:?}"
            );
            at = token.range.end as usize;
        }
        let printed = print(&first.policy);
        let second = parse(&printed, ParseOptions::default());
        assert!(second.is_ok(), "{text:?} printed as {printed:?}: {:?}", second.diagnostics);
        assert_eq!(print(&second.policy), printed);
        // Backslashes at the end of a value are written as their octal number.
        if !text.contains("\\\\") {
            assert_eq!(material::meaning(&first.policy), material::meaning(&second.policy), "{text:?}");
        }
    }
}

/// Words and signs of the language in any order.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "profile",
        "p",
        "/a",
        "/b/**",
        "{",
        "}",
        "{\n",
        "}\n",
        ",",
        ",\n",
        " ",
        "\n",
        "r",
        "rw",
        "ix",
        "px",
        "->",
        "deny",
        "owner",
        "audit",
        "priority=1",
        "file",
        "link",
        "subset",
        "capability",
        "chown",
        "network",
        "inet",
        "tcp",
        "unix",
        "dbus",
        "signal",
        "send",
        "peer=",
        "(",
        ")",
        "=",
        "label=x",
        "set=(hup,int)",
        "mount",
        "options=(ro)",
        "fstype=ext4",
        "umount",
        "pivot_root",
        "change_profile",
        "set",
        "rlimit",
        "nofile",
        "<=",
        "10K",
        "userns",
        "create",
        "mqueue",
        "all",
        "io_uring",
        "include",
        "<x>",
        "#include",
        "if",
        "exists",
        "abi",
        "@{X}",
        "@{X} = a b\n",
        "$Y",
        "$Y = true\n",
        "else",
        "not",
        "defined",
        "and",
        "hat",
        "^h",
        "flags=(complain)",
        "xattrs=(a=b)",
        "\"",
        "\"a b\"",
        "\\",
        "#",
        "# c\n",
        "*",
        "[a-",
        "{a,b}",
        "]",
        "é",
        "\r\n",
        "in",
        "==",
        "+=",
        "alias",
        "safe",
        "unsafe",
        "x",
        ":ns:n",
        "&",
    ]);
    prop::collection::vec((word, prop::bool::ANY), 0..40).prop_map(|v| {
        v.into_iter().map(|(w, blank)| if blank { format!("{w} ") } else { w.to_owned() }).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn words_in_any_order(text in words()) {
        judge(&text);
        judge(&format!("profile p {{\n{text}\n}}\n"));
    }

    #[test]
    fn any_text(text in "\\PC{0,80}|[\\x00-\\xff]{0,40}") {
        judge(&text);
    }

    #[test]
    fn any_path_and_name_in_a_resource(name in "\\PC{0,12}|[a-z]{1,8}", path in "/\\PC{0,20}|\\PC{0,12}") {
        let list = Some(vec![path]);
        let body = AppArmorAbstract {
            executable: Some(Executable { allowed_executables: list.clone(), allowed_libraries: list.clone() }),
            filesystem: Some(Filesystem { read_only_paths: list.clone(), write_only_paths: list.clone(), read_write_paths: list }),
            ..Default::default()
        };
        let spec = AppArmorProfileSpec { body: AppArmorBody::Abstract(body), ..Default::default() };
        if let Ok(rendered) = render(&name, &spec, &RenderOptions { protect: false, ..Default::default() }) {
            // Five rules and two includes, whatever the path is.
            let lines = rendered.text.lines().count();
            prop_assert_eq!(lines, 10, "{}", rendered.text);
        }
    }
}

#[test]
fn mutated_files_of_the_suite() {
    let Some(dir) = material::corpus("simple_tests") else { return };
    let mut seed = 1_usize;
    for path in material::files_below(&dir) {
        let text = fs::read_to_string(&path).unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut chars: Vec<char> = text.chars().take(2_000).collect();
        if chars.is_empty() {
            continue;
        }
        let at = (seed >> 33) % chars.len();
        match seed >> 20 & 3 {
            0 => drop(chars.remove(at)),
            1 => chars.insert(at, ['{', '}', '"', ',', '\\', '(', '@', '#'][seed >> 25 & 7]),
            2 => chars.truncate(at),
            _ => chars.swap(at, 0),
        }
        judge(&chars.into_iter().collect::<String>());
    }
}

/// Legal texts that would be slow to judge rule by rule.
#[test]
fn many_rules_end() {
    let numbered = |line: &str| (0..8_000).map(|i| line.replace('N', &i.to_string())).collect::<String>();
    for body in [
        numbered("  signal send peer=xN,\n  deny signal send peer=yN,\n"),
        numbered("  /dN/** r,\n"),
        numbered("  /bin/N r,\n"),
        numbered("  /aN*b ix,\n  /aN*c px,\n"),
        numbered("  /** r,\n"),
    ] {
        let text = format!("profile p {{\n{body}}}\n");
        let unit = load(&text, &Builtin, ParseOptions::default());
        let found = lint(&unit, &text);
        let complex = |d: &spo_model::Diagnostic| d.code == "too-complex";
        assert!(found.iter().any(complex) || unit.diagnostics.iter().any(complex), "{}", &body[..30]);
    }
}

#[test]
fn deep_and_long_inputs_end() {
    let deep = |open: &str, close: &str, n: usize| {
        format!("profile p {{\n{}{}\n}}\n", open.repeat(n), close.repeat(n))
    };
    for text in [
        deep("profile c {\n", "}\n", 100_000),
        deep("if $X {\n", "}\n", 100_000),
        deep("audit {\n", "}\n", 100_000),
        format!("profile p {{\nif {} $X {{\n}}\n}}\n", "not ".repeat(100_000)),
        format!("profile p {{\nif {}$X{} {{\n}}\n}}\n", "(".repeat(100_000), ")".repeat(100_000)),
        format!("profile p {{\nif $X {{\n}} {}\n}}\n", "else if $X {\n} ".repeat(100_000)),
        format!("$X = {}true\n", "true or ".repeat(100_000)),
        format!("profile p {{\n  /{} r,\n}}\n", "{a,".repeat(100_000)),
        format!("profile p {{\n  /{} r,\n}}\n", "a".repeat(1_000_000)),
        format!("profile p {{\n{}}}\n", "  /a/**/b/**/c ux,\n  /a/**/d/**/c px,\n".repeat(300)),
        format!("@{{A}} = a b c d e f g h\nprofile p {{\n  /{} r,\n}}\n", "@{A}".repeat(1_000)),
        "{".repeat(100_000),
        "}".repeat(100_000),
        ",".repeat(100_000),
        "\"".repeat(100_001),
        "\\".repeat(100_001),
    ] {
        let unit = load(&text, &Builtin, ParseOptions::default());
        // The only legal one is none of these.
        assert!(!unit.is_ok(), "{}", &text[..40]);
    }
}

/// In a list of values a lone backslash in front of the line end continues the line; at the end of the text it escapes
/// nothing and is no value.
#[test]
fn a_lone_backslash_is_no_value() {
    let parsed = parse("@{z} = a \\\n b\n", Default::default());
    assert!(parsed.is_ok(), "{:?}", parsed.diagnostics);
    assert_eq!(print(&parsed.policy), "@{z} = a b\n");
    assert!(!parse("@{z} = \\", Default::default()).is_ok());
}
