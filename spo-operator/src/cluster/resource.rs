//! The resources of the group: one for each kind, and one for the spelling `ApparmorProfile`.

use kube::{Api, Client, api::ApiResource, api::DynamicObject};
use spo_model::{
    crd::ALIAS_PLURAL,
    kind::{GROUP, Kind, Scope, Version},
    names::NamespaceName,
};

/// A resource of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// That of a kind.
    Of(Kind),
    /// AppArmorProfiles under the kind `ApparmorProfile`, which an API server keeps apart.
    ApparmorAlias,
}

impl Resource {
    /// Every resource of profiles.
    pub const PROFILES: [Self; 5] = [
        Self::Of(Kind::SeccompProfile),
        Self::Of(Kind::SelinuxProfile),
        Self::Of(Kind::RawSelinuxProfile),
        Self::Of(Kind::AppArmorProfile),
        Self::ApparmorAlias,
    ];

    /// Every resource.
    pub const ALL: [Self; 9] = [
        Self::Of(Kind::SeccompProfile),
        Self::Of(Kind::SelinuxProfile),
        Self::Of(Kind::RawSelinuxProfile),
        Self::Of(Kind::AppArmorProfile),
        Self::ApparmorAlias,
        Self::Of(Kind::ProfileRecording),
        Self::Of(Kind::ProfileBinding),
        Self::Of(Kind::SecurityProfileNodeStatus),
        Self::Of(Kind::SecurityProfilesOperatorDaemon),
    ];

    /// The kind of its objects.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Of(kind) => kind,
            Self::ApparmorAlias => Kind::AppArmorProfile,
        }
    }

    /// The plural in its path.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Of(kind) => kind.plural(),
            Self::ApparmorAlias => ALIAS_PLURAL,
        }
    }

    /// The kind as its objects spell it.
    pub const fn spelling(self) -> &'static str {
        match self {
            Self::Of(kind) => kind.as_str(),
            Self::ApparmorAlias => "ApparmorProfile",
        }
    }

    /// The resource whose objects spell their kind so; `None` for kinds of others.
    pub fn of_spelling(kind: &str) -> Option<Self> {
        if kind == Self::ApparmorAlias.spelling() {
            return Some(Self::ApparmorAlias);
        }
        kind.parse().ok().map(Self::Of)
    }

    /// As a client names it, in v1.
    pub fn api_resource(self) -> ApiResource {
        ApiResource {
            group: GROUP.to_owned(),
            version: Version::V1.to_string(),
            api_version: format!("{GROUP}/{}", Version::V1),
            kind: self.spelling().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// Its objects in a namespace, where they have one.
    pub fn api(
        self,
        client: Client,
        profiles: Scope,
        namespace: Option<&NamespaceName>,
    ) -> Api<DynamicObject> {
        match (self.kind().scope(profiles), namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client, namespace.as_str(), &self.api_resource())
            }
            _ => Api::all_with(client, &self.api_resource()),
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.plural())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_has_its_resource() {
        for definition in spo_model::crd::definitions(Scope::Namespaced) {
            let names = definition.spec.names;
            let resource = Resource::of_spelling(&names.kind).expect("known");
            assert_eq!((resource.plural(), resource.spelling()), (&names.plural[..], &names.kind[..]));
            assert!(Resource::ALL.contains(&resource));
        }
        assert_eq!(Resource::of_spelling("Pod"), None);
    }
}
