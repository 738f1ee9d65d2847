//! The files of `deploy/`: what is installed before any SPOD is rendered.
//!
//! | file | what |
//! | --- | --- |
//! | `operator.yaml` | everything, for all namespaces |
//! | `namespace-operator.yaml` | the same for one namespace, whose name replaces `NS_REPLACE` |
//! | `webhook-operator.yaml` | the same with the webhook's objects in the file instead of made by the manager |
//!
//! `helm/` has the same objects with expressions for the chart's values; see the module `chart`.
//!
//! The order makes `kubectl apply -f` work in one go. `kubectl delete -f` waits for nothing before it has asked for all:
//! the definitions, and with them every profile, go first, and last the rights of the manager that releases them.

use serde_json::{Value, json};
use spo_model::{
    crd,
    daemon::{DaemonSpec, SchedulingSettings},
    kind::Scope,
};

use super::{
    Environment, account, chart,
    container::{add_probes, container, resources, variable},
    object, own, policy,
    replicas::MANAGER,
    tolerate_startup_taint, webhooks,
};
use crate::cluster::names;

/// A file below `deploy/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the directory.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// Why the files cannot be written as text.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FileError {
    path: String,
    message: String,
}

/// Every generated file.
///
/// # Errors
/// An object that cannot be written as YAML.
pub fn files() -> Result<Vec<File>, FileError> {
    let everywhere = Environment::new(names::OPERATOR);
    let restricted = Environment { restrict_to: PLACEHOLDER.to_owned(), ..everywhere.clone() };
    let mut files = vec![
        file("operator.yaml", &operator(&everywhere, Webhook::Managed))?,
        file("namespace-operator.yaml", &operator(&restricted, Webhook::Managed))?,
        file("webhook-operator.yaml", &operator(&everywhere, Webhook::Static))?,
    ];
    files.extend(chart::files()?);
    Ok(files)
}

/// What `namespace-operator.yaml` has in the place of a namespace.
pub const PLACEHOLDER: &str = "NS_REPLACE";

/// Who keeps the objects of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// The manager makes them.
    Managed,
    /// The file has them.
    Static,
}

/// Everything that is installed, in the order in which it is.
pub fn operator(environment: &Environment, webhook: Webhook) -> Vec<Value> {
    let namespace = &environment.namespace;
    let scope = if environment.cluster_scope { Scope::Cluster } else { Scope::Namespaced };
    let mut objects = definitions(scope, namespace);
    objects.push(own_namespace(namespace));
    let restricted_to = environment.restrict_to.split(',').filter(|name| !name.is_empty());
    let access = account::objects(&account::Where {
        namespace: namespace.clone(),
        restricted_to: restricted_to.map(str::to_owned).collect(),
        cluster_scope: environment.cluster_scope,
    });
    let (accounts, rights): (Vec<Value>, Vec<Value>) =
        access.into_iter().partition(|object| object["kind"] == "ServiceAccount");
    objects.extend(accounts);
    objects.extend(policy::own_node(namespace));
    objects.extend(policy::startup_taint(namespace));
    objects.extend(policy::network(namespace));
    objects.push(policy::quota(namespace));
    objects.push(profiles(namespace));
    if webhook == Webhook::Static {
        // Its SPOD is not known yet, and may ask for the taint of new nodes.
        let scheduling = SchedulingSettings { startup_taint: Some(true), ..SchedulingSettings::default() };
        let spec = DaemonSpec { scheduling: Some(scheduling), ..DaemonSpec::default() };
        objects.extend(webhooks::workload(&spec, environment));
        objects.extend(webhooks::configurations(&spec, environment));
    }
    objects.push(MANAGER.budget(namespace));
    objects.push(deployment(environment, webhook));
    objects.extend(rights);
    objects.push(account::metrics_token(namespace));
    objects
}

/// Objects as one YAML text.
///
/// # Errors
/// As [`files`].
pub fn file(path: &str, objects: &[Value]) -> Result<File, FileError> {
    let mut text = "# Written by `spo-operator manifests`; do not edit.\n".to_owned();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&document(path, object)?);
    }
    Ok(File { path: path.to_owned(), text })
}

pub(super) fn document(path: &str, object: &Value) -> Result<String, FileError> {
    serde_saphyr::to_string(object)
        .map_err(|error| FileError { path: path.to_owned(), message: error.to_string() })
}

/// The CustomResourceDefinitions, converted by the webhook of a namespace.
pub(super) fn definitions(scope: Scope, namespace: &str) -> Vec<Value> {
    let definitions = crd::definitions(scope).into_iter().filter_map(|d| serde_json::to_value(d).ok());
    definitions
        .map(|mut definition| {
            definition["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["namespace"] =
                json!(namespace);
            definition
        })
        .collect()
}

fn own_namespace(name: &str) -> Value {
    let mut namespace = object("v1", "Namespace", None, name, "namespace");
    for mode in ["enforce", "audit", "warn"] {
        // The agents mount folders of the host.
        namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")] = json!("privileged");
    }
    namespace["metadata"]["labels"]["openshift.io/cluster-monitoring"] = json!("true");
    namespace
}

/// The profiles of the operator's own pods.
pub(super) fn profiles(namespace: &str) -> Value {
    let mut map = object("v1", "ConfigMap", Some(namespace), names::PROFILES_CONFIG_MAP, "agent");
    map["data"] = json!({ own::SECCOMP_FILE: own::seccomp(), own::APPARMOR.0: own::APPARMOR.1 });
    map
}

/// The manager.
pub(super) fn deployment(environment: &Environment, webhook: Webhook) -> Value {
    let mut arguments = vec!["manager".to_owned(), format!("--metrics-port={}", names::HTTPS_PORT)];
    if webhook == Webhook::Static {
        arguments.push("--webhook=false".to_owned());
    }
    let mut container = container(names::OPERATOR, &arguments, &DaemonSpec::default(), environment);
    if let Some(variables) = container["env"].as_array_mut() {
        variables.push(variable("SPO_IMAGE", &environment.image));
        variables.push(variable("KUBELET_DIR", &environment.kubelet_dir));
        if webhook == Webhook::Static {
            // The SPOD that the manager makes then says so: see `static_spod`.
            variables.push(variable("SPO_STATIC_WEBHOOK", "true"));
        }
    }
    add_probes(&mut container);
    container["resources"] = resources("50m", "32Mi", "192Mi");
    if let Some(ports) = container["ports"].as_array_mut() {
        ports.push(json!({ "name": "metrics", "containerPort": names::HTTPS_PORT, "protocol": "TCP" }));
    }
    container["volumeMounts"] = json!([{ "name": "metrics-certificate", "readOnly": true,
        "mountPath": names::METRICS_CERTIFICATE_DIR }]);
    // The manager itself makes it.
    let volumes = json!([{ "name": "metrics-certificate", "secret": { "secretName": names::METRICS_SECRET,
        "optional": true, "defaultMode": 0o440 } }]);
    let mut deployment = MANAGER.deployment(&environment.namespace, container, volumes);
    // Whoever takes the taint off cannot wait for that.
    tolerate_startup_taint(&mut deployment["spec"]["template"]["spec"]);
    deployment["metadata"]["labels"]["app.kubernetes.io/version"] = json!(env!("CARGO_PKG_VERSION"));
    deployment
}
