#!/usr/bin/env python3
"""Writes the syscall tables of spo-model and spo-seccomp from public headers and crates.

Run `fetch` first; it puts every source below one folder. Then

    generate.py SOURCES WORKSPACE

README.md beside this file says what is taken from which source, and why.
"""
import glob
import gzip
import os
import re
import subprocess
import sys

# Column of the table -> (kernel header of the cross package, linux-raw-sys module, syscall-numbers module, base).
# A source that does not have the architecture is None. The base is subtracted before numbers are compared
# across architectures; the table holds the numbers as the kernel sees them (x32 without bit 30).
COLUMNS = {
    "x86_64": ("i386:unistd_64.h", "x86_64", "x86_64", 0),
    "x86": ("i386:unistd_32.h", "x86", "x86", 0),
    # The x32 numbers of syscall-numbers are wrong from the first on (read is 0x4000).
    "x32": ("i386:unistd_x32.h", "x32", None, 0),
    "arm": ("armhf:unistd-eabi.h", "arm", "arm", 0),
    "aarch64": (None, "aarch64", "aarch64", 0),
    "riscv64": (None, "riscv64", "riscv64", 0),
    "loongarch64": (None, "loongarch64", "loongarch64", 0),
    "mips_o32": ("mips:unistd_o32.h", "mips", "mips", 4000),
    "mips_n64": ("mips64:unistd_n64.h", "mips64", "mips64", 5000),
    "mips_n32": ("mipsn32:unistd_n32.h", None, "mipsn32", 6000),
    "parisc": ("hppa:unistd_32.h", None, None, 0),
    "parisc64": ("hppa:unistd_64.h", None, None, 0),
    "ppc": ("powerpc:unistd_32.h", "powerpc", "powerpc", 0),
    "ppc64": ("ppc64:unistd_64.h", "powerpc64", "powerpc64", 0),
    "s390": ("s390x:unistd_32.h", None, None, 0),
    "s390x": ("s390x:unistd_64.h", "s390x", "s390x", 0),
    "m68k": ("m68k:unistd_32.h", "m68k", "m68k", 0),
    "sh": ("sh4:unistd_32.h", None, "sh", 0),
}

# Since 5.1 a new syscall gets one number on all architectures (Documentation/process/adding-syscalls.rst), so
# for architectures whose newest source here is older, the tail follows from the others.
COMMON_TAIL = {
    451: "cachestat", 452: "fchmodat2", 453: "map_shadow_stack", 454: "futex_wake", 455: "futex_wait",
    456: "futex_requeue", 457: "statmount", 458: "listmount", 459: "lsm_get_self_attr",
    460: "lsm_set_self_attr", 461: "lsm_list_modules", 462: "mseal", 463: "setxattrat", 464: "getxattrat",
    465: "listxattrat", 466: "removexattrat", 467: "open_tree_attr", 468: "file_getattr",
    469: "file_setattr", 470: "listns", 471: "rseq_slice_yield",
}
# Newer than any source here, or private to one architecture and not in a header that carries numbers plainly.
EXTRA = {
    "x86_64": {"uretprobe": 335, "uprobe": 336},
    "x32": {"uprobe": 336},
    "parisc": {"cacheflush": 356},
    "parisc64": {"cacheflush": 356},
    "s390": {"memfd_secret": 447},
    "arm": {"breakpoint": 0x0F0001, "cacheflush": 0x0F0002, "usr26": 0x0F0003, "usr32": 0x0F0004,
            "set_tls": 0x0F0005, "get_tls": 0x0F0006},
}
# 31-bit s390 ended with 6.18, before these.
NOT_ON = {"s390": {"listns", "rseq_slice_yield"}}

# Releases newer than the manual page syscalls(2) at hand.
SINCE = {
    "cachestat": "6.5", "fchmodat2": "6.6", "map_shadow_stack": "6.6", "futex_wake": "6.7",
    "futex_wait": "6.7", "futex_requeue": "6.7", "statmount": "6.8", "listmount": "6.8",
    "lsm_get_self_attr": "6.8", "lsm_set_self_attr": "6.8", "lsm_list_modules": "6.8", "mseal": "6.10",
    "uretprobe": "6.11", "setxattrat": "6.13", "getxattrat": "6.13", "listxattrat": "6.13",
    "removexattrat": "6.13", "open_tree_attr": "6.15", "file_getattr": "6.17", "file_setattr": "6.17",
    "uprobe": "6.18", "listns": "6.19", "rseq_slice_yield": "7.0", "set_mempolicy_home_node": "5.17",
    "futex_waitv": "5.16", "process_mrelease": "5.15", "memfd_secret": "5.14", "quotactl_fd": "5.14",
    "landlock_create_ruleset": "5.13", "landlock_add_rule": "5.13", "landlock_restrict_self": "5.13",
    "mount_setattr": "5.12", "epoll_pwait2": "5.11", "process_madvise": "5.10", "riscv_hwprobe": "6.4",
    "clock_gettime64": "5.1", "clock_settime64": "5.1", "clock_adjtime64": "5.1",
    "clock_getres_time64": "5.1", "clock_nanosleep_time64": "5.1", "timer_gettime64": "5.1",
    "timer_settime64": "5.1", "timerfd_gettime64": "5.1", "timerfd_settime64": "5.1",
    "utimensat_time64": "5.1", "pselect6_time64": "5.1", "ppoll_time64": "5.1",
    "io_pgetevents_time64": "5.1", "recvmmsg_time64": "5.1", "mq_timedsend_time64": "5.1",
    "mq_timedreceive_time64": "5.1", "semtimedop_time64": "5.1", "rt_sigtimedwait_time64": "5.1",
    "futex_time64": "5.1", "sched_rr_get_interval_time64": "5.1",
    # Not in the page's table, or there without a release: pread(2) and pwrite(2), posix_fadvise(2),
    # sync_file_range(2), the page's comment on the first timerfd interface, kernel/sched.c of Linux 1.0.
    "pread64": "2.2", "pwrite64": "2.2", "arm_fadvise64_64": "2.6.14", "arm_sync_file_range": "2.6.20",
    "timerfd": "2.6.22", "idle": "1.0",
}
# Numbers that have a name in the headers and never had an implementation: unimplemented(2), and entries of the
# kernel's tables that were `sys_ni_syscall` (or, cachectl, a function that fails) from the start.
NEVER = {
    "afs_syscall", "break", "cachectl", "epoll_ctl_old", "epoll_wait_old", "ftime", "getpmsg", "gtty", "lock", "mpx",
    "multiplexer", "prof", "profil", "putpmsg", "security", "stty", "tuxcall", "ulimit", "vserver",
}

# Syscalls whose entry point in include/linux/syscalls.h has another name, on 64-bit architectures.
ENTRY = {
    "stat": "newstat", "fstat": "newfstat", "lstat": "newlstat", "uname": "newuname", "sendfile": "sendfile64",
    "_llseek": "llseek", "_newselect": "select", "umount2": "umount", "umount": "oldumount",
    "_sysctl": "sysctl", "getrlimit": "getrlimit", "ugetrlimit": "getrlimit", "pread": "pread64",
    "pwrite": "pwrite64", "mmap2": "mmap_pgoff",
}
# Names of 32-bit architectures whose entry point is the one that 64-bit ones have under the plain name: user and group
# numbers of 32 bits, times of 64 (`__NR_` tables of arch/x86/entry/syscalls/syscall_32.tbl).
WIDE = [f"{c}32" for c in ("chown fchown lchown getegid geteuid getgid getuid getgroups getresgid getresuid setfsgid "
                           "setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid").split()]
WIDE += [f"{c}_time64" for c in ("clock_getres clock_nanosleep futex io_pgetevents mq_timedreceive mq_timedsend ppoll "
                                 "pselect6 recvmmsg rt_sigtimedwait sched_rr_get_interval semtimedop "
                                 "utimensat").split()]
WIDE += [f"{c}64" for c in ("clock_adjtime clock_gettime clock_settime timer_gettime timer_settime timerfd_gettime "
                            "timerfd_settime").split()]
ENTRY.update({name: re.sub("(_time64|32|64)$", "", name) for name in WIDE})

# Entry points that architectures define themselves, the prototype as arch/*/kernel has it; and those of calls that the
# kernel of the header no longer has, from the release before they went.
OWN_PROTOTYPES = {
    "_sysctl": ["void *"],
    "arm_fadvise64_64": ["int", "int", "loff_t", "loff_t"],
    "arm_sync_file_range": ["int", "unsigned int", "loff_t", "loff_t"],
    "atomic_barrier": [],
    "atomic_cmpxchg_32": ["unsigned long", "int", "int", "int", "int", "unsigned long *"],
    "bdflush": ["int", "long"],
    "breakpoint": [], "get_tls": [], "usr26": [], "usr32": [],
    "set_tls": ["unsigned long"],
    "cacheflush": ["unsigned long", "unsigned long", "unsigned int"],
    "create_module": ["const char *", "size_t"],
    "get_kernel_syms": ["void *"],
    "query_module": ["const char *", "int", "void *", "size_t", "size_t *"],
    "get_thread_area": ["unsigned long"], "set_thread_area": ["unsigned long"],
    "getpagesize": [], "idle": [],
    "listns": ["const void *", "u64 *", "size_t", "unsigned int"],
    "lookup_dcookie": ["u64", "char *", "size_t"],
    "nfsservctl": ["int", "void *", "void *"],
    "oldfstat": ["unsigned int", "void *"], "oldlstat": ["const char *", "void *"],
    "oldstat": ["const char *", "void *"], "oldolduname": ["void *"],
    "readdir": ["unsigned int", "void *", "unsigned int"],
    "riscv_flush_icache": ["unsigned long", "unsigned long", "unsigned long"],
    "rtas": ["void *"],
    "s390_guarded_storage": ["int", "void *"],
    "s390_pci_mmio_read": ["unsigned long", "void *", "size_t"],
    "s390_pci_mmio_write": ["unsigned long", "const void *", "size_t"],
    "s390_runtime_instr": ["int", "int"],
    "s390_sthyi": ["unsigned long", "void *", "u64 *", "unsigned long"],
    "sigreturn": [], "switch_endian": [],
    "subpage_prot": ["unsigned long", "unsigned long", "u32 *"],
    "swapcontext": ["void *", "void *", "long"],
    "sys_debug_setcontext": ["void *", "int", "void *"],
    "syscall": ["unsigned long"] * 6,
    "sysmips": ["long", "long", "long"],
    "timerfd": ["int", "int", "int", "const void *"],
    "vm86": ["unsigned long", "unsigned long"], "vm86old": ["void *"],
    "mmap": ["unsigned long"] * 6,
    "clone": ["unsigned long", "unsigned long", "int *", "int *", "unsigned long"],
    "arch_prctl": ["int", "unsigned long"],
    "iopl": ["unsigned int"],
    "ioperm": ["unsigned long", "unsigned long", "int"],
    "modify_ldt": ["int", "void *", "unsigned long"],
    "rt_sigreturn": [],
    "fork": [], "vfork": [],
    "uprobe": [], "uretprobe": [], "rseq_slice_yield": [],
    "setxattrat": ["int", "const char *", "unsigned int", "const char *", "void *", "size_t"],
    "getxattrat": ["int", "const char *", "unsigned int", "const char *", "void *", "size_t"],
    "listxattrat": ["int", "const char *", "unsigned int", "char *", "size_t"],
    "removexattrat": ["int", "const char *", "unsigned int", "const char *"],
    "open_tree_attr": ["int", "const char *", "unsigned int", "void *", "size_t"],
    "file_getattr": ["int", "const char *", "void *", "size_t", "unsigned int"],
    "file_setattr": ["int", "const char *", "void *", "size_t", "unsigned int"],
    "riscv_hwprobe": ["void *", "size_t", "size_t", "unsigned long *", "unsigned int"],
}
SIGNED_32 = {"int", "pid_t", "clockid_t", "const clockid_t", "timer_t", "mqd_t", "key_serial_t", "s32",
             "__s32", "rwf_t", "key_t", "const int"}
UNSIGNED_32 = {"unsigned int", "unsigned", "uid_t", "gid_t", "qid_t", "u32", "__u32", "uint32_t",
               "enum landlock_rule_type", "const enum landlock_rule_type", "const __u32"}
UNSIGNED_16 = {"umode_t", "old_uid_t", "old_gid_t"}
SIGNED_64 = {"long", "loff_t", "off_t", "ssize_t", "__s64", "s64"}
UNSIGNED_64 = {"unsigned long", "size_t", "aio_context_t", "u64", "__u64", "old_sigset_t", "cap_user_header_t",
               "cap_user_data_t", "const cap_user_data_t", "unsigned long long"}


def main():
    sources, workspace = sys.argv[1:3]
    table = {column: numbers(sources, column) for column in COLUMNS}
    names = sorted({name for column in table.values() for name in column})
    since = releases(sources)
    since.update(SINCE)
    prototypes = read_prototypes(sources)
    prototypes.update({name: [kind(t) for t in types] for name, types in OWN_PROTOTYPES.items()})
    unknown = [name for name in names if (name in since) == (name in NEVER)]
    if unknown:
        sys.exit(f"no release, or one for a reserved number: {' '.join(unknown)}")
    bare = [name for name in names if (name in prototypes) == (name in NEVER)]
    if bare:
        sys.exit(f"no prototype, or one for a reserved number: {' '.join(bare)}")
    write_names(os.path.join(workspace, "spo-model/src/syscall_names.rs"), names)
    write_table(os.path.join(workspace, "spo-seccomp/src/syscalls/table.rs"), names, table, since, prototypes)
    for column, calls in table.items():
        print(f"{column:12} {len(calls)}")
    print(f"{'names':12} {len(names)}")


def numbers(sources, column):
    header, raw, plain, base = COLUMNS[column]
    found = {}
    readings = []
    if header:
        package, file = header.split(":")
        readings.append(("header", from_header(glob.glob(
            f"{sources}/headers/linux-libc-dev-{package}-cross/usr/*/include/asm/{file}")[0])))
    if raw:
        readings.append(("linux-raw-sys", from_crate(
            f"{sources}/crates/linux-raw-sys/src/{raw}/general.rs",
            r"pub const __NR_(\w+): u32 = (\d+)")))
    if plain:
        readings.append(("syscall-numbers", from_crate(
            f"{sources}/crates/syscall-numbers/src/{plain}.rs",
            r"pub const SYS_(\w+): c_long = (0x[0-9a-f]+|\d+)")))
    for source, reading in readings:
        for name, number in reading.items():
            if column == "x32":
                number &= ~0x40000000
            if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) or name in ("syscalls", "arch_specific_syscall"):
                continue
            if re.fullmatch(r"(reserved|unused)\d+", name):
                continue
            if name.endswith("time32"):  # the header's second name for the call without the suffix
                continue
            if found.setdefault(name, number) != number:
                sys.exit(f"{column}: {source} has {name} = {number}, an earlier source {found[name]}")
    for number, name in COMMON_TAIL.items():
        if name in NOT_ON.get(column, ()):
            continue
        if found.setdefault(name, base + number) != base + number:
            sys.exit(f"{column}: {name} is not {base + number}")
    found.update(EXTRA.get(column, {}))
    used = {}
    for name, number in sorted(found.items()):
        if number in used:
            print(f"note: {column}: {name} and {used[number]} are both {number}")
        used[number] = name
    return found


def from_header(path):
    calls, base = {}, 0
    bases = {"__NR_Linux": {"o32": 4000, "n64": 5000, "n32": 6000}, "__X32_SYSCALL_BIT": 0, "__NR_SYSCALL_BASE": 0}
    for line in open(path):
        m = re.match(r"#\s*define\s+__NR_(\w+)\s+\(?\s*(?:(__NR_Linux|__X32_SYSCALL_BIT|__NR_SYSCALL_BASE)\s*\+\s*)?(\d+)\)?\s*$", line)
        if m:
            if m[2] == "__NR_Linux":
                base = next((v for k, v in bases[m[2]].items() if k in os.path.basename(path)), 0)
            calls[m[1]] = base + int(m[3])
    if len(calls) < 300:
        sys.exit(f"{path}: only {len(calls)} syscalls, its form has changed")
    return calls


def from_crate(path, pattern):
    return {m[1]: int(m[2], 0) for m in re.finditer(pattern, open(path).read())}


def releases(sources):
    page = gzip.open(f"{sources}/headers/manpages-dev/usr/share/man/man2/syscalls.2.gz", "rt").read()
    found = {}
    for m in re.finditer(r"^\\fB(\w+)\\fP\(2\)\t(\d+(?:\.\d+)+)", page, re.M):
        found.setdefault(m[1], m[2])
    if len(found) < 300:
        sys.exit(f"only {len(found)} releases in syscalls(2), its form has changed")
    return found


def read_prototypes(sources):
    path = glob.glob(f"{sources}/headers/linux-headers-*-common/usr/src/*/include/linux/syscalls.h")[0]
    text = re.sub(r"/\*.*?\*/", " ", open(path).read(), flags=re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    entries = {}
    for m in re.finditer(r"asmlinkage long sys_(\w+)\s*\(([^;]*)\)\s*;", text):
        arguments = [] if m[2].strip() in ("void", "") else [kind(strip_name(a)) for a in m[2].split(",")]
        entries.setdefault(m[1], arguments)
    if len(entries) < 400:
        sys.exit(f"only {len(entries)} prototypes in syscalls.h, its form has changed")
    out = dict(entries)
    for name, entry in ENTRY.items():
        if entry in entries:
            out[name] = entries[entry]
        else:
            out.pop(name, None)
    return out


def strip_name(argument):
    words = re.sub(r"__user|__kernel", " ", argument).replace("*", " * ").split()
    if "*" in words:
        return "*"
    types = {"int", "long", "unsigned", "u32", "u64", "size_t", "umode_t"}
    if len(words) > 1 and words[-1] not in types:
        words.pop()
    return " ".join(words)


def kind(c_type):
    """One letter per parameter: width and signedness, see `Param` in spo-seccomp/src/syscalls/mod.rs."""
    if "*" in c_type:
        return "L"
    for letter, types in (("i", SIGNED_32), ("u", UNSIGNED_32), ("h", UNSIGNED_16), ("l", SIGNED_64), ("L", UNSIGNED_64)):
        if c_type in types:
            return letter
    print(f"note: type {c_type!r} taken as 64 bits")
    return "L"


def release_code(text):
    parts = ([int(p) for p in text.split(".")] + [0, 0])[:3]
    return parts[0] << 16 | parts[1] << 8 | parts[2]


HEAD = "// Written by scripts/syscall-tables/generate.py; change that file and run it again.\n\n"


def write_names(path, names):
    with open(path, "w") as out:
        out.write(open(os.path.join(os.path.dirname(__file__), "syscall_names.rs.in")).read()
                  .replace("@NAMES@", "".join(f'    "{n}",\n' for n in names)))
    subprocess.run(["rustfmt", "--edition", "2024", path], check=True)


def write_table(path, names, table, since, prototypes):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    columns = list(COLUMNS)
    with open(path, "w") as out:
        out.write(HEAD)
        out.write("use super::Row;\n\nconst NONE: u32 = u32::MAX;\nconst NO: u16 = u16::MAX;\n\n")
        out.write("/// The columns of [`ROWS`], in order.\n")
        out.write(f"pub(super) const COLUMNS: [&str; {len(columns)}] = [{', '.join(chr(34) + c + chr(34) for c in columns)}];\n\n")
        out.write("/// Every syscall, sorted by name.\n")
        out.write(f"pub(super) static ROWS: [Row; {len(names)}] = [\n")
        for name in names:
            params = "".join(prototypes[name]) if name in prototypes else "?"
            cells = ", ".join(str(table[c].get(name, "NONE")) for c in columns)
            code = release_code(since[name]) if name in since else 0
            out.write(f'    Row {{ name: "{name}", since: {code:#x}, params: "{params}", numbers: [{cells}] }},\n')
        out.write("];\n\n")
        out.write("/// Per column the first number and, from there on, the row of each number.\n")
        out.write(f"pub(super) static BY_NUMBER: [(u32, &[u16]); {len(columns)}] = [\n")
        row = {name: i for i, name in enumerate(names)}
        for c in columns:
            base = COLUMNS[c][3]
            # Where two names share a number, the one that sorts first in kernel usage is the shorter.
            cells = {}
            for name, number in table[c].items():
                if number < 0x10000 and (number not in cells or len(name) < len(cells[number])):
                    cells[number] = name
            top = max(cells)
            line = ", ".join(str(row[cells[n]]) if n in cells else "NO" for n in range(base, top + 1))
            out.write(f"    ({base}, &[{line}]),\n")
        out.write("];\n")


main()
