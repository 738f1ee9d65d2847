//! Texts that are many times the same, kept once.

use std::{collections::HashSet, sync::Arc};

/// The fewest texts among which it is worth to look for those that nobody has any more.
const FEW: usize = 1024;

/// Every text that somebody has. Names of nodes and profiles come back in each of a hundred thousand node statuses.
#[derive(Debug, Default)]
pub struct Texts {
    all: HashSet<Arc<str>>,
    /// How many there may be before those that nobody has are forgotten.
    most: usize,
}

impl Texts {
    /// Replaces a text by the same one that others have.
    pub fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.all.get(text) {
            *text = Arc::clone(known);
            return;
        }
        if self.all.len() >= self.most.max(FEW) {
            self.all.retain(|text| Arc::strong_count(text) > 1);
            // So forgetting costs no more than learning did.
            self.most = self.all.len() * 2;
        }
        self.all.insert(Arc::clone(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_kept_once() {
        let mut texts = Texts::default();
        let (mut first, mut second): (Arc<str>, Arc<str>) = ("node-1".into(), "node-1".into());
        texts.share(&mut first);
        texts.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second) && &*second == "node-1");
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut texts = Texts::default();
        let mut kept: Arc<str> = "kept".into();
        texts.share(&mut kept);
        for i in 0..100 * FEW {
            texts.share(&mut i.to_string().into());
        }
        assert!(texts.all.len() <= 2 * FEW, "{}", texts.all.len());
        let mut again: Arc<str> = "kept".into();
        texts.share(&mut again);
        assert!(Arc::ptr_eq(&kept, &again));
    }
}
