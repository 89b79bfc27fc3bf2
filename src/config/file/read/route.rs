//! Routes: which requests, where to, rewritten how.

use super::super::item::Item;
use super::super::table::{Named, Table};
use super::{Known, guard, responder};
use crate::config::{DispatchId, FeedId, PoolId, Route, Target};
use crate::guard::{Auth, Settings};
use crate::protocol::handshake::{HeaderEdits, InvalidEdit, PathRewrite};
use crate::routing::{ListenId, Matcher};
use crate::session;

pub(super) fn route(named: &Named<'_>, known: &Known<'_>) -> Option<Route> {
    let Named { name, table } = named;
    let listeners = table.find("listen", |item| item.list(|item| known.listeners.find(item).map(ListenId)));
    let matcher = Matcher {
        listeners: listeners.unwrap_or_default(),
        host: table.get("host", |item| item.form()),
        path: table.get("path", |item| item.form()),
    };
    let target = target(table, known);
    let rewrite =
        table.table_if_any("rewrite").map_or_else(|| Some(PathRewrite::default()), |table| rewrite(&table));
    let request_headers = headers(table, "request_headers");
    let response_headers = headers(table, "response_headers");
    let limits = table.table("limits");
    let guard = guard::guard(table, &limits);
    let session = super::session::session(table, &limits);
    let route = Route {
        name: name.clone(),
        matcher,
        target: target?,
        rewrite: rewrite?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        guard: guard?,
        session,
    };
    check_use(table, &route);
    Some(route)
}

/// What a route may do with a request; it does one of these.
const TARGETS: [&str; 4] = ["pool", "feed", "dispatch", "respond"];

fn target(table: &Table<'_>, known: &Known<'_>) -> Option<Target> {
    let mut there = TARGETS.into_iter().filter(|name| table.has(name));
    let Some(name) = there.next() else {
        return table.wrong(
            "there is nothing to do with a request; write pool = \"NAME\", feed = \"NAME\", dispatch = \"NAME\" or \
             respond = \"echo\"",
        );
    };
    if let Some(other) = there.next() {
        return table.wrong_key(other, format!("there is a {name} too; a route has one of the two"));
    }
    table.find(name, |item| match name {
        "pool" => known.pools.find(item).map(|pool| Target::Pool(PoolId(pool))),
        "feed" => known.feeds.find(item).map(|feed| Target::Feed(FeedId(feed))),
        "dispatch" => known.dispatches.find(item).map(|dispatch| Target::Dispatch(DispatchId(dispatch))),
        _ => responder::responder(item),
    })
}

/// That nothing is asked for that the target does not do: a rule that is not kept is worse than none.
fn check_use(table: &Table<'_>, route: &Route) {
    let Route { rewrite, request_headers, response_headers, guard, session, .. } = route;
    let default = session::Settings::default();
    let (what, useless): (_, &[(&str, bool)]) = match route.target {
        Target::Pool(_) | Target::Dispatch(_) => ("", &[]),
        Target::Feed(_) => (
            "a feed has one source for all, and no client's request goes there",
            &[
                ("rewrite", *rewrite != PathRewrite::default()),
                ("request_headers", !request_headers.is_empty()),
            ],
        ),
        Target::Echo | Target::Ticker { .. } => (
            "selat itself, which answers here, does nothing with it",
            &[
                ("rewrite", *rewrite != PathRewrite::default()),
                ("request_headers", !request_headers.is_empty()),
                ("limits", session.rate.is_some()),
                ("ping", session.ping != default.ping),
            ],
        ),
        Target::Fixed(_) => {
            let sizes = |session: &session::Settings| (session.message_bytes_max, session.frame_bytes_max);
            let times = |session: &session::Settings| (session.idle, session.lifetime, session.close);
            let is_counted = guard.handshakes.is_some() || guard.limits().is_some();
            (
                "a fixed response is for everybody and as it stands",
                &[
                    ("rewrite", *rewrite != PathRewrite::default()),
                    ("request_headers", !request_headers.is_empty()),
                    ("response_headers", !response_headers.is_empty()),
                    ("origins", guard.origins.is_some()),
                    ("allow", !guard.allow.is_empty()),
                    ("deny", !guard.deny.is_empty()),
                    ("auth", guard.auth.is_some()),
                    ("limits", is_counted || session.rate.is_some() || sizes(session) != sizes(&default)),
                    ("ping", session.ping != default.ping),
                    ("timeouts", times(session) != times(&default)),
                ],
            )
        }
    };
    for (name, _) in useless.iter().filter(|(_, is_asked_for)| *is_asked_for) {
        table.wrong_key::<()>(name, format!("{what}; remove it"));
    }
    match route.target {
        Target::Feed(_) => check_use_of_feed(table, route),
        Target::Pool(_) | Target::Dispatch(_) | Target::Echo | Target::Ticker { .. } => {
            if matches!(guard.auth, Some(Auth::FirstMessage(_))) {
                table.table("auth").wrong_key::<()>(
                    "first_message",
                    "only on a route to a feed does selat take messages for itself; write kind = \"key\", and have \
                     clients send it in their request",
                );
            }
        }
        Target::Fixed(_) => {}
    }
}

/// What a route to a feed can be asked for, but for a part of it.
fn check_use_of_feed(table: &Table<'_>, route: &Route) {
    if let Some(ping) = table.table_if_any("ping").filter(|ping| ping.has("backend")) {
        let what = "a feed pings its source by itself; write stall.ping in its table, and remove this";
        ping.wrong_key::<()>("backend", what);
    }
    let Settings { auth, connections_per_identity, .. } = &route.guard;
    if matches!(auth, Some(Auth::FirstMessage(_))) && connections_per_identity.is_some() {
        table.table("limits").wrong_key::<()>(
            "connections_per_identity",
            "connections are counted before the first message says who it is; write connections_per_ip",
        );
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
