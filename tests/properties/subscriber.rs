//! A client of a feed: heard and answered alike for any cut, and as tungstenite would hear it (RFC 6455 §5.4–§5.6).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selat::feed::{ClientMessages, Kind, Settings, Subscriber, Terms, Utterance};
use selat::protocol::Role;
use selat::protocol::frame::{End, Rsv, Rules, Scanner};
use selat::session::{self, Disposition, Then};
use tungstenite::Message;

use super::cuts::pieces;
use super::foreign;

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Heard {
    said: Vec<Utterance>,
    answers: Vec<u8>,
    is_over: bool,
    disposition: Disposition,
}

/// Whatever a client sends and however it arrives, the same is heard of it, and the same answered: a legal server's
/// stream with nothing behind a Close. What is heard are its messages.
pub(crate) fn check(client_messages: ClientMessages, is_proven: bool, bytes: &[u8], sizes: &[usize]) {
    let heard = hear(client_messages, is_proven, &[bytes]);
    assert_eq!(hear(client_messages, is_proven, &pieces(bytes, sizes)), heard);

    let scan = Scanner::new(Rules::unlimited(Role::Server, Rsv::NONE)).scan(&heard.answers);
    assert_eq!(scan.forward, heard.answers.len(), "not whole: {:?}", scan.end);
    assert_eq!(matches!(scan.end, End::Close { .. }), heard.is_over, "ends with a Close, or not at all");
    assert_eq!(scan.messages, 0, "a good key is not answered");

    let sent = foreign::read(Role::Client, bytes, u64::MAX).messages;
    assert!(heard.said.len() <= sent.len(), "more than was sent");
    for (sent, said) in sent.iter().zip(&heard.said) {
        match said {
            Utterance::Forward(Kind::Binary, payload) => assert_eq!(sent, &Message::binary(payload.to_vec())),
            Utterance::Forward(Kind::Text, payload) => {
                assert!(sent.is_text() && *sent.clone().into_data() == **payload)
            }
            // Which kind it was does not matter.
            Utterance::First(payload) => assert_eq!(sent.clone().into_data(), payload),
            Utterance::Subscribe(_) | Utterance::Unsubscribe(_) => panic!("there is nothing to subscribe to"),
        }
    }
    let is_open = !heard.is_over;
    match client_messages {
        ClientMessages::Forward if is_open => assert_eq!(heard.said.len(), sent.len(), "not all was heard"),
        ClientMessages::Reject if is_open => assert!(sent.len() <= usize::from(!is_proven), "not refused"),
        ClientMessages::Discard | ClientMessages::Reject => {
            assert!(heard.said.len() <= usize::from(!is_proven), "nobody wants it");
        }
        ClientMessages::Forward => {}
    }
}

fn hear(client_messages: ClientMessages, is_proven: bool, pieces: &[&[u8]]) -> Heard {
    let feed = Arc::new(Settings { client_messages, ..Settings::default() });
    let session = Rc::new(session::Settings::default());
    let first_message_within = (!is_proven).then_some(Duration::from_secs(10));
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
    let now = Instant::now();
    let mut subscriber = Subscriber::new(Terms { session: &session, feed: &feed, first_message_within }, now);
    let (mut said, mut answers, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let flow = subscriber.handle_bytes(&kept, now, &mut answers);
            assert!(flow.forward <= flow.judged && flow.judged <= kept.len());
            kept = flow.rest(&kept).to_vec();
            while let Some(next) = subscriber.poll_said() {
                assert!(subscriber.may_send() != matches!(next, Utterance::First(_)));
                if matches!(next, Utterance::First(_)) {
                    subscriber.admit();
                }
                said.push(next);
            }
            if flow.then != Then::Judge {
                break;
            }
        }
        assert!(kept.len() <= Scanner::KEEP_BYTES_MAX);
    }
    Heard { said, answers, is_over: subscriber.is_over(), disposition: subscriber.disposition() }
}
