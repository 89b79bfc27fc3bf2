//! Numbers for people: short, and as wide as they need to be.

/// For rates and rounded sums.
#[expect(clippy::as_conversions, reason = "there is no other way from u64 to f64; it is shown in two digits")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Text from elsewhere, without what a terminal would take for orders.
pub(super) fn printable(text: &str) -> String {
    text.replace(|character: char| character.is_control() && character != '\n', "·")
}

/// `1 session`, `2 sessions`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of anything, in powers of a thousand: `0`, `0.5`, `950`, `1.2k`, `34M`.
pub(super) fn amount(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes, in powers of 1024: `0 B`, `1.5 KiB`, `34 MiB`.
pub(super) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut units) = (value, units);
    // A value that would be shown as the next unit's 1 is that.
    while let [_, rest @ ..] = units
        && !rest.is_empty()
        && value >= step - 0.5
    {
        (value, units) = (value / step, rest);
    }
    let unit = units.first().copied().unwrap_or_default();
    let is_whole = value >= 9.95 || value == 0.0;
    if is_whole { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

/// A short time: `85 µs`, `1.20 ms`, `3.45 s`.
pub(super) fn latency(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// A long time, by its two largest units: `42s`, `3m 5s`, `2d 4h`.
pub(super) fn age(seconds: f64) -> String {
    // Whole seconds are enough; a float turns into the nearest u64 there is.
    #[expect(clippy::as_conversions, reason = "saturates, which is what an absurd age deserves")]
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elsewhere_gives_the_terminal_orders() {
        assert_eq!(printable("a\x1b[2J\rb\u{9b}31m\nc é"), "a·[2J·b·31m\nc é");
    }

    #[test]
    fn numbers_are_short() {
        let rows = [
            (amount(0.0), "0"),
            (amount(0.5), "0.5"),
            (amount(950.0), "950"),
            (amount(999.7), "1.0k"),
            (amount(1234.0), "1.2k"),
            (amount(34_000_000.0), "34M"),
            (bytes(0.0), "0 B"),
            (bytes(1536.0), "1.5 KiB"),
            (bytes(1e18), "909495 TiB"),
            (grouped(7), "7"),
            (grouped(1_234_567), "1,234,567"),
            (counted(1, "session"), "1 session"),
            (counted(0, "session"), "0 sessions"),
            (latency(0.000_085), "85 µs"),
            (latency(0.0012), "1.20 ms"),
            (latency(3.45), "3.45 s"),
            (age(42.9), "42s"),
            (age(185.0), "3m 5s"),
            (age(7300.0), "2h 1m"),
            (age(187_300.0), "2d 4h"),
            (age(f64::NAN), "0s"),
        ];
        for (shown, expected) in rows {
            assert_eq!(shown, expected);
        }
    }
}
