//! One source, many clients: all get the same messages in the same order, whole, from the moment they join, and the
//! source is read once.
#![cfg(feature = "runtime")]

mod support;

use serde_json::json;
use support::fed::{Fed, hear, hear_all, number, tick};
use support::frames::{BINARY, Frame, TEXT, payload};
use support::ws::Client;
use tungstenite::Message;

/// Room for all that a test says.
const ROOM: &str = "slow = { buffer = \"64MiB\" }\n";

/// Clients on every shard, each of which gets all that the vendor says from now on.
fn spread(fed: &mut Fed) -> Vec<Client> {
    let mut clients: Vec<Client> = fed.join::<4>().into();
    while fed.shards_without_clients() > 0 {
        assert!(clients.len() < 100, "clients come to every shard");
        clients.extend(fed.join::<4>());
    }
    fed.wait_for(&mut clients);
    clients
}

/// The numbers of all that a client gets from now on, up to an end.
fn numbers(fed: &mut Fed, client: &mut Client) -> Vec<u64> {
    fed.hear_to_the_end(client).iter().map(|text| number(text)).collect()
}

fn are_consecutive(numbers: &[u64]) -> bool {
    numbers.is_sorted_by(|one, next| one + 1 == *next)
}

#[test]
fn clients_on_all_cores_get_the_same_and_the_source_has_one_connection() {
    let mut fed = Fed::on_all_cores("fanout-same", "");
    let mut clients = spread(&mut fed);
    let bytes = payload(300_000);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fed.vendor.sends(
        &json!(["one", "", "é€😀", { "binary": "00ff" }, { "binary": hex }, ["fr", "agm", "ents"], "last"]),
    );
    let expected = [
        Message::text("one"),
        Message::text(""),
        Message::text("é€😀"),
        Message::binary(vec![0, 0xff]),
        Message::binary(bytes),
        Message::text("fragments"),
        Message::text("last"),
    ];
    for client in &mut clients {
        for message in &expected {
            // Not assert_eq: a megabyte of numbers helps nobody.
            assert!(client.read().expect("a message") == *message, "{} bytes", message.len());
        }
    }
    assert_eq!((fed.vendor.count("opened"), fed.vendor.count("closed")), (0, 0));
}

#[test]
fn each_message_is_one_unmasked_frame_however_the_source_has_cut_it() {
    let mut fed = Fed::start("fanout-frames", "");
    let mut client = fed.join_raw(None);
    fed.vendor.sends(&json!([
        ["in ", "three ", "fragments"],
        { "binary": ["00", "", "ff"] },
        ["", ""],
        "x".repeat(126),
        "y".repeat(65_536),
    ]));
    let expected = [
        (TEXT, b"in three fragments".to_vec()),
        (BINARY, vec![0, 0xff]),
        (TEXT, Vec::new()),
        (TEXT, vec![b'x'; 126]),
        (TEXT, vec![b'y'; 65_536]),
    ];
    for (opcode, payload) in expected {
        let frame = Frame { opcode, fin: true, is_masked: false, payload };
        assert!(client.frame() == frame, "{} bytes", frame.payload.len());
    }
}

#[test]
fn compressed_messages_of_the_source_are_inflated_once_for_all() {
    let mut fed = Fed::start("fanout-inflated", "compression = true\n");
    assert!(fed.opened.is_compressed());
    let mut clients = fed.join::<2>();
    let texts = ["compress me ".repeat(5000), tick("EURUSD", 1), tick("EURUSD", 2)];
    fed.vendor.says(&texts);
    for client in &mut clients {
        assert!(hear_all(client, 3) == texts);
    }
    let mut raw = fed.join_raw(None);
    fed.vendor.says(["short"]);
    // FIN, no reserved bit, text; five bytes.
    assert_eq!(raw.exactly(7), b"\x81\x05short");
}

#[test]
fn nothing_is_compressed_unless_asked_for() {
    let fed = Fed::start("fanout-plain", "");
    assert!(!fed.opened.is_compressed());
}

#[test]
fn who_joins_in_a_burst_gets_each_message_from_one_on() {
    let mut fed = Fed::on_all_cores("fanout-burst", ROOM);
    let mut clients = spread(&mut fed);
    fed.vendor.begins("flood", json!({ "count": 10_000, "keys": 10 }));
    let mut latecomers: Vec<_> = (0..20).map(|_| fed.site.proxy.connect()).collect();
    fed.vendor.awaits("flood");
    for client in &mut clients {
        let numbers = numbers(&mut fed, client);
        assert!(numbers.len() == 10_000 && numbers[0] == 0 && are_consecutive(&numbers));
    }
    for client in &mut latecomers {
        let numbers = numbers(&mut fed, client);
        assert!(are_consecutive(&numbers), "{numbers:?}");
        assert!(numbers.is_empty() || numbers.last() == Some(&9999));
    }
}

#[test]
fn between_the_snapshot_and_what_follows_nothing_is_lost_or_doubled() {
    let feed = format!("{ROOM}key = \"/symbol\"\nsnapshot = true\n");
    let mut fed = Fed::on_all_cores("fanout-seam", &feed);
    fed.vendor.does("flood", json!({ "count": 10, "keys": 10 }));
    fed.vendor.begins("flood", json!({ "count": 10_000, "keys": 10 }));
    let mut clients: Vec<_> = (0..20).map(|_| fed.site.proxy.connect()).collect();
    fed.vendor.awaits("flood");
    for client in &mut clients {
        let numbers = numbers(&mut fed, client);
        // Keys take turns, so the last message of each of the ten are the last ten, and what follows is the next.
        assert!(numbers.len() >= 10 && are_consecutive(&numbers), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&10_009));
    }
}

#[test]
fn who_joins_gets_the_last_message_of_every_key_on_every_core() {
    let mut fed = Fed::on_all_cores("fanout-snapshot", "key = \"/symbol\"\nsnapshot = true\n");
    // Said while nobody is there to hear it; what has no key is no value.
    fed.vendor.says([
        tick("EURUSD", 1),
        tick("GBPUSD", 2),
        tick("EURUSD", 3),
        tick("USDJPY", 4),
        "hello".to_owned(),
        tick("GBPUSD", 5),
    ]);
    fed.wait_until("the source is read", |fed| fed.count("messages_total") == 6);
    let mut clients = Vec::new();
    while clients.is_empty() || fed.shards_without_clients() > 0 {
        let mut client = fed.site.proxy.connect();
        assert_eq!(hear_all(&mut client, 3), [tick("EURUSD", 3), tick("USDJPY", 4), tick("GBPUSD", 5)]);
        clients.push(client);
        assert!(clients.len() < 100, "clients come to every shard");
    }
    fed.vendor.says([tick("EURUSD", 6)]);
    for client in &mut clients {
        assert_eq!(hear(client), tick("EURUSD", 6));
    }
}

#[test]
fn who_joins_gets_the_last_messages() {
    let mut fed = Fed::start("fanout-history", "history = 3\n");
    fed.vendor.says((0..10).map(|n| n.to_string()));
    fed.wait_until("the source is read", |fed| fed.count("messages_total") == 10);
    let mut client = fed.site.proxy.connect();
    assert_eq!(hear_all(&mut client, 3), ["7", "8", "9"]);
    fed.vendor.says(["10"]);
    assert_eq!(hear(&mut client), "10");
    // Less than that is all there is.
    let mut young = Fed::start("fanout-young", "history = 100\n");
    young.vendor.says(["a", "b"]);
    young.wait_until("the source is read", |fed| fed.count("messages_total") == 2);
    let mut client = young.site.proxy.connect();
    assert_eq!(hear_all(&mut client, 2), ["a", "b"]);
}

#[test]
fn a_client_may_ask_for_some_keys() {
    let mut fed = Fed::start("fanout-keys", "key = \"/symbol\"\nsnapshot = true\n");
    fed.vendor.says([tick("EURUSD", 1), tick("GBPUSD", 2), tick("A/B C", 3), tick("USDJPY", 4)]);
    fed.wait_until("the source is read", |fed| fed.count("messages_total") == 4);
    let mut two = fed.ask("/?keys=USDJPY,EURUSD");
    assert_eq!(hear_all(&mut two, 2), [tick("EURUSD", 1), tick("USDJPY", 4)]);
    let mut odd = fed.ask("/prices?token=1&keys=A%2FB+C");
    assert_eq!(hear(&mut odd), tick("A/B C", 3));
    let mut all = fed.ask("/?token=1");
    hear_all(&mut all, 4);
    fed.vendor.says([
        tick("GBPUSD", 5),
        tick("EURUSD", 6),
        "no key at all".to_owned(),
        tick("A/B C", 7),
        tick("USDJPY", 8),
    ]);
    assert_eq!(hear_all(&mut two, 2), [tick("EURUSD", 6), tick("USDJPY", 8)]);
    assert_eq!(hear(&mut odd), tick("A/B C", 7));
    assert_eq!(hear_all(&mut all, 5).len(), 5);
}

#[test]
fn a_client_may_ask_for_the_last_values() {
    let mut fed = Fed::start("fanout-last", "key = \"/symbol\"\n");
    fed.vendor.says([tick("EURUSD", 1), tick("EURUSD", 2), tick("GBPUSD", 3)]);
    fed.wait_until("the source is read", |fed| fed.count("messages_total") == 3);
    let mut with_last = fed.ask("/?last=1");
    assert_eq!(hear_all(&mut with_last, 2), [tick("EURUSD", 2), tick("GBPUSD", 3)]);
    let mut with_one = fed.ask("/?last=1&keys=EURUSD");
    assert_eq!(hear(&mut with_one), tick("EURUSD", 2));
    let [mut without] = fed.join();
    fed.vendor.says([tick("EURUSD", 4)]);
    assert_eq!(hear(&mut without), tick("EURUSD", 4));
    assert_eq!(hear(&mut with_one), tick("EURUSD", 4));
}
