//! How often the operator writes: a manager and agents as they are, on a real API server, counted from its audit log.
//! Time is measured by `cargo run --release -p spo-benches --bin cluster_load`.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    thread,
    time::Duration,
};

use serde_json::json;
use spo_tests::{
    audit::Write,
    fleet::{AGENT, Fleet, NAMESPACE, OPERATOR},
};

const NODES: usize = 3;
const PROFILES: usize = 60;

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// Applies profiles at once and waits until all are on all nodes. Gives what the operator wrote for that.
fn roll_out(fleet: &Fleet, prefix: &str) -> Fallible<Vec<Write>> {
    let mut log = fleet.log()?;
    let documents = (0..PROFILES).map(|number| {
            let profile = json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
                "metadata": { "name": format!("{prefix}-{number}"), "namespace": NAMESPACE },
                "spec": { "defaultAction": "SCMP_ACT_LOG", "syscalls": [
                    { "action": "SCMP_ACT_ALLOW", "names": ["read", "write", "exit_group"] }] } });
            format!("---\n{profile}\n")
        });
    fleet.kubectl(&["apply", "--server-side", "-f", "-"], &documents.collect::<String>())?;
    let all = format!("{NODES}/{NODES}");
    fleet.holds("every profile is Installed everywhere", || {
        let profiles = fleet.list("seccompprofiles", NAMESPACE, "")?;
        let ours = profiles.iter().filter(|p| {
            p["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(prefix))
                && p["status"]["status"] == "Installed"
                && p["status"]["nodes"] == all.as_str()
        });
        Ok(ours.count() == PROFILES)
    })?;
    // What still follows would be too much, and has to be seen.
    thread::sleep(Duration::from_secs(3));
    log.writes_of(OPERATOR)
}

/// How often each object of a resource was written by a user.
fn each<'a>(writes: &'a [Write], user: &str, resource: &str) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for write in writes.iter().filter(|write| write.user == user && write.resource.starts_with(resource)) {
        *counts.entry(write.name.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn a_roll_out_is_written_once_and_then_nothing_is() -> Fallible {
    let Some(fleet) = Fleet::start(NODES)? else { return Ok(()) };

    let writes = roll_out(&fleet, "first")?;
    let said = each(&writes, AGENT, "securityprofilenodestatuses");
    assert_eq!((said.len(), said.values().max()), (NODES * PROFILES, Some(&1)), "{writes:?}");
    let summed = each(&writes, OPERATOR, "seccompprofiles");
    let firsts = summed.iter().filter(|(name, _)| name.starts_with("first-"));
    let (count, sum) = firsts.fold((0, 0), |(count, sum), (_, writes)| (count + 1, sum + writes));
    assert_eq!(count, PROFILES, "{summed:?}");
    assert!(sum <= 2 * PROFILES, "{summed:?}");

    let mut log = fleet.log()?;
    thread::sleep(Duration::from_secs(10));
    assert_eq!(log.writes_of(OPERATOR)?, [], "nothing has changed");

    let patch = r#"{"spec":{"statusMode":"PerNode"}}"#;
    fleet.kubectl(&["patch", "spod", "spod", "-n", OPERATOR, "--type=merge", "-p", patch], "")?;
    fleet.holds("each node has one status", || {
        Ok(fleet.list("securityprofilenodestatuses", "", "")?.len() == NODES)
    })?;
    let writes = roll_out(&fleet, "second")?;
    let said = each(&writes, AGENT, "securityprofilenodestatuses");
    let objects: BTreeSet<&str> = said.keys().copied().collect();
    assert_eq!(objects.len(), NODES, "{said:?}");
    // However many profiles there are: a node says what has come together since it spoke last.
    assert!(said.values().all(|writes| *writes <= 10), "{said:?}");
    let summed: usize = each(&writes, OPERATOR, "seccompprofiles").values().sum();
    assert!(summed <= 2 * PROFILES, "{writes:?}");
    let mut log = fleet.log()?;
    thread::sleep(Duration::from_secs(10));
    assert_eq!(log.writes_of(OPERATOR)?, [], "nothing has changed");
    Ok(())
}
