//! The line that shows how a run goes, on standard error.

use std::io::{IsTerminal, Write, stderr};

use crate::client::Tally;
use crate::record::{Interval, Unit, per_second};

/// Shows slices as they end: on a terminal each in the place of the one before, else each on a line of its own.
#[derive(Debug)]
pub(super) struct Progress {
    unit: Unit,
    is_on: bool,
    is_terminal: bool,
}

impl Progress {
    /// Shows so many `unit`s a second on a terminal, and elsewhere if it `is_wanted`.
    pub(super) fn new(unit: Unit, is_wanted: bool) -> Self {
        let is_terminal = stderr().is_terminal();
        Self { unit, is_on: is_wanted || is_terminal, is_terminal }
    }

    /// Shows `interval`, at the end of which `whole` is all that has been seen.
    pub(super) fn show(&self, interval: &Interval, whole: &Tally) {
        if !self.is_on {
            return;
        }
        let errors = whole.faults.total() + whole.failed();
        let text = line(self.unit, interval, errors);
        // Nobody is told where nobody can be told.
        let _ = if self.is_terminal {
            write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush())
        } else {
            writeln!(stderr(), "{text}")
        };
    }

    /// Leaves the line as it is.
    pub(super) fn end(&self) {
        if self.is_on && self.is_terminal {
            let _ = writeln!(stderr());
        }
    }
}

fn line(unit: Unit, interval: &Interval, errors: u64) -> String {
    let wall = std::time::Duration::from_secs_f64(interval.seconds);
    let (seconds, many) = (interval.at + interval.seconds, unit.many());
    let mut text = format!("{seconds:6.1} s  {:.0} {many}/s", per_second(interval.answered, wall));
    if let Some(times) = interval.latency.corrected.as_ref().or(interval.latency.uncorrected.as_ref()) {
        text += &format!("  p50 {:.0} p99 {:.0} p99.9 {:.0} µs", times.p50, times.p99, times.p999);
    }
    text + &format!("  {errors} errors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Latency, Times};

    #[test]
    fn shows_the_time_counted_from_when_messages_were_due() {
        let times = |p50| Times {
            samples: 1,
            mean: 0.0,
            p50,
            p90: 0.0,
            p99: 2.0,
            p999: 3.0,
            max: 4.0,
            curve: vec![],
        };
        let latency = Latency { corrected: Some(times(1000.0)), uncorrected: Some(times(1.0)) };
        let interval = Interval {
            at: 3.0,
            seconds: 0.5,
            intended: None,
            sent: None,
            answered: 2000,
            errors: 0,
            latency,
            processes_busy: vec![],
            pss_kib: vec![],
            generator_busy: 0.0,
            stolen: 0.0,
        };
        let expected = "   3.5 s  4000 messages/s  p50 1000 p99 2 p99.9 3 µs  7 errors";
        assert_eq!(line(Unit::Message, &interval, 7), expected);
    }
}
