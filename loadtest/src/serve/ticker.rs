//! The source of a feed: a ticker.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::audience::{Audience, NAMES_END};
use super::end_signals;
use crate::cli::ServeTickerArgs;
use crate::clock::{self, Monotonic};
use crate::net::{Events, Token};
use crate::wire::{Pattern, Tick};

/// The name of what tells of signals in the epoll set.
const SIGNALS: Token = NAMES_END;

/// Runs `selat-load serve ticker`, until it is told to end.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn ticker(args: &ServeTickerArgs) -> anyhow::Result<()> {
    let interval = Duration::try_from_secs_f64(f64::from(args.burst) / args.rate)
        .context("--rate is too low for that --burst: the next would never come")?;
    let signals = end_signals().context("cannot listen to signals")?;
    let mut ticker = Ticker {
        size: args.size,
        keys: args.keys,
        pattern: Pattern::text(),
        clock: Monotonic::read()?,
        made: 0,
    };
    let mut audience = Audience::new(&args.at)?;
    audience.watch(&signals, SIGNALS)?;

    let (mut events, mut due) = (Events::new(), None);
    loop {
        let timeout = due.map(|due: Instant| due.saturating_duration_since(clock::now()));
        audience.wait(&mut events, timeout)?;
        for (name, ready) in events.iter() {
            if name == SIGNALS {
                println!("connections {}\nticks {}", audience.joined(), ticker.made);
                return Ok(());
            }
            audience.handle(name, ready);
        }
        let now = clock::now();
        due = if audience.is_empty() { None } else { due.or(Some(now)) };
        if let Some(at) = due.filter(|at| *at <= now) {
            for _ in 0..args.burst {
                audience.send(&ticker.tick());
            }
            due = Some(at + interval);
        }
    }
}

/// Makes ticks.
struct Ticker {
    size: usize,
    keys: u32,
    pattern: Pattern,
    clock: Monotonic,
    made: u64,
}

impl Ticker {
    /// The next one, as a frame that leaves now.
    fn tick(&mut self) -> Vec<u8> {
        let key = u32::try_from(self.made % u64::from(self.keys)).expect("no more than there are keys");
        let tick = Tick { key, number: self.made, nanos: self.clock.nanos(clock::now()) };
        self.made += 1;
        tick.frame(self.size, &self.pattern)
    }
}
