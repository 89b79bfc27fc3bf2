//! Draws the [`Screen`]: a head of five lines, routes, feeds and dispatches if there are any, backends,
//! keys.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row as TableRow, Table, Widget};

use crate::telemetry::{BackendState, Overview, Phase};

use super::super::status::{quantiles, title};
use super::super::units::{amount, bytes, grouped};
use super::rates::{Rates, Row};
use super::screen::{Mode, Screen};
use super::{dispatches, feeds};

/// The page that is printed where there is no terminal.
const PAGE_WIDTH: u16 = 100;

/// Lines above the tables, and of the tables' headings, the gap between them and the keys.
const HEAD_LINES: u16 = 6;
const OTHER_LINES: u16 = 4;

const KEYS: &str = "q quit  s sort  p pause  ↑↓ PgUp PgDn scroll";

/// Codes that the line of closes has room for.
const CODES_MAX: usize = 8;

/// Draws it into a terminal's frame.
pub(super) fn draw(screen: &mut Screen, frame: &mut Frame<'_>) {
    render(screen, frame.area(), frame.buffer_mut());
}

/// Draws it as text, with room for every line.
pub(super) fn text(screen: &mut Screen) -> String {
    let rows = screen.shown.as_ref().map_or(0, |(_, rates)| {
        // Each has its line, and all of a kind a heading and a gap.
        let of_kind = |rows: usize| if rows == 0 { 0 } else { rows + 2 };
        let (feeds, dispatches) = (of_kind(rates.feeds.len()), of_kind(rates.dispatches.len()));
        rates.routes.len() + feeds + dispatches + rates.backends.len()
    });
    let height = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(HEAD_LINES + OTHER_LINES);
    let area = Rect::new(0, 0, PAGE_WIDTH, height);
    let mut buffer = Buffer::empty(area);
    render(screen, area, &mut buffer);
    let line = |y| {
        let cells = (0..PAGE_WIDTH).filter_map(|x| buffer.cell((x, y)));
        let line: String = cells.map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    };
    // The keys are of no use on paper.
    (0..height - 1).map(line).collect::<String>().trim_end().to_owned() + "\n"
}

fn render(screen: &mut Screen, area: Rect, buffer: &mut Buffer) {
    let [head, tables, keys] =
        Layout::vertical([Constraint::Length(HEAD_LINES), Constraint::Min(0), Constraint::Length(1)])
            .areas(area);
    Paragraph::new(head_lines(screen)).render(head, buffer);
    let sort = format!("{KEYS}  by {}", screen.sort.name());
    Line::from(sort).dim().render(keys, buffer);
    if let Some((_, rates)) = &screen.shown {
        let Shares { routes, feeds, dispatches, backends } = Shares::of(rates, tables.height);
        let (gap_of_feeds, gap_of_dispatches) = (u16::from(feeds > 0), u16::from(dispatches > 0));
        let lines = [routes, gap_of_feeds, feeds, gap_of_dispatches, dispatches, 1, backends];
        let [upper, _, of_feeds, _, of_dispatches, _, lower] =
            Layout::vertical(lines.map(Constraint::Length)).areas(tables);
        table(Kind::Routes, &rates.routes, upper, buffer);
        feeds::draw(&rates.feeds, of_feeds, buffer);
        dispatches::draw(&rates.dispatches, of_dispatches, buffer);
        let room = usize::from(backends.saturating_sub(1));
        screen.scroll = screen.scroll.min(rates.backends.len().saturating_sub(room));
        table(Kind::Backends, rates.backends.get(screen.scroll..).unwrap_or_default(), lower, buffer);
    }
}

/// Lines for the tables, headings included.
struct Shares {
    routes: u16,
    feeds: u16,
    dispatches: u16,
    backends: u16,
}

impl Shares {
    /// The feeds get what they need, up to a third, and so do the dispatches; of the rest the routes do, but leave the
    /// backends half.
    fn of(rates: &Rates, height: u16) -> Self {
        let lines = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1);
        let room = height.saturating_sub(1);
        let of_kind = |rows: usize| if rows == 0 { 0 } else { lines(rows).min(room / 3) };
        let (feeds, dispatches) = (of_kind(rates.feeds.len()), of_kind(rates.dispatches.len()));
        let gaps = u16::from(feeds > 0) + u16::from(dispatches > 0);
        let room = room.saturating_sub(feeds + dispatches + gaps);
        let (routes, backends) = (lines(rates.routes.len()), lines(rates.backends.len()));
        let routes = routes.min(room.saturating_sub(backends).max(room / 2));
        Self { routes, feeds, dispatches, backends: room.saturating_sub(routes) }
    }
}

fn head_lines(screen: &Screen) -> Vec<Line<'static>> {
    let Some((overview, rates)) = &screen.shown else {
        let waiting =
            screen.trouble.clone().map_or(Line::from("waiting for an answer"), |why| troubled(&why));
        return vec![Line::from(format!("selat  {}", screen.address)), waiting];
    };
    let Rates { total, relay, closes, .. } = rates;
    let sessions = grouped(total.sessions);
    let (opened, refused) = (amount(total.opened), amount(total.failed));
    let one_way = |messages, size| format!("{} messages/s {}/s", amount(messages), bytes(size));
    let from_clients = one_way(total.messages.from_clients, total.bytes.from_clients);
    let from_backends = one_way(total.messages.from_backends, total.bytes.from_backends);
    let latency = quantiles(relay).unwrap_or_else(|| "nothing relayed since the last look".to_owned());
    let codes = closes.iter().take(CODES_MAX).map(|(code, count)| format!("{code}: {}", grouped(*count)));
    let last = match &screen.trouble {
        Some(why) => troubled(why),
        None => Line::from(format!("closes   {}", codes.collect::<Vec<_>>().join("   "))),
    };
    vec![
        first_line(screen, overview),
        Line::from(format!("sessions {sessions}   opened {opened}/s   refused {refused}/s")),
        Line::from(format!("in {from_clients}   out {from_backends}")),
        Line::from(format!("relay latency   {latency}")),
        last,
    ]
}

fn first_line(screen: &Screen, overview: &Overview) -> Line<'static> {
    let style = match overview.phase {
        Phase::Serving => Style::new().bold(),
        Phase::Draining => Style::new().bold().fg(Color::Yellow),
    };
    let mut spans = vec![Span::styled(format!("{}  {}", title(overview), screen.address), style)];
    if screen.mode == Mode::Paused {
        spans.push(Span::styled("  [paused]", Style::new().fg(Color::Yellow)));
    }
    if !overview.unready().is_empty() {
        spans.push(Span::styled("  [not ready]", Style::new().fg(Color::Red)));
    }
    if overview.config.last_reload.as_ref().is_some_and(|reload| reload.error.is_some()) {
        spans.push(Span::styled("  [last reload failed]", Style::new().fg(Color::Red)));
    }
    Line::from(spans)
}

fn troubled(why: &str) -> Line<'static> {
    Line::styled(format!("no answer, retrying: {why}"), Style::new().fg(Color::Red))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Routes,
    Backends,
}

/// Writes as many of the rows as there is room for, and says how many there is none for.
fn table(kind: Kind, rows: &[Row], area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.height.saturating_sub(1));
    let title = match kind {
        Kind::Routes => "ROUTE",
        Kind::Backends => "BACKEND",
    };
    let title = heading_of_names(title, rows.len(), room);
    let (state, failed) = match kind {
        Kind::Routes => ("", "REFUSED/s"),
        Kind::Backends => ("STATE", "FAILED/s"),
    };
    let heading = ["SESSIONS", "OPENED/s", "MSGS/s", "BYTES/s", failed].map(right);
    let heading = titles([Line::from(title), Line::from(state)].into_iter().chain(heading));
    let lines = rows.iter().take(room).map(|row| {
        let numbers = [
            grouped(row.sessions),
            amount(row.opened),
            amount(row.messages.from_clients + row.messages.from_backends),
            bytes(row.bytes.from_clients + row.bytes.from_backends),
            amount(row.failed),
        ];
        let state = row.state.map_or(Line::default(), |state| Line::styled(state.name(), colour(state)));
        let cells = [Line::from(row.name.clone()), state];
        TableRow::new(cells.into_iter().chain(numbers.iter().map(|number| right(number))))
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    Widget::render(Table::new(lines, widths).header(heading), area, buffer);
}

/// What stands over the names of `rows` lines, for `room` of which there is room.
pub(super) fn heading_of_names(title: &str, rows: usize, room: usize) -> String {
    let hidden = rows.saturating_sub(room);
    if hidden > 0 { format!("{title} (+{hidden})") } else { title.to_owned() }
}

/// A table's heading.
pub(super) fn titles<'l>(cells: impl IntoIterator<Item = Line<'l>>) -> TableRow<'l> {
    TableRow::new(cells).style(Style::new().add_modifier(Modifier::REVERSED))
}

pub(super) fn right(text: &str) -> Line<'static> {
    Line::from(text.to_owned()).alignment(Alignment::Right)
}

fn colour(state: BackendState) -> Style {
    match state {
        BackendState::Up => Style::new().fg(Color::Green),
        BackendState::Unknown => Style::new(),
        BackendState::Down | BackendState::Ejected => Style::new().fg(Color::Red),
        BackendState::Draining => Style::new().fg(Color::Yellow),
    }
}
