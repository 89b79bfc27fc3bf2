//! Feeds: sources, what they are told, and what becomes of what they say.

use super::Default::{Filled, Is, Nothing, Required};
use super::tls::CLIENT_KEYS;
use super::{Key, Kind, Section};

const SOURCE: Kind = Kind::Form("a source's URL", "\"wss://vendor.example/feed?token=${TOKEN}\"");
const PATTERN: Kind = Kind::Form("a text, with * for any part of it", "\"Connected\" or \"*limit*\"");
const WINDOW: Kind = Kind::Form("a part of each week in UTC", "\"Fri 22:00-Sun 22:00 UTC\"");
const TEMPLATE: Kind =
    Kind::Form("a text with {keys} in it", "'{\"op\":\"subscribe\",\"args\":[\"{keys}\"]}'");

pub(super) const FEED: Section = Section {
    heading: "feed.NAME",
    about: "One source, such as a market-data vendor or a chat room, extended to any number of clients: selat holds one \
            connection to it, and sends each of its messages to everybody on the routes that name this feed.",
    keys: &[
        Key {
            name: "sources",
            kind: Kind::List(&SOURCE),
            default: Required,
            about: "Where it comes from. The first is preferred, the others are spares. Path and query are asked for as \
                    they stand; what a `${NAME}` stands for in them is never shown.",
        },
        Key {
            name: "headers",
            kind: Kind::Map(&Kind::Form("a header's value", "\"Bearer ${TOKEN}\"")),
            default: Is { toml: "{}", because: "most sources want none" },
            about: "Headers of the request to a source, such as an API key, or subprotocols as \
                    `Sec-WebSocket-Protocol`.",
        },
        Key {
            name: "on_open",
            kind: Kind::List(&Kind::Form("a text", "'{\"userKey\":\"${KEY}\",\"symbol\":\"EURUSD\"}'")),
            default: Is { toml: "[]", because: "some sources begin by themselves" },
            about: "Text messages that a source gets as soon as it is connected, in this order, each time.",
        },
        Key {
            name: "skip",
            kind: Kind::List(&PATTERN),
            default: Is { toml: "[]", because: "whatever a source says is taken for data" },
            about: "Text messages of the source that are not data, such as greetings: no client gets them.",
        },
        Key {
            name: "fatal",
            kind: Kind::List(&PATTERN),
            default: Is { toml: "[]", because: "a source that fails may be well again soon" },
            about: "Text messages of the source after which it is not to be dialled any more, until a reload: it has \
                    refused the key, and trying again makes it worse. `selat status` and the metrics say so.",
        },
        Key {
            name: "key",
            kind: Kind::Form("a JSON pointer", "\"/symbol\" or \"/data/0/id\""),
            default: Nothing("messages are not about anything in particular"),
            about: "Where a message says what it is about (RFC 6901). Messages of the same key replace each other.",
        },
        Key {
            name: "keys_max",
            kind: Kind::Count(1, 10_000_000),
            default: Is { toml: "10000", because: "there are fewer symbols, and somebody may make up keys" },
            about: "Keys whose last message is remembered; beyond, the one that was silent longest is forgotten. Also \
                    keys that the source is asked for on behalf of `subscriptions`; beyond, they wait.",
        },
        Key {
            name: "snapshot",
            kind: Kind::Flag,
            default: Is { toml: "false", because: "clients may take a last value for a new one" },
            about: "Whether who joins gets the last message of every key first. Needs `key`.",
        },
        Key {
            name: "history",
            kind: Kind::Count(1, 100_000),
            default: Nothing("who joins gets what comes from then on"),
            about: "How many of the last messages who joins gets first.",
        },
        Key {
            name: "message",
            kind: Kind::Size,
            default: Is { toml: "\"1MiB\"", because: "it is held in memory, and a price has less" },
            about: "The largest message of a source, its fragments together and inflated; a source that sends a larger \
                    one is dialled anew.",
        },
        Key {
            name: "slow",
            kind: Kind::Table(&SLOW),
            default: Filled,
            about: "What becomes of clients that do not keep up.",
        },
        Key {
            name: "stall",
            kind: Kind::Table(&STALL),
            default: Filled,
            about: "When a source that says nothing is given up.",
        },
        Key {
            name: "rotate",
            kind: Kind::Table(&ROTATE),
            default: Nothing("a connection is kept for as long as it lasts"),
            about: "When a connection is replaced before the vendor cuts it.",
        },
        Key {
            name: "backoff",
            kind: Kind::Table(&BACKOFF),
            default: Filled,
            about: "How long between two attempts to connect.",
        },
        Key {
            name: "compression",
            kind: Kind::Flag,
            default: Is { toml: "false", because: "inflating costs time, and small messages save little" },
            about: "Whether compression (RFC 7692) is offered to the source. Clients get messages uncompressed.",
        },
        Key {
            name: "client_messages",
            kind: Kind::Word(&["discard", "reject", "forward"]),
            default: Is {
                toml: "\"discard\"",
                because: "clients of a feed listen; what they say harms nobody",
            },
            about: "What becomes of what clients say: nothing; Close 1008; or it goes to the source as it is. What \
                    `auth.first_message` or `subscriptions` understand is not meant.",
        },
        Key {
            name: "subscriptions",
            kind: Kind::Table(&SUBSCRIPTIONS),
            default: Nothing("all clients get what the source was told by `on_open`"),
            about: "How clients choose keys at the source. Needs `key`.",
        },
        Key {
            name: "gap_message",
            kind: Kind::Text,
            default: Nothing("clients are not told"),
            about: "A text message that every client gets when messages of the source may have been missed.",
        },
        Key {
            name: "connect_timeout",
            kind: Kind::Duration,
            default: Is { toml: "\"5s\"", because: "a source that needs longer is as good as down" },
            about: "For a source to accept a connection and answer the handshake; then the next one is tried.",
        },
        Key {
            name: "resolve_every",
            kind: Kind::Duration,
            default: Is { toml: "\"30s\"", because: "records of services change within a minute or so" },
            about: "How often names are resolved again.",
        },
        Key {
            name: "tls",
            kind: Kind::Table(&TLS),
            default: Nothing("`wss://` sources are held against the authorities of this machine"),
            about: "How TLS is spoken with those sources whose URL begins with `wss://`.",
        },
    ],
};

const SLOW: Section = Section {
    heading: "feed.NAME.slow",
    about: "What becomes of clients that do not keep up. The others do not notice.",
    keys: &[
        Key {
            name: "policy",
            kind: Kind::Word(&["disconnect", "drop-oldest", "conflate"]),
            default: Is { toml: "\"disconnect\"", because: "nobody misses a message without knowing" },
            about: "What a client gets for which more than `buffer` waits: Close 1013; the messages that are still \
                    there; or of each key the latest alone, until it has caught up, which needs `key`.",
        },
        Key {
            name: "buffer",
            kind: Kind::Size,
            default: Is { toml: "\"1MiB\"", because: "it is seconds of most feeds; all clients share it" },
            about: "Bytes of messages that may wait for a client. They are held once for each core, not for each \
                    client.",
        },
        Key {
            name: "evict_after",
            kind: Kind::Duration,
            default: Is { toml: "\"30s\"", because: "phones that change networks are silent for seconds" },
            about: "A client that takes nothing for so long, while messages wait for it, gets Close 1013.",
        },
    ],
};

const STALL: Section = Section {
    heading: "feed.NAME.stall",
    about: "When a source that says nothing is given up, and another connection made.",
    keys: &[
        Key {
            name: "after",
            kind: Kind::Duration,
            default: Nothing("a source may say nothing for as long as it answers pings"),
            about: "Without a message for so long, the connection is replaced, though it answers pings.",
        },
        Key {
            name: "quiet",
            kind: Kind::Either(&WINDOW, &Kind::List(&WINDOW)),
            default: Is { toml: "[]", because: "only who knows the source knows its hours" },
            about: "When silence is normal, such as while markets are closed: an answered ping is life enough then.",
        },
        Key {
            name: "ping",
            kind: Kind::Table(&PING),
            default: Filled,
            about: "Pings to the source while it says nothing.",
        },
    ],
};

const PING: Section = Section {
    heading: "feed.NAME.stall.ping",
    about: "Pings to the source while it says nothing, which find a connection that is dead.",
    keys: &[
        Key {
            name: "every",
            kind: Kind::Duration,
            default: Is { toml: "\"20s\"", because: "NATs forget connections after 30 seconds and more" },
            about: "From one ping to the next.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Is { toml: "\"20s\"", because: "a server that pauses for longer is as good as dead" },
            about: "Without a sign of life behind a ping; then the source is taken for dead.",
        },
    ],
};

const ROTATE: Section = Section {
    heading: "feed.NAME.rotate",
    about: "Replacing a connection before the vendor cuts it: the new one is made before the old one is closed, and \
            what both bring is sent once. For vendors that allow a second connection for a moment.",
    keys: &[
        Key {
            name: "every",
            kind: Kind::Duration,
            default: Required,
            about: "How old a connection gets: `\"23h\"` where the vendor cuts it after 24.",
        },
        Key {
            name: "overlap",
            kind: Kind::Duration,
            default: Is { toml: "\"5s\"", because: "most sources are in step again by then" },
            about: "For how long both are read. Less than `every`.",
        },
    ],
};

const BACKOFF: Section = Section {
    heading: "feed.NAME.backoff",
    about: "How long between two attempts to connect: twice as long after each failure, with jitter.",
    keys: &[
        Key {
            name: "min",
            kind: Kind::Duration,
            default: Is { toml: "\"500ms\"", because: "most failures are over at once" },
            about: "After the first failure.",
        },
        Key {
            name: "max",
            kind: Kind::Duration,
            default: Is { toml: "\"30s\"", because: "vendors count attempts, and clients wait" },
            about: "At most. Not less than `min`.",
        },
    ],
};

const SUBSCRIPTIONS: Section = Section {
    heading: "feed.NAME.subscriptions",
    about: "How clients choose keys: they say to selat what they would say to the source, and get the keys they have \
            asked for. selat keeps the union of all, and tells the source what changes.",
    keys: &[
        Key {
            name: "subscribe",
            kind: TEMPLATE,
            default: Required,
            about: "The message that asks for keys, with `{keys}` where they stand; where `[\"{keys}\"]` stands, they are \
                    a list. What a `${NAME}` stands for goes to the source; clients may say anything there.",
        },
        Key {
            name: "unsubscribe",
            kind: TEMPLATE,
            default: Nothing("clients cannot, and the source is not told when nobody wants a key any more"),
            about: "The message after which keys are wanted no more.",
        },
        Key {
            name: "separator",
            kind: Kind::Text,
            default: Is { toml: "\",\"", because: "it is what most vendors write" },
            about: "What stands between two keys that are not a list.",
        },
        Key {
            name: "conflict",
            kind: Kind::Word(&["adds", "replaces"]),
            default: Is { toml: "\"adds\"", because: "it is what most vendors do" },
            about: "What a new subscription means to the source: it adds to those before, so that only what changes is \
                    sent; or it replaces them, so that all keys are sent each time.",
        },
        Key {
            name: "topics_max",
            kind: Kind::Count(1, 1_000_000),
            default: Is { toml: "100", because: "a screen shows fewer, and vendors count them" },
            about: "Keys that one client may have; beyond: Close 1008.",
        },
    ],
};

const TLS: Section = Section {
    heading: "feed.NAME.tls",
    about: "How TLS is spoken with the `wss://` sources of a feed. Its files are looked at for changes, as those of a \
            listener are.",
    keys: CLIENT_KEYS,
};
