//! Set expressions over types, roles, users, permissions, categories and numbers; expressions over booleans.

use super::{
    Fault, Resolved,
    expand::{Instance, Resolver, find_cycle},
    fault,
    frames::{DeclKind, FrameId, KeyMap, Ns},
};
use crate::{
    policy::{BitSet, BoolStep},
    syntax::{Children, Symbol, View, word},
};

/// Values of set expressions.
pub(super) trait Algebra: Sized {
    fn empty() -> Self;
    fn or(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn without(self, other: &Self) -> Self;
    /// The members of the universe that are not in the set.
    fn complement(self, universe: &Self) -> Self;
}

impl Algebra for u32 {
    fn empty() -> Self {
        0
    }
    fn or(self, other: Self) -> Self {
        self | other
    }
    fn and(self, other: Self) -> Self {
        self & other
    }
    fn without(self, other: &Self) -> Self {
        self & !other
    }
    fn complement(self, universe: &Self) -> Self {
        universe & !self
    }
}

impl Algebra for BitSet {
    fn empty() -> Self {
        Self::new()
    }
    fn or(mut self, other: Self) -> Self {
        self.union(&other);
        self
    }
    fn and(mut self, other: Self) -> Self {
        self.intersect(&other);
        self
    }
    fn without(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }
    fn complement(self, universe: &Self) -> Self {
        universe.clone().without(&self)
    }
}

struct Open<'f, 'a, S> {
    operator: Option<Symbol>,
    rest: Children<'f, 'a>,
    value: Option<S>,
}

/// The value of a set expression. `leaf` gives the value of a name or of a `(range a b)` list.
///
/// Iterative, because expressions may be as deep as the parser allows.
pub(super) fn fold<'f, 'a, S: Algebra + Clone>(
    root: View<'f, 'a>,
    universe: &S,
    leaf: &mut dyn FnMut(View<'f, 'a>) -> Resolved<S>,
) -> Resolved<S> {
    let mut stack: Vec<Open<'f, 'a, S>> = Vec::new();
    let mut current = Some(root);
    loop {
        let mut value = None;
        if let Some(view) = current.take() {
            if view.is_list() && view.head() != Some(word::RANGE) {
                let mut rest = view.children();
                let operator = view
                    .head()
                    .filter(|h| matches!(*h, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF));
                if operator.is_some() {
                    rest.next();
                }
                let value = (operator == Some(word::ALL_OF)).then(|| universe.clone());
                stack.push(Open { operator, rest, value });
            } else {
                value = Some(leaf(view)?);
            }
        }
        let Some(top) = stack.last_mut() else { return Ok(value.unwrap_or_else(S::empty)) };
        if let Some(new) = value {
            top.take(new);
        }
        match top.rest.next() {
            Some(next) => current = Some(next),
            None => {
                let Some(done) = stack.pop() else { continue };
                let value = done.value.unwrap_or_else(S::empty);
                let value = if done.operator == Some(word::NOT) { value.complement(universe) } else { value };
                match stack.last_mut() {
                    Some(outer) => outer.take(value),
                    None => return Ok(value),
                }
            }
        }
    }
}

impl<S: Algebra + Clone> Open<'_, '_, S> {
    fn take(&mut self, new: S) {
        self.value = Some(match (self.value.take(), self.operator) {
            (None, _) => new,
            (Some(old), Some(word::AND)) => old.and(new),
            (Some(old), Some(word::XOR)) => {
                let common = old.clone().and(new.clone());
                old.or(new).without(&common)
            }
            (Some(old), _) => old.or(new),
        });
    }
}

/// A boolean expression in postfix order; names are declarations.
pub(super) type BoolSteps = Vec<BoolStep>;

/// The value of a boolean expression.
pub(crate) fn evaluate(steps: &[BoolStep], value: impl Fn(u32) -> bool) -> bool {
    let mut stack = Vec::new();
    for step in steps {
        let new = match *step {
            BoolStep::Boolean(b) => value(b),
            BoolStep::Not => !stack.pop().unwrap_or(false),
            binary => {
                let right = stack.pop().unwrap_or(false);
                let left = stack.pop().unwrap_or(false);
                match binary {
                    BoolStep::And => left && right,
                    BoolStep::Or => left || right,
                    BoolStep::Eq => left == right,
                    _ => left != right,
                }
            }
        };
        stack.push(new);
    }
    stack.pop().unwrap_or(false)
}

/// Members of an attribute, before they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) direct: BitSet,
    pub(super) expressions: Vec<Instance>,
}

impl<'f, 'a> Resolver<'f, 'a> {
    /// Postfix form of a boolean expression, names resolved.
    pub(super) fn boolean_steps(
        &mut self,
        root: View<'f, 'a>,
        frame: FrameId,
        ns: Ns,
    ) -> Resolved<BoolSteps> {
        let mut out = Vec::new();
        let mut stack = vec![(root, false)];
        while let Some((view, visited)) = stack.pop() {
            if !view.is_list() {
                out.push(BoolStep::Boolean(self.decl(view, frame, ns)?));
                continue;
            }
            let step = match view.head() {
                Some(word::AND) => Some(BoolStep::And),
                Some(word::OR) => Some(BoolStep::Or),
                Some(word::XOR) => Some(BoolStep::Xor),
                Some(word::EQ) => Some(BoolStep::Eq),
                Some(word::NEQ) => Some(BoolStep::Neq),
                Some(word::NOT) => Some(BoolStep::Not),
                _ => None,
            };
            if visited {
                match step {
                    Some(step) => out.push(step),
                    // A list without an operator holds where one of its members does.
                    None => out.extend(view.children().skip(1).map(|_| BoolStep::Or)),
                }
                continue;
            }
            stack.push((view, true));
            let operands: Vec<_> = view.children().skip(usize::from(step.is_some())).collect();
            stack.extend(operands.into_iter().rev().map(|v| (v, false)));
        }
        Ok(out)
    }

    /// Resolves every name of a set expression; complete when nothing failed.
    pub(super) fn check_set(&mut self, root: View<'f, 'a>, frame: FrameId, ns: Ns) -> Resolved<()> {
        let mut stack = vec![root];
        while let Some(view) = stack.pop() {
            if view.is_list() {
                let operator = view.head().is_some_and(|h| {
                    matches!(h, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF)
                });
                stack.extend(view.children().skip(usize::from(operator)));
            } else {
                self.actual(view, frame, ns)?;
            }
        }
        Ok(())
    }

    /// Members of all attributes of a kind: what each group's expressions say, groups inside groups included.
    pub(super) fn close_groups(
        &mut self,
        mut groups: Vec<Group>,
        ns: Ns,
        count: usize,
    ) -> Resolved<Vec<BitSet>> {
        let attribute = match ns {
            Ns::Type => DeclKind::TypeAttribute,
            Ns::Role => DeclKind::RoleAttribute,
            _ => DeclKind::UserAttribute,
        };
        let universe = BitSet::below(count);
        let mut edges: KeyMap<u32, Vec<u32>> = KeyMap::default();
        for (i, group) in groups.iter().enumerate() {
            for e in &group.expressions {
                let mut inner = Vec::new();
                let mut stack = vec![self.forest.view(e.node)];
                while let Some(view) = stack.pop() {
                    if view.is_list() {
                        let operator = view.head().is_some_and(|h| {
                            matches!(h, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF)
                        });
                        stack.extend(view.children().skip(usize::from(operator)));
                    } else {
                        let d = self.actual(view, e.frame, ns)?;
                        let decl = &self.tables.decls[d as usize];
                        if decl.kind == attribute {
                            inner.push(decl.index);
                        }
                    }
                }
                edges.entry(i as u32).or_default().extend(inner);
            }
        }
        if let Some(i) = find_cycle(&edges) {
            let at = groups[i as usize].expressions.first().map_or(crate::syntax::NodeId(0), |e| e.node);
            return fault(Fault::verify(at, "the attribute is a member of itself"));
        }
        let mut values: Vec<Option<BitSet>> = vec![None; groups.len()];
        for i in postorder(groups.len(), &edges) {
            let group = std::mem::take(&mut groups[i]);
            let mut set = group.direct;
            for e in group.expressions {
                let root = self.forest.view(e.node);
                let mut leaf = |view: View<'f, 'a>| {
                    let d = self.actual(view, e.frame, ns)?;
                    let decl = &self.tables.decls[d as usize];
                    Ok(if decl.kind == attribute {
                        values.get(decl.index as usize).and_then(Clone::clone).unwrap_or_default()
                    } else {
                        [decl.index as usize].into_iter().collect()
                    })
                };
                let value = fold(root, &universe, &mut leaf)?;
                set.union(&value);
            }
            values[i] = Some(set);
        }
        Ok(values.into_iter().map(Option::unwrap_or_default).collect())
    }
}

/// Nodes of a graph without cycles, each behind what it points to.
fn postorder(count: usize, edges: &KeyMap<u32, Vec<u32>>) -> Vec<usize> {
    let mut seen = vec![false; count];
    let mut order = Vec::with_capacity(count);
    for start in 0..count {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut stack = vec![(start, 0)];
        while let Some(top) = stack.last_mut() {
            let (node, next) = *top;
            top.1 += 1;
            match edges.get(&(node as u32)).and_then(|e| e.get(next)) {
                Some(&to) => {
                    if !std::mem::replace(&mut seen[to as usize], true) {
                        stack.push((to as usize, 0));
                    }
                }
                None => {
                    order.push(node);
                    stack.pop();
                }
            }
        }
    }
    order
}
