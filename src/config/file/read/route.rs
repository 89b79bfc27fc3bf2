//! Routes: which requests, where to, rewritten how.

use super::super::item::Item;
use super::super::table::{Named, Table};
use super::{Known, guard, responder, session};
use crate::config::{PoolId, Route, Target};
use crate::protocol::handshake::{HeaderEdits, InvalidEdit, PathRewrite};
use crate::routing::{ListenId, Matcher};

pub(super) fn route(named: &Named<'_>, known: &Known<'_>) -> Option<Route> {
    let Named { name, table } = named;
    let listeners = table.find("listen", |item| item.list(|item| known.listeners.find(item).map(ListenId)));
    let matcher = Matcher {
        listeners: listeners.unwrap_or_default(),
        host: table.get("host", |item| item.form()),
        path: table.get("path", |item| item.form()),
    };
    let target = target(table, known);
    target.iter().for_each(|target| check_use(table, target));
    let rewrite =
        table.table_if_any("rewrite").map_or_else(|| Some(PathRewrite::default()), |table| rewrite(&table));
    let request_headers = headers(table, "request_headers");
    let response_headers = headers(table, "response_headers");
    let limits = table.table("limits");
    let guard = guard::guard(table, &limits);
    let session = session::session(table, &limits);
    Some(Route {
        name: name.clone(),
        matcher,
        target: target?,
        rewrite: rewrite?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        guard: guard?,
        session,
    })
}

fn target(table: &Table<'_>, known: &Known<'_>) -> Option<Target> {
    match (table.has("pool"), table.has("respond")) {
        (true, false) => {
            table.find("pool", |item| known.pools.find(item).map(|pool| Target::Pool(PoolId(pool))))
        }
        (false, true) => table.find("respond", responder::responder),
        (true, true) => table.wrong_key("respond", "there is a pool too; a route has one of the two"),
        (false, false) => {
            table.wrong("there is nothing to do with a request; write pool = \"NAME\" or respond = \"echo\"")
        }
    }
}

/// That there is no key that the target has no use for: what it asks for would not be done.
fn check_use(route: &Table<'_>, target: &Target) {
    let (what, useless, useless_limits): (_, &[&str], &[&str]) = match target {
        Target::Pool(_) => return,
        Target::Echo | Target::Ticker { .. } => (
            "selat itself, which answers here, does nothing with it",
            &["rewrite", "request_headers", "ping"],
            &["rate", "rate_burst", "bytes", "bytes_burst", "excess"],
        ),
        Target::Fixed(_) => (
            "a fixed response is for everybody and as it stands",
            &[
                "rewrite",
                "request_headers",
                "response_headers",
                "origins",
                "origin_required",
                "allow",
                "deny",
                "auth",
                "limits",
                "ping",
                "timeouts",
            ],
            &[],
        ),
    };
    for name in useless.iter().filter(|name| route.has(name)) {
        route.wrong_key::<()>(name, format!("{what}; remove it"));
    }
    let limits = route.table("limits");
    for name in useless_limits.iter().filter(|name| limits.has(name)) {
        limits.wrong_key::<()>(name, format!("{what}; remove it"));
    }
}

fn rewrite(table: &Table<'_>) -> Option<PathRewrite> {
    let path =
        |name| table.find(name, |item| item.read(|text| PathRewrite::replace(text).map(|_| text.to_owned())));
    let (strip, add, replace) = (path("strip"), path("add"), path("replace"));
    let rewrite = match replace {
        Some(_) if table.has("strip") || table.has("add") => {
            return table
                .wrong_key("replace", "there is a strip or an add too; what they do would be undone");
        }
        Some(path) => PathRewrite::replace(&path),
        None => PathRewrite::prefix(&strip.unwrap_or_default(), &add.unwrap_or_default()),
    };
    rewrite.map_or_else(|error| table.wrong(error), Some)
}

/// The edits under this key. Each is judged by itself first, so that its mistake has its line.
fn headers(route: &Table<'_>, name: &str) -> Option<HeaderEdits> {
    let Some(table) = route.table_if_any(name) else { return Some(HeaderEdits::default()) };
    let remove: Vec<String> = table.get("remove", |item| {
        item.list(|item| {
            item.read(|name| HeaderEdits::new(&[], &[], &[name.to_owned()]).map(|_| name.to_owned()))
        })
    });
    let set = table.get("set", |item| {
        item.map(|name, item| edit(name, item, |field| HeaderEdits::new(&[field], &[], &[])))
    });
    let add = table.get("add", |item| {
        item.map(|name, item| edit(name, item, |field| HeaderEdits::new(&[], &[field], &[])))
    });
    HeaderEdits::new(&set, &add, &remove).map_or_else(|error| table.wrong(error), Some)
}

type Field = (String, String);

fn edit(
    name: &str,
    item: &Item<'_>,
    judge: impl FnOnce(Field) -> Result<HeaderEdits, InvalidEdit>,
) -> Option<Field> {
    item.template(|value| {
        let field = (name.to_owned(), value.to_owned());
        judge(field.clone()).map(|_| field)
    })
}
