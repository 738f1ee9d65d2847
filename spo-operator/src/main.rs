//! The operator's binary: one subcommand per process.

#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use spo_model::{convert, crd, kind::Scope, manifest::Limits, object::AnyObject};
use spo_operator::{
    cluster::names,
    daemon, manager, non_root_enabler, process,
    render::{self, Environment, manifests},
    standalone::{self, Options, Report, RunError},
    version, webhook,
};

/// Security profiles (seccomp, AppArmor, SELinux) as Kubernetes resources.
#[derive(Parser)]
#[command(name = "spo-operator", version, disable_version_flag = true, arg_required_else_help = true)]
struct Cli {
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    former: Former,
    #[command(subcommand)]
    command: Command,
}

/// The flags that the existing operator takes before the name of a process.
#[derive(Args)]
struct Former {
    /// How much a process logs, as its own flag of that name.
    #[arg(short = 'V', long, value_name = "N")]
    verbosity: Option<u8>,
    /// Accepted for manifests of the existing operator, without effect: there is no profiler.
    #[arg(short, long, env = "SPO_PROFILING", value_name = "BOOL", value_parser = FalseyValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    profiling: bool,
    /// Accepted for manifests of the existing operator, without effect.
    #[arg(long, env = "SPO_PROFILING_PORT", value_name = "PORT", default_value = "6060")]
    profiling_port: String,
}

#[derive(Subcommand)]
enum Command {
    /// Install the profiles of a directory of manifests on this host, without a cluster.
    Standalone(Standalone),
    /// Write the CustomResourceDefinitions.
    Crds(Crds),
    /// Write the files of deploy/ that follow from the code.
    Manifests(Manifests),
    /// Prepare a node for an agent without rights.
    NonRootEnabler(non_root_enabler::Arguments),
    /// Say what this program was built from.
    #[command(visible_alias = "v")]
    Version(Version),
    /// Answer the API server: admission and conversion.
    #[command(alias = "w")]
    Webhook(webhook::process::Arguments),
    /// Put profiles on a node, and report where they stand.
    #[command(alias = "d")]
    Daemon(daemon::process::Arguments),
    /// Run a command of the host from inside a container.
    #[command(hide = true)]
    HostExec(daemon::enter::Arguments),
    /// Run the controllers of which there is one per cluster.
    #[command(alias = "m")]
    Manager(manager::process::Arguments),
}

/// Reads every manifest of a directory and puts its profiles below a root directory: seccomp filters for the
/// kubelet, AppArmor profiles, SELinux modules. Prints one line per document.
///
/// The exit status is 0 if every profile is installed, 1 if one is not, 2 if the call is wrong.
#[derive(Args)]
#[command(after_help = "Examples:
  Try the guide's manifests in a folder:
    spo-operator standalone --manifests examples/guide --root target/node
  Keep a host in step with a folder:
    spo-operator standalone --manifests /etc/spo --root / --watch
  The same as data:
    spo-operator standalone --manifests /etc/spo --root / --output json")]
struct Standalone {
    /// The directory of manifests (.yaml, .yml, .json; subdirectories too); may be given several times.
    #[arg(long, value_name = "DIR", required = true)]
    manifests: Vec<PathBuf>,
    /// The directory that stands for the host's root; made if it is not there.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Do the work once and stop; this is the default.
    #[arg(long, conflicts_with = "watch")]
    once: bool,
    /// Go on and follow every change of the manifests.
    #[arg(long)]
    watch: bool,
    /// Leave SELinux modules to the `selinuxd` behind this socket instead of calling semodule.
    #[arg(long, value_name = "SOCKET")]
    selinuxd: Option<PathBuf>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// An aligned table.
    Table,
    /// One JSON object per run.
    Json,
}

/// Writes one YAML file per kind into DIR/namespaced and DIR/cluster, or checks that they are up to date.
#[derive(Args)]
#[command(after_help = "Example:
    spo-operator crds --dir deploy/crds")]
struct Crds {
    /// The directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Write nothing, and fail if a file is missing, stale or superfluous.
    #[arg(long)]
    check: bool,
}

/// Writes the manifests, the chart's generated templates and the profiles of the operator's own pods, or checks that
/// they are up to date.
#[derive(Args)]
#[command(after_help = "Examples:
  Write the files again:
    spo-operator manifests --dir deploy
  See what a SecurityProfilesOperatorDaemon becomes:
    spo-operator manifests --spod spod.yaml")]
struct Manifests {
    /// The directory.
    #[arg(long, value_name = "DIR", default_value = "deploy")]
    dir: PathBuf,
    /// Write nothing, and fail if a file is missing or stale.
    #[arg(long)]
    check: bool,
    /// Write no file, but print the objects that the manager makes of the SecurityProfilesOperatorDaemon in this one.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    spod: Option<PathBuf>,
    /// The image of the printed objects.
    #[arg(long, env = "SPO_IMAGE", default_value = render::IMAGE)]
    image: String,
}

#[derive(Args)]
struct Version {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Cli { former, command, .. } = Cli::parse();
    if let Some(verbosity) = former.verbosity {
        process::log_at_least(verbosity);
    }
    if former.profiling {
        eprintln!("--profiling has no effect: nothing listens on port {}", former.profiling_port);
    }
    let result = match command {
        Command::Standalone(args) => run_standalone(&args),
        Command::Crds(args) => write_crds(&args),
        Command::Manifests(args) => write_manifests(&args),
        Command::NonRootEnabler(args) => non_root_enabler::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Version(args) => {
            println!("{}", if args.json { version::json() } else { version::text() });
            Ok(ExitCode::SUCCESS)
        }
        Command::Manager(args) => manager::process::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Webhook(args) => webhook::process::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Daemon(args) => daemon::process::run(&args).map(|()| ExitCode::SUCCESS),
        Command::HostExec(args) => Err(daemon::enter::run(&args).into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn run_standalone(args: &Standalone) -> Result<ExitCode, process::Error> {
    let options = Options {
        manifests: args.manifests.clone(),
        root: args.root.clone(),
        selinuxd: args.selinuxd.clone(),
        limits: Limits::default(),
    };
    let mut success = true;
    if args.watch {
        standalone::watch(&options, &mut |result| {
            print(result, args.output);
            true
        })?;
    } else {
        let report = standalone::run_once(&options)?;
        success = report.is_success();
        print(Ok(&report), args.output);
    }
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(result: Result<&Report, &RunError>, output: Output) {
    use std::io::Write as _;
    let text = match (result, output) {
        (Ok(report), Output::Table) => report.to_string(),
        (Ok(report), Output::Json) => format!("{}\n", report.to_json()),
        (Err(error), _) => {
            eprintln!("error: {error}");
            return;
        }
    };
    // A reader that has gone away is no reason to stop.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn write_crds(args: &Crds) -> Result<ExitCode, process::Error> {
    let mut stale = Vec::new();
    for (folder, scope) in [("namespaced", Scope::Namespaced), ("cluster", Scope::Cluster)] {
        let dir = args.dir.join(folder);
        let mut expected = std::collections::BTreeSet::new();
        for definition in crd::definitions(scope) {
            let text = format!(
                "# Written by `spo-operator crds`; do not edit.\n{}",
                serde_saphyr::to_string(&definition)?
            );
            let path = dir.join(format!("{}.yaml", definition.spec.names.plural));
            expected.insert(path.clone());
            if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
                continue;
            }
            if !args.check {
                write_file(&path, &text)?;
            }
            stale.push((if args.check { "stale" } else { "wrote" }, path));
        }
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.map_err(|error| format!("{}: {error}", dir.display()))?.path();
            if !expected.contains(&path) {
                // Whose it is nobody knows, so it is for a person to delete.
                stale.push(("superfluous", path));
            }
        }
    }
    for (what, path) in &stale {
        println!("{what} {}", path.display());
    }
    Ok(if args.check && !stale.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_manifests(args: &Manifests) -> Result<ExitCode, process::Error> {
    if let Some(path) = &args.spod {
        print!("{}", rendered(path, &args.image)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut stale = false;
    for file in manifests::files()? {
        let path = args.dir.join(&file.path);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == file.text) {
            continue;
        }
        stale = true;
        if !args.check {
            write_file(&path, &file.text)?;
        }
        println!("{} {}", if args.check { "stale" } else { "wrote" }, path.display());
    }
    Ok(if args.check && stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes a file and the folders above it; an error names the file.
fn write_file(path: &Path, text: &str) -> Result<(), process::Error> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder.and_then(|()| std::fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn rendered(path: &Path, image: &str) -> Result<String, process::Error> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let document = serde_saphyr::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
    let object = match convert::decode(&document) {
        Ok(decoded) => decoded.object,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(format!("{name}: {}", lines.join("\n")).into());
        }
    };
    let AnyObject::SecurityProfilesOperatorDaemon(spod) = object else {
        return Err(format!("{} is no SecurityProfilesOperatorDaemon", path.display()).into());
    };
    let namespace = spod.metadata.namespace.as_ref().map_or(names::OPERATOR, |name| name.as_str());
    let environment = Environment { image: image.to_owned(), ..Environment::new(namespace) };
    Ok(manifests::file(&path.display().to_string(), &render::spod(&spod, &environment)?)?.text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |path: &Path| rendered(path, "x").expect_err("no file").to_string();
        let missing = folder.path().join("missing.yaml");
        assert!(told(&missing).contains("missing.yaml"), "{}", told(&missing));
        for text in ["{", "kind: SecurityProfilesOperatorDaemon"] {
            let broken = folder.path().join("broken.yaml");
            std::fs::write(&broken, text).expect("writes");
            assert!(told(&broken).contains("broken.yaml"), "{}", told(&broken));
        }
    }

    /// The argument lists of the existing operator's manifests (its process modes, with every flag that they have).
    #[test]
    fn the_arguments_of_the_existing_operator_are_understood() {
        for arguments in [
            &["manager"][..],
            &[
                "m",
                "--webhook=false",
                "--with-nodestatus-controller=true",
                "--with-spod-controller",
                "--with-workload-annotator=false",
                "--with-recording-merger=true",
            ],
            &["manager", "-w=false"],
            &["--verbosity", "1", "--profiling", "--profiling-port", "6061", "manager"],
            &["-V", "1", "-p", "webhook", "-p", "9443"],
            &["--profiling=false", "manager"],
            &[
                "daemon",
                "--with-seccomp=true",
                "--with-selinux=true",
                "--with-apparmor=false",
                "--with-raw-selinux=true",
                "--with-recording=true",
                "--with-mem-optim=true",
                "--with-insecure-metrics-access=true",
            ],
            &["d"],
            &["webhook", "--port", "9443", "--static", "--tls-min-version", "1.3"],
            &["w", "-p", "9443", "-s=false"],
            &["version", "--json"],
            &["v"],
        ] {
            let mut all = vec!["spo-operator"];
            all.extend(arguments);
            let needs = ["manager", "m", "daemon", "d", "webhook", "w"];
            if arguments.iter().any(|argument| needs.contains(argument)) {
                all.extend(["--operator-namespace", "spo"]);
            }
            if arguments.iter().any(|argument| ["daemon", "d"].contains(argument)) {
                all.extend(["--node-name", "n"]);
            }
            if let Err(error) = Cli::try_parse_from(&all) {
                panic!("{all:?}: {error}");
            }
        }
    }

    /// What a container is started with, this program understands.
    #[test]
    fn every_argument_in_a_manifest_is_one_of_ours() {
        let mut seen = std::collections::BTreeSet::new();
        for file in
            manifests::files().expect("files").iter().filter(|file| file.path.ends_with("operator.yaml"))
        {
            for text in file.text.split("\n---\n") {
                let Ok(document) = serde_saphyr::from_str::<Value>(text) else { continue };
                let pod = &document["spec"]["template"]["spec"];
                for container in pod["containers"].as_array().into_iter().flatten() {
                    let arguments = container["args"].as_array().into_iter().flatten();
                    let arguments: Vec<&str> = arguments.filter_map(Value::as_str).collect();
                    seen.extend(arguments.first().map(|process| (*process).to_owned()));
                    let all =
                        ["spo-operator"].iter().chain(&arguments).chain(&["--operator-namespace", "spo"]);
                    if let Err(error) = Cli::try_parse_from(all) {
                        panic!("{}: {arguments:?}: {error}", file.path);
                    }
                }
            }
        }
        assert!(seen.contains("manager") && seen.contains("webhook"), "{seen:?}");
    }
}
