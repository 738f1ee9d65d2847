//! The guide on real nodes: `docs/guide.md` as it is written, and what it promises.

use std::{
    error::Error,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use spo_tests::{
    cluster::{Cluster, PROGRAMS},
    document::{Block, Section, sections},
    operator_image, workspace,
};

/// One cluster at a time: two would share two processors.
static ONE: Mutex<()> = Mutex::new(());

const NAMESPACE: &str = "security-profiles-operator";

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

fn guide() -> Fallible<Vec<Section>> {
    Ok(sections(&fs::read_to_string(workspace().join("docs/guide.md"))?))
}

/// Runs the blocks of a section that have no label, or a certain one, as they are written; what they print has to be
/// what is written. Blocks labelled `again` are repeated a few times: `kubectl run -i` shows nothing of a pod that has
/// said everything before it is attached.
fn run(cluster: &Cluster, sections: &[Section], heading: &str, label: &str) -> Fallible {
    let section = sections.iter().find(|section| section.heading.starts_with(heading));
    let section = section.ok_or_else(|| format!("the guide has no section {heading}"))?;
    for block in &section.blocks {
        let tries = match block.label.as_str() {
            "again" => 5,
            other if other == label => 1,
            _ => continue,
        };
        let mut outcome = Ok(());
        for _ in 0..tries {
            outcome = run_block(cluster, &section.heading, block);
            if outcome.is_ok() {
                break;
            }
        }
        outcome?;
    }
    Ok(())
}

fn run_block(cluster: &Cluster, heading: &str, block: &Block) -> Fallible {
    let start = Instant::now();
    let output = cluster.shell(&block.script, workspace())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{heading}$ {}{said}({:.1?})", block.script, start.elapsed());
    if !output.status.success() {
        let state = cluster.shell(
            "kubectl get pods,spod,seccompprofiles,nodes -A -o wide; \
             kubectl get events -A --sort-by=.lastTimestamp | tail -20 | cut -c1-250",
            workspace(),
        )?;
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        return Err(format!("{heading} fails:\n{}{said}\n{state}", block.script).into());
    }
    match block.missing(&said) {
        None => Ok(()),
        Some(line) => Err(format!("{heading} does not print {line:?}:\n{}{said}", block.script).into()),
    }
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Fallible<Value> {
    let mut all = arguments.to_vec();
    all.extend(["-o", "json"]);
    Ok(serde_json::from_str(&cluster.good(&all, "")?)?)
}

/// The time until a condition holds, which is asked for often.
fn timed(cluster: &Cluster, what: &str, test: impl FnMut() -> Fallible<bool>) -> Fallible<Duration> {
    let start = Instant::now();
    cluster.until(what, test)?;
    eprintln!("{what}: {:.1?}", start.elapsed());
    Ok(start.elapsed())
}

#[test]
fn on_three_nodes() -> Fallible {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !Cluster::is_possible("guide", &[PROGRAMS, operator_image::PROGRAMS].concat()) {
        return Ok(());
    }
    let guide = guide()?;
    let images = operator_image::images()?;
    let mut cluster = Cluster::start("spo-guide")?;
    images.iter().try_for_each(|image| cluster.push(image))?;
    cluster.add_nodes(3)?;

    run(&cluster, &guide, "1. ", "")?;
    timed(&cluster, "every pod of the operator is ready", || {
        let pods = json(&cluster, &["get", "pods", "-n", NAMESPACE])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        Ok(pods.len() == 9 && pods.iter().all(ready))
    })?;

    run(&cluster, &guide, "2. ", "")?;
    let path = "/var/lib/kubelet/seccomp/operator/production/restricted-workload.json";
    for node in cluster.nodes() {
        let file: Value = serde_json::from_slice(&fs::read(node.path(path))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO", "{}", node.name());
    }
    run(&cluster, &guide, "6. ", "")?;
    run(&cluster, &guide, "7. ", "")?;
    run(&cluster, &guide, "8. ", "")?;
    run(&cluster, &guide, "9. ", "")?;
    run(&cluster, &guide, "10. ", "")?;
    Ok(())
}
