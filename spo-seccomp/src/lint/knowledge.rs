//! What is known about particular syscalls: which are dangerous, which libc replaces, which runtimes need.

/// Calls that reach far beyond the container, with the reason, unless the workload is made for them.
pub(super) const DANGEROUS: [(&str, &str); 33] = [
    ("acct", "writes process accounting of the whole host"),
    ("add_key", "the kernel keyring is not namespaced"),
    ("bpf", "loads code into the kernel"),
    ("clock_settime", "sets the clock of the host"),
    ("create_module", "loads code into the kernel"),
    ("delete_module", "unloads kernel modules"),
    ("finit_module", "loads code into the kernel"),
    ("fsconfig", "configures file systems"),
    ("fsmount", "mounts file systems"),
    ("init_module", "loads code into the kernel"),
    ("io_uring_setup", "its operations bypass the filter"),
    ("ioperm", "opens I/O ports"),
    ("iopl", "opens I/O ports"),
    ("kcmp", "inspects other processes"),
    ("kexec_file_load", "replaces the kernel"),
    ("kexec_load", "replaces the kernel"),
    ("keyctl", "the kernel keyring is not namespaced"),
    ("lookup_dcookie", "traces the whole host"),
    ("mount", "mounts file systems"),
    ("move_mount", "moves mounts"),
    ("open_by_handle_at", "opens files of the host that the container cannot name"),
    ("open_tree", "clones mounts"),
    ("perf_event_open", "traces the kernel and other processes"),
    ("pivot_root", "replaces the root file system"),
    ("process_vm_writev", "writes the memory of other processes"),
    ("ptrace", "controls other processes and, before Linux 4.8, bypasses the filter"),
    ("quotactl", "changes disk quotas of the host"),
    ("reboot", "reboots the host"),
    ("request_key", "the kernel keyring is not namespaced"),
    ("setns", "enters other namespaces"),
    ("swapon", "changes swapping of the host"),
    ("umount2", "unmounts file systems"),
    ("userfaultfd", "a building block of kernel exploits"),
];

/// Newer calls that a libc or language runtime tries first and replaces by an older one, but only when it is told
/// `ENOSYS`.
pub(super) const WITH_FALLBACK: [(&str, &str); 11] = [
    ("clone3", "clone"),
    ("close_range", "close"),
    ("copy_file_range", "read and write"),
    ("epoll_pwait2", "epoll_pwait"),
    ("faccessat2", "faccessat"),
    ("fchmodat2", "fchmodat"),
    ("futex_time64", "futex"),
    ("getrandom", "/dev/urandom"),
    ("openat2", "openat"),
    ("rseq", "nothing"),
    ("statx", "fstatat"),
];
