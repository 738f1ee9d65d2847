//! Statements → facts. Every statement is resolved here; what it says is recorded in the second pass only.

use std::collections::HashMap;

use super::{
    Fault, Resolved,
    classes::{ClassMask, PermissionSets},
    expand::{Instance, Resolver},
    fault,
    frames::{DeclId, DeclKind, FrameId, FrameKind, KeyMap, NONE, Ns, ROOT},
    levels::Level,
    sets::{self, Group},
};
use crate::{
    policy::{
        AttributeInfo, AvRule, BitSet, BoolExpression, BoolStep, ClassInfo, Condition, Constraint,
        ConstraintStep, ExtendedRule, Origin, RuleKind, TypeInfo, TypeRule, TypeSet,
    },
    syntax::{NodeId, Symbol, View, number, word},
};

/// What is recorded besides the policy itself, for the checks at the end.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) permission_sets: PermissionSets,
    pub(super) category_sets: KeyMap<u32, BitSet>,
    pub(super) category_count: usize,
    pub(super) type_groups: Vec<Group>,
    pub(super) role_groups: Vec<Group>,
    pub(super) user_groups: Vec<Group>,
    pub(super) role_count: usize,
    pub(super) user_count: usize,
    /// `roletype` statements: role (or role attribute) and types.
    pub(super) role_types: Vec<(DeclId, TypeSet)>,
    pub(super) user_roles: Vec<(DeclId, DeclId)>,
    pub(super) user_levels: std::collections::HashSet<DeclId>,
    pub(super) user_ranges: std::collections::HashSet<DeclId>,
    pub(super) sensitivity_categories: Vec<(u32, BitSet)>,
    pub(super) contexts: Vec<Context>,
    /// Levels and where they are written, for the association of categories.
    pub(super) levels: Vec<(NodeId, Level)>,
    pub(super) bounds: Vec<(NodeId, u32, u32)>,
    pub(super) role_bounds: Vec<(NodeId, DeclId, DeclId)>,
    pub(super) user_bounds: Vec<(NodeId, DeclId, DeclId)>,
    pub(super) defaults: HashMap<(Symbol, u16), [Option<Symbol>; 2]>,
    pub(super) range_rules: Vec<RangeRule>,
    pub(super) role_rules: Vec<(NodeId, DeclId, TypeSet, Vec<u16>, DeclId)>,
    pub(super) sid_contexts: KeyMap<u32, NodeId>,
    /// Contexts by what they label, to find two for one thing.
    pub(super) labels: HashMap<String, (usize, NodeId)>,
    pub(super) single: KeyMap<u32, NodeId>,
    pub(super) origins: KeyMap<u32, u32>,
}

/// A range transition: where it is written, source, target, classes, range.
pub(super) type RangeRule = (NodeId, TypeSet, TypeSet, Vec<u16>, (Level, Level));

/// A context and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) node: NodeId,
    pub(super) user: u32,
    pub(super) role: u32,
    pub(super) type_: u32,
    pub(super) range: (Level, Level),
}

const MAX_FAULTS: usize = 50;

impl<'f, 'a> Resolver<'f, 'a> {
    /// Second pass: numbers everything and records what every live statement says.
    pub(super) fn collect(&mut self) -> Result<(), Vec<Fault>> {
        self.emit = true;
        self.number().map_err(|f| vec![*f])?;
        let mut faults = Vec::new();
        for i in 0..self.statements.len() {
            let statement = self.statements[i];
            if self.is_dropped(statement.frame) {
                continue;
            }
            if let Err(f) = self.statement(statement) {
                faults.push(*f);
                if faults.len() >= MAX_FAULTS {
                    break;
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        self.finish().map_err(|f| vec![*f])
    }

    fn number(&mut self) -> Resolved<()> {
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

    /// One statement: its names resolve, and in the second pass what it says is recorded.
    pub(super) fn statement(&mut self, s: Instance) -> Resolved<()> {
        let view = self.forest.view(s.node);
        let Some(keyword) = view.head() else { return Ok(()) };
        let mut rest = view.children();
        rest.next();
        let mut args: [Option<View<'f, 'a>>; 5] = [None; 5];
        for (slot, v) in args.iter_mut().zip(rest) {
            *slot = Some(v);
        }
        let arg = |i: usize| args[i].unwrap_or(view);
        let f = s.frame;
        match keyword {
            word::ALLOW => self.av_rule(RuleKind::Allow, s, arg(0), arg(1), arg(2))?,
            word::TYPEATTRIBUTESET => self.members(arg(0), arg(1), f, Ns::Type)?,
            word::DONTAUDIT => self.av_rule(RuleKind::DontAudit, s, arg(0), arg(1), arg(2))?,
            word::AUDITALLOW => self.av_rule(RuleKind::AuditAllow, s, arg(0), arg(1), arg(2))?,
            word::NEVERALLOW => self.av_rule(RuleKind::NeverAllow, s, arg(0), arg(1), arg(2))?,
            word::DENY => self.av_rule(RuleKind::Deny, s, arg(0), arg(1), arg(2))?,
            word::ROLETYPE => {
                let role = self.actual(arg(0), f, Ns::Role)?;
                let types = self.type_set(arg(1), f)?;
                if self.emit {
                    self.facts.role_types.push((role, types));
                }
            }
            word::ROLEATTRIBUTESET => self.members(arg(0), arg(1), f, Ns::Role)?,
            word::USERATTRIBUTESET => self.members(arg(0), arg(1), f, Ns::User)?,
            word::TYPETRANSITION | word::TYPECHANGE | word::TYPEMEMBER => {
                self.type_rule(keyword, s, &args)?;
            }
            word::RANGETRANSITION => {
                let (source, target) = (self.type_set(arg(0), f)?, self.target(arg(1), f)?);
                let classes = self.class_list(arg(2), f)?;
                let range = self.range(arg(3), f)?;
                if self.emit {
                    self.facts.range_rules.push((s.node, source, target, classes, range));
                }
            }
            word::ALLOWX => self.extended_rule(RuleKind::Allow, s, arg(0), arg(1), arg(2))?,
            word::AUDITALLOWX => self.extended_rule(RuleKind::AuditAllow, s, arg(0), arg(1), arg(2))?,
            word::DONTAUDITX => self.extended_rule(RuleKind::DontAudit, s, arg(0), arg(1), arg(2))?,
            word::NEVERALLOWX => self.extended_rule(RuleKind::NeverAllow, s, arg(0), arg(1), arg(2))?,
            word::PERMISSIONX => drop(self.extended(arg(1), f)?),
            word::TYPEPERMISSIVE | word::TYPENEVERAUDIT => {
                let id = self.one_type(arg(0), f)?;
                if self.emit && keyword == word::TYPEPERMISSIVE {
                    let index = self.tables.decls[id as usize].index;
                    self.policy.permissive.insert(index as usize);
                }
            }
            word::TYPEBOUNDS => {
                let (parent, child) = (self.one_type(arg(0), f)?, self.one_type(arg(1), f)?);
                if self.emit {
                    let index = |d: DeclId| self.tables.decls[d as usize].index;
                    let bound = (s.node, index(parent), index(child));
                    self.facts.bounds.push(bound);
                    self.policy.bounds.insert(bound.2, bound.1);
                }
            }
            word::EXPANDTYPEATTRIBUTE => {
                for v in names(arg(0)) {
                    self.kind(v, f, Ns::Type, DeclKind::TypeAttribute, "attribute")?;
                }
            }
            word::ROLEALLOW => {
                self.actual(arg(0), f, Ns::Role)?;
                self.actual(arg(1), f, Ns::Role)?;
            }
            word::ROLETRANSITION => {
                let role = self.actual(arg(0), f, Ns::Role)?;
                let types = self.type_set(arg(1), f)?;
                let classes = self.class_list(arg(2), f)?;
                let result = self.kind(arg(3), f, Ns::Role, DeclKind::Role, "role")?;
                if self.emit {
                    self.facts.role_rules.push((s.node, role, types, classes, result));
                }
            }
            word::ROLEBOUNDS => {
                let parent = self.kind(arg(0), f, Ns::Role, DeclKind::Role, "role")?;
                let child = self.kind(arg(1), f, Ns::Role, DeclKind::Role, "role")?;
                if self.emit {
                    self.facts.role_bounds.push((s.node, parent, child));
                }
            }
            word::USERROLE => {
                let user = self.actual(arg(0), f, Ns::User)?;
                let role = self.actual(arg(1), f, Ns::Role)?;
                if self.emit {
                    self.facts.user_roles.push((user, role));
                }
            }
            word::USERLEVEL => {
                let user = self.kind(arg(0), f, Ns::User, DeclKind::User, "user")?;
                self.level(arg(1), f)?;
                if self.emit {
                    self.facts.user_levels.insert(user);
                }
            }
            word::USERRANGE => {
                let user = self.kind(arg(0), f, Ns::User, DeclKind::User, "user")?;
                self.checked_range(arg(1), f)?;
                if self.emit {
                    self.facts.user_ranges.insert(user);
                }
            }
            word::USERBOUNDS => {
                let parent = self.kind(arg(0), f, Ns::User, DeclKind::User, "user")?;
                let child = self.kind(arg(1), f, Ns::User, DeclKind::User, "user")?;
                if self.emit {
                    self.facts.user_bounds.push((s.node, parent, child));
                }
            }
            word::USERPREFIX => drop(self.kind(arg(0), f, Ns::User, DeclKind::User, "user")?),
            word::SELINUXUSER => {
                self.kind(arg(1), f, Ns::User, DeclKind::User, "user")?;
                self.range(arg(2), f)?;
            }
            word::SELINUXUSERDEFAULT => {
                self.kind(arg(0), f, Ns::User, DeclKind::User, "user")?;
                self.range(arg(1), f)?;
                if self.emit && self.facts.single.insert(keyword.0, s.node).is_some() {
                    return fault(Fault::verify(s.node, "there is a default already"));
                }
            }
            word::CONSTRAIN | word::MLSCONSTRAIN => {
                let masks = self.class_permissions(arg(0), f)?;
                let expression = self.constraint(arg(1), f)?;
                if self.emit {
                    for (class, permissions) in masks {
                        let class = self.classes[class as usize].number;
                        let levels = keyword == word::MLSCONSTRAIN;
                        let expression = expression.clone();
                        self.policy.constraints.push(Constraint { class, permissions, levels, expression });
                    }
                }
            }
            word::VALIDATETRANS | word::MLSVALIDATETRANS => {
                self.kind(arg(0), f, Ns::Class, DeclKind::Class, "class")?;
                self.constraint(arg(1), f)?;
            }
            word::SENSITIVITYCATEGORY => {
                let sensitivity = self.actual(arg(0), f, Ns::Sens)?;
                let set = self.categories(arg(1), f)?;
                if self.emit {
                    let index = self.tables.decls[sensitivity as usize].index;
                    self.facts.sensitivity_categories.push((index, set));
                }
            }
            word::CATEGORYSET => drop(self.categories(arg(1), f)?),
            word::LEVEL => {
                if !arg(1).is_list() {
                    return fault(Fault::new(s.node, "cil-form", "the level has no list"));
                }
                self.level(arg(1), f)?;
            }
            word::LEVELRANGE => {
                if !arg(1).is_list() {
                    return fault(Fault::new(s.node, "cil-form", "the range has no list"));
                }
                self.checked_range(arg(1), f)?;
            }
            word::CONTEXT => {
                if !arg(1).is_list() {
                    return fault(Fault::new(s.node, "cil-form", "the context has no list"));
                }
                self.context(arg(1), f)?;
            }
            word::SIDCONTEXT => {
                let sid = self.decl(arg(0), f, Ns::Sid)?;
                self.context(arg(1), f)?;
                if self.emit && self.facts.sid_contexts.insert(sid, s.node).is_some() {
                    return fault(Fault::resolve(s.node, "the sid has a context already"));
                }
            }
            word::FILECON => {
                let none = arg(2).is_list() && arg(2).children().next().is_none();
                let context = if none { None } else { Some(self.context(arg(2), f)?) };
                let path = self.string(arg(0), f);
                self.label(s, &[arg(1)], Some(path), context.as_ref())?;
            }
            word::PORTCON => self.port(s, &args)?,
            word::GENFSCON => {
                let last = if args[3].is_some() { 3 } else { 2 };
                let context = self.context(arg(last), f)?;
                let path = self.string(arg(1), f);
                let key = if last == 3 { vec![arg(0), arg(2)] } else { vec![arg(0)] };
                self.label(s, &key, Some(path), Some(&context))?;
            }
            word::FSUSE => {
                let context = self.context(arg(2), f)?;
                self.label(s, &[arg(0), arg(1)], None, Some(&context))?;
            }
            word::NODECON => {
                if self.address(arg(0), f)?.is_ipv4() != self.address(arg(1), f)?.is_ipv4() {
                    return fault(Fault::resolve(s.node, "address and mask are of different families"));
                }
                let context = self.context(arg(2), f)?;
                self.label(s, &[arg(0), arg(1)], None, Some(&context))?;
            }
            word::NETIFCON => {
                self.context(arg(1), f)?;
                self.context(arg(2), f)?;
            }
            word::IBPKEYCON | word::IBENDPORTCON => drop(self.context(arg(2), f)?),
            word::PIRQCON | word::IOMEMCON | word::IOPORTCON | word::PCIDEVICECON | word::DEVICETREECON => {
                self.context(arg(1), f)?;
            }
            word::DEFAULTUSER | word::DEFAULTROLE | word::DEFAULTTYPE | word::DEFAULTRANGE => {
                for v in names(arg(0)) {
                    for class in self.class_list(v, f)? {
                        let value = [args[1], args[2]].map(|a| a.and_then(View::atom));
                        if self.emit
                            && self
                                .facts
                                .defaults
                                .insert((keyword, class), value)
                                .is_some_and(|old| old != value)
                        {
                            let message = "the class has another default already";
                            return fault(Fault::new(s.node, "cil-conflict", message));
                        }
                    }
                }
            }
            word::POLICYCAP if self.emit && !is_capability(arg(0).text(), self.options.version.minor) => {
                let message = format!("no policy capability {:?}", crate::syntax::brief(arg(0).text()));
                return fault(Fault::verify(s.node, message));
            }
            word::MLS | word::HANDLEUNKNOWN
                if self.emit && self.facts.single.insert(keyword.0, s.node).is_some() =>
            {
                return fault(Fault::verify(s.node, "the statement is there twice"));
            }
            word::BOOLEANIF => {
                self.boolean_steps(arg(0), f, Ns::Bool)?;
            }
            word::CALL => self.check_arguments(view, f)?,
            // Handled before, or in `number`.
            _ => {}
        }
        Ok(())
    }

    fn av_rule(
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

    fn members(&mut self, name: View<'f, 'a>, set: View<'f, 'a>, frame: FrameId, ns: Ns) -> Resolved<()> {
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

    fn type_rule(&mut self, keyword: Symbol, s: Instance, args: &[Option<View<'f, 'a>>; 5]) -> Resolved<()> {
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
    fn class_list(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<Vec<u16>> {
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

    fn extended_rule(
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
    fn extended(&mut self, view: View<'f, 'a>, frame: FrameId) -> Resolved<(bool, Vec<ClassMask>, BitSet)> {
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

    /// Closes attributes and indexes the rules.
    fn finish(&mut self) -> Resolved<()> {
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

    pub(super) fn live_heads(&self, keyword: Symbol) -> Vec<Instance> {
        let wanted =
            |s: &&Instance| self.forest.view(s.node).head() == Some(keyword) && !self.is_dropped(s.frame);
        self.statements.iter().filter(wanted).copied().collect()
    }
}

/// The name at a node, or the names in the list there.
pub(super) fn names<'f, 'a>(view: View<'f, 'a>) -> impl Iterator<Item = View<'f, 'a>> {
    (!view.is_list()).then_some(view).into_iter().chain(view.children())
}

/// Policy capabilities and the first compiler release that knows each (libsepol `polcaps.c`).
fn is_capability(name: &str, minor: u8) -> bool {
    let since = match name {
        "network_peer_controls"
        | "open_perms"
        | "redhat1"
        | "always_check_network"
        | "extended_socket_class"
        | "cgroup_seclabel"
        | "nnp_nosuid_transition"
        | "genfs_seclabel_symlinks"
        | "ioctl_skip_cloexec" => 0,
        "userspace_initial_context" => 6,
        "netlink_xperm" => 8,
        "netif_wildcard" | "genfs_seclabel_wildcard" => 9,
        "functionfs_seclabel" | "memfd_class" => 10,
        _ => return false,
    };
    minor >= since
}
