//! The states of profiles, as a client that watches them is told.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, BufReader},
    process::Child,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

const INSTALLED: &str = "Installed";

/// A `kubectl get --watch`, and what it has said.
pub(crate) struct States {
    client: Child,
    told: Receiver<(Instant, String)>,
    /// When each profile was first heard of, and when it became Installed.
    profiles: BTreeMap<String, (Instant, Option<Instant>)>,
}

impl States {
    /// The arguments of the `kubectl` that [`Self::of`] reads.
    pub(crate) const fn arguments(namespace: &str) -> [&str; 7] {
        let line = r#"jsonpath={.metadata.name} {.status.status}{"\n"}"#;
        ["get", "seccompprofiles", "-n", namespace, "-w", "-o", line]
    }

    /// Reads what a client says from now on.
    pub(crate) fn of(mut client: Child) -> Result<Self, Box<dyn Error>> {
        let lines = BufReader::new(client.stdout.take().ok_or("kubectl has no output")?);
        let (sender, told) = channel();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { client, told, profiles: BTreeMap::new() })
    }

    /// Waits until so many profiles are Installed, and says when the last one became so.
    pub(crate) fn until_installed(&mut self, count: usize) -> Result<Instant, Box<dyn Error>> {
        until("every profile is Installed", || self.read() >= count)?;
        let last = self.profiles.values().filter_map(|(_, installed)| *installed).max();
        Ok(last.ok_or("no profile is Installed")?)
    }

    /// Takes note of what was said, and counts those that are Installed.
    pub(crate) fn read(&mut self) -> usize {
        for (at, line) in self.told.try_iter() {
            let (name, state) = line.split_once(' ').unwrap_or((&line, ""));
            let (_, installed) = self.profiles.entry(name.to_owned()).or_insert((at, None));
            if state == INSTALLED {
                installed.get_or_insert(at);
            }
        }
        self.profiles.values().filter(|(_, installed)| installed.is_some()).count()
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
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
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
