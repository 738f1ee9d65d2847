//! What a name means in a place.

use super::{
    Fault, Resolved, Why,
    expand::Resolver,
    fault,
    frames::{DeclId, DeclKind, FrameId, FrameKind, NONE, Ns, ROOT},
};
use crate::{
    policy::TypeSet,
    suggest,
    syntax::{NodeId, ParameterKind, Symbol, View, brief, parameter_kind, word},
};

/// What a name turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Decl(DeclId),
    /// An argument of a call that is written out, and the place it is to be read in.
    Node(NodeId, FrameId),
    /// A string argument of a call.
    Text(Symbol),
}

/// What a name with dots led to.
enum Dotted {
    Found(Found),
    /// A part is not declared.
    Missing,
    /// A part before the last is an optional or a macro.
    NotABlock,
    /// A part before the last is an abstract block.
    Abstract,
}

impl<'f, 'a> Resolver<'f, 'a> {
    /// The meaning of the name at a node.
    pub(super) fn find(&mut self, view: View<'f, 'a>, frame: FrameId, ns: Ns) -> Resolved<Found> {
        let unknown = || Box::new(Fault { at: view.id(), why: Why::Unknown(ns) });
        let name = view.atom().ok_or_else(unknown)?;
        let Some(found) = self.find_symbol(name, frame, ns) else {
            // What is no block is not looked into; the compiler takes that for more than a missing name.
            let text = self.forest.symbols().text(name);
            let what = match self.dotted(text, frame, ns) {
                Dotted::NotABlock => "something that is no block",
                Dotted::Abstract => "an abstract block",
                _ => return Err(unknown()),
            };
            let message = format!("{:?} leads through {what}", brief(text));
            return fault(Fault::resolve(view.id(), message));
        };
        if let (Found::Decl(d), Some(optional)) = (found, self.checking) {
            self.note_use(d, optional);
        }
        Ok(found)
    }

    /// The declaration a name means.
    pub(super) fn decl(&mut self, view: View<'f, 'a>, frame: FrameId, ns: Ns) -> Resolved<DeclId> {
        match self.find(view, frame, ns)? {
            Found::Decl(d) => Ok(d),
            _ => fault(Fault { at: view.id(), why: Why::Unknown(ns) }),
        }
    }

    /// A declaration with aliases followed. An alias chain is as long as there are aliases; a ring is an error.
    pub(super) fn actual(&mut self, view: View<'f, 'a>, frame: FrameId, ns: Ns) -> Resolved<DeclId> {
        let mut id = self.decl(view, frame, ns)?;
        let mut steps = 0;
        while self.tables.decls[id as usize].kind == DeclKind::Alias {
            let next = self.tables.decls[id as usize].index;
            steps += 1;
            if next == NONE || steps > self.tables.decls.len() {
                return fault(Fault::resolve(view.id(), "the alias stands for nothing"));
            }
            id = next;
        }
        Ok(id)
    }

    /// A type or attribute.
    pub(super) fn type_set(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<TypeSet> {
        let id = self.actual(view, frame, Ns::Type)?;
        let decl = &self.tables.decls[id as usize];
        Ok(match decl.kind {
            DeclKind::TypeAttribute => TypeSet::of_attribute(decl.index & !(1 << 31)),
            _ => TypeSet::of_type(decl.index & !(1 << 31)),
        })
    }

    /// A type or attribute, or one of the words for the source itself.
    pub(super) fn target(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<TypeSet> {
        match view.atom() {
            Some(word::SELF) => Ok(TypeSet::SELF),
            Some(word::NOTSELF) if self.options.version.minor >= 6 => Ok(TypeSet::NOTSELF),
            Some(word::OTHER) if self.options.version.minor >= 6 => Ok(TypeSet::OTHER),
            _ => self.type_set(view, frame),
        }
    }

    /// One type, not an attribute.
    pub(super) fn one_type(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<DeclId> {
        self.kind(view, frame, Ns::Type, DeclKind::Type, "type")
    }

    /// A declaration that must be of one kind.
    pub(super) fn kind(
        &mut self,
        view: View<'f, 'a>,
        frame: FrameId,
        ns: Ns,
        kind: DeclKind,
        noun: &str,
    ) -> Resolved<DeclId> {
        let id = self.actual(view, frame, ns)?;
        if self.tables.decls[id as usize].kind != kind {
            return fault(Fault::resolve(view.id(), format!("{:?} is not a {noun}", view.text())));
        }
        Ok(id)
    }

    /// The text of an argument, which inside a macro may be a parameter.
    pub(super) fn string(&self, view: View<'f, 'a>, frame: FrameId) -> Symbol {
        let symbol = view.atom().unwrap_or(word::SELF);
        let inside = self.frame(frame).depth > 0;
        match inside.then(|| self.find_symbol(symbol, frame, Ns::Text)).flatten() {
            Some(Found::Text(text)) => text,
            _ => symbol,
        }
    }

    fn find_symbol(&self, name: Symbol, frame: FrameId, ns: Ns) -> Option<Found> {
        if frame == ROOT
            && let Some(id) = self.tables.here(ROOT, ns, name)
        {
            return Some(Found::Decl(id));
        }
        let text = self.forest.symbols().text(name);
        if !self.options.qualified_names && text.contains('.') {
            return match self.dotted(text, frame, ns) {
                Dotted::Found(found) => Some(found),
                _ => None,
            };
        }
        self.outward(frame, ns, name).or_else(|| self.tables.here(ROOT, ns, name).map(Found::Decl))
    }

    /// From a place through what is around it, without the top.
    fn outward(&self, mut frame: FrameId, ns: Ns, name: Symbol) -> Option<Found> {
        loop {
            let f = self.frame(frame);
            match f.kind {
                FrameKind::Root => return None,
                FrameKind::Block { is_abstract, .. } => {
                    if !is_abstract && let Some(id) = self.tables.here(frame, ns, name) {
                        return Some(Found::Decl(id));
                    }
                }
                FrameKind::Inherit { original } => {
                    return self
                        .outward(f.parent, ns, name)
                        .or_else(|| self.outward(self.frame(original).parent, ns, name));
                }
                FrameKind::Macro { .. } => {
                    if let Some(id) = self.tables.here(frame, ns, name) {
                        return Some(Found::Decl(id));
                    }
                }
                FrameKind::Call { macro_, node } => {
                    let definition = self.tables.decls[macro_ as usize].frame;
                    // A name the macro declares is on the side of the caller.
                    if self.tables.here(definition, ns, name).is_none() {
                        if let Some(found) = self.argument(macro_, node, f.parent, ns, name) {
                            return Some(found);
                        }
                        if let Some(found) = self.outward(self.frame(definition).parent, ns, name) {
                            return Some(found);
                        }
                    }
                }
                FrameKind::Optional { .. } | FrameKind::Branch => {}
            }
            frame = f.parent;
        }
    }

    /// The argument for a parameter of that name and kind.
    fn argument(&self, macro_: DeclId, call: NodeId, caller: FrameId, ns: Ns, name: Symbol) -> Option<Found> {
        let parameters = self.forest.view(self.tables.decls[macro_ as usize].node).children().nth(2)?;
        let position = parameters.children().position(|p| {
            let mut parts = p.children();
            let kind = parts.next().and_then(View::atom).and_then(parameter_kind);
            kind.is_some_and(|k| namespace(k) == ns) && parts.next().and_then(View::atom) == Some(name)
        })?;
        let argument = self.forest.view(call).children().nth(2)?.children().nth(position)?;
        match argument.atom() {
            None => Some(Found::Node(argument.id(), caller)),
            Some(symbol) if ns == Ns::Text => Some(match self.find_symbol(symbol, caller, ns) {
                Some(Found::Text(text)) => Found::Text(text),
                _ => Found::Text(symbol),
            }),
            Some(symbol) => self.find_symbol(symbol, caller, ns),
        }
    }

    /// `a.b.c`: the first part is a block by the plain rule, or of the top after a leading dot; then downward.
    fn dotted(&self, text: &str, frame: FrameId, ns: Ns) -> Dotted {
        if self.options.qualified_names || !text.contains('.') {
            return Dotted::Missing;
        }
        let symbols = self.forest.symbols();
        let mut parts = text.split('.').filter(|p| !p.is_empty()).peekable();
        let mut home = ROOT;
        let mut first = !text.starts_with('.');
        while let Some(part) = parts.next() {
            let Some(symbol) = symbols.get(part) else { return Dotted::Missing };
            if parts.peek().is_none() {
                let here = self.tables.here(home, ns, symbol).filter(|_| !first);
                return here.map_or(Dotted::Missing, |id| Dotted::Found(Found::Decl(id)));
            }
            let found = if first {
                match self.outward(frame, Ns::Block, symbol) {
                    Some(Found::Decl(d)) => Some(d),
                    _ => self.tables.here(ROOT, Ns::Block, symbol),
                }
            } else {
                self.tables.here(home, Ns::Block, symbol)
            };
            let Some(found) = found else { return Dotted::Missing };
            let decl = &self.tables.decls[found as usize];
            match self.frame(decl.frame).kind {
                FrameKind::Block { is_abstract: false, .. } => home = decl.frame,
                FrameKind::Block { .. } => return Dotted::Abstract,
                _ => return Dotted::NotABlock,
            }
            first = false;
        }
        Dotted::Missing
    }

    /// The full name of a declaration.
    pub(super) fn full_name(&self, id: DeclId) -> String {
        let decl = &self.tables.decls[id as usize];
        let mut parts = vec![self.forest.symbols().text(decl.name)];
        let mut frame = decl.home;
        while frame != ROOT {
            if let FrameKind::Block { name, .. } = self.frame(frame).kind {
                parts.push(self.forest.symbols().text(name));
            }
            frame = self.frame(self.frame(frame).parent).home;
        }
        parts.reverse();
        parts.join(".")
    }

    /// Checks the arguments of a call against the parameters of its macro.
    pub(super) fn check_arguments(&mut self, call: View<'f, 'a>, frame: FrameId) -> Resolved<()> {
        let FrameKind::Call { macro_, .. } = self.frame(frame).kind else { return Ok(()) };
        let caller = self.frame(frame).parent;
        let definition = self.forest.view(self.tables.decls[macro_ as usize].node);
        let parameters: Vec<_> =
            definition.children().nth(2).map(|l| l.children().collect()).unwrap_or_default();
        let arguments: Vec<_> = call.children().nth(2).map(|l| l.children().collect()).unwrap_or_default();
        if parameters.is_empty() && call.children().nth(2).is_some() {
            return fault(Fault::resolve(call.id(), "the macro takes no arguments, not even an empty list"));
        }
        if parameters.len() != arguments.len() {
            let message =
                format!("the macro takes {} arguments, found {}", parameters.len(), arguments.len());
            return fault(Fault::resolve(call.id(), message));
        }
        for (parameter, argument) in parameters.into_iter().zip(arguments) {
            let Some(kind) = parameter.head().and_then(parameter_kind) else { continue };
            self.check_argument(kind, argument, caller)?;
        }
        Ok(())
    }

    fn check_argument(
        &mut self,
        kind: ParameterKind,
        argument: View<'f, 'a>,
        caller: FrameId,
    ) -> Resolved<()> {
        match kind {
            ParameterKind::Text => {
                if argument.is_list() {
                    return fault(Fault::resolve(argument.id(), "a word belongs here"));
                }
            }
            ParameterKind::Level => drop(self.level(argument, caller)?),
            ParameterKind::LevelRange => drop(self.range(argument, caller)?),
            ParameterKind::CategorySet => drop(self.categories(argument, caller)?),
            ParameterKind::ClassPermission => drop(self.class_permissions(argument, caller)?),
            ParameterKind::IpAddr if argument.is_list() => {}
            ParameterKind::Type => drop(self.type_set(argument, caller)?),
            ParameterKind::ClassMap => {
                self.kind(argument, caller, Ns::Class, DeclKind::ClassMap, "class map")?;
            }
            kind => drop(self.actual(argument, caller, namespace(kind))?),
        }
        Ok(())
    }

    /// The nearest declared name.
    pub(super) fn suggest(&self, ns: Ns, text: &str) -> Option<String> {
        let symbols = self.forest.symbols();
        let names =
            self.tables.decls.iter().filter(|d| d.ns == ns && d.live > 0).map(|d| symbols.text(d.name));
        suggest::nearest(text, names).map(str::to_owned)
    }
}

fn namespace(kind: ParameterKind) -> Ns {
    match kind {
        ParameterKind::Type => Ns::Type,
        ParameterKind::Role => Ns::Role,
        ParameterKind::User => Ns::User,
        ParameterKind::Sensitivity => Ns::Sens,
        ParameterKind::Category | ParameterKind::CategorySet => Ns::Cat,
        ParameterKind::Level => Ns::Level,
        ParameterKind::LevelRange => Ns::Range,
        ParameterKind::Class | ParameterKind::ClassMap => Ns::Class,
        ParameterKind::ClassPermission => Ns::ClassPerm,
        ParameterKind::Boolean => Ns::Bool,
        ParameterKind::IpAddr => Ns::IpAddr,
        ParameterKind::Text => Ns::Text,
    }
}
