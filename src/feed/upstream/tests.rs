//! How an upstream behaves, in virtual time.

mod days;
mod rotation;
mod staying;

use super::*;
use crate::feed::{Pattern, Quiet, Stall};
use crate::json::Pointer;

/// 2024-01-05, a Friday, at 00:00 UTC.
const FRIDAY: Duration = Duration::from_secs(1_704_412_800);

const SECOND: Duration = Duration::from_secs(1);

/// An upstream and the time.
struct World {
    upstream: Upstream,
    start: Instant,
    now: Instant,
    /// All that was published.
    heard: Vec<String>,
}

impl World {
    fn new(settings: Settings, sources: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        let upstream = Upstream::new(Arc::new(settings), sources, start);
        Self { upstream, start, now: start, heard: Vec::new() }
    }

    /// What is to be done now; waits are as long as chance can make them.
    fn commands(&mut self) -> Vec<Command> {
        let clock = Clock { now: self.now, unix_now: FRIDAY + (self.now - self.start) };
        let commands = std::iter::from_fn(|| self.upstream.poll(clock, 1000)).collect();
        self.listen();
        commands
    }

    fn listen(&mut self) {
        let next = self.upstream.next();
        let Some(batch) = self.upstream.poll_batch() else { return };
        assert_eq!(batch.first, Seq(self.heard.len().try_into().unwrap()));
        self.heard.extend(batch.messages.iter().map(|message| {
            assert_eq!(message.received_at.max(self.now), self.now);
            String::from_utf8(message.payload().to_vec()).unwrap()
        }));
        assert_eq!(next, Seq(self.heard.len().try_into().unwrap()));
    }

    /// Lets time pass until something is to be done; says when, in milliseconds since the start.
    fn next(&mut self) -> (u128, Vec<Command>) {
        loop {
            let commands = self.commands();
            if !commands.is_empty() {
                return ((self.now - self.start).as_millis(), commands);
            }
            let deadline = self.upstream.deadline().expect("something is to come");
            assert!(deadline > self.now, "the deadline has passed, and nothing was done");
            self.now = deadline;
        }
    }

    /// Lets time pass, in which nothing must be done.
    fn wait(&mut self, wait: Duration) {
        let until = self.now + wait;
        while let Some(deadline) = self.upstream.deadline().filter(|deadline| *deadline < until) {
            self.now = deadline;
            assert_eq!(self.commands(), []);
            assert!(self.upstream.deadline() > Some(self.now), "nothing was done and nothing put off");
        }
        self.now = until;
    }

    /// The next command, which must be a dial.
    fn dialled(&mut self) -> (LineId, usize) {
        match self.next().1[..] {
            [Command::Dial { line, source }] => (line, source),
            ref other => panic!("no dial but {other:?}"),
        }
    }

    /// A line that has opened.
    fn open(&mut self) -> LineId {
        let (line, _) = self.dialled();
        self.upstream.handle_opened(line, self.now);
        line
    }

    fn say(&mut self, line: LineId, text: &str) {
        let said = Said { kind: Kind::Text, payload: text.into() };
        self.upstream.handle_said(line, said, self.now);
        self.listen();
    }

    fn fail(&mut self, line: LineId) {
        self.upstream.handle_failed(line, "refused", self.now);
    }

    fn counters(&self) -> &SourceCounters {
        self.upstream.counters()
    }
}

fn failures(world: &World) -> Vec<(&'static str, u64)> {
    let mut failures: Vec<_> = world.counters().failures.iter().map(|(why, count)| (*why, *count)).collect();
    failures.sort_unstable();
    failures
}
