//! Replies in the order of what they answer: each waits for those before it.

use std::collections::VecDeque;

use super::asked::Seq;
use crate::telemetry::DispatchCounters;

/// The messages that a client has sent and not been answered, in their order.
#[derive(Debug, Default)]
pub(super) struct Order {
    first: Seq,
    slots: VecDeque<Slot>,
    bytes: usize,
}

/// What has come for one message.
#[derive(Debug, Default)]
struct Slot {
    /// Whole frames.
    kept: Vec<u8>,
    replies: u32,
    /// Whether nothing more comes for it.
    is_done: bool,
}

impl Order {
    /// The next message is to have a reply.
    pub(super) fn expect(&mut self) {
        self.slots.push_back(Slot::default());
    }

    /// Messages that were not answered, or whose replies wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first message that was not answered.
    pub(super) fn first(&self) -> Option<Seq> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    /// Keeps a reply that came early.
    pub(super) fn keep(&mut self, seq: Seq, reply: &[u8], counters: &mut DispatchCounters) {
        if let Some(slot) = self.slot(seq) {
            slot.kept.extend_from_slice(reply);
            slot.replies += 1;
            self.bytes += reply.len();
            counters.reorder_now += 1;
            counters.reorder_bytes_now += count(reply.len());
        }
    }

    /// Nothing more comes for a message.
    pub(super) fn finish(&mut self, seq: Seq) {
        self.slot(seq).into_iter().for_each(|slot| slot.is_done = true);
    }

    /// What the client gets next, as far as it has come.
    pub(super) fn poll(&mut self, counters: &mut DispatchCounters) -> Option<Vec<u8>> {
        loop {
            let front = self.slots.front_mut()?;
            if front.replies > 0 {
                let kept = std::mem::take(&mut front.kept);
                self.bytes -= kept.len();
                counters.reorder_now =
                    counters.reorder_now.saturating_sub(std::mem::take(&mut front.replies).into());
                counters.reorder_bytes_now = counters.reorder_bytes_now.saturating_sub(count(kept.len()));
                return Some(kept);
            }
            if !front.is_done {
                return None;
            }
            self.slots.pop_front();
            self.first = self.first.next();
        }
    }

    /// Nobody waits for anything any more.
    pub(super) fn clear(&mut self, counters: &mut DispatchCounters) {
        self.slots.iter_mut().for_each(|slot| slot.is_done = true);
        while self.poll(counters).is_some() {}
    }

    fn slot(&mut self, seq: Seq) -> Option<&mut Slot> {
        let at = usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?;
        self.slots.get_mut(at)
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_replies_out_in_the_order_of_what_they_answer() {
        let (mut order, mut counters) = (Order::default(), DispatchCounters::default());
        (0..4).for_each(|_| order.expect());
        for (seq, reply) in [(3, "d"), (1, "b"), (1, "B")] {
            order.keep(Seq(seq), reply.as_bytes(), &mut counters);
            assert_eq!(order.poll(&mut counters), None);
        }
        assert_eq!((counters.reorder_now, counters.reorder_bytes_now, order.bytes()), (3, 3, 3));
        order.finish(Seq(1));
        order.finish(Seq(0));
        assert_eq!(order.poll(&mut counters).as_deref(), Some(&b"bB"[..]));
        assert_eq!(order.poll(&mut counters), None);
        assert_eq!((order.first(), order.len()), (Some(Seq(2)), 2));
        // Passed over.
        order.finish(Seq(2));
        assert_eq!(order.poll(&mut counters).as_deref(), Some(&b"d"[..]));
        assert_eq!(order.poll(&mut counters), None);
        order.finish(Seq(3));
        assert_eq!(order.poll(&mut counters), None);
        assert_eq!(order.first(), None);
        order.finish(Seq(0));
        assert_eq!((counters.reorder_now, counters.reorder_bytes_now), (0, 0));
    }

    #[test]
    fn what_nobody_waits_for_is_not_counted() {
        let (mut order, mut counters) = (Order::default(), DispatchCounters::default());
        (0..2).for_each(|_| order.expect());
        order.keep(Seq(1), b"late", &mut counters);
        order.clear(&mut counters);
        assert_eq!((counters, order.bytes(), order.len()), (DispatchCounters::default(), 0, 0));
    }
}
