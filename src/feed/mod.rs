//! One source, any number of clients: what they get of it, in which order, and what becomes of those that are slow.
//!
//! Pure. On the shard that owns a feed's source, [`Inlet`] makes messages of the source's frames and [`Upstream`] says
//! which connections to have. On each shard with clients, a [`Hub`] says who gets which [`Message`] next: clients hold a
//! place in the log, not a copy. [`Subscriber`] is what one of them says, [`Topics`] what the source is asked for then.

mod hub;
mod inlet;
mod interest;
mod message;
mod pattern;
mod query;
mod quiet;
mod settings;
mod subscriber;
mod subscriptions;
mod template;
mod topics;
mod upstream;

pub use hub::{Hub, HubCounters, Lags, Offer, SubscriberId, Wish};
pub use inlet::{Ended, Inlet, Said};
pub use interest::Interest;
pub use message::{Batch, Key, Kind, Message, Seq, State};
pub use pattern::Pattern;
pub use query::Query;
pub use quiet::{InvalidQuiet, Quiet};
pub use settings::{
    Backoff, ClientMessages, Conflict, Rotate, Settings, Slow, SlowPolicy, Stall, Subscriptions, Words,
};
pub use subscriber::{Subscriber, Terms, Utterance};
pub use subscriptions::Choice;
pub use template::{InvalidTemplate, Template};
pub use topics::Topics;
pub use upstream::{Clock, Command, LineId, Upstream};
