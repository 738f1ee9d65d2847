//! From a SPOD to objects: where the controller and what renders meet.

use serde_json::Value;
use spo_model::object::SecurityProfilesOperatorDaemon;

use super::{anchor::Anchor, platform::Platform};
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
    /// Whether the Secret with a token for the metrics is not part of the installation.
    pub no_metrics_token: bool,
    /// Whether nodes have SELinux unless the SPOD says otherwise.
    pub selinux_by_default: bool,
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
    /// Takes note of what the cluster is. An owner that is gone is the operator's end, at which nothing is to lose it.
    pub fn settle(&mut self, platform: Platform) {
        self.selinux_by_default = platform.openshift;
        if platform.owner.is_some() {
            self.owner = platform.owner;
        }
    }

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
        environment.metrics_token = !self.no_metrics_token;
        environment.selinux_by_default = self.selinux_by_default;
        environment
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spo_model::{convert::decode, object::AnyObject};

    use super::*;

    fn spod(spec: Value) -> SecurityProfilesOperatorDaemon {
        let mut document = render::default_spod("spo");
        document["spec"] = spec;
        match decode(&document).expect("decodes").object {
            AnyObject::SecurityProfilesOperatorDaemon(spod) => spod,
            other => panic!("{:?}", other.kind()),
        }
    }

    fn around(platform: Platform) -> Surroundings {
        let mut around = Surroundings {
            namespace: "spo".to_owned(),
            kubelet_dir: render::KUBELET_DIR.to_owned(),
            ..Surroundings::default()
        };
        around.settle(platform);
        around
    }

    #[test]
    fn selinux_is_on_where_nodes_always_have_it_unless_the_spod_says_otherwise() {
        let on = |spec: Value, openshift: bool| {
            let objects =
                (OPERATOR.objects)(&spod(spec), &around(Platform { openshift, ..Platform::default() }));
            let objects = objects.expect("renders");
            let agents = objects.iter().find(|object| object["kind"] == "DaemonSet").expect("agents");
            agents.to_string().contains("--with-selinux=true")
        };
        assert!(!on(json!({}), false) && on(json!({}), true));
        assert!(!on(json!({ "selinux": { "enable": false } }), true));
        assert!(on(json!({ "selinux": { "enable": true } }), false));
    }

    #[test]
    fn an_owner_is_replaced_and_never_lost() {
        let owner = |uid: &str| Platform { owner: Some(json!({ "uid": uid })), ..Platform::default() };
        let mut around = around(owner("1"));
        around.settle(Platform::default());
        assert_eq!(around.owner, Some(json!({ "uid": "1" })));
        around.settle(owner("2"));
        assert_eq!(around.owner, Some(json!({ "uid": "2" })));
    }
}
