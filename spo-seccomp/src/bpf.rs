//! Classic BPF as seccomp accepts it: instructions, programs, the kernel's check, bytes.

use std::fmt;

use crate::arch::Endian;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant, offset or distance.
    pub k: u32,
}

impl Insn {
    /// The instruction from its four fields.
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }
}

/// Operation codes (`include/uapi/linux/bpf_common.h`) of the instructions the compiler emits.
pub mod op {
    /// `A = seccomp_data[k..k + 4]`
    pub const LD: u16 = 0x20;
    /// `A &= k`
    pub const AND: u16 = 0x54;
    /// Skip `k` instructions.
    pub const JA: u16 = 0x05;
    /// Skip `jt` if `A == k`, else `jf`.
    pub const JEQ: u16 = 0x15;
    /// Skip `jt` if `A > k`, else `jf`.
    pub const JGT: u16 = 0x25;
    /// Skip `jt` if `A >= k`, else `jf`.
    pub const JGE: u16 = 0x35;
    /// Skip `jt` if `A & k`, else `jf`.
    pub const JSET: u16 = 0x45;
    /// Answer `k`.
    pub const RET: u16 = 0x06;
}

/// The kernel's limit for one filter (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// Offset of the syscall number in `struct seccomp_data`.
pub const OFFSET_NR: u32 = 0;
/// Offset of the audit architecture.
pub const OFFSET_ARCH: u32 = 4;

/// Offset of a half of an argument in `struct seccomp_data`; the halves follow the byte order.
pub const fn offset_of_argument(index: u8, high: bool, endian: Endian) -> u32 {
    let second = match endian {
        Endian::Little => high,
        Endian::Big => !high,
    };
    16 + 8 * index as u32 + if second { 4 } else { 0 }
}

/// Checks a program by the rules of the kernel (`bpf_check_classic` and `seccomp_check_filter`).
///
/// # Errors
/// [`Malformed`] names the first instruction the kernel would refuse.
pub fn verify(program: &[Insn]) -> Result<(), Malformed> {
    let refuse = |at, reason| Err(Malformed { at, reason });
    match program {
        [] => return refuse(0, "the program is empty"),
        _ if program.len() > MAX_INSNS => {
            return refuse(MAX_INSNS, "the program has more than 4096 instructions");
        }
        [.., last] if !matches!(last.code, 0x06 | 0x16) => {
            return refuse(program.len() - 1, "the last instruction is no return");
        }
        _ => {}
    }
    let mut written = MemoryCheck::new(program.len());
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match insn.code {
            0x20 if insn.k & 3 != 0 || insn.k >= 64 => return refuse(at, "a load outside seccomp_data"),
            0x05 if insn.k as usize >= left => return refuse(at, "a jump behind the end"),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d
                if usize::from(insn.jt.max(insn.jf)) >= left =>
            {
                return refuse(at, "a jump behind the end");
            }
            0x34 if insn.k == 0 => return refuse(at, "a division by zero"),
            0x64 | 0x74 if insn.k >= 32 => return refuse(at, "a shift by 32 or more"),
            0x60 | 0x61 | 0x02 | 0x03 if insn.k >= 16 => return refuse(at, "a memory cell above 15"),
            code if !is_known(code) => return refuse(at, "an instruction seccomp does not know"),
            _ => {}
        }
        if !written.step(at, insn) {
            return refuse(at, "a memory cell read before it is written");
        }
    }
    Ok(())
}

/// The program in the byte order of a machine, as `SECCOMP_SET_MODE_FILTER` takes it and libseccomp exports it.
pub fn to_bytes(program: &[Insn], endian: Endian) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for insn in program {
        let (code, k) = match endian {
            Endian::Little => (insn.code.to_le_bytes(), insn.k.to_le_bytes()),
            Endian::Big => (insn.code.to_be_bytes(), insn.k.to_be_bytes()),
        };
        bytes.extend(code);
        bytes.extend([insn.jt, insn.jf]);
        bytes.extend(k);
    }
    bytes
}

/// Reads what [`to_bytes`] writes; `None` when the length is no multiple of 8.
pub fn from_bytes(bytes: &[u8], endian: Endian) -> Option<Vec<Insn>> {
    let (insns, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| {
        insns
            .iter()
            .map(|&[a, b, jt, jf, c, d, e, f]| match endian {
                Endian::Little => {
                    Insn::new(u16::from_le_bytes([a, b]), jt, jf, u32::from_le_bytes([c, d, e, f]))
                }
                Endian::Big => {
                    Insn::new(u16::from_be_bytes([a, b]), jt, jf, u32::from_be_bytes([c, d, e, f]))
                }
            })
            .collect()
    })
}

/// A program the kernel refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at}: {reason}")]
pub struct Malformed {
    /// Index of the instruction.
    pub at: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for Insn {
    /// `ld [4]`, `jge #0x101 +3 +0`, `ret ALLOW` and so on; jumps are distances to the next instruction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, jt, jf, k } = *self;
        let alu = ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"];
        let jumps = ["ja", "jeq", "jgt", "jge", "jset"];
        let selector = usize::from(code >> 4);
        match code {
            0x20 => write!(f, "ld [{k}]"),
            0x80 => write!(f, "ld #len"),
            0x81 => write!(f, "ldx #len"),
            0x00 => write!(f, "ld #{k:#x}"),
            0x01 => write!(f, "ldx #{k:#x}"),
            0x60 => write!(f, "ld M[{k}]"),
            0x61 => write!(f, "ldx M[{k}]"),
            0x02 => write!(f, "st M[{k}]"),
            0x03 => write!(f, "stx M[{k}]"),
            0x07 => write!(f, "tax"),
            0x87 => write!(f, "txa"),
            0x06 => write!(f, "ret {}", crate::Verdict::from_raw(k)),
            0x16 => write!(f, "ret a"),
            0x84 => write!(f, "neg"),
            0x05 => write!(f, "ja +{k}"),
            _ if is_known(code) && code & 7 == 4 => match code & 8 {
                0 => write!(f, "{} #{k:#x}", alu[selector]),
                _ => write!(f, "{} x", alu[selector]),
            },
            _ if is_known(code) => match code & 8 {
                0 => write!(f, "{} #{k:#x} +{jt} +{jf}", jumps[selector]),
                _ => write!(f, "{} x +{jt} +{jf}", jumps[selector]),
            },
            _ => write!(f, "? code={code:#06x} jt={jt} jf={jf} k={k:#x}"),
        }
    }
}

/// The instructions `seccomp_check_filter` lets through.
fn is_known(code: u16) -> bool {
    matches!(
        code,
        0x20 | 0x80
            | 0x81
            | 0x06
            | 0x16
            | 0x07
            | 0x87
            | 0x00
            | 0x01
            | 0x60
            | 0x61
            | 0x02
            | 0x03
            | 0x84
            | 0x05
    ) || matches!(code, 0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x34 | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c)
        || matches!(code, 0x64 | 0x6c | 0x74 | 0x7c | 0xa4 | 0xac)
        || matches!(code, 0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d)
}

/// Which memory cells every way to an instruction has written (`check_load_and_stores`).
struct MemoryCheck {
    valid: u16,
    on_entry: Vec<u16>,
}

impl MemoryCheck {
    fn new(len: usize) -> Self {
        Self { valid: 0, on_entry: vec![u16::MAX; len] }
    }

    fn step(&mut self, at: usize, insn: &Insn) -> bool {
        self.valid &= self.on_entry[at];
        let cell = 1u16.checked_shl(insn.k).unwrap_or(0);
        match insn.code {
            0x02 | 0x03 => self.valid |= cell,
            0x60 | 0x61 => return self.valid & cell != 0,
            0x05 => {
                self.meet(at + 1 + insn.k as usize);
                self.valid = u16::MAX;
            }
            code if code & 7 == 5 => {
                self.meet(at + 1 + usize::from(insn.jt));
                self.meet(at + 1 + usize::from(insn.jf));
                self.valid = u16::MAX;
            }
            _ => {}
        }
        true
    }

    fn meet(&mut self, at: usize) {
        if let Some(mask) = self.on_entry.get_mut(at) {
            *mask &= self.valid;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: Insn = Insn::new(op::RET, 0, 0, 0x7fff_0000);

    #[test]
    fn the_kernels_refusals() {
        let reason = |program: &[Insn]| verify(program).map_err(|e| (e.at, e.reason));
        assert_eq!(reason(&[ALLOW]), Ok(()));
        assert!(reason(&[]).is_err());
        assert!(reason(&vec![ALLOW; MAX_INSNS]).is_ok());
        assert!(reason(&vec![ALLOW; MAX_INSNS + 1]).is_err());
        assert!(reason(&[Insn::new(op::LD, 0, 0, 64), ALLOW]).is_err());
        assert!(reason(&[Insn::new(op::LD, 0, 0, 2), ALLOW]).is_err());
        assert!(reason(&[Insn::new(0x28, 0, 0, 0), ALLOW]).is_err(), "half-word loads are not for seccomp");
        assert!(reason(&[Insn::new(0x94, 0, 0, 3), ALLOW]).is_err(), "nor is modulo");
        assert_eq!(reason(&[Insn::new(op::JA, 0, 0, 1), ALLOW]), Err((0, "a jump behind the end")));
        assert!(reason(&[Insn::new(op::JEQ, 0, 1, 0), ALLOW]).is_err());
        assert!(reason(&[ALLOW, Insn::new(op::LD, 0, 0, 0)]).is_err());
        let (st, ld) = (Insn::new(0x02, 0, 0, 3), Insn::new(0x60, 0, 0, 3));
        assert_eq!(reason(&[st, ld, ALLOW]), Ok(()));
        assert!(reason(&[ld, ALLOW]).is_err());
        let over = Insn::new(op::JEQ, 1, 0, 0);
        assert!(reason(&[over, st, ld, ALLOW]).is_err(), "one way leaves the cell unwritten");
    }

    #[test]
    fn bytes_in_either_order() {
        let program = [Insn::new(op::JEQ, 1, 2, 0x0102_0304), ALLOW];
        assert_eq!(to_bytes(&program, Endian::Little)[..8], [0x15, 0, 1, 2, 4, 3, 2, 1]);
        assert_eq!(to_bytes(&program, Endian::Big)[..8], [0, 0x15, 1, 2, 1, 2, 3, 4]);
        for endian in [Endian::Little, Endian::Big] {
            assert_eq!(from_bytes(&to_bytes(&program, endian), endian), Some(program.to_vec()));
        }
        assert_eq!(from_bytes(&[0; 9], Endian::Little), None);
    }

    #[test]
    fn the_struct_is_the_kernels() {
        assert_eq!(size_of::<Insn>(), 8);
        assert_eq!(offset_of_argument(1, false, Endian::Little), 24);
        assert_eq!(offset_of_argument(1, true, Endian::Little), 28);
        assert_eq!(offset_of_argument(1, true, Endian::Big), 24);
    }
}
