//! Two profiles made into one.

use std::collections::BTreeSet;

use crate::{
    aare::Aare,
    dfa::{Budget, Dfa, intersection_witness, walk_pairs},
    expand::FlatProfile,
    tree::{Access, FilePerms, FileRule, LinkRule, Prefix, Rule, RuleKind},
};

/// What the merged profile grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// What either one grants.
    Union,
    /// What both grant.
    Intersection,
}

/// The result of merging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The rules, sorted by their text, without duplicates.
    pub rules: Vec<Rule>,
    /// Where the result is not exactly the union or intersection. A union is never smaller and an
    /// intersection never larger than asked for.
    pub notes: Vec<String>,
}

/// Merges the rules of two profiles.
///
/// A union drops a deny of one side that would take away what the other side allows. An intersection keeps
/// all denies, and of two globs that overlap without one containing the other it keeps neither, because no
/// single glob says their common part.
pub fn merge(a: &FlatProfile, b: &FlatProfile, mode: MergeMode) -> Merged {
    let mut merged = Merged::default();
    match mode {
        MergeMode::Union => union(a, b, &mut merged),
        MergeMode::Intersection => intersection(a, b, &mut merged),
    }
    let mut seen = BTreeSet::new();
    merged.rules.retain(|rule| seen.insert(rule.to_string()));
    merged.rules.sort_by_key(ToString::to_string);
    merged
}

fn rules(profile: &FlatProfile) -> impl Iterator<Item = &Rule> {
    profile.rules.iter().map(|flat| &*flat.rule)
}

fn union(a: &FlatProfile, b: &FlatProfile, merged: &mut Merged) {
    for (own, other) in [(a, b), (b, a)] {
        for rule in rules(own) {
            if !rule.is_deny() || rules(other).any(|r| same(r, rule)) || !denies_other(rule, other) {
                merged.rules.push(rule.clone());
            } else {
                merged
                    .notes
                    .push(format!("left out \"{rule}\", which would deny what {} allows", other.name));
            }
        }
    }
}

/// Whether a deny meets an allow of the other profile.
fn denies_other(deny: &Rule, other: &FlatProfile) -> bool {
    rules(other).filter(|r| !r.is_deny()).any(|allow| match (&deny.kind, &allow.kind) {
        (RuleKind::File(x), RuleKind::File(y)) => {
            x.perms.effective().intersects(y.perms.effective()) && globs_meet(path_of(x), path_of(y))
        }
        (RuleKind::File(_), RuleKind::All) | (RuleKind::Link(_), RuleKind::Link(_) | RuleKind::File(_)) => {
            true
        }
        (RuleKind::File(_) | RuleKind::Link(_), _) => false,
        _ => {
            let denied = super::grants::grants_of(deny);
            let allowed = super::grants::grants_of(allow);
            denied.iter().any(|d| allowed.iter().any(|g| g.class == d.class && g.what == d.what))
        }
    })
}

fn intersection(a: &FlatProfile, b: &FlatProfile, merged: &mut Merged) {
    merged.rules.extend(rules(a).chain(rules(b)).filter(|r| r.is_deny()).cloned());
    for x in rules(a).filter(|r| !r.is_deny()) {
        for y in rules(b).filter(|r| !r.is_deny()) {
            match (&x.kind, &y.kind) {
                (RuleKind::File(f), RuleKind::File(g)) => {
                    file_intersection((x, f), (y, g), merged);
                }
                (RuleKind::Link(l), RuleKind::Link(m)) => link_intersection((x, l), (y, m), merged),
                (RuleKind::File(f), RuleKind::Link(l)) | (RuleKind::Link(l), RuleKind::File(f)) => {
                    if f.perms.contains(FilePerms::LINK) && globs_meet(path_of(f), &l.link.text) {
                        merged.notes.push(format!("left out the common links of \"{x}\" and \"{y}\""));
                    }
                }
                (RuleKind::File(_), _) | (_, RuleKind::File(_)) => {}
                (RuleKind::Capability(m), RuleKind::Capability(n)) => {
                    let names: Vec<_> = match (m.is_empty(), n.is_empty()) {
                        (true, _) => n.clone(),
                        (_, true) => m.clone(),
                        _ => m.iter().filter(|c| n.contains(c)).cloned().collect(),
                    };
                    if !names.is_empty() || (m.is_empty() && n.is_empty()) {
                        merged.rules.push(Rule { kind: RuleKind::Capability(names), ..x.clone() });
                    }
                }
                _ => {
                    // One contains the other: the smaller one is the common part.
                    let (p, q) = (super::grants::grants_of(x), super::grants::grants_of(y));
                    let inside = |small: &[super::Grant], large: &[super::Grant]| {
                        !small.is_empty() && small.iter().all(|s| large.iter().any(|l| l.covers(s)))
                    };
                    if same(x, y) || inside(&p, &q) {
                        merged.rules.push(x.clone());
                    } else if inside(&q, &p) {
                        merged.rules.push(y.clone());
                    } else if p.iter().any(|g| q.iter().any(|h| g.class == h.class && g.what == h.what)) {
                        merged.notes.push(format!("left out the common part of \"{x}\" and \"{y}\""));
                    }
                }
            }
        }
    }
}

fn file_intersection((x, f): (&Rule, &FileRule), (y, g): (&Rule, &FileRule), merged: &mut Merged) {
    let mut perms = f.perms.effective().intersection(g.perms.effective());
    let same_exec = f.exec == g.exec && f.target == g.target && f.safety == g.safety;
    if !same_exec {
        perms = perms.without(FilePerms::EXEC);
    }
    let owner = match (x.prefix.owner, y.prefix.owner) {
        (None, o) | (o, None) => o,
        (p, q) if p == q => p,
        _ => return,
    };
    let path = match containment(path_of(f), path_of(g)) {
        Containment::Equal | Containment::FirstInside => f.path.clone(),
        Containment::SecondInside => g.path.clone(),
        Containment::Disjoint => return,
        Containment::Overlap => {
            if !perms.is_empty() {
                merged.notes.push(format!("left out the common part of \"{x}\" and \"{y}\""));
            }
            return;
        }
    };
    // Append is part of write.
    if perms.contains(FilePerms::WRITE) {
        perms = perms.without(FilePerms::APPEND);
    }
    if perms.is_empty() {
        return;
    }
    let exec = if perms.contains(FilePerms::EXEC) { f.exec } else { None };
    let target = if exec.is_some() { f.target.clone() } else { None };
    let safety = if exec.is_some() { f.safety } else { None };
    let bare = path.is_none();
    let path =
        path.or_else(|| Some(crate::tree::Value::new("/{**,}"))).filter(|_| !bare || perms != FilePerms::ALL);
    let keyword = path.is_none();
    let kind = RuleKind::File(FileRule { path, perms, exec, target, safety, keyword, ..FileRule::default() });
    let prefix = Prefix {
        priority: x.prefix.priority.min(y.prefix.priority),
        audit: x.prefix.audit || y.prefix.audit,
        access: Some(Access::Allow).filter(|_| x.prefix.access.is_some() && y.prefix.access.is_some()),
        owner,
    };
    merged.rules.push(Rule { prefix, kind, range: x.range });
}

/// The smaller of two link rules when one contains the other in name, target and test.
fn link_intersection((x, l): (&Rule, &LinkRule), (y, m): (&Rule, &LinkRule), merged: &mut Merged) {
    let inside = |small: &LinkRule, large: &LinkRule| {
        let part =
            |a: &str, b: &str| matches!(containment(a, b), Containment::Equal | Containment::FirstInside);
        part(&small.link.text, &large.link.text)
            && part(&small.target.text, &large.target.text)
            && (small.subset || !large.subset)
    };
    if x.prefix.owner == y.prefix.owner && inside(l, m) {
        merged.rules.push(x.clone());
    } else if x.prefix.owner == y.prefix.owner && inside(m, l) {
        merged.rules.push(y.clone());
    } else if globs_meet(&l.link.text, &m.link.text) && globs_meet(&l.target.text, &m.target.text) {
        merged.notes.push(format!("left out the common links of \"{x}\" and \"{y}\""));
    }
}

enum Containment {
    Equal,
    FirstInside,
    SecondInside,
    Overlap,
    Disjoint,
}

/// How the languages of two globs stand to each other; what cannot be computed counts as overlap.
fn containment(a: &str, b: &str) -> Containment {
    if a == b {
        return Containment::Equal;
    }
    if !globs_meet(a, b) {
        return Containment::Disjoint;
    }
    let budget = Budget { states: 20_000, work: 4 << 20 };
    let build = |glob: &str| Aare::parse(glob).ok().and_then(|g| Dfa::build(&[&g], budget).ok());
    let (Some(x), Some(y)) = (build(a), build(b)) else { return Containment::Overlap };
    let (mut only_first, mut only_second) = (false, false);
    let walked = walk_pairs(&x, &y, budget, |p, q, _| {
        only_first |= p != 0 && q == 0;
        only_second |= p == 0 && q != 0;
        true
    });
    match (walked, only_first, only_second) {
        (Ok(()), false, false) => Containment::Equal,
        (Ok(()), false, true) => Containment::FirstInside,
        (Ok(()), true, false) => Containment::SecondInside,
        _ => Containment::Overlap,
    }
}

fn globs_meet(a: &str, b: &str) -> bool {
    match (Aare::parse(a), Aare::parse(b)) {
        (Ok(a), Ok(b)) => !matches!(intersection_witness(&a, &b), Ok(None)),
        _ => true,
    }
}

fn path_of(file: &FileRule) -> &str {
    file.path.as_ref().map_or("/{**,}", |p| p.text.as_str())
}

fn same(a: &Rule, b: &Rule) -> bool {
    a.to_string() == b.to_string()
}
