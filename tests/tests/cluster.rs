//! The guide on real nodes.

use std::{error::Error, time::Instant};

use spo_tests::cluster::{Cluster, Image};

#[test]
fn probe() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut cluster = Cluster::start("spo-probe")?;
    eprintln!("control plane {:?}", start.elapsed());
    cluster.add_nodes(3)?;
    eprintln!("nodes {:?}", start.elapsed());
    let nginx =
        Image::new("docker.io/library/nginx:1.21", &["/bin/busybox", "sleep", "1000"]).with("/bin/busybox");
    cluster.push(&nginx)?;
    cluster.until("the service account is there", || Ok(cluster.kubectl(&["get", "serviceaccount", "default"], "")?.status.success()))?;
    let out = cluster.kubectl(&["run", "x", "--image=nginx:1.21"], "")?;
    eprintln!("{out:?}");
    let out = cluster.kubectl(&["wait", "--for=condition=Ready", "pod/x", "--timeout=60s"], "")?;
    eprintln!("{out:?} {:?}", start.elapsed());
    let out = cluster.kubectl(&["get", "nodes,pods", "-o", "wide"], "")?;
    eprintln!("{}", String::from_utf8_lossy(&out.stdout));
    Ok(())
}
