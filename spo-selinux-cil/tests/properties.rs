//! Properties over arbitrary bytes and mutated policy; the stable twin of the fuzz targets.

use proptest::prelude::*;
use spo_model::selinux::{RawSelinuxProfileSpec, SelinuxProfileSpec};
use spo_selinux_cil::{
    Base, Layout, NoAncestors, Options,
    avc::{Event, Line, classify, join, parse, reduce},
    compiler_output, profile, render, render_raw,
    resolve::{self, resolve},
    syntax::{Forest, MAX_DEPTH, Version, check, format, print},
    templates,
};

fn round_trip(text: &str) {
    let Ok(forest) = Forest::parse(text) else { return };
    let _ = check(&forest, Version::V3_11, false);
    let file = forest.files().next().unwrap();
    let printed = print(&forest, file);
    let formatted = format(&forest, file);
    for version in [&printed, &formatted] {
        let again = Forest::parse(version.as_str()).unwrap_or_else(|e| panic!("{e}: {version}"));
        let again_file = again.files().next().unwrap();
        assert_eq!(print(&again, again_file), printed);
        assert_eq!(
            again.comments(again_file).len(),
            if version == &printed { 0 } else { forest.comments(file).len() }
        );
    }
    let again = Forest::parse(formatted.as_str()).unwrap();
    assert_eq!(format(&again, again.files().next().unwrap()), formatted);
}

fn settle(text: &str) {
    let Ok(forest) = Forest::parse(text) else { return };
    for options in [
        resolve::Options::default(),
        resolve::Options::default().with_complete(false).with_multiple_declarations(true),
        resolve::Options::default()
            .for_version(Version::V3_4)
            .with_qualified_names(true)
            .with_complete(false),
    ] {
        if let Ok(policy) = resolve(&forest, &options) {
            let names: Vec<String> = policy.types().take(4).map(str::to_owned).collect();
            for name in names {
                let _ = policy.effective(policy.find(&name).unwrap());
            }
        }
    }
}

/// Pieces of the language, so that random sequences of them often mean something.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "(",
        ")",
        "(",
        ")",
        "block",
        "blockinherit",
        "blockabstract",
        "optional",
        "macro",
        "call",
        "in",
        "after",
        "type",
        "typeattribute",
        "typeattributeset",
        "typealias",
        "typealiasactual",
        "allow",
        "neverallow",
        "booleanif",
        "true",
        "false",
        "boolean",
        "tunable",
        "tunableif",
        "and",
        "or",
        "not",
        "xor",
        "all",
        "self",
        "a",
        "b",
        "c",
        "a.b",
        ".a",
        "file",
        "read",
        "class",
        "classorder",
        "classmap",
        "classmapping",
        "classpermission",
        "classpermissionset",
        "category",
        "categoryorder",
        "categoryset",
        "range",
        "level",
        "levelrange",
        "sensitivity",
        "context",
        "user",
        "role",
        "; x\n",
        ";;* lme\n",
        "\"q q\"",
        "1",
        "0x10",
        "ioctl",
        "allowx",
        "deny",
    ];
    proptest::sample::select(words.map(str::to_owned).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_parses_or_says_why(text in "\\PC{0,200}") {
        round_trip(&text);
        settle(&text);
    }

    #[test]
    fn any_sequence_of_words_is_settled(pieces in proptest::collection::vec(piece(), 0..60)) {
        let text = pieces.join(" ");
        round_trip(&text);
        settle(&text);
        // Closed, so that more than the parser sees it.
        let depth = pieces.iter().fold(0i32, |d, p| d + i32::from(p == "(") - i32::from(p == ")"));
        settle(&format!("(class file (read)) (classorder (file)) {text} {}", ")".repeat(depth.max(0) as usize)));
    }

    #[test]
    fn mutated_templates_are_settled(at in 0..templates::TEMPLATES.len(), len in 0usize..40, put in "[()a-z ;\"]{0,8}") {
        let text = templates::TEMPLATES;
        prop_assume!(text.is_char_boundary(at));
        let end = (at + len).min(text.len());
        let text = format!("{}{put}{}", &text[..at], &text[end..]);
        round_trip(&text);
        settle(&text);
    }

    #[test]
    fn raw_profiles_stay_in_their_block(pieces in proptest::collection::vec(piece(), 0..30)) {
        let policy = format!("(blockinherit container) {}", pieces.join(" "));
        let spec = RawSelinuxProfileSpec { policy: Some(policy), ..Default::default() };
        if let Ok(module) = render_raw("p", Some("ns"), &spec, &Options::default()) {
            let forest = Forest::parse(module.cil.as_str()).unwrap();
            let names: Vec<&str> = forest.all_statements().map(|s| s.children().nth(1).map_or("", |n| n.text())).collect();
            prop_assert_eq!(names, ["p", "p_ns"]);
        }
    }

    #[test]
    fn any_line_is_a_record_or_not(line in "\\PC{0,120}", tail in "[ -~]{0,120}") {
        for line in [line.clone(), format!("type=AVC msg=audit(1.2:3): avc:  denied  {{ read }} for {tail}"), format!("audit: type=1400 audit(1.2:3): avc: {line}")] {
            if let Ok(Line::Avc(record)) = parse(&line) {
                let _ = (classify(&record, None), reduce([&*record], &|_| true, None));
                let again = parse(&format!("type=AVC msg=audit(1.2:3): {record}"));
                prop_assert!(again.is_ok(), "{record}: {again:?}");
            }
        }
    }

    /// Lines of an event in any order, with others between: no decision is lost or made up.
    #[test]
    fn joining_keeps_every_decision(order in proptest::collection::vec((0usize..7, 0u64..4), 0..200)) {
        let bodies = [
            "AVC msg=audit(1.2:N): avc:  denied  { read } for  pid=1 name=\"f\" ino=7 scontext=u:r:a:s0 tcontext=u:r:b:s0 tclass=file",
            "SYSCALL msg=audit(1.2:N): syscall=2 success=no exit=-13 pid=1 comm=\"x\" exe=\"/bin/x\"",
            "CWD msg=audit(1.2:N): cwd=\"/d\"",
            "PATH msg=audit(1.2:N): item=0 name=\"f\" inode=7 nametype=NORMAL",
            "SELINUX_ERR msg=audit(1.2:N): op=security_compute_av reason=bounds scontext=u:r:a:s0 tcontext=u:r:b:s0 tclass=file perms=read",
            "EOE msg=audit(1.2:N): ",
            "MAC_POLICY_LOAD msg=audit(1.2:N): loaded",
        ];
        let line = |(kind, n): &(usize, u64)| parse(&format!("type={}", bodies[*kind].replace(":N)", &format!(":{n})")))).unwrap();
        let events = join(order.iter().map(line));
        let count = |f: fn(&Event) -> bool| events.iter().filter(|e| f(e)).count();
        let written = |kind| order.iter().filter(|o| o.0 == kind).count();
        prop_assert_eq!(count(|e| matches!(e, Event::Access(_))), written(0));
        prop_assert_eq!(count(|e| matches!(e, Event::Refusal(_))), written(4));
        prop_assert_eq!(count(|e| matches!(e, Event::PolicyLoad)), written(6));
        for event in &events {
            if let Event::Access(r) = event {
                prop_assert!(matches!(r.path(), Some("f" | "/d/f")), "{:?}", r.path());
            }
        }
    }

    #[test]
    fn any_output_of_a_tool_is_read(text in "\\PC{0,200}", order in proptest::collection::vec(0usize..9, 0..60)) {
        let lines = [
            "Failed to resolve allow statement at /s/modules/350/a/cil:3",
            "Failed to resolve permission x at /s/modules/350/b/cil:3",
            "neverallow check failed at c.cil:7",
            "    <root>",
            "    block at d.cil:1",
            "      (allow a b (file (read)))",
            " (No such file or directory).",
            "Failed to resolve AST",
            "semodule:  Failed on e.cil!",
        ];
        let said = order.iter().map(|&i| lines[i]).collect::<Vec<_>>().join("\n");
        for output in [text.clone(), said.clone(), format!("{said}\n{text}\n{said}")] {
            let findings = compiler_output::read(&output);
            prop_assert!(findings.len() <= compiler_output::MAX_FINDINGS);
            for finding in findings {
                prop_assert!(finding.place.as_ref().is_none_or(|p| output.contains(&p.module)));
                let _ = finding.diagnostic(Some(&output));
            }
        }
        // Module b is only named by words of the policy.
        prop_assert!(compiler_output::read(&said).iter().all(|f| f.place.as_ref().is_none_or(|p| p.module != "b")));
    }

    /// Rules of ancestors merged into the module mean what they mean in a module of their own.
    #[test]
    fn flat_and_linked_modules_mean_the_same(parent in rules(), child in rules()) {
        let mut child = child;
        let mut inherits = child.inherits();
        inherits.extend(serde_json::from_str::<Vec<_>>(r#"[{"kind": "SelinuxProfile", "name": "parent"}]"#).unwrap());
        child.inherit = Some(inherits);
        let all: std::collections::BTreeMap<String, SelinuxProfileSpec> = [("parent".to_owned(), parent.clone())].into();
        let accesses = |layout| {
            let module = |name: &str, spec| render(name, None, spec, &all, &Options::default().with_layout(layout)).unwrap().cil;
            let mut forest = Forest::new();
            for text in [templates::minimal_base(), templates::TEMPLATES.to_owned(), module("parent", &parent), module("child", &child)] {
                forest.add("", text).unwrap();
            }
            let policy = resolve(&forest, &resolve::Options::default().with_neverallow(false)).unwrap_or_else(|e| panic!("{}", e[0]));
            policy.effective(policy.find("child.process").unwrap()).into_keys().collect::<std::collections::BTreeSet<_>>()
        };
        prop_assert_eq!(accesses(Layout::Flat), accesses(Layout::Linked));
    }

    /// What two profiles together may do is what each may do: rules only ever add.
    #[test]
    fn merging_adds_up(a in rules(), b in rules()) {
        let base = base();
        let effective = |spec: &SelinuxProfileSpec| {
            let profile = base.check("p", spec, &NoAncestors).unwrap_or_else(|e| panic!("{}", e[0]));
            profile.effective().into_keys().collect::<std::collections::BTreeSet<_>>()
        };
        let merged = profile::merge(&[a.clone(), b.clone()]).unwrap();
        prop_assert_eq!(effective(&merged), &effective(&a) | &effective(&b));
        let slim = profile::subsume(&merged, &base.check("p", &merged, &NoAncestors).unwrap());
        prop_assert_eq!(effective(&slim), effective(&merged));
        let rendered = render("p", None, &merged, &NoAncestors, &Options::default()).unwrap();
        prop_assert_eq!(&rendered, &render("p", None, &merged, &NoAncestors, &Options::default()).unwrap());
        round_trip(&rendered.cil);
    }
}

fn base() -> &'static Base {
    static BASE: std::sync::OnceLock<Base> = std::sync::OnceLock::new();
    BASE.get_or_init(|| Base::builtin().unwrap())
}

fn rules() -> impl Strategy<Value = SelinuxProfileSpec> {
    let target = proptest::sample::select(vec![
        "@self",
        "etc_t",
        "tmpfile",
        "tmp_t",
        "port_type",
        "http_port_t",
        "socket",
    ]);
    let rule = proptest::sample::select(vec![
        ("file", "read"),
        ("file", "write"),
        ("tcp_socket", "name_bind"),
        ("tcp_socket", "listen"),
        ("dir", "search"),
        ("sock_file", "write"),
    ]);
    let template =
        proptest::sample::select(vec!["container", "net_container", "tmp_rw_container", "x_container"]);
    (proptest::collection::vec((target, rule), 0..6), template).prop_map(|(rules, template)| {
        let mut allow = serde_json::Map::new();
        for (target, (class, permission)) in rules {
            let classes = allow.entry(target).or_insert_with(|| serde_json::json!({}));
            let list = classes.as_object_mut().unwrap().entry(class).or_insert_with(|| serde_json::json!([]));
            list.as_array_mut().unwrap().push(permission.into());
        }
        let json = serde_json::json!({"inherit": [{"name": template}], "allow": allow});
        serde_json::from_value(json).unwrap()
    })
}

/// Shapes that would blow a stack or a heap.
#[test]
fn hostile_shapes_end() {
    let deep = |open: &str, n: usize| format!("{}{}", open.repeat(n), ")".repeat(n));
    for text in [
        deep("(", MAX_DEPTH),
        deep("(optional o ", MAX_DEPTH),
        deep("(a ; x\n", MAX_DEPTH),
        format!(
            "(typeattribute a) (typeattributeset a {})",
            deep("(not ", MAX_DEPTH - 2).replacen(')', " a)", 1)
        ),
        format!(
            "(booleanif {} (true (allow a a (b (c)))))",
            deep("(not ", MAX_DEPTH - 2).replacen(')', " a)", 1)
        ),
        format!("(constrain (a (b)) {})", deep("(not ", MAX_DEPTH - 2)),
    ] {
        round_trip(&text);
        settle(&text);
        let spec = RawSelinuxProfileSpec { policy: Some(text), ..Default::default() };
        let _ = render_raw("p", None, &spec, &Options::default());
    }
    // Each block inherits the one before it twice: without a bound, 2^40 rules.
    let mut doubling =
        "(class f (r)) (classorder (f)) (type t) (block b0 (blockabstract b0) (allow t t (f (r))))"
            .to_owned();
    // Each macro calls the next twice.
    let mut calls = "(class f (r)) (classorder (f)) (type t) (macro m0 () (allow t t (f (r))))".to_owned();
    // Each attribute is in the next; each alias stands for the next.
    let mut chain = "(type a0) (typealias l0) (typealiasactual l0 a0)".to_owned();
    for i in 1..40 {
        doubling += &format!("(block b{i} (blockinherit b{}) (blockinherit b{}))", i - 1, i - 1);
        calls += &format!("(macro m{i} () (call m{}) (call m{}))", i - 1, i - 1);
    }
    calls += "(call m39)";
    for i in 1..5000 {
        let before = if i == 1 { "a0".to_owned() } else { format!("a{}", i - 1) };
        chain += &format!("(typeattribute a{i}) (typeattributeset a{i} (or {before} a0))");
        chain += &format!("(typealias l{i}) (typealiasactual l{i} l{})", i - 1);
    }
    for text in [doubling, calls] {
        let forest = Forest::parse(text).unwrap();
        let errors = resolve(&forest, &resolve::Options::default().with_complete(false)).unwrap_err();
        assert!(errors[0].message.contains("without bound"), "{}", errors[0]);
    }
    let forest = Forest::parse(chain).unwrap();
    let policy = resolve(&forest, &resolve::Options::default().with_complete(false)).unwrap();
    assert_eq!(policy.member_names(policy.find("a4999").unwrap()), ["a0"]);
    assert_eq!(policy.find("l4999"), policy.find("a0"));
}
