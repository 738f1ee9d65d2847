//! Kernel log records → typed events → the rules that would have allowed them.
//!
//! Reads what auditd, syslog, the kernel ring buffer and journald make of a record, the old forms of the
//! 2.x kernels and the records of the D-Bus daemon. Format: kernel `security/apparmor/audit.c`, `lib/audit.c`.

mod learn;
mod record;

pub use learn::{Choices, Learned, learn, missing, policy_of, rule_of};
pub use record::{Kind, Record, parse_line};
