//! Capability, network, rlimit and the classes of permissions and conditions, and what each class takes.

use super::{Failure, Parse, Parser, TokenKind, WordRule, words};
use crate::{
    TextRange,
    tree::{
        Access, Class, ClassPerms, ClassRule, Condition, ConditionOp, FilePerms, FileRule, NetworkRule, Rule,
        RuleKind, Version,
    },
};

impl Parser<'_> {
    pub(super) fn capability_rule(&mut self) -> Parse<RuleKind> {
        self.c.take(10, TokenKind::Keyword);
        let mut names = Vec::new();
        loop {
            self.c.trivia();
            if matches!(self.c.peek(), None | Some(b',')) {
                return Ok(RuleKind::Capability(names));
            }
            let value = self.c.value(WordRule::Id, "a capability")?;
            if words::capability_word(&value.text).is_none() {
                let failure = Failure::new(
                    "unknown-capability",
                    value.range,
                    format!("{:?} is no capability", value.text),
                );
                let lower = value.text.to_ascii_lowercase();
                let lower = lower.strip_prefix("cap_").unwrap_or(&lower);
                return Err(match words::capability_word(lower) {
                    Some(capability) => failure.with_help(format!("write {capability}")),
                    None => failure
                        .with_help("capabilities(7) lists them, here without CAP_ and in small letters"),
                });
            }
            names.push(value);
        }
    }

    pub(super) fn network_rule(&mut self) -> Parse<RuleKind> {
        let start = self.c.pos;
        self.c.take(7, TokenKind::Keyword);
        let mut rule = NetworkRule { perms: self.class_perms(ClassPerms::SOCKET)?, ..NetworkRule::default() };
        loop {
            self.c.trivia();
            let word = self.c.peek_word();
            if word.is_empty() || self.at_condition(word.len()) {
                break;
            }
            let range = TextRange::new(self.c.pos, self.c.pos + word.len());
            self.place_network_word(&mut rule, word, range)?;
            self.c.take(word.len(), TokenKind::Keyword);
        }
        self.conditions(&mut rule.conditions, Some(&mut rule.peer))?;
        if !rule.perms.is_empty() || !rule.conditions.is_empty() || !rule.peer.is_empty() {
            self.need(Version::V4_0, "network permissions and conditions", self.range_from(start));
        }
        self.check_network(&rule, self.range_from(start))?;
        Ok(RuleKind::Network(rule))
    }

    fn place_network_word(&self, rule: &mut NetworkRule, word: &str, range: TextRange) -> Parse<()> {
        let find = |list: &'static [&'static str]| list.iter().copied().find(|w| *w == word);
        let bad = |message: String| Err(Failure::new("bad-network", range, message));
        let empty = rule.family.is_none() && rule.socket_type.is_none() && rule.protocol.is_none();
        if empty && let Some(family) = find(words::NETWORK_FAMILIES) {
            rule.family = Some(family);
        } else if let Some(kind) = find(words::SOCKET_TYPES) {
            if rule.socket_type.is_some() || rule.protocol.is_some() {
                return bad(format!("{word:?} is one word too many"));
            }
            rule.socket_type = Some(kind);
        } else if let Some(protocol) = find(words::PROTOCOLS) {
            if rule.socket_type.is_some() || rule.protocol.is_some() {
                return bad(format!("{word:?} is one word too many"));
            }
            match (rule.family, protocol) {
                (None | Some("inet"), _) | (Some("inet6"), "tcp" | "udp") => rule.protocol = Some(protocol),
                (Some(family), _) => return bad(format!("there is no {protocol} in {family}")),
            }
        } else {
            return bad(format!("{word:?} is no socket family, type or protocol"));
        }
        Ok(())
    }

    fn check_network(&mut self, rule: &NetworkRule, range: TextRange) -> Parse<()> {
        let conditional = |c: &&Condition| c.key != "label";
        for (list, peer) in [(&rule.conditions, false), (&rule.peer, true)] {
            for condition in list {
                self.check_network_condition(condition, peer)?;
            }
            unique_keys(list)?;
        }
        let any = rule.conditions.iter().chain(&rule.peer).any(|c| conditional(&c) && c.key != "interface");
        if any && let Some(family) = rule.family.filter(|f| !matches!(*f, "inet" | "inet6")) {
            return Err(Failure::new(
                "bad-network",
                range,
                format!("addresses and ports do not go with {family}"),
            ));
        }
        const LOCAL: u32 = ClassPerms::CREATE
            | ClassPerms::BIND
            | ClassPerms::LISTEN
            | ClassPerms::SHUTDOWN
            | ClassPerms::GETATTR
            | ClassPerms::SETATTR
            | ClassPerms::GETOPT
            | ClassPerms::SETOPT;
        if !rule.peer.is_empty() && rule.perms.intersects(LOCAL) {
            return Err(Failure::new("bad-network", range, "these permissions have no peer")
                .with_help("only connect, accept, send and receive have one"));
        }
        Ok(())
    }

    fn check_network_condition(&mut self, condition: &Condition, peer: bool) -> Parse<()> {
        let bad = |message: String| Err(Failure::new("bad-condition", condition.range, message));
        match condition.key.as_str() {
            "ip" => {
                let [value] = &condition.values[..] else {
                    return bad("ip takes one address".to_owned());
                };
                if value.text != "none" && value.text.parse::<std::net::IpAddr>().is_err() {
                    if value.text.contains('/') {
                        let message = format!("{:?} is a range of addresses", value.text);
                        return Err(Failure::new("cidr-not-supported", value.range, message)
                            .with_help("a rule takes a single address, or none for all"));
                    }
                    return bad(format!("{:?} is no address", value.text));
                }
            }
            "port" => {
                if condition.values.is_empty() || !condition.values.iter().all(|v| is_port_range(&v.text)) {
                    return bad("a port is a number from 0 to 65535 or a range a-b".to_owned());
                }
            }
            "interface" if !peer => self.need(Version::V5_0, "interface=", condition.range),
            "label" => self.need(Version::V5_0, "label= in a network rule", condition.range),
            key => {
                return bad(format!(
                    "network rules have no condition {key:?}{}",
                    if peer { " on the peer" } else { "" }
                ));
            }
        }
        if condition.op != ConditionOp::Equals {
            return bad(format!("{} is set with \"=\"", condition.key));
        }
        Ok(())
    }

    pub(super) fn class_rule(&mut self, word: &str) -> Parse<RuleKind> {
        let start = self.c.pos;
        let class = match word {
            "unix" => Class::Unix,
            "dbus" => Class::Dbus,
            "signal" => Class::Signal,
            "ptrace" => Class::Ptrace,
            "mqueue" => Class::Mqueue,
            "io_uring" => Class::IoUring,
            _ => Class::Userns,
        };
        self.c.take(word.len(), TokenKind::Keyword);
        let mut rule = ClassRule {
            class,
            perms: self.class_perms(class.permissions())?,
            name: None,
            conditions: Vec::new(),
            peer: Vec::new(),
        };
        if matches!(class, Class::Mqueue | Class::IoUring | Class::Userns) {
            self.need(Version::V4_0, "this rule class", TextRange::new(start, start + word.len()));
        }
        if class != Class::Userns {
            let nested = !matches!(class, Class::Signal | Class::Ptrace | Class::Mqueue);
            self.conditions(&mut rule.conditions, if nested { Some(&mut rule.peer) } else { None })?;
            if class == Class::Mqueue && !matches!(self.c.peek(), None | Some(b',')) {
                rule.name = Some(self.c.value(WordRule::Condition, "the name of a queue or a comma")?);
            }
        }
        self.check_class(&rule, self.range_from(start))?;
        Ok(RuleKind::Class(rule))
    }

    /// One permission word or a list in parentheses.
    fn class_perms(&mut self, allowed: ClassPerms) -> Parse<ClassPerms> {
        self.c.trivia();
        let mut perms = ClassPerms::default();
        if self.c.peek() == Some(b'(') {
            let start = self.c.pos;
            if allowed == Class::Userns.permissions() {
                return Err(self.c.unexpected("\"create\" or a comma"));
            }
            for value in self.value_list()? {
                perms.0 |= perm_bits(&value.text, allowed)
                    .ok_or_else(|| no_perm(&value.text, value.range, allowed))?;
            }
            if perms.is_empty() {
                return Err(Failure::new("syntax", self.range_from(start), "the permission list is empty"));
            }
            return Ok(perms);
        }
        let word = self.c.peek_word();
        if word.is_empty() || self.at_condition(word.len()) {
            return Ok(perms);
        }
        if let Some(bits) = perm_bits(word, allowed) {
            perms.0 = bits;
            self.c.take(word.len(), TokenKind::Keyword);
        }
        Ok(perms)
    }

    /// Whether behind the word that stands here there is `=`, `:=` or `in (`.
    fn at_condition(&self, length: usize) -> bool {
        let rest = self.c.text[self.c.pos + length..].trim_start_matches([' ', '\t', '\r', '\n']);
        rest.starts_with('=')
            || rest.starts_with(":=")
            || rest
                .strip_prefix("in")
                .is_some_and(|r| r.starts_with([' ', '\t', '\n', '(']) && r.trim_start().starts_with('('))
    }

    /// `KEY=VALUE …`, and `peer=( … )` into its own list.
    pub(super) fn conditions(
        &mut self,
        list: &mut Vec<Condition>,
        mut peer: Option<&mut Vec<Condition>>,
    ) -> Parse<()> {
        loop {
            self.c.trivia();
            let word = self.c.peek_word();
            if word.is_empty() || !self.at_condition(word.len()) {
                return Ok(());
            }
            let start = self.c.pos;
            if word == "peer"
                && let Some(peer) = peer.as_deref_mut()
            {
                self.c.take(4, TokenKind::Keyword);
                self.c.trivia();
                self.c.want("=")?;
                self.c.trivia();
                if !peer.is_empty() {
                    return Err(Failure::new("bad-condition", self.range_from(start), "a second peer"));
                }
                self.peer_list(peer)?;
                continue;
            }
            list.push(self.condition(word.to_owned(), false)?);
        }
    }

    fn peer_list(&mut self, peer: &mut Vec<Condition>) -> Parse<()> {
        self.c.want("(")?;
        loop {
            self.list_trivia();
            if self.c.eat(")") {
                return if peer.is_empty() {
                    Err(self.c.unexpected("conditions of the peer"))
                } else {
                    Ok(())
                };
            }
            let word = self.c.peek_word();
            if word.is_empty() || !self.at_condition(word.len()) {
                return Err(self.c.unexpected("a condition of the peer or \")\""));
            }
            peer.push(self.condition(word.to_owned(), true)?);
        }
    }

    fn condition(&mut self, key: String, in_list: bool) -> Parse<Condition> {
        let start = self.c.pos;
        self.c.take(key.len(), TokenKind::Keyword);
        self.c.trivia();
        let op = if self.c.eat("=") {
            ConditionOp::Equals
        } else if self.c.eat(":=") {
            ConditionOp::Assign
        } else {
            self.c.take(2, TokenKind::Keyword);
            ConditionOp::In
        };
        self.c.trivia();
        let list = self.c.peek() == Some(b'(');
        let values = if list {
            self.value_list()?
        } else {
            let rule = if in_list { WordRule::List } else { WordRule::Condition };
            vec![self.c.value(rule, "a value")?]
        };
        Ok(Condition { key, op, values, list, range: self.range_from(start) })
    }

    fn check_class(&mut self, rule: &ClassRule, range: TextRange) -> Parse<()> {
        let keys: &[&str] = match rule.class {
            Class::Unix => &["type", "addr", "protocol"],
            Class::Dbus => &["bus", "path", "name", "interface", "member", "label"],
            Class::Signal => &["set", "peer"],
            Class::Ptrace => &["peer"],
            Class::Mqueue => &["type", "label"],
            Class::IoUring => &["label"],
            Class::Userns => &[],
        };
        let peer_keys: &[&str] = match rule.class {
            Class::Unix => &["addr", "label"],
            Class::Dbus => &["name", "label"],
            Class::IoUring => &["label"],
            _ => &[],
        };
        for (list, keys, place) in [(&rule.conditions, keys, ""), (&rule.peer, peer_keys, " on the peer")] {
            for condition in list {
                if !keys.contains(&condition.key.as_str()) {
                    let class = rule.class.as_str();
                    let message = format!("{class} rules have no condition {:?}{place}", condition.key);
                    return Err(Failure::new("bad-condition", condition.range, message));
                }
                if condition.values.is_empty()
                    || (condition.op != ConditionOp::Equals && condition.key != "set")
                {
                    let message = format!("{} is set with \"=\" and a value", condition.key);
                    return Err(Failure::new("bad-condition", condition.range, message));
                }
            }
            unique_keys(list)?;
        }
        match rule.class {
            Class::Unix => check_unix(rule, range),
            Class::Dbus => check_dbus(rule, range),
            Class::Signal => check_signal(rule),
            Class::Mqueue => check_mqueue(rule, range),
            _ => Ok(()),
        }
    }

    /// What holds for a rule together with its prefix.
    pub(super) fn check_rule(&self, rule: &Rule) -> Parse<()> {
        let bad = |message: &str| Err(Failure::new("bad-prefix", rule.range, message));
        let prefix = rule.prefix;
        let files = matches!(rule.kind, RuleKind::File(_) | RuleKind::Link(_));
        if prefix.owner.is_some() && !files {
            return bad("owner and other are for files only");
        }
        match &rule.kind {
            RuleKind::Rlimit(_) if !prefix.is_empty() => bad("rlimits take no prefix"),
            RuleKind::Network(_) | RuleKind::All if prefix.priority.is_some() => {
                bad("this rule takes no priority")
            }
            RuleKind::File(file) => check_file(rule, file),
            _ => Ok(()),
        }
    }
}

fn check_file(rule: &Rule, file: &FileRule) -> Parse<()> {
    let bad = |message: &str, help: &str| {
        let failure = Failure::new("bad-exec", rule.range, message);
        Err(if help.is_empty() { failure } else { failure.with_help(help) })
    };
    let deny = rule.prefix.access == Some(Access::Deny);
    let exec = file.perms.contains(FilePerms::EXEC);
    if deny && file.path.is_none() {
        return bad(
            "the bare \"file\" means \"ix\" for programs, which a deny rule cannot take",
            "write \"deny /{**,} rwlkmx,\"",
        );
    }
    if exec && file.path.is_some() {
        if deny && file.exec.is_some() {
            return bad(
                "a deny rule takes a bare \"x\" only",
                "nothing is executed, so no profile is chosen",
            );
        }
        if !deny && file.exec.is_none() {
            return bad(
                "\"x\" needs a word in front: ix, px, cx, ux",
                "write ix to run under this same profile",
            );
        }
    }
    if file.safety.is_some() && !exec {
        return bad("safe and unsafe need an exec permission", "");
    }
    if file.subset && file.perms.without(FilePerms::LINK) != FilePerms::NONE {
        return bad("subset is for link rules only", "");
    }
    let leading_link = file.perms_first && file.perms.contains(FilePerms::LINK);
    if file.target.is_some() && leading_link && exec {
        return bad(
            "\"->\" names the target of the link or the profile after exec, not both",
            "write two rules",
        );
    }
    Ok(())
}

fn check_unix(rule: &ClassRule, range: TextRange) -> Parse<()> {
    for condition in rule.conditions.iter().chain(&rule.peer) {
        let bad = |message: String| Err(Failure::new("bad-condition", condition.range, message));
        match (condition.key.as_str(), &condition.values[..]) {
            ("protocol", _) => return bad("the condition protocol is not supported".to_owned()),
            ("type", [value]) => {
                if !words::SOCKET_TYPES.contains(&value.text.as_str()) && !value.text.contains("@{") {
                    return bad(format!("{:?} is no socket type", value.text));
                }
            }
            ("addr", [value]) => {
                if !value.text.starts_with('@') && value.text != "none" && value.text != "auto" {
                    return bad(format!("{:?} is no abstract address", value.text));
                }
            }
            (_, [_]) => {}
            (key, _) => return bad(format!("{key} takes one value")),
        }
    }
    const LOCAL: u32 = ClassPerms::CREATE
        | ClassPerms::SHUTDOWN
        | ClassPerms::SETATTR
        | ClassPerms::GETATTR
        | ClassPerms::BIND
        | ClassPerms::LISTEN
        | ClassPerms::SETOPT
        | ClassPerms::GETOPT;
    if !rule.peer.is_empty() && rule.perms.intersects(LOCAL) {
        return Err(Failure::new("bad-condition", range, "these permissions have no peer")
            .with_help("only connect, accept, send and receive have one"));
    }
    Ok(())
}

fn check_dbus(rule: &ClassRule, range: TextRange) -> Parse<()> {
    let has = |key: &str| rule.conditions.iter().any(|c| c.key == key);
    let bad = |message: &str| Err(Failure::new("bad-condition", range, message));
    let bind = rule.perms.intersects(ClassPerms::BIND);
    let messages = rule.perms.intersects(ClassPerms::SEND | ClassPerms::RECEIVE);
    let subject = has("path") || has("interface") || has("member");
    if bind && (subject || !rule.peer.is_empty()) {
        return bad("bind goes with bus and name only");
    }
    if rule.perms.intersects(ClassPerms::EAVESDROP) && (subject || has("name") || !rule.peer.is_empty()) {
        return bad("eavesdrop goes with bus only");
    }
    if has("name") && (messages || (rule.perms.is_empty() && (subject || !rule.peer.is_empty()))) {
        return bad("name is for bind; the name of the other side is peer=(name=…)");
    }
    Ok(())
}

fn check_signal(rule: &ClassRule) -> Parse<()> {
    for value in rule.conditions.iter().filter(|c| c.key == "set").flat_map(|c| &c.values) {
        if !words::is_signal(&value.text) && !value.text.contains("@{") {
            return Err(Failure::new("bad-signal", value.range, format!("{:?} is no signal", value.text)));
        }
    }
    Ok(())
}

fn check_mqueue(rule: &ClassRule, range: TextRange) -> Parse<()> {
    let bad = |message: String| Err(Failure::new("bad-mqueue", range, message));
    let kind = rule.conditions.iter().find(|c| c.key == "type").map(|c| c.values[0].text.as_str());
    if let Some(other) = kind.filter(|k| !matches!(*k, "posix" | "sysv")) {
        return bad(format!("{other:?} is no kind of queue, want posix or sysv"));
    }
    let Some(name) = &rule.name else { return Ok(()) };
    let path = name.text.starts_with('/');
    let number = name.text.bytes().all(|b| b.is_ascii_digit());
    if name.text.contains("@{") {
        return Ok(());
    }
    match kind {
        _ if !path && !number => {
            bad(format!("{:?} is no queue: a name begins with \"/\", a key is a number", name.text))
        }
        Some("posix") if !path => bad("the name of a posix queue begins with \"/\"".to_owned()),
        Some("sysv") if !number => bad("the key of a sysv queue is a number".to_owned()),
        _ => Ok(()),
    }
}

fn unique_keys(list: &[Condition]) -> Parse<()> {
    for (i, condition) in list.iter().enumerate() {
        // The signals of several sets add up.
        if condition.key != "set" && list[..i].iter().any(|c| c.key == condition.key) {
            let message = format!("the condition {:?} is given twice", condition.key);
            return Err(Failure::new("bad-condition", condition.range, message));
        }
    }
    Ok(())
}

fn no_perm(word: &str, range: TextRange, allowed: ClassPerms) -> Box<Failure> {
    let words: Vec<_> = allowed.words().collect();
    Failure::new("unknown-permission", range, format!("{word:?} is no permission of this class"))
        .with_help(format!("want one of: {}", words.join(", ")))
}

/// The bits of a word: `r` and `w` are receive and send where the class has these, else read and write.
fn perm_bits(word: &str, allowed: ClassPerms) -> Option<u32> {
    let messages = allowed.intersects(ClassPerms::SEND);
    let (read, write) = match allowed {
        a if a == Class::Ptrace.permissions() => (ClassPerms::READ, ClassPerms::TRACE),
        _ if messages => (ClassPerms::RECEIVE, ClassPerms::SEND),
        _ => (ClassPerms::READ, ClassPerms::WRITE),
    };
    let bits = match word {
        "r" | "read" => read,
        "w" | "write" => write,
        "rw" | "wr" => read | write,
        _ => ClassPerms::WORDS.iter().find(|(_, w)| *w == word)?.0,
    };
    (bits & !allowed.0 == 0).then_some(bits)
}

fn is_port_range(text: &str) -> bool {
    let port = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u16>().ok()).flatten();
    match text.split_once('-') {
        Some((low, high)) => matches!((port(low), port(high)), (Some(low), Some(high)) if low <= high),
        None => port(text).is_some(),
    }
}
