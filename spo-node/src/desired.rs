//! What one profile asks of a host: the step that every agent takes for each profile it knows.

use spo_model::{Diagnostic, FieldPath, State, object::AnyObject, status::ProfileState};

use crate::{
    artefact::Artefact,
    compile::{Library, compile_allowed},
    restrictions::Restrictions,
};

/// What a profile asks of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// This artefact, with what the author should know about it.
    Artefact(Box<Artefact>, Vec<Diagnostic>),
    /// Nothing, because it is switched off or part of a recording: the state says which.
    Nothing(ProfileState),
    /// It cannot be put there, for these reasons; what is there of it stays.
    Refused(Vec<Diagnostic>),
}

impl Desired {
    /// What a profile asks for; `None` for kinds that do not go onto nodes.
    pub fn of(object: &AnyObject, library: &Library, restrictions: &Restrictions) -> Option<Self> {
        if !object.kind().is_profile() {
            return None;
        }
        if object.metadata().is_partial() {
            return Some(Self::Nothing(ProfileState::Partial));
        }
        if object.state() == Some(State::Disabled) {
            return Some(Self::Nothing(ProfileState::Disabled));
        }
        let compiled = match compile_allowed(object, library, restrictions)? {
            Ok(compiled) => compiled,
            Err(problems) => return Some(Self::Refused(problems)),
        };
        let refused = |message: String| {
            Some(Self::Refused(vec![Diagnostic::error("install", FieldPath::root(), message)]))
        };
        let Some(key) = object.key() else { return refused("a profile needs a name".to_owned()) };
        match Artefact::new(object.kind(), key, compiled.bytes) {
            Ok(artefact) => {
                let artefact = Artefact { origin: compiled.origin, ..artefact };
                Some(Self::Artefact(Box::new(artefact), compiled.diagnostics))
            }
            Err(error) => refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spo_model::daemon::DaemonSpec;

    use super::*;
    use crate::fixture::object;

    fn seccomp(state: &str, names: &[&str], base: Option<&str>) -> AnyObject {
        let mut spec = json!({ "state": state, "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": names }] });
        if let Some(base) = base {
            spec["baseProfileName"] = json!(base);
        }
        object("SeccompProfile", spec)
    }

    fn settings(spec: Value) -> DaemonSpec {
        match object("SecurityProfilesOperatorDaemon", spec) {
            AnyObject::SecurityProfilesOperatorDaemon(daemon) => daemon.spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_profile_asks_for_its_artefact_unless_it_is_off() {
        let library = Library::default();
        let of = |object: &AnyObject| Desired::of(object, &library, &Restrictions::default());
        let found = of(&seccomp("Enabled", &["read"], None));
        assert!(
            matches!(found, Some(Desired::Artefact(a, _)) if a.path.as_str().ends_with("operator/production/web.json"))
        );
        let off = of(&seccomp("Disabled", &["read"], None));
        assert_eq!(off, Some(Desired::Nothing(ProfileState::Disabled)));
        let mut partial = seccomp("Enabled", &["read"], None);
        let label = ("spo.x-k8s.io/partial".to_owned(), "true".to_owned());
        partial.metadata_mut().labels = Some([label].into());
        assert_eq!(of(&partial), Some(Desired::Nothing(ProfileState::Partial)));
        assert_eq!(of(&object("SecurityProfilesOperatorDaemon", json!({}))), None);
    }

    /// The existing operator looks at each profile without what it inherits, and names one offender at random.
    #[test]
    fn what_is_not_allowed_is_named_in_full_and_through_the_base() {
        let allowed = settings(json!({ "security": { "allowedSyscalls": ["read", "write"] } }));
        let allowed = Restrictions::of(&allowed).expect("names");
        let mut base = seccomp("Enabled", &["ptrace", "bpf"], None);
        base.metadata_mut().name = Some("base".parse().expect("a name"));
        let mut library = Library::default();
        library.add(&base);
        let refused = |object: &AnyObject| match Desired::of(object, &library, &allowed) {
            Some(Desired::Refused(problems)) => {
                problems.iter().map(|p| p.message.clone()).collect::<Vec<_>>().join("; ")
            }
            other => panic!("{other:?}"),
        };
        let own = refused(&seccomp("Enabled", &["read", "mount", "kexec_load"], None));
        assert!(own.contains("mount") && own.contains("kexec_load"), "{own}");
        let inherited = refused(&seccomp("Enabled", &["read"], Some("base")));
        assert!(inherited.contains("ptrace") && inherited.contains("bpf"), "{inherited}");
        let fine = Desired::of(&seccomp("Enabled", &["read"], None), &library, &allowed);
        assert!(matches!(fine, Some(Desired::Artefact(..))));
    }

    /// With the base and whatever its own rules are; and its author is told.
    #[test]
    fn what_is_denied_is_refused_and_what_is_enforced_is_added_and_told() {
        let of = |security: Value, object: &AnyObject| {
            let settings = Restrictions::of(&settings(json!({ "security": security }))).expect("names");
            Desired::of(object, &Library::default(), &settings)
        };
        let plain = seccomp("Enabled", &["read", "mount"], None);
        match of(json!({ "deniedSyscalls": ["mount", "bpf"] }), &plain) {
            Some(Desired::Refused(problems)) => {
                assert_eq!(problems[0].path.to_string(), "spec.syscalls[0].names[1]");
            }
            other => panic!("{other:?}"),
        }
        let bytes = |desired: Option<Desired>| match desired {
            Some(Desired::Artefact(artefact, notes)) => {
                (String::from_utf8(artefact.bytes.to_vec()).expect("text"), notes)
            }
            other => panic!("{other:?}"),
        };
        let enforced = json!({ "enforcedSyscalls": ["futex", "read"] });
        let (text, notes) = bytes(of(enforced.clone(), &plain));
        assert!(text.contains("futex"), "{text}");
        let told: Vec<_> = notes.iter().filter(|note| note.code == crate::compile::ENFORCED).collect();
        assert!(told.len() == 1 && told[0].message.contains("make futex (spec.security"), "{notes:?}");
        // A profile that has them is not touched.
        let wide = seccomp("Enabled", &["read", "futex"], None);
        let (with, notes) = bytes(of(enforced, &wide));
        assert_eq!(with, bytes(of(json!({}), &wide)).0);
        assert!(notes.iter().all(|note| note.code != crate::compile::ENFORCED), "{notes:?}");
    }
}
