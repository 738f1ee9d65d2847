//! What a filter answers: the 32-bit value the kernel acts on.

use std::{cmp::Ordering, fmt};

use spo_model::seccomp::{Action, Errno};

/// An answer of a filter, a `SECCOMP_RET_*` value with its data (`include/uapi/linux/seccomp.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict(u32);

impl Verdict {
    /// Allow the call.
    pub const ALLOW: Self = Self(0x7fff_0000);
    /// Allow the call and log it.
    pub const LOG: Self = Self(0x7ffc_0000);
    /// Ask the listener.
    pub const NOTIFY: Self = Self(0x7fc0_0000);
    /// Send SIGSYS.
    pub const TRAP: Self = Self(0x0003_0000);
    /// Kill the thread.
    pub const KILL_THREAD: Self = Self(0);
    /// Kill the process.
    pub const KILL_PROCESS: Self = Self(0x8000_0000);

    /// Fail with an errno.
    pub const fn errno(errno: Errno) -> Self {
        Self(0x0005_0000 | errno.get() as u32)
    }

    /// Tell the tracer, with a message.
    pub const fn trace(message: u16) -> Self {
        Self(0x7ff0_0000 | message as u32)
    }

    /// The verdict of a profile's action; `errno` counts for `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE`, where absent
    /// means `EPERM` as in runc and crun.
    pub fn of(action: Action, errno: Option<Errno>) -> Self {
        let errno = errno.unwrap_or(Errno::EPERM);
        match action {
            Action::Kill | Action::KillThread => Self::KILL_THREAD,
            Action::KillProcess => Self::KILL_PROCESS,
            Action::Trap => Self::TRAP,
            Action::Errno => Self::errno(errno),
            Action::Trace => Self::trace(errno.get()),
            Action::Allow => Self::ALLOW,
            Action::Log => Self::LOG,
            Action::Notify => Self::NOTIFY,
        }
    }

    /// The verdict with this value as the kernel reads it.
    ///
    /// The kernel looks at the upper half only to choose the action and takes an unknown one as
    /// `KILL_PROCESS` (`__seccomp_filter`), so the value is kept as it is.
    pub const fn from_raw(value: u32) -> Self {
        Self(value)
    }

    /// The value as the program returns it.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The action, and the errno or message where the action has one.
    pub fn action(self) -> (Action, Option<Errno>) {
        let data = Errno::new((self.0 & 0xffff).min(u32::from(Errno::MAX)) as u16);
        match self.0 & 0xffff_0000 {
            0 => (Action::KillThread, None),
            0x0003_0000 => (Action::Trap, None),
            0x0005_0000 => (Action::Errno, data),
            0x7fc0_0000 => (Action::Notify, None),
            0x7ff0_0000 => (Action::Trace, data),
            0x7ffc_0000 => (Action::Log, None),
            0x7fff_0000 => (Action::Allow, None),
            _ => (Action::KillProcess, None),
        }
    }

    /// Whether the call can still happen: allow, log, trace and notify.
    pub fn permits(self) -> bool {
        self.rank() >= 4
    }

    /// Compares how much two verdicts permit, by the kernel's order of precedence; errno values do not count.
    pub fn cmp_permissive(self, other: Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }

    /// The one that permits more, `self` when they are level.
    #[must_use]
    pub fn less_restrictive(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    /// The one that permits less, `self` when they are level.
    #[must_use]
    pub fn more_restrictive(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    /// Order of `seccomp(2)`: KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, USER_NOTIF, TRACE, LOG, ALLOW.
    fn rank(self) -> u8 {
        match self.action().0 {
            Action::KillProcess => 0,
            Action::Kill | Action::KillThread => 1,
            Action::Trap => 2,
            Action::Errno => 3,
            Action::Notify => 4,
            Action::Trace => 5,
            Action::Log => 6,
            Action::Allow => 7,
        }
    }
}

impl fmt::Display for Verdict {
    /// `ALLOW`, `ERRNO(1)`, `TRACE(7)` and so on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, data) = self.action();
        let name = action.as_str().trim_start_matches("SCMP_ACT_");
        match data {
            Some(data) => f.pad(&format!("{name}({})", data.get())),
            None => f.pad(name),
        }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_kernel_header() {
        assert_eq!(Verdict::of(Action::Errno, None).raw(), 0x0005_0001);
        assert_eq!(Verdict::of(Action::Kill, None).raw(), 0);
        assert_eq!(Verdict::of(Action::Trace, Errno::new(7)).raw(), 0x7ff0_0007);
        assert_eq!(Verdict::from_raw(0x1234_0000).action().0, Action::KillProcess);
        for action in Action::ALL {
            let (back, _) = Verdict::of(*action, None).action();
            assert!(back == *action || *action == Action::Kill);
        }
    }

    #[test]
    fn a_tie_keeps_the_left_side() {
        let (a, b) = (Verdict::errno(Errno::EPERM), Verdict::errno(Errno::ENOSYS));
        assert_eq!(a.less_restrictive(b), a);
        assert_eq!(b.more_restrictive(a), b);
        assert_eq!(a.less_restrictive(Verdict::LOG), Verdict::LOG);
    }
}
