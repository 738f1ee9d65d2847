//! [`Policy`] → text.
//!
//! [`print()`] gives canonical text: two blanks of indentation, one rule per line, the user's order.
//! [`apply`] changes single places of a text and leaves the rest, with comments and layout, as it is.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::{
    TextRange,
    spelling::{self, WordRule},
    tree::{
        AssignValue, ClassPerms, Condition, ConditionOp, Expr, FilePerms, FileRule, If, Include,
        IncludeTarget, Item, Owner, Policy, Prefix, Profile, ProfileKind, Rule, RuleKind, Value,
    },
};

/// The canonical text of a policy; reading it gives the same tree.
///
/// ```
/// let parsed = spo_apparmor::parse("profile p{}  {\n/a   r ,\n}\n", Default::default());
/// assert_eq!(spo_apparmor::print(&parsed.policy), "profile p{} {\n  /a r,\n}\n");
/// ```
pub fn print(policy: &Policy) -> String {
    let mut out = String::new();
    let mut printer = Printer { out: &mut out, depth: 0 };
    printer.items(&policy.items);
    out
}

/// A change of one place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; an empty range inserts.
    pub range: TextRange,
    /// What is put there.
    pub text: String,
}

impl Edit {
    /// Takes a rule away, with the line when nothing else stands on it.
    pub fn remove(text: &str, range: TextRange) -> Self {
        let (start, end) = (range.start as usize, range.end as usize);
        let line_start = text.get(..start).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
        let line_end = text.get(end..).and_then(|t| t.find('\n')).map_or(text.len(), |i| end + i + 1);
        let blank = |from: usize, to: usize| text.get(from..to).is_some_and(|t| t.trim().is_empty());
        let range = if blank(line_start, start) && blank(end, line_end) {
            TextRange::new(line_start, line_end)
        } else {
            range
        };
        Self { range, text: String::new() }
    }

    /// Adds a rule as the last one of a profile.
    pub fn append(text: &str, profile: &Profile, rule: &Rule) -> Self {
        let close = (profile.range.end as usize).saturating_sub(1);
        let line_start = text.get(..close).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
        let indent = text.get(line_start..close).filter(|t| t.trim().is_empty());
        match indent {
            Some(indent) => {
                Self { range: TextRange::new(line_start, line_start), text: format!("{indent}  {rule}\n") }
            }
            None => Self { range: TextRange::new(close, close), text: format!("\n  {rule}\n") },
        }
    }
}

/// The text with all changes; of changes that overlap the first one counts.
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|e| (e.range.start, e.range.end));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in sorted {
        let (start, end) = (edit.range.start as usize, edit.range.end as usize);
        if start < at {
            continue;
        }
        out.push_str(text.get(at..start).unwrap_or(""));
        out.push_str(&edit.text);
        at = end.max(start);
    }
    out.push_str(text.get(at..).unwrap_or(""));
    out
}

struct Printer<'a> {
    out: &'a mut String,
    depth: usize,
}

impl Printer<'_> {
    fn line(&mut self, text: impl Display) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        // Writing into a string does not fail.
        let _ = writeln!(self.out, "{text}");
    }

    fn braces(&mut self, head: impl Display, items: &[Item], tail: &str) {
        self.line(format_args!("{head} {{"));
        self.depth += 1;
        self.items(items);
        self.depth -= 1;
        self.line(format_args!("}}{tail}"));
    }

    fn items(&mut self, items: &[Item]) {
        for (i, item) in items.iter().enumerate() {
            let profile = matches!(item, Item::Profile(_));
            if i > 0 && (profile || matches!(items[i - 1], Item::Profile(_))) {
                self.out.push('\n');
            }
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Abi(abi) => self.line(format_args!("abi {},", abi.target)),
            Item::Include(include) => self.line(include),
            Item::Alias(alias) => self.line(format_args!("alias {} -> {},", alias.from, alias.to)),
            Item::Assign(assign) => match &assign.value {
                AssignValue::Set(values) => {
                    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                    self.line(format_args!(
                        "@{{{}}} {} {}",
                        assign.name,
                        assign.op.as_str(),
                        values.join(" ")
                    ));
                }
                AssignValue::Bool(expr) => {
                    self.line(format_args!("${{{}}} {} {expr}", assign.name, assign.op.as_str()));
                }
            },
            Item::Profile(profile) => self.braces(Head(profile), &profile.items, ""),
            Item::Rule(rule) => self.line(rule),
            Item::Block(block) => self.braces(block.prefix.to_string().trim_end(), &block.items, ""),
            Item::If(condition) => self.conditional(condition, ""),
        }
    }

    fn conditional(&mut self, condition: &If, prefix: &str) {
        self.braces(format_args!("{prefix}if {}", condition.condition), &condition.then, "");
        match condition.otherwise.as_deref() {
            None => {}
            Some([Item::If(inner)]) => self.conditional(inner, "else "),
            Some(items) => self.braces("else", items, ""),
        }
    }
}

/// The header of a profile without the brace.
struct Head<'a>(&'a Profile);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let profile = self.0;
        match profile.kind {
            ProfileKind::Profile => f.write_str("profile ")?,
            ProfileKind::Path => {}
            ProfileKind::Hat => f.write_str("hat ")?,
        }
        match &profile.namespace {
            Some(namespace) => {
                // The first two slashes of a name would be taken for those of the form ":ns://name".
                let slashes = if profile.name.text.starts_with("//") { "//" } else { "" };
                let full = format!(":{namespace}:{slashes}{}", profile.name.text);
                spelling::write(f, &full, WordRule::Id, profile.name.quoted)?;
            }
            // A path with a sign of assignment would be read as one.
            None if profile.kind == ProfileKind::Path => {
                let quoted = profile.name.quoted || profile.name.text.contains('=');
                spelling::write(f, &profile.name.text, WordRule::Id, quoted)?;
            }
            None => write!(f, "{}", profile.name)?,
        }
        if let Some(attachment) = &profile.attachment {
            write!(f, " {attachment}")?;
        }
        if let Some(xattrs) = &profile.xattrs {
            write!(f, " xattrs=({})", spaced(xattrs.iter()))?;
        }
        for identities in &profile.identities {
            write!(f, " +identities=({})", spaced(identities.iter().map(in_list)))?;
        }
        if let Some(flags) = &profile.flags {
            let flags: Vec<_> = flags.iter().map(|flag| flag_text(&flag.text)).collect();
            write!(f, " flags=({})", flags.join(","))?;
        }
        Ok(())
    }
}

fn flag_text(text: &str) -> String {
    in_list(&Value { text: text.to_owned(), quoted: false, range: TextRange::default() }).to_string()
}

impl Display for IncludeTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(path) => write!(f, "<{path}>"),
            Self::Local(path) => write!(f, "\"{path}\""),
        }
    }
}

impl Display for Include {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "include {}{}", if self.if_exists { "if exists " } else { "" }, self.target)
    }
}

impl Display for Prefix {
    /// The words with a blank behind each.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(priority) = self.priority {
            write!(f, "priority={priority} ")?;
        }
        if self.audit {
            f.write_str("audit ")?;
        }
        if let Some(access) = self.access {
            write!(f, "{} ", access.as_str())?;
        }
        match self.owner {
            Some(Owner::Owner) => f.write_str("owner "),
            Some(Owner::Other) => f.write_str("other "),
            None => Ok(()),
        }
    }
}

impl Display for Rule {
    /// The rule with its prefix and the comma.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        match &self.kind {
            RuleKind::File(file) => write_file(f, file)?,
            RuleKind::Link(link) => {
                write!(
                    f,
                    "link {}{} -> {}",
                    if link.subset { "subset " } else { "" },
                    link.link,
                    link.target
                )?;
            }
            RuleKind::Capability(names) => {
                f.write_str("capability")?;
                for name in names {
                    write!(f, " {name}")?;
                }
            }
            RuleKind::Network(rule) => {
                f.write_str("network")?;
                write_perms(f, rule.perms)?;
                for word in [rule.family, rule.socket_type, rule.protocol].into_iter().flatten() {
                    write!(f, " {word}")?;
                }
                write_conditions(f, &rule.conditions)?;
                write_peer(f, &rule.peer)?;
            }
            RuleKind::Class(rule) => {
                f.write_str(rule.class.as_str())?;
                // "userns (create)" is no rule.
                if rule.class == crate::tree::Class::Userns {
                    for word in rule.perms.words() {
                        write!(f, " {word}")?;
                    }
                } else {
                    write_perms(f, rule.perms)?;
                }
                write_conditions(f, &rule.conditions)?;
                write_peer(f, &rule.peer)?;
                if let Some(name) = &rule.name {
                    write!(f, " {}", Spelled(name, WordRule::Condition))?;
                }
            }
            RuleKind::Mount(rule) => {
                f.write_str(rule.kind.as_str())?;
                write_conditions(f, &rule.conditions)?;
                if let Some(source) = &rule.source {
                    write!(f, " {}", Spelled(source, WordRule::Condition))?;
                }
                if let Some(target) = &rule.target {
                    let arrow = if rule.kind == crate::tree::MountKind::Mount { " ->" } else { "" };
                    write!(f, "{arrow} {}", Spelled(target, WordRule::Condition))?;
                }
            }
            RuleKind::PivotRoot(rule) => {
                f.write_str("pivot_root")?;
                write_conditions(f, &rule.conditions)?;
                if let Some(new_root) = &rule.new_root {
                    write!(f, " {}", Spelled(new_root, WordRule::Condition))?;
                }
                if let Some(profile) = &rule.profile {
                    write!(f, " -> {profile}")?;
                }
            }
            RuleKind::ChangeProfile(rule) => {
                f.write_str("change_profile")?;
                if let Some(safety) = rule.safety {
                    write!(f, " {}", safety.as_str())?;
                }
                if let Some(exec) = &rule.exec {
                    write!(f, " {exec}")?;
                }
                if let Some(target) = &rule.target {
                    write!(f, " -> {target}")?;
                }
            }
            RuleKind::Rlimit(rule) => write!(f, "set rlimit {} <= {}", rule.resource, rule.text)?,
            RuleKind::All => f.write_str("all")?,
        }
        f.write_str(",")
    }
}

fn write_file(f: &mut Formatter<'_>, rule: &FileRule) -> fmt::Result {
    let Some(path) = &rule.path else { return f.write_str("file") };
    if rule.keyword {
        f.write_str("file ")?;
    }
    if let Some(safety) = rule.safety {
        write!(f, "{} ", safety.as_str())?;
    }
    let perms = FileWord(rule);
    if rule.perms_first {
        write!(f, "{perms} {}{path}", if rule.subset { "subset " } else { "" })?;
    } else {
        write!(f, "{path} {perms}")?;
    }
    match &rule.target {
        Some(target) => write!(f, " -> {target}"),
        None => Ok(()),
    }
}

/// The permission word with the exec modifier.
struct FileWord<'a>(&'a FileRule);

impl Display for FileWord<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.perms.without(FilePerms::EXEC))?;
        if self.0.perms.contains(FilePerms::EXEC) {
            write!(f, "{}x", self.0.exec.map_or("", crate::tree::Exec::letters))?;
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Variable(name) => write!(f, "${{{name}}}"),
            Self::Defined { name, boolean } => {
                write!(f, "defined {}{{{name}}}", if *boolean { '$' } else { '@' })
            }
            Self::Not(inner) => match **inner {
                Self::And(..) | Self::Or(..) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Self::And(a, b) => {
                for (i, side) in [a, b].into_iter().enumerate() {
                    let grouped =
                        matches!(**side, Self::Or(..)) || (i == 1 && matches!(**side, Self::And(..)));
                    write!(f, "{}", if i > 0 { " and " } else { "" })?;
                    if grouped { write!(f, "({side})")? } else { write!(f, "{side}")? }
                }
                Ok(())
            }
            Self::Or(a, b) => match **b {
                Self::Or(..) => write!(f, "{a} or ({b})"),
                _ => write!(f, "{a} or {b}"),
            },
            Self::Compare { left, op, right } => {
                write!(f, "{} {op} {}", Spelled(left, WordRule::Operand), Spelled(right, WordRule::Operand))
            }
        }
    }
}

fn write_perms(f: &mut Formatter<'_>, perms: ClassPerms) -> fmt::Result {
    let words: Vec<_> = perms.words().collect();
    match words.as_slice() {
        [] => Ok(()),
        [word] => write!(f, " {word}"),
        _ => write!(f, " ({})", words.join(", ")),
    }
}

fn write_conditions(f: &mut Formatter<'_>, list: &[Condition]) -> fmt::Result {
    list.iter().try_for_each(|condition| write!(f, " {condition}"))
}

fn write_peer(f: &mut Formatter<'_>, list: &[Condition]) -> fmt::Result {
    if list.is_empty() { Ok(()) } else { write!(f, " peer=({})", spaced(list.iter())) }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Key(&self.key))?;
        f.write_str(match self.op {
            ConditionOp::Equals => "=",
            ConditionOp::In => " in ",
            ConditionOp::Assign => ":=",
            ConditionOp::Present => return Ok(()),
        })?;
        match (self.list, self.values.as_slice()) {
            (false, [value]) => write!(f, "{}", in_list(value)),
            (_, values) => write!(f, "({})", spaced(values.iter().map(in_list))),
        }
    }
}

fn spaced(parts: impl Iterator<Item = impl Display>) -> String {
    parts.map(|p| p.to_string()).collect::<Vec<_>>().join(" ")
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        spelling::write(f, &self.text, WordRule::Id, self.quoted)
    }
}

/// A value where words are delimited by another rule than that of paths.
struct Spelled<'a>(&'a Value, WordRule);

impl Display for Spelled<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Behind "=" and in a list a value is written alike, so that it may move between the two.
        let list = self.1 == WordRule::List;
        let quoted = self.0.quoted || list && !spelling::is_word(&self.0.text, WordRule::Condition);
        spelling::write(f, &self.0.text, self.1, quoted)
    }
}

fn in_list(value: &Value) -> Spelled<'_> {
    Spelled(value, WordRule::List)
}

/// The key of a condition; those of extended attributes are free text.
struct Key<'a>(&'a str);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        spelling::write(f, self.0, WordRule::Condition, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse, tree::Access};

    #[test]
    fn edits_keep_the_rest_of_the_text() {
        let text = "# mine\nprofile p {\n  /a r,   # why\n  /b w,\n}\n";
        let parsed = parse(text, ParseOptions::default());
        let profile = parsed.policy.profiles().next().unwrap();
        let Item::Rule(second) = &profile.items[1] else { panic!("a rule") };
        let Item::Rule(first) = &profile.items[0] else { panic!("a rule") };
        let mut added = (**first).clone();
        added.prefix.access = Some(Access::Deny);
        let edits = [Edit::append(text, profile, &added), Edit::remove(text, second.range)];
        assert_eq!(apply(text, &edits), "# mine\nprofile p {\n  /a r,   # why\n  deny /a r,\n}\n");
    }

    #[test]
    fn generated_values_cannot_leave_their_place() {
        for text in ["/a\", /etc/shadow rw, \"", "/a b", "/a\\", "/a\n/b r,", "/a,", "#x", ""] {
            let value = Value::new(text).to_string();
            let back = parse(&format!("profile p {{\n  {value} r,\n}}\n"), ParseOptions::default());
            let rules = back.policy.profiles().next().map_or(0, |p| p.items.len());
            assert!(rules <= 1, "{value} gave {rules} rules");
        }
    }
}
