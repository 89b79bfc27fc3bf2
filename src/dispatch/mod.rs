//! One client's messages over many backends, the replies gathered into its one connection.
//!
//! Pure. [`Dispatcher`] decides for one client: which backend gets a message, what its replies are, and what becomes of
//! both when a backend is slow or lost. [`Board`] is what all clients of a shard know of the backends together. What a
//! dispatcher forwards, it writes straight to a [`Port`]: the bytes of a message are the same bytes.

mod asked;
mod board;
mod dispatcher;
mod exit;
mod gather;
mod hearing;
mod line;
mod order;
mod port;
mod settings;
mod side;
mod template;

pub use board::{Board, Candidate, Draw};
pub use dispatcher::{Command, Context, Dispatcher, Start};
pub use port::{LineId, Port, Ports};
pub use settings::{Balance, Exchange, Gather, Order, Replies, Send, Settings, Unanswered};
pub use template::{InvalidTemplate, Template};
