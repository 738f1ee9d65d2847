//! No log line panics, and the profile made of it is legal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_apparmor::{ParseOptions, log::{Choices, learn, parse_line, policy_of}, parse, print};

fuzz_target!(|line: &str| {
    if let Some(record) = parse_line(line) {
        let text = print(&policy_of(&learn([&record], Choices::default())));
        assert!(parse(&text, ParseOptions::default()).is_ok(), "{text}");
    }
});
