//! What the kernel's seccomp code says about each architecture: token, byte order, word size, multiplexers.

use spo_model::seccomp::Arch;

use crate::syscalls;

/// Facts about an [`Arch`] that a filter depends on.
///
/// `SCMP_ARCH_NATIVE` has none of its own: [`resolve`](ArchExt::resolve) it first; until then it answers like
/// [`Arch::X86_64`] nowhere and gives `None` or `false`.
pub trait ArchExt: Copy {
    /// The `AUDIT_ARCH_*` value in `seccomp_data.arch` (`include/uapi/linux/audit.h`). x32 shares x86_64's.
    fn audit_token(self) -> u32;
    /// The order of bytes in a 64-bit argument.
    fn endian(self) -> Endian;
    /// Whether arguments have 32 bits.
    fn is_32_bit(self) -> bool;
    /// Whether `socketcall` and `ipc` reach the socket and System V IPC calls.
    fn has_multiplexers(self) -> bool;
    /// This architecture, or `native` when this is `SCMP_ARCH_NATIVE`.
    fn resolve(self, native: Arch) -> Arch;
    /// The architecture this crate was built for, [`Arch::X86_64`] where seccomp knows none.
    fn host() -> Self;
    /// Other architectures whose programs the same kernel runs, which a complete profile also covers.
    fn compat(self) -> &'static [Arch];
    /// The column of the syscall table.
    #[doc(hidden)]
    fn column(self) -> Option<usize>;
}

/// Order of bytes of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Low byte first.
    Little,
    /// High byte first.
    Big,
}

/// A way to reach a syscall through a multiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxCall {
    /// `socketcall` or `ipc`.
    pub multiplexer: &'static str,
    /// The value of its first argument.
    pub call: u32,
}

impl MuxCall {
    pub(crate) fn of(name: &str) -> Option<Self> {
        let find = |multiplexer, calls: &[(&str, u32)]| {
            calls.iter().find(|(n, _)| *n == name).map(|&(_, call)| Self { multiplexer, call })
        };
        find("socketcall", &SOCKETCALL).or_else(|| find("ipc", &IPC))
    }
}

impl ArchExt for Arch {
    fn audit_token(self) -> u32 {
        const BITS_64: u32 = 0x8000_0000;
        const LITTLE: u32 = 0x4000_0000;
        const N32: u32 = 0x2000_0000;
        // Low halves are ELF machine numbers (include/uapi/linux/elf-em.h).
        match self {
            Self::Native => 0,
            Self::X86 => 3 | LITTLE,
            Self::X86_64 | Self::X32 => 62 | BITS_64 | LITTLE,
            Self::Arm => 40 | LITTLE,
            Self::Aarch64 => 183 | BITS_64 | LITTLE,
            Self::Loongarch64 => 258 | BITS_64 | LITTLE,
            Self::M68k => 4,
            Self::Mips => 8,
            Self::Mips64 => 8 | BITS_64,
            Self::Mips64n32 => 8 | BITS_64 | N32,
            Self::Mipsel => 8 | LITTLE,
            Self::Mipsel64 => 8 | BITS_64 | LITTLE,
            Self::Mipsel64n32 => 8 | BITS_64 | LITTLE | N32,
            Self::Parisc => 15,
            Self::Parisc64 => 15 | BITS_64,
            Self::Ppc => 20,
            Self::Ppc64 => 21 | BITS_64,
            Self::Ppc64le => 21 | BITS_64 | LITTLE,
            Self::Riscv64 => 243 | BITS_64 | LITTLE,
            Self::S390 => 22,
            Self::S390x => 22 | BITS_64,
            Self::Sh => 42 | LITTLE,
            Self::Sheb => 42,
        }
    }

    fn endian(self) -> Endian {
        match self {
            Self::M68k
            | Self::Mips
            | Self::Mips64
            | Self::Mips64n32
            | Self::Parisc
            | Self::Parisc64
            | Self::Ppc
            | Self::Ppc64
            | Self::S390
            | Self::S390x
            | Self::Sheb => Endian::Big,
            _ => Endian::Little,
        }
    }

    fn is_32_bit(self) -> bool {
        matches!(
            self,
            Self::X86
                | Self::X32
                | Self::Arm
                | Self::M68k
                | Self::Mips
                | Self::Mipsel
                | Self::Mips64n32
                | Self::Mipsel64n32
                | Self::Parisc
                | Self::Ppc
                | Self::S390
                | Self::Sh
                | Self::Sheb
        )
    }

    fn has_multiplexers(self) -> bool {
        matches!(
            self,
            Self::X86
                | Self::S390
                | Self::S390x
                | Self::Ppc
                | Self::Ppc64
                | Self::Ppc64le
                | Self::M68k
                | Self::Mips
                | Self::Mipsel
                | Self::Sh
                | Self::Sheb
        )
    }

    fn resolve(self, native: Arch) -> Arch {
        match (self, native) {
            (Self::Native, Self::Native) => Self::host(),
            (Self::Native, other) => other,
            (own, _) => own,
        }
    }

    fn host() -> Self {
        const LITTLE: bool = cfg!(target_endian = "little");
        match std::env::consts::ARCH {
            "x86" => Self::X86,
            "arm" => Self::Arm,
            "aarch64" => Self::Aarch64,
            "loongarch64" => Self::Loongarch64,
            "m68k" => Self::M68k,
            "mips" if LITTLE => Self::Mipsel,
            "mips" => Self::Mips,
            "mips64" if LITTLE => Self::Mipsel64,
            "mips64" => Self::Mips64,
            "powerpc" => Self::Ppc,
            "powerpc64" if LITTLE => Self::Ppc64le,
            "powerpc64" => Self::Ppc64,
            "riscv64" => Self::Riscv64,
            "s390x" => Self::S390x,
            _ => Self::X86_64,
        }
    }

    fn compat(self) -> &'static [Arch] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::Mips64 => &[Self::Mips, Self::Mips64n32],
            Self::Mipsel64 => &[Self::Mipsel, Self::Mipsel64n32],
            Self::Ppc64 => &[Self::Ppc],
            Self::S390x => &[Self::S390],
            Self::Parisc64 => &[Self::Parisc],
            _ => &[],
        }
    }

    fn column(self) -> Option<usize> {
        syscalls::column(match self {
            Self::Native => return None,
            Self::X86 => "x86",
            Self::X86_64 => "x86_64",
            Self::X32 => "x32",
            Self::Arm => "arm",
            Self::Aarch64 => "aarch64",
            Self::Loongarch64 => "loongarch64",
            Self::M68k => "m68k",
            Self::Mips | Self::Mipsel => "mips_o32",
            Self::Mips64 | Self::Mipsel64 => "mips_n64",
            Self::Mips64n32 | Self::Mipsel64n32 => "mips_n32",
            Self::Parisc => "parisc",
            Self::Parisc64 => "parisc64",
            Self::Ppc => "ppc",
            Self::Ppc64 | Self::Ppc64le => "ppc64",
            Self::Riscv64 => "riscv64",
            Self::S390 => "s390",
            Self::S390x => "s390x",
            Self::Sh | Self::Sheb => "sh",
        })
    }
}

const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_audit_header() {
        assert_eq!(Arch::X86.audit_token(), 0x4000_0003);
        assert_eq!(Arch::X86_64.audit_token(), 0xc000_003e);
        assert_eq!(Arch::Aarch64.audit_token(), 0xc000_00b7);
        assert_eq!(Arch::S390x.audit_token(), 0x8000_0016);
        assert_eq!(Arch::Mipsel64n32.audit_token(), 0xe000_0008);
    }

    #[test]
    fn native_is_resolved_once() {
        assert_eq!(Arch::Native.resolve(Arch::Arm), Arch::Arm);
        assert_eq!(Arch::X86.resolve(Arch::Arm), Arch::X86);
        assert_ne!(Arch::Native.resolve(Arch::Native), Arch::Native);
    }
}
