//! SelinuxProfile and RawSelinuxProfile → one CIL module.
//!
//! ```text
//! spec + ancestors ──ancestry──► Effective (templates, rules) ──► Item tree ──► text
//! raw policy ──parse──► tree ──raw (allow list, subjects)──► block around it ──► text
//! ```
//!
//! A profile `web` becomes the module `spo_web` with a block `web`, so its process type is `web.process`. `_`
//! cannot occur in a Kubernetes name, so the module never shadows one of the distribution's. With a namespace there
//! is a second block `web_<namespace>` that holds aliases of the same types.

mod ancestry;
mod raw;

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{
    Diagnostic, FieldPath, State,
    selinux::{SelinuxMode, SelinuxProfileSpec},
};

use crate::{
    suggest,
    syntax::{Item, Version},
};

pub use ancestry::{Ancestors, NoAncestors};
pub use raw::render_raw;

/// The template that gives a block its types `process` and `socket`.
pub const BASE_TEMPLATE: &str = "container";

/// How profiles are rendered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether ancestors are merged into the module or named in it.
    pub layout: Layout,
    /// The templates a profile may inherit; `None` allows every template of [`crate::templates::NAMES`] and any other.
    pub allowed_templates: Option<BTreeSet<String>>,
    /// Block names that are taken besides the templates.
    pub reserved: BTreeSet<String>,
    /// The compiler that will read the module.
    pub version: Version,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layout: Layout::Flat,
            allowed_templates: None,
            reserved: ["selinuxd", "selinuxrecording"].map(str::to_owned).into(),
            version: Version::default(),
        }
    }
}

impl Options {
    /// The same options with another layout.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// The same options with a list of allowed templates.
    #[must_use]
    pub fn with_allowed_templates<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.allowed_templates = Some(names.into_iter().map(Into::into).collect());
        self
    }
}

/// What becomes of the profiles a profile inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Their rules are in the module: modules do not depend on each other.
    #[default]
    Flat,
    /// Rules are in an abstract block `<name>_rules` that children inherit: a parent must be installed with its
    /// children, and changes when it changes.
    Linked,
}

/// A rendered module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Name of the module and stem of its file: `spo_<name>`.
    pub module: String,
    /// The value for a pod's `seLinuxOptions.type`.
    pub usage: String,
    /// The policy.
    pub cil: String,
    /// What the author should know; never errors.
    pub diagnostics: Vec<Diagnostic>,
}

/// Renders a SelinuxProfile.
///
/// The text depends on the arguments only, and lists are sorted. `@self`, `process` and the profile's own
/// `<name>.process` as targets become the word `self`, which stays right wherever the rules are inherited.
///
/// # Errors
/// Diagnostics with the field at fault: a name that no CIL block can have, a template that is not allowed, an
/// ancestor that is missing, disabled, or inherits itself (with the path), an empty list, a word of the language in
/// place of a name, and a disabled profile.
pub fn render(
    name: &str,
    namespace: Option<&str>,
    spec: &SelinuxProfileSpec,
    ancestors: &dyn Ancestors,
    options: &Options,
) -> Result<Rendered, Vec<Diagnostic>> {
    let mut found = check_names(name, namespace, options);
    if spec.state == State::Disabled {
        found.push(disabled());
    }
    let own = ancestry::own_rules(name, spec, &FieldPath::of("spec"), &mut found);
    let resolved = ancestry::resolve(name, spec, ancestors, options, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let mut items = Vec::new();
    let mut body = vec![inherit(BASE_TEMPLATE)];
    body.extend(resolved.templates.iter().filter(|t| *t != BASE_TEMPLATE).map(|t| inherit(t)));
    if spec.mode == SelinuxMode::Permissive {
        body.push(Item::words(["typepermissive", "process"]));
    }
    match options.layout {
        Layout::Flat => {
            let mut rules = resolved.rules;
            merge(&mut rules, own);
            body.extend(allow_items(&rules));
        }
        Layout::Linked => {
            let rules_block = format!("{name}_rules");
            let mut statements = vec![Item::words(["blockabstract", &rules_block])];
            statements.extend(resolved.parents.iter().map(|p| inherit(&format!("{p}_rules"))));
            statements.extend(allow_items(&own));
            items.push(block(&rules_block, statements));
            body.push(inherit(&rules_block));
        }
    }
    items.push(block(name, body));
    items.extend(alias_block(name, namespace));
    finish(name, &items, resolved.notes)
}

/// Templates and rules of a profile with everything it inherits, as flat rendering has them.
pub(crate) fn flatten(
    name: &str,
    spec: &SelinuxProfileSpec,
    ancestors: &dyn Ancestors,
) -> Result<(BTreeSet<String>, Rules), Vec<Diagnostic>> {
    let options = Options::default();
    let mut found = check_names(name, None, &options);
    let own = ancestry::own_rules(name, spec, &FieldPath::of("spec"), &mut found);
    let mut resolved = ancestry::resolve(name, spec, ancestors, &options, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    merge(&mut resolved.rules, own);
    resolved.templates.insert(BASE_TEMPLATE.to_owned());
    Ok((resolved.templates, resolved.rules))
}

/// The name of a profile's module.
pub(crate) fn module_name(profile: &str) -> String {
    format!("spo_{profile}")
}

/// Rules of one profile: target → class → permissions, names as the policy spells them.
pub(crate) type Rules = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

pub(crate) fn merge(into: &mut Rules, from: Rules) {
    for (target, classes) in from {
        let entry = into.entry(target).or_default();
        for (class, permissions) in classes {
            entry.entry(class).or_default().extend(permissions);
        }
    }
}

/// The names of the module, its block and its alias block; one diagnostic for each that cannot be.
fn check_names(name: &str, namespace: Option<&str>, options: &Options) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let path = FieldPath::of("metadata.name");
    if !is_block_name(name) {
        let message = format!(
            "{:?} cannot be the name of an SELinux profile: the policy language wants a letter first, then letters, digits, `_` and `-`, at most 253 in all",
            crate::syntax::brief(name)
        );
        found.push(
            Diagnostic::error("selinux-name", path.clone(), message)
                .with_help("choose a name that starts with a letter and has no dot"),
        );
    }
    if crate::templates::NAMES.contains(&name) || options.reserved.contains(name) {
        let message = format!("the name {name:?} is taken by a block of the node's policy");
        found.push(Diagnostic::error("selinux-name-reserved", path, message));
    }
    if let Some(namespace) = namespace
        && (namespace.is_empty() || !namespace.bytes().all(is_name_byte) || namespace.len() > 253)
    {
        let message = format!("{:?} cannot be part of the name of a block", crate::syntax::brief(namespace));
        found.push(Diagnostic::error("selinux-name", FieldPath::of("metadata.namespace"), message));
    }
    found
}

fn is_block_name(name: &str) -> bool {
    name.len() <= 253
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn disabled() -> Diagnostic {
    Diagnostic::error(
        "selinux-disabled",
        FieldPath::of("spec.state"),
        "a disabled profile is not rendered; its module is removed from nodes",
    )
}

fn check_template(name: &str, path: &FieldPath, options: &Options) -> Result<(), Diagnostic> {
    let Some(allowed) = &options.allowed_templates else { return Ok(()) };
    if allowed.contains(name) {
        return Ok(());
    }
    let message = format!("the template {name:?} is not allowed");
    let d = Diagnostic::error("selinux-template-not-allowed", path.clone(), message);
    Err(match suggest::nearest(name, allowed.iter().map(String::as_str)) {
        Some(near) => d.with_help(format!("did you mean {near:?}?")),
        None => d.with_help("allow it in `spec.selinux.options.allowedSystemProfiles`"),
    })
}

fn inherit(template: &str) -> Item {
    Item::words(["blockinherit", template])
}

fn block(name: &str, statements: impl IntoIterator<Item = Item>) -> Item {
    Item::statement("block", std::iter::once(Item::word(name)).chain(statements))
}

fn allow_items(rules: &Rules) -> Vec<Item> {
    let mut items = Vec::new();
    for (target, classes) in rules {
        for (class, permissions) in classes {
            let class_permissions = Item::List(vec![Item::word(class), Item::words(permissions)]);
            items.push(Item::statement(
                "allow",
                [Item::word("process"), Item::word(target), class_permissions],
            ));
        }
    }
    items
}

/// The block of the names that releases before 0.9 used: aliases, which both compiler generations understand.
fn alias_block(name: &str, namespace: Option<&str>) -> Option<Item> {
    let namespace = namespace?;
    let mut statements = Vec::new();
    for alias in ["process", "socket"] {
        statements.push(Item::words(["typealias", alias]));
        statements.push(Item::words(["typealiasactual", alias, &format!("{name}.{alias}")]));
    }
    Some(block(&format!("{name}_{namespace}"), statements))
}

/// The text of a module. What cannot be written is an error, never a shorter policy.
fn finish(name: &str, items: &[Item], diagnostics: Vec<Diagnostic>) -> Result<Rendered, Vec<Diagnostic>> {
    use std::fmt::Write;
    let mut cil = String::new();
    for item in items {
        if writeln!(cil, "{item}").is_err() {
            let message = "a text in the policy can be written neither as a word nor as a string";
            return Err(vec![Diagnostic::error("selinux-unprintable", FieldPath::of("spec"), message)]);
        }
    }
    Ok(Rendered { module: module_name(name), usage: format!("{name}.process"), cil, diagnostics })
}

#[cfg(test)]
mod tests;
