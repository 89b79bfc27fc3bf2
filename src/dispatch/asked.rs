//! Messages that wait: for a backend to get them, for its reply.

use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;

/// The place of a message among all that a client expects a reply to, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Seq(pub(super) u64);

impl Seq {
    /// The next one's.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message that a reply is expected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: Seq,
    /// When it was whole.
    pub(super) at: Instant,
}

/// A message that a backend has got and is to answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    /// Whether nobody waits for the reply any more. The backend still owes it.
    pub(super) is_given_up: bool,
    /// What is known of messages that are read, and not only forwarded.
    pub(super) about: Option<Rc<About>>,
}

impl Asked {
    /// Nobody waits for the reply any more, and it is not sent anew. How many bytes are not kept any more.
    pub(super) fn give_up(&mut self) -> usize {
        self.is_given_up = true;
        let again = self.about.as_mut().and_then(Rc::get_mut).and_then(|about| about.again.take());
        again.map_or(0, |again| again.frames.len())
    }

    /// Whether the reply to it has this value.
    pub(super) fn is_about(&self, id: &Value) -> bool {
        self.about.as_ref().is_some_and(|about| about.id == *id)
    }
}

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Its backend was lost.
    Lost,
    /// Its time is over.
    Late,
}

/// What is known of a message that was read.
#[derive(Debug)]
pub(super) struct About {
    /// The value at the correlation pointer.
    pub(super) id: Value,
    /// How to send it anew.
    pub(super) again: Option<Again>,
}

impl About {
    /// Bytes that are kept to be sent anew.
    pub(super) fn kept_bytes(&self) -> usize {
        self.again.as_ref().map_or(0, |again| again.frames.len())
    }
}

/// A message that may be sent anew.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) frames: Vec<u8>,
    pub(super) key: Option<Vec<u8>>,
    /// How often; at least once.
    pub(super) times: u32,
}

/// A whole message of the client's that waits for a backend.
#[derive(Debug)]
pub(super) struct Parcel {
    /// As they came.
    pub(super) frames: Vec<u8>,
    /// What its backend is chosen by.
    pub(super) key: Option<Vec<u8>>,
    /// `None` if no reply is expected.
    pub(super) place: Option<Place>,
    /// What its reply is known by.
    pub(super) id: Option<Value>,
    /// How often it may be sent anew.
    pub(super) retries: u32,
    /// Whether a backend has had it.
    pub(super) is_again: bool,
}

impl Parcel {
    /// The message that was lost with its backend, if it is to be sent anew.
    pub(super) fn again(asked: Asked) -> Result<Self, Asked> {
        let Asked { place, is_given_up, about } = asked;
        match about.map(Rc::try_unwrap) {
            Some(Ok(About { id, again: Some(Again { frames, key, times }) })) => {
                Ok(Self { frames, key, place: Some(place), id: Some(id), retries: times - 1, is_again: true })
            }
            Some(Ok(about)) => Err(Asked { place, is_given_up, about: Some(Rc::new(about)) }),
            Some(Err(about)) => Err(Asked { place, is_given_up, about: Some(about) }),
            None => Err(Asked { place, is_given_up, about: None }),
        }
    }

    /// What is to be remembered of it once a backend has got it.
    pub(super) fn sent(self) -> (Option<Place>, Option<Rc<About>>) {
        let Self { frames, key, place, id, retries, .. } = self;
        let again = || Again { frames, key, times: retries };
        (place, id.map(|id| Rc::new(About { id, again: (retries > 0).then(again) })))
    }
}
