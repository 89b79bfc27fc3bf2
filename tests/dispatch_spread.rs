//! The messages of one client, spread over many workers, and the replies gathered into its one connection.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::http::{Head, upgrade_request};
use support::site::Site;
use support::worker::{
    Worker, answer, ask, dispatch, dispatch_to, ids, meet_all, number, run, text, who_answers, workers,
};
use support::ws::{Client, expect_close, expect_echo};
use support::{eventually, has_waited, now};
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A client of a dispatch over these workers, in which this stands.
fn site(workers: &[Worker], settings: &str) -> Site {
    run(&dispatch(workers, settings))
}

fn count(names: &[String]) -> BTreeMap<&str, usize> {
    names.iter().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name.as_str()).or_default() += 1;
        counts
    })
}

/// Sends one message in these fragments, with a ping between each and the next.
fn send_fragments(client: &mut Client, fragments: &[&str]) {
    for (at, fragment) in fragments.iter().enumerate() {
        let opcode = if at == 0 { Data::Text } else { Data::Continue };
        let is_last = at + 1 == fragments.len();
        let frame = Frame::message(fragment.as_bytes().to_vec(), OpCode::Data(opcode), is_last);
        client.send(Message::Frame(frame)).expect("it can be sent");
        client.send(Message::Ping(vec![7].into())).expect("it can be sent");
    }
}

/// The next message that is none of control.
fn message(client: &mut Client) -> Message {
    loop {
        let message = client.read().expect("a message");
        if message.is_text() || message.is_binary() {
            return message;
        }
    }
}

#[test]
fn each_message_goes_to_one_worker_and_its_reply_comes_back() {
    let mut workers = workers(["a", "b", "c"]);
    let site = site(&workers, "replies = \"one\"\nbalance = \"round-robin\"");
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let answered = who_answers(&mut client, 0..30);
    let shares = count(&answered);
    // Whoever was passed over while it was being connected has a turn more.
    let is_even = |name: &&str| shares.get(*name).is_some_and(|share| (9..=11).contains(share));
    assert!(["a", "b", "c"].iter().all(is_even), "{shares:?}");
    let mut received = Vec::new();
    for (name, worker) in ["a", "b", "c"].into_iter().zip(&mut workers) {
        let share = shares[name];
        received.extend((0..share).map(|_| worker.received_id()));
    }
    received.sort_unstable();
    assert_eq!(received, (0..30).collect::<Vec<_>>());
    // And each was connected to once.
    for worker in &mut workers {
        worker.event("opened");
        assert_eq!((worker.count("opened"), worker.count("received")), (0, 0));
    }
}

#[test]
fn workers_are_connected_to_when_they_are_first_needed() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"\nbalance = \"round-robin\"");
    let mut client = site.proxy.connect();
    expect_echo(&mut client, &Message::text("first"));
    let opened: usize = workers.iter_mut().map(|worker| worker.count("opened")).sum();
    assert!((1..=2).contains(&opened));
    let mut silent = site.proxy.connect();
    silent.send(Message::Ping(Vec::new().into())).expect("it can be sent");
    assert!(silent.read().expect("a pong").is_pong());
    let now: usize = workers.iter_mut().map(|worker| worker.count("opened")).sum();
    assert!(now <= 3, "a client that says nothing has one connection: {now}");
}

#[test]
fn a_client_is_answered_only_when_a_worker_has_accepted_it() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"");
    for worker in &mut workers {
        worker.does("refuse", &json!({ "status": 503 }));
    }
    let mut refused = site.proxy.dial();
    refused.send(&upgrade_request("/", &[]));
    assert_eq!(refused.head().status(), 502);
    workers[1].does("refuse", &json!({ "status": null }));
    // Whoever refused is left in peace for a moment.
    let mut connection = site.proxy.dial();
    eventually("one accepts", || {
        connection = site.proxy.dial();
        connection.send(&upgrade_request("/", &[]));
        connection.head().status() == 101
    });
    let mut client = raw_client(connection);
    assert_eq!(who_answers(&mut client, 0..5), vec!["b"; 5]);
}

#[test]
fn a_message_in_fragments_goes_whole_to_one_worker() {
    for settings in ["replies = \"one\"", "replies = \"one\"\ncorrelate = \"/id\"", "replies = \"any\""] {
        let workers = workers(["a", "b", "c"]);
        let site = site(&workers, &format!("{settings}\nbalance = \"round-robin\""));
        let mut client = site.proxy.connect();
        for id in 0..12 {
            send_fragments(&mut client, &["{\"i", "", "d\":", &format!("{id}, \"more\":"), "[0]}"]);
            let reply = message(&mut client).into_text().expect("text");
            let reply: Value = serde_json::from_str(&reply).expect("JSON");
            assert_eq!((number(&reply, "id"), &reply["more"]), (id, &json!([0])));
        }
    }
}

#[test]
fn messages_of_all_sizes_and_kinds_come_back_as_they_were() {
    for settings in ["replies = \"one\"", "replies = \"any\"\nbalance = \"hash:/key\""] {
        let workers = workers(["a", "b", "c"]);
        let site = site(&workers, settings);
        let mut client = site.proxy.connect();
        for size in [0, 1, 125, 126, 65_535, 65_536, 300_000, 1_000_000] {
            expect_echo(&mut client, &Message::text("x".repeat(size)));
            expect_echo(&mut client, &Message::binary(vec![0xA5; size]));
        }
    }
}

#[test]
fn replies_in_fragments_are_never_interleaved() {
    const MESSAGES: u64 = 60;
    let mut workers = workers(["a", "b", "c"]);
    let site = site(&workers, "replies = \"one\"\ncorrelate = \"/id\"");
    for (worker, size) in workers.iter_mut().zip([5, 7, 70_000]) {
        worker.does("split", &json!({ "fragment_bytes": size }));
    }
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let padding = "p".repeat(300);
    for id in 0..MESSAGES {
        // Of some the replies are longer than what leaves at once.
        let long = if id % 10 == 0 { "p".repeat(200_000) } else { padding.clone() };
        client.send(Message::text(json!({ "id": id, "padding": long }).to_string())).expect("it can be sent");
    }
    // Anything interleaved is a violation to the client.
    let mut answered = ids(&mut client, 60);
    answered.sort_unstable();
    assert_eq!(answered, (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_long_message_has_the_client_for_itself_and_a_short_one_does_not() {
    let [mut a, mut b] = workers(["a", "b"]);
    let site = run(&dispatch_to([a.url(), b.url()], "replies = \"any\"\nbalance = \"round-robin\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, [&a, &b]);
    a.does("begin", &json!({ "message": "short " }));
    b.does("say", &json!({ "message": "between" }));
    assert_eq!(client.read().expect("a message"), Message::text("between"));
    a.does("end", &json!({ "message": "message" }));
    assert_eq!(client.read().expect("a message"), Message::text("short message"));

    let long = "l".repeat(200_000);
    a.does("begin", &json!({ "message": long }));
    // It has begun to arrive, so that the other has to wait.
    eventually("the client has some of it", || {
        let mut bytes = [0; 100_000];
        client.get_ref().peek(&mut bytes).expect("it is open") == bytes.len()
    });
    b.does("say", &json!({ "message": "behind" }));
    a.does("end", &json!({ "message": "" }));
    assert_eq!(client.read().expect("a message"), Message::text(long));
    assert_eq!(client.read().expect("a message"), Message::text("behind"));
}

#[test]
fn a_message_that_stalls_halfway_holds_the_others_no_longer_than_its_timeout() {
    let [mut a, b] = workers(["a", "b"]);
    let settings = "replies = \"one\"\ntimeout = \"500ms\"\nbalance = \"round-robin\"";
    let site = run(&dispatch_to([a.url(), b.url()], settings));
    let mut client = site.proxy.connect();
    meet_all(&mut client, [&a, &b]);
    a.holds();
    ask(&mut client, 1);
    ask(&mut client, 2);
    let begun = now();
    a.does("begin", &json!({ "message": "l".repeat(200_000) }));
    let read = loop {
        match client.read() {
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            // A message that was cut short: the Close cannot be told from its rest.
            Err(_) => break None,
        }
    };
    assert!(has_waited(begun, Duration::from_millis(500)));
    assert!(matches!(read, Some(1011) | None), "{read:?}");
}

#[test]
fn what_hashes_alike_goes_to_the_same_worker() {
    let workers = workers(["a", "b", "c"]);
    let site = site(&workers, "replies = \"one\"\nbalance = \"hash:/user/name\"");
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    for _ in 0..2 {
        // It is the same for every client.
        let mut client = site.proxy.connect();
        for round in 0..3 {
            for user in 0..40 {
                let message =
                    json!({ "round": round, "id": user, "user": { "name": format!("user {user}") } });
                client.send(Message::text(message.to_string())).expect("it can be sent");
                let (_, by) = answer(&mut client);
                assert_eq!(*places.entry(user).or_insert_with(|| by.clone()), by, "user {user}");
            }
        }
    }
    let places: Vec<_> = places.into_values().collect();
    assert_eq!(count(&places).len(), 3, "all have users: {places:?}");
}

#[test]
fn whoever_owes_nothing_is_preferred() {
    for balance in ["least-outstanding", "p2c"] {
        let mut workers = workers(["a", "b"]);
        let site =
            site(&workers, &format!("replies = \"one\"\nbalance = \"{balance}\"\ncorrelate = \"/id\""));
        let mut client = site.proxy.connect();
        meet_all(&mut client, &workers);
        workers[0].holds();
        // One of the two messages at once is held.
        ask(&mut client, 0);
        ask(&mut client, 1);
        let (answered, _) = answer(&mut client);
        assert_eq!(who_answers(&mut client, 10..30), vec!["b"; 20], "{balance}");
        workers[0].releases();
        assert_eq!(answer(&mut client), (1 - answered, "a".to_owned()));
    }
}

#[test]
fn whoever_is_faster_gets_more() {
    let mut workers = workers(["slow", "fast"]);
    workers[0].works(0.05);
    let site = site(&workers, "replies = \"one\"\nbalance = \"ewma\"\ncorrelate = \"/id\"");
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let answered = who_answers(&mut client, 0..40);
    let fast = count(&answered).get("fast").copied().unwrap_or_default();
    assert!(fast > 30, "{answered:?}");
}

#[test]
fn turns_are_by_weight() {
    let workers = workers(["a", "b"]);
    let (a, b) = (workers[0].url(), workers[1].url());
    let site = run(&format!(
        "[route.work]\ndispatch = \"workers\"\n[dispatch.workers]\nreplies = \"one\"\nbalance = \"round-robin\"\n\
             backends = [{{ url = \"{a}\", weight = 3 }}, \"{b}\"]\n"
    ));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let answered = who_answers(&mut client, 0..40);
    assert_eq!(count(&answered), BTreeMap::from([("a", 30), ("b", 10)]));
}

#[test]
fn replies_come_as_they_come_or_as_they_were_asked_for() {
    for (order, expected) in [("as-they-come", [3, 1, 2, 0]), ("as-asked", [0, 1, 2, 3])] {
        let [mut worker] = workers(["a"]);
        let settings = format!("replies = \"one\"\ncorrelate = \"/id\"\norder = \"{order}\"");
        let site = site(std::slice::from_ref(&worker), &settings);
        let mut client = site.proxy.connect();
        worker.holds();
        (0..4).for_each(|id| ask(&mut client, id));
        (0..4).for_each(|id| assert_eq!(worker.received_id(), id));
        worker.releases_in(&[3, 1, 2]);
        worker.releases();
        assert_eq!(ids(&mut client, 4), expected, "{order}");
    }
}

#[test]
fn without_correlation_the_nth_reply_answers_the_nth_message() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"\nbalance = \"round-robin\"\norder = \"as-asked\"");
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].holds();
    for id in 0..6 {
        client.send(Message::text(format!("message {id}"))).expect("it can be sent");
    }
    // The other has answered all of its own by now, and they wait.
    (0..3).for_each(|_| drop(workers[1].received()));
    (0..3).for_each(|_| drop(workers[0].received()));
    workers[0].releases();
    for id in 0..6 {
        assert_eq!(client.read().expect("a reply"), Message::text(format!("message {id}")));
    }
}

#[test]
fn what_a_worker_says_unasked_reaches_the_client() {
    let mut workers = workers(["a", "b"]);
    for settings in ["replies = \"any\"", "replies = \"one\"\ncorrelate = \"/id\""] {
        let site = site(&workers, settings);
        let mut client = site.proxy.connect();
        meet_all(&mut client, &workers);
        for worker in &mut workers {
            worker.does("say", &json!({ "message": ["news ", "in ", "fragments"] }));
            assert_eq!(client.read().expect("news"), Message::text("news in fragments"));
        }
        // One that expects no answer holds nothing up.
        client.send(Message::text(r#"{"silent":true}"#)).expect("it can be sent");
        assert_eq!(who_answers(&mut client, 0..4).len(), 4);
    }
}

#[test]
fn pings_end_at_the_proxy() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"");
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    client.send(Message::Ping(b"are you there".to_vec().into())).expect("it can be sent");
    assert_eq!(client.read().expect("a pong"), Message::Pong(b"are you there".to_vec().into()));
    for worker in &mut workers {
        // Returns when its pongs are there.
        worker.does("ping", &json!({}));
        assert_eq!(worker.count("pinged"), 0);
    }
    // The client heard nothing of that.
    expect_echo(&mut client, &Message::text("next"));
}

#[test]
fn a_close_of_the_client_goes_to_all_workers() {
    let mut workers = workers(["a", "b", "c"]);
    let mut site = site(&workers, "replies = \"one\"");
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let frame = tungstenite::protocol::CloseFrame { code: 4321.into(), reason: "enough".into() };
    client.close(Some(frame)).expect("it can be sent");
    assert_eq!(expect_close(&mut client).0, 4321);
    for worker in &mut workers {
        assert_eq!(worker.closed(), 4321);
    }
    let session = site.proxy.session();
    assert_eq!((session.get("ended_by").as_str(), session.number("code")), ("client", 4321));
}

#[test]
fn a_close_of_the_client_waits_for_replies_that_are_owed() {
    let mut workers = workers(["a"]);
    let site = site(&workers, "replies = \"one\"");
    let mut client = site.proxy.connect();
    workers[0].holds();
    ask(&mut client, 1);
    assert_eq!(workers[0].received_id(), 1);
    client.close(None).expect("it can be sent");
    workers[0].releases();
    assert_eq!(answer(&mut client).0, 1);
    assert!(client.read().expect("a Close").is_close());
    assert_eq!(workers[0].closed(), 1005);
}

#[test]
fn a_close_of_the_client_waits_no_longer_than_close_timeout() {
    let mut workers = workers(["a"]);
    let text = dispatch(&workers, "replies = \"one\"")
        .replace("dispatch = \"workers\"", "dispatch = \"workers\"\ntimeouts = { close = \"300ms\" }");
    let site = run(&text);
    let mut client = site.proxy.connect();
    workers[0].holds();
    ask(&mut client, 1);
    assert_eq!(workers[0].received_id(), 1);
    let begun = now();
    client.close(None).expect("it can be sent");
    assert!(client.read().expect("a Close").is_close());
    assert!(has_waited(begun, Duration::from_millis(300)));
}

#[test]
fn workers_have_to_agree_on_the_subprotocol() {
    let mut workers = workers(["a", "b", "odd"]);
    for (worker, protocol) in workers.iter_mut().zip(["v2", "v2", "v1"]) {
        worker.does("choose", &json!({ "protocol": protocol }));
    }
    // Whichever is first sets it.
    let site = site(&workers, "replies = \"one\"\nbalance = \"round-robin\"");
    let mut chosen = BTreeMap::new();
    for _ in 0..6 {
        let mut connection = site.proxy.dial();
        connection.send(&upgrade_request("/", &["Sec-WebSocket-Protocol: v1, v2"]));
        let protocol = connection.head().one("Sec-WebSocket-Protocol").to_owned();
        let mut client = raw_client(connection);
        let names = who_answers(&mut client, 0..20);
        let odd = names.iter().any(|name| name == "odd");
        assert_eq!(names.iter().all(|name| name == "odd"), odd, "{names:?}");
        assert_eq!(odd, protocol == "v1");
        chosen.insert(protocol, count(&names).len());
    }
    assert_eq!(chosen.get("v2"), Some(&2), "{chosen:?}");
}

/// A client on a connection that has its 101.
fn raw_client(connection: support::raw::Raw) -> Client {
    tungstenite::WebSocket::from_raw_socket(connection.stream, tungstenite::protocol::Role::Client, None)
}

#[test]
fn no_extension_is_negotiated() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"");
    let mut connection = site.proxy.dial();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    connection.send(&upgrade_request("/", &[offer]));
    let head: Head = connection.head();
    assert_eq!((head.status(), head.all("Sec-WebSocket-Extensions").len()), (101, 0));
    let mut client = raw_client(connection);
    meet_all(&mut client, &workers);
    for worker in &mut workers {
        assert_eq!(worker.event("opened")["extensions"], json!([]));
    }
}

#[test]
fn requests_are_passed_on_to_every_worker() {
    let mut workers = workers(["a", "b"]);
    let site = site(&workers, "replies = \"one\"");
    let connection = site.proxy.dial();
    let (mut client, _) =
        tungstenite::client("ws://chat.example/rooms/1?token=x", connection.stream).expect("it upgrades");
    meet_all(&mut client, &workers);
    for worker in &mut workers {
        assert_eq!(text(&worker.event("opened"), "path"), "/rooms/1?token=x");
    }
}

#[test]
fn limits_of_the_route_hold() {
    let workers = workers(["a", "b"]);
    for settings in ["replies = \"one\"", "replies = \"one\"\ncorrelate = \"/id\""] {
        let text = dispatch(&workers, settings);
        let limits = r#"limits = { message = "1KiB", rate = "20/s", excess = "close" }"#;
        let text = text.replace("dispatch = \"workers\"", &format!("dispatch = \"workers\"\n{limits}"));
        let site = run(&text);
        let mut client = site.proxy.connect();
        expect_echo(&mut client, &Message::text("x".repeat(1024)));
        client.send(Message::text("x".repeat(1025))).expect("it can be sent");
        assert_eq!(expect_close(&mut client).0, 1009, "{settings}");

        let mut client = site.proxy.connect();
        // The end may come before all are sent.
        let _ = (0..100).try_for_each(|id| client.send(Message::text(json!({ "id": id }).to_string())));
        let code = loop {
            match client.read() {
                Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
                Ok(_) => {}
                Err(error) => unreachable!("a Close: {error}"),
            }
        };
        assert_eq!(code, Some(1008), "{settings}");
    }
}

#[test]
fn a_client_with_too_much_outstanding_is_not_read() {
    let mut workers = workers(["a"]);
    let site = site(&workers, "replies = \"one\"\noutstanding_max = 3");
    let mut client = site.proxy.connect();
    workers[0].holds();
    (0..10).for_each(|id| ask(&mut client, id));
    (0..3).for_each(|id| assert_eq!(workers[0].received_id(), id));
    for next in 3..10 {
        // A round trip of another client's, on which nothing more was sent.
        let mut other = site.proxy.connect();
        other.send(Message::Ping(Vec::new().into())).expect("it can be sent");
        assert!(other.read().expect("a pong").is_pong());
        assert_eq!(workers[0].count("received"), 0);
        workers[0].releases_in(&[0]);
        assert_eq!(answer(&mut client).0, next - 3);
        assert_eq!(workers[0].received_id(), next);
    }
}
