//! What a client is told besides the answer. Objects of a cluster multiply (recordings with containers, say), so it is
//! bounded while it is collected, and not only when it is written.

use std::{collections::BTreeSet, fmt};

use super::review::clip;

/// Warnings as a client gets them: no line breaks, none twice, not too long, not too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Warnings {
    /// The first ones, in the order in which they came.
    first: Vec<String>,
    /// All that are remembered, so that none counts twice.
    seen: BTreeSet<String>,
    /// Whether there were others, which nobody remembers.
    more: bool,
}

impl Warnings {
    /// Takes note of a warning. It is not even written once there are more than anybody counts.
    pub(super) fn push(&mut self, text: fmt::Arguments<'_>) {
        if self.seen.len() >= COUNTED {
            self.more = true;
            return;
        }
        let text = text.to_string().replace(|c: char| c.is_control(), " ");
        let text = clip(&text, LENGTH);
        if self.first.len() < SHOWN && !self.seen.contains(&text) {
            self.first.push(text.clone());
        }
        self.seen.insert(text);
    }

    /// The lines for the client.
    pub(super) fn into_lines(self) -> Vec<String> {
        let mut lines = self.first;
        if self.seen.len() > SHOWN {
            lines.truncate(SHOWN - 1);
            let rest = self.seen.len() - lines.len();
            let at_least = if self.more { "more than " } else { "" };
            lines.push(format!("and {at_least}{rest} more warnings"));
        }
        lines
    }
}

/// The API server cuts a longer warning itself, and says so in its log.
const LENGTH: usize = 256;
/// The API server drops what exceeds 4 KiB in total.
const SHOWN: usize = 15;
/// So many are told apart.
const COUNTED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut warnings = Warnings::default();
        texts.into_iter().for_each(|text| warnings.push(format_args!("{text}")));
        warnings.into_lines()
    }

    #[test]
    fn warnings_are_few_short_and_different() {
        let long = "ü".repeat(300);
        let few = [long.clone(), long, "two\nlines".to_owned()];
        let shown = lines(few.clone());
        assert_eq!(shown.len(), 2);
        assert!(shown[0].len() <= 256 && shown[0].ends_with('…'));
        assert_eq!(shown[1], "two lines");
        let many = few.into_iter().chain((0..40).map(|i| i.to_string()));
        let shown = lines(many.clone().chain(many));
        assert_eq!((shown.len(), shown[14].as_str()), (15, "and 28 more warnings"));
        assert_eq!(lines((0..15).map(|i| i.to_string())).last().map(String::as_str), Some("14"));
    }

    #[test]
    fn what_nobody_can_count_is_not_kept() {
        let shown = lines((0..100_000).map(|i| i.to_string()));
        assert_eq!((shown.len(), shown[14].as_str()), (15, "and more than 986 more warnings"));
        // What is shown already may be shown again.
        assert_eq!(lines(shown.clone()), shown);
    }
}
