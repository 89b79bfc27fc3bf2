//! How long messages are.

use std::fmt;
use std::str::FromStr;

use super::{ConnectionId, wide};

/// Messages after which the order of sizes begins anew: shares are whole percentages.
const ROUND: u64 = 100;

/// Sizes in their shares, as `64` or `64:90%,16KiB:10%` name them.
///
/// Which message has which size is fixed, so that every answer is known in advance. Each size is spread evenly over
/// a connection's messages, and no two neighbouring connections are at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix {
    sizes: Vec<usize>,
    shares: Vec<u64>,
    /// Places in `sizes`.
    round: Vec<usize>,
}

impl Mix {
    /// Messages of one size.
    pub(crate) fn of(size: usize) -> Self {
        Self { sizes: vec![size], shares: vec![ROUND], round: Vec::new() }
    }

    fn new(parts: &[(usize, u64)]) -> Self {
        let (sizes, shares): (Vec<_>, Vec<_>) = parts.iter().copied().unzip();
        let mut round = Vec::new();
        let mut given = vec![0; sizes.len()];
        for turn in 1..=ROUND {
            // Whoever is furthest behind its share.
            let behind = |place: &usize| {
                let (share, given) = (shares.get(*place).unwrap_or(&0), given.get(*place).unwrap_or(&0));
                i128::from(share * turn) - i128::from(given * ROUND)
            };
            let place = (0..sizes.len()).max_by_key(behind).unwrap_or(0);
            round.push(place);
            if let Some(given) = given.get_mut(place) {
                *given += 1;
            }
        }
        Self { sizes, shares, round }
    }

    /// All sizes, in the order in which they were named.
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Which of [`Self::sizes`] the `number`-th message of a connection has.
    #[inline]
    pub(crate) fn place(&self, connection: ConnectionId, number: u64) -> usize {
        if self.round.is_empty() {
            return 0;
        }
        // Prime to the round, so that neighbours are far apart.
        let at = (number + u64::from(connection.serial()) * 37) % ROUND;
        usize::try_from(at).ok().and_then(|at| self.round.get(at)).copied().unwrap_or(0)
    }

    /// Payload bytes of the `number`-th message of a connection.
    #[inline]
    pub(crate) fn size(&self, connection: ConnectionId, number: u64) -> usize {
        self.sizes.get(self.place(connection, number)).copied().unwrap_or(0)
    }

    /// Payload bytes of the smallest.
    pub(crate) fn smallest(&self) -> usize {
        self.sizes.iter().copied().min().unwrap_or(0)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [size] = self.sizes.as_slice() {
            return write!(f, "{size}");
        }
        for (place, (size, share)) in self.sizes.iter().zip(&self.shares).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{size}:{share}%")?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(':') {
            return bytes(text).map(Self::of);
        }
        let part = |part: &str| {
            let (size, share) = part.split_once(':')?;
            let share = share.strip_suffix('%')?.parse().ok().filter(|share| *share > 0)?;
            Some((bytes(size).ok()?, share))
        };
        let parts: Option<Vec<_>> = text.split(',').map(part).collect();
        match parts {
            Some(parts) if parts.iter().map(|(_, share)| share).sum::<u64>() == ROUND => {
                Ok(Self::new(&parts))
            }
            Some(_) => Err("shares that are not 100% together".to_owned()),
            None => Err("not sizes; write for instance 64 or 64:90%,16KiB:10%".to_owned()),
        }
    }
}

/// A number of bytes: `64`, `16KiB`, `1MB`.
fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("kB", 1_000), ("MB", 1_000_000), ("B", 1)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
    let size = number.trim_end().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|size| wide(*size) <= MESSAGE_BYTES_MAX)
        .ok_or_else(|| "not a size; write for instance 64, 16KiB or 1MB, at most 1024MiB".to_owned())
}

/// Payload bytes of a message, of which each thread keeps one ready.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, sizes, again) in [
            ("64", vec![64], "64"),
            ("16KiB", vec![16_384], "16384"),
            ("1MB", vec![1_000_000], "1000000"),
            ("64:90%,16KiB:10%", vec![64, 16_384], "64:90%,16384:10%"),
        ] {
            let mix: Mix = text.parse().unwrap();
            assert_eq!((mix.sizes(), mix.to_string().as_str()), (sizes.as_slice(), again));
            assert_eq!(again.parse(), Ok(mix));
        }
        for text in ["", "x", "64:90%", "64:90%,128:20%", "64:0%,1:100%", "64,128", "-1", "2000MiB"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn keeps_to_the_shares_within_every_round() {
        let mix: Mix = "1:60%,2:30%,3:10%".parse().unwrap();
        for serial in 0..5 {
            let connection = ConnectionId::new(serial);
            let sizes: Vec<usize> = (7..107).map(|number| mix.size(connection, number)).collect();
            let count = |size| sizes.iter().filter(|each| **each == size).count();
            assert_eq!([count(1), count(2), count(3)], [60, 30, 10]);
            // Evenly: of ten in a row, at most two are of the rare one.
            assert!(sizes.windows(10).all(|ten| ten.iter().filter(|size| **size == 3).count() <= 2));
        }
        let first = (0..100).map(|number| mix.size(ConnectionId::new(0), number));
        let second = (0..100).map(|number| mix.size(ConnectionId::new(1), number));
        assert!(!first.eq(second));
    }
}
