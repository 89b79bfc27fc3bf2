//! A control plane that the test plays, behind the real admin interface: it answers from a hand-made overview.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use selat::config::ListenAddress;
use selat::control::admin::{ASKS_MAX, Admin, Ask, DrainReport, ReloadReport, Token, UnknownBackend};
use selat::telemetry::{
    BackendOverview, BackendState, Closes, CountByWhy, Dials, Directions, DispatchOverview, FeedOverview,
    FeedState, HistogramView, Lag, LimitHits, Overview, PoolOverview, Refusals, Replier, RouteOverview,
    ShardOverview, Traffic,
};
use tokio::sync::{mpsc as asks, watch};

use super::support::DEADLINE;

/// An admin interface at work; closed when dropped.
pub(crate) struct Played {
    /// As `--admin` takes it.
    pub(crate) address: String,
    scene: Option<watch::Sender<Scene>>,
    asked: mpsc::Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

/// What it answers from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) overview: Overview,
    /// Why a reload changes nothing; `None` if it is applied.
    pub(crate) reload_error: Option<String>,
    /// What the overview is at this look, counted from 1.
    pub(crate) step: Option<fn(&mut Overview, u64)>,
    /// Whether it answers at all.
    pub(crate) is_hung: bool,
}

impl Played {
    pub(crate) fn start(address: &str, token: Option<&str>, overview: Overview) -> Self {
        let token = token.map(|token| Token::new(token).expect("a token"));
        let address: ListenAddress = address.parse().expect("an address");
        let admin = Admin::bind(&address, token).unwrap_or_else(|error| unreachable!("{error}"));
        let address = admin.address().to_string();
        let (scene, watched) = watch::channel(Scene { overview, ..Scene::default() });
        let (told, asked) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = thread::spawn(move || runtime.block_on(play(admin, watched, &told)));
        Self { address, scene: Some(scene), asked, thread: Some(thread) }
    }

    /// Changes what it answers from.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Scene)) {
        self.scene.as_ref().expect("it plays").send_modify(change);
    }

    /// The next thing that was asked of it and changes something.
    pub(crate) fn asked(&self) -> String {
        self.asked.recv_timeout(DEADLINE).expect("somebody asks, in time")
    }

    /// Whether nothing was asked that changes something.
    pub(crate) fn was_left_alone(&self) -> bool {
        self.asked.try_recv().is_err()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        // The play ends when nobody can change the scene any more.
        drop(self.scene.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

async fn play(admin: Admin, mut scene: watch::Receiver<Scene>, told: &mpsc::Sender<String>) {
    let (sender, mut inbox) = asks::channel(ASKS_MAX);
    let serving = admin.serve(sender);
    let mut watching = scene.clone();
    let (mut kept, mut looks) = (Vec::new(), 0);
    let answering = async {
        while let Some(ask) = inbox.recv().await {
            let mut now = scene.borrow_and_update().clone();
            looks += 1;
            if let Some(step) = now.step {
                step(&mut now.overview, looks);
            }
            if now.is_hung {
                kept.push(ask);
            } else {
                answer(ask, now, told);
            }
        }
    };
    let ended = async { while watching.changed().await.is_ok() {} };
    tokio::select! {
        served = serving => unreachable!("it serves for ever: {served:?}"),
        () = answering => {}
        () = ended => {}
    }
}

fn answer(ask: Ask, scene: Scene, told: &mpsc::Sender<String>) {
    // Whoever asked may have gone.
    let tell = |what: String| drop(told.send(what));
    match ask {
        Ask::Overview(reply) => drop(reply.send(Box::new(scene.overview))),
        Ask::Config(reply) => drop(reply.send("[admin]\naddr = \"127.0.0.1:9765\"\n".to_owned())),
        Ask::Drain { backend, reply } => {
            drop(reply.send(concerned(&backend, &scene.overview)));
            tell(format!("drain {backend}"));
        }
        Ask::Undrain { backend, reply } => {
            drop(reply.send(concerned(&backend, &scene.overview)));
            tell(format!("undrain {backend}"));
        }
        Ask::Reload(reply) => {
            let changes = vec!["pool chat: added ws://10.0.0.3:9001".to_owned()];
            let report = ReloadReport { generation: 2, changes };
            drop(reply.send(scene.reload_error.map_or(Ok(report), Err)));
            tell("reload".to_owned());
        }
        Ask::Shutdown(reply) => {
            let _ = reply.send(());
            tell("shutdown".to_owned());
        }
    }
}

fn concerned(asked: &str, overview: &Overview) -> Result<DrainReport, UnknownBackend> {
    let called: Vec<_> =
        overview.backends().filter(|(pool, backend)| backend.is_called(asked, &pool.name)).collect();
    if called.is_empty() {
        let known = overview.backends().map(|(_, backend)| backend.name.clone()).collect();
        return Err(UnknownBackend { asked: asked.to_owned(), known });
    }
    Ok(DrainReport {
        backends: called.iter().map(|(pool, backend)| format!("{}/{}", pool.name, backend.name)).collect(),
        sessions: called.iter().map(|(_, backend)| backend.sessions_now).sum(),
    })
}

/// A histogram with these counts.
pub(crate) fn histogram(counts: [u64; 4]) -> HistogramView {
    HistogramView { bounds: vec![0.001, 0.01, 0.1], counts: counts.to_vec(), sum: 0.5 }
}

/// A process with a route, a pool of two backends, a feed, a dispatch and a shard, one of everything counted.
pub(crate) fn overview() -> Overview {
    let mut overview =
        Overview { version: "0.1.0".to_owned(), uptime_seconds: 3600.5, ..Overview::default() };
    overview.config.generation = 1;
    overview.config.file = Some("/etc/selat.toml".to_owned());
    overview.snapshot_epoch = 7;
    overview.log_lines_dropped = 3;
    overview.shards = vec![ShardOverview {
        connections: 12,
        sessions: 10,
        accepted: 100,
        handed_over: 5,
        busy_seconds: Some(1.5),
        ..ShardOverview::default()
    }];
    let refusals = |status, reason: &str, count| Refusals { status, reason: reason.to_owned(), count };
    overview.unrouted = vec![refusals(404, "no_route", 9)];
    overview.routes = vec![RouteOverview {
        name: "chat".to_owned(),
        sessions_now: 10,
        sessions_total: 90,
        traffic: traffic(1000),
        refusals: vec![refusals(403, "origin", 2)],
        closes: vec![Closes { code: "1000".to_owned(), side: "client".to_owned(), count: 80 }],
        limits_hit: vec![LimitHits { kind: "message_bytes".to_owned(), count: 4 }],
    }];
    let backends = vec![
        backend("ws://10.0.0.1:9001", "10.0.0.1:9001", BackendState::Up, 10),
        backend("ws://10.0.0.2:9001", "10.0.0.2:9001", BackendState::Down, 0),
    ];
    overview.pools = vec![PoolOverview {
        name: "chat".to_owned(),
        policy: "least-connections".to_owned(),
        waiting: 1,
        backends,
        ..PoolOverview::default()
    }];
    overview.feeds = vec![feed()];
    overview.dispatches = vec![dispatch()];
    overview.histograms.relay_seconds = histogram([90, 9, 1, 0]);
    overview.histograms.message_bytes = histogram([0, 0, 1, 1]);
    overview.histograms.ping_rtt_seconds.client = histogram([1, 0, 0, 0]);
    overview.histograms.handshake_seconds = histogram([1, 2, 3, 4]);
    overview
}

/// A message each way is a hundred bytes.
pub(crate) fn traffic(messages: u64) -> Directions<Traffic> {
    let one_way = Traffic { messages, bytes: messages * 100 };
    Directions { from_clients: one_way, from_backends: one_way }
}

fn backend(name: &str, address: &str, state: BackendState, sessions_now: u64) -> BackendOverview {
    BackendOverview {
        name: name.to_owned(),
        address: address.to_owned(),
        state,
        why: "as the test wants".to_owned(),
        since_seconds: 90.0,
        weight: 1.0,
        weight_effective: 1.0,
        sessions_now,
        sessions_total: 90,
        traffic: traffic(1000),
        dials: vec![Dials { outcome: "answered".to_owned(), count: 90 }],
    }
}

fn feed() -> FeedOverview {
    let by_why = |why: &str, count| CountByWhy { why: why.to_owned(), count };
    let sources = ["wss://vendor.example/fx", "wss://spare.example/fx"].map(str::to_owned);
    FeedOverview {
        name: "fx".to_owned(),
        state: FeedState::Up,
        source: "wss://spare.example/fx".to_owned(),
        sources: sources.to_vec(),
        clients: 1000,
        messages: Traffic { messages: 50, bytes: 5000 },
        deliveries: Traffic { messages: 49_000, bytes: 4_900_000 },
        conflated: 600,
        dropped: 400,
        evicted: vec![by_why("buffer", 2), by_why("time", 3)],
        lag: Lag { slowest: 17, p99: 4 },
        connects: 5,
        failures: vec![by_why("refused", 6)],
        gaps: 7,
        rotations: 8,
        duplicates: 9,
        skipped: 10,
        topics: 11,
        last_message_age_seconds: Some(2.5),
        delivery_seconds: histogram([90, 9, 1, 0]),
        ..FeedOverview::default()
    }
}

fn dispatch() -> DispatchOverview {
    let replier = |host: &str, counts| Replier {
        name: format!("ws://{host}:9001"),
        address: format!("{host}:9001"),
        reply_seconds: histogram(counts),
    };
    DispatchOverview {
        name: "work".to_owned(),
        outstanding: 12,
        sent: 2000,
        replies: 1950,
        retries: 20,
        timeouts: 21,
        lost: 22,
        late: 23,
        surplus: 24,
        partial: 25,
        reordering: 26,
        reordering_bytes: 2700,
        backends: vec![replier("10.0.0.3", [90, 9, 1, 0]), replier("10.0.0.4", [0; 4])],
    }
}

/// A backend like another, by this name, with so many sessions.
pub(crate) fn named(template: &BackendOverview, name: String, sessions_now: u64) -> BackendOverview {
    BackendOverview { name, sessions_now, ..template.clone() }
}
