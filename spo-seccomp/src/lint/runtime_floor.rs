//! What container runtimes need between installing the filter and starting the program.

/// The calls that a runtime makes under the container's own filter.
///
/// Found by denying each known syscall alone with `EPERM`, and then all others together, for a program that does nothing
/// but exit; `tests/runtimes.rs` repeats that with the runtimes at hand. Every other call may be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeFloor {
    /// The runtime.
    pub runtime: Runtime,
    /// Needed always.
    pub always: &'static [&'static str],
    /// Needed in addition when new privileges are allowed: the filter then comes before the runtime drops capabilities
    /// and sets the user.
    pub privileged: &'static [&'static str],
    /// Calls of which one is needed in addition to those, empty for none.
    pub either: &'static [&'static str],
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Runtime {
    /// runc, the default of containerd and Docker; measured with 1.1.5.
    Runc,
    /// crun, the default of CRI-O and Podman; measured with 1.8.1.
    Crun,
}

impl Runtime {
    /// All runtimes with a known floor.
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    /// The name of its program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// What it needs.
    pub const fn floor(self) -> RuntimeFloor {
        match self {
            Self::Runc => RuntimeFloor {
                runtime: self,
                always: &["close", "execve", "fstatfs", "getdents64", "openat", "write"],
                privileged: &[
                    "capget",
                    "capset",
                    "chdir",
                    "fstat",
                    "getcwd",
                    "getppid",
                    "newfstatat",
                    "prctl",
                    "read",
                    "setgid",
                    "setgroups",
                    "setuid",
                ],
                // To check that the program may be executed.
                either: &["faccessat", "faccessat2"],
            },
            Self::Crun => RuntimeFloor {
                runtime: self,
                always: &["execve"],
                privileged: &[
                    "capset",
                    "prctl",
                    "rt_sigaction",
                    "rt_sigprocmask",
                    "setresgid",
                    "setresuid",
                    "write",
                ],
                either: &[],
            },
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a container gets under a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It starts.
    Yes,
    /// It starts only without new privileges; with them these calls are missing.
    Unprivileged(Vec<String>),
    /// It cannot start, these calls are missing.
    No(Vec<String>),
}

impl RuntimeFloor {
    /// What of the floor is denied.
    pub(super) fn start(&self, denied: impl Fn(&str) -> bool) -> Start {
        let missing = |calls: &[&str]| -> Vec<String> {
            calls.iter().filter(|call| denied(call)).map(|call| (*call).to_owned()).collect()
        };
        let always = missing(self.always);
        if !always.is_empty() {
            return Start::No(always);
        }
        let mut privileged = missing(self.privileged);
        if !self.either.is_empty() && self.either.iter().all(|call| denied(call)) {
            privileged.push(self.either.join(" or "));
        }
        if privileged.is_empty() { Start::Yes } else { Start::Unprivileged(privileged) }
    }
}
