//! `spoc fmt`: policy text as everybody writes it.

use std::process::ExitCode;

use spo_apparmor::{ParseOptions, parse::TokenKind};
use spo_model::{
    FieldPath, Span,
    manifest::{self, Limits},
};
use spo_selinux_cil::syntax;

use crate::{
    Result,
    input::{self, Source},
    output,
};

/// Format policy text: CIL and AppArmor's language, in files of their own and in the raw bodies of manifests.
///
/// Comments, the order of rules and everything in a manifest around the policy stay as they are, and so does the meaning:
/// the result is read again and compared before it is written. Files are changed in place; `-` is formatted to standard
/// output.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc fmt profiles/*.yaml policy.cil nginx.apparmor
  spoc fmt --check profiles/          for CI: names the files that would change
  spoc fmt - < policy.cil")]
pub(crate) struct Args {
    /// Files (.yaml, .yml; .cil; anything else is AppArmor's language), folders, patterns, `-`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Write nothing; name the files that would change, and exit with 1 if there is one.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut stale = false;
    for source in input::sources(&args.files)? {
        let formatted = format(&source)?;
        if source.is_stdin() {
            output::write("-", &formatted, 0)?;
        } else if formatted != source.text {
            stale = true;
            println!("{} {}", if args.check { "would format" } else { "formatted" }, source.name);
            if !args.check {
                let mode = std::fs::metadata(&source.name)
                    .map_or(0o644, |m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o7777);
                output::write(&source.name, &formatted, mode)?;
            }
        }
    }
    Ok(if args.check && stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn format(source: &Source) -> Result<String> {
    let fault =
        |reason: String| -> Box<dyn std::error::Error> { format!("{}: {reason}", source.name).into() };
    let manifest = match source.name.rsplit_once('.') {
        Some((_, "yaml" | "yml" | "json")) => true,
        Some((_, "cil")) => return cil(&source.text).map_err(fault),
        // Standard input has no name: a manifest says its kind.
        _ if source.is_stdin() && source.text.trim_start().starts_with(['(', ';']) => {
            return cil(&source.text).map_err(fault);
        }
        _ => source.is_stdin() && source.text.contains("apiVersion:"),
    };
    if manifest { bodies(source) } else { apparmor(&source.text).map_err(fault) }
}

/// A manifest with its raw bodies formatted.
fn bodies(source: &Source) -> Result<String> {
    let documents = manifest::documents(&source.text, &Limits::default())
        .map_err(|problem| input::shown(source, &[problem]))?;
    let mut edits: Vec<(Span, String)> = Vec::new();
    for document in &documents {
        let value = document.to_value();
        let kind = value["kind"].as_str().unwrap_or_default();
        let format: fn(&str) -> std::result::Result<String, String> = match kind {
            "RawSelinuxProfile" => cil,
            "AppArmorProfile" | "ApparmorProfile" => apparmor,
            _ => continue,
        };
        for field in ["policy", "profile"] {
            let Some(text) = value["spec"][field].as_str() else { continue };
            let span = document.span_of(&FieldPath::of(&format!("spec.{field}")));
            let formatted = format(text).map_err(|e| format!("{}:{}: {e}", source.name, span.line))?;
            if formatted != text {
                edits.extend(block(&source.text, span, text, &formatted));
            }
        }
    }
    let mut text = source.text.clone();
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, replacement) in edits {
        text.replace_range(span.start..span.end, &replacement);
    }
    Ok(text)
}

/// The lines of a literal block scalar (`|`) with another text in them; `None` for other styles, which stay.
fn block(text: &str, span: Span, old: &str, new: &str) -> Option<(Span, String)> {
    // The span starts behind the indentation of the first line.
    let start = text.get(..span.start)?.rfind('\n')? + 1;
    let indent = text.get(start..span.start).filter(|indent| indent.chars().all(|c| c == ' '))?;
    let header =
        text.get(..start)?.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
    if !header.ends_with('|') {
        return None;
    }
    let body = text.get(start..span.end)?.trim_end();
    // What the lines hold must be what the field holds, or they are not what they seem.
    let plain: Vec<&str> = body.lines().map(|line| line.strip_prefix(indent).unwrap_or("")).collect();
    if plain.join("\n").trim_end() != old.trim_end() {
        return None;
    }
    let lines: Vec<String> = new
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("{indent}{line}") })
        .collect();
    Some((Span { start, end: start + body.len(), ..span }, lines.join("\n")))
}

fn cil(text: &str) -> std::result::Result<String, String> {
    let forest = syntax::Forest::parse(text).map_err(|e| e.to_string())?;
    let file = forest.files().next().ok_or("there is no text")?;
    let formatted = syntax::format(&forest, file);
    let again =
        syntax::Forest::parse(&formatted).map_err(|e| format!("the formatted text cannot be read: {e}"))?;
    let read = again.files().next().ok_or("there is no text")?;
    if syntax::print(&forest, file) != syntax::print(&again, read) {
        return Err("the formatted text would mean something else; please report this".to_owned());
    }
    Ok(formatted)
}

/// AppArmor's language with every line indented by two blanks a brace, and neither trailing blanks nor runs of empty
/// lines.
fn apparmor(text: &str) -> std::result::Result<String, String> {
    let options = ParseOptions { tokens: true, ..ParseOptions::default() };
    let parsed = spo_apparmor::parse(text, options);
    if let Some(problem) = parsed.diagnostics.first() {
        return Err(problem.to_string());
    }
    let mut out = String::with_capacity(text.len());
    // Where the tokens seen so far end: behind a line for a value in quotes that goes on in the next one.
    let (mut depth, mut at, mut start, mut reach) = (0_usize, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let began_inside = reach > start;
        let mut closes_first = 0;
        let (mut change, mut seen) = (0_isize, false);
        while let Some(token) = parsed.tokens.get(at).filter(|token| (token.range.start as usize) < end) {
            match (token.kind, token.range.slice(text)) {
                (TokenKind::Sign, "{") => (change, seen) = (change + 1, true),
                (TokenKind::Sign, "}") if !seen => closes_first += 1,
                (TokenKind::Sign, "}") => change -= 1,
                _ => seen = true,
            }
            reach = reach.max(token.range.end as usize);
            at += 1;
        }
        depth = depth.saturating_sub(closes_first);
        // The text inside of such a value is not ours to change.
        let inside = reach > end;
        if inside || began_inside {
            out.push_str(line);
        } else if line.trim().is_empty() {
            if !out.is_empty() && !out.ends_with("\n\n") {
                out.push('\n');
            }
        } else {
            out.extend(std::iter::repeat_n("  ", depth));
            out.push_str(line.trim());
            out.push('\n');
        }
        depth = depth.saturating_add_signed(change);
        start = end;
    }
    let mut out = out.trim_end().to_owned();
    out.push('\n');
    let again = spo_apparmor::parse(&out, ParseOptions::default());
    if spo_apparmor::print(&parsed.policy) != spo_apparmor::print(&again.policy)
        || !again.diagnostics.is_empty()
    {
        return Err("the formatted text would mean something else; please report this".to_owned());
    }
    Ok(out)
}
