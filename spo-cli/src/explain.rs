//! `spoc explain`: what happens to one access, and which rule says so.

use std::process::ExitCode;

use spo_apparmor::{
    meaning::{Compiled, Subject, Verdict},
    tree::FilePerms,
};
use spo_model::{
    FieldPath, convert,
    manifest::{self, Limits},
    object::{AnyObject, AppArmorProfile, Metadata, SeccompProfile},
    seccomp::{Arch, ArgValue},
};
use spo_node::compile::{Library, effective};
use spo_seccomp::ArchExt as _;
use spo_selinux_cil::policy::{Access, Effective, Why};

use crate::{Result, input};

/// Tell what a profile does with a syscall, a file or an SELinux access, and which rule says so.
///
/// The exit status is 0 if the access is allowed, 1 if it is not.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc explain restricted.yaml openat
  spoc explain restricted.yaml socket 0=16 1=0x3        argument 0 is 16, argument 1 is 3
  spoc explain nginx-apparmor.yaml --path /etc/shadow r
  spoc explain nginx-selinux.yaml --selinux http_port_t tcp_socket name_bind")]
pub(crate) struct Args {
    /// The profile; `-` is standard input.
    profile: String,
    /// A syscall, and its arguments as INDEX=VALUE.
    #[arg(value_name = "SYSCALL [INDEX=VALUE]", conflicts_with_all = ["path", "selinux"])]
    syscall: Vec<String>,
    /// A path and the permissions asked for (r w a x m k l), for AppArmor.
    #[arg(long, num_args = 2, value_names = ["PATH", "PERMISSIONS"])]
    path: Option<Vec<String>>,
    /// A target type, a class and a permission, for SELinux.
    #[arg(long, num_args = 3, value_names = ["TYPE", "CLASS", "PERMISSION"])]
    selinux: Option<Vec<String>>,
    /// The architecture, for seccomp; this machine's if not given.
    #[arg(long, value_name = "SCMP_ARCH_…")]
    arch: Option<Arch>,
    /// Files and folders with profiles that this one builds on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, object) = input::one(&args.profile)?;
    let bases = input::sources(&args.base)?;
    let library = input::library(bases.iter().chain([&source]));
    let allowed = match (&object, &args.path, &args.selinux, args.syscall.split_first()) {
        (AnyObject::SeccompProfile(profile), None, None, Some((name, values))) => {
            let arch = args.arch.unwrap_or_else(Arch::host);
            let places: Vec<&input::Source> = bases.iter().chain([&source]).collect();
            syscall(profile, &library, arch, name, values, &source, &places)?
        }
        (AnyObject::AppArmorProfile(profile), Some(question), None, None) => {
            file(profile, &question[0], &question[1], &source)?
        }
        (AnyObject::SelinuxProfile(profile), None, Some(question), None) => {
            let effective = crate::selinux::effective(profile, &library, &source)?;
            selinux(&effective, &profile.metadata, question)
        }
        (AnyObject::RawSelinuxProfile(profile), None, Some(question), None) => {
            let effective = crate::selinux::effective_raw(profile, &source)?;
            selinux(&effective, &profile.metadata, question)
        }
        _ => {
            let question = match object {
                AnyObject::SeccompProfile(_) => "give a syscall: spoc explain PROFILE openat",
                AnyObject::AppArmorProfile(_) => "give a path: spoc explain PROFILE --path /etc/shadow r",
                AnyObject::SelinuxProfile(_) | AnyObject::RawSelinuxProfile(_) => {
                    "give an access: spoc explain PROFILE --selinux http_port_t tcp_socket name_bind"
                }
                _ => "nothing can be asked about this kind",
            };
            return Err(format!("{} is a {}; {question}", source.name, object.kind()).into());
        }
    };
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn syscall(
    profile: &SeccompProfile,
    library: &Library,
    arch: Arch,
    name: &str,
    values: &[String],
    source: &input::Source,
    sources: &[&input::Source],
) -> Result<bool> {
    let mut arguments = [0_u64; 6];
    for value in values {
        let parsed = value.split_once('=').and_then(|(index, value)| {
            Some((index.parse::<usize>().ok().filter(|i| *i < 6)?, value.parse::<ArgValue>().ok()?.0))
        });
        let (index, value) =
            parsed.ok_or_else(|| format!("{value}: want INDEX=VALUE, an index from 0 to 5"))?;
        arguments[index] = value;
    }
    let found = effective(profile, library).map_err(|problems| input::shown(source, &problems))?;
    // The first profile of the chain is the one in question, the others may be in any file.
    let own = [source];
    let files = std::iter::once(&own[..]).chain(std::iter::repeat(sources));
    let located = found.profiles.iter().zip(files).map(|(identity, files)| located(identity, files));
    let policy = found.effective.policy.with_sources(located);
    let Some(explanation) = spo_seccomp::explain_name(&policy, arch, name, &arguments) else {
        let near = spo_model::syscall_names::suggest(name)
            .map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        return Err(format!("{arch} has no syscall {name:?}{near}").into());
    };
    println!("{name} on {arch}: {explanation}");
    if let spo_seccomp::Reason::Rule(origin) = explanation.reason {
        let from = found.profiles.get(origin.profile).map_or("?", String::as_str);
        println!("the rule is {} of {from}", origin.path());
    }
    Ok(explanation.verdict.permits())
}

/// The SeccompProfile of an identity (`namespace/name` or `name`), with the file it is in and the places of its rules.
fn located(identity: &str, sources: &[&input::Source]) -> spo_seccomp::Source {
    for source in sources {
        for document in manifest::documents(&source.text, &Limits::default()).into_iter().flatten() {
            let Ok(decoded) = convert::decode(&document.to_value()) else { continue };
            let key = decoded.object.key().map(|key| key.to_string());
            let AnyObject::SeccompProfile(profile) = decoded.object else { continue };
            if key.as_deref() == Some(identity) || (key.is_none() && identity.is_empty()) {
                let place = |path: &FieldPath| Some(document.span_of(path));
                return spo_seccomp::Source::located(&source.name, &profile.spec, place);
            }
        }
    }
    spo_seccomp::Source::new(identity)
}

fn file(profile: &AppArmorProfile, path: &str, permissions: &str, source: &input::Source) -> Result<bool> {
    let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
    let rendered = spo_apparmor::render(name, &profile.spec, &Default::default())
        .map_err(|problems| input::shown(source, &problems))?;
    let unit = spo_apparmor::load(&rendered.text, &spo_apparmor::render::Builtin, Default::default());
    let flat = unit.profiles.first().ok_or("there is no profile in the text")?;
    let compiled = Compiled::new(flat, Default::default())?;
    let perms = file_perms(permissions)?;
    let mut allowed = true;
    for (who, subject) in [("the owner", Subject::Owner), ("others", Subject::Other)] {
        let answer = compiled.query(path, perms, subject);
        let verdict = match answer.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied by a rule",
            _ => "not allowed",
        };
        println!("{permissions} {path} by {who}: {verdict}");
        for rule in &answer.rules {
            println!("  matches {} {}", rule.path, rule.perms);
        }
        allowed &= answer.verdict == Verdict::Allowed;
    }
    Ok(allowed)
}

fn file_perms(text: &str) -> Result<FilePerms> {
    text.chars().try_fold(FilePerms::NONE, |perms, letter| match FilePerms::from_letter(letter) {
        Some(perm) => Ok(perms.union(perm)),
        None => Err(format!("{letter:?} is no permission; they are r w a x m k l").into()),
    })
}

fn selinux(effective: &Effective, metadata: &Metadata, question: &[String]) -> bool {
    let name = metadata.name.as_ref().map_or("", |n| n.as_str());
    let [target, class, permission] = question else { return false };
    let reasons = effective.get(&Access::new(target, class, permission));
    let word = if reasons.is_some() { "allowed" } else { "not allowed" };
    println!("{name}.process → {target} {class} {permission}: {word} on the built-in base");
    for reason in reasons.into_iter().flatten() {
        println!("  because of {}", why(reason));
    }
    reasons.is_some()
}

fn why(reason: &Why) -> String {
    match reason {
        Why::Own => "a rule of the profile".to_owned(),
        Why::Template(name) => format!("the template {name}"),
        Why::Parent(name) => format!("the profile {name} it inherits"),
        Why::Attribute(name) => format!("the attribute {name}"),
        Why::Conditional(holds, inner) => {
            format!(
                "{}, under a condition that {}",
                why(inner),
                if *holds { "holds" } else { "does not hold" }
            )
        }
        _ => "a rule of the base policy".to_owned(),
    }
}
