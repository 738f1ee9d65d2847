//! Classes, permissions, class maps and class permission sets.

use super::{
    Fault, Resolved, Why,
    expand::{Instance, Resolver},
    fault,
    frames::{DeclId, DeclKind, FrameId, KeyMap, NONE, Ns},
    names::Found,
    sets,
};
use crate::{
    policy::BitSet,
    suggest,
    syntax::{Symbol, View, word},
};

/// Permissions of one class.
pub(super) type ClassMask = (u16, u32);

/// Most permissions of a class: the kernel has a bit for each.
const MAX_PERMISSIONS: usize = 32;

/// Most permissions of a class map. Ours, to bound the work of expressions over them: real maps have a dozen.
const MAX_MAPPED: usize = 4096;

/// A class, a common or a class map.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) decl: DeclId,
    pub(super) kind: DeclKind,
    pub(super) own: Vec<Symbol>,
    /// The common's permissions, then its own.
    pub(super) all: Vec<Symbol>,
    pub(super) common: Option<u32>,
    /// For a class map: what each of its permissions stands for.
    pub(super) mappings: Vec<Vec<ClassMask>>,
    /// Number among the policy's classes.
    pub(super) number: u16,
}

/// What statements say about classes and permission sets; built anew when optionals were dropped.
#[derive(Default)]
pub(super) struct PermissionSets {
    pub(super) by_decl: KeyMap<u32, Vec<ClassMask>>,
}

impl<'f, 'a> Resolver<'f, 'a> {
    pub(super) fn new_class(&mut self, decl: DeclId, view: View<'f, 'a>) -> Resolved<()> {
        let own: Vec<Symbol> =
            view.children().nth(2).into_iter().flat_map(View::children).filter_map(View::atom).collect();
        let mut sorted = own.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|w| w[0] == w[1]) {
            return fault(Fault::new(view.id(), "cil-duplicate", "a permission is declared twice"));
        }
        let kind = self.tables.decls[decl as usize].kind;
        let limit = if kind == DeclKind::ClassMap { MAX_MAPPED } else { MAX_PERMISSIONS };
        if own.len() > limit {
            return fault(Fault::verify(view.id(), format!("more than {limit} permissions")));
        }
        self.tables.decls[decl as usize].index = self.classes.len() as u32;
        let mappings = vec![Vec::new(); own.len()];
        self.classes.push(Class { decl, kind, all: own.clone(), own, common: None, mappings, number: 0 });
        Ok(())
    }

    /// Aliases, commons of classes, class maps, permission sets. Gives whether an optional was dropped.
    pub(super) fn structure(&mut self) -> Resolved<bool> {
        let mut dropped = false;
        for class in &mut self.classes {
            class.common = None;
            class.all.clone_from(&class.own);
            class.mappings.iter_mut().for_each(Vec::clear);
        }
        for decl in self.tables.decls.iter_mut().filter(|d| d.kind == DeclKind::Alias) {
            decl.index = NONE;
        }
        self.facts.permission_sets.by_decl.clear();
        let heads = |r: &Self, wanted: &[Symbol]| -> Vec<Instance> {
            let head = |s: &Instance| r.forest.view(s.node).head();
            let live = |s: &&Instance| head(s).is_some_and(|h| wanted.contains(&h)) && !r.is_dropped(s.frame);
            r.statements.iter().filter(live).copied().collect()
        };
        let aliases =
            heads(self, &[word::TYPEALIASACTUAL, word::SENSITIVITYALIASACTUAL, word::CATEGORYALIASACTUAL]);
        let commons = heads(self, &[word::CLASSCOMMON]);
        let mappings = heads(self, &[word::CLASSMAPPING]);
        let sets = heads(self, &[word::CLASSPERMISSIONSET]);
        type Step<'f, 'a> = fn(&mut Resolver<'f, 'a>, Instance) -> Resolved<()>;
        let steps: [(Vec<Instance>, Step<'f, 'a>); 4] = [
            (aliases, Self::bind_alias),
            (commons, Self::class_common),
            (mappings, Self::class_mapping),
            (sets, Self::permission_set),
        ];
        for (statements, step) in steps {
            for s in statements {
                self.checking = Some(self.frame(s.frame).optional).filter(|&o| o != NONE);
                let result = step(self, s);
                self.checking = None;
                if let Err(f) = result {
                    self.fail_in(s.frame, *f)?;
                    dropped = true;
                }
            }
        }
        Ok(dropped)
    }

    fn bind_alias(&mut self, s: Instance) -> Resolved<()> {
        let view = self.forest.view(s.node);
        let ns = match view.head() {
            Some(word::SENSITIVITYALIASACTUAL) => Ns::Sens,
            Some(word::CATEGORYALIASACTUAL) => Ns::Cat,
            _ => Ns::Type,
        };
        let (Some(alias), Some(actual)) = (view.children().nth(1), view.children().nth(2)) else {
            return Ok(());
        };
        let a = self.decl(alias, s.frame, ns)?;
        if self.tables.decls[a as usize].kind != DeclKind::Alias {
            return fault(Fault::resolve(alias.id(), format!("{:?} is not an alias", alias.text())));
        }
        let to = self.decl(actual, s.frame, ns)?;
        let kind = self.tables.decls[to as usize].kind;
        if matches!(kind, DeclKind::TypeAttribute | DeclKind::CategorySet) {
            return fault(Fault::resolve(actual.id(), "an alias stands for one thing, not for a set"));
        }
        let old = self.tables.decls[a as usize].index;
        if old != NONE {
            return fault(Fault::resolve(alias.id(), "the alias stands for something already"));
        }
        // An alias of an alias is fine, a ring is not.
        let mut end = to;
        while self.tables.decls[end as usize].kind == DeclKind::Alias {
            if end == a {
                return fault(Fault::resolve(alias.id(), "the alias stands for itself"));
            }
            match self.tables.decls[end as usize].index {
                NONE => break,
                next => end = next,
            }
        }
        self.tables.decls[a as usize].index = to;
        Ok(())
    }

    fn class_common(&mut self, s: Instance) -> Resolved<()> {
        let view = self.forest.view(s.node);
        let (Some(class), Some(common)) = (view.children().nth(1), view.children().nth(2)) else {
            return Ok(());
        };
        let c = self.kind(class, s.frame, Ns::Class, DeclKind::Class, "class")?;
        let d = self.decl(common, s.frame, Ns::Common)?;
        let (c, d) = (self.tables.decls[c as usize].index, self.tables.decls[d as usize].index);
        if self.classes[c as usize].common.is_some() {
            return fault(Fault::resolve(class.id(), "the class has a common already"));
        }
        let mut all = self.classes[d as usize].own.clone();
        let class_entry = &mut self.classes[c as usize];
        class_entry.common = Some(d);
        all.extend(&class_entry.own);
        class_entry.all = all;
        Ok(())
    }

    fn class_mapping(&mut self, s: Instance) -> Resolved<()> {
        let view = self.forest.view(s.node);
        let parts: Vec<_> = view.children().skip(1).collect();
        let [map, permission, members] = parts[..] else { return Ok(()) };
        let id = self.decl(map, s.frame, Ns::Class)?;
        if self.tables.decls[id as usize].kind != DeclKind::ClassMap {
            let why = Why::Missing(format!("{:?} is not a class map", map.text()));
            return fault(Fault { at: map.id(), why });
        }
        let index = self.tables.decls[id as usize].index as usize;
        let Some(slot) = self.classes[index].own.iter().position(|p| Some(*p) == permission.atom()) else {
            return fault(Fault {
                at: permission.id(),
                why: Why::Permission { class: map.text().to_owned() },
            });
        };
        let masks = self.class_permissions(members, s.frame)?;
        add_masks(&mut self.classes[index].mappings[slot], &masks);
        Ok(())
    }

    fn permission_set(&mut self, s: Instance) -> Resolved<()> {
        let view = self.forest.view(s.node);
        let (Some(name), Some(members)) = (view.children().nth(1), view.children().nth(2)) else {
            return Ok(());
        };
        let id = self.decl(name, s.frame, Ns::ClassPerm)?;
        let masks = self.class_permissions(members, s.frame)?;
        add_masks(self.facts.permission_sets.by_decl.entry(id).or_default(), &masks);
        Ok(())
    }

    /// The classes and permissions of `(class (permissions))` or a name for such; class maps are expanded.
    /// Classes are numbered as in `self.classes`.
    pub(super) fn class_permissions(
        &mut self,
        view: View<'f, 'a>,
        frame: FrameId,
    ) -> Resolved<Vec<ClassMask>> {
        if !view.is_list() {
            return match self.find(view, frame, Ns::ClassPerm)? {
                Found::Decl(d) => Ok(self.facts.permission_sets.by_decl.get(&d).cloned().unwrap_or_default()),
                Found::Node(node, place) if self.forest.view(node).is_list() => {
                    self.class_permissions(self.forest.view(node), place)
                }
                _ => fault(Fault { at: view.id(), why: Why::Unknown(Ns::ClassPerm) }),
            };
        }
        let mut parts = view.children();
        let (Some(name), Some(expression)) = (parts.next(), parts.next()) else { return Ok(Vec::new()) };
        let id = self.decl(name, frame, Ns::Class)?;
        let index = self.tables.decls[id as usize].index as usize;
        let class = &self.classes[index];
        if class.kind != DeclKind::ClassMap {
            return Ok(vec![(index as u16, permission_mask(&class.all, name.text(), expression)?)]);
        }
        let universe = BitSet::below(class.all.len());
        let mut one =
            |v: View<'_, '_>| Ok([position(&class.all, name.text(), v)?].into_iter().collect::<BitSet>());
        let mut masks = Vec::new();
        for slot in sets::fold(expression, &universe, &mut one)?.iter() {
            add_masks(&mut masks, class.mappings.get(slot).map_or(&[], |m| m));
        }
        Ok(masks)
    }

    pub(super) fn suggest_permission(&self, class: &str, text: &str) -> Option<String> {
        let symbols = self.forest.symbols();
        let class = self.classes.iter().find(|c| {
            c.kind != DeclKind::Common && symbols.text(self.tables.decls[c.decl as usize].name) == class
        })?;
        suggest::nearest(text, class.all.iter().map(|&p| symbols.text(p))).map(str::to_owned)
    }
}

fn permission_mask(all: &[Symbol], class: &str, expression: View<'_, '_>) -> Resolved<u32> {
    // A class with its common can have too many; that is said elsewhere.
    let universe = if all.len() >= MAX_PERMISSIONS { u32::MAX } else { (1 << all.len()) - 1 };
    let one = |v: View<'_, '_>| Ok(1u32.checked_shl(position(all, class, v)? as u32).unwrap_or(0));
    // A plain list is what nearly every rule has.
    let operator = expression.head().is_some_and(|h| {
        matches!(h, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF | word::RANGE)
    });
    if operator || expression.children().any(View::is_list) {
        return sets::fold(expression, &universe, &mut |v| one(v));
    }
    expression.children().try_fold(0, |mask, v| Ok(mask | one(v)?))
}

fn position(all: &[Symbol], class: &str, permission: View<'_, '_>) -> Resolved<usize> {
    match all.iter().position(|p| Some(*p) == permission.atom()) {
        Some(bit) => Ok(bit),
        None => fault(Fault { at: permission.id(), why: Why::Permission { class: class.to_owned() } }),
    }
}

fn add_masks(into: &mut Vec<ClassMask>, masks: &[ClassMask]) {
    for &(class, mask) in masks {
        match into.iter_mut().find(|m| m.0 == class) {
            Some(m) => m.1 |= mask,
            None => into.push((class, mask)),
        }
    }
}
