//! What became of the manifests, as a table and as data.

use std::fmt;

use serde::Serialize;
use spo_model::{
    Diagnostic, Severity,
    manifest::{Content, Entry},
};
use spo_node::{Outcome, State, artefact::HostPath};

use super::{is_error, load::Manifest};

/// What became of the manifests.
#[derive(Clone, Debug)]
pub struct Report {
    /// One line per document.
    pub lines: Vec<Line>,
    /// Artefacts that were removed because nothing wants them any more.
    pub removed: Vec<HostPath>,
    /// Artefacts that could not be removed, with the reason.
    pub stuck: Vec<(HostPath, String)>,
}

/// What became of one document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The kind as the document spells it; empty if it cannot be read.
    pub kind: String,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name; empty if it cannot be read.
    pub name: String,
    /// The manifest, relative to the directory.
    pub manifest: String,
    /// Where the document starts in it.
    pub line: u32,
    /// The file on the host, relative to the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artefact: Option<String>,
    /// Where the profile stands.
    pub state: LineState,
    /// Whether this run wrote the file.
    pub changed: bool,
    /// Everything found about the document.
    pub diagnostics: Vec<Diagnostic>,
    /// The manifest, as the ledger knows it.
    #[serde(skip)]
    pub(super) source: String,
    /// Whether the settings forbid the profile: then what it brought before goes, too.
    #[serde(skip)]
    pub(super) forbidden: bool,
}

/// Where a document stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LineState {
    /// The profile is on the host.
    Installed,
    /// The host has nothing that would read the profile.
    Unsupported,
    /// The profile is switched off.
    Disabled,
    /// The profile is part of a recording that is merged later.
    Partial,
    /// The document is no profile; it is read and that is all.
    Read,
    /// The profile is not on the host, or not as the manifest says.
    Error,
}

impl fmt::Display for LineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Installed => "Installed",
            Self::Unsupported => "Unsupported",
            Self::Disabled => "Disabled",
            Self::Partial => "Partial",
            Self::Read => "Read",
            Self::Error => "Error",
        })
    }
}

impl Line {
    pub(super) fn of(manifest: &Manifest, entry: &Entry) -> Self {
        let failed = entry.has_errors() || matches!(entry.content, Content::Unreadable);
        Self {
            kind: entry.kind.clone(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
            manifest: manifest.name.clone(),
            line: entry.span.line,
            artefact: None,
            state: if failed { LineState::Error } else { LineState::Read },
            changed: false,
            diagnostics: entry.diagnostics.clone(),
            source: manifest.source.clone(),
            forbidden: false,
        }
    }

    pub(super) fn unreadable(manifest: &Manifest, problem: Diagnostic) -> Self {
        Self {
            kind: String::new(),
            namespace: None,
            name: String::new(),
            manifest: manifest.name.clone(),
            line: problem.span.map_or(1, |span| span.line),
            artefact: None,
            state: LineState::Error,
            changed: false,
            diagnostics: vec![problem],
            source: manifest.source.clone(),
            forbidden: false,
        }
    }

    /// Adds findings, with their place in the manifest.
    pub(super) fn add(&mut self, manifest: &Manifest, found: Vec<Diagnostic>) {
        if found.is_empty() {
            return;
        }
        let documents =
            spo_model::manifest::documents(&manifest.text, &spo_model::manifest::Limits::default());
        let document = documents.ok().and_then(|d| d.into_iter().find(|d| d.span().line == self.line));
        self.diagnostics.extend(found.into_iter().map(|diagnostic| match &document {
            Some(document) => document.place(diagnostic, &manifest.text),
            None => diagnostic,
        }));
    }

    pub(super) fn refuse(&mut self, message: String) {
        self.state = LineState::Error;
        let problem = Diagnostic::error("install", spo_model::FieldPath::root(), message);
        self.diagnostics.push(problem);
    }

    pub(super) fn settle(&mut self, outcome: &Outcome) {
        self.changed = matches!(outcome.state, State::Written | State::Loaded);
        match (&outcome.problem, outcome.state) {
            (None, _) => self.state = LineState::Installed,
            (Some(reason), State::Unsupported) => {
                self.state = LineState::Unsupported;
                self.artefact = None;
                let root = spo_model::FieldPath::root();
                self.diagnostics.push(Diagnostic::new(Severity::Info, "unsupported", root, reason.clone()));
            }
            // What the module's compiler said is here already, with its place.
            (Some(_), _) if !outcome.diagnostics.is_empty() => self.state = LineState::Error,
            (Some(problem), _) => self.refuse(problem.clone()),
        }
    }

    /// What stops the profile, empty if nothing does.
    fn problem(&self) -> String {
        let stops =
            |d: &&Diagnostic| is_error(d) || self.state == LineState::Unsupported && d.code == "unsupported";
        let errors: Vec<String> = self.diagnostics.iter().filter(stops).map(brief).collect();
        errors.join("; ")
    }

    fn profile(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A finding in one line: place, message, way out.
fn brief(diagnostic: &Diagnostic) -> String {
    let mut text = String::new();
    if let Some(span) = diagnostic.span {
        text.push_str(&format!("line {}:{}: ", span.line, span.column));
    }
    if !diagnostic.path.is_root() {
        text.push_str(&format!("{}: ", diagnostic.path));
    }
    text.push_str(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!(" ({help})"));
    }
    text.replace('\n', " ")
}

impl Report {
    /// Whether every profile is where its manifest says, or switched off.
    pub fn is_success(&self) -> bool {
        self.stuck.is_empty() && self.lines.iter().all(|line| line.state != LineState::Error)
    }

    /// Whether anything on the host was changed.
    pub fn changed(&self) -> bool {
        !self.removed.is_empty() || self.lines.iter().any(|line| line.changed)
    }

    /// The report as JSON; the field names are stable.
    pub fn to_json(&self) -> serde_json::Value {
        let count = |state| self.lines.iter().filter(|line| line.state == state).count();
        let stuck: Vec<_> = self
            .stuck
            .iter()
            .map(|(path, reason)| serde_json::json!({ "artefact": path, "problem": reason }))
            .collect();
        serde_json::json!({
            "documents": self.lines,
            "removed": self.removed,
            "stuck": stuck,
            "installed": count(LineState::Installed),
            "errors": count(LineState::Error) + self.stuck.len(),
        })
    }
}

impl fmt::Display for Report {
    /// An aligned table, the warnings, what was removed, and a line of totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["KIND", "PROFILE", "ARTEFACT", "STATE", "PROBLEM"].map(str::to_owned)];
        for line in &self.lines {
            let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            let problem = match line.problem() {
                problem if problem.is_empty() => String::new(),
                problem => format!("{}: {problem}", line.manifest),
            };
            rows.push([
                dash(line.kind.clone()),
                dash(line.profile()),
                dash(line.artefact.clone().unwrap_or_default()),
                line.state.to_string(),
                problem,
            ]);
        }
        write_table(f, &rows)?;
        for line in &self.lines {
            for diagnostic in line.diagnostics.iter().filter(|d| d.severity == Severity::Warning) {
                let (severity, code) = (diagnostic.severity, &diagnostic.code);
                writeln!(f, "{severity}[{code}] {}: {}", line.manifest, brief(diagnostic))?;
            }
        }
        for path in &self.removed {
            writeln!(f, "removed {path}")?;
        }
        for (path, reason) in &self.stuck {
            writeln!(f, "cannot remove {path}: {reason}")?;
        }
        let count = |state| self.lines.iter().filter(|line| line.state == state).count();
        let written = self.lines.iter().filter(|line| line.changed).count();
        let errors = count(LineState::Error) + self.stuck.len();
        writeln!(
            f,
            "{} installed ({written} written), {} removed, {errors} with errors",
            count(LineState::Installed),
            self.removed.len()
        )
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, rows: &[[String; 5]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        line.push_str(&row[4]);
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
