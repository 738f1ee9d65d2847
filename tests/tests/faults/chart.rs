//! The chart, by the real `helm`.

use std::fs;

use spo_tests::{cluster::Cluster, document::sections, workspace};

use super::{
    ground::{
        Fallible, NAMESPACE, OPERATOR, apply, everywhere, get, list, pods, profile, shell, until_installed,
        until_ready,
    },
    removal::nodes_are_clean,
};

/// Install, upgrade with other values, uninstall.
pub(crate) fn installs_upgrades_and_goes(cluster: &mut Cluster) -> Fallible {
    // As the guide says.
    let guide = sections(&fs::read_to_string(workspace().join("docs/guide.md"))?);
    let blocks = guide.iter().flat_map(|section| &section.blocks).filter(|block| block.label == "helm");
    let scripts: Vec<&str> = blocks.map(|block| block.script.as_str()).collect();
    assert_eq!(scripts.len(), 1, "{scripts:?}");
    shell(cluster, scripts[0])?;
    until_installed(cluster)?;
    cluster.good(&["create", "namespace", NAMESPACE], "")?;
    apply(cluster, &profile("charted"))?;
    until_ready(cluster, "charted")?;
    assert!(everywhere(cluster, "charted"));

    shell(
        cluster,
        "helm upgrade security-profiles-operator --namespace security-profiles-operator ./deploy/helm \
         --set enableAppArmor=true --set enableMemoryOptimization=true",
    )?;
    let arguments = |cluster: &Cluster| -> Fallible<String> {
        Ok(get(cluster, &["daemonset", "spod", "-n", OPERATOR])?["spec"]["template"]["spec"]["containers"][0]
            ["args"]
            .to_string())
    };
    cluster.until("the agents do as the values say", || {
        Ok(arguments(cluster)?.contains("--with-apparmor=true"))
    })?;
    assert!(arguments(cluster)?.contains("--with-mem-optim=true"));
    until_installed(cluster)?;
    // None of these nodes has AppArmor: there is nothing to count, and nothing has failed.
    shell(cluster, "kubectl apply -f examples/guide/04-apparmor.yaml")?;
    let mut last = serde_json::Value::Null;
    let said = cluster.until("no node supports it", || {
        last = list(cluster, &["securityprofilenodestatuses", "-n", NAMESPACE])?.into();
        let unsupported = last
            .as_array()
            .into_iter()
            .flatten()
            .filter(|status| status["status"]["status"] == "Unsupported");
        Ok(unsupported.count() == 3)
    });
    said.map_err(|error| format!("{error}: {last}"))?;
    let states =
        shell(cluster, "kubectl get apparmorprofilealiases -n production -o jsonpath={.items[*].status}")?;
    assert!(!states.contains("Error"), "{states}");
    until_ready(cluster, "charted")?;
    shell(cluster, "kubectl delete -f examples/guide/04-apparmor.yaml --timeout=60s")?;

    // A value that is taken back goes.
    shell(
        cluster,
        "helm upgrade security-profiles-operator --namespace security-profiles-operator ./deploy/helm \
         --reset-values",
    )?;
    cluster.until("the agents do as the values say", || {
        Ok(!arguments(cluster)?.contains("--with-apparmor=true"))
    })?;
    until_installed(cluster)?;

    shell(cluster, "helm uninstall security-profiles-operator --namespace security-profiles-operator")?;
    cluster.until("no pod of the operator is left", || {
        Ok(["spod", OPERATOR, "security-profiles-operator-webhook"]
            .iter()
            .map(|workload| pods(cluster, workload))
            .collect::<Fallible<Vec<_>>>()?
            .iter()
            .all(Vec::is_empty))
    })?;
    cluster.until("no process of the operator is left", || {
        Ok(cluster.signal(None, "0", "/spo-operator")? == 0)
    })?;
    // What the manager has made goes too; the namespace is the administrator's, and stays.
    let mut left = String::new();
    let gone = cluster.until("nothing of the operator is left in its namespace", || {
        left = left_behind(cluster)?;
        Ok(left.is_empty())
    });
    gone.map_err(|error| format!("{error}: {left}"))?;
    nodes_are_clean(cluster);
    // Definitions and profiles stay, as the chart's values say; without an operator nothing holds them.
    assert!(!get(cluster, &["seccompprofile", "charted", "-n", NAMESPACE])?.is_null());
    shell(cluster, "kubectl delete namespace production security-profiles-operator --timeout=120s")?;
    Ok(())
}

/// The objects that are left in the operator's namespace, and the webhook configurations, apart from what every
/// namespace has.
fn left_behind(cluster: &Cluster) -> Fallible<String> {
    shell(
        cluster,
        "kinds=$(kubectl api-resources --verbs=list --namespaced -o name | grep -vE '^(events|endpoints$)' | paste -sd,)
         kubectl get $kinds -n security-profiles-operator -o name --ignore-not-found \
           | grep -vE '^(configmap/kube-root-ca.crt|serviceaccount/default)$' || true
         kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o name | grep spo || true",
    )
}
