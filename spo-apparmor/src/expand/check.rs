//! Checks of a whole profile: two rules that would execute one path in different ways.

use std::{cell::OnceCell, collections::BTreeMap};

use spo_model::Severity;

use super::{FlatProfile, FlatRule, Unit, diagnostic_at};
use crate::{
    aare::Aare,
    dfa::intersection_within,
    meaning::exec_of,
    tree::{Access, Exec, Owner, RuleKind, Safety},
};

pub(super) fn check(unit: &mut Unit, text: &str) {
    let mut found = Vec::new();
    for profile in &unit.profiles {
        exec_conflicts(profile, unit, text, &mut found);
        change_profile_conflicts(profile, unit, text, &mut found);
    }
    unit.diagnostics.extend(found);
}

fn exec_conflicts(profile: &FlatProfile, unit: &Unit, text: &str, found: &mut Vec<spo_model::Diagnostic>) {
    struct Entry<'a> {
        rule: &'a FlatRule,
        path: &'a str,
        owner: Option<Owner>,
        priority: i32,
        exec: (Exec, Option<&'a str>),
        glob: OnceCell<Option<Aare>>,
    }
    impl Entry<'_> {
        fn glob(&self) -> Option<&Aare> {
            self.glob.get_or_init(|| Aare::parse(self.path).ok()).as_ref()
        }
    }
    let entries: Vec<Entry<'_>> = profile
        .rules
        .iter()
        .filter(|r| r.rule.prefix.access != Some(Access::Deny))
        .filter_map(|r| match &r.rule.kind {
            RuleKind::File(file) => Some(Entry {
                rule: r,
                path: file.path.as_ref().map_or("/{**,}", |p| p.text.as_str()),
                owner: r.rule.prefix.owner,
                priority: r.rule.prefix.priority.unwrap_or(0),
                exec: exec_of(file)?,
                glob: OnceCell::new(),
            }),
            _ => None,
        })
        .collect();
    // Most profiles have few ways to execute; only rules of different ways can conflict.
    let mut groups: BTreeMap<(Exec, Option<&str>), Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in &entries {
        groups.entry(entry.exec).or_default().push(entry);
    }
    if groups.len() < 2 {
        return;
    }
    let halves_meet = |a: Option<Owner>, b: Option<Owner>| a.is_none() || b.is_none() || a == b;
    let mut report = |a: &Entry<'_>, b: &Entry<'_>, witness: String| {
        let show = |e: &Entry<'_>| match e.exec.1 {
            Some(target) => format!("{:?} {} -> {target}", e.path, e.exec.0),
            None => format!("{:?} {}", e.path, e.exec.0),
        };
        let message = format!("{} and {} execute {witness:?} in different ways", show(a), show(b));
        let diagnostic =
            diagnostic_at(Severity::Error, "exec-conflict", message, b.rule.origin, &unit.files, text);
        found.push(
            diagnostic
                .with_help("narrow one path so that they do not meet, or name the path without wildcards"),
        );
    };
    // The same path in two rules conflicts before any automaton is made.
    let mut by_path: BTreeMap<(&str, i32), Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in &entries {
        let others = by_path.entry((entry.path, entry.priority)).or_default();
        if let Some(other) = others.iter().find(|o| o.exec != entry.exec && halves_meet(o.owner, entry.owner))
        {
            report(other, entry, entry.path.to_owned());
            return;
        }
        others.push(entry);
    }
    // Shared by all pairs, so that many long patterns cannot keep the check busy.
    let mut budget = 4_000_000_usize;
    let groups: Vec<&Vec<&Entry<'_>>> = groups.values().collect();
    let pairs = groups.iter().enumerate().flat_map(|(i, one)| {
        let others = groups[i + 1..].iter().flat_map(|other| other.iter());
        others.flat_map(|b| one.iter().map(move |a| (*a, *b)))
    });
    for (a, b) in pairs {
        if a.priority != b.priority || !halves_meet(a.owner, b.owner) || a.path == b.path {
            continue;
        }
        // Looking at a pair costs something even when the first bytes already differ.
        budget = budget.saturating_sub(1);
        if budget > 0 && !may_meet(a.path, b.path) {
            continue;
        }
        let (Some(x), Some(y)) = (a.glob(), b.glob()) else { continue };
        // An exact rule overrides the way of a glob; the shapes must agree to conflict.
        if x.is_exact() != y.is_exact() {
            continue;
        }
        let witness = intersection_within(x, y, &mut budget);
        match witness {
            Ok(None) => {}
            Ok(Some(witness)) => {
                report(a, b, String::from_utf8_lossy(&witness).into_owned());
                return;
            }
            Err(e) => {
                let message = format!("the ways to execute cannot be compared: {e}");
                let origin = b.rule.origin;
                found.push(diagnostic_at(Severity::Error, "too-complex", message, origin, &unit.files, text));
                return;
            }
        }
    }
}

/// Whether the literal beginnings and ends of two globs agree; a cheap test in front of the automaton.
fn may_meet(a: &str, b: &str) -> bool {
    let agree = |pair: (u8, u8), special: fn(u8) -> bool| match pair {
        (x, y) if special(x) || special(y) => Some(true),
        (x, y) if x != y => Some(false),
        _ => None,
    };
    let opens = |b: u8| matches!(b, b'*' | b'?' | b'[' | b'{' | b'\\');
    let start = a.bytes().zip(b.bytes()).find_map(|pair| agree(pair, opens)).unwrap_or(true);
    // An escape is longer than its backslash, and only seen from the front.
    if !start || a.contains('\\') || b.contains('\\') {
        return start;
    }
    let closes = |b: u8| matches!(b, b'*' | b'?' | b']' | b'}');
    a.bytes().rev().zip(b.bytes().rev()).find_map(|pair| agree(pair, closes)).unwrap_or(true)
}

/// `change_profile safe X -> T` and `unsafe X -> T` contradict each other.
fn change_profile_conflicts(
    profile: &FlatProfile,
    unit: &Unit,
    text: &str,
    found: &mut Vec<spo_model::Diagnostic>,
) {
    let mut seen: BTreeMap<(&str, &str, bool), Safety> = BTreeMap::new();
    for rule in &profile.rules {
        let RuleKind::ChangeProfile(change) = &rule.rule.kind else { continue };
        let Some(exec) = &change.exec else { continue };
        let safety = change.safety.unwrap_or(Safety::Safe);
        let target = change.target.as_ref().map_or("", |t| t.text.as_str());
        let key = (exec.text.as_str(), target, rule.rule.is_deny());
        if *seen.entry(key).or_insert(safety) != safety {
            let message = format!("change_profile at {:?} is both safe and unsafe", exec.text);
            found.push(diagnostic_at(
                Severity::Error,
                "exec-conflict",
                message,
                rule.origin,
                &unit.files,
                text,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfa::intersection_witness;

    /// The cheap test may only rule out what does not meet.
    #[test]
    fn the_cheap_test_is_never_wrong() {
        let globs = [
            "/a", "/ab", "/a*", "/*b", "/{a,b}", "/{,x/}a", "/a{,b}", "/[ab]", "/a[^b]", "/a\\*", "/a\\052",
            "/**", "/*/b", "/a/b", "/\\141", "/?b",
        ];
        for a in globs {
            for b in globs {
                let meets = intersection_witness(&Aare::parse(a).unwrap(), &Aare::parse(b).unwrap());
                assert!(may_meet(a, b) || meets.unwrap().is_none(), "{a} {b}");
            }
        }
        assert!(!may_meet("/usr/bin/eqn", "/{,usr/}bin/tr"));
    }
}
