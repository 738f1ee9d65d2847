//! What a profile inherits, resolved before any node sees it.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{
    Diagnostic, FieldPath, State,
    selinux::{InheritKind, SelinuxMode, SelinuxProfileSpec},
};

use super::{BASE_TEMPLATE, Options, Rules, check_template, merge};
use crate::syntax::brief;

/// Where the profiles come from that a profile inherits.
pub trait Ancestors {
    /// The profile of a name, in the namespace of the profile that is rendered.
    fn get(&self, name: &str) -> Option<SelinuxProfileSpec>;
}

/// No profiles.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAncestors;

impl Ancestors for NoAncestors {
    fn get(&self, _: &str) -> Option<SelinuxProfileSpec> {
        None
    }
}

impl Ancestors for BTreeMap<String, SelinuxProfileSpec> {
    fn get(&self, name: &str) -> Option<SelinuxProfileSpec> {
        Self::get(self, name).cloned()
    }
}

/// What all ancestors give.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Templates of the profile and of all ancestors.
    pub(super) templates: BTreeSet<String>,
    /// Rules of all ancestors, without the profile's own.
    pub(super) rules: Rules,
    /// Profiles that are inherited directly.
    pub(super) parents: BTreeSet<String>,
    /// Remarks.
    pub(super) notes: Vec<Diagnostic>,
}

/// Longest chain of profiles. It bounds the work for a hostile set of profiles.
const MAX_CHAIN: usize = 64;

/// Most profiles in one ancestry.
const MAX_ANCESTORS: usize = 1024;

pub(super) fn resolve(
    name: &str,
    spec: &SelinuxProfileSpec,
    ancestors: &dyn Ancestors,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) -> Resolved {
    let mut walk = Walk { ancestors, options, path: vec![name.to_owned()], done: BTreeSet::new(), found };
    let mut resolved = Resolved::default();
    walk.inherits(spec, &FieldPath::of("spec.inherit"), &mut resolved);
    resolved
}

/// The rules a spec itself has, with names checked and made canonical.
pub(super) fn own_rules(
    name: &str,
    spec: &SelinuxProfileSpec,
    path: &FieldPath,
    found: &mut Vec<Diagnostic>,
) -> Rules {
    let mut rules = Rules::new();
    let own_type = format!("{name}.process");
    let base = path.key("allow");
    for (target, classes) in spec.allow.iter().flatten() {
        let path = base.key(target.as_str());
        let text = target.as_str();
        let spelled = if target.is_own() || matches!(text, "self" | "process") || text == own_type {
            "self"
        } else {
            if let Err(d) = check_target(text, &path) {
                found.push(d);
            }
            text
        };
        if classes.is_empty() {
            found.push(empty(&path, "classes"));
        }
        for (class, permissions) in classes {
            let path = path.key(class.as_str());
            for (i, permission) in permissions.iter().enumerate() {
                if permission.as_str() == "range" {
                    let message = "`range` is an operator of the policy language";
                    found.push(Diagnostic::error("selinux-permission", path.index(i), message));
                }
            }
            if permissions.is_empty() {
                found.push(empty(&path, "permissions"));
                continue;
            }
            let entry = rules.entry(spelled.to_owned()).or_default().entry(class.to_string()).or_default();
            entry.extend(permissions.iter().map(ToString::to_string));
        }
    }
    rules
}

fn empty(path: &FieldPath, what: &str) -> Diagnostic {
    Diagnostic::error("selinux-empty-list", path.clone(), format!("the list of {what} is empty"))
        .with_help("name at least one, or leave the entry out")
}

/// `notself` and `other` stand for every type but the own one in newer compilers, and for a missing type in older
/// ones; neither is what an entry of `allow` can mean.
fn check_target(text: &str, path: &FieldPath) -> Result<(), Diagnostic> {
    let message = match text {
        "notself" | "other" => format!("{text:?} stands for all other types of the policy"),
        _ if text.starts_with(|c: char| !c.is_ascii_alphabetic()) => {
            format!("{text:?} is no type: a type starts with a letter")
        }
        _ => return Ok(()),
    };
    Err(Diagnostic::error("selinux-target", path.clone(), message))
}

struct Walk<'w> {
    ancestors: &'w dyn Ancestors,
    options: &'w Options,
    /// From the profile that is rendered to the one that is looked at.
    path: Vec<String>,
    done: BTreeSet<String>,
    found: &'w mut Vec<Diagnostic>,
}

impl Walk<'_> {
    /// Depth is bounded by [`MAX_CHAIN`].
    fn inherits(&mut self, spec: &SelinuxProfileSpec, path: &FieldPath, into: &mut Resolved) {
        let top = self.path.len() == 1;
        for (i, entry) in spec.inherits().iter().enumerate() {
            let name = entry.name.as_str();
            let at = if top { path.index(i) } else { path.clone() };
            match entry.kind {
                InheritKind::System => {
                    if name != BASE_TEMPLATE
                        && let Err(d) = check_template(name, &at.key("name"), self.options)
                    {
                        self.found.push(d);
                    }
                    if !super::is_block_name(name) {
                        let message = format!("{:?} cannot be the name of a template", brief(name));
                        self.found.push(Diagnostic::error("selinux-name", at.key("name"), message));
                    }
                    into.templates.insert(name.to_owned());
                }
                InheritKind::SelinuxProfile => {
                    if top {
                        into.parents.insert(name.to_owned());
                    }
                    self.ancestor(name, &at, into);
                }
            }
        }
    }

    fn ancestor(&mut self, name: &str, at: &FieldPath, into: &mut Resolved) {
        if let Some(start) = self.path.iter().position(|p| p == name) {
            let mut cycle = self.path[start..].join(" → ");
            cycle.push_str(" → ");
            cycle.push_str(name);
            self.fail("selinux-inherit-cycle", at, format!("profiles inherit each other: {cycle}"));
            return;
        }
        if !self.done.insert(name.to_owned()) {
            return;
        }
        if self.path.len() > MAX_CHAIN || self.done.len() > MAX_ANCESTORS {
            self.fail(
                "selinux-inherit-depth",
                at,
                format!("more than {MAX_CHAIN} profiles inherit one another"),
            );
            return;
        }
        let Some(spec) = self.ancestors.get(name) else {
            let path = self.path.join(" → ");
            self.fail(
                "selinux-inherit-missing",
                at,
                format!("{path} inherits {name:?}, which does not exist"),
            );
            return;
        };
        if spec.state == State::Disabled {
            let path = self.path.join(" → ");
            self.fail("selinux-inherit-disabled", at, format!("{path} inherits {name:?}, which is disabled"));
            return;
        }
        if spec.mode == SelinuxMode::Permissive {
            let message = format!("{name:?} is permissive; that is not inherited");
            into.notes.push(Diagnostic::new(
                spo_model::Severity::Info,
                "selinux-inherit-permissive",
                at.clone(),
                message,
            ));
        }
        let mut inner = Vec::new();
        let rules = own_rules(name, &spec, &FieldPath::of("spec"), &mut inner);
        for d in inner {
            let message = format!("the inherited profile {name:?} has an error at {}: {}", d.path, d.message);
            self.fail(&d.code, at, message);
        }
        merge(&mut into.rules, rules);
        self.path.push(name.to_owned());
        self.inherits(&spec, at, into);
        self.path.pop();
    }

    fn fail(&mut self, code: &str, at: &FieldPath, message: String) {
        self.found.push(Diagnostic::error(code, at.clone(), message));
    }
}
