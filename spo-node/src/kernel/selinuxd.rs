//! SELinux through `selinuxd`: a daemon that watches the directory of modules and tells over a socket what became of
//! them.
//!
//! `GET /policies/NAME` answers `{"status":"Installed"|"Failed","msg":"…"}`, 404 for a module it does not know, and
//! `GET /policies/` a list of names. Our files come first, then it is asked until it has made up its mind.

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{Changed, Load, Module, Order, Refusal, Unload};

/// A `selinuxd` and its socket.
#[derive(Clone, Debug)]
pub struct Selinuxd {
    socket: PathBuf,
    deadline: Duration,
}

impl Selinuxd {
    /// The daemon behind a socket, asked for at most `deadline` about one batch.
    pub fn new(socket: &Path, deadline: Duration) -> Self {
        Self { socket: socket.to_owned(), deadline }
    }

    /// Whether the daemon is ready, and the modules it knows.
    pub fn survey(&self) -> Module {
        let asked = self.get::<Ready>("/ready/", self.deadline).and_then(|ready| match ready {
            Some(Ready { ready: true }) => self.get::<Option<BTreeSet<String>>>("/policies/", self.deadline),
            _ => Err(io::Error::other("it is not ready yet")),
        });
        match asked {
            Ok(names) => Module::Loads {
                names: names.flatten().unwrap_or_default(),
                order: Order::AfterFile,
                basis: String::new(),
            },
            Err(error) => Module::Unavailable(format!("selinuxd at {}: {error}", self.socket.display())),
        }
    }

    /// What became of modules whose files are in place, and of those whose files are gone; all within one deadline.
    pub(super) fn change(&self, loads: &[Load<'_>], unloads: &[Unload<'_>]) -> Changed {
        let names = loads.iter().map(|load| (load.name, true)).chain(unloads.iter().map(|u| (u.name, false)));
        let mut settled = self.settle(&names.collect::<Vec<_>>());
        let unloads = settled.split_off(loads.len());
        Changed { loads: settled, unloads }
    }

    /// Asks about every module, which is to be there or not, until all are settled or the time is up. One result for
    /// each, in their order.
    fn settle(&self, wanted: &[(&str, bool)]) -> Vec<Result<(), Refusal>> {
        let end = Instant::now() + self.deadline;
        let mut settled: Vec<Option<Result<(), Refusal>>> = vec![None; wanted.len()];
        loop {
            for ((name, there), place) in wanted.iter().zip(&mut settled).filter(|(_, place)| place.is_none())
            {
                // A daemon that accepts and is silent must not take the time of every module in turn.
                let left = end.saturating_duration_since(Instant::now());
                *place = match left.is_zero() {
                    true => break,
                    false => self.ask(name, *there, left),
                };
            }
            if settled.iter().all(Option::is_some) || Instant::now() >= end {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let late = |name: &str| Err(Refusal::new(format!("selinuxd has not said what became of {name}")));
        wanted.iter().zip(settled).map(|((name, _), place)| place.unwrap_or_else(|| late(name))).collect()
    }

    /// Asks once; `None` if it has not made up its mind.
    fn ask(&self, name: &str, there: bool, patience: Duration) -> Option<Result<(), Refusal>> {
        let answer = match self.get::<Policy>(&format!("/policies/{name}"), patience) {
            Ok(answer) => answer,
            Err(error) => {
                let message = format!("selinuxd at {}: {error}", self.socket.display());
                return Some(Err(Refusal::new(message)));
            }
        };
        match answer {
            None if !there => Some(Ok(())),
            Some(Policy { status, .. }) if there && status == "Installed" => Some(Ok(())),
            Some(Policy { status, msg }) if there && status == "Failed" => {
                Some(Err(Refusal::new(format!("selinuxd refuses the module: {msg}"))))
            }
            _ => None,
        }
    }

    /// One request; `None` for 404.
    fn get<T: DeserializeOwned>(&self, path: &str, patience: Duration) -> io::Result<Option<T>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        // Version 1.0, so that the body ends with the connection and is not chunked.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: selinuxd\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer)?;
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&answer).map_err(io::Error::other)?;
        let httparse::Status::Complete(body) = parsed else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        match response.code {
            Some(200) => serde_json::from_slice(&answer[body..]).map(Some).map_err(io::Error::from),
            Some(404) => Ok(None),
            code => Err(io::Error::other(format!("answers with status {}", code.unwrap_or(0)))),
        }
    }
}

/// The largest answer that is read, in bytes.
const LARGEST: u64 = 16 << 20;

#[derive(Deserialize)]
struct Ready {
    ready: bool,
}

#[derive(Deserialize)]
struct Policy {
    status: String,
    #[serde(default)]
    msg: String,
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, sync::mpsc};

    use super::*;
    use crate::kernel::Lsm;

    fn load(name: &str) -> Load<'_> {
        Load { lsm: Lsm::Selinux, name, bytes: b"", origin: None }
    }

    fn unload(name: &str) -> Unload<'_> {
        Unload { lsm: Lsm::Selinux, name }
    }

    /// It takes connections and says nothing.
    #[test]
    fn a_daemon_that_is_stuck_is_waited_for_once_and_not_for_each_module() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("selinuxd.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let selinuxd = Selinuxd::new(&socket, Duration::from_millis(100));
        let names: Vec<String> = (0..10).map(|i| format!("m{i}")).collect();
        let unloads: Vec<Unload<'_>> = names.iter().map(|name| unload(name)).collect();
        let changed = selinuxd.change(&[load("a"), load("b")], &unloads);
        assert_eq!((changed.loads.len(), changed.unloads.len()), (2, 10));
        assert!(changed.loads.iter().chain(&changed.unloads).all(Result::is_err));
        listener.set_nonblocking(true).expect("changes");
        let asked = listener.incoming().take_while(Result::is_ok).count();
        assert!(
            (1..=2).contains(&asked),
            "the first question takes all the time there is: {asked} questions"
        );
    }

    /// One module that it never makes up its mind about hides nothing about the others.
    #[test]
    fn all_modules_are_asked_about_in_turn() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("selinuxd.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let (stop, stopped) = mpsc::channel::<()>();
        let daemon = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.try_recv().is_ok() {
                    return;
                }
                let mut stream = stream.expect("a connection");
                let mut request = [0; 512];
                let read = stream.read(&mut request).expect("a request");
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let answer = match () {
                    () if request.contains("/good ") => r#"200 OK|{"status":"Installed"}"#,
                    () if request.contains("/bad ") => r#"200 OK|{"status":"Failed","msg":"odd"}"#,
                    () if request.contains("/gone ") => "404 Not Found|",
                    () => r#"200 OK|{"status":"Pending"}"#,
                };
                let (head, body) = answer.split_once('|').expect("two parts");
                let _ = stream.write_all(format!("HTTP/1.0 {head}\r\n\r\n{body}").as_bytes());
            }
        });
        let selinuxd = Selinuxd::new(&socket, Duration::from_millis(250));
        let changed =
            selinuxd.change(&[load("stuck"), load("good"), load("bad")], &[unload("stuck"), unload("gone")]);
        let said = |result: &Result<(), Refusal>| result.as_ref().map_err(|r| r.message.clone()).err();
        let loads: Vec<Option<String>> = changed.loads.iter().map(said).collect();
        let stuck = Some("selinuxd has not said what became of stuck".to_owned());
        assert_eq!(loads, [stuck.clone(), None, Some("selinuxd refuses the module: odd".to_owned())]);
        assert_eq!(changed.unloads.iter().map(said).collect::<Vec<_>>(), [stuck, None]);
        stop.send(()).expect("it listens");
        UnixStream::connect(&socket).expect("connects");
        daemon.join().expect("ends");
    }
}
