//! Webhooks that do not answer.

use spo_tests::cluster::Cluster;

use super::ground::{Fallible, NAMESPACE, apply, profile, shell, sleeper, until_installed, until_ready};

/// How a webhook's process looks on its node.
const WEBHOOK: &str = "/spo-operator webhook";

/// Without a webhook no pod gets past its binding; what is there can be deleted, and all is well when it is back.
pub(crate) fn none_answers(cluster: &mut Cluster) -> Fallible {
    shell(cluster, "kubectl label ns production spo.x-k8s.io/enable-binding= --overwrite")?;
    apply(cluster, &profile("old"))?;
    until_ready(cluster, "old")?;
    let create = |name: &str| cluster.kubectl(&["create", "-f", "-"], &sleeper(name, None));
    assert!(create("early")?.status.success());
    assert!(cluster.signal(None, "STOP", WEBHOOK)? >= 3);
    let refused = create("meanwhile")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("webhook"), "{said}");
    // Other namespaces have nothing to do with it.
    let elsewhere = sleeper("elsewhere", None).replace(NAMESPACE, "default");
    cluster.good(&["create", "-f", "-"], &elsewhere)?;
    shell(cluster, "kubectl delete pod elsewhere -n default --timeout=60s")?;
    shell(cluster, "kubectl delete pod early -n production --timeout=60s")?;
    shell(cluster, "kubectl delete seccompprofile old -n production --timeout=60s")?;
    assert!(cluster.signal(None, "KILL", WEBHOOK)? >= 3);
    cluster.until("pods can be made again", || Ok(create("late")?.status.success()))?;
    until_installed(cluster)?;

    shell(
        cluster,
        "kubectl delete pods -n security-profiles-operator -l name=security-profiles-operator-webhook --force --grace-period=0",
    )?;
    cluster.until("pods can be made again", || Ok(create("later")?.status.success()))?;
    until_installed(cluster)?;
    shell(cluster, "kubectl delete pod late later -n production --timeout=60s")?;
    Ok(())
}
