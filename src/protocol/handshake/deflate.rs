//! What is agreed on for compression (RFC 7692 §7.1), selat being the client.

use super::InvalidAnswer;

/// permessage-deflate, as a server has accepted it. What selat sends stays uncompressed, which is legal for each
/// message by itself (RFC 7692 §6); only what the server sends has to be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// Whether a message may refer to those before it (§7.1.1.1).
    pub context: Context,
}

/// How far back in the stream a compressed message may refer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Over the messages before it: their last 32 KiB are kept.
    Kept,
    /// Not beyond its own beginning (`server_no_context_takeover`).
    Fresh,
}

/// The name of the extension.
pub(super) const NAME: &[u8] = b"permessage-deflate";

impl Deflate {
    /// What is offered: a server need not keep a window for what we send, for none of it is compressed (§7.1.1.2). Its
    /// own window may be as large as it can be, 32 KiB, so that there is nothing to agree on (§7.1.2.1).
    pub(super) const OFFER: &'static [u8] = b"permessage-deflate; client_no_context_takeover";

    /// Reads a member of `Sec-WebSocket-Extensions` in the answer to [`Self::OFFER`].
    ///
    /// # Errors
    /// [`InvalidAnswer::Deflate`]: §7.1 has a client fail the connection then.
    pub(super) fn accepted(member: &[u8]) -> Result<Self, InvalidAnswer> {
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut context = Context::Kept;
        for parameter in member.split(|byte| *byte == b';').skip(1) {
            let (name, value) = split(parameter);
            match name {
                b"server_no_context_takeover" if value.is_none() => context = Context::Fresh,
                b"client_no_context_takeover" if value.is_none() => {}
                // §7.1.2.1: legal unasked. Whoever can inflate from 32 KiB can from less.
                b"server_max_window_bits" if value.is_some_and(is_window) => {}
                // §7.1.2.2: `client_max_window_bits` may only answer an offer that has it.
                _ => return Err(InvalidAnswer::Deflate),
            }
            if seen.contains(&name) {
                return Err(InvalidAnswer::Deflate);
            }
            seen.push(name);
        }
        Ok(Self { context })
    }
}

/// Name and value of a parameter; a value may stand in quotes (RFC 6455 §9.1).
fn split(parameter: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memchr(b'=', parameter) else { return (parameter.trim_ascii(), None) };
    let (name, value) = parameter.split_at_checked(at).unwrap_or((parameter, &[]));
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    (name.trim_ascii(), Some(quoted.unwrap_or(value)))
}

/// §7.1.2.1: a number from 8 to 15, without leading zeros.
fn is_window(value: &[u8]) -> bool {
    matches!(value, [b'8' | b'9'] | [b'1', b'0'..=b'5'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_a_server_may_say_and_nothing_else() {
        let kept = Ok(Deflate { context: Context::Kept });
        let fresh = Ok(Deflate { context: Context::Fresh });
        let rows = [
            ("permessage-deflate", kept),
            ("permessage-deflate; client_no_context_takeover", kept),
            ("permessage-deflate;server_no_context_takeover ; server_max_window_bits=\"10\"", fresh),
            ("permessage-deflate; server_max_window_bits=15", kept),
            ("permessage-deflate; server_max_window_bits", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; server_max_window_bits=7", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; server_max_window_bits=16", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; server_max_window_bits=08", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; client_max_window_bits=10", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; client_no_context_takeover=1", Err(InvalidAnswer::Deflate)),
            ("permessage-deflate; shortcut", Err(InvalidAnswer::Deflate)),
            (
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                Err(InvalidAnswer::Deflate),
            ),
        ];
        for (member, expected) in rows {
            assert_eq!(Deflate::accepted(member.as_bytes()), expected, "{member}");
        }
    }
}
