//! Included files that were read already, and what became of their rules.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::variables::Variables;
use crate::{
    ParseOptions,
    parse::Parsed,
    tree::{Alias, Rule},
};

/// Keeps the trees of included files for the next text that includes them, and the expansions of their rules for
/// the next profile with the same variables.
///
/// A file whose content changed is read again, and an expansion is used only where variables and aliases are the
/// same, so the cache never gives an old answer.
#[derive(Clone, Debug, Default)]
pub struct IncludeCache {
    /// Files that are included in the preamble, and inside of a profile.
    files: [BTreeMap<Arc<str>, Arc<ReadFile>>; 2],
    options: ParseOptions,
    /// What was expanded under which variables, the last one used first.
    worlds: Vec<World>,
}

/// How many different preambles are remembered.
const MAX_WORLDS: usize = 4;
/// How many expanded rules of one preamble are remembered.
const MAX_EXPANSIONS: usize = 100_000;

/// An included file: its content, its tree and the starts of its lines.
#[derive(Debug)]
pub(super) struct ReadFile {
    text: Arc<str>,
    pub(super) parsed: Parsed,
    lines: Vec<u32>,
}

impl ReadFile {
    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: u32) -> u32 {
        u32::try_from(self.lines.partition_point(|s| *s <= offset)).unwrap_or(0)
    }
}

/// The variables and aliases of a preamble, and the rules of included files as they are under them.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) variables: Variables,
    pub(super) aliases: Vec<Alias>,
    expansions: HashMap<usize, Expansion, BuildHasherDefault<PlaceHasher>>,
}

/// What became of one rule of an included file.
#[derive(Clone, Debug)]
pub(super) struct Expansion {
    /// The rule itself, so that its place in memory stays taken.
    _written: Arc<Rule>,
    /// The line on which it stands.
    pub(super) line: u32,
    pub(super) rules: Box<[Arc<Rule>]>,
}

impl World {
    pub(super) fn expansion(&self, rule: &Arc<Rule>) -> Option<&Expansion> {
        self.expansions.get(&place(rule))
    }

    pub(super) fn remember(&mut self, rule: &Arc<Rule>, line: u32, rules: Box<[Arc<Rule>]>) {
        if self.expansions.len() < MAX_EXPANSIONS {
            self.expansions.insert(place(rule), Expansion { _written: Arc::clone(rule), line, rules });
        }
    }
}

fn place(rule: &Arc<Rule>) -> usize {
    Arc::as_ptr(rule) as usize
}

/// Spreads addresses, which differ in their middle bits.
#[derive(Clone, Copy, Debug, Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_usize(usize::from(*b));
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

impl IncludeCache {
    /// Knows no file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gets ready for a text that is read with these options.
    pub(super) fn prepare(&mut self, options: ParseOptions) {
        if self.options != options {
            *self = Self { options, ..Self::default() };
        }
    }

    /// The tree of a file that is included in the preamble, or inside of a profile (`body`).
    pub(super) fn read(&mut self, body: bool, name: &Arc<str>, text: &Arc<str>) -> Arc<ReadFile> {
        let files = &mut self.files[usize::from(body)];
        if let Some(known) = files.get(name)
            && (Arc::ptr_eq(&known.text, text) || known.text == *text)
        {
            return Arc::clone(known);
        }
        let options = self.options;
        let parsed = if body { crate::parse_rules(text, options) } else { crate::parse(text, options) };
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(i, _)| u32::try_from(i + 1).unwrap_or(u32::MAX)));
        let read = Arc::new(ReadFile { text: Arc::clone(text), parsed, lines });
        files.insert(Arc::clone(name), Arc::clone(&read));
        read
    }

    /// What was expanded under the same variables and aliases before.
    pub(super) fn world(&mut self, variables: Variables, aliases: Vec<Alias>) -> World {
        let known =
            self.worlds.iter().position(|w| w.aliases == aliases && w.variables.same_preamble(&variables));
        match known {
            Some(at) => self.worlds.remove(at),
            None => World { variables, aliases, ..World::default() },
        }
    }

    /// Keeps the expansions for the next text.
    pub(super) fn keep(&mut self, world: World) {
        self.worlds.insert(0, world);
        self.worlds.truncate(MAX_WORLDS);
    }
}
