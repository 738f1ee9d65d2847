//! From a profile and those it builds on to the bytes that go onto a node.

use std::collections::BTreeMap;

use spo_model::{
    Diagnostic, FieldPath,
    base::{self, BaseProfiles},
    names::{NamespaceName, ProfileKey},
    object::{AnyObject, AppArmorProfile, Metadata, RawSelinuxProfile, SeccompProfile, SelinuxProfile},
    selinux::SelinuxProfileSpec,
};
use spo_selinux_cil::Ancestors;

/// The profiles that others may build on.
#[derive(Clone, Debug, Default)]
pub struct Library {
    seccomp: BTreeMap<ProfileKey, SeccompProfile>,
    selinux: BTreeMap<ProfileKey, SelinuxProfile>,
}

impl Library {
    /// Adds a profile; kinds that nothing builds on are left out. The first of two with one key stays.
    pub fn add(&mut self, object: &AnyObject) {
        let Some(key) = object.key() else { return };
        match object {
            AnyObject::SeccompProfile(profile) => {
                self.seccomp.entry(key).or_insert_with(|| profile.clone());
            }
            AnyObject::SelinuxProfile(profile) => {
                self.selinux.entry(key).or_insert_with(|| profile.clone());
            }
            _ => {}
        }
    }
}

/// The profile of a name: in the user's namespace, else without one.
fn find<'a, T>(
    profiles: &'a BTreeMap<ProfileKey, T>,
    namespace: Option<&NamespaceName>,
    name: &str,
) -> Option<&'a T> {
    let name: spo_model::daemon::ObjectName = name.parse().ok()?;
    let own = ProfileKey { namespace: namespace.cloned(), name: name.clone() };
    profiles.get(&own).or_else(|| profiles.get(&ProfileKey { namespace: None, name }))
}

impl BaseProfiles for Library {
    fn local(&self, user: &ProfileKey, name: &str) -> Option<&SeccompProfile> {
        find(&self.seccomp, user.namespace.as_ref(), name)
    }

    fn remote(&self, reference: &str) -> Result<&SeccompProfile, String> {
        let name = reference.rsplit('/').next().unwrap_or(reference).replace([':', '@'], "-");
        Err(format!(
            "profiles are not pulled from registries here; \
             apply the base as a SeccompProfile and name it, for example baseProfileName: {name}"
        ))
    }
}

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What goes onto the node.
    pub bytes: Vec<u8>,
    /// What the author should know; no errors.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a profile of any kind; `None` for kinds that do not go onto nodes.
///
/// # Errors
/// Every reason why the profile cannot be installed.
pub fn compile(object: &AnyObject, library: &Library) -> Option<Result<Compiled, Vec<Diagnostic>>> {
    match object {
        AnyObject::SeccompProfile(profile) => Some(seccomp(profile, library)),
        AnyObject::SelinuxProfile(profile) => Some(selinux(profile, library)),
        AnyObject::RawSelinuxProfile(profile) => Some(raw_selinux(profile)),
        AnyObject::AppArmorProfile(profile) => Some(apparmor(profile)),
        _ => None,
    }
}

fn seccomp(profile: &SeccompProfile, library: &Library) -> Result<Compiled, Vec<Diagnostic>> {
    let chain = base::chain(profile, library).map_err(|e| {
        vec![Diagnostic::error("base-profile", FieldPath::of("spec.baseProfileName"), e.to_string())]
    })?;
    let mut effective = profile.spec.clone();
    effective.base_profile_name = None;
    let rules = chain.iter().rev().flat_map(|p| p.spec.rules().iter().cloned()).collect();
    effective.syscalls = Some(rules);
    let bytes = serde_json::to_vec(&effective)
        .map_err(|e| vec![Diagnostic::error("json", FieldPath::of("spec"), e.to_string())])?;
    Ok(Compiled { bytes, diagnostics: Vec::new() })
}

fn selinux(profile: &SelinuxProfile, library: &Library) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, namespace) = identity(&profile.metadata);
    let ancestors = InNamespace { library, namespace: profile.metadata.namespace.as_ref() };
    let rendered = spo_selinux_cil::render(name, namespace, &profile.spec, &ancestors, &selinux_options())?;
    Ok(Compiled { bytes: rendered.cil.into_bytes(), diagnostics: rendered.diagnostics })
}

fn raw_selinux(profile: &RawSelinuxProfile) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, namespace) = identity(&profile.metadata);
    let rendered = spo_selinux_cil::render_raw(name, namespace, &profile.spec, &selinux_options())?;
    Ok(Compiled { bytes: rendered.cil.into_bytes(), diagnostics: rendered.diagnostics })
}

fn selinux_options() -> spo_selinux_cil::Options {
    spo_selinux_cil::Options::default()
}

fn apparmor(profile: &AppArmorProfile) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, _) = identity(&profile.metadata);
    let rendered = spo_apparmor::render(name, &profile.spec, &spo_apparmor::RenderOptions::default())?;
    // The parser and people who look into the directory should know whose file it is.
    let owner = identity_text(&profile.metadata);
    let text = format!("# Written for AppArmorProfile {owner}; changes are overwritten.\n{}", rendered.text);
    Ok(Compiled { bytes: text.into_bytes(), diagnostics: rendered.diagnostics })
}

struct InNamespace<'a> {
    library: &'a Library,
    namespace: Option<&'a NamespaceName>,
}

impl Ancestors for InNamespace<'_> {
    fn get(&self, name: &str) -> Option<SelinuxProfileSpec> {
        find(&self.library.selinux, self.namespace, name).map(|profile| profile.spec.clone())
    }
}

fn identity(metadata: &Metadata) -> (&str, Option<&str>) {
    let name = metadata.name.as_ref().map_or("", |name| name.as_str());
    (name, metadata.namespace.as_ref().map(NamespaceName::as_str))
}

fn identity_text(metadata: &Metadata) -> String {
    match identity(metadata) {
        (name, Some(namespace)) => format!("{namespace}/{name}"),
        (name, None) => name.to_owned(),
    }
}
