//! What selat answers itself.

use std::time::Duration;

use super::super::item::{Either, Item};
use super::super::table::Table;
use crate::config::{Target, parse_duration};
use crate::protocol::handshake::FixedResponse;

/// Between two messages of a ticker that is not told its pace.
const TICKER_EVERY: Duration = Duration::from_secs(1);

pub(super) fn responder(item: &Item<'_>) -> Option<Target> {
    match item.as_either()? {
        Either::Text(item) => item.read(script),
        Either::Table(item) => fixed(&item.table()?),
    }
}

fn script(text: &str) -> Result<Target, String> {
    match text.split_once(':') {
        None if text == "echo" => Ok(Target::Echo),
        None if text == "ticker" => Ok(Target::Ticker { every: TICKER_EVERY }),
        Some(("ticker", every)) => {
            parse_duration(every).map(|every| Target::Ticker { every }).map_err(|error| error.to_string())
        }
        Some(_) | None => Err(format!(
            "{text:?} is not a responder; write echo, ticker, ticker:100ms or a table such as {{ status = 200 }}"
        )),
    }
}

fn fixed(table: &Table<'_>) -> Option<Target> {
    let status = table.get("status", |item| item.count());
    let body = table.get("body", |item| item.text());
    let content_type = table.get("content_type", |item| item.text());
    let headers = table.get("headers", |item| item.pairs());
    match FixedResponse::new(status, &content_type, body, &headers) {
        Ok(response) => Some(Target::Fixed(response)),
        Err(error) => table.wrong(error),
    }
}
