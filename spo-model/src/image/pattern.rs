//! Patterns of image references.

use std::{collections::BTreeMap, str::FromStr};

use super::{DEFAULT_REGISTRY, ImageError, Reference, is_registry, read_port, read_registry, with_port};
use crate::diagnostic::shorten;

/// A pattern of images: `*` stands for any text without `/`, `**` for any text, `?` for one character that is no `/`;
/// `*` and `**` may stand for nothing.
///
/// It is compared with the whole of a reference in its full form, `docker.io/library/nginx:1.21`, and also with that
/// form without its tag: a pattern without a tag is about every tag. A digest is never looked at, so an image with a
/// digest and no tag is only meant by a pattern without a tag. A text that is no reference is never meant.
///
/// A pattern is completed as references are: `nginx:1.*` is `docker.io/library/nginx:1.*`, and `shop/*` is
/// `docker.io/shop/*`. Where the part before its first `/` has a wildcard, that part stands for the registry: `*/shop/web`;
/// and a pattern without a `/` that starts with `**` is taken as it stands: `**nginx`.
///
/// Comparing takes time in proportion to the text, whatever the pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    parts: Vec<Part>,
    places: Places,
}

impl Pattern {
    /// Whether an image is meant.
    pub fn matches(&self, image: &Reference) -> bool {
        let mut walk = Walk::of(&self.places);
        let repository = image.repository();
        walk.take(&repository.registry);
        walk.take("/");
        walk.take(&repository.path);
        if walk.is_at_end() {
            return true;
        }
        let Some(tag) = &image.tag else { return false };
        walk.take(":");
        walk.take(tag);
        walk.is_at_end()
    }

    /// How many characters of its full form stand for themselves: of two patterns, that with more of them is the more
    /// specific one.
    pub fn literals(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Literal(_))).count()
    }
}

impl FromStr for Pattern {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        check(text)?;
        let full = complete(text)?;
        let mut parts = Vec::new();
        for byte in full.bytes() {
            let part = match byte {
                b'*' => Part::Stretch,
                b'?' => Part::One,
                byte => Part::Literal(byte),
            };
            match (parts.last_mut(), part) {
                // Two or more stars are `**`.
                (Some(before @ (Part::Stretch | Part::Anything)), Part::Stretch) => *before = Part::Anything,
                _ => parts.push(part),
            }
        }
        if parts.len() > MAX_PARTS {
            return Err(ImageError::Long(parts.len()));
        }
        Ok(Self { places: Places::of(&parts), parts })
    }
}

/// One bit for each place between the parts of a pattern, and one for its end.
pub(super) const MAX_PARTS: usize = 127;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(u8),
    /// `?`
    One,
    /// `*`
    Stretch,
    /// `**`
    Anything,
}

/// Where each part of a pattern stands, as one bit each: worked out once, for patterns are compared with many images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Places {
    /// The parts that are some byte, in the order of the bytes. A pattern has few different ones.
    literals: Box<[(u8, u128)]>,
    one: u128,
    stretch: u128,
    anything: u128,
    end: u128,
}

impl Places {
    fn of(parts: &[Part]) -> Self {
        let mut literals: BTreeMap<u8, u128> = BTreeMap::new();
        let (mut one, mut stretch, mut anything) = (0, 0, 0);
        for (i, part) in parts.iter().enumerate() {
            let places = match part {
                Part::Literal(byte) => literals.entry(*byte).or_default(),
                Part::One => &mut one,
                Part::Stretch => &mut stretch,
                Part::Anything => &mut anything,
            };
            *places |= 1 << i;
        }
        Self { literals: literals.into_iter().collect(), one, stretch, anything, end: 1 << parts.len() }
    }

    fn literal(&self, byte: u8) -> u128 {
        let found = self.literals.binary_search_by_key(&byte, |(literal, _)| *literal).ok();
        found.and_then(|i| self.literals.get(i)).map_or(0, |(_, places)| *places)
    }
}

/// A comparison on its way: every place of the pattern that the text so far can lead to.
struct Walk<'a> {
    reached: u128,
    places: &'a Places,
}

impl<'a> Walk<'a> {
    fn of(places: &'a Places) -> Self {
        let mut walk = Self { reached: 1, places };
        walk.pass();
        walk
    }

    fn take(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.reached == 0 {
                return;
            }
            let slash = byte == b'/';
            let places = self.places;
            let step = places.literal(byte) | if slash { 0 } else { places.one };
            let stay = places.anything | if slash { 0 } else { places.stretch };
            self.reached = ((self.reached & step) << 1) | (self.reached & stay);
            self.pass();
        }
    }

    /// Stars may stand for nothing. No two of them are neighbours.
    fn pass(&mut self) {
        self.reached |= (self.reached & (self.places.stretch | self.places.anything)) << 1;
    }

    const fn is_at_end(&self) -> bool {
        self.reached & self.places.end != 0
    }
}

/// Refuses what means no image: a pattern that confines nothing should not look as if it did.
fn check(text: &str) -> Result<(), ImageError> {
    let registry = text.find('/').unwrap_or(0);
    let strange = |&(i, c): &(usize, char)| {
        !(c.is_ascii_alphanumeric() || "._-:/*?".contains(c) || ("[]".contains(c) && i < registry))
    };
    match text.char_indices().find(strange) {
        Some((_, '@')) => return Err(ImageError::Digest),
        Some((_, c)) => return Err(ImageError::Character(c)),
        None => {}
    }
    if text.len() > 2 * MAX_PARTS {
        return Err(ImageError::Long(text.len()));
    }
    let wild = text.contains(WILDCARDS);
    if text.split('/').any(str::is_empty) || !wild && Reference::parse(text).is_none() {
        return Err(ImageError::Malformed(shorten(text)));
    }
    if !text.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(ImageError::Unlimited(shorten(text)));
    }
    Ok(())
}

const WILDCARDS: [char; 2] = ['*', '?'];

/// The full form of a pattern.
fn complete(text: &str) -> Result<String, ImageError> {
    let (registry, path) = match text.split_once('/') {
        None if text.starts_with("**") => return Ok(text.to_owned()),
        None => (DEFAULT_REGISTRY.to_owned(), text),
        Some((first, path)) if first.contains(WILDCARDS) => {
            let malformed = || ImageError::Malformed(shorten(text));
            (complete_registry(&first.to_ascii_lowercase()).ok_or_else(malformed)?, path)
        }
        Some((first, path)) if is_registry(first) => {
            (read_registry(first).ok_or_else(|| ImageError::Malformed(shorten(text)))?, path)
        }
        Some(_) => (DEFAULT_REGISTRY.to_owned(), text),
    };
    // Tags may have upper-case letters, and what is behind a wildcard may be a tag.
    let (folders, last) = path.rsplit_once('/').unwrap_or(("", path));
    let fixed = last.split([':', '*', '?']).next().unwrap_or_default();
    if format!("{folders}{fixed}").contains(|c: char| c.is_ascii_uppercase()) {
        return Err(ImageError::UpperCase(shorten(text)));
    }
    let official = registry == DEFAULT_REGISTRY && !path.contains('/') && !path.starts_with("**");
    Ok(format!("{registry}/{}{path}", if official { "library/" } else { "" }))
}

/// A registry with a wildcard; a port without one is a number, as it is in references.
fn complete_registry(text: &str) -> Option<String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(WILDCARDS) && !port.ends_with(']') => {
            Some(with_port(host, Some(read_port(port)?)))
        }
        _ => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    fn matches(text: &str, image: &str) -> bool {
        pattern(text).matches(&Reference::parse(image).unwrap_or_else(|| panic!("{image:?} is a reference")))
    }

    #[test]
    fn one_star_stays_in_its_folder_and_two_do_not() {
        for (text, meant, not_meant) in [
            (
                "ghcr.io/shop/*",
                vec!["ghcr.io/shop/web", "ghcr.io/shop/web:1"],
                vec!["ghcr.io/shop/a/web", "ghcr.io/shopping/web"],
            ),
            (
                "ghcr.io/shop/**",
                vec!["ghcr.io/shop/web", "ghcr.io/shop/a/b/web:1"],
                vec!["ghcr.io/shop-b/web"],
            ),
            (
                "ghcr.io/*/web",
                vec!["ghcr.io/shop/web:7"],
                vec!["ghcr.io/web", "ghcr.io/a/b/web", "ghcr.io/a/webs"],
            ),
            ("ghcr.io/**/web", vec!["ghcr.io/shop/web", "ghcr.io/a/b/web"], vec!["ghcr.io/web"]),
            (
                "ghcr.io/shop/web-?",
                vec!["ghcr.io/shop/web-1", "ghcr.io/shop/web-1:2"],
                vec!["ghcr.io/shop/web-12", "ghcr.io/shop/web"],
            ),
            ("ghcr.io/sh?p", vec!["ghcr.io/shop"], vec!["ghcr.io/sh/p"]),
            (
                "**/web",
                vec!["ghcr.io/web", "docker.io/a/b/web:1", "web"],
                vec!["ghcr.io/webs", "ghcr.io/xweb"],
            ),
            (
                "*.io/shop/web",
                vec!["ghcr.io/shop/web", "quay.io/shop/web:1", "shop/web"],
                vec!["quay.com/shop/web"],
            ),
            ("**nginx", vec!["nginx", "bitnami/nginx:1", "quay.io/my-nginx"], vec!["nginx-exporter"]),
            ("ghcr.io/a*b*c", vec!["ghcr.io/abc", "ghcr.io/axbxbxc:1"], vec!["ghcr.io/acb", "ghcr.io/ab/c"]),
        ] {
            for image in meant {
                assert!(matches(text, image), "{text} means {image}");
            }
            for image in not_meant {
                assert!(!matches(text, image), "{text} does not mean {image}");
            }
        }
    }

    #[test]
    fn a_pattern_without_a_tag_is_about_every_tag_and_digest() {
        let with_tag = format!("nginx:1.21@{D}");
        for image in ["nginx", "nginx:1.21", "docker.io/library/nginx:1", &format!("nginx@{D}"), &with_tag] {
            assert!(matches("docker.io/library/ng*x", image), "{image}");
            assert!(matches("nginx", image), "{image}");
        }
        assert!(matches("nginx:1.*", "nginx:1.21") && matches("nginx:1.*", &with_tag));
        for image in ["nginx", "nginx:2.1", &format!("nginx@{D}")] {
            assert!(!matches("nginx:1.*", image), "{image}");
        }
        assert!(matches("nginx:latest", "nginx"), "the tag that is left out");
        assert!(matches("nginx:*RC", "nginx:1.21RC"));
        assert!(!matches("nginx:*sha256*", &format!("nginx@{D}")));
    }

    #[test]
    fn patterns_are_completed_as_references_are() {
        for (short, full) in [
            ("nginx:1.*", "docker.io/library/nginx:1.*"),
            ("nginx*", "docker.io/library/nginx*"),
            ("shop/*", "docker.io/shop/*"),
            ("docker.io/nginx*", "docker.io/library/nginx*"),
            ("docker.io/*", "docker.io/library/*"),
            ("registry-1.docker.io:443/library/x*", "docker.io/library/x*"),
            ("GHCR.io/a/*", "ghcr.io/a/*"),
            ("*.Example.com:443/a", "*.example.com/a"),
            ("*.example.com:00443/a", "*.example.com/a"),
            ("*.example.com:05000/a", "*.example.com:5000/a"),
            ("ghcr.io:0443/a/*", "ghcr.io/a/*"),
            ("ghcr.io/a/***", "ghcr.io/a/**"),
        ] {
            assert_eq!(pattern(short), pattern(full), "{short}");
        }
        assert_ne!(pattern("docker.io/**"), pattern("docker.io/library/**"));
        assert!(matches("[::1]:5000/*", "[::1]:5000/web:1"));
    }

    #[test]
    fn more_literals_are_more_specific() {
        let ordered = ["ghcr.io/**", "ghcr.io/shop/*", "ghcr.io/shop/w?b", "ghcr.io/shop/web:*"];
        let literals = ordered.map(|text| pattern(text).literals());
        assert_eq!(literals, [8, 13, 15, 17]);
    }

    #[test]
    fn what_would_mean_nothing_or_everything_is_refused() {
        let read = |text: &str| text.parse::<Pattern>().expect_err(text);
        for everything in ["**", "***", "**/**", "*/*", "?*", "**:*"] {
            assert!(matches!(read(everything), ImageError::Unlimited(_)), "{everything}");
        }
        for malformed in [
            "*.io:99999/web",
            "*.io:/web",
            "",
            "/",
            "/web*",
            "ghcr.io/shop/",
            "ghcr.io//web*",
            "nginx:1:2",
            "-bad-.io/x*",
            "a..b",
        ] {
            assert!(matches!(read(malformed), ImageError::Malformed(_)), "{malformed}");
        }
        for (text, c) in
            [("nginx:[0-9]*", '['), ("nginx*{a,b}", '{'), ("ngın*", 'ı'), ("a b*", ' '), ("a\\*", '\\')]
        {
            assert_eq!(read(text), ImageError::Character(c), "{text}");
        }
        assert_eq!(read("nginx@sha256:*"), ImageError::Digest);
        for upper in ["NGINX*", "ghcr.io/Shop/*", "**/Web", "ghcr.io/shop/Web:*"] {
            assert!(matches!(read(upper), ImageError::UpperCase(_)), "{upper}");
        }
        let long = |n: usize| format!("ghcr.io/{}", "a".repeat(n));
        assert!(matches(&long(119), &long(119)));
        assert_eq!(read(&long(120)), ImageError::Long(128));
        assert_eq!(read(&"*a".repeat(100_000)), ImageError::Long(200_000));
    }

    /// What a pattern means, written down as slowly as it is simple.
    fn slow(parts: &[Part], text: &[u8]) -> bool {
        let Some((part, rest)) = parts.split_first() else { return text.is_empty() };
        let stays = |byte: u8| match part {
            Part::Literal(wanted) => byte == *wanted,
            Part::One | Part::Stretch => byte != b'/',
            Part::Anything => true,
        };
        match part {
            Part::Literal(_) | Part::One => {
                text.split_first().is_some_and(|(byte, others)| stays(*byte) && slow(rest, others))
            }
            Part::Stretch | Part::Anything => {
                let longest = text.iter().take_while(|byte| stays(**byte)).count();
                (0..=longest).any(|n| slow(rest, &text[n..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_bits_say_what_the_meaning_says(
            text in "r\\.io/[ab*?/]{1,8}(:[ab*?]{1,3})?",
            image in "r\\.io/[ab]{1,3}(/[ab]{1,3}){0,2}(:[ab]{1,3})?",
        ) {
            let (Ok(pattern), Some(image)) = (text.parse::<Pattern>(), Reference::parse(&image)) else { return Ok(()) };
            let name = format!("{}/{}", image.repository.registry, image.repository.path);
            let tagged = format!("{name}:{}", image.tag.clone().unwrap_or_default());
            let wanted = slow(&pattern.parts, name.as_bytes()) || slow(&pattern.parts, tagged.as_bytes());
            prop_assert_eq!(pattern.matches(&image), wanted);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[a-zA-Z*?./:@_\\[\\]-]{0,40}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert!(pattern.parts.len() <= MAX_PARTS && pattern.literals() > 0);
            }
        }
    }
}
