//! What every part asks and does.

use std::{
    error::Error,
    fs,
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    time::Instant,
};

use serde_json::{Value, json};
use spo_tests::{cluster::Cluster, workspace};

pub(crate) type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// A part of a test; parts run one after the other on one cluster.
pub(crate) type Part = (&'static str, fn(&mut Cluster) -> Fallible);

/// The operator's namespace.
pub(crate) const OPERATOR: &str = "security-profiles-operator";

/// The namespace of the tests' profiles.
pub(crate) const NAMESPACE: &str = "production";

/// Runs parts, and says of the first that fails how things stand then.
pub(crate) fn run(cluster: &mut Cluster, parts: &[Part]) -> Fallible {
    let only = std::env::var("SPO_FAULTS").unwrap_or_default();
    let chosen = |name: &str| name == "install" || only.split(',').any(|piece| name.contains(piece));
    for (name, part) in parts.iter().filter(|(name, _)| chosen(name)) {
        let start = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| part(cluster)));
        if let Ok(Ok(())) = ended {
            eprintln!("{name}: {:.1?}", start.elapsed());
            continue;
        }
        eprintln!("{name} fails:\n{}", state(cluster));
        return ended.unwrap_or_else(|panic| resume_unwind(panic));
    }
    Ok(())
}

/// How things stand, for people.
fn state(cluster: &Cluster) -> String {
    let script = "kubectl get nodes,pods,spod,seccompprofiles -A -o wide
        kubectl get events -A --sort-by=.lastTimestamp | tail -30 | cut -c1-250
        for pod in $(kubectl get pods -n security-profiles-operator -o name); do
          echo $pod; kubectl logs --tail=8 -n security-profiles-operator $pod
        done
        for pod in $(kubectl get pods -n production -o name | head -3); do
          echo $pod; kubectl logs --tail=8 -n production $pod; kubectl logs --previous --tail=8 -n production $pod
        done";
    let output = cluster.shell(&format!("set +e\n{script}"), workspace());
    output
        .map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs commands that have to succeed; all that they print.
pub(crate) fn shell(cluster: &Cluster, script: &str) -> Fallible<String> {
    let output = cluster.shell(script, workspace())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{script}: {said}").into()) }
}

/// An answer of `kubectl`; null where there is no such object or no answer.
pub(crate) fn get(cluster: &Cluster, arguments: &[&str]) -> Fallible<Value> {
    let mut all = vec!["get", "-o", "json"];
    all.extend(arguments);
    let output = cluster.kubectl(&all, "")?;
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// The items of a list.
pub(crate) fn list(cluster: &Cluster, arguments: &[&str]) -> Fallible<Vec<Value>> {
    Ok(get(cluster, arguments)?["items"].as_array().cloned().unwrap_or_default())
}

/// A condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let key = ["type", "status"];
    object["status"]["conditions"].as_array()?.iter().find(|one| one[key[0]] == name)
}

/// Whether a condition of an object is true.
pub(crate) fn is(object: &Value, name: &str) -> bool {
    condition(object, name).is_some_and(|condition| condition["status"] == "True")
}

/// The operator's pods that are not being deleted, of one workload.
pub(crate) fn pods(cluster: &Cluster, workload: &str) -> Fallible<Vec<Value>> {
    let mut pods = list(cluster, &["pods", "-n", OPERATOR, "-l", &format!("name={workload}")])?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

/// Waits until a workload of the operator has a number of pods that are ready, and no others.
pub(crate) fn until_pods(cluster: &Cluster, workload: &str, count: usize) -> Fallible {
    cluster.until(&format!("{count} pods of {workload} are ready"), || {
        let pods = pods(cluster, workload)?;
        Ok(pods.len() == count && pods.iter().all(|pod| is(pod, "Ready")))
    })
}

/// Waits until all of the operator is there.
pub(crate) fn until_installed(cluster: &Cluster) -> Fallible {
    until_pods(cluster, "security-profiles-operator", 3)?;
    until_pods(cluster, "spod", cluster.nodes().len())?;
    until_pods(cluster, "security-profiles-operator-webhook", 3)?;
    cluster.until("the operator says that it runs", || {
        Ok(is(&get(cluster, &["spod", "spod", "-n", OPERATOR])?, "Ready"))
    })
}

/// A filter that allows everything but one call, so that any program runs under it.
pub(crate) fn profile(name: &str) -> String {
    json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "action": "SCMP_ACT_ERRNO", "names": ["acct"] }] } })
    .to_string()
}

/// Makes a profile, trying again while the API server or the webhook cannot answer.
pub(crate) fn apply(cluster: &Cluster, document: &str) -> Fallible {
    let mut said = String::new();
    let applied = cluster.until("it is applied", || {
        let output = cluster.kubectl(&["apply", "-f", "-"], document)?;
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(output.status.success())
    });
    applied.map_err(|error| format!("{error}: {said}").into())
}

/// Where this machine sees the file of a profile on each node.
pub(crate) fn files(cluster: &Cluster, name: &str) -> Vec<PathBuf> {
    let path = format!("/var/lib/kubelet/seccomp/operator/{NAMESPACE}/{name}.json");
    cluster.nodes().iter().map(|node| node.path(&path)).collect()
}

/// Whether every node has the file of a profile.
pub(crate) fn everywhere(cluster: &Cluster, name: &str) -> bool {
    files(cluster, name).iter().all(|file| file.exists())
}

/// Whether no node has it.
pub(crate) fn nowhere(cluster: &Cluster, name: &str) -> bool {
    files(cluster, name).iter().all(|file| !file.exists())
}

/// Waits until a profile is ready; its condition's message.
pub(crate) fn until_ready(cluster: &Cluster, name: &str) -> Fallible<String> {
    let mut last = Value::Null;
    let waited = cluster.until(&format!("the profile {name} is ready"), || {
        last = get(cluster, &["seccompprofile", name, "-n", NAMESPACE])?;
        Ok(is(&last, "Ready"))
    });
    waited.map_err(|error| format!("{error}: {}", last["status"]))?;
    let message = condition(&last, "Ready").map(|ready| ready["message"].clone());
    Ok(message.and_then(|message| message.as_str().map(str::to_owned)).unwrap_or_default())
}

/// A pod that sleeps under a profile, or under none.
pub(crate) fn sleeper(name: &str, profile: Option<&str>) -> String {
    let context = profile.map(|profile| {
        json!({ "seccompProfile": { "type": "Localhost",
            "localhostProfile": format!("operator/{NAMESPACE}/{profile}.json") } })
    });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "terminationGracePeriodSeconds": 0, "securityContext": context.unwrap_or(json!({})),
            "containers": [{ "name": "c", "image": "registry.fedoraproject.org/fedora-minimal:latest",
                "command": ["/bin/sleep", "3600"] }] } })
    .to_string()
}

/// What tells a file from one that was written again.
pub(crate) fn identity(files: &[PathBuf]) -> Fallible<Vec<(u64, i64, i64)>> {
    let of = |file: &PathBuf| -> Fallible<(u64, i64, i64)> {
        let found = fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((found.ino(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(of).collect()
}

/// How many writes a service account of the operator has made so far, by the API server's own log.
pub(crate) fn writes(cluster: &Cluster, account: &str) -> Fallible<usize> {
    let log = fs::read_to_string(cluster.dir().join("audit.log"))?;
    let user = format!("\"system:serviceaccount:{OPERATOR}:{account}\"");
    let writes = ["create", "update", "patch", "delete"].map(|verb| format!("\"verb\":\"{verb}\""));
    let counts = |line: &&str| {
        line.contains(&user)
            && line.contains("security-profiles-operator.x-k8s.io/")
            && writes.iter().any(|verb| line.contains(verb))
    };
    Ok(log.lines().filter(counts).count())
}
