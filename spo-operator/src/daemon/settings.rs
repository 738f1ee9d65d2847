//! What the agent is to do: its flags, and what the cluster's settings say.

use spo_model::{daemon::StatusMode, kind::Kind, object::AnyObject};
use spo_node::restrictions::Restrictions;

use super::kept::Kept;
use crate::cluster::{resource::Resource, watch::Cache};

/// The kinds that are put on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// SeccompProfiles.
    pub seccomp: bool,
    /// SelinuxProfiles, and RawSelinuxProfiles if these are not off by themselves.
    pub selinux: bool,
    /// RawSelinuxProfiles.
    pub raw_selinux: bool,
    /// AppArmorProfiles.
    pub apparmor: bool,
}

impl Kinds {
    /// Why profiles of a kind are left alone; `None` if they are not.
    pub fn off(&self, kind: Kind) -> Option<&'static str> {
        let (on, why) = match kind {
            Kind::SeccompProfile => (self.seccomp, "seccomp is switched off: --with-seccomp of the agent"),
            Kind::AppArmorProfile => (
                self.apparmor,
                "AppArmor is not enabled: spec.enableAppArmor of the SecurityProfilesOperatorDaemon",
            ),
            Kind::RawSelinuxProfile if self.selinux => (
                self.raw_selinux,
                "raw SELinux profiles are not enabled: spec.selinux.enableRawSelinuxProfiles of the \
                 SecurityProfilesOperatorDaemon",
            ),
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => (
                self.selinux,
                "SELinux is not enabled: spec.selinux.enable of the SecurityProfilesOperatorDaemon",
            ),
            _ => (false, "not a profile"),
        };
        (!on).then_some(why)
    }
}

/// What the SecurityProfilesOperatorDaemon says to the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What profiles may be, or why that cannot be told: then nothing new is let through.
    pub allowed: Result<Restrictions, String>,
    /// How the node reports; `None` if that cannot be told: then it stays as it is.
    pub mode: Option<StatusMode>,
}

impl Settings {
    /// What the SecurityProfilesOperatorDaemon of a name says; `None` if there is none.
    pub fn of(cache: &Cache<Kept>, spod: &str) -> Option<Self> {
        Some(match own(cache, spod)?.object() {
            Err(reason) => Self { allowed: Err(reason), mode: None },
            Ok(AnyObject::SecurityProfilesOperatorDaemon(daemon)) => Self {
                allowed: Restrictions::of(&daemon.spec).map_err(|problems| {
                    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                }),
                mode: Some(daemon.spec.status_mode.unwrap_or_default()),
            },
            Ok(other) => Self { allowed: Err(format!("{} is no settings", other.kind())), mode: None },
        })
    }

    /// Those of an agent that has met no SecurityProfilesOperatorDaemon of its name yet. That is no permission: one that
    /// forbids much may have been deleted to be made again.
    pub fn missing(spod: &str) -> Self {
        Self { allowed: Err(format!("there is no SecurityProfilesOperatorDaemon {spod}")), mode: None }
    }
}

/// The SecurityProfilesOperatorDaemon that an agent belongs to: that of its name. Others are for other agents.
pub fn own<'a>(cache: &'a Cache<Kept>, spod: &str) -> Option<&'a Kept> {
    const SETTINGS: Resource = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
    let mut all = cache.entries().filter(|(resource, name, _)| *resource == SETTINGS && name.1 == spod);
    all.next().map(|(.., kept)| kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::daemon::fixture::{cache, object};

    #[test]
    fn an_agent_obeys_its_own_settings_alone() {
        let of = |name: &str, call: &str| {
            let spec = json!({ "security": { "allowedSyscalls": [call] } });
            object("SecurityProfilesOperatorDaemon", name, &spec)
        };
        let both = cache(&[of("spod", "read"), of("pool-a", "write")]);
        let allowed = |spod: &str| {
            let allowed = Settings::of(&both, spod).expect("is there").allowed.expect("can be read");
            allowed.seccomp.syscalls.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((allowed("spod"), allowed("pool-a")), (vec!["read".to_owned()], vec!["write".to_owned()]));
        assert_eq!(Settings::of(&both, "pool-b"), None, "those of others are not its own");
        let missing = Settings::missing("pool-b");
        assert!(missing.mode.is_none() && missing.allowed.is_err_and(|why| why.contains("pool-b")));
    }

    #[test]
    fn what_is_off_says_how_it_is_switched_on() {
        let kinds = Kinds { seccomp: true, selinux: true, raw_selinux: false, apparmor: false };
        assert_eq!(kinds.off(Kind::SeccompProfile), None);
        assert_eq!(kinds.off(Kind::SelinuxProfile), None);
        assert!(kinds.off(Kind::AppArmorProfile).is_some_and(|why| why.contains("spec.enableAppArmor")));
        let raw = kinds.off(Kind::RawSelinuxProfile);
        assert!(raw.is_some_and(|why| why.contains("enableRawSelinuxProfiles")));
        // Without SELinux the way out is SELinux, not the switch behind it.
        let none = Kinds { selinux: false, ..kinds };
        assert!(none.off(Kind::RawSelinuxProfile).is_some_and(|why| why.contains("spec.selinux.enable of")));
    }
}
