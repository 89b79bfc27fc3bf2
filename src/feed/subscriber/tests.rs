//! A client's session, byte by byte and second by second.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::feed::subscriptions::tests::subscriptions;
use crate::feed::{ClientMessages, Conflict};
use crate::session::{Excess, Ping, Pings, Rate, RateLimit};

const FREE: Backlog = Backlog { client: false, backend: false };
const STUCK: Backlog = Backlog { client: true, backend: false };
const RANDOM: Random = Random { key: MaskKey([1, 2, 3, 4]), nonce: 77 };
const AUTH: Duration = Duration::from_secs(10);

/// A session and the clock it goes by.
struct World {
    subscriber: Subscriber,
    now: Instant,
    out: Vec<u8>,
    /// What it has not taken yet.
    kept: Vec<u8>,
}

impl World {
    fn new(session: session::Settings, feed: Settings, first_message_within: Option<Duration>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let now = Instant::now();
        let terms = Terms { session: &Rc::new(session), feed: &Arc::new(feed), first_message_within };
        Self { subscriber: Subscriber::new(terms, now), now, out: Vec::new(), kept: Vec::new() }
    }

    fn of(client_messages: ClientMessages, subscriptions: Option<Conflict>) -> Self {
        Self::new(session::Settings::default(), feed(client_messages, subscriptions), None)
    }

    fn receive(&mut self, bytes: &[u8]) -> Flow {
        self.kept.extend_from_slice(bytes);
        let flow = self.subscriber.handle_bytes(&self.kept, self.now, &mut self.out);
        self.kept = flow.rest(&self.kept).to_vec();
        flow
    }

    /// All that is said, a first message being right; as a shell does it.
    fn listen(&mut self) -> Vec<Utterance> {
        let mut all = Vec::new();
        loop {
            while let Some(said) = self.subscriber.poll_said() {
                if matches!(said, Utterance::First(_)) {
                    self.subscriber.admit();
                }
                all.push(said);
            }
            if self.kept.is_empty() || self.receive(&[]).then != Then::Judge {
                return all;
            }
        }
    }

    fn pass(&mut self, time: Duration, backlog: Backlog) {
        self.now += time;
        self.subscriber.handle_time(backlog, self.now, RANDOM, &mut self.out);
    }

    fn assert_closed(&self, code: CloseCode, reason: &str, why: Why) {
        assert_eq!(self.out, close_frame(code, reason, None), "{}", self.out.escape_ascii());
        let cause = self.subscriber.cause().unwrap();
        assert_eq!((cause.why, cause.code), (why, Some(code)));
        assert!(self.subscriber.is_over() && !self.subscriber.may_send());
    }
}

fn feed(client_messages: ClientMessages, conflict: Option<Conflict>) -> Settings {
    let subscriptions = conflict.map(|conflict| {
        subscriptions(
            r#"{"op":"on","userKey":"${KEY}","symbol":"{keys}"}"#,
            Some(r#"{"op":"off","symbol":"{keys}"}"#),
            conflict,
        )
    });
    Settings { client_messages, subscriptions, ..Settings::default() }
}

fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let key = MaskKey([7, 77, 177, 27]);
    let mut frame = Vec::new();
    Header { fin, ..Header::whole(opcode, Some(key), payload.len().try_into().unwrap()) }.encode(&mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], key, 0);
    frame
}

fn text(payload: &str) -> Vec<u8> {
    masked(Opcode::Text, true, payload.as_bytes())
}

fn plain(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Header::whole(opcode, None, payload.len().try_into().unwrap()).encode(&mut frame);
    [frame.as_slice(), payload].concat()
}

fn keys(text: &str) -> Vec<Key> {
    text.split_whitespace().map(Key::from).collect()
}

fn forward(text: &str) -> Utterance {
    Utterance::Forward(Kind::Text, text.as_bytes().into())
}

/// A client that shows its key, says this and that in every shape, and closes.
fn conversation() -> Vec<u8> {
    [
        masked(Opcode::Ping, true, b"early"),
        masked(Opcode::Text, false, br#"{"op":"on","userKey":"k","#),
        masked(Opcode::Ping, true, b"inside"),
        masked(Opcode::Continuation, true, br#""symbol":"A,B"}"#),
        text("hello \u{e9}"),
        masked(Opcode::Binary, true, b"\xff\xfe"),
        text(""),
        masked(Opcode::Pong, true, b""),
        text(r#"{"op":"off","symbol":"A,X"}"#),
        text(r#"{"op":"on","symbol":"C"}"#),
        masked(Opcode::Close, true, &[&1000u16.to_be_bytes()[..], b"bye"].concat()),
    ]
    .concat()
}

fn expected() -> (Vec<Utterance>, Vec<u8>) {
    let said = vec![
        Utterance::First(br#"{"op":"on","userKey":"k","symbol":"A,B"}"#.to_vec()),
        Utterance::Subscribe(keys("A B")),
        forward("hello \u{e9}"),
        Utterance::Forward(Kind::Binary, (*b"\xff\xfe").into()),
        forward(""),
        Utterance::Unsubscribe(keys("A")),
        Utterance::Subscribe(keys("C")),
    ];
    let answers = [
        plain(Opcode::Pong, b"early"),
        plain(Opcode::Pong, b"inside"),
        plain(Opcode::Close, &[&1000u16.to_be_bytes()[..], b"bye"].concat()),
    ];
    (said, answers.concat())
}

/// Hears the conversation in these pieces.
fn hear(pieces: &[&[u8]]) -> (Vec<Utterance>, Vec<u8>) {
    let mut world = World::new(
        session::Settings::default(),
        feed(ClientMessages::Forward, Some(Conflict::Adds)),
        Some(AUTH),
    );
    let mut said = Vec::new();
    for piece in pieces {
        world.receive(piece);
        said.extend(world.listen());
        assert!(world.kept.len() <= Scanner::KEEP_BYTES_MAX);
    }
    assert_eq!(world.subscriber.disposition(), Disposition::Drop);
    let cause = Cause { side: Side::Client, why: Why::Closed, code: Some(CloseCode::NORMAL) };
    assert_eq!(world.subscriber.cause(), Some(cause));
    assert_eq!(world.subscriber.topics().cloned().collect::<Vec<_>>(), keys("B C"));
    (said, world.out)
}

#[test]
fn hears_and_answers_the_same_for_any_cut() {
    let sent = conversation();
    for cut in 0..sent.len() {
        let (head, tail) = sent.split_at(cut);
        assert_eq!(hear(&[head, tail]), expected(), "cut at {cut}");
    }
    assert_eq!(hear(&sent.chunks(1).collect::<Vec<_>>()), expected());
}

#[test]
fn an_idle_client_costs_little() {
    assert!(size_of::<Subscriber>() <= 176, "{}", size_of::<Subscriber>());
    let mut world = World::new(session::Settings::default(), feed(ClientMessages::Forward, None), Some(AUTH));
    world.receive(&text("{}"));
    assert!(world.subscriber.hearing.holds_anything());
    world.listen();
    world.receive(&text("forwarded"));
    world.listen();
    assert!(!world.subscriber.hearing.holds_anything(), "what was polled is forgotten");
}

#[test]
fn takes_nothing_behind_what_was_not_polled() {
    let mut world = World::of(ClientMessages::Forward, None);
    let (first, second) = (text("first"), text("second"));
    let flow = world.receive(&[first.as_slice(), &second].concat());
    assert_eq!((flow.forward, flow.messages, flow.then), (first.len(), 1, Then::Judge));
    assert!(!world.subscriber.reads());
    assert_eq!(world.receive(&[]).forward, 0);
    assert_eq!(world.subscriber.poll_said(), Some(forward("first")));
    assert_eq!(world.subscriber.poll_said(), None);
    assert!(world.subscriber.reads());
    assert_eq!(world.listen(), [forward("second")]);
}

#[test]
fn nothing_goes_to_a_client_that_has_shown_no_key() {
    let mut world = World::new(session::Settings::default(), Settings::default(), Some(AUTH));
    assert!(!world.subscriber.may_send() && world.subscriber.reads());
    world.receive(&text("{}"));
    assert_eq!(world.subscriber.poll_said(), Some(Utterance::First(b"{}".to_vec())));
    assert!(!world.subscriber.may_send() && !world.subscriber.reads());
    world.receive(&text("more"));
    assert_eq!(world.subscriber.poll_said(), None, "one at a time is judged");
    world.subscriber.admit();
    assert!(world.subscriber.may_send() && world.subscriber.reads());
    world.receive(&[]);
    assert_eq!((world.subscriber.poll_said(), world.out.len()), (None, 0), "a good key is not answered");
}

#[test]
fn a_wrong_first_message_closes_and_counts_for_nothing() {
    let first = feed(ClientMessages::Discard, Some(Conflict::Adds));
    let mut world = World::new(session::Settings::default(), first, Some(AUTH));
    world.receive(&text(r#"{"op":"on","symbol":"A"}"#));
    assert!(matches!(world.subscriber.poll_said(), Some(Utterance::First(_))));
    let out = &mut world.out;
    world.subscriber.close(CloseCode::POLICY, "authentication failed", Why::Unauthorized, out);
    world.subscriber.admit();
    world.assert_closed(CloseCode::POLICY, "authentication failed", Why::Unauthorized);
    assert_eq!(world.subscriber.poll_said(), None);
    assert_eq!(world.subscriber.topics().count(), 0);
}

#[test]
fn a_first_message_that_asks_for_too_much_is_not_even_judged() {
    let first = feed(ClientMessages::Discard, Some(Conflict::Adds));
    let mut world = World::new(session::Settings::default(), first, Some(AUTH));
    world.subscriber.admit();
    assert!(!world.subscriber.may_send(), "there was nothing to judge");
    world.receive(&text(r#"{"op":"on","symbol":"A,B,C,D"}"#));
    world.assert_closed(CloseCode::POLICY, "too many topics", Why::Policy);
    assert_eq!(world.subscriber.poll_said(), None);
}

#[test]
fn a_first_message_has_its_time_and_its_size() {
    let mut world = World::new(session::Settings::default(), Settings::default(), Some(AUTH));
    assert_eq!(world.subscriber.deadline(), Some(world.now + AUTH));
    world.receive(&masked(Opcode::Ping, true, b""));
    world.out.clear();
    world.pass(AUTH, FREE);
    world.assert_closed(CloseCode::POLICY, "authentication timeout", Why::Unauthorized);

    let mut world = World::new(session::Settings::default(), Settings::default(), Some(Duration::MAX));
    assert!(!world.subscriber.may_send(), "it has time for ever, but still to show a key");
    world.receive(&masked(Opcode::Text, false, &[b' '; 4096]));
    assert!(!world.subscriber.is_over());
    world.receive(&masked(Opcode::Continuation, true, b" "));
    let too_long = Why::Violation(Violation::MessageTooLong { max: 4096 });
    world.assert_closed(CloseCode::MESSAGE_TOO_BIG, "message over 4096 bytes", too_long);
}

#[test]
fn what_a_client_says_is_kept_only_where_it_is_wanted() {
    let long = "x".repeat(70_000);
    let choice = r#"{"op":"on","symbol":"A"}"#;
    let hello =
        [text("hello"), text(&long), text(choice), masked(Opcode::Binary, true, choice.as_bytes())].concat();
    let subscribed = Utterance::Subscribe(keys("A"));
    let to_source = || vec![forward("hello"), forward(&long)];
    let binary = Utterance::Forward(Kind::Binary, choice.as_bytes().into());
    let rows = [
        (ClientMessages::Discard, None, vec![]),
        (ClientMessages::Discard, Some(Conflict::Adds), vec![subscribed.clone()]),
        (ClientMessages::Forward, None, [to_source(), vec![forward(choice), binary.clone()]].concat()),
        (
            ClientMessages::Forward,
            Some(Conflict::Adds),
            [to_source(), vec![subscribed.clone(), binary]].concat(),
        ),
    ];
    for (client_messages, conflict, expected) in rows {
        let mut world = World::of(client_messages, conflict);
        world.receive(&hello);
        assert_eq!(world.listen(), expected, "{client_messages:?} {conflict:?}");
        assert!(world.out.is_empty() && world.kept.is_empty());
    }
    let mut world = World::of(ClientMessages::Reject, Some(Conflict::Adds));
    world.receive(&text(choice));
    assert_eq!(world.listen(), [subscribed]);
    assert!(world.out.is_empty());
}

#[test]
fn closes_1008_on_what_is_not_accepted() {
    let refused = [
        (None, text("hello")),
        (None, masked(Opcode::Text, false, b"")),
        (None, masked(Opcode::Binary, true, b"")),
        (Some(Conflict::Adds), text("hello")),
        (Some(Conflict::Adds), masked(Opcode::Binary, true, br#"{"op":"on","symbol":"A"}"#)),
        (Some(Conflict::Adds), text(&" ".repeat(70_000))),
    ];
    for (conflict, sent) in refused {
        let mut world = World::of(ClientMessages::Reject, conflict);
        world.receive(&sent);
        world.assert_closed(CloseCode::POLICY, "messages are not accepted", Why::Policy);
    }
}

#[test]
fn text_that_is_read_has_to_be_utf_8() {
    for (client_messages, is_read) in [(ClientMessages::Forward, true), (ClientMessages::Discard, false)] {
        let mut world = World::of(client_messages, None);
        world.receive(&masked(Opcode::Text, false, "\u{e9}".as_bytes().split_at(1).0));
        world.receive(&masked(Opcode::Continuation, true, b"\xff"));
        if is_read {
            let why = Why::Violation(Violation::TextNotUtf8);
            world.assert_closed(CloseCode::INVALID_PAYLOAD, "text message is not UTF-8", why);
        } else {
            assert!(!world.subscriber.is_over());
        }
    }
}

#[test]
fn a_message_to_forward_is_bounded_though_the_route_sets_no_limit() {
    let settings = Settings { message_bytes_max: 8, ..feed(ClientMessages::Forward, None) };
    let mut world = World::new(session::Settings::default(), settings, None);
    world.receive(&masked(Opcode::Text, false, b"12345678"));
    // What a peer announces is not allocated.
    let mut header = Vec::new();
    Header { fin: true, ..Header::whole(Opcode::Continuation, Some(MaskKey([0; 4])), 1 << 40) }
        .encode(&mut header);
    world.receive(&header);
    let why = Why::Violation(Violation::MessageTooLong { max: 8 });
    world.assert_closed(CloseCode::MESSAGE_TOO_BIG, "message over 8 bytes", why);
}

#[test]
fn a_text_without_an_end_is_kept_until_it_can_be_no_subscription() {
    let mut world = World::of(ClientMessages::Discard, Some(Conflict::Adds));
    world.receive(&masked(Opcode::Text, false, b""));
    for kibibytes in 1..200 {
        world.receive(&masked(Opcode::Continuation, false, &[b' '; 1 << 10]));
        assert_eq!(world.subscriber.hearing.holds_anything(), kibibytes <= 64, "{kibibytes}");
    }
    world.receive(&masked(Opcode::Continuation, true, br#"{"op":"on","symbol":"A"}"#));
    world.receive(&text(r#"{"op":"on","symbol":"B"}"#));
    assert_eq!(world.listen(), [Utterance::Subscribe(keys("B"))]);
}

#[test]
fn a_client_has_so_many_topics_and_no_more() {
    let mut world = World::of(ClientMessages::Discard, Some(Conflict::Adds));
    world.receive(&text(r#"{"op":"on","symbol":"A,B"}"#));
    world.receive(&text(r#"{"op":"on","symbol":"B,C"}"#));
    assert_eq!(world.listen(), [Utterance::Subscribe(keys("A B")), Utterance::Subscribe(keys("C"))]);
    world.receive(&text(r#"{"op":"on","symbol":"A,C"}"#));
    assert_eq!(world.listen(), [], "nothing new");
    world.receive(&text(r#"{"op":"on","symbol":"D"}"#));
    assert_eq!(world.listen(), []);
    world.assert_closed(CloseCode::POLICY, "too many topics", Why::Policy);
    assert_eq!(world.subscriber.topics().cloned().collect::<Vec<_>>(), keys("A B C"), "to be taken back");
}

#[test]
fn where_a_subscription_replaces_another_it_does_so_for_a_client_too() {
    let mut world = World::of(ClientMessages::Discard, Some(Conflict::Replaces));
    world.receive(&text(r#"{"op":"on","symbol":"A,B,C"}"#));
    assert_eq!(world.listen(), [Utterance::Subscribe(keys("A B C"))]);
    world.receive(&text(r#"{"op":"on","symbol":"E,B,D"}"#));
    assert_eq!(world.listen(), [Utterance::Subscribe(keys("E D")), Utterance::Unsubscribe(keys("A C"))]);
    world.receive(&text(r#"{"op":"on","symbol":""}"#));
    assert_eq!(world.listen(), [Utterance::Unsubscribe(keys("B D E"))]);
}

#[test]
fn keys_of_a_request_are_chosen_as_if_they_had_been_asked_for() {
    let mut world = World::of(ClientMessages::Discard, Some(Conflict::Adds));
    world.subscriber.choose(&[Key::from("A,B"), Key::from("C")], &mut world.out);
    assert_eq!(world.listen(), [Utterance::Subscribe(keys("A B C"))]);
    world.subscriber.choose(&[], &mut world.out);
    assert_eq!(world.listen(), []);
    world.subscriber.choose(&keys("D"), &mut world.out);
    world.assert_closed(CloseCode::POLICY, "too many topics", Why::Policy);
}

#[test]
fn keys_of_a_request_and_of_a_first_message_are_chosen_once() {
    for (conflict, expected) in [
        (Conflict::Adds, vec![Utterance::Subscribe(keys("A B")), Utterance::Subscribe(keys("C"))]),
        (Conflict::Replaces, vec![Utterance::Subscribe(keys("A B"))]),
    ] {
        let first = feed(ClientMessages::Discard, Some(conflict));
        let mut world = World::new(session::Settings::default(), first, Some(AUTH));
        world.receive(&text(r#"{"op":"on","symbol":"A,B"}"#));
        assert!(matches!(world.subscriber.poll_said(), Some(Utterance::First(_))));
        world.subscriber.admit();
        world.subscriber.choose(&keys("B C"), &mut world.out);
        assert_eq!(world.listen(), expected);
        let mut world = World::of(ClientMessages::Discard, Some(conflict));
        world.subscriber.choose(&keys("A B"), &mut world.out);
        world.subscriber.choose(&keys("C D"), &mut world.out);
        assert_eq!(world.subscriber.is_over(), conflict == Conflict::Adds, "what was not polled counts");
    }
}

#[test]
fn there_is_one_close_and_the_client_may_answer_it() {
    let mut world = World::of(ClientMessages::Forward, None);
    let out = &mut world.out;
    world.subscriber.close(CloseCode::TRY_AGAIN_LATER, "too slow", Why::Evicted, out);
    world.subscriber.close(CloseCode::GOING_AWAY, "going away", Why::Drained, out);
    world.assert_closed(CloseCode::TRY_AGAIN_LATER, "too slow", Why::Evicted);
    assert_eq!(world.subscriber.cause().map(|cause| cause.side), Some(Side::Client));
    let rest =
        [text("still talking"), masked(Opcode::Ping, true, b"?"), masked(Opcode::Close, true, b"")].concat();
    let (head, tail) = rest.split_at(9);
    assert_eq!(world.receive(head).then, Then::Keep);
    assert!(world.subscriber.reads());
    assert_eq!(world.subscriber.disposition(), Disposition::Keep);
    assert_eq!(world.receive(tail).then, Then::Drop);
    assert_eq!(world.subscriber.disposition(), Disposition::Drop);
    assert!(!world.subscriber.reads() && world.subscriber.poll_said().is_none());
    world.assert_closed(CloseCode::TRY_AGAIN_LATER, "too slow", Why::Evicted);
    assert_eq!(world.subscriber.deadline(), None);
}

#[test]
fn the_answer_to_our_close_may_come_with_what_caused_it() {
    let mut world = World::of(ClientMessages::Reject, None);
    world.receive(&[text("hello"), masked(Opcode::Close, true, b"")].concat());
    world.assert_closed(CloseCode::POLICY, "messages are not accepted", Why::Policy);
    assert_eq!(world.subscriber.disposition(), Disposition::Drop);
}

#[test]
fn a_breach_of_the_protocol_is_answered_behind_what_was_legal() {
    let mut world = World::of(ClientMessages::Discard, None);
    world.receive(&[masked(Opcode::Ping, true, b"?"), plain(Opcode::Text, b"x")].concat());
    let close = close_frame(CloseCode::PROTOCOL_ERROR, "unmasked frame from a client", None);
    assert_eq!(world.out, [plain(Opcode::Pong, b"?"), close].concat());
    assert_eq!(world.subscriber.disposition(), Disposition::Finish);
}

#[test]
fn silence_of_both_sides_is_idle_and_a_delivery_ends_it() {
    let idle = Duration::from_secs(60);
    let lifetime = Some(Duration::from_secs(1000));
    let settings = session::Settings { idle, lifetime, ..session::Settings::default() };
    let mut world = World::new(settings.clone(), Settings::default(), None);
    for _ in 0..5 {
        world.pass(idle / 2, FREE);
        world.subscriber.handle_delivered(world.now);
        world.pass(idle / 2, FREE);
        world.receive(&masked(Opcode::Pong, true, b""));
    }
    assert_eq!(world.subscriber.deadline(), Some(world.now + idle));
    world.pass(idle, FREE);
    world.assert_closed(CloseCode::GOING_AWAY, "idle timeout", Why::Idle);

    let mut world = World::new(settings, Settings::default(), None);
    world.now += Duration::from_secs(990);
    world.subscriber.handle_delivered(world.now);
    world.pass(Duration::from_secs(10), FREE);
    world.assert_closed(CloseCode::GOING_AWAY, "lifetime over", Why::Expired);
}

#[test]
fn is_pinged_and_dies_of_silence() {
    let ping = Ping { every: Duration::from_secs(20), timeout: Duration::from_secs(5) };
    let pings = Pings { client: Some(ping), backend: None };
    let settings = session::Settings { ping: pings, ..session::Settings::default() };
    let mut world = World::new(settings, Settings::default(), None);
    let started = world.now;
    world.pass(ping.every, FREE);
    assert_eq!(world.out, plain(Opcode::Ping, &77_u64.to_be_bytes()));
    world.now += Duration::from_secs(1);
    world.receive(&masked(Opcode::Pong, true, &77_u64.to_be_bytes()));
    assert_eq!(world.subscriber.take_rtt(), Some(Duration::from_secs(1)));
    assert_eq!(world.subscriber.last_activity, started, "an answer to our ping is no traffic");
    world.out.clear();
    world.pass(ping.every - Duration::from_secs(1), STUCK);
    assert!(world.out.is_empty(), "it would wait behind what waits already");
    world.pass(Duration::ZERO, FREE);
    assert_eq!(world.out, plain(Opcode::Ping, &78_u64.to_be_bytes()));
    world.out.clear();
    world.pass(ping.timeout, FREE);
    assert_eq!(world.out, b"", "nobody is there to be told");
    assert_eq!(world.subscriber.cause().map(|cause| cause.why), Some(Why::PingTimeout));
    assert_eq!(world.subscriber.disposition(), Disposition::Abandon);
}

#[test]
fn who_says_more_than_its_rate_is_slowed_down_or_closed() {
    let two = NonZeroU64::new(2).unwrap();
    for excess in [Excess::Slow, Excess::Close] {
        let messages = Some(Rate { per_second: two, burst: two });
        let rate = Some(RateLimit { messages, bytes: None, excess });
        let settings = session::Settings { rate, ..session::Settings::default() };
        let mut world = World::new(settings, Settings::default(), None);
        world.receive(&text("1"));
        assert!(world.subscriber.reads());
        world.receive(&[text("2"), text("3")].concat());
        if excess == Excess::Close {
            world.assert_closed(CloseCode::POLICY, "rate limit", Why::RateLimited);
            continue;
        }
        assert!(!world.subscriber.reads() && world.subscriber.take_throttled() == 1);
        assert_eq!(world.subscriber.deadline(), Some(world.now + Duration::from_secs(1)));
        world.pass(Duration::from_secs(1), FREE);
        assert!(world.subscriber.reads());
    }
}

proptest! {
    #[test]
    fn any_cuts_are_heard_the_same(cuts in proptest::collection::vec(0..400_usize, 0..6)) {
        let sent = conversation();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(sent.len())).chain([0, sent.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &sent[cut[0]..cut[1]]).collect();
        prop_assert_eq!(hear(&pieces), expected());
    }

    #[test]
    fn garbage_does_no_harm_and_ends_in_one_close(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), is_first in any::<bool>(), cut in 0..200_usize,
    ) {
        let feed = feed(ClientMessages::Forward, Some(Conflict::Replaces));
        let mut world = World::new(session::Settings::default(), feed, is_first.then_some(AUTH));
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        for piece in [head, tail] {
            world.receive(piece);
            world.listen();
        }
        let mut closes = 0;
        let mut scanner = Scanner::new(Rules::unlimited(Role::Server, Rsv::NONE));
        let scan = scanner.scan(&world.out);
        closes += usize::from(matches!(scan.end, End::Close { .. }));
        prop_assert_eq!(scan.forward, world.out.len(), "nothing goes behind a Close");
        prop_assert_eq!(closes, usize::from(world.subscriber.is_over()));
    }
}
