//! The word lists of the language.
//!
//! Sources: `capabilities(7)`, `address_families(7)`, `signal(7)`, `mount(2)`, `getrlimit(2)`, `apparmor.d(5)`.

use spo_model::apparmor::Capability;

/// The name of a capability in the spelling of the language, `None` when there is no such capability.
pub(crate) fn capability_word(word: &str) -> Option<Capability> {
    Capability::ALL.iter().copied().find(|c| c.as_str() == word)
}

/// The socket families.
pub(crate) const NETWORK_FAMILIES: &[&str] = &[
    "alg",
    "appletalk",
    "ash",
    "atmpvc",
    "atmsvc",
    "ax25",
    "bluetooth",
    "bridge",
    "caif",
    "can",
    "econet",
    "ib",
    "ieee802154",
    "inet",
    "inet6",
    "ipx",
    "irda",
    "isdn",
    "iucv",
    "kcm",
    "key",
    "llc",
    "mctp",
    "mpls",
    "netbeui",
    "netlink",
    "netrom",
    "nfc",
    "packet",
    "phonet",
    "pppox",
    "qipcrtr",
    "rds",
    "rose",
    "rxrpc",
    "security",
    "smc",
    "sna",
    "tipc",
    "unix",
    "unspec",
    "vsock",
    "wanpipe",
    "x25",
    "xdp",
];

/// The socket types; `packet` is a family as well.
pub(crate) const SOCKET_TYPES: &[&str] = &["stream", "dgram", "seqpacket", "rdm", "raw", "packet"];

/// The protocols.
pub(super) const PROTOCOLS: &[&str] = &["tcp", "udp", "icmp"];

/// The signals without the numbered real-time ones.
pub(crate) const SIGNALS: &[&str] = &[
    "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe",
    "alrm", "term", "stkflt", "chld", "cont", "stop", "stp", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz",
    "vtalrm", "prof", "winch", "io", "poll", "pwr", "sys", "emt", "exists",
];

/// The error names that the flag `error=` takes: those of `errno(3)` on Linux.
pub(super) const ERRORS: &[&str] = &[
    "E2BIG",
    "EACCES",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "EADV",
    "EAFNOSUPPORT",
    "EAGAIN",
    "EALREADY",
    "EBADE",
    "EBADF",
    "EBADFD",
    "EBADMSG",
    "EBADR",
    "EBADRQC",
    "EBADSLT",
    "EBFONT",
    "EBUSY",
    "ECANCELED",
    "ECHILD",
    "ECHRNG",
    "ECOMM",
    "ECONNABORTED",
    "ECONNREFUSED",
    "ECONNRESET",
    "EDEADLOCK",
    "EDESTADDRREQ",
    "EDOM",
    "EDOTDOT",
    "EDQUOT",
    "EEXIST",
    "EFAULT",
    "EFBIG",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EIDRM",
    "EILSEQ",
    "EINPROGRESS",
    "EINTR",
    "EINVAL",
    "EIO",
    "EISCONN",
    "EISDIR",
    "EISNAM",
    "EKEYEXPIRED",
    "EKEYREJECTED",
    "EKEYREVOKED",
    "EL2HLT",
    "EL2NSYNC",
    "EL3HLT",
    "EL3RST",
    "ELIBACC",
    "ELIBBAD",
    "ELIBEXEC",
    "ELIBMAX",
    "ELIBSCN",
    "ELNRNG",
    "ELOOP",
    "EMEDIUMTYPE",
    "EMFILE",
    "EMLINK",
    "EMSGSIZE",
    "EMULTIHOP",
    "ENAMETOOLONG",
    "ENAVAIL",
    "ENETDOWN",
    "ENETRESET",
    "ENETUNREACH",
    "ENFILE",
    "ENOANO",
    "ENOBUFS",
    "ENOCSI",
    "ENODATA",
    "ENODEV",
    "ENOENT",
    "ENOEXEC",
    "ENOKEY",
    "ENOLCK",
    "ENOLINK",
    "ENOMEDIUM",
    "ENOMEM",
    "ENOMSG",
    "ENONET",
    "ENOPKG",
    "ENOPROTOOPT",
    "ENOSPC",
    "ENOSR",
    "ENOSTR",
    "ENOSYS",
    "ENOTBLK",
    "ENOTCONN",
    "ENOTDIR",
    "ENOTEMPTY",
    "ENOTNAM",
    "ENOTRECOVERABLE",
    "ENOTSOCK",
    "ENOTSUP",
    "ENOTTY",
    "ENOTUNIQ",
    "ENXIO",
    "EOPNOTSUPP",
    "EOVERFLOW",
    "EOWNERDEAD",
    "EPERM",
    "EPFNOSUPPORT",
    "EPIPE",
    "EPROTO",
    "EPROTONOSUPPORT",
    "EPROTOTYPE",
    "ERANGE",
    "EREMCHG",
    "EREMOTE",
    "EREMOTEIO",
    "ERESTART",
    "ERFKILL",
    "EROFS",
    "ESHUTDOWN",
    "ESOCKTNOSUPPORT",
    "ESPIPE",
    "ESRCH",
    "ESRMNT",
    "ESTALE",
    "ESTRPIPE",
    "ETIME",
    "ETIMEDOUT",
    "ETOOMANYREFS",
    "ETXTBSY",
    "EUCLEAN",
    "EUNATCH",
    "EUSERS",
    "EWOULDBLOCK",
    "EXDEV",
    "EXFULL",
];

/// The resources of `set rlimit`.
pub(super) const RLIMITS: &[&str] = &[
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nofile",
    "ofile",
    "as",
    "nproc",
    "memlock",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// Whether the word names a signal.
pub(super) fn is_signal(word: &str) -> bool {
    SIGNALS.contains(&word)
        || word.strip_prefix("rtmin+").is_some_and(|n| {
            n.len() <= 2 && n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u8>().is_ok_and(|n| n <= 32)
        })
}

/// A mount flag: the bits it sets, and whether it clears them instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountFlag {
    /// The word.
    pub(crate) name: &'static str,
    /// The bit of `mount(2)`; 0 where the word has none.
    pub(crate) bit: u32,
    /// Whether the word means that the bit is not set.
    pub(crate) clears: bool,
}

const fn on(name: &'static str, bit: u32) -> MountFlag {
    MountFlag { name, bit, clears: false }
}

const fn off(name: &'static str, bit: u32) -> MountFlag {
    MountFlag { name, bit, clears: true }
}

/// `MS_BIND`, `MS_MOVE`, `MS_REMOUNT`.
pub(super) const MS_BIND: u32 = 1 << 12;
pub(super) const MS_MOVE: u32 = 1 << 13;
pub(super) const MS_REMOUNT: u32 = 1 << 5;
/// Unbindable, private, slave and shared.
pub(super) const MS_PROPAGATION: u32 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
const MS_REC: u32 = 1 << 14;

/// Every mount flag word.
pub(crate) const MOUNT_FLAGS: &[MountFlag] = &[
    on("ro", 1),
    on("r", 1),
    on("read-only", 1),
    off("rw", 1),
    off("w", 1),
    on("nosuid", 2),
    off("suid", 2),
    on("nodev", 4),
    off("dev", 4),
    on("noexec", 8),
    off("exec", 8),
    on("sync", 16),
    off("async", 16),
    on("remount", MS_REMOUNT),
    on("mand", 64),
    off("nomand", 64),
    on("dirsync", 128),
    on("nosymfollow", 256),
    off("symfollow", 256),
    on("noatime", 1 << 10),
    off("atime", 1 << 10),
    on("nodiratime", 1 << 11),
    off("diratime", 1 << 11),
    on("bind", MS_BIND),
    on("B", MS_BIND),
    on("move", MS_MOVE),
    on("M", MS_MOVE),
    on("rbind", MS_BIND | MS_REC),
    on("R", MS_BIND | MS_REC),
    on("verbose", 1 << 15),
    on("silent", 1 << 15),
    off("loud", 1 << 15),
    on("acl", 1 << 16),
    off("noacl", 1 << 16),
    on("unbindable", 1 << 17),
    on("make-unbindable", 1 << 17),
    on("runbindable", 1 << 17 | MS_REC),
    on("make-runbindable", 1 << 17 | MS_REC),
    on("private", 1 << 18),
    on("make-private", 1 << 18),
    on("rprivate", 1 << 18 | MS_REC),
    on("make-rprivate", 1 << 18 | MS_REC),
    on("slave", 1 << 19),
    on("make-slave", 1 << 19),
    on("rslave", 1 << 19 | MS_REC),
    on("make-rslave", 1 << 19 | MS_REC),
    on("shared", 1 << 20),
    on("make-shared", 1 << 20),
    on("rshared", 1 << 20 | MS_REC),
    on("make-rshared", 1 << 20 | MS_REC),
    on("relatime", 1 << 21),
    off("norelatime", 1 << 21),
    on("iversion", 1 << 23),
    off("noiversion", 1 << 23),
    on("strictatime", 1 << 24),
    off("nostrictatime", 1 << 24),
    on("lazytime", 1 << 25),
    off("nolazytime", 1 << 25),
    on("user", 1 << 31),
    off("nouser", 1 << 31),
];

/// The mount flag of a word.
pub(crate) fn mount_flag(word: &str) -> Option<MountFlag> {
    MOUNT_FLAGS.iter().copied().find(|flag| flag.name == word)
}
