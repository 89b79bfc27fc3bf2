//! Who may open a session: decided on a parsed request, before any backend is dialled.
//!
//! [`Settings`] say what a route asks for, [`Guard`] holds a request against them, [`Denial`] is why it may not go on
//! and [`Identity`] whom it came from. [`Census`] counts the sessions of the whole process for the limits that no
//! shard can keep alone.
//!
//! Pure: time and the contents of files are arguments. Secrets are kept as digests, or redact their own `Debug`; none
//! is ever part of an error, a message to a client or a log line.

mod api_key;
mod basic;
mod census;
mod check;
mod credential;
mod denial;
mod identity;
mod jwt;
mod network;
mod origin;
mod rate;
mod secret_file;
mod settings;

pub use api_key::ApiKeys;
pub use basic::Users;
pub use census::{Census, Limits, Party};
pub use check::{Facts, Guard};
pub use credential::{CredentialSource, InvalidSource};
pub use denial::Denial;
pub use identity::{Identity, IdentityKey};
pub use jwt::{Algorithm, InvalidAlgorithm, InvalidTokenKeys, TokenFault, TokenKeys};
pub use network::{InvalidNetwork, parse_network};
pub use origin::{InvalidOrigin, Origin};
pub use rate::Rate;
pub use secret_file::{InvalidSecrets, LineFault};
pub use settings::{ApiKeyAuth, Auth, BasicAuth, FirstMessageAuth, JwtAuth, Settings};
