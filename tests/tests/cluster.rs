//! Real nodes.

use std::error::Error;

use spo_tests::{
    cluster::{Cluster, GUEST_PROGRAMS, Image, PROGRAMS},
    guest::Security,
};

/// The cluster itself: nodes of this machine's kernel and of guests run pods, and label them as their kernel does.
#[test]
fn nodes_run_pods() -> Result<(), Box<dyn Error>> {
    if !Cluster::is_possible("cluster", &[PROGRAMS, GUEST_PROGRAMS].concat()) {
        return Ok(());
    }
    let mut cluster = Cluster::start("spo-nodes")?;
    let guests = [cluster.add_guest(Security::AppArmor)?, cluster.add_guest(Security::Selinux)?];
    cluster.add_nodes(1)?;
    cluster.until_ready(&guests)?;
    cluster.push(&Image::new("docker.io/library/busybox:latest", &["/bin/sleep", "600"]).with_busybox())?;
    for (node, label) in
        [("node-1", ""), (&guests[0], "cri-containerd.apparmor.d (enforce)"), (&guests[1], ":plain.process:")]
    {
        let pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": node },
            "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "busybox" }] } });
        cluster.good(&["apply", "-f", "-"], &pod.to_string())?;
        cluster.good(&["wait", "--for=condition=Ready", "pod", node, "--timeout=120s"], "")?;
        let said =
            cluster.good(&["exec", node, "--", "sh", "-c", "cat /proc/self/attr/current || true"], "")?;
        assert!(said.contains(label), "{node}: {said}");
    }
    Ok(())
}
