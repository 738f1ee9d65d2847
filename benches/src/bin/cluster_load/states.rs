//! The states of profiles, as a client that watches them is told.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, BufReader},
    process::{Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

const INSTALLED: &str = "Installed";

/// Who hears nothing for so long asks.
const SILENCE: Duration = Duration::from_secs(5);

/// What `kubectl get --watch` has said. A busy API server ends watches: then another client follows, and what was missed
/// in between is asked for when nothing is heard any more.
pub(crate) struct States {
    list: Command,
    heard: Instant,
    /// The client of now; `None` when no other one may follow.
    client: Arc<Mutex<Option<Child>>>,
    told: Receiver<(Instant, String)>,
    /// When each profile was first heard of, and when it became Installed.
    profiles: BTreeMap<String, (Instant, Option<Instant>)>,
}

impl States {
    /// Reads from now on what clients of a cluster say, one after the other; `kubectl` makes one with some arguments.
    pub(crate) fn of(kubectl: impl Fn(&[&str]) -> Command, namespace: &str) -> Result<Self, Box<dyn Error>> {
        const ONE: &str = r#"{.metadata.name} {.status.status}{"\n"}"#;
        let arguments = ["get", "seccompprofiles", "-n", namespace, "-o"];
        let each = format!("jsonpath={{range .items[*]}}{ONE}{{end}}");
        let list = kubectl(&[&arguments[..], &[&each]].concat());
        let one = format!("jsonpath={ONE}");
        let mut command = kubectl(&[&arguments[..], &[&one, "-w"]].concat());
        let client = Arc::new(Mutex::new(Some(command.spawn()?)));
        let (sender, told) = channel();
        let shared = Arc::clone(&client);
        thread::spawn(move || {
            while tell_all(&shared, &sender) {
                thread::sleep(Duration::from_millis(100));
                let mut client = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(before) = client.as_mut() else { return };
                end(before);
                match command.spawn() {
                    Ok(next) => *client = Some(next),
                    Err(error) => return eprintln!("kubectl cannot be started again: {error}"),
                }
            }
        });
        Ok(Self { list, heard: Instant::now(), client, told, profiles: BTreeMap::new() })
    }

    /// Waits until so many profiles are Installed, and says when the last one became so.
    pub(crate) fn until_installed(&mut self, count: usize) -> Result<Instant, Box<dyn Error>> {
        until("every profile is Installed", || self.read() >= count)?;
        let last = self.profiles.values().filter_map(|(_, installed)| *installed).max();
        Ok(last.ok_or("no profile is Installed")?)
    }

    /// Takes note of what was said, and counts those that are Installed.
    pub(crate) fn read(&mut self) -> usize {
        let told: Vec<_> = self.told.try_iter().collect();
        let now = Instant::now();
        if !told.is_empty() {
            self.heard = now;
        }
        for (at, line) in told {
            self.note(at, &line);
        }
        if now.duration_since(self.heard) > SILENCE {
            self.heard = now;
            let list = self.list.output().map(|output| output.stdout).unwrap_or_default();
            for line in String::from_utf8_lossy(&list).lines() {
                self.note(now, line);
            }
        }
        self.profiles.values().filter(|(_, installed)| installed.is_some()).count()
    }

    fn note(&mut self, at: Instant, line: &str) {
        let (name, state) = line.split_once(' ').unwrap_or((line, ""));
        let (_, installed) = self.profiles.entry(name.to_owned()).or_insert((at, None));
        if state == INSTALLED {
            installed.get_or_insert(at);
        }
    }

    /// How long each profile whose name begins so took from when it was first heard of, the shortest first.
    pub(crate) fn times(&self, prefix: &str) -> Vec<Duration> {
        let ours = self.profiles.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut times: Vec<Duration> =
            ours.filter_map(|(_, (first, installed))| Some((*installed)? - *first)).collect();
        times.sort();
        times
    }
}

impl Drop for States {
    fn drop(&mut self) {
        if let Some(mut client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).take() {
            end(&mut client);
        }
    }
}

/// Passes on what a client says until it ends, and returns whether somebody listens still.
fn tell_all(client: &Mutex<Option<Child>>, sender: &Sender<(Instant, String)>) -> bool {
    let output = client
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_mut()
        .and_then(|client| client.stdout.take());
    let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
    for line in lines {
        if sender.send((Instant::now(), line)).is_err() {
            return false;
        }
    }
    true
}

fn end(client: &mut Child) {
    let _ = client.kill();
    let _ = client.wait();
}

/// Looks often whether something is so, and says since when.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) -> Result<Instant, Box<dyn Error>> {
    let start = Instant::now();
    while !is() {
        if start.elapsed() > Duration::from_secs(900) {
            return Err(format!("it does not happen that {what}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(Instant::now())
}
