//! What a JSON text takes in memory once it has been parsed: up to a hundred times its bytes, so this is asked before.
//!
//! Counted by the text alone, without allocating: serde_json keeps a value in 32 bytes, the first value of a list in
//! room for four, the first field of an object in a tree node of eleven, and lists double their room as they grow.

/// What a text weighs, in bytes, never less than what its values take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// The whole of it.
    pub(super) whole: usize,
    /// The heaviest value at the depth of the elements of `request.objects`.
    pub(super) largest: usize,
    /// How many values there are at that depth.
    pub(super) elements: usize,
}

impl Weight {
    /// Weighs a text, whether it is JSON or not.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut weight = Self::default();
        let (mut depth, mut since) = (0_usize, 0);
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => {
                    weight.whole += STRING;
                    while let Some(byte) = bytes.next() {
                        weight.whole += 1;
                        match byte {
                            b'\\' => drop(bytes.next()),
                            b'"' => break,
                            _ => {}
                        }
                    }
                }
                b'{' | b'[' => {
                    if depth == ELEMENT {
                        since = weight.whole;
                    }
                    weight.whole += if *byte == b'{' { OBJECT } else { LIST };
                    depth += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == ELEMENT {
                        weight.largest = weight.largest.max(weight.whole - since);
                    }
                }
                b',' => {
                    weight.whole += VALUE;
                    weight.elements += usize::from(depth == ELEMENT);
                }
                _ => {}
            }
        }
        weight
    }
}

/// `{"request": {"objects": [` is as deep.
const ELEMENT: usize = 3;
/// A value after the first: a slot of a list whose room is twice what it holds and is being copied to a larger one, or of
/// a tree node that is half full.
const VALUE: usize = 112;
const STRING: usize = 48;
const OBJECT: usize = 704;
const LIST: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_string_is_text() {
        let plain = Weight::of(br#"{"a":"bbbbbb"}"#);
        assert_eq!(Weight::of(br#"{"a":"[{,,,"}"#), plain_of(plain, -1));
        assert_eq!(Weight::of(br#"{"a":"\"\\[{"}"#).whole, plain.whole - 2);
        // Nothing that is not JSON is more than text.
        for broken in [&b"\""[..], b"\"\\", b"]]]]", b"}{", b""] {
            Weight::of(broken);
        }
    }

    fn plain_of(weight: Weight, by: isize) -> Weight {
        Weight { whole: weight.whole.saturating_add_signed(by), ..weight }
    }

    #[test]
    fn the_heaviest_object_of_a_request_is_found() {
        let alone = Weight::of(br#"{"a":[1,2,3]}"#).whole;
        let review = Weight::of(br#"{"kind":"x","request":{"objects":[{},{"a":[1,2,3]},{"b":1}]}}"#);
        assert_eq!((review.largest, review.elements), (alone, 2));
        assert!(review.whole > alone);
    }

    /// By what the parts of a value have to take: 32 bytes a value, 24 + 32 bytes and eleven places a tree node.
    #[test]
    fn no_shape_weighs_less_than_it_takes() {
        const SLOT: usize = size_of::<serde_json::Value>();
        const NODE: usize = 11 * (SLOT + size_of::<String>());
        let many = |element: &str, count: usize| format!("[{}]", vec![element; count].join(","));
        // A list that has just doubled its room, while the old one is still there.
        for (element, inside) in [("0", 0), (r#"{"":0}"#, NODE), ("[0]", 4 * SLOT), (r#""aaaaaaaa""#, 8)] {
            let takes = (1025 + 1024 + 1024 / 2) * SLOT + 1025 * inside;
            assert!(Weight::of(many(element, 1025).as_bytes()).whole >= takes, "{element}");
        }
    }
}
