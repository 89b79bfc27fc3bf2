//! The client, the backends, the session between them, and the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use selat::balance::BackendId;
use selat::dispatch::{Command, Gather, LineId, Port, Send, Unanswered};
use selat::session::{Ending, Side, Why};

use super::backend::Backend;
use super::client::Client;
use super::plan::Plan;
use super::seeds::Simulation;
use super::shell::{End, Shell};

const STEP: Duration = Duration::from_millis(5);

/// Bytes that may be held at any time: what is kept of early replies and such that may be sent anew, drafts, and what
/// was written in one go.
const HELD_BYTES_MAX: usize = 4 << 20;

/// A connection that is being opened.
struct Dial {
    line: LineId,
    backend: BackendId,
    at: Instant,
}

pub(crate) struct World {
    rng: Rng,
    plan: Plan,
    shell: Shell,
    client: Client,
    lines: BTreeMap<LineId, Backend>,
    dials: Vec<Dial>,
    /// Until when a backend takes no connections.
    down_until: BTreeMap<usize, Instant>,
    start: Instant,
    trace: Vec<String>,
}

impl Simulation for World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let start = Instant::now();
        let mut shell = Shell::new(&plan, start);
        shell.ends.0.insert(Port::Client, End::default());
        shell.ends.0.insert(Port::Line(LineId(0)), End::default());
        Self {
            trace: vec![format!("{plan:#?}")],
            shell,
            client: Client::new(),
            lines: BTreeMap::from([(LineId(0), Backend::new(0, start))]),
            dials: Vec::new(),
            down_until: BTreeMap::new(),
            start,
            rng,
            plan,
        }
    }

    fn run(&mut self) {
        self.shell.with(|dispatcher, ends, context| {
            dispatcher.handle_bytes(Port::Client, &[], ends, context);
        });
        let timeout = self.plan.exchange().map_or(Duration::ZERO, |exchange| exchange.timeout);
        let mut quiet_since = None;
        while self.client.closed.is_none() && !self.is_over() {
            self.trouble();
            self.pass();
            let asked = self.client.asked;
            if asked < self.plan.messages {
                if self.rng.bool() {
                    (0..self.rng.u32(1..4)).for_each(|_| self.client.ask(&mut self.rng));
                }
                continue;
            }
            // Everybody has read what there was, and what is not answered by now is not answered any more.
            if !self.client.sent.is_empty() || self.shell.board.counters.outstanding_now > 0 {
                quiet_since = None;
            }
            let since = *quiet_since.get_or_insert(self.shell.now);
            let patience = timeout * 4 + Duration::from_secs(5);
            let is_asked = self.client.sent.is_empty();
            assert!(self.elapsed() < Duration::from_secs(900), "what was asked is never done with");
            if is_asked && self.shell.now > since + patience {
                self.note("the client closes".to_owned());
                self.client.close();
                break;
            }
        }
        self.see_the_end();
        self.judge();
    }

    fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl World {
    /// Whoever has closed comes to an end in time.
    fn see_the_end(&mut self) {
        self.client.stalled_until = None;
        let until = self.shell.now + self.plan.session.close * 2 + Duration::from_secs(1) + self.plan.delay;
        while !self.is_over() {
            assert!(self.shell.now < until, "it does not end: {:#?}", self.shell.dispatcher);
            self.pass();
        }
    }

    fn is_over(&self) -> bool {
        self.shell.is_over
    }

    fn judge(&mut self) {
        let counters = self.shell.board.counters.clone();
        self.note(format!("{counters:?}"));
        assert_eq!((counters.outstanding_now, counters.reorder_now, counters.reorder_bytes_now), (0, 0, 0));
        let cause = self.shell.dispatcher.cause().unwrap();
        self.note(format!(
            "{cause:?}, asked {}, answered {}, reported {}",
            self.client.asked,
            self.client.answered.len(),
            self.client.reported
        ));
        let Some(exchange) = self.plan.exchange() else { return };
        if cause.side != Side::Client {
            let is_wanted = exchange.unanswered == Unanswered::Close
                || self.plan.trouble > 0
                || cause.why == Why::PingTimeout;
            assert!(is_wanted, "the session ended by itself: {cause:?}");
            return;
        }
        let answered = self.client.answered.values().filter(|times| **times > 0).count();
        let missing = counters.timeouts + counters.lost;
        let asked = usize::try_from(self.client.asked).unwrap();
        match &self.plan.settings.send {
            Send::One(_) | Send::All(Gather::First) => {
                assert_eq!(
                    answered + usize::try_from(missing).unwrap(),
                    asked,
                    "some are neither answered nor missing"
                );
                let reports = matches!(exchange.unanswered, Unanswered::Reply(_));
                assert_eq!(u64::from(self.client.reported), if reports { missing } else { 0 });
            }
            Send::All(Gather::Array { .. }) => {
                assert_eq!(counters.partial, u64::from(self.client.partial));
                let empty = asked - answered;
                assert!(empty <= usize::try_from(counters.partial + missing).unwrap());
            }
            Send::All(Gather::All { .. }) => {
                assert!(answered + usize::try_from(missing).unwrap() >= asked);
            }
        }
    }

    /// Something goes wrong, perhaps.
    fn trouble(&mut self) {
        let now = self.shell.now;
        if self.plan.is_slow && self.rng.u8(..100) == 0 {
            self.client.stalled_until = Some(now + Duration::from_millis(self.rng.u64(..200)));
        }
        if self.rng.u32(..1_000) >= self.plan.trouble {
            return;
        }
        let Some(line) = self.rng.choice(self.lines.keys().copied().collect::<Vec<_>>()) else { return };
        let millis = self.rng.u64(1..3_000);
        let until = now + Duration::from_millis(millis);
        let kind = self.rng.u8(..7);
        let Some(backend) = self.lines.get_mut(&line) else { return };
        let name = backend.name;
        match kind {
            0 | 1 => backend.stalled_until = Some(until),
            2 => backend.close(1012),
            3 => {
                self.down_until.insert(name, until);
            }
            6 => self.change_candidates(),
            _ => {
                let ending = if kind == 4 { Ending::Fin } else { Ending::Reset };
                self.hang_up(line, ending);
                self.down_until.insert(name, now + Duration::from_millis(millis / 10));
            }
        }
        self.note(format!("backend {name} on {line:?}: trouble {kind}, {millis} ms"));
    }

    /// Some of the backends are to get nothing more, or may again.
    fn change_candidates(&mut self) {
        let all = Shell::candidates(&self.plan);
        self.shell.candidates = all.into_iter().filter(|_| self.rng.u8(..3) > 0).collect();
        if self.shell.candidates.is_empty() {
            self.shell.candidates = Shell::candidates(&self.plan);
        }
    }

    fn hang_up(&mut self, line: LineId, ending: Ending) {
        self.lines.remove(&line);
        if let Some(end) = self.shell.ends.0.get_mut(&Port::Line(line)) {
            end.ending = Some(ending);
            if ending != Ending::Fin {
                // A reset destroys what was not read yet.
                end.inbox.clear();
            }
        }
    }

    fn pass(&mut self) {
        self.shell.now += STEP;
        self.dial();
        self.deliver();
        self.shell.step();
        for command in std::mem::take(&mut self.shell.commands) {
            self.note(format!("{command:?}"));
            let (Command::Dial { line, .. } | Command::Drop { line }) = command;
            self.lines.remove(&line);
            self.dials.retain(|dial| dial.line != line);
            if let Command::Dial { line, backend } = command {
                let at = self.shell.now + Duration::from_millis(self.rng.u64(..50));
                self.dials.push(Dial { line, backend, at });
            }
        }
        let held = self.shell.held() + usize::try_from(self.shell.board.counters.reorder_bytes_now).unwrap();
        assert!(held <= HELD_BYTES_MAX, "{held} bytes are held");
        assert!(self.client_is_told() || !self.shell.is_over);
    }

    /// Whoever is let go has been told, unless it was in the middle of something.
    fn client_is_told(&self) -> bool {
        self.client.closed.is_some() || self.shell.dispatcher.cause().is_some()
    }

    fn dial(&mut self) {
        let now = self.shell.now;
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.dials).into_iter().partition(|dial| dial.at <= now);
        self.dials = waiting;
        for Dial { line, backend, .. } in due {
            let name = usize::try_from(backend.0).unwrap();
            if self.down_until.get(&name).is_some_and(|until| now < *until) {
                self.shell.with(|dispatcher, ends, context| dispatcher.handle_unopened(line, ends, context));
                continue;
            }
            self.lines.insert(line, Backend::new(name, now));
            self.shell.ends.0.insert(Port::Line(line), End::default());
            self.shell.backends.insert(line, backend);
            self.shell.with(|dispatcher, ends, context| dispatcher.handle_opened(line, ends, context));
        }
    }

    /// The network, and whoever reads at its ends.
    fn deliver(&mut self) {
        let now = self.shell.now;
        for (line, backend) in &mut self.lines {
            let Some(end) = self.shell.ends.0.get_mut(&Port::Line(*line)) else { continue };
            if backend.is_stalled(now) {
                continue;
            }
            let came: Vec<_> = end.outbox.drain(..).collect();
            backend.read(&came, &self.plan, &mut self.rng, now);
            backend.work(now);
            let len = self.rng.usize(..=30_000).min(backend.sent.len());
            end.inbox.extend(backend.sent.drain(..len));
            if backend.is_done && backend.sent.is_empty() {
                end.ending = Some(Ending::Fin);
            }
        }
        let Some(end) = self.shell.ends.0.get_mut(&Port::Client) else { return };
        if !self.client.is_stalled(now) {
            let came: Vec<_> = end.outbox.drain(..).collect();
            self.client.read(&came, &self.plan);
            if end.is_finished && end.outbox.is_empty() && end.ending.is_none() {
                end.ending = Some(Ending::Fin);
            }
        }
        let len = self.rng.usize(..=8_000).min(self.client.sent.len());
        if end.inbox.len() < 30_000 {
            end.inbox.extend(self.client.sent.drain(..len));
        }
    }

    fn elapsed(&self) -> Duration {
        self.shell.now.saturating_duration_since(self.start)
    }

    fn note(&mut self, what: String) {
        let elapsed = self.elapsed();
        self.trace.push(format!("{elapsed:?} {what}"));
    }
}
