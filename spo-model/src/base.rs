//! Base-profile chains of SeccompProfiles: who inherits from whom.
//!
//! | `baseProfileName` | the base |
//! | --- | --- |
//! | `<name>` | a profile of the own namespace, else one without a namespace, else one that the operator brings |
//! | `<namespace>/<name>` | that profile; of another namespace only if it has the label [`SHARE_BASE_LABEL`] |
//! | `oci://…` | an artifact |
//!
//! A profile may not find out by its base what there is in another namespace: a base that is not there and one that is
//! not shared are one error. A base that is shared brings its own bases with it, shared or not: its owner chose them.
//!
//! Only the order is found here. What the union of two seccomp policies means belongs to the seccomp compiler.

use std::fmt;

use crate::{
    names::{NamespaceName, ProfileKey, SHARE_BASE_LABEL},
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

    /// The profile of this very name and namespace, shared or not; by default, there is none.
    fn named(&self, key: &ProfileKey) -> Option<&SeccompProfile> {
        let _ = key;
        None
    }

    /// Whether the profiles of a namespace can be seen at all. An operator may be restricted to some.
    fn sees(&self, namespace: &NamespaceName) -> bool {
        let _ = namespace;
        true
    }

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
/// [`BaseError`] if a base is missing, not shared, disabled or partial, the chain is a cycle or too long.
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
        let cycle_to = |link: &Link| {
            let start = names.iter().position(|known| known == link)?;
            let cycle = names[start..].iter().chain([link]).map(ToString::to_string).collect();
            Some(BaseError::Cycle { cycle })
        };
        let (link, base) = if let Some(reference) = name.oci_reference() {
            match bases.remote(reference) {
                Ok(base) => (Link::Remote(name.clone()), base),
                Err(reason) => return Err(BaseError::Remote { reference: name.to_string(), reason }),
            }
        } else {
            let asked = key.as_ref().ok_or(BaseError::Nameless)?;
            let base = match name.key() {
                Some(base) => {
                    let link = Link::Local(Some(base.clone()));
                    // What is in the chain already is no secret.
                    cycle_to(&link).map_or_else(|| named(asked, &base, bases, user), Err)?
                }
                None => bases
                    .local(asked, name.as_str())
                    .ok_or_else(|| BaseError::Missing { base: name.to_string(), chain: user() })?,
            };
            (Link::of(&base.metadata), base)
        };
        if let Some(error) = cycle_to(&link) {
            return Err(error);
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

/// The profile of this name and namespace, as far as the user may build on it.
fn named<'a>(
    user: &ProfileKey,
    base: &ProfileKey,
    bases: &'a dyn BaseProfiles,
    chain: impl Fn() -> Vec<String>,
) -> Result<&'a SeccompProfile, BaseError> {
    if let Some(namespace) = &base.namespace
        && !bases.sees(namespace)
    {
        return Err(BaseError::Unseen { base: base.to_string(), namespace: namespace.clone() });
    }
    let found = bases.named(base);
    if user.namespace == base.namespace {
        return found.ok_or_else(|| BaseError::Missing { base: base.to_string(), chain: chain() });
    }
    found.filter(|found| found.metadata.shares_base()).ok_or_else(|| BaseError::NotShared {
        base: base.to_string(),
        chain: chain(),
        has_namespace: user.namespace.is_some(),
    })
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
    /// There is no such profile in the other namespace, or it is not shared. Which of the two is not said.
    #[error(
        "the base profile {base} is not there or not shared with other namespaces: whoever owns it has to give it the \
         label {SHARE_BASE_LABEL}: \"true\"{}{}",
        named_by(chain),
        if *has_namespace { "" } else { " (where profiles have no namespace, a base is named without one)" }
    )]
    NotShared {
        /// The base, as `namespace/name`.
        base: String,
        /// The chain up to the profile that names it.
        chain: Vec<String>,
        /// Whether the profile that names it has a namespace itself.
        has_namespace: bool,
    },
    /// The operator does not see the namespace of the base.
    #[error(
        "the base profile {base} cannot be had: the operator is restricted to some namespaces, and {namespace} is none \
         of them; copy the base into a namespace that it watches, or let it watch {namespace} too"
    )]
    Unseen {
        /// The base, as `namespace/name`.
        base: String,
        /// Its namespace.
        namespace: NamespaceName,
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

        fn named(&self, key: &ProfileKey) -> Option<&SeccompProfile> {
            self.0.get(&key.to_string())
        }

        fn sees(&self, namespace: &NamespaceName) -> bool {
            namespace.as_str() != "unwatched"
        }
    }

    /// A profile at `namespace/name`, and whether it is shared.
    fn placed(place: &str, base: Option<&str>, shared: Option<&str>) -> (String, SeccompProfile) {
        let (namespace, name) = place.split_once('/').expect("a namespace");
        let mut profile = profile(name, base);
        profile.metadata.namespace = Some(namespace.parse().expect("a namespace"));
        profile.metadata.labels =
            shared.map(|value| [(SHARE_BASE_LABEL.to_owned(), value.to_owned())].into());
        (place.to_owned(), profile)
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

    #[test]
    fn a_base_of_another_namespace_has_to_be_shared() {
        let of = |shared: Option<&str>| {
            let user = placed("shop/web", Some("bases/floor"), None);
            let all = Profiles([user, placed("bases/floor", None, shared)].into());
            chain(&all.0["shop/web"], &all).map(|chain| names(&chain))
        };
        assert_eq!(of(Some("true")), Ok(vec!["web".to_owned(), "floor".to_owned()]));
        let refused = of(None).unwrap_err();
        for other in ["false", "", "True"] {
            assert_eq!(of(Some(other)).as_ref(), Err(&refused), "{other:?}");
        }
        // What there is in the other namespace must not be found out.
        let lone = Profiles([placed("shop/web", Some("bases/floor"), None)].into());
        let absent = chain(&lone.0["shop/web"], &lone).unwrap_err();
        assert_eq!(absent, refused);
        let text = absent.to_string();
        for said in ["bases/floor", "spo.x-k8s.io/share-base: \"true\"", "whoever owns it"] {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn a_base_is_a_name_a_name_in_a_namespace_or_an_artifact() {
        let read = |text: &str| text.parse::<BaseProfileName>();
        let foreign = read("bases/runc.v1").expect("a name");
        assert_eq!(foreign.key().map(|key| key.to_string()).as_deref(), Some("bases/runc.v1"));
        assert_eq!(foreign.profile_name(), Some("runc.v1"));
        let artifact = read("oci://example.org/base:v1").expect("an artifact");
        assert_eq!((artifact.key(), artifact.profile_name()), (None, None));
        for wrong in ["/x", "x/", "a/b/c", "../x", "a.b/x", "A/x", "a/X", "a /x", "/", "oci:/x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_own_namespace_needs_no_label() {
        let all =
            Profiles([placed("shop/web", Some("shop/floor"), None), placed("shop/floor", None, None)].into());
        assert_eq!(names(&chain(&all.0["shop/web"], &all).unwrap()), ["web", "floor"]);
        let lone = Profiles([placed("shop/web", Some("shop/floor"), None)].into());
        assert!(matches!(chain(&lone.0["shop/web"], &lone), Err(BaseError::Missing { .. })));
    }

    #[test]
    fn each_step_into_another_namespace_needs_a_label_and_cycles_are_found_across_them() {
        let web = || placed("shop/web", Some("a/x"), None);
        let chained = |shared: Option<&str>| {
            let all = Profiles(
                [web(), placed("a/x", Some("b/y"), Some("true")), placed("b/y", None, shared)].into(),
            );
            chain(&all.0["shop/web"], &all).map(|chain| names(&chain))
        };
        assert_eq!(chained(Some("true")).map(|chain| chain.len()), Ok(3));
        let refused = chained(None).unwrap_err().to_string();
        assert!(refused.contains("b/y") && refused.ends_with("needed through shop/web → a/x"), "{refused}");
        let all = Profiles([web(), placed("a/x", Some("shop/web"), Some("true"))].into());
        let cycle = chain(&all.0["shop/web"], &all).unwrap_err();
        assert_eq!(cycle.to_string(), "the base profiles form a cycle: shop/web → a/x → shop/web");
    }

    #[test]
    fn what_cannot_be_seen_and_what_has_no_namespace_say_so() {
        let all = Profiles([placed("shop/web", Some("unwatched/x"), None)].into());
        let unseen = chain(&all.0["shop/web"], &all).unwrap_err();
        assert!(
            matches!(unseen, BaseError::Unseen { .. }) && unseen.to_string().contains("unwatched"),
            "{unseen}"
        );
        let cluster = profile("web", Some("bases/floor"));
        let error = chain(&cluster, &all).unwrap_err().to_string();
        assert!(error.contains("named without one"), "{error}");
    }
}
