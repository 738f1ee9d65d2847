//! Many profiles at once on three real nodes.

use std::{
    error::Error,
    fs, thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use spo_tests::{
    audit::{self, AuditLog},
    cluster::{Cluster, Node, PROGRAMS},
    operator_image, workspace,
};

use crate::{
    figures::{Column, Figure, megabytes},
    memory,
    mode::Mode,
    profiles,
    states::{States, until},
};

const OPERATOR: &str = "security-profiles-operator";
const NAMESPACE: &str = "load";

/// Three real nodes with the operator from deploy/operator.yaml: a roll-out of many seccomp profiles at once.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How many profiles.
    #[arg(long, default_value_t = 300)]
    profiles: usize,
    /// How many names each profile has.
    #[arg(long, default_value_t = 60)]
    names: usize,
    /// How nodes report; both if it is not given.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// For how many seconds nothing may be written when nothing changes.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle: u64,
}

pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Column>, Box<dyn Error>> {
    if !Cluster::is_possible("cluster_load", PROGRAMS) {
        return Err("a cluster cannot be started here".into());
    }
    Mode::chosen(arguments.mode).into_iter().map(|mode| run(arguments, mode)).collect()
}

fn run(arguments: &Arguments, mode: Mode) -> Result<Column, Box<dyn Error>> {
    let mut cluster = Cluster::start("spo-load")?;
    cluster.push(&operator_image::operator()?)?;
    cluster.add_nodes(3)?;
    eprintln!("three nodes are ready; installing the operator");
    let mut figures = vec![install(&cluster)?];
    cluster.good(&mode.patch(OPERATOR), "")?;
    cluster.good(&["create", "namespace", NAMESPACE], "")?;
    let file = cluster.dir().join("profiles.yaml");
    fs::write(&file, profiles::documents(NAMESPACE, "profile", 0..arguments.profiles, arguments.names))?;
    // What installing brings with it is not part of the roll-out.
    thread::sleep(Duration::from_secs(5));

    let mut log = AuditLog::from_now(&cluster.audit_log())?;
    let mut states = States::of(|arguments| cluster.following(arguments), NAMESPACE)?;
    let start = Instant::now();
    cluster.good(&["apply", "-f", &file.to_string_lossy()], "")?;
    let applied = Instant::now();
    eprintln!("kubectl applied {} profiles in {:.1?}", arguments.profiles, applied - start);
    let files = until("every file is on every node", || {
        states.read();
        let folders = cluster.nodes().iter().map(|node| {
            let folder = node.path(&format!("/var/lib/kubelet/seccomp/operator/{NAMESPACE}"));
            fs::read_dir(folder).into_iter().flatten().flatten().filter(is_profile).count()
        });
        folders.min() >= Some(arguments.profiles)
    })?;
    let installed = states.until_installed(arguments.profiles)?;
    let seconds = |at: Instant| at.saturating_duration_since(applied).as_secs_f64();
    figures.push(Figure::new("files on every node after apply", seconds(files), "s").goal(2.0).peer(59.0));
    figures.push(Figure::new("all Installed after apply", seconds(installed), "s").goal(3.0).peer(81.0));

    // Whatever follows a roll-out belongs to it.
    thread::sleep(Duration::from_secs(10));
    let writes = log.writes_of(OPERATOR)?;
    for ((user, verb, resource), count) in audit::count(&writes) {
        eprintln!("{count:6} {user} {verb} {resource}");
    }
    let goal = if mode == Mode::PerNode { 350.0 } else { 1800.0 };
    figures.push(Figure::new("writes", count(&writes, ""), "").goal(goal).peer(6541.0));
    figures.push(Figure::new("writes of agents", count(&writes, "spod"), ""));
    figures.push(Figure::new("writes of managers", count(&writes, OPERATOR), ""));
    thread::sleep(Duration::from_secs(arguments.idle));
    let idle = log.writes_of(OPERATOR)?;
    for write in &idle {
        eprintln!("while nothing changed: {write:?}");
    }
    let what = format!("writes in {} s without a change", arguments.idle);
    figures.push(Figure::new(what, count(&idle, ""), "").goal(0.0));
    figures.extend(memory_of_all(&cluster)?);
    let size = fs::metadata(operator_image::binary()?)?.len();
    figures.push(Figure::new("binary", megabytes(size as f64), "MB").goal(30.0).peer(155.0));
    Ok(Column { name: mode.name().to_owned(), figures })
}

/// Installs the operator and waits until every pod is ready: three of the manager, three of the webhook, an agent for
/// each node.
fn install(cluster: &Cluster) -> Result<Figure, Box<dyn Error>> {
    let manifest = workspace().join("deploy/operator.yaml");
    let start = Instant::now();
    cluster.good(&["apply", "-f", &manifest.to_string_lossy()], "")?;
    let applied = start.elapsed();
    let expected = 6 + cluster.nodes().len();
    cluster.until("every pod of the operator is ready", || {
        let list = cluster.good(&["get", "pods", "-n", OPERATOR, "-o", "json"], "")?;
        let list: Value = serde_json::from_str(&list)?;
        let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(pods.len() == expected && pods.iter().all(is_ready))
    })?;
    let took = start.elapsed().as_secs_f64();
    eprintln!("kubectl applied the operator in {applied:.1?}; all pods were ready after {took:.1} s");
    Ok(Figure::new("install to all pods ready", took, "s").goal(8.0))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn is_profile(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().ends_with(".json")
}

fn count(writes: &[audit::Write], user: &str) -> f64 {
    writes.iter().filter(|write| user.is_empty() || write.user == user).count() as f64
}

/// The memory of each kind of process: of all that run, the one that has most.
fn memory_of_all(cluster: &Cluster) -> Result<Vec<Figure>, Box<dyn Error>> {
    let kinds = [("daemon", 25.0, 100.0), ("manager", 35.0, 95.0), ("webhook", 25.0, 81.0)];
    let processes: Vec<_> = cluster
        .nodes()
        .iter()
        .flat_map(Node::pod_processes)
        .filter_map(memory::of)
        .filter(|(words, _)| words.first().is_some_and(|program| program.ends_with("spo-operator")))
        .collect();
    let mut figures = Vec::new();
    for (kind, goal, peer) in kinds {
        let of_kind = processes.iter().filter(|(words, _)| words.iter().any(|word| word == kind));
        let most = of_kind.max_by(|(_, a), (_, b)| a.own.total_cmp(&b.own));
        let (_, memory) = most.ok_or_else(|| format!("no {kind} runs"))?;
        figures.push(Figure::new(kind, megabytes(memory.now), "MB").goal(goal).peer(peer));
        figures.push(Figure::new(format!("{kind}, without the binary"), megabytes(memory.own), "MB"));
        figures.push(Figure::new(format!("{kind}, at most"), megabytes(memory.peak), "MB"));
    }
    Ok(figures)
}
