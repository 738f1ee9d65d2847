//! Memory of running processes, from `proc_pid_status(5)`.

use std::fs;

/// Memory of one process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// What is resident now (`VmRSS`).
    pub(crate) now: f64,
    /// Of that, what is not backed by files (`RssAnon`): what the process itself asked for.
    pub(crate) own: f64,
    /// The most that was ever resident (`VmHWM`).
    pub(crate) peak: f64,
}

/// The command line and memory of a process; `None` if it has ended.
pub(crate) fn of(pid: u32) -> Option<(Vec<String>, Memory)> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<f64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0)
    };
    Some((
        words.filter(|word| !word.is_empty()).collect(),
        Memory { now: field("VmRSS")?, own: field("RssAnon")?, peak: field("VmHWM")? },
    ))
}
