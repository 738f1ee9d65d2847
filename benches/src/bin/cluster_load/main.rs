//! What the operator costs a cluster: time, writes and memory.
//!
//! ```text
//! cargo run --release -p spo-benches --bin cluster_load -- nodes
//! ```
//!
//! | part | on | measures |
//! | --- | --- | --- |
//! | `nodes` | three real nodes (kubelet, containerd, runc) with `deploy/operator.yaml` | a roll-out of many profiles at once |
//! | `api` | an API server alone, a manager and agents as processes | one profile at a time, then many; memory |
//!
//! Every figure stands beside its goal and, where it was measured the same way, beside the existing operator's
//! (0.10.0). `nodes` needs root, and both need what `scripts/install-test-tools` and `scripts/kubernetes/build` install.
//! `SPO_OPERATOR_BINARY` names an operator to measure; without it the image's binary is built first.

mod api;
mod figures;
mod memory;
mod mode;
mod nodes;
mod profiles;
mod states;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

/// Measures what the operator costs a cluster.
///
/// Starts a cluster of its own on this machine, gives it a load, prints a table of figures beside their goals, and ends
/// the cluster. The exit code is 1 if a goal is missed with --check.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cluster_load nodes\n  cluster_load nodes --mode per-node --profiles 1000 --output json\n  \
    cluster_load api --agents 200 --profiles 500 --single 10\n\n\
    SPO_OPERATOR_BINARY=FILE measures that binary instead of building one."
)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
    /// How figures are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Fail if a figure misses its goal.
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Subcommand, Debug)]
enum Part {
    Nodes(nodes::Arguments),
    Api(api::Arguments),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cluster_load: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let columns = match &arguments.part {
        Part::Nodes(part) => nodes::measure(part)?,
        Part::Api(part) => api::measure(part)?,
    };
    match arguments.output {
        Output::Table => print!("{}", figures::table(&columns)),
        Output::Json => println!("{:#}", figures::json(&columns)),
    }
    Ok(!arguments.check || columns.iter().all(|column| column.figures.iter().all(figures::Figure::is_good)))
}
