//! A check for CI: prints the findings about profiles in the runtime-spec format and fails on errors:
//! `cargo run --example linter -- profile.json…`.

use std::process::ExitCode;

use spo_model::{Severity, seccomp::Arch};
use spo_seccomp::{ArchExt, import, lint};

fn main() -> ExitCode {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let profile = std::fs::read_to_string(&path).map_err(|e| e.to_string());
        match profile.and_then(|json| import::runtime_spec(&json).map_err(|e| e.to_string())) {
            Ok(profile) => {
                for finding in lint(&profile, Arch::host()) {
                    println!("{path}: {finding}");
                    failed |= finding.severity == Severity::Error;
                }
            }
            Err(error) => {
                println!("{path}: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
