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
