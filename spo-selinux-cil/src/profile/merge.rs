//! Several recordings of one workload → one profile.

use std::collections::BTreeMap;

use spo_model::{
    State,
    selinux::{ClassName, PermissionName, SelinuxMode, SelinuxProfileSpec, TargetType},
};

use crate::{
    base::Profile,
    policy::{TypeSet, Why},
};

/// The union of profiles: every rule and everything inherited, each once, lists sorted.
///
/// The result is permissive only if all are, and disabled only if all are: a merge does not weaken a profile that is
/// enforced. `None` for no profiles.
pub fn merge(specs: &[SelinuxProfileSpec]) -> Option<SelinuxProfileSpec> {
    let (first, _) = specs.split_first()?;
    let mut merged = SelinuxProfileSpec {
        state: if specs.iter().all(|s| s.state == State::Disabled) {
            State::Disabled
        } else {
            State::Enabled
        },
        mode: if specs.iter().all(|s| s.mode == SelinuxMode::Permissive) {
            SelinuxMode::Permissive
        } else {
            SelinuxMode::Enforcing
        },
        inherit: first.inherit.clone(),
        allow: None,
    };
    if specs.iter().any(|s| s.inherits() != first.inherits()) {
        let mut all = first.inherits();
        for entry in specs.iter().flat_map(SelinuxProfileSpec::inherits) {
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
        merged.inherit = Some(all);
    }
    let mut rules: Allow = BTreeMap::new();
    for (target, classes) in specs.iter().flat_map(|s| s.allow.iter().flatten()) {
        let entry = rules.entry(target.clone()).or_default();
        for (class, permissions) in classes {
            entry.entry(class.clone()).or_default().extend(permissions.iter().cloned());
        }
    }
    for permissions in rules.values_mut().flat_map(BTreeMap::values_mut) {
        permissions.sort();
        permissions.dedup();
    }
    merged.allow = (!rules.is_empty()).then_some(rules);
    Some(merged)
}

type Allow = BTreeMap<TargetType, BTreeMap<ClassName, Vec<PermissionName>>>;

/// The profile without rules that grant nothing new: what templates or the base grant unconditionally, and rules
/// about a type that a rule about one of its attributes covers.
///
/// What the profile may effectively do stays the same.
pub fn subsume(spec: &SelinuxProfileSpec, profile: &Profile<'_>) -> SelinuxProfileSpec {
    let policy = profile.base.policy();
    let inherited = profile.inherited();
    let mut rules: Allow = BTreeMap::new();
    for (target, classes) in spec.allow.iter().flatten() {
        let own = target.is_own() || matches!(target.as_str(), "self" | "process");
        let set = if own { None } else { policy.find(target.as_str()) };
        for (class, permissions) in classes {
            let covered = |permission: &PermissionName| {
                let granted = |name: &str| {
                    let access = crate::policy::Access::new(name, class.as_str(), permission.as_str());
                    let firm = |w: &Vec<Why>| w.iter().any(|w| !matches!(w, Why::Conditional(..)));
                    inherited.get(&access).is_some_and(firm)
                };
                match set {
                    None => own && granted(super::OWN),
                    Some(set) if policy.is_attribute(set) => false,
                    Some(set) => {
                        granted(policy.name(set)) || by_attribute(spec, profile, set, class, permission)
                    }
                }
            };
            let left: Vec<_> = permissions.iter().filter(|p| !covered(p)).cloned().collect();
            if !left.is_empty() {
                rules.entry(target.clone()).or_default().insert(class.clone(), left);
            }
        }
    }
    SelinuxProfileSpec { allow: (!rules.is_empty()).then_some(rules), ..spec.clone() }
}

fn by_attribute(
    spec: &SelinuxProfileSpec,
    profile: &Profile<'_>,
    type_: TypeSet,
    class: &ClassName,
    permission: &PermissionName,
) -> bool {
    let policy = profile.base.policy();
    let Some(t) = type_.as_type() else { return false };
    spec.allow.iter().flatten().any(|(target, classes)| {
        let set = policy.find(target.as_str()).filter(|s| policy.is_attribute(*s));
        set.is_some_and(|s| policy.set_contains(s, t))
            && classes.get(class).is_some_and(|p| p.contains(permission))
    })
}
