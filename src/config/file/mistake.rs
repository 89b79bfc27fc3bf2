//! What is wrong with a configuration file, where, and what would be right.

use std::fmt;
use std::sync::Arc;

/// One thing that is wrong, or, as a warning, odd.
///
/// Never has a value that came from the environment or from a secret's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name, as it was given; empty for a text that nobody sees, and so without a place to show.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong there, with the key, and what would be right.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        if file.is_empty() { f.write_str(what) } else { write!(f, "{file}:{line}: {what}") }
    }
}

/// `; did you mean "backends"?`, or nothing where no candidate is near.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

/// The candidate that the fewest slips of the pen make into `word`: at most one for every three letters begun.
fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let slips = |candidate: &&str| strsim::damerau_levenshtein(word, candidate);
    let slips_max = word.chars().count().div_ceil(3);
    candidates.into_iter().min_by_key(slips).filter(|candidate| slips(candidate) <= slips_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let words = ["backends", "balance", "health", "queue"];
        let rows = [
            ("backend", "; did you mean \"backends\"?"),
            ("balancing", "; did you mean \"balance\"?"),
            ("helath", "; did you mean \"health\"?"),
            ("colour", ""),
            ("", ""),
        ];
        for (word, suggestion) in rows {
            assert_eq!(did_you_mean(word, words), suggestion, "{word}");
        }
        assert_eq!(did_you_mean("word", []), "");
    }
}
