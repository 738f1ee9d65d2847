//! File, link and change_profile rules.

use super::{Failure, Parse, Parser, TokenKind, WordRule};
use crate::{
    TextRange,
    tree::{
        ChangeProfileRule, Exec, ExecKind, Fallback, FilePerms, FileRule, LinkRule, RuleKind, Safety, Value,
    },
};

impl Parser<'_> {
    pub(super) fn file_rule(&mut self) -> Parse<RuleKind> {
        let mut rule = FileRule::default();
        if self.c.eat_keyword("file") {
            rule.keyword = true;
            self.c.trivia();
            if self.c.peek() == Some(b',') {
                rule.perms = FilePerms::ALL;
                rule.exec = Some(Exec::INHERIT);
                return Ok(RuleKind::File(rule));
            }
        }
        rule.safety = self.safety();
        if matches!(self.c.peek(), Some(b'/' | b'"' | b'@')) {
            let path = self.path_value("a path")?;
            self.c.trivia();
            if let Err(failure) = self.perms(&mut rule) {
                return Err(self.unquoted_space(&path).unwrap_or(failure));
            }
            rule.path = Some(path);
        } else {
            rule.perms_first = true;
            if self.c.peek_word().is_empty() {
                return Err(self.c.unexpected("a path or permissions"));
            }
            self.perms(&mut rule)?;
            self.c.trivia();
            rule.subset = self.c.eat_keyword("subset") || self.c.eat("<=");
            self.c.trivia();
            rule.path = Some(self.path_value("a path")?);
        }
        self.c.trivia();
        if self.c.eat("->") {
            self.c.trivia();
            rule.target = Some(self.target()?);
        }
        Ok(RuleKind::File(rule))
    }

    /// The failure for a path with a blank: several words stand in front of the permissions.
    fn unquoted_space(&self, path: &Value) -> Option<Box<Failure>> {
        if path.quoted {
            return None;
        }
        let start = path.range.start as usize;
        let rest = self.c.text.get(start..)?;
        let line = &rest[..rest.find([',', '\n', '"', '#']).unwrap_or(rest.len())];
        let (whole, word) = line.trim_end().rsplit_once([' ', '\t'])?;
        read_perms(word).ok()?;
        let whole = whole.trim_end();
        whole.contains([' ', '\t']).then(|| {
            let range = TextRange::new(start, start + whole.len());
            Failure::new("unquoted-space", range, format!("{whole:?} is several words"))
                .with_help(format!("put the path in double quotes: \"{whole}\" {word}"))
        })
    }

    fn safety(&mut self) -> Option<Safety> {
        let safety = match self.c.peek_word() {
            "safe" => Safety::Safe,
            "unsafe" => Safety::Unsafe,
            _ => return None,
        };
        self.c.take(safety.as_str().len(), TokenKind::Keyword);
        self.c.trivia();
        Some(safety)
    }

    /// The name of a profile behind `->`.
    pub(super) fn target(&mut self) -> Parse<Value> {
        self.c.value(WordRule::Id, "the name of a profile")
    }

    /// A permission word; it must be followed by a blank or a comma.
    fn perms(&mut self, rule: &mut FileRule) -> Parse<()> {
        let start = self.c.pos;
        let word = self.c.peek_word();
        let behind = self.c.peek_at(word.len());
        if word.is_empty() || !matches!(behind, None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',')) {
            return Err(self.c.unexpected("permissions such as \"rw\""));
        }
        self.c.take(word.len(), TokenKind::Keyword);
        let range = TextRange::new(start, self.c.pos);
        let (perms, exec) = read_perms(word)
            .map_err(|message| Failure::new("bad-permissions", range, format!("{word:?}: {message}")))?;
        (rule.perms, rule.exec) = (perms, exec);
        // Those of P, C and U scrub the environment, the others say nothing.
        rule.capitals = word.contains(['R', 'W', 'L', 'I', 'M', 'X']);
        Ok(())
    }

    pub(super) fn link_rule(&mut self) -> Parse<RuleKind> {
        self.c.take(4, TokenKind::Keyword);
        self.c.trivia();
        let subset = self.c.eat_keyword("subset") || self.c.eat("<=");
        self.c.trivia();
        let link = self.path_value("the path of the link")?;
        self.c.trivia();
        self.c.want("->")?;
        self.c.trivia();
        let target = self.path_value("the target of the link")?;
        Ok(RuleKind::Link(LinkRule { link, target, subset }))
    }

    pub(super) fn change_profile_rule(&mut self) -> Parse<RuleKind> {
        self.c.take(14, TokenKind::Keyword);
        self.c.trivia();
        let mut rule = ChangeProfileRule { safety: self.safety(), ..ChangeProfileRule::default() };
        if matches!(self.c.peek(), Some(b'/' | b'"' | b'@')) {
            rule.exec = Some(self.path_value("the path of a program")?);
            self.c.trivia();
        } else if rule.safety.is_some() {
            return Err(self.c.unexpected("the path of a program, which safe and unsafe need"));
        }
        if self.c.eat("->") {
            self.c.trivia();
            rule.target = Some(self.target()?);
        }
        Ok(RuleKind::ChangeProfile(rule))
    }
}

/// Reads permission letters and exec modifiers.
///
/// `rwalkm` in any order and number (capitals of R, W, L, M are an old spelling), and exec words
/// `[pPcC]?[iIuU]?x`; different exec words in one rule exclude each other.
pub(super) fn read_perms(word: &str) -> Result<(FilePerms, Option<Exec>), String> {
    let bytes = word.as_bytes();
    let mut perms = FilePerms::NONE;
    let mut exec: Option<Option<Exec>> = None;
    let mut i = 0;
    while i < bytes.len() {
        let plain = match bytes[i] {
            b'r' | b'R' => Some(FilePerms::READ),
            b'w' | b'W' => Some(FilePerms::WRITE),
            b'a' => Some(FilePerms::APPEND),
            b'l' | b'L' => Some(FilePerms::LINK),
            b'k' => Some(FilePerms::LOCK),
            b'm' | b'M' => Some(FilePerms::MMAP),
            _ => None,
        };
        if let Some(perm) = plain {
            perms = perms | perm;
            i += 1;
            continue;
        }
        let (mode, length) = read_exec(&bytes[i..])
            .ok_or_else(|| format!("{:?} is no permission, want letters of rwalkmx", bytes[i] as char))?;
        if exec.is_some_and(|earlier| earlier != mode) {
            return Err("two different ways to execute".to_owned());
        }
        exec = Some(mode);
        perms = perms | FilePerms::EXEC;
        i += length;
    }
    if perms.contains(FilePerms::APPEND) && perms.contains(FilePerms::WRITE) {
        return Err("\"a\" and \"w\" exclude each other".to_owned());
    }
    Ok((perms, exec.flatten()))
}

/// One exec word at the start of `bytes` and its length; the inner `None` is a bare `x`.
fn read_exec(bytes: &[u8]) -> Option<(Option<Exec>, usize)> {
    let lower = |i: usize| bytes.get(i).map(u8::to_ascii_lowercase);
    let first = *bytes.first()?;
    let scrub = first.is_ascii_uppercase();
    let second = lower(1);
    let third = lower(2);
    let exec = |kind, fallback, scrub| Some(Exec { kind, fallback, scrub });
    match first.to_ascii_lowercase() {
        b'x' => Some((None, 1)),
        b'i' if second == Some(b'x') => Some((exec(ExecKind::Inherit, None, false), 2)),
        b'u' if second == Some(b'x') => Some((exec(ExecKind::Unconfined, None, scrub), 2)),
        kind @ (b'p' | b'c') => {
            let kind = if kind == b'p' { ExecKind::Profile } else { ExecKind::Child };
            match (second, third) {
                (Some(b'x'), _) => Some((exec(kind, None, scrub), 2)),
                (Some(b'i'), Some(b'x')) => Some((exec(kind, Some(Fallback::Inherit), scrub), 3)),
                (Some(b'u'), Some(b'x')) => Some((exec(kind, Some(Fallback::Unconfined), scrub), 3)),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_words() {
        let read = |word: &str| {
            read_perms(word).map(|(p, e)| format!("{p} {}", e.map_or(String::new(), |e| e.to_string())))
        };
        assert_eq!(read("rwlk").as_deref(), Ok("rwlk "));
        assert_eq!(read("rPix").as_deref(), Ok("rx Pix"));
        assert_eq!(read("pxpxpx").as_deref(), Ok("x px"));
        assert_eq!(read("PIx").as_deref(), Ok("x Pix"));
        assert_eq!(read("mrix").as_deref(), Ok("mrx ix"));
        assert_eq!(read("rx").as_deref(), Ok("rx "));
        for bad in ["aw", "rp", "rpPx", "rUIx", "riUx", "prx", "rppx", "uxix", "K", "ri", "xpx"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
