//! What `apparmor_parser` prints when it refuses or doubts a text → findings with file, line and token.
//!
//! A node that has the real parser compiles with it, and the reason for a refusal must reach the author as more
//! than an exit status. [`read`] takes the whole standard error of one run and gives one [`ParserDiagnostic`] per
//! complaint; [`ParserDiagnostic::to_diagnostic`] puts it at its place in the text.
//!
//! The forms are those of AppArmor 2.13 to 5.0 (`parser_misc.c`, `parser_yacc.y`, `parser_regex.c`): a place in
//! front, `AppArmor parser error for FILE in profile FILE at line N: …`, `AppArmor parser error, in FILE line N: …`,
//! `Warning from FILE (FILE line N): …`; or no place at all, for what is found after reading, such as
//! `profile P: has merged rule R with conflicting x modifiers`. Run the parser with `LC_ALL=C`, its messages are
//! translated otherwise. Two things it does are worth knowing: it stops at the first error, and for a missing comma
//! it names the line where the next token stands.
//!
//! ```
//! use spo_apparmor::parser_output::read;
//!
//! let output = "AppArmor parser error for p.aa in profile p.aa at line 2: Invalid capability FOO.\n";
//! let found = &read(output)[0];
//! assert_eq!((found.line, found.token.as_deref()), (Some(2), Some("FOO")));
//! assert_eq!(found.message, "Invalid capability FOO.");
//! ```

use spo_model::{Diagnostic, FieldPath, Severity};

use crate::{LineIndex, TextRange};

/// One complaint of `apparmor_parser`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserDiagnostic {
    /// An error makes the parser refuse the text; a warning does not, unless it ran with `--Werror`.
    pub severity: Severity,
    /// The file in which the fault stands, an included one perhaps; `None` for standard input or an unknown one.
    pub file: Option<String>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
    /// The profile that the message names.
    pub profile: Option<String>,
    /// The piece of policy that the message names: a word, path, variable or file.
    pub token: Option<String>,
    /// The message without the place, in the words of the parser.
    pub message: String,
}

/// The most complaints that are kept of one run; what follows repeats them.
const MAX_FOUND: usize = 200;
/// The most bytes of a message that are kept.
const MAX_MESSAGE: usize = 4096;

/// Reads the standard error of one run of `apparmor_parser`.
///
/// Lines that say nothing about policy (caches, the manual page) are left out; a line of no known form is kept as
/// an error without a place, so that nothing the parser says is lost. At most 200 complaints are given, each of at
/// most 4 KiB.
pub fn read(output: &str) -> Vec<ParserDiagnostic> {
    let mut found: Vec<ParserDiagnostic> = Vec::new();
    for line in output.lines() {
        let line = line.trim();
        if line.is_empty() || is_noise(line) {
            continue;
        }
        if found.len() == MAX_FOUND {
            break;
        }
        let one = read_line(line);
        // What follows a refusal in the same breath says less than the refusal.
        let echo = one.profile.is_some() && line.starts_with("ERROR ");
        match found.last_mut() {
            Some(before) if echo && before.severity == Severity::Error && before.line.is_none() => {
                before.profile = before.profile.take().or(one.profile);
            }
            Some(before) if line.contains("Unable to parse input line") && before.line.is_none() => {
                before.token = before.token.take().or(one.token);
            }
            _ => found.push(one),
        }
    }
    found
}

impl ParserDiagnostic {
    /// The complaint as a [`Diagnostic`] about `text`, which the parser was given as its main file.
    ///
    /// `main` says whether the named file is that text; a place in an included file goes into the message. The span
    /// is that of the token where it can be found in the line, otherwise that of the line. Without a line the first
    /// rule that contains the token is shown, if there is just one such place.
    pub fn to_diagnostic(&self, text: &str, main: impl Fn(&str) -> bool) -> Diagnostic {
        let here = self.file.as_deref().is_none_or(main);
        let message = match (&self.file, self.line) {
            (Some(file), Some(line)) if !here => format!("{file}:{line}: {}", self.message),
            (Some(file), None) if !here => format!("{file}: {}", self.message),
            _ => self.message.clone(),
        };
        let diagnostic = Diagnostic::new(self.severity, "apparmor-parser", FieldPath::root(), message);
        let range = if !here {
            None
        } else if let Some(line) = self.line {
            line_range(text, line).map(|range| self.token_in(text, range).unwrap_or(range))
        } else {
            self.only_place(text)
        };
        match range {
            Some(range) => diagnostic.with_span(LineIndex::new(text).span(range)),
            None => diagnostic,
        }
    }

    fn token_in(&self, text: &str, line: TextRange) -> Option<TextRange> {
        let token = self.token.as_deref().filter(|t| !t.is_empty())?;
        let at = line.start as usize + line.slice(text).find(token)?;
        Some(TextRange::new(at, at + token.len()))
    }

    fn only_place(&self, text: &str) -> Option<TextRange> {
        let token = self.token.as_deref().filter(|t| t.len() > 1)?;
        let mut places = text.match_indices(token);
        let (at, _) = places.next()?;
        places.next().is_none().then(|| TextRange::new(at, at + token.len()))
    }
}

/// The line without its indentation and end.
fn line_range(text: &str, number: u32) -> Option<TextRange> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let start = match index {
        0 => 0,
        _ => text.match_indices('\n').nth(index - 1)?.0 + 1,
    };
    let line = text.get(start..)?.split('\n').next()?;
    let indent = line.len() - line.trim_start().len();
    let end = start + line.trim_end().len();
    Some(TextRange::new((start + indent).min(end), end))
}

/// What says nothing about the text.
fn is_noise(line: &str) -> bool {
    const STARTS: [&str; 8] = [
        "Cache ",
        "Cache:",
        "Caching disabled",
        "See the apparmor.d(5)",
        "Warning: unable to find a suitable fs",
        "Wrote cache",
        "Skipping profile",
        "Use --subdomainfs",
    ];
    STARTS.iter().any(|s| line.starts_with(s))
}

fn read_line(line: &str) -> ParserDiagnostic {
    let (severity, place, message) = if let Some(rest) = line.strip_prefix("AppArmor parser error") {
        let (place, message) = error_place(rest);
        (Severity::Error, place, message)
    } else if let Some((severity, place, message)) = warning(line) {
        (severity, place, message)
    } else {
        (Severity::Error, Place::default(), line.strip_prefix("apparmor_parser: ").unwrap_or(line))
    };
    ParserDiagnostic {
        severity,
        file: place.file.filter(|f| !f.is_empty() && *f != "stdin").map(str::to_owned),
        line: place.line.filter(|n| *n > 0),
        profile: profile_of(message).map(str::to_owned),
        token: token_of(message).map(str::to_owned),
        message: shortened(message).to_owned(),
    }
}

/// Where a complaint is about.
#[derive(Default)]
struct Place<'a> {
    file: Option<&'a str>,
    line: Option<u32>,
}

/// What stands behind "AppArmor parser error": ` for A in profile B at line N: …`, ` at line N: …`,
/// `, in A line N: …`, or only `: …`.
fn error_place(rest: &str) -> (Place<'_>, &str) {
    let Some((before, line, message)) = split_at_line(rest) else {
        return (Place::default(), rest.trim_start_matches([':', ',', ' ']));
    };
    let before = before.strip_suffix(" at").unwrap_or(before);
    let file = match before.strip_prefix(" for ") {
        // The second file is the one that is being read, the first the one that includes it.
        Some(files) => match files.rsplit_once(" in profile ").or_else(|| files.rsplit_once(" in ")) {
            Some((_, inner)) => Some(inner),
            None => Some(files),
        },
        None => before.strip_prefix(", in ").or_else(|| before.strip_prefix(" in ")),
    };
    (Place { file, line: Some(line) }, message)
}

/// The text in front of the first ` line N: `, N, and the text behind.
fn split_at_line(text: &str) -> Option<(&str, u32, &str)> {
    text.match_indices(" line ").find_map(|(at, sign)| {
        let behind = &text[at + sign.len()..];
        let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
        let message = behind[digits..].strip_prefix(':')?;
        Some((&text[..at], behind[..digits].parse().ok()?, message.trim_start()))
    })
}

/// `Warning from A (B line N): …` and the same as an error.
fn warning(line: &str) -> Option<(Severity, Place<'_>, &str)> {
    let (severity, rest) = if let Some(rest) = line.strip_prefix("Warning converted to Error from ") {
        (Severity::Error, rest)
    } else if let Some(rest) = line.strip_prefix("Warning from ") {
        (Severity::Warning, rest)
    } else {
        return line
            .strip_prefix("Warning")
            .map(|rest| (Severity::Warning, Place::default(), rest.trim_start_matches(['!', ':', ' '])));
    };
    let (place, message) = rest.split_once("): ").unwrap_or((rest, ""));
    let (outer, inner) = place.split_once(" (").unwrap_or((place, ""));
    // Without an included file only the line stands there.
    let numbered = inner.rsplit_once("line ").and_then(|(file, n)| Some((file.trim(), n.parse().ok()?)));
    let place = match numbered {
        Some(("", line)) => Place { file: Some(outer), line: Some(line) },
        Some((file, line)) => Place { file: Some(file), line: Some(line) },
        None => Place { file: Some(outer), line: None },
    };
    Some((severity, place, message))
}

/// The profile that a message without a place names.
fn profile_of(message: &str) -> Option<&str> {
    if let Some(name) = message.strip_prefix("Multiple definitions for profile ") {
        return name.strip_suffix(" exist,bailing out.");
    }
    if let Some(name) = message.strip_prefix("ERROR ") {
        let (_, name) = name.split_once(" for profile ")?;
        return Some(name.strip_suffix(", failed to load").unwrap_or(name));
    }
    let name = message.strip_prefix("profile ")?;
    name.split_once(": has merged rule ")
        .map(|(name, _)| name)
        .or_else(|| name.strip_suffix(" network rules not enforced"))
}

/// The piece of policy that a message names.
fn token_of(message: &str) -> Option<&str> {
    // The word that should have been there, and the kind of the word that was, are no text of the policy.
    if message.starts_with("syntax error") || message.starts_with("Uppercase qualifiers") {
        return None;
    }
    const BEFORE_AND_BEHIND: [(&str, &str); 12] = [
        ("has merged rule ", " with conflicting x modifiers"),
        ("Found reference to variable ", ", but is never"),
        ("Found reference to set variable ", ", but declared"),
        ("Unset boolean variable ", " used in"),
        ("references undefined variable ", ""),
        ("Invalid capability ", "."),
        ("Invalid profile flag: ", "."),
        ("File ", " not found"),
        ("Multiple definitions for hat ", " in profile"),
        ("Multiple definitions for profile ", " exist"),
        ("variable ", " was "),
        ("Variable ", " is "),
    ];
    for (before, behind) in BEFORE_AND_BEHIND {
        let Some((_, rest)) = message.split_once(before) else { continue };
        let word = match behind {
            "" => rest.split(' ').next().unwrap_or(rest),
            _ => match rest.split_once(behind) {
                Some((word, _)) => word,
                None => continue,
            },
        };
        if !word.is_empty() {
            return Some(word);
        }
    }
    let at = message.find(['\'', '"'])?;
    let sign = message.as_bytes()[at] as char;
    let inner = &message[at + 1..];
    // A quote that is quoted itself.
    let end = inner.char_indices().skip(1).find(|(_, c)| *c == sign).map(|(i, _)| i)?;
    Some(&inner[..end])
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> ParserDiagnostic {
        let mut found = read(line);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn every_form_of_a_place_is_read() {
        let place = |line: &str| {
            let d = one(line);
            (d.file, d.line, d.message)
        };
        let file = |name: &str| Some(name.to_owned());
        for (line, wanted) in [
            ("AppArmor parser error for a in profile b at line 7: oh", (file("b"), Some(7), "oh")),
            ("AppArmor parser error for a at line 7: oh", (file("a"), Some(7), "oh")),
            ("AppArmor parser error at line 7: oh", (None, Some(7), "oh")),
            ("AppArmor parser error, in stdin line 7: oh", (None, Some(7), "oh")),
            ("AppArmor parser error, in a b line 7: at line 3: oh", (file("a b"), Some(7), "at line 3: oh")),
            ("AppArmor parser error: oh", (None, None, "oh")),
            ("Warning from a (b line 7): oh", (file("b"), Some(7), "oh")),
            ("Warning from a (line 7): oh", (file("a"), Some(7), "oh")),
            ("Warning from stdin (stdin line 7): oh", (None, Some(7), "oh")),
            ("AppArmor parser error at line 99999999999: oh", (None, None, "at line 99999999999: oh")),
            ("  unsupported mount options", (None, None, "unsupported mount options")),
        ] {
            assert_eq!(place(line), (wanted.0, wanted.1, wanted.2.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_token_gets_its_place_in_the_text() {
        let text = "profile p {\n  /ö r,\n  capability chown FOO,\n}\n";
        let of = |line: &str| one(line).to_diagnostic(text, |f| f == "p.aa");
        let found = of("AppArmor parser error for p.aa in profile p.aa at line 3: Invalid capability FOO.");
        let span = found.span.unwrap();
        assert_eq!((span.line, span.column, &text[span.start..span.end]), (3, 20, "FOO"));
        // Without a token it is the line, without a line of this text there is no span.
        let line = of("AppArmor parser error at line 2: syntax error, unexpected TOK_ID").span.unwrap();
        assert_eq!(&text[line.start..line.end], "/ö r,");
        assert_eq!(of("AppArmor parser error at line 12: oh").span, None);
        let other = of("AppArmor parser error for p.aa in profile inc/x at line 3: Invalid capability FOO.");
        assert_eq!((other.span, other.message.as_str()), (None, "inc/x:3: Invalid capability FOO."));
    }

    #[test]
    fn what_a_refusal_repeats_is_one_finding() {
        let found = read(
            "Cache read/write disabled: interface file missing.\n\
             apparmor_parser: Regex grouping error: Unclosed grouping or character class, expecting close }\n\
             apparmor_parser: Unable to parse input line '/{a'\n\
             ERROR processing regexs for profile p, failed to load\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].profile.as_deref(), found[0].token.as_deref()), (Some("p"), Some("/{a")));
    }

    #[test]
    fn much_output_is_bounded() {
        let found = read(&format!("{}\n", "ü".repeat(5_000)).repeat(300));
        assert_eq!(found.len(), MAX_FOUND);
        assert!(found.iter().all(|d| d.message.len() <= MAX_MESSAGE));
    }

    proptest::proptest! {
        #[test]
        fn no_output_panics(
            text in "(AppArmor parser error|Warning from | for | in profile | at line | line |[0-9]|: |'|\"|\\(|\\)|\n|\\PC){0,30}",
        ) {
            for found in read(&text) {
                let _ = found.to_diagnostic(&text, |_| true);
            }
        }
    }
}
