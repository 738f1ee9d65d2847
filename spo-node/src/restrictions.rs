//! What the settings of a cluster let profiles be: the rules of an administrator over those of profile authors.
//!
//! | setting of the SecurityProfilesOperatorDaemon | what it does |
//! | --- | --- |
//! | `security.allowedSyscalls`, `security.allowedSeccompActions` | what seccomp profiles may permit |
//! | `security.deniedSyscalls` | what none of them may permit |
//! | `security.enforcedSyscalls` | what all of them permit, whatever they say |
//! | `selinux.enableRawSelinuxProfiles` | whether there are profiles in CIL |
//! | `selinux.options.allowedSystemProfiles` | the templates that may be inherited |
//! | `selinux.options.denied…`, `selinux.options.allowed…` | added to and taken off the built-in deny list |
//!
//! Everything that puts profiles onto nodes and everything that admits them asks here, so both give one answer.
//!
//! One entry of the built-in list is a warning and no error: capabilities that a profile gives to itself. Recorded
//! profiles of root workloads have them, releases up to 0.10 took such profiles, and what a container can do with them is
//! bounded by the capabilities of its pod. A setting that names these classes as denied makes it an error.

use std::collections::BTreeSet;

use spo_model::{
    Diagnostic, FieldPath, Severity,
    daemon::DaemonSpec,
    object::{AnyObject, SelinuxProfile},
    seccomp::SyscallName,
};
use spo_seccomp::AllowList;
use spo_selinux_cil::{Ancestors, profile::Guard};

/// The rules of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restrictions {
    /// What seccomp profiles may permit.
    pub seccomp: AllowList,
    /// The syscalls that every seccomp profile allows, whatever it says.
    pub enforced: BTreeSet<SyscallName>,
    templates: Option<BTreeSet<String>>,
    /// The deny list of SELinux; `None` for none.
    guard: Option<Guard>,
    /// Whether a profile may not give itself capabilities.
    capabilities_denied: bool,
    raw_selinux: bool,
}

impl Default for Restrictions {
    /// Those of settings that say nothing.
    fn default() -> Self {
        Self {
            seccomp: AllowList::default(),
            enforced: BTreeSet::new(),
            templates: None,
            guard: Some(Guard::default()),
            capabilities_denied: false,
            raw_selinux: true,
        }
    }
}

/// The classes of what a process may do by its capabilities.
const CAPABILITIES: [&str; 2] = ["capability", "capability2"];

impl Restrictions {
    /// Those of a configuration.
    ///
    /// # Errors
    /// Names that are no names of syscalls, and syscalls that are denied and enforced. A list that cannot be understood
    /// must not be read as a shorter one.
    pub fn of(settings: &DaemonSpec) -> Result<Self, Vec<Diagnostic>> {
        let (seccomp, enforced) = syscalls(settings)?;
        let mut this = Self { seccomp, enforced, ..Self::default() };
        let Some(selinux) = &settings.selinux else { return Ok(this) };
        this.raw_selinux = selinux.enable_raw_selinux_profiles != Some(false);
        let Some(options) = &selinux.options else { return Ok(this) };
        fn names(list: &Option<Vec<String>>) -> impl Iterator<Item = &str> {
            list.iter().flatten().map(String::as_str)
        }
        this.templates = options.allowed_system_profiles.as_ref().map(|list| list.iter().cloned().collect());
        let allowed = names(&options.allowed_types)
            .chain(names(&options.allowed_classes))
            .chain(names(&options.allowed_permissions));
        this.guard = Some(Guard::default().adjusted(
            allowed,
            names(&options.denied_types),
            names(&options.denied_classes),
            names(&options.denied_permissions),
        ));
        this.capabilities_denied = names(&options.denied_classes).any(|name| CAPABILITIES.contains(&name));
        Ok(this)
    }

    /// None at all: less than the default, which denies some of SELinux. For what was allowed before, and may only be
    /// compared with what is there.
    pub fn unlimited() -> Self {
        Self { guard: None, ..Self::default() }
    }

    /// What an SELinux profile has that it may not have, and what its author should know. Nothing for other kinds.
    pub fn check_selinux(&self, object: &AnyObject, ancestors: &dyn Ancestors) -> Vec<Diagnostic> {
        match object {
            AnyObject::RawSelinuxProfile(_) if !self.raw_selinux => {
                vec![
                    Diagnostic::error(
                        "raw-selinux-disabled",
                        FieldPath::of("kind"),
                        "RawSelinuxProfiles are switched off in the SecurityProfilesOperatorDaemon",
                    )
                    .with_help("describe the profile as a SelinuxProfile"),
                ]
            }
            AnyObject::SelinuxProfile(profile) => self.selinux(profile, ancestors),
            _ => Vec::new(),
        }
    }

    /// The templates that may be inherited; `None` for all.
    pub const fn templates(&self) -> Option<&BTreeSet<String>> {
        self.templates.as_ref()
    }

    fn selinux(&self, profile: &SelinuxProfile, ancestors: &dyn Ancestors) -> Vec<Diagnostic> {
        let name = profile.metadata.name.as_ref().map_or("", |name| name.as_str());
        let own = CAPABILITIES.map(|class| FieldPath::of("spec.allow").key("@self").key(class));
        let Some(guard) = &self.guard else { return Vec::new() };
        let mut found = guard.check_names(name, &profile.spec, ancestors);
        for finding in &mut found {
            if !self.capabilities_denied && own.contains(&finding.path) {
                finding.severity = Severity::Warning;
            }
        }
        found
    }
}

/// What profiles may permit, and what they always do.
fn syscalls(settings: &DaemonSpec) -> Result<(AllowList, BTreeSet<SyscallName>), Vec<Diagnostic>> {
    let Some(security) = &settings.security else { return Ok(Default::default()) };
    let mut wrong = security.contradictions();
    let mut read = |field: &str, list: &Option<Vec<String>>| {
        let mut names: BTreeSet<SyscallName> = BTreeSet::new();
        for (index, name) in list.iter().flatten().enumerate() {
            match name.parse() {
                Ok(name) => {
                    names.insert(name);
                }
                Err(error) => {
                    let path = FieldPath::of("spec.security").key(field).index(index);
                    wrong.push(Diagnostic::error("syscall-name", path, format!("{name:?}: {error}")));
                }
            }
        }
        names
    };
    let mut list = AllowList {
        syscalls: read("allowedSyscalls", &security.allowed_syscalls),
        denied: read("deniedSyscalls", &security.denied_syscalls),
        actions: security.allowed_seccomp_actions.iter().flatten().copied().collect(),
        ..AllowList::default()
    };
    let enforced = read("enforcedSyscalls", &security.enforced_syscalls);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if !list.syscalls.is_empty() {
        // What a profile has anyhow it may say as well.
        list.syscalls.extend(enforced.iter().cloned());
    }
    Ok((list, enforced))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spo_selinux_cil::NoAncestors;

    use super::*;
    use crate::fixture::object;

    fn of(spec: Value) -> Result<Restrictions, Vec<Diagnostic>> {
        match object("SecurityProfilesOperatorDaemon", spec) {
            AnyObject::SecurityProfilesOperatorDaemon(daemon) => Restrictions::of(&daemon.spec),
            other => panic!("{other:?}"),
        }
    }

    fn found(options: Value, allow: Value) -> Vec<(Severity, String)> {
        let restrictions = of(json!({ "selinux": { "options": options } })).expect("settings");
        let profile = object("SelinuxProfile", json!({ "allow": allow }));
        let found = restrictions.check_selinux(&profile, &NoAncestors);
        found.into_iter().map(|finding| (finding.severity, finding.path.to_string())).collect()
    }

    #[test]
    fn a_list_that_cannot_be_read_is_no_shorter_list() {
        let wrong =
            of(json!({ "security": { "allowedSyscalls": ["read", "NOT A NAME"] } })).expect_err("refused");
        assert_eq!(wrong[0].path.to_string(), "spec.security.allowedSyscalls[1]");
        assert_eq!(of(json!({})), Ok(Restrictions::default()));
    }

    #[test]
    fn what_is_denied_and_what_is_enforced_are_read_as_whole_lists() {
        for field in ["deniedSyscalls", "enforcedSyscalls"] {
            let wrong = of(json!({ "security": { field: ["read", "NOT A NAME"] } })).expect_err("refused");
            assert_eq!(wrong[0].path.to_string(), format!("spec.security.{field}[1]"));
        }
        let both = json!({ "security": { "deniedSyscalls": ["bpf"], "enforcedSyscalls": ["futex", "bpf"] } });
        let wrong = of(both).expect_err("refused");
        assert_eq!(wrong[0].path.to_string(), "spec.security.enforcedSyscalls[1]");
        let one = |name: &str| BTreeSet::from([name.parse().expect("a name")]);
        let open = of(json!({ "security": { "enforcedSyscalls": ["futex"] } })).expect("settings");
        assert_eq!((&open.enforced, open.seccomp), (&one("futex"), AllowList::default()));
        let lists = json!({ "security": { "allowedSyscalls": ["read"], "enforcedSyscalls": ["futex"] } });
        let narrow = of(lists).expect("settings");
        assert_eq!(narrow.seccomp.syscalls.len(), 2, "what is enforced may be said");
    }

    #[test]
    fn the_deny_list_is_the_built_in_one_as_the_settings_change_it() {
        let shadow = json!({ "shadow_t": { "file": ["read"] } });
        let error = |path: &str| vec![(Severity::Error, path.to_owned())];
        assert_eq!(found(json!({}), shadow.clone()), error("spec.allow.shadow_t.file"));
        assert_eq!(found(json!({ "allowedTypes": ["shadow_t"] }), shadow.clone()), []);
        let both = json!({ "allowedTypes": ["shadow_t"], "deniedTypes": ["shadow_t"] });
        assert_eq!(found(both, shadow), error("spec.allow.shadow_t.file"), "denied wins");
        let etc = json!({ "etc_t": { "file": ["read", "relabelto"], "dir": ["read"] } });
        assert_eq!(found(json!({}), etc.clone()), error("spec.allow.etc_t.file"));
        assert_eq!(found(json!({ "deniedClasses": ["dir"] }), etc).len(), 2);
    }

    /// Profiles recorded by releases up to 0.10 have this, and were accepted.
    #[test]
    fn own_capabilities_are_a_warning_unless_the_settings_deny_them() {
        let own = json!({ "@self": { "capability": ["chown"] } });
        let path = r#"spec.allow["@self"].capability"#.to_owned();
        assert_eq!(found(json!({}), own.clone()), [(Severity::Warning, path.clone())]);
        assert_eq!(found(json!({ "deniedClasses": ["capability"] }), own), [(Severity::Error, path)]);
        let others = json!({ "etc_t": { "capability": ["chown"] } });
        assert_eq!(found(json!({}), others)[0].0, Severity::Error);
    }

    #[test]
    fn without_limits_nothing_is_denied() {
        let shadow = object("SelinuxProfile", json!({ "allow": { "shadow_t": { "file": ["read"] } } }));
        assert_eq!(Restrictions::default().check_selinux(&shadow, &NoAncestors).len(), 1);
        assert_eq!(Restrictions::unlimited().check_selinux(&shadow, &NoAncestors), []);
    }

    #[test]
    fn raw_profiles_can_be_switched_off() {
        let raw = object("RawSelinuxProfile", json!({ "policy": "(allow process etc_t (file (read)))" }));
        let off = of(json!({ "selinux": { "enableRawSelinuxProfiles": false } })).expect("settings");
        assert_eq!(off.check_selinux(&raw, &NoAncestors).len(), 1);
        assert_eq!(Restrictions::default().check_selinux(&raw, &NoAncestors), []);
    }
}
