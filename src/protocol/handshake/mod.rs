//! The opening handshake of both roles, by hand on httparse (RFC 6455 §4, RFC 9110, RFC 9112).
//!
//! [`head_len`] finds a head in the bytes that arrived, [`RequestHead`] is what it asks, [`UpgradeRequest`] a
//! client's request that may be forwarded, written for a backend by a [`Rewrite`]. [`Answer`] is what a backend said
//! to it, [`Refusal`] or a [`FixedResponse`] what selat itself answers instead. An [`Ask`] is a request of selat's own.

mod accept;
mod answer;
mod ask;
mod body;
mod deflate;
mod edits;
mod fields;
mod fixed;
mod forwarding;
mod head;
mod lookup;
mod node;
mod refusal;
mod request;
mod rewrite;
mod target;

pub use accept::Key;
pub use answer::{Answer, InvalidAnswer, answer};
pub use ask::{Answered, Ask, chosen_protocol};
pub use body::Body;
pub use deflate::{Context, Deflate};
pub use edits::{Facts, HeaderEdits, InvalidEdit};
pub use fields::Occurrence;
pub use fixed::{FixedResponse, InvalidFixed};
pub use forwarding::{ForwardHeader, Forwarding, Hop, Scheme};
pub use head::{HEADERS_MAX, HeadFault, head_len};
pub use refusal::{Challenge, Refusal};
pub use request::{RequestHead, UpgradeRequest, switching_protocols};
pub use rewrite::Rewrite;
pub use target::{InvalidPath, PathRewrite};
