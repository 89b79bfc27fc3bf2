//! Rotation: a second line before the first one goes, and each message once.

use super::*;

const EVERY: Duration = Duration::from_secs(1000);
const OVERLAP: Duration = Duration::from_secs(5);

fn rotating() -> Settings {
    Settings {
        rotate: Some(Rotate { every: EVERY, overlap: OVERLAP }),
        key: Some(crate::json::Pointer::new("/k").unwrap()),
        fatal: vec![Pattern::new("*too many*")],
        gap_message: Some("gap".to_owned()),
        ..Settings::default()
    }
}

/// An upstream whose second line has just opened: both lines.
fn overlapping(settings: Settings) -> (World, LineId, LineId) {
    let mut world = World::new(settings, 2);
    let old = world.open();
    world.say(old, "begin");
    let new = world.open();
    assert_eq!(world.now - world.start, EVERY);
    (world, old, new)
}

#[test]
fn the_old_line_is_hung_up_once_both_were_read_for_the_overlap() {
    let (mut world, old, new) = overlapping(rotating());
    assert_eq!(world.counters().rotations, 0);
    world.say(old, "a");
    world.say(new, "a");
    let (at, commands) = world.next();
    assert_eq!((at, commands), (1_005_000, vec![Command::HangUp { line: old }]));
    world.say(old, "unheard");
    world.say(new, "b");
    assert_eq!(world.heard, ["begin", "a", "b"]);
    let counters = world.counters();
    assert_eq!((counters.rotations, counters.duplicates, counters.gaps, counters.connects), (1, 1, 0, 2));
    assert_eq!(failures(&world), []);
    // And again, from the 101 of the new line on.
    world.open();
    assert_eq!(world.now - world.start, EVERY * 2);
}

#[test]
fn a_new_line_that_is_ahead_waits_for_the_old_one() {
    let (mut world, old, new) = overlapping(rotating());
    for text in ["b", "c", "d", "e"] {
        world.say(new, text);
    }
    assert_eq!(world.heard, ["begin"]);
    // What was said before the new line opened comes first; what the old line misses is not lost.
    for text in ["a", "b", "d"] {
        world.say(old, text);
    }
    assert_eq!(world.heard, ["begin", "a", "b", "c", "d"]);
    world.say(old, "c");
    assert_eq!(world.heard.len(), 5, "it was only late");
    world.next();
    assert_eq!(world.heard, ["begin", "a", "b", "c", "d", "e"]);
}

#[test]
fn a_new_line_that_lags_repeats_nothing_even_after_the_old_one_is_gone() {
    let (mut world, old, new) = overlapping(rotating());
    world.wait(OVERLAP - SECOND);
    for text in ["a", "a", "b", "c"] {
        world.say(old, text);
    }
    world.say(new, "a");
    world.next();
    world.now += SECOND;
    for text in ["a", "a", "b", "c", "d"] {
        world.say(new, text);
    }
    assert_eq!(world.heard, ["begin", "a", "a", "b", "c", "a", "d"], "the third of a kind is a message");
    // After one overlap more, what is equal is a message again.
    world.wait(OVERLAP);
    world.say(new, "d");
    world.say(new, "c");
    assert_eq!(world.heard[7..], ["d", "c"]);
}

#[test]
fn what_the_old_line_said_shortly_before_is_not_published_again() {
    let mut world = World::new(rotating(), 1);
    let old = world.open();
    world.wait(EVERY - SECOND);
    for text in ["a", "b"] {
        world.say(old, text);
    }
    let new = world.open();
    for text in ["a", "b", "a"] {
        world.say(new, text);
    }
    world.next();
    assert_eq!(world.heard, ["a", "b", "a"], "said once by the one, and twice by the other");
}

#[test]
fn last_values_that_a_vendor_repeats_on_connect_are_not_published_again() {
    let mut world = World::new(rotating(), 1);
    let old = world.open();
    let (x1, x2, y1) = (r#"{"k":"x","v":1}"#, r#"{"k":"x","v":2}"#, r#"{"k":"y","v":1}"#);
    for text in [x1, y1] {
        world.say(old, text);
    }
    let new = world.open();
    for text in [x1, y1, x2, x1, y1] {
        world.say(new, text);
    }
    world.next();
    assert_eq!(world.heard, [x1, y1, x2, x1, y1], "only the first of each key");
    assert_eq!(world.counters().duplicates, 2);
}

#[test]
fn a_second_line_that_is_refused_costs_nothing_and_is_tried_less_and_less() {
    let mut world = World::new(rotating(), 2);
    let old = world.open();
    let mut seen = Vec::new();
    for _ in 0..13 {
        let (line, source) = world.dialled();
        seen.push(((world.now - world.start).as_secs(), source));
        world.fail(line);
        world.say(old, "a");
    }
    assert_eq!(seen[..4], [(1000, 0), (1005, 1), (1010, 0), (1015, 1)], "one overlap apart at least");
    assert_eq!(seen[12].0 - seen[11].0, 16);
    for _ in 0..20 {
        let (line, _) = world.dialled();
        seen.push(((world.now - world.start).as_secs(), 0));
        world.fail(line);
    }
    assert_eq!(seen[32].0 - seen[31].0, EVERY.as_secs());
    assert_eq!((world.heard.len(), world.counters().gaps, world.counters().rotations), (13, 0, 0));
    assert_eq!((&world.counters().state, world.counters().current), (&SourceState::Up, 0));
}

#[test]
fn too_many_on_the_second_line_ends_that_one_alone() {
    let (mut world, old, new) = overlapping(rotating());
    world.say(new, "too many");
    assert_eq!(world.commands(), [Command::HangUp { line: new }]);
    world.say(old, "a");
    assert_eq!(
        (world.heard.clone(), world.counters().state.clone()),
        (vec!["begin".into(), "a".into()], SourceState::Up)
    );
    assert_eq!(failures(&world), [("fatal", 1)]);
    // It is tried again, and stops the feed once it is said to the only line.
    let (new, _) = world.dialled();
    world.fail(new);
    world.say(old, "too many");
    assert!(matches!(world.counters().state, SourceState::Stopped { .. }));
}

#[test]
fn too_many_on_the_old_line_leaves_the_new_one() {
    let (mut world, old, new) = overlapping(rotating());
    world.say(old, "too many");
    assert_eq!(world.commands(), [Command::HangUp { line: old }]);
    world.say(new, "a");
    assert_eq!(world.heard, ["begin", "gap", "a"], "nobody knows what was missed");
    // While the new one is still dialled, it gets its chance as well.
    let mut world = World::new(rotating(), 1);
    let old = world.open();
    let (new, _) = world.dialled();
    world.say(old, "too many");
    assert_eq!(world.commands(), [Command::HangUp { line: old }]);
    assert_eq!(world.counters().state, SourceState::Connecting);
    world.upstream.handle_opened(new, world.now);
    world.say(new, "too many");
    assert!(matches!(world.counters().state, SourceState::Stopped { .. }));
}

#[test]
fn a_vendor_that_cuts_the_old_line_for_the_new_one_gets_its_way() {
    for (early, gaps) in [(&["a", "b"][..], 0), (&[], 1)] {
        let (mut world, old, new) = overlapping(rotating());
        for text in early {
            world.say(new, text);
        }
        world.upstream.handle_failed(old, "closed", world.now);
        assert_eq!(world.commands(), []);
        world.say(new, "c");
        assert_eq!(world.heard.len(), 2 + early.len() + gaps);
        assert_eq!(world.counters().gaps, u64::try_from(gaps).unwrap());
        assert_eq!((&world.counters().state, world.counters().current), (&SourceState::Up, 0));
        world.open();
        assert_eq!(world.now - world.start, EVERY * 2);
    }
}

#[test]
fn a_second_line_that_says_nothing_while_the_first_does_is_given_up() {
    let (mut world, old, new) = overlapping(rotating());
    world.now += SECOND;
    world.say(old, "a");
    assert_eq!(world.next(), (1_005_000, vec![Command::HangUp { line: new }]));
    world.say(old, "b");
    assert_eq!(world.heard, ["begin", "a", "b"]);
    assert_eq!(failures(&world), [("silent", 1)]);
}

#[test]
fn what_only_a_second_line_said_that_was_lost_is_said_by_the_first() {
    let (mut world, old, new) = overlapping(rotating());
    for text in ["a", "b"] {
        world.say(new, text);
    }
    world.upstream.handle_failed(new, "closed", world.now);
    for text in ["a", "b", "c"] {
        world.say(old, text);
    }
    assert_eq!(world.heard, ["begin", "a", "b", "c"]);
}

#[test]
fn what_was_published_on_the_word_of_a_second_line_that_was_lost_is_not_published_again() {
    let (mut world, old, new) = overlapping(rotating());
    for text in ["a", "b"] {
        world.say(new, text);
    }
    world.say(old, "b");
    world.upstream.handle_failed(new, "closed", world.now);
    for text in ["a", "c"] {
        world.say(old, text);
    }
    assert_eq!(world.heard, ["begin", "a", "b", "c"]);
}

#[test]
fn the_first_line_lost_while_the_second_is_dialled_is_a_gap() {
    let mut world = World::new(rotating(), 1);
    let old = world.open();
    world.say(old, "a");
    let (new, _) = world.dialled();
    world.upstream.handle_failed(old, "closed", world.now);
    assert_eq!((world.commands(), &world.counters().state), (vec![], &SourceState::Connecting));
    world.upstream.handle_opened(new, world.now);
    world.say(new, "a");
    assert_eq!(world.heard, ["a", "gap", "a"]);
}

#[test]
fn a_rotation_leaves_a_spare_for_the_preferred_source() {
    let mut world = World::new(rotating(), 2);
    let (line, _) = world.dialled();
    world.fail(line);
    world.open();
    assert_eq!(world.counters().current, 1);
    world.open();
    world.next();
    assert_eq!(world.counters().current, 0);
}

#[test]
fn a_flood_on_the_second_line_is_bounded() {
    let (mut world, _, new) = overlapping(rotating());
    let filler = "x".repeat(1 << 20);
    for number in 0..40 {
        world.say(new, &format!("{number}{filler}"));
    }
    assert!((20..40).contains(&world.heard.len()), "{}", world.heard.len());
    world.next();
    let numbers = world.heard[1..].iter().map(|text| text.replace('x', "").parse::<u32>().unwrap());
    assert!(numbers.eq(0..40));
}
