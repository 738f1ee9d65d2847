//! Image references: when a binding's image means a container's image.
//!
//! Texts are brought into the full form that container runtimes use (`distribution/reference`): `nginx` is
//! `docker.io/library/nginx:latest`. Names that lead to the same registry are one. A text that is no reference is only
//! ever compared as text. [`BoundImage`] is what a binding means, in each of its modes.

mod bound;
mod pattern;

use std::{net::Ipv6Addr, str::FromStr};

pub use bound::{BoundImage, ImageError};
pub use pattern::Pattern;

use crate::diagnostic::shorten;

/// An image reference in its full form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a reference and fills in what it leaves out: the registry `docker.io`, its folder `library`, and the
    /// tag `latest` where there is neither tag nor digest. `None` if the text is no reference.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(read_digest(digest)?)),
            None => (text, None),
        };
        // A colon behind the last slash starts the tag; one before it belongs to the registry's port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(read_tag(&rest[last + colon + 1..])?)),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (read_registry(first)?, path),
            _ => (DEFAULT_REGISTRY.to_owned(), name),
        };
        if path.len() > MAX_REPOSITORY || !path.split('/').all(is_component) {
            return None;
        }
        let path = match registry == DEFAULT_REGISTRY && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Some(Self { repository: Repository { registry, path }, tag, digest })
    }

    /// Where the image is kept.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether a binding with this reference is about a container with the other one.
    ///
    /// A digest names one content, so a binding with a digest is about exactly that digest, whatever the tag. A
    /// binding with a tag is about every container that writes this tag, with or without a digest behind it.
    pub fn covers(&self, container: &Self) -> bool {
        self.repository == container.repository
            && match &self.digest {
                Some(digest) => container.digest.as_ref() == Some(digest),
                None => self.tag == container.tag,
            }
    }
}

/// A repository in its full form: a registry and a path in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl FromStr for Repository {
    type Err = ImageError;

    /// Reads a reference that has neither tag nor digest.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let reference = Reference::parse(text).ok_or_else(|| ImageError::Malformed(shorten(text)))?;
        let last = text.rfind('/').map_or(0, |slash| slash + 1);
        match text[last..].contains([':', '@']) {
            true => Err(ImageError::Tagged(shorten(text))),
            false => Ok(reference.repository),
        }
    }
}

/// The longest host name, as DNS has it.
const MAX_HOST: usize = 253;
/// Far longer than any digest that is known.
const MAX_DIGEST: usize = 255;
/// `distribution/reference`: the longest repository.
const MAX_REPOSITORY: usize = 255;
const DEFAULT_REGISTRY: &str = "docker.io";
/// Other names of the default registry that answer for its images.
const HUB: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
const DEFAULT_TAG: &str = "latest";

/// The first part of a name is a registry if it cannot be a folder of the default one.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn read_registry(text: &str) -> Option<String> {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    if host.len() > MAX_HOST {
        return None;
    }
    // Host names do not know case.
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => read_address(address.parse().ok()?),
        None => host.split('.').all(label).then(|| host.to_ascii_lowercase())?,
    };
    let port = match port {
        Some(port) => Some(read_port(port)?),
        None => None,
    };
    let registry = with_port(&host, port);
    Some(if HUB.contains(&registry.as_str()) { DEFAULT_REGISTRY.to_owned() } else { registry })
}

/// The address that is dialled: one of IPv4 that is written as IPv6 is the former.
fn read_address(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        Some(address) => address.to_string(),
        None => format!("[{address}]"),
    }
}

/// A port as runtimes read it: a number, however many zeros it begins with. `None` if nobody could connect there, so
/// that no image comes from it.
fn read_port(text: &str) -> Option<u16> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Registries are asked by HTTPS unless a node is set up otherwise: a pod that writes its port means the same place as
/// one that does not, and must not evade a binding by it.
fn with_port(host: &str, port: Option<u16>) -> String {
    match port {
        None | Some(HTTPS) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

const HTTPS: u16 = 443;

/// Lower-case letters and digits, joined by one dot, one or two underscores, or hyphens.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.split(alphanumeric).all(separator)
}

fn read_tag(text: &str) -> Option<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(word);
    let good = first && text.len() <= 128 && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    good.then(|| text.to_owned())
}

fn read_digest(text: &str) -> Option<String> {
    let (algorithm, value) = text.split_once(':').filter(|_| text.len() <= MAX_DIGEST)?;
    let part = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_alphabetic()) && p.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let good_value = (32..=128).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit());
    (algorithm.split(['+', '.', '-', '_']).all(part) && good_value).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn covers(binding: &str, container: &str) -> bool {
        let read = |text| Reference::parse(text).unwrap_or_else(|| panic!("{text:?} is a reference"));
        read(binding).covers(&read(container))
    }

    #[test]
    fn short_forms_mean_their_full_forms() {
        for same in
            ["nginx", "nginx:latest", "library/nginx", "docker.io/nginx", "index.docker.io/library/nginx"]
        {
            assert!(covers("docker.io/library/nginx:latest", same), "{same}");
            assert!(covers(same, "docker.io/library/nginx:latest"), "{same}");
        }
        assert!(covers("ghcr.io/a/b", "GHCR.io/a/b:latest"), "host names do not know case");
        assert!(covers("registry:5000/web", "registry:5000/web:latest"));
        assert!(covers("[::1]:5000/web", "[::1]:5000/web:latest"));
        // Port 443 is where HTTPS goes without one.
        for (plain, other) in [
            ("ghcr.io/a/b:1", "ghcr.io:443/a/b:1"),
            ("[::1]/web", "[::1]:443/web"),
            ("nginx:1", "docker.io:443/library/nginx:1"),
            ("nginx:1", "registry-1.docker.io/library/nginx:1"),
            ("nginx:1", "Index.Docker.io:443/nginx:1"),
            ("nginx:1", "registry.hub.docker.com/library/nginx:1"),
            // Runtimes read a port as a number.
            ("ghcr.io/a/b:1", "ghcr.io:0443/a/b:1"),
            ("ghcr.io/a/b:1", &format!("ghcr.io:{}443/a/b:1", "0".repeat(3000))),
            ("nginx:1", "registry-1.docker.io:00443/library/nginx:1"),
            ("registry:5000/web:1", "registry:0005000/web:1"),
            // One address in two spellings.
            ("[2001:db8::1]:5000/web", "[2001:0DB8:0:0::1]:5000/web"),
            ("192.0.2.1:5000/web", "[::ffff:c000:201]:05000/web"),
        ] {
            assert!(covers(plain, other) && covers(other, plain), "{other}");
        }
        assert!(!covers("web:443", "web"), "a tag is no port");
    }

    #[test]
    fn other_images_are_not_meant() {
        for other in [
            "nginx:1.22",
            "docker.io/evil/nginx:1.21",
            "ghcr.io/library/nginx:1.21",
            "nginx-evil:1.21",
            "localhost/nginx:1.21",
            "docker.io:5000/library/nginx:1.21",
            "docker.io:80/library/nginx:1.21",
        ] {
            assert!(!covers("nginx:1.21", other), "{other}");
        }
    }

    #[test]
    fn a_digest_names_one_content_and_a_tag_every_content_under_it() {
        let other = D.replace('0', "f");
        assert!(covers(&format!("nginx@{D}"), &format!("nginx:1.21@{D}")), "the binding's digest decides");
        assert!(covers(&format!("nginx:9@{D}"), &format!("nginx@{D}")));
        assert!(!covers(&format!("nginx@{D}"), &format!("nginx@{other}")));
        assert!(!covers(&format!("nginx@{D}"), "nginx"), "nobody knows what the tag is today");
        assert!(covers("nginx:1.21", &format!("nginx:1.21@{D}")));
        assert!(!covers("nginx", &format!("nginx@{D}")), "no tag is written, so none is meant");
    }

    #[test]
    fn what_is_no_reference_is_none() {
        for bad in [
            "",
            "*",
            "/",
            "a//b",
            "a/",
            "/a",
            ":",
            "a:",
            "a@",
            "a@sha256:",
            "a@sha256:xyz",
            "A/b c",
            "a b",
            "../a",
            "a:b:c",
            "nginx\n",
            "nginx\0",
            "ü",
            "a@b@c",
            "-a",
            "a-",
            "a...b",
            "a___b",
            "reg.io:/a",
            "reg.io:x/a",
            "reg.io:+443/a",
            "reg.io:65979/a",
            "reg.io:100000/a",
            // Runtimes take no dot at the end of a host either.
            "docker.io./library/nginx",
            "docker.io.:443/library/nginx",
            "[::1::2]/a",
            "[]/a",
            "NGINX",
            "[::1/a",
            &"a".repeat(2000),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert_eq!(Reference::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,64}|[a-z0-9.:/@_\\[\\]-]{0,64}") {
            if let Some(reference) = Reference::parse(&text) {
                prop_assert!(reference.covers(&reference));
            }
        }
    }
}
