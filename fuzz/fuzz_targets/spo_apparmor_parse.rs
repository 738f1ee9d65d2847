//! No text makes the parser, the expansion, the lints or the automaton panic or hang.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_apparmor::{ParseOptions, dfa::Budget, lint::lint, load, meaning::Compiled, render::Builtin};

fuzz_target!(|text: &str| {
    let unit = load(text, &Builtin, ParseOptions::default());
    let _ = lint(&unit, text);
    for profile in &unit.profiles {
        let _ = Compiled::new(profile, Budget { states: 5_000, work: 1 << 20 });
    }
});
