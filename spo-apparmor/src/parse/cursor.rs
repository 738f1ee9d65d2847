//! Reading words from the text, recording tokens on the way.
//!
//! The language has no context-free tokens: `{` belongs to a path but opens a body, a comma ends a rule or
//! belongs to a word. So the parser asks for the word it expects, and the token list is a by-product.
//! Word rules: `apparmor.d(5)` and the behaviour of the real parser, see the specification of each function.

pub(crate) use crate::spelling::WordRule;
use crate::{
    TextRange,
    spelling::{ends_in_lone_backslash, string_end, word_end},
    tree::Value,
};

/// What a [`Token`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// A comment, without its line end.
    Comment,
    /// A word of the language.
    Keyword,
    /// A path, name or other value, quotes included.
    Value,
    /// A variable in an assignment or condition.
    Variable,
    /// Signs: `{ } ( ) , = ->` and so on.
    Sign,
}

/// A piece of the text; between tokens there is only white space (and what could not be read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub range: TextRange,
}

/// Why a statement could not be read.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) range: TextRange,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, range: TextRange, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { code, range, message: message.into(), help: None })
    }

    pub(crate) fn with_help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }
}

pub(crate) type Parse<T> = Result<T, Box<Failure>>;

/// Where reading stands.
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a str,
    bytes: &'a [u8],
    pub(crate) pos: usize,
    pub(crate) tokens: Vec<Token>,
    pub(crate) record: bool,
    /// A comment that the end of the text cuts off, which the real parser refuses.
    pub(crate) cut_comment: Option<TextRange>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, record: bool) -> Self {
        Self { text, bytes: text.as_bytes(), pos: 0, tokens: Vec::new(), record, cut_comment: None }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[inline]
    pub(crate) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.pos + ahead).copied()
    }

    pub(crate) fn rest_starts_with(&self, text: &str) -> bool {
        self.bytes[self.pos..].starts_with(text.as_bytes())
    }

    #[inline]
    pub(crate) fn token(&mut self, kind: TokenKind, start: usize) {
        if self.record {
            self.tokens.push(Token { kind, range: TextRange::new(start, self.pos) });
        }
    }

    /// A failure at the next word, which it names.
    pub(crate) fn unexpected(&self, wanted: &str) -> Box<Failure> {
        let (range, found) = self.next_lexeme();
        let found = if found.is_empty() { "the end of the text".to_owned() } else { format!("{found:?}") };
        Failure::new("syntax", range, format!("found {found}, expected {wanted}"))
    }

    fn next_lexeme(&self) -> (TextRange, &'a str) {
        let mut end = self.pos;
        while end < self.bytes.len()
            && !matches!(self.bytes[end], b' ' | b'\t' | b'\n' | b'\r')
            && end < self.pos + 60
        {
            end += 1;
            if matches!(self.bytes[end - 1], b',' | b'{' | b'}') && end - 1 > self.pos {
                end -= 1;
                break;
            }
        }
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        (TextRange::new(self.pos, end), &self.text[self.pos..end])
    }

    /// Skips white space and comments.
    #[inline]
    pub(crate) fn trivia(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.pos += 1,
                Some(b'#') => self.comment(),
                _ => return,
            }
        }
    }

    /// Skips white space and comments up to a statement; `#include` is one.
    #[inline]
    pub(crate) fn trivia_before_item(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.pos += 1,
                Some(b'#') if !self.at_hash_include() => self.comment(),
                _ => return,
            }
        }
    }

    /// Skips blanks and continued lines, but no line ends.
    pub(crate) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.pos += 1,
                Some(b'\\') if self.peek_at(1) == Some(b'\n') => self.pos += 2,
                Some(b'\\') if self.peek_at(1) == Some(b'\r') && self.peek_at(2) == Some(b'\n') => {
                    self.pos += 3;
                }
                _ => return,
            }
        }
    }

    pub(crate) fn at_hash_include(&self) -> bool {
        self.rest_starts_with("#include")
            && matches!(self.bytes.get(self.pos + 8), Some(b' ' | b'\t' | b'<' | b'"'))
    }

    pub(crate) fn comment(&mut self) {
        let start = self.pos;
        match self.text[start..].find('\n') {
            Some(length) => self.pos += length,
            None => {
                self.pos = self.bytes.len();
                self.cut_comment = Some(TextRange::new(start, self.pos));
            }
        }
        self.token(TokenKind::Comment, start);
    }

    /// Takes a sign when it stands here.
    #[inline]
    pub(crate) fn eat(&mut self, sign: &str) -> bool {
        if !self.rest_starts_with(sign) {
            return false;
        }
        let start = self.pos;
        self.pos += sign.len();
        self.token(TokenKind::Sign, start);
        true
    }

    pub(crate) fn want(&mut self, sign: &str) -> Parse<()> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected(&format!("{sign:?}"))) }
    }

    /// The bare word `[A-Za-z_][A-Za-z0-9_]*` that stands here, without taking it.
    #[inline]
    pub(crate) fn peek_word(&self) -> &'a str {
        let mut end = self.pos;
        if self.bytes.get(end).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') {
            while self.bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                end += 1;
            }
        }
        &self.text[self.pos..end]
    }

    /// Takes the word if it is this keyword.
    pub(crate) fn eat_keyword(&mut self, keyword: &str) -> bool {
        let behind = self.peek_at(keyword.len());
        if !self.rest_starts_with(keyword) || behind.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return false;
        }
        self.take(keyword.len(), TokenKind::Keyword);
        true
    }

    pub(crate) fn take(&mut self, length: usize, kind: TokenKind) {
        let start = self.pos;
        self.pos += length;
        self.token(kind, start);
    }

    /// A quoted string or a word.
    pub(crate) fn value(&mut self, rule: WordRule, wanted: &str) -> Parse<Value> {
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        let start = self.pos;
        let end = word_end(self.text, start, rule);
        if end == start {
            return Err(self.unexpected(wanted));
        }
        self.pos = end;
        self.token(TokenKind::Value, start);
        // In a list a string may follow directly.
        let stray = match self.peek() {
            Some(b'"') => !matches!(rule, WordRule::List | WordRule::Operand),
            Some(b'!') => rule != WordRule::Operand,
            _ => false,
        };
        if stray {
            let found = self.bytes[end] as char;
            let range = TextRange::new(start, end + 1);
            return Err(Failure::new("syntax", range, format!("{found:?} inside of a word"))
                .with_help("put the whole word in double quotes, or write a backslash in front"));
        }
        self.spelled(TextRange::new(start, end), false)
    }

    /// `"…"`
    pub(crate) fn quoted(&mut self) -> Parse<Value> {
        let start = self.pos;
        let Some(end) = string_end(self.text, start + 1) else {
            let range = TextRange::new(start, start + 1);
            return Err(Failure::new("unterminated-string", range, "the string is never closed")
                .with_help("add a double quote"));
        };
        self.pos = end + 1;
        self.token(TokenKind::Value, start);
        self.spelled(TextRange::new(start, end + 1), true)
    }

    fn spelled(&self, range: TextRange, quoted: bool) -> Parse<Value> {
        let text = range.slice(self.text);
        let text = if quoted { &text[1..text.len() - 1] } else { text };
        if ends_in_lone_backslash(text) {
            return Err(Failure::new("syntax", range, "a backslash at the end, which escapes nothing")
                .with_help("write two for the character itself"));
        }
        Ok(Value { text: text.to_owned(), quoted, range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, rule: WordRule) -> String {
        Cursor::new(text, false).value(rule, "a word").map_or_else(|f| f.message.clone(), |v| v.text)
    }

    #[test]
    fn a_comma_joins_only_in_front_of_a_word_character() {
        assert_eq!(word("/a,b r,", WordRule::Id), "/a,b");
        assert_eq!(word("/a, b", WordRule::Id), "/a");
        assert_eq!(word("/a\\ b c", WordRule::Id), "/a\\ b");
        assert_eq!(word("\"/a b\" r", WordRule::Id), "/a b");
        assert_eq!(word("a=b", WordRule::Condition), "a");
        assert_eq!(word("a,b)", WordRule::List), "a");
    }

    #[test]
    fn a_quote_inside_of_a_word_is_refused() {
        assert_eq!(word("lib\"x", WordRule::Id), "'\"' inside of a word");
    }
}
