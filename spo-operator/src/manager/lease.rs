//! Who leads: what to do with the Lease next, as a pure state machine.
//!
//! ```text
//! Lease as it is ──look──► create │ take │ renew │ wait ──(one write, fenced by its resourceVersion)──► held
//! ```
//!
//! The clocks of two machines are never compared. A Lease has run out when it has not changed for its whole duration
//! as *this* process measured it, and whoever leads stops well before: [`Timing::deadline`] after the *start* of its
//! last successful write, while others wait [`Timing::lease`] after they saw its result.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a Lease holds unless it is renewed.
    pub lease: Duration,
    /// How long after the start of its last renewal the holder may act.
    pub deadline: Duration,
    /// How often the holder renews.
    pub renew: Duration,
    /// How often others look.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            renew: Duration::from_secs(2),
            retry: Duration::from_secs(2),
        }
    }
}

/// The Lease as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty after it was released.
    pub holder: String,
    /// How long it holds.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Since when it has had its holder.
    pub acquired: Option<Timestamp>,
    /// The resourceVersion: a write that names it fails if somebody else was first.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no Lease: create it.
    Create,
    /// It is free: write oneself into this version of it.
    Take(Record),
    /// It is one's own: renew this version of it.
    Renew(Record),
    /// Somebody else holds it: look again after this time.
    Wait(Duration),
}

/// One candidate. Times are those since any one moment, from a clock that does not jump.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    seen: Option<(Record, Duration)>,
    until: Option<Duration>,
}

impl Election {
    /// A candidate that has seen nothing.
    pub const fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, until: None }
    }

    /// The times it keeps.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// What it is called.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What to do about the Lease as it is at a time.
    pub fn look(&mut self, record: Option<Record>, now: Duration) -> Step {
        let Some(record) = record else {
            self.until = None;
            return Step::Create;
        };
        if record.holder == self.identity {
            return Step::Renew(record);
        }
        self.until = None;
        if record.holder.is_empty() {
            return Step::Take(record);
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let end = since + record.duration;
        self.seen = Some((record.clone(), since));
        if now >= end {
            return Step::Take(record);
        }
        Step::Wait(self.timing.retry.min(end.saturating_sub(now)))
    }

    /// A write that began at this time succeeded: the Lease is held.
    pub fn held(&mut self, began: Duration) {
        self.until = Some(began + self.timing.deadline);
    }

    /// Until when it may act; `None` if it does not lead.
    pub const fn acts_until(&self) -> Option<Duration> {
        self.until
    }

    /// Whether it may act at a time.
    pub fn leads(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When the holder renews next, and how long that may take: never so late or so long that there is no time for
    /// another try. `None` if it may not act any more.
    pub fn renewal(&self, now: Duration, has_failed: bool) -> Option<Renewal> {
        let left = self.until?.saturating_sub(now);
        if left < SHORT {
            return None;
        }
        let wait = if has_failed { AGAIN } else { self.timing.renew };
        let wait = wait.min(left / 2);
        let left = left.saturating_sub(wait);
        let limit = if left < 2 * ENOUGH { left } else { left / 2 };
        Some(Renewal { wait, limit })
    }

    /// It gives up, whatever the Lease says.
    pub const fn resign(&mut self) {
        self.until = None;
    }
}

/// One attempt to renew a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// How long before it begins.
    pub wait: Duration,
    /// How long it may take.
    pub limit: Duration,
}

/// How long after a renewal that failed another is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// A time in which a renewal most probably succeeds, if any does.
const ENOUGH: Duration = Duration::from_millis(1500);

/// A time that is too short for a renewal.
const SHORT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn candidate(name: &str) -> Election {
        Election::new(name.to_owned(), Timing::default())
    }

    fn held_by(holder: &str, version: u32) -> Record {
        let version = version.to_string();
        Record { holder: holder.to_owned(), duration: at(15), transitions: 0, acquired: None, version }
    }

    #[test]
    fn a_lease_that_is_not_there_is_created_and_a_free_one_taken() {
        let mut a = candidate("a");
        assert_eq!(a.look(None, at(0)), Step::Create);
        assert!(!a.leads(at(0)), "asking is not having");
        a.held(at(0));
        assert!(a.leads(at(9)) && !a.leads(at(10)));
        let free = held_by("", 7);
        assert_eq!(candidate("b").look(Some(free.clone()), at(0)), Step::Take(free));
    }

    /// A clock that is wrong must not make two leaders: what counts is how long this process saw no change.
    #[test]
    fn a_lease_runs_out_only_after_it_was_still_for_its_whole_duration() {
        let mut b = candidate("b");
        for (seconds, version) in [(100, 1), (105, 2), (110, 3)] {
            assert_eq!(b.look(Some(held_by("a", version)), at(seconds)), Step::Wait(at(2)), "{seconds}");
        }
        assert_eq!(b.look(Some(held_by("a", 3)), at(124)), Step::Wait(at(1)));
        assert_eq!(b.look(Some(held_by("a", 3)), at(125)), Step::Take(held_by("a", 3)));
    }

    #[test]
    fn the_holder_stops_before_anybody_else_may_start() {
        let (mut a, mut b) = (candidate("a"), candidate("b"));
        a.held(at(0));
        // The write took effect at once, and b saw it at the same moment: the earliest it can.
        let mut now = 0;
        let taken = loop {
            match b.look(Some(held_by("a", 1)), at(now)) {
                Step::Wait(_) => now += 1,
                step => break step,
            }
        };
        assert_eq!(taken, Step::Take(held_by("a", 1)));
        assert!(a.acts_until().is_some_and(|until| until + at(5) <= at(now)), "{now}");
    }

    #[test]
    fn a_holder_that_finds_another_name_leads_no_more() {
        let mut a = candidate("a");
        a.held(at(0));
        assert!(matches!(a.look(Some(held_by("b", 2)), at(1)), Step::Wait(_)));
        assert!(!a.leads(at(1)));
        a.held(at(2));
        assert_eq!(a.look(None, at(3)), Step::Create);
        assert!(!a.leads(at(3)), "a Lease that somebody deleted is nobody's");
    }

    /// When each attempt begins, and how long it may take, if none of them gets an answer.
    fn attempts(silent: impl Fn(Renewal) -> Duration) -> Vec<(Duration, Duration)> {
        let mut a = candidate("a");
        a.held(at(0));
        let (mut now, mut tries) = (at(0), Vec::new());
        while let Some(next) = a.renewal(now, !tries.is_empty()) {
            tries.push((now + next.wait, next.limit));
            now += next.wait + silent(next);
            assert!(now <= at(10), "{tries:?} is longer than it may act");
            assert!(tries.len() < 30, "{tries:?}");
        }
        tries
    }

    /// One request that gets no answer must not end a leadership.
    #[test]
    fn a_renewal_that_stalls_leaves_time_for_another() {
        let tries = attempts(|renewal| renewal.limit);
        let (first, second) = (tries[0], tries[1]);
        assert_eq!(first.0, at(2), "often enough");
        assert!(first.1 >= at(3), "a slow answer is waited for: {tries:?}");
        assert!(second.0 > first.0 + first.1 && second.1 >= ENOUGH, "{tries:?}");
    }

    #[test]
    fn while_renewals_are_refused_it_tries_on_to_the_end() {
        let tries = attempts(|_| Duration::ZERO);
        assert!(tries.len() >= 8, "{tries:?}");
        assert!(tries.last().is_some_and(|(began, _)| *began > at(9)), "{tries:?}");
    }

    #[test]
    fn who_does_not_lead_renews_nothing() {
        let mut a = candidate("a");
        assert_eq!(a.renewal(at(0), false), None);
        a.held(at(0));
        assert_eq!(a.renewal(at(10), false), None);
    }

    #[test]
    fn its_own_lease_is_renewed_after_a_restart() {
        let mine = held_by("a", 4);
        assert_eq!(candidate("a").look(Some(mine.clone()), at(0)), Step::Renew(mine));
    }
}
