//! What a type may do in a policy, and why.

use std::collections::BTreeMap;

use super::{AvRule, FALSE_BRANCH, Policy, RuleKind, TypeSet};

/// One thing a type may do: a permission of a class on objects of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// Full name of the type of the object; `@self` for the type itself where a profile is looked at.
    pub target: String,
    /// Class of the object.
    pub class: String,
    /// The permission.
    pub permission: String,
}

impl Access {
    /// An access.
    pub fn new(target: impl Into<String>, class: impl Into<String>, permission: impl Into<String>) -> Self {
        Self { target: target.into(), class: class.into(), permission: permission.into() }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.target, self.class, self.permission)
    }
}

/// Why an access is granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Why {
    /// A rule of the type's own block, or of the profile itself.
    Own,
    /// A rule of a template that the block inherits.
    Template(String),
    /// A rule of another block that the block inherits.
    Parent(String),
    /// A rule about an attribute that the type is in.
    Attribute(String),
    /// A rule about the type from elsewhere in the policy.
    Policy,
    /// One of the above, under a condition; and whether it holds with every boolean at its default.
    Conditional(bool, Box<Why>),
}

/// Everything a type may do, each with every reason. Ordered and without repetition.
pub type Effective = BTreeMap<Access, Vec<Why>>;

/// The answer to a question about one access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is granted with every boolean at its default.
    pub allowed: bool,
    /// Whether the source is permissive, so that a denial is only logged.
    pub permissive: bool,
    /// Every rule that grants it, conditions that do not hold included.
    pub reasons: Vec<Why>,
}

impl Policy {
    /// Everything a type may do, with attributes on both sides expanded. Empty for an attribute.
    pub fn effective(&self, source: TypeSet) -> Effective {
        let mut effective = Effective::new();
        let Some(s) = source.as_type() else { return effective };
        let block = self.block_of(source);
        for rule in self.rules_of(s).filter(|r| r.kind == RuleKind::Allow) {
            let why = self.why(rule, &block);
            for t in self.targets(rule, s).iter() {
                let granted = rule.permissions & !self.denied(s, t, rule.class);
                for permission in self.permission_names(rule.class, granted) {
                    let access = Access::new(
                        self.types[t].name.as_str(),
                        self.classes[rule.class as usize].name.as_str(),
                        permission,
                    );
                    let reasons = effective.entry(access).or_default();
                    if !reasons.contains(&why) {
                        reasons.push(why.clone());
                    }
                }
            }
        }
        effective.values_mut().for_each(|w| w.sort());
        effective
    }

    /// Whether a type may do something.
    ///
    /// # Errors
    /// Names what the policy does not have: a type, a class, or a permission of the class.
    pub fn query(
        &self,
        source: &str,
        target: &str,
        class: &str,
        permission: &str,
    ) -> Result<Answer, UnknownName> {
        let unknown = |kind: &'static str, name: &str| UnknownName { kind, name: name.to_owned() };
        let find =
            |name: &str| self.find(name).and_then(TypeSet::as_type).ok_or_else(|| unknown("type", name));
        let (s, t) = (find(source)?, find(target)?);
        let c = *self.class_names.get(class).ok_or_else(|| unknown("class", class))?;
        let bit = self.classes[c as usize]
            .permissions
            .iter()
            .position(|p| p == permission)
            .ok_or_else(|| unknown("permission", permission))?;
        let block = self.block_of(TypeSet::of_type(s as u32));
        let mut reasons = Vec::new();
        if self.denied(s, t, c) >> bit & 1 == 0 {
            for rule in self.rules_of(s) {
                let grants =
                    rule.kind == RuleKind::Allow && rule.class == c && rule.permissions >> bit & 1 == 1;
                if grants && self.target_contains(rule, s, t) {
                    reasons.push(self.why(rule, &block));
                }
            }
        }
        reasons.sort();
        reasons.dedup();
        let allowed = reasons.iter().any(|r| !matches!(r, Why::Conditional(false, _)));
        Ok(Answer { allowed, permissive: self.permissive.contains(s), reasons })
    }

    /// Whether a bound takes back what rules grant: the type is bounded, and the type that bounds it may not do the
    /// same to the target, or to the target's own bound where it has one (`type_attribute_bounds_av` of the kernel's
    /// `ss/services.c`).
    pub(crate) fn bound_forbids(&self, source: &str, target: &str, class: &str, permission: &str) -> bool {
        let parent = |name: &str| {
            let child = u32::try_from(self.find(name)?.as_type()?).ok()?;
            Some(self.types.get(*self.bounds.get(&child)? as usize)?.name.as_str())
        };
        parent(source).is_some_and(|above| {
            let target = parent(target).unwrap_or(target);
            self.query(above, target, class, permission).is_ok_and(|answer| !answer.allowed)
        })
    }

    /// The rules whose source has a type.
    pub(crate) fn rules_of(&self, source: usize) -> impl Iterator<Item = &AvRule> {
        let attributes = self.types.get(source).map_or(&[][..], |t| &t.attributes);
        let own = self.by_type.get(source).into_iter().flatten();
        let shared = attributes.iter().filter_map(|&a| self.by_attribute.get(a as usize)).flatten();
        own.chain(shared).map(|&i| &self.rules[i as usize])
    }

    pub(crate) fn why(&self, rule: &AvRule, block: &str) -> Why {
        let origin = &self.origins[rule.origin as usize];
        let why = if origin.block == block && !block.is_empty() {
            match &origin.inherited[..] {
                "" => Why::Own,
                name if crate::templates::NAMES.contains(&name) => Why::Template(name.to_owned()),
                name => Why::Parent(name.to_owned()),
            }
        } else if self.is_attribute(rule.source) {
            Why::Attribute(self.name(rule.source).to_owned())
        } else {
            Why::Policy
        };
        match (rule.condition & !FALSE_BRANCH).checked_sub(1).and_then(|c| self.conditions.get(c as usize)) {
            Some(c) => Why::Conditional(c.default != (rule.condition & FALSE_BRANCH != 0), Box::new(why)),
            None => why,
        }
    }

    /// The block a type is in; empty for a type of the top.
    pub(crate) fn block_of(&self, type_: TypeSet) -> String {
        self.name(type_).rsplit_once('.').map_or_else(String::new, |(block, _)| block.to_owned())
    }
}

/// A name that a policy does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy has no {kind} {name:?}")]
pub struct UnknownName {
    /// What it was meant to be the name of.
    pub kind: &'static str,
    /// The name.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use crate::{
        resolve::{Options, resolve},
        syntax::Forest,
    };

    #[test]
    fn every_reason_is_told() {
        let text = "(class c (p q)) (classorder (c)) (type t) (typeattribute a) (boolean b false)
            (block parent (blockabstract parent) (allow process t (c (p))))
            (block x (type process) (blockinherit parent) (allow process t (c (p)))
                (booleanif b (true (allow process self (c (q))))))
            (typeattributeset a (x.process))
            (allow a t (c (p q)))";
        let forest = Forest::parse(text).unwrap();
        let policy = resolve(&forest, &Options::default().with_complete(false)).unwrap();
        let effective = policy.effective(policy.find("x.process").unwrap());
        let shown: Vec<String> = effective.iter().map(|(a, w)| format!("{a}: {w:?}")).collect();
        assert_eq!(
            shown,
            [
                "t c p: [Own, Parent(\"parent\"), Attribute(\"a\")]",
                "t c q: [Attribute(\"a\")]",
                "x.process c q: [Conditional(false, Own)]",
            ]
        );
        assert!(policy.query("x.process", "t", "c", "q").unwrap().allowed);
        assert!(!policy.query(".x.process", "x.process", "c", "q").unwrap().allowed);
        assert_eq!(policy.query("x.process", "t", "c", "r").unwrap_err().kind, "permission");
    }
}
