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
            if self.pass(input, bytes_max, &mut payload)? == MZStatus::StreamEnd {
                // §7.2.3.4: a block with BFINAL ends the message as well; what follows begins with no window.
                self.state = InflateState::new_boxed(DataFormat::Raw);
                break;
            }
        }
        Ok(payload)
    }

    fn pass(&mut self, mut input: &[u8], bytes_max: usize, payload: &mut Vec<u8>) -> Result<MZStatus, Fault> {
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
                Ok(MZStatus::StreamEnd) => return Ok(MZStatus::StreamEnd),
                // All that could come out of the input has.
                Ok(status) if input.is_empty() && result.bytes_written < room => return Ok(status),
                Ok(_) => {}
                Err(MZError::Buf) if input.is_empty() => return Ok(MZStatus::Ok),
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
