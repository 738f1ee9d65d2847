//! Running a command of the host from inside a container.

use std::{ffi::OsString, fs, io, os::unix::process::CommandExt as _, process::Command};

use clap::Args;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs a command in the mount namespace of process 1, which is the host's where a pod has `hostPID`.
///
/// The agent's image holds nothing but the agent; the tools that compile and load policies are the host's own, and
/// need the host's files.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Becomes the command; comes back only if that fails. Has to be called while the process has one thread.
pub fn run(arguments: &Arguments) -> io::Error {
    const HOST: &str = "/proc/1/ns/mnt";
    let explain = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let Some((program, rest)) = arguments.command.split_first() else {
        return io::Error::from(io::ErrorKind::InvalidInput);
    };
    let namespace = match fs::File::open(HOST) {
        Ok(namespace) => namespace,
        Err(error) => return explain(HOST, error),
    };
    // setns(2) changes root and working directory to those of the namespace.
    if let Err(error) =
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Mount))
    {
        return explain("entering the host's mount namespace", error.into());
    }
    drop(namespace);
    explain(&program.to_string_lossy(), Command::new(program).args(rest).exec())
}
