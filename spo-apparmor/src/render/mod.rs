//! A resource's spec → profile text that was parsed, checked and is safe to load.
//!
//! [`render`] is what the operator, the command line and the node agent call. Rules are built as trees and
//! printed, never pasted from strings, so no value can leave its place; the result is read again by
//! [`crate::load`] before it is given out.

mod builtin;
mod description;
mod from_text;
mod raw;

use spo_model::{
    Diagnostic, FieldPath, Severity,
    apparmor::{AppArmorBody, AppArmorMode, AppArmorProfileSpec},
};

pub use builtin::Builtin;
pub use from_text::{Leftover, to_abstract};

use crate::{ParseOptions, Resolver, tree::Version};

/// What is accepted and how it is written.
#[derive(Clone, Copy)]
pub struct RenderOptions<'a> {
    /// The release that will compile the text.
    pub version: Version,
    /// Where includes are looked up; `None` for the well-known tunables and empty abstractions.
    pub resolver: Option<&'a dyn Resolver>,
    /// Beginnings of the paths that a raw body may include in the form `<path>`.
    pub includes: &'a [&'a str],
    /// What happens when the name in a raw body is another one than the resource's.
    pub name_mismatch: NameMismatch,
    /// Whether a raw body may attach to programs, which confines processes of the host.
    pub attachments: bool,
    /// Whether a raw body may have the modes unconfined and default_allow.
    pub unconfined: bool,
    /// Whether an enforced abstract body also gets denies for the dangerous files of `/proc` and `/sys`.
    pub protect: bool,
}

impl Default for RenderOptions<'_> {
    fn default() -> Self {
        Self {
            version: Version::default(),
            resolver: None,
            includes: &["abstractions/", "tunables/"],
            name_mismatch: NameMismatch::Reject,
            attachments: false,
            unconfined: false,
            protect: true,
        }
    }
}

/// What happens when the name in a raw body is another one than the resource's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMismatch {
    /// It is an error that names both.
    Reject,
    /// The name in the text is replaced.
    Rewrite,
}

/// A checked profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The name under which the kernel knows it.
    pub name: String,
    /// The text; it ends with a newline.
    pub text: String,
    /// Warnings and remarks; never errors.
    pub diagnostics: Vec<Diagnostic>,
}

/// Makes the profile text of a resource.
///
/// `name` is the resource's name and becomes the profile's. Takes both bodies; does not look at
/// `spec.state`, which says whether the text is loaded, not what it is.
///
/// # Errors
/// Every reason why the spec must not become a profile, with the field at fault and, for raw bodies, the
/// place in the text.
///
/// ```
/// use spo_apparmor::render::{RenderOptions, render};
/// use spo_model::apparmor::{AppArmorAbstract, AppArmorBody, AppArmorProfileSpec, Filesystem};
///
/// let body = AppArmorAbstract {
///     filesystem: Some(Filesystem { read_only_paths: Some(vec!["/etc/app/**".into()]), ..Default::default() }),
///     ..Default::default()
/// };
/// let spec = AppArmorProfileSpec { body: AppArmorBody::Abstract(body), ..Default::default() };
/// let rendered = render("app", &spec, &RenderOptions::default()).unwrap();
/// assert!(rendered.text.contains("  /etc/app/** r,\n"));
/// ```
pub fn render(
    name: &str,
    spec: &AppArmorProfileSpec,
    options: &RenderOptions<'_>,
) -> Result<Rendered, Vec<Diagnostic>> {
    if let Some(message) = name_fault(name) {
        return Err(vec![Diagnostic::error("bad-name", FieldPath::of("metadata.name"), message)]);
    }
    let (text, mut diagnostics) = match &spec.body {
        AppArmorBody::Abstract(body) => description::text(name, body, spec.mode, options)?,
        AppArmorBody::Raw(text) => raw::text(name, text, spec.mode, options)?,
    };
    let raw = matches!(spec.body, AppArmorBody::Raw(_));
    let resolver = options.resolver.unwrap_or(&Builtin);
    let parse = ParseOptions { version: options.version, tokens: false };
    let unit = crate::load(&text, resolver, parse);
    let path = FieldPath::of(if raw { "spec.policy" } else { "spec.abstract" });
    diagnostics.extend(unit.diagnostics.iter().cloned().map(|d| Diagnostic { path: path.clone(), ..d }));
    if raw {
        let lints = crate::lint::lint(&unit, &text);
        // The mode comes from the resource, which says so itself.
        diagnostics.extend(lints.into_iter().map(|d| Diagnostic { path: path.clone(), ..d }));
    }
    let (errors, others): (Vec<_>, Vec<_>) =
        diagnostics.into_iter().partition(|d| d.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Rendered { name: name.to_owned(), text, diagnostics: others })
}

/// Why a name is not one that the kernel, the runtimes and the file system take as one plain word.
fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("the profile has no name".to_owned());
    }
    if name.len() > 253 {
        return Some("the name is longer than 253 bytes".to_owned());
    }
    if let Some(c) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')) {
        return Some(format!("{c:?} cannot be in the name of a profile"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return Some(format!("{name:?} does not begin with a letter or digit"));
    }
    let reserved = name == "unconfined";
    reserved.then(|| "\"unconfined\" is what the kernel calls the absence of a profile".to_owned())
}

/// The flag of the mode, `None` for enforce, which needs none.
fn mode_flag(mode: AppArmorMode) -> Option<&'static str> {
    match mode {
        AppArmorMode::Enforce => None,
        AppArmorMode::Complain => Some("complain"),
    }
}
