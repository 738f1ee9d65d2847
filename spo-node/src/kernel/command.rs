//! Running a tool of the host: with a deadline, with bounded output, in the host's mount namespace if asked for.

use std::{
    ffi::OsString,
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use wait_timeout::ChildExt as _;

/// How the tools of a host are started.
#[derive(Clone, Debug)]
pub struct Tools {
    /// What goes in front of every command, for example a program that enters the host's mount namespace.
    pub enter: Vec<OsString>,
    /// The directories where tools are looked for, in the host's mount namespace.
    pub path: Vec<PathBuf>,
    /// After how long a tool is killed.
    pub deadline: Duration,
}

impl Default for Tools {
    fn default() -> Self {
        let path = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from).to_vec();
        Self { enter: Vec::new(), path, deadline: Duration::from_secs(300) }
    }
}

/// What a tool said and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// The most that is kept of what a tool says, in bytes.
const LARGEST: u64 = 64 << 20;

impl Tools {
    /// Where a tool is, looked for below a directory that shows the host's root.
    pub(super) fn find(&self, root: &Path, tool: &str) -> Option<PathBuf> {
        self.path.iter().map(|dir| dir.join(tool)).find(|path| {
            let seen = path.strip_prefix("/").map_or_else(|_| path.clone(), |relative| root.join(relative));
            seen.is_file()
        })
    }

    /// Runs a tool to its end.
    pub(super) fn run(&self, tool: &Path, arguments: &[OsString], stdin: &[u8]) -> io::Result<Output> {
        let mut command = match self.enter.split_first() {
            None => Command::new(tool),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(tool);
                command
            }
        };
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what the tool starts ends with it.
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(mut to), Some(out), Some(err)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the tool has no pipes"));
        };
        let (stdout, stderr, status) = thread::scope(|scope| {
            // A tool that does not read its input to the end has said why by other means.
            scope.spawn(move || to.write_all(stdin));
            let out = scope.spawn(move || drain(out));
            let err = scope.spawn(move || drain(err));
            let status = match child.wait_timeout(self.deadline) {
                Ok(Some(status)) => Ok(status),
                other => {
                    let _ = child.kill();
                    let _ = child.wait();
                    Err(other.err().unwrap_or_else(|| io::Error::from(io::ErrorKind::TimedOut)))
                }
            };
            // Whatever is left of the group would keep the pipes open, and us waiting for their end.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            (heard(out.join()), heard(err.join()), status)
        });
        Ok(Output {
            success: status?.success(),
            stdout: stdout?,
            stderr: String::from_utf8_lossy(&stderr?).into_owned(),
        })
    }
}

/// What a tool said. Not to have heard it is no silence: no output of `semodule` means that nothing is installed.
fn heard(read: thread::Result<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    let lost = |_| Err(io::Error::other("reading what the tool says came to an unexpected end"));
    let failed =
        |error: io::Error| io::Error::new(error.kind(), format!("what it says cannot be read: {error}"));
    read.unwrap_or_else(lost).map_err(failed)
}

/// Reads to the end and keeps the beginning, so that a talkative tool is never blocked.
fn drain(mut pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    pipe.by_ref().take(LARGEST).read_to_end(&mut kept)?;
    io::copy(&mut pipe, &mut io::sink())?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(tools: &Tools, script: &str, stdin: &[u8]) -> io::Result<Output> {
        tools.run(Path::new("/bin/sh"), &["-c".into(), script.into()], stdin)
    }

    #[test]
    fn output_and_status_come_back() {
        let output = sh(&Tools::default(), "cat; echo no >&2; exit 3", b"yes").expect("runs");
        assert_eq!((output.success, &output.stdout[..], &output.stderr[..]), (false, &b"yes"[..], "no\n"));
    }

    #[test]
    fn a_tool_that_hangs_is_killed() {
        let tools = Tools { deadline: Duration::from_millis(50), ..Tools::default() };
        let error = sh(&tools, "exec sleep 1000", b"").expect_err("is killed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_a_tool_leaves_behind_keeps_nobody_waiting() {
        let output = sh(&Tools::default(), "sleep 1000 & echo $!", b"").expect("runs");
        let pid = String::from_utf8(output.stdout).expect("a number");
        let stat = format!("/proc/{}/stat", pid.trim());
        // It has been killed already, or these pipes were open still; its last traces go in a moment.
        while std::fs::read_to_string(&stat).is_ok_and(|state| !state.contains(") Z ")) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_tool_that_does_not_read_is_no_problem() {
        let output = sh(&Tools::default(), "exit 0", &vec![b'x'; 1 << 20]).expect("runs");
        assert!(output.success);
    }

    #[test]
    fn what_comes_in_front_is_run_in_front() {
        let tools = Tools { enter: vec!["/usr/bin/env".into(), "SEEN=1".into()], ..Tools::default() };
        assert_eq!(sh(&tools, "echo $SEEN", b"").expect("runs").stdout, b"1\n");
    }

    #[test]
    fn output_that_cannot_be_read_is_no_empty_output() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let error = heard(thread::spawn(|| drain(Failing)).join()).expect_err("fails");
        assert!(error.to_string().contains("cannot be read: broken"), "{error}");
        let lost = thread::spawn(|| -> io::Result<Vec<u8>> { panic!("as a defect would") }).join();
        assert!(heard(lost).is_err());
        assert_eq!(heard(Ok(Ok(b"x".to_vec()))).expect("said"), b"x");
    }
}
