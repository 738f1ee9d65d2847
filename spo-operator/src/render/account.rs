//! Who may do what: service accounts, roles and bindings.
//!
//! A process has up to three roles: what has no namespace (a ClusterRole that is always bound in the cluster), what is
//! in the users' namespaces (a ClusterRole that is bound in the cluster, or in single namespaces where the operator is
//! restricted to them), and what is in the operator's own namespace (a Role).

use serde_json::{Value, json};
use spo_model::{
    crd::ALIAS_PLURAL,
    kind::{GROUP, Kind},
};

use super::{monitoring::METRICS_TOKEN, object};
use crate::cluster::names;

/// The operator's namespace and the namespaces it is restricted to; none means all.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// The operator's own.
    pub namespace: String,
    /// Those of users.
    pub restricted_to: Vec<String>,
    /// Whether profiles have no namespace; then rights to them are always bound in the cluster.
    pub cluster_scope: bool,
}

/// Service accounts, roles and their bindings.
pub fn objects(place: &Where) -> Vec<Value> {
    let mut objects: Vec<Value> = accounts(place)
        .iter()
        .map(|account| {
            object("v1", "ServiceAccount", Some(&place.namespace), account.name, account.component)
        })
        .collect();
    for account in accounts(place) {
        objects.extend(account.roles(place));
    }
    objects.extend(for_users());
    objects.extend(for_metrics(place));
    objects
}

/// The Secret with a token for reading metrics; it has to come long after the namespace, for the service account
/// `default` is made by the cluster, and a token for an account that is not there yet is deleted.
pub fn metrics_token(namespace: &str) -> Value {
    let mut secret = object("v1", "Secret", Some(namespace), METRICS_TOKEN, "metrics");
    secret["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "default" });
    secret["type"] = json!("kubernetes.io/service-account-token");
    secret
}

/// The ClusterRole that owns what the manager makes and no SPOD can own.
pub const OWNER_ROLE: &str = names::OPERATOR;

struct Account {
    name: &'static str,
    component: &'static str,
    /// The stem of its roles' names.
    role: &'static str,
    cluster: Vec<Value>,
    users: Vec<Value>,
    own: Vec<Value>,
}

impl Account {
    fn roles(&self, place: &Where) -> Vec<Value> {
        let mut objects = Vec::new();
        let subject = json!([{ "kind": "ServiceAccount", "name": self.name, "namespace": place.namespace }]);
        let role = |kind: &str, namespace: Option<&str>, name: &str, rules: &[Value]| {
            let mut role = object(RBAC, kind, namespace, name, self.component);
            role["rules"] = json!(rules);
            role
        };
        let binding = |kind: &str, namespace: Option<&str>, name: &str, of: &str| {
            let mut binding = object(RBAC, kind, namespace, name, self.component);
            binding["roleRef"] = reference(of, name);
            binding["subjects"] = subject.clone();
            binding
        };
        if !self.cluster.is_empty() {
            objects.push(role("ClusterRole", None, self.role, &self.cluster));
            objects.push(binding("ClusterRoleBinding", None, self.role, "ClusterRole"));
        }
        let users = format!("{}-profiles", self.role);
        objects.push(role("ClusterRole", None, &users, &self.users));
        if place.restricted_to.is_empty() || place.cluster_scope {
            objects.push(binding("ClusterRoleBinding", None, &users, "ClusterRole"));
        } else {
            let namespaces = place.restricted_to.iter().chain([&place.namespace]);
            let unique: std::collections::BTreeSet<&String> = namespaces.collect();
            for namespace in unique {
                objects.push(binding("RoleBinding", Some(namespace), &users, "ClusterRole"));
            }
        }
        objects.push(role("Role", Some(&place.namespace), self.role, &self.own));
        objects.push(binding("RoleBinding", Some(&place.namespace), self.role, "Role"));
        objects
    }
}

fn accounts(place: &Where) -> [Account; 3] {
    [manager(place), agent(), webhook()]
}

fn manager(place: &Where) -> Account {
    let profiles = profiles();
    let statuses: Vec<String> = profiles.iter().map(|plural| format!("{plural}/status")).collect();
    let definitions: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| kind.plural())
        .chain([ALIAS_PLURAL])
        .map(|plural| format!("{plural}.{GROUP}"))
        .collect();
    let configurations = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    let mut account = Account {
        name: names::OPERATOR,
        component: "manager",
        role: names::OPERATOR,
        cluster: vec![
            // Which nodes there are, and what the agents' DaemonSet makes of their labels and taints.
            rule("", &["nodes"], READ),
            // Takes off the taint of new nodes (`spec.scheduling.startupTaint`). The SPOD may ask for it at any time, and
            // nobody can give the manager rights then, so the right is always there; a ValidatingAdmissionPolicy narrows
            // it to this taint.
            rule("", &["nodes"], &["patch"]),
            // The certificate authority for conversion.
            named(
                "apiextensions.k8s.io",
                &["customresourcedefinitions"],
                &definitions,
                &["get", "list", "watch", "patch", "update"],
            ),
            // Whether there are ServiceMonitors, and whether this is OpenShift.
            named(
                "apiextensions.k8s.io",
                &["customresourcedefinitions"],
                &[names::MONITORS_DEFINITION.to_owned()],
                READ,
            ),
            named("config.openshift.io", &["clusteroperators"], &[names::OPENSHIFT.to_owned()], &["get"]),
            named(
                "admissionregistration.k8s.io",
                &configurations,
                &[names::MUTATING_WEBHOOKS.to_owned(), names::VALIDATING_WEBHOOKS.to_owned()],
                &["get", "list", "watch", "patch", "update", "delete"],
            ),
            // A create cannot be restricted to names.
            rule("admissionregistration.k8s.io", &configurations, &["create"]),
            // Who may read the metrics.
            rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
            rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
            // It owns the webhook configurations and what else no SPOD can own.
            named("rbac.authorization.k8s.io", &["clusterroles"], &[OWNER_ROLE.to_owned()], &["get"]),
        ],
        users: vec![
            // Which profiles are in use.
            rule("", &["pods"], READ),
            rule("", &["events"], &["create"]),
            // The finalizer of profiles in use.
            rule(GROUP, &profiles, &["get", "list", "watch", "patch", "update"]),
            // Those that are not allowed, where a SPOD asks for it (`spec.security.forbiddenProfiles`).
            rule(GROUP, &["seccompprofiles"], &["delete"]),
            rule(GROUP, &statuses, &["get", "patch", "update"]),
            // Which pods run under what they bind.
            rule(GROUP, &["profilebindings"], READ),
            rule(GROUP, &["profilebindings/status"], &["get", "patch", "update"]),
            // Those of nodes and profiles that are gone are deleted.
            rule(GROUP, &["securityprofilenodestatuses"], &["get", "list", "watch", "delete"]),
        ],
        own: vec![
            rule(GROUP, &["securityprofilesoperatordaemons"], ALL),
            rule(GROUP, &["securityprofilesoperatordaemons/status"], &["get", "patch", "update"]),
            rule("apps", &["daemonsets", "deployments"], ALL),
            rule("", &["services"], ALL),
            rule("policy", &["poddisruptionbudgets"], ALL),
            rule("monitoring.coreos.com", &["servicemonitors"], ALL),
            rule("", &["secrets"], &["create"]),
            named(
                "",
                &["secrets"],
                &[
                    names::AUTHORITY_SECRET.to_owned(),
                    names::METRICS_SECRET.to_owned(),
                    names::WEBHOOK_SECRET.to_owned(),
                ],
                &["get", "list", "watch", "patch", "update", "delete"],
            ),
            // Only where certificates are left to cert-manager.
            rule("cert-manager.io", &["certificates", "issuers"], &["get", "create", "patch"]),
            openshift("nonroot-v2"),
            // Whether the namespace goes, or the operator alone.
            named("", &["namespaces"], std::slice::from_ref(&place.namespace), &["get"]),
            rule("coordination.k8s.io", &["leases"], &["create"]),
            named(
                "coordination.k8s.io",
                &["leases"],
                &[names::LEASE.to_owned()],
                &["get", "list", "watch", "patch", "update"],
            ),
        ],
    };
    // The base profiles that it brings.
    let create = rule(GROUP, &["seccompprofiles"], &["create"]);
    if place.cluster_scope {
        account.users.push(create);
    } else {
        account.own.push(create);
    }
    account
}

fn agent() -> Account {
    Account {
        name: names::AGENT_ACCOUNT,
        component: "agent",
        role: names::AGENT_ACCOUNT,
        cluster: vec![
            // Who may read the metrics.
            rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
            rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
        ],
        users: vec![
            rule(GROUP, &profiles(), READ),
            // A ValidatingAdmissionPolicy narrows this to the agent's own node.
            rule(GROUP, &["securityprofilenodestatuses"], ALL),
            rule("", &["events"], &["create"]),
        ],
        own: vec![
            rule(GROUP, &["securityprofilesoperatordaemons"], READ),
            // Folders of the host, and root for the init container.
            openshift("privileged"),
            // Whether it is going for good, and should clean up.
            rule("apps", &["daemonsets"], &["get"]),
            // In cluster mode a report of a whole node is in no user's namespace.
            rule(GROUP, &["securityprofilenodestatuses"], ALL),
        ],
    }
}

fn webhook() -> Account {
    let mut kinds = profiles();
    kinds.extend(["profilerecordings", "profilebindings"]);
    Account {
        name: names::WEBHOOK_ACCOUNT,
        component: "webhook",
        role: names::WEBHOOK_ACCOUNT,
        cluster: vec![
            // Who may read the metrics.
            rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
            rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
        ],
        users: vec![rule(GROUP, &kinds, READ)],
        own: vec![rule(GROUP, &["securityprofilesoperatordaemons"], READ), openshift("nonroot-v2")],
    }
}

/// On OpenShift a user of one's own choice needs a SecurityContextConstraints that allows it; elsewhere there are none.
fn openshift(constraints: &str) -> Value {
    named("security.openshift.io", &["securitycontextconstraints"], &[constraints.to_owned()], &["use"])
}

/// What the cluster's own roles `view`, `edit` and `admin` take in, and a role that is given by hand.
///
/// AppArmor profiles can attach to any program of a host and SELinux modules change the policy of all of it, so who may
/// edit a namespace may not thereby write them.
fn for_users() -> Vec<Value> {
    let role = |name: &str, into: &[&str], rules: Value| {
        let mut role = object(RBAC, "ClusterRole", None, name, "rbac");
        for target in into {
            role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{target}")] =
                json!("true");
        }
        role["rules"] = rules;
        role
    };
    let mut everything = profiles();
    everything.extend(["profilerecordings", "profilebindings"]);
    let mut seen = everything.clone();
    seen.push("securityprofilenodestatuses");
    let harmless = ["seccompprofiles", "profilerecordings", "profilebindings"];
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    vec![
        role("spo-view", &["view", "edit", "admin"], json!([rule(GROUP, &seen, READ)])),
        role("spo-edit", &["edit", "admin"], json!([rule(GROUP, &harmless, &all)])),
        role(
            "spo-admin",
            &[],
            json!([
                rule(GROUP, &everything, &all),
                rule(GROUP, &["securityprofilesoperatordaemons"], &all),
                rule(GROUP, &["securityprofilenodestatuses"], READ),
            ]),
        ),
    ]
}

fn for_metrics(place: &Where) -> Vec<Value> {
    const NAME: &str = "spo-metrics-client";
    let mut role = object(RBAC, "ClusterRole", None, NAME, "metrics");
    role["rules"] = json!([{ "nonResourceURLs": ["/metrics", "/metrics-spod"], "verbs": ["get"] }]);
    let mut binding = object(RBAC, "ClusterRoleBinding", None, NAME, "metrics");
    binding["roleRef"] = reference("ClusterRole", NAME);
    binding["subjects"] =
        json!([{ "kind": "ServiceAccount", "name": "default", "namespace": place.namespace }]);
    vec![role, binding]
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const READ: &[&str] = &["get", "list", "watch"];
const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "update", "delete"];

fn profiles() -> Vec<&'static str> {
    crate::cluster::resource::Resource::PROFILES.iter().map(|resource| resource.plural()).collect()
}

fn rule<T: AsRef<str>>(group: &str, resources: &[T], verbs: &[&str]) -> Value {
    let resources: Vec<&str> = resources.iter().map(AsRef::as_ref).collect();
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn named(group: &str, resources: &[&str], names: &[String], verbs: &[&str]) -> Value {
    let mut rule = rule(group, resources, verbs);
    rule["resourceNames"] = json!(names);
    rule
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}
