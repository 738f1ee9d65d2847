//! Programs loaded into the running kernel and probed with real calls. Runs with `--features load`.

#[cfg(not(all(feature = "load", target_arch = "x86_64", target_os = "linux")))]
#[test]
fn the_kernel_is_not_asked() {
    {
        use std::io::Write as _;
        // Past the capture of test output, so that a stranger sees it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: kernel: built without feature `load` or not for x86_64 Linux; run with --features load"
        );
    }
    assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "the kernel tier is required");
}

#[cfg(all(feature = "load", target_arch = "x86_64", target_os = "linux"))]
mod probes {
    use spo_model::seccomp::{
        Action, Arch, ArgFilter, ArgIndex, ArgValue, Errno, Op, SeccompProfileSpec, SyscallRule,
    };
    use spo_seccomp::{
        ArchExt, CompileOptions, Data, Options, Policy, Program, Verdict,
        backend::load::{LoadOptions, load, load_with_listener},
        compile, simulate,
        syscalls::Syscall,
    };

    /// Calls that do no harm whatever their arguments are.
    const CALLS: [&str; 4] = ["getpgid", "getpriority", "lseek", "sched_get_priority_max"];
    /// Errno values no real call gives, so that an answer shows where it comes from.
    const MARKS: u16 = 1000;
    const VALUES: [u64; 10] = [0, 1, 2, 3, 38, 0xffff_ffff, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX];

    #[test]
    fn the_kernel_answers_as_the_simulator() {
        let mut random = Random(0x0dd_ba11_5eed);
        let (mut marked, mut passed) = (0, 0);
        for _ in 0..40 {
            let program = random.program();
            let probes: Vec<(Arch, &str, [u64; 6])> = (0..200)
                .map(|i| {
                    let arch = if i % 2 == 0 { Arch::X86_64 } else { Arch::X86 };
                    (arch, *random.pick(&CALLS), std::array::from_fn(|_| *random.pick(&VALUES)))
                })
                .collect();
            let expected: Vec<Verdict> =
                probes.iter().map(|(a, call, args)| simulated(&program, *a, call, args)).collect();
            // A filter without TSYNC binds its thread alone, which ends with the probes.
            let answers = std::thread::scope(|scope| {
                let probing = || -> std::io::Result<Vec<i64>> {
                    load(&program, &LoadOptions::new(0))?;
                    Ok(probes.iter().map(|(arch, call, args)| real(*arch, call, args)).collect())
                };
                scope
                    .spawn(probing)
                    .join()
                    .expect("the thread survives")
                    .expect("the kernel takes the filter")
            });
            for ((probe, expected), answer) in probes.iter().zip(&expected).zip(&answers) {
                match expected.action() {
                    (Action::Errno, Some(errno)) => {
                        assert_eq!(*answer, -i64::from(errno.get()), "{probe:x?}");
                        marked += 1;
                    }
                    _ => {
                        assert!(!(-4095..=-i64::from(MARKS)).contains(answer), "{probe:x?} gave {answer}");
                        passed += 1;
                    }
                }
            }
        }
        println!("{marked} calls answered by filters, {passed} by the kernel");
        assert!(marked > 1000 && passed > 1000, "both kinds of answers occur: {marked} {passed}");
    }

    #[test]
    fn a_listener_can_be_had() {
        let mut profile = SeccompProfileSpec::new(Action::Allow);
        let rule = SyscallRule::new(Action::Notify, ["acct".parse().unwrap()]);
        profile.syscalls = Some(vec![rule]);
        let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap();
        let program = compile(&policy, &[], &CompileOptions::default()).unwrap();
        let listener = std::thread::scope(|scope| {
            scope.spawn(|| load_with_listener(&program, &LoadOptions::new(0))).join().unwrap()
        });
        assert!(std::os::fd::AsRawFd::as_raw_fd(&listener.unwrap()) > 2);
    }

    fn simulated(program: &Program, arch: Arch, call: &str, args: &[u64; 6]) -> Verdict {
        let number = Syscall::by_name(call).unwrap().number(arch).unwrap();
        let args = if arch == Arch::X86 { args.map(|a| a & 0xffff_ffff) } else { *args };
        simulate(program.insns(), &Data::new(arch, number, args), arch.endian()).unwrap().verdict
    }

    fn real(arch: Arch, call: &str, args: &[u64; 6]) -> i64 {
        let number = Syscall::by_name(call).unwrap().number(arch).unwrap();
        if arch == Arch::X86 { call_32(number, args) } else { call_64(number, args) }
    }

    fn call_64(number: u32, args: &[u64; 6]) -> i64 {
        let answer: i64;
        // SAFETY: the calls of this test write no memory; the clobbers are those of the syscall instruction.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") i64::from(number) => answer,
                in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
                in("r10") args[3], in("r8") args[4], in("r9") args[5],
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        answer
    }

    fn call_32(number: u32, args: &[u64; 6]) -> i64 {
        let answer: i64;
        // SAFETY: as above; rbx belongs to the compiler and is put back. The sixth argument (ebp) is left alone.
        unsafe {
            std::arch::asm!(
                "xchg {first}, rbx",
                "int 0x80",
                "xchg {first}, rbx",
                first = inout(reg) args[0] => _,
                inlateout("rax") i64::from(number) => answer,
                in("rcx") args[1], in("rdx") args[2], in("rsi") args[3], in("rdi") args[4],
                lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            );
        }
        i64::from(answer as i32)
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
            &from[(self.next() % from.len() as u64) as usize]
        }

        fn program(&mut self) -> Program {
            let mut profile = SeccompProfileSpec::new(Action::Allow);
            profile.architectures = Some(vec![Arch::X86_64, Arch::X86]);
            let rules = (0..6u16).map(|i| {
                let mut rule = SyscallRule::new(Action::Errno, [self.pick(&CALLS).parse().unwrap()]);
                rule.errno_ret = Errno::new(MARKS + i);
                let filter = ArgFilter {
                    index: ArgIndex::new((self.next() % 3) as u8).unwrap(),
                    value: ArgValue(*self.pick(&VALUES)),
                    value_two: ArgValue(*self.pick(&VALUES)),
                    op: *self.pick(Op::ALL),
                };
                rule.args = Some(vec![filter]);
                rule
            });
            profile.syscalls = Some(rules.collect());
            let options = Options::new(Arch::X86_64).semantics(spo_seccomp::Semantics::FirstMatch);
            let policy = Policy::from_profile(&profile, &options).unwrap();
            compile(&policy, &[], &CompileOptions::default()).unwrap()
        }
    }
}
