//! Another kernel: user-mode Linux, which enforces AppArmor and SELinux where this machine's kernel does not.
//!
//! The guest is Debian's `linux.uml` with an initial RAM disk of two files, a static busybox and our `init`; everything
//! else it sees of the host through hostfs: `/usr` as it is, and one folder at `/share` where the test puts what it
//! needs. It runs `/share/test.sh`, whose checks print `ok - …` or `not ok - …`, and powers off.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How long a guest may take, in seconds.
const DEADLINE: u64 = 120;

/// What a guest is booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// AppArmor.
    AppArmor,
    /// SELinux, enforcing from the moment a policy is loaded.
    Selinux,
}

/// What a guest printed.
#[derive(Debug)]
pub struct Session {
    /// Every line of its console.
    pub console: String,
    /// The descriptions of the checks that passed, in their order.
    pub passed: Vec<String>,
    /// The descriptions of those that did not.
    pub failed: Vec<String>,
    /// The exit status of the script, if it came to its end.
    pub status: Option<i32>,
}

/// Boots a guest that runs a script, with a folder of the host as `/share`.
///
/// # Errors
/// The guest cannot be started.
pub fn run(security: Security, share: &Path, script: &str) -> std::io::Result<Session> {
    fs::write(share.join("test.sh"), script)?;
    let initrd = share.join("initrd");
    fs::write(&initrd, initial_ram_disk()?)?;
    let parameter = match security {
        Security::AppArmor => "security=apparmor",
        Security::Selinux => "security=selinux enforcing=1",
    };
    let mut guest = Command::new("linux.uml")
        .args(["mem=512M", "con=null", "con0=null,fd:1", "con1=null", "console=tty0", "quiet", "loglevel=2"])
        .args(parameter.split(' '))
        .arg(format!("initrd={}", initrd.display()))
        .arg(format!("share={}", share.display()))
        // Its memory is a file in this folder.
        .env("TMPDIR", if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { share })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = guest.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(DEADLINE);
    let mut session =
        Session { console: String::new(), passed: Vec::new(), failed: Vec::new(), status: None };
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => session.read(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                session.read(&format!("not ok - the guest ends within {DEADLINE} s"));
                break;
            }
        }
    }
    let _ = guest.kill();
    guest.wait()?;
    Ok(session)
}

impl Session {
    fn read(&mut self, line: &str) {
        if let Some(what) = line.strip_prefix("ok - ") {
            self.passed.push(what.to_owned());
        } else if let Some(what) = line.strip_prefix("not ok - ") {
            self.failed.push(what.to_owned());
        } else if let Some(status) = line.strip_prefix("guest ends with ") {
            self.status = status.parse().ok();
        }
        self.console.push_str(line);
        self.console.push('\n');
    }

    /// Asserts that the script came to its end and that exactly these many checks passed.
    ///
    /// # Panics
    /// If not, with the console.
    pub fn assert(&self, checks: usize) {
        let good = self.failed.is_empty() && self.passed.len() == checks && self.status == Some(0);
        assert!(
            good,
            "{} of {checks} checks passed, {:?} failed\n{}",
            self.passed.len(),
            self.failed,
            self.console
        );
        self.passed.iter().for_each(|what| println!("ok - {what}"));
    }
}

/// An initial RAM disk in the format `newc` (`cpio(5)`) with busybox and `init`.
fn initial_ram_disk() -> std::io::Result<Vec<u8>> {
    let busybox = fs::read("/bin/busybox")?;
    let mut archive = Vec::with_capacity(busybox.len() + 4096);
    for dir in ["bin", "proc", "sys", "dev", "tmp", "run", "share", "host", "etc", "usr", "var"] {
        entry(&mut archive, dir, 0o040_755, &[]);
    }
    entry(&mut archive, "bin/busybox", 0o100_755, &busybox);
    entry(&mut archive, "init", 0o100_755, include_bytes!("../guest/init"));
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let header = [0, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend_from_slice(b"070701");
    for field in header {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
