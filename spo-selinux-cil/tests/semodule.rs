//! What the installed tools really print, read: `semodule` on a module store of its own, and `secilc`.

mod installed;

use std::{path::PathBuf, process::Command};

use installed::{folder, secilc, tools};
use spo_model::Severity;
use spo_selinux_cil::{
    compiler_output::{Finding, read},
    templates,
};

/// A module store with our minimal base and templates, apart from the machine's own; nothing is loaded into a kernel.
struct Store {
    root: PathBuf,
}

impl Store {
    fn new(name: &str) -> Self {
        let root = folder(name);
        for folder in
            ["etc/selinux/mini/contexts/files", "etc/selinux/mini/policy", "var/lib/selinux/mini/active"]
        {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("etc/selinux/semanage.conf"), "module-store = direct\nexpand-check = 1\n")
            .unwrap();
        let store = Self { root };
        let base = store.write("base", &templates::minimal_base());
        let templates = store.write("spo_templates", templates::TEMPLATES);
        let (ok, said) = store.run(&["-X", "100", "-i", &base, &templates]);
        assert!(ok, "{said}");
        store
    }

    fn write(&self, module: &str, text: &str) -> String {
        let path = self.root.join(format!("{module}.cil"));
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Whether the transaction went through, and what was printed; warnings go to the standard output.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("/usr/sbin/semodule");
        let result =
            command.arg("-p").arg(&self.root).args(["-s", "mini", "-N"]).args(arguments).output().unwrap();
        let said = [result.stderr, result.stdout].concat();
        (result.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What is said about modules that are installed in one transaction.
    fn refused(&self, modules: &[(&str, &str)]) -> Vec<Finding> {
        let files: Vec<String> = modules.iter().map(|(n, t)| self.write(n, t)).collect();
        let mut arguments = vec!["-X", "350", "-i"];
        arguments.extend(files.iter().map(String::as_str));
        let (ok, said) = self.run(&arguments);
        assert!(!ok, "{modules:?}");
        let found = read(&said);
        assert!(found.iter().any(|f| f.severity == Severity::Error), "{said}");
        found
    }
}

/// A module's fault, the line it is in, and a part of what must be said about it.
const FAULTS: [(&str, u32, &str); 16] = [
    ("(block b (type process)\n(allow process nope_t (file (read))))", 2, "allow"),
    ("\n(allow init_t init_t (file (rea)))", 2, "permission rea"),
    ("\n(allow init_t init_t (fil (read)))", 2, "allow"),
    ("\n\n(type init_t)", 3, "Re-declaration of type init_t"),
    ("(type x_t)\n(typealias x_t)", 2, "Re-declaration of typealias x_t"),
    ("\n(type a$b)", 2, "Invalid character"),
    ("\n(type)", 2, "Invalid syntax"),
    ("(type a_t)\n(type é)", 2, "Invalid token"),
    ("(block b\n(type t)", 2, "Open parenthesis without matching close"),
    ("(type a))", 1, "Close parenthesis without matching open"),
    ("\n(block c (blockinherit nowhere))", 2, "blockinherit"),
    ("\n(block c (blockinherit c))", 2, "loop"),
    ("(macro m ((type a)) (allow a a (file (read))))\n(call m (nope))", 2, "nope"),
    (
        "(neverallow init_t init_t (file (read)))\n\n(allow init_t init_t (file (read)))",
        3,
        "neverallow check failed",
    ),
    ("(type p_t)(type c_t)(typebounds p_t c_t)\n(allow c_t init_t (file (read)))", 2, "exceeds bounds"),
    ("(typetransition init_t etc_t file tmp_t)\n(typetransition init_t etc_t file var_t)", 2, "Conflicting"),
];

#[test]
fn every_fault_is_found_in_its_module_and_line() {
    if !tools(&["semodule"]) {
        return;
    }
    let store = Store::new("semodule-faults");
    for (i, (text, line, words)) in FAULTS.iter().enumerate() {
        // Good modules of the same transaction must not be blamed.
        let name = format!("spo_faulty{i}");
        let found = store.refused(&[("spo_good", "(block good (blockinherit container))"), (&name, text)]);
        let place = found[0].place.as_ref().unwrap_or_else(|| panic!("{text}: {found:?}"));
        assert_eq!((&place.module[..], place.priority), (&name[..], Some(350)), "{text}: {found:?}");
        // A list that is not closed is noticed at the end of the text, which may be one line later.
        let late = words.starts_with("Open") && place.line == Some(line + 1);
        assert!(place.line == Some(*line) || late, "{text}: {found:?}");
        let said = format!("{} {}", found[0].message, found[0].details.join(" "));
        assert!(said.contains(words), "{text}: {said}");
        assert!(found.iter().all(|f| f.place.as_ref().is_none_or(|p| p.module == name)), "{found:?}");
    }
}

/// The guard is in one module, the rules in others, one of them through a template.
#[test]
fn every_profile_that_breaks_a_guard_is_named() {
    if !tools(&["semodule"]) {
        return;
    }
    let store = Store::new("semodule-guard");
    let found = store.refused(&[
        ("spo_guard", "(neverallow container_domain port_type (tcp_socket (name_connect)))"),
        (
            "spo_a",
            "(block a (blockinherit container)\n(allow process http_port_t (tcp_socket (name_connect))))",
        ),
        ("spo_b", "(block b (blockinherit container)\n\n(blockinherit net_container))"),
        ("spo_c", "(block c (blockinherit container))"),
    ]);
    let mut blamed: Vec<String> =
        found.iter().filter_map(|f| f.place.as_ref()).map(ToString::to_string).collect();
    blamed.sort();
    blamed.dedup();
    assert!(blamed.contains(&"spo_a:2".to_owned()), "{found:?}");
    assert!(blamed.iter().all(|b| !b.starts_with("spo_c")), "{found:?}");
    assert!(found.iter().all(|f| f.related.iter().any(|p| p.module == "spo_guard")), "{found:?}");
}

#[test]
fn what_has_no_line_still_names_its_module() {
    if !tools(&["semodule"]) {
        return;
    }
    let store = Store::new("semodule-modules");
    let (ok, said) = store.run(&["-X", "350", "-r", "spo_gone"]);
    assert!(!ok);
    let found = read(&said);
    assert_eq!(found[0].place.as_ref().unwrap().module, "spo_gone", "{said}");

    let path = store.write("0digit", "(block x)");
    let (ok, said) = store.run(&["-X", "350", "-i", &path]);
    assert!(!ok);
    let found = read(&said);
    assert_eq!(found[0].place.as_ref().unwrap().module, "0digit", "{said}");

    // A word that is no statement is said without its place by this release, so no module may be blamed.
    let found = store.refused(&[("spo_word", "(nothing a b)")]);
    assert!(found[0].message.contains("Unknown keyword nothing"), "{found:?}");

    // A module that hides another one goes through, with a warning.
    let path = store.write("spo_templates", templates::TEMPLATES);
    let (ok, said) = store.run(&["-X", "350", "-i", &path]);
    assert!(ok, "{said}");
    let found = read(&said);
    assert_eq!(found.len(), 1, "{said}");
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].place.as_ref().unwrap().module, "spo_templates");
}

#[test]
fn secilc_says_the_same_about_files() {
    if !tools(&["secilc"]) {
        return;
    }
    let folder = folder("secilc-output");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = write("base.cil", &templates::minimal_base());
    let compile = |files: &[&PathBuf]| {
        let output = secilc(&[], files, &folder.join("policy.bin"));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (i, (text, line, words)) in FAULTS.iter().enumerate() {
        let file = write(&format!("spo_faulty{i}.cil"), text);
        let output = compile(&[&base, &file]);
        let found = read(&output);
        let place = found[0].place.as_ref().unwrap_or_else(|| panic!("{text}: {output}"));
        assert_eq!((place.module.clone(), place.priority), (format!("spo_faulty{i}"), None), "{output}");
        let late = words.starts_with("Open") && place.line == Some(line + 1);
        assert!(place.line == Some(*line) || late, "{text}: {output}");
        let span = found[0].diagnostic(Some(text)).span;
        assert!(late || span.is_some_and(|s| s.line == *line && s.end <= text.len()), "{text}");
    }
    let output = compile(&[&base, &folder.join("nowhere.cil")]);
    assert!(read(&output)[0].message.contains("nowhere.cil"), "{output}");
    let output = compile(&[&base]);
    assert_eq!(read(&output), [], "a policy that compiles has no findings");
}
