//! A vendor of a real-time feed that misbehaves on command: Python, by the library `websockets`.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::loopback;
use super::python::Script;
use super::tls::Certificate;

/// What a vendor says of a key that is in use already.
pub(crate) const TOO_MANY: &str = "User Key Used to many times";

/// What becomes of a connection beyond those that a vendor allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It gets a 403.
    Refuse,
    /// It is told [`TOO_MANY`], and closed.
    Tell,
    /// The first is cut for it.
    Replace,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event(Value);

impl Event {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.member(name).as_str().unwrap_or_else(|| unreachable!("{name} is text in {}", self.0))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.member(name).as_u64().unwrap_or_else(|| unreachable!("{name} is a number in {}", self.0))
    }

    fn member(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| unreachable!("{name} in {}", self.0))
    }
}

/// A connection that a vendor got.
#[derive(Debug, Clone)]
pub(crate) struct Opened(Event);

impl Opened {
    /// Its number, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.0.number("connection")
    }

    /// What was asked for.
    pub(crate) fn path(&self) -> &str {
        self.0.text("path")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.0.member("headers").get(name).and_then(Value::as_str);
        value.unwrap_or_else(|| unreachable!("{name} in {:?}", self.0))
    }

    /// Whether messages are compressed (RFC 7692).
    pub(crate) fn is_compressed(&self) -> bool {
        *self.0.member("extensions") == json!(["permessage-deflate"])
    }
}

/// A vendor at work; killed when dropped.
pub(crate) struct Vendor {
    script: Script,
    scheme: &'static str,
    host: Ipv4Addr,
    port: u64,
    /// What happened and no test has asked for yet.
    events: Vec<Event>,
}

impl Vendor {
    pub(crate) fn start() -> Self {
        Self::at(loopback(), "ws", &[])
    }

    /// One that speaks TLS, with a certificate for where it listens that `certificate` makes.
    pub(crate) fn secured(certificate: impl FnOnce(Ipv4Addr) -> Certificate) -> Self {
        let host = loopback();
        let certificate = certificate(host);
        Self::at(host, "wss", &[&certificate.chain_file(), &certificate.key_file()])
    }

    fn at(host: Ipv4Addr, scheme: &'static str, files: &[&str]) -> Self {
        let script = Script::start("vendor.py", &[&[host.to_string().as_str()], files].concat());
        let mut vendor = Self { script, scheme, host, port: 0, events: Vec::new() };
        vendor.port = vendor.event("listening").number("port");
        vendor
    }

    /// What it offers.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}:{}/feed", self.scheme, self.host, self.port)
    }

    /// The next thing of this kind that happens and was not asked for yet.
    pub(crate) fn event(&mut self, kind: &str) -> Event {
        let is_it = |event: &Event| event.text("event") == kind;
        if let Some(at) = self.events.iter().position(is_it) {
            return self.events.remove(at);
        }
        loop {
            let event = Event(serde_json::from_str(&self.script.line()).expect("JSON"));
            if is_it(&event) {
                return event;
            }
            self.events.push(event);
        }
    }

    /// How many things of this kind have happened that were not asked for yet.
    pub(crate) fn count(&mut self, kind: &str) -> usize {
        // What has happened so far is told before this is done.
        self.does("nothing", json!({}));
        self.events.iter().filter(|event| event.text("event") == kind).count()
    }

    /// Has it do something, and waits until it is done.
    pub(crate) fn does(&mut self, command: &str, arguments: Value) {
        self.begins(command, arguments);
        self.awaits(command);
    }

    /// Has it do something, and goes on.
    pub(crate) fn begins(&mut self, command: &str, arguments: Value) {
        self.script.type_in(&json!([command, arguments]).to_string());
    }

    /// Waits until that is done.
    pub(crate) fn awaits(&mut self, command: &str) {
        assert_eq!(self.event("done").text("command"), command);
    }

    /// The next connection.
    pub(crate) fn opened(&mut self) -> Opened {
        Opened(self.event("opened"))
    }

    /// The next text that it is told, on whichever connection.
    pub(crate) fn received(&mut self) -> String {
        self.event("received").text("text").to_owned()
    }

    /// The next connection that ends: its number, and the code of the Close, if there was one.
    pub(crate) fn closed(&mut self) -> (u64, u64) {
        let event = self.event("closed");
        (event.number("connection"), event.number("code"))
    }

    /// Says these texts on every connection, one behind the other.
    pub(crate) fn says<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        let texts: Vec<_> = texts.into_iter().map(|text| text.as_ref().to_owned()).collect();
        self.does("send", json!({ "messages": texts }));
    }

    /// The same on this connection alone.
    pub(crate) fn says_on<T: AsRef<str>>(&mut self, connection: &Opened, texts: impl IntoIterator<Item = T>) {
        let texts: Vec<_> = texts.into_iter().map(|text| text.as_ref().to_owned()).collect();
        self.does("send", json!({ "messages": texts, "to": connection.number() }));
    }

    /// Says these messages as they are: a text; `{"binary": hex}`; or a list of the like, as fragments of one message.
    pub(crate) fn sends(&mut self, messages: &Value) {
        self.does("send", json!({ "messages": messages }));
    }

    /// Says this to each new connection before anything else.
    pub(crate) fn greets_with(&mut self, texts: &[&str]) {
        self.does("greet", json!({ "messages": texts }));
    }

    /// Allows one connection at a time.
    pub(crate) fn allows_one(&mut self, excess: Excess) {
        let excess = match excess {
            Excess::Refuse => "refuse",
            Excess::Tell => "tell",
            Excess::Replace => "replace",
        };
        self.does("allow", json!({ "connections": 1, "excess": excess }));
    }

    /// Resets all connections.
    pub(crate) fn cuts(&mut self) {
        self.does("cut", json!({}));
    }

    /// Closes all connections in order.
    pub(crate) fn closes(&mut self, code: u16, reason: &str) {
        self.does("close", json!({ "code": code, "reason": reason }));
    }

    /// Is gone: connections end, and nobody listens.
    pub(crate) fn dies(&mut self) {
        self.does("stop_listening", json!({}));
        self.cuts();
    }

    /// Is back where it was.
    pub(crate) fn comes_back(&mut self) {
        self.does("listen", json!({}));
    }
}
