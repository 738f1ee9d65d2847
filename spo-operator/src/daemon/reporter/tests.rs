use serde_json::json;
use spo_model::kind::Scope;

use super::*;
use crate::daemon::{
    fixture::standing,
    status::{Reporting, per_node, per_profile},
};

/// An API server of a few objects, and what it was asked to do.
struct Server {
    reporter: Reporter,
    objects: BTreeMap<Name, Value>,
    version: u64,
    now: Instant,
    writes: usize,
}

impl Server {
    fn new() -> Self {
        let (objects, now) = (BTreeMap::new(), Instant::now());
        let mut this = Self { reporter: Reporter::default(), objects, version: 100, now, writes: 0 };
        this.list();
        this
    }

    fn list(&mut self) {
        self.reporter.told(Event::Init, self.now);
        for object in self.objects.values() {
            self.reporter.told(Event::InitApply(object.clone()), self.now);
        }
        self.reporter.told(Event::InitDone, self.now);
    }

    fn want(&mut self, profiles: &[(&str, ProfileState)]) {
        let standings: Vec<_> = profiles.iter().map(|(name, state)| standing(name, *state, None)).collect();
        let reporting = Reporting {
            node: "n".to_owned(),
            scope: Scope::Namespaced,
            operator_namespace: "spo".parse().expect("a name"),
        };
        let wanted = per_profile(&standings, &reporting);
        self.reporter.want(StatusMode::PerProfile, wanted, self.now);
    }

    fn want_per_node(&mut self, profiles: &[&str]) {
        let standings: Vec<_> = profiles.iter().map(|name| standing(name, Installed, None)).collect();
        let reporting = Reporting {
            node: "n".to_owned(),
            scope: Scope::Namespaced,
            operator_namespace: "spo".parse().expect("a name"),
        };
        self.reporter.want(StatusMode::PerNode, per_node(&standings, &reporting), self.now);
    }

    /// Stores an object under a new version.
    fn store(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(identity(&object), object.clone());
        object
    }

    /// Does everything that is due now.
    fn serve(&mut self) {
        while let Some(write) = self.reporter.next(self.now) {
            self.writes += 1;
            assert!(self.writes < 1000, "it goes on for ever");
            self.answer(&write);
        }
    }

    fn answer(&mut self, write: &Write) {
        match write {
            Write::Apply(status) => {
                let object = self.store(status.document());
                self.reporter.done(write, Ok(Some(&object)), self.now);
                self.reporter.told(Event::Apply(object), self.now);
            }
            Write::Delete(name) => {
                let object = self.objects.remove(name).expect("is there");
                self.reporter.done(write, Ok(None), self.now);
                self.reporter.told(Event::Delete(object), self.now);
            }
        }
    }
}

use ProfileState::{Error, Installed};

#[test]
fn one_write_for_each_transition_and_none_without() {
    let mut server = Server::new();
    server.want(&[("a", Installed), ("b", Installed)]);
    server.serve();
    assert_eq!(server.writes, 2);
    server.want(&[("a", Installed), ("b", Installed)]);
    server.list();
    server.serve();
    assert_eq!((server.writes, server.reporter.is_idle()), (2, true));
    server.want(&[("a", Installed), ("b", Error)]);
    server.serve();
    assert_eq!(server.writes, 3);
}

#[test]
fn a_restart_writes_nothing_but_corrects_what_is_wrong() {
    let mut before = Server::new();
    before.want(&[("a", Installed), ("b", Installed)]);
    before.serve();
    let mut after = Server::new();
    after.objects = before.objects;
    after.version = 500;
    after.list();
    assert_eq!(after.reporter.next(after.now), None, "before the first round nothing is unwanted");
    after.want(&[("a", Installed), ("b", Error)]);
    after.serve();
    assert_eq!(after.writes, 1);
}

#[test]
fn nothing_is_written_before_it_is_known_what_is_there() {
    let mut reporter = Reporter::default();
    let now = Instant::now();
    reporter.want(StatusMode::PerProfile, BTreeMap::new(), now);
    assert_eq!((reporter.next(now), reporter.wake()), (None, None));
    reporter.told(Event::Init, now);
    assert!(!reporter.is_listed());
}

#[test]
fn what_nobody_wants_goes_after_a_while() {
    let mut server = Server::new();
    server.want(&[("a", Installed)]);
    server.serve();
    server.want(&[]);
    assert_eq!(server.reporter.next(server.now), None, "the garbage collector may do it");
    assert_eq!(server.reporter.wake(), Some(server.now + GRACE));
    server.now += GRACE;
    server.serve();
    assert!(server.objects.is_empty() && server.reporter.is_idle());
    // Collected by somebody else meanwhile: nothing to do.
    server.want(&[("b", Installed)]);
    server.serve();
    server.want(&[]);
    let object = server.objects.pop_first().expect("one").1;
    server.reporter.told(Event::Delete(object), server.now);
    server.now += GRACE;
    assert_eq!(server.reporter.next(server.now), None);
}

#[test]
fn what_somebody_else_changes_or_removes_is_put_right() {
    let mut server = Server::new();
    server.want(&[("a", Installed)]);
    server.serve();
    let mut object = server.objects.values().next().expect("one").clone();
    object["status"]["status"] = json!("Error");
    let object = server.store(object);
    server.reporter.told(Event::Apply(object.clone()), server.now);
    server.serve();
    assert_eq!(server.writes, 2);
    let object = server.store(object);
    server.objects.clear();
    server.reporter.told(Event::Delete(object), server.now);
    server.now += BACKOFF.1;
    server.serve();
    assert_eq!((server.writes, server.objects.len()), (3, 1));
}

/// As two agents of different settings on one node do to each other.
#[test]
fn what_is_overwritten_again_and_again_is_put_right_later_and_later() {
    let mut server = Server::new();
    server.want(&[("a", Installed)]);
    server.serve();
    let overwrite = |server: &mut Server| {
        let mut object = server.objects.values().next().expect("one").clone();
        object["status"]["status"] = json!("Error");
        let object = server.store(object);
        server.reporter.told(Event::Apply(object), server.now);
    };
    let mut waits = Vec::new();
    for _ in 0..12 {
        overwrite(&mut server);
        let wake = server.reporter.wake().unwrap_or(server.now).max(server.now);
        waits.push(wake - server.now);
        server.now = wake;
        let before = server.writes;
        server.serve();
        assert_eq!(server.writes, before + 1);
    }
    assert_eq!((waits[0], waits[1], waits[11]), (Duration::ZERO, 2 * BACKOFF.0, BACKOFF.1));
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    // What is news is told at once, whoever else writes.
    overwrite(&mut server);
    let before = server.writes;
    server.serve();
    assert_eq!(server.writes, before);
    server.want(&[("a", ProfileState::Terminating)]);
    server.serve();
    assert_eq!(server.writes, before + 1);
}

/// Otherwise nobody would say anything of a profile for as long as its object cannot be written.
#[test]
fn one_way_of_reporting_goes_when_the_other_is_complete() {
    let mut server = Server::new();
    server.want_per_node(&["a", "b"]);
    server.serve();
    server.want(&[("a", Installed), ("b", Installed)]);
    let first = server.reporter.next(server.now).expect("a write");
    let second = server.reporter.next(server.now).expect("a write");
    server.now += 10 * GRACE;
    assert_eq!(server.reporter.next(server.now), None, "both are under way");
    server.answer(&first);
    server.reporter.done(&second, Err(()), server.now);
    assert_eq!(server.reporter.next(server.now), None, "one is not written yet");
    server.now = server.reporter.wake().expect("later");
    server.serve();
    let kinds: Vec<_> = server.objects.values().map(|o| o["status"]["profiles"].is_null()).collect();
    assert_eq!(kinds, [true, true]);
    assert!(server.reporter.is_idle());
    // And back.
    server.want_per_node(&["a", "b"]);
    server.now += 10 * GRACE;
    server.serve();
    assert_eq!(server.objects.len(), 1);
}

/// An event that is older than the answer to the last write would cause another one.
#[test]
fn old_news_is_no_news() {
    let mut server = Server::new();
    server.want(&[("a", Error)]);
    server.serve();
    let old = server.objects.values().next().expect("one").clone();
    server.want(&[("a", Installed)]);
    server.serve();
    server.reporter.told(Event::Apply(old.clone()), server.now);
    server.reporter.told(Event::Delete(old), server.now);
    server.serve();
    assert_eq!(server.writes, 2);
}

/// A CustomResourceDefinition of another release drops fields; that must not become a loop.
#[test]
fn an_api_server_that_keeps_less_is_asked_once() {
    let mut server = Server::new();
    server.want(&[("a", Installed)]);
    let write = server.reporter.next(server.now).expect("a write");
    let Write::Apply(status) = &write else { panic!("{write:?}") };
    let mut document = status.document();
    document["status"].as_object_mut().expect("an object").remove("observedGeneration");
    let object = server.store(document);
    server.reporter.done(&write, Ok(Some(&object)), server.now);
    server.reporter.told(Event::Apply(object), server.now);
    assert_eq!(server.reporter.next(server.now), None);
    server.want(&[("a", Error)]);
    assert!(server.reporter.next(server.now).is_some(), "another state is news");
}

#[test]
fn what_fails_is_tried_again_later_and_later() {
    let mut server = Server::new();
    server.want(&[("a", Installed)]);
    let mut waits = Vec::new();
    for _ in 0..20 {
        let write = server.reporter.next(server.now).expect("a write");
        assert_eq!(server.reporter.next(server.now), None, "one request at a time");
        server.reporter.done(&write, Err(()), server.now);
        assert_eq!(server.reporter.next(server.now), None, "not at once");
        let wake = server.reporter.wake().expect("later");
        waits.push(wake - server.now);
        server.now = wake;
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert!(waits[19] <= BACKOFF.1 && waits[0] <= Duration::from_secs(1), "{waits:?}");
    server.serve();
    assert_eq!(server.objects.len(), 1);
}

/// A person who applies one profile waits for it; nobody waits for one of many.
#[test]
fn one_profile_is_told_at_once_and_many_together() {
    let mut server = Server::new();
    let mut names: Vec<String> = (0..300).map(|i| format!("p{i:03}")).collect();
    let want = |server: &mut Server, names: &[String]| {
        server.want_per_node(&names.iter().map(String::as_str).collect::<Vec<_>>());
        server.serve();
    };
    // A roll-out of three seconds, with a round for each profile.
    for count in 1..=names.len() {
        want(&mut server, &names[..count]);
        server.now += Duration::from_millis(10);
    }
    server.now += ALL;
    server.serve();
    assert!(server.reporter.is_idle() && server.writes <= 7, "{} writes", server.writes);
    // One after the other.
    server.now += ALL;
    for i in 0..20 {
        let before = server.writes;
        names.push(format!("single-{i:02}"));
        want(&mut server, &names);
        assert_eq!((server.writes, server.reporter.is_idle()), (before + 1, true), "{i}");
        server.now += Duration::from_millis(150);
    }
    // A restart with many profiles, of which nothing has to be told, is no reason to wait.
    let mut after = Server::new();
    (after.objects, after.version) = (server.objects, 10_000);
    after.list();
    want(&mut after, &names);
    assert_eq!(after.writes, 0);
    names.pop();
    want(&mut after, &names);
    after.now += EACH;
    names.pop();
    want(&mut after, &names);
    assert_eq!(after.writes, 2);
}

#[test]
fn an_api_server_that_is_busy_is_asked_less() {
    let mut server = Server::new();
    server.want_per_node(&["a"]);
    server.serve();
    for (took, pause) in [(1, EACH), (50, EACH), (200, Duration::from_millis(1500)), (60_000, LONGEST)] {
        server.now += LONGEST;
        server.want_per_node(&["a", &format!("after-{took}")]);
        let write = server.reporter.next(server.now).expect("a write");
        server.now += Duration::from_millis(took);
        server.answer(&write);
        server.want_per_node(&["a"]);
        assert_eq!(server.reporter.wake(), Some(server.now + pause), "{took}");
        server.now += LONGEST;
        server.serve();
    }
}
