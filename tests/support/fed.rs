//! A proxy that extends a vendor's feed, and clients that hear of it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tungstenite::{Error, Message};

use super::http::upgrade_request;
use super::raw::Raw;
use super::site::{Frame, Site};
use super::vendor::{Opened, Vendor};
use super::ws::Client;
use super::{DEADLINE, Deadline, eventually};

/// What a vendor says until all clients hear it, and what comes behind that.
const WARM_UP: &str = "is anybody there?";
pub(crate) const BEGIN: &str = "let us begin, time";

/// The last of what is looked at.
const END: &str = "that is all";

/// How long a client may hear nothing before the vendor says it again.
const PATIENCE: Duration = Duration::from_millis(50);

/// A proxy with one feed, `fx`, which it has from one vendor and gives to every client.
pub(crate) struct Fed {
    pub(crate) site: Site,
    pub(crate) vendor: Vendor,
    /// The vendor's first connection.
    pub(crate) opened: Opened,
    /// How often it has begun: no client takes one beginning for another.
    begins: u32,
}

impl Fed {
    /// `feed` are lines of the table `[feed.fx]`, and of tables below it.
    pub(crate) fn start(name: &str, feed: &str) -> Self {
        Self::routed(name, "", feed)
    }

    /// The same, with lines of the route's table.
    pub(crate) fn routed(name: &str, route: &str, feed: &str) -> Self {
        Self::framed(name, Frame::default(), route, feed)
    }

    /// The same on every core.
    pub(crate) fn on_all_cores(name: &str, feed: &str) -> Self {
        let process = "drain_window = \"1ms\"\ncores = \"all\"";
        Self::framed(name, Frame { process, ..Frame::default() }, "", feed)
    }

    /// The same, with more in the tables that all files have.
    pub(crate) fn framed(name: &str, frame: Frame<'_>, route: &str, feed: &str) -> Self {
        Self::of(Vendor::start(), name, frame, route, feed)
    }

    /// The same of a vendor that was told something before.
    pub(crate) fn by(vendor: Vendor, name: &str, feed: &str) -> Self {
        Self::of(vendor, name, Frame::default(), "", feed)
    }

    fn of(mut vendor: Vendor, name: &str, frame: Frame<'_>, route: &str, feed: &str) -> Self {
        let site = Site::framed(name, frame, &toml(route, &[&vendor.url()], feed));
        let opened = vendor.opened();
        Self::with(site, vendor, opened)
    }

    /// The same of a proxy that is there already, and has connected so.
    pub(crate) fn with(site: Site, vendor: Vendor, opened: Opened) -> Self {
        Self { site, vendor, opened, begins: 0 }
    }

    /// Clients that get all that the vendor says from now on, and have read nothing that comes behind.
    pub(crate) fn join<const N: usize>(&mut self) -> [Client; N] {
        let mut clients: [Client; N] = std::array::from_fn(|_| self.site.proxy.connect());
        self.wait_for(&mut clients);
        clients
    }

    /// A client that has asked for this, with what the vendor has said so far still to be read.
    pub(crate) fn ask(&self, target: &str) -> Client {
        let address = &self.site.proxy.address;
        let stream = Raw::connect(address).stream;
        tungstenite::client(format!("ws://chat.example{target}"), stream).expect("it upgrades").0
    }

    /// Has the vendor talk until each of these gets it, and throws that away.
    pub(crate) fn wait_for(&mut self, clients: &mut [Client]) {
        for client in &*clients {
            self.talk_to(client.get_ref());
        }
        let begin = self.begin();
        for client in clients {
            while hear(client) != begin {}
        }
    }

    /// What the vendor says behind everything before.
    fn begin(&mut self) -> String {
        self.begins += 1;
        let begin = format!("{BEGIN} {}", self.begins);
        self.vendor.says([begin.as_str()]);
        begin
    }

    /// All that a client gets, up to the end that the vendor says now; again and again, if the client joins only now.
    pub(crate) fn hear_to_the_end(&mut self, client: &mut Client) -> Vec<String> {
        let mut texts = Vec::new();
        self.vendor.says([END]);
        client.get_ref().set_read_timeout(Some(PATIENCE)).expect("not zero");
        let deadline = Deadline::new();
        loop {
            match client.read() {
                Ok(Message::Text(text)) if text.as_str() == END => break,
                Ok(Message::Text(text)) => texts.push(text.as_str().to_owned()),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(!deadline.left().is_zero(), "an end in time, after {texts:?}");
                    self.vendor.says([END]);
                }
                other => unreachable!("text, not {other:?}, after {texts:?}"),
            }
        }
        client.get_ref().set_read_timeout(Some(DEADLINE)).expect("not zero");
        texts
    }

    /// How many shards no client has come to.
    pub(crate) fn shards_without_clients(&self) -> usize {
        let status = self.site.status();
        let shards = status.get("shards").and_then(Value::as_array).expect("a list").iter();
        shards.filter(|shard| shard.get("sessions") == Some(&0.into())).count()
    }

    /// Waits until `is_so`, which can only be looked at.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        eventually(what, || is_so(self));
    }

    /// The same with one that reads what it likes from its socket. It may be small: `receive_bytes`.
    pub(crate) fn join_raw(&mut self, receive_bytes: Option<usize>) -> Raw {
        let mut client = match receive_bytes {
            Some(bytes) => narrow(&self.site.proxy.address, bytes),
            None => self.site.proxy.dial(),
        };
        client.send(&upgrade_request("/", &[]));
        assert_eq!(client.head().status(), 101);
        self.talk_to(&client.stream);
        let begin = self.begin();
        while client.frame().payload != begin.as_bytes() {}
        client
    }

    /// Has the vendor talk until there is something to read here.
    pub(crate) fn talk_to(&mut self, stream: &TcpStream) {
        eventually("a client hears the vendor", || {
            self.vendor.says([WARM_UP]);
            !Raw::new(stream.try_clone().expect("a descriptor")).is_quiet()
        });
    }

    /// What `/status` says of the feed.
    pub(crate) fn status(&self) -> Value {
        let status = self.site.status();
        let mut feeds = status.get("feeds").and_then(Value::as_array).expect("a list").iter();
        let feed = feeds.find(|feed| feed.get("name") == Some(&"fx".into()));
        feed.cloned().unwrap_or_else(|| unreachable!("the feed in {status}"))
    }

    /// What it counts by this name, of all reasons and states.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.count_of(name, &[])
    }

    /// The same with these labels.
    pub(crate) fn count_of(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels = [&[("feed", "fx")], labels].concat();
        self.site.scrape().sum(&format!("selat_feed_{name}"), &labels)
    }
}

/// A feed `fx` of these sources, and a route to it.
pub(crate) fn toml(route: &str, sources: &[&str], feed: &str) -> String {
    format!("[route.fx]\nfeed = \"fx\"\n{route}\n[feed.fx]\nsources = {sources:?}\n{feed}\n")
}

/// The next text that a client gets.
pub(crate) fn hear(client: &mut Client) -> String {
    let message = client.read().expect("a message");
    assert!(message.is_text(), "{message:?}");
    message.into_text().expect("UTF-8").as_str().to_owned()
}

/// The next `count` of them.
pub(crate) fn hear_all(client: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| hear(client)).collect()
}

/// Numbered texts, with a key each.
pub(crate) fn tick(symbol: &str, number: usize) -> String {
    format!("{{\"symbol\":\"{symbol}\",\"n\":{number}}}")
}

/// The number of one of the vendor's numbered texts.
pub(crate) fn number(text: &str) -> u64 {
    let message: Value = serde_json::from_str(text).unwrap_or_else(|error| unreachable!("{text}: {error}"));
    message.get("n").and_then(Value::as_u64).unwrap_or_else(|| unreachable!("a number in {text}"))
}

/// Whether there is nothing to read for it at this moment.
pub(crate) fn is_quiet(client: &Client) -> bool {
    Raw::new(client.get_ref().try_clone().expect("a descriptor")).is_quiet()
}

/// Whole days from `first` to `last`, counted from today, as the hours of a feed are written.
pub(crate) fn days_from_now(first: i64, last: i64) -> String {
    // Unix time began on a Thursday.
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let today = i64::try_from(since.as_secs() / 86_400).expect("not that late");
    let day =
        |day: i64| usize::try_from((today + day).rem_euclid(7)).ok().and_then(|at| DAYS.get(at).copied());
    format!("{} 00:00-{} 24:00 UTC", day(first).expect("one of seven"), day(last).expect("one of seven"))
}

/// A connection whose receive buffer is so small.
fn narrow(address: &str, receive_bytes: usize) -> Raw {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    socket.set_recv_buffer_size(receive_bytes).expect("it is a socket");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("it accepts");
    Raw::new(socket.into())
}
