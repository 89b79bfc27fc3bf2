//! Ends of lines and of sessions.

use super::*;
use crate::dispatch::line;
use crate::session::{Disposition, Farewell, Side, Why};

const KEY: Option<MaskKey> = Some(MaskKey([3, 1, 4, 1]));

#[test]
fn a_client_that_closes_gets_what_it_asked_for_first() {
    let mut world = World::open(turns(one()), 2);
    world.client("a");
    world.client("b");
    world.bytes(Port::Client, &close(1000, KEY));
    assert_eq!(world.said(), [""; 0]);
    assert!((0..2).all(|line| !world.got(line).contains(&"close 1000".to_owned())));
    world.backend(0, "A");
    world.backend(1, "B");
    assert_eq!(world.said(), ["A", "B", "close 1000"]);
    for line in 0..2 {
        assert_eq!(world.got(line).last().unwrap(), "close 1000");
    }
    // The client need not wait for the backends' answers; the session does.
    assert_eq!(world.dispatcher.disposition(Port::Client), Disposition::Finish);
    for line in 0..2 {
        let port = Port::Line(LineId(line));
        world.bytes(port, &close(1000, None));
        world.end(port, Ending::Fin);
    }
    assert_eq!(world.dispatcher.disposition(Port::Client), Disposition::Drop);
    assert_eq!(
        world.dispatcher.cause().map(|cause| (cause.side, cause.why)),
        Some((Side::Client, Why::Closed))
    );
}

#[test]
fn a_backend_that_is_to_go_is_left_when_it_owes_nothing() {
    let mut world = World::open(turns(one()), 2);
    world.client("a");
    world.client("b");
    world.candidates.remove(0);
    let retire = |world: &mut World| {
        world.with(|dispatcher, wires, context| dispatcher.handle_retired(LineId(0), wires, context));
    };
    retire(&mut world);
    world.client("c");
    assert_eq!(world.got(0), ["a"]);
    world.backend(0, "A");
    retire(&mut world);
    assert_eq!((world.said(), world.got(0)), (vec!["A".to_owned()], vec!["close 1012".to_owned()]));
    assert_eq!(world.got(1), ["b", "c"]);
    let counted = |line, peer| world.wires.counted.get(&(LineId(line), peer)).copied();
    assert_eq!((counted(0, Peer::Client), counted(0, Peer::Backend)), (Some(1), Some(1)));
    assert_eq!((counted(1, Peer::Client), counted(1, Peer::Backend)), (Some(2), None));
}

#[test]
fn what_does_not_come_in_time_is_not_waited_for_by_a_client_that_closes() {
    let mut world = World::new(turns(Exchange { timeout: Duration::from_secs(3600), ..one() }), 1);
    world.client("a");
    world.bytes(Port::Client, &close(1001, KEY));
    let close = session::Settings::default().close;
    world.pass(close - Duration::from_millis(1));
    assert_eq!(world.said(), [""; 0]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.said(), ["close 1001"]);
    assert_eq!(world.board.counters.outstanding_now, 0);
    world.pass(close);
    assert_eq!(world.dispatcher.disposition(Port::Client), Disposition::Abandon);
}

#[test]
fn a_backend_that_closes_is_retired_alone_and_the_last_one_gives_the_code() {
    let mut world = World::open(turns(one()), 2);
    world.bytes(Port::Line(LineId(0)), &close(1012, None));
    assert_eq!(world.got(0), ["close 1012"]);
    assert_eq!(world.said(), [""; 0]);
    world.client("a");
    assert_eq!(world.got(1), ["a"]);
    world.bytes(Port::Line(LineId(1)), &close(4000, None));
    assert_eq!(world.said(), ["close 4000"]);
    assert_eq!(world.board.counters.lost, 1);
    assert_eq!(world.board.counters.outstanding_now, 0);
}

#[test]
fn a_backend_that_closes_leaves_the_client_to_those_that_were_not_dialled_yet() {
    let mut world = World::new(turns(one()), 2);
    world.bytes(Port::Line(LineId(0)), &close(1012, None));
    assert_eq!(world.commands(), [Command::Dial { line: LineId(1), backend: BackendId(1) }]);
    world.with(|dispatcher, wires, context| dispatcher.handle_unopened(LineId(1), wires, context));
    assert_eq!(world.said(), ["close 1012"]);
}

#[test]
fn who_can_reach_nobody_any_more_is_closed() {
    let mut world = World::new(turns(one()), 2);
    let reset = |world: &mut World, line| {
        let port = Port::Line(LineId(line));
        world
            .with(|dispatcher, wires, context| dispatcher.handle_ending(port, Ending::Reset, wires, context));
    };
    reset(&mut world, 0);
    let dial = |line, backend| Command::Dial { line: LineId(line), backend: BackendId(backend) };
    assert_eq!(world.commands(), [Command::Drop { line: LineId(0) }, dial(1, 1)]);
    world.with(|dispatcher, wires, context| dispatcher.handle_unopened(LineId(1), wires, context));
    assert_eq!(world.said(), [""; 0], "the first is to be tried again");
    world.pass(Duration::from_millis(101));
    assert_eq!(world.commands(), [dial(0, 0)]);
    world.with(|dispatcher, wires, context| dispatcher.handle_unopened(LineId(0), wires, context));
    assert_eq!(world.said(), ["close 1011"]);
}

#[test]
fn a_reply_cut_short_ends_the_client() {
    for (is_inside_frame, expected) in [(true, vec![]), (false, vec!["close 1011".to_owned()])] {
        let mut world = World::new(turns(one()), 2);
        world.client("a");
        let long = frame(Opcode::Binary, false, &vec![b'x'; 70_000], None);
        let sent = if is_inside_frame { &long[..69_000] } else { &long[..] };
        world.bytes(Port::Line(LineId(0)), sent);
        assert!(world.wires.written[&Port::Client].len() > 65_000);
        world.wires.written.remove(&Port::Client);
        world.end(Port::Line(LineId(0)), Ending::Fin);
        assert_eq!(world.said(), expected);
    }
}

#[test]
fn a_client_that_breaks_the_rules_is_told_so_behind_its_replies() {
    let mut world = World::new(turns(one()), 1);
    world.client("a");
    world.bytes(Port::Client, &frame(Opcode::Text, true, b"unmasked", None));
    assert_eq!(world.said(), [""; 0]);
    world.backend(0, "A");
    assert_eq!(world.said(), ["A", "close 1002"]);
    assert_eq!(world.got(0), ["a", "close 1001"]);
    assert_eq!(world.dispatcher.disposition(Port::Client), Disposition::Finish);
}

#[test]
fn a_backend_that_breaks_the_rules_is_lost() {
    let mut world = World::open(turns(one()), 2);
    world.client("a");
    assert_eq!(world.got(0), ["a"]);
    world.bytes(Port::Line(LineId(0)), &frame(Opcode::Text, true, b"masked", KEY));
    assert_eq!(world.got(0), ["close 1002"]);
    assert_eq!(world.said(), [""; 0]);
    assert_eq!(world.board.counters.lost, 1);
}

#[test]
fn a_drain_waits_for_replies() {
    let mut world = World::new(turns(one()), 1);
    world.client("a");
    let at = world.now + Duration::from_secs(1);
    world.dispatcher.handle_drain(at, Farewell::GoingAway);
    assert!(world.dispatcher.has_heard(Farewell::ServiceRestart));
    world.pass(Duration::from_secs(1));
    world.client("b");
    assert!(!world.dispatcher.reads(Port::Client, &world.wires));
    world.backend(0, "A");
    assert_eq!(world.said(), ["A", "close 1001"]);
    assert_eq!(world.got(0), ["a", "close 1001"]);
    world.again();
    world.bytes(Port::Client, &close(1001, KEY));
    assert_eq!(world.dispatcher.disposition(Port::Client), Disposition::Finish);
}

#[test]
fn a_client_that_vanishes_takes_what_it_asked_with_it() {
    let mut world = World::new(turns(one()), 1);
    world.client("a");
    world.end(Port::Client, Ending::Reset);
    assert_eq!(world.got(0), ["a", "close 1001"]);
    assert_eq!(world.board.counters.outstanding_now, 0);
}

#[test]
fn a_fault_tells_everybody() {
    let mut world = World::new(turns(one()), 1);
    world.with(|dispatcher, wires, context| dispatcher.handle_fault(wires, context));
    assert_eq!(world.said(), ["close 1011"]);
    assert_eq!(world.got(0), ["close 1001"]);
}

#[test]
fn an_idle_session_is_closed() {
    let mut world = World::new(turns(one()), 1);
    world.pass(session::Settings::default().idle);
    assert_eq!(world.said(), ["close 1001"]);
}

#[test]
fn a_backend_that_comes_takes_the_place_of_one_that_is_gone() {
    let mut world = World::open(turns(one()), 2);
    world.candidates[1] = Candidate { backend: BackendId(9), weight: Weight::ONE, identity: 9 };
    world.with(|dispatcher, wires, context| dispatcher.handle_retired(LineId(1), wires, context));
    assert_eq!(world.got(1), ["close 1012"]);
    world.end(Port::Line(LineId(1)), Ending::Fin);
    (0..2).for_each(|_| world.client("a"));
    let dial = Command::Dial { line: LineId(1), backend: BackendId(9) };
    assert_eq!(world.commands(), [Command::Drop { line: LineId(1) }, dial]);
    // Where nobody else is left, an ill one is better than none.
    world.candidates.clear();
    world.with(|dispatcher, wires, context| dispatcher.handle_unopened(LineId(1), wires, context));
    world.client("b");
    assert_eq!(world.got(0).last().unwrap(), "b");
}

#[test]
fn an_idle_session_is_small() {
    let world = World::open(turns(one()), 4);
    let lines = world.dispatcher.lines.capacity() * size_of::<line::Line>() + 4 * size_of::<line::Open>();
    let commands = world.dispatcher.commands.capacity() * size_of::<Command>();
    let bytes = size_of::<Dispatcher>() + lines + commands;
    assert!(bytes <= 2 << 10, "{bytes} bytes");
}
