//! The responder: the same answers for any cut, and always a legal server's stream (RFC 6455 §5.5).

use selat::protocol::Role;
use selat::protocol::frame::{CloseCode, End, Rsv, Rules, Scanner};
use selat::session::{Responder, Script, Settings};

use super::cuts::pieces;
use super::foreign::{self, Stop};

/// Whatever a client sends and however it arrives, it gets the answers to the whole: its messages back from an echo,
/// frames that break no rule, and nothing after a Close.
pub(crate) fn check(script: Script, message_bytes_max: u64, bytes: &[u8], sizes: &[usize]) {
    let (answers, is_over) = respond(script, message_bytes_max, &[bytes]);
    assert_eq!(respond(script, message_bytes_max, &pieces(bytes, sizes)), (answers.clone(), is_over));

    let rules = Rules::unlimited(Role::Server, Rsv::NONE);
    let scan = Scanner::new(rules).scan(&answers);
    assert_eq!(scan.forward, answers.len(), "not whole: {:?}", scan.end);
    assert_eq!(matches!(scan.end, End::Close { .. }), is_over, "ends with a Close, or not at all");

    let sent = foreign::read(Role::Client, bytes, message_bytes_max);
    let answered = foreign::read(Role::Server, &answers, u64::MAX);
    if script == Script::Listen {
        assert_eq!(answered.messages, []);
        return;
    }
    // The header rules in which selat is stricter than tungstenite may have ended it before.
    assert!(sent.messages.starts_with(&answered.messages), "{sent:?} became {answered:?}");
    // Beyond text that is not UTF-8 tungstenite does not look.
    if answered.stop != Some(Stop::Utf8) {
        let rules = Rules { message_bytes_max, ..Rules::unlimited(Role::Client, Rsv::NONE) };
        let legal = Scanner::new(rules).scan(bytes).messages;
        assert_eq!(u64::try_from(answered.messages.len()), Ok(legal));
    }
}

fn respond(script: Script, message_bytes_max: u64, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let settings = Settings { message_bytes_max, ..Settings::default() };
    let mut responder = Responder::new(script, &settings);
    let mut kept = Vec::new();
    let mut answers = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let was_over = responder.is_over();
        let before = answers.len();
        let flow = responder.handle_bytes(&kept, &mut answers);
        assert!(flow.forward <= kept.len());
        kept = flow.rest(&kept).to_vec();
        assert!(kept.len() <= Scanner::KEEP_BYTES_MAX);
        assert!(!was_over || (answers.len() == before && kept.is_empty()), "speaks after its Close");
        assert!(!(responder.is_over() && responder.is_between_messages()));
    }
    (answers, responder.is_over())
}

/// A Close of the server's own, asked for at any moment, stands between two frames and is the last.
pub(crate) fn check_close(script: Script, bytes: &[u8], at: usize) {
    let mut responder = Responder::new(script, &Settings::default());
    let mut answers = Vec::new();
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let flow = responder.handle_bytes(before, &mut answers);
    responder.close(CloseCode::GOING_AWAY, "going away", &mut answers);
    responder.handle_bytes(&[flow.rest(before), after].concat(), &mut answers);

    let rules = Rules::unlimited(Role::Server, Rsv::NONE);
    let scan = Scanner::new(rules).scan(&answers);
    assert_eq!(scan.forward, answers.len(), "not whole: {:?}", scan.end);
    assert_eq!(matches!(scan.end, End::Close { .. }), responder.is_over(), "a Close inside a frame");
}
