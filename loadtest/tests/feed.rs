//! The ticker, its followers and the broadcaster, each judged by tungstenite at the other end.

mod support;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use serde_json::Value;
use support::{DEADLINE, Ended, Foreign, Served, foreign_server, run};
use tungstenite::{Error, Message, WebSocket};

/// A run of a second with four followers.
fn follow(url: &str, more: &[&str]) -> Ended {
    let args = ["feed", url, "--clients", "4", "--for", "800ms", "--warmup", "200ms"];
    run(&[&args, more].concat())
}

/// What a faulty feed does with the `number`-th tick, counted from 1.
type Plant = fn(&mut Feed, u64, Message) -> Planted;

/// Whether a fault was planted.
enum Planted {
    Fault,
    None,
}

/// A connection of a foreign feed to its client and one to its source.
struct Feed {
    client: WebSocket<TcpStream>,
    source: WebSocket<TcpStream>,
}

impl Feed {
    fn new(client: WebSocket<TcpStream>, source: SocketAddr) -> Self {
        let stream = TcpStream::connect(source).expect("the ticker accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        let source = tungstenite::client(format!("ws://{source}/"), stream).expect("it upgrades").0;
        client.get_ref().set_read_timeout(Some(Duration::from_millis(1))).expect("not zero");
        Self { client, source }
    }

    fn next(&mut self) -> Message {
        self.source.read().expect("the ticker ticks")
    }

    fn send(&mut self, message: Message) {
        // The client may have gone; then hearing it ends the loop.
        let _ = self.client.send(message);
    }

    /// Whether the client is still there; answers its Close.
    fn is_heard(&mut self) -> bool {
        match self.client.read() {
            Ok(message) if message.is_close() => {
                let _ = self.client.flush();
                false
            }
            Ok(_) => true,
            Err(Error::Io(error)) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Err(_) => false,
        }
    }
}

/// A feed of `ticker` that treats every tick as `plant` says, and returns how many faults it planted.
fn faulty_feed(ticker: &Served, plant: Plant) -> Foreign<u64> {
    let source = ticker.address;
    foreign_server(move |client| {
        let (mut feed, mut faults, mut number) = (Feed::new(client, source), 0, 0);
        while feed.is_heard() {
            number += 1;
            let tick = feed.next();
            faults += u64::from(matches!(plant(&mut feed, number, tick), Planted::Fault));
        }
        faults
    })
}

/// Whether the `number`-th tick is one to do something to.
fn is_chosen(number: u64) -> bool {
    number.is_multiple_of(10)
}

#[test]
fn a_ticker_says_what_was_asked_for() {
    for size in ["112", "128", "1024", "70000"] {
        let ticker = Served::start("ticker", &["--rate", "1k/s", "--size", size, "--keys", "2"]);
        let mut socket = ticker.connect();
        let ticks: Vec<Value> = std::iter::repeat_with(|| {
            let message = socket.read().unwrap();
            assert!(message.is_text() && message.len().to_string() == size, "{message:?}");
            serde_json::from_str(message.to_text().unwrap()).unwrap()
        })
        .take(3)
        .collect();
        for (number, tick) in ticks.iter().enumerate() {
            assert_eq!((&tick["seq"], &tick["symbol"]), (&number.into(), &format!("K{}", number % 2).into()));
        }
        let times: Vec<u64> = ticks.iter().map(|tick| tick["t"].as_u64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}

#[test]
fn a_ticker_sends_a_burst_at_once() {
    let ticker = Served::start("ticker", &["--rate", "100/s", "--burst", "50"]);
    let mut socket = ticker.connect();
    let times: Vec<u64> = (0..100)
        .map(|_| {
            let tick: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
            tick["t"].as_u64().unwrap()
        })
        .collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let longest = gaps.iter().max();
    assert_eq!(gaps.iter().position(|gap| Some(gap) == longest), Some(49), "{gaps:?}");
}

#[test]
fn a_ticker_answers_pings() {
    let ticker = Served::start("ticker", &[]);
    let mut socket = ticker.connect();
    for payload in [b"".as_slice(), b"there?", &[7; 125]] {
        socket.send(Message::Ping(payload.to_vec().into())).unwrap();
        let pong = std::iter::repeat_with(|| socket.read().unwrap()).find(|message| !message.is_text());
        assert_eq!(pong, Some(Message::Pong(payload.to_vec().into())));
    }
}

#[test]
fn a_ticker_counts_its_connections() {
    let ticker = Served::start("ticker", &[]);
    let mut socket = ticker.connect();
    drop(ticker.connect());
    // One that is not upgraded is none.
    drop(TcpStream::connect(ticker.address).unwrap());
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let said = ticker.end();
    assert!(said.starts_with("connections 2\nticks "), "{said}");
}

#[test]
fn followers_find_no_fault_in_a_sound_source() {
    let rows: [&[&str]; 4] =
        [&[], &["--keys", "7"], &["--burst", "20"], &["--size", "70000", "--rate", "50/s"]];
    for args in rows {
        let ticker = Served::start("ticker", args);
        let pid = ticker.pid().to_string();
        let ended = follow(&format!("ws://{}/", ticker.address), &["--pid", &pid]);
        assert_eq!(ended.code, 0, "{args:?}: {} {}", ended.report, ended.errors);
        let deliveries = ended.count("answered");
        assert!(deliveries > 0 && deliveries == ended.samples("latency/uncorrected"), "{}", ended.report);
        assert!(ended.samples("spread") > 0, "{}", ended.report);
        assert!(ended.cpu() > 0.0);
        assert!(ended.process()["memory"]["pss_kib_after"].as_u64().unwrap() > 0);
        let said = ticker.end();
        assert!(said.starts_with("connections 4\n"), "{said}");
    }
}

#[test]
fn counts_every_lost_tick() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, number, tick| {
        if is_chosen(number) {
            return Planted::Fault;
        }
        feed.send(tick);
        Planted::None
    });
    let ended = follow(&feed.url, &[]);
    let planted: u64 = feed.ended(4).iter().sum();
    assert!(planted > 4);
    // One that nothing follows is not missed.
    assert!((planted - 4..=planted).contains(&ended.count("lost")), "{planted}: {}", ended.report);
    assert_eq!(ended.code, 1);
}

#[test]
fn leaves_loss_to_those_who_allow_it() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, number, tick| {
        if is_chosen(number) {
            return Planted::Fault;
        }
        feed.send(tick);
        Planted::None
    });
    let ended = follow(&feed.url, &["--allow-loss"]);
    assert_eq!((ended.code, ended.count("lost")), (0, 0), "{}", ended.report);
    assert!(ended.count("skipped") > 0, "{}", ended.report);
}

#[test]
fn counts_every_duplicated_tick() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, number, tick| {
        feed.send(tick.clone());
        if is_chosen(number) {
            feed.send(tick);
            return Planted::Fault;
        }
        Planted::None
    });
    let ended = follow(&feed.url, &["--allow-loss"]);
    let planted: u64 = feed.ended(4).iter().sum();
    assert!(planted > 0);
    assert_eq!((ended.code, ended.count("duplicated")), (1, planted), "{}", ended.report);
}

#[test]
fn counts_every_reordered_tick() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, number, tick| {
        if is_chosen(number) {
            let next = feed.next();
            feed.send(next);
            feed.send(tick);
            return Planted::Fault;
        }
        feed.send(tick);
        Planted::None
    });
    let ended = follow(&feed.url, &[]);
    let planted: u64 = feed.ended(4).iter().sum();
    assert!(planted > 0);
    assert_eq!(
        (ended.code, ended.count("reordered"), ended.count("lost")),
        (1, planted, 0),
        "{}",
        ended.report
    );
}

#[test]
fn counts_every_corrupted_tick_and_no_other_fault() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, number, tick| {
        if is_chosen(number) {
            let text = tick.to_text().unwrap();
            feed.send(Message::text(text.replace("\"seq\":", "\"seq\":1")));
            return Planted::Fault;
        }
        feed.send(tick);
        Planted::None
    });
    let ended = follow(&feed.url, &[]);
    let planted: u64 = feed.ended(4).iter().sum();
    assert!(planted > 0);
    assert_eq!(
        (ended.code, ended.count("corrupted"), ended.count("lost")),
        (1, planted, 0),
        "{}",
        ended.report
    );
}

#[test]
fn knows_a_tick_that_became_binary() {
    let ticker = Served::start("ticker", &[]);
    let feed = faulty_feed(&ticker, |feed, _, tick| {
        feed.send(Message::binary(tick.into_data()));
        Planted::Fault
    });
    let ended = follow(&feed.url, &[]);
    let planted: u64 = feed.ended(4).iter().sum();
    assert_eq!((ended.code, ended.count("corrupted")), (1, planted), "{}", ended.report);
}

#[test]
fn the_stuck_are_no_part_of_what_is_measured() {
    // A second's worth is more than kernels keep for anybody.
    let ticker = Served::start("ticker", &["--rate", "200/s", "--size", "200000"]);
    let ended = follow(&format!("ws://{}/", ticker.address), &["--stuck", "50%"]);
    assert_eq!((ended.code, ended.count("readers")), (0, 2), "{} {}", ended.report, ended.errors);
    assert!(ended.samples("spread") > 0, "{}", ended.report);
}

#[test]
fn sees_who_is_dropped() {
    let ticker = Served::start("ticker", &[]);
    let source = ticker.address;
    let feed = foreign_server(move |client| {
        let mut feed = Feed::new(client, source);
        for _ in 0..50 {
            let tick = feed.next();
            feed.send(tick);
        }
        // What waits to be read is no obstacle to a reset.
        set_socket_linger(feed.client.get_ref(), Some(Duration::ZERO)).expect("it is a socket");
    });
    let args = ["feed", &feed.url, "--clients", "2", "--stuck", "50%", "--warmup", "0s", "--for", "20s"];
    let ended = run(&args);
    assert_eq!((ended.code, ended.count("evicted"), ended.failed()), (1, 1, 1), "{}", ended.report);
}

#[test]
fn says_that_nothing_came() {
    let server = Served::start("echo", &[]);
    let ended = follow(&format!("ws://{}/", server.address), &[]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("no tick came"), "{}", ended.errors);
}

#[test]
fn a_broadcaster_reads_its_source_once_and_sends_everything_to_everybody() {
    let ticker = Served::start("ticker", &["--rate", "1k/s", "--burst", "10", "--size", "1024"]);
    let from = format!("ws://{}/", ticker.address);
    let broadcast = Served::start("broadcast", &["--from", &from]);
    for _ in 0..2 {
        let ended = follow(&format!("ws://{}/", broadcast.address), &[]);
        assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
        assert!(ended.count("answered") > 0);
    }
    let said = ticker.end();
    assert!(said.starts_with("connections 1\n"), "{said}");
}

#[test]
fn a_broadcaster_passes_messages_on_as_they_are() {
    let messages = || {
        let long: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        [Message::text("größer"), Message::binary(long), Message::text(""), Message::binary(vec![0; 126])]
    };
    let all_are_there = Arc::new(Barrier::new(2));
    let source = foreign_server({
        let all_are_there = all_are_there.clone();
        move |mut socket| {
            all_are_there.wait();
            for message in messages() {
                socket.send(message).expect("the broadcaster reads");
            }
            let _ = socket.read();
        }
    });
    let broadcast = Served::start("broadcast", &["--from", &source.url]);
    let mut clients = [broadcast.connect(), broadcast.connect(), broadcast.connect()];
    all_are_there.wait();
    for client in &mut clients {
        for message in messages() {
            assert_eq!(client.read().unwrap(), message);
        }
        client.close(None).unwrap();
        while client.read().is_ok() {}
    }
}
