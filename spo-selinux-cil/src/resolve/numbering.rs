//! Numbers for everything that is declared, before facts are recorded; attributes closed and rules indexed, after.

use std::collections::HashMap;

use super::{
    Fault, Resolved,
    expand::Resolver,
    fault,
    frames::{DeclId, DeclKind, FrameKind, NONE, Ns},
    sets::{self, Group},
};
use crate::{
    policy::{
        AttributeInfo, BitSet, BoolExpression, BoolStep, ClassInfo, Condition, ConstraintStep, RuleKind,
        TypeInfo, TypeSet,
    },
    syntax::{NodeId, View, word},
};

impl Resolver<'_, '_> {
    pub(super) fn number(&mut self) -> Resolved<()> {
        let mut counts: HashMap<(Ns, DeclKind), u32> = HashMap::new();
        let symbols = self.forest.symbols();
        for id in 0..self.tables.decls.len() {
            let decl = self.tables.decls[id];
            let counted = matches!(
                decl.kind,
                DeclKind::Type
                    | DeclKind::TypeAttribute
                    | DeclKind::Role
                    | DeclKind::RoleAttribute
                    | DeclKind::User
                    | DeclKind::UserAttribute
            ) || decl.ns == Ns::Bool;
            let block = decl.kind == DeclKind::Block;
            if decl.live == 0 || self.is_dropped(if block { decl.frame } else { decl.home }) {
                continue;
            }
            if block {
                let name = self.full_name(id as DeclId);
                self.policy.blocks.push(name);
            }
            if !counted {
                continue;
            }
            let next = counts.entry((decl.ns, decl.kind)).or_default();
            self.tables.decls[id].index = *next;
            *next += 1;
            match decl.kind {
                DeclKind::Type => {
                    let name = self.full_name(id as DeclId);
                    self.policy.names.insert(name.clone(), TypeSet::of_type(*next - 1));
                    self.policy.types.push(TypeInfo { name, aliases: Vec::new(), attributes: Vec::new() });
                }
                DeclKind::TypeAttribute => {
                    let name = self.full_name(id as DeclId);
                    self.policy.names.insert(name.clone(), TypeSet::of_attribute(*next - 1));
                    self.policy.attributes.push(AttributeInfo { name, members: BitSet::new() });
                    self.facts.type_groups.push(Group::default());
                }
                DeclKind::RoleAttribute => self.facts.role_groups.push(Group::default()),
                DeclKind::UserAttribute => self.facts.user_groups.push(Group::default()),
                DeclKind::Role => self.facts.role_count += 1,
                DeclKind::User => self.facts.user_count += 1,
                _ => {
                    let value = self.forest.view(decl.node).children().nth(2).and_then(View::atom);
                    self.policy.booleans.push((self.full_name(id as DeclId), value == Some(word::TRUE)));
                }
            }
        }
        for id in 0..self.tables.decls.len() {
            let decl = self.tables.decls[id];
            if decl.ns != Ns::Type
                || decl.kind != DeclKind::Alias
                || decl.live == 0
                || self.is_dropped(decl.home)
            {
                continue;
            }
            let mut end = decl.index;
            while end != NONE && self.tables.decls[end as usize].kind == DeclKind::Alias {
                end = self.tables.decls[end as usize].index;
            }
            let Some(actual) = self.tables.decls.get(end as usize) else {
                return fault(Fault::resolve(decl.node, "the alias stands for nothing"));
            };
            let index = actual.index;
            let name = self.full_name(id as DeclId);
            self.policy.names.insert(name.clone(), TypeSet::of_type(index));
            if let Some(t) = self.policy.types.get_mut(index as usize) {
                t.aliases.push(name);
            }
        }
        let mut names = Vec::new();
        for class in &mut self.classes {
            let decl = &self.tables.decls[class.decl as usize];
            if class.kind == DeclKind::Class && decl.live > 0 {
                class.number = names.len() as u16;
                let permissions = class.all.iter().map(|&p| symbols.text(p).to_owned()).collect();
                names.push((class.decl, permissions));
            }
        }
        if names.len() > u16::MAX as usize {
            return fault(Fault::verify(NodeId(0), "more than 65535 classes"));
        }
        for (decl, permissions) in names {
            let name = self.full_name(decl);
            self.policy.class_names.insert(name.clone(), self.policy.classes.len() as u16);
            self.policy.classes.push(ClassInfo { name, permissions });
        }
        self.order(word::CLASSORDER, Ns::Class)?;
        self.order(word::SIDORDER, Ns::Sid)?;
        self.order(word::SENSITIVITYORDER, Ns::Sens)?;
        self.facts.category_count = self.order(word::CATEGORYORDER, Ns::Cat)?;
        for i in 0..self.conditions.len() {
            let at = self.conditions[i];
            let mut steps = if self.is_dropped(at.frame) {
                Vec::new()
            } else {
                self.boolean_steps(self.forest.view(at.node), at.frame, Ns::Bool)?
            };
            for step in &mut steps {
                if let BoolStep::Boolean(d) = step {
                    *d = self.tables.decls[*d as usize].index;
                }
            }
            let booleans = &self.policy.booleans;
            let default = sets::evaluate(&steps, |b| booleans.get(b as usize).is_some_and(|b| b.1));
            self.policy.conditions.push(Condition { expression: BoolExpression(steps), default });
        }
        Ok(())
    }

    /// Closes attributes and indexes the rules.
    pub(super) fn finish(&mut self) -> Resolved<()> {
        let groups = std::mem::take(&mut self.facts.type_groups);
        let count = self.policy.types.len();
        let members = self.close_groups(groups, Ns::Type, count)?;
        for (i, set) in members.into_iter().enumerate() {
            for t in set.iter() {
                if let Some(t) = self.policy.types.get_mut(t) {
                    t.attributes.push(i as u32);
                }
            }
            self.policy.attributes[i].members = set;
        }
        let attributes = &self.policy.attributes;
        for step in self.policy.constraints.iter_mut().flat_map(|c| &mut c.expression) {
            if let ConstraintStep::Types { set, .. } = step {
                let mut full = BitSet::new();
                for t in set.iter() {
                    match t.checked_sub(count) {
                        None => full.insert(t),
                        Some(a) => full.union(&attributes[a].members),
                    }
                }
                *set = full;
            }
        }
        let mut by_class = vec![Vec::new(); self.policy.classes.len()];
        let mut by_type = vec![Vec::new(); count];
        let mut by_attribute = vec![Vec::new(); self.policy.attributes.len()];
        for (i, rule) in self.policy.rules.iter().enumerate() {
            by_class[rule.class as usize].push(i as u32);
            match (rule.source.as_type(), rule.source.as_attribute()) {
                (Some(t), _) => by_type[t].push(i as u32),
                (_, Some(a)) => by_attribute[a].push(i as u32),
                _ => {}
            }
        }
        (self.policy.by_type, self.policy.by_attribute) = (by_type, by_attribute);
        for frame in 1..self.frames.len() as u32 {
            let f = *self.frame(frame);
            if let FrameKind::Optional { node } = f.kind
                && f.dead
                && !self.is_dropped(f.parent)
            {
                let name = self.forest.view(node).children().nth(1).map_or("", View::text);
                self.policy.dropped.push(name.to_owned());
            }
        }
        self.policy.by_class = by_class;
        self.policy.denies = self.policy.rules.iter().filter(|r| r.kind == RuleKind::Deny).copied().collect();
        Ok(())
    }
}
