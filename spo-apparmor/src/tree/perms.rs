//! Permissions of file rules and how a program is executed.

use std::fmt;

/// A set of file permissions (`apparmor.d(5)`, "Access Modes").
///
/// Write implies append; [`FilePerms::effective`] adds it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePerms(u8);

impl FilePerms {
    /// No permission.
    pub const NONE: Self = Self(0);
    /// `x`
    pub const EXEC: Self = Self(1);
    /// `w`
    pub const WRITE: Self = Self(2);
    /// `r`
    pub const READ: Self = Self(4);
    /// `a`
    pub const APPEND: Self = Self(8);
    /// `l`
    pub const LINK: Self = Self(16);
    /// `k`
    pub const LOCK: Self = Self(32);
    /// `m`
    pub const MMAP: Self = Self(64);
    /// Every permission.
    pub const ALL: Self = Self(127);

    /// Each permission with its letter, in the order in which they are printed.
    pub const LETTERS: [(Self, char); 7] = [
        (Self::MMAP, 'm'),
        (Self::READ, 'r'),
        (Self::WRITE, 'w'),
        (Self::APPEND, 'a'),
        (Self::LINK, 'l'),
        (Self::LOCK, 'k'),
        (Self::EXEC, 'x'),
    ];

    /// The permission of one letter in lower case.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::LETTERS.iter().find(|(_, l)| *l == letter).map(|(p, _)| *p)
    }

    /// The bits, at most 127.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The permissions of bits; others than the seven are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 127)
    }

    /// Whether every permission of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the two sets share a permission.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with append where there is write.
    #[must_use]
    pub const fn effective(self) -> Self {
        if self.0 & 2 != 0 { Self(self.0 | 8) } else { self }
    }

    /// The permissions of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The permissions of this set that `other` has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The permissions one by one.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        Self::LETTERS.into_iter().map(|(p, _)| p).filter(move |p| self.contains(*p))
    }
}

impl std::ops::BitOr for FilePerms {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Display for FilePerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (perm, letter) in Self::LETTERS {
            if self.contains(perm) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FilePerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilePerms({self})")
    }
}

impl std::str::FromStr for FilePerms {
    type Err = InvalidPerms;

    /// Reads letters such as `rw`, without exec modifiers.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.chars().try_fold(Self::NONE, |set, letter| {
            Self::from_letter(letter.to_ascii_lowercase()).map(|p| set | p).ok_or_else(|| InvalidPerms {
                text: text.to_owned(),
                reason: format!("{letter:?} is no permission, want letters of rwalkmx"),
            })
        })
    }
}

/// Why a permission word is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid permissions {text:?}: {reason}")]
pub struct InvalidPerms {
    /// The word.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How a program is executed: `ix`, `Px`, `cux`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exec {
    /// Under which kind of profile.
    pub kind: ExecKind,
    /// What happens when that profile does not exist.
    pub fallback: Option<Fallback>,
    /// Whether the environment is scrubbed (the upper-case forms).
    pub scrub: bool,
}

impl Exec {
    /// `ix`: the program stays under this profile.
    pub const INHERIT: Self = Self { kind: ExecKind::Inherit, fallback: None, scrub: false };

    /// The letters before `x`, for example `Pi` of `Pix`.
    pub fn letters(self) -> &'static str {
        use ExecKind::{Child, Inherit, Profile, Unconfined};
        match (self.kind, self.fallback, self.scrub) {
            (Inherit, ..) => "i",
            (Unconfined, _, false) => "u",
            (Unconfined, _, true) => "U",
            (Profile, None, false) => "p",
            (Profile, None, true) => "P",
            (Profile, Some(Fallback::Inherit), false) => "pi",
            (Profile, Some(Fallback::Inherit), true) => "Pi",
            (Profile, Some(Fallback::Unconfined), false) => "pu",
            (Profile, Some(Fallback::Unconfined), true) => "PU",
            (Child, None, false) => "c",
            (Child, None, true) => "C",
            (Child, Some(Fallback::Inherit), false) => "ci",
            (Child, Some(Fallback::Inherit), true) => "Ci",
            (Child, Some(Fallback::Unconfined), false) => "cu",
            (Child, Some(Fallback::Unconfined), true) => "CU",
        }
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.letters())
    }
}

/// Under which profile a program runs after exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExecKind {
    /// `ix`: this one.
    Inherit,
    /// `px`: the one that attaches to the program, or the named one.
    Profile,
    /// `cx`: a child of this one.
    Child,
    /// `ux`: none.
    Unconfined,
}

/// What happens when the profile after exec does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// The program stays under this profile.
    Inherit,
    /// The program runs unconfined.
    Unconfined,
}
