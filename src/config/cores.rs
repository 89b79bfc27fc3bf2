//! Core lists: `all`, `0-3,6`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest core number that can be asked for: the kernel's own limit on x86-64.
const CORE_MAX: usize = 8191;

/// The cores that get a shard each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cores {
    /// Every core that this process may run on.
    #[default]
    All,
    /// These.
    List(BTreeSet<usize>),
}

/// Not a core list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a list of cores; write all, or numbers and ranges such as 0-3,6")]
pub struct InvalidCores {
    given: String,
}

impl FromStr for Cores {
    type Err = InvalidCores;

    fn from_str(text: &str) -> Result<Self, InvalidCores> {
        if text == "all" {
            return Ok(Self::All);
        }
        let invalid = || InvalidCores { given: text.to_owned() };
        let number =
            |text: &str| text.parse::<usize>().ok().filter(|core| *core <= CORE_MAX).ok_or_else(invalid);
        let mut cores = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = number(first)?..=number(last)?;
            if range.is_empty() {
                return Err(invalid());
            }
            cores.extend(range);
        }
        Ok(Self::List(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::List(cores) => {
                f.write_str(&cores.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_ranges() {
        assert_eq!("all".parse(), Ok(Cores::All));
        assert_eq!("0-3,6,2".parse(), Ok(Cores::List(BTreeSet::from([0, 1, 2, 3, 6]))));
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["all", "3", "0,2,4"] {
            assert_eq!(text.parse::<Cores>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_anything_else() {
        for text in ["", "a", "3-1", "1,", "-1", "0-99999999", "1-2-3"] {
            assert!(text.parse::<Cores>().is_err(), "{text:?}");
        }
    }
}
