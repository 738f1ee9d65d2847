//! What one profile may do that another may not.

use crate::policy::{Access, Effective};

/// The difference of two effective profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What only the second may do, sorted.
    pub added: Vec<Access>,
    /// What only the first may do, sorted.
    pub removed: Vec<Access>,
}

impl Diff {
    /// Whether both may do the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// How much more the second can do harm: the [`risk`] of what is added less that of what is removed.
    pub fn risk(&self) -> i64 {
        let sum = |all: &[Access]| all.iter().map(|a| i64::from(risk(a))).sum::<i64>();
        sum(&self.added) - sum(&self.removed)
    }
}

/// Compares two profiles, two versions of one, or one profile on two bases, by what they may effectively do.
pub fn diff(a: &Effective, b: &Effective) -> Diff {
    let only = |x: &Effective, y: &Effective| x.keys().filter(|k| !y.contains_key(k)).cloned().collect();
    Diff { added: only(b, a), removed: only(a, b) }
}

/// A rough weight of an access: 1 for looking, 3 for changing, 5 for running code, 8 for powers over the system.
pub fn risk(access: &Access) -> u32 {
    let (class, permission) = (access.class.as_str(), access.permission.as_str());
    if class.starts_with("cap") || matches!(class, "security" | "system" | "bpf" | "perf_event" | "io_uring")
    {
        return 8;
    }
    match permission {
        "ptrace" | "dyntransition" | "transition" | "mounton" | "mount" | "unmount" | "remount"
        | "relabelto" | "relabelfrom" | "setcurrent" | "execmod" | "execmem" | "execheap" | "execstack"
        | "load_policy" => 8,
        "execute" | "execute_no_trans" | "entrypoint" => 5,
        "write" | "append" | "create" | "unlink" | "rename" | "link" | "setattr" | "add_name"
        | "remove_name" | "rmdir" | "reparent" | "connectto" | "name_bind" | "name_connect" | "sigkill"
        | "signal" => 3,
        _ => 1,
    }
}
