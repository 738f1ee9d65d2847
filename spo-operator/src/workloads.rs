//! Which profiles a pod uses.
//!
//! ```text
//! pod ──uses──► profiles by the names that a pod knows them by ──of──► is it this profile?
//! ```
//!
//! A profile that a pod uses must not be taken off the node under it. Every field of a pod that can name a profile
//! counts: of the pod, of its containers, init containers and ephemeral containers, and the annotations of older
//! releases of Kubernetes. A pod that has ended uses nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile as PodAppArmor, Pod, SELinuxOptions, SeccompProfile as PodSeccomp,
};
use spo_model::{
    kind::Kind,
    names::{ProfileKey, SeccompPath},
};

/// A profile as a pod names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// A seccomp file below the kubelet's directory, for example `operator/production/web.json`.
    Seccomp(String),
    /// An SELinux type, for example `web.process`.
    Selinux(String),
    /// The name of an AppArmor profile in the kernel.
    AppArmor(String),
}

impl Use {
    /// Every name by which pods may know a profile; [`Self::is_of`] holds for each.
    pub fn names_of(kind: Kind, key: &ProfileKey) -> Vec<Self> {
        match kind {
            Kind::SeccompProfile => {
                let plain = ProfileKey { namespace: None, name: key.name.clone() };
                let paths: BTreeSet<String> =
                    [key, &plain].into_iter().filter_map(|key| key.seccomp_path().ok()).collect();
                paths.into_iter().map(Self::Seccomp).collect()
            }
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => {
                key.selinux_usages().into_iter().map(Self::Selinux).collect()
            }
            Kind::AppArmorProfile => vec![Self::AppArmor(key.apparmor_profile())],
            _ => Vec::new(),
        }
    }

    /// Whether a profile is meant. A path or type with a namespace in it means the profile of that namespace alone.
    pub fn is_of(&self, kind: Kind, key: &ProfileKey) -> bool {
        match (self, kind) {
            (Self::Seccomp(path), Kind::SeccompProfile) => key.is_at_seccomp_path(path),
            (Self::Selinux(name), Kind::SelinuxProfile | Kind::RawSelinuxProfile) => {
                key.selinux_usages().contains(name)
            }
            (Self::AppArmor(name), Kind::AppArmorProfile) => key.apparmor_profile() == *name,
            _ => false,
        }
    }
}

/// Every profile that a pod names, whether it exists or not; none for a pod that has ended.
pub fn uses(pod: &Pod) -> BTreeSet<Use> {
    let mut uses = Uses::default();
    let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let Some(spec) = pod.spec.as_ref().filter(|_| !matches!(ended, Some("Succeeded" | "Failed"))) else {
        return uses.0;
    };
    if let Some(context) = &spec.security_context {
        uses.add(&context.seccomp_profile, &context.se_linux_options, &context.app_armor_profile);
    }
    let contexts =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|c| &c.security_context);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| &c.security_context);
    for context in contexts.chain(ephemeral).flatten() {
        uses.add(&context.seccomp_profile, &context.se_linux_options, &context.app_armor_profile);
    }
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        uses.annotation(key, value);
    }
    uses.0
}

#[derive(Default)]
struct Uses(BTreeSet<Use>);

impl Uses {
    fn add(
        &mut self,
        seccomp: &Option<PodSeccomp>,
        selinux: &Option<SELinuxOptions>,
        apparmor: &Option<PodAppArmor>,
    ) {
        let seccomp = seccomp.as_ref().filter(|profile| profile.type_ == "Localhost");
        self.seccomp(seccomp.and_then(|profile| profile.localhost_profile.as_deref()));
        self.0.extend(selinux.as_ref().and_then(|options| options.type_.clone()).map(Use::Selinux));
        let apparmor = apparmor.as_ref().filter(|profile| profile.type_ == "Localhost");
        self.0.extend(apparmor.and_then(|profile| profile.localhost_profile.clone()).map(Use::AppArmor));
    }

    /// A file of ours; others are nobody's business here.
    fn seccomp(&mut self, path: Option<&str>) {
        let ours = path.filter(|path| SeccompPath::parse(path).is_some());
        self.0.extend(ours.map(|path| Use::Seccomp(path.to_owned())));
    }

    /// The fields of before Kubernetes 1.19 (seccomp) and 1.30 (AppArmor).
    fn annotation(&mut self, key: &str, value: &str) {
        let Some(name) = value.strip_prefix("localhost/") else { return };
        if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            self.seccomp(Some(name));
        } else if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            self.0.insert(Use::AppArmor(name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(pod: Value) -> Vec<Use> {
        uses(&serde_json::from_value(pod).expect("a pod")).into_iter().collect()
    }

    fn seccomp(path: &str) -> Value {
        json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": path } })
    }

    fn key(namespace: Option<&str>, name: &str) -> ProfileKey {
        ProfileKey::new(namespace, name).expect("a key")
    }

    #[test]
    fn every_container_counts_and_so_does_the_pod() {
        let container = |name: &str, path: &str| json!({ "name": name, "securityContext": seccomp(path) });
        let found = of(json!({ "spec": {
            "securityContext": seccomp("operator/a/pod.json"),
            "containers": [container("c", "operator/a/container.json")],
            "initContainers": [container("i", "operator/a/init.json")],
            "ephemeralContainers": [container("e", "operator/a/ephemeral.json")],
        }}));
        let want =
            ["container", "ephemeral", "init", "pod"].map(|n| Use::Seccomp(format!("operator/a/{n}.json")));
        assert_eq!(found, want);
    }

    /// The existing operator knows paths of two parts only, so it takes no notice of the guide's.
    #[test]
    fn both_shapes_of_a_path_mean_the_profile() {
        let (two, three) =
            (Use::Seccomp("operator/web.json".into()), Use::Seccomp("operator/a/web.json".into()));
        for namespace in [Some("a"), Some("b"), None] {
            let key = key(namespace, "web");
            assert!(two.is_of(Kind::SeccompProfile, &key));
            assert_eq!(three.is_of(Kind::SeccompProfile, &key), namespace == Some("a"));
            assert!(!two.is_of(Kind::AppArmorProfile, &key));
        }
    }

    #[test]
    fn all_four_kinds_are_tracked() {
        let found = of(json!({ "spec": { "containers": [{ "name": "c", "securityContext": {
            "seLinuxOptions": { "type": "web.process" },
            "appArmorProfile": { "type": "Localhost", "localhostProfile": "web" },
        }}]}}));
        let key = key(Some("a"), "web");
        for kind in [Kind::SelinuxProfile, Kind::RawSelinuxProfile, Kind::AppArmorProfile] {
            assert!(found.iter().any(|used| used.is_of(kind, &key)), "{kind}");
        }
        let alias = Use::Selinux("web_a.process".into());
        assert!(alias.is_of(Kind::SelinuxProfile, &key));
    }

    #[test]
    fn every_name_of_a_profile_is_its_name() {
        for kind in Kind::ALL.iter().copied().filter(|kind| kind.is_profile()) {
            for namespace in [Some("a"), None] {
                let key = key(namespace, "web");
                let names = Use::names_of(kind, &key);
                assert!(!names.is_empty() && names.iter().all(|name| name.is_of(kind, &key)), "{kind}");
            }
        }
        let paths = Use::names_of(Kind::SeccompProfile, &key(Some("a"), "web"));
        assert_eq!(paths, ["operator/a/web.json", "operator/web.json"].map(|p| Use::Seccomp(p.to_owned())));
        assert_eq!(Use::names_of(Kind::ProfileBinding, &key(None, "web")), []);
    }

    #[test]
    fn annotations_of_old_releases_count() {
        let found = of(json!({ "metadata": { "annotations": {
            "seccomp.security.alpha.kubernetes.io/pod": "localhost/operator/a/web.json",
            "container.apparmor.security.beta.kubernetes.io/c": "localhost/web",
            "container.apparmor.security.beta.kubernetes.io/d": "runtime/default",
        }}, "spec": { "containers": [] }}));
        assert_eq!(found, [Use::Seccomp("operator/a/web.json".into()), Use::AppArmor("web".into())]);
    }

    #[test]
    fn a_pod_that_has_ended_uses_nothing() {
        for phase in ["Succeeded", "Failed"] {
            let pod = json!({ "spec": { "containers": [], "securityContext": seccomp("operator/a/web.json") },
                "status": { "phase": phase } });
            assert_eq!(of(pod), [], "{phase}");
        }
        assert_eq!(of(json!({})), []);
    }

    #[test]
    fn profiles_of_others_are_left_out() {
        let unconfined = json!({ "spec": { "containers": [],
            "securityContext": { "seccompProfile": { "type": "Unconfined" } } } });
        assert_eq!(of(unconfined), []);
        for path in ["profiles/audit.json", "operator/../x.json", "operator/a/b/c.json", "operator/web"] {
            assert_eq!(
                of(json!({ "spec": { "containers": [], "securityContext": seccomp(path) } })),
                [],
                "{path}"
            );
        }
    }
}
