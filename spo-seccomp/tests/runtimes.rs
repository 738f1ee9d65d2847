//! The container runtimes of this machine as oracles: what they need under a filter (the lint `runtime-floor`), that they
//! take our JSON and the existing operator's alike, and what runc's `ENOSYS` stub answers.
//!
//! Needs root, and `runc` and `crun` (or their paths in `SPO_RUNC` and `SPO_CRUN`). The program in the containers is x86_64 machine code.

use std::{
    collections::BTreeSet,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::{Value, json};
use spo_model::seccomp::{Action, Arch, Errno, SeccompProfileSpec, SyscallName, SyscallRule};
use spo_seccomp::{
    CompileOptions, Data, Endian, Options, Policy, Verdict, compile, import, lint::Runtime, runtime_spec,
    simulate, syscalls::Syscall,
};

#[test]
fn runc_needs_what_the_lint_says() {
    needs_what_the_lint_says(Runtime::Runc);
}

#[test]
fn crun_needs_what_the_lint_says() {
    needs_what_the_lint_says(Runtime::Crun);
}

fn needs_what_the_lint_says(runtime: Runtime) {
    let Some(bundle) = Bundle::new(runtime, "floor", &[]) else { return };
    let floor = runtime.floor();
    for call in floor.always {
        // A runtime that took another way would show here, and the list would be out of date.
        assert!(!bundle.starts(&deny(&[call]), true), "{runtime} starts without {call}");
        assert!(!bundle.starts(&deny(&[call]), false), "{runtime} starts without {call}");
    }
    for call in floor.privileged {
        assert!(!bundle.starts(&deny(&[call]), false), "{runtime} starts without {call}");
        assert!(bundle.starts(&deny(&[call]), true), "{runtime} without new privileges needs {call}");
    }
    if !floor.either.is_empty() {
        assert!(!bundle.starts(&deny(floor.either), false), "{runtime} starts without {:?}", floor.either);
    }
    // Everything else denied at once, but for the scheduler's calls and the program's exit.
    let kept = floor_and(runtime, &["exit"]);
    let others: Vec<&str> =
        Syscall::of(Arch::X86_64).map(|(call, _)| call.name()).filter(|name| !kept.contains(name)).collect();
    assert!(others.len() > 300);
    assert!(bundle.starts(&deny(&others), false), "the floor of {runtime} is complete");
}

/// A number above all that the profile names is `ENOSYS`, one below that no rule names the default, as simulated.
#[test]
fn runc_answers_numbers_above_the_profile_as_our_program() {
    // faccessat2 (439) is the newest call named.
    let newest = 439;
    let mut profile = allow(&floor_and(Runtime::Runc, &["exit", "faccessat2"]));
    profile.architectures = Some(vec![Arch::X86_64]);
    let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap();
    let program = compile(&policy, &[], &CompileOptions::default().enosys_ceiling(true)).unwrap();
    assert_eq!(Syscall::by_name("faccessat2").and_then(|call| call.number(Arch::X86_64)), Some(newest));
    let mut answers = BTreeSet::new();
    for number in [300, 434, 438, newest + 1, newest + 2, 500, 1000, 0x3fff_ffff, 0x4000_0000, 0x4000_01b8] {
        let Some(bundle) = Bundle::new(Runtime::Runc, "enosys", &probe(number)) else { return };
        let data = Data::new(Arch::X86_64, number, [0; 6]);
        let ours = simulate(program.insns(), &data, Endian::Little).unwrap().verdict;
        let expected = match ours.raw() {
            raw if raw >> 16 == 5 => (raw & 0xffff) as i32,
            // The answer to a wrong architecture kills the thread with SIGSYS, which is 31.
            0 => 128 + 31,
            other => panic!("{number}: a probe must be denied, got {other:#x}"),
        };
        assert_eq!(
            bundle.run(&runtime_spec::to_json(&profile, Arch::X86_64), true),
            Some(expected),
            "{number}"
        );
        answers.insert(expected);
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [1, 38, 159], "all three kinds were seen");
}

/// s390 and s390x pass a number that the kernel's table lacks as 0, so runc's stub answers 0 like a number above.
#[test]
fn number_zero_of_s390_is_above_the_profile() {
    let profile = allow(&["read", "write"]);
    for arch in [Arch::S390, Arch::S390x] {
        let profile = SeccompProfileSpec { architectures: Some(vec![arch]), ..profile.clone() };
        let policy = Policy::from_profile(&profile, &Options::new(arch)).unwrap();
        for (enosys, wanted) in [(true, 0x0005_0026), (false, 0x0005_0001)] {
            let program =
                compile(&policy, &[arch], &CompileOptions::default().enosys_ceiling(enosys)).unwrap();
            let answer = |number| {
                simulate(program.insns(), &Data::new(arch, number, [0; 6]), Endian::Big).unwrap().verdict
            };
            assert_eq!(answer(0).raw(), wanted, "{arch} {enosys}");
            assert_eq!(answer(1).raw(), 0x0005_0001, "exit is below the newest name");
            assert_eq!(answer(3), Verdict::ALLOW);
            assert_eq!(answer(5).raw(), wanted, "above write");
        }
    }
}

/// The file as the existing operator writes it: keys that no runtime knows, zeros left out.
#[test]
fn runtimes_take_the_existing_operators_file_and_ours_alike() {
    for runtime in Runtime::ALL {
        // personality(0): the call's answer is the exit status.
        let Some(bundle) = Bundle::new(runtime, "json", &probe(135)) else { continue };
        let names = floor_and(runtime, &["exit"]);
        for (value, answer) in [
            (json!({"index": 0, "op": "SCMP_CMP_EQ"}), 0),
            (json!({"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}), 77),
        ] {
            let theirs = json!({
                "state": "Enabled",
                "baseProfileName": "a-base",
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [
                    {"names": names, "action": "SCMP_ACT_ALLOW"},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [value]},
                    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
                     "args": [{"index": 0, "value": value["value"].as_u64().unwrap_or(0), "op": "SCMP_CMP_NE"}]},
                ],
            });
            let profile = import::runtime_spec(&theirs.to_string()).unwrap();
            let ours = runtime_spec::to_json(&profile, Arch::X86_64);
            assert_eq!(bundle.run(&theirs, true), Some(answer), "{runtime}: {theirs}");
            assert_eq!(bundle.run(&ours, true), Some(answer), "{runtime}: {ours}");
        }
    }
}

/// What Go's scheduler and allocator may call at any time, without which runc fails now and then.
const SCHEDULER: [&str; 19] = [
    "clone",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "fcntl",
    "futex",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "munmap",
    "nanosleep",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "sigaltstack",
    "tgkill",
];

/// The calls that a runtime needs under a filter, and some more.
fn floor_and(runtime: Runtime, more: &[&'static str]) -> Vec<&'static str> {
    let floor = runtime.floor();
    [floor.always, floor.privileged, floor.either, &SCHEDULER, more].concat()
}

fn deny(calls: &[&str]) -> SeccompProfileSpec {
    let mut profile = SeccompProfileSpec::new(Action::Allow);
    profile.architectures = Some(vec![Arch::X86_64]);
    let names = calls.iter().map(|call| call.parse::<SyscallName>().expect("a name"));
    let rule = SyscallRule { errno_ret: Some(Errno::EPERM), ..SyscallRule::new(Action::Errno, names) };
    profile.syscalls = Some(vec![rule]);
    profile
}

fn allow(calls: &[&str]) -> SeccompProfileSpec {
    let mut profile = SeccompProfileSpec::new(Action::Errno);
    let names = calls.iter().map(|call| call.parse::<SyscallName>().expect("a name"));
    profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, names)]);
    profile
}

/// Machine code that makes a call with zeros as arguments and keeps its errno as exit status.
fn probe(number: u32) -> Vec<u8> {
    let mut code = vec![0xb8]; // mov eax, number
    code.extend(number.to_le_bytes());
    code.extend([0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2]); // xor edi, edi; xor esi, esi; xor edx, edx
    code.extend([0x0f, 0x05, 0xf7, 0xd8, 0x89, 0xc7]); // syscall; neg eax; mov edi, eax
    code
}

/// A static program of 64-bit x86 that runs some code and exits with what `edi` holds then; nothing but `exit` is called.
fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code: Vec<u8> = match code {
        [] => vec![0x31, 0xff],
        code => code.to_vec(),
    };
    let code = [&code[..], &[0xb8, 60, 0, 0, 0, 0x0f, 0x05]].concat(); // mov eax, 60; syscall
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // One segment, readable and executable: the whole file.
    for word in [1u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A container whose only program is a few instructions long.
struct Bundle {
    runtime: Runtime,
    program: PathBuf,
    folder: PathBuf,
    config: Value,
}

impl Bundle {
    /// `None`, said aloud, where the runtime cannot start containers.
    fn new(runtime: Runtime, purpose: &str, code: &[u8]) -> Option<Self> {
        let made = Self::make(runtime, purpose, code);
        if made.is_none() {
            // Past the capture of test output, so that a stranger sees it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: runtime: no {runtime} that can start a container here; install with scripts/install-test-tools"
            );
            assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "{runtime} is required");
        }
        made
    }

    fn make(runtime: Runtime, purpose: &str, code: &[u8]) -> Option<Self> {
        let variable = format!("SPO_{}", runtime.name().to_uppercase());
        let program = std::env::var_os(variable).map_or_else(|| PathBuf::from(runtime.name()), PathBuf::from);
        let folder = std::env::temp_dir().join(format!("spo-{runtime}-{purpose}-{}", std::process::id()));
        for inside in ["proc", "dev", "sys"] {
            std::fs::create_dir_all(folder.join("rootfs").join(inside)).ok()?;
        }
        let mut file = std::fs::OpenOptions::new();
        file.write(true).create(true).truncate(true).mode(0o755);
        file.open(folder.join("rootfs/probe")).ok()?.write_all(&elf(&[])).ok()?;
        let _ = std::fs::remove_file(folder.join("config.json"));
        let spec = Command::new(&program).arg("spec").current_dir(&folder).output().ok()?;
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe"]);
        config["linux"]["namespaces"]
            .as_array_mut()?
            .retain(|ns| ns["type"] != "cgroup" && ns["type"] != "network");
        config["mounts"].as_array_mut()?.retain(|mount| mount["type"] != "cgroup");
        let bundle = Self { runtime, program, folder, config };
        let works = spec.status.success() && bundle.starts(&deny(&["acct"]), false);
        std::fs::write(bundle.folder.join("rootfs/probe"), elf(code)).ok()?;
        (works && cfg!(target_arch = "x86_64")).then_some(bundle)
    }

    /// Whether the program runs to its successful end.
    fn starts(&self, profile: &SeccompProfileSpec, no_new_privs: bool) -> bool {
        self.run(&runtime_spec::to_json(profile, Arch::X86_64), no_new_privs) == Some(0)
    }

    /// The exit status of the container under a filter.
    fn run(&self, seccomp: &Value, no_new_privs: bool) -> Option<i32> {
        let mut config = self.config.clone();
        config["process"]["noNewPrivileges"] = json!(no_new_privs);
        config["linux"]["seccomp"] = seccomp.clone();
        std::fs::write(self.folder.join("config.json"), config.to_string())
            .expect("the bundle can be written");
        let name = format!("spo-{}", self.folder.file_name()?.to_string_lossy());
        let ran = self.command(&["run", &name]);
        if !ran.status.success() {
            self.command(&["delete", "-f", &name]);
        }
        ran.status.code()
    }

    fn command(&self, args: &[&str]) -> Output {
        // A runtime that lost a call can hang.
        let mut command = Command::new("timeout");
        command.arg("10");
        if self.runtime == Runtime::Crun {
            // crun refuses machines with both versions of cgroups, so it gets to see a second one alone.
            let script = "umount -l /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; \
                          mount -t cgroup2 none /sys/fs/cgroup; exec \"$@\"";
            command.args(["unshare", "-m", "sh", "-c", script, "sh"]);
        }
        command.arg(&self.program).arg("--root").arg(self.folder.join("state"));
        if self.runtime == Runtime::Crun {
            command.arg("--cgroup-manager=disabled");
        }
        command.args(args).current_dir(&self.folder).output().expect("timeout(1) runs")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
