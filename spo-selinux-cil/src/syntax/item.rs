//! Owned trees, for policy that is generated rather than read.

use std::fmt;

use super::{lexer, tree::View};

/// A node of generated policy. Printing is the only way to text, so no value can break out of its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A word; printed in quotes where it could not stand bare.
    Word(String),
    /// A list.
    List(Vec<Item>),
}

impl Item {
    /// A word.
    pub fn word(text: impl Into<String>) -> Self {
        Self::Word(text.into())
    }

    /// A list of words.
    pub fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self::List(words.into_iter().map(Self::word).collect())
    }

    /// A list: a keyword and what follows it.
    pub fn statement(keyword: &str, arguments: impl IntoIterator<Item = Item>) -> Self {
        let mut items = vec![Self::word(keyword)];
        items.extend(arguments);
        Self::List(items)
    }

    /// A copy of a parsed node.
    pub fn of(view: View<'_, '_>) -> Self {
        if view.is_list() {
            // The parser bounds the depth; the recursion is bounded with it.
            Self::List(view.children().map(Self::of).collect())
        } else {
            Self::word(view.text())
        }
    }

    /// Whether the text can be printed at all: strings have no escapes, so they hold neither quotes nor newlines.
    pub(crate) fn is_printable(text: &str) -> bool {
        lexer::is_bare(text) || !text.bytes().any(|b| matches!(b, b'"' | b'\n' | 0))
    }

    fn has_statements(&self) -> bool {
        matches!(self, Self::List(items) if items.iter().skip(1).any(|i| matches!(i, Self::List(l)
            if matches!(l.first(), Some(Self::Word(w)) if super::grammar::is_statement(w)))))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Self::Word(text) if lexer::is_bare(text) => f.write_str(text),
            Self::Word(text) => {
                // A text that cannot be printed is a fault of the program; it must not become another policy.
                if !Self::is_printable(text) {
                    return Err(fmt::Error);
                }
                write!(f, "\"{text}\"")
            }
            Self::List(items) => {
                let container = self.has_statements();
                f.write_str("(")?;
                for (i, item) in items.iter().enumerate() {
                    if container && matches!(item, Self::List(_)) {
                        write!(f, "\n{:1$}", "", (indent + 1) * 4)?;
                        item.write(f, indent + 1)?;
                    } else {
                        if i > 0 {
                            f.write_str(" ")?;
                        }
                        item.write(f, indent)?;
                    }
                }
                if container {
                    write!(f, "\n{:1$}", "", indent * 4)?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Item {
    /// One statement a line, what is inside a block four spaces to the right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
