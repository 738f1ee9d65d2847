//! From trees back to text: canonical (one space, no comments) or formatted (lines, indentation, comments).

use std::fmt::Write;

use super::{
    grammar, lexer,
    symbol::word,
    tree::{FileId, Forest, Step, View},
};

/// Widest line the formatter fills with a list of words.
const WIDTH: usize = 100;

/// Lists deeper than this are not indented any further: comments inside them are printed in front.
const DEEPEST_INDENT: usize = 64;

/// The tokens of a file, one statement of the top a line, without comments.
///
/// Parsing the result gives the same tree.
pub fn print(forest: &Forest<'_>, file: FileId) -> String {
    let mut out = String::with_capacity(forest.text(file).len());
    for statement in forest.statements(file) {
        flat(statement, &mut out);
        out.push('\n');
    }
    out
}

/// A file with one statement a line, containers indented by four spaces, and every comment kept.
///
/// Formatting a formatted text changes nothing.
pub fn format(forest: &Forest<'_>, file: FileId) -> String {
    let mut printer = Printer::new(forest, file);
    for statement in forest.statements(file) {
        printer.statement(statement, 0);
    }
    printer.comments_before(usize::MAX, 0);
    printer.end_line();
    printer.out
}

/// A node on one line.
pub fn format_node(view: View<'_, '_>) -> String {
    let mut out = String::new();
    flat(view, &mut out);
    out
}

fn flat(view: View<'_, '_>, out: &mut String) {
    let mut first = true;
    view.walk(|step| {
        if !first && !matches!(step, Step::Close) {
            out.push(' ');
        }
        first = matches!(step, Step::Open);
        match step {
            Step::Open => out.push('('),
            Step::Close => out.push(')'),
            Step::Atom(view) => atom(view, out),
        }
    });
}

fn atom(view: View<'_, '_>, out: &mut String) {
    let text = view.text();
    if view.is_quoted() || !lexer::is_bare(text) {
        let _ = write!(out, "\"{text}\"");
    } else {
        out.push_str(text);
    }
}

struct Printer<'f> {
    out: String,
    text: &'f str,
    comments: &'f [(u32, u32)],
    next_comment: usize,
    /// Offset in the source up to which everything was written.
    done: usize,
}

impl<'f> Printer<'f> {
    fn new(forest: &'f Forest<'_>, file: FileId) -> Self {
        let text = forest.text(file);
        Self {
            out: String::with_capacity(text.len()),
            text,
            comments: forest.comments(file),
            next_comment: 0,
            done: 0,
        }
    }

    fn statement(&mut self, view: View<'_, '_>, indent: usize) {
        let (start, end) = view.range();
        self.comments_before(start, indent);
        self.blank_line_before(start);
        let container = view.head().is_some_and(is_container) && view.children().any(View::is_list);
        let inner = self.comments.get(self.next_comment).is_some_and(|c| (c.0 as usize) < end);
        if indent > DEEPEST_INDENT {
            self.comments_before(end, indent);
            self.start_line(indent);
            self.filled(view, indent);
        } else if container || inner {
            self.start_line(indent);
            self.open(view, indent);
        } else {
            self.start_line(indent);
            self.filled(view, indent);
        }
        self.done = end;
    }

    /// A container or a list with comments inside: its parts on lines of their own.
    fn open(&mut self, view: View<'_, '_>, indent: usize) {
        self.out.push('(');
        self.done = view.range().0 + 1;
        let mut first = true;
        let mut lines = false;
        for child in view.children() {
            let (start, end) = child.range();
            let comment = self.comments.get(self.next_comment).is_some_and(|c| (c.0 as usize) < start);
            if child.is_list() || comment || lines {
                lines = true;
                if child.is_list() {
                    self.statement(child, indent + 1);
                } else {
                    self.comments_before(start, indent + 1);
                    self.start_line(indent + 1);
                    atom(child, &mut self.out);
                }
            } else {
                if !first {
                    self.out.push(' ');
                }
                atom(child, &mut self.out);
            }
            first = false;
            self.done = end;
        }
        let end = view.range().1;
        self.comments_before(end, indent + 1);
        self.start_line(indent);
        self.out.push(')');
    }

    /// One line, or filled lines where one would be too wide.
    fn filled(&mut self, view: View<'_, '_>, indent: usize) {
        let mut line = String::new();
        flat(view, &mut line);
        if indent * 4 + line.len() <= WIDTH {
            self.out.push_str(&line);
            return;
        }
        fill(view, &mut self.out, indent * 4, (indent + 1) * 4);
    }

    fn comments_before(&mut self, offset: usize, indent: usize) {
        while let Some(&(start, end)) = self.comments.get(self.next_comment) {
            let (start, end) = (start as usize, end as usize);
            if start >= offset {
                break;
            }
            let mark = self.text[start..end].starts_with(";;*")
                && (start == 0 || self.text[..start].ends_with(['\n', '\r']));
            let gap = self.text.get(self.done..start).unwrap_or("");
            let same_line = !gap.contains(['\n', '\r']) && !self.out.is_empty() && !mark;
            if same_line && !self.out.ends_with('\n') {
                self.out.push(' ');
            } else {
                self.blank_line_before(start);
                self.start_line(if mark { 0 } else { indent });
            }
            let comment = self.text[start..end].trim_end();
            // Away from the first column `;;*` is a plain comment; it must not become a mark.
            if !mark && comment.starts_with(";;*") && (self.out.is_empty() || self.out.ends_with('\n')) {
                self.out.push(' ');
            }
            self.out.push_str(comment);
            self.out.push('\n');
            self.done = end;
            self.next_comment += 1;
        }
    }

    /// Keeps one empty line where the source has at least one, except at the start of a file.
    fn blank_line_before(&mut self, offset: usize) {
        let gap = self.text.get(self.done..offset).unwrap_or("");
        if gap.bytes().filter(|&b| b == b'\n').count() > 1 && !self.out.is_empty() {
            self.end_line();
            if !self.out.ends_with("\n\n") && !self.out.ends_with("(\n") {
                self.out.push('\n');
            }
        }
    }

    fn start_line(&mut self, indent: usize) {
        self.end_line();
        let _ = write!(self.out, "{:1$}", "", indent * 4);
    }

    fn end_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }
}

fn fill(view: View<'_, '_>, out: &mut String, mut column: usize, margin: usize) {
    let mut first = true;
    view.walk(|step| {
        let width = match step {
            Step::Atom(view) => view.text().len() + if view.is_quoted() { 2 } else { 0 },
            Step::Open | Step::Close => 1,
        };
        if !first && !matches!(step, Step::Close) {
            if column + 1 + width > WIDTH {
                let _ = write!(out, "\n{:1$}", "", margin);
                column = margin;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        first = matches!(step, Step::Open);
        column += width;
        match step {
            Step::Open => out.push('('),
            Step::Close => out.push(')'),
            Step::Atom(view) => atom(view, out),
        }
    });
}

fn is_container(head: super::Symbol) -> bool {
    grammar::is_container(head) || head == word::TRUE || head == word::FALSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stable(text: &str) -> String {
        let forest = Forest::parse(text).unwrap();
        let file = forest.files().next().unwrap();
        let once = format(&forest, file);
        let again = Forest::parse(once.as_str()).unwrap();
        let again_file = again.files().next().unwrap();
        assert_eq!(format(&again, again_file), once);
        assert_eq!(print(&forest, file), print(&again, again_file));
        once
    }

    #[test]
    fn comments_stay_with_their_lines() {
        let text = "; top\n(block a ; of a\n(type x)   ; of x\n\n\n; alone\n(allow x\n  ; why\n self (file (read)))\n; last\n)";
        insta::assert_snapshot!(stable(text), @r"
        ; top
        (block a ; of a
            (type x) ; of x

            ; alone
            (allow x
                ; why
                self
                (file (read))
            )
            ; last
        )
        ");
    }

    #[test]
    fn a_comment_behind_a_parenthesis_stays_there() {
        stable("(allow a b (c)\n (d e) (; why\n f g))");
        stable("(a (b)\n(;x\n(;y\n)))");
        stable("(; x\n)\n(;;* y\n)");
    }

    #[test]
    fn long_lists_are_filled() {
        let names: Vec<String> = (0..40).map(|i| format!("type_{i}_t")).collect();
        let out = stable(&format!("(typeattributeset a ({}))", names.join(" ")));
        assert!(out.lines().count() > 3 && out.lines().all(|l| l.len() <= WIDTH + 2));
    }
}
