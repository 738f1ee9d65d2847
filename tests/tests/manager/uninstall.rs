//! The end of the operator, in the orders in which a cluster brings it about. Nothing ends pods here: the test does.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::Named,
    operator::{Admission, NAMESPACE, Operator},
};

use super::{SPOD, profile, seccomp};

type Outcome = Result<(), Box<dyn Error>>;

const LEASE: Named<'_> = ("lease", NAMESPACE, "security-profiles-operator-lock");
const MUTATING: Named<'_> = ("mutatingwebhookconfiguration", "", "spo-mutating-webhook-configuration");
const VALIDATING: Named<'_> = ("validatingwebhookconfiguration", "", "spo-validating-webhook-configuration");

fn holder(lease: &Value) -> &str {
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default()
}

/// A profile that a pod uses.
fn in_use(operator: &Operator) -> Outcome {
    profile(operator, "web")?;
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "namespace": "production" },
        "spec": { "containers": [{ "name": "c", "image": "c" }], "securityContext": { "seccompProfile":
            { "type": "Localhost", "localhostProfile": "operator/production/web.json" } } } }))?;
    operator.until("in use", seccomp("web"), |p| !p["metadata"]["finalizers"].is_null())?;
    Ok(())
}

/// Kubernetes from 1.33 on ends the pods of a namespace before it deletes anything else in it.
#[test]
fn a_namespace_that_goes_is_the_end_although_the_deployment_is_there() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    in_use(&operator)?;
    for configuration in [MUTATING, VALIDATING] {
        operator.until("a webhook configuration", configuration, |found| !found.is_null())?;
    }
    operator.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    thread::sleep(Duration::from_secs(1));
    let deployment = operator.get(("deployment", NAMESPACE, "security-profiles-operator"))?;
    assert!(deployment["metadata"]["deletionTimestamp"].is_null() && !deployment.is_null(), "{deployment}");
    assert!(operator.server.terminate("first")?.success());
    let web = operator.get(seccomp("web"))?;
    assert!(web["metadata"]["finalizers"].is_null(), "{web}\n{}", operator.log("first"));
    for configuration in [MUTATING, VALIDATING] {
        assert!(operator.get(configuration)?.is_null(), "{configuration:?}\n{}", operator.log("first"));
    }
    Ok(())
}

/// An end of a process that is no end of the operator releases nothing.
#[test]
fn a_manager_that_is_restarted_releases_nothing() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    in_use(&operator)?;
    operator.until("a webhook configuration", MUTATING, |found| !found.is_null())?;
    assert!(operator.server.terminate("first")?.success());
    assert!(!operator.get(seccomp("web"))?["metadata"]["finalizers"].is_null());
    assert!(!operator.get(MUTATING)?.is_null());
    assert_eq!(holder(&operator.get(LEASE)?), "", "the next need not wait");
    Ok(())
}

/// The replicas of a Deployment are not ended at the same moment.
#[test]
fn a_replica_that_leads_after_the_end_does_not_begin_anew() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    operator.until("a leader", LEASE, |lease| holder(lease) == "first")?;
    operator.manager("second", &[])?;
    in_use(&operator)?;
    operator.until("a SPOD", SPOD, |spod| !spod.is_null())?;
    // The second has looked at what there is.
    thread::sleep(Duration::from_secs(2));
    operator.kubectl(&["delete", "deployment", "security-profiles-operator", "-n", NAMESPACE])?;
    operator.until("released", seccomp("web"), |p| p["metadata"]["finalizers"].is_null())?;
    operator.kubectl(&["delete", "spod", "spod", "-n", NAMESPACE])?;
    assert!(operator.server.terminate("first")?.success());
    thread::sleep(Duration::from_secs(4));
    assert_eq!(holder(&operator.get(LEASE)?), "first", "the Lease is not given back");
    operator.until("the other leads", LEASE, |lease| holder(lease) == "second")?;
    thread::sleep(Duration::from_secs(4));
    assert!(operator.get(SPOD)?.is_null(), "{}", operator.log("second"));
    assert!(operator.get(seccomp("web"))?["metadata"]["finalizers"].is_null());
    assert!(operator.server.terminate("second")?.success());
    Ok(())
}
