//! A client's reading of what a server sends: messages checked against what they must be, byte for byte.

use selat::protocol::frame::{Header, Opcode, Rsv, Violation};

use super::burst::opcode;
use super::stamp::STAMP_BYTES_MAX;
use super::{Kind, Mix, Pattern, Stamp, Tick, wide};

/// Bytes of a tick that are kept until it has come whole; a longer one is not what a ticker made.
const TICK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What every message must look like.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The echo of what was sent.
    Answers(Answers),
    /// Ticks, each filled up with this pattern.
    Ticks(Pattern),
}

/// What every answer must look like.
#[derive(Debug)]
pub(crate) struct Answers {
    pattern: Pattern,
    kind: Kind,
    /// The sizes that there are.
    shapes: Vec<Shape>,
}

/// What an answer of some size is in one frame.
#[derive(Debug)]
struct Shape {
    /// The two bytes of its header that every header has, and those of a longer one.
    header: [u8; 2],
    more: Vec<u8>,
    payload_bytes: usize,
}

impl Shape {
    /// Payload and what follows it, if `bytes` begin with such an answer.
    #[inline]
    fn split<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let (header, rest) = bytes.split_first_chunk()?;
        if *header != self.header {
            return None;
        }
        let rest = if self.more.is_empty() { rest } else { rest.strip_prefix(self.more.as_slice())? };
        rest.split_at_checked(self.payload_bytes)
    }
}

impl Expected {
    /// Answers of this kind and these sizes.
    pub(crate) fn answers(mix: &Mix, kind: Kind) -> Self {
        let shape = |&payload_bytes: &usize| {
            let mut header = Vec::new();
            Header::whole(opcode(kind), None, wide(payload_bytes)).encode(&mut header);
            let (first, more) = header.split_first_chunk().expect("a header has two bytes");
            Shape { header: *first, more: more.to_vec(), payload_bytes }
        };
        let shapes = mix.sizes().iter().map(shape).collect();
        Self::Answers(Answers { pattern: Pattern::of(kind), kind, shapes })
    }

    /// The message at the front of `bytes`, if it is all there and in one frame, and the bytes after it.
    #[inline]
    fn whole<'b>(&self, bytes: &'b [u8]) -> Option<(Event, &'b [u8])> {
        match self {
            Self::Answers(answers) => answers.whole(bytes),
            Self::Ticks(pattern) => {
                let (header, len) = Header::parse(bytes).ok()??;
                let payload_bytes = usize::try_from(header.payload_len).ok()?;
                if header != Header::whole(Opcode::Text, None, header.payload_len) {
                    return None;
                }
                let (payload, rest) = bytes.get(len..)?.split_at_checked(payload_bytes)?;
                Some((Event::Tick(Tick::decode(payload, pattern)), rest))
            }
        }
    }
}

impl Answers {
    #[inline]
    fn whole<'b>(&self, bytes: &'b [u8]) -> Option<(Event, &'b [u8])> {
        let (payload, rest) = self.shapes.iter().find_map(|shape| shape.split(bytes))?;
        let stamped = self.kind.stamp_bytes();
        let (stamp, intact) = match payload.split_at_checked(stamped) {
            Some((stamp, tail)) => {
                let stamp = Stamp::decode(self.kind, stamp);
                (stamp, stamp.is_some() && self.pattern.matches(stamped, tail))
            }
            None => (None, self.pattern.matches(0, payload)),
        };
        Some((Event::Message { stamp, bytes: payload.len(), intact }, rest))
    }
}

/// Something a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An answer has come.
    Message {
        /// Its stamp, if it is long enough to have one and that is sound.
        stamp: Option<Stamp>,
        /// Payload bytes.
        bytes: usize,
        /// Whether every byte is as it was made; the length is for others to judge.
        intact: bool,
    },
    /// A tick has come, `None` if it is not as one was made.
    Tick(Option<Tick>),
    /// A ping with this payload; it wants a pong.
    Ping(Vec<u8>),
    /// A Close with this code, if it had one.
    Close(Option<u16>),
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    remaining: u64,
}

/// The message whose frames are being read.
#[derive(Debug)]
struct Message {
    opcode: Opcode,
    bytes: usize,
    /// Of an answer, which is judged as it comes, the bytes that may be a stamp.
    stamp: [u8; STAMP_BYTES_MAX],
    intact: bool,
    /// Of a tick, which is judged once it is whole.
    payload: Vec<u8>,
}

impl Message {
    fn begin(opcode: Opcode) -> Self {
        Self { opcode, bytes: 0, stamp: [0; STAMP_BYTES_MAX], intact: true, payload: Vec::new() }
    }

    /// Takes the next bytes of its payload.
    fn handle(&mut self, piece: &[u8], expected: &Expected) {
        match expected {
            Expected::Answers(answers) => self.handle_answer(piece, answers),
            Expected::Ticks(_) => {
                let room = TICK_BYTES_MAX.saturating_sub(self.payload.len());
                self.payload.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
        }
        self.bytes += piece.len();
    }

    fn handle_answer(&mut self, piece: &[u8], answers: &Answers) {
        let stamped = answers.kind.stamp_bytes();
        let (head, tail) = piece.split_at(piece.len().min(stamped.saturating_sub(self.bytes)));
        if let Some(place) = self.stamp.get_mut(self.bytes..self.bytes + head.len()) {
            place.copy_from_slice(head);
        }
        self.intact &= answers.pattern.matches(self.bytes + head.len(), tail);
    }

    /// What it was, now that it has ended.
    fn event(self, expected: &Expected) -> Event {
        match expected {
            Expected::Answers(answers) => {
                let head = self.stamp.get(..self.bytes.min(answers.kind.stamp_bytes())).unwrap_or_default();
                let is_stamped = self.bytes >= answers.kind.stamp_bytes();
                let stamp = if is_stamped { Stamp::decode(answers.kind, head) } else { None };
                let is_sound = if is_stamped { stamp.is_some() } else { answers.pattern.matches(0, head) };
                let intact = self.intact && is_sound && self.opcode == opcode(answers.kind);
                Event::Message { stamp, bytes: self.bytes, intact }
            }
            Expected::Ticks(pattern) => {
                let tick = Tick::decode(&self.payload, pattern);
                Event::Tick(tick.filter(|_| self.opcode == Opcode::Text))
            }
        }
    }
}

/// Reads one connection's frames, however its bytes are cut up. Holds no payload but a control frame's.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The beginning of a header that has not arrived whole.
    held: Vec<u8>,
    frame: Option<Frame>,
    message: Option<Message>,
    control: Vec<u8>,
}

impl Inbox {
    /// The next event in `bytes`, which are consumed up to its end; `None` when they hold no further one.
    ///
    /// # Errors
    /// What the server did that RFC 6455 forbids.
    #[inline]
    pub(crate) fn next(
        &mut self,
        bytes: &mut &[u8],
        expected: &Expected,
    ) -> Result<Option<Event>, Violation> {
        if self.frame.is_none()
            && self.message.is_none()
            && self.held.is_empty()
            && let Some((event, rest)) = expected.whole(bytes)
        {
            *bytes = rest;
            return Ok(Some(event));
        }
        self.next_in_pieces(bytes, expected)
    }

    fn next_in_pieces(&mut self, bytes: &mut &[u8], expected: &Expected) -> Result<Option<Event>, Violation> {
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(header) = self.header(bytes)? else { return Ok(None) };
                self.begin(&header)?;
                continue;
            };
            let len = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(len);
            *bytes = rest;
            frame.remaining -= wide(len);
            let ended = frame.remaining == 0;
            match &mut self.message {
                Some(message) if !frame.opcode.is_control() => message.handle(piece, expected),
                Some(_) | None => self.control.extend_from_slice(piece),
            }
            if !ended {
                return Ok(None);
            }
            let event = self.end(expected);
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The next frame's header, once it has arrived whole.
    fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, Violation> {
        if self.held.is_empty()
            && let Some((header, len)) = Header::parse(bytes)?
        {
            *bytes = bytes.get(len..).unwrap_or_default();
            return Ok(Some(header));
        }
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.held.push(byte);
            if let Some((header, _)) = Header::parse(&self.held)? {
                self.held.clear();
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, header: &Header) -> Result<(), Violation> {
        // §5.1: a client MUST close a connection if it detects a masked frame.
        if header.mask.is_some() {
            return Err(Violation::Masked);
        }
        // §5.2: MUST be 0 unless an extension is negotiated; we offer none.
        if header.rsv != Rsv::NONE {
            return Err(Violation::ReservedBits);
        }
        match (header.opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(Violation::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::MessageInterrupted),
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Message::begin(header.opcode));
            }
            (Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
        }
        self.frame = Some(Frame { opcode: header.opcode, fin: header.fin, remaining: header.payload_len });
        Ok(())
    }

    /// Ends the current frame, and says what it completed.
    fn end(&mut self, expected: &Expected) -> Option<Event> {
        let frame = self.frame.take()?;
        match frame.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.fin => {
                self.message.take().map(|message| message.event(expected))
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => None,
            Opcode::Ping => Some(Event::Ping(std::mem::take(&mut self.control))),
            Opcode::Pong => {
                self.control.clear();
                None
            }
            Opcode::Close => {
                let code =
                    std::mem::take(&mut self.control).first_chunk().map(|code| u16::from_be_bytes(*code));
                Some(Event::Close(code))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use selat::protocol::frame::{CloseCode, close_frame};

    use super::super::ConnectionId;
    use super::*;

    /// Feeds `bytes` in two pieces, cut at `cut`.
    fn events(bytes: &[u8], cut: usize, expected: &Expected) -> Result<Vec<Event>, Violation> {
        let (mut inbox, mut events) = (Inbox::default(), Vec::new());
        let (first, second) = bytes.split_at(cut);
        for mut piece in [first, second] {
            while let Some(event) = inbox.next(&mut piece, expected)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let len = payload.len().try_into().unwrap();
        Header { fin, ..Header::whole(opcode, None, len) }.encode(&mut frame);
        frame.extend_from_slice(payload);
        frame
    }

    fn stamp(number: u64) -> Stamp {
        Stamp::new(ConnectionId::new(3), number)
    }

    fn payload(number: u64, size: usize) -> Vec<u8> {
        let (mut payload, stamp) = (Pattern::new().payload(size), stamp(number).binary());
        payload[..stamp.len()].copy_from_slice(&stamp);
        payload
    }

    fn expected(mix: &str) -> Expected {
        Expected::answers(&mix.parse().unwrap(), Kind::Binary)
    }

    #[test]
    fn hears_the_same_however_the_bytes_are_cut() {
        let (first, second, short) = (payload(0, 200), payload(1, 64), Pattern::new().payload(5));
        let bytes = [
            frame(Opcode::Binary, true, &first),
            frame(Opcode::Ping, true, b"there?"),
            frame(Opcode::Binary, false, &second[..5]),
            frame(Opcode::Pong, true, b"unasked"),
            frame(Opcode::Continuation, false, &second[5..50]),
            frame(Opcode::Continuation, true, &second[50..]),
            frame(Opcode::Binary, true, &short),
            close_frame(CloseCode::NORMAL, "bye", None),
        ]
        .concat();
        let heard = [
            Event::Message { stamp: Some(stamp(0)), bytes: 200, intact: true },
            Event::Ping(b"there?".to_vec()),
            Event::Message { stamp: Some(stamp(1)), bytes: 64, intact: true },
            Event::Message { stamp: None, bytes: 5, intact: true },
            Event::Close(Some(1000)),
        ];
        for mix in ["200", "64", "200:50%,64:40%,5:10%"] {
            for cut in 0..bytes.len() {
                assert_eq!(events(&bytes, cut, &expected(mix)).unwrap(), heard, "cut at {cut}");
            }
        }
    }

    #[test]
    fn sees_one_changed_byte() {
        let whole = payload(0, 200);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let stamp = (at >= Kind::Binary.stamp_bytes()).then_some(stamp(0));
            for cut in [0, 1, 50, 200] {
                let bytes = frame(Opcode::Binary, true, &changed);
                let heard = events(&bytes, cut, &expected("200")).unwrap();
                assert_eq!(heard, [Event::Message { stamp, bytes: 200, intact: false }], "byte {at}");
            }
        }
        let bytes = frame(Opcode::Text, true, &whole);
        let heard = events(&bytes, 0, &expected("200")).unwrap();
        assert_eq!(heard, [Event::Message { stamp: Some(stamp(0)), bytes: 200, intact: false }]);
    }

    #[test]
    fn takes_messages_too_short_for_a_stamp() {
        for (payload, intact) in [(Pattern::new().payload(3), true), (vec![0; 3], false), (Vec::new(), true)]
        {
            let bytes = frame(Opcode::Binary, true, &payload);
            let heard = [Event::Message { stamp: None, bytes: payload.len(), intact }];
            assert_eq!(events(&bytes, 1, &expected("3")).unwrap(), heard);
        }
    }

    #[test]
    fn refuses_what_a_server_must_not_send() {
        let expected = expected("64");
        let rows: [(&[u8], Violation); 4] = [
            (&[0x82, 0x80, 0, 0, 0, 0], Violation::Masked),
            (&[0xC2, 0x00], Violation::ReservedBits),
            (&[0x80, 0x00], Violation::ContinuationUnexpected),
            (&[0x02, 0x00, 0x82, 0x00], Violation::MessageInterrupted),
        ];
        for (bytes, violation) in rows {
            assert_eq!(events(bytes, 0, &expected), Err(violation));
        }
    }
    #[test]
    fn hears_ticks_however_the_bytes_are_cut() {
        let (pattern, expected) = (Pattern::text(), Expected::Ticks(Pattern::text()));
        let ticks = [0, 1].map(|number| Tick { key: 3, number, nanos: 5 });
        let [first, second] = ticks.map(|tick| tick.frame(128, &pattern));
        let payload = &second[Header::parse(&second).unwrap().unwrap().1..];
        let bytes = [
            first.clone(),
            frame(Opcode::Text, false, &payload[..50]),
            frame(Opcode::Ping, true, b"there?"),
            frame(Opcode::Continuation, true, &payload[50..]),
            first,
        ]
        .concat();
        let [first, second] = ticks.map(|tick| Event::Tick(Some(tick)));
        let heard = [first, Event::Ping(b"there?".to_vec()), second, Event::Tick(Some(ticks[0]))];
        for cut in 0..bytes.len() {
            assert_eq!(events(&bytes, cut, &expected).unwrap(), heard, "cut at {cut}");
        }
    }

    #[test]
    fn knows_what_is_no_tick() {
        let expected = Expected::Ticks(Pattern::text());
        let tick = Tick { key: 3, number: 1, nanos: 5 }.frame(128, &Pattern::text());
        let payload = &tick[Header::parse(&tick).unwrap().unwrap().1..];
        for bytes in [frame(Opcode::Binary, true, payload), frame(Opcode::Text, true, b"Connected")] {
            for cut in 0..bytes.len() {
                assert_eq!(events(&bytes, cut, &expected).unwrap(), [Event::Tick(None)], "cut at {cut}");
            }
        }
    }
}
