//! What SELinux profiles of either kind allow on the built-in base, for the commands that ask.

use spo_model::object::{AnyObject, RawSelinuxProfile, SelinuxProfile};
use spo_node::compile::{Library, compile};
use spo_selinux_cil::{
    policy::Effective,
    resolve::{self, resolve},
    syntax::Forest,
    templates,
};

use crate::{Result, input};

/// Everything that a SelinuxProfile allows, with the reasons.
pub(crate) fn effective(
    profile: &SelinuxProfile,
    library: &Library,
    source: &input::Source,
) -> Result<Effective> {
    let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
    let base = spo_selinux_cil::Base::builtin().map_err(|problems| input::shown(source, &problems))?;
    let ancestors = library.ancestors(profile.metadata.namespace.as_ref());
    let checked =
        base.check(name, &profile.spec, &ancestors).map_err(|problems| input::shown(source, &problems))?;
    Ok(checked.effective())
}

/// The same for a RawSelinuxProfile: its module is resolved together with the base and the templates.
pub(crate) fn effective_raw(profile: &RawSelinuxProfile, source: &input::Source) -> Result<Effective> {
    let object = AnyObject::RawSelinuxProfile(profile.clone());
    let compiled = compile(&object, &Library::default()).ok_or("a RawSelinuxProfile is compiled")?;
    let compiled = compiled.map_err(|problems| input::shown(source, &problems))?;
    let module = String::from_utf8(compiled.bytes)?;
    let base = templates::minimal_base();
    let mut forest = Forest::new();
    for (name, text) in [("base", &base[..]), ("templates", templates::TEMPLATES), ("module", &module)] {
        forest.add(name, text).map_err(|problem| input::shown(source, &[problem]))?;
    }
    let policy = resolve(&forest, &resolve::Options::default())
        .map_err(|problems| input::shown(source, &unplaced(problems)))?;
    let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
    let domain = policy.find(&format!("{name}.process")).ok_or("the module has no process type")?;
    Ok(policy.effective(domain))
}

/// Findings about the module, whose lines are not those of the manifest.
fn unplaced(problems: Vec<spo_model::Diagnostic>) -> Vec<spo_model::Diagnostic> {
    problems.into_iter().map(|problem| spo_model::Diagnostic { span: None, ..problem }).collect()
}
