//! What a policy needs beyond names that resolve (`cil_verify.c`, `cil_post.c`, `cil_binary.c`).

use std::collections::HashMap;

use super::{
    Fault,
    expand::{Resolver, find_cycle},
    frames::{DeclKind, KeyMap, Ns},
};
use crate::{
    policy::{BitSet, FALSE_BRANCH, TypeRule, TypeSet},
    syntax::{NodeId, Symbol},
};

impl Resolver<'_, '_> {
    pub(super) fn verify(&mut self) -> Result<(), Vec<Fault>> {
        let mut faults = Vec::new();
        self.verify_classes(&mut faults);
        self.verify_users(&mut faults);
        self.verify_levels(&mut faults);
        if self.options.complete {
            self.verify_complete(&mut faults);
        }
        if faults.is_empty() {
            self.verify_contexts(&mut faults);
        }
        if faults.is_empty() {
            self.verify_bounds(&mut faults);
            self.verify_type_rules(&mut faults);
        }
        if faults.is_empty() && self.options.neverallow {
            self.check_neverallow(&mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn verify_complete(&self, faults: &mut Vec<Fault>) {
        let sids = self.tables.decls.iter().any(|d| d.ns == Ns::Sid && d.live > 0);
        if !sids {
            faults.push(Fault::verify(NodeId(0), "the policy has no initial sid"));
        }
        if self.policy.rules.is_empty() {
            faults.push(Fault::verify(NodeId(0), "the policy has no rule"));
        }
    }

    fn verify_classes(&self, faults: &mut Vec<Fault>) {
        let symbols = self.forest.symbols();
        for class in &self.classes {
            let decl = &self.tables.decls[class.decl as usize];
            if decl.live == 0 || self.is_dropped(decl.home) {
                continue;
            }
            if class.kind == DeclKind::ClassMap {
                for (permission, mapping) in class.own.iter().zip(&class.mappings) {
                    if mapping.is_empty() {
                        let message =
                            format!("the permission {:?} stands for nothing", symbols.text(*permission));
                        faults.push(Fault::verify(decl.node, message));
                    }
                }
                continue;
            }
            let mut sorted: Vec<Symbol> = class.all.clone();
            sorted.sort_unstable();
            if sorted.windows(2).any(|w| w[0] == w[1]) {
                faults.push(Fault::verify(decl.node, "the class and its common share a permission"));
            }
            if class.all.len() > 32 {
                faults
                    .push(Fault::verify(decl.node, "the class and its common have more than 32 permissions"));
            }
        }
        for (id, decl) in self.tables.decls.iter().enumerate() {
            let set = decl.ns == Ns::ClassPerm && decl.live > 0 && !self.is_dropped(decl.home);
            if set && !self.facts.permission_sets.by_decl.contains_key(&(id as u32)) {
                faults.push(Fault::verify(decl.node, "the class permission is never set"));
            }
        }
    }

    fn verify_users(&self, faults: &mut Vec<Fault>) {
        for (id, decl) in self.tables.decls.iter().enumerate() {
            if decl.kind != DeclKind::User || decl.live == 0 || self.is_dropped(decl.home) {
                continue;
            }
            let id = id as u32;
            if !self.facts.user_levels.contains(&id) || !self.facts.user_ranges.contains(&id) {
                let name = self.forest.symbols().text(decl.name);
                faults.push(Fault::verify(decl.node, format!("the user {name:?} has no level or no range")));
            }
        }
    }

    /// Categories of a level must be associated with its sensitivity.
    fn verify_levels(&self, faults: &mut Vec<Fault>) {
        let mut allowed: KeyMap<u32, BitSet> = KeyMap::default();
        for (sensitivity, set) in &self.facts.sensitivity_categories {
            allowed.entry(*sensitivity).or_default().union(set);
        }
        let none = BitSet::new();
        for (node, level) in &self.facts.levels {
            if !level.categories.is_subset(allowed.get(&level.sensitivity).unwrap_or(&none)) {
                faults.push(Fault::verify(*node, "a category is not associated with the sensitivity"));
            }
        }
    }

    fn verify_contexts(&mut self, faults: &mut Vec<Fault>) {
        let role_groups = std::mem::take(&mut self.facts.role_groups);
        let user_groups = std::mem::take(&mut self.facts.user_groups);
        let roles = self.close_groups(role_groups, Ns::Role, self.facts.role_count);
        let users = self.close_groups(user_groups, Ns::User, self.facts.user_count);
        let (roles, users) = match (roles, users) {
            (Ok(r), Ok(u)) => (r, u),
            (Err(f), _) | (_, Err(f)) => return faults.push(*f),
        };
        let mut types_of = vec![BitSet::new(); self.facts.role_count];
        for &(role, set) in &self.facts.role_types {
            let decl = &self.tables.decls[role as usize];
            let one: BitSet = [decl.index as usize].into_iter().collect();
            let who = if decl.kind == DeclKind::Role { &one } else { &roles[decl.index as usize] };
            let members = set.as_attribute().map(|a| &self.policy.attributes[a].members);
            for r in who.iter() {
                match (members, set.as_type()) {
                    (Some(m), _) => types_of[r].union(m),
                    (None, Some(t)) => types_of[r].insert(t),
                    _ => {}
                }
            }
        }
        let mut roles_of = vec![BitSet::new(); self.facts.user_count];
        for &(user, role) in &self.facts.user_roles {
            let (u, r) = (&self.tables.decls[user as usize], &self.tables.decls[role as usize]);
            let one_u: BitSet = [u.index as usize].into_iter().collect();
            let one_r: BitSet = [r.index as usize].into_iter().collect();
            let who = if u.kind == DeclKind::User { &one_u } else { &users[u.index as usize] };
            let what = if r.kind == DeclKind::Role { &one_r } else { &roles[r.index as usize] };
            who.iter().for_each(|u| roles_of[u].union(what));
        }
        self.verify_transitions(&roles, faults);
        if self.options.neverallow {
            let inside = |node: NodeId, ok: bool| {
                (!ok).then(|| Fault::new(node, "cil-bounds", "the child exceeds its bound"))
            };
            let index = |d: u32| self.tables.decls[d as usize].index as usize;
            for &(node, parent, child) in &self.facts.role_bounds {
                faults.extend(inside(node, types_of[index(child)].is_subset(&types_of[index(parent)])));
            }
            for &(node, parent, child) in &self.facts.user_bounds {
                faults.extend(inside(node, roles_of[index(child)].is_subset(&roles_of[index(parent)])));
            }
        }
        for c in &self.facts.contexts {
            let (user, role) = (&self.tables.decls[c.user as usize], &self.tables.decls[c.role as usize]);
            let message = if !roles_of[user.index as usize].contains(role.index as usize) {
                "the user does not have the role"
            } else if !types_of[role.index as usize].contains(c.type_ as usize) {
                "the role does not have the type"
            } else {
                // The compiler does not compare the range with the user's; the kernel does when it reads the context.
                continue;
            };
            faults.push(Fault::verify(c.node, message));
        }
    }

    fn verify_bounds(&self, faults: &mut Vec<Fault>) {
        for bounds in [&self.facts.bounds, &self.facts.role_bounds, &self.facts.user_bounds] {
            let mut edges: KeyMap<u32, Vec<u32>> = KeyMap::default();
            let mut nodes: KeyMap<u32, NodeId> = KeyMap::default();
            for &(node, parent, child) in bounds {
                let known = edges.entry(child).or_default();
                if !known.is_empty() {
                    faults.push(Fault::resolve(node, "the child has a bound already"));
                }
                known.push(parent);
                nodes.insert(child, node);
            }
            if let Some(t) = find_cycle(&edges) {
                let node = nodes.get(&t).copied().unwrap_or(NodeId(0));
                faults.push(Fault::verify(node, "the child bounds itself"));
            }
        }
    }

    /// Two results for one key among role and range transitions.
    fn verify_transitions(&self, roles: &[BitSet], faults: &mut Vec<Fault>) {
        let mut by_role: HashMap<(usize, usize, u16), u32> = HashMap::new();
        for (node, role, types, classes, result) in &self.facts.role_rules {
            let decl = &self.tables.decls[*role as usize];
            let one: BitSet = [decl.index as usize].into_iter().collect();
            let sources = if decl.kind == DeclKind::Role { &one } else { &roles[decl.index as usize] };
            for r in sources.iter() {
                for t in self.policy.members(*types).iter() {
                    for &c in classes {
                        if by_role.insert((r, t, c), *result).is_some_and(|old| old != *result) {
                            faults.push(Fault::new(
                                *node,
                                "cil-conflict",
                                "another rule gives a different role",
                            ));
                            return;
                        }
                    }
                }
            }
        }
        let mut by_type = HashMap::new();
        for (node, source, target, classes, range) in &self.facts.range_rules {
            for s in self.policy.members(*source).iter() {
                let targets = match *target {
                    TypeSet::SELF => [s].into_iter().collect(),
                    set => self.policy.members(set),
                };
                for t in targets.iter() {
                    for &c in classes {
                        if by_type.insert((s, t, c), range).is_some_and(|old| old != range) {
                            faults.push(Fault::new(
                                *node,
                                "cil-conflict",
                                "another rule gives a different range",
                            ));
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Two results for one source, target, class and file name.
    fn verify_type_rules(&self, faults: &mut Vec<Fault>) {
        let mut seen: KeyMap<u64, (u32, u32)> = KeyMap::default();
        let mut named: HashMap<(u32, u32, u16, u32), u32> = HashMap::new();
        // Unconditional rules first: a conditional one must not contradict them either.
        let (free, bound): (Vec<&TypeRule>, Vec<&TypeRule>) =
            self.policy.transitions.iter().partition(|r| r.condition == 0);
        for rule in free.into_iter().chain(bound) {
            let sources = self.policy.members(rule.source);
            for s in sources.iter() {
                let targets = match rule.target {
                    TypeSet::SELF => [s].into_iter().collect(),
                    set => self.policy.members(set),
                };
                for t in targets.iter() {
                    let clash = if rule.name != 0 {
                        let key = (s as u32, t as u32, rule.class, rule.name);
                        named.insert(key, rule.result).is_some_and(|old| old != rule.result)
                    } else {
                        let key = (s as u64) << 40
                            | (t as u64) << 16
                            | u64::from(rule.class) << 2
                            | u64::from(rule.kind);
                        let old = *seen.entry(key).or_insert((rule.result, rule.condition));
                        // The branches of one condition exclude each other.
                        let apart = old.1 != 0 && old.1 ^ rule.condition == FALSE_BRANCH;
                        old.0 != rule.result && !apart && !self.opposite(old.1, rule.condition)
                    };
                    if clash {
                        let message =
                            "another rule gives a different type for the same source, target and class";
                        faults.push(Fault::new(NodeId(rule.node), "cil-conflict", message));
                        return;
                    }
                }
            }
        }
    }

    /// Whether two branches are those of one condition, written twice.
    fn opposite(&self, a: u32, b: u32) -> bool {
        if a == 0 || b == 0 || (a ^ b) & FALSE_BRANCH == 0 {
            return false;
        }
        let condition =
            |c: u32| self.policy.conditions.get((c & !FALSE_BRANCH) as usize - 1).map(|c| &c.expression);
        condition(a) == condition(b)
    }
}
