//! Bytes as a program: the simulator, the listing, and the policy read back agree or refuse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_model::seccomp::Arch;
use spo_seccomp::{ArchExt, Data, Endian, Policy, bpf, cacheable, diff_programs, simulate};

fuzz_target!(|input: (u32, [u64; 6], Vec<u8>)| {
    let (nr, args, bytes) = input;
    let Some(program) = bpf::from_bytes(&bytes[..bytes.len() / 8 * 8], Endian::Little) else { return };
    let text: Vec<String> = program.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), program.len());
    let _ = cacheable(&program, Arch::X86_64.audit_token(), nr);
    let Ok(outcome) = simulate(&program, &Data::new(Arch::X86_64, nr, args), Endian::Little) else { return };
    if let Ok(policy) = Policy::from_program(&program, &[Arch::X86_64, Arch::X32]) {
        assert_eq!(policy.eval(Arch::X86_64, nr, &args).raw(), outcome.verdict.raw());
    }
    let _ = diff_programs(&program, &program, &[Arch::X86_64]).map(|diff| assert!(diff.changes.is_empty()));
});
