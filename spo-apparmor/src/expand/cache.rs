//! Included files that were read already.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ParseOptions, parse::Parsed};

/// Keeps the trees of included files for the next text that includes them.
///
/// A file whose content changed is read again, so the cache never gives an old answer.
#[derive(Clone, Debug, Default)]
pub struct IncludeCache {
    files: BTreeMap<(bool, String), Arc<ReadFile>>,
    options: ParseOptions,
}

/// An included file: its content, its tree and the starts of its lines.
#[derive(Debug)]
pub(super) struct ReadFile {
    text: Arc<str>,
    pub(super) parsed: Parsed,
    pub(super) lines: Vec<u32>,
}

impl IncludeCache {
    /// Knows no file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of a file that is included in the preamble, or inside of a profile (`body`).
    pub(super) fn read(
        &mut self,
        body: bool,
        name: &str,
        text: &Arc<str>,
        options: ParseOptions,
    ) -> Arc<ReadFile> {
        if self.options != options {
            self.files.clear();
            self.options = options;
        }
        let key = (body, name.to_owned());
        if let Some(known) = self.files.get(&key)
            && (Arc::ptr_eq(&known.text, text) || known.text == *text)
        {
            return Arc::clone(known);
        }
        let parsed = if body { crate::parse_rules(text, options) } else { crate::parse(text, options) };
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(i, _)| u32::try_from(i + 1).unwrap_or(u32::MAX)));
        let read = Arc::new(ReadFile { text: Arc::clone(text), parsed, lines });
        self.files.insert(key, Arc::clone(&read));
        read
    }
}
