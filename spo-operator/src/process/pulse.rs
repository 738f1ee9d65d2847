//! Whether the loops of a process still go round.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::time::Instant;

/// The loops of a process. `/livez` fails once one of them has not gone round for too long, and the kubelet starts the
/// process again.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Vec<Loop>>>);

#[derive(Debug)]
struct Loop {
    what: &'static str,
    longest: Duration,
    last: Arc<Mutex<Instant>>,
}

/// One loop's share of a [`Pulse`]. A loop that ends drops it: whoever waits for that loop knows that it has ended.
#[derive(Debug)]
pub struct Beat {
    pulse: Pulse,
    last: Arc<Mutex<Instant>>,
}

/// After so long without a beat a loop hangs. Much longer than anything that a loop waits for.
const LONGEST: Duration = Duration::from_secs(300);

/// How often a loop that has nothing to do beats.
pub const INTERVAL: Duration = Duration::from_secs(30);

impl Pulse {
    /// One more loop, which has just gone round.
    pub fn of(&self, what: &'static str) -> Beat {
        self.within(what, LONGEST)
    }

    /// As [`Self::of`], for something that may take another time than a loop before it hangs.
    pub fn within(&self, what: &'static str, longest: Duration) -> Beat {
        let last = Arc::new(Mutex::new(Instant::now()));
        let entry = Loop { what, longest, last: Arc::clone(&last) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Beat { pulse: self.clone(), last }
    }

    /// The loops that hang.
    pub fn hanging(&self) -> Vec<&'static str> {
        let loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hangs = |entry: &&Loop| {
            let last = *entry.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.elapsed() > entry.longest
        };
        loops.iter().filter(hangs).map(|entry| entry.what).collect()
    }

    /// All that go round.
    #[cfg(test)]
    pub fn all(&self) -> Vec<&'static str> {
        let loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loops.iter().map(|entry| entry.what).collect()
    }

    /// The answer to whether the process lives.
    pub fn answer(&self) -> Response {
        match self.hanging().as_slice() {
            [] => "ok\n".into_response(),
            hanging => {
                let text = format!("hanging: {}\n", hanging.join(", "));
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }

    /// `/livez`.
    pub fn probe<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let this = self.clone();
        Router::new().route("/livez", get(move || async move { this.answer() }))
    }
}

impl Beat {
    /// The loop has gone round.
    pub fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let mut loops = self.pulse.0.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|entry| !Arc::ptr_eq(&entry.last, &self.last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_named_until_it_goes_on_or_ends() {
        let pulse = Pulse::default();
        let (fast, slow) = (pulse.of("fast"), pulse.of("slow"));
        assert!(pulse.hanging().is_empty());
        let long_ago = |beat: &Beat| {
            let then = Instant::now().checked_sub(LONGEST + Duration::from_secs(1));
            *beat.last.lock().expect("no panic") = then.expect("a machine that is up for some minutes");
        };
        long_ago(&slow);
        assert_eq!(pulse.hanging(), ["slow"]);
        assert_eq!(pulse.answer().status(), StatusCode::INTERNAL_SERVER_ERROR);
        slow.beat();
        assert_eq!(pulse.answer().status(), StatusCode::OK);
        long_ago(&fast);
        drop(fast);
        assert!(pulse.hanging().is_empty());
        let patient = pulse.within("patient", 2 * LONGEST);
        long_ago(&patient);
        assert!(pulse.hanging().is_empty());
    }
}
