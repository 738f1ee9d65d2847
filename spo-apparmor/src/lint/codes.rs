//! Every code, with what it is about.

use spo_model::Severity;

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code, in kebab case.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Who finds it.
    pub found_by: FoundBy,
    /// What it is about.
    pub about: &'static str,
}

/// What finds a [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// [`crate::lint::lint`]: the text is legal.
    Lint,
    /// [`crate::load`]: the text is refused.
    Load,
    /// [`crate::render()`]: the text does not fit the resource that holds it.
    Render,
}

use FoundBy::{Lint, Load, Render};
use Severity::{Error, Info, Warning};

const fn code(code: &'static str, severity: Severity, found_by: FoundBy, about: &'static str) -> Code {
    Code { code, severity, found_by, about }
}

/// The lints, and those refusals that say what a lint would say, sorted by code.
pub const CODES: &[Code] = &[
    code("attach-host", Warning, Lint, "the profile attaches to programs of the host"),
    code("cap-daemon", Info, Lint, "capabilities that programs which change their user often need"),
    code("cap-dangerous", Warning, Lint, "a capability that is as good as no profile"),
    code("cidr-not-supported", Error, Load, "a range of addresses in a network rule"),
    code("comment-without-newline", Error, Load, "a last line that is a comment without a line end"),
    code("dead-rule", Info, Lint, "other rules allow all of it already"),
    code("deny-exec", Info, Lint, "what a bare x in a deny means"),
    code("deny-shadows-allow", Warning, Lint, "a deny leaves nothing of the rule"),
    code("dir-self", Warning, Lint, "a pattern for the content of a directory without the directory"),
    code("dotdot", Warning, Lint, "a path with . or .. never matches"),
    code("double-slash", Warning, Lint, "a path with two slashes in front never matches"),
    code("dup-rule", Info, Lint, "another rule says the same"),
    code("empty-variable", Error, Load, "an assignment without a value"),
    code("env-unsafe", Warning, Lint, "a program keeps the environment across a change of profile"),
    code("escape", Warning, Lint, "a way out of the confinement"),
    code("exec-conflict", Error, Load, "two rules execute one path in different ways"),
    code("flag-conflict", Error, Load, "two flags exclude each other"),
    code("hash-include", Info, Lint, "the old spelling #include"),
    code("hat-depth", Warning, Lint, "profiles nested deeper than the kernel knows"),
    code("include-missing", Error, Load, "an include that is not there"),
    code("link-target-wide", Info, Lint, "links to everything below a directory"),
    code("log-to-stdout", Info, Lint, "logs that are links to the standard output"),
    code("missing-ptrace-self", Info, Lint, "its own processes cannot be looked at"),
    code("missing-signal", Warning, Lint, "it cannot receive signals"),
    code("mode-conflict", Error, Render, "the text and the resource disagree on the mode"),
    code("mount-conflict", Error, Load, "mount options that exclude each other"),
    code("name-glob", Warning, Lint, "a name with wildcards"),
    code("name-mismatch", Error, Render, "the text and the resource disagree on the name"),
    code("needs-newer-release", Error, Load, "a flag or rule that the targeted release does not know"),
    code("negclass-slash", Warning, Lint, "a negated class that matches a slash"),
    code("net-proto", Info, Lint, "raw sockets of every family"),
    code("net-v6", Warning, Lint, "IPv4 without IPv6"),
    code("no-abi", Warning, Lint, "no abi rule"),
    code("no-attachment", Info, Lint, "the profile confines only what asks for it"),
    code("no-exec", Warning, Lint, "nothing may be executed"),
    code("no-loader", Warning, Lint, "the dynamic loader is not covered"),
    code("no-tunables", Warning, Lint, "abstractions without their variables"),
    code("octal-rlimit", Warning, Lint, "a limit that is read as octal"),
    code("owner-on-deny", Warning, Lint, "a deny about own files only"),
    code("partly-denied", Info, Lint, "a deny takes a part of the rule away"),
    code("perm-case", Info, Lint, "permissions in capitals"),
    code("quiet-deny", Info, Lint, "a deny of what nothing allows"),
    code("rw-as-append", Info, Lint, "a log that may be rewritten"),
    code("service-files", Info, Lint, "files that most service images use"),
    code("star-needs-one", Info, Lint, "** between slashes does not match without a directory"),
    code("target-release", Info, Lint, "the oldest release that takes the text"),
    code("too-complex", Warning, Lint, "rules that are too many to be compared"),
    code("unconfined-exec", Warning, Lint, "a program runs without a profile"),
    code("unconfined-mode", Warning, Lint, "a mode that confines nothing"),
    code("undefined-variable", Error, Load, "a variable that is not assigned"),
    code("unknown-capability", Error, Load, "a capability that does not exist, or in capitals"),
    code("unquoted-space", Error, Load, "a path with a blank and without quotes"),
    code("usrmerge", Warning, Lint, "a path that is elsewhere where /usr is merged"),
    code("var-unused", Info, Lint, "a variable that nothing uses"),
    code("w-and-x", Warning, Lint, "a path that may be written and executed"),
    code("write-proc-sys", Warning, Lint, "settings of the kernel may be written"),
    code("x-missing", Info, Lint, "a program that may be mapped but not executed"),
    code("x-no-mr", Warning, Lint, "a script that its interpreter cannot read"),
];
