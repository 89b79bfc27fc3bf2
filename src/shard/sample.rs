//! Which reads are measured, and what was measured of them.

use std::cell::Cell;
use std::time::Duration;

use super::Shard;
use crate::session::Peer;

/// One read of so many is measured. A look at the clock and two histograms cost some 100 ns: spread over 64 reads of
/// some 10 µs each that is nothing, and a shard that relays 10,000 reads a second still has 150 samples of them.
const READS_A_SAMPLE: u32 = 64;

/// Chooses the reads to measure.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Reads since the last that was chosen.
    reads: Cell<u32>,
}

impl Sampler {
    /// Whether this read is to be measured.
    #[inline]
    pub(super) fn choose(&self) -> bool {
        let reads = self.reads.get() + 1;
        self.reads.set(reads % READS_A_SAMPLE);
        reads == READS_A_SAMPLE
    }
}

impl Shard {
    /// A read that was chosen has been relayed, this long after it was learned of.
    pub(super) fn relayed(&self, latency: Duration) {
        self.count(|counters| counters.relay_latency.record(latency));
    }

    /// In a read that was chosen, so many messages ended; the last was of this size.
    pub(super) fn measured(&self, messages: u64, bytes: u64) {
        if messages > 0 {
            self.count(|counters| counters.message_size.record(bytes, messages));
        }
    }

    /// A ping of ours was answered.
    pub(super) fn answered(&self, peer: Peer, rtt: Duration) {
        self.count(|counters| match peer {
            Peer::Client => counters.ping_rtt.client.record(rtt),
            Peer::Backend => counters.ping_rtt.backend.record(rtt),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_of_so_many_is_chosen() {
        let sampler = Sampler::default();
        let chosen = (0..10 * READS_A_SAMPLE).filter(|_| sampler.choose()).count();
        assert_eq!(chosen, 10);
    }
}
