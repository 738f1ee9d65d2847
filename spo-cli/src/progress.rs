//! Progress of long work, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// From how many steps on a bar is worth it.
const MANY: usize = 20;

/// A bar on standard error; nothing if standard error is no terminal or there is little to do.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work of so many steps, said with one word.
    pub(crate) fn of(steps: usize, verb: &'static str) -> Self {
        if steps < MANY {
            return Self(ProgressBar::hidden());
        }
        // indicatif hides a bar whose target is no terminal by itself.
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(verb);
        Self(bar)
    }

    /// One step more, about a thing.
    pub(crate) fn step(&self, thing: &str) {
        self.0.set_message(thing.to_owned());
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
