//! Days of a vendor that cuts every connection after 24 hours, in a second: lines that lag, miss messages, are refused
//! and lost, and what is published of it.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const OVERLAP: Duration = Duration::from_secs(5);
const KEYS: u64 = 5;

/// How the vendor and the network are on these days.
#[derive(Debug, Clone, Copy)]
struct Weather {
    seed: u64,
    /// A line lags up to so much behind the vendor; less than one overlap.
    lag_ms: u64,
    /// Of a hundred messages that two lines are to bring, so many are missed by one of them.
    missed: (Side, u64),
    /// Of a hundred connections, so many are refused.
    refused: u64,
    /// Of a hundred minutes, so many cost a line.
    cut: u64,
    /// Whether who connects gets the last message of each key.
    has_snapshot: bool,
    /// Whether a second connection costs the first.
    forbids_two: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// One connection, as the vendor has it.
struct Connection {
    line: LineId,
    opened_at: Instant,
    cut_at: Instant,
    /// On the way: when it arrives, and which message. In order.
    flying: VecDeque<(Instant, u64)>,
}

/// A vendor, its connections and an upstream.
struct Vendor {
    world: World,
    weather: Weather,
    dice: u64,
    /// Messages so far.
    said: u64,
    dials: Vec<(Instant, LineId)>,
    /// The older first.
    connections: Vec<Connection>,
}

fn content(number: u64) -> String {
    format!(r#"{{"k":"{}","n":{number}}}"#, number % KEYS)
}

fn count<T>(items: &[T]) -> u64 {
    items.len().try_into().unwrap()
}

impl Vendor {
    fn new(weather: Weather) -> Self {
        let settings = Settings {
            rotate: Some(Rotate { every: HOUR * 23, overlap: OVERLAP }),
            key: Some(Pointer::new("/k").unwrap()),
            gap_message: Some("gap".to_owned()),
            ..Settings::default()
        };
        let world = World::new(settings, 2);
        let connections = Vec::new();
        Self { world, weather, dice: weather.seed, said: 0, dials: Vec::new(), connections }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), below `bound`.
    fn roll(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn run(&mut self, until: Duration) {
        let end = self.world.start + until;
        let mut say_at = self.world.start;
        let mut minute_at = self.world.start;
        let mut busy_until = self.world.start;
        while self.world.now < end {
            if self.obey() {
                say_at = self.world.now;
            }
            let next = [Some(say_at), Some(minute_at), self.world.upstream.deadline(), self.next_event()];
            self.world.now = next.into_iter().flatten().min().unwrap().max(self.world.now);
            let now = self.world.now;
            self.open(now);
            self.deliver(now);
            self.cut(now);
            if minute_at <= now {
                minute_at += Duration::from_secs(60);
                if self.roll(100) < self.weather.cut && !self.connections.is_empty() {
                    let index = usize::from(self.connections.len() > 1 && self.roll(2) == 1);
                    self.connections[index].cut_at = now;
                    self.cut(now);
                }
            }
            if say_at <= now {
                self.say(now);
                // Seldom, but for the times in which something happens.
                if !self.dials.is_empty() || self.connections.len() != 1 {
                    busy_until = now + OVERLAP * 3;
                }
                say_at =
                    now + Duration::from_millis(1 + self.roll(if now < busy_until { 400 } else { 60_000 }));
            }
        }
    }

    /// Whether there was anything to do.
    fn obey(&mut self) -> bool {
        let commands = self.world.commands();
        let is_asked = !commands.is_empty();
        for command in commands {
            match command {
                Command::Dial { line, .. } => {
                    let at = self.world.now + Duration::from_millis(self.roll(2000));
                    self.dials.push((at, line));
                }
                Command::HangUp { line } => self.connections.retain(|connection| connection.line != line),
            }
        }
        is_asked
    }

    fn next_event(&self) -> Option<Instant> {
        let dials = self.dials.iter().map(|(at, _)| *at);
        let cuts = self.connections.iter().map(|connection| connection.cut_at);
        let arrivals = self.connections.iter().filter_map(|connection| Some(connection.flying.front()?.0));
        dials.chain(cuts).chain(arrivals).min()
    }

    fn open(&mut self, now: Instant) {
        let due: Vec<_> = self.dials.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, line) in due {
            if self.roll(100) < self.weather.refused {
                self.world.fail(line);
                continue;
            }
            self.world.upstream.handle_opened(line, now);
            let snapshot =
                self.said.saturating_sub(KEYS)..if self.weather.has_snapshot { self.said } else { 0 };
            let flying = snapshot.map(|number| (now, number)).collect();
            if self.weather.forbids_two
                && let Some(old) = self.connections.last_mut()
            {
                // It hears once more that the new one is there.
                old.cut_at = now + Duration::from_millis(10);
            }
            self.connections.push(Connection { line, opened_at: now, cut_at: now + HOUR * 24, flying });
        }
    }

    fn say(&mut self, now: Instant) {
        let number = self.said;
        self.said += 1;
        let (side, share) = self.weather.missed;
        // What the new line misses, the old one has time to bring.
        let late = now + Duration::from_millis(self.weather.lag_ms);
        let is_missed = self.connections.get(1).is_some_and(|new| late < new.opened_at + OVERLAP);
        let is_missed = is_missed && self.roll(100) < share;
        for index in 0..self.connections.len() {
            let lag = Duration::from_millis(self.roll(self.weather.lag_ms + 1));
            let flying = &mut self.connections[index].flying;
            let at = flying.back().map_or(now, |(at, _)| *at).max(now + lag);
            if !(is_missed && index == usize::from(side == Side::New)) {
                flying.push_back((at, number));
            }
        }
    }

    fn deliver(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let line = connection.line;
            while let Some((_, number)) = connection.flying.pop_front_if(|(at, _)| *at <= now) {
                self.world.say(line, &content(number));
            }
        }
    }

    fn cut(&mut self, now: Instant) {
        for connection in self.connections.extract_if(.., |connection| connection.cut_at <= now) {
            self.world.upstream.handle_failed(connection.line, "closed", now);
        }
    }

    /// The numbers of the messages between one gap and the next.
    fn runs(&self) -> Vec<Vec<u64>> {
        let runs = self.world.heard.split(|text| text == "gap");
        let number =
            |text: &String| text.split("\"n\":").nth(1).unwrap().trim_end_matches('}').parse().unwrap();
        runs.map(|run| run.iter().map(number).collect()).collect()
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    (any::<u64>(), 0..4900_u64, 0..60_u64, any::<bool>()).prop_map(|(seed, lag_ms, refused, has_snapshot)| {
        Weather { seed, lag_ms, missed: (Side::New, 0), refused, cut: 0, has_snapshot, forbids_two: false }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The vendor's 24 hours are never over, and nobody notices.
    #[test]
    fn every_message_comes_once_and_in_order(weather in weather(), missed in 0..30_u64) {
        let mut vendor = Vendor::new(Weather { missed: (Side::New, missed), ..weather });
        vendor.run(HOUR * 24 * 3);
        let runs = vendor.runs();
        let first = runs[0][0];
        prop_assert_eq!(runs.len(), 1, "a gap");
        prop_assert!(vendor.said > 5_000);
        prop_assert!(runs[0].iter().copied().eq(first..first + count(&runs[0])));
        prop_assert!(count(&runs[0]) > vendor.said - first - 10, "the end is missing");
        prop_assert_eq!(vendor.world.counters().rotations, 3);
    }

    /// The order is then the best that can be had: what the new line brings late is published late.
    #[test]
    fn what_the_old_line_misses_and_the_new_one_brings_comes_once(weather in weather(), missed in 0..30_u64) {
        let mut vendor = Vendor::new(Weather { missed: (Side::Old, missed), ..weather });
        vendor.run(HOUR * 24);
        let mut numbers = vendor.runs().concat();
        numbers.sort_unstable();
        let first = numbers[0];
        prop_assert!(numbers.iter().copied().eq(first..first + count(&numbers)));
    }

    /// What is missed lies between a message and a gap that was told.
    #[test]
    fn nothing_is_missed_without_a_gap(weather in weather(), cut in 0..20_u64, forbids_two in any::<bool>()) {
        let mut vendor = Vendor::new(Weather { cut, forbids_two, has_snapshot: false, ..weather });
        vendor.run(HOUR * 50);
        let runs = vendor.runs();
        prop_assert_eq!(vendor.world.counters().gaps, count(&runs) - 1);
        let mut end = 0;
        for run in runs {
            let first = run[0];
            prop_assert!(first >= end, "{first} again, after {end}");
            end = first + count(&run);
            prop_assert!(run.into_iter().eq(first..end), "a hole in the run from {first}");
        }
    }

    /// Last values that come with a connection stand for nothing new where no message was missed.
    #[test]
    fn last_values_are_repeated_behind_gaps_alone(weather in weather(), cut in 0..20_u64) {
        let mut vendor = Vendor::new(Weather { cut, has_snapshot: true, ..weather });
        vendor.run(HOUR * 50);
        for run in vendor.runs() {
            prop_assert!(run.is_sorted_by(|a, b| a < b), "{run:?}");
        }
    }
}
