//! Certificates by OpenShift's service CA: annotations that ask for them.
//!
//! The service CA operator puts a certificate for a Service into the Secret that an annotation of the Service names
//! (`tls.crt` and `tls.key`, no `ca.crt`), and its authority into webhook configurations and definitions that ask for
//! it. Source of the names: OpenShift, "Securing service traffic using service serving certificate secrets".

use serde_json::{Value, json};

use super::Environment;

/// The annotation of a Service with the Secret that its certificate goes into.
pub const SERVING: &str = "service.beta.openshift.io/serving-cert-secret-name";

/// The annotation, `"true"`, of what the authority is put into.
pub const INJECT: &str = "service.beta.openshift.io/inject-cabundle";

/// The ConfigMap in every namespace of OpenShift that the authority is in, and where.
pub(super) const AUTHORITY: (&str, &str) = ("openshift-service-ca.crt", "service-ca.crt");

/// Asks for a certificate of a Service, where they come from the service CA.
pub(super) fn serve(service: &mut Value, secret: &str, environment: &Environment) {
    annotate(service, SERVING, secret, environment);
}

/// Asks for the authority, where certificates come from the service CA.
pub(super) fn inject(configuration: &mut Value, environment: &Environment) {
    annotate(configuration, INJECT, "true", environment);
}

fn annotate(object: &mut Value, name: &str, value: &str, environment: &Environment) {
    if environment.service_ca {
        object["metadata"]["annotations"][name] = json!(value);
    }
}
