//! A resolved policy: names are numbers, attributes are bitsets, rules are flat and indexed.

mod bitset;
mod constraint;
mod count;
mod effective;

use std::collections::HashMap;

use spo_model::Span;

pub use bitset::BitSet;
pub use constraint::Context;
pub use effective::{Access, Answer, Effective, UnknownName, Why};

/// A policy after resolution.
///
/// Every name is fully qualified. Rules keep their sets (types or attributes) and the place they come from.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub(crate) types: Vec<TypeInfo>,
    pub(crate) attributes: Vec<AttributeInfo>,
    /// Types, attributes and aliases by full name.
    pub(crate) names: HashMap<String, TypeSet>,
    pub(crate) classes: Vec<ClassInfo>,
    pub(crate) class_names: HashMap<String, u16>,
    pub(crate) rules: Vec<AvRule>,
    pub(crate) extended: Vec<ExtendedRule>,
    pub(crate) transitions: Vec<TypeRule>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) booleans: Vec<(String, bool)>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) ports: Vec<PortContext>,
    pub(crate) blocks: Vec<String>,
    /// Blocks (by number) that rules come from through inheritance or calls.
    pub(crate) origins: Vec<Origin>,
    pub(crate) permissive: BitSet,
    /// Type → the type that bounds it.
    pub(crate) bounds: HashMap<u32, u32>,
    /// Rules by class, as ranges of `by_class`.
    pub(crate) by_class: Vec<Vec<u32>>,
    /// Rules by source.
    pub(crate) by_type: Vec<Vec<u32>>,
    pub(crate) by_attribute: Vec<Vec<u32>>,
    /// Optionals that were dropped, by name.
    pub(crate) dropped: Vec<String>,
    /// Copies of the `deny` rules, of which there are few.
    pub(crate) denies: Vec<AvRule>,
}

#[derive(Clone, Debug)]
pub(crate) struct TypeInfo {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) attributes: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct AttributeInfo {
    pub(crate) name: String,
    pub(crate) members: BitSet,
}

#[derive(Clone, Debug)]
pub(crate) struct ClassInfo {
    pub(crate) name: String,
    /// Names of permissions; bit `i` of a mask is the `i`th.
    pub(crate) permissions: Vec<String>,
}

/// A type or an attribute of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeSet(pub(crate) u32);

impl TypeSet {
    const ATTRIBUTE: u32 = 1 << 31;
    pub(crate) const SELF: Self = Self(u32::MAX);
    pub(crate) const NOTSELF: Self = Self(u32::MAX - 1);
    pub(crate) const OTHER: Self = Self(u32::MAX - 2);

    pub(crate) fn of_type(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn of_attribute(index: u32) -> Self {
        Self(index | Self::ATTRIBUTE)
    }

    /// The number of the type, if this is one type.
    pub(crate) fn as_type(self) -> Option<usize> {
        (self.0 & Self::ATTRIBUTE == 0).then_some(self.0 as usize)
    }

    pub(crate) fn as_attribute(self) -> Option<usize> {
        (self.0 & Self::ATTRIBUTE != 0 && self.0 < Self::OTHER.0)
            .then_some((self.0 & !Self::ATTRIBUTE) as usize)
    }
}

/// What an access-vector rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Grants.
    Allow,
    /// Grants nothing, logs what is granted.
    AuditAllow,
    /// Keeps denials out of the log.
    DontAudit,
    /// Forbids that a grant exists; checked when the policy is built.
    NeverAllow,
    /// Takes grants back when the policy is built.
    Deny,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AvRule {
    pub(crate) source: TypeSet,
    pub(crate) target: TypeSet,
    pub(crate) permissions: u32,
    pub(crate) class: u16,
    pub(crate) kind: RuleKind,
    /// Condition number + 1, with the branch in the top bit; 0 for an unconditional rule.
    pub(crate) condition: u32,
    /// Number of its [`Origin`].
    pub(crate) origin: u32,
    /// Node of the statement.
    pub(crate) node: u32,
}

pub(crate) const FALSE_BRANCH: u32 = 1 << 31;

/// Rules for ioctl or netlink message numbers.
#[derive(Clone, Debug)]
pub(crate) struct ExtendedRule {
    pub(crate) kind: RuleKind,
    pub(crate) source: TypeSet,
    pub(crate) target: TypeSet,
    pub(crate) class: u16,
    /// `ioctl` or else `nlmsg`.
    pub(crate) ioctl: bool,
    pub(crate) numbers: BitSet,
    pub(crate) node: u32,
}

/// What type a new object gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeRule {
    pub(crate) kind: u8,
    pub(crate) source: TypeSet,
    pub(crate) target: TypeSet,
    pub(crate) class: u16,
    /// Symbol of the file name + 1; 0 for none.
    pub(crate) name: u32,
    pub(crate) result: u32,
    pub(crate) condition: u32,
    pub(crate) node: u32,
}

/// The condition of a `booleanif`.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) expression: BoolExpression,
    /// Value with every boolean at its default.
    pub(crate) default: bool,
}

/// An expression over booleans, in postfix order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BoolExpression(pub(crate) Vec<BoolStep>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BoolStep {
    Boolean(u32),
    And,
    Or,
    Xor,
    Eq,
    Neq,
    Not,
}

/// A constraint on who may do something.
#[derive(Clone, Debug)]
pub(crate) struct Constraint {
    pub(crate) class: u16,
    pub(crate) permissions: u32,
    /// Whether levels are compared.
    pub(crate) levels: bool,
    pub(crate) expression: Vec<ConstraintStep>,
}

/// A step of a constraint, in postfix order.
#[derive(Clone, Debug)]
pub(crate) enum ConstraintStep {
    And,
    Or,
    Not,
    /// Compares two of the subjects' fields: words such as `t1`, `h2`.
    Fields {
        op: &'static str,
        left: &'static str,
        right: &'static str,
    },
    /// Whether the type of a subject (1, 2, 3) is one of a set.
    Types {
        subject: u8,
        negated: bool,
        set: BitSet,
    },
    /// A comparison of users or roles with names.
    Other,
}

/// A port or range of ports and the type of its context.
#[derive(Clone, Debug)]
pub(crate) struct PortContext {
    pub(crate) protocol: String,
    pub(crate) low: u16,
    pub(crate) high: u16,
    pub(crate) type_: u32,
}

/// How a statement came to be where it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// The block it is in; empty for the top.
    pub(crate) block: String,
    /// The block it was inherited from, or empty.
    pub(crate) inherited: String,
    /// The macro whose call it is from, or empty.
    pub(crate) called: String,
}

impl Policy {
    /// Number of types.
    pub fn type_count(&self) -> usize {
        self.types.len()
    }

    /// Number of attributes.
    pub fn attribute_count(&self) -> usize {
        self.attributes.len()
    }

    /// Number of rules of a kind, as they are written: one per class, not expanded.
    pub fn rule_count(&self, kind: RuleKind) -> usize {
        self.rules.iter().filter(|r| r.kind == kind).count()
    }

    /// A type or attribute by its full name, an alias included. A leading dot is taken.
    pub fn find(&self, name: &str) -> Option<TypeSet> {
        self.names.get(name.trim_start_matches('.')).copied()
    }

    /// The full name of a type or attribute.
    pub fn name(&self, set: TypeSet) -> &str {
        match set {
            TypeSet::SELF => "self",
            TypeSet::NOTSELF => "notself",
            TypeSet::OTHER => "other",
            _ => match (set.as_type(), set.as_attribute()) {
                (Some(t), _) => self.types.get(t).map_or("", |t| &t.name),
                (_, Some(a)) => self.attributes.get(a).map_or("", |a| &a.name),
                _ => "",
            },
        }
    }

    /// Whether this is an attribute, a set of types.
    pub fn is_attribute(&self, set: TypeSet) -> bool {
        set.as_attribute().is_some()
    }

    /// The types of a type (itself) or an attribute (its members), by number.
    pub fn members(&self, set: TypeSet) -> BitSet {
        match (set.as_type(), set.as_attribute()) {
            (Some(t), _) => [t].into_iter().collect(),
            (_, Some(a)) => self.attributes.get(a).map(|a| a.members.clone()).unwrap_or_default(),
            _ => BitSet::new(),
        }
    }

    /// Names of the types of a type or attribute, sorted.
    pub fn member_names(&self, set: TypeSet) -> Vec<&str> {
        let mut names: Vec<_> =
            self.members(set).iter().filter_map(|t| Some(self.types.get(t)?.name.as_str())).collect();
        names.sort_unstable();
        names
    }

    /// Full names of all types, in the policy's order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|t| t.name.as_str())
    }

    /// Other names of a type.
    pub fn aliases(&self, set: TypeSet) -> &[String] {
        set.as_type().and_then(|t| self.types.get(t)).map_or(&[], |t| &t.aliases)
    }

    /// Names of the attributes a type is in, sorted.
    pub fn attributes_of(&self, set: TypeSet) -> Vec<&str> {
        let info = set.as_type().and_then(|t| self.types.get(t));
        let mut names: Vec<_> = info
            .into_iter()
            .flat_map(|t| &t.attributes)
            .filter_map(|&a| Some(self.attributes.get(a as usize)?.name.as_str()))
            .collect();
        names.sort_unstable();
        names
    }

    /// Names of the classes.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|c| c.name.as_str())
    }

    /// Names of a class's permissions, `None` for an unknown class.
    pub fn permissions(&self, class: &str) -> Option<&[String]> {
        let index = self.class_names.get(class)?;
        Some(&self.classes.get(*index as usize)?.permissions)
    }

    /// Whether violations of a type are logged and not denied.
    pub fn is_permissive(&self, set: TypeSet) -> bool {
        set.as_type().is_some_and(|t| self.permissive.contains(t))
    }

    /// Names of the optionals that were dropped because a name in them is not declared.
    pub fn dropped_optionals(&self) -> &[String] {
        &self.dropped
    }

    /// Sets a boolean, as an administrator may at run time; conditions are judged anew.
    ///
    /// # Errors
    /// There is no boolean of that name.
    pub fn set_boolean(&mut self, name: &str, value: bool) -> Result<(), UnknownName> {
        let unknown = || UnknownName { kind: "boolean", name: name.to_owned() };
        self.booleans.iter_mut().find(|b| b.0 == name).ok_or_else(unknown)?.1 = value;
        for c in &mut self.conditions {
            let booleans = &self.booleans;
            let value = |b: u32| booleans.get(b as usize).is_some_and(|b| b.1);
            c.default = crate::resolve::evaluate(&c.expression.0, value);
        }
        Ok(())
    }

    /// The type of a port: of the smallest range that has it.
    pub fn port_type(&self, protocol: &str, port: u16) -> Option<&str> {
        let ranges = self.ports.iter().filter(|p| p.protocol == protocol && (p.low..=p.high).contains(&port));
        let port = ranges.min_by_key(|p| p.high - p.low)?;
        Some(&self.types.get(port.type_ as usize)?.name)
    }

    /// Full names of the blocks that are not abstract.
    pub fn blocks(&self) -> &[String] {
        &self.blocks
    }

    /// The booleans with their defaults.
    pub fn booleans(&self) -> &[(String, bool)] {
        &self.booleans
    }

    pub(crate) fn set_contains(&self, set: TypeSet, type_: usize) -> bool {
        match (set.as_type(), set.as_attribute()) {
            (Some(t), _) => t == type_,
            (_, Some(a)) => self.attributes.get(a).is_some_and(|a| a.members.contains(type_)),
            _ => false,
        }
    }

    /// Whether a rule's target has a type, for one of its sources.
    pub(crate) fn target_contains(&self, rule: &AvRule, source: usize, target: usize) -> bool {
        match rule.target {
            TypeSet::SELF => source == target,
            TypeSet::NOTSELF => source != target,
            TypeSet::OTHER => source != target && self.set_contains(rule.source, target),
            set => self.set_contains(set, target),
        }
    }

    pub(crate) fn permission_names(&self, class: u16, mask: u32) -> impl Iterator<Item = &str> {
        let permissions = self.classes.get(class as usize).map_or(&[][..], |c| &c.permissions);
        permissions.iter().enumerate().filter(move |(i, _)| mask >> i & 1 == 1).map(|(_, p)| p.as_str())
    }
}

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Position in it.
    pub span: Span,
}
