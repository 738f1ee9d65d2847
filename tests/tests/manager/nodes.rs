//! Nodes that join, and nodes that several SPODs select.

use std::{error::Error, thread, time::Duration};

use serde_json::json;
use spo_tests::{
    audit::Write,
    operator::{Admission, GROUP, NAMESPACE, Operator},
};

use super::{SPOD, profile, ready, report, seccomp};

type Outcome = Result<(), Box<dyn Error>>;

/// Each scale-up would make all profiles wait, and be written twice.
#[test]
fn a_node_that_joins_makes_no_profile_wait_and_costs_one_write_for_each() -> Outcome {
    const PROFILES: [&str; 5] = ["p-0", "p-1", "p-2", "p-3", "p-4"];
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    for name in PROFILES {
        profile(&operator, name)?;
        report(&operator, "a", name, "Installed", "")?;
    }
    for name in PROFILES {
        operator.until("ready", seccomp(name), |p| ready(p)["status"] == "True")?;
    }
    let since = ready(&operator.get(seccomp("p-0"))?)["lastTransitionTime"].clone();
    thread::sleep(Duration::from_secs(2));
    let mut log = operator.audit()?;
    operator.node("b")?;
    thread::sleep(Duration::from_secs(4));
    let writes = log.writes_of(NAMESPACE)?;
    let of_profiles =
        |write: &&Write| write.resource.starts_with("seccompprofiles") && write.namespace == "production";
    assert_eq!(writes.iter().filter(of_profiles).count(), 0, "{writes:?}");
    for name in PROFILES {
        report(&operator, "b", name, "Installed", "")?;
    }
    for name in PROFILES {
        operator.until("on both", seccomp(name), |p| p["status"]["nodes"] == "2/2")?;
    }
    thread::sleep(Duration::from_secs(2));
    let writes = log.writes_of(NAMESPACE)?;
    let about = writes.iter().filter(of_profiles).count();
    assert!(about <= PROFILES.len(), "{writes:?}");
    assert_eq!(ready(&operator.get(seccomp("p-0"))?)["lastTransitionTime"], since, "it was ready all along");
    Ok(())
}

/// Two agents on a node undo what the other does.
#[test]
fn spods_that_share_nodes_say_so() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator.manager("first", &[])?;
    operator.until("a state", SPOD, |spod| spod["status"]["state"] == "Creating")?;
    operator
        .apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "guards", "namespace": NAMESPACE }, "spec": {} }))?;
    for (name, both) in [("spod", "spod and guards"), ("guards", "guards and spod")] {
        let found =
            operator.until("an error", ("spod", NAMESPACE, name), |s| s["status"]["state"] == "Error")?;
        let message = ready(&found)["message"].to_string();
        assert!(message.contains(both) && message.contains("(a)"), "{message}");
    }
    operator.kubectl(&["delete", "spod", "guards", "-n", NAMESPACE])?;
    // Nothing collects garbage here.
    operator.kubectl(&["delete", "daemonset", "guards", "-n", NAMESPACE])?;
    operator.until("no error", SPOD, |spod| spod["status"]["state"] == "Creating")?;
    Ok(())
}
