//! Places in text: byte ranges in the tree, lines and columns only where a person reads them.

use spo_model::Span;

/// Bytes `start..end` of a text, the place of a node or token.
///
/// Nodes made by code and not read from text have the empty range at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextRange {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl TextRange {
    /// The range `start..end`; offsets above 4 GiB do not occur, because the parser refuses such texts.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    /// The part of `text` that the range covers, empty when it does not fit.
    pub fn slice(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or("")
    }

    /// Whether no text belongs to the range, as for generated nodes.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Finds line and column of offsets; built once per text.
#[derive(Clone, Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Notes where the lines of `text` begin.
    pub fn new(text: &'a str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(i, _)| i + 1));
        Self { text, starts }
    }

    /// The range with the line (from 1) and the column in characters (from 1) of its first byte.
    pub fn span(&self, range: TextRange) -> Span {
        let start = (range.start as usize).min(self.text.len());
        let line = self.starts.partition_point(|s| *s <= start).max(1);
        let begin = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(begin..start).map_or(start - begin, |s| s.chars().count()) + 1;
        Span {
            start,
            end: (range.end as usize).min(self.text.len()),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let index = LineIndex::new("a\nöx\n");
        let span = index.span(TextRange::new(4, 5));
        assert_eq!((span.line, span.column), (2, 2));
        assert_eq!(index.span(TextRange::new(99, 99)).line, 3);
    }
}
