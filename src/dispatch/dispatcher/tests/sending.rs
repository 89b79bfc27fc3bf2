//! Which backend gets a message, and when.

use super::*;
use crate::json::Pointer;

const KEY: Option<MaskKey> = Some(MaskKey([9, 8, 7, 6]));

#[test]
fn a_dial_delays_nobody_and_all_are_used_in_the_end() {
    let mut world = World::new(turns(one()), 3);
    for text in ["a", "b", "c"] {
        world.client(text);
    }
    // Two of them are being dialled.
    assert_eq!(world.got(0), ["a", "b", "c"]);
    assert_eq!(world.accept(), [BackendId(1), BackendId(2)]);
    for text in ["d", "e", "f"] {
        world.client(text);
    }
    let mut got: Vec<_> = (0..3).flat_map(|line| world.got(line)).collect();
    got.sort();
    assert_eq!(got, ["d", "e", "f"]);
    assert_eq!(world.board.counters.sent, 6);
}

#[test]
fn a_message_stays_together_and_goes_piece_by_piece() {
    let mut world = World::open(turns(one()), 2);
    let pieces = [
        frame(Opcode::Text, false, b"hel", KEY),
        frame(Opcode::Ping, true, b"?", KEY),
        frame(Opcode::Continuation, false, b"l", KEY),
        frame(Opcode::Continuation, true, b"o", KEY),
        frame(Opcode::Text, true, b"next", KEY),
    ]
    .concat();
    for byte in &pieces[..10] {
        world.bytes(Port::Client, &[*byte]);
    }
    let streamed = world.wires.written.values().map(Vec::len).sum::<usize>();
    assert!(streamed >= 9, "{streamed}");
    world.bytes(Port::Client, &pieces[10..]);
    assert_eq!([world.got(0), world.got(1)], [["hello"], ["next"]]);
    assert_eq!(world.said(), ["pong ?"]);
}

#[test]
fn consecutive_messages_for_one_line_leave_in_one_write() {
    struct Writes(Vec<(Port, usize)>);
    impl Ports for Writes {
        fn write(&mut self, to: Port, bytes: &[u8]) {
            self.0.push((to, bytes.len()));
        }
        fn count(&mut self, _: LineId, _: Peer) {}
        fn is_flushed(&self, _: Port) -> bool {
            true
        }
    }
    let mut world = World::new(turns(one()), 1);
    let mut writes = Writes(Vec::new());
    let message = frame(Opcode::Text, true, b"hello", KEY);
    let reply = frame(Opcode::Text, true, b"hello", None);
    let mut context =
        Context { now: world.now, random: 1, board: &mut world.board, candidates: &world.candidates };
    world.dispatcher.handle_bytes(Port::Client, &message.repeat(50), &mut writes, &mut context);
    world.dispatcher.handle_bytes(Port::Line(LineId(0)), &reply.repeat(50), &mut writes, &mut context);
    let expected = [(Port::Line(LineId(0)), 50 * message.len()), (Port::Client, 50 * reply.len())];
    assert_eq!(writes.0, expected);
    assert_eq!(world.board.counters.replies, 50);
}

#[test]
fn one_that_does_not_take_what_it_has_gets_no_more_while_others_do() {
    let mut world = World::open(turns(one()), 2);
    let (first, second) = (Port::Line(LineId(0)), Port::Line(LineId(1)));
    world.wires.jams = vec![first];
    for text in ["a", "b", "c"] {
        world.client(text);
    }
    assert_eq!((world.got(0), world.got(1)), (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]));
    world.wires.stuck = vec![first, second];
    world.client("d");
    assert!(!world.dispatcher.reads(Port::Client, &world.wires));
    world.unstick(second);
    assert_eq!(world.got(1), ["d"]);
    // One that takes nothing for as long as a message may wait is of no use.
    world.pass(TIMEOUT * 2);
    assert!(world.commands().contains(&Command::Drop { line: LineId(0) }));
}

#[test]
fn a_value_belongs_to_one_backend_and_waits_for_it() {
    let balance = Balance::Hash(Pointer::new("/user").unwrap());
    let mut world = World::new(settings(Send::One(balance), Replies::Any), 3);
    let mut owners = BTreeMap::new();
    for round in 0..3 {
        for user in 0..20 {
            world.client(&format!(r#"{{"user":{user},"round":{round}}}"#));
            world.accept();
        }
        for line in 0..3 {
            for text in world.got(line) {
                let user = text.split([':', ',']).nth(1).unwrap().to_owned();
                assert_eq!(*owners.entry(user).or_insert(line), line, "{text}");
            }
        }
        assert_eq!(owners.len(), 20);
    }
    assert!((0..3).all(|line| owners.values().any(|owner| *owner == line)));
    // The client is not read while its message waits.
    let mut world = World::new(settings(world.dispatcher.settings.send.clone(), Replies::Any), 3);
    for user in 0..20 {
        world.client(&format!(r#"{{"user":{user}}}"#));
    }
    assert!(!world.dispatcher.reads(Port::Client, &world.wires));
    let elsewhere = world.commands();
    assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
}

#[test]
fn the_client_is_not_read_while_too_much_is_outstanding() {
    let mut world = World::new(Settings { outstanding_max: 2, ..turns(one()) }, 1);
    for text in ["a", "b", "c"] {
        world.client(text);
    }
    assert_eq!(world.got(0), ["a", "b"]);
    assert!(!world.dispatcher.reads(Port::Client, &world.wires));
    world.backend(0, "A");
    world.again();
    assert_eq!(world.got(0), ["c"]);
}

#[test]
fn what_stands_behind_too_much_waits_though_it_came_with_it() {
    let mut world = World::new(Settings { outstanding_max: 1, ..turns(one()) }, 1);
    let bytes = [frame(Opcode::Text, true, b"a", KEY), frame(Opcode::Ping, true, b"there?", KEY)].concat();
    world.bytes(Port::Client, &bytes);
    assert_eq!((world.got(0), world.said()), (vec!["a".to_owned()], Vec::new()));
    world.backend(0, "A");
    world.again();
    assert_eq!(world.said(), ["A", "pong there?"]);
}

#[test]
fn all_get_a_message_that_is_sent_to_all() {
    let mut world = World::new(settings(Send::All(crate::dispatch::Gather::First), Replies::One(one())), 3);
    world.client("early");
    assert_eq!(world.got(0), [""; 0]);
    assert_eq!(world.accept(), [BackendId(1), BackendId(2)]);
    for line in 0..3 {
        assert_eq!(world.got(line), ["early"]);
    }
    assert_eq!(world.board.counters.sent, 3);
}

#[test]
fn pings_of_selats_own_go_to_all_and_their_answers_nowhere() {
    let ping = session::Ping { every: Duration::from_secs(20), timeout: Duration::from_secs(5) };
    let session = session::Settings {
        ping: session::Pings { client: Some(ping), backend: Some(ping) },
        ..session::Settings::default()
    };
    let mut world = World::under(turns(one()), session, 1);
    world.pass(Duration::from_secs(21));
    assert_eq!((world.said(), world.got(0)), (vec!["ping".to_owned()], vec!["ping".to_owned()]));
    world.bytes(Port::Client, &frame(Opcode::Pong, true, b"", KEY));
    // The backend says nothing: it is lost, and dialled again at once, for it is the only one.
    world.pass(Duration::from_secs(4));
    let backend = BackendId(0);
    assert_eq!(world.commands(), [Command::Drop { line: LineId(0) }]);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.commands(), [Command::Dial { line: LineId(0), backend }]);
    assert_eq!(world.said(), [""; 0]);
}
