//! How a value is spelled: where a word or string ends when it is read, and how it is written so that it reads back.
//!
//! Reading and writing are in one place because the second must be the exact inverse of the first: a value is
//! written as a bare word only when reading that word gives the whole value, in quotes otherwise. The tests try every
//! short text of the characters that matter.
//!
//! The rules of reading are those of `parser_lex.l` of the real parser, tried on its releases.

use std::fmt::{self, Formatter, Write as _};

/// How a word is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordRule {
    /// Paths and names.
    Id,
    /// Values of conditions: also end at `=` and `)`.
    Condition,
    /// Elements of a list in parentheses: also end at `,` and `(`.
    List,
    /// The sides of a comparison: no escapes, and end at every sign.
    Operand,
}

/// Where the word that starts at `start` ends; `start` itself when none does.
#[inline]
pub(crate) fn word_end(text: &str, start: usize, rule: WordRule) -> usize {
    let bytes = text.as_bytes();
    let mut i = start;
    while let Some(&b) = bytes.get(i) {
        if !SPECIAL[usize::from(b)] {
            i += 1;
            continue;
        }
        match b {
            b'\\' if rule == WordRule::Operand => {}
            b'\\' => {
                let escaped = bytes.get(i + 1);
                // Alone at the end of a line or of the text it escapes nothing and is no word.
                if i == start && matches!(escaped, None | Some(b'\n' | b'\r')) {
                    break;
                }
                let pair = match rule {
                    WordRule::Id => escaped.is_some_and(|b| matches!(b, b' ' | b'\t' | b'"' | b'!' | b',')),
                    _ => escaped.is_some_and(|b| !matches!(b, b'\n' | b'\r')),
                };
                i += if pair { 2 } else { 1 };
                // An escaped character may be longer than one byte.
                while !text.is_char_boundary(i) {
                    i += 1;
                }
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'!' => break,
            b'#' if i == start || rule == WordRule::Operand => break,
            b',' if matches!(rule, WordRule::List | WordRule::Operand) => break,
            b',' => {
                let joins = bytes
                    .get(i + 1)
                    .is_some_and(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'!' | b','));
                // A comment directly behind the comma ends the rule as well.
                if i == start || !joins || bytes.get(i + 1) == Some(&b'#') {
                    break;
                }
            }
            b')' if rule != WordRule::Id => break,
            b'(' if rule == WordRule::Operand || rule == WordRule::List => break,
            b'(' | b'=' if rule == WordRule::Condition && i == start => break,
            b'=' if rule == WordRule::Condition || rule == WordRule::Operand => break,
            b'<' | b'>' if rule == WordRule::Operand => break,
            _ => {}
        }
        i += 1;
    }
    i
}

/// Where the string whose content starts at `start` ends: the place of the closing quote.
///
/// A quote behind a backslash is part of the string as long as another quote closes it, whatever stands in front of
/// the backslash: the real lexer takes the longest match.
pub(crate) fn string_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut last = None;
    let mut from = start;
    while let Some(found) = bytes.get(from..)?.iter().position(|b| *b == b'"') {
        let at = from + found;
        if at == start || bytes[at - 1] != b'\\' {
            return Some(at);
        }
        last = Some(at);
        from = at + 1;
    }
    last
}

/// Whether a word or the content of a string ends in a backslash that escapes nothing.
///
/// What it would escape is the blank, comma or quote that is written behind it, so no value may end like that.
pub(crate) fn ends_in_lone_backslash(text: &str) -> bool {
    trailing_backslashes(text) % 2 == 1
}

/// Whether the text, written bare, is read as this one word.
pub(crate) fn is_word(text: &str, rule: WordRule) -> bool {
    let keyword =
        || rule == WordRule::Operand && (text.starts_with(['$', '{']) || matches!(text, "not" | "defined"));
    !text.is_empty()
        && word_end(text, 0, rule) == text.len()
        && !text.ends_with('\\')
        && !text.starts_with("->")
        && !text.contains('\0')
        && !keyword()
}

/// Writes a value so that it is read as one value, in quotes when it must be or `quoted` asks for them.
///
/// What no spelling can express is written as what means the same: a quote gets its backslash, a backslash at the
/// end becomes octal.
pub(crate) fn write(f: &mut Formatter<'_>, text: &str, rule: WordRule, quoted: bool) -> fmt::Result {
    if !quoted && is_word(text, rule) {
        return f.write_str(text);
    }
    f.write_str("\"")?;
    let tail = match trailing_backslashes(text) {
        0 => 0,
        n if n % 2 == 1 => 1,
        _ => 2,
    };
    let mut before = ' ';
    for c in text[..text.len() - tail].chars() {
        match c {
            '"' if before != '\\' => f.write_str("\\\"")?,
            '\0' => f.write_str("\\000")?,
            _ => f.write_char(c)?,
        }
        before = c;
    }
    f.write_str(if tail > 0 { "\\134\"" } else { "\"" })
}

fn trailing_backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|b| *b == b'\\').count()
}

/// The bytes that [`word_end`] must look at.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let list = b"\\ \t\n\r\"!#,()=<>";
    let mut i = 0;
    while i < list.len() {
        table[list[i] as usize] = true;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;
    use crate::aare::Aare;

    struct Spelled<'a>(&'a str, WordRule, bool);

    impl Display for Spelled<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write(f, self.0, self.1, self.2)
        }
    }

    /// What a reader takes from the start of the text, and how long it is.
    fn read(text: &str, rule: WordRule) -> Option<(&str, usize)> {
        let (value, end) = if text.starts_with('"') {
            let end = string_end(text, 1)?;
            (&text[1..end], end + 1)
        } else {
            let end = word_end(text, 0, rule);
            (&text[..end], end)
        };
        (end > 0 && !ends_in_lone_backslash(value)).then_some((value, end))
    }

    const RULES: [WordRule; 4] = [WordRule::Id, WordRule::Condition, WordRule::List, WordRule::Operand];

    /// Every text of up to five characters of the alphabet.
    fn every_text(mut visit: impl FnMut(&str)) {
        const ALPHABET: [char; 17] =
            ['"', '\\', '\r', '\n', ' ', '\t', '#', ',', '}', '{', '@', '=', '(', ')', '1', 'ü', '!'];
        fn grow(text: &mut String, left: usize, visit: &mut impl FnMut(&str)) {
            visit(text);
            if left == 0 {
                return;
            }
            for c in ALPHABET {
                text.push(c);
                grow(text, left - 1, visit);
                text.pop();
            }
        }
        grow(&mut String::new(), 4, &mut visit);
    }

    /// Whatever the value is, and whatever follows, what was written is read as one value, and writing that again
    /// changes nothing.
    #[test]
    fn writing_is_the_inverse_of_reading() {
        every_text(|text| {
            for rule in RULES {
                for quoted in [false, true] {
                    let written = Spelled(text, rule, quoted).to_string();
                    let mut values = Vec::new();
                    for behind in [" r,", ",\n", "\n", " \"/b\" r,", ")"] {
                        // A bare name may hold a parenthesis.
                        if behind == ")" && rule == WordRule::Id && !written.starts_with('"') {
                            continue;
                        }
                        let all = format!("{written}{behind}");
                        let (value, end) = read(&all, rule).unwrap_or_else(|| panic!("{text:?}: {all:?}"));
                        assert_eq!(
                            end,
                            written.len(),
                            "{text:?} was written as {written:?} and read as {value:?}"
                        );
                        values.push(value.to_owned());
                    }
                    let value = &values[0];
                    assert!(values.iter().all(|v| v == value), "{text:?}: {values:?}");
                    let again = Spelled(value, rule, written.starts_with('"')).to_string();
                    assert_eq!(again, written, "{text:?}");
                    // Only what no reader can give changes its spelling.
                    let readable = !text.ends_with('\\') && !lacks_backslash(text);
                    assert_eq!(value == text, readable, "{text:?} came back as {value:?}");
                }
            }
        });
    }

    /// A value that was read from a text means the same when it was written and read again.
    #[test]
    fn what_was_read_keeps_its_meaning() {
        every_text(|text| {
            for rule in RULES {
                for source in [text.to_owned(), format!("\"{text}\"")] {
                    let Some((value, _)) = read(&source, rule) else { continue };
                    let written = Spelled(value, rule, false).to_string();
                    let (back, _) = read(&written, rule).unwrap_or_else(|| panic!("{source:?}: {written:?}"));
                    if back != value {
                        assert!(value.ends_with("\\\\") && back.ends_with("\\134"), "{value:?} {back:?}");
                        let meaning = |text: &str| Aare::parse(text).map(|a| a.to_string());
                        assert_eq!(meaning(value), meaning(back), "{value:?} {back:?}");
                    }
                }
            }
        });
    }

    fn lacks_backslash(text: &str) -> bool {
        text.match_indices('"').any(|(at, _)| !text[..at].ends_with('\\'))
    }

    /// The real parser (3.0.8) reads these the same way.
    #[test]
    fn a_quote_behind_backslashes_closes_only_when_no_other_does() {
        assert_eq!(read("\"/a\\\\\" r,\n", WordRule::Id), Some(("/a\\\\", 6)));
        assert_eq!(read("\"/a\\\\\" r,\n \"/b\" r,", WordRule::Id).map(|(v, _)| v), Some("/a\\\\\" r,\n "));
        assert_eq!(read("\"/a\\\" r,\n", WordRule::Id), None);
    }
}
