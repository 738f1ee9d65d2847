//! Why an access was denied: only a part of all denials can be cured by an `allow` rule.

use super::{Label, Record};
use crate::policy::{Context, Policy, Why};

/// Why an access was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It was not denied.
    Granted,
    /// No rule allows it: type enforcement.
    TypeEnforcement,
    /// A rule allows it under a condition that does not hold.
    Boolean,
    /// A constraint forbids it, for containers usually because the categories differ. No rule helps.
    Constraint,
    /// The role may not change to the other one.
    Role,
    /// Rules allow it, but the type is bounded and its parent may not (`typebounds`). A rule for the parent helps.
    Bounds,
    /// A context is not in the policy.
    InvalidContext,
    /// Rules allow it and constraints hold: the policy was another one then.
    Other,
    /// The labels are not known.
    Unknown,
}

/// The cause of a denial, on a policy where there is one. Without, or where it does not know the types, categories
/// and roles are compared: a target with categories that the source lacks is out of reach for a container.
pub fn classify(record: &Record, policy: Option<&Policy>) -> Cause {
    if !record.denied {
        return Cause::Granted;
    }
    let (Label::Context(source), Label::Context(target)) = (&record.source, &record.target) else {
        return Cause::Unknown;
    };
    if !record.bounded.is_empty() {
        return Cause::Bounds;
    }
    match policy.and_then(|p| on_policy(record, source, target, p)) {
        Some(cause) => cause,
        None if out_of_reach(source, target) => Cause::Constraint,
        None if changes_role(record, source, target) => Cause::Role,
        None => Cause::TypeEnforcement,
    }
}

fn on_policy(record: &Record, source: &Context, target: &Context, policy: &Policy) -> Option<Cause> {
    let mut cause = None;
    for permission in &record.permissions {
        let answer = policy.query(&source.type_, &target.type_, &record.class, permission).ok()?;
        if !answer.allowed {
            let conditional = answer.reasons.iter().any(|r| matches!(r, Why::Conditional(..)));
            return Some(if conditional { Cause::Boolean } else { Cause::TypeEnforcement });
        }
        if policy.bound_forbids(&source.type_, &target.type_, &record.class, permission) {
            return Some(Cause::Bounds);
        }
        let holds = policy.constraints_hold(source, target, &record.class, permission);
        if holds == Some(false) {
            cause = Some(Cause::Constraint);
        }
    }
    Some(cause.unwrap_or(if changes_role(record, source, target) { Cause::Role } else { Cause::Other }))
}

/// Whether the target has categories the source lacks (`mlsconstrain … (dom h1 h2)`, which every targeted policy has
/// for containers).
fn out_of_reach(source: &Context, target: &Context) -> bool {
    match (Context::categories(&source.high), Context::categories(&target.high)) {
        (Some(s), Some(t)) => !t.is_subset(&s),
        _ => false,
    }
}

fn changes_role(record: &Record, source: &Context, target: &Context) -> bool {
    let transition = |p: &String| matches!(&p[..], "transition" | "dyntransition");
    record.class == "process" && source.role != target.role && record.permissions.iter().any(transition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avc::{Line, parse};

    fn record(source: &str, target: &str, class: &str, permission: &str) -> Record {
        let line = format!(
            "type=AVC msg=audit(1.2:3): avc:  denied  {{ {permission} }} for  pid=1 scontext={source} tcontext={target} tclass={class} permissive=0"
        );
        match parse(&line) {
            Ok(Line::Avc(r)) => *r,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn causes_with_and_without_a_policy() {
        let base = crate::Base::builtin().unwrap();
        let me = "system_u:system_r:spo_probe_container.process:s0:c1,c2";
        let file = |level: &str| format!("system_u:object_r:container_file_t:{level}");
        let policy = Some(base.policy());
        for (target, class, permission, with, without) in [
            (file("s0:c1,c2"), "file", "entrypoint", Cause::TypeEnforcement, Cause::TypeEnforcement),
            (file("s0:c3,c4"), "file", "write", Cause::Constraint, Cause::Constraint),
            (file("s0:c1,c2"), "file", "write", Cause::Other, Cause::TypeEnforcement),
            (
                "system_u:object_r:nowhere_t:s0".to_owned(),
                "file",
                "read",
                Cause::TypeEnforcement,
                Cause::TypeEnforcement,
            ),
        ] {
            let r = record(me, &target, class, permission);
            assert_eq!(classify(&r, policy), with, "{r}");
            assert_eq!(classify(&r, None), without, "{r}");
        }
        let r = record("u:staff_r:a:s0", "u:sysadm_r:b:s0", "process", "transition");
        assert_eq!(classify(&r, None), Cause::Role);
    }

    #[test]
    fn a_bound_takes_back_what_a_rule_grants() {
        use crate::{
            resolve::{Options, resolve},
            syntax::Forest,
        };
        let text = "(class file (read write))(classorder (file))(type up_t)(type low_t)(type x_t)
            (typebounds up_t low_t)(allow up_t x_t (file (read)))(allow low_t x_t (file (read write)))";
        let forest = Forest::parse(text).unwrap();
        let options = Options::default().with_complete(false).with_neverallow(false);
        let policy = resolve(&forest, &options).unwrap();
        let label = |t: &str| format!("u:r:{t}:s0");
        let cause = |permission: &str| {
            classify(&record(&label("low_t"), &label("x_t"), "file", permission), Some(&policy))
        };
        assert_eq!((cause("write"), cause("read")), (Cause::Bounds, Cause::Other));
    }
}
