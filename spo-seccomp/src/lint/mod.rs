//! Findings about a profile that is valid but probably not what its author wants.

mod knowledge;
mod runtime_floor;

use std::collections::BTreeSet;

use spo_model::{
    Diagnostic, FieldPath, Severity,
    seccomp::{Action, Arch, Errno, Op, SeccompProfileSpec, SyscallRule},
    syscall_names,
};

use runtime_floor::Start;
pub use runtime_floor::{Runtime, RuntimeFloor};

use crate::{Options, Policy, PolicyError, Verdict, arch::ArchExt, syscalls::Syscall};

/// The findings about an effective profile (base profiles merged in), in the order of the document, as runtimes on
/// `native` machines read it.
///
/// | code | severity | finding |
/// | --- | --- | --- |
/// | `unknown-syscall` | warning | no architecture has the name; runtimes ignore it |
/// | `syscall-not-on-arch` | info | no listed architecture has the name |
/// | `contradicting-rules` | error | same conditions, different actions: containers do not start |
/// | `notify-refused` | error | `SCMP_ACT_NOTIFY` as default or on `write`, which runc refuses |
/// | `unreachable-rule` | warning | an unconditional rule for the same syscall wins |
/// | `rule-is-default` | info | the rule says what the default says; runtimes leave it out |
/// | `overlapping-actions` | warning | conditions overlap and the actions differ; libseccomp's internal order decides |
/// | `libseccomp-differs` | warning | libseccomp may decide something else than what these rules together say |
/// | `repeated-argument` | warning | runtimes take two conditions on one argument as alternatives |
/// | `high-word` | warning | the condition needs bits of an argument that the kernel ignores |
/// | `multiplexed-arguments` | warning | `socketcall` or `ipc` bypass the condition on a listed architecture |
/// | `dangerous-syscall` | warning | permitted, and dangerous; the reason is in the message |
/// | `missing-compat-arch` | info | the kernel runs programs of an architecture that is killed |
/// | `default-allow` | warning | everything that is not named is permitted |
/// | `clone3-without-enosys` | warning | `clone3` is denied in a way that libc takes for a failure of `clone` |
/// | `errno-without-fallback` | info | another newer call is denied without `ENOSYS` |
/// | `runtime-floor` | error to info | the runtime itself needs the call after it installed the filter |
///
/// Each runtime with a known floor is looked at: it is an error when a container can start under none of them, a warning
/// when one starts only without new privileges, and information when one starts and another does not. [`lint_for`]
/// takes the runtime into account that is really used.
pub fn lint(profile: &SeccompProfileSpec, native: Arch) -> Vec<Diagnostic> {
    lint_for(profile, native, &Runtime::ALL)
}

/// [`lint`] for machines that have only these runtimes; none leaves `runtime-floor` out.
pub fn lint_for(profile: &SeccompProfileSpec, native: Arch, runtimes: &[Runtime]) -> Vec<Diagnostic> {
    let options = Options::new(native);
    let native = Arch::Native.resolve(native);
    let mut linter = Linter { profile, native, runtimes, found: Vec::new() };
    linter.whole_profile();
    for (index, rule) in profile.rules().iter().enumerate() {
        linter.rule(index, rule);
    }
    match Policy::from_profile(profile, &options) {
        Ok(policy) => linter.meaning(&policy),
        Err(error) => linter.no_meaning(&error),
    }
    linter.found
}

struct Linter<'a> {
    profile: &'a SeccompProfileSpec,
    native: Arch,
    runtimes: &'a [Runtime],
    found: Vec<Diagnostic>,
}

fn spec(key: &str) -> FieldPath {
    FieldPath::of("spec").key(key)
}

fn rule_path(index: usize) -> FieldPath {
    spec("syscalls").index(index)
}

impl Linter<'_> {
    fn add(&mut self, severity: Severity, code: &str, path: FieldPath, message: String, help: &str) {
        let found = Diagnostic::new(severity, code, path, message);
        self.found.push(if help.is_empty() { found } else { found.with_help(help) });
    }

    fn arches(&self) -> Vec<Arch> {
        let mut arches = vec![self.native];
        for arch in self.profile.architectures.as_deref().unwrap_or_default() {
            let arch = arch.resolve(self.native);
            if !arches.contains(&arch) {
                arches.push(arch);
            }
        }
        arches
    }

    fn whole_profile(&mut self) {
        let default = self.profile.default_action;
        if matches!(default, Action::Allow | Action::Log | Action::Trace) {
            let message =
                format!("{default} permits every syscall that no rule names, also those of newer kernels");
            self.add(
                Severity::Warning,
                "default-allow",
                spec("defaultAction"),
                message,
                "deny by default and name what the workload needs",
            );
        }
        if default == Action::Notify {
            let message = "runc refuses SCMP_ACT_NOTIFY as the default action".to_owned();
            self.add(Severity::Error, "notify-refused", spec("defaultAction"), message, "");
        }
        let listed = self.arches();
        if self.profile.architectures.is_some() {
            for compat in self.native.compat().iter().filter(|arch| !listed.contains(arch)) {
                let message = format!("programs for {compat} run on this kernel and are killed");
                self.add(
                    Severity::Info,
                    "missing-compat-arch",
                    spec("architectures"),
                    message,
                    "list the architecture if the image has such programs",
                );
            }
        }
    }

    fn rule(&mut self, index: usize, rule: &SyscallRule) {
        let path = rule_path(index);
        let arches = self.arches();
        for (i, name) in rule.names.iter().enumerate() {
            let path = path.key("names").index(i);
            match Syscall::by_name(name.as_str()) {
                None => {
                    let help =
                        syscall_names::suggest(name.as_str()).map(|near| format!("did you mean {near:?}?"));
                    let message =
                        format!("no architecture has a syscall {:?}; runtimes ignore it", name.as_str());
                    let found = Diagnostic::warning("unknown-syscall", path, message);
                    self.found.push(match help {
                        Some(help) => found.with_help(help),
                        None => found,
                    });
                }
                Some(call) if arches.iter().all(|arch| call.number(*arch).is_none()) => {
                    let message = format!("none of the architectures has {name}");
                    self.add(Severity::Info, "syscall-not-on-arch", path, message, "");
                }
                Some(call) => self.conditions(index, rule, call, &arches),
            }
            if rule.action == Action::Notify && name.as_str() == "write" {
                let path = rule_path(index).key("action");
                let message =
                    "runc refuses SCMP_ACT_NOTIFY on write, its listener would wait for itself".to_owned();
                self.add(Severity::Error, "notify-refused", path, message, "");
            }
        }
        let default = Verdict::of(self.profile.default_action, self.profile.default_errno_ret);
        if Verdict::of(rule.action, rule.errno_ret) == default {
            let message = format!("the rule gives {default} like the default action, runtimes leave it out");
            self.add(
                Severity::Info,
                "rule-is-default",
                path.clone(),
                message,
                "it makes no exception from another rule for the same syscall",
            );
        }
        let filters = rule.conditions();
        if let Some(i) =
            (1..filters.len()).find(|i| filters[..*i].iter().any(|b| filters[*i].index == b.index))
        {
            let message = format!(
                "argument {} has several conditions; runtimes take each condition of the rule as an alternative",
                filters[i].index.get()
            );
            self.add(Severity::Warning, "repeated-argument", path.key("args").index(i), message, "");
        }
    }

    fn conditions(&mut self, index: usize, rule: &SyscallRule, call: Syscall, arches: &[Arch]) {
        for (i, filter) in rule.conditions().iter().enumerate() {
            let value = filter.value.0 | if filter.op == Op::MaskedEqual { filter.value_two.0 } else { 0 };
            let narrow = call.param(filter.index.get()).bits <= 32;
            if narrow && value >> 32 != 0 && self.already("high-word", index, i).is_none() {
                let message = format!(
                    "the kernel ignores the upper half of argument {} of {}, this condition needs it",
                    filter.index.get(),
                    call.name()
                );
                let path = rule_path(index).key("args").index(i);
                self.add(
                    Severity::Warning,
                    "high-word",
                    path,
                    message,
                    "write the low 32 bits, with a mask of 0xffffffff where they have to match exactly",
                );
            }
        }
        if rule.conditions().is_empty() {
            return;
        }
        let through = arches.iter().find_map(|arch| Some((*arch, call.multiplexed(*arch)?)));
        if let Some((arch, mux)) = through {
            let message = format!(
                "on {arch} the condition on {} does not hold for {}({}), whose arguments a filter cannot see",
                call.name(),
                mux.multiplexer,
                mux.call
            );
            let path = rule_path(index).key("args");
            self.add(
                Severity::Warning,
                "multiplexed-arguments",
                path,
                message,
                "leave out that architecture",
            );
        }
    }

    fn already(&self, code: &str, rule: usize, arg: usize) -> Option<&Diagnostic> {
        let path = rule_path(rule).key("args").index(arg);
        self.found.iter().find(|d| d.code == code && d.path == path)
    }

    fn no_meaning(&mut self, error: &PolicyError) {
        match error {
            PolicyError::Contradiction { second, .. } => self.add(
                Severity::Error,
                "contradicting-rules",
                rule_path(*second),
                error.to_string(),
                "runtimes refuse to start a container with this profile",
            ),
            PolicyError::TooComplex => {
                self.add(Severity::Error, "too-complex", spec("syscalls"), error.to_string(), "");
            }
        }
    }

    fn meaning(&mut self, policy: &Policy) {
        self.shadowed_rules();
        self.overlaps(policy);
        let verdicts = |name: &str| -> Option<Vec<Verdict>> {
            let number = Syscall::by_name(name)?.number(self.native)?;
            Some(policy.store.verdicts(policy.decision(self.native, number)?))
        };
        let mut found = Vec::new();
        for (name, reason) in knowledge::DANGEROUS {
            let named = self.place_of(name);
            if let Some((rule, path)) =
                named.filter(|_| verdicts(name).is_some_and(|v| v.iter().any(|v| v.permits())))
                && matches!(rule.action, Action::Allow | Action::Log | Action::Trace)
            {
                let message = format!("{name} {reason}");
                found.push(
                    Diagnostic::warning("dangerous-syscall", path, message)
                        .with_help("leave it out unless the workload exists for this"),
                );
            }
        }
        let enosys = Verdict::errno(Errno::ENOSYS);
        for (name, instead) in knowledge::WITH_FALLBACK {
            let Some(denied) = verdicts(name).filter(|v| v.iter().all(|v| !v.permits() && *v != enosys))
            else {
                continue;
            };
            let explicit = self.place_of(name).map(|(_, path)| path);
            let answer = denied.first().copied().unwrap_or(enosys);
            if name == "clone3" && verdicts("clone").is_some_and(|v| v.iter().any(|v| v.permits())) {
                let message =
                    format!("clone3 gives {answer}, so libc does not fall back on clone and threads fail");
                let path = explicit.unwrap_or_else(|| spec("defaultAction"));
                found.push(
                    Diagnostic::warning("clone3-without-enosys", path, message)
                        .with_help("add a rule for clone3 with SCMP_ACT_ERRNO and errnoRet 38"),
                );
            } else if let Some(path) = explicit {
                let message =
                    format!("{name} gives {answer}; only ENOSYS (38) makes libc fall back on {instead}");
                found.push(Diagnostic::new(Severity::Info, "errno-without-fallback", path, message));
            }
        }
        let denied = |name: &str| verdicts(name).is_some_and(|v| v.iter().all(|v| !v.permits()));
        found.extend(self.runtime_floor(denied));
        self.found.append(&mut found);
    }

    /// Runtimes that cannot start a container under the profile. Which one a node has is not known here, so a profile
    /// that is enough for one of them is no mistake.
    fn runtime_floor(&self, denied: impl Fn(&str) -> bool) -> Vec<Diagnostic> {
        let starts: Vec<(Runtime, Start)> =
            self.runtimes.iter().map(|runtime| (*runtime, runtime.floor().start(&denied))).collect();
        let severity = if starts.iter().any(|(_, start)| *start == Start::Yes) {
            Severity::Info
        } else if starts.iter().any(|(_, start)| matches!(start, Start::Unprivileged(_))) {
            Severity::Warning
        } else {
            Severity::Error
        };
        let message = |(runtime, start): &(Runtime, Start)| match start {
            Start::No(calls) => Some(format!(
                "no container can start under {runtime}, which itself needs {}",
                calls.join(", ")
            )),
            Start::Unprivileged(calls) if severity > Severity::Info => Some(format!(
                "a container starts under {runtime} only with allowPrivilegeEscalation: false, \
                 otherwise {runtime} itself needs {}",
                calls.join(", ")
            )),
            _ => None,
        };
        let found = starts.iter().filter_map(message);
        let path = spec("syscalls");
        found
            .map(|message| {
                Diagnostic::new(severity, "runtime-floor", path.clone(), message)
                    .with_help("inherit from the base profile of the runtime")
            })
            .collect()
    }

    /// The first rule that names a syscall.
    fn place_of(&self, name: &str) -> Option<(&SyscallRule, FieldPath)> {
        self.profile.rules().iter().enumerate().find_map(|(index, rule)| {
            let i = rule.names.iter().position(|known| known.as_str() == name)?;
            Some((rule, rule_path(index).key("names").index(i)))
        })
    }

    fn shadowed_rules(&mut self) {
        let default = Verdict::of(self.profile.default_action, self.profile.default_errno_ret);
        let verdict = |rule: &SyscallRule| Verdict::of(rule.action, rule.errno_ret);
        let rules = self.profile.rules();
        let mut winners = std::collections::BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if verdict(rule) != default && rule.conditions().is_empty() {
                for name in &rule.names {
                    winners.entry(name).or_insert((index, rule));
                }
            }
        }
        let mut found = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| verdict(rule) != default) {
            for (i, name) in rule.names.iter().enumerate() {
                let winner = winners.get(name).copied();
                let Some((winner, other)) = winner.filter(|(winner, _)| *winner != index) else { continue };
                if other == rule && winner > index {
                    continue;
                }
                let message =
                    format!("the rule has no effect on {name}, the unconditional rule {winner} wins");
                let path = rule_path(index).key("names").index(i);
                found.push(Diagnostic::warning("unreachable-rule", path, message));
            }
        }
        self.found.append(&mut found);
    }

    fn overlaps(&mut self, policy: &Policy) {
        let (mut pairs, mut diverging) = (BTreeSet::new(), BTreeSet::new());
        for (arch, own) in &policy.arches {
            for call in &own.calls {
                let rules = policy.rules_of(*arch, call.number);
                // Enough to find a mistake; a bound on the time a hostile profile takes.
                for (i, a) in rules.iter().take(64).enumerate() {
                    for b in rules.iter().take(64).skip(i + 1) {
                        let name = Syscall::by_number(*arch, call.number).map_or("", Syscall::name);
                        let (first, second) =
                            (a.origin.rule.min(b.origin.rule), a.origin.rule.max(b.origin.rule));
                        if a.verdict != b.verdict && a.origin != b.origin && policy.both_match(a, b) {
                            pairs.insert((second, first, name));
                        }
                        if Policy::diverges(a, b) {
                            diverging.insert((second, first, name));
                        }
                    }
                }
            }
        }
        for (second, first, name) in diverging {
            let message = format!(
                "libseccomp merges comparisons of rules {first} and {second} for {name}, and may then decide \
                 something else than what they say"
            );
            self.add(
                Severity::Warning,
                "libseccomp-differs",
                rule_path(second),
                message,
                "write equalities, or one condition per argument and syscall",
            );
        }
        for (second, first, name) in pairs {
            let message = format!(
                "rules {first} and {second} can both match {name} and their actions differ; \
                 libseccomp's internal order decides, not the order of the rules"
            );
            self.add(
                Severity::Warning,
                "overlapping-actions",
                rule_path(second),
                message,
                "write conditions that exclude each other",
            );
        }
    }
}
