//! abi, include, alias, variables and the expressions of conditions.

use super::{Failure, MAX_DEPTH, Parse, Parser, TokenKind, WordRule};
use crate::{
    TextRange,
    tree::{Abi, Alias, Assign, AssignOp, AssignValue, Expr, Include, IncludeTarget, Item, Value, Version},
};

const NO_FILE_NAME: &str = "this is no file name";

impl Parser<'_> {
    pub(super) fn abi(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        self.c.take(3, TokenKind::Keyword);
        self.c.trivia();
        let target = self.file_name(true)?;
        self.c.trivia();
        if !self.c.eat(",") {
            return Err(self.c.unexpected("a comma behind the abi"));
        }
        if matches!(&target, IncludeTarget::System(name) if name == "kernel" || name == "default") {
            self.need(Version::V5_0, "abi <kernel> and <default>", self.range_from(start));
        }
        Ok(Item::Abi(Abi { target, range: self.range_from(start) }))
    }

    pub(super) fn include(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        let hash = self.c.peek() == Some(b'#');
        self.c.take(if hash { 8 } else { 7 }, TokenKind::Keyword);
        self.c.blanks();
        let mut if_exists = false;
        if self.c.peek_word() == "if" {
            self.c.take(2, TokenKind::Keyword);
            self.c.blanks();
            if !self.c.eat_keyword("exists") {
                return Err(self.c.unexpected("\"exists\""));
            }
            if_exists = true;
            self.c.blanks();
        }
        let target = self.file_name(false)?;
        Ok(Item::Include(Include { target, if_exists, hash, range: self.range_from(start) }))
    }

    /// `<path>`, `"path"` or a bare word; no comma belongs to the word of an abi.
    fn file_name(&mut self, comma_ends: bool) -> Parse<IncludeTarget> {
        let start = self.c.pos;
        let text = self.c.text;
        match self.c.peek() {
            Some(b'<') => {
                let rest = &text[start + 1..];
                let end = rest
                    .find(['>', '\n', '\r'])
                    .filter(|end| rest.as_bytes()[*end] == b'>')
                    .ok_or_else(|| {
                        Failure::new("syntax", TextRange::new(start, start + 1), "this \"<\" is never closed")
                    })?;
                self.c.take(end + 2, TokenKind::Value);
                // Quotes stand directly inside of the angle brackets or not at all; blanks only without them.
                let inner = match rest[..end].strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
                    Some(inner) if inner == inner.trim_matches([' ', '\t']) => inner,
                    Some(_) => return Err(Failure::new("syntax", self.range_from(start), NO_FILE_NAME)),
                    None => rest[..end].trim_matches([' ', '\t']),
                };
                self.file_name_of(start, inner)?;
                Ok(IncludeTarget::System(inner.to_owned()))
            }
            Some(b'"') => {
                let value = self.c.quoted()?;
                self.file_name_of(start, &value.text)?;
                Ok(IncludeTarget::Local(value.text))
            }
            _ => {
                let rest = &text[start..];
                let stops: &[char] =
                    if comma_ends { &[' ', '\t', '\r', '\n', ','] } else { &[' ', '\t', '\r', '\n'] };
                let end = rest.find(stops).unwrap_or(rest.len());
                if end == 0 {
                    return Err(self.c.unexpected("a file name"));
                }
                self.c.take(end, TokenKind::Value);
                self.file_name_of(start, &rest[..end])?;
                Ok(IncludeTarget::Local(rest[..end].to_owned()))
            }
        }
    }

    /// No name is empty, holds a quote, or ends in a backslash, which would take in whatever closes the name.
    fn file_name_of(&self, start: usize, name: &str) -> Parse<()> {
        if name.is_empty() || name.contains('"') || name.ends_with('\\') {
            return Err(Failure::new("syntax", self.range_from(start), NO_FILE_NAME));
        }
        Ok(())
    }

    pub(super) fn alias(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        self.c.take(self.c.peek_word().len(), TokenKind::Keyword);
        self.c.trivia();
        let from = self.path_value("the path of the alias")?;
        self.c.trivia();
        self.c.want("->")?;
        self.c.trivia();
        let to = self.path_value("the other path of the alias")?;
        self.c.trivia();
        self.c.want(",")?;
        Ok(Item::Alias(Box::new(Alias { from, to, range: self.range_from(start) })))
    }

    /// A value that must be a path: it begins with `/` or a variable.
    pub(super) fn path_value(&mut self, wanted: &str) -> Parse<Value> {
        let start = (self.c.pos, self.c.tokens.len());
        let value = self.c.value(WordRule::Id, wanted)?;
        if value.text.starts_with('/') || value.text.starts_with('@') {
            return Ok(value);
        }
        self.c.pos = start.0;
        self.c.tokens.truncate(start.1);
        Err(self.c.unexpected(wanted).with_help("a path begins with \"/\" or a variable"))
    }

    /// Tells `@{X} = …` from a profile whose name begins with a variable.
    pub(super) fn at_assignment(&self) -> bool {
        let rest = &self.c.text[self.c.pos + 1..];
        let after = match rest.strip_prefix('{') {
            Some(inner) => match inner.find(['}', ' ', '\t', '\r', '\n', '=']) {
                Some(end) if inner.as_bytes()[end] == b'}' => &inner[end + 1..],
                // `@{FOO = …` is meant as one, and the error says so.
                _ => return true,
            },
            None => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'),
        };
        let after = after.trim_start_matches([' ', '\t']);
        ["=", "+=", "?=", ":="].iter().any(|op| after.starts_with(op))
    }

    pub(super) fn assign(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        let boolean = self.c.peek() == Some(b'$');
        let name = self.variable()?;
        self.c.blanks();
        let at = self.c.pos;
        let op = [AssignOp::Add, AssignOp::SetIfUnset, AssignOp::Override, AssignOp::Set]
            .into_iter()
            .find(|op| self.c.eat(op.as_str()))
            .ok_or_else(|| self.c.unexpected("\"=\", \"+=\", \"?=\" or \":=\""))?;
        if matches!(op, AssignOp::SetIfUnset | AssignOp::Override) {
            self.need(Version::V5_0, "the assignments \"?=\" and \":=\"", TextRange::new(at, self.c.pos));
        }
        self.c.blanks();
        let value = if boolean {
            let expr = self.expr(0)?;
            if !matches!(expr, Expr::Bool(_)) {
                self.need(Version::V5_0, "an expression as value", self.range_from(start));
            }
            AssignValue::Bool(expr)
        } else {
            let mut values = Vec::new();
            loop {
                self.c.blanks();
                match self.c.peek() {
                    None | Some(b'\n' | b'#') => break,
                    Some(b',') => {
                        return Err(self.c.unexpected("a value").with_help("values are separated by blanks"));
                    }
                    _ => values.push(self.c.value(WordRule::Id, "a value")?),
                }
            }
            if values.is_empty() {
                return Err(Failure::new(
                    "empty-variable",
                    self.range_from(start),
                    format!("@{{{name}}} gets no value"),
                )
                .with_help("write \"\" for an empty value"));
            }
            AssignValue::Set(values)
        };
        let range = self.range_from(start);
        self.c.blanks();
        if !matches!(self.c.peek(), None | Some(b'\n' | b'#')) {
            return Err(self.c.unexpected("the end of the line"));
        }
        Ok(Item::Assign(Box::new(Assign { name, op, value, range })))
    }

    /// `@{name}`, `@name`, `${name}` or `$name`; gives the name.
    fn variable(&mut self) -> Parse<String> {
        let start = self.c.pos;
        self.c.pos += 1;
        let braces = self.c.peek() == Some(b'{');
        self.c.pos += usize::from(braces);
        let name = self.c.peek_word();
        self.c.pos += name.len();
        let closed = !braces || self.c.peek() == Some(b'}');
        self.c.pos += usize::from(braces && closed);
        self.c.token(TokenKind::Variable, start);
        if !closed || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let range = TextRange::new(start, self.c.pos);
            return Err(Failure::new("bad-variable", range, "this is no variable")
                .with_help("write @{NAME} with a letter first, then letters, digits and \"_\""));
        }
        Ok(name.to_owned())
    }

    /// The expression of an `if`.
    pub(super) fn condition_expr(&mut self) -> Parse<Expr> {
        let start = self.c.pos;
        self.c.trivia();
        let expr = self.expr(0)?;
        if !is_old_expr(&expr) {
            self.need(Version::V5_0, "this condition", self.range_from(start));
        }
        Ok(expr)
    }

    fn expr(&mut self, depth: usize) -> Parse<Expr> {
        let mut left = self.and_expr(depth)?;
        let mut terms = 0;
        loop {
            self.c.blanks();
            if !self.c.eat_keyword("or") {
                return Ok(left);
            }
            terms += 1;
            self.expr_budget(depth + terms)?;
            left = Expr::Or(Box::new(left), Box::new(self.and_expr(depth)?));
        }
    }

    fn and_expr(&mut self, depth: usize) -> Parse<Expr> {
        let mut left = self.not_expr(depth)?;
        let mut terms = 0;
        loop {
            self.c.blanks();
            if !self.c.eat_keyword("and") {
                return Ok(left);
            }
            terms += 1;
            self.expr_budget(depth + terms)?;
            left = Expr::And(Box::new(left), Box::new(self.not_expr(depth)?));
        }
    }

    fn expr_budget(&self, depth: usize) -> Parse<()> {
        if depth > MAX_DEPTH {
            let range = TextRange::new(self.c.pos, self.c.pos);
            return Err(Failure::new(
                "too-deep",
                range,
                format!("more than {MAX_DEPTH} parts in an expression"),
            ));
        }
        Ok(())
    }

    fn not_expr(&mut self, depth: usize) -> Parse<Expr> {
        self.expr_budget(depth)?;
        self.c.blanks();
        if self.c.eat_keyword("not") {
            return Ok(Expr::Not(Box::new(self.not_expr(depth + 1)?)));
        }
        if self.c.eat("(") {
            let inner = self.expr(depth + 1)?;
            self.c.blanks();
            self.c.want(")")?;
            return Ok(inner);
        }
        if self.c.eat_keyword("defined") {
            self.c.blanks();
            let boolean = self.c.peek() == Some(b'$');
            if !boolean && self.c.peek() != Some(b'@') {
                return Err(self.c.unexpected("a variable"));
            }
            return Ok(Expr::Defined { name: self.variable()?, boolean });
        }
        if self.c.peek() == Some(b'$') {
            return Ok(Expr::Variable(self.variable()?));
        }
        let left = self.operand()?;
        self.c.blanks();
        let op = ["==", "!=", "<=", ">=", "<", ">"].into_iter().find(|op| self.c.eat(op));
        let op = match op {
            Some(op) => op,
            None if self.c.eat_keyword("in") => "in",
            None => {
                return match left.text.to_ascii_lowercase().as_str() {
                    "true" => Ok(Expr::Bool(true)),
                    "false" => Ok(Expr::Bool(false)),
                    _ => Err(Failure::new("syntax", left.range, format!("{:?} is no condition", left.text))
                        .with_help("write true, false, a boolean variable $NAME, or a comparison")),
                };
            }
        };
        self.c.blanks();
        let right = self.operand()?;
        Ok(Expr::Compare { left, op, right })
    }

    fn operand(&mut self) -> Parse<Value> {
        if self.c.peek() == Some(b'{') {
            return Err(self.c.unexpected("a condition"));
        }
        self.c.value(WordRule::Operand, "a condition")
    }
}

/// What the releases before 5.0 can read: one variable or `defined`, negated or not.
fn is_old_expr(expr: &Expr) -> bool {
    match expr {
        Expr::Not(inner) => is_old_expr(inner),
        Expr::Variable(_) | Expr::Defined { .. } => true,
        _ => false,
    }
}
