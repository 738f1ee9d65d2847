//! Which images a ProfileBinding is about.

use super::{Pattern, Reference, Repository};
use crate::binding::ImageMatch;

/// The images a binding is about: its `image`, read as its `imageMatch` says.
///
/// ```
/// use spo_model::{binding::ImageMatch, image::BoundImage};
///
/// let bound = BoundImage::read("ghcr.io/shop/*", ImageMatch::Glob)?;
/// assert!(bound.covers("ghcr.io/shop/web:1.2"));
/// assert!(!bound.covers("ghcr.io/shop/tools/web:1.2"));
/// assert!(BoundImage::read("ghcr.io/shop/web:1.2", ImageMatch::Repository).is_err());
/// # Ok::<(), spo_model::image::ImageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundImage {
    /// `*`, in every mode: every container without a binding of its own, and the pod itself.
    Any,
    /// One image: its text, and what it means if it is a reference.
    Exact(String, Option<Reference>),
    /// Every tag and digest of a repository.
    Repository(Repository),
    /// Every image that a pattern describes.
    Glob(Pattern),
}

impl BoundImage {
    /// Reads the `image` of a binding.
    ///
    /// # Errors
    /// [`ImageError`] if it could mean no image, or not what its author wants.
    pub fn read(image: &str, mode: ImageMatch) -> Result<Self, ImageError> {
        Ok(match mode {
            _ if image == "*" => Self::Any,
            ImageMatch::Exact => Self::Exact(image.to_owned(), Reference::parse(image)),
            ImageMatch::Repository => Self::Repository(image.parse()?),
            ImageMatch::Glob => Self::Glob(image.parse()?),
        })
    }

    /// Whether a container with an image is meant.
    pub fn covers(&self, image: &str) -> bool {
        let means = |bound: &dyn Fn(&Reference) -> bool| Reference::parse(image).is_some_and(|r| bound(&r));
        match self {
            Self::Any => true,
            Self::Exact(text, reference) => {
                text == image || reference.as_ref().is_some_and(|own| means(&|image| own.covers(image)))
            }
            Self::Repository(repository) => means(&|image| image.repository() == repository),
            Self::Glob(pattern) => means(&|image| pattern.matches(image)),
        }
    }
}

/// Why the `image` of a binding is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It could be no part of an image reference.
    #[error("{0:?} is the name of no image")]
    Malformed(String),
    /// It is more than a repository.
    #[error("{0:?} is more than a repository: it has a tag or a digest")]
    Tagged(String),
    /// A pattern names nothing.
    #[error("the pattern {0:?} names nothing, so it would be about every image")]
    Unlimited(String),
    /// A pattern has a character that no image has.
    #[error("the pattern has a {0:?}, and no image does")]
    Character(char),
    /// A pattern has a character that images have in their digest only.
    #[error("the pattern has a digest, and patterns are about names and tags")]
    Digest,
    /// A pattern has upper-case letters where images have none.
    #[error("the pattern {0:?} has an upper-case letter in its repository, and no image does")]
    UpperCase(String),
    /// A pattern is too long.
    #[error("the pattern has {0} characters, and at most {max} are looked at", max = super::pattern::MAX_PARTS)]
    Long(usize),
}

impl ImageError {
    /// What to write instead.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Malformed(_) => {
                "write it as pods do, for example `ghcr.io/shop/web`; `ghcr.io/shop/**` with imageMatch Glob is all below"
            }
            Self::Tagged(_) => "leave the tag and the digest out, or use imageMatch Exact or Glob",
            Self::Unlimited(_) => "write `*` to bind every image",
            Self::Character(_) => "the wildcards are `*`, `**` and `?`",
            Self::Digest => "leave the digest out, or use imageMatch Exact",
            Self::UpperCase(_) => "write it in lower case",
            Self::Long(_) => "use `**` for a part of it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(mode: ImageMatch, bound: &str, image: &str) -> bool {
        BoundImage::read(bound, mode).unwrap_or_else(|e| panic!("{bound:?}: {e}")).covers(image)
    }

    const D: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_star_is_every_image_in_every_mode() {
        for &mode in ImageMatch::ALL {
            for image in ["nginx", "ghcr.io/a/b@x", "no reference", ""] {
                assert!(covers(mode, "*", image), "{mode} {image:?}");
            }
        }
    }

    #[test]
    fn exact_is_the_text_or_its_meaning() {
        assert!(covers(ImageMatch::Exact, "nginx", "docker.io/library/nginx:latest"));
        assert!(covers(ImageMatch::Exact, "no reference", "no reference"));
        assert!(!covers(ImageMatch::Exact, "nginx", "nginx:1.21"));
        assert!(!covers(ImageMatch::Exact, "ngin?", "nginx"), "no pattern without Glob");
    }

    #[test]
    fn a_repository_is_every_tag_and_digest_of_it() {
        for repository in ["nginx", "library/nginx", "docker.io/nginx", "index.docker.io:443/library/nginx"] {
            for image in [
                "nginx",
                "nginx:1.21",
                "docker.io/library/nginx:1.22",
                &format!("nginx@{D}"),
                &format!("registry-1.docker.io/library/nginx:1@{D}"),
            ] {
                assert!(covers(ImageMatch::Repository, repository, image), "{repository} {image}");
            }
            for image in
                ["nginx-evil", "evil/nginx", "ghcr.io/library/nginx", "nginx/nginx", "library/nginx/x"]
            {
                assert!(!covers(ImageMatch::Repository, repository, image), "{repository} {image}");
            }
        }
        assert!(
            covers(ImageMatch::Repository, "registry:5000/web", "registry:5000/web:2"),
            "a port is no tag"
        );
        assert!(!covers(ImageMatch::Repository, "registry:5000/web", "registry/web:2"));
    }

    #[test]
    fn a_repository_has_no_tag_no_digest_and_no_wildcard() {
        let read = |text: &str| BoundImage::read(text, ImageMatch::Repository).expect_err(text);
        for tagged in ["nginx:1.21", "nginx:latest", "ghcr.io:443/a/b:1", &format!("nginx@{D}")] {
            assert_eq!(read(tagged), ImageError::Tagged(crate::diagnostic::shorten(tagged)));
        }
        for bad in ["", "nginx:", "nginx@", "ghcr.io/shop/*", "ghcr.io/shop/", "NGINX", "a b", "nginx:1:2"] {
            assert!(matches!(read(bad), ImageError::Malformed(_)), "{bad:?}");
        }
    }
}
