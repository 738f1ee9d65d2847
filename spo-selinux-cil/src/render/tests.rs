use super::*;
use spo_model::selinux::RawSelinuxProfileSpec;

fn spec(inherit: &[(&str, &str)], allow: &[(&str, &str, &[&str])]) -> SelinuxProfileSpec {
    use spo_model::selinux::{Inherit, InheritKind};
    let mut spec = SelinuxProfileSpec::default();
    if !inherit.is_empty() {
        let entry = |(kind, name): &(&str, &str)| Inherit {
            kind: kind.parse::<InheritKind>().unwrap(),
            name: name.parse().unwrap(),
        };
        spec.inherit = Some(inherit.iter().map(entry).collect());
    }
    let mut map: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
    for (target, class, permissions) in allow {
        map.entry(target.parse().unwrap())
            .or_default()
            .entry(class.parse().unwrap())
            .or_default()
            .extend(permissions.iter().map(|p| p.parse().unwrap()));
    }
    spec.allow = Some(map);
    spec
}

fn guide() -> SelinuxProfileSpec {
    spec(
        &[("System", "container")],
        &[
            ("@self", "tcp_socket", &["listen", "accept", "bind"]),
            ("http_port_t", "tcp_socket", &["name_bind"]),
            ("http_cache_port_t", "tcp_socket", &["name_bind"]),
            ("node_t", "tcp_socket", &["node_bind"]),
        ],
    )
}

fn codes(result: Result<Rendered, Vec<Diagnostic>>) -> Vec<String> {
    result.err().unwrap_or_default().into_iter().map(|d| format!("{} {}", d.code, d.path)).collect()
}

#[test]
fn the_profile_of_the_guide() {
    let r = render("nginx-selinux", Some("production"), &guide(), &NoAncestors, &Options::default()).unwrap();
    assert_eq!(r.module, "spo_nginx-selinux");
    assert_eq!(r.usage, "nginx-selinux.process");
    insta::assert_snapshot!(r.cil, @r"
    (block nginx-selinux
        (blockinherit container)
        (allow process http_cache_port_t (tcp_socket (name_bind)))
        (allow process http_port_t (tcp_socket (name_bind)))
        (allow process node_t (tcp_socket (node_bind)))
        (allow process self (tcp_socket (accept bind listen)))
    )
    (block nginx-selinux_production
        (typealias process)
        (typealiasactual process nginx-selinux.process)
        (typealias socket)
        (typealiasactual socket nginx-selinux.socket)
    )
    ");
}

#[test]
fn every_spelling_of_the_own_type_is_self() {
    let s = spec(
        &[],
        &[
            ("@self", "process", &["fork"]),
            ("self", "process", &["signal"]),
            ("process", "process", &["getattr", "fork"]),
            ("a.process", "process", &["setsched"]),
        ],
    );
    let r = render("a", None, &s, &NoAncestors, &Options::default()).unwrap();
    assert!(r.cil.contains("(allow process self (process (fork getattr setsched signal)))"), "{}", r.cil);
    assert_eq!(r.cil.matches("(allow ").count(), 1);
}

#[test]
fn ancestors_are_merged_and_their_mode_is_not_inherited() {
    let mut parent = spec(&[("System", "net_container")], &[("@self", "tcp_socket", &["listen"])]);
    parent.mode = SelinuxMode::Permissive;
    let grandparent = spec(&[("System", "log_container")], &[("etc_t", "file", &["read"])]);
    parent.inherit.as_mut().unwrap().extend(spec(&[("SelinuxProfile", "grand")], &[]).inherit.unwrap());
    let all: BTreeMap<_, _> = [("parent".to_owned(), parent), ("grand".to_owned(), grandparent)].into();
    let child = spec(&[("SelinuxProfile", "parent")], &[("@self", "tcp_socket", &["accept"])]);
    let flat = render("child", None, &child, &all, &Options::default()).unwrap();
    insta::assert_snapshot!(flat.cil, @r"
    (block child
        (blockinherit container)
        (blockinherit log_container)
        (blockinherit net_container)
        (allow process etc_t (file (read)))
        (allow process self (tcp_socket (accept listen)))
    )
    ");
    assert_eq!(flat.diagnostics.len(), 1);
    let linked =
        render("child", None, &child, &all, &Options::default().with_layout(Layout::Linked)).unwrap();
    insta::assert_snapshot!(linked.cil, @r"
    (block child_rules
        (blockabstract child_rules)
        (blockinherit parent_rules)
        (allow process self (tcp_socket (accept)))
    )
    (block child
        (blockinherit container)
        (blockinherit log_container)
        (blockinherit net_container)
        (blockinherit child_rules)
    )
    ");
}

#[test]
fn cycles_and_missing_ancestors_name_the_path() {
    let a = spec(&[("SelinuxProfile", "b")], &[]);
    let b = spec(&[("SelinuxProfile", "c")], &[]);
    let c = spec(&[("SelinuxProfile", "b")], &[]);
    let all: BTreeMap<_, _> = [("b".to_owned(), b), ("c".to_owned(), c)].into();
    let errors = render("a", None, &a, &all, &Options::default()).unwrap_err();
    assert_eq!(errors[0].message, "profiles inherit each other: b → c → b");
    let missing = spec(&[("SelinuxProfile", "nope")], &[]);
    let errors = render("a", None, &missing, &NoAncestors, &Options::default()).unwrap_err();
    assert_eq!(errors[0].message, "a inherits \"nope\", which does not exist");
    assert_eq!(errors[0].path.to_string(), "spec.inherit[0]");
}

#[test]
fn what_would_not_compile_or_would_mean_something_else_is_refused() {
    let options = Options::default();
    let go = |name: &str, s: &SelinuxProfileSpec| codes(render(name, None, s, &NoAncestors, &options));
    assert_eq!(go("1a", &guide()), ["selinux-name metadata.name"]);
    assert_eq!(go("my.app", &guide()), ["selinux-name metadata.name"]);
    assert_eq!(go("container", &guide()), ["selinux-name-reserved metadata.name"]);
    assert_eq!(go("a", &spec(&[], &[("etc_t", "file", &[])])), ["selinux-empty-list spec.allow.etc_t.file"]);
    assert_eq!(go("a", &spec(&[], &[("notself", "file", &["read"])])), ["selinux-target spec.allow.notself"]);
    assert_eq!(go("a", &spec(&[], &[("-", "file", &["read"])])), ["selinux-target spec.allow.-"]);
    let mut disabled = guide();
    disabled.state = State::Disabled;
    assert_eq!(go("a", &disabled), ["selinux-disabled spec.state"]);
    let strict = Options::default().with_allowed_templates(["container"]);
    let s = spec(&[("System", "net_container")], &[]);
    assert_eq!(
        codes(render("a", None, &s, &NoAncestors, &strict)),
        ["selinux-template-not-allowed spec.inherit[0].name"]
    );
}

fn raw(policy: &str) -> Result<Rendered, Vec<String>> {
    let spec = RawSelinuxProfileSpec { state: State::Enabled, policy: Some(policy.to_owned()) };
    render_raw("a", Some("ns"), &spec, &Options::default())
        .map_err(|e| e.into_iter().map(|d| d.to_string()).collect())
}

#[test]
fn raw_policy_stays_inside_its_block() {
    let ok = raw("(blockinherit container) ; )\n(allow process etc_t (file (read)))\n(filecon \"x\" any ())");
    assert_eq!(
        ok.unwrap_err(),
        [
            "3:1: error[selinux-raw-statement]: spec.policy: the statement \"filecon\" may not be used in a profile"
        ]
    );
    insta::assert_snapshot!(raw("(blockinherit container) ; )\n(allow process etc_t (file (read)))").unwrap().cil, @r"
    (block a
        (blockinherit container)
        (allow process etc_t (file (read)))
    )
    (block a_ns
        (typealias process)
        (typealiasactual process a.process)
        (typealias socket)
        (typealiasactual socket a.socket)
    )
    ");
    for bad in [
        "(blockinherit container)(allow init_t shadow_t (file (read)))",
        "(blockinherit container)(allow container_domain shadow_t (file (read)))",
        "(blockinherit container)(in b (allow process x (file (read))))",
        "(blockinherit container)(typeattributeset domain (all))",
        "(blockinherit container)(typeattributeset unconfined_t (init_t))",
        "(blockinherit container)(neverallow process self (file (read)))",
        "(blockinherit container)(call other.macro (process))",
        "(blockinherit container)(macro m ((type x)) (allow x etc_t (file (read))))(call m (init_t))",
        "(blockinherit container)) (allow init_t etc_t (file (read))) (block b",
        "(allow process etc_t (file (read)))",
        "(type x)",
        "(blockinherit container)(optional o (allow init_t etc_t (file (read))))",
        "(blockinherit container)(typetransition process etc_t file shadow_t)",
        "(blockinherit container)(optional o (type init_t) (call nope))(allow init_t etc_t (file (read)))",
        "  ; only a comment\n",
    ] {
        assert!(raw(bad).is_err(), "{bad}");
    }
    for good in [
        "(type process)(roletype system_r process)(typeattributeset domain (process))",
        "(blockinherit container)(macro m ((type x)) (allow x etc_t (file (read))))(call m (process))",
        "(blockinherit container)(type t)(typetransition process etc_t file t)(typepermissive process)",
        "(blockinherit container)(allow a.process etc_t (file (read)))",
        "(blockinherit container)(boolean b true)(booleanif b (true (allow process etc_t (file (read)))))",
    ] {
        assert!(raw(good).is_ok(), "{good}: {:?}", raw(good));
    }
}

/// The policy of rendered modules on the built-in base, without `-m`.
fn installed(modules: &[Rendered]) -> crate::policy::Policy {
    let mut forest = crate::syntax::Forest::new();
    forest.add("base", crate::templates::minimal_base()).unwrap();
    forest.add("templates", crate::templates::TEMPLATES).unwrap();
    for m in modules {
        forest.add(m.module.as_str(), m.cil.as_str()).unwrap();
    }
    crate::resolve::resolve(&forest, &crate::resolve::Options::default())
        .unwrap_or_else(|e| panic!("{}", e[0]))
}

/// The existing operator writes `@self` as the absolute type, so that a child gets its parent's permission on the
/// parent's sockets and not its own.
#[test]
fn a_childs_own_permission_is_about_the_child() {
    let all: BTreeMap<_, _> = [("parent".to_owned(), guide())].into();
    let child = spec(&[("SelinuxProfile", "parent")], &[]);
    for layout in [Layout::Flat, Layout::Linked] {
        let options = Options::default().with_layout(layout);
        let modules = [
            render("parent", None, &guide(), &all, &options).unwrap(),
            render("child", None, &child, &all, &options).unwrap(),
        ];
        let policy = installed(&modules);
        let may = |target| policy.query("child.process", target, "tcp_socket", "listen").unwrap().allowed;
        assert!(may("child.process") && !may("parent.process"), "{layout:?}");
    }
}

/// There, two parents, or a parent beside a template, declare `process` twice and compile only where that is allowed.
#[test]
fn two_parents_compile_and_add_up() {
    let all: BTreeMap<_, _> = [
        ("a".to_owned(), spec(&[("System", "container")], &[("etc_t", "file", &["read"])])),
        ("b".to_owned(), spec(&[("System", "tty_container")], &[("tmp_t", "file", &["read"])])),
    ]
    .into();
    let child = spec(&[("SelinuxProfile", "a"), ("SelinuxProfile", "b"), ("System", "container")], &[]);
    for layout in [Layout::Flat, Layout::Linked] {
        let options = Options::default().with_layout(layout);
        let module = |name: &str, s| render(name, None, s, &all, &options).unwrap();
        let policy = installed(&[module("child", &child), module("a", &all["a"]), module("b", &all["b"])]);
        for (target, class) in [("etc_t", "file"), ("tmp_t", "file"), ("devtty_t", "chr_file")] {
            assert!(
                policy.query("child.process", target, class, "read").unwrap().allowed,
                "{layout:?} {target}"
            );
        }
    }
}

/// There, a template other than `container` alone installs without a usable type, and a disabled parent's rules stay.
#[test]
fn there_is_always_a_type_and_never_a_disabled_parent() {
    let alone = spec(&[("System", "net_container")], &[]);
    let policy = installed(&[render("p", Some("ns"), &alone, &NoAncestors, &Options::default()).unwrap()]);
    assert_eq!(policy.find("p.process"), policy.find("p_ns.process"));
    assert!(policy.find("p.process").is_some());
    let mut off = guide();
    off.state = State::Disabled;
    let all: BTreeMap<_, _> = [("off".to_owned(), off)].into();
    let child = spec(&[("SelinuxProfile", "off")], &[]);
    assert_eq!(
        codes(render("child", None, &child, &all, &Options::default())),
        ["selinux-inherit-disabled spec.inherit[0]"]
    );
}

/// There, words of the language pass as permissions, and what they mean passes the deny list.
#[test]
fn words_of_the_language_are_no_names() {
    for (target, class, permission) in [
        ("etc_t", "file", "all"),
        ("etc_t", "file", "not"),
        ("etc_t", "file", "or"),
        ("etc_t", "file", "range"),
        (".shadow_t", "file", "read"),
        ("a..b", "file", "read"),
        ("other", "file", "read"),
    ] {
        let json = serde_json::json!({"allow": {target: {class: [permission]}}});
        let rendered = serde_json::from_value::<SelinuxProfileSpec>(json)
            .ok()
            .and_then(|s| render("p", None, &s, &NoAncestors, &Options::default()).ok());
        assert_eq!(rendered, None, "{target} {class} {permission}");
    }
}
