//! The calls the `runtime-floor` lint names, against the runc of this machine: each denied alone keeps a container
//! from starting, and all other calls denied do not.
//!
//! Needs root and `runc` (or its path in `SPO_RUNC`).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use spo_model::seccomp::{Action, Arch, Errno, SeccompProfileSpec, SyscallName, SyscallRule};
use spo_seccomp::{
    lint::{RUNTIME_FLOOR, RUNTIME_FLOOR_EITHER, RUNTIME_FLOOR_PRIVILEGED},
    runtime_spec,
    syscalls::Syscall,
};

/// What a dynamically linked `/bin/true` needs to get to its exit, beyond the runtime.
const PROGRAM: [&str; 12] = [
    "access",
    "arch_prctl",
    "brk",
    "exit_group",
    "mmap",
    "mprotect",
    "munmap",
    "pread64",
    "prlimit64",
    "rseq",
    "set_robust_list",
    "set_tid_address",
];

#[test]
fn runc_needs_what_the_lint_says() {
    let Some(bundle) = Bundle::new() else {
        {
            use std::io::Write as _;
            // Past the capture of test output, so that a stranger sees it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: runtime: no runc that can start a container here; install with scripts/install-test-tools"
            );
        }
        assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none(), "runc is required");
        return;
    };
    for (call, no_new_privs) in RUNTIME_FLOOR
        .iter()
        .flat_map(|call| [(call, true), (call, false)])
        .chain(RUNTIME_FLOOR_PRIVILEGED.iter().map(|call| (call, false)))
    {
        // A runc that took another way would show here, and the list would be out of date.
        assert!(!bundle.starts(&deny(&[call]), no_new_privs), "runc starts without {call}");
    }
    for call in
        RUNTIME_FLOOR_PRIVILEGED.iter().filter(|call| !["fstat", "newfstatat", "read"].contains(*call))
    {
        // The three left out are needed by the loader of the test program.
        assert!(bundle.starts(&deny(&[call]), true), "runc without new privileges does not need {call}");
    }
    assert!(
        !bundle.starts(&deny(&RUNTIME_FLOOR_EITHER), false),
        "runc starts without {RUNTIME_FLOOR_EITHER:?}"
    );
    // Everything that is not named denied at once, but for what Go's scheduler and the program may use.
    let scheduler = [
        "clone",
        "close",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "fcntl",
        "futex",
        "getpid",
        "getrandom",
        "gettid",
        "madvise",
        "nanosleep",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_yield",
        "sigaltstack",
        "tgkill",
    ];
    let kept: BTreeSet<&str> = RUNTIME_FLOOR
        .iter()
        .chain(&RUNTIME_FLOOR_PRIVILEGED)
        .chain(&RUNTIME_FLOOR_EITHER)
        .chain(&PROGRAM)
        .chain(&scheduler)
        .copied()
        .collect();
    let others: Vec<&str> =
        Syscall::of(Arch::X86_64).map(|(call, _)| call.name()).filter(|name| !kept.contains(name)).collect();
    assert!(others.len() > 300);
    assert!(bundle.starts(&deny(&others), false), "the floor is complete");
}

fn deny(calls: &[&str]) -> SeccompProfileSpec {
    let mut profile = SeccompProfileSpec::new(Action::Allow);
    profile.architectures = Some(vec![Arch::X86_64]);
    let names = calls.iter().map(|call| call.parse::<SyscallName>().expect("a name"));
    let rule = SyscallRule { errno_ret: Some(Errno::EPERM), ..SyscallRule::new(Action::Errno, names) };
    profile.syscalls = Some(vec![rule]);
    profile
}

struct Bundle {
    runc: PathBuf,
    folder: PathBuf,
    config: Value,
}

impl Bundle {
    fn new() -> Option<Self> {
        let runc = std::env::var_os("SPO_RUNC").map_or_else(|| PathBuf::from("runc"), PathBuf::from);
        let folder = std::env::temp_dir().join(format!("spo-runtime-floor-{}", std::process::id()));
        for inside in ["usr", "proc", "dev", "sys"] {
            std::fs::create_dir_all(folder.join("rootfs").join(inside)).ok()?;
        }
        for link in ["bin", "lib", "lib64"] {
            let _ = std::os::unix::fs::symlink(Path::new("usr").join(link), folder.join("rootfs").join(link));
        }
        let spec = Command::new(&runc).arg("spec").current_dir(&folder).output().ok()?;
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/usr/bin/true"]);
        config["mounts"].as_array_mut()?.push(
            json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}),
        );
        let namespaces = config["linux"]["namespaces"].as_array_mut()?;
        namespaces.retain(|ns| ns["type"] != "cgroup" && ns["type"] != "network");
        let bundle = Self { runc, folder, config };
        (spec.status.success() && cfg!(target_arch = "x86_64") && bundle.starts(&deny(&["acct"]), false))
            .then_some(bundle)
    }

    /// Whether the program runs to its successful end.
    fn starts(&self, profile: &SeccompProfileSpec, no_new_privs: bool) -> bool {
        let mut config = self.config.clone();
        config["process"]["noNewPrivileges"] = json!(no_new_privs);
        config["linux"]["seccomp"] = runtime_spec::to_json(profile, Arch::X86_64);
        std::fs::write(self.folder.join("config.json"), config.to_string())
            .expect("the bundle can be written");
        let runc = |args: &[&str]| -> Output {
            // A runtime that lost a call can hang.
            Command::new("timeout")
                .arg("10")
                .arg(&self.runc)
                .arg("--root")
                .arg(self.folder.join("state"))
                .args(args)
                .current_dir(&self.folder)
                .output()
                .expect("timeout(1) runs")
        };
        let name = format!("spo-floor-{}", std::process::id());
        let ran = runc(&["run", &name]);
        if !ran.status.success() {
            runc(&["delete", "-f", &name]);
        }
        ran.status.success()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
