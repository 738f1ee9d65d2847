//! Whom the API server has to trust when it calls the webhook, and how that gets to where it looks: into our definitions,
//! and into webhook configurations that somebody else keeps.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{cluster::names, render::service_ca::INJECT};

/// Whom the API server has to trust when it calls the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// These authorities, as PEM.
    Bundle(String),
    /// The service CA, which puts itself where an annotation asks for it.
    Injected,
}

/// What has to change in a definition, if anything: whom the API server trusts, and in which namespace the webhook is.
/// A conversion of another kind, or by another's service, is left alone. `injected` is whether the definition asks the
/// service CA.
pub fn definition_patch(
    conversion: &Value,
    injected: bool,
    anchor: &Anchor,
    namespace: &str,
) -> Option<Value> {
    let config = conversion.pointer("/webhook/clientConfig")?;
    let ours = [names::CONVERSION_SERVICE, names::WEBHOOK_SERVICE];
    if conversion["strategy"] != "Webhook" || !ours.iter().any(|name| config["service"]["name"] == *name) {
        return None;
    }
    // The certificates of the service CA are for one Service only.
    let service =
        if *anchor == Anchor::Injected { names::WEBHOOK_SERVICE } else { names::CONVERSION_SERVICE };
    let mut wanted = json!({ "service": { "name": service, "namespace": namespace } });
    let mut same = config["service"]["namespace"] == namespace && config["service"]["name"] == service;
    if let Some(bundle) = anchor.bundle() {
        same &= config["caBundle"] == bundle;
        wanted["caBundle"] = bundle;
    }
    let inject = *anchor == Anchor::Injected;
    if same && inject == injected {
        return None;
    }
    let mut patch = json!({ "spec": { "conversion": { "webhook": { "clientConfig": wanted } } } });
    if inject != injected {
        // Two that put their authorities there would do so in turn, for ever.
        patch["metadata"]["annotations"][INJECT] = if inject { json!("true") } else { Value::Null };
    }
    Some(patch)
}

/// What has to change in a webhook configuration that the manager neither makes nor keeps, if anything: whom the API
/// server trusts, in the webhooks that call ours, and nothing else. To be applied as a strategic merge patch, over the
/// version that was read.
pub fn configuration_patch(configuration: &Value, anchor: &Anchor, namespace: &str) -> Option<Value> {
    let calls_us = |hook: &&Value| {
        let service = &hook["clientConfig"]["service"];
        service["name"] == names::WEBHOOK_SERVICE && service["namespace"] == namespace
    };
    let ours: Vec<&Value> = configuration["webhooks"].as_array()?.iter().filter(calls_us).collect();
    let bundle = anchor.bundle();
    let differs = |hook: &&&Value| bundle.as_ref().is_some_and(|b| hook["clientConfig"]["caBundle"] != *b);
    let hook = |hook: &&Value| json!({ "name": hook["name"], "clientConfig": { "caBundle": bundle } });
    let due: Vec<Value> = ours.iter().filter(differs).map(hook).collect();
    let inject = *anchor == Anchor::Injected;
    let injected = configuration["metadata"]["annotations"][INJECT] == "true";
    if ours.is_empty() || due.is_empty() && inject == injected {
        return None;
    }
    let mut patch =
        json!({ "metadata": { "resourceVersion": configuration["metadata"]["resourceVersion"] } });
    if !due.is_empty() {
        patch["webhooks"] = Value::Array(due);
    }
    if inject != injected {
        patch["metadata"]["annotations"][INJECT] = if inject { json!("true") } else { Value::Null };
    }
    Some(patch)
}

impl Anchor {
    /// As the field `caBundle` has it; `None` where that is the service CA's to fill.
    pub fn bundle(&self) -> Option<Value> {
        match self {
            Self::Bundle(pem) => serde_json::to_value(ByteString(pem.as_bytes().to_vec())).ok(),
            Self::Injected => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(service: &str, bundle: Option<&str>) -> Value {
        let mut config = json!({ "service": { "name": service, "namespace": "spo", "path": "/convert" } });
        if let Some(bundle) = bundle {
            config["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
        }
        json!({ "strategy": "Webhook", "webhook": { "clientConfig": config } })
    }

    #[test]
    fn a_definition_is_patched_only_where_it_differs() {
        let ours = Anchor::Bundle("CA".to_owned());
        let patch = |conversion: &Value| definition_patch(conversion, false, &ours, "spo");
        let found = patch(&conversion("webhook-conversion", None)).expect("a patch");
        let config = &found["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(config["caBundle"], "Q0E=");
        assert_eq!(patch(&conversion("webhook-conversion", Some("CA"))), None);
        assert!(patch(&conversion("webhook-conversion", Some("old"))).is_some());
        let moved = patch(&conversion("webhook-service", Some("CA"))).expect("a patch");
        let service = &moved["spec"]["conversion"]["webhook"]["clientConfig"]["service"];
        assert_eq!(service["name"], "webhook-conversion", "the existing operator has one Service for both");
        let moved = definition_patch(&conversion("webhook-conversion", Some("CA")), false, &ours, "other");
        assert!(moved.is_some(), "the existing operator writes one namespace into its manifests");
        for foreign in [conversion("another", None), json!({ "strategy": "None" }), json!(null)] {
            assert_eq!(patch(&foreign), None);
        }
    }

    /// Both would write the field in turn otherwise.
    #[test]
    fn a_definition_asks_the_service_ca_or_has_our_authority() {
        let (ours, theirs) = (Anchor::Bundle("CA".to_owned()), Anchor::Injected);
        let definition = conversion("webhook-service", Some("CA"));
        let to = definition_patch(&definition, false, &theirs, "spo").expect("a patch");
        assert_eq!(to["metadata"]["annotations"][INJECT], "true");
        assert!(to.pointer("/spec/conversion/webhook/clientConfig/caBundle").is_none(), "{to}");
        let theirs_now = conversion("webhook-service", Some("service CA"));
        assert_eq!(definition_patch(&theirs_now, true, &theirs, "spo"), None, "whatever it put there");
        let back = definition_patch(&theirs_now, true, &ours, "spo").expect("a patch");
        assert_eq!(back["metadata"]["annotations"], json!({ INJECT: null }));
        assert_eq!(back["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"], "Q0E=");
    }

    fn configuration(hooks: &[(&str, &str, &str, Option<&str>)]) -> Value {
        let hook = |(name, service, namespace, bundle): &(&str, &str, &str, Option<&str>)| {
            let mut config = json!({ "service": { "name": service, "namespace": namespace } });
            if let Some(bundle) = bundle {
                config["caBundle"] = json!(bundle);
            }
            json!({ "name": name, "clientConfig": config, "failurePolicy": "Fail" })
        };
        let hooks: Vec<Value> = hooks.iter().map(hook).collect();
        json!({ "metadata": { "resourceVersion": "7" }, "webhooks": hooks })
    }

    #[test]
    fn of_a_configuration_that_somebody_else_keeps_the_bundle_alone_is_patched() {
        let ours = Anchor::Bundle("CA".to_owned());
        let found = configuration(&[
            ("a", "webhook-service", "spo", None),
            ("b", "webhook-service", "spo", Some("Q0E=")),
            ("c", "webhook-service", "other", None),
            ("d", "another", "spo", None),
        ]);
        let patch = configuration_patch(&found, &ours, "spo");
        let wanted = json!({ "metadata": { "resourceVersion": "7" },
            "webhooks": [{ "name": "a", "clientConfig": { "caBundle": "Q0E=" } }] });
        assert_eq!(patch, Some(wanted));
        let done = configuration(&[("a", "webhook-service", "spo", Some("Q0E="))]);
        assert_eq!(configuration_patch(&done, &ours, "spo"), None);
        let foreign = configuration(&[("a", "another", "spo", None)]);
        assert_eq!(configuration_patch(&foreign, &Anchor::Injected, "spo"), None);
        assert_eq!(configuration_patch(&Value::Null, &ours, "spo"), None);
    }

    #[test]
    fn a_configuration_that_somebody_else_keeps_asks_the_service_ca() {
        let mut found = configuration(&[("a", "webhook-service", "spo", Some("b2xk"))]);
        let patch = configuration_patch(&found, &Anchor::Injected, "spo").expect("a patch");
        assert_eq!(patch["metadata"]["annotations"], json!({ INJECT: "true" }));
        assert_eq!(patch["webhooks"], Value::Null, "what it puts there is its own");
        found["metadata"]["annotations"] = json!({ INJECT: "true" });
        assert_eq!(configuration_patch(&found, &Anchor::Injected, "spo"), None);
        let back = configuration_patch(&found, &Anchor::Bundle("CA".to_owned()), "spo").expect("a patch");
        assert_eq!(back["metadata"]["annotations"], json!({ INJECT: null }));
    }
}
