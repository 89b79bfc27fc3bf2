//! Messages that all backends got, and their replies gathered into what the client gets.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::de::IgnoredAny;

use super::Gather;
use super::asked::{About, Missing, Seq};

/// The messages of a client that not all backends have answered.
#[derive(Debug)]
pub(super) struct Rounds {
    gather: Gather,
    rounds: BTreeMap<Seq, Round>,
    /// Of the replies that are kept.
    bytes: usize,
}

/// One message.
#[derive(Debug)]
struct Round {
    about: Option<Rc<About>>,
    /// Backends that may still answer.
    pending: usize,
    came: usize,
    /// So many suffice.
    needed: usize,
    /// Why fewer may come than are needed. If nothing is known against any, there were too few from the beginning.
    missing: Missing,
    /// What came, where it is kept.
    parts: Vec<Vec<u8>>,
}

/// How a round ends.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client has what it is to get.
    Answered,
    /// It gets this text.
    Array {
        text: Vec<u8>,
        /// Why fewer replies than were asked for are in it.
        partial: Option<Missing>,
    },
    /// Too few have come.
    Short(Option<Rc<About>>, Missing),
}

/// What becomes of a reply.
#[derive(Debug)]
pub(super) enum Fate {
    /// It goes to the client.
    Pass,
    /// It is kept.
    Keep,
    /// Nobody wants it.
    Surplus,
}

impl Rounds {
    pub(super) fn new(gather: Gather) -> Self {
        Self { gather, rounds: BTreeMap::new(), bytes: 0 }
    }

    /// So many backends got a message.
    pub(super) fn begin(&mut self, seq: Seq, about: Option<Rc<About>>, receivers: usize) {
        let needed = match self.gather {
            Gather::First => 1,
            Gather::All { quorum } | Gather::Array { quorum } => {
                quorum.map_or(receivers, |quorum| quorum.get())
            }
        };
        let round =
            Round { about, pending: receivers, came: 0, needed, missing: Missing::Lost, parts: Vec::new() };
        self.rounds.insert(seq, round);
    }

    /// What becomes of a reply to a message.
    pub(super) fn fate(&self, seq: Seq) -> Fate {
        match (self.rounds.contains_key(&seq), self.gather) {
            (false, _) => Fate::Surplus,
            (true, Gather::Array { .. }) => Fate::Keep,
            (true, Gather::First | Gather::All { .. }) => Fate::Pass,
        }
    }

    /// A reply came that is not [`Fate::Surplus`]; `said` is its payload, where it is kept.
    pub(super) fn handle_reply(&mut self, seq: Seq, said: Option<&[u8]>) -> Option<Outcome> {
        let round = self.rounds.get_mut(&seq)?;
        round.came += 1;
        if let Some(said) = said {
            self.bytes += said.len();
            round.parts.push(said.to_vec());
        }
        self.handle_heard(seq)
    }

    /// A backend that got a message will not answer, or not in time.
    pub(super) fn handle_missing(&mut self, seq: Seq, why: Missing) -> Option<Outcome> {
        self.rounds.get_mut(&seq)?.missing = why;
        self.handle_heard(seq)
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest message that is not answered.
    pub(super) fn first(&self) -> Option<Seq> {
        self.rounds.first_key_value().map(|(seq, _)| *seq)
    }

    /// Nobody waits for anything any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.gather);
    }

    /// One backend less is waited for. The round's end, if this was it.
    fn handle_heard(&mut self, seq: Seq) -> Option<Outcome> {
        let round = self.rounds.get_mut(&seq)?;
        round.pending = round.pending.saturating_sub(1);
        let is_enough = round.came >= round.needed;
        if round.pending > 0 && !is_enough {
            return None;
        }
        let round = self.rounds.remove(&seq)?;
        self.bytes -= round.parts.iter().map(Vec::len).sum::<usize>();
        Some(match self.gather {
            Gather::Array { .. } => {
                let partial = (!is_enough).then_some(round.missing);
                Outcome::Array { text: array(&round, is_enough), partial }
            }
            Gather::First | Gather::All { .. } if is_enough => Outcome::Answered,
            Gather::First | Gather::All { .. } => Outcome::Short(round.about, round.missing),
        })
    }
}

/// The replies as JSON. One that is not JSON itself becomes a JSON text.
fn array(round: &Round, is_whole: bool) -> Vec<u8> {
    let mut text = Vec::new();
    if !is_whole {
        text.extend_from_slice(
            format!("{{\"partial\":true,\"expected\":{},\"replies\":", round.needed).as_bytes(),
        );
    }
    text.push(b'[');
    for (at, part) in round.parts.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        if serde_json::from_slice::<IgnoredAny>(part).is_ok() {
            text.extend_from_slice(part);
        } else {
            let part = serde_json::Value::from(String::from_utf8_lossy(part));
            text.extend_from_slice(part.to_string().as_bytes());
        }
    }
    text.push(b']');
    if !is_whole {
        text.push(b'}');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const SEQ: Seq = Seq(5);

    fn rounds(gather: Gather) -> Rounds {
        let mut rounds = Rounds::new(gather);
        rounds.begin(SEQ, None, 3);
        rounds
    }

    fn text(outcome: Option<Outcome>) -> (String, Option<Missing>) {
        match outcome {
            Some(Outcome::Array { text, partial }) => (String::from_utf8(text).unwrap(), partial),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_is_enough_and_the_others_are_surplus() {
        let mut rounds = rounds(Gather::First);
        assert!(rounds.handle_missing(SEQ, Missing::Late).is_none());
        assert!(matches!(rounds.fate(SEQ), Fate::Pass));
        assert!(matches!(rounds.handle_reply(SEQ, None), Some(Outcome::Answered)));
        assert!(matches!(rounds.fate(SEQ), Fate::Surplus));
        assert!(rounds.handle_reply(SEQ, None).is_none());
    }

    #[test]
    fn all_are_waited_for_or_a_quorum() {
        let mut all = rounds(Gather::All { quorum: None });
        assert!(all.handle_reply(SEQ, None).is_none());
        assert!(all.handle_reply(SEQ, None).is_none());
        assert!(matches!(all.handle_missing(SEQ, Missing::Late), Some(Outcome::Short(None, Missing::Late))));
        let mut two = rounds(Gather::All { quorum: NonZeroUsize::new(2) });
        assert!(two.handle_reply(SEQ, None).is_none());
        assert!(matches!(two.handle_reply(SEQ, None), Some(Outcome::Answered)));
    }

    #[test]
    fn an_array_has_what_came_and_says_what_is_missing() {
        let mut whole = rounds(Gather::Array { quorum: None });
        assert!(whole.handle_reply(SEQ, Some(b"{\"a\":1}")).is_none());
        assert!(whole.handle_reply(SEQ, Some(b"not \"JSON\"")).is_none());
        assert_eq!(whole.bytes(), 17);
        let array = r#"[{"a":1},"not \"JSON\"",[2]]"#;
        assert_eq!(text(whole.handle_reply(SEQ, Some(b"[2]"))), (array.to_owned(), None));
        assert_eq!((whole.bytes(), whole.first()), (0, None));

        let mut part = rounds(Gather::Array { quorum: NonZeroUsize::new(2) });
        assert!(part.handle_missing(SEQ, Missing::Late).is_none());
        assert!(part.handle_reply(SEQ, Some(b"7")).is_none());
        let array = r#"{"partial":true,"expected":2,"replies":[7]}"#;
        assert_eq!(text(part.handle_missing(SEQ, Missing::Late)), (array.to_owned(), Some(Missing::Late)));
    }
}
