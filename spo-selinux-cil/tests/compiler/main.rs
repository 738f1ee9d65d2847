//! Verdicts of the resolver beside those of SELinux's own compiler.

mod guide;
#[path = "../installed/mod.rs"]
mod installed;
mod mutants;
mod probes;

use std::{path::PathBuf, process::Command};

use installed::{debian, debian_folder, folder, read, secilc, tools};
use spo_selinux_cil::{
    policy::{Policy, RuleKind, Why},
    resolve::{Options, resolve},
    syntax::{Forest, Version, format, print},
};

fn corpus() -> Option<PathBuf> {
    installed::corpus().map(|c| c.join("selinux")).filter(|c| c.is_dir())
}

/// The phase of the compiler that refuses, or `ok`.
fn verdict(texts: &[&str], flags: &str, version: Version) -> (String, String) {
    let mut forest = Forest::new();
    for text in texts {
        if let Err(d) = forest.add("", *text) {
            return ("err:parse".to_owned(), d.to_string());
        }
    }
    let options = Options::default()
        .for_version(version)
        .with_multiple_declarations(flags.contains("-m"))
        .with_qualified_names(flags.contains("-Q"))
        .with_neverallow(!flags.contains("-N"));
    match resolve(&forest, &options) {
        Ok(_) => ("ok".to_owned(), String::new()),
        Err(found) => {
            let phase = match found[0].code.as_str() {
                "cil-form" | "cil-duplicate" => "build",
                "cil-resolve" => "resolve",
                "cil-verify" => "verify",
                "cil-conflict" => "binary",
                "cil-neverallow" => "neverallow",
                "cil-bounds" => "bounds",
                other => other,
            };
            (format!("err:{phase}"), found[0].to_string())
        }
    }
}

#[derive(Debug)]
struct Case {
    name: String,
    flags: String,
    cil: String,
    old: String,
    new: String,
}

fn cases(root: &std::path::Path) -> Vec<Case> {
    let text = read(root.join("cases.jsonl"));
    text.lines()
        .map(|line| {
            let v: serde_json::Value = serde_json::from_str(line).unwrap();
            let get = |key: &str| v[key].as_str().unwrap().to_owned();
            Case {
                name: get("name"),
                flags: get("flags"),
                cil: get("cil"),
                old: get("secilc_3_4"),
                new: get("secilc_3_11"),
            }
        })
        .collect()
}

fn base(root: &std::path::Path) -> [String; 3] {
    ["base.cil", "mls.cil", "templates.cil"].map(|f| read(root.join(f)))
}

/// Accepted or refused must agree in every case, and the phase that refuses in all but the listed ones.
#[test]
fn every_case_has_the_verdict_of_both_compilers() {
    let Some(root) = corpus() else { return };
    let base = base(&root);
    let cases = cases(&root);
    assert!(cases.len() >= 100);
    let mut wrong = Vec::new();
    for case in &cases {
        for (version, expected) in [(Version::V3_4, &case.old), (Version::V3_11, &case.new)] {
            let texts = [&base[0][..], &base[1], &base[2], &case.cil];
            let (found, why) = verdict(&texts, &case.flags, version);
            // 3.4 resolves the name of a type in an abstract block and fails when it writes the policy.
            let later = case.name == "abstract block is not there" && version == Version::V3_4;
            let same = if later { found.starts_with("err") } else { found == *expected };
            if !same {
                wrong.push(format!(
                    "{} (3.{}): want {expected}, found {found}: {why}",
                    case.name, version.minor
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len() * 2, wrong.join("\n"));
}

#[test]
fn printed_and_formatted_text_is_the_same_policy() {
    let Some(root) = corpus() else { return };
    let mut texts: Vec<String> = base(&root).into();
    texts.extend(cases(&root).into_iter().filter(|c| !c.new.contains("parse")).map(|c| c.cil));
    for text in texts {
        let forest = Forest::parse(text.as_str()).unwrap();
        let file = forest.files().next().unwrap();
        let printed = print(&forest, file);
        for version in [printed.clone(), format(&forest, file)] {
            let again = Forest::parse(version.as_str()).unwrap();
            let again_file = again.files().next().unwrap();
            assert_eq!(print(&again, again_file), printed);
            assert_eq!(again.len(), forest.len());
        }
    }
}

fn resolve_texts<'a>(files: &'a [(String, String)], forest: &mut Forest<'a>, options: &Options) -> Policy {
    for (name, text) in files {
        forest.add(name.as_str(), text.as_str()).unwrap();
    }
    resolve(forest, options).unwrap_or_else(|e| panic!("{}", e[0]))
}

#[test]
fn debians_policy_parses_prints_and_resolves() {
    let Some(files) = debian() else { return };
    assert_eq!(files.len(), 331);
    for (name, text) in &files {
        let forest = Forest::parse(text.as_str()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file = forest.files().next().unwrap();
        let printed = print(&forest, file);
        let again = Forest::parse(printed.as_str()).unwrap();
        let again_file = again.files().next().unwrap();
        assert_eq!(print(&again, again_file), printed, "{name}");
        assert_eq!(again.len(), forest.len(), "{name}");
    }
    let mut forest = Forest::new();
    let options = Options::default().for_version(Version::V3_4).with_multiple_declarations(true);
    let policy = resolve_texts(&files, &mut forest, &options);
    assert_eq!((policy.type_count(), policy.booleans().len(), policy.classes().count()), (4098, 312, 134));
    if !tools(&["secilc", "seinfo"]) {
        return;
    }
    let kinds = [RuleKind::Allow, RuleKind::DontAudit, RuleKind::AuditAllow];
    let written = kinds.map(|k| policy.compiled_rule_count(k));
    assert_eq!(written, compiled_counts(&files, &["-m", "-N"]));
    let expanded = kinds.map(|k| policy.expanded_rule_count(k));
    assert_eq!(expanded, compiled_counts(&files, &["-m", "-N", "-G", "-X", "100000"]));
}

/// Allow, dontaudit and auditallow rules that `seinfo` counts in what `secilc` makes of Debian's policy.
fn compiled_counts(files: &[(String, String)], flags: &[&str]) -> [usize; 3] {
    let binary = folder("debian-counts").join("policy.bin");
    let files: Vec<PathBuf> = files.iter().map(|(n, _)| debian_folder().join(format!("{n}.cil"))).collect();
    installed::compile(flags, &files, &binary);
    let info = Command::new("seinfo").arg(&binary).output().unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    let words: Vec<&str> = info.split_whitespace().collect();
    ["Allow:", "Dontaudit:", "Auditallow:"].map(|label| {
        let at = words.iter().position(|w| *w == label).unwrap_or_else(|| panic!("no {label} in {info}"));
        words[at + 1].parse().unwrap()
    })
}

/// Our base and templates, and Debian's policy with our templates, for the compiler itself, `neverallow` on.
#[test]
fn templates_compile_on_both_bases() {
    use spo_selinux_cil::templates::{NAMES, TEMPLATES, minimal_base};
    if !tools(&["secilc", "seinfo"]) {
        return;
    }
    let folder = folder("templates");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = write("base.cil", &minimal_base());
    let templates = write("templates.cil", TEMPLATES);
    let profiles: String = NAMES
        .iter()
        .enumerate()
        .map(|(i, t)| match *t {
            "container" => "(block p0 (blockinherit container))".to_owned(),
            t => format!("(block p{i} (blockinherit container) (blockinherit {t}))"),
        })
        .collect();
    let profiles = write("profiles.cil", &profiles);
    let out = folder.join("policy.bin");
    installed::compile(&[], &[&base, &templates, &profiles], &out);
    let Some(debian) = debian() else { return };
    let files: Vec<PathBuf> = debian.iter().map(|(n, _)| debian_folder().join(format!("{n}.cil"))).collect();
    let mut all: Vec<&PathBuf> = files.iter().collect();
    all.extend([&templates, &profiles]);
    installed::compile(&["-m"], &all, &out);
    let mut forest = Forest::new();
    for text in [TEMPLATES, &read(&profiles)] {
        forest.add("templates", text.to_owned()).unwrap();
    }
    let options = Options::default().for_version(Version::V3_4).with_multiple_declarations(true);
    let policy = resolve_texts(&debian, &mut forest, &options);
    let info = Command::new("seinfo").arg(&out).output().unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    let allow = policy.compiled_rule_count(RuleKind::Allow);
    assert!(
        info.contains(&format!("Allow: {allow:>17}")) || info.contains(&format!(" {allow} ")),
        "{allow}\n{info}"
    );

    // One set of templates for every flavour of base: names a base lacks are in optionals, and are told. Of the names the
    // templates use, Debian's policy lacks those of the container module, which it has not.
    let listed = Command::new("seinfo").args(["-t", "-a"]).arg(&out).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let known: std::collections::BTreeSet<&str> = listed.lines().map(str::trim).collect();
    let missing = |t: &str| spo_selinux_cil::templates::missing(t, &policy);
    for t in NAMES {
        assert!(missing(t).iter().all(|name| !known.contains(&name[..])), "{t}: {:?}", missing(t));
    }
    assert_eq!(missing("container"), ["container_domain", "container_runtime_t", "svirt_sandbox_domain"]);
    assert_eq!(missing("net_container"), ["sandbox_net_domain"]);
    // And each gives something all the same.
    for (i, t) in NAMES.iter().enumerate() {
        let type_ = policy.find(&format!("p{i}.process")).unwrap_or_else(|| panic!("{t} gives no type"));
        let from_it = |why: &Why| matches!(why, Why::Template(name) if name == t);
        let gives = policy.effective(type_).values().any(|reasons| reasons.iter().any(from_it));
        assert!(gives, "{t} gives nothing on this base");
    }
}
