//! What profiles may effectively do, beside `sesearch` on the policy SELinux's own compiler makes.

mod installed;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use installed::{compile, debian, folder, tools, write_all};
use spo_model::selinux::SelinuxProfileSpec;
use spo_selinux_cil::{
    Base, Layout, NoAncestors, Options, policy, profile, render, resolve,
    syntax::{Forest, Version},
    templates,
};

const TOOLS: [&str; 3] = ["secilc", "seinfo", "sesearch"];

/// Profiles that use every template, attributes as targets, inheritance, and names of both bases.
fn profiles() -> BTreeMap<String, SelinuxProfileSpec> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, json: String| {
        all.insert(name.to_owned(), serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}")));
    };
    add(
        "guide",
        r#"{"allow": {"@self": {"tcp_socket": ["listen", "accept", "bind"]},
            "http_port_t": {"tcp_socket": ["name_bind"]}, "http_cache_port_t": {"tcp_socket": ["name_bind"]},
            "node_t": {"tcp_socket": ["node_bind"]}}}"#
            .to_owned(),
    );
    add(
        "wide",
        r#"{"allow": {"port_type": {"tcp_socket": ["name_bind"]}, "logfile": {"file": ["read"]}}}"#
            .to_owned(),
    );
    add(
        "child",
        r#"{"inherit": [{"kind": "SelinuxProfile", "name": "guide"}, {"name": "tty_container"}],
            "allow": {"etc_t": {"file": ["read", "open"]}, "socket": {"sock_file": ["watch"]}}}"#
            .to_owned(),
    );
    for (i, template) in templates::NAMES.iter().enumerate() {
        add(&format!("t{i}"), format!(r#"{{"inherit": [{{"name": "{template}"}}]}}"#));
    }
    all
}

type Accesses = BTreeSet<(String, String, String)>;

/// Target, class and permission of every allow rule the compiled policy has for some types, conditional ones too:
/// rules from `sesearch`, members of attributes from `seinfo`. (Letting the compiler expand attributes instead makes
/// `sesearch` take minutes on a real policy.)
fn granted(binary: &Path, sources: &BTreeSet<String>) -> BTreeMap<String, Accesses> {
    let run = |tool: &str, arguments: &[&str]| {
        let output = Command::new(tool).args(arguments).arg(binary).output().unwrap();
        assert!(output.status.success(), "{tool}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut attribute = String::new();
    for line in run("seinfo", &["-a", "-x"]).lines() {
        if let Some(name) = line.trim().strip_prefix("attribute ") {
            attribute = name.trim_end_matches(';').to_owned();
        } else if line.starts_with('\t') {
            members.entry(attribute.clone()).or_default().push(line.trim().to_owned());
        }
    }
    let expand = |name: &str| members.get(name).cloned().unwrap_or_else(|| vec![name.to_owned()]);
    let mut all: BTreeMap<String, Accesses> = BTreeMap::new();
    for line in run("sesearch", &["-A"]).lines() {
        let (source, rule) = line.strip_prefix("allow ").and_then(|l| l.split_once(' ')).unwrap();
        let wanted: Vec<String> = expand(source).into_iter().filter(|s| sources.contains(s)).collect();
        if wanted.is_empty() {
            continue;
        }
        let rule = rule.split(';').next().unwrap();
        let (target, rest) = rule.split_once(':').unwrap();
        let (class, permissions) = rest.split_once(' ').unwrap();
        for t in expand(target) {
            for p in permissions.trim_matches(['{', '}', ' ']).split_whitespace() {
                for s in &wanted {
                    all.entry(s.clone()).or_default().insert((t.clone(), class.to_owned(), p.to_owned()));
                }
            }
        }
    }
    all
}

fn ours(effective: &policy::Effective) -> Accesses {
    effective.keys().map(|a| (a.target.clone(), a.class.clone(), a.permission.clone())).collect()
}

/// Renders all profiles, resolves them with the base here and compiles them there, and compares every type.
fn compare(folder: &Path, base: &[(String, String)], flags: &[&str]) {
    let profiles = profiles();
    let mut texts: Vec<(String, String)> = base.to_vec();
    texts.push(("templates".to_owned(), templates::TEMPLATES.to_owned()));
    for (name, spec) in &profiles {
        let module = render(name, Some("ns"), spec, &profiles, &Options::default()).unwrap();
        texts.push((module.module, module.cil));
    }
    let binary = folder.join("policy.bin");
    compile(flags, &write_all(folder, &texts), &binary);

    let mut forest = Forest::new();
    for (name, text) in &texts {
        forest.add(name.as_str(), text.as_str()).unwrap();
    }
    let options = resolve::Options::default().for_version(Version::V3_4).with_multiple_declarations(true);
    let policy = resolve::resolve(&forest, &options).unwrap_or_else(|e| panic!("{}", e[0]));
    let modules: Vec<(&str, &str)> = base.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let loaded = Base::load(modules, &options).unwrap_or_else(|e| panic!("{}", e[0]));
    let others: Vec<String> =
        profiles.keys().flat_map(|n| [format!("{n}.process"), format!("{n}.socket")]).collect();
    let usages: BTreeSet<String> = profiles.keys().map(|n| format!("{n}.process")).collect();
    let mut searched = granted(&binary, &usages);
    for (name, spec) in &profiles {
        let usage = format!("{name}.process");
        let type_ = policy.find(&usage).unwrap();
        assert_eq!(policy.find(&format!("{name}_ns.process")), Some(type_), "the alias");
        let theirs = searched.remove(&usage).unwrap_or_default();
        let found = ours(&policy.effective(type_));
        assert!(!theirs.is_empty());
        let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| a.difference(b).take(5).cloned().collect::<Vec<_>>();
        assert_eq!((only(&found, &theirs), only(&theirs, &found)), (vec![], vec![]), "{name}");

        // The same without resolving anything again, on the loaded base; other profiles are not there.
        let quick =
            loaded.check(name, spec, &profiles).unwrap_or_else(|e| panic!("{name}: {}", e[0])).effective();
        let quick: BTreeSet<_> = ours(&quick)
            .into_iter()
            .map(|(t, c, p)| match &t[..] {
                "@self" => (usage.clone(), c, p),
                "socket" => (format!("{name}.socket"), c, p),
                _ => (t, c, p),
            })
            .collect();
        let own = [usage.clone(), format!("{name}.socket")];
        let expected: BTreeSet<_> =
            theirs.into_iter().filter(|a| own.contains(&a.0) || !others.contains(&a.0)).collect();
        assert_eq!(
            (only(&quick, &expected), only(&expected, &quick)),
            (vec![], vec![]),
            "{name} on the loaded base"
        );
    }
}

#[test]
fn profiles_on_the_minimal_base() {
    if tools(&TOOLS) {
        let base = [("base".to_owned(), templates::minimal_base())];
        compare(&folder("effective-minimal"), &base, &[]);
    }
}

#[test]
fn profiles_on_debians_policy() {
    let Some(base) = debian() else { return };
    if tools(&TOOLS) {
        compare(&folder("effective-debian"), &base, &["-m", "-N"]);
    }
}

/// What `sediff` says of the compiled policies of two profiles of one name: what the second allows the process type
/// more, and what less. It expands attributes and shows a rule with other permissions as one that was modified.
fn sediff(folder: &Path, a: &[(String, String)], b: &[(String, String)]) -> [Accesses; 2] {
    let [a, b] = [("a", a), ("b", b)].map(|(side, texts)| {
        let binary = folder.join(format!("{side}.bin"));
        let folder = folder.join(side);
        std::fs::create_dir_all(&folder).unwrap();
        compile(&[], &write_all(&folder, texts), &binary);
        binary
    });
    let output = Command::new("sediff").arg("--allow").args([a, b]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = [Accesses::new(), Accesses::new()];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line = line.trim();
        let Some((sign, rule)) = line.split_once(" allow p.process ") else { continue };
        let rule = rule.split(';').next().unwrap();
        let (target, rest) = rule.split_once(':').unwrap();
        let (class, permissions) = rest.split_once(' ').unwrap();
        for p in permissions.trim_matches(['{', '}', ' ']).split_whitespace() {
            let (side, p) = match (sign, p.strip_prefix('+'), p.strip_prefix('-')) {
                ("*", Some(p), _) => (0, p),
                ("*", _, Some(p)) => (1, p),
                ("*", None, None) => continue,
                ("+", ..) => (0, p),
                ("-", ..) => (1, p),
                _ => panic!("{line}"),
            };
            found[side].insert((target.to_owned(), class.to_owned(), p.to_owned()));
        }
    }
    found
}

/// Added and removed rules of [`profile::diff`], with the names the compiled policy has for the own types.
fn our_diff(a: &policy::Effective, b: &policy::Effective) -> [Accesses; 2] {
    let d = profile::diff(a, b);
    [d.added, d.removed].map(|all| {
        let named = |a: policy::Access| match &a.target[..] {
            "@self" => ("p.process".to_owned(), a.class, a.permission),
            "socket" => ("p.socket".to_owned(), a.class, a.permission),
            _ => (a.target, a.class, a.permission),
        };
        all.into_iter().map(named).collect()
    })
}

/// The module the existing operator writes for a profile without ancestors, from the facts about its shape: templates in
/// their order, rules sorted, the own type spelled out.
fn upstream(name: &str, spec: &SelinuxProfileSpec) -> String {
    let mut text = format!("(block {name}\n(blockinherit container)\n");
    for entry in spec.inherits().iter().filter(|e| e.name.as_str() != "container") {
        text += &format!("(blockinherit {})\n", entry.name);
    }
    for (target, classes) in spec.allow.iter().flatten() {
        for (class, permissions) in classes {
            let own = format!("{name}.process");
            let target = if target.is_own() { &own } else { target.as_str() };
            let permissions: BTreeSet<String> = permissions.iter().map(ToString::to_string).collect();
            let permissions = permissions.into_iter().collect::<Vec<_>>().join(" ");
            text += &format!("(allow process {target} ( {class} ( {permissions} )))\n");
        }
    }
    text + ")\n"
}

/// Our module and the existing operator's make the same policy: `sediff` has nothing to say.
#[test]
fn the_module_means_what_the_existing_operators_means() {
    if !tools(&["secilc", "sediff"]) {
        return;
    }
    let folder = folder("sediff-upstream");
    let all = profiles();
    let compiled = |side: &str, module: &dyn Fn(&str, &SelinuxProfileSpec) -> String| {
        let mut texts = vec![
            ("base".to_owned(), templates::minimal_base()),
            ("templates".to_owned(), templates::TEMPLATES.to_owned()),
        ];
        // `child` has an ancestor, where the other operator's meaning is another one.
        for (name, spec) in all.iter().filter(|(n, _)| *n != "child") {
            texts.push((name.clone(), module(name, spec)));
        }
        let folder = folder.join(side);
        std::fs::create_dir_all(&folder).unwrap();
        let binary = folder.join("policy.bin");
        compile(&[], &write_all(&folder, &texts), &binary);
        binary
    };
    let ours = compiled("ours", &|name, spec| {
        render(name, None, spec, &NoAncestors, &Options::default()).unwrap().cil
    });
    let theirs = compiled("theirs", &upstream);
    let output = Command::new("sediff").args([&ours, &theirs]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let differences = said.lines().filter(|l| !l.trim().is_empty() && !l.starts_with("Policy Properties"));
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Two versions of a profile, every pair of some, differ as `sediff` says; and so does one profile on two bases.
#[test]
fn differences_are_those_of_sediff() {
    if !tools(&["secilc", "sediff"]) {
        return;
    }
    let folder = folder("sediff");
    let texts = |base: &str, spec: &SelinuxProfileSpec| {
        let module = render("p", None, spec, &NoAncestors, &Options::default()).unwrap();
        let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        vec![own("base", base), own("templates", templates::TEMPLATES), own("p", &module.cil)]
    };
    let minimal = templates::minimal_base();
    let load = |text: &str| Base::load([("base", text)], &resolve::Options::default()).unwrap();
    let base = load(&minimal);
    let effective = |base: &Base, spec| base.check("p", spec, &NoAncestors).unwrap().effective();
    let specs = [
        r#"{}"#,
        r#"{"allow": {"http_port_t": {"tcp_socket": ["name_bind"]}}}"#,
        r#"{"allow": {"port_type": {"tcp_socket": ["name_bind", "name_connect"]}, "@self": {"tcp_socket": ["listen"]}}}"#,
        r#"{"allow": {"etc_t": {"file": ["read", "open"]}, "socket": {"sock_file": ["watch"]}}}"#,
        r#"{"inherit": [{"name": "net_container"}, {"name": "log_rw_container"}],
            "allow": {"configfile": {"file": ["read", "open", "getattr"]}}}"#,
        r#"{"inherit": [{"name": "tmp_container"}, {"name": "x_container"}]}"#,
    ];
    let specs: Vec<SelinuxProfileSpec> = specs.iter().map(|s| serde_json::from_str(s).unwrap()).collect();
    for (i, a) in specs.iter().enumerate() {
        for (j, b) in specs.iter().enumerate().filter(|(j, _)| *j != i) {
            let theirs = sediff(&folder, &texts(&minimal, a), &texts(&minimal, b));
            assert!(theirs.iter().any(|t| !t.is_empty()), "{i} and {j} differ");
            assert_eq!(our_diff(&effective(&base, a), &effective(&base, b)), theirs, "{i} and {j}");
        }
    }
    // A base that gives containers something else, and puts other types into an attribute.
    let other = minimal.replace("(allow container_domain zero_device_t", "(allow container_domain device_t")
        + "(type more_port_t)(typeattributeset port_type more_port_t)(roletype object_r more_port_t)";
    let other_base = load(&other);
    for (i, spec) in specs.iter().enumerate() {
        let theirs = sediff(&folder, &texts(&minimal, spec), &texts(&other, spec));
        assert!(!theirs[0].is_empty() && !theirs[1].is_empty(), "{i}");
        assert_eq!(our_diff(&effective(&base, spec), &effective(&other_base, spec)), theirs, "{i}");
    }
}

/// Flat and linked modules, and the shape the existing operator writes, mean the same.
#[test]
fn every_layout_means_the_same() {
    let base = templates::minimal_base();
    let profiles = profiles();
    let parent = &profiles["guide"];
    let child = &profiles["child"];
    let resolved = |modules: &[String]| {
        let mut forest = Forest::new();
        for text in [&base[..], templates::TEMPLATES].into_iter().chain(modules.iter().map(|m| &m[..])) {
            forest.add("", text).unwrap();
        }
        let options = resolve::Options::default().with_multiple_declarations(true);
        let policy = resolve::resolve(&forest, &options).unwrap_or_else(|e| panic!("{}", e[0]));
        ours(&policy.effective(policy.find("child.process").unwrap()))
    };
    let module = |name: &str, spec, layout| {
        render(name, None, spec, &profiles, &Options::default().with_layout(layout)).unwrap().cil
    };
    let flat = resolved(&[module("child", child, Layout::Flat)]);
    let linked = resolved(&[module("guide", parent, Layout::Linked), module("child", child, Layout::Linked)]);
    assert_eq!(flat, linked);
    let guide = "(block guide\n(blockinherit container)\n(allow process process ( tcp_socket ( accept bind listen )))\n(allow process http_cache_port_t ( tcp_socket ( name_bind )))\n(allow process http_port_t ( tcp_socket ( name_bind )))\n(allow process node_t ( tcp_socket ( node_bind )))\n)\n";
    let upstream = "(block child\n(blockinherit tty_container)\n(blockinherit guide)\n(allow process etc_t ( file ( open read )))\n(allow process socket ( sock_file ( watch )))\n)\n";
    assert_eq!(flat, resolved(&[guide.to_owned(), upstream.to_owned()]));
    assert!(flat.len() > 100);
    assert!(render("guide", None, parent, &NoAncestors, &Options::default()).is_ok());
}
