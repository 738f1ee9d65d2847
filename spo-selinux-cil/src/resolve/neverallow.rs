//! `neverallow`, `neverallowx` and type bounds, checked on expanded rules.

use super::{Fault, expand::Resolver};
use crate::{
    policy::{AvRule, BitSet, ExtendedRule, Policy, RuleKind, TypeSet},
    syntax::NodeId,
};

const MAX_FOUND: usize = 20;

impl Resolver<'_, '_> {
    pub(super) fn check_neverallow(&self, faults: &mut Vec<Fault>) {
        let policy = &self.policy;
        for never in policy.rules.iter().filter(|r| r.kind == RuleKind::NeverAllow) {
            for rule in policy.overlapping(never) {
                if faults.len() >= MAX_FOUND {
                    return;
                }
                if let Some((s, t)) = policy.common_pair(rule, never) {
                    let permissions: Vec<_> =
                        policy.permission_names(rule.class, rule.permissions & never.permissions).collect();
                    let line = self.forest.view(NodeId(never.node)).span().line;
                    let message = format!(
                        "the rule allows {} {} ({} ({})), which the neverallow in line {line} forbids",
                        policy.types[s].name,
                        policy.types[t].name,
                        policy.classes[rule.class as usize].name,
                        permissions.join(" ")
                    );
                    faults.push(Fault::new(NodeId(rule.node), "cil-neverallow", message));
                }
            }
        }
        for never in policy.extended.iter().filter(|r| r.kind == RuleKind::NeverAllow) {
            self.check_extended(never, faults);
        }
        self.check_bounds(faults);
    }

    /// An ioctl is allowed by an `allow` with `ioctl`, unless `allowx` rules for the same source, target and class
    /// list other numbers only.
    fn check_extended(&self, never: &ExtendedRule, faults: &mut Vec<Fault>) {
        let policy = &self.policy;
        let permission = if never.ioctl { "ioctl" } else { "nlmsg" };
        let Some(bit) = policy.classes[never.class as usize].permissions.iter().position(|p| p == permission)
        else {
            return;
        };
        let as_rule = AvRule {
            source: never.source,
            target: never.target,
            permissions: 1 << bit,
            class: never.class,
            kind: RuleKind::NeverAllow,
            condition: 0,
            origin: 0,
            node: never.node,
        };
        for rule in policy.overlapping(&as_rule) {
            for (s, t) in policy.pairs(rule, &as_rule) {
                let mut numbers: Option<BitSet> = None;
                for x in
                    policy.extended.iter().filter(|x| x.kind == RuleKind::Allow && x.ioctl == never.ioctl)
                {
                    let as_av = AvRule { source: x.source, target: x.target, ..as_rule };
                    if x.class == never.class && policy.covers(&as_av, s, t) {
                        numbers.get_or_insert_default().union(&x.numbers);
                    }
                }
                if numbers.is_none_or(|n| n.intersects(&never.numbers)) {
                    let message = format!(
                        "the rule allows {} {} an {permission} that a neverallowx forbids",
                        policy.types[s].name, policy.types[t].name
                    );
                    faults.push(Fault::new(NodeId(rule.node), "cil-neverallow", message));
                    return;
                }
            }
        }
    }

    /// A bounded type may do no more than the type that bounds it.
    fn check_bounds(&self, faults: &mut Vec<Fault>) {
        let policy = &self.policy;
        for &(node, parent, child) in &self.facts.bounds {
            let (parent, child) = (parent as usize, child as usize);
            for rule in policy.rules.iter().filter(|r| r.kind == RuleKind::Allow) {
                if !policy.set_contains(rule.source, child) {
                    continue;
                }
                for t in policy.targets(rule, child).iter() {
                    // Where the target is bounded itself, it is compared by its own bound.
                    let bound = self.facts.bounds.iter().find(|b| b.2 as usize == t).map(|b| b.1 as usize);
                    let missing = rule.permissions & !policy.granted(parent, bound.unwrap_or(t), rule.class);
                    if missing != 0 {
                        let names: Vec<_> = policy.permission_names(rule.class, missing).collect();
                        let message = format!(
                            "{} may {} on {}, which its bound {} may not",
                            policy.types[child].name,
                            names.join(" "),
                            policy.types[t].name,
                            policy.types[parent].name
                        );
                        faults.push(Fault::new(node, "cil-bounds", message));
                        return;
                    }
                }
            }
        }
    }
}

impl Policy {
    /// The `allow` rules of a class with a permission in common with a rule.
    pub(crate) fn overlapping(&self, with: &AvRule) -> impl Iterator<Item = &AvRule> {
        let (class, permissions) = (with.class as usize, with.permissions);
        let rules = self.by_class.get(class).map_or(&[][..], |r| r);
        rules
            .iter()
            .map(|&i| &self.rules[i as usize])
            .filter(move |r| r.kind == RuleKind::Allow && r.permissions & permissions != 0)
    }

    /// The types a rule is about for one of its sources.
    pub(crate) fn targets(&self, rule: &AvRule, source: usize) -> BitSet {
        match rule.target {
            TypeSet::SELF => [source].into_iter().collect(),
            TypeSet::NOTSELF | TypeSet::OTHER => {
                let mut all = match rule.target {
                    TypeSet::OTHER => self.members(rule.source),
                    _ => BitSet::below(self.types.len()),
                };
                all.subtract(&[source].into_iter().collect());
                all
            }
            set => self.members(set),
        }
    }

    pub(crate) fn covers(&self, rule: &AvRule, source: usize, target: usize) -> bool {
        self.set_contains(rule.source, source) && self.target_contains(rule, source, target)
    }

    /// Sources and targets that two rules have in common, without those that a `deny` takes back.
    pub(crate) fn pairs<'p>(
        &'p self,
        a: &'p AvRule,
        b: &'p AvRule,
    ) -> impl Iterator<Item = (usize, usize)> + 'p {
        let mut sources = self.members(a.source);
        sources.intersect(&self.members(b.source));
        let sources: Vec<usize> = sources.iter().collect();
        sources.into_iter().flat_map(move |s| {
            let mut targets = self.targets(a, s);
            targets.intersect(&self.targets(b, s));
            let wanted = a.permissions & b.permissions;
            let open: Vec<_> = targets
                .iter()
                .filter(|&t| wanted & !self.denied(s, t, a.class) != 0)
                .map(|t| (s, t))
                .collect();
            open
        })
    }

    /// One of [`Self::pairs`], without building sets where there is nothing in common.
    pub(crate) fn common_pair(&self, a: &AvRule, b: &AvRule) -> Option<(usize, usize)> {
        let apart = match (a.source.as_type(), b.source.as_type()) {
            (Some(x), Some(y)) => x != y,
            (Some(x), None) => !self.set_contains(b.source, x),
            (None, Some(y)) => !self.set_contains(a.source, y),
            (None, None) => match (a.source.as_attribute(), b.source.as_attribute()) {
                (Some(x), Some(y)) => !self.attributes[x].members.intersects(&self.attributes[y].members),
                _ => true,
            },
        };
        if apart { None } else { self.pairs(a, b).next() }
    }

    /// What `deny` rules take back.
    pub(crate) fn denied(&self, source: usize, target: usize, class: u16) -> u32 {
        self.denies
            .iter()
            .filter(|r| r.class == class && self.covers(r, source, target))
            .fold(0, |m, r| m | r.permissions)
    }

    /// Everything that is granted, conditions aside.
    pub(crate) fn granted(&self, source: usize, target: usize, class: u16) -> u32 {
        let rules = self.by_class.get(class as usize).map_or(&[][..], |r| r);
        let granted = rules
            .iter()
            .map(|&i| &self.rules[i as usize])
            .filter(|r| r.kind == RuleKind::Allow && self.covers(r, source, target))
            .fold(0, |m, r| m | r.permissions);
        granted & !self.denied(source, target, class)
    }
}
