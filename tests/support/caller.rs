//! A client that asks without a pause and accounts for every message: Python, by the library `websockets`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::python::Script;
use super::worker::number;

/// A caller at work; killed when dropped.
pub(crate) struct Caller(Script);

/// What became of its messages. Every one of them is in one place.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    /// Answers by who gave them.
    pub(crate) by: BTreeMap<String, u64>,
    /// Ids that were answered with an error.
    pub(crate) errors: Vec<u64>,
    /// Ids without an answer.
    pub(crate) missing: Vec<u64>,
    /// Ids that were answered once more.
    pub(crate) again: Vec<u64>,
    /// Of the Close; 1006 if there was none.
    pub(crate) code: u64,
}

impl Caller {
    /// Has `window` messages wait for an answer at once, each for as long as `patience`.
    pub(crate) fn start(address: &str, window: usize, patience: Duration) -> Self {
        let patience = patience.as_secs_f64().to_string();
        let url = format!("ws://{address}/");
        Self(Script::start("caller.py", &[&url, &window.to_string(), &patience]))
    }

    /// Waits until so many hundreds more have been answered.
    pub(crate) fn goes_on_for(&mut self, hundreds: usize) {
        for _ in 0..hundreds {
            let line = self.0.line();
            assert!(line.contains("answered"), "the caller has ended: {line}");
        }
    }

    /// Has it ask no more, and waits for its account.
    pub(crate) fn ends(mut self) -> Account {
        self.0.type_in("stop");
        self.account()
    }

    /// Its account, when its connection has been closed. Its input stays open until then.
    pub(crate) fn waits_for_close(self) -> Account {
        self.account()
    }

    fn account(mut self) -> Account {
        let account: Value = loop {
            let line: Value = serde_json::from_str(&self.0.line()).expect("JSON");
            if line.get("answered").is_none() {
                break line;
            }
        };
        // Whoever was not told to stop waits for that still.
        self.0.type_in("stop");
        self.0.expect_success();
        let list =
            |name: &str| serde_json::from_value(account.get(name).expect("a list").clone()).expect("ids");
        let by = account.get("by").expect("who answered").clone();
        Account {
            sent: number(&account, "sent"),
            by: serde_json::from_value(by).expect("numbers"),
            errors: list("errors"),
            missing: list("missing"),
            again: list("again"),
            code: number(&account, "code"),
        }
    }
}

impl Account {
    /// That every message is accounted for, and none was answered twice.
    pub(crate) fn expect_balance(&self) {
        let answered: u64 = self.by.values().sum();
        let count = |ids: &Vec<u64>| u64::try_from(ids.len()).expect("a small number");
        assert_eq!(answered + count(&self.errors) + count(&self.missing), self.sent, "{self:?}");
        assert!(self.again.is_empty(), "{self:?}");
    }
}
