//! Constraint expressions with their names resolved.

use super::{
    Resolved,
    expand::Resolver,
    facts::names,
    frames::{FrameId, Ns},
};
use crate::{
    policy::{BitSet, ConstraintStep},
    syntax::{View, word},
};

impl<'f, 'a> Resolver<'f, 'a> {
    pub(super) fn constraint(&mut self, root: View<'f, 'a>, frame: FrameId) -> Resolved<Vec<ConstraintStep>> {
        let mut out = Vec::new();
        let mut stack = vec![(root, false)];
        while let Some((view, visited)) = stack.pop() {
            let parts: Vec<_> = view.children().collect();
            let operator = match view.head() {
                Some(word::AND) => Some(ConstraintStep::And),
                Some(word::OR) => Some(ConstraintStep::Or),
                Some(word::NOT) => Some(ConstraintStep::Not),
                _ => None,
            };
            match (operator, &parts[..]) {
                (Some(step), _) if visited => out.push(step),
                (Some(_), operands) => {
                    stack.push((view, true));
                    stack.extend(operands.iter().skip(1).rev().map(|v| (*v, false)));
                }
                (None, [op, left, right]) => out.push(self.comparison(*op, *left, *right, frame)?),
                _ => {}
            }
        }
        Ok(out)
    }

    pub(super) fn comparison(
        &mut self,
        op: View<'f, 'a>,
        left: View<'f, 'a>,
        right: View<'f, 'a>,
        frame: FrameId,
    ) -> Resolved<ConstraintStep> {
        let field = |v: View<'_, '_>| {
            let symbol = v.atom()?;
            (symbol >= word::T1 && symbol <= word::H2).then(|| word::ALL[symbol.index()])
        };
        let Some(l) = field(left) else { return Ok(ConstraintStep::Other) };
        if let Some(r) = field(right) {
            let op = op.atom().and_then(|o| word::ALL.get(o.index())).copied().unwrap_or("eq");
            return Ok(ConstraintStep::Fields { op, left: l, right: r });
        }
        let ns = match l.as_bytes()[0] {
            b't' => Ns::Type,
            b'r' => Ns::Role,
            _ => Ns::User,
        };
        let mut set = BitSet::new();
        for v in names(right) {
            if ns == Ns::Type {
                let t = self.type_set(v, frame)?;
                if self.emit {
                    // Attributes are filled in when their members are known.
                    set.insert(
                        t.as_type()
                            .unwrap_or_else(|| t.as_attribute().map_or(0, |a| a + self.policy.types.len())),
                    );
                }
            } else {
                self.actual(v, frame, ns)?;
            }
        }
        Ok(if ns == Ns::Type {
            let negated = op.atom() == Some(word::NEQ);
            ConstraintStep::Types { subject: l.as_bytes()[1] - b'0', negated, set }
        } else {
            ConstraintStep::Other
        })
    }
}
