//! `spoc install` and `spoc remove`: profiles on this host, or below a folder that stands for one.

use std::{path::PathBuf, process::ExitCode};

use spo_model::{Diagnostic, apparmor::AppArmorBody, kind::Kind, names::ProfileKey, object::AnyObject};
use spo_node::{artefact::Artefact, compile::compile, host::Root, kernel::Live, ledger::Entry};

use crate::{Result, convert, input, progress::Progress, run};

/// Put profiles into the places where this host looks for them, and load them into its kernel.
///
/// Files are written aside and renamed; a file or a loaded profile that something else put there is left alone. Profiles
/// that `spoc` or the operator installed before stay. Below a root that is not `/` there is no kernel, only files.
///
/// An AppArmor profile that describes what is allowed is for one program: EXECUTABLE if it is given behind the only
/// profile, else the program in PATH that has the profile's name; without either it attaches to nothing.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  sudo spoc install profile.yaml
  sudo spoc install nginx-apparmor.yaml /usr/sbin/nginx
  spoc install --root target/node profiles/*.yaml")]
pub(crate) struct InstallArgs {
    /// Profiles; `-` is standard input [default: profile.yaml in $TMPDIR or /tmp].
    #[arg(value_name = "PROFILE [EXECUTABLE]")]
    profiles: Vec<String>,
    /// The directory that stands for the host's root.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Files and folders with profiles that these build on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
}

/// Take profiles that were installed before off the host, and out of its kernel.
#[derive(clap::Args)]
#[command(after_help = "Example:
  sudo spoc remove profile.yaml")]
pub(crate) struct RemoveArgs {
    /// The profiles whose artefacts are removed [default: profile.yaml in $TMPDIR or /tmp].
    #[arg(value_name = "PROFILE [EXECUTABLE]")]
    profiles: Vec<String>,
    /// The directory that stands for the host's root.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

pub(crate) fn install(args: &InstallArgs) -> Result {
    let (profiles, executable) = split(&args.profiles);
    let sources = input::sources(&profiles)?;
    let bases = input::sources(&args.base)?;
    let library = input::library(bases.iter().chain(&sources));
    let kernel = Live::of(&args.root);
    let progress = Progress::of(sources.len(), "compiling");
    let mut artefacts = Vec::new();
    for source in &sources {
        progress.step(&source.name);
        for object in input::objects(source)? {
            let Some(compiled) = compile(&object, &library) else { continue };
            let compiled = compiled
                .map_err(|problems| format!("{}; nothing is installed", input::shown(source, &problems)))?;
            let key = object.key().ok_or("a profile needs a name")?;
            let mut artefact = Artefact::new(object.kind(), key, compiled.bytes)?;
            artefact.source = "spoc".to_owned();
            artefact.origin = compiled.origin;
            if let Some(program) = program(&object, executable.as_deref(), &args.root)? {
                attach(&mut artefact, &program).map_err(|problems| input::shown(source, &problems))?;
            }
            artefacts.push(artefact);
        }
    }
    progress.done();
    if artefacts.is_empty() {
        return Err("there is no profile to install".into());
    }
    let report = spo_node::install(&open(&args.root)?, &kernel, &artefacts, &|_| true)?;
    let mut failed = false;
    for outcome in &report.outcomes {
        match &outcome.problem {
            None => println!("installed {}", outcome.path),
            Some(problem) => {
                failed = true;
                eprintln!("error: {}: {problem}", outcome.path);
                outcome.diagnostics.iter().skip(1).for_each(|more| eprintln!("  {more}"));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn remove(args: &RemoveArgs) -> Result {
    let mut gone: Vec<(Kind, ProfileKey)> = Vec::new();
    for source in input::sources(&split(&args.profiles).0)? {
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

/// The profiles, and the program behind the only one as the existing `spoc` has it. What is named like a manifest, a
/// folder or a pattern is a profile.
fn split(arguments: &[String]) -> (Vec<String>, Option<String>) {
    match arguments {
        [] => (vec![input::default_file()], None),
        [profile, program]
            if !is_manifest(program) && !std::path::Path::new(program).is_dir() && !program.contains('*') =>
        {
            (vec![profile.clone()], Some(program.clone()))
        }
        all => (all.to_vec(), None),
    }
}

fn is_manifest(name: &str) -> bool {
    name == "-" || [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

/// The program that a profile is for.
fn program(object: &AnyObject, given: Option<&str>, root: &std::path::Path) -> Result<Option<String>> {
    let AnyObject::AppArmorProfile(profile) = object else {
        return match given {
            Some(_) => Err(format!("a {} is for no program; leave EXECUTABLE out", object.kind()).into()),
            None => Ok(None),
        };
    };
    if let (AppArmorBody::Raw(_), None) = (&profile.spec.body, given) {
        return Ok(None);
    }
    if let Some(given) = given {
        return Ok(Some(given.to_owned()));
    }
    let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
    // Below another root this host's programs say nothing.
    let found = (root == std::path::Path::new("/")).then(|| run::find_program(name)).flatten();
    if let Some(path) = &found {
        eprintln!("note: {name} is the program {}; the profile attaches to it", path.display());
    }
    Ok(found.map(|path| path.display().to_string()))
}

/// Gives an AppArmor profile the name of the program it attaches to.
fn attach(artefact: &mut Artefact, program: &str) -> std::result::Result<(), Vec<Diagnostic>> {
    let text = String::from_utf8_lossy(&artefact.bytes).into_owned();
    let header = text.lines().next().unwrap_or_default();
    artefact.bytes = format!("{header}\n{}", convert::renamed(&text, program)?).into_bytes().into();
    artefact.kernel_name = Some(program.to_owned());
    artefact.origin = None;
    Ok(())
}

fn identity(object: &AnyObject) -> Result<(Kind, ProfileKey)> {
    Ok((object.kind(), object.key().ok_or("a profile needs a name")?))
}

fn open(root: &std::path::Path) -> Result<Root> {
    Root::open(root).map_err(|e| format!("cannot open the root {}: {e}", root.display()).into())
}
