//! Deny lists, understood: on names as the policy knows them and on rules as they are when everything is expanded.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{Diagnostic, FieldPath};

use crate::{
    base::Profile,
    policy::{TypeSet, Why},
};

/// What no profile may grant: types, classes and permissions.
///
/// Aliases, attributes, templates and ancestors cannot hide anything from it, because it is checked on the effective
/// rules.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guard {
    /// Types no rule may have as target.
    pub types: BTreeSet<String>,
    /// Classes no rule may be about.
    pub classes: BTreeSet<String>,
    /// Permissions no rule may grant.
    pub permissions: BTreeSet<String>,
    /// Attributes that every container has: what they give on a base is the base's decision.
    pub accepted_attributes: BTreeSet<String>,
}

impl Default for Guard {
    /// The lists the operator starts with.
    fn default() -> Self {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            types: set(&["kernel_t", "kmem_t", "security_t", "shadow_t"]),
            classes: set(&["capability", "capability2", "security", "system"]),
            permissions: set(&[
                "load_policy",
                "mac_admin",
                "mounton",
                "relabelfrom",
                "relabelto",
                "setbool",
                "setenforce",
                "setsecparam",
            ]),
            accepted_attributes: set(&[
                "container_domain",
                "domain",
                "mcs_constrained_type",
                "svirt_sandbox_domain",
            ]),
        }
    }
}

impl Guard {
    /// The default lists without what is allowed and with what is denied; a name in both is denied.
    #[must_use]
    pub fn adjusted<'n>(
        mut self,
        allowed: impl IntoIterator<Item = &'n str>,
        denied_types: impl IntoIterator<Item = &'n str>,
        denied_classes: impl IntoIterator<Item = &'n str>,
        denied_permissions: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        for name in allowed {
            self.types.remove(name);
            self.classes.remove(name);
            self.permissions.remove(name);
        }
        self.types.extend(denied_types.into_iter().map(str::to_owned));
        self.classes.extend(denied_classes.into_iter().map(str::to_owned));
        self.permissions.extend(denied_permissions.into_iter().map(str::to_owned));
        self
    }

    /// What a profile grants against the lists: one error for each target and class.
    pub fn check(&self, profile: &Profile<'_>) -> Vec<Diagnostic> {
        let policy = profile.base.policy();
        // Names of the list as the policy knows them: an alias stands for its type, an attribute for its members.
        let mut types: BTreeSet<&str> = self.types.iter().map(String::as_str).collect();
        for name in &self.types {
            if let Some(set) = policy.find(name) {
                types.extend(policy.member_names(set));
            }
        }
        let own_paths = self.own_paths(profile);
        let mut hits: BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        for (access, reasons) in profile.effective() {
            let denied = types.contains(&access.target[..])
                || self.classes.contains(&access.class)
                || self.permissions.contains(&access.permission);
            if !denied {
                continue;
            }
            let why: Vec<String> = reasons.iter().filter_map(|w| self.blame(w)).collect();
            if !why.is_empty() {
                let hit = hits.entry((access.target, access.class)).or_default();
                hit.0.insert(access.permission);
                hit.1.extend(why);
            }
        }
        hits.into_iter()
            .map(|((target, class), (permissions, why))| {
                let permissions: Vec<String> = permissions.into_iter().collect();
                let why: Vec<String> = why.into_iter().collect();
                let path = own_paths.get(&(target.clone(), class.clone())).cloned();
                let message = format!(
                    "the deny list forbids {target} {class} {}, which comes from {}",
                    permissions.join(" "),
                    why.join(", ")
                );
                let path = path.unwrap_or_else(|| FieldPath::of("spec.inherit"));
                Diagnostic::error("selinux-denied", path, message)
            })
            .collect()
    }

    fn own_paths(&self, profile: &Profile<'_>) -> BTreeMap<(String, String), FieldPath> {
        let mut paths = BTreeMap::new();
        for rule in &profile.rules {
            for access in profile.accesses(rule) {
                paths.entry((access.target, access.class)).or_insert_with(|| rule.path.clone());
            }
        }
        paths
    }

    /// Who is to blame for a grant; nobody for what every container has.
    fn blame(&self, why: &Why) -> Option<String> {
        match why {
            Why::Own => Some("the profile".to_owned()),
            Why::Template(t) => Some(format!("the template {t}")),
            Why::Parent(p) => Some(format!("the block {p}")),
            Why::Attribute(a) if self.accepted_attributes.contains(a) => None,
            Why::Attribute(a) => Some(format!("the attribute {a}")),
            Why::Policy => None,
            Why::Conditional(_, why) => self.blame(why),
        }
    }

    /// What a process type of a resolved policy grants against the lists, for profiles written as CIL.
    pub fn check_type(&self, policy: &crate::policy::Policy, source: TypeSet) -> Vec<Diagnostic> {
        let mut types: BTreeSet<&str> = self.types.iter().map(String::as_str).collect();
        for name in &self.types {
            if let Some(set) = policy.find(name) {
                types.extend(policy.member_names(set));
            }
        }
        let mut found = Vec::new();
        for (access, reasons) in policy.effective(source) {
            let denied = types.contains(&access.target[..])
                || self.classes.contains(&access.class)
                || self.permissions.contains(&access.permission);
            let why: Vec<String> = reasons.iter().filter_map(|w| self.blame(w)).collect();
            if denied && !why.is_empty() {
                let message = format!("the deny list forbids {access}, which comes from {}", why.join(", "));
                found.push(Diagnostic::error("selinux-denied", FieldPath::of("spec.policy"), message));
            }
        }
        found
    }
}
