//! Holds a client to its [`RateLimit`].

use std::time::Instant;

use super::bucket::TokenBucket;
use super::settings::{Excess, Rate, RateLimit};

/// What a client has sent, against what it may.
///
/// A read is paid for once it has been forwarded, whatever it brought: so the bursts of both buckets are exceeded by
/// one read at most, and that much is then made up for.
#[derive(Debug)]
pub(crate) struct Meter {
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    excess: Excess,
    /// Until when the client is not read.
    resume_at: Option<Instant>,
    throttled: u64,
}

/// What follows from what a client has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// Nothing; or it is not read for a while.
    Accepted,
    /// The session is to be closed.
    Exceeded,
}

impl Meter {
    pub(crate) fn new(limit: RateLimit, now: Instant) -> Self {
        let bucket = |rate: Rate| TokenBucket::new(rate.per_second, rate.burst, now);
        Self {
            messages: limit.messages.map(bucket),
            bytes: limit.bytes.map(bucket),
            excess: limit.excess,
            resume_at: None,
            throttled: 0,
        }
    }

    /// Charges the client for what was forwarded.
    pub(crate) fn charge(&mut self, bytes: usize, messages: u64, now: Instant) -> Charge {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let is_within = |bucket: &mut Option<TokenBucket>, tokens| {
            bucket.as_mut().is_none_or(|bucket| bucket.take(tokens, now))
        };
        let is_accepted = is_within(&mut self.bytes, bytes) & is_within(&mut self.messages, messages);
        match self.excess {
            Excess::Close if is_accepted => Charge::Accepted,
            Excess::Close => Charge::Exceeded,
            Excess::Slow => {
                self.slow(now);
                Charge::Accepted
            }
        }
    }

    fn slow(&mut self, now: Instant) {
        let ready_at = |bucket: &Option<TokenBucket>| bucket.as_ref().and_then(|bucket| bucket.ready_at(now));
        let resume_at = ready_at(&self.messages).max(ready_at(&self.bytes));
        if resume_at.is_some() && self.resume_at.is_none() {
            self.throttled += 1;
        }
        self.resume_at = resume_at;
    }

    /// Until when the client is not read; `None` if it is.
    pub(crate) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// Lets the client be read again, whatever it owes.
    pub(crate) fn release(&mut self) {
        self.resume_at = None;
    }

    /// How often the client was slowed down since this was asked last.
    pub(crate) fn take_throttled(&mut self) -> u64 {
        std::mem::take(&mut self.throttled)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;

    fn meter(messages: Option<u64>, bytes: Option<u64>, excess: Excess) -> (Meter, Instant) {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        let rate = |number| {
            let number = NonZeroU64::new(number).unwrap();
            Rate { per_second: number, burst: number }
        };
        let limit = RateLimit { messages: messages.map(rate), bytes: bytes.map(rate), excess };
        (Meter::new(limit, start), start)
    }

    #[test]
    fn the_slower_of_both_buckets_decides_when_to_read_again() {
        let (mut meter, start) = meter(Some(10), Some(1000), Excess::Slow);
        assert_eq!(meter.charge(500, 1, start), Charge::Accepted);
        assert_eq!(meter.resume_at(), None);
        meter.charge(1_499, 1, start);
        assert_eq!(meter.resume_at(), Some(start + Duration::from_secs(1)));
        // What was still in hand when it was slowed down is added to that, and no new slowing down.
        meter.charge(1, 29, start);
        assert_eq!(meter.resume_at(), Some(start + Duration::from_millis(2_200)));
        assert_eq!(meter.take_throttled(), 1);
        meter.release();
        assert_eq!(meter.resume_at(), None);
    }

    #[test]
    fn the_first_token_too_many_is_too_many_where_the_session_is_to_close() {
        let (mut meter, start) = meter(Some(3), None, Excess::Close);
        assert_eq!(meter.charge(1 << 30, 3, start), Charge::Accepted);
        assert_eq!(meter.charge(0, 1, start), Charge::Exceeded);
        assert_eq!((meter.resume_at(), meter.take_throttled()), (None, 0));
    }
}
