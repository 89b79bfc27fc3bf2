//! Parts of each week in which a source has nothing to say.

use std::time::Duration;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_A_DAY: u16 = 24 * 60;
const MINUTES_A_WEEK: u16 = 7 * MINUTES_A_DAY;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The day on which Unix time begins was a Thursday.
const UNIX_EPOCH_MINUTE: u64 = 3 * 24 * 60;

/// A part of each week, in UTC, as minutes since Monday 00:00. One that ends before it begins runs over the end of the
/// week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    from_minute: u16,
    to_minute: u16,
}

/// Not a part of a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a part of a week; write \"Fri 22:00-Sun 22:00 UTC\"")]
pub struct InvalidQuiet;

impl Quiet {
    /// Reads `Fri 22:00-Sun 22:00 UTC`.
    ///
    /// # Errors
    /// [`InvalidQuiet`].
    pub fn parse(text: &str) -> Result<Self, InvalidQuiet> {
        let text = text.trim().strip_suffix("UTC").ok_or(InvalidQuiet)?;
        let (from, to) = text.split_once('-').ok_or(InvalidQuiet)?;
        let (from_minute, to_minute) = (minute(from).ok_or(InvalidQuiet)?, minute(to).ok_or(InvalidQuiet)?);
        if from_minute == to_minute { Err(InvalidQuiet) } else { Ok(Self { from_minute, to_minute }) }
    }

    /// Whether it is now, `unix_now` after the beginning of 1970 in UTC.
    #[must_use]
    pub fn is_at(self, unix_now: Duration) -> bool {
        let minute = (unix_now.as_secs() / 60 + UNIX_EPOCH_MINUTE) % u64::from(MINUTES_A_WEEK);
        let (from, to) = (u64::from(self.from_minute), u64::from(self.to_minute));
        if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
    }

    /// How long it lasts yet; zero where it is not now.
    #[must_use]
    pub fn left(self, unix_now: Duration) -> Duration {
        if self.is_at(unix_now) { until(self.to_minute, unix_now) } else { Duration::ZERO }
    }

    /// How long it has been over; zero where it is now.
    #[must_use]
    pub fn over_for(self, unix_now: Duration) -> Duration {
        if self.is_at(unix_now) { Duration::ZERO } else { WEEK - until(self.to_minute, unix_now) }
    }
}

/// From now to the next time that it is this minute of the week; more than nothing, at most a week.
fn until(minute: u16, unix_now: Duration) -> Duration {
    let weeks = unix_now.as_secs().wrapping_add(UNIX_EPOCH_MINUTE * 60) % WEEK.as_secs();
    let now = Duration::new(weeks, unix_now.subsec_nanos());
    let at = Duration::from_secs(u64::from(minute) * 60);
    if at > now { at - now } else { WEEK - (now - at) }
}

/// `Fri 22:00`, since Monday 00:00; `Sun 24:00` is its end.
fn minute(text: &str) -> Option<u16> {
    let (day, time) = text.trim().split_once(' ')?;
    let day = (0..).zip(DAYS).find_map(|(index, name)| name.eq_ignore_ascii_case(day).then_some(index))?;
    let (hour, minute) = time.trim().split_once(':')?;
    let number = |text: &str, max: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().filter(|number| *number <= max)
    };
    let of_day = number(hour, 24)? * 60 + number(minute, 59)?;
    (of_day <= MINUTES_A_DAY).then_some((day * MINUTES_A_DAY + of_day) % MINUTES_A_WEEK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-01-05, a Friday, at 00:00 UTC.
    const FRIDAY: u64 = 1_704_412_800;

    #[test]
    fn knows_its_hours() {
        let weekend = Quiet::parse("Fri 22:00-Sun 22:00 UTC").unwrap();
        let over_the_end = Quiet::parse("sun 22:00 - mon 01:30 UTC").unwrap();
        let rows = [(21.99, false, false), (22.0, true, false), (69.99, true, false), (70.0, false, true)];
        for (hour, is_weekend, is_over) in rows {
            let now = Duration::from_secs(FRIDAY) + Duration::from_secs_f64(hour * 3600.0);
            assert_eq!((weekend.is_at(now), over_the_end.is_at(now)), (is_weekend, is_over), "{hour}");
        }
        let monday = Duration::from_secs(FRIDAY + 3 * 86_400);
        assert!(over_the_end.is_at(monday) && !over_the_end.is_at(monday + Duration::from_secs(5400)));
    }

    #[test]
    fn knows_how_long_it_lasts_and_has_been_over() {
        let weekend = Quiet::parse("Fri 22:00-Sun 22:00 UTC").unwrap();
        let rows = [
            (21.5, 0.0, 167.5 - 48.0),
            (22.0, 48.0, 0.0),
            (69.75, 0.25, 0.0),
            (70.0, 0.0, 0.0),
            (70.001, 0.0, 0.001),
            (23.0 + 168.0, 47.0, 0.0),
        ];
        for (hour, left, over_for) in rows {
            let hours = |hours: f64| Duration::from_secs_f64(hours * 3600.0);
            let now = Duration::from_secs(FRIDAY) + hours(hour);
            assert_eq!((weekend.left(now), weekend.over_for(now)), (hours(left), hours(over_for)), "{hour}");
        }
    }

    #[test]
    fn is_refused_if_it_is_no_part_of_a_week() {
        for text in [
            "",
            "Fri 22:00-Sun 22:00",
            "Fri-Sun UTC",
            "Fri 22:00 UTC",
            "Fre 22:00-Sun 22:00 UTC",
            "Fri 25:00-Sun 22:00 UTC",
            "Fri 24:30-Sun 22:00 UTC",
            "Fri 22:60-Sun 22:00 UTC",
            "Fri 2:00-Sun 22:00 UTC",
            "Fri 22:00-Fri 22:00 UTC",
        ] {
            assert_eq!(Quiet::parse(text), Err(InvalidQuiet), "{text}");
        }
        assert!(Quiet::parse("Sat 00:00-Sun 24:00 UTC").is_ok());
    }
}
