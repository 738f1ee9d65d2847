//! Statements → facts. Every statement is resolved here; what it says is recorded in the second pass only.

use std::collections::HashMap;

use super::{
    Fault, Resolved,
    classes::PermissionSets,
    expand::{Instance, Resolver},
    fault,
    frames::{DeclId, DeclKind, KeyMap, Ns},
    levels::Level,
    sets::Group,
};
use crate::{
    policy::{BitSet, Constraint, RuleKind, TypeSet},
    syntax::{NodeId, Symbol, View, word},
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
