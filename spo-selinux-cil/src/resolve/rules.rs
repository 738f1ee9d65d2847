//! Rules and memberships → facts, and where each comes from.

use super::{
    Fault, Resolved,
    classes::ClassMask,
    expand::{Instance, Resolver},
    fault,
    frames::{DeclKind, FrameId, FrameKind, Ns, ROOT},
    sets::{self, Group},
};
use crate::{
    policy::{AvRule, BitSet, ExtendedRule, Origin, RuleKind, TypeRule},
    syntax::{Symbol, View, number, word},
};

impl<'f, 'a> Resolver<'f, 'a> {
    pub(super) fn av_rule(
        &mut self,
        kind: RuleKind,
        s: Instance,
        source: View<'f, 'a>,
        target: View<'f, 'a>,
        permissions: View<'f, 'a>,
    ) -> Resolved<()> {
        let source = self.type_set(source, s.frame)?;
        let target = self.target(target, s.frame)?;
        let masks = self.class_permissions(permissions, s.frame)?;
        if !self.emit {
            return Ok(());
        }
        let condition = self.frame(s.frame).condition;
        let origin = self.origin(s.frame);
        for (class, permissions) in masks {
            let class = self.classes[class as usize].number;
            let node = s.node.0;
            self.policy.rules.push(AvRule {
                source,
                target,
                permissions,
                class,
                kind,
                condition,
                origin,
                node,
            });
        }
        Ok(())
    }

    pub(super) fn members(
        &mut self,
        name: View<'f, 'a>,
        set: View<'f, 'a>,
        frame: FrameId,
        ns: Ns,
    ) -> Resolved<()> {
        let attribute = match ns {
            Ns::Type => DeclKind::TypeAttribute,
            Ns::Role => DeclKind::RoleAttribute,
            _ => DeclKind::UserAttribute,
        };
        let id = self.actual(name, frame, ns)?;
        let decl = self.tables.decls[id as usize];
        if decl.kind != attribute {
            return fault(Fault::resolve(name.id(), format!("{:?} is not an attribute", name.text())));
        }
        if !self.emit {
            return self.check_set(set, frame, ns);
        }
        // Nearly all sets are names of members; only the rest waits until all members are known.
        let single = (!set.is_list()).then_some(set);
        let plain = set
            .head()
            .is_some_and(|h| !matches!(h, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF))
            && set.children().all(|v| !v.is_list());
        if single.is_some() || plain {
            let mut found = Vec::new();
            let mut inner = false;
            for v in single.into_iter().chain(set.children()) {
                let member = self.actual(v, frame, ns)?;
                let member = &self.tables.decls[member as usize];
                inner |= member.kind == attribute;
                found.push(member.index as usize);
            }
            if !inner {
                let group = self.group(ns, decl.index);
                found.into_iter().for_each(|m| group.direct.insert(m));
                return Ok(());
            }
        } else {
            self.check_set(set, frame, ns)?;
        }
        self.group(ns, decl.index).expressions.push(Instance { node: set.id(), frame });
        Ok(())
    }

    fn group(&mut self, ns: Ns, index: u32) -> &mut Group {
        let groups = match ns {
            Ns::Type => &mut self.facts.type_groups,
            Ns::Role => &mut self.facts.role_groups,
            _ => &mut self.facts.user_groups,
        };
        &mut groups[index as usize]
    }

    pub(super) fn type_rule(
        &mut self,
        keyword: Symbol,
        s: Instance,
        args: &[Option<View<'f, 'a>>; 5],
    ) -> Resolved<()> {
        let [Some(source), Some(target), Some(class), Some(fourth), fifth] = *args else { return Ok(()) };
        let source = self.type_set(source, s.frame)?;
        let target = self.target(target, s.frame)?;
        let classes = self.class_list(class, s.frame)?;
        let result = self.one_type(fifth.unwrap_or(fourth), s.frame)?;
        let mut name = 0;
        if fifth.is_some() {
            let symbol = self.string(fourth, s.frame);
            name = if symbol == word::STAR { 0 } else { symbol.0 + 1 };
        }
        let condition = self.frame(s.frame).condition;
        if name != 0 && condition != 0 {
            return fault(Fault::new(s.node, "cil-form", "no file names in a booleanif"));
        }
        if self.emit {
            let kind = match keyword {
                word::TYPETRANSITION => 0,
                word::TYPECHANGE => 1,
                _ => 2,
            };
            let result = self.tables.decls[result as usize].index;
            for class in classes {
                let class = self.classes[class as usize].number;
                let node = s.node.0;
                let rule = TypeRule { kind, source, target, class, name, result, condition, node };
                self.policy.transitions.push(rule);
            }
        }
        Ok(())
    }

    /// A class, or the classes a class map is about.
    pub(super) fn class_list(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<Vec<u16>> {
        let id = self.decl(view, frame, Ns::Class)?;
        let index = self.tables.decls[id as usize].index as usize;
        let class = &self.classes[index];
        if class.kind != DeclKind::ClassMap {
            return Ok(vec![index as u16]);
        }
        let mut all: Vec<u16> = class.mappings.iter().flatten().map(|m| m.0).collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    pub(super) fn extended_rule(
        &mut self,
        kind: RuleKind,
        s: Instance,
        source: View<'f, 'a>,
        target: View<'f, 'a>,
        numbers: View<'f, 'a>,
    ) -> Resolved<()> {
        let source = self.type_set(source, s.frame)?;
        let target = self.target(target, s.frame)?;
        let (ioctl, classes, numbers) = self.extended(numbers, s.frame)?;
        if self.emit {
            for (class, _) in classes {
                let class = self.classes[class as usize].number;
                let (numbers, node) = (numbers.clone(), s.node.0);
                self.policy.extended.push(ExtendedRule { kind, source, target, class, ioctl, numbers, node });
            }
        }
        Ok(())
    }

    /// `(ioctl class (numbers))` or a name for such.
    pub(super) fn extended(
        &mut self,
        view: View<'f, 'a>,
        frame: FrameId,
    ) -> Resolved<(bool, Vec<ClassMask>, BitSet)> {
        let (list, frame) = self.definition(view, frame, Ns::PermX, "extended permission")?;
        let parts: Vec<_> = list.children().collect();
        let [kind, class, numbers] = parts[..] else {
            return fault(Fault::new(list.id(), "cil-form", "`(ioctl class (numbers))` belongs here"));
        };
        let ioctl = kind.atom() == Some(word::IOCTL);
        let permission = if ioctl { "ioctl" } else { "nlmsg" };
        let mut masks = Vec::new();
        for index in self.class_list(class, frame)? {
            let symbols = self.forest.symbols();
            let all = &self.classes[index as usize].all;
            match all.iter().position(|&p| symbols.text(p) == permission) {
                Some(bit) => masks.push((index, 1 << bit)),
                None => {
                    let message = format!("the class {:?} has no permission {permission:?}", class.text());
                    return fault(Fault::resolve(class.id(), message));
                }
            }
        }
        let one = |v: View<'_, '_>| match number(v.text()) {
            Some(n) if n <= 0xFFFF => Ok(n as usize),
            _ => fault(Fault::verify(v.id(), "a number from 0 to 0xFFFF belongs here")),
        };
        let universe = BitSet::below(0x1_0000);
        let set = sets::fold(numbers, &universe, &mut |leaf| {
            if !leaf.is_list() {
                return Ok([one(leaf)?].into_iter().collect());
            }
            let ends: Vec<_> = leaf.children().skip(1).collect();
            match ends[..] {
                [low, high] if one(low)? <= one(high)? => Ok((one(low)?..=one(high)?).collect()),
                _ => fault(Fault::resolve(leaf.id(), "the range ends before it starts")),
            }
        })?;
        Ok((ioctl, masks, set))
    }

    /// Where the statements of a frame come from.
    fn origin(&mut self, frame: FrameId) -> u32 {
        if let Some(&known) = self.facts.origins.get(&frame) {
            return known;
        }
        let mut origin = Origin::default();
        let home = self.frame(frame).home;
        if home != ROOT {
            origin.block = self.block_name(home);
        }
        let mut at = frame;
        while at != home && at != ROOT {
            match self.frame(at).kind {
                FrameKind::Inherit { original } => origin.inherited = self.block_name(original),
                FrameKind::Call { macro_, .. } => origin.called = self.full_name(macro_),
                _ => {}
            }
            at = self.frame(at).parent;
        }
        let number = match self.policy.origins.iter().rposition(|o| *o == origin) {
            Some(n) if self.policy.origins.len() < 64 => n,
            _ => {
                self.policy.origins.push(origin);
                self.policy.origins.len() - 1
            }
        };
        self.facts.origins.insert(frame, number as u32);
        number as u32
    }

    fn block_name(&self, frame: FrameId) -> String {
        let mut parts = Vec::new();
        let mut at = frame;
        while at != ROOT {
            if let FrameKind::Block { name, .. } = self.frame(at).kind {
                parts.push(self.forest.symbols().text(name));
            }
            at = self.frame(self.frame(at).parent).home;
        }
        parts.reverse();
        parts.join(".")
    }
}
