//! Durations, sizes and rates, whose units are mandatory: `20s`, `1MiB`, `50/s`.

use std::num::NonZeroU64;
use std::time::Duration;

/// The longest duration that can be asked for: a century keeps every deadline representable.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// Not a duration.
    #[error("{given:?} is not a duration; write a number with a unit, such as 500ms, 20s or 1h")]
    Duration {
        /// The text.
        given: String,
    },
    /// Not a size.
    #[error("{given:?} is not a size; write a number with a unit, such as 512B, 64KiB or 1MiB")]
    Bytes {
        /// The text.
        given: String,
    },
    /// Not a rate.
    #[error("{given:?} is not a rate; write a whole number a second, such as 50/s")]
    Rate {
        /// The text.
        given: String,
    },
    /// Not a rate of bytes.
    #[error("{given:?} is not a size per second; write it with its unit, such as 64KiB/s or 1MiB/s")]
    ByteRate {
        /// The text.
        given: String,
    },
}

/// Reads a duration such as `500ms`, `20s`, `1h 30m`.
///
/// # Errors
/// No unit, an unknown one, zero, or more than a century.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let invalid = || InvalidUnit::Duration { given: text.to_owned() };
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| !is_bare && !duration.is_zero() && *duration <= DURATION_MAX)
        .ok_or_else(invalid)
}

/// Reads a size in bytes such as `512B`, `64KiB`, `1MB`.
///
/// # Errors
/// No unit, an unknown one, or zero.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidUnit> {
    let invalid = || InvalidUnit::Bytes { given: text.to_owned() };
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let size: bytesize::ByteSize = text.parse().map_err(|_| invalid())?;
    if has_unit && size.as_u64() > 0 { Ok(size.as_u64()) } else { Err(invalid()) }
}

/// Reads a rate such as `50/s`: events a second.
///
/// # Errors
/// Not a whole number, another unit than a second, none, or zero.
pub fn parse_rate(text: &str) -> Result<NonZeroU64, InvalidUnit> {
    let number = text.strip_suffix("/s").and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| InvalidUnit::Rate { given: text.to_owned() })
}

/// Reads a rate such as `1MiB/s`: bytes a second.
///
/// # Errors
/// Not a size, another unit than a second, none, or zero.
pub fn parse_byte_rate(text: &str) -> Result<NonZeroU64, InvalidUnit> {
    let bytes = text.strip_suffix("/s").and_then(|size| parse_bytes(size).ok());
    bytes.and_then(NonZeroU64::new).ok_or_else(|| InvalidUnit::ByteRate { given: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_has_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_bytes("512B"), Ok(512));
        assert_eq!(parse_bytes("1MiB"), Ok(1 << 20));
        assert_eq!(parse_rate("50/s").map(NonZeroU64::get), Ok(50));
        assert_eq!(parse_byte_rate("1MiB/s").map(NonZeroU64::get), Ok(1 << 20));
    }

    #[test]
    fn refuses_what_has_none() {
        for text in ["", "20", "s", "0s", "-1s", "999999years"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["", "20", "B", "0B", "1 fortnight"] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
        for text in ["", "50", "/s", "0/s", "-1/s", "1.5/s", "50/min", "50 per second", "1MiB/s"] {
            assert!(parse_rate(text).is_err(), "{text:?}");
        }
        for text in ["", "50", "50/s", "1MiB", "/s", "0B/s", "1MiB/h"] {
            assert!(parse_byte_rate(text).is_err(), "{text:?}");
        }
    }
}
