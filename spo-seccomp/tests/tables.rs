//! The syscall table against the crate `syscalls`, which is made from the kernel's tables by other means.

use std::collections::BTreeSet;

use spo_model::seccomp::Arch;
use spo_seccomp::syscalls::Syscall;

macro_rules! compare {
    ($arch:expr, $module:ident, $compared:ident, $newer:ident, $different:ident) => {
        let theirs: BTreeSet<(String, u32)> = syscalls::$module::Sysno::iter()
            .map(|call| (call.name().trim_start_matches("r#").to_owned(), call.id() as u32))
            .collect();
        for (name, number) in &theirs {
            // The crate keeps the unused entries of the MIPS tables and second names of ARM calls.
            if name.starts_with("reserved") || name.starts_with("unused") {
                continue;
            }
            // 403 to 423 are the 64-bit time calls of 32-bit architectures (`__BITS_PER_LONG == 32` in
            // asm-generic/unistd.h); the crate gives them to 64-bit ones too. libseccomp sides with us.
            let generic = matches!($arch, Arch::Aarch64 | Arch::Riscv64 | Arch::Loongarch64);
            if generic && (403..424).contains(number) {
                assert!(name.contains("64"), "{name}");
                continue;
            }
            let ours = Syscall::by_name(name).and_then(|call| call.number($arch));
            if ours != Some(*number) {
                $different.push(format!("{} {name} {number} {ours:?}", $arch));
            }
            $compared += 1;
        }
        let names: BTreeSet<&str> = theirs.iter().map(|(name, _)| name.as_str()).collect();
        $newer.extend(Syscall::of($arch).map(|(call, _)| call.name()).filter(|name| !names.contains(name)));
    };
}

#[test]
fn every_entry_of_the_crate_is_ours() {
    let (mut compared, mut newer, mut different) = (0, BTreeSet::new(), Vec::new());
    compare!(Arch::X86_64, x86_64, compared, newer, different);
    compare!(Arch::X86, x86, compared, newer, different);
    compare!(Arch::Arm, arm, compared, newer, different);
    compare!(Arch::Aarch64, aarch64, compared, newer, different);
    compare!(Arch::Riscv64, riscv64, compared, newer, different);
    compare!(Arch::Loongarch64, loongarch64, compared, newer, different);
    compare!(Arch::Mips, mips, compared, newer, different);
    compare!(Arch::Mips64, mips64, compared, newer, different);
    compare!(Arch::Ppc, powerpc, compared, newer, different);
    compare!(Arch::Ppc64, powerpc64, compared, newer, different);
    compare!(Arch::S390x, s390x, compared, newer, different);
    println!("{compared} entries agree; ours alone on some architecture: {newer:?}");
    // The crate takes the generic table as it stands. 79 is `newfstatat` where longs have 64 bits, and LoongArch never
    // asked for the old limits, renameat (asm/unistd.h) or secret memory; linux-raw-sys, made from the exported
    // headers, has none of them either.
    let wrong_there = [
        "SCMP_ARCH_AARCH64 fstatat 79 None",
        "SCMP_ARCH_LOONGARCH64 fstatat 79 None",
        "SCMP_ARCH_LOONGARCH64 getrlimit 163 None",
        "SCMP_ARCH_LOONGARCH64 memfd_secret 447 None",
        "SCMP_ARCH_LOONGARCH64 renameat 38 None",
        "SCMP_ARCH_LOONGARCH64 setrlimit 164 None",
    ];
    assert_eq!(different, wrong_there);
    assert!(compared > 4000);
}

/// Reserved numbers: in the kernel's tables, and never more than `-ENOSYS` behind them. The page unimplemented(2) of the
/// manual lists most, the others (`cachectl` of MIPS, `multiplexer` of PowerPC, the old epoll calls of x86_64) are
/// `sys_ni_syscall` in the tables or fail always.
const RESERVED: [&str; 19] = [
    "afs_syscall",
    "break",
    "cachectl",
    "epoll_ctl_old",
    "epoll_wait_old",
    "ftime",
    "getpmsg",
    "gtty",
    "lock",
    "mpx",
    "multiplexer",
    "prof",
    "profil",
    "putpmsg",
    "security",
    "stty",
    "tuxcall",
    "ulimit",
    "vserver",
];

#[test]
fn every_call_that_exists_has_a_release_and_parameters() {
    for call in Syscall::all() {
        let reserved = RESERVED.contains(&call.name());
        assert_eq!(call.since().is_none(), reserved, "release of {call:?}");
        assert_eq!(call.params().is_none(), reserved, "parameters of {call:?}");
        assert!(call.params().is_none_or(|params| params.len() <= 6), "{call:?}");
    }
}

/// Since 5.1 all architectures number new calls alike and in the order in which they are merged, so releases rise with
/// numbers.
#[test]
fn releases_rise_with_the_common_numbers() {
    // Numbers reserved before their calls: close_range lost a release to clone3's, quotactl_fd was switched off in 5.13.
    let late = ["close_range", "quotactl_fd"];
    for &arch in Arch::ALL.iter().filter(|arch| !matches!(arch, Arch::Native)) {
        // MIPS counts from 4000, 5000 or 6000, x32 sets bit 30.
        let plain = |number: u32| match number & !0x4000_0000 {
            n @ 4000..7000 => n % 1000,
            n => n,
        };
        let mut calls: Vec<_> = Syscall::of(arch)
            .map(|(call, number)| (plain(number), call))
            .filter(|(number, call)| (424..512).contains(number) && !late.contains(&call.name()))
            .map(|(number, call)| (number, call.since().expect("a release"), call.name()))
            .collect();
        assert!(calls.len() > 35, "{arch} has {calls:?}");
        calls.sort_unstable();
        for pair in calls.windows(2) {
            assert!(pair[0].1 <= pair[1].1, "{arch}: {:?} before {:?}", pair[0], pair[1]);
        }
    }
}

#[test]
fn releases_are_those_of_the_manual() {
    let pages = ["/usr/share/man/man2/syscalls.2.gz", "/usr/share/man/man2/syscalls.2"];
    let page = pages.iter().find_map(|path| {
        let output = std::process::Command::new("gzip").args(["-cdf", path]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let Some(page) = page else {
        {
            use std::io::Write as _;
            // Past the capture of test output, so that a stranger sees it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: oracle: no manual page syscalls(2); install with scripts/install-test-tools"
            );
        }
        assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "manpages-dev is required");
        return;
    };
    let mut compared = 0;
    for line in page.lines() {
        // `\fBname\fP(2)<tab>2.6.12<tab>notes`, or with `\f[B]` and `\f[]` in newer editions.
        let Some((name, rest)) = line.split_once("(2)\t") else { continue };
        let name =
            ["\\fB", "\\f[B]", "\\fP", "\\f[]"].iter().fold(name.to_owned(), |name, f| name.replace(f, ""));
        let release = rest.split(['\t', ';', ' ']).next().unwrap_or_default();
        let Some(call) =
            Syscall::by_name(&name).filter(|_| release.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        // 2.6.0 is 2.6 here, and the page has one release with four numbers (usr26 and usr32, 2.4.8.1).
        let parts: Vec<&str> = release.split('.').take(3).collect();
        let release = parts.join(".");
        let release = if parts.len() == 3 { release.trim_end_matches(".0") } else { &release };
        let ours = call.since().map(|release| release.to_string());
        assert_eq!(ours.as_deref(), Some(release), "{name}");
        compared += 1;
    }
    assert!(compared > 380, "only {compared} releases in the page, its form has changed");
}
