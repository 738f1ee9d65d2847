//! Time and memory of putting many profiles on a host.
//!
//! `cargo run --release -p spo-benches --bin node_figures [PROFILES] [DIR]` prints a table: the first run writes every
//! profile with its file synced, the second one finds nothing to do, the third one changes one. Memory is the peak of
//! the process (`VmHWM` of `proc_pid_status(5)`), the desired artefacts included.

use std::{error::Error, time::Instant};

use spo_model::{kind::Kind, names::ProfileKey};
use spo_node::{artefact::Artefact, host::Root, install, kernel::FilesOnly};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let below = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(below)?;
    let host = Root::open(dir.path())?;
    let mut desired = (0..count).map(artefact).collect::<Result<Vec<_>, _>>()?;
    println!("{count} profiles");
    for what in ["first run", "nothing to do", "one changed"] {
        if what == "one changed"
            && let Some(artefact) = desired.first_mut()
        {
            artefact.bytes = [&artefact.bytes, &b"\n"[..]].concat().into();
        }
        let start = Instant::now();
        let report = install(&host, &FilesOnly, &desired, &|_| false)?;
        let time = start.elapsed();
        if let Some(problem) = report.problems().next() {
            return Err(problem.into());
        }
        println!("{what:15} {:8.1} ms {:6.1} MB", time.as_secs_f64() * 1e3, peak_memory()?);
    }
    Ok(())
}

/// A filter of sixty names, as recorders write them.
fn artefact(index: usize) -> Result<Artefact, Box<dyn Error>> {
    let names: Vec<String> = (0..60).map(|i| format!("\"syscall_{index}_{i}\"")).collect();
    let text = format!(
        "{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{{\"names\":[{}],\"action\":\"SCMP_ACT_ALLOW\"}}]}}",
        names.join(",")
    );
    let key = ProfileKey::new(Some(&format!("namespace-{}", index % 100)), &format!("profile-{index}"))?;
    Ok(Artefact::new(Kind::SeccompProfile, key, text.into_bytes())?)
}

fn peak_memory() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}
