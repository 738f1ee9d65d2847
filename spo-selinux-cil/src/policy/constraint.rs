//! Contexts, and whether constraints let one act on another.

use std::fmt;

use super::{BitSet, ConstraintStep, Policy, TypeSet};

/// A security context as text has it: `user:role:type:low-high`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The user.
    pub user: String,
    /// The role.
    pub role: String,
    /// The type.
    pub type_: String,
    /// The lower level, as it is written; empty without levels.
    pub low: String,
    /// The higher level; equal to the lower where only one is written.
    pub high: String,
}

impl Context {
    /// Reads a context; the levels may be missing. `None` where there is no type.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let (user, role, type_) = (parts.next()?, parts.next()?, parts.next()?);
        if user.is_empty() || role.is_empty() || type_.is_empty() {
            return None;
        }
        let range = parts.next().unwrap_or("");
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let own = str::to_owned;
        Some(Self { user: own(user), role: own(role), type_: own(type_), low: own(low), high: own(high) })
    }

    /// The numbers of the categories of a level: `c1`, `c3.c7`. `None` where a category is not such a name.
    pub(crate) fn categories(level: &str) -> Option<BitSet> {
        let Some((_, list)) = level.split_once(':') else { return Some(BitSet::new()) };
        let mut set = BitSet::new();
        for part in list.split(',').filter(|p| !p.is_empty()) {
            let number = |t: &str| t.strip_prefix('c')?.parse::<u16>().ok();
            let (low, high) = part.split_once('.').unwrap_or((part, part));
            (number(low)?..=number(high)?).for_each(|n| set.insert(n as usize));
        }
        Some(set)
    }

    pub(crate) fn sensitivity(level: &str) -> &str {
        level.split_once(':').map_or(level, |l| l.0)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.type_)?;
        match (&self.low[..], &self.high[..]) {
            ("", _) => Ok(()),
            (low, high) if low == high => write!(f, ":{low}"),
            (low, high) => write!(f, ":{low}-{high}"),
        }
    }
}

impl Policy {
    /// Whether every constraint on a permission holds for two contexts. `None` where a constraint compares what is
    /// not known here, such as users with names, and the rest does not decide.
    pub fn constraints_hold(
        &self,
        source: &Context,
        target: &Context,
        class: &str,
        permission: &str,
    ) -> Option<bool> {
        let c = *self.class_names.get(class)?;
        let bit = self.classes.get(c as usize)?.permissions.iter().position(|p| p == permission)?;
        let mut sure = true;
        for constraint in self.constraints.iter().filter(|x| x.class == c && x.permissions >> bit & 1 == 1) {
            match self.holds(&constraint.expression, source, target) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => sure = false,
            }
        }
        sure.then_some(true)
    }

    /// Three-valued logic over the postfix steps.
    fn holds(&self, steps: &[ConstraintStep], source: &Context, target: &Context) -> Option<bool> {
        let mut stack: Vec<Option<bool>> = Vec::new();
        for step in steps {
            let new = match step {
                ConstraintStep::Not => stack.pop()?.map(|v| !v),
                ConstraintStep::And | ConstraintStep::Or => {
                    let (b, a) = (stack.pop()?, stack.pop()?);
                    let decisive = matches!(step, ConstraintStep::Or);
                    if a == Some(decisive) || b == Some(decisive) { Some(decisive) } else { a.and(b) }
                }
                ConstraintStep::Types { subject, negated, set } => {
                    let context = if *subject == 1 { source } else { target };
                    let t = self.find(&context.type_).and_then(TypeSet::as_type);
                    t.map(|t| set.contains(t) != *negated)
                }
                ConstraintStep::Fields { op, left, right } => compare(op, left, right, source, target),
                ConstraintStep::Other => None,
            };
            stack.push(new);
        }
        stack.pop()?
    }
}

fn compare(op: &str, left: &str, right: &str, source: &Context, target: &Context) -> Option<bool> {
    let pick = |field: &str| {
        let context = if field.ends_with('1') { source } else { target };
        match field.as_bytes()[0] {
            b'u' => &context.user,
            b'r' => &context.role,
            b't' => &context.type_,
            b'l' => &context.low,
            _ => &context.high,
        }
    };
    let (a, b) = (pick(left), pick(right));
    if !left.starts_with(['l', 'h']) {
        return match op {
            "eq" => Some(a == b),
            "neq" => Some(a != b),
            _ => None,
        };
    }
    let (x, y) = (Context::categories(a)?, Context::categories(b)?);
    // The order of sensitivities is not in their names; equal ones are all that a single-level policy has.
    let same = Context::sensitivity(a) == Context::sensitivity(b);
    let (down, up) = (same && y.is_subset(&x), same && x.is_subset(&y));
    if !same && op != "eq" && op != "neq" {
        return None;
    }
    Some(match op {
        "eq" => down && up,
        "neq" => !(down && up),
        "dom" => down,
        "domby" => up,
        _ => !down && !up,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_and_written() {
        let text = "system_u:system_r:web.process:s0:c1,c3.c7";
        let c = Context::parse(text).unwrap();
        assert_eq!(
            (c.type_.as_str(), c.low.as_str(), c.high.as_str()),
            ("web.process", "s0:c1,c3.c7", "s0:c1,c3.c7")
        );
        assert_eq!(c.to_string(), text);
        assert_eq!(Context::categories(&c.low).unwrap().len(), 6);
        assert_eq!(Context::parse("u:r:t:s0-s0:c0.c1023").unwrap().high, "s0:c0.c1023");
        assert_eq!(Context::parse("u:r"), None);
    }

    #[test]
    fn categories_keep_containers_apart() {
        let base = crate::Base::builtin().unwrap();
        let context =
            |t: &str, level: &str| Context::parse(&format!("system_u:system_r:{t}:{level}")).unwrap();
        let probe = "spo_probe_container.process";
        let hold = |a: &Context, b: &Context| base.policy().constraints_hold(a, b, "file", "write");
        let mine = context(probe, "s0:c1,c2");
        assert_eq!(hold(&mine, &context("container_file_t", "s0:c1,c2")), Some(true));
        assert_eq!(hold(&mine, &context("container_file_t", "s0")), Some(true));
        assert_eq!(hold(&mine, &context("container_file_t", "s0:c1,c3")), Some(false));
        assert_eq!(hold(&context("init_t", "s0"), &context("container_file_t", "s0:c1,c3")), Some(true));
        assert_eq!(base.policy().port_type("tcp", 443), Some("http_port_t"));
        assert_eq!(base.policy().port_type("tcp", 9999), Some("unreserved_port_t"));
    }
}
