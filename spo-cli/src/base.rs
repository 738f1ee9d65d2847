//! `spoc base`: the effective profile, and where each of its rules comes from.

use std::process::ExitCode;

use serde_json::json;
use spo_model::{convert::encode, kind::Version, object::AnyObject};
use spo_node::compile::effective;

use crate::{Result, frame, input, output};

/// Resolve the base profiles of a SeccompProfile and print the effective profile with the origin of each rule.
#[derive(clap::Args)]
#[command(after_help = "Example:
  spoc base examples/guide/06-base-local.yaml deploy/base-profiles")]
pub(crate) struct Args {
    /// The profile; `-` is standard input.
    profile: String,
    /// Files and folders with the profiles it builds on.
    bases: Vec<String>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
    /// Where to write it; `-` is standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    output_file: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The profile as a manifest, the origins as comments above it.
    Yaml,
    /// An object with the chain, the profile and the origins.
    Json,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, object) = input::one(&args.profile)?;
    let AnyObject::SeccompProfile(mut profile) = object else {
        return Err(format!(
            "{}: only a SeccompProfile has base profiles, this is a {}",
            source.name,
            object.kind()
        )
        .into());
    };
    let bases = input::sources(&args.bases)?;
    let library = input::library(bases.iter().chain([&source]));
    let found = effective(&profile, &library).map_err(|problems| {
        for problem in &problems {
            eprint!("{}", frame::frame(&source, problem));
        }
        format!("{}: the base profiles cannot be resolved", source.name)
    })?;
    profile.spec = found.effective.profile.clone();
    let rules: Vec<(String, Vec<String>)> = profile
        .spec
        .rules()
        .iter()
        .zip(&found.effective.origins)
        .map(|(rule, origins)| {
            let names: Vec<&str> = rule.names.iter().map(spo_model::seccomp::SyscallName::as_str).collect();
            let from = origins
                .iter()
                .map(|o| {
                    format!("{} {}", found.profiles.get(o.profile).map_or("?", String::as_str), o.path())
                })
                .collect();
            (format!("{} {}", rule.action, names.join(" ")), from)
        })
        .collect();
    let document = encode(&AnyObject::SeccompProfile(profile), Version::V1)?;
    let text = match args.output {
        Format::Yaml => {
            let mut text = format!("# Effective profile of {}\n", found.profiles.join(" → "));
            for (i, (_, origins)) in rules.iter().enumerate() {
                text.push_str(&format!("# spec.syscalls[{i}] comes from {}\n", origins.join(", ")));
            }
            text + &output::yaml(&document)?
        }
        Format::Json => {
            let origins: Vec<_> =
                rules.iter().map(|(rule, from)| json!({ "rule": rule, "origins": from })).collect();
            format!("{:#}\n", json!({ "chain": found.profiles, "profile": document, "rules": origins }))
        }
    };
    output::write(&args.output_file, &text, 0o600)?;
    Ok(ExitCode::SUCCESS)
}
