//! A rule with variables → the rules without.

use super::{Origin, flatten::Walk, plain};
use crate::tree::{Condition, FileRule, RuleKind, Value};

impl Walk<'_> {
    /// The rule once per combination of its variables' values.
    pub(super) fn expand_kind(&mut self, kind: &RuleKind, origin: Origin) -> Vec<RuleKind> {
        match kind {
            RuleKind::File(file) => {
                let Some(path) = &file.path else { return vec![kind.clone()] };
                let paths = self.paths(path, origin);
                let with = |p: String, t: Option<String>| {
                    let &FileRule { perms, exec, safety, perms_first, subset, keyword, capitals, .. } = file;
                    let target = t.map(|t| plain(t, origin.range));
                    let path = Some(plain(p, path.range));
                    let copy = FileRule {
                        path,
                        target,
                        perms,
                        exec,
                        safety,
                        perms_first,
                        subset,
                        keyword,
                        capitals,
                    };
                    RuleKind::File(copy)
                };
                let Some(target) = &file.target else {
                    return paths.into_iter().map(|p| with(p, None)).collect();
                };
                let targets = self.expand(target, origin);
                let pairs = paths.iter().flat_map(|p| targets.iter().map(move |t| (p, t)));
                pairs.map(|(p, t)| with(p.clone(), Some(t.clone()))).collect()
            }
            RuleKind::Link(link) => {
                let links = self.paths(&link.link, origin);
                let targets = self.paths(&link.target, origin);
                let mut list = Vec::new();
                for l in &links {
                    for t in &targets {
                        let mut copy = link.clone();
                        copy.link = plain(l.clone(), link.link.range);
                        copy.target = plain(t.clone(), link.target.range);
                        list.push(RuleKind::Link(copy));
                    }
                }
                list
            }
            RuleKind::Network(rule) => {
                let mut rule = rule.clone();
                self.expand_conditions(&mut rule.conditions, origin);
                self.expand_conditions(&mut rule.peer, origin);
                vec![RuleKind::Network(rule)]
            }
            RuleKind::Class(rule) => {
                let mut rule = rule.clone();
                self.expand_conditions(&mut rule.conditions, origin);
                self.expand_conditions(&mut rule.peer, origin);
                let names = rule.name.as_ref().map(|n| self.globs(n, origin));
                match names {
                    Some(names) => names
                        .into_iter()
                        .map(|n| {
                            let mut copy = rule.clone();
                            copy.name = Some(plain(n, origin.range));
                            RuleKind::Class(copy)
                        })
                        .collect(),
                    None => vec![RuleKind::Class(rule)],
                }
            }
            RuleKind::Mount(rule) => {
                let mut base = rule.clone();
                self.expand_conditions(&mut base.conditions, origin);
                let sources = self.optional_globs(rule.source.as_ref(), origin);
                let targets = self.optional_globs(rule.target.as_ref(), origin);
                let mut list = Vec::new();
                for s in &sources {
                    for t in &targets {
                        let mut copy = base.clone();
                        copy.source.clone_from(s);
                        copy.target.clone_from(t);
                        list.push(RuleKind::Mount(copy));
                    }
                }
                list
            }
            RuleKind::PivotRoot(rule) => {
                let mut base = rule.clone();
                self.expand_conditions(&mut base.conditions, origin);
                self.optional_globs(rule.new_root.as_ref(), origin)
                    .into_iter()
                    .map(|new_root| {
                        let mut copy = base.clone();
                        copy.new_root = new_root;
                        RuleKind::PivotRoot(copy)
                    })
                    .collect()
            }
            RuleKind::ChangeProfile(rule) => {
                let execs = self.optional_globs(rule.exec.as_ref(), origin);
                let targets = self.optional_globs(rule.target.as_ref(), origin);
                let mut list = Vec::new();
                for e in &execs {
                    for t in &targets {
                        let mut copy = rule.clone();
                        copy.exec.clone_from(e);
                        copy.target.clone_from(t);
                        list.push(RuleKind::ChangeProfile(copy));
                    }
                }
                list
            }
            RuleKind::Capability(_) | RuleKind::Rlimit(_) | RuleKind::All => vec![kind.clone()],
        }
    }

    fn expand_conditions(&mut self, list: &mut [Condition], origin: Origin) {
        for condition in list {
            let range = condition.range;
            let mut values = Vec::with_capacity(condition.values.len());
            for value in &condition.values {
                values.extend(self.globs(value, origin).into_iter().map(|v| plain(v, range)));
            }
            condition.values = values;
        }
    }

    fn optional_globs(&mut self, value: Option<&Value>, origin: Origin) -> Vec<Option<Value>> {
        match value {
            Some(value) => {
                self.globs(value, origin).into_iter().map(|t| Some(plain(t, value.range))).collect()
            }
            None => vec![None],
        }
    }
}
