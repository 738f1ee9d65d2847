//! What is legal but probably not meant.
//!
//! Each lint has a stable code in kebab case, a severity, a place and, where there is one, a way out; [`CODES`] lists
//! them. What the language itself refuses is an error of [`crate::load`], not a lint.

mod codes;
mod container;
mod rules;
mod shape;

pub use codes::{CODES, Code, FoundBy};
use spo_model::{Diagnostic, Severity};

use crate::{
    Unit,
    dfa::Budget,
    expand::{FlatProfile, Origin, diagnostic_at},
    meaning::{CompileError, Compiled, Grants},
    tree::{ProfileKind, RuleKind},
};

/// The states that a lint may spend on one profile.
const BUDGET: Budget = Budget { states: 50_000, work: 16 << 20 };

/// The most pairs of rules that are compared at the states of an automaton.
const MAX_PAIRS: u64 = 50_000_000;

/// Whether comparing the rules of a profile with each other would take seconds.
fn too_many(profile: &FlatProfile) -> bool {
    let files = |r: &&crate::expand::FlatRule| matches!(r.rule.kind, RuleKind::File(_) | RuleKind::Link(_));
    let (denies, allows) =
        profile.rules.iter().filter(|r| !files(r)).partition::<Vec<_>, _>(|r| r.rule.is_deny());
    profile.rules.len() > 5_000 || denies.len() * allows.len() > 10_000
}

/// Judges a unit; `text` is the text it was loaded from.
///
/// Gives nothing for a unit with errors, whose meaning is not known.
///
/// ```
/// use spo_apparmor::{NoIncludes, lint::lint, load};
///
/// let text = "profile p {\n  /etc/nginx/** r,\n}\n";
/// let found = lint(&load(text, &NoIncludes, Default::default()), text);
/// assert!(found.iter().any(|d| d.code == "dir-self" && d.span.unwrap().line == 2));
/// ```
pub fn lint(unit: &Unit, text: &str) -> Vec<Diagnostic> {
    if !unit.is_ok() {
        return Vec::new();
    }
    let mut lints = Lints { unit, text, found: Vec::new() };
    shape::unit(&mut lints);
    for profile in &unit.profiles {
        shape::profile(&mut lints, profile);
        if too_many(profile) {
            let message = format!("{} has too many rules to compare each with each", profile.name);
            lints.push(Severity::Warning, "too-complex", message, None, profile.origin);
            continue;
        }
        rules::each(&mut lints, profile);
        match Compiled::new(profile, BUDGET) {
            Ok(compiled) if compiled.pairs() > MAX_PAIRS => {
                let message = format!("the rules of {} meet in too many ways to compare them", profile.name);
                lints.push(Severity::Warning, "too-complex", message, None, profile.origin);
            }
            Ok(compiled) => {
                let grants = Grants::of(profile);
                rules::together(&mut lints, profile, &compiled, &grants);
                if profile.parent.is_none() && profile.kind != ProfileKind::Hat {
                    container::profile(&mut lints, profile, &compiled, &grants);
                }
            }
            Err(e @ CompileError::ExecConflict { .. }) => {
                lints.push(Severity::Error, "exec-conflict", e.to_string(), None, profile.origin);
            }
            Err(e) => {
                let message = format!("the rules of {} cannot be compared: {e}", profile.name);
                lints.push(Severity::Warning, "too-complex", message, None, profile.origin);
            }
        }
    }
    let mut found = lints.found;
    found.sort_by(|(a, x), (b, y)| (a, &x.code, &x.message).cmp(&(b, &y.code, &y.message)));
    found.dedup_by(|(a, x), (b, y)| a == b && x.code == y.code && x.message == y.message);
    found.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// The findings so far, with the place to sort by.
struct Lints<'a> {
    unit: &'a Unit,
    text: &'a str,
    found: Vec<(Origin, Diagnostic)>,
}

impl Lints<'_> {
    fn push(&mut self, severity: Severity, code: &str, message: String, help: Option<&str>, origin: Origin) {
        let mut diagnostic = diagnostic_at(severity, code, message, origin, &self.unit.files, self.text);
        diagnostic.help = help.map(str::to_owned);
        self.found.push((origin, diagnostic));
    }

    fn warn(&mut self, code: &str, message: String, help: &str, origin: Origin) {
        self.push(Severity::Warning, code, message, Some(help), origin);
    }

    fn info(&mut self, code: &str, message: String, help: &str, origin: Origin) {
        self.push(Severity::Info, code, message, Some(help), origin);
    }
}

/// Whether an include that could grant anything was taken unseen or is there at all.
fn includes(profile: &FlatProfile, path: &str) -> bool {
    profile.includes.iter().any(|(name, _)| name == path)
}
