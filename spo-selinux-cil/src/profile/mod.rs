//! What a profile means on a base: everything it may do, what is wrong or loose about it, how it compares.

mod diff;
mod guard;
mod lint;
mod merge;
mod minimise;

pub use diff::{Diff, diff, risk};
pub use guard::{Guard, MAX_FOUND};
pub use lint::{LINTS, Lint, lint};
pub use merge::{merge, subsume};
pub use minimise::{Cover, cover, unused};

use crate::{
    base::{OwnRule, PROBE, Profile},
    policy::{Access, Effective, TypeSet, Why},
};

/// The own process type, as profiles spell it.
pub(crate) const OWN: &str = "@self";

impl Profile<'_> {
    /// Everything the profile's process type may do, each with every reason. The own process type is `@self`, the own
    /// socket type `socket`.
    pub fn effective(&self) -> Effective {
        let mut effective = self.inherited();
        for rule in &self.rules {
            for access in self.accesses(rule) {
                let reasons = effective.entry(access).or_default();
                if !reasons.contains(&Why::Own) {
                    reasons.push(Why::Own);
                }
            }
        }
        effective.values_mut().for_each(|w| w.sort());
        effective
    }

    /// What templates and the base's attributes give, without the profile's own rules.
    pub fn inherited(&self) -> Effective {
        let policy = self.base.policy();
        let mut effective = Effective::new();
        for &probe in &self.probes {
            let block = policy.block_of(TypeSet::of_type(probe as u32));
            for (mut access, reasons) in policy.effective(TypeSet::of_type(probe as u32)) {
                if access.target.starts_with(PROBE) {
                    match access.target.strip_prefix(&block[..]) {
                        Some(".process") => OWN.clone_into(&mut access.target),
                        Some(".socket") => "socket".clone_into(&mut access.target),
                        _ => continue,
                    }
                }
                let all = effective.entry(access).or_default();
                for reason in reasons {
                    if !all.contains(&reason) {
                        all.push(reason);
                    }
                }
            }
        }
        effective
    }

    /// Names of the templates, sorted.
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// The accesses an own rule stands for.
    pub(crate) fn accesses(&self, rule: &OwnRule) -> Vec<Access> {
        let policy = self.base.policy();
        let class = &policy.classes[rule.class as usize].name;
        let mut targets = Vec::new();
        if rule.target == TypeSet::SELF {
            targets.push(if rule.socket { "socket" } else { OWN }.to_owned());
        } else {
            for t in policy.members(rule.target).iter() {
                let name = &policy.types[t].name;
                if !name.starts_with(PROBE) {
                    targets.push(name.clone());
                }
            }
            if self.probes.iter().any(|&p| policy.set_contains(rule.target, p)) {
                targets.push(OWN.to_owned());
            }
        }
        let permissions: Vec<&str> = policy.permission_names(rule.class, rule.permissions).collect();
        let one =
            |t: &String| permissions.iter().map(|p| Access::new(t.clone(), class, *p)).collect::<Vec<_>>();
        targets.iter().flat_map(one).collect()
    }
}

#[cfg(test)]
mod tests;
