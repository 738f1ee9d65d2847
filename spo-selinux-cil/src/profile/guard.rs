//! Deny lists, understood: on names as the policy knows them and on rules as they are when everything is expanded.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{Diagnostic, FieldPath, selinux::SelinuxProfileSpec};

use crate::{
    base::{PROBE, Profile},
    policy::{BitSet, Policy, RuleKind, TypeSet, Why},
    render::{self, Ancestors},
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

    /// What a profile grants against the lists: one error for each target and class, at most [`MAX_FOUND`].
    pub fn check(&self, profile: &Profile<'_>) -> Vec<Diagnostic> {
        let policy = profile.base.policy();
        let lists = self.on(policy);
        let mut hits = Hits::new();
        for rule in &profile.rules {
            let own = rule.target == TypeSet::SELF;
            let targets = if own { BitSet::new() } else { policy.members(rule.target) };
            let name = if !own {
                None
            } else if rule.socket {
                Some("socket")
            } else {
                Some(super::OWN)
            };
            lists.judge(
                rule.class,
                rule.permissions,
                &targets,
                name,
                "the profile",
                Some(&rule.path),
                &mut hits,
            );
        }
        for &probe in &profile.probes {
            lists.judge_type(self, probe, &mut hits);
        }
        hits.into_iter().map(|(key, hit)| hit.diagnostic(&key, "spec.inherit")).collect()
    }

    /// What a profile and its ancestors name against the lists, where there is no policy to expand the rules on: one
    /// error for each target and class, at most [`MAX_FOUND`].
    ///
    /// An alias or an attribute that stands for a denied type is not seen so; [`Self::check`] sees it.
    pub fn check_names(
        &self,
        name: &str,
        spec: &SelinuxProfileSpec,
        ancestors: &dyn Ancestors,
    ) -> Vec<Diagnostic> {
        // What cannot be flattened is refused elsewhere, with its reasons.
        let Ok((_, rules)) = render::flatten(name, spec, ancestors) else { return Vec::new() };
        let mut found = Vec::new();
        for (target, classes) in &rules {
            for (class, permissions) in classes {
                let what = if self.types.contains(target) {
                    format!("the type {target}")
                } else if self.classes.contains(class) {
                    format!("the class {class}")
                } else {
                    let denied: Vec<&str> = permissions
                        .iter()
                        .filter(|p| self.permissions.contains(*p))
                        .map(String::as_str)
                        .collect();
                    if denied.is_empty() {
                        continue;
                    }
                    format!("{} on {class}", denied.join(", "))
                };
                if found.len() == MAX_FOUND {
                    return found;
                }
                // The policy's word for the profile itself is not the manifest's.
                let written = if target == "self" { super::OWN } else { target };
                let path = FieldPath::of("spec.allow").key(written).key(class);
                let message = format!("profiles may not be given {what}");
                found.push(Diagnostic::error("selinux-denied", path, message).with_help(
                    "the SecurityProfilesOperatorDaemon can take names off this list (spec.selinux.options.allowed…)",
                ));
            }
        }
        found
    }

    /// What a process type of a resolved policy grants against the lists, for profiles written as CIL.
    pub fn check_type(&self, policy: &Policy, source: TypeSet) -> Vec<Diagnostic> {
        let mut hits = Hits::new();
        if let Some(t) = source.as_type() {
            self.on(policy).judge_type(self, t, &mut hits);
        }
        hits.into_iter().map(|(key, hit)| hit.diagnostic(&key, "spec.policy")).collect()
    }

    /// The lists as a policy knows them: an alias stands for its type, an attribute for its members.
    fn on<'p>(&self, policy: &'p Policy) -> Lists<'p> {
        let mut types = BitSet::new();
        for set in self.types.iter().filter_map(|n| policy.find(n)) {
            types.union(&policy.members(set));
        }
        let masks = policy.classes.iter().map(|c| {
            if self.classes.contains(&c.name) {
                return u32::MAX;
            }
            let denied = c.permissions.iter().enumerate().filter(|(_, p)| self.permissions.contains(*p));
            denied.fold(0, |m, (i, _)| m | 1 << i)
        });
        Lists { policy, types, masks: masks.collect() }
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
}

/// Most errors of one check: a profile that grants everything is refused without listing everything.
pub const MAX_FOUND: usize = 100;

/// Lists on a policy, as sets and masks: nothing is expanded but what is denied.
struct Lists<'p> {
    policy: &'p Policy,
    types: BitSet,
    /// By class: the permissions that are denied on any target.
    masks: Vec<u32>,
}

type Hits = BTreeMap<(String, String), Hit>;

#[derive(Default)]
struct Hit {
    permissions: BTreeSet<String>,
    why: BTreeSet<String>,
    path: Option<FieldPath>,
}

impl Lists<'_> {
    /// The rules of a type that someone is to blame for.
    fn judge_type(&self, guard: &Guard, source: usize, hits: &mut Hits) {
        let block = self.policy.block_of(TypeSet::of_type(source as u32));
        for rule in self.policy.rules_of(source).filter(|r| r.kind == RuleKind::Allow) {
            let Some(why) = guard.blame(&self.policy.why(rule, &block)) else { continue };
            let targets = self.policy.targets(rule, source);
            self.judge(rule.class, rule.permissions, &targets, None, &why, None, hits);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a rule and where it comes from")]
    fn judge(
        &self,
        class: u16,
        permissions: u32,
        targets: &BitSet,
        own: Option<&str>,
        why: &str,
        path: Option<&FieldPath>,
        hits: &mut Hits,
    ) {
        let everywhere = permissions & self.masks[class as usize];
        let mut add = |target: &str, denied: u32| {
            let class_name = &self.policy.classes[class as usize].name;
            let key = (target.to_owned(), class_name.clone());
            if denied == 0 || hits.len() >= MAX_FOUND && !hits.contains_key(&key) {
                return;
            }
            let hit = hits.entry(key).or_default();
            hit.permissions.extend(self.policy.permission_names(class, denied).map(str::to_owned));
            hit.why.insert(why.to_owned());
            hit.path = hit.path.take().or_else(|| path.cloned());
        };
        if let Some(own) = own {
            return add(own, everywhere);
        }
        let mut reached = targets.clone();
        if everywhere == 0 {
            reached.intersect(&self.types);
        }
        for t in reached.iter() {
            let name = &self.policy.types[t].name;
            let name = match name.strip_prefix(PROBE) {
                Some(inner) if inner.ends_with(".process") => super::OWN,
                Some(_) => "socket",
                None => name,
            };
            add(name, if self.types.contains(t) { permissions } else { everywhere });
        }
    }
}

impl Hit {
    fn diagnostic(self, (target, class): &(String, String), elsewhere: &str) -> Diagnostic {
        let permissions: Vec<String> = self.permissions.into_iter().collect();
        let why: Vec<String> = self.why.into_iter().collect();
        let message = format!(
            "the deny list forbids {target} {class} {}, which comes from {}",
            permissions.join(" "),
            why.join(", ")
        );
        let path = self.path.unwrap_or_else(|| FieldPath::of(elsewhere));
        Diagnostic::error("selinux-denied", path, message)
    }
}
