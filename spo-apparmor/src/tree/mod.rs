//! The typed tree of a policy text.
//!
//! Every node knows its [`TextRange`]; values keep the spelling of the source, so that printing a tree and
//! parsing it again gives the same tree. What a glob matches is the business of [`crate::aare`].
//! Source of the shapes: `apparmor.d(5)`.

mod perms;
mod rule;

pub use perms::{Exec, ExecKind, Fallback, FilePerms, InvalidPerms};
pub use rule::*;

use std::sync::Arc;

use crate::{
    TextRange,
    spelling::{WordRule, is_word},
};

/// A release of AppArmor, as far as the language differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 3.0 (2020): real abi rules, xattrs, the modes kill and unconfined.
    V3_0,
    /// 3.1 (2022): the language of 3.0.
    V3_1,
    /// 4.0 (2024): userns, mqueue, io_uring, all, network conditions.
    V4_0,
    /// 4.1 (2025): priority, prompt, `error=`.
    V4_1,
    /// 5.0 (2026): `?=`, `:=`, expressions, identities, labels in more classes.
    #[default]
    V5_0,
}

impl Version {
    /// Every release, oldest first.
    pub const ALL: [Self; 5] = [Self::V3_0, Self::V3_1, Self::V4_0, Self::V4_1, Self::V5_0];

    /// The release as people write it, for example `4.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0",
            Self::V3_1 => "3.1",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
            Self::V5_0 => "5.0",
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One text: preamble and profiles, or the rules of an included file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What the text says, in order.
    pub items: Vec<Item>,
}

impl Policy {
    /// The profiles that are not inside another one.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.items.iter().filter_map(|item| match item {
            Item::Profile(profile) => Some(&**profile),
            _ => None,
        })
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `abi <abi/4.0>,`
    Abi(Abi),
    /// `include <abstractions/base>`
    Include(Include),
    /// `alias /a/ -> /b/,`
    Alias(Box<Alias>),
    /// `@{X} = a b` or `$X = true`
    Assign(Box<Assign>),
    /// A profile, child profile or hat.
    Profile(Box<Profile>),
    /// A rule.
    Rule(Arc<Rule>),
    /// `audit { … }`, prefixes for several rules.
    Block(Block),
    /// `if … { … } else { … }`
    If(Box<If>),
}

/// A word or string with the spelling of the source, without the quotes.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// The text between the quotes, or the word; escapes are not resolved.
    pub text: String,
    /// Whether it is written in quotes.
    pub quoted: bool,
    /// Where it stands.
    pub range: TextRange,
}

impl Value {
    /// A value made by code; it is quoted when its text needs it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let quoted = !is_word(&text, WordRule::Id);
        Self { text, quoted, range: TextRange::default() }
    }
}

/// Two values are equal when they mean the same, wherever they stand and however they are quoted.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Value {}

/// `abi …,`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abi {
    /// Which file.
    pub target: IncludeTarget,
    /// Where it stands.
    pub range: TextRange,
}

/// `include …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// Which file or directory.
    pub target: IncludeTarget,
    /// Whether a missing file is no error.
    pub if_exists: bool,
    /// Whether it is written `#include`, a deprecated form.
    pub hash: bool,
    /// Where it stands.
    pub range: TextRange,
}

/// The file that an include or abi names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IncludeTarget {
    /// `<path>`, looked up in the policy directories.
    System(String),
    /// `"path"` or a bare word, relative to the working directory or absolute.
    Local(String),
}

impl IncludeTarget {
    /// The path in either form.
    pub fn path(&self) -> &str {
        match self {
            Self::System(path) | Self::Local(path) => path,
        }
    }
}

/// `alias FROM -> TO,`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The prefix that is also known under another name.
    pub from: Value,
    /// That name.
    pub to: Value,
    /// Where it stands.
    pub range: TextRange,
}

/// The assignment of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The name without `@{}` or `${}`.
    pub name: String,
    /// How it is assigned.
    pub op: AssignOp,
    /// What is assigned.
    pub value: AssignValue,
    /// Where it stands.
    pub range: TextRange,
}

/// How a variable is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignOp {
    /// `=`: first assignment.
    Set,
    /// `+=`: adds values.
    Add,
    /// `?=`: unless it is set.
    SetIfUnset,
    /// `:=`: whatever it was.
    Override,
}

impl AssignOp {
    /// The sign of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "=",
            Self::Add => "+=",
            Self::SetIfUnset => "?=",
            Self::Override => ":=",
        }
    }
}

/// The right side of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignValue {
    /// The values of a set variable.
    Set(Vec<Value>),
    /// The value of a boolean variable.
    Bool(Expr),
}

/// A profile, child profile or hat with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Whether it is a profile or a hat.
    pub kind: ProfileKind,
    /// The policy namespace of a `:ns:name` form.
    pub namespace: Option<String>,
    /// The name, or the path where the path is the name.
    pub name: Value,
    /// The programs it attaches to, when that is not the name.
    pub attachment: Option<Value>,
    /// Extended attributes that a program must have for the attachment.
    pub xattrs: Option<Vec<Condition>>,
    /// Identities, from 5.0.
    pub identities: Vec<Vec<Value>>,
    /// Flags, `None` where there is no list.
    pub flags: Option<Vec<Flag>>,
    /// The body.
    pub items: Vec<Item>,
    /// From the first word of the header to the closing brace.
    pub range: TextRange,
    /// The header without the brace.
    pub head: TextRange,
}

impl Profile {
    /// What it attaches to: the attachment, or the name when that is a path.
    pub fn attaches_to(&self) -> Option<&Value> {
        if self.kind == ProfileKind::Hat {
            return None;
        }
        self.attachment.as_ref().or_else(|| {
            (self.name.text.starts_with('/') || self.name.text.starts_with("@{")).then_some(&self.name)
        })
    }

    /// The mode flag, `None` where the list has none.
    pub fn mode(&self) -> Option<Mode> {
        self.flags.iter().flatten().find_map(|flag| flag.mode)
    }
}

/// How a profile is introduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileKind {
    /// `profile NAME {`
    #[default]
    Profile,
    /// `/path {`
    Path,
    /// `^NAME {` or `hat NAME {`
    Hat,
}

/// One flag of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag as written, for example `attach_disconnected` or `kill.signal=hup`.
    pub text: String,
    /// The mode, where the flag is one.
    pub mode: Option<Mode>,
    /// Where it stands.
    pub range: TextRange,
}

/// What the kernel does with what no rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Denies it.
    Enforce,
    /// Allows and logs it.
    Complain,
    /// Kills the task.
    Kill,
    /// Nothing is confined.
    Unconfined,
    /// Asks a helper in user space.
    Prompt,
    /// Allows it.
    DefaultAllow,
}

impl Mode {
    /// The flag of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Complain => "complain",
            Self::Kill => "kill",
            Self::Unconfined => "unconfined",
            Self::Prompt => "prompt",
            Self::DefaultAllow => "default_allow",
        }
    }
}

/// `PREFIX { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The prefix that each rule inside gets.
    pub prefix: Prefix,
    /// The rules.
    pub items: Vec<Item>,
    /// Where it stands.
    pub range: TextRange,
}

/// `if CONDITION { … } else …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct If {
    /// What is tested.
    pub condition: Expr,
    /// What holds when it is true.
    pub then: Vec<Item>,
    /// What holds otherwise; an `else if` is one [`Item::If`].
    pub otherwise: Option<Vec<Item>>,
    /// Where it stands.
    pub range: TextRange,
}

/// A boolean expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// `true` or `false`
    Bool(bool),
    /// `$X`
    Variable(String),
    /// `defined @{X}` or `defined $X`
    Defined {
        /// The name without sigil and braces.
        name: String,
        /// Whether it is a boolean variable.
        boolean: bool,
    },
    /// `not E`
    Not(Box<Expr>),
    /// `A and B`
    And(Box<Expr>, Box<Expr>),
    /// `A or B`
    Or(Box<Expr>, Box<Expr>),
    /// `A == B` and the other comparisons
    Compare {
        /// The left side.
        left: Value,
        /// The sign: `==`, `!=`, `in`, `<`, `<=`, `>` or `>=`.
        op: &'static str,
        /// The right side.
        right: Value,
    },
}
