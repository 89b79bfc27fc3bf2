//! Compressed messages, inflated within a bound (RFC 7692 §7.2.2).

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::protocol::handshake::{Context, Deflate};

/// What a sender leaves out at the end of each message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Room that is made for output at a time.
const ROOM_BYTES: usize = 16 * 1024;

/// Inflates the messages of one connection, in order.
pub(super) struct Inflater {
    /// With the last 32 KiB that came out of it, for messages that refer to them.
    state: Box<InflateState>,
    context: Context,
}

/// Not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No DEFLATE (RFC 1951).
    Corrupt,
    /// More than was allowed came out of it.
    TooLong,
}

impl Inflater {
    pub(super) fn new(deflate: Deflate) -> Self {
        Self { state: InflateState::new_boxed(DataFormat::Raw), context: deflate.context }
    }

    /// The payload of a message, at most `bytes_max`; no more memory than that is taken for it, whatever is announced.
    /// After a fault the connection is of no further use.
    pub(super) fn inflate(&mut self, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
        if self.context == Context::Fresh {
            self.state = InflateState::new_boxed(DataFormat::Raw);
        }
        let mut payload = Vec::new();
        for input in [compressed, &TAIL] {
            if let Some(rest) = self.pass(input, bytes_max, &mut payload)? {
                // §7.2.3.4: a block with BFINAL ends a message as well, with the first byte of an empty block behind it.
                // What follows begins with no window.
                self.state = InflateState::new_boxed(DataFormat::Raw);
                return if matches!(rest, [] | [0]) { Ok(payload) } else { Err(Fault::Corrupt) };
            }
        }
        Ok(payload)
    }

    /// Appends what comes out of `input`; if that ends by itself, says what is left of it.
    fn pass<'i>(
        &mut self,
        mut input: &'i [u8],
        bytes_max: usize,
        payload: &mut Vec<u8>,
    ) -> Result<Option<&'i [u8]>, Fault> {
        loop {
            let len = payload.len();
            // One byte beyond the bound, so that what reaches it can be told from what passes it.
            let room = ROOM_BYTES.min(bytes_max.saturating_add(1) - len);
            payload.resize(len + room, 0);
            let output = payload.get_mut(len..).unwrap_or_default();
            let result = inflate(&mut self.state, input, output, MZFlush::None);
            payload.truncate(len + result.bytes_written);
            input = input.get(result.bytes_consumed..).unwrap_or_default();
            if payload.len() > bytes_max {
                return Err(Fault::TooLong);
            }
            match result.status {
                Ok(MZStatus::StreamEnd) => return Ok(Some(input)),
                // All that could come out of the input has.
                Ok(_) if input.is_empty() && result.bytes_written < room => return Ok(None),
                Ok(_) => {}
                Err(MZError::Buf) if input.is_empty() => return Ok(None),
                Err(_) => return Err(Fault::Corrupt),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Deflate = Deflate { context: Context::Kept };

    #[test]
    fn inflates_the_examples_of_rfc_7692_7_2_3() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let mut inflater = Inflater::new(KEPT);
        // §7.2.3.1 and §7.2.3.2: the second refers to the first.
        assert_eq!(inflater.inflate(&hello, 5).unwrap(), b"Hello");
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 5).unwrap(), b"Hello");
        // §7.2.3.3: a block without compression.
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(inflater.inflate(&stored, 5).unwrap(), b"Hello");
        // §7.2.3.4: BFINAL; and a message after it.
        assert_eq!(inflater.inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 5).unwrap(), b"Hello");
        assert_eq!(inflater.inflate(&hello, 5).unwrap(), b"Hello");
        // §7.2.3.5: two blocks.
        let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflater.inflate(&two, 5).unwrap(), b"Hello");
        // §7.2.3.6: nothing.
        assert_eq!(inflater.inflate(&[0x00], 5).unwrap(), b"");
    }

    #[test]
    fn nothing_hides_behind_an_end() {
        let hidden = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x48];
        assert_eq!(Inflater::new(KEPT).inflate(&hidden, 100), Err(Fault::Corrupt));
    }

    #[test]
    fn inflates_what_zlib_compresses_message_after_message() {
        // Python's zlib.compressobj(9, DEFLATED, -9), flushed with Z_SYNC_FLUSH after each.
        let rows: [(&[u8], &str); 4] = [
            (
                b"\xaaV*\xae\xccM\xca\xcfQ\xb2Rr\r\r\n\rvQ\xd2QJ\xcaLQ\xb22\xd430\xd0Q*)\x06\xb2\xcc\r\xa0\xa0\x16\0",
                r#"{"symbol":"EURUSD","bid":1.00,"ts":1700000000}"#,
            ),
            (b"\xaa\xc6\xa3\xda\xd8\x1cM\xb9a-\0", r#"{"symbol":"EURUSD","bid":1.037,"ts":1700000001}"#),
            (b"\xc2\xa7\xdc\xdc\x04M\xb9Q-\0", r#"{"symbol":"EURUSD","bid":1.074,"ts":1700000002}"#),
            (b"\xc2\xa7\xdc\xd0\x10M\xb9q-\0", r#"{"symbol":"EURUSD","bid":1.011,"ts":1700000003}"#),
        ];
        let mut inflater = Inflater::new(KEPT);
        for (compressed, text) in rows {
            assert_eq!(inflater.inflate(compressed, 100).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn without_context_no_message_refers_to_another() {
        let mut inflater = Inflater::new(Deflate { context: Context::Fresh });
        assert_eq!(inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5).unwrap(), b"Hello");
        // Beyond the beginning there is nothing but zeros.
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 5).unwrap(), b"H\0\0\0\0");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let zeros = vec![0; 10 << 20];
        let mut bomb = miniz_oxide::deflate::compress_to_vec(&zeros, 9);
        assert!(bomb.len() < 20_000);
        assert_eq!(Inflater::new(KEPT).inflate(&bomb, zeros.len()).unwrap(), zeros);
        assert_eq!(Inflater::new(KEPT).inflate(&bomb, zeros.len() - 1), Err(Fault::TooLong));
        assert_eq!(Inflater::new(KEPT).inflate(&bomb, 0), Err(Fault::TooLong));
        bomb.fill(0xFF);
        assert_eq!(Inflater::new(KEPT).inflate(&bomb, zeros.len()), Err(Fault::Corrupt));
    }
}
