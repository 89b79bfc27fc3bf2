//! When a certificate is ordered: at once where there is none, in time before it ends, and after a failure later and
//! later. Pure: every moment and all chance are arguments.

use std::time::{Duration, Instant};

use crate::tls::Certificate;

/// From a first failure to the next attempt; doubled with each further one, up to the most.
const RETRY_MIN: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The share of a wait that chance adds to it, so that those who failed together do not come back together.
const JITTER: f64 = 0.25;

/// The longest that an authority is believed about when to come back.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// From one certificate to the next, whatever the clocks say: one of them may be wrong.
const ORDERS_APART: Duration = Duration::from_secs(60 * 60);

/// The part of a certificate's life in which it is renewed, where that is shorter than the time asked for.
const LAST_PART: u32 = 3;

/// From when to when a certificate is good, since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    not_before: Duration,
    not_after: Duration,
}

impl Validity {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let [not_before, not_after] =
            [certificate.begins_at(), certificate.expires_at()].map(Duration::from_secs);
        Self { not_before, not_after }
    }
}

/// The orders of one certificate.
#[derive(Debug)]
pub(super) struct Schedule {
    renew_before: Duration,
    /// Of the certificate that there is.
    validity: Option<Validity>,
    /// Orders that failed since the last that did not.
    failures: u32,
    /// Before this, nothing is ordered.
    not_before: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(renew_before: Duration) -> Self {
        Self { renew_before, validity: None, failures: 0, not_before: None }
    }

    /// Says which certificate there is; `None` for none that would do.
    pub(super) fn set_validity(&mut self, validity: Option<Validity>) {
        self.validity = validity;
    }

    /// Whether it is time for an order; `today` is the time since 1970. Ask again and again: that clock may be set.
    pub(super) fn is_due(&self, now: Instant, today: Duration) -> bool {
        self.not_before.is_none_or(|at| at <= now)
            && self.validity.is_none_or(|validity| self.renew_at(validity) <= today)
    }

    /// An order has brought a certificate.
    pub(super) fn handle_issued(&mut self, now: Instant, validity: Validity) {
        self.validity = Some(validity);
        self.failures = 0;
        self.not_before = Some(now + ORDERS_APART);
    }

    /// An order has failed; `asked` is what the authority wants to be left alone for, `chance` is between 0 and 1.
    /// How long it will be until the next.
    pub(super) fn handle_failed(&mut self, now: Instant, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = RETRY_MIN.saturating_mul(2_u32.saturating_pow(self.failures));
        let wait = doubled.min(RETRY_MAX).mul_f64(1.0 + JITTER * chance);
        let wait = wait.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + wait);
        wait
    }

    fn renew_at(&self, validity: Validity) -> Duration {
        let life = validity.not_after.saturating_sub(validity.not_before);
        validity.not_after.saturating_sub(self.renew_before.min(life / LAST_PART))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Where the tests' calendar begins.
    const TODAY: Duration = Duration::from_secs(1_800_000_000);

    fn valid_for(life: Duration) -> Validity {
        Validity { not_before: TODAY, not_after: TODAY + life }
    }

    fn schedule() -> Schedule {
        Schedule::new(30 * DAY)
    }

    #[test]
    fn what_there_is_not_is_due_at_once() {
        assert!(schedule().is_due(crate::control::now(), TODAY));
    }

    #[test]
    fn a_certificate_is_renewed_in_time_and_a_short_one_in_the_last_third_of_its_life() {
        let now = crate::control::now();
        let rows =
            [(365 * DAY, 335 * DAY), (90 * DAY, 60 * DAY), (6 * DAY, 4 * DAY), (3 * DAY / 24, DAY / 12)];
        for (life, renewed_after) in rows {
            let mut schedule = schedule();
            schedule.set_validity(Some(valid_for(life)));
            assert!(!schedule.is_due(now, TODAY), "{life:?}");
            assert!(!schedule.is_due(now, TODAY + renewed_after - Duration::from_secs(1)), "{life:?}");
            assert!(schedule.is_due(now, TODAY + renewed_after), "{life:?}");
            assert!(schedule.is_due(now, TODAY + 2 * life), "long over: {life:?}");
        }
    }

    #[test]
    fn failures_are_retried_after_a_minute_then_after_twice_as_long_up_to_a_day() {
        let (mut schedule, mut now) = (schedule(), crate::control::now());
        let mut expected = RETRY_MIN;
        for _ in 0..40 {
            assert!(schedule.is_due(now, TODAY));
            let wait = schedule.handle_failed(now, None, 0.0);
            assert_eq!(wait, expected);
            assert!(!schedule.is_due(now + wait - Duration::from_secs(1), TODAY));
            now += wait;
            expected = (2 * expected).min(DAY);
        }
        assert_eq!(expected, DAY);
        schedule.handle_issued(now, valid_for(90 * DAY));
        assert_eq!(schedule.handle_failed(now, None, 0.0), RETRY_MIN, "a success is a new beginning");
    }

    #[test]
    fn chance_only_ever_adds_to_a_wait() {
        let now = crate::control::now();
        assert_eq!(schedule().handle_failed(now, None, 1.0), RETRY_MIN.mul_f64(1.25));
        assert_eq!(schedule().handle_failed(now, None, 0.5), RETRY_MIN.mul_f64(1.125));
    }

    #[test]
    fn an_authority_that_wants_to_be_left_alone_is_for_as_long_as_a_week() {
        let now = crate::control::now();
        let hours = 7 * DAY / 24;
        assert_eq!(schedule().handle_failed(now, Some(hours), 1.0), hours);
        assert_eq!(
            schedule().handle_failed(now, Some(Duration::from_secs(1)), 0.0),
            RETRY_MIN,
            "never sooner"
        );
        assert_eq!(schedule().handle_failed(now, Some(Duration::MAX), 0.0), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_clock_that_is_wrong_orders_no_certificate_after_the_other() {
        let (mut schedule, now) = (schedule(), crate::control::now());
        schedule.handle_issued(now, valid_for(90 * DAY));
        let tomorrow = TODAY + 1000 * DAY;
        assert!(!schedule.is_due(now + ORDERS_APART - Duration::from_secs(1), tomorrow));
        assert!(schedule.is_due(now + ORDERS_APART, tomorrow));
        assert!(!schedule.is_due(now + ORDERS_APART, TODAY), "and it may be set right");
    }
}
