//! Which SecurityProfilesOperatorDaemon admission goes by.

use std::sync::Arc;

use spo_model::daemon::DaemonSpec;

use crate::cluster::names;

/// What is known of the operator's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Configuration {
    /// There is none: nothing is restricted, nothing is switched on or off.
    #[default]
    Absent,
    /// There is one, and nobody knows what it says: nothing new is let through that it could restrict.
    Unreadable(String),
    /// What it says.
    Settings(Arc<DaemonSpec>),
}

impl Configuration {
    /// The one that holds among those of the operator's namespace: the object of the well-known name, else the first by
    /// name, so a second object loosens nothing. Agents go by the object that they belong to: what theirs does not allow
    /// they do not install, whatever was admitted.
    pub fn of(all: impl IntoIterator<Item = (String, Self)>) -> Self {
        let first =
            all.into_iter().min_by(|(a, _), (b, _)| (a != names::SPOD, a).cmp(&(b != names::SPOD, b)));
        first.map(|(_, configuration)| configuration).unwrap_or_default()
    }

    /// What it says, if that is known.
    pub fn settings(&self) -> Option<&DaemonSpec> {
        match self {
            Self::Settings(settings) => Some(settings),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_name_decides_then_the_first() {
        let says = |verbosity| {
            Configuration::Settings(Arc::new(DaemonSpec {
                verbosity: Some(verbosity),
                ..DaemonSpec::default()
            }))
        };
        let of = |all: &[(&str, Configuration)]| {
            Configuration::of(all.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))
        };
        assert_eq!(of(&[]), Configuration::Absent);
        assert_eq!(of(&[("a", says(1)), ("spod", says(2)), ("z", says(3))]), says(2));
        assert_eq!(of(&[("z", says(3)), ("a", says(1))]), says(1));
        // One that cannot be read is not passed over for another that can.
        let broken = Configuration::Unreadable("why".to_owned());
        assert_eq!(of(&[("a", says(1)), ("spod", broken.clone())]), broken);
        assert_eq!(of(&[("spod", says(1)), ("a", broken)]), says(1));
    }
}
