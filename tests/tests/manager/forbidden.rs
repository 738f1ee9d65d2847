//! Profiles that the settings do not allow: kept, or deleted where a SPOD asks for it. With a real agent.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::{Named, condition},
    operator::{Admission, GROUP, NAMESPACE, Operator},
};

use super::seccomp;

type Outcome = Result<(), Box<dyn Error>>;

fn profile(operator: &Operator, name: &str, calls: &[&str]) -> Outcome {
    operator.apply(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
        "metadata": { "name": name, "namespace": "production" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "action": "SCMP_ACT_ALLOW", "names": calls }] } }))?;
    Ok(())
}

fn security(operator: &Operator, security: &Value) -> Outcome {
    let patch = json!({ "spec": { "security": security } }).to_string();
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", &patch])?;
    Ok(())
}

/// Cases 5 and 6 of the acceptance list.
#[test]
fn a_profile_that_is_not_allowed_is_deleted_where_a_spod_asks_for_it() -> Outcome {
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.node("a")?;
    operator.manager("first", &[])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    operator.agent("a", &["--with-insecure-metrics-access"])?;
    for (name, calls) in [
        ("allowed", &["exit", "exit_group"][..]),
        ("unused", &["exit", "mount"]),
        ("used", &["exit", "futex", "ptrace"]),
    ] {
        profile(&operator, name, calls)?;
        operator.until("installed", seccomp(name), |p| p["status"]["status"] == "Installed")?;
    }
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "namespace": "production" },
        "spec": { "containers": [{ "name": "c", "image": "c" }], "securityContext": { "seccompProfile":
            { "type": "Localhost", "localhostProfile": "operator/production/used.json" } } } }))?;
    operator.until("in use", seccomp("used"), |p| !p["metadata"]["finalizers"].is_null())?;
    let file = |name: &str| {
        operator.root("a").join(format!("var/lib/kubelet/seccomp/operator/production/{name}.json")).exists()
    };
    assert!(file("unused") && file("used"));

    // Nobody asks: both stay, and say what is not allowed.
    let allowed = json!(["exit", "exit_group", "futex"]);
    security(&operator, &json!({ "allowedSyscalls": allowed }))?;
    for (name, call) in [("unused", "mount"), ("used", "ptrace")] {
        let found =
            operator.until("refused", seccomp(name), |p| condition(p, "Allowed")["status"] == "False")?;
        assert!(condition(&found, "Allowed")["message"].to_string().contains(call), "{found}");
    }
    thread::sleep(Duration::from_secs(12));
    assert!(!operator.get(seccomp("unused"))?.is_null(), "nobody asks for its deletion");

    // Somebody asks.
    security(&operator, &json!({ "allowedSyscalls": allowed, "forbiddenProfiles": "Delete" }))?;
    operator.until("deleted", seccomp("unused"), Value::is_null)?;
    let used = operator.until("terminating", seccomp("used"), |p| p["status"]["status"] == "Terminating")?;
    let ready = condition(&used, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Deleting")), "{used}");
    let told = operator
        .list("events", "production", "")?
        .into_iter()
        .find(|event| event["involvedObject"]["name"] == "unused" && event["reason"] == "Forbidden");
    let told = told.ok_or("no event")?["message"].to_string();
    assert!(told.contains("SecurityProfilesOperatorDaemon spod") && told.contains("mount"), "{told}");
    operator.holds("the file goes", || Ok(!file("unused")))?;
    thread::sleep(Duration::from_secs(2));
    assert!(!operator.get(seccomp("used"))?.is_null(), "a pod uses it");
    operator.kubectl(&["delete", "pod", "user", "-n", "production", "--force", "--grace-period=0"])?;
    operator.until("gone with its last pod", seccomp("used"), Value::is_null)?;
    operator.holds("the file goes", || Ok(!file("used")))?;

    // What is allowed stays, and so does what the operator brings.
    assert_eq!(operator.get(seccomp("allowed"))?["status"]["status"], "Installed");
    let base: Named<'_> = ("seccompprofiles", NAMESPACE, "runc-v1.4.2");
    let base = operator.get(base)?;
    assert_eq!(condition(&base, "Allowed")["status"], "False", "{base}");
    Ok(())
}
