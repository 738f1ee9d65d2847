//! `spoc`: security profiles on the command line.
//!
//! One module per command; each reads its input through [`input`], and prints findings through [`frame`]. The rules
//! are in the libraries.

#![forbid(unsafe_code)]

mod base;
mod check;
mod convert;
mod diff;
mod explain;
mod fmt;
mod frame;
mod generate;
mod graph;
mod host;
mod input;
mod merge;
mod output;
mod progress;
mod run;
mod selinux;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

/// Security profiles (seccomp, AppArmor, SELinux) on the command line: check, explain, compare, convert, merge and
/// install profiles of any kind and any version.
#[derive(Parser)]
#[command(
    name = "spoc",
    version = concat!("version ", env!("CARGO_PKG_VERSION")),
    disable_version_flag = true,
    after_help = "Examples:
  spoc check profiles/*.yaml                     say all that is wrong, with line and column
  spoc convert --to v1 old.yaml                  the same profile in another version
  spoc convert profile.yaml -o seccomp.json      what a container runtime reads
  spoc explain profile.yaml openat               what happens to a syscall, and which rule says so
  spoc diff old.yaml new.yaml                    what became allowed or denied
  spoc base profile.yaml bases/*.yaml            the effective profile, with the origin of each rule
  spoc run -p profile.yaml ls -l /               a command under a profile, and what it was denied

`spoc COMMAND --help` tells more about each."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print the version in one line.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    #[command(alias = "c")]
    Convert(convert::Args),
    #[command(alias = "m")]
    Merge(merge::Args),
    Base(base::Args),
    Graph(graph::Args),
    Fmt(fmt::Args),
    #[command(alias = "x")]
    Run(run::Args),
    #[command(alias = "i")]
    Install(host::InstallArgs),
    #[command(alias = "rm")]
    Remove(host::RemoveArgs),
    Schema(generate::SchemaArgs),
    Crds(generate::CrdsArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    #[command(alias = "v")]
    Version(generate::VersionArgs),
}

/// What a command ends with: an exit status, or an error to print.
type Result<T = ExitCode> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Base(args) => base::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Install(args) => host::install(&args),
        Command::Remove(args) => host::remove(&args),
        Command::Schema(args) => generate::schema(&args),
        Command::Crds(args) => generate::crds(&args),
        Command::Completions(args) => Ok(generate::completions(&args, &mut Cli::command())),
        Command::Man(args) => generate::man(&args, Cli::command()),
        Command::Version(args) => generate::version(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// The exit statuses that users of the existing `spoc` know: 0 for help, 3 for an unknown command, 1 for the rest.
fn usage(error: &clap::Error) -> ExitCode {
    // A terminal that has gone away is no further error.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::SUCCESS,
        ErrorKind::InvalidSubcommand => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}
