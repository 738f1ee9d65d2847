//! Two authorities of somebody else at a time: the one that is named, and for a while the one of before.

use std::collections::BTreeSet;

/// Whom to trust while somebody else's authority is replaced by another: a webhook serves with its old certificate
/// until the kubelet has put the new one into its pod, and must not be refused meanwhile.
#[derive(Default)]
pub struct Overlap {
    current: String,
    before: Option<(String, u64)>,
}

/// For how many seconds the authority of before is trusted beside its successor. A kubelet takes one or two minutes.
const OVERLAP: u64 = 10 * 60;

impl Overlap {
    /// Where another leader has left it: who is trusted by now beside whom a bundle names is trusted for a while more.
    pub fn after(so_far: &str, bundle: &str, now: u64) -> Self {
        let named: BTreeSet<&str> = certificates_of(bundle).collect();
        let before: Vec<&str> =
            certificates_of(so_far).filter(|certificate| !named.contains(certificate)).take(SO_FAR).collect();
        Self {
            current: bundle.to_owned(),
            before: (!before.is_empty()).then(|| (before.join("\n") + "\n", now.saturating_add(OVERLAP))),
        }
    }

    /// Takes note of whom to trust by now; gives everybody to trust, and when that is to be asked again.
    pub fn take(&mut self, bundle: &str, now: u64) -> (String, u64) {
        if self.current != bundle {
            let before = std::mem::replace(&mut self.current, bundle.to_owned());
            self.before = (!before.is_empty()).then_some((before, now.saturating_add(OVERLAP)));
        }
        self.before.take_if(|(_, until)| *until <= now);
        match &self.before {
            None => (bundle.to_owned(), u64::MAX),
            Some((before, until)) => (format!("{}\n{before}", bundle.trim_end()), *until),
        }
    }
}

/// The most certificates that are taken over from another leader.
const SO_FAR: usize = 8;

/// The certificates of a text, each as its PEM; what stands between them is left out.
fn certificates_of(text: &str) -> impl Iterator<Item = &str> {
    const END: &str = "-----END CERTIFICATE-----";
    let all = text.split_inclusive(END).filter(|part| part.ends_with(END));
    all.filter_map(|part| part.get(part.rfind("-----BEGIN CERTIFICATE-----")?..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_trusted_a_while_longer_than_it_is_named() {
        let mut trusted = Overlap::default();
        assert_eq!(trusted.take("A\n", 100), ("A\n".to_owned(), u64::MAX));
        assert_eq!(trusted.take("A\n", 200), ("A\n".to_owned(), u64::MAX), "nothing has changed");
        let end = 300 + OVERLAP;
        assert_eq!(trusted.take("B\n", 300), ("B\nA\n".to_owned(), end));
        assert_eq!(trusted.take("B\n", end - 1), ("B\nA\n".to_owned(), end));
        assert_eq!(trusted.take("B\n", end), ("B\n".to_owned(), u64::MAX));
        // However often it changes, there are two at most.
        trusted.take("C\n", end);
        assert_eq!(trusted.take("D\n", end).0, "D\nC\n");
    }

    /// A leader that ends in the middle of a rotation must not end the trust in what is served still.
    #[test]
    fn the_next_leader_goes_on_trusting_who_was_trusted() {
        let pem = |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
        let (a, b) = (pem("A"), pem("B"));
        let end = 100 + OVERLAP;
        let mut taken_over = Overlap::after(&format!("{b}\n{a}"), &b, 100);
        assert_eq!(taken_over.take(&b, 100), (format!("{b}{a}"), end));
        assert_eq!(taken_over.take(&b, end), (b.clone(), u64::MAX));
        // The authority changed while nobody led.
        assert_eq!(Overlap::after(&a, &b, 100).take(&b, 100), (format!("{b}{a}"), end));
        for nothing_else in ["", &b, "odd", "-----BEGIN CERTIFICATE-----"] {
            assert_eq!(Overlap::after(nothing_else, &b, 100).take(&b, 100), (b.clone(), u64::MAX));
        }
        let explained = Overlap::after(&format!("# ours\n{a}"), &b, 100).take(&b, 100).0;
        assert_eq!(explained, format!("{b}{a}"));
        let many: String = (0..1000).map(|i| pem(&i.to_string())).collect();
        assert_eq!(Overlap::after(&many, &b, 100).take(&b, 100).0.matches("BEGIN").count(), 1 + SO_FAR);
    }
}
