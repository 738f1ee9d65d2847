//! Anything a tool may print: reading it ends, is bounded, and never blames a place the text does not have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_selinux_cil::compiler_output::{MAX_DETAILS, MAX_FINDINGS, read};

fuzz_target!(|output: &str| {
    let findings = read(output);
    assert!(findings.len() <= MAX_FINDINGS);
    for finding in &findings {
        assert!(finding.details.len() <= MAX_DETAILS);
        assert!(finding.place.as_ref().is_none_or(|p| output.contains(&p.module)));
        if let Some(span) = finding.diagnostic(Some(output)).span {
            assert!(span.start <= span.end && output.get(span.start..span.end).is_some());
        }
    }
});
