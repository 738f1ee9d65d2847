//! Pods under profiles, as kubelet starts them.

use serde_json::json;
use spo_tests::cluster::Cluster;

use super::ground::{
    Fallible, NAMESPACE, apply, everywhere, get, is, nowhere, profile, shell, sleeper, until_ready,
};

/// The guide's profile that runs confines nginx, and nginx still serves.
pub(crate) fn a_pod_under_a_profile(cluster: &mut Cluster) -> Fallible {
    shell(cluster, "kubectl apply -f examples/guide/02-seccomp-runs.yaml")?;
    until_ready(cluster, "restricted-nginx")?;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "confined", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "app", "image": "nginx:1.21", "securityContext": {
            "seccompProfile": { "type": "Localhost",
                "localhostProfile": "operator/production/restricted-nginx.json" } } }] } });
    cluster.good(&["apply", "-f", "-"], &pod.to_string())?;
    shell(cluster, "kubectl wait --for=condition=Ready pod confined -n production --timeout=120s")?;
    let inside = |script: &str| -> Fallible<String> {
        let output = cluster.kubectl(&["exec", "-n", NAMESPACE, "confined", "--", "sh", "-c", script], "")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let status = inside("cat /proc/1/status")?;
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
    let served = inside("curl -s http://127.0.0.1/")?;
    assert_eq!(served, "served\n");
    // `/tmp` is open to all, so nothing but the filter is in the way; it allows neither `symlink` nor `symlinkat`.
    let refused = inside("ln -s a /tmp/forbidden")?;
    assert!(refused.contains("Operation not permitted"), "{refused}");
    shell(cluster, "kubectl delete pod confined -n production --timeout=60s")?;
    Ok(())
}

/// A profile that a pod uses can be asked to go, and goes with the pod.
pub(crate) fn a_profile_in_use(cluster: &mut Cluster) -> Fallible {
    apply(cluster, &profile("used"))?;
    until_ready(cluster, "used")?;
    cluster.good(&["apply", "-f", "-"], &sleeper("user", Some("used")))?;
    shell(cluster, "kubectl wait --for=condition=Ready pod user -n production --timeout=120s")?;
    let found = |name: &str| get(cluster, &["seccompprofile", name, "-n", NAMESPACE]);
    cluster.until("the profile is held", || Ok(!found("used")?["metadata"]["finalizers"].is_null()))?;
    shell(cluster, "kubectl delete seccompprofile used -n production --wait=false")?;
    cluster.until("it is said that the profile is to go", || {
        let statuses = found("used")?["status"]["status"].clone();
        Ok(statuses == "Terminating")
    })?;
    assert!(everywhere(cluster, "used") && !is(&found("used")?, "Ready"));
    shell(cluster, "kubectl delete pod user -n production --timeout=60s")?;
    cluster.until("the profile is gone", || Ok(found("used")?.is_null() && nowhere(cluster, "used")))
}
