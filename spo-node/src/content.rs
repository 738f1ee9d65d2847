//! Bytes, and what stands for them.

use std::{fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Bytes that are hashed once, however often they are compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Box<[u8]>,
    sha256: Sha256,
}

impl Content {
    /// Their SHA-256.
    pub const fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        // No spare capacity: agents hold the artefacts of a whole cluster.
        Self { sha256: Sha256::of(&bytes), bytes: bytes.into() }
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.bytes), f)
    }
}

/// A SHA-256 (FIPS 180-4); its text form is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut text = [0; 64];
        for (to, digit) in text.iter_mut().zip(digits) {
            *to = DIGITS[usize::from(digit)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = BadSha256;

    fn from_str(text: &str) -> Result<Self, BadSha256> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(BadSha256),
        };
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| BadSha256)?;
        let mut bytes = [0; 32];
        for (to, [high, low]) in bytes.iter_mut().zip(text.as_chunks().0) {
            *to = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = BadSha256;

    fn try_from(text: String) -> Result<Self, BadSha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(sha256: Sha256) -> Self {
        sha256.to_string()
    }
}

/// A text that is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no SHA-256: it has to have 64 hexadecimal digits in lower case")]
pub struct BadSha256;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of the NIST example `abc` and of no bytes.
    #[test]
    fn a_text_stands_for_bytes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (bytes, text) in [(&b"abc"[..], abc), (b"", nothing)] {
            assert_eq!(Sha256::of(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(Sha256::of(bytes)));
            assert_eq!(Content::from(bytes.to_vec()).sha256(), Sha256::of(bytes));
        }
        for bad in ["", "ab", &abc[1..], &format!("{abc}00"), &abc.to_uppercase(), &abc.replace('b', "g")] {
            assert_eq!(bad.parse::<Sha256>(), Err(BadSha256), "{bad}");
        }
        let accents = "é".repeat(32);
        assert_eq!((accents.len(), accents.parse::<Sha256>()), (64, Err(BadSha256)));
    }
}
