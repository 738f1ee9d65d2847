//! `spoc convert`: a profile in another form.

use std::process::ExitCode;

use spo_model::{
    convert::{MEMORY, encode},
    kind::Version,
    object::AnyObject,
};
use spo_node::compile::{Library, compile, effective};

use crate::{Result, frame, input, output};

/// Convert a profile: into what the node reads, or into another version of the resource.
///
/// Without `--to`, a SeccompProfile becomes the JSON of the OCI runtime specification, an AppArmorProfile the text that
/// apparmor_parser reads, an SELinux profile a CIL module.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc convert profile.yaml -o /var/lib/kubelet/seccomp/profile.json
  spoc convert --base deploy/base-profiles/runc-v1.4.0.yaml profile.yaml
  spoc convert --program-name /usr/sbin/nginx nginx-apparmor.yaml
  spoc convert --to v1 old.yaml > new.yaml")]
pub(crate) struct Args {
    /// The profile; `-` is standard input.
    profile: String,
    /// Where to write it; `-` is standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    output_file: String,
    /// Write the resource in this version instead: v1, or the kind's older one.
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// The program that an AppArmor profile is for; it becomes the profile's name.
    #[arg(short, long, value_name = "PATH", conflicts_with = "to")]
    program_name: Option<String>,
    /// Files and folders with profiles that this one builds on; may be given several times.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, object) = input::one(&args.profile)?;
    let text = match args.to {
        Some(version) => {
            let mut object = object;
            let annotations = &mut object.metadata_mut().annotations;
            if version == Version::V1
                && let Some(there) = annotations
            {
                // v1 shows everything; how the old document spelled it is of no use in a file.
                there.remove(MEMORY);
                if there.is_empty() {
                    *annotations = None;
                }
            }
            output::yaml(&encode(&object, version)?)?
        }
        None => {
            let bases = input::sources(&args.base)?;
            let library = input::library(bases.iter().chain([&source]));
            match artefact(&object, args.program_name.as_deref(), &library) {
                Ok(text) => text,
                Err(problems) => {
                    for problem in &problems {
                        eprint!("{}", frame::frame(&source, problem));
                    }
                    return Err(format!("{} cannot be converted", source.name).into());
                }
            }
        }
    };
    output::write(&args.output_file, &text, 0o600)?;
    Ok(ExitCode::SUCCESS)
}

fn artefact(
    object: &AnyObject,
    program: Option<&str>,
    library: &Library,
) -> std::result::Result<String, Vec<spo_model::Diagnostic>> {
    match object {
        AnyObject::SeccompProfile(profile) => {
            let effective = effective(profile, library)?;
            let spec = match profile.spec.base_profile_name {
                None => &profile.spec,
                Some(_) => &effective.effective.profile,
            };
            let text = spo_seccomp::runtime_spec::to_string(spec, spo_seccomp::ArchExt::host());
            // The same keys in the same order, indented for people.
            Ok(indent(&text))
        }
        AnyObject::AppArmorProfile(profile) => {
            let own = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
            if program.is_none() {
                eprintln!(
                    "note: no --program-name, so the profile is attached to nothing and has the name {own}"
                );
            }
            let text = spo_apparmor::render(own, &profile.spec, &Default::default())?.text;
            Ok(match program {
                Some(program) => renamed(&text, program)?,
                None => text,
            })
        }
        _ => match compile(object, library) {
            Some(compiled) => Ok(String::from_utf8_lossy(&compiled?.bytes).into_owned()),
            None => Err(vec![spo_model::Diagnostic::error(
                "kind",
                spo_model::FieldPath::of("kind"),
                format!("a {} is no profile; give --to to change its version", object.kind()),
            )]),
        },
    }
}

/// The text with another name for its profile: the program that it attaches to.
pub(crate) fn renamed(text: &str, program: &str) -> std::result::Result<String, Vec<spo_model::Diagnostic>> {
    use spo_apparmor::tree::{Item, Value};
    if !program.starts_with('/') || program.chars().any(char::is_control) {
        let message = format!("{program:?} is no absolute path of a program");
        return Err(vec![spo_model::Diagnostic::error(
            "program-name",
            spo_model::FieldPath::root(),
            message,
        )]);
    }
    let mut parsed = spo_apparmor::parse(text, Default::default());
    for item in &mut parsed.policy.items {
        if let Item::Profile(profile) = item {
            profile.name = Value::new(program);
        }
    }
    Ok(spo_apparmor::print(&parsed.policy))
}

/// Compact JSON with its keys in order, on several lines with two blanks a level.
fn indent(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut level, mut quoted, mut escaped) = (0_usize, false, false);
    let mut characters = compact.chars().peekable();
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level));
    };
    while let Some(c) = characters.next() {
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if characters.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    out.extend(characters.next());
                } else {
                    level += 1;
                    line(&mut out, level);
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                line(&mut out, level);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    debug_assert_eq!(
        serde_json::from_str::<serde_json::Value>(&out).ok(),
        serde_json::from_str::<serde_json::Value>(compact).ok()
    );
    out
}
