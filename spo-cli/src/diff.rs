//! `spoc diff`: what one profile allows and the other does not.

use std::process::ExitCode;

use serde_json::json;
use spo_apparmor::meaning::{self, Compiled, Grants, Side};
use spo_model::object::{AnyObject, AppArmorProfile, SeccompProfile};
use spo_node::compile::{Library, effective};
use spo_selinux_cil::policy::Effective;

use crate::{Result, input, output};

/// Compare what two profiles of one kind mean, not how they are written.
///
/// Says whether the second is equal to the first, stricter, looser or neither, and gives a witness for each change. The
/// exit status is 0 if they mean the same, 1 if not; with `--allow stricter`, a stricter second is fine too. Profiles whose
/// conditions are too large to compare are a failure whatever is allowed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc diff old.yaml new.yaml
  spoc diff --allow stricter reviewed.yaml proposed.yaml     for CI: fails if more is allowed")]
pub(crate) struct Args {
    /// The first profile.
    first: String,
    /// The second profile.
    second: String,
    /// Files and folders with profiles that these build on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
    /// A verdict that is no failure besides equal.
    #[arg(long, value_enum, value_name = "VERDICT")]
    allow: Vec<Verdict>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Verdict {
    /// The same is allowed.
    Equal,
    /// Less is allowed.
    Stricter,
    /// More is allowed.
    Looser,
    /// Something more and something less is allowed.
    Incomparable,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object with the verdict, the changes and whether they are complete.
    Json,
}

/// A verdict, and one line per change: `-` for what only the first allows, `+` for what only the second does.
struct Comparison {
    verdict: Verdict,
    changes: Vec<String>,
    /// False when the profiles could not be compared; the verdict is `incomparable` then.
    complete: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let (first_source, first) = input::one(&args.first)?;
    let (second_source, second) = input::one(&args.second)?;
    let bases = input::sources(&args.base)?;
    let library = input::library(&bases);
    let comparison = match (&first, &second) {
        (AnyObject::SeccompProfile(a), AnyObject::SeccompProfile(b)) => {
            seccomp((a, &first_source), (b, &second_source), &library)?
        }
        (AnyObject::AppArmorProfile(a), AnyObject::AppArmorProfile(b)) => {
            apparmor((a, &first_source), (b, &second_source))?
        }
        (AnyObject::SelinuxProfile(a), AnyObject::SelinuxProfile(b)) => {
            let effective = crate::selinux::effective;
            selinux(&effective(a, &library, &first_source)?, &effective(b, &library, &second_source)?)
        }
        (AnyObject::RawSelinuxProfile(a), AnyObject::RawSelinuxProfile(b)) => {
            let effective = crate::selinux::effective_raw;
            selinux(&effective(a, &first_source)?, &effective(b, &second_source)?)
        }
        _ => {
            let (a, b) = (first.kind(), second.kind());
            return Err(format!("cannot compare a {a} with a {b}").into());
        }
    };
    let word = clap::ValueEnum::to_possible_value(&comparison.verdict)
        .map_or_else(String::new, |v| v.get_name().to_owned());
    let text = match args.output {
        Format::Text => {
            let mut text: String = comparison.changes.iter().map(|change| format!("{change}\n")).collect();
            text.push_str(&format!("{} is {word} compared with {}\n", second_source.name, first_source.name));
            text
        }
        Format::Json => format!(
            "{:#}\n",
            json!({ "verdict": word, "complete": comparison.complete, "changes": comparison.changes })
        ),
    };
    output::write("-", &text, 0)?;
    let fine = comparison.complete
        && (comparison.verdict == Verdict::Equal || args.allow.contains(&comparison.verdict));
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Side1<'a, T> = (&'a T, &'a input::Source);

fn seccomp(
    a: Side1<'_, SeccompProfile>,
    b: Side1<'_, SeccompProfile>,
    library: &Library,
) -> Result<Comparison> {
    let policy = |(profile, source): Side1<'_, SeccompProfile>| {
        effective(profile, library)
            .map(|e| e.effective.policy)
            .map_err(|problems| input::shown(source, &problems))
    };
    let found = spo_seccomp::diff(&policy(a)?, &policy(b)?);
    let verdict = match found.relation {
        spo_seccomp::Relation::Equal => Verdict::Equal,
        spo_seccomp::Relation::Stricter => Verdict::Stricter,
        spo_seccomp::Relation::Looser => Verdict::Looser,
        spo_seccomp::Relation::Incomparable => Verdict::Incomparable,
    };
    let mut changes: Vec<String> = found.changes.iter().map(ToString::to_string).collect();
    if !found.complete {
        changes = vec!["the conditions on arguments are too large to compare; nothing is known".to_owned()];
    }
    Ok(Comparison { verdict, changes, complete: found.complete })
}

fn apparmor(a: Side1<'_, AppArmorProfile>, b: Side1<'_, AppArmorProfile>) -> Result<Comparison> {
    let read = |(profile, source): Side1<'_, AppArmorProfile>| -> Result<(Compiled, Grants)> {
        let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str());
        let rendered = spo_apparmor::render(name, &profile.spec, &Default::default())
            .map_err(|problems| input::shown(source, &problems))?;
        let unit = spo_apparmor::load(&rendered.text, &spo_apparmor::render::Builtin, Default::default());
        let flat = unit.profiles.first().ok_or("there is no profile in the text")?;
        Ok((Compiled::new(flat, Default::default())?, Grants::of(flat)))
    };
    let (a, b) = (read(a)?, read(b)?);
    let found = meaning::diff((&a.0, &a.1), (&b.0, &b.1), Default::default())?;
    let verdict = match found.relation {
        meaning::Relation::Equal => Verdict::Equal,
        meaning::Relation::Stricter => Verdict::Stricter,
        meaning::Relation::Looser => Verdict::Looser,
        meaning::Relation::Incomparable => Verdict::Incomparable,
    };
    let sign = |side| if side == Side::First { '-' } else { '+' };
    let mut changes: Vec<String> = Vec::new();
    for file in &found.files {
        let note = if file.exec_differs { " (runs in another way)" } else { "" };
        changes.push(format!(
            "{} {} {} for {:?}{note}",
            sign(file.side),
            file.perm,
            file.witness,
            file.subject
        ));
    }
    for link in &found.links {
        changes.push(format!(
            "{} l {} -> {} for {:?}",
            sign(link.side),
            link.link,
            link.target,
            link.subject
        ));
    }
    changes.extend(found.classes.iter().map(|class| format!("{} {}", sign(class.side), class.grant)));
    Ok(Comparison { verdict, changes, complete: true })
}

fn selinux(a: &Effective, b: &Effective) -> Comparison {
    let (mut less, mut more) = (Vec::new(), Vec::new());
    for access in a.keys().filter(|access| !b.contains_key(access)) {
        less.push(format!("- {} {} {}", access.target, access.class, access.permission));
    }
    for access in b.keys().filter(|access| !a.contains_key(access)) {
        more.push(format!("+ {} {} {}", access.target, access.class, access.permission));
    }
    let verdict = match (less.is_empty(), more.is_empty()) {
        (true, true) => Verdict::Equal,
        (false, true) => Verdict::Stricter,
        (true, false) => Verdict::Looser,
        (false, false) => Verdict::Incomparable,
    };
    less.extend(more);
    Comparison { verdict, changes: less, complete: true }
}
