//! From a SPOD to objects: where the controller and what renders meet.

use serde_json::Value;
use spo_model::object::SecurityProfilesOperatorDaemon;

use super::trust::Anchor;
use crate::render::{self, Environment};

/// What the objects depend on besides the SPOD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// The operator's namespace.
    pub namespace: String,
    /// The operator's own image; `None` leaves the choice to what renders.
    pub image: Option<String>,
    /// When that is pulled.
    pub pull_policy: Option<String>,
    /// The Secrets with which that is pulled.
    pub pull_secrets: Vec<String>,
    /// The kubelet's directory on nodes.
    pub kubelet_dir: String,
    /// Whom the API server has to trust when it calls the webhook, once that is known.
    pub trust: Option<Anchor>,
    /// Whether certificates come from OpenShift's service CA.
    pub service_ca: bool,
    /// The namespaces that are looked at, as flags have them; empty means all.
    pub restrict_to: String,
    /// Whether profiles have no namespace.
    pub cluster_scope: bool,
    /// An owner reference for objects without a namespace.
    pub owner: Option<Value>,
    /// Whether the cluster has ServiceMonitors.
    pub service_monitors: bool,
}

/// What renders.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    /// Every object that a SPOD asks for.
    pub objects: fn(&SecurityProfilesOperatorDaemon, &Surroundings) -> Result<Vec<Value>, String>,
    /// What a SPOD asks for that cannot be had, in words.
    pub unavailable: fn(&SecurityProfilesOperatorDaemon, &Surroundings) -> Vec<&'static str>,
    /// The SPOD of a namespace that has none.
    pub default: fn(&str) -> Value,
}

/// The operator's own: see [`render`].
pub const OPERATOR: Renderer = Renderer {
    objects,
    unavailable: |spod, around| render::unavailable(spod, &around.environment()),
    default: render::default_spod,
};

fn objects(spod: &SecurityProfilesOperatorDaemon, around: &Surroundings) -> Result<Vec<Value>, String> {
    render::spod(spod, &around.environment()).map_err(|error| error.to_string())
}

impl Surroundings {
    fn environment(&self) -> Environment {
        let mut environment = Environment::new(self.namespace.clone());
        if let Some(image) = &self.image {
            environment.image.clone_from(image);
        }
        environment.pull_policy.clone_from(&self.pull_policy);
        environment.pull_secrets.clone_from(&self.pull_secrets);
        environment.kubelet_dir.clone_from(&self.kubelet_dir);
        if let Some(Anchor::Bundle(pem)) = &self.trust {
            environment.ca_bundle = Some(pem.clone());
        }
        environment.service_ca = self.service_ca;
        environment.restrict_to.clone_from(&self.restrict_to);
        environment.cluster_scope = self.cluster_scope;
        environment.owner.clone_from(&self.owner);
        environment.service_monitors = self.service_monitors;
        environment
    }
}
