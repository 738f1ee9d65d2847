//! The nearest name to a misspelt one.

/// The candidate with the fewest edits, if it is near enough to be what was meant. The first of equals wins.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 128 {
        return None;
    }
    let limit = (word.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let bound = best.map_or(limit, |(d, _)| d.saturating_sub(1));
        if candidate != word && candidate.len().abs_diff(word.len()) <= bound {
            let d = distance(word.as_bytes(), candidate.as_bytes());
            if d <= bound && best.is_none_or(|(b, _)| d < b) {
                best = Some((d, candidate));
            }
        }
    }
    best.map(|(_, c)| c)
}

/// Levenshtein distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("http_prot_t", ["http_port_t", "node_t"]), Some("http_port_t"));
        assert_eq!(nearest("xyz", ["http_port_t", "node_t"]), None);
        assert_eq!(nearest("tcp_soket", ["udp_socket", "tcp_socket"]), Some("tcp_socket"));
    }
}
