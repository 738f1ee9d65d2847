//! Rules that work against each other, or do nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Compiled, Entry, Links, links};
use crate::{
    dfa::Budget,
    expand::Origin,
    tree::{Access, FilePerms},
};

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// A deny that takes nothing away, because nothing allows it: it only keeps the log quiet.
    QuietDeny,
    /// An allow of which nothing is left, because denies beat it everywhere.
    DeadAllow,
    /// An allow that a deny beats for some paths or permissions.
    PartlyDenied,
    /// A rule that others make unnecessary.
    Redundant,
}

/// A finding about one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The rule: index into the rules of the profile.
    pub rule: usize,
    /// Where it was written.
    pub origin: Origin,
    /// The glob of the rule.
    pub path: String,
    /// The other rule, where there is one.
    pub other: Option<(usize, String, Origin)>,
    /// The permissions it is about.
    pub perms: FilePerms,
    /// A shortest path that shows it; empty for findings about the whole rule.
    pub witness: String,
}

/// Finds rules that work against each other, in the order of the rules.
///
/// Rules with several expansions are judged as one: a finding must hold for each expansion.
pub fn conflicts(compiled: &Compiled) -> Vec<Finding> {
    let shortest = compiled.dfa.shortest();
    let mut of_source: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (i, entry) in compiled.entries.iter().enumerate() {
        of_source.entry(entry.source).or_default().push(u32::try_from(i).unwrap_or(u32::MAX));
    }
    let mut sets_of_glob: Vec<Vec<usize>> = vec![Vec::new(); compiled.of_glob.len()];
    for (set, globs) in compiled.dfa.sets().iter().enumerate() {
        for glob in globs {
            sets_of_glob[*glob as usize].push(set);
        }
    }
    let mut found = Vec::new();
    let pairs = Pairs::of(compiled);
    // Where pairs of names and targets differ from names, links are judged as pairs only.
    let mask = if pairs.is_some() { FilePerms::ALL.without(FilePerms::LINK) } else { FilePerms::ALL };
    for entries in of_source.values() {
        let judge = Judge { compiled, shortest: &shortest, sets_of_glob: &sets_of_glob, mask };
        let findings: Vec<Option<Finding>> = entries
            .iter()
            .map(|e| {
                let entry = &compiled.entries[*e as usize];
                let of_link = pairs.as_ref().filter(|_| entry.perms.contains(FilePerms::LINK));
                let of_pair = of_link.map(|p| p.finding(entry));
                match of_pair {
                    Some(of_pair) if entry.perms == FilePerms::LINK => of_pair,
                    Some(of_pair) => both(judge.entry(entry), of_pair),
                    None => judge.entry(entry),
                }
            })
            .collect();
        let kind = |f: &Option<Finding>| f.as_ref().map(|f| f.kind);
        let same = findings.windows(2).all(|w| kind(&w[0]) == kind(&w[1]));
        let partly = findings.iter().flatten().find(|f| f.kind == FindingKind::PartlyDenied);
        if let Some(finding) = partly.or(if same { findings[0].as_ref() } else { None }) {
            found.push(finding.clone());
        }
    }
    found
}

struct Judge<'a> {
    compiled: &'a Compiled,
    shortest: &'a [Option<Vec<u8>>],
    sets_of_glob: &'a [Vec<usize>],
    /// The permissions that are judged.
    mask: FilePerms,
}

impl Judge<'_> {
    fn entry(&self, entry: &Entry) -> Option<Finding> {
        match entry.access {
            Access::Deny => self.deny(entry),
            Access::Allow => self.allow(entry),
            Access::Prompt => None,
        }
    }

    fn finding(
        &self,
        kind: FindingKind,
        entry: &Entry,
        other: Option<&Entry>,
        perms: FilePerms,
        set: Option<usize>,
    ) -> Finding {
        let witness = set.and_then(|s| self.shortest[s].as_ref());
        Finding {
            kind,
            rule: entry.rule,
            origin: entry.origin,
            path: entry.path.clone(),
            other: other.map(|o| (o.rule, o.path.clone(), o.origin)),
            perms,
            witness: witness.map_or(String::new(), |w| String::from_utf8_lossy(w).into_owned()),
        }
    }

    fn deny(&self, entry: &Entry) -> Option<Finding> {
        let wanted = entry.perms.intersection(self.mask);
        let meets = self.sets_of_glob[entry.glob as usize].iter().any(|set| {
            self.compiled.entries_of_set(*set).any(|other| {
                other.access != Access::Deny && other.perms.intersects(wanted) && halves_meet(entry, other)
            })
        });
        (!meets).then(|| self.finding(FindingKind::QuietDeny, entry, None, entry.perms, None))
    }

    fn allow(&self, entry: &Entry) -> Option<Finding> {
        let wanted = entry.perms.intersection(self.mask);
        let mut alive = false;
        let mut loss: Option<(FilePerms, usize, &Entry)> = None;
        let mut needed = false;
        let mut cover: Option<&Entry> = None;
        for &set in &self.sets_of_glob[entry.glob as usize] {
            for half in (0..2).filter(|h| entry.in_half(*h)) {
                let decision = &self.compiled.decisions[set][half];
                alive |= decision.allow.intersects(wanted);
                let lost = decision.deny.intersection(wanted);
                if !lost.is_empty() {
                    let killer = self
                        .compiled
                        .entries_of_set(set)
                        .find(|o| o.access == Access::Deny && o.perms.intersects(lost) && o.in_half(half));
                    let shorter = |set: usize| self.shortest[set].as_ref().map_or(usize::MAX, Vec::len);
                    if let Some(killer) = killer
                        && loss.is_none_or(|(_, best, _)| shorter(set) < shorter(best))
                    {
                        loss = Some((lost, set, killer));
                    }
                }
                // Whether the others alone would give the same.
                let others: FilePerms = self
                    .compiled
                    .entries_of_set(set)
                    .filter(|o| o.source != entry.source && o.in_half(half) && replaces(o, entry))
                    .inspect(|o| cover = cover.or(Some(o)))
                    .fold(FilePerms::NONE, |sum, o| sum | o.perms);
                needed |= !others.contains(wanted);
            }
        }
        if !alive && let Some((perms, set, killer)) = loss {
            return Some(self.finding(FindingKind::DeadAllow, entry, Some(killer), perms, Some(set)));
        }
        if let Some((perms, set, killer)) = loss {
            return Some(self.finding(FindingKind::PartlyDenied, entry, Some(killer), perms, Some(set)));
        }
        if !needed && !self.sets_of_glob[entry.glob as usize].is_empty() {
            return Some(self.finding(FindingKind::Redundant, entry, cover, entry.perms, None));
        }
        None
    }
}

/// The rules about links, as pairs of name and target.
struct Pairs<'a> {
    links: Links<'a>,
}

impl<'a> Pairs<'a> {
    /// `None` when no rule names a target or denies a link, so that names say all; or when there are too many.
    fn of(compiled: &'a Compiled) -> Option<Self> {
        let special = |e: &Entry| {
            e.perms.contains(FilePerms::LINK) && (e.link_target.is_some() || e.access == Access::Deny)
        };
        if !compiled.entries.iter().any(special) {
            return None;
        }
        let budget = Budget { states: 50_000, work: 16 << 20 };
        compiled.links(budget).ok().map(|links| Self { links })
    }

    fn finding(&self, entry: &Entry) -> Option<Finding> {
        let all = self.links.entries();
        let number = all.iter().position(|e| std::ptr::eq(*e, entry))?;
        let finding = |kind, other: Option<&Entry>, witness: &str| {
            Some(Finding {
                kind,
                rule: entry.rule,
                origin: entry.origin,
                path: entry.path.clone(),
                other: other.map(|o| (o.rule, o.path.clone(), o.origin)),
                perms: FilePerms::LINK,
                witness: witness.to_owned(),
            })
        };
        let (mut alive, mut needed) = (false, false);
        // Entries that stand beside this one, and those of them that go further.
        let (mut beside, mut further) = (BTreeSet::<u32>::new(), BTreeSet::<u32>::new());
        let mut loss: Option<(&Entry, String)> = None;
        for (set, decision, witness) in self.links.sets() {
            if !set.iter().any(|i| *i as usize == number) {
                further.extend(set);
                continue;
            }
            beside.extend(set);
            let rules = || set.iter().map(|i| all[*i as usize]);
            for half in (0..2).filter(|h| entry.in_half(*h)) {
                alive |= decision[half].allow;
                let meets = |o: &&Entry| {
                    (o.access == Access::Deny) != (entry.access == Access::Deny) && o.in_half(half)
                };
                let against = rules().find(meets);
                if let Some(against) = against
                    && (entry.access == Access::Deny || decision[half].deny)
                    && loss.as_ref().is_none_or(|(_, best)| witness.len() < best.len())
                {
                    loss = Some((against, witness.clone()));
                }
                let others = || rules().filter(|o| o.source != entry.source);
                needed |= links::decide(others(), half) != decision[half];
            }
        }
        // Of two that say the same, the later one goes.
        let cover = beside.into_iter().find(|i: &u32| {
            let other = all[*i as usize];
            let stays = other.source < entry.source || further.contains(i);
            other.source != entry.source && other.access == entry.access && stays
        });
        let cover = cover.map(|i| all[i as usize]);
        match (entry.access, loss) {
            (Access::Prompt, _) | (Access::Deny, Some(_)) => None,
            (Access::Deny, None) => finding(FindingKind::QuietDeny, None, ""),
            (Access::Allow, Some((killer, witness))) => {
                let kind = if alive { FindingKind::PartlyDenied } else { FindingKind::DeadAllow };
                finding(kind, Some(killer), &witness)
            }
            (Access::Allow, None) if !needed && cover.is_some() => finding(FindingKind::Redundant, cover, ""),
            (Access::Allow, None) => None,
        }
    }
}

/// What holds for a rule of which the link part is judged by itself.
fn both(files: Option<Finding>, links: Option<Finding>) -> Option<Finding> {
    match (files, links) {
        (Some(f), Some(l)) if f.kind == l.kind => Some(Finding { perms: f.perms | l.perms, ..f }),
        (Some(f), Some(l)) => {
            // One part is lost or useless as a whole, the other not.
            let kind = FindingKind::PartlyDenied;
            let lossy = |k| matches!(k, FindingKind::DeadAllow | FindingKind::PartlyDenied);
            if lossy(f.kind) {
                Some(Finding { kind, ..f })
            } else if lossy(l.kind) {
                Some(Finding { kind, ..l })
            } else {
                None
            }
        }
        (Some(f), None) | (None, Some(f)) => match f.kind {
            FindingKind::DeadAllow | FindingKind::PartlyDenied => {
                Some(Finding { kind: FindingKind::PartlyDenied, ..f })
            }
            FindingKind::QuietDeny | FindingKind::Redundant => None,
        },
        (None, None) => None,
    }
}

/// Whether `other` can stand in for `entry`: of two that can stand in for each other the later one goes.
fn replaces(other: &Entry, entry: &Entry) -> bool {
    let covers = |a: &Entry, b: &Entry| {
        a.access == Access::Allow
            && a.priority == b.priority
            && a.audit == b.audit
            && (a.owner.is_none() || a.owner == b.owner)
            && (!b.perms.contains(FilePerms::EXEC) || (a.exec == b.exec && a.exact == b.exact))
    };
    let equal = other.path == entry.path && other.perms == entry.perms && covers(entry, other);
    covers(other, entry) && (!equal || other.source < entry.source)
}

fn halves_meet(a: &Entry, b: &Entry) -> bool {
    (0..2).any(|half| a.in_half(half) && b.in_half(half))
}
