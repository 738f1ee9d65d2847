//! What SELinux's own tools say when they refuse a policy, read into findings about modules.
//!
//! `semodule` builds all modules of a node at once and its complaint names files of its store; this tells which
//! module, which line and what, so that one bad profile can be told from the ninety good ones of the same transaction.
//!
//! ```
//! let findings = spo_selinux_cil::compiler_output::read(
//!     "Failed to resolve permission rea\n\
//!      Failed to resolve allow statement at /var/lib/selinux/targeted/tmp/modules/350/spo_web/cil:3\n\
//!      Failed to resolve AST\n\
//!      semodule:  Failed!\n",
//! );
//! let place = findings[0].place.as_ref().unwrap();
//! assert_eq!((&place.module[..], place.priority, place.line), ("spo_web", Some(350), Some(3)));
//! assert_eq!(findings[0].message, "Failed to resolve permission rea");
//! ```
//!
//! Source of the forms: `cil_tree_log` and `cil_tree_print_parents` of libsepol's `cil/src/cil_tree.c` and the calls
//! of `cil_log` around them, `parse_err` of libsemanage's `debug.c`, `semodule.c`, `secilc.c`; read from what releases
//! 3.4 and 3.11 print.

use std::fmt;

use spo_model::{Diagnostic, FieldPath, Severity, Span};

/// Most findings that are kept of one output.
pub const MAX_FINDINGS: usize = 256;

/// Most lines that are kept beside the message of one finding.
pub const MAX_DETAILS: usize = 32;

/// Longest line that is kept, in bytes; the rest of a longer one is cut off.
const MAX_LINE: usize = 4096;

/// Reads what `semodule`, `secilc`, `libsepol` or `libsemanage` wrote to its error output (`semodule` has warnings on
/// its standard output).
///
/// A tool stops at the first module it cannot use, but names every rule that breaks a `neverallow`: there is one
/// finding for each. Lines that only say that something failed are left out unless there is nothing else; an output
/// without a complaint gives none.
///
/// The text may hold names from a profile. A name cannot make a finding point to another module: only the end of a
/// line, and only of lines that end in a place, is read as one.
pub fn read(output: &str) -> Vec<Finding> {
    let mut reader = Reader::default();
    for line in output.lines() {
        if reader.findings.len() >= MAX_FINDINGS {
            break;
        }
        reader.line(cut(line.trim_end(), MAX_LINE));
    }
    reader.finish()
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Errors refuse the policy; a warning says that one module hides another.
    pub severity: Severity,
    /// The module and line to change, where the tool names one. For a rule that a template or macro brings, the place
    /// that brings it.
    pub place: Option<Place>,
    /// The most specific line of the complaint, in the tool's words.
    pub message: String,
    /// Its other lines.
    pub details: Vec<String>,
    /// Other places it names: of the `neverallow` that is broken, of a first declaration, of the template.
    pub related: Vec<Place>,
}

impl Finding {
    /// The finding as a diagnostic. With the text of the module its span is the line at fault, without one it has none.
    pub fn diagnostic(&self, source: Option<&str>) -> Diagnostic {
        let mut message = match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        };
        for detail in self.details.iter().filter(|d| !d.starts_with([' ', '(', '<'])) {
            message.push_str("; ");
            message.push_str(detail);
        }
        let diagnostic = Diagnostic::new(self.severity, "selinux-compiler", FieldPath::root(), message);
        let line = self.place.as_ref().and_then(|p| p.line);
        match line.and_then(|l| line_span(source?, l)) {
            Some(span) => diagnostic.with_span(span),
            None => diagnostic,
        }
    }
}

/// A line of a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The module: of a path in a module store the module's folder, of other paths the file name without ending.
    pub module: String,
    /// The priority it is installed with, for paths in a module store.
    pub priority: Option<u16>,
    /// The line of its CIL text, from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    /// `module:line`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.module),
            None => f.write_str(&self.module),
        }
    }
}

impl Place {
    fn of_path(path: &str, line: Option<u32>) -> Self {
        let line = line.filter(|l| *l > 0);
        let parts: Vec<&str> = path.rsplitn(5, '/').collect();
        if let [_, module, priority, "modules", _] | [_, module, priority, "modules"] = parts[..]
            && let Ok(priority) = priority.parse()
        {
            return Self { module: module.to_owned(), priority: Some(priority), line };
        }
        let file = path.rsplit('/').next().unwrap_or(path);
        let module = file.rsplit_once('.').map_or(file, |f| f.0);
        Self { module: module.to_owned(), priority: None, line }
    }
}

/// Lines that only repeat that something failed.
const FOOTERS: [&str; 13] = [
    "Failed to resolve AST",
    "Failed to build AST",
    "Failed to parse",
    "Failed to verify cil database",
    "Post process failed",
    "Pre verify failed",
    "Failed to generate binary",
    "Failed to build policydb",
    "Failed to compile cildb: ",
    "Failure adding ",
    "Failed to copy block contents into blockinherit",
    "Qualify names failed",
    "Error reading policy ",
];

/// Lines that end in words of the policy and never in a place.
const UNPLACED: [&str; 8] = [
    "Failed to resolve permission ",
    "Re-declaration of ",
    "Error: Unknown keyword ",
    "Invalid character ",
    "Conflicting type rules ",
    "Expanded from type rule ",
    "Child type ",
    "Circular bounds found for ",
];

#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
    /// Lines of a complaint whose place has not come yet.
    open: Vec<String>,
    related: Vec<Place>,
    footers: Vec<String>,
    /// The chain of statements, from the outermost, around the rule that is being told.
    chain: Vec<Place>,
    /// The findings of which the indented lines tell: from here to the end.
    told: Option<Told>,
}

/// A complaint whose rules follow in indented lines.
struct Told {
    message: String,
    place: Option<Place>,
    details: Vec<String>,
    rules: usize,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if let Some(rest) = line.strip_prefix(" (").filter(|r| r.ends_with(").")) {
            // `strerror`, on a line of its own behind a message of libsemanage.
            let reason = rest.trim_end_matches(").").to_owned();
            match self.open.last_mut() {
                Some(last) => last.push_str(&format!(" ({reason})")),
                None => self.detail(reason),
            }
            return;
        }
        if line.starts_with(' ') {
            return self.indented(line);
        }
        self.close_told();
        if FOOTERS.iter().any(|f| line.starts_with(f)) || line.ends_with("semodule:  Failed!") {
            self.footers.push(line.to_owned());
            return self.flush(None);
        }
        if let Some((program, said)) = line.split_once("semodule:  Failed on ")
            && !program.contains(' ')
        {
            return self.flush(Some(Place::of_path(said.trim_end_matches('!'), None)));
        }
        if let Some(rest) = line.strip_prefix("libsemanage.") {
            return self.store(rest.split_once(": ").map_or(rest, |r| r.1));
        }
        if let Some((module, rest)) = child(line) {
            self.open.push(rest.to_owned());
            return self.flush(Some(Place { module: module.to_owned(), priority: None, line: None }));
        }
        if UNPLACED.iter().any(|p| line.starts_with(p)) {
            if self.open.is_empty() || !follows(line) {
                self.flush(None);
            }
            return self.push(line);
        }
        match placed(line) {
            Some((text, place)) if text.starts_with("Previous declaration ") => {
                self.push(text);
                self.related.push(place);
            }
            Some((text, place)) if text.ends_with("check failed") || text.contains(" loop found") => {
                self.flush(None);
                self.told = Some(Told {
                    message: text.to_owned(),
                    place: Some(place),
                    details: Vec::new(),
                    rules: 0,
                });
            }
            Some((text, place)) => {
                self.push(text);
                self.flush(Some(place));
            }
            None => self.push(line),
        }
    }

    /// A message of libsemanage.
    fn store(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix("Overriding ") {
            let module = rest.split(' ').next().unwrap_or(rest).to_owned();
            let priority = rest.rsplit(' ').next().and_then(|p| p.trim_end_matches('.').parse().ok());
            let place = Place { module, priority, line: None };
            self.add(Severity::Warning, Some(place), text.to_owned(), Vec::new(), Vec::new());
        } else if let Some(rest) = text.strip_prefix("Error while reading from file ") {
            // Follows the complaint of the parser about the same file.
            let path = rest.split(". (").next().unwrap_or(rest);
            let place = Place::of_path(path, None);
            match self.findings.last_mut() {
                Some(f) if f.place.as_ref().is_some_and(|p| p.module == place.module) => {}
                _ => {
                    self.push(text);
                    self.flush(Some(place));
                }
            }
        } else if let Some(rest) = text.strip_prefix("Unable to remove module ") {
            let module = rest.split(' ').next().unwrap_or(rest);
            self.push(text);
            self.flush(Some(Place { module: module.to_owned(), priority: None, line: None }));
        } else {
            self.push(text);
        }
    }

    /// Rules that are told of below a complaint, each with the statements it is in.
    fn indented(&mut self, line: &str) {
        let text = line.trim_start();
        if self.told.is_none() {
            // The complaint about bounds has no place of its own.
            match self.open.pop() {
                Some(message) => {
                    let details = std::mem::take(&mut self.open);
                    self.told = Some(Told { message, place: None, details, rules: 0 });
                }
                None => return self.detail(text.to_owned()),
            }
        }
        if text == "<root>" {
            self.chain.clear();
        } else if text.starts_with('(') {
            if self.chain.is_empty() {
                if let Some(told) = &mut self.told
                    && told.details.len() < MAX_DETAILS
                {
                    told.details.push(text.to_owned());
                }
            } else {
                self.rule(text);
            }
        } else if let Some((_, place)) = placed(text) {
            if self.chain.len() < MAX_DETAILS {
                self.chain.push(place);
            }
        } else if let Some(told) = &mut self.told
            && told.details.len() < MAX_DETAILS
        {
            told.details.push(text.to_owned());
        }
    }

    /// A rule at the end of its chain: a finding of its own.
    fn rule(&mut self, text: &str) {
        let chain = std::mem::take(&mut self.chain);
        let Some(told) = &mut self.told else { return };
        told.rules += 1;
        let (message, mut details) = (told.message.clone(), told.details.clone());
        let mut related: Vec<Place> = told.place.clone().into_iter().collect();
        // The last step inside the module that brings the rule: behind it is only the template.
        let outer = chain.first().map(|p| p.module.clone());
        let at = chain.iter().rposition(|p| Some(&p.module) == outer.as_ref());
        let place = at.and_then(|i| chain.get(i).cloned());
        related.extend(chain.into_iter().filter(|p| Some(p) != place.as_ref()));
        related.dedup();
        if details.len() < MAX_DETAILS {
            details.push(text.to_owned());
        }
        self.add(Severity::Error, place, message, details, related);
    }

    fn push(&mut self, text: &str) {
        if self.open.len() < MAX_DETAILS {
            self.open.push(text.to_owned());
        }
    }

    /// The lines that were open are a finding.
    fn flush(&mut self, place: Option<Place>) {
        let mut lines = std::mem::take(&mut self.open).into_iter();
        let related = std::mem::take(&mut self.related);
        let Some(message) = lines.next() else {
            if let (Some(place), true) = (place, self.findings.is_empty()) {
                let message = format!("{} was refused", place.module);
                self.add(Severity::Error, Some(place), message, Vec::new(), related);
            }
            return;
        };
        // A second line about the same place says less than the first.
        if let (Some(last), true) = (self.findings.last_mut(), place.is_some())
            && last.place == place
            && last.details.len() < MAX_DETAILS
            && lines.len() == 0
            && last.severity == Severity::Error
        {
            last.details.push(message);
            return;
        }
        self.add(Severity::Error, place, message, lines.collect(), related);
    }

    fn close_told(&mut self) {
        self.chain.clear();
        if let Some(told) = self.told.take().filter(|t| t.rules == 0) {
            self.add(Severity::Error, told.place, told.message, told.details, Vec::new());
        }
    }

    fn detail(&mut self, text: String) {
        if let Some(last) = self.findings.last_mut().filter(|f| f.details.len() < MAX_DETAILS) {
            last.details.push(text);
        }
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Option<Place>,
        message: String,
        details: Vec<String>,
        related: Vec<Place>,
    ) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { severity, place, message, details, related });
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        self.close_told();
        self.flush(None);
        if !self.findings.iter().any(|f| f.severity == Severity::Error)
            && let Some(message) = self.footers.first().cloned()
        {
            self.add(Severity::Error, None, message, Vec::new(), Vec::new());
        }
        self.findings
    }
}

/// Whether a line without a place goes on with the complaint before it.
fn follows(line: &str) -> bool {
    line.starts_with("Expanded from ")
}

/// The text and the place of a line that ends in one: `… at PATH:LINE`, with `from SOURCE:LINE` behind it where the
/// module was made from another language, or `… at line LINE of PATH`.
fn placed(line: &str) -> Option<(&str, Place)> {
    if let Some((text, rest)) = line.rsplit_once(" at line ") {
        let (number, path) = rest.split_once(" of ")?;
        return Some((text, Place::of_path(path, Some(number.parse().ok()?))));
    }
    let (text, rest) = line.rsplit_once(" at ")?;
    // The marks of other languages come behind; their names may have blanks, the store's path has none before them.
    let own = rest.split(" from ").next()?;
    let (path, number) = own.rsplit_once(':')?;
    Some((text, Place::of_path(path, Some(number.parse().ok()?))))
}

/// A line of a converter that `semodule` ran for a module: the module's name is in front.
fn child(line: &str) -> Option<(&str, &str)> {
    let (module, rest) = line.split_once(": ")?;
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let known = rest.starts_with("libsepol.") || rest.starts_with("Failed to ");
    (known && !module.starts_with("lib") && module.chars().all(name)).then_some((module, rest))
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn line_span(source: &str, line: u32) -> Option<Span> {
    let mut start = 0;
    for (i, text) in source.split_inclusive('\n').enumerate() {
        if i + 1 == line as usize {
            let end = start + text.trim_end_matches(['\n', '\r']).len();
            return Some(Span { start, end, line, column: 1 });
        }
        start += text.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(output: &str) -> Vec<String> {
        read(output).iter().map(|f| f.place.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
    }

    #[test]
    fn a_name_cannot_blame_another_module() {
        // Words of the policy at the end of a line without a place, and in the middle of one with a place.
        let other = "x at /var/lib/selinux/s/tmp/modules/350/victim/cil:3";
        let output = format!(
            "Failed to resolve permission {other}\nFailed to resolve {other} in call argument list at /s/modules/350/me/cil:2\nFailed to resolve AST\n"
        );
        assert_eq!(places(&output), ["me:2"]);
        assert_eq!(places(&format!("Error: Unknown keyword {other}\nFailed to build AST\n")), [""]);
    }

    #[test]
    fn marks_of_other_languages_are_not_the_place() {
        let line =
            "Failed to resolve allow statement at /r/modules/100/te/cil:9 from a file.te:40 from b.te:7";
        let found = read(line);
        assert_eq!(places(line), ["te:9"]);
        assert_eq!(found[0].message, "Failed to resolve allow statement");
    }

    #[test]
    fn a_rule_of_a_template_is_laid_to_the_block_that_inherits_it() {
        let output = "neverallow check failed at g/modules/350/guard/cil:1\n  (neverallow a b (file (read)))\n    <root>\n    block at g/modules/350/mine/cil:1\n    blockinherit at g/modules/350/mine/cil:4\n    optional at g/modules/100/tpl/cil:20\n    allow at g/modules/100/tpl/cil:21\n      (allow mine.process b (file (read)))\n\nFailed to generate binary\n";
        let found = read(output);
        assert_eq!(places(output), ["mine:4"]);
        let related: Vec<String> = found[0].related.iter().map(ToString::to_string).collect();
        assert_eq!(related, ["guard:1", "mine:1", "tpl:20", "tpl:21"]);
    }

    #[test]
    fn failures_without_a_reason_are_told_and_successes_are_not() {
        let found = read("Failed to resolve AST\nsemodule:  Failed!\n");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].message.as_str(), &found[0].place), ("Failed to resolve AST", &None));
        assert_eq!(read("\n\n"), []);
    }

    #[test]
    fn long_outputs_are_cut() {
        let line = format!("Something {} at f.cil:1\n", "é".repeat(10_000));
        assert!(read(&line)[0].message.len() <= MAX_LINE);
        let many: String = (0..10_000).map(|i| format!("Bad thing at m{i}.cil:1\n")).collect();
        assert_eq!(read(&many).len(), MAX_FINDINGS);
        let nested =
            format!("neverallow check failed at f.cil:1\n{}", "    block at f.cil:1\n".repeat(100_000));
        assert_eq!(read(&nested).len(), 1);
    }
}
