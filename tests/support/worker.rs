//! A backend that answers messages, and misbehaves on command: Python, by the library `websockets`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::Message;

use super::python::Script;
use super::site::Site;
use super::ws::Client;
use super::{Deadline, loopback};

/// The id of messages that only bring a client and its workers together.
const MEETING: u64 = 1_000_000;

/// A worker at work; killed when dropped.
pub(crate) struct Worker {
    script: Script,
    name: String,
    host: Ipv4Addr,
    port: u64,
    /// What happened and no test has asked for yet.
    events: Vec<Value>,
}

impl Worker {
    /// One that says in its answers that it is called so.
    pub(crate) fn start(name: &str) -> Self {
        Self::at(loopback(), 0, name)
    }

    fn at(host: Ipv4Addr, port: u64, name: &str) -> Self {
        let script = Script::start("worker.py", &[&host.to_string(), &port.to_string(), name]);
        let mut worker = Self { script, name: name.to_owned(), host, port, events: Vec::new() };
        worker.port = number(&worker.event("listening"), "port");
        worker
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}:{}", self.host, self.port)
    }

    /// The next thing of this kind that happens and was not asked for yet.
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        let is_it = |event: &Value| text(event, "event") == kind;
        if let Some(at) = self.events.iter().position(is_it) {
            return self.events.remove(at);
        }
        loop {
            let event = serde_json::from_str(&self.script.line()).expect("JSON");
            if is_it(&event) {
                return event;
            }
            self.events.push(event);
        }
    }

    /// How many things of this kind have happened that were not asked for yet.
    pub(crate) fn count(&mut self, kind: &str) -> usize {
        // What has happened so far is told before this is done.
        self.does("nothing", &json!({}));
        self.events.iter().filter(|event| text(event, "event") == kind).count()
    }

    /// Has it do something, and waits until it is done.
    pub(crate) fn does(&mut self, command: &str, arguments: &Value) {
        self.script.type_in(&json!([command, arguments]).to_string());
        assert_eq!(text(&self.event("done"), "command"), command);
    }

    /// The next text that it is told, but for those of a meeting.
    pub(crate) fn received(&mut self) -> String {
        let meeting = meeting();
        loop {
            let received = text(&self.event("received"), "text");
            if received != meeting {
                return received;
            }
        }
    }

    /// The id of the next message that it is told.
    pub(crate) fn received_id(&mut self) -> u64 {
        let received = self.received();
        number(&serde_json::from_str(&received).expect("JSON"), "id")
    }

    /// The code of the Close of the next connection that ends; 1006 if there was none.
    pub(crate) fn closed(&mut self) -> u64 {
        number(&self.event("closed"), "code")
    }

    /// Takes so long for a message.
    pub(crate) fn works(&mut self, seconds: f64) {
        self.does("work", &json!({ "seconds": seconds }));
    }

    /// Keeps its answers from now on.
    pub(crate) fn holds(&mut self) {
        self.does("hold", &json!({}));
    }

    /// Gives all answers that it kept, and keeps no more.
    pub(crate) fn releases(&mut self) {
        self.does("release", &json!({}));
    }

    /// Gives some of the answers that it kept, in this order, each counted from the oldest that is kept.
    pub(crate) fn releases_in(&mut self, order: &[usize]) {
        self.does("release", &json!({ "order": order }));
    }

    /// The process does nothing any more, though its connections stand.
    pub(crate) fn stalls(&self) {
        self.script.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn goes_on(&self) {
        self.script.signal(Signal::CONT);
    }

    /// The process is killed. What it had reported is kept.
    pub(crate) fn dies(&self) {
        self.script.signal(Signal::KILL);
    }

    /// Another process in the place of one that is dead.
    pub(crate) fn comes_back(&mut self) {
        *self = Self::at(self.host, self.port, &self.name);
    }
}

/// A member that is text.
pub(crate) fn text(value: &Value, name: &str) -> String {
    value
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_else(|| unreachable!("{name} is text in {value}"))
        .to_owned()
}

/// A member that is a number.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_else(|| unreachable!("{name} is a number in {value}"))
}

/// Asks for an answer to the message of this id.
pub(crate) fn ask(client: &mut Client, id: u64) {
    client.send(Message::text(json!({ "id": id }).to_string())).expect("it can be sent");
}

/// The next answer: its id, and who gave it.
pub(crate) fn answer(client: &mut Client) -> (u64, String) {
    let answer = client.read().expect("an answer").into_text().expect("text");
    let answer = serde_json::from_str(&answer).unwrap_or_else(|_| unreachable!("JSON: {answer}"));
    (number(&answer, "id"), text(&answer, "by"))
}

/// The ids of the next answers, in order.
pub(crate) fn ids(client: &mut Client, count: usize) -> Vec<u64> {
    (0..count).map(|_| answer(client).0).collect()
}

/// Who answers these messages, asked one after the other.
pub(crate) fn who_answers(client: &mut Client, ids: impl IntoIterator<Item = u64>) -> Vec<String> {
    let exchange = |id| {
        ask(client, id);
        let (answered, by) = answer(client);
        assert_eq!(answered, id);
        by
    };
    ids.into_iter().map(exchange).collect()
}

fn meeting() -> String {
    json!({ "id": MEETING }).to_string()
}

/// Asks until each of the workers has answered, so that the client is connected to all of them.
pub(crate) fn meet_all<'w>(client: &mut Client, workers: impl IntoIterator<Item = &'w Worker>) {
    let mut strangers: BTreeSet<_> = workers.into_iter().map(|worker| worker.name.clone()).collect();
    let deadline = Deadline::new();
    while !strangers.is_empty() {
        assert!(!deadline.left().is_zero(), "not met: {strangers:?}");
        client.send(Message::text(meeting())).expect("it can be sent");
        strangers.remove(&answer(client).1);
    }
}

/// Workers by these names.
pub(crate) fn workers<const N: usize>(names: [&str; N]) -> [Worker; N] {
    names.map(Worker::start)
}

/// A proxy that does what this says, with a name of its own.
pub(crate) fn run(text: &str) -> Site {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Site::start(&format!("dispatch-{}", COUNT.fetch_add(1, Ordering::Relaxed)), text)
}

/// A route to a dispatch over these backends, in which this stands.
pub(crate) fn dispatch(backends: &[Worker], settings: &str) -> String {
    dispatch_to(backends.iter().map(Worker::url), settings)
}

/// The same, given their URLs.
pub(crate) fn dispatch_to(backends: impl IntoIterator<Item = String>, settings: &str) -> String {
    let backends: Vec<_> = backends.into_iter().collect();
    format!("[route.work]\ndispatch = \"workers\"\n[dispatch.workers]\nbackends = {backends:?}\n{settings}\n")
}
