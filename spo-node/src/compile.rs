//! From a profile and those it builds on to the bytes that go onto a node.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{
    Diagnostic, FieldPath, Severity,
    apparmor::AppArmorBody,
    base::{self, BaseProfiles},
    daemon::ObjectName,
    names::{NamespaceName, ProfileKey},
    object::{AnyObject, AppArmorProfile, Metadata, RawSelinuxProfile, SeccompProfile, SelinuxProfile},
    seccomp::{Arch, SyscallName},
    selinux::SelinuxProfileSpec,
};
use spo_seccomp::{AllowList, ArchExt as _};
use spo_selinux_cil::Ancestors;

use crate::{artefact::Origin, restrictions::Restrictions};

/// The profiles that others may build on.
#[derive(Clone, Debug, Default)]
pub struct Library {
    seccomp: BTreeMap<ProfileKey, SeccompProfile>,
    selinux: BTreeMap<ProfileKey, SelinuxProfile>,
    shared: Option<NamespaceName>,
    /// The only namespaces whose profiles can be here; `None` for all.
    seen: Option<Vec<NamespaceName>>,
}

impl Library {
    /// An empty one, in which profiles of every namespace find those of one: a cluster's operator keeps the base
    /// profiles that it brings in its own.
    pub fn sharing(namespace: NamespaceName) -> Self {
        Self { shared: Some(namespace), ..Self::default() }
    }

    /// The same for who is restricted to some namespaces: a base elsewhere is not missing, but out of sight.
    #[must_use]
    pub fn seeing(self, namespaces: Option<Vec<NamespaceName>>) -> Self {
        Self { seen: namespaces, ..self }
    }

    /// Where a profile of a namespace looks for what it builds on: at home, then where there is no namespace, then
    /// where everybody may look.
    fn find<'a, T>(
        &self,
        profiles: &'a BTreeMap<ProfileKey, T>,
        namespace: Option<&NamespaceName>,
        name: &str,
    ) -> Option<&'a T> {
        let name: ObjectName = name.parse().ok()?;
        let places = [namespace.cloned(), None, self.shared.clone()];
        places.into_iter().find_map(|namespace| profiles.get(&ProfileKey { namespace, name: name.clone() }))
    }

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

    /// The SelinuxProfiles as profiles of a namespace see them.
    pub fn ancestors<'a>(&'a self, namespace: Option<&'a NamespaceName>) -> InNamespace<'a> {
        InNamespace { library: self, namespace }
    }
}

impl BaseProfiles for Library {
    fn local(&self, user: &ProfileKey, name: &str) -> Option<&SeccompProfile> {
        self.find(&self.seccomp, user.namespace.as_ref(), name)
    }

    fn named(&self, key: &ProfileKey) -> Option<&SeccompProfile> {
        self.seccomp.get(key)
    }

    fn sees(&self, namespace: &NamespaceName) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.contains(namespace))
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
    /// Which of its lines the author wrote, if any.
    pub origin: Option<Origin>,
}

/// Compiles a profile of any kind; `None` for kinds that do not go onto nodes.
///
/// # Errors
/// Every reason why the profile cannot be installed.
pub fn compile(object: &AnyObject, library: &Library) -> Option<Result<Compiled, Vec<Diagnostic>>> {
    compile_allowed(object, library, &Restrictions::default())
}

/// As [`compile`], of what an administrator allows. What counts is the profile with all that it inherits.
///
/// # Errors
/// Every reason why the profile cannot be installed, or everything in it that is not allowed.
pub fn compile_allowed(
    object: &AnyObject,
    library: &Library,
    restrictions: &Restrictions,
) -> Option<Result<Compiled, Vec<Diagnostic>>> {
    match object {
        AnyObject::SeccompProfile(profile) => Some(seccomp(profile, library, restrictions)),
        AnyObject::SelinuxProfile(profile) => Some(selinux(profile, object, library, restrictions)),
        AnyObject::RawSelinuxProfile(profile) => Some(raw_selinux(profile, object, library, restrictions)),
        AnyObject::AppArmorProfile(profile) => Some(apparmor(profile)),
        _ => None,
    }
}

/// A SeccompProfile with everything it inherits: the exact union, and where each rule comes from.
///
/// # Errors
/// A base that cannot be had, or a union that no profile expresses.
pub fn effective(profile: &SeccompProfile, library: &Library) -> Result<Effective, Vec<Diagnostic>> {
    let failed = |message: String| {
        vec![Diagnostic::error("base-profile", FieldPath::of("spec.baseProfileName"), message)]
    };
    let chain = base::chain(profile, library).map_err(|e| failed(e.to_string()))?;
    let specs: Vec<_> = chain.iter().map(|profile| &profile.spec).collect();
    let effective = spo_seccomp::inherit(&specs, &spo_seccomp::Options::new(Arch::host())).map_err(|e| {
        match chain.len() {
            1 => vec![Diagnostic::error("seccomp", FieldPath::of("spec.syscalls"), e.to_string())],
            _ => failed(e.to_string()),
        }
    })?;
    let profiles = chain.iter().map(|profile| identity_text(&profile.metadata)).collect();
    Ok(Effective { profiles, effective })
}

/// What a SeccompProfile with all that it inherits permits beyond what an administrator allows; `None` if it is within
/// that, or its base cannot be had.
pub fn excess(
    profile: &SeccompProfile,
    library: &Library,
    allowed: &AllowList,
) -> Option<spo_seccomp::Excess> {
    let Effective { effective, .. } = effective(profile, library).ok()?;
    let spec = if profile.spec.base_profile_name.is_none() { &profile.spec } else { &effective.profile };
    spo_seccomp::excess(spec, allowed)
}

/// A SeccompProfile with everything it inherits.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The profiles of the chain, the requesting one first.
    pub profiles: Vec<String>,
    /// Their union; its origins are indices into `profiles`.
    pub effective: spo_seccomp::Effective,
}

fn seccomp(
    profile: &SeccompProfile,
    library: &Library,
    restrictions: &Restrictions,
) -> Result<Compiled, Vec<Diagnostic>> {
    // A profile without a base is written rule by rule as its author has them; its meaning is checked all the same.
    let Effective { effective, .. } = effective(profile, library)?;
    let spec = if profile.spec.base_profile_name.is_none() { &profile.spec } else { &effective.profile };
    let forbidden = spo_seccomp::check_allowed(spec, &restrictions.seccomp);
    if !forbidden.is_empty() {
        return Err(forbidden);
    }
    let mut lints = spo_seccomp::lint::lint(spec, Arch::host());
    let enforced = spo_seccomp::enforce(spec, &restrictions.enforced);
    if let Some(enforced) = &enforced {
        // The places are those of the author's rules; what the runtime lacks is what it lacks in the end.
        let floor = |lint: &Diagnostic| lint.code == "runtime-floor";
        lints.retain(|lint| !floor(lint));
        lints.extend(spo_seccomp::lint::lint(&enforced.profile, Arch::host()).into_iter().filter(floor));
        lints.insert(0, widened(&enforced.added));
    }
    let spec = enforced.as_ref().map_or(spec, |enforced| &enforced.profile);
    let text = spo_seccomp::runtime_spec::to_string(spec, Arch::host());
    Ok(Compiled { bytes: text.into_bytes(), diagnostics: warnings(lints), origin: None })
}

/// The code of the warning that a profile allows more than it says, since the settings want it so.
pub const ENFORCED: &str = "enforced-syscalls";

/// A profile must not get weaker without a word.
fn widened(added: &BTreeSet<SyscallName>) -> Diagnostic {
    let names: Vec<&str> = added.iter().take(NAMED).map(SyscallName::as_str).collect();
    let more = match added.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "the SecurityProfilesOperatorDaemon lets every profile make {}{more} (spec.security.enforcedSyscalls), so this \
         one allows more than it says",
        names.join(", ")
    );
    Diagnostic::warning(ENFORCED, FieldPath::of("spec.syscalls"), message)
}

/// The most syscalls that a warning names.
const NAMED: usize = 10;

/// A lint is about what the author probably did not mean; it stops nothing.
fn warnings(lints: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let soften = |lint: Diagnostic| Diagnostic { severity: lint.severity.min(Severity::Warning), ..lint };
    lints.into_iter().map(soften).collect()
}

fn selinux(
    profile: &SelinuxProfile,
    object: &AnyObject,
    library: &Library,
    restrictions: &Restrictions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, namespace) = identity(&profile.metadata);
    let ancestors = library.ancestors(profile.metadata.namespace.as_ref());
    let mut options = spo_selinux_cil::Options::default();
    options.allowed_templates = restrictions.templates().cloned();
    let rendered = spo_selinux_cil::render(name, namespace, &profile.spec, &ancestors, &options)?;
    within(restrictions, object, &ancestors, rendered)
}

fn raw_selinux(
    profile: &RawSelinuxProfile,
    object: &AnyObject,
    library: &Library,
    restrictions: &Restrictions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, namespace) = identity(&profile.metadata);
    let options = spo_selinux_cil::Options::default();
    let rendered = spo_selinux_cil::render_raw(name, namespace, &profile.spec, &options)?;
    within(restrictions, object, &library.ancestors(None), rendered)
}

/// A rendered SELinux profile, if an administrator allows it.
fn within(
    restrictions: &Restrictions,
    object: &AnyObject,
    ancestors: &dyn Ancestors,
    rendered: spo_selinux_cil::Rendered,
) -> Result<Compiled, Vec<Diagnostic>> {
    let found = restrictions.check_selinux(object, ancestors);
    let (wrong, known): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| d.severity == Severity::Error);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let diagnostics = rendered.diagnostics.into_iter().chain(known).collect();
    Ok(Compiled { bytes: rendered.cil.into_bytes(), diagnostics, origin: None })
}

fn apparmor(profile: &AppArmorProfile) -> Result<Compiled, Vec<Diagnostic>> {
    let (name, _) = identity(&profile.metadata);
    let rendered = spo_apparmor::render(name, &profile.spec, &spo_apparmor::RenderOptions::default())?;
    // The parser and people who look into the directory should know whose file it is.
    let owner = identity_text(&profile.metadata);
    let text = format!("# Written for AppArmorProfile {owner}; changes are overwritten.\n{}", rendered.text);
    let origin = match &profile.spec.body {
        AppArmorBody::Raw(_) => Some(Origin { path: FieldPath::of("spec.policy"), lines_before: 1 }),
        _ => None,
    };
    Ok(Compiled { bytes: text.into_bytes(), diagnostics: rendered.diagnostics, origin })
}

/// The SelinuxProfiles of a library as seen from one namespace.
#[derive(Clone, Copy, Debug)]
pub struct InNamespace<'a> {
    library: &'a Library,
    namespace: Option<&'a NamespaceName>,
}

impl Ancestors for InNamespace<'_> {
    fn get(&self, name: &str) -> Option<SelinuxProfileSpec> {
        self.library.find(&self.library.selinux, self.namespace, name).map(|profile| profile.spec.clone())
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
