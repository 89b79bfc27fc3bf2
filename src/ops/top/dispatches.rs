//! The dispatches in `top`: what was asked and answered between two looks, and their table.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Row as TableRow, Table, Widget};

use crate::telemetry::{DispatchOverview, HistogramView, Overview};

use super::super::units::{amount, grouped, latency};
use super::rates::Speed;
use super::view::{heading_of_names, right, titles};

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DispatchRow {
    name: String,
    outstanding: u64,
    /// Messages per second, as the next three; 0 if there is nothing to compare with.
    sent: f64,
    replies: f64,
    retries: f64,
    unanswered: f64,
    /// From message to reply.
    took: HistogramView,
}

/// In the order of the configuration, whatever the other tables are sorted by.
pub(super) fn rows(earlier: &Overview, now: &Overview, speed: Speed) -> Vec<DispatchRow> {
    let earlier: BTreeMap<_, _> =
        earlier.dispatches.iter().map(|dispatch| (dispatch.name.as_str(), dispatch)).collect();
    let row = |dispatch: &DispatchOverview| {
        let row = DispatchRow {
            name: dispatch.name.clone(),
            outstanding: dispatch.outstanding,
            took: dispatch.reply_seconds(),
            ..DispatchRow::default()
        };
        let Some(before) = earlier.get(dispatch.name.as_str()) else { return row };
        DispatchRow {
            sent: speed.between(before.sent, dispatch.sent),
            replies: speed.between(before.replies, dispatch.replies),
            retries: speed.between(before.retries, dispatch.retries),
            unanswered: speed.between(before.unanswered(), dispatch.unanswered()),
            took: row.took.since(&before.reply_seconds()),
            ..row
        }
    };
    now.dispatches.iter().map(row).collect()
}

/// Writes as many of the rows as there is room for, and says how many there is none for.
pub(super) fn draw(rows: &[DispatchRow], area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.height.saturating_sub(1));
    let title = heading_of_names("DISPATCH", rows.len(), room);
    let numbers = ["WAITING", "SENT/s", "REPLIES/s", "RETRIED/s", "LOST/s", "REPLY p50", "p99"].map(right);
    let heading = titles([Line::from(title)].into_iter().chain(numbers));
    let lines = rows.iter().take(room).map(|row| {
        let quantile = |share| row.took.quantile(share).map_or_else(String::new, latency);
        let numbers = [
            grouped(row.outstanding),
            amount(row.sent),
            amount(row.replies),
            amount(row.retries),
            amount(row.unanswered),
            quantile(0.5),
            quantile(0.99),
        ];
        let name = Line::from(row.name.clone());
        TableRow::new([name].into_iter().chain(numbers.iter().map(|number| right(number))))
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    Widget::render(Table::new(lines, widths).header(heading), area, buffer);
}

#[cfg(test)]
mod tests {
    use super::super::Rates;
    use super::*;
    use crate::telemetry::Replier;

    fn overview(uptime_seconds: f64, count: u64) -> Overview {
        let reply_seconds = HistogramView { bounds: vec![0.1], counts: vec![count, 0], sum: 0.0 };
        let replier = Replier { reply_seconds, ..Replier::default() };
        let dispatch = DispatchOverview {
            name: "work".to_owned(),
            outstanding: 3,
            sent: count * 2,
            replies: count,
            timeouts: count,
            lost: count,
            backends: vec![replier.clone(), replier],
            ..DispatchOverview::default()
        };
        Overview { uptime_seconds, dispatches: vec![dispatch], ..Overview::default() }
    }

    #[test]
    fn what_was_asked_and_answered_is_a_rate_and_a_process_started_anew_has_none() {
        let rates = |earlier: &Overview, now: &Overview| Rates::between(earlier, now).dispatches.remove(0);
        let row = rates(&overview(10.0, 100), &overview(12.0, 300));
        assert_eq!((row.sent, row.replies, row.unanswered, row.outstanding), (200.0, 100.0, 200.0, 3));
        assert_eq!(row.took.count(), 400);
        let anew = rates(&overview(10.0, 100), &overview(1.0, 30));
        assert_eq!((anew.sent, anew.took.count()), (0.0, 60));
        assert_eq!(rates(&Overview::default(), &overview(1.0, 300)).replies, 0.0);
    }
}
