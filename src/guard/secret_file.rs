//! Files with one secret a line: their lines, and what can be wrong with them.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Entries of one file. More would make comparing with all of them (see [`super::ApiKeys`]) felt by other sessions.
const ENTRIES_MAX: usize = 4096;

/// A file of keys or users that cannot be used. No part of the file is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// One line is wrong.
    #[error("line {line}: {fault}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// Nothing but comments and empty lines, which would let nobody in.
    #[error("there is no entry in it; write one a line")]
    Empty,
    /// Too many lines.
    #[error("there are more than {ENTRIES_MAX} entries; use signed tokens (JWT) for so many clients")]
    TooMany,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// A key with characters that cannot travel in every place a key may stand.
    #[error("a key may have letters, digits and -._~+/= only; make one with `openssl rand -hex 32`")]
    KeyCharacters,
    /// A key that could be guessed.
    #[error("a key has at least 16 characters; make one with `openssl rand -hex 32`")]
    KeyTooShort,
    /// A name before the colon that is empty.
    #[error("there is no name before the colon; write name:key or user:hash")]
    NameMissing,
    /// A name that another line has.
    #[error("an earlier line has the same name")]
    NameRepeated,
    /// A key that another line has.
    #[error("an earlier line has the same key")]
    KeyRepeated,
    /// Not `user:hash`.
    #[error("there is no colon; write user:hash")]
    HashMissing,
    /// A hash in another format, or one that is slow by design.
    #[error(
        "the hash is not {{SSHA256}} or {{SHA256}}; bcrypt and the like would hold up every other session of the core. \
         Give the user a long random password and hash it with `doveadm pw -s SSHA256`"
    )]
    HashFormat,
    /// Not base64, or of another length than SHA-256 has.
    #[error("what follows {{SSHA256}} or {{SHA256}} is not base64 of 32 bytes (and a salt)")]
    HashMalformed,
}

/// The lines of a file that are neither empty nor comments, trimmed, each turned into an entry by `read`.
///
/// # Errors
/// What `read` found, with its line; or none or too many lines.
pub(super) fn entries<'t, T>(
    text: &'t str,
    mut read: impl FnMut(usize, &'t str) -> Result<T, LineFault>,
) -> Result<Vec<T>, InvalidSecrets> {
    let mut entries = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if entries.len() == ENTRIES_MAX {
            return Err(InvalidSecrets::TooMany);
        }
        entries.push(read(line, content).map_err(|fault| InvalidSecrets::Line { line, fault })?);
    }
    if entries.is_empty() { Err(InvalidSecrets::Empty) } else { Ok(entries) }
}

/// Reports what was there before.
pub(super) fn once<T: Eq + std::hash::Hash>(
    seen: &mut HashSet<T>,
    value: T,
    fault: LineFault,
) -> Result<(), LineFault> {
    if seen.insert(value) { Ok(()) } else { Err(fault) }
}

/// The SHA-256 of a secret, in words so that comparing takes four steps.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u64; 4]);

impl Digest {
    /// The digest of nothing anybody knows.
    pub(super) const ZERO: Self = Self([0; 4]);

    /// The digest of `parts`, one after the other.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
        Self::from_bytes(hash.into())
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        Self(words)
    }

    /// Compares in time that does not depend on what is compared.
    pub(super) fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_sha_256() {
        // FIPS 180-4, one-block message sample.
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert!(Digest::of(&[b"a", b"bc"]) == Digest::from_bytes(abc));
    }

    proptest! {
        #[test]
        fn constant_time_comparison_is_comparison(
            bytes: [u8; 32], others: [u8; 32], flipped in proptest::option::of((0..32_usize, 0..8_u32)),
        ) {
            let mut near = bytes;
            if let Some((at, bit)) = flipped {
                near[at] ^= 1 << bit;
            }
            for other in [others, near] {
                let same = Digest::from_bytes(bytes).ct_eq(&Digest::from_bytes(other));
                prop_assert_eq!(bool::from(same), bytes == other);
            }
        }
    }
}
