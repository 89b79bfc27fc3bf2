//! What the sessions of a route are held to.

use super::Default::{Is, Nothing, Required};
use super::{Key, Kind, Section};

pub(super) const LIMITS: Section = Section {
    heading: "route.NAME.limits",
    about: "How much a client may do. Counts are those of the whole process.",
    keys: &[
        Key {
            name: "message",
            kind: Kind::Size,
            default: Nothing("no limit"),
            about: "The largest message of either side, all its fragments together, as on the wire; beyond: Close \
                    1009. Messages are never held in memory, so this protects the backend, not selat.",
        },
        Key {
            name: "frame",
            kind: Kind::Size,
            default: Nothing("no limit"),
            about: "The largest frame of a message of either side, as on the wire; beyond: Close 1009.",
        },
        Key {
            name: "rate",
            kind: Kind::Rate,
            default: Nothing("no limit"),
            about: "Messages that a client may send a second. What comes in one read, 256 KiB at most, passes together \
                    and is made up for.",
        },
        Key {
            name: "rate_burst",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("what `rate` allows in a second"),
            about: "Messages that it may send at once, after a pause.",
        },
        Key {
            name: "bytes",
            kind: Kind::SizeRate,
            default: Nothing("no limit"),
            about: "Bytes that a client may send a second, as on the wire.",
        },
        Key {
            name: "bytes_burst",
            kind: Kind::Size,
            default: Nothing("what `bytes` allows in a second"),
            about: "Bytes that it may send at once, after a pause.",
        },
        Key {
            name: "excess",
            kind: Kind::Word(&["slow", "close"]),
            default: Is {
                toml: "\"slow\"",
                because: "TCP slows a client down without loss, and most are only eager",
            },
            about: "What happens to a client that sends more than `rate` or `bytes`: it is not read until it may, or \
                    it gets Close 1008.",
        },
        Key {
            name: "connections",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("no limit but the process's"),
            about: "Sessions on this route; beyond: 503.",
        },
        Key {
            name: "connections_per_ip",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("no limit"),
            about: "Sessions on this route of one client address, where an IPv6 /64 counts as one; beyond: 429.",
        },
        Key {
            name: "connections_per_identity",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("no limit"),
            about: "Sessions on this route of one identity: what the client has proved by the route's `auth`, or else \
                    the name in its TLS certificate; beyond: 429. Clients without an identity are not counted.",
        },
        Key {
            name: "handshakes",
            kind: Kind::Rate,
            default: Nothing("no limit"),
            about: "Handshakes that may begin on this route a second; beyond: 429. Each core keeps an equal share.",
        },
        Key {
            name: "handshakes_burst",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("what `handshakes` allows in a second"),
            about: "Handshakes that may begin at once, after a pause.",
        },
    ],
};

const PINGS: &[Key] = &[
    Key { name: "every", kind: Kind::Duration, default: Required, about: "From one ping to the next." },
    Key {
        name: "timeout",
        kind: Kind::Duration,
        default: Nothing("the `timeout` of both sides"),
        about: "Without a sign of life behind a ping; then the peer is taken for dead and the session ends.",
    },
];

pub(super) const PING: Section = Section {
    heading: "route.NAME.ping",
    about: "Pings from selat, to both sides alike or to each at its own pace.",
    keys: &[
        Key {
            name: "every",
            kind: Kind::Duration,
            default: Nothing("only a side with a table of its own is pinged"),
            about: "From one ping to the next, on both sides.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Is { toml: "\"20s\"", because: "phones that change networks are silent for seconds" },
            about: "Without a sign of life behind a ping; then the peer is taken for dead and the session ends.",
        },
        Key {
            name: "client",
            kind: Kind::Table(&PING_CLIENT),
            default: Nothing("as for both sides"),
            about: "Pings to the client.",
        },
        Key {
            name: "backend",
            kind: Kind::Table(&PING_BACKEND),
            default: Nothing("as for both sides"),
            about: "Pings to the backend.",
        },
    ],
};

const PING_CLIENT: Section =
    Section { heading: "route.NAME.ping.client", about: "Pings to the client.", keys: PINGS };

const PING_BACKEND: Section =
    Section { heading: "route.NAME.ping.backend", about: "Pings to the backend.", keys: PINGS };

pub(super) const TIMEOUTS: Section = Section {
    heading: "route.NAME.timeouts",
    about: "How long a session may take over what.",
    keys: &[
        Key {
            name: "idle",
            kind: Kind::Duration,
            default: Is {
                toml: "\"1h\"",
                because: "applications are silent for long, but a lost peer must not stay forever",
            },
            about: "Without a byte in either direction; then Close 1001. A ping's pong is a byte.",
        },
        Key {
            name: "lifetime",
            kind: Kind::Duration,
            default: Nothing("no limit"),
            about: "Of a session as a whole; then Close 1001 at the end of a message.",
        },
        Key {
            name: "close",
            kind: Kind::Duration,
            default: Is {
                toml: "\"10s\"",
                because: "a peer answers a Close at once; what takes longer will not come",
            },
            about: "For a closing handshake, from its first Close to the end of both connections; then they are cut.",
        },
    ],
};
