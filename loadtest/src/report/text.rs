//! Figures as people read them.

/// Three or more significant digits.
pub(super) fn rounded(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.3}"),
        10.0..1000.0 => format!("{figure:.1}"),
        _ => grouped(figure),
    }
}

/// Three significant digits and no more than are needed.
pub(crate) fn short(figure: f64) -> String {
    let text = match figure.abs() {
        0.0..1.0 => format!("{figure:.3}"),
        1.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        100.0..1000.0 => return format!("{figure:.0}"),
        1000.0..1e6 => return format!("{} k", short(figure / 1e3)),
        _ => return format!("{} M", short(figure / 1e6)),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Microseconds, in the unit that fits them.
pub(super) fn micros(figure: f64) -> String {
    match figure.abs() {
        0.0..1e3 => format!("{} µs", short(figure)),
        1e3..1e6 => format!("{} ms", short(figure / 1e3)),
        _ => format!("{} s", short(figure / 1e6)),
    }
}

/// So many of something.
pub(super) fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A share of one.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A whole number, its thousands set apart.
pub(super) fn grouped(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure < 0.0 { format!("-{text}") } else { text }
}

/// Text as it stands in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_short_as_it_can_be() {
        let rows =
            [(0.0, "0"), (0.5, "0.5"), (2.0, "2"), (12.34, "12.3"), (1234.0, "1.23 k"), (45_600.0, "45.6 k")];
        for (figure, text) in rows {
            assert_eq!(short(figure), text);
        }
        assert_eq!(
            (micros(999.0), micros(2500.0), micros(3e6)),
            ("999 µs".into(), "2.5 ms".into(), "3 s".into())
        );
        assert_eq!(
            (grouped(1_234_567.0), grouped(-999.0), grouped(1000.0)),
            ("1,234,567".into(), "-999".into(), "1,000".into())
        );
    }

    #[test]
    fn nothing_escapes_from_text() {
        assert_eq!(escape(r#"<a b="c">&"#), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
