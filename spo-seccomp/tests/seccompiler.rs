//! seccompiler as oracle for what fits its model. Runs with `--features seccompiler`.

#[cfg(not(feature = "seccompiler"))]
#[test]
fn the_oracle_is_absent() {
    {
        use std::io::Write as _;
        // Past the capture of test output, so that a stranger sees it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: oracle: built without feature `seccompiler`; run with --features seccompiler"
        );
    }
    assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "the seccompiler oracle is required");
}

#[cfg(feature = "seccompiler")]
#[test]
fn both_compilers_mean_the_same() {
    use spo_model::seccomp::{Arch, SeccompProfileSpec};
    use spo_seccomp::{
        CompileOptions, Options, Policy, Verdict, backend::seccompiler, bpf::Insn, compile, diff_programs,
        syscalls::Syscall,
    };

    let profile: SeccompProfileSpec = serde_json::from_str(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read","write","openat"],"action":"SCMP_ACT_ALLOW"},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":38,"op":"SCMP_CMP_LT"}]},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_GT"}]},
            {"names":["lseek"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":4294967297,"op":"SCMP_CMP_GE"},
                                                                  {"index":0,"value":3,"op":"SCMP_CMP_NE"}]},
            {"names":["ioctl"],"action":"SCMP_ACT_ALLOW",
             "args":[{"index":1,"value":255,"valueTwo":7,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
    )
    .unwrap();
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::Riscv64] {
        let theirs = seccompiler::compile(&profile, arch).unwrap();
        let theirs: Vec<Insn> = theirs.iter().map(|i| Insn::new(i.code, i.jt, i.jf, i.k)).collect();
        // seccompiler answers other architectures with KILL_PROCESS.
        let options = Options::new(arch);
        let policy = Policy::from_profile(&profile, &options).unwrap().with_bad_arch(Verdict::KILL_PROCESS);
        let ours = compile(&policy, &[arch], &CompileOptions::default()).unwrap();
        assert_eq!(seccompiler::to_bpf_program(&ours).len(), ours.insns().len());
        let found = diff_programs(&theirs, ours.insns(), &[arch]).unwrap();
        let numbered = |n: u32| Syscall::by_number(arch, n).is_some();
        let real = found.changes.iter().find(|change| change.arch.is_none() || numbered(change.number));
        assert!(real.is_none(), "{arch}: {real:?}");
        // It has no guard against x32 numbers, which is the only difference, on the one architecture with them.
        assert_eq!(found.changes.is_empty(), arch != Arch::X86_64, "{:?}", found.changes);
        assert!(found.changes.iter().all(|change| change.number & 0x4000_0000 != 0));
        assert!(ours.insns().len() < theirs.len());
    }
}
