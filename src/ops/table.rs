//! Columns of text.

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lays rows out under a heading, each column as wide as its widest cell, two blanks apart.
pub(super) fn table<const N: usize>(heading: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(|(title, _)| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: [&str; N]| {
        let columns = cells.iter().zip(widths).zip(heading);
        let padded = columns.map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let titles = line(heading.map(|(title, _)| title));
    [titles].into_iter().chain(rows.iter().map(|row| line(row.each_ref().map(String::as_str)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["é".to_owned(), "1".to_owned()], ["abc".to_owned(), "1000".to_owned()]];
        let text = table([("A", Align::Left), ("N", Align::Right)], &rows);
        assert_eq!(text, "A       N\né       1\nabc  1000\n");
    }
}
