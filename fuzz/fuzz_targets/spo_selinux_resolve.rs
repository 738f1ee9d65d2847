//! Any policy text: resolving and asking never panic, hang, or take unbounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_selinux_cil::{
    resolve::{Options, resolve},
    syntax::Forest,
};

fuzz_target!(|text: &str| {
    let Ok(forest) = Forest::parse(text) else { return };
    for options in [Options::default(), Options::default().with_complete(false).with_multiple_declarations(true)] {
        if let Ok(policy) = resolve(&forest, &options) {
            let types: Vec<String> = policy.types().map(str::to_owned).collect();
            for name in types.iter().take(8) {
                if let Some(set) = policy.find(name) {
                    let _ = policy.effective(set);
                }
            }
        }
    }
});
