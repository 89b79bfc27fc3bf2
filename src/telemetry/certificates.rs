//! Certificates that clients are shown, and what came of ordering them.

use serde::{Deserialize, Serialize};

/// One certificate of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CertificateOverview {
    /// As the configuration calls it.
    pub listener: String,
    /// The first of its names in the order of the alphabet, for authorities have orders of their own; its subject, if it
    /// has none.
    pub name: String,
    /// The last second in which it is valid, since 1970.
    pub expires_at: u64,
}

/// Orders of certificates (ACME) since the start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AcmeOverview {
    /// Those that brought one.
    pub issued: u64,
    /// Those that came to nothing.
    pub failed: u64,
    /// The latest.
    pub last_order: Option<OrderOverview>,
}

/// An order that is over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OrderOverview {
    /// The first of its names.
    pub name: String,
    /// How long ago it ended.
    pub seconds_ago: f64,
    /// Why it came to nothing; `None` if it brought a certificate.
    pub error: Option<String>,
}
