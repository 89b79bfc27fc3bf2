//! Pools and their backends.

use super::Default::{Filled, Is, Nothing, Required};
use super::{Key, Kind, Section, tls::POOL_TLS};

const URL: Kind = Kind::Form("a backend's URL", "\"ws://10.0.0.1:9001\" or \"wss://chat.example/base\"");

pub(super) const POOL: Section = Section {
    heading: "pool.NAME",
    about: "Servers that do the same work. Each session is placed on one of them.",
    keys: &[
        BACKENDS,
        Key {
            name: "balance",
            kind: Kind::Form(
                "a policy",
                "\"round-robin\", \"weighted\", \"least-connections\", \"p2c\", \"ewma\", \"hash:ip\", \"hash:header:X\", \
                 \"hash:cookie:X\", \"hash:query:X\" or \"hash:path\"",
            ),
            default: Is {
                toml: "\"round-robin\"",
                because: "it is what every other proxy does, and needs no counts",
            },
            about: "How a backend is chosen: in turn; in turn by weight; the fewest sessions; the fewer sessions of \
                    two at random; the faster handshakes of two at random; or always the same for the same client \
                    address, header, cookie, query parameter or path. Weights count in all of them.",
        },
        HEALTH,
        OUTLIER,
        SLOW_START,
        PANIC_BELOW,
        QUEUE,
        CONNECT_TIMEOUT,
        RESOLVE_EVERY,
        TLS,
        SEND_PROXY,
    ],
};

/// The keys of servers, be they of a pool or of a dispatch.
pub(super) const BACKENDS: Key = Key {
    name: "backends",
    kind: Kind::List(&Kind::Either(&URL, &Kind::Table(&BACKEND))),
    default: Required,
    about: "The servers: as URLs, or as tables where there is more to say. A name is resolved, and each of \
            its addresses is a backend.",
};

pub(super) const HEALTH: Key = Key {
    name: "health",
    kind: Kind::Table(&HEALTH_KEYS),
    default: Filled,
    about: "How selat finds out which backends are up.",
};

pub(super) const OUTLIER: Key = Key {
    name: "outlier",
    kind: Kind::Table(&OUTLIER_KEYS),
    default: Filled,
    about: "When the sessions' own experience takes a backend out.",
};

pub(super) const SLOW_START: Key = Key {
    name: "slow_start",
    kind: Kind::Duration,
    default: Nothing("it gets its whole share at once"),
    about: "How long a backend that has just come up gets less than its weight, growing.",
};

pub(super) const PANIC_BELOW: Key = Key {
    name: "panic_below",
    kind: Kind::Share,
    default: Is { toml: "\"0%\"", because: "with even one server up, trying those that are down costs time" },
    about: "With less than this share of the backends up, all of them are tried: a few would be overrun, \
            and a check that fails so many is more likely wrong than right. 0 %: only with none up.",
};

pub(super) const QUEUE: Key = Key {
    name: "queue",
    kind: Kind::Table(&QUEUE_KEYS),
    default: Filled,
    about: "Waiting for a backend while all of them are at their `max_connections`.",
};

pub(super) const CONNECT_TIMEOUT: Key = Key {
    name: "connect_timeout",
    kind: Kind::Duration,
    default: Is { toml: "\"5s\"", because: "a server that needs longer is as good as down for its client" },
    about: "For a backend to accept a connection and answer the handshake; then the next one is tried.",
};

pub(super) const RESOLVE_EVERY: Key = Key {
    name: "resolve_every",
    kind: Kind::Duration,
    default: Is { toml: "\"30s\"", because: "records of services change within a minute or so" },
    about: "How often names are resolved again.",
};

pub(super) const TLS: Key = Key {
    name: "tls",
    kind: Kind::Table(&POOL_TLS),
    default: Nothing("`wss://` backends are held against the authorities of this machine"),
    about: "How TLS is spoken with those backends whose URL begins with `wss://`.",
};

pub(super) const SEND_PROXY: Key = Key {
    name: "send_proxy",
    kind: Kind::Word(&["off", "v1", "v2"]),
    default: Is { toml: "\"off\"", because: "a server that does not expect the header takes it for garbage" },
    about: "The PROXY protocol header with the client's address before each connection to a backend, by \
            version.",
};

const BACKEND: Section = Section {
    heading: "pool.NAME.backends[]",
    about: "One server of a pool, written as a table.",
    keys: &[
        Key {
            name: "url",
            kind: URL,
            default: Required,
            about: "Where it is. A path is put before the path of every request.",
        },
        Key {
            name: "weight",
            kind: Kind::Count(1, 1000),
            default: Is { toml: "1", because: "servers of a pool are mostly alike" },
            about: "Its share, relative to the others'.",
        },
        Key {
            name: "max_connections",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("no limit"),
            about: "Sessions that it may have, of the whole process; beyond, others are chosen, or clients wait.",
        },
    ],
};

const HEALTH_KEYS: Section = Section {
    heading: "pool.NAME.health",
    about: "How selat finds out which backends are up. The outcomes of sessions count as well, see `outlier`.",
    keys: &[
        Key {
            name: "probe",
            kind: Kind::Word(&["none", "tcp", "http", "websocket"]),
            default: Is {
                toml: "\"none\"",
                because: "sessions find out at once when a server is down, and a server is not to be asked unasked",
            },
            about: "What is asked of each backend: a TCP connection, a `GET` (200 to 399 is good), a WebSocket \
                    handshake, which may be followed by a message and its answer. With `none`, a backend that \
                    sessions found down is let back in by a TCP connection.",
        },
        Key {
            name: "path",
            kind: Kind::Form("a path", "\"/health\""),
            default: Nothing("`/`, or the path of the backend's URL"),
            about: "What a probe of kind `http` or `websocket` asks for, behind the path of the backend's URL.",
        },
        Key {
            name: "send",
            kind: Kind::Text,
            default: Nothing("the handshake is enough"),
            about: "A text message that a probe of kind `websocket` sends. Needs `expect`.",
        },
        Key {
            name: "expect",
            kind: Kind::Text,
            default: Nothing("the handshake is enough"),
            about: "What a message of the answer has to contain; messages without it are passed over.",
        },
        Key {
            name: "every",
            kind: Kind::Duration,
            default: Is {
                toml: "\"5s\"",
                because: "with `fall`, a hung server is noticed in a quarter of a minute",
            },
            about: "From the end of a probe to the next, ±10 % so that probes do not march in step.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Is { toml: "\"2s\"", because: "a health check that takes longer is an answer too" },
            about: "For a whole probe. Less than `every`.",
        },
        Key {
            name: "rise",
            kind: Kind::Count(1, 1000),
            default: Is { toml: "2", because: "one success may be a process that starts and dies again" },
            about: "Probes in a row that must succeed before a backend that is down is up.",
        },
        Key {
            name: "fall",
            kind: Kind::Count(1, 1000),
            default: Is { toml: "3", because: "one lost packet, one long pause must not move every client" },
            about: "Probes in a row that must fail before a backend that is up is down.",
        },
    ],
};

const OUTLIER_KEYS: Section = Section {
    heading: "pool.NAME.outlier",
    about: "When the outcomes of sessions' dials take a backend out, and for how long. Whoever refuses a connection is \
            out at once.",
    keys: &[
        Key {
            name: "failures",
            kind: Kind::Count(1, 1000),
            default: Is { toml: "3", because: "one odd answer may be due to one odd request" },
            about: "Dials in a row that must fail oddly (5xx, nonsense, broken off). One that times out is enough.",
        },
        Key {
            name: "ejection_base",
            kind: Kind::Duration,
            default: Is {
                toml: "\"1s\"",
                because: "a failed dial is repeated elsewhere unseen, so a try costs little",
            },
            about: "How long the first ejection lasts; each further one twice as long.",
        },
        Key {
            name: "ejection_max",
            kind: Kind::Duration,
            default: Is { toml: "\"30s\"", because: "a server that is back should not wait for minutes" },
            about: "The longest ejection. Not less than `ejection_base`.",
        },
        Key {
            name: "max_ejected",
            kind: Kind::Share,
            default: Is {
                toml: "\"50%\"",
                because: "what fails everywhere at once is rarely the servers' fault",
            },
            about: "The share of the pool that may be ejected at once, one backend at least; 0 % turns ejection off.",
        },
    ],
};

const QUEUE_KEYS: Section = Section {
    heading: "pool.NAME.queue",
    about: "Waiting for a backend while all of them are at their `max_connections`.",
    keys: &[
        Key {
            name: "size",
            kind: Kind::Count(0, 1_000_000),
            default: Is {
                toml: "1024",
                because: "a burst passes; a longer queue would not be served in time",
            },
            about: "Clients that may wait, of the whole process; beyond: 503. With 0 nobody waits.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Is { toml: "\"10s\"", because: "it is as long as a person waits for a page" },
            about: "How long one may wait; then 503.",
        },
    ],
};
