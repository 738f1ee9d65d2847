//! Contexts, and what they are given to.

use super::{
    Fault, Resolved,
    expand::{Instance, Resolver},
    facts::Context,
    fault,
    frames::{DeclKind, FrameId, Ns},
    levels::Level,
    names::Found,
};
use crate::{
    policy::PortContext,
    syntax::{Symbol, View, decimal},
};

impl<'f, 'a> Resolver<'f, 'a> {
    pub(super) fn checked_range(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<(Level, Level)> {
        let (low, high) = self.range(view, frame)?;
        if self.emit {
            self.facts.levels.extend([(view.id(), low.clone()), (view.id(), high.clone())]);
        }
        if self.emit && !high.dominates(&low) {
            return fault(Fault::verify(view.id(), "the high level does not dominate the low level"));
        }
        Ok((low, high))
    }

    pub(super) fn context(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<Context> {
        let (list, frame) = self.definition(view, frame, Ns::Context, "context")?;
        let parts: Vec<_> = list.children().collect();
        let [user, role, type_, range] = parts[..] else {
            return fault(Fault::new(list.id(), "cil-form", "`(user role type range)` belongs here"));
        };
        let user = self.kind(user, frame, Ns::User, DeclKind::User, "user")?;
        let role = self.kind(role, frame, Ns::Role, DeclKind::Role, "role")?;
        let type_ = self.one_type(type_, frame)?;
        let range = self.checked_range(range, frame)?;
        let type_ = self.tables.decls[type_ as usize].index;
        let context = Context { node: view.id(), user, role, type_, range };
        if self.emit {
            self.facts.contexts.push(context.clone());
        }
        Ok(context)
    }

    /// The address at a node, or the one its name stands for.
    pub(super) fn address(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<std::net::IpAddr> {
        let literal = if view.is_list() {
            view.children().next().unwrap_or(view)
        } else {
            match self.find(view, frame, Ns::IpAddr)? {
                Found::Decl(d) => {
                    let node = self.tables.decls[d as usize].node;
                    self.forest.view(node).children().nth(2).unwrap_or(view)
                }
                Found::Node(node, _) => self.forest.view(node).children().next().unwrap_or(view),
                Found::Text(_) => view,
            }
        };
        match literal.text().parse() {
            Ok(address) => Ok(address),
            Err(_) => fault(Fault::resolve(view.id(), "an address belongs here")),
        }
    }

    /// Two different contexts for one thing: newer compilers refuse them.
    pub(super) fn label(
        &mut self,
        s: Instance,
        key: &[View<'f, 'a>],
        path: Option<Symbol>,
        context: Option<&Context>,
    ) -> Resolved<()> {
        if !self.emit || self.options.version.minor < 5 {
            return Ok(());
        }
        let view = self.forest.view(s.node);
        let mut text = view.children().next().map_or("", View::text).to_owned();
        for part in key {
            text.push('\0');
            text.push_str(&crate::syntax::format_node(*part));
        }
        text.push('\0');
        text.push_str(path.map_or("", |p| self.forest.symbols().text(p)));
        let number = if context.is_some() { self.facts.contexts.len() - 1 } else { usize::MAX };
        match self.facts.labels.get(&text) {
            None => drop(self.facts.labels.insert(text, (number, s.node))),
            Some(&(old, node)) => {
                let old = self.facts.contexts.get(old);
                let same = match (old, context) {
                    (Some(a), Some(b)) => {
                        (a.user, a.role, a.type_, &a.range) == (b.user, b.role, b.type_, &b.range)
                    }
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    let line = self.forest.view(node).span().line;
                    let message = format!("another context is given for the same thing in line {line}");
                    return fault(Fault::verify(s.node, message));
                }
            }
        }
        Ok(())
    }

    pub(super) fn port(&mut self, s: Instance, args: &[Option<View<'f, 'a>>; 5]) -> Resolved<()> {
        let [Some(protocol), Some(numbers), Some(context), ..] = *args else { return Ok(()) };
        let context = self.context(context, s.frame)?;
        if !self.emit {
            return Ok(());
        }
        let mut ends =
            if numbers.is_list() { numbers.children() } else { numbers.forest().view(s.node).children() };
        let read = |v: Option<View<'_, '_>>| v.and_then(|v| decimal(v.text())).unwrap_or(0) as u16;
        let (low, high) = if numbers.is_list() {
            (read(ends.next()), read(ends.next()))
        } else {
            (read(Some(numbers)), read(Some(numbers)))
        };
        let protocol_name = protocol.text().to_owned();
        self.policy.ports.push(PortContext { protocol: protocol_name, low, high, type_: context.type_ });
        self.label(s, &[protocol, numbers], None, Some(&context))
    }
}
