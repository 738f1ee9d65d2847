//! `spoc install` and `spoc remove`: profiles on this host, or below a folder that stands for one.

use std::{path::PathBuf, process::ExitCode};

use spo_model::{kind::Kind, names::ProfileKey, object::AnyObject};
use spo_node::{artefact::Artefact, compile::compile, host::Root, kernel::Live, ledger::Entry};

use crate::{Result, frame, input};

/// Put profiles into the places where this host looks for them.
///
/// Files are written aside and renamed; a file that something else put there is left alone. Profiles that `spoc` or the
/// operator installed before stay.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc install --root target/node profile.yaml
  sudo spoc install profile.yaml")]
pub(crate) struct InstallArgs {
    /// Profiles; `-` is standard input.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    /// The directory that stands for the host's root.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Files and folders with profiles that these build on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
}

/// Take profiles off the host that were installed before.
#[derive(clap::Args)]
pub(crate) struct RemoveArgs {
    /// The profiles whose artefacts are removed.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    /// The directory that stands for the host's root.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

pub(crate) fn install(args: &InstallArgs) -> Result {
    let sources = input::sources(&args.profiles)?;
    let bases = input::sources(&args.base)?;
    let library = input::library(bases.iter().chain(&sources));
    let mut artefacts = Vec::new();
    for source in &sources {
        for object in input::objects(source)? {
            let Some(compiled) = compile(&object, &library) else { continue };
            let compiled = compiled.map_err(|problems| {
                for problem in &problems {
                    eprint!("{}", frame::frame(source, problem));
                }
                format!("{} has errors; nothing is installed", source.name)
            })?;
            let key = object.key().ok_or("a profile needs a name")?;
            let mut artefact = Artefact::new(object.kind(), key, compiled.bytes)?;
            artefact.source = "spoc".to_owned();
            artefact.origin = compiled.origin;
            artefacts.push(artefact);
        }
    }
    if artefacts.is_empty() {
        return Err("there is no profile to install".into());
    }
    let report = spo_node::install(&open(&args.root)?, &Live::of(&args.root), &artefacts, &|_| true)?;
    for outcome in &report.outcomes {
        match &outcome.problem {
            None => println!("installed {}", outcome.path),
            Some(problem) => eprintln!("error: {}: {problem}", outcome.path),
        }
    }
    let failed = report.problems().next().is_some();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn remove(args: &RemoveArgs) -> Result {
    let mut gone: Vec<(Kind, ProfileKey)> = Vec::new();
    for source in input::sources(&args.profiles)? {
        for object in input::objects(&source)? {
            if object.kind().is_profile() {
                gone.push(identity(&object)?);
            }
        }
    }
    let keep = |entry: &Entry| !gone.contains(&(entry.kind, entry.key.clone()));
    let report = spo_node::install(&open(&args.root)?, &Live::of(&args.root), &[], &keep)?;
    for path in &report.removed {
        println!("removed {path}");
    }
    for (path, problem) in &report.stuck {
        eprintln!("error: {path}: {problem}");
    }
    if report.removed.is_empty() && report.stuck.is_empty() {
        return Err("none of these profiles was installed from here".into());
    }
    Ok(if report.stuck.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn identity(object: &AnyObject) -> Result<(Kind, ProfileKey)> {
    Ok((object.kind(), object.key().ok_or("a profile needs a name")?))
}

fn open(root: &std::path::Path) -> Result<Root> {
    Root::open(root).map_err(|e| format!("cannot open the root {}: {e}", root.display()).into())
}
