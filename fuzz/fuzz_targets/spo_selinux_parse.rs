//! Any text: parsing, printing and formatting agree with each other and never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_selinux_cil::syntax::{Forest, Version, check, format, print};

fuzz_target!(|text: &str| {
    let Ok(forest) = Forest::parse(text) else { return };
    let _ = check(&forest, Version::V3_11, false);
    let Some(file) = forest.files().next() else { return };
    let printed = print(&forest, file);
    for version in [printed.clone(), format(&forest, file)] {
        let again = Forest::parse(version.as_str()).expect("own output parses");
        let again_file = again.files().next().expect("one file");
        assert_eq!(print(&again, again_file), printed);
    }
});
