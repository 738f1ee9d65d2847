//! `spoc check`: everything that is wrong with profiles.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};
use spo_model::{
    Diagnostic, Severity,
    manifest::{self, Content, Limits},
};
use spo_node::compile::{Library, compile};

use crate::{
    Result, frame,
    input::{self, Source},
    output,
    progress::Progress,
};

/// Check profiles of any kind and version: form, rules, base profiles, and whether they compile.
///
/// Reads files, folders, patterns and `-` for standard input. Profiles that others build on may be among them. The
/// exit status is 1 if there is an error.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc check profile.yaml
  spoc check deploy/base-profiles profiles/
  spoc check --deny warnings --output github 'profiles/*.yaml'
  kubectl get seccompprofiles -A -o yaml | spoc check -")]
pub(crate) struct Args {
    /// What to check.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Let these findings fail the check too.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Vec<Deny>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Framed source lines for people.
    Text,
    /// One JSON list of findings.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands that annotate the lines of a pull request.
    Github,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
}

pub(crate) fn run(args: &Args) -> Result {
    let sources = input::sources(&args.profiles)?;
    let library = input::library(&sources);
    let progress = Progress::of(sources.len(), "checking");
    let findings: Vec<(&Source, Diagnostic)> = sources
        .iter()
        .inspect(|source| progress.step(&source.name))
        .flat_map(|source| check(source, &library).into_iter().map(move |d| (source, d)))
        .collect();
    progress.done();
    match args.output {
        Format::Text => text(&sources, &findings),
        Format::Json => output::write("-", &format!("{:#}\n", json_list(&findings)), 0)?,
        Format::Sarif => output::write("-", &format!("{:#}\n", sarif(&findings)), 0)?,
        Format::Github => output::write("-", &github(&findings), 0)?,
    }
    let limit = if args.deny.contains(&Deny::Warnings) { Severity::Warning } else { Severity::Error };
    let failed = findings.iter().any(|(_, d)| d.severity >= limit);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything found about a text, in its order.
fn check(source: &Source, library: &Library) -> Vec<Diagnostic> {
    let limits = Limits::default();
    let entries = match manifest::read(&source.text, &limits) {
        Ok(entries) => entries,
        Err(problem) => return vec![problem],
    };
    let documents = manifest::documents(&source.text, &limits).unwrap_or_default();
    let mut findings = Vec::new();
    for (entry, document) in entries.iter().zip(&documents) {
        findings.extend(entry.diagnostics.iter().cloned());
        let Content::Object(decoded) = &entry.content else { continue };
        if entry.has_errors() {
            continue;
        }
        let compiled = compile(&decoded.object, library);
        let more = match compiled {
            Some(Ok(compiled)) => compiled.diagnostics,
            Some(Err(problems)) => problems,
            None => Vec::new(),
        };
        findings.extend(more.into_iter().map(|d| document.place(d, &source.text)));
    }
    findings
}

fn text(sources: &[Source], findings: &[(&Source, Diagnostic)]) {
    for (source, finding) in findings {
        eprint!("{}", frame::frame(source, finding));
    }
    let count = |severity| findings.iter().filter(|(_, d)| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    eprintln!(
        "{} checked: {}, {}",
        plural(sources.len(), "file"),
        plural(errors, "error"),
        plural(warnings, "warning")
    );
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn json_list(findings: &[(&Source, Diagnostic)]) -> Value {
    findings
        .iter()
        .map(|(source, finding)| {
            let mut value = serde_json::to_value(finding).unwrap_or_default();
            value["file"] = json!(source.name);
            value
        })
        .collect()
}

/// The format of <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.
fn sarif(findings: &[(&Source, Diagnostic)]) -> Value {
    let results: Vec<Value> = findings
        .iter()
        .map(|(source, finding)| {
            let level = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "note",
            };
            let mut place = json!({ "artifactLocation": { "uri": source.name } });
            if let Some(span) = finding.span {
                place["region"] = json!({ "startLine": span.line, "startColumn": span.column });
            }
            json!({
                "ruleId": finding.code,
                "level": level,
                "message": { "text": message(finding) },
                "locations": [{ "physicalLocation": place }],
            })
        })
        .collect();
    let rules: std::collections::BTreeSet<&str> = findings.iter().map(|(_, d)| d.code.as_str()).collect();
    let rules: Vec<Value> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "spoc", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

/// Workflow commands; `%`, line ends, and in properties `:` and `,` are escaped as their reader wants it.
fn github(findings: &[(&Source, Diagnostic)]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    findings
        .iter()
        .map(|(source, finding)| {
            let command = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "notice",
            };
            let place = finding.span.map_or(String::new(), |s| format!(",line={},col={}", s.line, s.column));
            let (file, title) = (property(&source.name), property(&finding.code));
            format!("::{command} file={file}{place},title={title}::{}\n", data(&message(finding)))
        })
        .collect()
}

fn message(finding: &Diagnostic) -> String {
    let mut text = finding.message.clone();
    if !finding.path.is_root() {
        text = format!("{}: {text}", finding.path);
    }
    match &finding.help {
        Some(help) => format!("{text} ({help})"),
        None => text,
    }
}
