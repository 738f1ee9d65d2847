//! Globs: AppArmor's regular expressions over bytes.
//!
//! Source: `apparmor.d(5)`, "Globbing", and the behaviour of the real parser's compiled automata:
//!
//! | pattern | matches |
//! | --- | --- |
//! | `*` | any bytes but `/` and NUL |
//! | `**` | any bytes but NUL |
//! | either one that is a whole component | at least one byte, the first not `/` |
//! | `?` | one byte but `/` and NUL |
//! | `[a-z]` `[^a-z]` | one byte; the negated form also matches `/` |
//! | `{a,b,}` | one of the alternatives |

use std::fmt;

/// A parsed glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aare {
    /// The parts in order.
    pub(crate) nodes: Vec<Node>,
}

/// A part of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// One byte.
    Byte(u8),
    /// `?` and the classes: one byte of a set.
    Set(ByteSet),
    /// `*`; `wide` is `**`.
    Star {
        /// Whether `/` is matched as well.
        wide: bool,
        /// Whether at least one byte, not `/`, comes first.
        component: bool,
    },
    /// `{a,b}`
    Alternatives(Vec<Vec<Node>>),
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ByteSet(pub(crate) [u64; 4]);

impl ByteSet {
    /// Every byte but NUL.
    pub(crate) const ANY: Self = Self([!1, !0, !0, !0]);

    pub(crate) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(crate) fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    pub(crate) const fn contains(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    pub(crate) fn of(byte: u8) -> Self {
        let mut set = Self::default();
        set.insert(byte);
        set
    }

    /// Every byte but NUL and `/`.
    pub(crate) fn not_slash() -> Self {
        let mut set = Self::ANY;
        set.remove(b'/');
        set
    }
}

/// What is wrong with a glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AareError {
    /// A `{` without `}`.
    #[error("\"{{\" at byte {0} is never closed")]
    UnclosedBrace(usize),
    /// A `}` without `{`.
    #[error("\"}}\" at byte {0} closes nothing")]
    StrayBrace(usize),
    /// A `[` without `]`.
    #[error("\"[\" at byte {0} is never closed")]
    UnclosedBracket(usize),
    /// A `]` without `[`.
    #[error("\"]\" at byte {0} closes nothing")]
    StrayBracket(usize),
    /// `{}` or `{a}`.
    #[error("the group at byte {0} has one alternative only")]
    OneAlternative(usize),
    /// `[]`, `[^]` or `[a-]`.
    #[error("the class at byte {0} is empty or its range has no end")]
    BadClass(usize),
    /// More than 49 nested groups.
    #[error("more than 49 nested groups")]
    TooDeep,
    /// A backslash at the end.
    #[error("nothing follows the backslash at the end")]
    TrailingBackslash,
}

/// The nesting of groups that the real parser takes.
const MAX_GROUPS: usize = 49;

impl Aare {
    /// Reads a glob.
    ///
    /// # Errors
    /// Unbalanced groups and classes, a group of one alternative, and a trailing backslash.
    pub fn parse(text: &str) -> Result<Self, AareError> {
        let mut parser = Parser { bytes: text.as_bytes(), pos: 0, keep: true };
        let nodes = parser.sequence(0)?;
        match parser.bytes.get(parser.pos) {
            None => Ok(Self { nodes }),
            Some(_) => Err(AareError::StrayBrace(parser.pos)),
        }
    }

    /// Whether a text is a glob, without building it.
    ///
    /// # Errors
    /// Those of [`Aare::parse`].
    pub fn check(text: &str) -> Result<(), AareError> {
        let mut parser = Parser { bytes: text.as_bytes(), pos: 0, keep: false };
        parser.sequence(0)?;
        if parser.pos < text.len() { Err(AareError::StrayBrace(parser.pos)) } else { Ok(()) }
    }

    /// A glob that matches exactly these bytes.
    pub fn literal(bytes: &[u8]) -> Self {
        Self { nodes: bytes.iter().map(|b| Node::Byte(*b)).collect() }
    }

    /// A glob that matches no text at all.
    pub(crate) fn nothing() -> Self {
        Self { nodes: vec![Node::Set(ByteSet::default())] }
    }

    /// This glob, a NUL byte, and another glob: how the kernel spells a pair of paths.
    pub(crate) fn then_nul(mut self, other: &Self) -> Self {
        self.nodes.push(Node::Byte(0));
        self.nodes.extend(other.nodes.iter().cloned());
        self
    }

    /// The only text that is matched, when there is one.
    pub fn as_literal(&self) -> Option<Vec<u8>> {
        self.nodes.iter().map(|n| if let Node::Byte(b) = n { Some(*b) } else { None }).collect()
    }

    /// Whether there is no `*`, `**`, `?` or negated class: only such rules override the exec mode of globs.
    ///
    /// A positive class is as good as an alternation here, as in AppArmor since 4.1; 3.0 took it for a wildcard.
    pub fn is_exact(&self) -> bool {
        fn exact(nodes: &[Node]) -> bool {
            nodes.iter().all(|node| match node {
                Node::Byte(_) => true,
                Node::Set(set) => !set.contains(0xff),
                Node::Star { .. } => false,
                Node::Alternatives(list) => list.iter().all(|n| exact(n)),
            })
        }
        exact(&self.nodes)
    }

    /// Whether a negated class could match `/`, which few authors expect.
    pub fn has_negated_class_with_slash(&self) -> bool {
        fn find(nodes: &[Node]) -> bool {
            nodes.iter().any(|node| match node {
                Node::Set(set) => set.contains(b'/') && set.contains(0xff),
                Node::Alternatives(list) => list.iter().any(|n| find(n)),
                _ => false,
            })
        }
        find(&self.nodes)
    }

    /// Whether the whole of `text` is matched, by trying every way; for short texts and tests.
    ///
    /// This is the definition that the automaton of [`crate::dfa`] is tested against.
    pub fn matches(&self, text: &[u8]) -> bool {
        ends(&self.nodes, text, 0).contains(&text.len())
    }
}

/// Where a match of the nodes that begins at `start` may end.
fn ends(nodes: &[Node], text: &[u8], start: usize) -> Vec<usize> {
    let mut at = vec![start];
    for node in nodes {
        let mut next = Vec::new();
        for from in at {
            match node {
                Node::Byte(b) => next.extend((text.get(from) == Some(b)).then_some(from + 1)),
                Node::Set(set) => {
                    next.extend(text.get(from).is_some_and(|b| set.contains(*b)).then_some(from + 1));
                }
                Node::Star { wide, component } => {
                    let mut end = from;
                    if *component {
                        match text.get(from) {
                            Some(b) if *b != b'/' && *b != 0 => end += 1,
                            _ => continue,
                        }
                    }
                    next.push(end);
                    while text.get(end).is_some_and(|b| *b != 0 && (*wide || *b != b'/')) {
                        end += 1;
                        next.push(end);
                    }
                }
                Node::Alternatives(list) => {
                    for alternative in list {
                        next.extend(ends(alternative, text, from));
                    }
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        at = next;
    }
    at
}

/// Writes the characters of a glob that mean something else in front of a backslash, so that the result
/// matches exactly `text`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' | '^' | ',' | '\\' | '"' | '!' | '@' => {
                if c == '@' {
                    // A backslash does not stop `@{` from being a variable; the octal form does.
                    out.push_str("\\100");
                    continue;
                }
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\{:03o}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// Two slashes in a row become one, but for exactly two at the start (which POSIX leaves open).
pub fn collapse_slashes(path: &str) -> String {
    let leading = path.len() - path.trim_start_matches('/').len();
    let mut out = String::with_capacity(path.len());
    if leading == 2 {
        out.push('/');
    }
    let mut slash = false;
    for c in path.chars() {
        if c == '/' && slash {
            continue;
        }
        slash = c == '/';
        out.push(c);
    }
    out
}

struct Parser<'a> {
    bytes: &'a [u8],
    pos: usize,
    /// Whether nodes are kept, or only checked.
    keep: bool,
}

impl Parser<'_> {
    /// Nodes up to the end, or inside of a group to its `,` or `}`.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, AareError> {
        let mut nodes = Vec::new();
        while let Some(&b) = self.bytes.get(self.pos) {
            let node = match b {
                b'\\' => Node::Byte(self.escape()?),
                b'*' => self.star(),
                b'?' => {
                    self.pos += 1;
                    Node::Set(ByteSet::not_slash())
                }
                b'[' => Node::Set(self.class()?),
                b']' => return Err(AareError::StrayBracket(self.pos)),
                b'{' => self.group(depth + 1)?,
                b'}' if depth == 0 => return Err(AareError::StrayBrace(self.pos)),
                b'}' => break,
                b',' if depth > 0 => break,
                _ => {
                    self.pos += 1;
                    Node::Byte(b)
                }
            };
            if self.keep {
                nodes.push(node);
            }
        }
        Ok(nodes)
    }

    fn star(&mut self) -> Node {
        let start = self.pos;
        while self.bytes.get(self.pos) == Some(&b'*') {
            self.pos += 1;
        }
        let before = start.checked_sub(1).map(|i| self.bytes[i]);
        let component = before == Some(b'/') && matches!(self.bytes.get(self.pos), None | Some(b'/'));
        Node::Star { wide: self.pos - start > 1, component }
    }

    fn group(&mut self, depth: usize) -> Result<Node, AareError> {
        if depth > MAX_GROUPS {
            return Err(AareError::TooDeep);
        }
        let open = self.pos;
        let mut list = Vec::new();
        loop {
            self.pos += 1;
            list.push(self.sequence(depth)?);
            match self.bytes.get(self.pos) {
                Some(b',') => {}
                Some(_) => break,
                None => return Err(AareError::UnclosedBrace(open)),
            }
        }
        self.pos += 1;
        if list.len() < 2 {
            return Err(AareError::OneAlternative(open));
        }
        Ok(Node::Alternatives(list))
    }

    fn class(&mut self) -> Result<ByteSet, AareError> {
        let open = self.pos;
        self.pos += 1;
        let negated = self.bytes.get(self.pos) == Some(&b'^');
        self.pos += usize::from(negated);
        let mut set = ByteSet::default();
        let mut any = false;
        loop {
            let low = match self.bytes.get(self.pos) {
                None => return Err(AareError::UnclosedBracket(open)),
                Some(b']') if any => break,
                Some(b']') => return Err(AareError::BadClass(open)),
                Some(_) => self.class_byte()?,
            };
            any = true;
            if self.bytes.get(self.pos) == Some(&b'-') {
                self.pos += 1;
                match self.bytes.get(self.pos) {
                    None => return Err(AareError::UnclosedBracket(open)),
                    Some(b']') => return Err(AareError::BadClass(open)),
                    Some(_) => {
                        let high = self.class_byte()?;
                        for b in low..=high {
                            set.insert(b);
                        }
                    }
                }
            } else {
                set.insert(low);
            }
        }
        self.pos += 1;
        if negated {
            set = ByteSet([!set.0[0], !set.0[1], !set.0[2], !set.0[3]]);
        }
        // No path contains NUL.
        set.remove(0);
        Ok(set)
    }

    fn class_byte(&mut self) -> Result<u8, AareError> {
        match self.bytes.get(self.pos) {
            Some(b'\\') => self.escape(),
            Some(&b) => {
                self.pos += 1;
                Ok(b)
            }
            None => Err(AareError::TrailingBackslash),
        }
    }

    /// The byte of an escape: `\ooo`, `\xHH`, `\dNNN`, a letter of C, or the character itself.
    fn escape(&mut self) -> Result<u8, AareError> {
        self.pos += 1;
        let Some(&b) = self.bytes.get(self.pos) else {
            return Err(AareError::TrailingBackslash);
        };
        let number = |start: usize, radix: u32, most: usize| {
            let digits =
                self.bytes[start..].iter().take(most).take_while(|b| (**b as char).is_digit(radix)).count();
            let value = self.bytes[start..start + digits]
                .iter()
                .fold(0_u32, |n, b| n * radix + (*b as char).to_digit(radix).unwrap_or(0));
            (digits, u8::try_from(value).ok().filter(|v| *v != 0))
        };
        let (length, byte) = match b {
            b'0'..=b'7' => match number(self.pos, 8, 3) {
                (digits, Some(value)) => (digits, value),
                _ => (1, b),
            },
            b'x' => match number(self.pos + 1, 16, 2) {
                (digits @ 1.., Some(value)) => (digits + 1, value),
                _ => (1, b),
            },
            b'd' => match number(self.pos + 1, 10, 3) {
                (digits @ 1.., Some(value)) => (digits + 1, value),
                _ => (1, b),
            },
            b'a' => (1, 7),
            b'e' => (1, 27),
            b'f' => (1, 12),
            b'n' => (1, 10),
            b'r' => (1, 13),
            b't' => (1, 9),
            _ => (1, b),
        };
        self.pos += length;
        Ok(byte)
    }
}

impl fmt::Display for Aare {
    /// The glob in a spelling that reads back as the same glob.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nodes(f, &self.nodes)
    }
}

fn write_nodes(f: &mut fmt::Formatter<'_>, nodes: &[Node]) -> fmt::Result {
    for node in nodes {
        match node {
            Node::Byte(b) => write_byte(f, *b)?,
            Node::Set(set) if *set == ByteSet::not_slash() => f.write_str("?")?,
            Node::Set(set) => write_set(f, set)?,
            Node::Star { wide, .. } => f.write_str(if *wide { "**" } else { "*" })?,
            Node::Alternatives(list) => {
                f.write_str("{")?;
                for (i, alternative) in list.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write_nodes(f, alternative)?;
                }
                f.write_str("}")?;
            }
        }
    }
    Ok(())
}

fn write_byte(f: &mut fmt::Formatter<'_>, b: u8) -> fmt::Result {
    match b {
        b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'^' | b',' | b'\\' | b'"' | b'!' => {
            write!(f, "\\{}", b as char)
        }
        0x21..=0x7e if b != b'@' && b != b'#' => write!(f, "{}", b as char),
        _ => write!(f, "\\{b:03o}"),
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, set: &ByteSet) -> fmt::Result {
    let negated = set.contains(0xff);
    f.write_str(if negated { "[^" } else { "[" })?;
    let mut b = 1_u16;
    while b < 256 {
        let inside = |b: u16| u8::try_from(b).is_ok_and(|b| set.contains(b) != negated);
        if !inside(b) {
            b += 1;
            continue;
        }
        let start = b;
        while inside(b + 1) {
            b += 1;
        }
        let byte = |f: &mut fmt::Formatter<'_>, b: u16| match u8::try_from(b).unwrap_or(b'?') {
            b'-' => f.write_str("\\055"),
            b => write_byte(f, b),
        };
        byte(f, start)?;
        if b > start {
            if b > start + 1 {
                f.write_str("-")?;
            }
            byte(f, b)?;
        }
        b += 1;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(glob: &str, yes: &[&str], no: &[&str]) {
        let aare = Aare::parse(glob).unwrap_or_else(|e| panic!("{glob}: {e}"));
        for text in yes {
            assert!(aare.matches(text.as_bytes()), "{glob} should match {text}");
        }
        for text in no {
            assert!(!aare.matches(text.as_bytes()), "{glob} should not match {text}");
        }
    }

    /// The table of the man page, with the answers of the real parser's automata.
    #[test]
    fn globs_match_as_documented() {
        check("/a*b", &["/ab", "/axb"], &["/a/b"]);
        check("/a**b", &["/ab", "/a/b"], &["/a"]);
        check("/tmp/*", &["/tmp/a"], &["/tmp/", "/tmp/a/b"]);
        check("/tmp/**", &["/tmp/a", "/tmp/a/b"], &["/tmp/", "/tmp//a"]);
        check("/tmp/**/", &["/tmp/a/", "/tmp/a/b/"], &["/tmp/", "/tmp//"]);
        check("/**", &["/a"], &["/", "//"]);
        check("/a[^b]", &["/ac", "/a/"], &["/ab"]);
        check("/{a,b,}x", &["/ax", "/bx", "/x"], &["/cx"]);
        check("/a\\*b", &["/a*b"], &["/axb"]);
        check("/a.b", &["/a.b"], &["/axb"]);
        check("/[a-c,]x", &["/ax", "/,x"], &["/dx"]);
        check("/\\141\\x62\\d099", &["/abc"], &[]);
        check("/x{/*,}", &["/x", "/x/", "/x/a"], &["/x/a/b"]);
    }

    #[test]
    fn malformed_globs_are_refused() {
        for bad in ["/{a", "/a}", "/[a", "/a]", "/{a}", "/{}", "/[]a]", "/[a-]", "/a\\"] {
            assert!(Aare::parse(bad).is_err(), "{bad}");
            assert_eq!(Aare::check(bad), Aare::parse(bad).map(drop), "{bad}");
        }
        let deep = format!("{}x{}", "{a,".repeat(50), "}".repeat(50));
        assert_eq!(Aare::parse(&deep), Err(AareError::TooDeep));
    }

    #[test]
    fn escaping_gives_the_text_itself() {
        for text in ["/a*b", "/a{b,c}", "/@{x}", "/a b", "/a\\b", "/[x]", "/a\nb", "/ü!\""] {
            assert_eq!(
                Aare::parse(&escape(text)).unwrap().as_literal().as_deref(),
                Some(text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn slashes_collapse_but_for_two_leading_ones() {
        assert_eq!(collapse_slashes("/a//b///c/"), "/a/b/c/");
        assert_eq!(collapse_slashes("//a//b"), "//a/b");
        assert_eq!(collapse_slashes("///a"), "/a");
    }
}
