//! The rule classes.

use super::{Exec, FilePerms, Value};
use crate::TextRange;

/// One rule with its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The words before it.
    pub prefix: Prefix,
    /// What it is about.
    pub kind: RuleKind,
    /// From the first word of the prefix to the comma.
    pub range: TextRange,
}

impl Rule {
    /// A rule made by code, without a prefix.
    pub fn new(kind: RuleKind) -> Self {
        Self { prefix: Prefix::default(), kind, range: TextRange::default() }
    }

    /// Whether it takes something away.
    pub fn is_deny(&self) -> bool {
        self.prefix.access == Some(Access::Deny)
    }
}

/// The words that may stand before a rule, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// `priority=N`, from −1000 to 1000.
    pub priority: Option<i32>,
    /// `audit`
    pub audit: bool,
    /// `allow`, `deny` or `prompt`
    pub access: Option<Access>,
    /// `owner` or `other`
    pub owner: Option<Owner>,
}

impl Prefix {
    /// Whether no word stands there.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a rule does with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Allows it, the default.
    Allow,
    /// Denies it without logging.
    Deny,
    /// Asks a helper.
    Prompt,
}

impl Access {
    /// The word of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Prompt => "prompt",
        }
    }
}

/// Whose files a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Those of the task's user.
    Owner,
    /// Those of others.
    Other,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Files by path.
    File(FileRule),
    /// Hard links.
    Link(LinkRule),
    /// Capabilities; empty means all.
    Capability(Vec<Value>),
    /// Sockets of every family.
    Network(NetworkRule),
    /// A class that is permissions and conditions only.
    Class(ClassRule),
    /// `mount`, `remount`, `umount`
    Mount(MountRule),
    /// `pivot_root`
    PivotRoot(PivotRootRule),
    /// `change_profile`
    ChangeProfile(ChangeProfileRule),
    /// `set rlimit`
    Rlimit(RlimitRule),
    /// `all`: one rule of every class.
    All,
}

/// A rule about files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRule {
    /// The glob, `None` for the bare `file,` that is about everything.
    pub path: Option<Value>,
    /// The permissions, [`FilePerms::EXEC`] included where there is an `x`.
    pub perms: FilePerms,
    /// How a program is executed; `None` without `x` and for the bare `x` of deny rules.
    pub exec: Option<Exec>,
    /// The profile after exec, or the target of a link.
    pub target: Option<Value>,
    /// `safe` or `unsafe`
    pub safety: Option<Safety>,
    /// Whether the permissions stand before the path.
    pub perms_first: bool,
    /// Whether `subset` or `<=` stands there.
    pub subset: bool,
    /// Whether it begins with `file`.
    pub keyword: bool,
    /// Whether permission letters are capitals that mean the same as small ones, an old spelling.
    pub capitals: bool,
}

/// Whether the environment of a program is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// It is.
    Safe,
    /// It is not.
    Unsafe,
}

impl Safety {
    /// The word of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
        }
    }
}

/// `link [subset] NAME -> TARGET,`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRule {
    /// The path of the new link.
    pub link: Value,
    /// What it links to.
    pub target: Value,
    /// Whether the permissions on the link must be a subset of those on the target.
    pub subset: bool,
}

/// A rule of a class that is only permissions and conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// The class.
    pub class: Class,
    /// The permissions, empty for all.
    pub perms: ClassPerms,
    /// The name of a message queue.
    pub name: Option<Value>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// The conditions on the other side.
    pub peer: Vec<Condition>,
}

/// A class of [`ClassRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Unix domain sockets.
    Unix,
    /// D-Bus messages.
    Dbus,
    /// Signals.
    Signal,
    /// Tracing.
    Ptrace,
    /// Message queues.
    Mqueue,
    /// `io_uring`
    IoUring,
    /// User namespaces.
    Userns,
}

impl Class {
    /// The keyword.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Dbus => "dbus",
            Self::Signal => "signal",
            Self::Ptrace => "ptrace",
            Self::Mqueue => "mqueue",
            Self::IoUring => "io_uring",
            Self::Userns => "userns",
        }
    }

    /// The permissions of the class.
    pub const fn permissions(self) -> ClassPerms {
        match self {
            Self::Unix => ClassPerms::SOCKET,
            Self::Dbus => {
                ClassPerms(ClassPerms::SEND | ClassPerms::RECEIVE | ClassPerms::BIND | ClassPerms::EAVESDROP)
            }
            Self::Signal => ClassPerms(ClassPerms::SEND | ClassPerms::RECEIVE),
            Self::Ptrace => {
                ClassPerms(ClassPerms::TRACE | ClassPerms::TRACEDBY | ClassPerms::READ | ClassPerms::READBY)
            }
            Self::Mqueue => ClassPerms(
                ClassPerms::CREATE
                    | ClassPerms::OPEN
                    | ClassPerms::DELETE
                    | ClassPerms::GETATTR
                    | ClassPerms::SETATTR
                    | ClassPerms::READ
                    | ClassPerms::WRITE,
            ),
            Self::IoUring => ClassPerms(ClassPerms::SQPOLL | ClassPerms::OVERRIDE_CREDS),
            Self::Userns => ClassPerms(ClassPerms::CREATE),
        }
    }
}

/// Permissions of the classes that are not files; which of them a class has, the class knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassPerms(pub u32);

macro_rules! class_perms {
    ($($name:ident = $bit:literal $text:literal),+ $(,)?) => {
        impl ClassPerms {
            $(#[doc = concat!("`", $text, "`")] pub const $name: u32 = 1 << $bit;)+
            /// Each permission with its word.
            pub const WORDS: &'static [(u32, &'static str)] = &[$((1 << $bit, $text),)+];
        }
    };
}

class_perms! {
    CREATE = 0 "create", BIND = 1 "bind", LISTEN = 2 "listen", ACCEPT = 3 "accept", CONNECT = 4 "connect",
    SHUTDOWN = 5 "shutdown", GETATTR = 6 "getattr", SETATTR = 7 "setattr", GETOPT = 8 "getopt",
    SETOPT = 9 "setopt", SEND = 10 "send", RECEIVE = 11 "receive", EAVESDROP = 12 "eavesdrop",
    TRACE = 13 "trace", TRACEDBY = 14 "tracedby", READ = 15 "read", READBY = 16 "readby",
    WRITE = 17 "write", OPEN = 18 "open", DELETE = 19 "delete", SQPOLL = 20 "sqpoll",
    OVERRIDE_CREDS = 21 "override_creds",
}

impl ClassPerms {
    /// The permissions of sockets.
    pub const SOCKET: Self = Self(
        Self::CREATE
            | Self::BIND
            | Self::LISTEN
            | Self::ACCEPT
            | Self::CONNECT
            | Self::SHUTDOWN
            | Self::GETATTR
            | Self::SETATTR
            | Self::GETOPT
            | Self::SETOPT
            | Self::SEND
            | Self::RECEIVE,
    );

    /// Whether there is none, which in a rule means all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one of the bits is there.
    pub const fn intersects(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// The words, in the order of the bits.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, word)| *word)
    }
}

/// A rule about sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRule {
    /// The permissions, empty for all.
    pub perms: ClassPerms,
    /// The address family.
    pub family: Option<&'static str>,
    /// The socket type.
    pub socket_type: Option<&'static str>,
    /// The protocol: `tcp`, `udp` or `icmp`.
    pub protocol: Option<&'static str>,
    /// The conditions on this side.
    pub conditions: Vec<Condition>,
    /// The conditions on the other side.
    pub peer: Vec<Condition>,
}

/// `KEY=VALUE` and its relatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The word on the left.
    pub key: String,
    /// The sign between.
    pub op: ConditionOp,
    /// The values on the right.
    pub values: Vec<Value>,
    /// Whether they stand in parentheses.
    pub list: bool,
    /// Where it stands.
    pub range: TextRange,
}

/// The sign of a [`Condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionOp {
    /// `=`
    Equals,
    /// `in`
    In,
    /// `:=`
    Assign,
    /// The key stands alone, as an extended attribute may.
    Present,
}

/// Which of the mount rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// `mount`
    Mount,
    /// `remount`
    Remount,
    /// `umount`
    Umount,
}

impl MountKind {
    /// The keyword.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Remount => "remount",
            Self::Umount => "umount",
        }
    }
}

/// A mount, remount or umount rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRule {
    /// Which of them.
    pub kind: MountKind,
    /// The conditions: `options`, `fstype`.
    pub conditions: Vec<Condition>,
    /// The source, for `mount` only.
    pub source: Option<Value>,
    /// The mount point.
    pub target: Option<Value>,
}

/// `pivot_root [oldroot=X] [NEW] [-> PROFILE],`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PivotRootRule {
    /// The condition `oldroot`.
    pub conditions: Vec<Condition>,
    /// The new root.
    pub new_root: Option<Value>,
    /// The profile afterwards.
    pub profile: Option<Value>,
}

/// `change_profile [safe|unsafe] [EXEC] [-> TARGET],`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeProfileRule {
    /// `safe` or `unsafe`
    pub safety: Option<Safety>,
    /// The program at whose exec the change happens.
    pub exec: Option<Value>,
    /// The profile that is changed to.
    pub target: Option<Value>,
}

/// `set rlimit RESOURCE <= LIMIT,`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RlimitRule {
    /// The resource, for example `nofile`.
    pub resource: &'static str,
    /// The limit as written, with its unit.
    pub text: String,
    /// The limit: bytes, microseconds for `rttime`, seconds for `cpu`, a count otherwise; `None` is infinity.
    pub limit: Option<i64>,
}
