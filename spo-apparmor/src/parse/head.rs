//! Headers of profiles and hats, and the prefixes of rules.

use super::{Failure, Parse, Parser, TokenKind, WordRule, words};
use crate::TextRange;
use crate::tree::{
    Access, Condition, ConditionOp, Flag, Item, Mode, Owner, Prefix, Profile, ProfileKind, Value, Version,
};

impl Parser<'_> {
    /// `profile NAME [ATTACHMENT] … {`
    pub(super) fn profile(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        self.c.take(7, TokenKind::Keyword);
        self.c.trivia();
        self.profile_rest(start, ProfileKind::Profile)
    }

    /// `/path … {`, outside of profiles only.
    pub(super) fn profile_of_path(&mut self) -> Parse<Item> {
        let start = self.c.pos;
        self.profile_rest(start, ProfileKind::Path)
    }

    /// `^NAME {` or `hat NAME {`
    pub(super) fn hat(&mut self, start: usize) -> Parse<Item> {
        if self.c.peek() == Some(b'^') {
            self.c.take(1, TokenKind::Sign);
        } else {
            self.c.take(3, TokenKind::Keyword);
        }
        self.c.trivia();
        self.profile_rest(start, ProfileKind::Hat)
    }

    fn profile_rest(&mut self, start: usize, kind: ProfileKind) -> Parse<Item> {
        let full = self.c.value(WordRule::Id, "the name of the profile")?;
        if full.text == "{" {
            return Err(Failure::new("syntax", full.range, "the profile has no name"));
        }
        let (namespace, name) = split_namespace(&full)?;
        if kind == ProfileKind::Path && namespace.is_none() && !name.text.starts_with(['/', '@']) {
            return Err(Failure::new("syntax", full.range, format!("{:?} is no path", name.text))
                .with_help("write \"profile\" in front of a name that is no path"));
        }
        let mut profile = Profile { kind, namespace, name, ..Profile::default() };
        let mut head_end = self.c.pos;
        self.c.trivia();
        if matches!(self.c.peek(), Some(b'/' | b'"' | b'@')) {
            let value = self.c.value(WordRule::Id, "the path that the profile attaches to")?;
            if !value.text.starts_with('/') && !value.text.starts_with("@{") {
                return Err(Failure::new(
                    "bad-attachment",
                    value.range,
                    "an attachment must begin with \"/\" or \"@{\"",
                ));
            }
            profile.attachment = Some(value);
            head_end = self.c.pos;
        }
        self.c.trivia();
        if self.c.peek_word() == "xattrs" {
            self.c.take(6, TokenKind::Keyword);
            self.c.trivia();
            self.c.want("=")?;
            self.c.trivia();
            profile.xattrs = Some(self.xattrs()?);
            head_end = self.c.pos;
            self.c.trivia();
        }
        while self.c.peek() == Some(b'+') {
            profile.identities.push(self.identities()?);
            head_end = self.c.pos;
            self.c.trivia();
        }
        let flags_start = self.c.pos;
        if self.c.peek_word() == "flags" {
            self.c.take(5, TokenKind::Keyword);
            self.c.trivia();
            self.c.want("=")?;
            self.c.trivia();
            profile.flags = Some(self.flags(flags_start)?);
        } else if self.c.peek() == Some(b'(') {
            profile.flags = Some(self.flags(flags_start)?);
        }
        if profile.flags.is_some() {
            head_end = self.c.pos;
        }
        profile.head = TextRange::new(start, head_end);
        self.c.trivia();
        if self.c.peek() != Some(b'{') {
            return Err(self
                .c
                .unexpected("\"{\" or a flag list")
                .with_help("there must be a blank in front of \"{\""));
        }
        profile.items = self.braces()?;
        profile.range = self.range_from(start);
        Ok(Item::Profile(Box::new(profile)))
    }

    fn xattrs(&mut self) -> Parse<Vec<Condition>> {
        self.c.want("(")?;
        let mut list = Vec::new();
        loop {
            self.list_trivia();
            if self.c.eat(")") {
                return Ok(list);
            }
            let start = self.c.pos;
            let key = self.c.value(WordRule::Condition, "the name of an extended attribute")?;
            let mut values = Vec::new();
            self.c.trivia();
            let op = if self.c.eat("=") {
                self.c.trivia();
                values.push(self.c.value(WordRule::List, "the value of the attribute")?);
                ConditionOp::Equals
            } else {
                ConditionOp::Present
            };
            list.push(Condition { key: key.text, op, values, list: false, range: self.range_from(start) });
        }
    }

    fn identities(&mut self) -> Parse<Vec<Value>> {
        let start = self.c.pos;
        self.c.take(1, TokenKind::Sign);
        self.c.trivia();
        if !self.c.eat_keyword("identities") {
            return Err(self.c.unexpected("\"identities\""));
        }
        self.need(Version::V5_0, "an identity list", self.range_from(start));
        self.c.trivia();
        self.c.want("=")?;
        self.c.trivia();
        self.value_list()
    }

    /// `( value value, … )`
    pub(super) fn value_list(&mut self) -> Parse<Vec<Value>> {
        self.c.want("(")?;
        let mut list = Vec::new();
        loop {
            self.list_trivia();
            if self.c.eat(")") {
                return Ok(list);
            }
            list.push(self.c.value(WordRule::List, "a value or \")\"")?);
        }
    }

    /// Blanks, comments and commas between the elements of a list.
    pub(super) fn list_trivia(&mut self) {
        loop {
            self.c.trivia();
            if !self.c.eat(",") {
                return;
            }
        }
    }

    fn flags(&mut self, start: usize) -> Parse<Vec<Flag>> {
        let list = self.value_list()?;
        if list.is_empty() {
            return Err(Failure::new("no-flags", self.range_from(start), "the flag list is empty"));
        }
        let mut flags: Vec<Flag> = Vec::with_capacity(list.len());
        for value in list {
            let flag = self.flag(value)?;
            self.flag_conflicts(&flags, &flag)?;
            flags.push(flag);
        }
        Ok(flags)
    }

    fn flag(&mut self, value: Value) -> Parse<Flag> {
        let Value { text, range, .. } = value;
        let bad = |message: String| Failure::new("unknown-flag", range, message);
        let mode = match text.as_str() {
            "enforce" => Some(Mode::Enforce),
            "complain" => Some(Mode::Complain),
            "kill" => Some(Mode::Kill),
            "unconfined" => Some(Mode::Unconfined),
            "prompt" => Some(Mode::Prompt),
            "default_allow" => Some(Mode::DefaultAllow),
            "audit"
            | "debug"
            | "mediate_deleted"
            | "delegate_deleted"
            | "attach_disconnected"
            | "no_attach_disconnected"
            | "chroot_relative"
            | "namespace_relative"
            | "chroot_attach"
            | "chroot_no_attach"
            | "interruptible"
            | "attach_disconnected.ipc" => None,
            _ => match text.split_once('=') {
                Some(("kill.signal", signal)) => {
                    if !words::is_signal(signal) {
                        return Err(bad(format!("{signal:?} is no signal")));
                    }
                    None
                }
                Some(("error", name)) => {
                    if !words::ERRORS.contains(&name) {
                        return Err(
                            bad(format!("{name:?} is no error name")).with_help("for example error=EACCES")
                        );
                    }
                    None
                }
                Some(("attach_disconnected.path" | "attach_disconnected.ipc", path)) => {
                    if !path.starts_with('/') && !path.starts_with("@{") {
                        return Err(bad(format!("{path:?} must be an absolute path")));
                    }
                    None
                }
                _ => return Err(bad(format!("{text:?} is no profile flag"))),
            },
        };
        let version = match text.as_str() {
            "prompt" | "default_allow" | "interruptible" => Some((Version::V4_0, "this flag")),
            "debug" => Some((Version::V3_1, "the flag debug")),
            t if t.starts_with("kill.signal") || t.starts_with("attach_disconnected.path") => {
                Some((Version::V4_0, "this flag"))
            }
            t if t.starts_with("error=") => Some((Version::V4_1, "the flag error=")),
            t if t.starts_with("attach_disconnected.ipc") => {
                Some((Version::V5_0, "the flag attach_disconnected.ipc"))
            }
            _ => None,
        };
        if let Some((version, what)) = version {
            self.need(version, what, range);
        }
        Ok(Flag { text, mode, range })
    }

    fn flag_conflicts(&self, earlier: &[Flag], flag: &Flag) -> Parse<()> {
        const OPPOSITES: [(&str, &str); 4] = [
            ("mediate_deleted", "delegate_deleted"),
            ("attach_disconnected", "no_attach_disconnected"),
            ("chroot_relative", "namespace_relative"),
            ("chroot_attach", "chroot_no_attach"),
        ];
        for other in earlier {
            let conflict = match (flag.mode, other.mode) {
                (Some(a), Some(b)) => a != b,
                _ => {
                    let (a, b) = (flag_base(&flag.text), flag_base(&other.text));
                    let valued = flag.text.contains('=') && other.text.contains('=');
                    OPPOSITES.iter().any(|(x, y)| (a.0 == *x && b.0 == *y) || (a.0 == *y && b.0 == *x))
                        || (valued && a == b && flag.text != other.text)
                }
            };
            if conflict {
                let message = format!("the flags {} and {} exclude each other", other.text, flag.text);
                return Err(Failure::new("flag-conflict", flag.range, message).with_help("keep one of them"));
            }
        }
        Ok(())
    }

    /// `[priority=N] [audit] [allow|deny|prompt] [owner|other]`, in this order only.
    pub(super) fn prefix(&mut self) -> Parse<Prefix> {
        let mut prefix = Prefix::default();
        if self.c.peek_word() == "priority" {
            prefix.priority = Some(self.priority()?);
            self.c.trivia();
        }
        if self.c.eat_keyword("audit") {
            prefix.audit = true;
            self.c.trivia();
        }
        let start = self.c.pos;
        prefix.access = match self.c.peek_word() {
            "allow" => Some(Access::Allow),
            "deny" => Some(Access::Deny),
            "prompt" => Some(Access::Prompt),
            _ => None,
        };
        if let Some(access) = prefix.access {
            self.c.take(access.as_str().len(), TokenKind::Keyword);
            if access == Access::Prompt {
                self.need(Version::V4_1, "the prefix prompt", self.range_from(start));
            }
            self.c.trivia();
        }
        prefix.owner = match self.c.peek_word() {
            "owner" | "user" => Some(Owner::Owner),
            "other" => Some(Owner::Other),
            _ => None,
        };
        if prefix.owner.is_some() {
            self.c.take(self.c.peek_word().len(), TokenKind::Keyword);
        }
        Ok(prefix)
    }

    fn priority(&mut self) -> Parse<i32> {
        let start = self.c.pos;
        self.c.take(8, TokenKind::Keyword);
        self.c.trivia();
        self.c.want("=")?;
        self.c.trivia();
        let rest = &self.c.text[self.c.pos..];
        let sign = usize::from(rest.starts_with(['-', '+']));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let text = &rest[..sign + digits];
        let number = text.parse::<i32>().ok().filter(|n| (-1000..=1000).contains(n));
        self.c.take(sign + digits, TokenKind::Value);
        self.need(Version::V4_1, "a priority", self.range_from(start));
        number.filter(|_| !matches!(self.c.peek(), Some(b) if b.is_ascii_alphanumeric())).ok_or_else(|| {
            Failure::new("bad-priority", self.range_from(start), "a priority is a number from -1000 to 1000")
        })
    }
}

/// The part of a flag in front of its value, and what it is about.
fn flag_base(text: &str) -> (&str, &str) {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    match name {
        "attach_disconnected.path" => ("attach_disconnected", "path"),
        "attach_disconnected.ipc" => ("attach_disconnected", "ipc"),
        _ => (name, ""),
    }
}

/// Splits `:ns:name` and `:ns://name`.
fn split_namespace(full: &Value) -> Parse<(Option<String>, Value)> {
    let Some(rest) = full.text.strip_prefix(':') else {
        return Ok((None, full.clone()));
    };
    let bad = |message: &str| Failure::new("bad-namespace", full.range, message);
    let (namespace, name) =
        rest.split_once(':').ok_or_else(|| bad("the namespace is not closed with \":\""))?;
    if namespace.is_empty() {
        return Err(bad("the namespace is empty"));
    }
    let name = name.strip_prefix("//").unwrap_or(name);
    if name.is_empty() {
        return Err(bad("there is no name behind the namespace"));
    }
    let value = Value { text: name.to_owned(), quoted: full.quoted, range: full.range };
    Ok((Some(namespace.to_owned()), value))
}
