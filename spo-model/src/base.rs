//! Base-profile chains of SeccompProfiles: who inherits from whom.
//!
//! Only the order is found here. What the union of two seccomp policies means belongs to the seccomp compiler.

use std::fmt;

use crate::{
    names::ProfileKey,
    object::{Metadata, SeccompProfile},
    seccomp::BaseProfileName,
    status::State,
};

/// The longest chain: the profile and its bases together (`maxRecursionLevel` of the existing operator).
pub const MAX_CHAIN: usize = 15;

/// Where base profiles come from.
pub trait BaseProfiles {
    /// The base of a profile by name: the profile's own namespace comes first, then those without one.
    fn local(&self, user: &ProfileKey, name: &str) -> Option<&SeccompProfile>;

    /// The base at an artifact reference (without `oci://`).
    ///
    /// # Errors
    /// Why it cannot be had, for people; by default, that nothing is pulled here.
    fn remote(&self, reference: &str) -> Result<&SeccompProfile, String> {
        let _ = reference;
        Err("profiles are not pulled from registries here".to_owned())
    }
}

/// No base profiles at all.
impl BaseProfiles for () {
    fn local(&self, _: &ProfileKey, _: &str) -> Option<&SeccompProfile> {
        None
    }
}

/// The profile and its bases, the profile first, the base without a base last.
///
/// # Errors
/// [`BaseError`] if a base is missing, disabled or partial, the chain is a cycle or too long.
pub fn chain<'a>(
    profile: &'a SeccompProfile,
    bases: &'a dyn BaseProfiles,
) -> Result<Vec<&'a SeccompProfile>, BaseError> {
    let mut chain = vec![profile];
    let mut names = vec![Link::of(&profile.metadata)];
    let mut key = key(&profile.metadata);
    let mut current = profile;
    while let Some(name) = &current.spec.base_profile_name {
        let user = || names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (link, base) = match name.oci_reference() {
            Some(reference) => match bases.remote(reference) {
                Ok(base) => (Link::Remote(name.clone()), base),
                Err(reason) => return Err(BaseError::Remote { reference: name.to_string(), reason }),
            },
            None => {
                let asked = key.as_ref().ok_or(BaseError::Nameless)?;
                let base = bases
                    .local(asked, name.as_str())
                    .ok_or_else(|| BaseError::Missing { base: name.to_string(), chain: user() })?;
                (Link::of(&base.metadata), base)
            }
        };
        if let Some(start) = names.iter().position(|known| *known == link) {
            let cycle = names[start..].iter().chain([&link]).map(ToString::to_string).collect();
            return Err(BaseError::Cycle { cycle });
        }
        if base.spec.state == State::Disabled {
            return Err(BaseError::Disabled { base: link.to_string() });
        }
        if base.metadata.is_partial() {
            return Err(BaseError::Partial { base: link.to_string() });
        }
        if chain.len() == MAX_CHAIN {
            return Err(BaseError::TooDeep { chain: user() });
        }
        // A base from a registry has no namespace here; its own bases are looked up as the user's are.
        if matches!(link, Link::Local(_)) {
            key = self::key(&base.metadata);
        }
        chain.push(base);
        names.push(link);
        current = base;
    }
    Ok(chain)
}

/// Why a chain of base profiles cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// There is no such profile.
    #[error("the base profile {base:?} does not exist{}", named_by(chain))]
    Missing {
        /// The name.
        base: String,
        /// The chain up to the profile that names it.
        chain: Vec<String>,
    },
    /// The chain comes back to a profile it has been at.
    #[error("the base profiles form a cycle: {}", cycle.join(" → "))]
    Cycle {
        /// The cycle; its first and last element are the same.
        cycle: Vec<String>,
    },
    /// The base is disabled.
    #[error("the base profile {base} is disabled")]
    Disabled {
        /// The base.
        base: String,
    },
    /// The base is part of a recording that is not merged yet.
    #[error("the base profile {base} is a partial recording")]
    Partial {
        /// The base.
        base: String,
    },
    /// The chain is longer than [`MAX_CHAIN`].
    #[error("the chain of base profiles has more than {MAX_CHAIN} profiles: {} → …", chain.join(" → "))]
    TooDeep {
        /// The chain so far.
        chain: Vec<String>,
    },
    /// The base is a registry artifact that cannot be had.
    #[error("the base profile {reference} cannot be used: {reason}")]
    Remote {
        /// The reference with `oci://`.
        reference: String,
        /// Why.
        reason: String,
    },
    /// The profile has no name, so its namespace is unknown too.
    #[error("a profile without a name cannot have a base profile")]
    Nameless,
}

fn named_by(chain: &[String]) -> String {
    if chain.len() > 1 { format!(", needed through {}", chain.join(" → ")) } else { String::new() }
}

/// The key of an object, `None` while it has no name.
pub(crate) fn key(metadata: &Metadata) -> Option<ProfileKey> {
    Some(ProfileKey { namespace: metadata.namespace.clone(), name: metadata.name.clone()? })
}

/// What identifies a profile in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Local(Option<ProfileKey>),
    Remote(BaseProfileName),
}

impl Link {
    fn of(metadata: &Metadata) -> Self {
        Self::Local(key(metadata))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(Some(key)) => write!(f, "{key}"),
            Self::Local(None) => f.write_str("(unnamed)"),
            Self::Remote(reference) => write!(f, "{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        object::Object,
        seccomp::{Action, SeccompProfileSpec},
    };

    struct Profiles(BTreeMap<String, SeccompProfile>);

    impl BaseProfiles for Profiles {
        fn local(&self, _: &ProfileKey, name: &str) -> Option<&SeccompProfile> {
            self.0.get(name)
        }
    }

    fn profile(name: &str, base: Option<&str>) -> SeccompProfile {
        let mut spec = SeccompProfileSpec::new(Action::Errno);
        spec.base_profile_name = base.map(|b| b.parse().expect("a base name"));
        let metadata = Metadata { name: Some(name.parse().expect("a name")), ..Metadata::default() };
        Object { metadata, spec, status: None }
    }

    fn profiles(list: &[(&str, Option<&str>)]) -> Profiles {
        Profiles(list.iter().map(|(name, base)| ((*name).to_owned(), profile(name, *base))).collect())
    }

    fn names(chain: &[&SeccompProfile]) -> Vec<String> {
        chain.iter().map(|p| p.metadata.name.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
    }

    #[test]
    fn the_profile_comes_first_and_its_last_base_last() {
        let all = profiles(&[("a", Some("b")), ("b", Some("c")), ("c", None)]);
        assert_eq!(names(&chain(&all.0["a"], &all).unwrap()), ["a", "b", "c"]);
    }

    #[test]
    fn a_cycle_is_printed() {
        let all = profiles(&[("a", Some("b")), ("b", Some("c")), ("c", Some("b"))]);
        let error = chain(&all.0["a"], &all).unwrap_err();
        assert_eq!(error.to_string(), "the base profiles form a cycle: b → c → b");
    }

    #[test]
    fn missing_disabled_and_partial_bases_are_errors() {
        let mut all = profiles(&[("a", Some("b")), ("b", Some("gone")), ("off", None), ("c", Some("off"))]);
        let error = chain(&all.0["a"], &all).unwrap_err();
        assert_eq!(error.to_string(), "the base profile \"gone\" does not exist, needed through a → b");
        all.0.get_mut("off").expect("there").spec.state = State::Disabled;
        assert_eq!(chain(&all.0["c"], &all).unwrap_err().to_string(), "the base profile off is disabled");
        let off = all.0.get_mut("off").expect("there");
        off.spec.state = State::Enabled;
        off.metadata.labels = Some([(crate::object::PARTIAL_LABEL.to_owned(), "true".to_owned())].into());
        assert_eq!(chain(&all.0["c"], &all).unwrap_err(), BaseError::Partial { base: "off".to_owned() });
    }

    #[test]
    fn fifteen_profiles_are_a_chain_and_sixteen_are_not() {
        let name = |i: usize| format!("p{i}");
        for (length, good) in [(15, true), (16, false)] {
            let all = Profiles(
                (0..length)
                    .map(|i| (name(i), profile(&name(i), (i + 1 < length).then(|| name(i + 1)).as_deref())))
                    .collect(),
            );
            let found = chain(&all.0["p0"], &all);
            assert_eq!(found.is_ok(), good, "{length}");
            if let Err(error) = found {
                assert!(matches!(error, BaseError::TooDeep { .. }), "{error}");
            }
        }
    }

    #[test]
    fn a_registry_reference_is_an_error_that_names_it() {
        let error = chain(&profile("a", Some("oci://example.org/base:v1")), &()).unwrap_err();
        assert!(error.to_string().contains("oci://example.org/base:v1"), "{error}");
    }
}
