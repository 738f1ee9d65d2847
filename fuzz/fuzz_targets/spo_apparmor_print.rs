//! What was read and printed reads back as the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_apparmor::{ParseOptions, parse, print};

fuzz_target!(|text: &str| {
    let first = parse(text, ParseOptions::default());
    if first.is_ok() {
        let printed = print(&first.policy);
        let second = parse(&printed, ParseOptions::default());
        assert!(second.is_ok(), "{printed}: {:?}", second.diagnostics);
        assert_eq!(print(&second.policy), printed);
    }
});
