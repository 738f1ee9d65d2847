//! Installing with the manifest, and what is left of the operator when it has gone: nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use spo_tests::cluster::Cluster;

use super::ground::{
    Fallible, NAMESPACE, OPERATOR, apply, list, profile, shell, sleeper, until_installed, until_ready,
};

/// As the guide says.
pub(crate) fn install(cluster: &mut Cluster) -> Fallible {
    shell(cluster, "kubectl apply -f deploy/operator.yaml")?;
    cluster.until("there is a SecurityProfilesOperatorDaemon", || {
        Ok(!list(cluster, &["spod", "-n", OPERATOR])?.is_empty())
    })?;
    until_installed(cluster)?;
    cluster.good(&["create", "namespace", NAMESPACE], "")?;
    Ok(())
}

/// Pods, profiles, operator.
pub(crate) fn as_documented(cluster: &mut Cluster) -> Fallible {
    in_use(cluster)?;
    shell(cluster, "kubectl delete pods --all -n production --timeout=60s")?;
    shell(cluster, "kubectl delete seccompprofiles --all -n production --timeout=60s")?;
    shell(cluster, "kubectl delete -f deploy/operator.yaml --timeout=120s")?;
    nothing_is_left(cluster)?;
    shell(cluster, "kubectl delete namespace production --timeout=120s")?;
    Ok(())
}

/// The operator first, with everything else still there.
pub(crate) fn the_hard_way(cluster: &mut Cluster) -> Fallible {
    if list(cluster, &["spod", "-n", OPERATOR])?.is_empty() {
        install(cluster)?;
    }
    for number in 0..40 {
        apply(cluster, &profile(&format!("many-{number}")))?;
    }
    in_use(cluster)?;
    for number in 0..3 {
        cluster.good(
            &["apply", "-f", "-"],
            &sleeper(&format!("user-{number}"), Some(&format!("many-{number}"))),
        )?;
    }
    shell(cluster, "kubectl wait --for=condition=Ready pod --all -n production --timeout=120s")?;
    until_ready(cluster, "many-39")?;
    shell(cluster, "kubectl delete -f deploy/operator.yaml --timeout=120s")?;
    nothing_is_left(cluster)?;
    // Pods that run go on, and their namespace goes when it is asked to.
    shell(cluster, "kubectl wait --for=condition=Ready pod --all -n production --timeout=1s")?;
    shell(cluster, "kubectl delete namespace production --timeout=120s")?;
    Ok(())
}

/// A profile that a pod uses.
fn in_use(cluster: &Cluster) -> Fallible {
    apply(cluster, &profile("last"))?;
    until_ready(cluster, "last")?;
    apply(cluster, &sleeper("last", Some("last")))?;
    shell(cluster, "kubectl wait --for=condition=Ready pod last -n production --timeout=120s")?;
    let held = "kubectl get seccompprofile last -n production -o jsonpath={.metadata.finalizers}";
    cluster.until("the profile is held", || Ok(shell(cluster, held)?.contains("in-use")))
}

/// No object of ours in the cluster, no process and no file on a node.
pub(crate) fn nothing_is_left(cluster: &Cluster) -> Fallible {
    let kinds = "crd,namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                 validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let mut left = String::new();
    let gone = cluster.until("no object of the operator is left", || {
        left = shell(
            cluster,
            &format!("kubectl get {kinds} -o name | grep -E 'security-profiles|/spo' || true"),
        )?;
        Ok(left.is_empty())
    });
    gone.map_err(|error| format!("{error}: {left}"))?;
    assert_eq!(cluster.signal(None, "0", "/spo-operator")?, 0, "no process");
    nodes_are_clean(cluster);
    Ok(())
}

/// No file of ours is on a node.
pub(crate) fn nodes_are_clean(cluster: &Cluster) {
    for node in cluster.nodes() {
        for folder in ["/var/lib/kubelet/seccomp", "/var/lib/security-profiles-operator"] {
            let mut files = files_below(&node.path(folder));
            files.sort();
            assert!(files.is_empty(), "{}: {files:?}", node.name());
        }
        // The folder of a namespace is the agent's to make and to remove.
        assert!(!node.path(&format!("/var/lib/kubelet/seccomp/operator/{NAMESPACE}")).exists());
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    inner.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
