//! Any line: the record parser never panics, and what it reads can be classified and reduced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_selinux_cil::avc::{Line, classify, parse, reduce};

fuzz_target!(|line: &str| {
    if let Ok(Line::Avc(record)) = parse(line) {
        let _ = classify(&record, None);
        let _ = record.to_string();
        let _ = reduce([&*record], &|_| true, None).allowx();
    }
});
