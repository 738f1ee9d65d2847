//! The webhook's objects in the manifest: the manager tells them whom to trust, and does nothing else to them.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::Named,
    operator::{Admission, GROUP, NAMESPACE, Operator, is_reachable},
};

use crate::{SPOD, profile};

pub(crate) const MUTATING: Named<'_> =
    ("mutatingwebhookconfiguration", "", "spo-mutating-webhook-configuration");
pub(crate) const VALIDATING: Named<'_> =
    ("validatingwebhookconfiguration", "", "spo-validating-webhook-configuration");

/// A configuration without whom to trust, and whether all of it trusts somebody.
fn taken_apart(mut configuration: Value) -> (Value, bool) {
    let mut trusts = true;
    for hook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
        let config = hook["clientConfig"].as_object_mut();
        trusts &= config.and_then(|config| config.remove("caBundle")).is_some();
    }
    let kept = json!({ "webhooks": configuration["webhooks"], "uid": configuration["metadata"]["uid"],
        "owners": configuration["metadata"]["ownerReferences"] });
    (kept, trusts)
}

#[test]
fn webhooks_of_the_manifest_are_trusted_and_otherwise_left_alone() -> Result<(), Box<dyn Error>> {
    if !is_reachable() {
        return Ok(());
    }
    const FILE: &str = "deploy/webhook-operator.yaml";
    let Some(mut operator) = Operator::install_from(FILE, Admission::On)? else { return Ok(()) };
    let before = [operator.get(MUTATING)?, operator.get(VALIDATING)?].map(taken_apart);
    assert!(before.iter().all(|(_, trusts)| !trusts), "the file cannot know the authority");
    operator.manager("first", &["--webhook=false"])?;
    operator.serve()?;
    operator.is_asked()?;
    assert_eq!(operator.get(SPOD)?["spec"]["webhook"]["staticConfig"], true);

    profile(&operator, "web")?;
    let nonsense = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": "itself", "namespace": "production" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "itself" } });
    operator.refused(&nonsense, "denied the request")?;

    for (named, before) in [(MUTATING, &before[0]), (VALIDATING, &before[1])] {
        let after = operator.until("all of it trusts", named, |found| taken_apart(found.clone()).1)?;
        assert_eq!(taken_apart(after).0, before.0, "nothing else has changed");
    }
    // What is taken away is not made by anybody else, and what comes back is trusted again.
    operator.kubectl(&["delete", VALIDATING.0, VALIDATING.2])?;
    thread::sleep(Duration::from_secs(4));
    assert!(operator.get(VALIDATING)?.is_null(), "it is the administrator's");
    let manifest = std::fs::read_to_string(spo_tests::workspace().join(FILE))?;
    operator.apply_text(&manifest)?;
    operator.until("trusted again", VALIDATING, |found| !found.is_null() && taken_apart(found.clone()).1)?;
    operator.is_asked()?;

    // The end of the operator does not remove what somebody else keeps.
    operator.kubectl(&["delete", "deployment", "security-profiles-operator", "-n", NAMESPACE])?;
    operator.holds("it cleans up", || Ok(operator.log("first").contains("releasing what it holds")))?;
    thread::sleep(Duration::from_secs(3));
    for named in [MUTATING, VALIDATING] {
        assert!(!operator.get(named)?.is_null(), "{named:?}");
    }
    Ok(())
}
