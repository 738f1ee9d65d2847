//! Findings with the line they speak of.

use std::{fmt, io::IsTerminal as _};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use spo_model::{Diagnostic, Severity};

use crate::input::Source;

/// A finding as people read it: code, message, the line with the place marked, the way out.
///
/// Colour only if standard error is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn frame(source: &Source, diagnostic: &Diagnostic) -> String {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let framed = Framed { diagnostic, source: NamedSource::new(&source.name, source.text.clone()) };
    let mut text = String::new();
    match GraphicalReportHandler::new_themed(theme).with_width(100).render_report(&mut text, &framed) {
        Ok(()) => text,
        Err(_) => format!("{}: {diagnostic}\n", source.name),
    }
}

/// A finding as `miette` wants it.
#[derive(Debug)]
struct Framed<'a> {
    diagnostic: &'a Diagnostic,
    source: NamedSource<String>,
}

impl fmt::Display for Framed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.diagnostic.path.is_root() {
            write!(f, "{}: ", self.diagnostic.path)?;
        }
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Framed<'_> {}

impl miette::Diagnostic for Framed<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.diagnostic.span.map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.diagnostic.span?;
        // A finding about a whole object would mark all its lines; its first one is enough.
        let marked = self.source.inner().get(span.start..span.end).unwrap_or_default();
        let length = marked.lines().next().unwrap_or_default().trim_end().len();
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), span.start, length))))
    }
}
