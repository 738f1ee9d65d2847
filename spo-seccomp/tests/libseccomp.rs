//! The C library as oracle: syscall numbers, and the verdict on a million and more calls of random profiles.
//!
//! Runs with `--features libseccomp`.

#[cfg(not(feature = "libseccomp"))]
#[test]
fn the_oracle_is_absent() {
    {
        use std::io::Write as _;
        // Past the capture of test output, so that a stranger sees it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: oracle: built without feature `libseccomp`; run with --features libseccomp, \
         install with scripts/install-test-tools"
        );
    }
    assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "the libseccomp oracle is required");
}

#[cfg(feature = "libseccomp")]
mod oracle {
    use std::{
        cell::Cell,
        collections::{BTreeMap, BTreeSet},
    };

    use spo_model::seccomp::{
        Action, Arch, ArgFilter, ArgIndex, ArgValue, Errno, Op, SeccompProfileSpec, SyscallName, SyscallRule,
    };
    use spo_seccomp::{
        ArchExt, CompileOptions, Data, Endian, Options, Policy, PolicyError,
        backend::libseccomp::{self, Layout},
        bpf::Insn,
        compile,
        import::{self, DOCKER_CAPABILITIES, Host},
        lint, simulate,
        syscalls::{KernelVersion, Syscall},
    };

    /// What the library of version 2.5.4 knows and does not know is a fact of its release; newer names are ours only.
    #[test]
    fn every_number_the_library_resolves_is_ours() {
        let (mut compared, mut newer) = (0, BTreeSet::new());
        for &arch in Arch::ALL.iter().filter(|arch| **arch != Arch::Native) {
            for call in Syscall::all() {
                let theirs = libseccomp::resolve(call.name(), arch);
                let ours = call.number(arch);
                match (theirs, ours) {
                    (None, Some(_)) => {
                        newer.insert((arch, call.name()));
                    }
                    _ => {
                        assert_eq!(theirs, ours, "{arch} {call:?}");
                        compared += 1;
                    }
                }
            }
        }
        println!("{compared} entries agree, the library lacks {}", newer.len());
        assert!(compared > 5000);
    }

    #[test]
    fn random_profiles_mean_the_same() {
        let mut random = Random(
            std::env::var("SPO_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_cafe_f00d_1234),
        );
        let (mut probes, mut profiles, mut refused) = (0u64, 0, 0);
        let calls = shared_names();
        let explained = Cell::new(0);
        while probes < 1_200_000 {
            let case = Case::random(&mut random, &calls);
            match case.check(&mut random, &explained) {
                Ok(Some(n)) => (probes, profiles) = (probes + n, profiles + 1),
                Ok(None) => refused += 1,
                Err(_) => {
                    let (case, why) = case.shrink();
                    panic!("{why}\n{:?}\n{}", case.arches, serde_json::to_string(&case.profile).unwrap());
                }
            }
        }
        let explained = explained.get();
        println!("{probes} probes of {profiles} profiles agree, {refused} profiles refused by both");
        println!("{explained} probes differ, all of calls that the lint libseccomp-differs names");
        assert!(explained * 100 < probes, "the exception is no rule");
    }

    #[test]
    fn dockers_default_means_the_same() {
        let path = std::env::var_os("SPO_CORPUS").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
            Into::into,
        );
        let Ok(json) = std::fs::read_to_string(path.join("seccomp/moby-default.json")) else {
            {
                use std::io::Write as _;
                // Past the capture of test output, so that a stranger sees it.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: corpus: no seccomp/moby-default.json in {}",
                    path.display()
                );
            }
            return;
        };
        let kernel = KernelVersion { major: 6, minor: 18, patch: 0 };
        let host = Host { arch: Arch::X86_64, capabilities: &DOCKER_CAPABILITIES, kernel };
        let mut profile = import::docker(&json, &host).unwrap();
        // The library may be older than the profile.
        for rule in profile.syscalls.as_mut().unwrap() {
            rule.names.retain(|name| {
                let call = Syscall::by_name(name.as_str()).expect("a known name");
                libseccomp::knows(call.name())
                    && [Arch::X86_64, Arch::X86, Arch::X32]
                        .iter()
                        .all(|arch| libseccomp::resolve(call.name(), *arch) == call.number(*arch))
            });
        }
        let mut random = Random(99);
        for arches in [&[Arch::X86_64][..], &[Arch::X86_64, Arch::X86, Arch::X32]] {
            for layout in [Layout::Linear, Layout::Tree] {
                let profile = SeccompProfileSpec { architectures: Some(arches.to_vec()), ..profile.clone() };
                let case = Case { profile, arches: arches.to_vec(), layout };
                let probes = case.check(&mut random, &Cell::new(0)).unwrap().expect("compiles");
                assert!(probes > 1000);
            }
        }
    }

    /// Both match, and the condition on the higher argument decides, whatever the order of the rules.
    #[test]
    fn overlaps_follow_the_argument_order() {
        let filter = |index, value| ArgFilter {
            index: ArgIndex::new(index).unwrap(),
            value: ArgValue(value),
            value_two: ArgValue(0),
            op: Op::Equal,
        };
        let rule = |action, index| SyscallRule {
            args: Some(vec![filter(index, 1)]),
            ..SyscallRule::new(action, ["read".parse().unwrap()])
        };
        for flip in [false, true] {
            let mut rules = vec![rule(Action::Allow, 0), rule(Action::Trap, 1)];
            if flip {
                rules.reverse();
            }
            let mut profile = SeccompProfileSpec::new(Action::Errno);
            profile.syscalls = Some(rules);
            let theirs = libseccomp::compile(&profile, &[Arch::X86_64], Layout::Linear).unwrap();
            let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap();
            let data = Data::new(Arch::X86_64, 0, [1, 1, 0, 0, 0, 0]);
            assert_eq!(verdict(&theirs, &data, Endian::Little), 0x0003_0000);
            assert_eq!(policy.eval(Arch::X86_64, 0, &data.args).raw(), 0x0003_0000);
        }
    }

    struct Case {
        profile: SeccompProfileSpec,
        arches: Vec<Arch>,
        layout: Layout,
    }

    impl Case {
        fn random(random: &mut Random, calls: &[&'static str]) -> Self {
            let sets = [
                &[Arch::X86_64][..],
                &[Arch::X86_64, Arch::X86, Arch::X32],
                &[Arch::X86_64, Arch::X32],
                &[Arch::X86],
                &[Arch::Aarch64, Arch::Arm],
                &[Arch::Riscv64],
                &[Arch::S390x, Arch::S390],
                &[Arch::Ppc64le],
                &[Arch::Mips, Arch::Mips64],
            ];
            let arches = random.pick(&sets);
            let mut profile = SeccompProfileSpec::new(random.action());
            profile.architectures = Some(arches.to_vec());
            // Few calls make for many overlaps, many for large programs.
            let most = *random.pick(&[2, 24]);
            let subset: Vec<&str> = (0..1 + random.below(most)).map(|_| *random.pick(calls)).collect();
            let profile_default = profile.default_action;
            // The arguments that conditional rules of a syscall look at, and those that conjunctions do.
            let mut looked_at: BTreeMap<SyscallName, [BTreeSet<u8>; 2]> = BTreeMap::new();
            let rules = (0..random.below(30)).map(|_| {
                let names: BTreeSet<SyscallName> =
                    (0..1 + random.below(5)).filter_map(|_| random.pick(&subset).parse().ok()).collect();
                let mut rule = SyscallRule::new(random.action(), names);
                rule.errno_ret = Errno::new(random.below(3) as u16).filter(|_| rule.action == Action::Errno);
                let indices: BTreeSet<u8> = (0..random.below(4)).map(|_| random.below(6) as u8).collect();
                let args: Vec<ArgFilter> =
                    indices.into_iter().filter_map(|index| random.filter(index)).collect();
                rule.args = (!args.is_empty()).then_some(args);
                if rule.args.is_some() {
                    rule.names.truncate(1);
                    // A conjunction that shares an argument with another rule can keep the library (2.5.4) busy for
                    // ever, so there is nothing to compare with; the lint says what else it does.
                    let indices: BTreeSet<u8> = rule.conditions().iter().map(|arg| arg.index.get()).collect();
                    let conjunction = indices.len() > 1;
                    let multiplexer = matches!(rule.names[0].as_str(), "socketcall" | "ipc");
                    // 2.5.4 can let the jump behind socketcall's or ipc's call number end in the comparison for the
                    // call itself, where that accepts in two places (`semop a2 > 38` on mips and mips64, `semop a5 < 38`
                    // on ppc64le); 2.6.1 does not and agrees with us.
                    let two_exits = |arg: &ArgFilter| !matches!(arg.op, Op::Equal | Op::MaskedEqual);
                    let call = Syscall::by_name(rule.names[0].as_str());
                    let misled = libseccomp::version() < Some((2, 6, 0))
                        && rule.conditions().iter().any(two_exits)
                        && arches
                            .iter()
                            .any(|arch| call.is_some_and(|call| call.multiplexed(*arch).is_some()));
                    let [all, conjunctions] = looked_at.entry(rule.names[0].clone()).or_default();
                    let against = if conjunction { &*all } else { &*conjunctions };
                    if !indices.is_disjoint(against) || conjunction && multiplexer || misled {
                        rule.action = profile_default;
                    } else {
                        all.extend(&indices);
                        conjunctions.extend(indices.iter().filter(|_| conjunction));
                    }
                    rule.errno_ret = None;
                }
                rule
            });
            profile.syscalls = Some(rules.collect());
            let layout = *random.pick(&[Layout::Linear, Layout::Tree]);
            Self { profile, arches: arches.to_vec(), layout }
        }

        /// Compares all numbers with many arguments; `None` when both refuse the profile.
        fn check(&self, random: &mut Random, explained: &Cell<u64>) -> Result<Option<u64>, String> {
            let options = Options::new(self.arches[0]).always_native(false).strict64(true);
            let policy = Policy::from_profile(&self.profile, &options);
            let theirs = libseccomp::compile(&self.profile, &self.arches, self.layout);
            let (policy, theirs) = match (policy, theirs) {
                (Ok(policy), Ok(theirs)) => (policy, theirs),
                (Err(PolicyError::Contradiction { .. }), Err(_)) => return Ok(None),
                // 2.6 takes an ordering a second time with another action, 2.5 refuses it like other conditions.
                (Err(PolicyError::Contradiction { .. }), Ok(_))
                    if libseccomp::version() >= Some((2, 6, 0)) =>
                {
                    return Ok(None);
                }
                (ours, theirs) => {
                    return Err(format!(
                        "only one refuses: ours {:?}, theirs {:?}",
                        ours.err(),
                        theirs.err()
                    ));
                }
            };
            let program = compile(&policy, &self.arches, &CompileOptions::default()).expect("compiles");
            let endian = self.arches[0].endian();
            let doubtful = doubtful(&self.profile, self.arches[0]);
            let mut probes = 0;
            for data in self.probes(random) {
                if compares_token_with_numbers(&theirs, data.arch) {
                    continue;
                }
                let ours = verdict(program.insns(), &data, endian);
                let expected = verdict(&theirs, &data, endian);
                let call = Arch::ALL.iter().filter(|arch| arch.audit_token() == data.arch);
                let mut call = call.filter_map(|arch| Syscall::by_number(*arch, data.nr));
                if ours != expected && call.any(|call| doubtful.contains(call.name())) {
                    explained.set(explained.get() + 1);
                    continue;
                }
                if ours != expected {
                    return Err(format!(
                        "ours {ours:#x}, theirs {expected:#x} for {data:x?}, {:?}",
                        self.layout
                    ));
                }
                probes += 1;
            }
            Ok(Some(probes))
        }

        /// The smallest profile that still differs, by leaving out rules, names and conditions.
        fn shrink(self) -> (Self, String) {
            let fails = |case: &Self| {
                (0..8).find_map(|seed| case.check(&mut Random(0x1234_5678 + seed), &Cell::new(0)).err())
            };
            let (mut case, mut why) = (self, String::new());
            loop {
                let mut smaller = Vec::new();
                let rules = case.profile.rules();
                for i in 0..rules.len() {
                    let mut less = rules.to_vec();
                    less.remove(i);
                    smaller.push(less);
                    for j in 0..rules[i].names.len() {
                        let mut less = rules.to_vec();
                        less[i].names.remove(j);
                        smaller.push(less);
                    }
                    for j in 0..rules[i].conditions().len() {
                        let mut less = rules.to_vec();
                        less[i].args.as_mut().unwrap().remove(j);
                        smaller.push(less);
                    }
                }
                let next = smaller.into_iter().find_map(|rules| {
                    let profile = SeccompProfileSpec { syscalls: Some(rules), ..case.profile.clone() };
                    let case = Self { profile, arches: case.arches.clone(), layout: case.layout };
                    fails(&case).map(|why| (case, why))
                });
                match next {
                    Some((next, reason)) => (case, why) = (next, reason),
                    None => return (case, why),
                }
            }
        }

        fn probes(&self, random: &mut Random) -> Vec<Data> {
            let mut probes = Vec::new();
            // Large profiles have many calls to probe, small ones need many probes of each.
            let per_call = if self.profile.rules().len() > 30 { 6 } else { 120 };
            for arch in &self.arches {
                let base = match arch {
                    Arch::Mips => 4000,
                    Arch::Mips64 => 5000,
                    _ => 0,
                };
                let numbers = (base..base + 512).chain((0..560).map(|n| 0x4000_0000 | n)).chain([
                    u32::MAX,
                    u32::MAX - 1,
                    0x3fff_ffff,
                    0x7fff_ffff,
                    0x8000_0000,
                ]);
                probes.extend(numbers.map(|nr| Data::new(*arch, nr, random.arguments())));
                let named: BTreeSet<&str> = self
                    .profile
                    .rules()
                    .iter()
                    .flat_map(|rule| &rule.names)
                    .map(SyscallName::as_str)
                    .collect();
                let named = named.iter().filter_map(|name| Syscall::by_name(name)?.number(*arch));
                for nr in named.chain(Syscall::by_name("socketcall").and_then(|c| c.number(*arch))) {
                    probes.extend((0..per_call).map(|_| Data::new(*arch, nr, random.arguments())));
                }
            }
            probes.extend((0..64).map(|nr| Data { nr, arch: 0x1234_5678, ..Data::default() }));
            probes
        }
    }

    /// The calls of which the lint says that the library may decide something else.
    fn doubtful(profile: &SeccompProfileSpec, native: Arch) -> BTreeSet<String> {
        let found = lint(profile, native).into_iter().filter(|finding| finding.code == "libseccomp-differs");
        let name = |message: String| Some(message.split(" for ").nth(1)?.split(',').next()?.to_owned());
        found.filter_map(|finding| name(finding.message)).collect()
    }

    fn verdict(program: &[Insn], data: &Data, endian: Endian) -> u32 {
        simulate(program, data, endian).expect("a loadable program").verdict.raw()
    }

    /// Whether the library's program forgets to load the number of an architecture and compares syscall numbers
    /// with the architecture's token instead.
    ///
    /// Version 2.5.4 does so when the blocks of two architectures are shared: `ld [4]; jeq o32; jeq n64; jeq 5221`.
    /// Such a filter never matches there; the library is wrong, so these probes do not count.
    fn compares_token_with_numbers(program: &[Insn], token: u32) -> bool {
        let is_token = |k: u32| Arch::ALL.iter().any(|arch| *arch != Arch::Native && arch.audit_token() == k);
        // Behind the token of the architecture itself (a number can look like another token: 0x14 is ppc's).
        let (mut pc, mut found) = (1, false);
        while let Some(insn) = program.get(pc) {
            pc += 1;
            match insn.code {
                0x15 if found || !is_token(insn.k) => return true,
                0x15 => {
                    found = insn.k == token;
                    pc += usize::from(if found { insn.jt } else { insn.jf });
                }
                0x05 => pc += insn.k as usize,
                0x25 | 0x35 | 0x45 => return true,
                _ => return false,
            }
        }
        false
    }

    /// Names that library and table resolve alike on all architectures of the test, so that a difference is one of
    /// meaning.
    fn shared_names() -> Vec<&'static str> {
        let arches = [
            Arch::X86_64,
            Arch::X86,
            Arch::X32,
            Arch::Aarch64,
            Arch::Arm,
            Arch::Riscv64,
            Arch::S390x,
            Arch::S390,
            Arch::Ppc64le,
            Arch::Mips,
            Arch::Mips64,
        ];
        // seccomp-syscalls.h gives these two one pseudo number, so a rule for one is a rule for the other.
        let twins = ["switch_endian", "sys_debug_setcontext"];
        Syscall::all()
            .filter(|call| libseccomp::knows(call.name()) && !twins.contains(&call.name()))
            .filter(|call| {
                arches.iter().all(|arch| libseccomp::resolve(call.name(), *arch) == call.number(*arch))
            })
            .map(Syscall::name)
            .collect()
    }

    /// xorshift64*: the same cases in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, n: u64) -> u64 {
            self.next() % n
        }

        fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
            &from[self.below(from.len() as u64) as usize]
        }

        fn action(&mut self) -> Action {
            *self.pick(&[
                Action::Allow,
                Action::Allow,
                Action::Allow,
                Action::Errno,
                Action::Errno,
                Action::Log,
                Action::Trap,
                Action::Kill,
                Action::KillProcess,
                Action::Trace,
            ])
        }

        fn value(&mut self) -> u64 {
            let edge = *self.pick(&[
                0,
                1,
                2,
                38,
                0xffff_ffff,
                1 << 32,
                (1 << 32) + 1,
                (1 << 32) + 2,
                3 << 32,
                u64::MAX,
            ]);
            match self.below(4) {
                0 => self.below(8),
                1 => edge.wrapping_add(self.below(3)).wrapping_sub(1),
                _ => edge,
            }
        }

        fn filter(&mut self, index: u8) -> Option<ArgFilter> {
            let op = *self.pick(Op::ALL);
            let (value, value_two) = (self.value(), if op == Op::MaskedEqual { self.value() } else { 0 });
            let index = ArgIndex::new(index)?;
            Some(ArgFilter { index, value: ArgValue(value), value_two: ArgValue(value_two), op })
        }

        fn arguments(&mut self) -> [u64; 6] {
            std::array::from_fn(|_| self.value())
        }
    }
}
