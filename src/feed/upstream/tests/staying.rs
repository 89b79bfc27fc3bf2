//! Staying connected: backoff, spares, stalls, quiet hours, what a source says of itself.

use super::*;

#[test]
fn attempts_wait_longer_and_longer_and_the_sources_take_turns() {
    let mut world = World::new(Settings::default(), 2);
    let mut seen = Vec::new();
    for _ in 0..16 {
        let (line, source) = world.dialled();
        seen.push(((world.now - world.start).as_millis(), source));
        world.fail(line);
    }
    let ends = [0, 500, 1000, 2000, 3000, 5000, 7000, 11_000, 15_000, 23_000, 31_000, 47_000, 63_000];
    let expected: Vec<_> = ends.into_iter().zip([0, 1].into_iter().cycle()).collect();
    assert_eq!(seen[..13], expected);
    assert_eq!(seen[15].0 - seen[14].0, 30_000, "the longest wait");
    assert_eq!(failures(&world), [("refused", 16)]);
    assert_eq!(
        *world.counters(),
        SourceCounters { failures: world.counters().failures.clone(), ..Default::default() }
    );
}

#[test]
fn nothing_is_dialled_twice_at_once() {
    let mut world = World::new(Settings::default(), 1);
    let (line, _) = world.dialled();
    world.wait(SECOND * 3600);
    assert_eq!(world.commands(), []);
    world.upstream.handle_opened(line, world.now);
    world.wait(SECOND * 3600);
    assert_eq!((world.commands(), world.upstream.deadline()), (vec![], None));
}

#[test]
fn a_source_that_hangs_up_on_everyone_is_dialled_ever_less_often() {
    let mut world = World::new(Settings::default(), 1);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let before = world.now;
        let line = world.open();
        waits.push((world.now - before).as_secs_f64());
        world.say(line, "welcome");
        world.upstream.handle_failed(line, "closed", world.now);
    }
    assert_eq!(waits, [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
}

#[test]
fn a_line_that_proved_itself_is_dialled_anew_at_once_and_first_the_preferred() {
    let mut world = World::new(Settings::default(), 3);
    for expected in [0, 1] {
        let (line, source) = world.dialled();
        assert_eq!(source, expected);
        world.fail(line);
    }
    let line = world.open();
    assert_eq!((world.counters().current, &world.counters().state), (2, &SourceState::Up));
    world.say(line, "a");
    world.wait(SECOND * 30);
    world.upstream.handle_failed(line, "closed", world.now);
    assert_eq!(world.counters().state, SourceState::Connecting);
    let before = world.now;
    let (_, source) = world.dialled();
    assert_eq!((source, world.now - before), (0, Duration::from_millis(500)));
}

#[test]
fn what_comes_late_of_a_line_that_is_gone_is_nothing() {
    let mut world = World::new(Settings::default(), 1);
    let old = world.open();
    world.upstream.handle_failed(old, "closed", world.now);
    world.upstream.handle_failed(old, "closed", world.now);
    world.say(old, "late");
    let line = world.open();
    world.say(old, "late");
    world.say(line, "a");
    assert_eq!(world.heard, ["a"]);
    assert_eq!(failures(&world), [("closed", 1)]);
    // A connection that nobody waits for is closed.
    world.upstream.handle_opened(old, world.now);
    assert_eq!(world.commands(), [Command::HangUp { line: old }]);
}

#[test]
fn a_gap_is_told_before_the_first_message_behind_it_and_once() {
    let settings = Settings { gap_message: Some("gap".to_owned()), ..Settings::default() };
    let mut world = World::new(settings, 1);
    let mut line = world.open();
    world.say(line, "a");
    for _ in 0..3 {
        world.upstream.handle_failed(line, "closed", world.now);
        line = world.open();
    }
    assert_eq!(world.counters().gaps, 0, "nobody knows yet when it ends");
    for text in ["b", "c"] {
        world.say(line, text);
    }
    assert_eq!(world.heard, ["a", "gap", "b", "c"]);
    assert_eq!((world.counters().gaps, world.counters().connects), (1, 4));
    assert_eq!(world.counters().messages.messages, 4);
}

#[test]
fn what_is_no_data_is_dropped_and_what_has_a_key_gets_it() {
    let settings = Settings {
        skip: vec![Pattern::new("Connected*")],
        key: Some(Pointer::new("/symbol").unwrap()),
        ..Settings::default()
    };
    let mut world = World::new(settings, 1);
    let line = world.open();
    world.say(line, "Connected to the feed");
    let binary = Said { kind: Kind::Binary, payload: b"Connected".to_vec() };
    world.upstream.handle_said(line, binary, world.now);
    let tick = Said { kind: Kind::Text, payload: br#"{"symbol":"EURUSD"}"#.to_vec() };
    world.upstream.handle_said(line, tick, world.now);
    let batch = world.upstream.poll_batch().unwrap();
    let keys: Vec<_> = batch.messages.iter().map(|message| message.key.clone()).collect();
    assert_eq!(keys, [None, Some("EURUSD".into())]);
    assert_eq!(batch.messages[0].image[0], 0x82);
    assert_eq!(world.counters().skipped, 1);
    assert_eq!(world.counters().last_message_at, Some(world.now));
}

#[test]
fn fatal_words_stop_it_for_good() {
    let settings = Settings { fatal: vec![Pattern::new("*too many*")], ..Settings::default() };
    let mut world = World::new(settings, 2);
    let line = world.open();
    let words = format!("too many {}", "é".repeat(200));
    world.say(line, &words);
    assert_eq!(world.commands(), [Command::HangUp { line }]);
    let SourceState::Stopped { words: kept } = &world.counters().state else { panic!("it goes on") };
    assert!(words.starts_with(kept.as_str()) && kept.len() == 255, "{kept}");
    world.upstream.handle_failed(line, "closed", world.now);
    world.wait(SECOND * 1_000_000);
    assert_eq!((world.commands(), world.upstream.deadline()), (vec![], None));
    assert_eq!((world.heard.len(), failures(&world)), (0, vec![("fatal", 1)]));
}

fn stalling(quiet: &[&str]) -> Settings {
    let quiet = quiet.iter().map(|text| Quiet::parse(text).unwrap()).collect();
    Settings { stall: Stall { after: Some(SECOND * 30), quiet, ..Stall::default() }, ..Settings::default() }
}

#[test]
fn a_line_that_says_nothing_is_replaced_by_one_to_the_next_source() {
    let mut world = World::new(stalling(&[]), 2);
    let line = world.open();
    world.wait(SECOND * 20);
    world.say(line, "a");
    assert_eq!(world.next(), (50_000, vec![Command::HangUp { line }]));
    // Not even one that works for a while and then falls silent each time is dialled for ever.
    assert_eq!(world.dialled().1, 1);
    assert_eq!(failures(&world), [("stalled", 1)]);
}

#[test]
fn heartbeats_that_are_no_data_are_life() {
    let mut world = World::new(Settings { skip: vec![Pattern::new("beat")], ..stalling(&[]) }, 1);
    let line = world.open();
    for _ in 0..10 {
        world.wait(SECOND * 20);
        world.say(line, "beat");
    }
    assert_eq!(world.next(), (230_000, vec![Command::HangUp { line }]));
}

#[test]
fn silence_in_quiet_hours_is_none_and_begins_anew_with_their_end() {
    // From second 60 to second 3600.
    let quiet = ["Fri 00:01-Fri 00:40 UTC", "Fri 00:30-Fri 01:00 UTC"];
    let mut world = World::new(stalling(&quiet), 1);
    let line = world.open();
    for _ in 0..2 {
        world.wait(SECOND * 25);
        world.say(line, "a");
    }
    assert_eq!(world.next(), (3_630_000, vec![Command::HangUp { line }]));
}

#[test]
fn a_quiet_part_that_begins_and_ends_within_a_silence_breaks_it() {
    let mut world = World::new(
        Settings {
            stall: Stall { after: Some(SECOND * 300), ..stalling(&["Fri 00:02-Fri 00:03 UTC"]).stall },
            ..Settings::default()
        },
        1,
    );
    let line = world.open();
    assert_eq!(world.next(), (180_000 + 300_000, vec![Command::HangUp { line }]));
}

#[test]
fn other_settings_are_dialled_anew_and_the_messages_numbered_on() {
    let settings = Settings { gap_message: Some("gap".to_owned()), ..Settings::default() };
    let mut world = World::new(Settings { fatal: vec![Pattern::new("stop")], ..settings.clone() }, 2);
    let line = world.open();
    world.say(line, "a");
    world.say(line, "stop");
    // The command that is due is not forgotten.
    world.upstream.adopt(Arc::new(settings.clone()), 1, world.now);
    let [Command::HangUp { line: hung_up }, Command::Dial { line, source: 0 }] = world.commands()[..] else {
        panic!("not dialled anew")
    };
    assert_eq!((hung_up, &world.counters().state), (LineId(0), &SourceState::Connecting));
    world.upstream.handle_opened(line, world.now);
    world.say(line, "stop");
    world.upstream.adopt(Arc::new(settings), 1, world.now);
    assert_eq!(world.commands(), [Command::HangUp { line }, Command::Dial { line: LineId(2), source: 0 }]);
    world.upstream.handle_opened(LineId(2), world.now);
    world.say(line, "late");
    world.say(LineId(2), "b");
    assert_eq!(world.heard, ["a", "gap", "stop", "gap", "b"]);
}
