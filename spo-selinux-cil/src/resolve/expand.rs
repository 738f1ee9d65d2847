//! The first passes: declarations, tunables, `in`, inheritance, calls.

use std::collections::VecDeque;

use super::{
    Fault, MAX_GROWTH, Options, Resolved, branches,
    classes::Class,
    fault,
    frames::{Decl, DeclId, DeclKind, Frame, FrameId, FrameKind, KeyMap, NONE, Ns, ROOT, Tables},
};
use crate::{
    policy::{FALSE_BRANCH, Policy},
    syntax::{self, Forest, NodeId, Symbol, View, word},
};

/// Most frames inside one another, calls and inheritance counted.
const MAX_DEPTH: u16 = 400;

/// A statement in a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub(super) node: NodeId,
    pub(super) frame: FrameId,
}

/// Everything known during resolution.
pub(super) struct Resolver<'f, 'a> {
    pub(super) forest: &'f Forest<'a>,
    pub(super) options: &'f Options,
    pub(super) frames: Vec<Frame>,
    pub(super) tables: Tables,
    pub(super) statements: Vec<Instance>,
    /// Conditions of `booleanif` statements: expression and place.
    pub(super) conditions: Vec<Instance>,
    pub(super) classes: Vec<Class>,
    /// Facts about the statement are to be recorded, not only its names resolved.
    pub(super) emit: bool,
    /// The optional whose statements are being checked, for dependencies.
    pub(super) checking: Option<FrameId>,
    /// Optionals by declaration (inside another optional) that they use.
    pub(super) uses: KeyMap<u32, Vec<FrameId>>,
    /// Optionals directly inside an optional.
    pub(super) inner_optionals: KeyMap<u32, Vec<FrameId>>,
    pub(super) policy: Policy,
    pub(super) facts: super::facts::Facts,
    tunable_values: KeyMap<u32, bool>,
    /// Branches chosen for `tunableif` statements, by node.
    chosen: KeyMap<u32, Option<NodeId>>,
    /// Further bodies of a container, from `in` statements.
    extra: KeyMap<u32, Vec<NodeId>>,
    pending_tunables: VecDeque<Instance>,
    pending_in: Vec<Instance>,
    pending_inherits: Vec<Instance>,
    pending_abstract: Vec<Instance>,
    pending_calls: VecDeque<Instance>,
    growth: usize,
    /// Category sets inside one another, while one is evaluated.
    pub(super) nested: u16,
}

/// Why statements are entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are where they are written.
    Build,
    /// They are inherited or called.
    Copy,
    /// They are the definition of a macro: declarations and tunables only.
    Macro,
}

impl<'f, 'a> Resolver<'f, 'a> {
    pub(super) fn new(forest: &'f Forest<'a>, options: &'f Options) -> Self {
        let root = Frame {
            parent: ROOT,
            kind: FrameKind::Root,
            home: ROOT,
            optional: NONE,
            condition: 0,
            dead: false,
            depth: 0,
        };
        Self {
            forest,
            options,
            frames: vec![root],
            tables: Tables::default(),
            statements: Vec::new(),
            conditions: Vec::new(),
            classes: Vec::new(),
            emit: false,
            checking: None,
            uses: KeyMap::default(),
            inner_optionals: KeyMap::default(),
            policy: Policy::default(),
            facts: super::facts::Facts::default(),
            tunable_values: KeyMap::default(),
            chosen: KeyMap::default(),
            extra: KeyMap::default(),
            pending_tunables: VecDeque::new(),
            pending_in: Vec::new(),
            pending_inherits: Vec::new(),
            pending_abstract: Vec::new(),
            pending_calls: VecDeque::new(),
            growth: 0,
            nested: 0,
        }
    }

    pub(super) fn run(&mut self) -> Result<Policy, Vec<Fault>> {
        self.expand().map_err(|f| vec![*f])?;
        self.mark_dead();
        self.settle_optionals().map_err(|f| vec![*f])?;
        self.collect()?;
        self.verify()?;
        Ok(std::mem::take(&mut self.policy))
    }

    fn expand(&mut self) -> Resolved<()> {
        for statement in self.forest.all_statements() {
            self.enter(statement, ROOT, Mode::Build)?;
        }
        self.choose_tunables()?;
        let (after, before): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_in)
            .into_iter()
            .partition(|i| syntax::in_parts(self.forest.view(i.node)).is_some_and(|p| p.0));
        for i in before {
            self.place_in(i)?;
        }
        self.inherit()?;
        for i in std::mem::take(&mut self.pending_abstract) {
            self.make_abstract(i)?;
        }
        for i in after {
            self.place_in(i)?;
        }
        while let Some(i) = self.pending_calls.pop_front() {
            self.call(i)?;
        }
        Ok(())
    }

    pub(super) fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id as usize]
    }

    fn push_frame(&mut self, parent: FrameId, kind: FrameKind, at: NodeId) -> Resolved<FrameId> {
        let id = self.frames.len() as FrameId;
        let p = *self.frame(parent);
        if p.depth >= MAX_DEPTH {
            return fault(Fault::resolve(
                at,
                format!("more than {MAX_DEPTH} blocks and calls inside one another"),
            ));
        }
        let own = matches!(kind, FrameKind::Block { .. } | FrameKind::Macro { .. });
        self.frames.push(Frame {
            parent,
            kind,
            home: if own { id } else { p.home },
            optional: if matches!(kind, FrameKind::Optional { .. }) { id } else { p.optional },
            condition: p.condition,
            dead: false,
            depth: p.depth + 1,
        });
        if matches!(kind, FrameKind::Optional { .. }) && p.optional != NONE {
            self.inner_optionals.entry(p.optional).or_default().push(id);
        }
        Ok(id)
    }

    /// A container's own statements and those that `in` statements add.
    fn enter_body(&mut self, node: NodeId, skip: usize, frame: FrameId, mode: Mode) -> Resolved<()> {
        for child in self.forest.view(node).children().skip(skip) {
            self.enter(child, frame, mode)?;
        }
        if let Some(extra) = self.extra.get(&node.0) {
            for statement in extra.clone() {
                self.enter_in_body(statement, frame, mode)?;
            }
        }
        Ok(())
    }

    fn enter_in_body(&mut self, statement: NodeId, frame: FrameId, mode: Mode) -> Resolved<()> {
        let view = self.forest.view(statement);
        let skip = syntax::in_parts(view).map_or(2, |p| p.2);
        view.children().skip(skip).try_for_each(|child| self.enter(child, frame, mode))
    }

    /// Takes one statement into a frame. The form check bounds the recursion.
    fn enter(&mut self, view: View<'f, 'a>, frame: FrameId, mode: Mode) -> Resolved<()> {
        let node = view.id();
        if mode == Mode::Copy {
            self.growth += 1;
            if self.growth > 1_000_000 + MAX_GROWTH * self.forest.len() {
                return fault(Fault::resolve(
                    node,
                    "inheritance and calls make the policy grow without bound",
                ));
            }
        }
        let here = Instance { node, frame };
        let Some(keyword) = view.head() else { return Ok(()) };
        // The form check saw to what is written inside a condition; a macro's body comes there by its call.
        let conditional = mode == Mode::Copy && self.frame(frame).condition != 0;
        if conditional && !syntax::fits_condition(keyword, self.options.version) {
            return fault(Fault::resolve(node, "the statement may not stand inside a booleanif"));
        }
        match keyword {
            word::BLOCK => {
                let name = name_of(view);
                let kind = FrameKind::Block { name, node, is_abstract: false };
                let inner = self.push_frame(frame, kind, node)?;
                self.declare(Ns::Block, DeclKind::Block, name, frame, node, inner, mode)?;
                self.enter_body(node, 2, inner, mode)?;
            }
            word::OPTIONAL => {
                let inner = self.push_frame(frame, FrameKind::Optional { node }, node)?;
                self.declare(Ns::Block, DeclKind::Optional, name_of(view), frame, node, inner, mode)?;
                self.enter_body(node, 2, inner, mode)?;
            }
            word::MACRO => {
                let inner = self.push_frame(frame, FrameKind::Macro { node }, node)?;
                self.declare(Ns::Block, DeclKind::Macro, name_of(view), frame, node, inner, mode)?;
                self.enter_body(node, 3, inner, Mode::Macro)?;
            }
            word::BOOLEANIF => {
                if let Some(expression) = view.children().nth(1) {
                    self.conditions.push(Instance { node: expression.id(), frame });
                }
                let number = self.conditions.len() as u32;
                for branch in view.children().skip(2) {
                    let inner = self.push_frame(frame, FrameKind::Branch, node)?;
                    let no = branch.head() == Some(word::FALSE);
                    self.frames[inner as usize].condition = number | if no { FALSE_BRANCH } else { 0 };
                    self.enter_body(branch.id(), 1, inner, mode)?;
                }
                if mode != Mode::Macro {
                    self.statements.push(here);
                }
            }
            word::TUNABLEIF if mode != Mode::Copy && !self.chosen.contains_key(&node.0) => {
                branches::check(view, self.options)?;
                self.pending_tunables.push_back(here);
            }
            word::TUNABLEIF => match self.chosen.get(&node.0) {
                Some(&Some(branch)) => self.enter_body(branch, 1, frame, mode)?,
                Some(None) => {}
                None => self.pending_tunables.push_back(here),
            },
            word::IN => self.pending_in.push(here),
            word::BLOCKINHERIT => self.pending_inherits.push(here),
            word::BLOCKABSTRACT if mode == Mode::Build => self.pending_abstract.push(here),
            word::BLOCKABSTRACT | word::SRC_INFO => {}
            word::CALL if mode != Mode::Macro => self.pending_calls.push_back(here),
            _ => self.declaration(view, keyword, here, mode)?,
        }
        Ok(())
    }

    fn declaration(
        &mut self,
        view: View<'f, 'a>,
        keyword: Symbol,
        here: Instance,
        mode: Mode,
    ) -> Resolved<()> {
        let Some((ns, kind)) = declared_by(keyword) else {
            if mode != Mode::Macro {
                self.statements.push(here);
            }
            return Ok(());
        };
        let decl = self.declare(ns, kind, name_of(view), here.frame, here.node, here.frame, mode)?;
        if mode == Mode::Macro {
            return Ok(());
        }
        match kind {
            DeclKind::Common | DeclKind::Class | DeclKind::ClassMap => self.new_class(decl, view)?,
            _ if ns == Ns::Tunable => {
                let value = view.children().nth(2).and_then(View::atom) == Some(word::TRUE);
                self.tunable_values.insert(decl, value);
            }
            _ if matches!(ns, Ns::PermX | Ns::Cat | Ns::Context | Ns::Level | Ns::Range | Ns::PolicyCap) => {
                self.statements.push(here);
            }
            _ => {}
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "a declaration has this many independent parts")]
    fn declare(
        &mut self,
        ns: Ns,
        kind: DeclKind,
        name: Symbol,
        frame: FrameId,
        node: NodeId,
        inner: FrameId,
        mode: Mode,
    ) -> Resolved<DeclId> {
        let home = self.frame(frame).home;
        let optional = self.frame(frame).optional;
        if let FrameKind::Macro { node: macro_node } = self.frame(home).kind
            && kind != DeclKind::Optional
        {
            let parameters = self.forest.view(macro_node).children().nth(2);
            let clash = |p: View<'_, '_>| p.children().nth(1).and_then(View::atom) == Some(name);
            if parameters.is_some_and(|p| p.children().any(clash)) {
                return fault(Fault::new(node, "cil-form", "the declaration hides a parameter of its macro"));
            }
        }
        if let Some(existing) = self.tables.any(home, ns, name) {
            let old = self.tables.decls[existing as usize];
            if self.options.may_repeat(ns, kind, old.kind) {
                self.tables.decls[existing as usize].live += 1;
                if optional != NONE {
                    self.tables.in_optionals.entry(optional).or_default().push(existing);
                }
                return Ok(existing);
            }
            let code = if mode == Mode::Copy { "cil-resolve" } else { "cil-duplicate" };
            let line = self.forest.view(old.node).span().line;
            let text = self.forest.symbols().text(name);
            let message = format!("{:?} is declared already, in line {line}", syntax::brief(text));
            return fault(Fault::new(node, code, message));
        }
        let decl = Decl { ns, kind, name, home, node, frame: inner, live: 1, index: NONE };
        let id = self.tables.add(decl);
        if optional != NONE {
            self.tables.in_optionals.entry(optional).or_default().push(id);
        }
        Ok(id)
    }

    fn choose_tunables(&mut self) -> Resolved<()> {
        while let Some(i) = self.pending_tunables.pop_front() {
            let view = self.forest.view(i.node);
            let Some(condition) = view.children().nth(1) else { continue };
            let value = match self.tunable_expression(condition, i.frame) {
                Ok(value) => value,
                Err(f) => {
                    self.fail_in(i.frame, *f)?;
                    continue;
                }
            };
            let wanted = if value { word::TRUE } else { word::FALSE };
            let branch = view.children().skip(2).find(|b| b.head() == Some(wanted)).map(View::id);
            self.chosen.insert(i.node.0, branch);
            let in_macro = matches!(self.frame(self.frame(i.frame).home).kind, FrameKind::Macro { .. });
            if let Some(branch) = branch {
                self.enter_body(branch, 1, i.frame, if in_macro { Mode::Macro } else { Mode::Build })?;
            }
        }
        Ok(())
    }

    fn tunable_expression(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<bool> {
        let steps = self.boolean_steps(view, frame, Ns::Tunable)?;
        let values = &self.tunable_values;
        Ok(super::sets::evaluate(&steps, |decl| values.get(&decl).copied().unwrap_or(false)))
    }

    /// A missing name drops the optional around it; outside any, and for any other fault, it is final.
    pub(super) fn fail_in(&mut self, frame: FrameId, f: Fault) -> Resolved<()> {
        match self.frame(frame).optional {
            NONE => fault(f),
            _ if !f.is_missing() => fault(f),
            optional => {
                self.drop_optional(optional);
                Ok(())
            }
        }
    }

    fn place_in(&mut self, i: Instance) -> Resolved<()> {
        let view = self.forest.view(i.node);
        let Some((_, name, _)) = syntax::in_parts(view) else { return Ok(()) };
        let target = self.decl(name, i.frame, Ns::Block)?;
        let decl = self.tables.decls[target as usize];
        let mode = if decl.kind == DeclKind::Macro { Mode::Macro } else { Mode::Build };
        self.extra.entry(decl.node.0).or_default().push(i.node);
        self.enter_in_body(i.node, decl.frame, mode)?;
        self.choose_tunables()
    }

    fn inherit(&mut self) -> Resolved<()> {
        let mut links: KeyMap<u32, DeclId> = KeyMap::default();
        let mut edges: KeyMap<u32, Vec<u32>> = KeyMap::default();
        let mut queue = VecDeque::new();
        for i in std::mem::take(&mut self.pending_inherits) {
            let Some(name) = self.forest.view(i.node).children().nth(1) else { continue };
            if self.is_dropped(i.frame) {
                continue;
            }
            let target = match self.decl(name, i.frame, Ns::Block) {
                Ok(t) if self.tables.decls[t as usize].kind == DeclKind::Block => t,
                Ok(_) => return fault(Fault::resolve(name.id(), "only a block can be inherited")),
                Err(f) => {
                    self.fail_in(i.frame, *f)?;
                    continue;
                }
            };
            links.insert(i.node.0, target);
            let mut frame = i.frame;
            while frame != ROOT {
                if let FrameKind::Block { node, .. } = self.frame(frame).kind {
                    edges.entry(node.0).or_default().push(self.tables.decls[target as usize].node.0);
                }
                frame = self.frame(frame).parent;
            }
            queue.push_back((i, target));
        }
        if let Some(node) = find_cycle(&edges) {
            return fault(Fault::resolve(NodeId(node), "the block inherits itself"));
        }
        while let Some((i, target)) = queue.pop_front() {
            let decl = self.tables.decls[target as usize];
            let frame = self.push_frame(i.frame, FrameKind::Inherit { original: decl.frame }, i.node)?;
            self.enter_body(decl.node, 2, frame, Mode::Copy)?;
            for inner in std::mem::take(&mut self.pending_inherits) {
                // A statement that was dropped where it is written has no link.
                if let Some(&target) = links.get(&inner.node.0) {
                    queue.push_back((inner, target));
                }
            }
        }
        Ok(())
    }

    fn make_abstract(&mut self, i: Instance) -> Resolved<()> {
        let Some(name) = self.forest.view(i.node).children().nth(1) else { return Ok(()) };
        let target = self.decl(name, i.frame, Ns::Block)?;
        let frame = self.tables.decls[target as usize].frame;
        match &mut self.frames[frame as usize].kind {
            FrameKind::Block { is_abstract, .. } => *is_abstract = true,
            _ => return fault(Fault::resolve(name.id(), "only a block can be abstract")),
        }
        Ok(())
    }

    fn call(&mut self, i: Instance) -> Resolved<()> {
        let Some(name) = self.forest.view(i.node).children().nth(1) else { return Ok(()) };
        if self.is_dropped(i.frame) || self.in_abstract(i.frame) {
            return Ok(());
        }
        let macro_ = match self.decl(name, i.frame, Ns::Block) {
            Ok(m) if self.tables.decls[m as usize].kind == DeclKind::Macro => m,
            Ok(_) => return fault(Fault::resolve(name.id(), "only a macro can be called")),
            Err(f) => return self.fail_in(i.frame, *f),
        };
        let node = self.tables.decls[macro_ as usize].node;
        let mut frame = i.frame;
        while frame != ROOT {
            if let FrameKind::Call { macro_: outer, .. } = self.frame(frame).kind
                && self.tables.decls[outer as usize].node == node
            {
                return fault(Fault::resolve(name.id(), "the macro calls itself"));
            }
            frame = self.frame(frame).parent;
        }
        let frame = self.push_frame(i.frame, FrameKind::Call { macro_, node: i.node }, i.node)?;
        self.statements.push(Instance { node: i.node, frame });
        self.enter_body(node, 3, frame, Mode::Copy)
    }

    /// Marks what is in abstract blocks and macros, so that it is not resolved.
    fn mark_dead(&mut self) {
        for id in 1..self.frames.len() {
            let frame = self.frames[id];
            let own =
                matches!(frame.kind, FrameKind::Block { is_abstract: true, .. } | FrameKind::Macro { .. });
            let optional = matches!(frame.kind, FrameKind::Optional { .. }) && frame.dead;
            self.frames[id].dead = own || optional || self.frames[frame.parent as usize].dead;
        }
        self.conditions.shrink_to_fit();
    }

    fn in_abstract(&self, mut frame: FrameId) -> bool {
        while frame != ROOT {
            if matches!(self.frame(frame).kind, FrameKind::Block { is_abstract: true, .. }) {
                return true;
            }
            frame = self.frame(frame).parent;
        }
        false
    }
}

/// The kind of thing a statement declares, if it declares one and holds no statements.
pub(super) fn declared_by(keyword: Symbol) -> Option<(Ns, DeclKind)> {
    Some(match keyword {
        word::TYPE => (Ns::Type, DeclKind::Type),
        word::TYPEATTRIBUTE => (Ns::Type, DeclKind::TypeAttribute),
        word::TYPEALIAS => (Ns::Type, DeclKind::Alias),
        word::ROLE => (Ns::Role, DeclKind::Role),
        word::ROLEATTRIBUTE => (Ns::Role, DeclKind::RoleAttribute),
        word::USER => (Ns::User, DeclKind::User),
        word::USERATTRIBUTE => (Ns::User, DeclKind::UserAttribute),
        word::COMMON => (Ns::Common, DeclKind::Common),
        word::CLASS => (Ns::Class, DeclKind::Class),
        word::CLASSMAP => (Ns::Class, DeclKind::ClassMap),
        word::CLASSPERMISSION => (Ns::ClassPerm, DeclKind::Plain),
        word::PERMISSIONX => (Ns::PermX, DeclKind::Plain),
        word::BOOLEAN => (Ns::Bool, DeclKind::Plain),
        word::TUNABLE => (Ns::Tunable, DeclKind::Plain),
        word::SENSITIVITY => (Ns::Sens, DeclKind::Plain),
        word::SENSITIVITYALIAS => (Ns::Sens, DeclKind::Alias),
        word::CATEGORY => (Ns::Cat, DeclKind::Plain),
        word::CATEGORYALIAS => (Ns::Cat, DeclKind::Alias),
        word::CATEGORYSET => (Ns::Cat, DeclKind::CategorySet),
        word::SID => (Ns::Sid, DeclKind::Plain),
        word::CONTEXT => (Ns::Context, DeclKind::Plain),
        word::LEVEL => (Ns::Level, DeclKind::Plain),
        word::LEVELRANGE => (Ns::Range, DeclKind::Plain),
        word::POLICYCAP => (Ns::PolicyCap, DeclKind::Plain),
        word::IPADDR => (Ns::IpAddr, DeclKind::Plain),
        _ => return None,
    })
}

pub(super) fn name_of(view: View<'_, '_>) -> Symbol {
    view.children().nth(1).and_then(View::atom).unwrap_or(word::SELF)
}

/// A node of a cycle in a graph, if there is one.
pub(super) fn find_cycle(edges: &KeyMap<u32, Vec<u32>>) -> Option<u32> {
    let mut state: KeyMap<u32, bool> = KeyMap::default();
    let mut starts: Vec<_> = edges.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        if state.contains_key(&start) {
            continue;
        }
        let mut stack = vec![(start, 0)];
        state.insert(start, false);
        while let Some(top) = stack.last_mut() {
            let (node, next) = *top;
            top.1 += 1;
            match edges.get(&node).and_then(|e| e.get(next)) {
                Some(&to) => match state.get(&to) {
                    Some(false) => return Some(to),
                    Some(true) => {}
                    None => {
                        state.insert(to, false);
                        stack.push((to, 0));
                    }
                },
                None => {
                    state.insert(node, true);
                    stack.pop();
                }
            }
        }
    }
    None
}
