//! The opening handshake of both roles, by hand on httparse (RFC 6455 §4, RFC 9110, RFC 9112).
//!
//! [`head_len`] finds a head in the bytes that arrived, [`UpgradeRequest`] is a client's request that may be
//! forwarded, [`Answer`] what a backend said to it, [`Refusal`] what selat itself answers instead.

mod accept;
mod answer;
mod body;
mod fields;
mod head;
mod lookup;
mod refusal;
mod request;

pub use accept::Key;
pub use answer::{Answer, InvalidAnswer, answer};
pub use body::Body;
pub use fields::Occurrence;
pub use head::{HEADERS_MAX, HeadFault, head_len};
pub use refusal::{Challenge, Refusal};
pub use request::{UpgradeRequest, switching_protocols};
