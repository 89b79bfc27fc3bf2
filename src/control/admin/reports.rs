//! What the admin interface answers to what was asked of it; the same types at both ends.

use serde::{Deserialize, Serialize};

/// Names that an error shows at most.
const KNOWN_MAX: usize = 16;

/// What a drain of a backend, or its end, concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrainReport {
    /// The backends, `pool/url` each.
    pub backends: Vec<String>,
    /// Sessions that they have.
    pub sessions: u64,
}

/// What a reload that was applied has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The configuration's, from now on.
    pub generation: u64,
    /// A line for each change, such as `pool chat: removed ws://10.0.0.2:9001`; empty if nothing had changed.
    pub changes: Vec<String>,
}

/// Why something was not done: the body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people: what, where, what to do.
    pub error: String,
}

/// A name that no backend has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend is called {asked:?}; there {}", listed(known))]
pub struct UnknownBackend {
    /// As the user wrote it.
    pub asked: String,
    /// What could have been meant.
    pub known: Vec<String>,
}

fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(KNOWN_MAX).map(String::as_str).collect();
    match (shown.is_empty(), names.len() - shown.len()) {
        (true, _) => "is none".to_owned(),
        (false, 0) => format!("is {}", shown.join(", ")),
        (false, more) => format!("is {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_backend_comes_with_those_there_are() {
        let error = |known: &[String]| {
            UnknownBackend { asked: "ws://c".to_owned(), known: known.to_vec() }.to_string()
        };
        let names: Vec<_> = (0..20).map(|n| format!("b{n}")).collect();
        assert_eq!(error(&[]), "no backend is called \"ws://c\"; there is none");
        assert_eq!(error(&names[..2]), "no backend is called \"ws://c\"; there is b0, b1");
        assert!(error(&names).ends_with("b15 and 4 more"));
    }
}
