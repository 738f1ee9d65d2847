//! API server, etcd and managers that fail, and their replacement.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use spo_tests::{
    cluster::{Cluster, Image},
    operator_image,
};

use super::ground::{
    Fallible, NAMESPACE, OPERATOR, apply, everywhere, files, get, identity, pods, profile, shell, sleeper,
    until_installed, until_ready,
};

/// Everything is as before when the API server and etcd are back, and nothing on the nodes has changed meanwhile.
pub(crate) fn it_falls_over(cluster: &mut Cluster) -> Fallible {
    for number in 0..5 {
        apply(cluster, &profile(&format!("solid-{number}")))?;
    }
    for number in 0..5 {
        until_ready(cluster, &format!("solid-{number}"))?;
    }
    let all: Vec<_> = (0..5).flat_map(|number| files(cluster, &format!("solid-{number}"))).collect();
    let before = identity(&all)?;
    for processes in [&["kube-apiserver"][..], &["kube-apiserver", "etcd"], &["etcd"]] {
        for process in processes {
            cluster.kill(process);
        }
        thread::sleep(Duration::from_secs(5));
        for process in processes.iter().rev() {
            cluster.restart(process)?;
        }
        cluster.until("the API server answers", || {
            Ok(cluster.kubectl(&["get", "--raw", "/readyz"], "")?.status.success())
        })?;
        let name = format!("after-{}", processes.join("-"));
        apply(cluster, &profile(&name))?;
        until_ready(cluster, &name)?;
        cluster.until("every node has it", || Ok(everywhere(cluster, &name)))?;
        assert_eq!(identity(&all)?, before, "{name}");
    }
    // Of what the control plane's failure took from others (kubelets, the scheduler) nothing is awaited here.
    shell(cluster, "kubectl delete seccompprofile --all -n production --timeout=60s")?;
    cluster.until("the files are gone", || Ok(all.iter().all(|file| !file.exists())))
}

/// Another manager leads when the leader dies.
pub(crate) fn the_leader_is_killed(cluster: &mut Cluster) -> Fallible {
    let leader = |cluster: &Cluster| -> Fallible<String> {
        let lease = get(cluster, &["lease", "security-profiles-operator-lock", "-n", OPERATOR])?;
        Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    };
    let first = leader(cluster)?;
    let on = pods(cluster, OPERATOR)?.into_iter().find(|pod| pod["metadata"]["name"] == first.as_str());
    let node = on.ok_or_else(|| format!("no pod is called {first}"))?["spec"]["nodeName"].clone();
    // Its name stays its own when its container is started again at once; that is no change of leader. So it hangs.
    let node = node.as_str().unwrap_or_default().to_owned();
    assert!(cluster.signal(Some(&node), "STOP", "/spo-operator manager")? > 0);
    let start = Instant::now();
    cluster.until("another leads", || Ok(leader(cluster)? != first))?;
    eprintln!("another leads after {:.1?}", start.elapsed());
    apply(cluster, &profile("led"))?;
    until_ready(cluster, "led")?;
    cluster.signal(Some(&node), "KILL", "/spo-operator manager")?;
    until_installed(cluster)?;

    // And of one that is killed with all of its pod.
    let second = leader(cluster)?;
    cluster.good(&["delete", "pod", &second, "-n", OPERATOR, "--force", "--grace-period=0"], "")?;
    cluster.until("another leads", || Ok(leader(cluster)? != second))?;
    apply(cluster, &profile("led-again"))?;
    until_ready(cluster, "led-again")?;
    until_installed(cluster)?;
    shell(cluster, "kubectl delete seccompprofile --all -n production --timeout=60s")?;
    Ok(())
}

/// The operator's image is replaced while profiles and pods come: nothing is refused, nothing is lost.
pub(crate) fn an_upgrade_under_load(cluster: &mut Cluster) -> Fallible {
    let next = operator_image::OPERATOR.replace(":v0.1.0", ":v0.1.1");
    let image = Image::new(&next, &["/spo-operator"]).with_as(operator_image::binary()?, "/spo-operator");
    cluster.push(&image.with_text("/release", "v0.1.1\n"))?;
    apply(cluster, &profile("steady"))?;
    until_ready(cluster, "steady")?;
    let steady = files(cluster, "steady");
    let before = identity(&steady)?;
    shell(cluster, "kubectl label ns production spo.x-k8s.io/enable-binding= --overwrite")?;
    shell(cluster, &format!("kubectl set image deployment/{OPERATOR} -n {OPERATOR} {OPERATOR}={next}"))?;
    let done = |cluster: &Cluster| -> Fallible<bool> {
        for (workload, count) in [(OPERATOR, 3), ("spod", 3), ("security-profiles-operator-webhook", 3)] {
            let pods = pods(cluster, workload)?;
            let new = pods.iter().filter(|pod| {
                pod["spec"]["containers"][0]["image"] == next.as_str() && super::ground::is(pod, "Ready")
            });
            if new.count() != count || pods.len() != count {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let start = Instant::now();
    let (mut number, mut longest, mut refused) = (0, Duration::ZERO, Vec::new());
    while !done(cluster)? {
        if start.elapsed() > Duration::from_secs(300) {
            return Err(format!("the upgrade does not end; refused: {refused:?}").into());
        }
        let name = format!("load-{number}");
        for document in [profile(&name), sleeper(&name, Some("steady"))] {
            let asked = Instant::now();
            loop {
                let output = cluster.kubectl(&["apply", "-f", "-"], &document)?;
                if output.status.success() {
                    break;
                }
                refused.push(String::from_utf8_lossy(&output.stderr).into_owned());
                if asked.elapsed() > Duration::from_secs(60) {
                    return Err(format!("refused for a minute: {refused:?}").into());
                }
            }
            longest = longest.max(asked.elapsed());
        }
        for file in &steady {
            assert!(file.exists(), "{} is gone during the upgrade", file.display());
        }
        number += 1;
    }
    eprintln!("{number} profiles and pods in {:.1?}; the longest took {longest:.1?}", start.elapsed());
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(identity(&steady)?, before, "the file is not written again");
    for number in 0..number {
        let name = format!("load-{number}");
        until_ready(cluster, &name)?;
        cluster.until("every node has it", || Ok(everywhere(cluster, &name)))?;
        let pod = format!("pod/{name}");
        let wait = ["wait", "--for=condition=Ready", &pod, "-n", NAMESPACE, "--timeout=180s"];
        cluster.good(&wait, "")?;
        assert!(fs::metadata(&files(cluster, &name)[0])?.len() > 0);
    }
    shell(cluster, "kubectl delete pods,seccompprofiles --all -n production --timeout=120s")?;
    until_installed(cluster)
}
