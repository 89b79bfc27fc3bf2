//! The way to the client: one message after the other, whole, and in order where that is asked for.

use std::time::Instant;

use super::asked::Seq;
use super::order::Order;
use super::{LineId, Port, Ports};
use crate::telemetry::DispatchCounters;

/// Who writes to the client.
#[derive(Debug, Default)]
pub(super) struct Exit {
    /// The line that is in the middle of a message.
    holder: Option<Holder>,
    /// What selat has to say behind that.
    behind: Vec<u8>,
    /// Boxed, for most clients take replies as they come.
    order: Option<Box<Order>>,
    /// Whether nothing more goes to the client.
    is_shut: bool,
}

/// A line that has the client for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) line: LineId,
    /// When it last went on.
    pub(super) heard_at: Instant,
}

impl Exit {
    /// Where replies go out in the order of what they answer.
    pub(super) fn in_order() -> Self {
        Self { order: Some(Box::default()), ..Self::default() }
    }

    /// A message is to have a reply.
    pub(super) fn expect(&mut self) {
        self.order.iter_mut().for_each(|order| order.expect());
    }

    /// Whether a reply to this message may go out before it is whole; `None` for one that answers nothing.
    pub(super) fn has_turn(&self, seq: Option<Seq>) -> bool {
        let is_next = |order: &Order| seq.is_none_or(|seq| order.first() == Some(seq));
        self.holder.is_none() && self.order.as_ref().is_none_or(|order| is_next(order))
    }

    /// Gives a line the client for itself until [`Self::release`].
    pub(super) fn hold(&mut self, line: LineId, now: Instant) {
        self.holder = Some(Holder { line, heard_at: now });
    }

    /// Who has the client for itself.
    pub(super) fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// Its holder is going on, or cannot because of the client.
    pub(super) fn touch(&mut self, now: Instant) {
        self.holder.iter_mut().for_each(|holder| holder.heard_at = now);
    }

    /// The message of its holder is at its end.
    pub(super) fn release(&mut self, ports: &mut impl Ports) {
        self.holder = None;
        let behind = std::mem::take(&mut self.behind);
        self.write(&behind, ports);
    }

    /// Passes on what the holder says.
    pub(super) fn pass(&mut self, bytes: &[u8], ports: &mut impl Ports) {
        if !self.is_shut && !bytes.is_empty() {
            ports.write(Port::Client, bytes);
        }
    }

    /// Whole messages that answer `seq`, or nothing.
    pub(super) fn put(
        &mut self,
        seq: Option<Seq>,
        messages: &[u8],
        ports: &mut impl Ports,
        counters: &mut DispatchCounters,
    ) {
        match (&mut self.order, seq) {
            (Some(order), Some(seq)) if order.first() != Some(seq) => order.keep(seq, messages, counters),
            _ => self.write(messages, ports),
        }
    }

    /// Nothing more comes for `seq`.
    pub(super) fn finish(&mut self, seq: Seq, ports: &mut impl Ports, counters: &mut DispatchCounters) {
        self.order.iter_mut().for_each(|order| order.finish(seq));
        while let Some(kept) = self.order.as_mut().and_then(|order| order.poll(counters)) {
            self.write(&kept, ports);
        }
    }

    /// Replies that wait for those before them: their bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.order.as_ref().map_or(0, |order| order.bytes())
    }

    /// The message whose reply is to go out next, if there is such an order.
    pub(super) fn next(&self) -> Option<Seq> {
        self.order.as_ref().and_then(|order| order.first())
    }

    /// Messages whose replies have not gone out, if there is an order.
    pub(super) fn expected(&self) -> Option<usize> {
        self.order.as_ref().map(|order| order.len())
    }

    /// Whether replies go out in the order of what they answer.
    pub(super) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    /// Lets nothing more out.
    pub(super) fn shut(&mut self, counters: &mut DispatchCounters) {
        self.is_shut = true;
        self.holder = None;
        self.behind = Vec::new();
        self.order.iter_mut().for_each(|order| order.clear(counters));
    }

    fn write(&mut self, messages: &[u8], ports: &mut impl Ports) {
        if self.holder.is_some() {
            self.behind.extend_from_slice(messages);
        } else {
            self.pass(messages, ports);
        }
    }
}
