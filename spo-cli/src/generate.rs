//! Commands that print what is built in: schemas, CRDs, completions, manual pages, the version.

use std::process::ExitCode;

use clap_complete::Shell;
use serde_json::json;
use spo_model::{
    crd,
    kind::{Kind, Scope, Version},
    schema,
};

use crate::{Result, output};

/// Print the JSON schema of a kind, for editors.
///
/// Put `# yaml-language-server: $schema=FILE` into the first line of a manifest to use it.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc schema SeccompProfile --to v1 -o seccompprofile.schema.json")]
pub(crate) struct SchemaArgs {
    /// The kind, for example SeccompProfile.
    kind: Kind,
    /// The version; v1 if not given.
    #[arg(long = "to", value_name = "VERSION", default_value = "v1")]
    version: Version,
    /// Where to write it; `-` is standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    output_file: String,
}

pub(crate) fn schema(args: &SchemaArgs) -> Result {
    if !args.kind.versions().contains(&args.version) {
        let [new, old] = args.kind.versions();
        return Err(format!("{} has no version {}, only {new} and {old}", args.kind, args.version).into());
    }
    let text = format!("{:#}\n", schema::document_schema(args.kind, args.version));
    output::write(&args.output_file, &text, 0o644)?;
    Ok(ExitCode::SUCCESS)
}

/// Print the CustomResourceDefinitions of all kinds.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc crds | kubectl apply --server-side -f -")]
pub(crate) struct CrdsArgs {
    /// Let profiles and node statuses be cluster-scoped, as releases 0.9 to 1.0 had them.
    #[arg(long)]
    cluster: bool,
    /// Where to write them; `-` is standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    output_file: String,
}

pub(crate) fn crds(args: &CrdsArgs) -> Result {
    let scope = if args.cluster { Scope::Cluster } else { Scope::Namespaced };
    let mut text = String::new();
    for definition in crd::definitions(scope) {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&definition)?);
    }
    output::write(&args.output_file, &text, 0o644)?;
    Ok(ExitCode::SUCCESS)
}

/// Print the completion script of a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc completions bash > /etc/bash_completion.d/spoc")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub(crate) fn completions(args: &CompletionsArgs, command: &mut clap::Command) -> ExitCode {
    clap_complete::generate(args.shell, command, "spoc", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Write the manual pages, one per command, into a folder.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc man /usr/local/share/man/man1 && man spoc-check")]
pub(crate) struct ManArgs {
    /// The folder.
    #[arg(value_name = "DIR")]
    dir: std::path::PathBuf,
}

pub(crate) fn man(args: &ManArgs, command: clap::Command) -> Result {
    std::fs::create_dir_all(&args.dir)?;
    clap_mangen::generate_to(command, &args.dir)?;
    Ok(ExitCode::SUCCESS)
}

/// Print the version and how the program was built.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc version --json")]
pub(crate) struct VersionArgs {
    /// As JSON.
    #[arg(short, long)]
    json: bool,
}

pub(crate) fn version(args: &VersionArgs) -> Result {
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    let compiler = concat!("rustc >= ", env!("CARGO_PKG_RUST_VERSION"));
    // The names of the existing `spoc`, in its order. What a build from a package does not know is left out.
    let fields = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("gitCommit", option_env!("SPO_GIT_COMMIT").unwrap_or_default()),
        ("gitTreeState", option_env!("SPO_GIT_TREE_STATE").unwrap_or_default()),
        ("buildDate", option_env!("SPO_BUILD_DATE").unwrap_or_default()),
        ("compiler", compiler),
        ("platform", &platform),
    ];
    let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let text = if args.json {
        let map: serde_json::Map<_, _> = known.map(|(k, v)| (k.to_owned(), json!(v))).collect();
        format!("{:#}\n", serde_json::Value::Object(map))
    } else {
        let name = |key: &str| format!("{}{}:", key[..1].to_uppercase(), &key[1..]);
        known.map(|(key, value)| format!("{:14} {value}\n", name(key))).collect()
    };
    output::write("-", &text, 0)?;
    Ok(ExitCode::SUCCESS)
}
