//! A SPOD without admission: the API server asks nobody, everything else goes on, and admission comes back.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::Named,
    operator::{Admission, GROUP, NAMESPACE, Operator, is_reachable},
};

use crate::{
    SPOD, profile, ready,
    static_webhook::{MUTATING, VALIDATING},
};

const AGENTS: Named<'_> = ("daemonset", NAMESPACE, "spod");

/// Changes `spec.webhook`; returns what kubectl says, warnings included.
fn webhook(operator: &Operator, webhook: &Value) -> Result<String, Box<dyn Error>> {
    let patch = json!({ "spec": { "webhook": webhook } }).to_string();
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", &patch])
}

/// A profile that admission refuses: its base is itself.
fn nonsense(name: &str) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": name, "namespace": "production" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": name } })
}

fn says(spod: &Value, text: &str) -> bool {
    ready(spod)["message"].as_str().is_some_and(|message| message.contains(text))
}

#[test]
fn admission_can_be_switched_off_and_on_again() -> Result<(), Box<dyn Error>> {
    if !is_reachable() {
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::On)? else { return Ok(()) };
    operator.manager("first", &[])?;
    operator.serve()?;
    operator.is_asked()?;

    let said = webhook(&operator, &json!({ "mode": "Disabled" }))?;
    assert!(said.contains("Warning") && said.contains("no binding takes effect"), "{said}");
    for named in [MUTATING, VALIDATING] {
        operator.until("it is removed", named, Value::is_null)?;
    }
    operator.holds("nothing is validated", || Ok(operator.apply(&nonsense("unchecked")).is_ok()))?;

    // Versions are converted, and what serves that stays.
    profile(&operator, "web")?;
    let old = format!("seccompprofiles.v1beta1.{GROUP}");
    assert_eq!(operator.get((&old, "production", "web"))?["apiVersion"], format!("{GROUP}/v1beta1"));
    for kept in ["deployment", "poddisruptionbudget"] {
        assert!(!operator.get((kept, NAMESPACE, "security-profiles-operator-webhook"))?.is_null(), "{kept}");
    }
    let alpha = format!("securityprofilesoperatordaemons.v1alpha1.{GROUP}");
    assert!(operator.get((&alpha, NAMESPACE, "spod"))?["spec"]["webhook"]["mode"].is_null());

    // It runs, and says what is missing. There is no DaemonSet controller here.
    let generation = operator.get(AGENTS)?["metadata"]["generation"].clone();
    let done = json!({ "status": { "observedGeneration": generation, "desiredNumberScheduled": 1,
        "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1, "numberMisscheduled": 0 } });
    let patch = done.to_string();
    operator.kubectl(&[
        "patch",
        AGENTS.0,
        "spod",
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    let spod = operator.until("it runs", SPOD, |spod| spod["status"]["state"] == "Running")?;
    assert!(ready(&spod)["status"] == "True" && says(&spod, "admission is off"), "{spod}");

    // What somebody else makes is theirs, and the SPOD says so.
    operator.kubectl_of(
        &["create", "-f", "-"],
        &json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": VALIDATING.2 }, "webhooks": [] })
        .to_string(),
    )?;
    operator.until("it is told", SPOD, |spod| says(spod, "somebody else has made it"))?;
    thread::sleep(Duration::from_secs(2));
    let mut log = operator.audit()?;
    thread::sleep(Duration::from_secs(5));
    let mut writes = log.writes_of(NAMESPACE)?;
    // That no node has them is said some seconds after they came.
    writes.retain(|write| !write.resource.starts_with("seccompprofiles"));
    assert!(writes.is_empty(), "{writes:?}");
    assert!(!operator.get(VALIDATING)?.is_null(), "it stays");

    // Two things at once are refused by the API server itself, for nobody else is asked.
    let both = webhook(&operator, &json!({ "staticConfig": true })).expect_err("refused").to_string();
    assert!(both.contains("spec.webhook.mode and spec.webhook.staticConfig contradict"), "{both}");

    // Another leader leaves it off, and admission comes back when it is asked for.
    assert!(operator.server.terminate("first")?.success());
    operator.manager("second", &[])?;
    operator.holds("another leads", || Ok(operator.log("second").contains("leading")))?;
    thread::sleep(Duration::from_secs(3));
    assert!(operator.get(MUTATING)?.is_null(), "it is off");
    webhook(&operator, &json!({ "mode": "Managed" }))?;
    operator.is_asked()?;
    operator.until("all of it is back", VALIDATING, |found| !found["webhooks"][0].is_null())?;
    operator.refused(&nonsense("checked"), "denied the request")?;
    let spod = operator.until("nothing is missing", SPOD, |spod| !says(spod, "admission is off"))?;
    assert_eq!(spod["status"]["state"], "Running", "{spod}");
    Ok(())
}
