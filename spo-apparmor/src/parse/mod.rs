//! Text → [`Policy`].
//!
//! The parser is driven by the expected construct and reads bytes once, left to right. An error in one
//! statement is reported and reading goes on behind its comma, so that one pass finds several.

mod class;
mod cursor;
mod file;
mod head;
mod mount;
mod preamble;
mod rlimit;
mod words;

use std::sync::Arc;

use spo_model::{Diagnostic, FieldPath};

pub use cursor::{Token, TokenKind};
pub(crate) use words::{NETWORK_FAMILIES, SIGNALS, SOCKET_TYPES, capability_word};

use crate::{
    LineIndex, TextRange,
    tree::{Block, If, Item, Policy, Prefix, Rule, RuleKind, Version},
};
use cursor::{Cursor, Failure, Parse, WordRule};

/// How a text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// The newest release whose language is accepted; the default is the newest known.
    pub version: Version,
    /// Whether to keep the token list.
    pub tokens: bool,
}

/// What reading gives: always a tree, and what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// What could be read.
    pub policy: Policy,
    /// Every problem found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The tokens, when asked for.
    pub tokens: Vec<Token>,
    /// Constructs that need a release newer than 3.0.
    pub needs: Vec<Need>,
}

impl Parsed {
    /// Whether nothing was wrong.
    pub fn is_ok(&self) -> bool {
        self.diagnostics.is_empty()
    }
}

/// A construct that old releases do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The first release that knows it.
    pub version: Version,
    /// What it is.
    pub what: &'static str,
    /// Where it stands.
    pub range: TextRange,
}

/// The nesting of profiles, blocks, conditions and parentheses that is followed.
const MAX_DEPTH: usize = 64;
/// The number of problems after which reading stops.
const MAX_DIAGNOSTICS: usize = 100;

/// Reads a policy text: preamble and profiles.
///
/// Never fails as a whole; a text is usable when [`Parsed::is_ok`]. Texts above 64 MiB are refused.
///
/// ```
/// use spo_apparmor::parse;
///
/// let parsed = parse("profile p {\n  /a q,\n  /b r\n  /c r,\n}\n", Default::default());
/// let found: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
/// assert_eq!(found, [
///     "2:6: error[bad-permissions]: \"q\": 'q' is no permission, want letters of rwalkmx",
///     "4:3: error[syntax]: found \"/c\", expected a comma at the end of the rule",
/// ]);
/// assert_eq!(parsed.policy.profiles().count(), 1);
/// ```
pub fn parse(text: &str, options: ParseOptions) -> Parsed {
    Parser::new(text, options).run(Mode::File)
}

/// Reads the rules of a file that is included inside of a profile.
pub fn parse_rules(text: &str, options: ParseOptions) -> Parsed {
    Parser::new(text, options).run(Mode::Body)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    File,
    Body,
}

struct Parser<'a> {
    c: Cursor<'a>,
    options: ParseOptions,
    failures: Vec<Failure>,
    needs: Vec<Need>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: ParseOptions) -> Self {
        Self {
            c: Cursor::new(text, options.tokens),
            options,
            failures: Vec::new(),
            needs: Vec::new(),
            depth: 0,
        }
    }

    fn run(mut self, mode: Mode) -> Parsed {
        let text = self.c.text;
        let mut policy = Policy::default();
        if text.len() > 64 << 20 {
            self.fail("too-large", TextRange::new(0, 0), "the text is larger than 64 MiB");
        } else if let Some(at) = text.find('\0') {
            self.fail("nul-byte", TextRange::new(at, at + 1), "the text contains a NUL byte");
        } else if text.ends_with('\\') {
            // Printed with a line end behind it, it would continue the line.
            let at = text.len() - 1;
            self.fail(
                "syntax",
                TextRange::new(at, at + 1),
                "the text ends in a backslash, which escapes nothing",
            );
        } else if mode == Mode::File {
            policy.items = self.file_items();
        } else {
            policy.items = self.items();
            if self.c.pos < text.len() {
                let failure = self.c.unexpected("a rule or the end of the file");
                self.failures.push(*failure);
            }
        }
        if let Some(range) = self.c.cut_comment {
            self.failures.push(
                *Failure::new(
                    "comment-without-newline",
                    range,
                    "the last line is a comment without a line end",
                )
                .with_help("end the text with a newline"),
            );
        }
        let version = self.options.version;
        for need in &self.needs {
            if need.version > version {
                let message =
                    format!("{} needs AppArmor {}, the target is {version}", need.what, need.version);
                self.failures.push(
                    *Failure::new("needs-newer-release", need.range, message)
                        .with_help("leave it out, or raise the release that is targeted"),
                );
            }
        }
        let diagnostics = if self.failures.is_empty() {
            Vec::new()
        } else {
            let lines = LineIndex::new(text);
            self.failures.sort_by_key(|f| f.range.start);
            self.failures.into_iter().map(|f| to_diagnostic(f, &lines)).collect()
        };
        Parsed { policy, diagnostics, tokens: self.c.tokens, needs: self.needs }
    }

    fn fail(&mut self, code: &'static str, range: TextRange, message: impl Into<String>) {
        self.failures.push(*Failure::new(code, range, message));
    }

    fn need(&mut self, version: Version, what: &'static str, range: TextRange) {
        self.needs.push(Need { version, what, range });
    }

    fn range_from(&self, start: usize) -> TextRange {
        TextRange::new(start, self.c.pos)
    }

    /// The statements outside of profiles: first the preamble, then profiles.
    fn file_items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut profile_seen = false;
        loop {
            self.c.trivia_before_item();
            if self.c.peek().is_none() || self.failures.len() >= MAX_DIAGNOSTICS {
                return items;
            }
            let start = self.c.pos;
            match self.file_item() {
                Ok(item) => {
                    let late = match &item {
                        Item::Abi(_) => "abi",
                        Item::Alias(_) => "alias",
                        Item::Assign(_) => "a variable",
                        _ => "",
                    };
                    if profile_seen && !late.is_empty() {
                        let range = self.range_from(start);
                        self.fail(
                            "preamble-after-profile",
                            range,
                            format!("{late} must stand before the first profile"),
                        );
                    }
                    profile_seen |= matches!(item, Item::Profile(_));
                    items.push(item);
                }
                Err(failure) => {
                    self.failures.push(*failure);
                    self.recover(start);
                    if self.c.peek() == Some(b'}') {
                        self.c.pos += 1;
                    }
                }
            }
        }
    }

    fn file_item(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        match self.c.peek() {
            Some(b'@') if self.at_assignment() => return self.assign(),
            Some(b'$') => return self.assign(),
            Some(b'#') => return self.include(),
            Some(b'/' | b'"' | b':' | b'@') => return self.profile_of_path(),
            Some(b'^') => return self.hat(start),
            _ => {}
        }
        match self.c.peek_word() {
            "abi" => self.abi(),
            "include" => self.include(),
            "alias" | "rewrite" => self.alias(),
            "profile" => self.profile(),
            "hat" => self.hat(start),
            _ => Err(self.c.unexpected("a profile, include, abi, alias or variable")),
        }
    }

    /// The statements of a body, up to a closing brace or the end.
    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            self.c.trivia_before_item();
            if matches!(self.c.peek(), None | Some(b'}')) || self.failures.len() >= MAX_DIAGNOSTICS {
                return items;
            }
            let start = self.c.pos;
            match self.item() {
                Ok(item) => {
                    // A body has a handful of statements or dozens.
                    if items.is_empty() {
                        items.reserve(16);
                    }
                    items.push(item);
                }
                Err(failure) => {
                    self.failures.push(*failure);
                    self.recover(start);
                }
            }
        }
    }

    fn item(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        match self.c.peek() {
            Some(b'#') => return self.include(),
            Some(b'^') => return self.hat(start),
            Some(b'/' | b'"' | b'@') => return self.rule(start, Prefix::default()),
            _ => {}
        }
        match self.c.peek_word() {
            "include" => self.include(),
            "abi" => self.abi(),
            "profile" => self.profile(),
            "hat" => self.hat(start),
            "if" => self.conditional(),
            "priority" | "audit" | "allow" | "deny" | "prompt" | "owner" | "user" | "other" => {
                let prefix = self.prefix()?;
                self.c.trivia();
                if !prefix.is_empty() && self.c.peek() == Some(b'{') {
                    return self.block(start, prefix);
                }
                self.rule(start, prefix)
            }
            _ => self.rule(start, Prefix::default()),
        }
    }

    fn block(&mut self, start: usize, prefix: Prefix) -> Parse<Item> {
        if prefix.priority.is_some() {
            return Err(Failure::new(
                "priority-on-block",
                self.range_from(start),
                "a block of rules cannot have a priority",
            ));
        }
        let items = self.braces()?;
        Ok(Item::Block(Block { prefix, items, range: self.range_from(start) }))
    }

    /// `{ … }`, with the nesting counted.
    fn braces(&mut self) -> Parse<Vec<Item>> {
        let open = self.c.pos;
        self.c.want("{")?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.depth -= 1;
            let range = TextRange::new(open, open + 1);
            self.c.pos = self.c.text.len();
            return Err(Failure::new("too-deep", range, format!("more than {MAX_DEPTH} nested bodies")));
        }
        let items = self.items();
        self.depth -= 1;
        if self.c.peek() == Some(b'}') {
            self.c.take(1, TokenKind::Sign);
            return Ok(items);
        }
        if self.failures.len() < MAX_DIAGNOSTICS {
            let range = TextRange::new(open, open + 1);
            self.fail("unclosed-brace", range, "this body is never closed");
        }
        Ok(items)
    }

    fn conditional(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        self.c.take(2, TokenKind::Keyword);
        let condition = self.condition_expr()?;
        self.c.trivia();
        let then = self.braces()?;
        let resume = (self.c.pos, self.c.tokens.len());
        self.c.trivia();
        let otherwise = if self.c.eat_keyword("else") {
            self.c.trivia();
            if self.c.peek_word() == "if" {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    self.depth -= 1;
                    return Err(Failure::new(
                        "too-deep",
                        self.range_from(start),
                        "too many conditions in a chain",
                    ));
                }
                let inner = self.conditional();
                self.depth -= 1;
                Some(vec![inner?])
            } else {
                Some(self.braces()?)
            }
        } else {
            self.c.pos = resume.0;
            self.c.tokens.truncate(resume.1);
            None
        };
        Ok(Item::If(Box::new(If { condition, then, otherwise, range: self.range_from(start) })))
    }

    fn rule(&mut self, start: usize, prefix: Prefix) -> Parse<Item> {
        let kind = self.rule_kind()?;
        self.c.trivia();
        if !self.c.eat(",") {
            return Err(self.c.unexpected("a comma at the end of the rule"));
        }
        let rule = Rule { prefix, kind, range: self.range_from(start) };
        self.check_rule(&rule)?;
        Ok(Item::Rule(Arc::new(rule)))
    }

    fn rule_kind(&mut self) -> Parse<RuleKind> {
        let start = self.c.pos;
        if matches!(self.c.peek(), Some(b'/' | b'"' | b'@')) {
            return self.file_rule();
        }
        match self.c.peek_word() {
            "" => Err(self.c.unexpected("a rule")),
            "file" | "safe" | "unsafe" => self.file_rule(),
            "link" => self.link_rule(),
            "capability" => self.capability_rule(),
            "network" => self.network_rule(),
            word @ ("unix" | "dbus" | "signal" | "ptrace" | "mqueue" | "io_uring" | "userns") => {
                self.class_rule(word)
            }
            "mount" | "remount" | "umount" | "unmount" => self.mount_rule(),
            "pivot_root" => self.pivot_root_rule(),
            "change_profile" => self.change_profile_rule(),
            "set" => self.rlimit_rule(),
            "all" if self.all_is_the_rule() => {
                self.c.take(3, TokenKind::Keyword);
                self.need(Version::V4_0, "the rule \"all\"", TextRange::new(start, self.c.pos));
                Ok(RuleKind::All)
            }
            _ => self.file_rule(),
        }
    }

    /// Tells the rule `all,` from the permissions `all /path,`.
    fn all_is_the_rule(&self) -> bool {
        let mut ahead = 3;
        while matches!(self.c.peek_at(ahead), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            ahead += 1;
        }
        matches!(self.c.peek_at(ahead), None | Some(b',' | b'#'))
    }

    /// Goes on behind the statement that begins at `start` and could not be read.
    fn recover(&mut self, start: usize) {
        let bytes = self.c.text.as_bytes();
        let mut i = self.c.pos.max(start);
        let mut depth = 0_usize;
        while i < bytes.len() {
            match bytes[i] {
                b'#' if i == 0 || matches!(bytes[i - 1], b' ' | b'\t' | b'\n' | b'\r') => {
                    while i < bytes.len() && bytes[i] != b'\n' {
                        i += 1;
                    }
                    continue;
                }
                b'{' if i > 0 && matches!(bytes[i - 1], b' ' | b'\t' | b'\n' | b'\r') => depth += 1,
                b'}' if i == 0 || matches!(bytes[i - 1], b' ' | b'\t' | b'\n' | b'\r' | b',' | b'{') => {
                    if depth == 0 {
                        break;
                    }
                    depth -= 1;
                    if depth == 0 {
                        i += 1;
                        break;
                    }
                }
                b',' if depth == 0
                    && bytes
                        .get(i + 1)
                        .is_none_or(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'#' | b'}')) =>
                {
                    i += 1;
                    break;
                }
                _ => {}
            }
            i += 1;
        }
        // Always forward, so that reading ends.
        self.c.pos =
            i.max(start + usize::from(bytes.get(start).is_some_and(|b| *b != b'}'))).min(bytes.len());
        while !self.c.text.is_char_boundary(self.c.pos) {
            self.c.pos += 1;
        }
    }
}

fn to_diagnostic(failure: Failure, lines: &LineIndex<'_>) -> Diagnostic {
    let diagnostic = Diagnostic::error(failure.code, FieldPath::root(), failure.message)
        .with_span(lines.span(failure.range));
    match failure.help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text, ParseOptions::default())
            .diagnostics
            .into_iter()
            .map(|d| d.span.map_or(String::new(), |s| format!("{}:{} {}", s.line, s.column, d.code)))
            .collect()
    }

    #[test]
    fn one_pass_finds_several_problems() {
        let text = "profile p {\n  /a q,\n  /b r,\n  capability CHOWN,\n  network foo,\n  /c aw,\n}\nprofile q {\n  /d r\n}\n";
        let wanted = [
            "2:6 bad-permissions",
            "4:14 unknown-capability",
            "5:11 bad-network",
            "6:6 bad-permissions",
            "10:1 syntax",
        ];
        assert_eq!(problems(text), wanted);
        // What could be read is in the tree.
        let policy = parse(text, ParseOptions::default()).policy;
        assert_eq!(policy.profiles().count(), 2);
        assert_eq!(policy.profiles().next().map(|p| p.items.len()), Some(1));
    }

    #[test]
    fn a_message_names_what_was_found_and_expected() {
        let first = |text: &str| parse(text, ParseOptions::default()).diagnostics[0].to_string();
        assert_eq!(
            first("profile p {\n  /a r\n  /b r,\n}\n"),
            "3:3: error[syntax]: found \"/b\", expected a comma at the end of the rule"
        );
        assert_eq!(
            first("profile p {\n  capability SYS_ADMIN,\n}\n"),
            "2:14: error[unknown-capability]: \"SYS_ADMIN\" is no capability (write sys_admin)"
        );
        assert_eq!(
            first("foo {\n}\n"),
            "1:1: error[syntax]: found \"foo\", expected a profile, include, abi, alias or variable"
        );
    }

    #[test]
    fn the_target_release_limits_the_language() {
        let cases = [
            ("userns,", Version::V4_0),
            ("mqueue,", Version::V4_0),
            ("io_uring,", Version::V4_0),
            ("all,", Version::V4_0),
            ("network send,", Version::V4_0),
            ("priority=1 /a r,", Version::V4_1),
            ("prompt /a r,", Version::V4_1),
            ("if true and true {\n}", Version::V5_0),
        ];
        for (body, first) in cases {
            let text = format!("profile p {{\n{body}\n}}\n");
            for version in Version::ALL {
                let parsed = parse(&text, ParseOptions { version, tokens: false });
                assert_eq!(
                    parsed.is_ok(),
                    version >= first,
                    "{body} with {version}: {:?}",
                    parsed.diagnostics
                );
            }
        }
    }

    #[test]
    fn prefixes_have_one_order() {
        for good in
            ["audit deny owner /a r,", "priority=-1000 audit allow other /a r,", "deny link /a -> /b,"]
        {
            assert_eq!(problems(&format!("profile p {{\n{good}\n}}\n")), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "deny audit /a r,",
            "owner deny /a r,",
            "audit priority=1 /a r,",
            "priority=1001 /a r,",
            "owner capability chown,",
            "audit set rlimit nofile <= 1,",
            "priority=1 network,",
            "deny /a ix,",
            "/a x,",
        ] {
            assert_ne!(problems(&format!("profile p {{\n{bad}\n}}\n")), Vec::<String>::new(), "{bad}");
        }
    }
}
