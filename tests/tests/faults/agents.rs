//! Nodes and agents that fail.

use std::{thread, time::Duration};

use spo_tests::cluster::Cluster;

use super::ground::{
    Fallible, NAMESPACE, OPERATOR, apply, everywhere, files, get, identity, is, list, nowhere, pods, profile,
    shell, until_pods, until_ready, writes,
};

/// How an agent's process looks on its node.
const AGENT: &str = "/spo-operator daemon";

/// A node that hangs holds nothing up, and catches up when it is back.
pub(crate) fn a_node_hangs(cluster: &mut Cluster) -> Fallible {
    apply(cluster, &profile("before"))?;
    until_ready(cluster, "before")?;
    cluster.signal(Some("node-2"), "STOP", "")?;
    cluster.until("the node is not ready", || Ok(!is(&get(cluster, &["node", "node-2"])?, "Ready")))?;
    apply(cluster, &profile("meanwhile"))?;
    let message = until_ready(cluster, "meanwhile")?;
    assert!(message.contains("node-2"), "{message}");
    let there: Vec<bool> = files(cluster, "meanwhile").iter().map(|file| file.exists()).collect();
    assert_eq!(there, [true, false, true]);
    // What had been said of the old profile before is not forgotten.
    until_ready(cluster, "before")?;
    cluster.signal(Some("node-2"), "CONT", "")?;
    cluster.until_ready(&["node-2".to_owned()])?;
    cluster.until("the node has the profile", || Ok(everywhere(cluster, "meanwhile")))?;
    cluster.until("the node counts again", || Ok(until_ready(cluster, "meanwhile")?.contains("3 of 3")))?;
    shell(cluster, "kubectl delete seccompprofile before meanwhile -n production --timeout=60s")?;
    cluster.until("the files are gone", || Ok(nowhere(cluster, "before") && nowhere(cluster, "meanwhile")))
}

/// Without its kubelet a node is not ready, but its agent goes on.
pub(crate) fn a_kubelet_stops(cluster: &mut Cluster) -> Fallible {
    let (node, network) = cluster.node("node-2").ok_or("there is no such node")?;
    node.switch(network, false)?;
    cluster.until("the node is not ready", || Ok(!is(&get(cluster, &["node", "node-2"])?, "Ready")))?;
    apply(cluster, &profile("unattended"))?;
    until_ready(cluster, "unattended")?;
    cluster.until("the agent has put it there", || Ok(everywhere(cluster, "unattended")))?;
    shell(cluster, "kubectl delete seccompprofile unattended -n production --timeout=60s")?;
    cluster.until("the files are gone", || Ok(nowhere(cluster, "unattended")))?;
    let (node, network) = cluster.node("node-2").ok_or("there is no such node")?;
    node.switch(network, true)?;
    cluster.until_ready(&["node-2".to_owned()])?;
    until_pods(cluster, "spod", 3)
}

/// An agent that ends takes nothing with it, and its successor writes nothing that is there already.
pub(crate) fn an_agent_is_killed(cluster: &mut Cluster) -> Fallible {
    for number in 0..5 {
        apply(cluster, &profile(&format!("kept-{number}")))?;
    }
    let mut kept = Vec::new();
    for number in 0..5 {
        let name = format!("kept-{number}");
        until_ready(cluster, &name)?;
        kept.extend(files(cluster, &name));
    }
    // Reports come some moments after files.
    thread::sleep(Duration::from_secs(3));
    let (before, written) = (identity(&kept)?, writes(cluster, "spod")?);

    let of = |cluster: &Cluster| -> Fallible<Option<String>> {
        let on_it = pods(cluster, "spod")?.into_iter().find(|pod| pod["spec"]["nodeName"] == "node-1");
        Ok(on_it.and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
    };
    let first = of(cluster)?.ok_or("the node has no agent")?;
    cluster.good(&["delete", "pod", &first, "-n", OPERATOR, "--force", "--grace-period=0"], "")?;
    cluster.until("another takes its place", || Ok(of(cluster)?.is_some_and(|name| name != first)))?;
    until_pods(cluster, "spod", 3)?;

    assert!(cluster.signal(Some("node-2"), "KILL", AGENT)? > 0);
    cluster.until("the agent is started again", || {
        Ok(pods(cluster, "spod")?.iter().any(|pod| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64().is_some_and(|count| count > 0)
        }))
    })?;
    until_pods(cluster, "spod", 3)?;
    apply(cluster, &profile("after"))?;
    until_ready(cluster, "after")?;
    cluster.until("every node has it", || Ok(everywhere(cluster, "after")))?;
    assert_eq!(identity(&kept)?, before, "the files are not written again");
    let more = writes(cluster, "spod")? - written;
    assert_eq!(more, 3, "one write of each node for one profile, and none because an agent starts");
    shell(cluster, "kubectl delete seccompprofile --all -n production --timeout=60s")?;
    cluster.until("the files are gone", || Ok(nowhere(cluster, "after") && nowhere(cluster, "kept-0")))
}

/// Of a node that is gone nothing is left, and one that comes gets everything.
pub(crate) fn a_node_goes_and_another_comes(cluster: &mut Cluster) -> Fallible {
    apply(cluster, &profile("roaming"))?;
    until_ready(cluster, "roaming")?;
    let reports = |cluster: &Cluster, node: &str| -> Fallible<usize> {
        let label = format!("spo.x-k8s.io/node-name={node}");
        Ok(list(cluster, &["securityprofilenodestatuses", "-n", NAMESPACE, "-l", &label])?.len())
    };
    // Those of profiles that are gone are collected some moments later.
    cluster.until("the node has one report", || Ok(reports(cluster, "node-3")? == 1))?;
    cluster.remove_node("node-3");
    shell(cluster, "kubectl delete node node-3 --timeout=60s")?;
    cluster.until("it is not counted any more", || {
        Ok(until_ready(cluster, "roaming")?.contains("2 of 2") && reports(cluster, "node-3")? == 0)
    })?;
    apply(cluster, &profile("short-lived"))?;
    until_ready(cluster, "short-lived")?;
    shell(cluster, "kubectl delete seccompprofile short-lived -n production --timeout=60s")?;

    cluster.add_nodes(1)?;
    assert_eq!(cluster.nodes().len(), 3);
    cluster.until("the new node has the profile", || Ok(everywhere(cluster, "roaming")))?;
    cluster.until("it counts", || Ok(until_ready(cluster, "roaming")?.contains("3 of 3")))?;
    // Pods of the node that went are gone too, so all of the operator is where it can be.
    super::ground::until_installed(cluster)?;
    shell(cluster, "kubectl delete seccompprofile roaming -n production --timeout=60s")?;
    Ok(())
}
