//! What the client gets, and in which order.

use super::*;
use crate::dispatch::{Gather, Template};
use crate::json::Pointer;

fn by_id() -> Exchange {
    Exchange { correlate: Some(Pointer::new("/id").unwrap()), ..one() }
}

fn id(id: u32) -> String {
    format!(r#"{{"id":{id}}}"#)
}

/// Two backends, the first of which has been asked 0, the second 1.
fn asked(exchange: Exchange) -> World {
    let mut world = World::open(turns(exchange), 2);
    for number in [0, 1] {
        world.client(&id(number));
    }
    assert_eq!([world.got(0), world.got(1)], [[id(0)], [id(1)]]);
    world
}

#[test]
fn replies_go_out_as_they_come() {
    let mut world = asked(one());
    world.backend(1, "B");
    world.backend(0, "A");
    assert_eq!(world.said(), ["B", "A"]);
    assert_eq!(world.board.counters.outstanding_now, 0);
}

#[test]
fn replies_go_out_as_asked() {
    let mut world = asked(Exchange { order: Order::AsAsked, ..one() });
    world.backend(1, "B");
    assert_eq!(world.said(), [""; 0]);
    assert_eq!(world.board.counters.reorder_now, 1);
    world.backend(0, "A");
    assert_eq!(world.said(), ["A", "B"]);
    assert_eq!((world.board.counters.reorder_now, world.board.counters.reorder_bytes_now), (0, 0));
}

#[test]
fn what_is_not_answered_in_time_is_passed_over_and_its_reply_is_late() {
    let mut world = asked(Exchange { order: Order::AsAsked, ..one() });
    world.backend(1, "B");
    world.pass(TIMEOUT);
    assert_eq!(world.said(), ["B"]);
    assert_eq!(world.board.counters.timeouts, 1);
    world.backend(0, "A");
    assert_eq!(world.said(), [""; 0]);
    assert_eq!(world.board.counters.late, 1);
    assert_eq!(world.board.counters.outstanding_now, 0);
}

#[test]
fn one_that_answers_nothing_is_closed() {
    let mut world = asked(one());
    world.backend(1, "B");
    world.pass(TIMEOUT * 2);
    assert_eq!(world.got(0), ["close 1008"]);
    assert_eq!(world.board.counters.outstanding_now, 0);
    assert_eq!(world.said(), ["B"]);
}

#[test]
fn values_tell_replies_apart_and_notifications_pass() {
    let mut world = World::new(turns(by_id()), 1);
    for number in 0..3 {
        world.client(&id(number));
    }
    world.client(r#"{"method":"log"}"#);
    assert_eq!(world.board.counters.outstanding_now, 3);
    for text in [id(2), r#"{"method":"news"}"#.to_owned(), id(0), id(0), id(1)] {
        world.backend(0, &text);
    }
    assert_eq!(world.said(), [id(2), r#"{"method":"news"}"#.to_owned(), id(0), id(1)]);
    assert_eq!((world.board.counters.late, world.board.counters.replies), (1, 3));
}

#[test]
fn what_a_lost_backend_owed_is_sent_anew_and_answered_once() {
    let mut world = asked(Exchange { retries: 1, ..by_id() });
    let port = Port::Line(LineId(0));
    world.end(port, Ending::Reset);
    assert_eq!(world.got(1), [id(0)]);
    world.backend(1, &id(0));
    world.backend(1, &id(1));
    world.backend(1, &id(0));
    assert_eq!(world.said(), [id(0), id(1)]);
    let counters = &world.board.counters;
    assert_eq!((counters.retries, counters.late, counters.lost, counters.outstanding_now), (1, 1, 0, 0));
    assert_eq!(world.dispatcher.kept_bytes, 0);
}

#[test]
fn a_message_is_sent_anew_so_often_and_then_its_client_is_told() {
    let template = Template::new(r#"{"id":{id},"error":"lost"}"#).unwrap();
    let unanswered = Unanswered::Reply(template);
    let mut world = asked(Exchange { retries: 1, unanswered, ..by_id() });
    for line in [0, 1] {
        world.end(Port::Line(LineId(line)), Ending::Reset);
        world.pass(Duration::from_millis(200));
        world.accept();
    }
    assert_eq!(world.said(), [r#"{"id":0,"error":"lost"}"#]);
    assert_eq!((world.board.counters.retries, world.board.counters.lost), (2, 1));
    let owner = if world.board.outstanding(BackendId(0)) > 0 { 0 } else { 1 };
    world.backend(owner, &id(1));
    assert_eq!(world.said(), [id(1)]);
    assert_eq!(world.dispatcher.kept_bytes, 0);
}

#[test]
fn a_client_is_closed_for_want_of_a_reply_where_that_is_wanted() {
    let mut world = asked(Exchange { unanswered: Unanswered::Close, ..one() });
    world.pass(TIMEOUT);
    assert_eq!(world.said(), ["close 1011"]);
}

#[test]
fn replies_do_not_interleave_and_a_stalled_one_ends_the_client() {
    let mut world = asked(one());
    let long = frame(Opcode::Text, true, &vec![b'x'; 100_000], None);
    let (head, tail) = long.split_at(80_000);
    world.bytes(Port::Line(LineId(0)), head);
    assert!(!world.dispatcher.reads(Port::Line(LineId(1)), &world.wires));
    assert!(world.dispatcher.reads(Port::Line(LineId(0)), &world.wires));
    world.bytes(Port::Line(LineId(0)), tail);
    assert!(world.dispatcher.reads(Port::Line(LineId(1)), &world.wires));
    world.backend(1, "B");
    let said = world.said();
    assert_eq!((said[0].len(), said[1].as_str()), (100_000, "B"));

    let mut world = asked(one());
    world.bytes(Port::Line(LineId(0)), head);
    world.pass(TIMEOUT);
    assert_eq!(world.said(), [""; 0]);
    assert!(world.dispatcher.cause().is_some());
}

#[test]
fn what_selat_says_itself_waits_for_the_end_of_a_message() {
    let unanswered = Unanswered::Reply(Template::new("late").unwrap());
    let mut world = asked(Exchange { unanswered, ..one() });
    let long = frame(Opcode::Text, true, &vec![b'x'; 100_000], None);
    world.pass(TIMEOUT - Duration::from_secs(1));
    world.bytes(Port::Line(LineId(0)), &long[..80_000]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.said(), [""; 0]);
    world.bytes(Port::Line(LineId(0)), &long[80_000..]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.said().iter().map(String::len).collect::<Vec<_>>(), [100_000, 4]);
}

#[test]
fn the_first_reply_of_all_counts_and_a_lost_backend_matters_not() {
    let mut world = World::open(settings(Send::All(Gather::First), Replies::One(one())), 3);
    world.client("a");
    world.end(Port::Line(LineId(0)), Ending::Reset);
    world.backend(2, "C");
    world.backend(1, "B");
    assert_eq!(world.said(), ["C"]);
    let counters = &world.board.counters;
    assert_eq!((counters.surplus, counters.lost, counters.outstanding_now), (1, 0, 0));
}

#[test]
fn all_replies_make_an_array_and_what_is_missing_is_marked() {
    let send = Send::All(Gather::Array { quorum: None });
    let mut world = World::open(settings(send, Replies::One(by_id())), 3);
    world.client(&id(7));
    for (line, text) in [(1, r#"{"id":7,"n":1}"#), (0, r#"{"id":7,"n":0}"#), (2, r#"{"id":7}"#)] {
        world.backend(line, text);
    }
    assert_eq!(world.said(), [r#"[{"id":7,"n":1},{"id":7,"n":0},{"id":7}]"#]);
    world.client(&id(8));
    world.backend(1, &id(8));
    world.pass(TIMEOUT);
    assert_eq!(world.said(), [r#"{"partial":true,"expected":3,"replies":[{"id":8}]}"#]);
    assert_eq!((world.board.counters.partial, world.board.counters.timeouts), (1, 1));
}
