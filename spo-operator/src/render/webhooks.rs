//! The webhook: its Deployment, what finds it, and what the API server asks it.
//!
//! A webhook that is down must never keep the operator from coming back, nor anything from being deleted:
//!
//! * nothing is asked about deletions, nor about objects that are being deleted;
//! * pods of the operator's own namespace are never sent, nor anything of a namespace that is not looked at;
//! * objects of the operator's own namespace (the SPOD above all) are validated by a webhook of their own that is
//!   skipped while it cannot be reached.

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use spo_model::{
    crd::ALIAS_PLURAL,
    daemon::{DaemonSpec, WebhookOptions},
    kind::{GROUP, Kind},
};

use super::{
    Environment,
    container::{add_probes, container, resources},
    data, has_startup_taint,
    monitoring::WEBHOOKS,
    object, pull_secrets, put,
    replicas::WEBHOOK,
    service_ca, tolerate_startup_taint,
};
use crate::cluster::names;

/// The Service, the Deployment and its disruption budget.
pub(super) fn workload(spec: &DaemonSpec, environment: &Environment) -> Vec<Value> {
    let mut objects = vec![admission(environment)];
    // The service CA makes a certificate for one Service.
    if !environment.service_ca {
        objects.push(service(names::CONVERSION_SERVICE, "webhook-conversion", true, environment));
    }
    objects.extend([deployment(spec, environment), WEBHOOK.budget(&environment.namespace)]);
    objects
}

/// Both webhook configurations.
pub(super) fn configurations(spec: &DaemonSpec, environment: &Environment) -> Vec<Value> {
    let options = spec.webhook.as_ref().and_then(|webhook| webhook.options.as_deref()).unwrap_or_default();
    let configuration = |kind: &str, name: &str, webhooks: Vec<Value>| {
        let mut all = object("admissionregistration.k8s.io/v1", kind, None, name, "webhook");
        let finished = |webhook| watched(adjusted(webhook, options), environment);
        all["webhooks"] = webhooks.into_iter().map(finished).collect();
        service_ca::inject(&mut all, environment);
        if let Some(owner) = &environment.owner {
            all["metadata"]["ownerReferences"] = json!([owner]);
        }
        all
    };
    let hooks = Hooks { environment };
    vec![
        configuration("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS, hooks.mutating()),
        configuration("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS, hooks.validating()),
    ]
}

/// What admission is asked through: a replica without caches would have to refuse.
fn admission(environment: &Environment) -> Value {
    let mut service = service(names::WEBHOOK_SERVICE, WEBHOOKS, environment.service_ca, environment);
    service_ca::serve(&mut service, names::WEBHOOK_SECRET, environment);
    service
}

/// A Service of the replicas. A replica is ready once its caches are filled; the API server may have to convert what
/// fills them, so conversion has to reach those that are not.
fn service(name: &str, component: &str, not_ready_too: bool, environment: &Environment) -> Value {
    let mut service = object("v1", "Service", Some(&environment.namespace), name, component);
    service["spec"] = json!({
        "selector": { names::APP_LABEL: names::OPERATOR, "name": names::WEBHOOK },
        "ports": [{ "name": "https", "port": 443, "targetPort": names::HTTPS_PORT, "protocol": "TCP" }],
    });
    // Said only where it is so: a client that applies `false` would change something each time.
    if not_ready_too {
        service["spec"]["publishNotReadyAddresses"] = json!(true);
    }
    service
}

fn deployment(spec: &DaemonSpec, environment: &Environment) -> Value {
    let mut container = container(names::WEBHOOK, &["webhook".to_owned()], spec, environment);
    container["ports"] = json!([{ "name": "https", "containerPort": names::HTTPS_PORT, "protocol": "TCP" }]);
    add_probes(&mut container);
    // More than the server's own limits add up to (`webhook::server::Limits`): 352 MiB for what is asked, 64 MiB for
    // connections, and the caches.
    container["resources"] = resources("50m", "24Mi", "512Mi");
    container["volumeMounts"] = json!([{ "name": "certificate", "mountPath": names::WEBHOOK_CERTIFICATE_DIR,
        "readOnly": true }]);
    let volumes = json!([{ "name": "certificate",
        "secret": { "secretName": names::WEBHOOK_SECRET, "defaultMode": 0o440 } }]);
    let mut deployment = WEBHOOK.deployment(&environment.namespace, container, volumes);
    let pod = &mut deployment["spec"]["template"]["spec"];
    let of_agents = spec.scheduling.as_ref().and_then(|s| s.tolerations.as_ref());
    let own = spec.webhook.as_ref().and_then(|webhook| webhook.scheduling.as_ref());
    put(pod, "tolerations", data(own.and_then(|own| own.tolerations.as_ref()).or(of_agents)));
    if has_startup_taint(spec) {
        // It converts what the first agents of a cluster read.
        tolerate_startup_taint(pod);
    }
    put(pod, "affinity", own.and_then(|own| data(own.affinity.as_ref())));
    put(pod, "priorityClassName", own.and_then(|own| data(own.priority_class_name.as_ref())));
    for (label, value) in own.iter().flat_map(|own| own.node_selector.iter().flatten()) {
        pod["nodeSelector"][label] = json!(value);
    }
    put(pod, "imagePullSecrets", pull_secrets(spec.image_pull_secrets.as_ref(), &environment.pull_secrets));
    deployment
}

/// A webhook as the SPOD's options for its name want it: what they set replaces what is there as a whole.
fn adjusted(mut webhook: Value, options: &[WebhookOptions]) -> Value {
    if let Some(own) = options.iter().find(|options| webhook["name"] == options.name) {
        put(&mut webhook, "failurePolicy", own.failure_policy.map(|policy| json!(policy)));
        put(&mut webhook, "namespaceSelector", data(own.namespace_selector.as_ref()));
        put(&mut webhook, "objectSelector", data(own.object_selector.as_ref()));
    }
    webhook
}

/// A webhook that is asked about the namespaces that are looked at only: of others it knows no binding and no base, and
/// would let through what it should not.
fn watched(mut webhook: Value, environment: &Environment) -> Value {
    let names = environment.restrict_to.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut names: Vec<&str> = names.chain([environment.namespace.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    if environment.restrict_to.trim_matches([',', ' ']).is_empty() {
        return webhook;
    }
    let only = json!({ "key": NAMESPACE, "operator": "In", "values": names });
    let selector = &mut webhook["namespaceSelector"];
    match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        Some(expressions) => expressions.push(only),
        None => selector["matchExpressions"] = json!([only]),
    }
    webhook
}

struct Hooks<'a> {
    environment: &'a Environment,
}

impl Hooks<'_> {
    fn mutating(&self) -> Vec<Value> {
        let opted_in = |label: &str| {
            json!({ "matchExpressions": [
                { "key": label, "operator": "Exists" },
                { "key": NAMESPACE, "operator": "NotIn", "values": [self.environment.namespace] },
            ] })
        };
        let mut binding = self.hook("binding.spo.io", "/mutate-v1-pod-binding", "Fail");
        binding["rules"] = json!([
            rule("", "v1", &["CREATE"], &["pods"], "Namespaced"),
            rule("", "v1", &["UPDATE"], &["pods", "pods/ephemeralcontainers"], "Namespaced")
        ]);
        // Of all updates of pods, only new images matter: labels, finalizers and the like never wait for a webhook.
        binding["matchConditions"] = json!([{ "name": "new-containers-or-images", "expression": format!(
            "request.operation != 'UPDATE' || request.?subResource.orValue('') == 'ephemeralcontainers' \
             || {} || {}", images_differ("initContainers"), images_differ("containers")) }]);
        binding["namespaceSelector"] = opted_in(names::BINDING_LABEL);
        binding["reinvocationPolicy"] = json!("IfNeeded");
        let mut recording = self.hook("recording.spo.io", "/mutate-v1-pod-recording", "Fail");
        recording["rules"] = json!([rule("", "v1", &["CREATE"], &["pods"], "Namespaced")]);
        recording["namespaceSelector"] = opted_in(names::RECORDING_LABEL);
        recording["reinvocationPolicy"] = json!("Never");
        vec![binding, recording]
    }

    /// Rules for v1, by equivalence for all versions: what is judged and compared is what will be stored. A request in
    /// an old version may change what that version hides, by its annotation, and nothing that it shows.
    fn validating(&self) -> Vec<Value> {
        let kinds = |kinds: &[Kind]| kinds.iter().map(|kind| kind.plural()).collect::<Vec<_>>();
        let mut profiles = kinds(&[Kind::SeccompProfile, Kind::SelinuxProfile, Kind::AppArmorProfile]);
        profiles.push(ALIAS_PLURAL);
        profiles.extend(kinds(&[Kind::ProfileRecording, Kind::ProfileBinding]));
        let both = ["CREATE", "UPDATE"];
        let own = |operator: &str| {
            json!({ "matchExpressions":
                [{ "key": NAMESPACE, "operator": operator, "values": [self.environment.namespace] }] })
        };

        let mut validation = self.hook("profile-validation.spo.io", "/validate-profile", "Fail");
        validation["rules"] = json!([rule(GROUP, "v1", &both, &profiles, "*")]);
        validation["namespaceSelector"] = own("NotIn");

        let raw = kinds(&[Kind::RawSelinuxProfile]);
        let mut raw_validation =
            self.hook("rawselinuxprofile-validation.spo.io", "/validate-rawselinuxprofile", "Fail");
        raw_validation["rules"] = json!([rule(GROUP, "v1", &both, &raw, "*")]);
        raw_validation["namespaceSelector"] = own("NotIn");

        let mut all = profiles;
        all.extend(raw);
        all.push(Kind::SecurityProfilesOperatorDaemon.plural());
        let mut ours = self.hook("operator-validation.spo.io", "/validate-profile", "Ignore");
        // What has no namespace is in no selector's reach and has been validated above.
        ours["rules"] = json!([rule(GROUP, "v1", &both, &all, "Namespaced")]);
        ours["namespaceSelector"] = own("In");

        let mut hooks = vec![validation, raw_validation, ours];
        for hook in &mut hooks {
            hook["matchConditions"] = json!([
                { "name": "not-being-deleted", "expression": "!has(object.metadata.deletionTimestamp)" },
                { "name": "spec-changes", "expression":
                    "request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) \
                     || object.spec != oldObject.spec" },
            ]);
        }
        hooks
    }

    /// A webhook without rules. Every field with a default is there, so that an apply that changes nothing is seen
    /// to change nothing.
    fn hook(&self, name: &str, path: &str, failure_policy: &str) -> Value {
        let mut client = json!({ "service": {
            "name": names::WEBHOOK_SERVICE,
            "namespace": self.environment.namespace,
            "path": path,
            "port": 443,
        } });
        let bundle = self.environment.ca_bundle.as_ref().map(|pem| ByteString(pem.clone().into_bytes()));
        put(&mut client, "caBundle", data(bundle.as_ref()));
        json!({
            "name": name,
            "clientConfig": client,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "matchPolicy": "Equivalent",
            "failurePolicy": failure_policy,
            "objectSelector": {},
        })
    }
}

/// Whether the images of a list of containers change, in CEL. What may be missing or null is never read, for an error
/// refuses the update.
fn images_differ(list: &str) -> String {
    let images = |pod: &str| {
        format!(
            "({pod}.?spec.?{list}.orValue(null) == null \
             ? [] : {pod}.spec.{list}.map(c, c.?image.orValue('')))"
        )
    };
    format!("{} != {}", images("object"), images("oldObject"))
}

/// The label that every namespace has with its own name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

fn rule(group: &str, version: &str, operations: &[&str], resources: &[&str], scope: &str) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": operations,
        "resources": resources,
        "scope": scope,
    })
}
