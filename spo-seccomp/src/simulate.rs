//! Runs a program as the kernel does.

use crate::{
    Verdict,
    arch::{ArchExt, Endian},
    bpf::{self, Insn, Malformed},
};
use spo_model::seccomp::Arch;

/// What a filter sees of a call (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// Syscall number, with bit 30 for x32.
    pub nr: u32,
    /// Audit token of the architecture, see [`ArchExt::audit_token`].
    pub arch: u32,
    /// Address of the instruction that made the call.
    pub instruction_pointer: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl Data {
    /// A call on an architecture.
    pub fn new(arch: Arch, nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch: arch.audit_token(), instruction_pointer: 0, args }
    }

    fn word(&self, offset: u32, endian: Endian) -> u32 {
        let halves = |value: u64, second: bool| {
            let high = match endian {
                Endian::Little => second,
                Endian::Big => !second,
            };
            if high { (value >> 32) as u32 } else { value as u32 }
        };
        match offset {
            0 => self.nr,
            4 => self.arch,
            8..16 => halves(self.instruction_pointer, offset >= 12),
            _ => {
                let argument = offset.checked_sub(16).and_then(|o| self.args.get(o as usize / 8));
                halves(argument.copied().unwrap_or(0), offset % 8 >= 4)
            }
        }
    }
}

/// What came out of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Executed instructions, the return included.
    pub instructions: u32,
    /// Whether the kernel (5.11 and later) answers this syscall number from its bitmap without running the
    /// filter; only asked of constant-allow numbers of the native and the compat architecture.
    pub cached: bool,
}

/// Runs a program on a call.
///
/// # Errors
/// [`Malformed`] when the kernel would not load the program.
pub fn simulate(program: &[Insn], data: &Data, endian: Endian) -> Result<Outcome, Malformed> {
    bpf::verify(program)?;
    let (verdict, instructions) = run(program, data, endian);
    let cached = cacheable(program, data.arch, data.nr);
    Ok(Outcome { verdict, instructions, cached })
}

/// Whether the kernel can tell from architecture and number alone that the answer is allow
/// (`seccomp_is_const_allow` in `kernel/seccomp.c`).
///
/// The kernel asks for numbers of its tables only, so x32 numbers are never cached.
pub fn cacheable(program: &[Insn], arch: u32, nr: u32) -> bool {
    let (mut a, mut pc) = (0u32, 0usize);
    while let Some(insn) = program.get(pc) {
        pc += 1;
        match insn.code {
            bpf::op::LD if insn.k == bpf::OFFSET_NR => a = nr,
            bpf::op::LD if insn.k == bpf::OFFSET_ARCH => a = arch,
            bpf::op::AND => a &= insn.k,
            bpf::op::RET => return insn.k == Verdict::ALLOW.raw() && nr & crate::syscalls::X32_BIT == 0,
            bpf::op::JA => pc = pc.saturating_add(insn.k as usize),
            bpf::op::JEQ | bpf::op::JGT | bpf::op::JGE | bpf::op::JSET => {
                pc += usize::from(if jump(insn.code, a, insn.k) { insn.jt } else { insn.jf });
            }
            _ => return false,
        }
    }
    false
}

/// Runs a verified program; a jump out of one that is not ends in `KILL_PROCESS`.
pub(crate) fn run(program: &[Insn], data: &Data, endian: Endian) -> (Verdict, u32) {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
    let (mut pc, mut executed) = (0usize, 0u32);
    while let Some(insn) = program.get(pc) {
        pc += 1;
        executed += 1;
        let k = insn.k;
        let cell = (k & 15) as usize;
        match insn.code {
            0x20 => a = data.word(k, endian),
            0x80 => a = 64,
            0x81 => x = 64,
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[cell],
            0x61 => x = memory[cell],
            0x02 => memory[cell] = a,
            0x03 => memory[cell] = x,
            0x07 => x = a,
            0x87 => a = x,
            0x06 => return (Verdict::from_raw(k), executed),
            0x16 => return (Verdict::from_raw(a), executed),
            0x84 => a = a.wrapping_neg(),
            0x05 => pc = pc.saturating_add(k as usize),
            code if code & 7 == 5 => {
                let with = if code & 8 == 0 { k } else { x };
                pc += usize::from(if jump(code & !8, a, with) { insn.jt } else { insn.jf });
            }
            code => match alu(code, a, if code & 8 == 0 { k } else { x }) {
                Some(result) => a = result,
                // Division by a zero X ends a program with 0.
                None => return (Verdict::KILL_THREAD, executed),
            },
        }
    }
    (Verdict::KILL_PROCESS, executed)
}

fn jump(code: u16, a: u32, with: u32) -> bool {
    match code {
        bpf::op::JEQ => a == with,
        bpf::op::JGT => a > with,
        bpf::op::JGE => a >= with,
        _ => a & with != 0,
    }
}

fn alu(code: u16, a: u32, with: u32) -> Option<u32> {
    Some(match code & !8 {
        0x04 => a.wrapping_add(with),
        0x14 => a.wrapping_sub(with),
        0x24 => a.wrapping_mul(with),
        0x34 => a.checked_div(with)?,
        0x44 => a | with,
        0x54 => a & with,
        // The eBPF the kernel converts to masks shift counts from X.
        0x64 => a.wrapping_shl(with),
        0x74 => a.wrapping_shr(with),
        _ => a ^ with,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn byte_order_decides_which_half_comes_first() {
        let program = [Insn::new(0x20, 0, 0, 16), Insn::new(0x16, 0, 0, 0)];
        let data = Data { args: [0x1111_1111_2222_2222, 0, 0, 0, 0, 0], ..Data::default() };
        assert_eq!(simulate(&program, &data, Endian::Little).unwrap().verdict.raw(), 0x2222_2222);
        assert_eq!(simulate(&program, &data, Endian::Big).unwrap().verdict.raw(), 0x1111_1111);
    }

    #[test]
    fn only_plain_tests_of_number_and_architecture_are_cached() {
        let allow = Insn::new(0x06, 0, 0, 0x7fff_0000);
        assert!(cacheable(&[allow], 0, 1));
        assert!(!cacheable(&[Insn::new(0x20, 0, 0, 16), allow], 0, 1), "looks at an argument");
        assert!(!cacheable(&[Insn::new(0x07, 0, 0, 0), allow], 0, 1), "uses X");
        assert!(!cacheable(&[Insn::new(0x06, 0, 0, 0x7ffc_0000)], 0, 1), "logs");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), nr: u32) {
            if let Some(program) = bpf::from_bytes(&bytes[..bytes.len() / 8 * 8], Endian::Little) {
                let data = Data { nr, ..Data::default() };
                let _ = simulate(&program, &data, Endian::Little);
                let _ = cacheable(&program, 7, nr);
                let _ = run(&program, &data, Endian::Big);
                for insn in &program {
                    let _ = insn.to_string();
                }
            }
        }
    }
}
