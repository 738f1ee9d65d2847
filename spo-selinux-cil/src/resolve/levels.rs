//! Sensitivities, categories, levels, ranges.

use super::{
    Fault, Resolved, Why,
    expand::Resolver,
    fault,
    frames::{DeclKind, FrameId, NONE, Ns},
    names::Found,
    sets,
};
use crate::{
    policy::BitSet,
    syntax::{View, word},
};

/// A security level. Sensitivities and categories are positions in their orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) sensitivity: u32,
    pub(super) categories: BitSet,
}

impl Level {
    /// Whether this level is at least the other.
    pub(super) fn dominates(&self, other: &Self) -> bool {
        self.sensitivity >= other.sensitivity && other.categories.is_subset(&self.categories)
    }
}

/// Category sets and levels inside one another. Ours: it only bounds the recursion.
const MAX_NESTED: u16 = 200;

impl<'f, 'a> Resolver<'f, 'a> {
    /// `(sensitivity categories?)` or the name of a level.
    pub(super) fn level(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<Level> {
        let (view, frame) = self.definition(view, frame, Ns::Level, "level")?;
        let mut parts = view.children();
        let Some(name) = parts.next() else {
            return fault(Fault::new(view.id(), "cil-form", "the level is empty"));
        };
        let id = self.actual(name, frame, Ns::Sens)?;
        let categories = match parts.next() {
            Some(c) => self.categories(c, frame)?,
            None => BitSet::new(),
        };
        Ok(Level { sensitivity: self.tables.decls[id as usize].index, categories })
    }

    /// `(low high)` or the name of a range.
    pub(super) fn range(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<(Level, Level)> {
        let (view, frame) = self.definition(view, frame, Ns::Range, "range")?;
        let mut parts = view.children();
        match (parts.next(), parts.next()) {
            (Some(low), Some(high)) => Ok((self.level(low, frame)?, self.level(high, frame)?)),
            _ => fault(Fault::new(view.id(), "cil-form", "a range is `(low high)`")),
        }
    }

    /// The value of a category expression.
    pub(super) fn categories(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<BitSet> {
        self.nested += 1;
        let result = if self.nested > MAX_NESTED {
            fault(Fault::verify(view.id(), "the category set is inside itself"))
        } else {
            self.nested_categories(view, frame)
        };
        self.nested -= 1;
        result
    }

    fn nested_categories(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<BitSet> {
        let universe = BitSet::below(self.facts.category_count);
        sets::fold(view, &universe, &mut |leaf| {
            if leaf.is_list() {
                return self.category_span(leaf, frame);
            }
            match self.find(leaf, frame, Ns::Cat)? {
                Found::Node(node, place) => self.categories(self.forest.view(node), place),
                Found::Decl(d) if self.tables.decls[d as usize].kind == DeclKind::CategorySet => {
                    let decl = self.tables.decls[d as usize];
                    if let Some(known) = self.facts.category_sets.get(&d) {
                        return Ok(known.clone());
                    }
                    let definition = self.forest.view(decl.node);
                    let Some(members) = definition.children().nth(2) else { return Ok(BitSet::new()) };
                    let value = self.categories(members, decl.frame)?;
                    if self.emit {
                        self.facts.category_sets.insert(d, value.clone());
                    }
                    Ok(value)
                }
                _ => {
                    let d = self.actual(leaf, frame, Ns::Cat)?;
                    let index = self.tables.decls[d as usize].index;
                    Ok(if index == NONE { BitSet::new() } else { [index as usize].into_iter().collect() })
                }
            }
        })
    }

    fn category_span(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<BitSet> {
        let parts: Vec<_> = view.children().skip(1).collect();
        let [low, high] = parts[..] else {
            return fault(Fault::new(view.id(), "cil-form", "a range has two ends"));
        };
        let mut ends = [0; 2];
        for (end, v) in ends.iter_mut().zip([low, high]) {
            let d = self.actual(v, frame, Ns::Cat)?;
            let decl = &self.tables.decls[d as usize];
            if decl.kind == DeclKind::CategorySet {
                return fault(Fault::resolve(v.id(), "a range is between categories, not sets"));
            }
            *end = decl.index;
        }
        if ends.contains(&NONE) {
            return Ok(BitSet::new());
        }
        if ends[0] > ends[1] {
            return fault(Fault::resolve(view.id(), "the range ends before it starts"));
        }
        Ok((ends[0] as usize..=ends[1] as usize).collect())
    }

    /// The list that defines a level, range or context: the node itself, or what the name at it stands for.
    pub(super) fn definition(
        &mut self,
        view: View<'f, 'a>,
        frame: FrameId,
        ns: Ns,
        noun: &str,
    ) -> Resolved<(View<'f, 'a>, FrameId)> {
        if view.is_list() {
            return Ok((view, frame));
        }
        let (list, place) = match self.find(view, frame, ns)? {
            Found::Decl(d) => {
                let decl = self.tables.decls[d as usize];
                (self.forest.view(decl.node).children().nth(2), decl.frame)
            }
            Found::Node(node, place) => (Some(self.forest.view(node)), place),
            Found::Text(_) => return fault(Fault { at: view.id(), why: Why::Unknown(ns) }),
        };
        match list.filter(|l| l.is_list()) {
            Some(list) => Ok((list, place)),
            None => fault(Fault::new(view.id(), "cil-form", format!("the {noun} has no list"))),
        }
    }

    /// Numbers the members of the order statements of a kind and checks that every declaration is among them.
    pub(super) fn order(&mut self, keyword: crate::syntax::Symbol, ns: Ns) -> Resolved<usize> {
        let statements = self.live_heads(keyword);
        let mut lists: Vec<(crate::syntax::NodeId, bool, Vec<u32>)> = Vec::new();
        for s in statements {
            let Some(list) = self.forest.view(s.node).children().nth(1) else { continue };
            let unordered = list.head() == Some(word::UNORDERED);
            let mut ids = Vec::new();
            for v in list.children().skip(usize::from(unordered)) {
                let d = self.actual(v, s.frame, ns)?;
                if ids.contains(&d) && ns != Ns::Cat {
                    return fault(Fault::resolve(v.id(), "the name is there twice"));
                }
                ids.push(d);
            }
            lists.push((s.node, unordered, ids));
        }
        let order = merge_orders(&lists)?;
        for (position, &d) in order.iter().enumerate() {
            self.tables.decls[d as usize].index = match ns {
                Ns::Class => self.tables.decls[d as usize].index,
                _ => position as u32,
            };
        }
        let listed: std::collections::HashSet<u32> = order.iter().copied().collect();
        let kinds = [DeclKind::Plain, DeclKind::Class];
        for (id, decl) in self.tables.decls.iter().enumerate() {
            let wanted = decl.ns == ns && decl.live > 0 && kinds.contains(&decl.kind);
            if wanted && !self.is_dropped(decl.home) && !listed.contains(&(id as u32)) {
                let name = self.forest.symbols().text(decl.name);
                let message = format!("the {} {name:?} is in no order statement", ns.noun());
                return fault(Fault::resolve(decl.node, message));
            }
        }
        Ok(order.len())
    }
}

/// One order of several lists that overlap. Lists that share nothing cannot be put in order.
fn merge_orders(lists: &[(crate::syntax::NodeId, bool, Vec<u32>)]) -> Resolved<Vec<u32>> {
    let mut order: Vec<u32> = Vec::new();
    let mut waiting: Vec<_> = lists.iter().filter(|l| !l.1).collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut rest = Vec::new();
        for list in waiting {
            let known: std::collections::HashMap<u32, usize> =
                order.iter().enumerate().map(|(i, &d)| (d, i)).collect();
            if !order.is_empty() && !list.2.iter().any(|d| known.contains_key(d)) {
                rest.push(list);
                continue;
            }
            let mut merged = Vec::with_capacity(order.len() + list.2.len());
            let mut from = 0;
            let mut fresh = Vec::new();
            for d in &list.2 {
                match known.get(d) {
                    Some(&at) if at >= from => {
                        merged.extend_from_slice(&order[from..at]);
                        merged.append(&mut fresh);
                        merged.push(*d);
                        from = at + 1;
                    }
                    Some(_) => return fault(Fault::resolve(list.0, "the order contradicts another one")),
                    None => fresh.push(*d),
                }
            }
            merged.append(&mut fresh);
            merged.extend_from_slice(&order[from.min(order.len())..]);
            order = merged;
        }
        if rest.len() == before {
            return fault(Fault::resolve(rest[0].0, "the order has nothing in common with the others"));
        }
        waiting = rest;
    }
    let mut seen: std::collections::HashSet<u32> = order.iter().copied().collect();
    for list in lists.iter().filter(|l| l.1) {
        order.extend(list.2.iter().copied().filter(|d| seen.insert(*d)));
    }
    Ok(order)
}
