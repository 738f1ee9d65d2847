//! Many agents on an API server alone.

use std::{error::Error, thread, time::Duration};

use clap::Args;
use spo_tests::{
    audit,
    fleet::{Fleet, NAMESPACE, OPERATOR},
};

use crate::{
    figures::{Column, Figure, megabytes},
    memory,
    mode::Mode,
    profiles,
    states::States,
};

/// An API server alone with a manager and agents as processes: memory with many profiles, the time of a single one.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How many agents.
    #[arg(long, default_value_t = 10)]
    agents: usize,
    /// How many profiles there are.
    #[arg(long, default_value_t = 1000)]
    profiles: usize,
    /// How many names each profile has.
    #[arg(long, default_value_t = 60)]
    names: usize,
    /// How many profiles are then applied one at a time.
    #[arg(long, default_value_t = 100)]
    single: usize,
    /// How nodes report; both if it is not given.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// For how many seconds nothing may be written when nothing changes.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle: u64,
}

/// Up to so many agents there are goals for what their number changes.
const FEW: usize = 10;

pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Column>, Box<dyn Error>> {
    Mode::chosen(arguments.mode).into_iter().map(|mode| run(arguments, mode)).collect()
}

fn run(arguments: &Arguments, mode: Mode) -> Result<Column, Box<dyn Error>> {
    let mut fleet = Fleet::start(arguments.agents)?.ok_or("an API server cannot be started here")?;
    eprintln!("{} agents have been started", arguments.agents);
    fleet.kubectl(&mode.patch(OPERATOR), "")?;
    thread::sleep(Duration::from_secs(3));
    let mut states = States::of(|arguments| fleet.server.following(arguments), NAMESPACE)?;
    let mut log = fleet.log()?;
    for number in 0..arguments.single {
        let document = profiles::documents(NAMESPACE, "single", number..number + 1, arguments.names);
        fleet.kubectl(&["apply", "--server-side", "-f", "-"], &document)?;
        states.until_installed(number + 1)?;
    }
    let mut figures = Vec::new();
    let times = states.times("single");
    let at = |part: f64| -> f64 {
        let index = (times.len() as f64 * part).ceil() as usize;
        times.get(index.saturating_sub(1)).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    figures.push(Figure::new("one profile, applied to Installed, p50", at(0.5).round(), "ms"));
    let p99 = Figure::new("one profile, applied to Installed, p99", at(0.99).round(), "ms");
    figures.push(if arguments.agents <= FEW { p99.goal(200.0) } else { p99 });
    thread::sleep(Duration::from_secs(5));
    let each = log.writes_of(OPERATOR)?.len() as f64 / arguments.single.max(1) as f64;
    figures.push(Figure::new("writes for one profile", each, ""));

    let before = watch_events(&fleet)?;
    let documents = profiles::documents(NAMESPACE, "many", 0..arguments.profiles, arguments.names);
    fleet.kubectl(&["apply", "--server-side", "-f", "-"], &documents)?;
    states.until_installed(arguments.single + arguments.profiles)?;
    thread::sleep(Duration::from_secs(10));
    let writes = log.writes_of(OPERATOR)?;
    for ((user, verb, resource), count) in audit::count(&writes) {
        eprintln!("{count:6} {user} {verb} {resource}");
    }
    figures.push(Figure::new(format!("writes for {} profiles", arguments.profiles), writes.len() as f64, ""));
    figures.push(Figure::new("watch events for them", watch_events(&fleet)? - before, ""));
    thread::sleep(Duration::from_secs(arguments.idle));
    let idle = log.writes_of(OPERATOR)?;
    let what = format!("writes in {} s without a change", arguments.idle);
    figures.push(Figure::new(what, idle.len() as f64, "").goal(0.0));
    let agent = memory::of(fleet.server.pid("node-0")?).ok_or("the agent has ended")?.1;
    let manager = memory::of(fleet.server.pid("manager")?).ok_or("the manager has ended")?.1;
    for (kind, memory, goal) in [("agent", agent, 25.0), ("manager", manager, 35.0)] {
        let now = Figure::new(kind, megabytes(memory.now), "MB");
        // What a manager knows grows with the nodes, what an agent knows does not.
        let has_goal = kind == "agent" || arguments.agents <= FEW;
        figures.push(if has_goal { now.goal(goal) } else { now });
        figures.push(Figure::new(format!("{kind}, without the binary"), megabytes(memory.own), "MB"));
        figures.push(Figure::new(format!("{kind}, at most"), megabytes(memory.peak), "MB"));
    }
    Ok(Column { name: format!("{} agents, {}", arguments.agents, mode.name()), figures })
}

/// How many events of our group the API server has sent to its watchers (`apiserver_watch_events_total`).
fn watch_events(fleet: &Fleet) -> Result<f64, Box<dyn Error>> {
    let metrics = fleet.kubectl(&["get", "--raw", "/metrics"], "")?;
    let ours = metrics.lines().filter(|line| {
        line.starts_with("apiserver_watch_events_total{")
            && line.contains("security-profiles-operator.x-k8s.io")
    });
    Ok(ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}
