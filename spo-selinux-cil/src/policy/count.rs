//! How many entries the compiled policy has, so that two compilers can be compared by number.

use std::collections::{HashMap, HashSet};

use super::{AvRule, BitSet, Policy, RuleKind, TypeSet};

impl Policy {
    /// Rules of a kind in the compiled policy: one for each source, target and class. Attributes count as one source
    /// or target, those without members as none; `self` is written out. What is conditional is not merged: there,
    /// every rule of the text is an entry of its own (`avtab_insert_nonunique` of libsepol).
    pub fn compiled_rule_count(&self, kind: RuleKind) -> usize {
        let mut seen = HashSet::new();
        let mut conditional = 0;
        for rule in self.rules.iter().filter(|r| r.kind == kind) {
            let empty =
                |set: TypeSet| set.as_attribute().is_some_and(|a| self.attributes[a].members.is_empty());
            if empty(rule.source) || empty(rule.target) {
                continue;
            }
            let mut add = |source, target| {
                if rule.condition == 0 {
                    seen.insert((source, target, rule.class));
                } else {
                    conditional += 1;
                }
            };
            if matches!(rule.target, TypeSet::SELF | TypeSet::NOTSELF | TypeSet::OTHER) {
                for s in self.members(rule.source).iter() {
                    for t in self.targets(rule, s).iter() {
                        add(TypeSet::of_type(s as u32), TypeSet::of_type(t as u32));
                    }
                }
            } else {
                add(rule.source, rule.target);
            }
        }
        seen.len() + conditional
    }

    /// As [`Policy::compiled_rule_count`] with every attribute written out.
    pub fn expanded_rule_count(&self, kind: RuleKind) -> usize {
        let mut classes: HashMap<u16, Vec<&AvRule>> = HashMap::new();
        let mut total = 0;
        for rule in self.rules.iter().filter(|r| r.kind == kind) {
            if rule.condition == 0 {
                classes.entry(rule.class).or_default().push(rule);
            } else {
                let count = |s| self.targets(rule, s).len();
                total += self.members(rule.source).iter().map(count).sum::<usize>();
            }
        }
        for rules in classes.into_values() {
            let mut rows: HashMap<usize, BitSet> = HashMap::new();
            for rule in rules {
                let shared = (rule.target < TypeSet::OTHER).then(|| self.members(rule.target));
                for s in self.members(rule.source).iter() {
                    let row = rows.entry(s).or_default();
                    match &shared {
                        Some(targets) => row.union(targets),
                        None => row.union(&self.targets(rule, s)),
                    }
                }
            }
            total += rows.values().map(BitSet::len).sum::<usize>();
        }
        total
    }
}
