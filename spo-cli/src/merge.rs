//! `spoc merge`: one profile that allows what any of several does.

use std::process::ExitCode;

use spo_apparmor::aare::Aare;
use spo_model::{
    apparmor::{AppArmorAbstract, AppArmorBody},
    convert::encode,
    kind::Version,
    object::AnyObject,
};
use spo_seccomp::ArchExt as _;

use crate::{Result, input, output};

/// Merge profiles of one kind into one that allows what any of them does.
///
/// Metadata and everything but the rules are the first profile's. With `--check` nothing is written: the exit status is 0
/// if the first profile allows all that the others do, 1 if not, and then the merged profile is on standard error.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc merge recorded-1.yaml recorded-2.yaml -o merged.yaml
  spoc merge --check committed.yaml recorded.yaml")]
pub(crate) struct Args {
    /// The profiles.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Where to write the result; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output_file: Option<String>,
    /// Only tell whether merging would change the first profile.
    #[arg(short, long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut objects = Vec::new();
    for name in &args.profiles {
        objects.push(input::one(name)?.1);
    }
    let (first, others) = objects.split_first().ok_or("there is no profile to merge")?;
    // Merging a profile with itself brings it into the form in which the result is written.
    let alone = merge(first, &[])?;
    let merged = merge(first, others)?;
    let text = output::yaml(&encode(&merged, Version::V1)?)?;
    if args.check {
        if merged == alone {
            return Ok(ExitCode::SUCCESS);
        }
        eprint!("{text}");
        return Ok(ExitCode::FAILURE);
    }
    let target = args.output_file.clone().unwrap_or_else(input::default_file);
    output::write(&target, &text, 0o600)?;
    Ok(ExitCode::SUCCESS)
}

fn merge(first: &AnyObject, others: &[AnyObject]) -> Result<AnyObject> {
    for other in others {
        if other.kind() != first.kind() {
            return Err(format!("cannot merge a {} with a {}", first.kind(), other.kind()).into());
        }
    }
    let mut merged = first.clone();
    match &mut merged {
        AnyObject::SeccompProfile(profile) => {
            let base = profile.spec.base_profile_name.take();
            let mut specs = vec![profile.spec.clone()];
            for other in others {
                let AnyObject::SeccompProfile(other) = other else { continue };
                let (ours, theirs) = (profile.spec.default_action, other.spec.default_action);
                if ours != theirs {
                    let message =
                        format!("the default actions differ, {ours} and {theirs}; make them equal first");
                    return Err(message.into());
                }
                specs.push(other.spec.clone());
            }
            let specs: Vec<_> = specs.iter().collect();
            let options = spo_seccomp::Options::new(spo_model::seccomp::Arch::host());
            profile.spec = spo_seccomp::inherit(&specs, &options)?.profile;
            profile.spec.base_profile_name = base;
        }
        AnyObject::SelinuxProfile(profile) => {
            for other in others {
                let AnyObject::SelinuxProfile(other) = other else { continue };
                let allow = profile.spec.allow.get_or_insert_default();
                for (target, classes) in other.spec.allow.iter().flatten() {
                    let ours = allow.entry(target.clone()).or_default();
                    for (class, permissions) in classes {
                        let list = ours.entry(class.clone()).or_default();
                        for permission in permissions {
                            if !list.contains(permission) {
                                list.push(permission.clone());
                            }
                        }
                    }
                }
            }
        }
        AnyObject::AppArmorProfile(profile) => {
            if let AppArmorBody::Abstract(ours) = &mut profile.spec.body {
                // In the form in which the result is written.
                add(ours, &ours.clone());
            }
            for other in others {
                let AnyObject::AppArmorProfile(other) = other else { continue };
                match (&mut profile.spec.body, &other.spec.body) {
                    (AppArmorBody::Abstract(ours), AppArmorBody::Abstract(theirs)) => add(ours, theirs),
                    _ => {
                        return Err(
                            "profiles in AppArmor's own language cannot be merged, only abstract ones".into(),
                        );
                    }
                }
            }
        }
        other => return Err(format!("a {} cannot be merged", other.kind()).into()),
    }
    Ok(merged)
}

fn add(ours: &mut AppArmorAbstract, theirs: &AppArmorAbstract) {
    if let Some(theirs) = &theirs.executable {
        let ours = ours.executable.get_or_insert_default();
        union(&mut ours.allowed_executables, theirs.allowed_executables.as_ref());
        union(&mut ours.allowed_libraries, theirs.allowed_libraries.as_ref());
    }
    if let Some(theirs) = &theirs.filesystem {
        let ours = ours.filesystem.get_or_insert_default();
        union(&mut ours.read_only_paths, theirs.read_only_paths.as_ref());
        union(&mut ours.write_only_paths, theirs.write_only_paths.as_ref());
        union(&mut ours.read_write_paths, theirs.read_write_paths.as_ref());
        // What is read here and written there is read and written, be it by a pattern.
        let read = ours.read_only_paths.clone().unwrap_or_default();
        let written = ours.write_only_paths.clone().unwrap_or_default();
        let both = |path: &&String| {
            let other = if read.contains(path) { &written } else { &read };
            other.contains(path) || absorbed(path, other)
        };
        let both: Vec<String> = read.iter().chain(&written).filter(both).cloned().collect();
        if !both.is_empty() {
            union(&mut ours.read_write_paths, Some(&both));
        }
        let all = ours.read_write_paths.clone().unwrap_or_default();
        for list in [&mut ours.read_only_paths, &mut ours.write_only_paths].into_iter().flatten() {
            list.retain(|path| !all.contains(path) && !absorbed(path, &all));
        }
    }
    let files = ours
        .filesystem
        .iter_mut()
        .flat_map(|fs| [&mut fs.read_only_paths, &mut fs.write_only_paths, &mut fs.read_write_paths]);
    let programs =
        ours.executable.iter_mut().flat_map(|x| [&mut x.allowed_executables, &mut x.allowed_libraries]);
    files.chain(programs).for_each(absorb);
    if let Some(theirs) = &theirs.network {
        let ours = ours.network.get_or_insert_default();
        either(&mut ours.allow_raw, theirs.allow_raw);
        if let Some(theirs) = &theirs.allowed_protocols {
            let ours = ours.allowed_protocols.get_or_insert_default();
            either(&mut ours.allow_tcp, theirs.allow_tcp);
            either(&mut ours.allow_udp, theirs.allow_udp);
        }
    }
    if let Some(theirs) = &theirs.capability {
        let ours = ours.capability.get_or_insert_default();
        union(&mut ours.allowed_capabilities, theirs.allowed_capabilities.as_ref());
    }
}

fn union<T: Clone + Ord>(ours: &mut Option<Vec<T>>, theirs: Option<&Vec<T>>) {
    if let Some(theirs) = theirs {
        let list = ours.get_or_insert_default();
        list.extend(theirs.iter().cloned());
        list.sort();
        list.dedup();
    }
}

/// Takes the paths out that a pattern of the same list covers.
fn absorb(list: &mut Option<Vec<String>>) {
    if let Some(list) = list {
        let all = list.clone();
        list.retain(|path| !absorbed(path, &all));
    }
}

/// Whether a path without wildcards is covered by a pattern of a list.
fn absorbed(path: &str, patterns: &[String]) -> bool {
    let Some(literal) = Aare::parse(path).ok().and_then(|aare| aare.as_literal()) else { return false };
    let covers = |pattern: &Aare| pattern.as_literal().is_none() && pattern.matches(&literal);
    patterns.iter().filter_map(|pattern| Aare::parse(pattern).ok()).any(|pattern| covers(&pattern))
}

fn either(ours: &mut Option<bool>, theirs: Option<bool>) {
    if let Some(theirs) = theirs {
        *ours = Some(ours.unwrap_or(false) || theirs);
    }
}
