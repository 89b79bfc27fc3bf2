//! Where orders come in, and what is logged.

use std::path::PathBuf;

use super::{ListenAddress, Secret};

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it is. Other machines can reach it only with a token.
    pub address: ListenAddress,
    /// What a request that changes anything has to carry; `None` for nothing.
    pub token: Option<Secret>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged; each level includes those before it.
    pub level: LogLevel,
    /// The line a session.
    pub access: Access,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What someone has to be woken for.
    Error,
    /// What someone has to look at.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// The peers' faults.
    Debug,
    /// Everything.
    Trace,
}

/// Where the access log goes: one line a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// With the other lines.
    #[default]
    On,
    /// Nowhere.
    Off,
    /// To a file of its own, as JSON.
    File(PathBuf),
}
