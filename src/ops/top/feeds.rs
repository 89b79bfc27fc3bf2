//! The feeds in `top`: what has come in and gone out between two looks, and their table.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row as TableRow, Table, Widget};

use crate::telemetry::{FeedOverview, FeedState, Overview};

use super::super::units::{age, amount, grouped};
use super::rates::Speed;
use super::view::{heading_of_names, right, titles};

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct FeedRow {
    name: String,
    state: FeedState,
    clients: u64,
    /// Messages per second, as the next two; 0 if there is nothing to compare with.
    messages: f64,
    deliveries: f64,
    /// Conflated or dropped: what slow clients did not get.
    missed: f64,
    /// In messages.
    lag_p99: u64,
    /// Of the last message, in seconds; `None` if there was none.
    age_seconds: Option<f64>,
}

/// In the order of the configuration, whatever the other tables are sorted by.
pub(super) fn rows(earlier: &Overview, now: &Overview, speed: Speed) -> Vec<FeedRow> {
    let earlier: BTreeMap<_, _> = earlier.feeds.iter().map(|feed| (feed.name.as_str(), feed)).collect();
    let row = |feed: &FeedOverview| {
        let row = FeedRow {
            name: feed.name.clone(),
            state: feed.state,
            clients: feed.clients,
            lag_p99: feed.lag.p99,
            age_seconds: feed.last_message_age_seconds,
            ..FeedRow::default()
        };
        let Some(before) = earlier.get(feed.name.as_str()) else { return row };
        let missed = |feed: &FeedOverview| feed.conflated.saturating_add(feed.dropped);
        FeedRow {
            messages: speed.between(before.messages.messages, feed.messages.messages),
            deliveries: speed.between(before.deliveries.messages, feed.deliveries.messages),
            missed: speed.between(missed(before), missed(feed)),
            ..row
        }
    };
    now.feeds.iter().map(row).collect()
}

/// Writes as many of the rows as there is room for, and says how many there is none for.
pub(super) fn draw(rows: &[FeedRow], area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.height.saturating_sub(1));
    let title = heading_of_names("FEED", rows.len(), room);
    let numbers = ["CLIENTS", "IN/s", "OUT/s", "MISSED/s", "LAG p99", "LAST"].map(right);
    let heading = titles([Line::from(title), Line::from("SOURCE")].into_iter().chain(numbers));
    let lines = rows.iter().take(room).map(|row| {
        let numbers = [
            grouped(row.clients),
            amount(row.messages),
            amount(row.deliveries),
            amount(row.missed),
            grouped(row.lag_p99),
            row.age_seconds.map_or("never".to_owned(), age),
        ];
        let state = Line::styled(row.state.name(), colour(row.state));
        let cells = [Line::from(row.name.clone()), state];
        TableRow::new(cells.into_iter().chain(numbers.iter().map(|number| right(number))))
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(7),
    ];
    Widget::render(Table::new(lines, widths).header(heading), area, buffer);
}

fn colour(state: FeedState) -> Style {
    match state {
        FeedState::Up => Style::new().fg(Color::Green),
        FeedState::Connecting => Style::new().fg(Color::Yellow),
        FeedState::Stopped => Style::new().fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rates;
    use super::*;
    use crate::telemetry::Traffic;

    fn overview(uptime_seconds: f64, count: u64) -> Overview {
        let traffic = |messages| Traffic { messages, bytes: 0 };
        let feed = FeedOverview {
            name: "fx".to_owned(),
            clients: 3,
            messages: traffic(count),
            deliveries: traffic(count * 3),
            conflated: count,
            dropped: count,
            ..FeedOverview::default()
        };
        Overview { uptime_seconds, feeds: vec![feed], ..Overview::default() }
    }

    #[test]
    fn what_came_and_went_is_a_rate_and_a_process_started_anew_has_none() {
        let rates = |earlier: &Overview, now: &Overview| Rates::between(earlier, now).feeds.remove(0);
        let row = rates(&overview(10.0, 100), &overview(12.0, 300));
        assert_eq!((row.messages, row.deliveries, row.missed, row.clients), (100.0, 300.0, 200.0, 3));
        let anew = rates(&overview(10.0, 100), &overview(1.0, 300));
        assert_eq!((anew.messages, anew.missed, anew.clients), (0.0, 0.0, 3));
        assert_eq!(rates(&Overview::default(), &overview(1.0, 300)).deliveries, 0.0);
    }
}
