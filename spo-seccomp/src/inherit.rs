//! Base profiles: the exact union of a profile with everything it inherits.

use spo_model::seccomp::SeccompProfileSpec;

use crate::{NotExpressible, Options, Origin, Policy, PolicyError};

/// A profile with its base profiles merged in.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The merged profile, without a base.
    pub profile: SeccompProfileSpec,
    /// For each rule of it the rules it comes from; [`Origin::profile`] is an index into the chain.
    pub origins: Vec<Vec<Origin>>,
    /// What it means.
    pub policy: Policy,
}

/// Why profiles cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The chain is empty.
    #[error("there is no profile to merge")]
    Empty,
    /// A profile of the chain has no meaning.
    #[error("profile {position} of the chain: {source}")]
    Profile {
        /// Index in the chain.
        position: usize,
        /// Why.
        source: PolicyError,
    },
    /// The union is no profile.
    #[error("the union with the base profiles cannot be written as a profile: {0}")]
    NotExpressible(#[from] NotExpressible),
}

/// Merges a chain of profiles: the requesting one first, then its base, then that one's base and so on.
///
/// For every call and every combination of arguments the result permits exactly what some profile of the chain
/// permits, each with its own default action. Architectures, flags and the listener are the requesting profile's; a
/// base's rules count on all of its architectures.
///
/// # Errors
/// [`InheritError`]; in particular a union that no set of rules expresses is refused instead of widened or narrowed.
pub fn inherit(chain: &[&SeccompProfileSpec], options: &Options) -> Result<Effective, InheritError> {
    combine(chain, options, Policy::union)
}

/// The first profile without what the others permit: "default minus X".
///
/// # Errors
/// As [`inherit`].
pub fn subtract(
    profile: &SeccompProfileSpec,
    taken: &[&SeccompProfileSpec],
    options: &Options,
) -> Result<Effective, InheritError> {
    let chain: Vec<&SeccompProfileSpec> = std::iter::once(profile).chain(taken.iter().copied()).collect();
    combine(&chain, options, Policy::subtract)
}

fn combine(
    chain: &[&SeccompProfileSpec],
    options: &Options,
    operation: impl Fn(&Policy, &Policy) -> Result<Policy, PolicyError>,
) -> Result<Effective, InheritError> {
    let first = *chain.first().ok_or(InheritError::Empty)?;
    let mut policy: Option<Policy> = None;
    for (position, profile) in chain.iter().enumerate() {
        let failed = |source| InheritError::Profile { position, source };
        let own = SeccompProfileSpec { architectures: first.architectures.clone(), ..(*profile).clone() };
        let own = Policy::from_profile(&own, options).map_err(failed)?;
        policy = Some(match policy {
            None => own,
            Some(before) => operation(&before, &own).map_err(failed)?,
        });
    }
    let policy = policy.ok_or(InheritError::Empty)?;
    let written = policy.to_profile(options)?;
    let profile = SeccompProfileSpec {
        state: first.state,
        base_profile_name: None,
        architectures: first.architectures.clone(),
        listener_path: first.listener_path.clone(),
        listener_metadata: first.listener_metadata.clone(),
        flags: first.flags.clone(),
        ..written.profile
    };
    Ok(Effective { profile, origins: written.origins, policy })
}
