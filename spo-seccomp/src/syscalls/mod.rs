//! Syscall names, numbers, first kernel releases and parameter widths, for every architecture.
//!
//! The table is generated: `scripts/syscall-tables/README.md` names its sources. Look-ups do not allocate.

use spo_model::seccomp::Arch;

use crate::arch::{ArchExt, MuxCall};

#[rustfmt::skip]
mod table;

/// A syscall of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Syscall(u16);

impl Syscall {
    /// The syscall of that name, whatever architectures have it.
    pub fn by_name(name: &str) -> Option<Self> {
        let row = table::ROWS.binary_search_by(|row| row.name.cmp(name)).ok()?;
        u16::try_from(row).ok().map(Self)
    }

    /// The syscall with a number on an architecture; x32 numbers carry bit 30, as the kernel sees them.
    ///
    /// Where two names share a number, the shorter one is given.
    pub fn by_number(arch: Arch, number: u32) -> Option<Self> {
        let column = arch.column()?;
        let number = if arch == Arch::X32 {
            if number & X32_BIT == 0 {
                return None;
            }
            number & !X32_BIT
        } else {
            number
        };
        let (first, rows) = table::BY_NUMBER[column];
        let dense = number.checked_sub(first).and_then(|i| rows.get(i as usize)).copied();
        match dense {
            Some(row) if row != u16::MAX => Some(Self(row)),
            // ARM's private calls lie far above the table.
            _ if arch == Arch::Arm && number >= ARM_PRIVATE => {
                Self::all().find(|s| s.number(arch) == Some(number))
            }
            _ => None,
        }
    }

    /// Every syscall, sorted by name.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..table::ROWS.len()).map(|row| Self(row as u16))
    }

    /// Every syscall of an architecture, sorted by name.
    pub fn of(arch: Arch) -> impl Iterator<Item = (Self, u32)> {
        Self::all().filter_map(move |call| Some((call, call.number(arch)?)))
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The number on an architecture, `None` when the architecture lacks the call; x32 numbers carry bit 30.
    pub fn number(self, arch: Arch) -> Option<u32> {
        let number = self.row().numbers[arch.column()?];
        match number {
            u32::MAX => None,
            n if arch == Arch::X32 => Some(n | X32_BIT),
            n => Some(n),
        }
    }

    /// The first kernel release that has the call on any architecture.
    ///
    /// `None` for a reserved number, whose call never had an implementation (`unimplemented(2)`).
    pub fn since(self) -> Option<KernelVersion> {
        let code = self.row().since;
        (code != 0).then_some(KernelVersion {
            major: (code >> 16) as u8,
            minor: (code >> 8) as u8,
            patch: code as u8,
        })
    }

    /// The parameters of the kernel's entry point, `None` for a reserved number, which has none.
    pub fn params(self) -> Option<impl ExactSizeIterator<Item = Param>> {
        let letters = self.row().params;
        (letters != "?").then(|| letters.bytes().map(Param::from_letter))
    }

    /// The parameter of an index; an unknown or missing one counts as 64 bits wide.
    pub fn param(self, index: u8) -> Param {
        match self.row().params.as_bytes().get(index as usize) {
            Some(&letter) if letter != b'?' => Param::from_letter(letter),
            _ => Param { bits: 64, signed: false },
        }
    }

    /// The multiplexer and its call number that also reach this syscall on an architecture.
    ///
    /// `socketcall` numbers are those of `include/uapi/linux/net.h`, `ipc` numbers those of
    /// `include/uapi/linux/ipc.h`.
    pub fn multiplexed(self, arch: Arch) -> Option<MuxCall> {
        arch.has_multiplexers().then(|| MuxCall::of(self.name())).flatten()
    }

    fn row(self) -> &'static Row {
        &table::ROWS[self.0 as usize]
    }
}

impl std::fmt::Debug for Syscall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Width and signedness of a syscall parameter, from its C type.
///
/// The kernel truncates an argument register to the parameter's width before it looks at it
/// (`__SC_CAST` in `include/linux/syscalls.h`), so bits above do not reach the syscall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// 16, 32 or 64; pointers and `long` count as 64.
    pub bits: u8,
    /// Whether the type is signed.
    pub signed: bool,
}

impl Param {
    fn from_letter(letter: u8) -> Self {
        let (bits, signed) = match letter {
            b'i' => (32, true),
            b'u' => (32, false),
            b'h' => (16, false),
            b'l' => (64, true),
            _ => (64, false),
        };
        Self { bits, signed }
    }
}

/// A kernel release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// First number.
    pub major: u8,
    /// Second number.
    pub minor: u8,
    /// Third number, which only releases before 3.0 have here.
    pub patch: u8,
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

/// The bit that marks x32 calls (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

const ARM_PRIVATE: u32 = 0x000f_0000;

struct Row {
    name: &'static str,
    since: u32,
    params: &'static str,
    numbers: [u32; table::COLUMNS.len()],
}

/// The column of an architecture family in the table.
pub(crate) fn column(name: &str) -> Option<usize> {
    table::COLUMNS.iter().position(|column| *column == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_for_every_entry() {
        for &arch in Arch::ALL.iter().filter(|a| **a != Arch::Native) {
            let mut seen = 0;
            for (call, number) in Syscall::of(arch) {
                let back = Syscall::by_number(arch, number).map(Syscall::name);
                let twins = matches!(call.name(), "arm_fadvise64_64" | "arm_sync_file_range");
                assert!(back == Some(call.name()) || twins, "{arch} {call:?} {number} gives {back:?}");
                seen += 1;
            }
            assert!(seen > 300, "{arch} has only {seen} syscalls");
        }
    }

    #[test]
    fn the_name_lists_of_model_and_table_are_one() {
        let names: Vec<&str> = Syscall::all().map(Syscall::name).collect();
        assert_eq!(names, spo_model::syscall_names::all());
    }

    #[test]
    fn facts_from_the_kernel_sources() {
        let call = |name| Syscall::by_name(name).unwrap();
        assert_eq!(call("openat").number(Arch::X86_64), Some(257));
        assert_eq!(call("read").number(Arch::X32), Some(0x4000_0000));
        assert_eq!(call("rt_sigaction").number(Arch::X32), Some(0x4000_0000 | 512));
        assert_eq!(call("open").number(Arch::Aarch64), None);
        assert_eq!(call("set_tls").number(Arch::Arm), Some(0xf0005));
        assert_eq!(call("rseq_slice_yield").number(Arch::Mips64n32), Some(6471));
        assert_eq!(call("fchmodat").param(2), Param { bits: 16, signed: false });
        assert_eq!(call("ioctl").param(1), Param { bits: 32, signed: false });
        assert_eq!(call("openat2").since().unwrap().to_string(), "5.6");
        assert!(Syscall::by_number(Arch::X32, 0).is_none(), "x32 numbers carry bit 30");
    }
}
