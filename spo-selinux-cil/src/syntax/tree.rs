//! Trees of a set of files: flat nodes in reading order, eight bytes each, positions kept.
//!
//! A node is a word, a string, or a list that says how many nodes follow it inside. Nothing is allocated per
//! node and the text is borrowed, so a 23 MB policy costs about as much memory again as its text.

use std::borrow::Cow;

use spo_model::{Diagnostic, FieldPath, Span};

use super::{
    lexer::{self, LexError, Token},
    symbol::{Interner, Symbol},
};

/// Deepest nesting of lists the compiler takes (`CIL_PARSER_MAX_EXPR_DEPTH`).
pub const MAX_DEPTH: usize = 4096;

/// A set of parsed files with one table of words.
#[derive(Clone, Debug, Default)]
pub struct Forest<'a> {
    pub(crate) symbols: Interner,
    pub(crate) nodes: Vec<Node>,
    files: Vec<File<'a>>,
}

/// A file of a [`Forest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A node of a [`Forest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

#[derive(Clone, Debug)]
struct File<'a> {
    name: String,
    text: Cow<'a, str>,
    /// Offset of the text in the sequence of all texts.
    base: u32,
    /// Nodes of the file, as a range.
    first: u32,
    end: u32,
    /// Comments, as ranges in the text.
    comments: Vec<(u32, u32)>,
}

/// `start` is the offset in the sequence of all texts. `word` is two bits of kind and a payload: the symbol of a
/// word or string, the number of nodes inside a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    start: u32,
    word: u32,
}

const QUOTED: u32 = 1 << 30;
const LIST: u32 = 2 << 30;
const PAYLOAD: u32 = (1 << 30) - 1;

impl Node {
    fn is_list(self) -> bool {
        self.word & LIST != 0
    }

    fn payload(self) -> u32 {
        self.word & PAYLOAD
    }

    fn size(self) -> u32 {
        if self.is_list() { self.payload() + 1 } else { 1 }
    }
}

impl<'a> Forest<'a> {
    /// A forest without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// A forest of one nameless text.
    ///
    /// # Errors
    /// As [`Forest::add`].
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, Diagnostic> {
        let mut forest = Self::new();
        forest.add("", text)?;
        Ok(forest)
    }

    /// Parses a text and adds it. The statements of all files together are one policy.
    ///
    /// # Errors
    /// Says where the text stops being CIL: a byte outside the alphabet, an open string, parentheses that do not
    /// match, a word outside parentheses, lists deeper than [`MAX_DEPTH`], or more than 1 GiB of text in total.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        text: impl Into<Cow<'a, str>>,
    ) -> Result<FileId, Diagnostic> {
        let text = text.into();
        let base = self.files.last().map_or(0, |f| f.base as usize + f.text.len() + 1);
        let first = self.nodes.len();
        if base + text.len() > PAYLOAD as usize {
            return Err(syntax_error(&text, 0, 0, "more than 1 GiB of policy text"));
        }
        match parse(&text, base as u32, &mut self.symbols, &mut self.nodes) {
            Ok(comments) => {
                let id = FileId(self.files.len() as u32);
                let (first, end) = (first as u32, self.nodes.len() as u32);
                self.files.push(File { name: name.into(), text, base: base as u32, first, end, comments });
                Ok(id)
            }
            Err(diagnostic) => {
                self.nodes.truncate(first);
                Err(*diagnostic)
            }
        }
    }

    /// The table of words.
    pub fn symbols(&self) -> &Interner {
        &self.symbols
    }

    /// The files, in the order they were added.
    pub fn files(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len() as u32).map(FileId)
    }

    /// The name a file was added with.
    pub fn name(&self, file: FileId) -> &str {
        self.files.get(file.0 as usize).map_or("", |f| &f.name)
    }

    /// The text of a file.
    pub fn text(&self, file: FileId) -> &str {
        self.files.get(file.0 as usize).map_or("", |f| &f.text)
    }

    /// The comments of a file as byte ranges, in order, each from its `;` to the end of its line.
    pub fn comments(&self, file: FileId) -> &[(u32, u32)] {
        self.files.get(file.0 as usize).map_or(&[], |f| &f.comments)
    }

    /// The statements at the top of a file.
    pub fn statements(&self, file: FileId) -> Children<'_, 'a> {
        let (next, end) = self.files.get(file.0 as usize).map_or((0, 0), |f| (f.first, f.end));
        Children { forest: self, next, end }
    }

    /// The statements at the top of all files.
    pub fn all_statements(&self) -> Children<'_, 'a> {
        Children { forest: self, next: 0, end: self.nodes.len() as u32 }
    }

    /// A node, to look at.
    pub fn view(&self, id: NodeId) -> View<'_, 'a> {
        View { forest: self, id }
    }

    /// Number of nodes in all files.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn file_of(&self, id: NodeId) -> Option<(FileId, &File<'a>)> {
        let index = self.files.partition_point(|f| f.end <= id.0);
        self.files.get(index).map(|f| (FileId(index as u32), f))
    }
}

/// A node with the forest it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct View<'f, 'a> {
    forest: &'f Forest<'a>,
    id: NodeId,
}

impl<'f, 'a> View<'f, 'a> {
    /// The node's number.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The forest it belongs to.
    pub fn forest(self) -> &'f Forest<'a> {
        self.forest
    }

    /// Whether this is a list.
    pub fn is_list(self) -> bool {
        self.node().is_list()
    }

    /// The word or the inside of the string; `None` for a list.
    pub fn atom(self) -> Option<Symbol> {
        let node = self.node();
        (!node.is_list()).then(|| Symbol(node.payload()))
    }

    /// Whether this was written in quotes.
    pub fn is_quoted(self) -> bool {
        self.node().word & (LIST | QUOTED) == QUOTED
    }

    /// The text of a word or string; empty for a list.
    pub fn text(self) -> &'f str {
        self.atom().map_or("", |s| self.forest.symbols.text(s))
    }

    /// What is in a list, in order; nothing for a word.
    pub fn children(self) -> Children<'f, 'a> {
        let next = self.id.0 + 1;
        Children { forest: self.forest, next, end: next + self.node().size() - 1 }
    }

    /// The word a list starts with, which for a statement is its keyword.
    pub fn head(self) -> Option<Symbol> {
        self.children().next().and_then(View::atom)
    }

    /// How many nodes this node is, with everything inside.
    pub fn size(self) -> usize {
        self.node().size() as usize
    }

    /// The file the node is in.
    pub fn file(self) -> Option<FileId> {
        self.forest.file_of(self.id).map(|(id, _)| id)
    }

    /// Where the node is in the text of its file.
    pub fn span(self) -> Span {
        let Some((_, file)) = self.forest.file_of(self.id) else {
            return Span { start: 0, end: 0, line: 1, column: 1 };
        };
        let start = self.start_in(file);
        span(&file.text, start, self.end_in(file))
    }

    /// Byte range in the text of its file.
    pub(crate) fn range(self) -> (usize, usize) {
        self.forest.file_of(self.id).map_or((0, 0), |(_, f)| (self.start_in(f), self.end_in(f)))
    }

    /// Visits the node and everything inside in reading order, without recursion.
    pub(crate) fn walk(self, mut visit: impl FnMut(Step<'f, 'a>)) {
        let end = self.id.0 + self.node().size();
        let mut open: Vec<u32> = Vec::new();
        let mut at = self.id.0;
        loop {
            while open.last() == Some(&at) {
                open.pop();
                visit(Step::Close);
            }
            if at >= end {
                return;
            }
            let view = self.forest.view(NodeId(at));
            let node = view.node();
            if node.is_list() {
                visit(Step::Open);
                open.push(at + node.size());
            } else {
                visit(Step::Atom(view));
            }
            at += 1;
        }
    }

    fn start_in(self, file: &File<'_>) -> usize {
        (self.node().start - file.base) as usize
    }

    /// Positions behind lists are not stored: the closing parenthesis is found again behind the last child.
    fn end_in(self, file: &File<'_>) -> usize {
        let mut depth = 0usize;
        let mut last = self;
        while last.is_list() {
            depth += 1;
            let Some(child) = last.children().last() else { break };
            last = child;
        }
        let mut at = last.start_in(file);
        if last.is_list() {
            at += 1;
        } else {
            at += last.text().len() + if last.is_quoted() { 2 } else { 0 };
        }
        while depth > 0 {
            let Ok(Some((token, _, end))) = lexer::next(file.text.as_bytes(), at) else { break };
            depth -= usize::from(token == Token::Close);
            at = end;
        }
        at
    }

    fn node(self) -> Node {
        self.forest.nodes[self.id.0 as usize]
    }
}

/// What [`View::walk`] comes by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'f, 'a> {
    /// A list starts.
    Open,
    /// A list ends.
    Close,
    /// A word or string.
    Atom(View<'f, 'a>),
}

/// Iterator over neighbouring nodes.
#[derive(Clone, Debug)]
pub struct Children<'f, 'a> {
    forest: &'f Forest<'a>,
    next: u32,
    end: u32,
}

impl<'f, 'a> Iterator for Children<'f, 'a> {
    type Item = View<'f, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let view = self.forest.view(NodeId(self.next));
        self.next += view.node().size();
        Some(view)
    }
}

/// Line and column of a byte range.
fn span(text: &str, start: usize, end: usize) -> Span {
    let before = &text.as_bytes()[..start.min(text.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = text.get(line_start..start).map_or(0, |s| s.chars().count()) + 1;
    Span { start, end, line: line as u32, column: column as u32 }
}

fn syntax_error(text: &str, start: usize, end: usize, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("cil-syntax", FieldPath::root(), message).with_span(span(text, start, end))
}

/// Appends the nodes of a text; gives the comments.
fn parse(
    text: &str,
    base: u32,
    symbols: &mut Interner,
    nodes: &mut Vec<Node>,
) -> Result<Vec<(u32, u32)>, Box<Diagnostic>> {
    let bytes = text.as_bytes();
    let fail = |start, end, message: String| Box::new(syntax_error(text, start, end, message));
    let mut comments = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    let mut marks = Vec::new();
    let mut at = 0;
    loop {
        let (token, start, end) = match lexer::next(bytes, at) {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err((error, at)) => return Err(fail(at, at + 1, describe(error, text, at))),
        };
        at = end;
        match token {
            Token::Open => {
                if open.len() == MAX_DEPTH {
                    return Err(fail(start, end, format!("more than {MAX_DEPTH} lists inside one another")));
                }
                open.push(nodes.len() as u32);
                nodes.push(Node { start: base + start as u32, word: LIST });
            }
            Token::Close => {
                let Some(list) = open.pop() else {
                    return Err(fail(start, end, "a `)` without its `(`".to_owned()));
                };
                let inside = nodes.len() as u32 - list - 1;
                nodes[list as usize].word = LIST | inside;
            }
            Token::Word | Token::Text => {
                let quoted = token == Token::Text;
                let first = start - usize::from(quoted);
                if open.is_empty() {
                    let message = format!("the word {:?} outside parentheses", brief(&text[start..end]));
                    return Err(fail(first, end, message));
                }
                let symbol = symbols.intern(&text[start..end]);
                let word = symbol.0 | if quoted { QUOTED } else { 0 };
                nodes.push(Node { start: base + first as u32, word });
                at += usize::from(quoted);
            }
            Token::Comment => comments.push((start as u32, end as u32)),
            Token::Mark => {
                mark(&text[start..end], &mut marks).map_err(|m| fail(start, end, m.to_owned()))?;
                comments.push((start as u32, end as u32));
            }
        }
    }
    if let Some(&list) = open.last() {
        let start = (nodes[list as usize].start - base) as usize;
        return Err(fail(start, start + 1, "a `(` without its `)`".to_owned()));
    }
    if !marks.is_empty() {
        return Err(fail(text.len(), text.len(), "a line mark is not closed by `;;* lme`".to_owned()));
    }
    Ok(comments)
}

/// Line marks: `;;* lms N FILE` and `;;* lmx N FILE` open, `;;* lme` closes.
fn mark(text: &str, open: &mut Vec<()>) -> Result<(), &'static str> {
    let mut words = text.get(3..).unwrap_or("").split_ascii_whitespace();
    match words.next() {
        Some("lme") => {
            open.pop().ok_or("a line mark `lme` closes nothing")?;
            if words.next().is_some() { Err("words behind the line mark `lme`") } else { Ok(()) }
        }
        Some("lms" | "lmx") => {
            let number = words.next().is_some_and(|n| n.parse::<u32>().is_ok());
            if !number || words.next().is_none() {
                return Err("a line mark wants a line number and a file name");
            }
            open.push(());
            Ok(())
        }
        _ => Err("a line mark is one of `lms`, `lmx`, `lme`"),
    }
}

fn describe(error: LexError, text: &str, at: usize) -> String {
    match error {
        LexError::OpenString => "a string without its closing quote on the same line".to_owned(),
        LexError::Stray(_) => match text.get(at..).and_then(|t| t.chars().next()) {
            Some(c) => format!("the character {c:?} is not part of the language"),
            None => "a byte that is not part of the language".to_owned(),
        },
    }
}

/// At most 60 characters of a text, for messages.
pub(crate) fn brief(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_what_was_written() {
        let text = "(block a ; note )\n  (allow x \"y z\" (file (read))))\n(type ä";
        let forest = Forest::parse(&text[..text.len() - "(type ä".len()]).unwrap();
        let block = forest.all_statements().next().unwrap();
        let span = block.span();
        assert_eq!((span.start, span.line, span.column), (0, 1, 1));
        assert_eq!(&text[span.start..span.end], text[..text.len() - "(type ä".len()].trim_end());
        let allow = block.children().nth(2).unwrap();
        let quoted = allow.children().nth(2).unwrap();
        assert!(quoted.is_quoted());
        assert_eq!(quoted.text(), "y z");
        let s = quoted.span();
        assert_eq!((&text[s.start..s.end], s.line, s.column), ("\"y z\"", 2, 12));
        let cp = allow.children().nth(3).unwrap().span();
        assert_eq!(&text[cp.start..cp.end], "(file (read))");
        let error = Forest::parse(text).unwrap_err().span.unwrap();
        assert_eq!((error.line, error.column), (3, 7));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| "(".repeat(n) + &")".repeat(n);
        assert!(Forest::parse(deep(MAX_DEPTH)).is_ok());
        assert!(Forest::parse(deep(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn a_failed_file_leaves_nothing_behind() {
        let mut forest = Forest::new();
        forest.add("a", "(type a)").unwrap();
        assert!(forest.add("b", "(type b) )").is_err());
        let c = forest.add("c", "(type c)").unwrap();
        assert_eq!(forest.statements(c).count(), 1);
        assert_eq!(forest.all_statements().count(), 2);
    }

    #[test]
    fn line_marks_nest_and_close() {
        assert!(Forest::parse(";;* lms 3 a.te\n(type a)\n;;* lme\n").is_ok());
        assert!(Forest::parse(";;* lms 3 a.te\n(type a)\n").is_err());
        assert!(Forest::parse(";;* lme\n").is_err());
        assert!(Forest::parse(";;* foo\n").is_err());
    }
}
