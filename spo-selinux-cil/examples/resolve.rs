//! Parses and resolves CIL files as one policy and prints its size, or the first diagnostics.
//!
//! `cargo run --release -p spo-selinux-cil --example resolve -- FILE…`

use spo_selinux_cil::{
    policy::RuleKind,
    resolve::{Options, resolve},
    syntax::Forest,
};

fn main() {
    let mut forest = Forest::new();
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return eprintln!("{path}: {error}"),
        };
        if let Err(diagnostic) = forest.add(path.clone(), text) {
            return eprintln!("{path}: {diagnostic}");
        }
    }
    match resolve(&forest, &Options::default().with_multiple_declarations(true)) {
        Ok(policy) => println!(
            "{} types, {} attributes, {} allow rules",
            policy.type_count(),
            policy.attribute_count(),
            policy.rule_count(RuleKind::Allow)
        ),
        Err(found) => found.iter().for_each(|d| eprintln!("{d}")),
    }
}
