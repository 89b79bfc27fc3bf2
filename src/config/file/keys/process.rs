//! The file itself, and what holds for the whole process.

use super::Default::{Filled, Is, Nothing, Required};
use super::{Key, Kind, POOL, Section, dispatch::DISPATCH, feed::FEED, route::ROUTE, tls::LISTEN_TLS};

const ADDRESS: Kind =
    Kind::Form("a listen address", "\":8765\", \"0.0.0.0:8765\", \"[::1]:8765\" or \"unix:/path\"");
pub(super) const NETWORK: Kind =
    Kind::Form("an address or network", "\"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"");
pub(super) const PATH: Kind = Kind::Form("a path in the file system", "\"/path\"");

pub(in super::super) const FILE: Section = Section {
    heading: "",
    about: "The file has these tables; those with a NAME as often as there is need.",
    keys: &[
        Key {
            name: "listen",
            kind: Kind::Tables(&LISTEN),
            default: Required,
            about: "Where clients connect; at least one.",
        },
        Key {
            name: "route",
            kind: Kind::Tables(&ROUTE),
            default: Required,
            about: "What is done with a request. The first route that matches is taken, in the order of the file; \
                    where none does, the answer is 404.",
        },
        Key {
            name: "pool",
            kind: Kind::Tables(&POOL),
            default: Nothing("no route can name one"),
            about: "Servers that do the same work.",
        },
        Key {
            name: "feed",
            kind: Kind::Tables(&FEED),
            default: Nothing("no route can name one"),
            about: "Sources that are extended to any number of clients.",
        },
        Key {
            name: "dispatch",
            kind: Kind::Tables(&DISPATCH),
            default: Nothing("no route can name one"),
            about: "Servers among which each client's messages are spread.",
        },
        Key {
            name: "process",
            kind: Kind::Table(&PROCESS),
            default: Filled,
            about: "What holds for the whole process.",
        },
        Key {
            name: "forwarded",
            kind: Kind::Table(&FORWARDED),
            default: Filled,
            about: "How the client's real address comes in and goes on.",
        },
        Key {
            name: "admin",
            kind: Kind::Table(&ADMIN),
            default: Nothing(
                "there is no admin listener, so no metrics, `selat top` or `selat drain` either",
            ),
            about: "Metrics, status and orders, over HTTP.",
        },
        Key { name: "log", kind: Kind::Table(&LOG), default: Filled, about: "What is logged, and how." },
    ],
};

const LISTEN: Section = Section {
    heading: "listen.NAME",
    about: "One address. Routes are for all of them unless they name some.",
    keys: &[
        Key {
            name: "addr",
            kind: ADDRESS,
            default: Required,
            about: "Address and port, or a Unix socket. `[::]`, and the short form `:8765`, take IPv4 clients too.",
        },
        Key {
            name: "tls",
            kind: Kind::Table(&LISTEN_TLS),
            default: Nothing("connections are not encrypted: `ws://`"),
            about: "Certificates, with which TLS is spoken here: `wss://`.",
        },
        Key {
            name: "proxy_protocol",
            kind: Kind::Word(&["off", "required"]),
            default: Is {
                toml: "\"off\"",
                because: "whoever may send the header may say any address; it has to be asked for",
            },
            about: "With `required`, every connection begins with a PROXY protocol header, version 1 or 2, that has \
                    the client's address, as HAProxy and load balancers of clouds send it; a connection without one \
                    is closed. Where `forwarded.trusted` has entries, only they may connect.",
        },
    ],
};

const PROCESS: Section = Section {
    heading: "process",
    about: "What holds for the whole process.",
    keys: &[
        Key {
            name: "cores",
            kind: Kind::Form("a list of cores", "\"all\" or \"0-3,6\""),
            default: Is { toml: "\"all\"", because: "a proxy mostly has its machine to itself" },
            about: "The cores that get a shard each.",
        },
        Key {
            name: "placement",
            kind: Kind::Word(&["kernel", "balanced"]),
            default: Is {
                toml: "\"kernel\"",
                because: "a hash is even enough for many connections, and hands none from core to core",
            },
            about: "How connections are spread over the cores: by the kernel's hash, or each to the core with the \
                    fewest. For few, long and heavy connections.",
        },
        Key {
            name: "max_connections",
            kind: Kind::Count(1, 0xFFFF_FFFF),
            default: Nothing("as many as the limit of open files allows, up to 500,000"),
            about: "Client connections of the whole process, shared out evenly over the cores; beyond: 503.",
        },
        Key {
            name: "drain_window",
            kind: Kind::Duration,
            default: Is {
                toml: "\"5s\"",
                because: "long enough that not all clients come back at once, shorter than service managers wait",
            },
            about: "Time over which a drain spreads its Closes.",
        },
        Key {
            name: "handover",
            kind: PATH,
            default: Nothing("a new process takes over by binding the same addresses"),
            about: "Unix socket over which a new selat takes the listeners over from this one, for upgrades.",
        },
        Key {
            name: "timeouts",
            kind: Kind::Table(&PROCESS_TIMEOUTS),
            default: Filled,
            about: "Times that are over before a route is known.",
        },
    ],
};

const PROCESS_TIMEOUTS: Section = Section {
    heading: "process.timeouts",
    about: "Times that are over before a route is known.",
    keys: &[
        Key {
            name: "head",
            kind: Kind::Duration,
            default: Is {
                toml: "\"10s\"",
                because: "a head is one packet; even over a poor line it takes seconds, and slow heads are an attack",
            },
            about: "For a client's whole request head; then 408.",
        },
        Key {
            name: "close",
            kind: Kind::Duration,
            default: Is {
                toml: "\"10s\"",
                because: "a peer answers a Close at once; what takes longer will not come",
            },
            about: "For connections to end that were refused or cut by a drain; then they are reset.",
        },
    ],
};

const FORWARDED: Section = Section {
    heading: "forwarded",
    about: "How the client's real address comes in and goes on.",
    keys: &[
        Key {
            name: "trusted",
            kind: Kind::List(&NETWORK),
            default: Is { toml: "[]", because: "a header that anybody may send proves nothing" },
            about: "Proxies in front of selat whose `X-Forwarded-*` and `Forwarded` are believed: the client is the \
                    last address in them that is not in this list. With a list, these headers of anybody else are \
                    dropped; without one they are passed on, and believed in nothing.",
        },
        Key {
            name: "send",
            kind: Kind::List(&Kind::Word(&[
                "X-Forwarded-For",
                "X-Forwarded-Proto",
                "X-Forwarded-Host",
                "X-Forwarded-Port",
                "Forwarded",
            ])),
            default: Is {
                toml: "[\"X-Forwarded-For\", \"X-Forwarded-Proto\", \"X-Forwarded-Host\"]",
                because: "they are what servers and frameworks read",
            },
            about: "The headers that tell a backend who its client is. `Forwarded` is that of RFC 7239.",
        },
    ],
};

const ADMIN: Section = Section {
    heading: "admin",
    about: "Metrics, status and orders, over HTTP: `/metrics`, `/status`, `/config`, `/drain`, `/reload` and others.",
    keys: &[
        Key {
            name: "addr",
            kind: ADDRESS,
            default: Required,
            about: "Where it listens: an address of this machine itself (`127.0.0.1`, `[::1]`) or a Unix socket, \
                    unless there is a `token`.",
        },
        Key {
            name: "token",
            kind: Kind::Secret,
            default: Nothing("whoever reaches the address may give orders"),
            about: "What `Authorization: Bearer` has to carry in a request that changes anything. Mandatory for an \
                    address that other machines can reach.",
        },
    ],
};

const LOG: Section = Section {
    heading: "log",
    about: "What is logged, and how. Lines are written by a thread of their own; nobody waits for them.",
    keys: &[
        Key {
            name: "format",
            kind: Kind::Word(&["text", "json"]),
            default: Is { toml: "\"text\"", because: "the first reader is a person at a terminal" },
            about: "How lines look.",
        },
        Key {
            name: "level",
            kind: Kind::Word(&["error", "warn", "info", "debug", "trace"]),
            default: Is {
                toml: "\"info\"",
                because: "it has one line a session and what an operator has to know",
            },
            about: "What is logged; each level includes those before it.",
        },
        Key {
            name: "access",
            kind: Kind::Form(
                "on, off or a path in the file system",
                "\"on\", \"off\" or \"/var/log/selat/access.log\"",
            ),
            default: Is { toml: "\"on\"", because: "who ended a session, and why, is asked afterwards" },
            about: "The line a session: with the other lines, not at all, or as JSON in a file of its own, whatever \
                    the level. When that file is renamed, the next line begins a new one: logrotate needs no signal.",
        },
    ],
};
