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

use super::{Load, Module, Order, Refusal};

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
        let asked = self.get::<Ready>("/ready/").and_then(|ready| match ready {
            Some(Ready { ready: true }) => self.get::<Option<BTreeSet<String>>>("/policies/"),
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

    /// What became of modules whose files are in place.
    pub(super) fn load(&self, loads: &[Load<'_>]) -> Vec<Result<(), Refusal>> {
        let end = Instant::now() + self.deadline;
        loads
            .iter()
            .map(|load| {
                self.wait(end, load.name, |answer| match answer {
                    Some(Policy { status, .. }) if status == "Installed" => Some(Ok(())),
                    Some(Policy { status, msg }) if status == "Failed" => {
                        Some(Err(Refusal::new(format!("selinuxd refuses the module: {msg}"))))
                    }
                    _ => None,
                })
            })
            .collect()
    }

    /// Waits until a module whose file is gone is gone too.
    pub(super) fn unload(&self, name: &str) -> Result<(), Refusal> {
        let end = Instant::now() + self.deadline;
        self.wait(end, name, |answer| answer.is_none().then_some(Ok(())))
    }

    fn wait(
        &self,
        end: Instant,
        name: &str,
        settled: impl Fn(Option<Policy>) -> Option<Result<(), Refusal>>,
    ) -> Result<(), Refusal> {
        loop {
            let answer = self
                .get::<Policy>(&format!("/policies/{name}"))
                .map_err(|e| Refusal::new(format!("selinuxd at {}: {e}", self.socket.display())))?;
            if let Some(result) = settled(answer) {
                return result;
            }
            if Instant::now() >= end {
                return Err(Refusal::new(format!("selinuxd has not said what became of {name}")));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// One request; `None` for 404.
    fn get<T: DeserializeOwned>(&self, path: &str) -> io::Result<Option<T>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(self.deadline))?;
        stream.set_write_timeout(Some(self.deadline))?;
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
