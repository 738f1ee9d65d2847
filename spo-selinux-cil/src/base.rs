//! A base that profiles are checked against: a node's policy, the built-in one, or none.
//!
//! A base is resolved once. Each template is tried on it with a probe block, so that a profile can then be looked at
//! without resolving anything again: what it may do is what its templates' probes may do, and its own rules.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{Diagnostic, FieldPath, selinux::SelinuxProfileSpec};

use crate::{
    policy::{AvRule, Policy, RuleKind, TypeSet},
    render::{self, Ancestors, Rules},
    resolve::{self, resolve},
    suggest,
    syntax::{Forest, View, word},
    templates,
};

/// A resolved base with its templates.
#[derive(Debug)]
pub struct Base {
    policy: Policy,
    /// Template → the process type of its probe.
    pub(crate) probes: BTreeMap<String, usize>,
    /// Templates that are not written here but found on the base.
    own_templates: bool,
    /// Names of the modules.
    modules: BTreeSet<String>,
    /// Blocks at the top → the module each is in.
    blocks: BTreeMap<String, String>,
}

/// Block names of probes start with this, which no Kubernetes name can.
pub(crate) const PROBE: &str = "spo_probe_";

impl Base {
    /// The built-in minimal base.
    ///
    /// # Errors
    /// None in practice: the text is part of this crate and tested.
    pub fn builtin() -> Result<Self, Vec<Diagnostic>> {
        let text = templates::minimal_base();
        Self::load([("minimal", text.as_str())], &resolve::Options::default())
    }

    /// A base from the modules of a policy, as `(name, text)`. Where none of them declares the block `container`,
    /// [`templates::TEMPLATES`] are added.
    ///
    /// # Errors
    /// The first text that is no CIL, or what is wrong with the policy as a whole.
    pub fn load<'t>(
        modules: impl IntoIterator<Item = (&'t str, &'t str)>,
        options: &resolve::Options,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut forest = Forest::new();
        let mut names = BTreeSet::new();
        for (name, text) in modules {
            forest
                .add(name, text)
                .map_err(|d| vec![Diagnostic { path: FieldPath::root().key(name), ..d }])?;
            names.insert(name.to_owned());
        }
        let modules = names;
        let block = |s: View<'_, '_>| {
            let name = s.children().nth(1).filter(|_| s.head() == Some(word::BLOCK))?.text().to_owned();
            Some((name, s.file().map(|f| forest.name(f)).unwrap_or_default().to_owned()))
        };
        let blocks = forest.all_statements().filter_map(block).collect();
        let declares = |forest: &Forest<'_>, name: &str| {
            forest.all_statements().any(|s| {
                s.head() == Some(word::BLOCK) && s.children().nth(1).is_some_and(|n| n.text() == name)
            })
        };
        let own_templates = declares(&forest, render::BASE_TEMPLATE);
        if !own_templates {
            forest.add("templates", templates::TEMPLATES).map_err(|d| vec![d])?;
        }
        let mut names: Vec<String> =
            templates::NAMES.iter().filter(|n| declares(&forest, n)).map(ToString::to_string).collect();
        // A base may have templates of its own; by the field's custom their names end like this.
        names.extend(
            forest
                .all_statements()
                .filter(|s| s.head() == Some(word::BLOCK))
                .filter_map(|s| s.children().nth(1).map(View::text))
                .filter(|n| n.ends_with("_container") && !templates::NAMES.contains(n))
                .map(str::to_owned),
        );
        names.sort_unstable();
        names.dedup();
        let mut probes = String::new();
        for name in &names {
            let inherit =
                if name == render::BASE_TEMPLATE { String::new() } else { format!("(blockinherit {name})") };
            probes.push_str(&format!("(block {PROBE}{name} (blockinherit {})", render::BASE_TEMPLATE));
            probes.push_str(&inherit);
            probes.push_str(")\n");
        }
        forest.add("probes", probes).map_err(|d| vec![d])?;
        let policy = resolve(&forest, options)?;
        let probe = |n: &String| Some((n.clone(), policy.find(&format!("{PROBE}{n}.process"))?.as_type()?));
        let probes = names.iter().filter_map(probe).collect();
        Ok(Self { policy, probes, own_templates, modules, blocks })
    }

    /// The resolved policy, probes included.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the templates are the base's own and not this crate's.
    pub fn has_own_templates(&self) -> bool {
        self.own_templates
    }

    /// Names of the templates a profile can inherit on this base.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.probes.keys().map(String::as_str)
    }

    /// Whether a module of that name is in the base.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.contains(name)
    }

    /// Checks a profile: its names are there, its permissions belong to their classes, and no `neverallow` rule of
    /// the base forbids what it asks for.
    ///
    /// # Errors
    /// One diagnostic for each name that is missing, with the nearest one, and for each rule that is forbidden; and
    /// everything [`render::render`] refuses.
    pub fn check<'b>(
        &'b self,
        name: &str,
        spec: &SelinuxProfileSpec,
        ancestors: &dyn Ancestors,
    ) -> Result<Profile<'b>, Vec<Diagnostic>> {
        let (templates, rules) = render::flatten(name, spec, ancestors)?;
        let mut found = Vec::new();
        let mut profile = Profile {
            base: self,
            name: name.to_owned(),
            probes: Vec::new(),
            templates: Vec::new(),
            rules: Vec::new(),
        };
        // The profile's own module may be there already: a base is often the policy of a node.
        let own_module = |m: &&String| **m == render::module_name(name) || *m == name;
        if let Some(module) = self.blocks.get(name).filter(|m| !own_module(m)) {
            let message = format!("the base has a block {name:?} already, in its module {module:?}");
            let d = Diagnostic::error("selinux-name-reserved", FieldPath::of("metadata.name"), message);
            found.push(d.with_help("choose another name"));
        }
        for template in templates {
            match self.probes.get(&template) {
                Some(&probe) => {
                    profile.probes.push(probe);
                    profile.templates.push(template);
                }
                None => found.push(self.unknown("template", &template, &FieldPath::of("spec.inherit"))),
            }
        }
        self.own_rules(&rules, ancestors, &mut profile.rules, &mut found);
        profile.check_neverallow(&mut found);
        if found.is_empty() { Ok(profile) } else { Err(found) }
    }

    fn own_rules(
        &self,
        rules: &Rules,
        others: &dyn Ancestors,
        out: &mut Vec<OwnRule>,
        found: &mut Vec<Diagnostic>,
    ) {
        let base_path = FieldPath::of("spec.allow");
        for (target, classes) in rules {
            let path = base_path.key(if target == "self" { "@self" } else { target });
            let set = match &target[..] {
                "self" => TypeSet::SELF,
                "socket" => TypeSet::SELF,
                other => match self.policy.find(other) {
                    Some(set) => set,
                    // A type of another profile, whose module the base need not have.
                    None if other.strip_suffix(".process").is_some_and(|n| others.get(n).is_some()) => {
                        continue;
                    }
                    None => {
                        found.push(self.unknown("type", other, &path));
                        continue;
                    }
                },
            };
            for (class, permissions) in classes {
                let Some(&c) = self.policy.class_names.get(class) else {
                    found.push(self.unknown("class", class, &path.key(class)));
                    continue;
                };
                let known = &self.policy.classes[c as usize].permissions;
                let mut mask = 0;
                for permission in permissions {
                    match known.iter().position(|p| p == permission) {
                        Some(bit) => mask |= 1 << bit,
                        None => {
                            let message = format!("the class {class:?} has no permission {permission:?}");
                            let d = Diagnostic::error("selinux-permission", path.key(class), message);
                            let near = suggest::nearest(permission, known.iter().map(String::as_str));
                            found.push(match near {
                                Some(near) => d.with_help(format!("did you mean {near:?}?")),
                                None => d,
                            });
                        }
                    }
                }
                let socket = target == "socket";
                out.push(OwnRule { target: set, socket, class: c, permissions: mask, path: path.key(class) });
            }
        }
    }

    fn unknown(&self, kind: &'static str, name: &str, path: &FieldPath) -> Diagnostic {
        let message = format!("the base has no {kind} {:?}", crate::syntax::brief(name));
        let near = match kind {
            "template" => suggest::nearest(name, self.templates()),
            "class" => suggest::nearest(name, self.policy.classes()),
            _ => {
                let mut names: Vec<&str> = self.policy.names.keys().map(String::as_str).collect();
                names.retain(|n| n.len().abs_diff(name.len()) <= name.len() / 3 + 1 && !n.starts_with(PROBE));
                names.sort_unstable();
                suggest::nearest(name, names)
            }
        };
        let d = Diagnostic::error(format!("selinux-{kind}"), path.clone(), message);
        match near {
            Some(near) => d.with_help(format!("did you mean {near:?}?")),
            None => d,
        }
    }
}

/// A profile on a base, ready for questions.
#[derive(Clone, Debug)]
pub struct Profile<'b> {
    pub(crate) base: &'b Base,
    pub(crate) name: String,
    /// Process types of the probes of its templates.
    pub(crate) probes: Vec<usize>,
    pub(crate) templates: Vec<String>,
    pub(crate) rules: Vec<OwnRule>,
}

/// A rule of a profile itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnRule {
    /// [`TypeSet::SELF`] for the own process type, and for the own socket type with `socket` set.
    pub(crate) target: TypeSet,
    pub(crate) socket: bool,
    pub(crate) class: u16,
    pub(crate) permissions: u32,
    pub(crate) path: FieldPath,
}

impl Profile<'_> {
    fn check_neverallow(&self, found: &mut Vec<Diagnostic>) {
        let policy = &self.base.policy;
        for rule in &self.rules {
            let index = policy.by_class.get(rule.class as usize).map_or(&[][..], |r| r);
            let never = index
                .iter()
                .map(|&i| &policy.rules[i as usize])
                .filter(|r| r.kind == RuleKind::NeverAllow && r.permissions & rule.permissions != 0);
            for n in never {
                if let Some(target) = self.forbidden(rule, n) {
                    let names: Vec<_> =
                        policy.permission_names(rule.class, rule.permissions & n.permissions).collect();
                    let class = &policy.classes[rule.class as usize].name;
                    let message =
                        format!("a neverallow rule of the base forbids {target} {class} {}", names.join(" "));
                    found.push(Diagnostic::error("selinux-neverallow", rule.path.clone(), message));
                    break;
                }
            }
        }
    }

    /// The target of a rule that a `neverallow` is about. The probes stand for the profile's process type.
    fn forbidden(&self, rule: &OwnRule, never: &AvRule) -> Option<String> {
        let policy = &self.base.policy;
        let &source = self.probes.iter().find(|&&p| policy.set_contains(never.source, p))?;
        if rule.target == TypeSet::SELF && !rule.socket {
            let hit = self.probes.iter().any(|&p| policy.target_contains(never, source, p));
            return hit.then(|| "@self".to_owned());
        }
        if rule.socket {
            let socket = policy.find(&policy.types[source].name.replace(".process", ".socket"))?.as_type()?;
            return policy.target_contains(never, source, socket).then(|| "socket".to_owned());
        }
        let hit = match (rule.target.as_type(), rule.target.as_attribute()) {
            (Some(t), _) => policy.target_contains(never, source, t).then_some(t),
            (_, Some(a)) => {
                let members = &policy.attributes[a].members;
                members.iter().find(|&t| policy.target_contains(never, source, t))
            }
            _ => None,
        };
        hit.map(|t| policy.types[t].name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::NoAncestors;

    fn check(json: &str) -> Vec<String> {
        let spec: SelinuxProfileSpec = serde_json::from_str(json).unwrap();
        let base = Base::builtin().unwrap();
        base.check("p", &spec, &NoAncestors)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn missing_names_come_with_the_nearest() {
        assert_eq!(
            check(r#"{"allow": {"http_prot_t": {"tcp_socket": ["name_bind"]}}}"#),
            [
                "error[selinux-type]: spec.allow.http_prot_t: the base has no type \"http_prot_t\" (did you mean \"http_port_t\"?)"
            ]
        );
        assert_eq!(
            check(r#"{"allow": {"@self": {"tcp_soket": ["listen"], "tcp_socket": ["lissten"]}}}"#).len(),
            2
        );
        assert_eq!(check(r#"{"inherit": [{"name": "nett_container"}]}"#).len(), 1);
        assert!(check(r#"{"allow": {"http_port_t": {"tcp_socket": ["name_bind"]}}}"#).is_empty());
    }

    #[test]
    fn neverallow_is_checked_on_what_attributes_stand_for() {
        for (target, class, permission, forbidden) in [
            ("shadow_t", "file", "read", true),
            ("file_type", "file", "read", true),
            ("file_type", "dir", "read", false),
            ("proc_type", "file", "getattr", true),
            ("@self", "capability", "sys_module", true),
            ("@self", "capability", "chown", false),
            ("etc_t", "file", "read", false),
        ] {
            let json = format!(r#"{{"allow": {{"{target}": {{"{class}": ["{permission}"]}}}}}}"#);
            assert_eq!(!check(&json).is_empty(), forbidden, "{json}: {:?}", check(&json));
        }
    }
}
