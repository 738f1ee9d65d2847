//! AVC records: what the kernel logs when it denies (or is told to log) an access.
//!
//! ```text
//! line ──parse──► Line ──Joiner──► records, refusals ──classify──► cause ──reduce──► profile, evidence
//! ```
//!
//! Source of the format: `avc_audit_pre_callback` and `avc_audit_post_callback` of the kernel's
//! `security/selinux/avc.c`, the fields of `dump_common_audit_data`, `audit_log_exit` of `kernel/auditsc.c` for the
//! records beside them, `security/selinux/ss/services.c` for refusals, and how auditd, the kernel log and journald frame
//! them.

mod classify;
mod frame;
mod join;
mod parse;
mod reduce;

use std::fmt;

pub use classify::{Cause, classify};
pub use join::{Call, Event, Joiner, MAX_PENDING, PathItem, join};
pub use parse::{AvcError, parse};
pub use reduce::{MAX_EVIDENCE, Note, Reduction, reduce};

use crate::policy::Context;

/// What a line of a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// An access decision.
    Avc(Box<Record>),
    /// The security server refused something, or took it back: `SELINUX_ERR`.
    Refusal(Box<Refusal>),
    /// Another record of an event, which a [`Joiner`] puts to the access decisions of that event.
    Sibling(Box<Sibling>),
    /// A policy was loaded: the kernel forgot what it had logged once already.
    PolicyLoad,
    /// Anything else.
    Other,
}

/// One access decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The machine, where auditd says so.
    pub node: Option<String>,
    /// Whether a program made the decision (`USER_AVC`) and not the kernel.
    pub user: bool,
    /// When, and which event; the form of journald has none.
    pub stamp: Option<Stamp>,
    /// Whether the access was denied; otherwise it was granted and logged on request.
    pub denied: bool,
    /// The permissions by name; none for `null`.
    pub permissions: Vec<String>,
    /// Permission bits the kernel has no name for, as it writes them: `0x…`.
    pub unnamed: Option<u32>,
    /// Who.
    pub source: Label,
    /// On what.
    pub target: Label,
    /// Class of the object.
    pub class: String,
    /// Whether a denial was only logged; older kernels do not say.
    pub permissive: Option<bool>,
    /// All other fields in their order, hexadecimal strings decoded.
    pub fields: Vec<(String, Value)>,
    /// Fields auditd added to explain numbers.
    pub enriched: Vec<(String, String)>,
    /// The system call it happened in, where other records of the same event tell; a [`Joiner`] fills it.
    pub call: Option<Box<Call>>,
    /// Permissions the policy's rules grant but a bound takes back (`typebounds`), where a [`Refusal`] of the same
    /// event says so; a [`Joiner`] fills it.
    pub bounded: Vec<String>,
}

/// What the security server says when it refuses something or takes it back.
///
/// `security_compute_av` with the reason `bounds` takes permissions back that the type's bounding parent lacks;
/// `security_bounded_transition` refuses a change to a type that is not bounded; operations with an invalid context met
/// a context the policy has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The machine, where auditd says so.
    pub node: Option<String>,
    /// When, and which event.
    pub stamp: Option<Stamp>,
    /// What was refused: the field `op`.
    pub operation: String,
    /// Why, where it is told: `bounds`.
    pub reason: Option<String>,
    /// Who, or the context before a change.
    pub source: Option<Context>,
    /// On what, or the context after a change.
    pub target: Option<Context>,
    /// Class of the object.
    pub class: Option<String>,
    /// The permissions that were taken back.
    pub permissions: Vec<String>,
    /// The context that is not valid.
    pub invalid: Option<String>,
    /// All other fields in their order.
    pub fields: Vec<(String, Value)>,
}

impl Refusal {
    /// What is behind it: a bound, or a context that is not in the policy.
    pub fn cause(&self) -> Cause {
        let bounds =
            self.reason.as_deref() == Some("bounds") || self.operation == "security_bounded_transition";
        match bounds {
            true => Cause::Bounds,
            false if self.invalid.is_some() => Cause::InvalidContext,
            false => Cause::Other,
        }
    }
}

/// A record that tells more about an event: its system call, directory, paths, end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// The machine, where auditd says so.
    pub node: Option<String>,
    /// Which event.
    pub stamp: Stamp,
    /// What it tells.
    pub kind: SiblingKind,
    /// Its fields in their order, hexadecimal strings decoded.
    pub fields: Vec<(String, Value)>,
}

impl Sibling {
    /// The text of a field.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|f| f.0 == key).map(|f| f.1.as_str())
    }
}

/// Records beside an access decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SiblingKind {
    /// `AVC_PATH`: the path of the object.
    AvcPath,
    /// `SYSCALL`: number, arguments, result and process of the system call.
    Syscall,
    /// `CWD`: the working directory.
    Directory,
    /// `PATH`: a path the system call looked up.
    Path,
    /// `EOE`: nothing more comes.
    End,
}

/// Which event a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Milliseconds.
    pub milliseconds: u16,
    /// Serial number of the event.
    pub serial: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audit({}.{:03}:{})", self.seconds, self.milliseconds, self.serial)
    }
}

/// The label of a subject or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// A context.
    Context(Context),
    /// A number the kernel had no context for.
    Sid(u32),
}

impl Label {
    /// The context, if there is one.
    pub fn context(&self) -> Option<&Context> {
        match self {
            Self::Context(c) => Some(c),
            Self::Sid(_) => None,
        }
    }

    /// The type, if there is a context.
    pub fn type_(&self) -> Option<&str> {
        self.context().map(|c| &c.type_[..])
    }
}

/// A field's value and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it is.
    Bare(String),
    /// In quotes.
    Quoted(String),
    /// In hexadecimal, because it has spaces, quotes or bytes that are not ASCII. Bytes that are not UTF-8 became
    /// the replacement character.
    Hex(String),
}

impl Value {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bare(t) | Self::Quoted(t) | Self::Hex(t) => t,
        }
    }
}

impl Record {
    /// The text of a field; not for the fields that have a place of their own in the record.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|f| f.0 == key).map(|f| f.1.as_str())
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.field("pid").map_or_else(|| self.call.as_ref()?.pid, |pid| pid.parse().ok())
    }

    /// The command name.
    pub fn comm(&self) -> Option<&str> {
        self.field("comm").or_else(|| self.call.as_ref()?.comm.as_deref())
    }

    /// The program: a decision of the kernel names it only in the record of the system call.
    pub fn exe(&self) -> Option<&str> {
        self.field("exe").or_else(|| self.call.as_ref()?.exe.as_deref())
    }

    /// The path of the object: its own, or the one the system call looked up; at least the last part of it.
    pub fn path(&self) -> Option<&str> {
        let looked_up = || self.call.as_ref()?.object.as_deref();
        self.field("path").or_else(looked_up).or_else(|| self.field("name"))
    }

    /// The port the access is about: bound (`src`) or connected to (`dest`).
    pub fn port(&self) -> Option<u16> {
        self.field("src").or_else(|| self.field("dest"))?.parse().ok()
    }

    /// The ioctl command.
    pub fn ioctl(&self) -> Option<u16> {
        u16::from_str_radix(self.field("ioctlcmd")?.trim_start_matches("0x"), 16).ok()
    }
}

impl fmt::Display for Record {
    /// As the kernel writes it, from `avc:` on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "avc:  {} ", if self.denied { "denied" } else { "granted" })?;
        if self.permissions.is_empty() && self.unnamed.is_none() {
            f.write_str(" null")?;
        } else {
            f.write_str(" {")?;
            for p in &self.permissions {
                write!(f, " {p}")?;
            }
            if let Some(bits) = self.unnamed {
                write!(f, " 0x{bits:x}")?;
            }
            f.write_str(" }")?;
        }
        f.write_str(" for ")?;
        for (key, value) in &self.fields {
            match value {
                Value::Bare(t) => write!(f, " {key}={t}")?,
                Value::Quoted(t) => write!(f, " {key}=\"{t}\"")?,
                Value::Hex(t) => {
                    write!(f, " {key}=")?;
                    t.bytes().try_for_each(|b| write!(f, "{b:02X}"))?;
                }
            }
        }
        for (letter, label) in [('s', &self.source), ('t', &self.target)] {
            match label {
                Label::Context(c) => write!(f, " {letter}context={c}")?,
                Label::Sid(n) => write!(f, " {letter}sid={n}")?,
            }
        }
        write!(f, " tclass={}", self.class)?;
        match self.permissive {
            Some(p) => write!(f, " permissive={}", u8::from(p)),
            None => Ok(()),
        }
    }
}
