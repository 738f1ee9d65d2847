//! The conformance suite of the language: each file says whether a parser must accept it.

mod material;

use std::{collections::BTreeMap, fs, path::Path};

use material::{corpus, files_below, meaning};

use spo_apparmor::{Files, ParseOptions, load};

/// Files on which we and the suite differ, with the reason.
const KNOWN: &str = include_str!("simple_tests_known.txt");

#[test]
fn every_file_gets_the_verdict_it_states() {
    let Some(dir) = corpus("simple_tests") else { return };
    let paths = files_below(&dir);
    // The suite runs in the directory above, with its own directory as search path.
    let mut files = Files::new().with_search(["/tst/simple_tests"]).with_working_directory("/tst");
    for path in &paths {
        let name = path.strip_prefix(&dir).unwrap();
        files.insert(format!("/tst/simple_tests/{}", name.display()), fs::read_to_string(path).unwrap());
    }
    let known: BTreeMap<&str, &str> = KNOWN
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
        .map(|l| l.split_once(char::is_whitespace).expect("a file and a reason"))
        .collect();
    let (mut agree, mut wrong) = (0, Vec::new());
    let mut listed = 0;
    for path in &paths {
        let name = path.strip_prefix(&dir).unwrap().display().to_string();
        let text = fs::read_to_string(path).unwrap();
        let Some(expected) = text.lines().find_map(|l| l.strip_prefix("#=EXRESULT")) else { continue };
        let expected = expected.trim() == "PASS";
        // The suite strips its own header lines.
        let body: String = text.lines().filter(|l| !l.starts_with("#=")).map(|l| format!("{l}\n")).collect();
        let unit = load(&body, &files, ParseOptions::default());
        if unit.is_ok() == expected {
            agree += 1;
            assert!(!known.contains_key(name.as_str()), "{name} agrees now, take it off the list");
        } else if known.contains_key(name.as_str()) {
            listed += 1;
        } else {
            let first = unit.diagnostics.first().map_or("accepted".to_owned(), ToString::to_string);
            wrong.push(format!("{name}: want {}, {first}", if expected { "PASS" } else { "FAIL" }));
        }
    }
    println!("simple_tests: {agree} agree, {listed} listed, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(agree > 800, "the suite is not complete");
    assert_eq!(listed, known.len(), "the list names files that are not in the suite");
}

#[test]
fn printing_keeps_the_meaning_and_is_idempotent() {
    let Some(dir) = corpus("simple_tests") else { return };
    let mut paths = files_below(&dir);
    if Path::new("/etc/apparmor.d/tunables").is_dir() {
        paths.extend(files_below(Path::new("/etc/apparmor.d")));
    }
    let mut compared = 0;
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        for read in [spo_apparmor::parse, spo_apparmor::parse_rules] {
            let first = read(&text, ParseOptions::default());
            if !first.is_ok() {
                continue;
            }
            let printed = spo_apparmor::print(&first.policy);
            let second = read(&printed, ParseOptions::default());
            assert!(second.is_ok(), "{}: {:?}\n{printed}", path.display(), second.diagnostics);
            assert_eq!(meaning(&first.policy), meaning(&second.policy), "{}", path.display());
            assert_eq!(spo_apparmor::print(&second.policy), printed, "{}", path.display());
            compared += 1;
        }
    }
    println!("round trips: {compared}");
    assert!(compared > 600);
}
