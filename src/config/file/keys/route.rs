//! Routes: what is asked of a request, what becomes of it, and what its session is held to.

use super::Default::{Filled, Is, Nothing, Required};
use super::process::{NETWORK, PATH};
use super::{Key, Kind, Section};

const HEADERS: Kind = Kind::Map(&Kind::Form("a header's value", "\"text\""));
const URL_PATH: Kind = Kind::Form("a path", "\"/path\"");
const SCRIPT: Kind = Kind::Form("a responder", "\"echo\", \"ticker\" or \"ticker:100ms\"");
const NAME: Kind = Kind::Form("the name of a header", "\"X-Name\"");
const SOURCE: Kind = Kind::Form(
    "a place for a credential",
    "\"bearer\", \"header:X-Api-Key\", \"query:key\" or \"subprotocol:key.\"",
);

pub(super) const ROUTE: Section = Section {
    heading: "route.NAME",
    about: "What is done with the requests that match: `listen`, `host` and `path` say which, exactly one of `pool` and \
            `respond` says what.",
    keys: &[
        Key {
            name: "listen",
            kind: Kind::List(&Kind::Form("the name of a listener", "\"public\"")),
            default: Nothing("all of them"),
            about: "The listeners it is for.",
        },
        Key {
            name: "host",
            kind: Kind::Form("a host", "\"chat.example.com\", \"*.example.com\" or \"*\""),
            default: Is { toml: "\"*\"", because: "most proxies serve one name" },
            about: "The host it is for, without port; `*.example.com` is for every name below, not for `example.com`.",
        },
        Key {
            name: "path",
            kind: Kind::Form("a path", "\"/ws\", \"/ws/*\" or \"/*\""),
            default: Is { toml: "\"/*\"", because: "most WebSocket services have one path, whichever" },
            about: "The path it is for: this one, or with `/*` at its end all below it.",
        },
        Key {
            name: "pool",
            kind: Kind::Form("the name of a pool", "\"chat\""),
            default: Nothing("there has to be a `respond`"),
            about: "The pool whose servers get the session.",
        },
        Key {
            name: "respond",
            kind: Kind::Either(&SCRIPT, &Kind::Table(&RESPOND)),
            default: Nothing("there has to be a `pool`"),
            about: "What selat answers itself: `echo` sends every message back, `ticker` a numbered message every \
                    second, `ticker:100ms` at another pace; a table is an HTTP response.",
        },
        Key {
            name: "rewrite",
            kind: Kind::Table(&REWRITE),
            default: Nothing("the path stays as it came"),
            about: "What becomes of the path on its way to the backend. The query stays.",
        },
        Key {
            name: "request_headers",
            kind: Kind::Table(&REQUEST_HEADERS),
            default: Nothing("they stay as they are"),
            about: "Changes to the headers that the backend gets.",
        },
        Key {
            name: "response_headers",
            kind: Kind::Table(&RESPONSE_HEADERS),
            default: Nothing("they stay as they are"),
            about: "Changes to the headers that the client gets.",
        },
        Key {
            name: "origins",
            kind: Kind::List(&Kind::Form(
                "an origin",
                "\"https://example.com\", \"https://*.example.com\" or \"null\"",
            )),
            default: Nothing("origins are not looked at"),
            about: "Web origins whose pages may connect; others get 403. Guards users against foreign pages, not \
                    servers against programs, which write what they like.",
        },
        Key {
            name: "origin_required",
            kind: Kind::Flag,
            default: Is {
                toml: "false",
                because: "every browser sends an origin; without one, no page is behind it",
            },
            about: "Whether a request without an `Origin` is refused too, where there are `origins`.",
        },
        Key {
            name: "allow",
            kind: Kind::List(&NETWORK),
            default: Is { toml: "[]", because: "empty means everybody" },
            about: "Networks whose clients may connect; others get 403.",
        },
        Key {
            name: "deny",
            kind: Kind::List(&NETWORK),
            default: Is { toml: "[]", because: "empty means nobody" },
            about: "Networks whose clients may not, whatever `allow` says.",
        },
        Key {
            name: "auth",
            kind: Kind::Table(&AUTH),
            default: Nothing("nobody has to say who they are"),
            about: "How clients prove who they are; others get 401.",
        },
        Key {
            name: "limits",
            kind: Kind::Table(&LIMITS),
            default: Filled,
            about: "How much a client may do.",
        },
        Key {
            name: "ping",
            kind: Kind::Table(&PING),
            default: Nothing("selat sends no pings; those of the peers pass"),
            about: "Pings from selat itself, which keep connections open and find dead peers. Their pongs end here.",
        },
        Key {
            name: "timeouts",
            kind: Kind::Table(&TIMEOUTS),
            default: Filled,
            about: "How long a session may take over what.",
        },
    ],
};

const RESPOND: Section = Section {
    heading: "route.NAME.respond",
    about: "An HTTP response, to any request: for health checks of selat itself, redirects, notices.",
    keys: &[
        Key {
            name: "status",
            kind: Kind::Count(200, 599),
            default: Is { toml: "200", because: "the commonest use is a health check of selat itself" },
            about: "Status of the response.",
        },
        Key {
            name: "body",
            kind: Kind::Text,
            default: Is { toml: "\"\"", because: "a status says enough" },
            about: "Its body.",
        },
        Key {
            name: "content_type",
            kind: Kind::Text,
            default: Is {
                toml: "\"text/plain; charset=utf-8\"",
                because: "the file is UTF-8, and so is the body",
            },
            about: "The media type of the body.",
        },
        Key {
            name: "headers",
            kind: HEADERS,
            default: Is { toml: "{}", because: "few responses need one" },
            about: "Further headers, such as `Location`.",
        },
    ],
};

const REWRITE: Section = Section {
    heading: "route.NAME.rewrite",
    about: "What becomes of the path on its way to the backend: `replace` alone, or `strip` and `add`.",
    keys: &[
        Key {
            name: "strip",
            kind: URL_PATH,
            default: Nothing("nothing is taken off"),
            about: "Taken off the front, by whole segments: `/api` is no prefix of `/apiary`.",
        },
        Key {
            name: "add",
            kind: URL_PATH,
            default: Nothing("nothing is added"),
            about: "Then put before the rest.",
        },
        Key {
            name: "replace",
            kind: URL_PATH,
            default: Nothing("the path is not replaced"),
            about: "Put in place of whatever path came.",
        },
    ],
};

const EDITS: &[Key] = &[
    Key {
        name: "remove",
        kind: Kind::List(&NAME),
        default: Is { toml: "[]", because: "nothing is taken away unasked" },
        about: "Headers taken out, all of each name. Done first.",
    },
    Key {
        name: "set",
        kind: HEADERS,
        default: Is { toml: "{}", because: "nothing is said unasked" },
        about: "Headers written in place of those of the same name. A value may hold `{client_ip}`, `{host}`, `{path}`, \
                `{route}` and `{identity}`; `{{` and `}}` are plain braces.",
    },
    Key {
        name: "add",
        kind: HEADERS,
        default: Is { toml: "{}", because: "nothing is said unasked" },
        about: "Headers written beside those of the same name; with the same placeholders.",
    },
];

const REQUEST_HEADERS: Section = Section {
    heading: "route.NAME.request_headers",
    about: "Changes to the headers that the backend gets. Those of the handshake itself cannot be changed.",
    keys: EDITS,
};

const RESPONSE_HEADERS: Section = Section {
    heading: "route.NAME.response_headers",
    about: "Changes to the headers that the client gets. Those of the handshake itself cannot be changed.",
    keys: EDITS,
};

const AUTH: Section = Section {
    heading: "route.NAME.auth",
    about: "How clients prove who they are. One way a route; files are read again when the configuration is.",
    keys: &[
        Key {
            name: "kind",
            kind: Kind::Word(&["key", "basic", "jwt"]),
            default: Required,
            about: "By a key out of a file, by user name and password (RFC 7617), or by a signed token (RFC 7519).",
        },
        Key {
            name: "keys_file",
            kind: PATH,
            default: Nothing("there has to be one for `key`"),
            about: "For `key`: the keys, one a line, `key` or `name:key`.",
        },
        Key {
            name: "users_file",
            kind: PATH,
            default: Nothing("there has to be one for `basic`"),
            about: "For `basic`: the users, one a line, `user:{SSHA256}hash`, as `doveadm pw -s SSHA256` writes them.",
        },
        Key {
            name: "algorithm",
            kind: Kind::Word(&["HS256", "RS256", "ES256"]),
            default: Nothing("there has to be one for `jwt`"),
            about: "For `jwt`: the one algorithm that tokens are signed with. A token never chooses its own.",
        },
        Key {
            name: "secret",
            kind: Kind::Secret,
            default: Nothing("there has to be one for `HS256`"),
            about: "For `HS256`: what tokens are signed with, 32 bytes or more.",
        },
        Key {
            name: "public_key_file",
            kind: PATH,
            default: Nothing("there has to be a `jwks_file`"),
            about: "For `RS256` and `ES256`: the public key, as PEM.",
        },
        Key {
            name: "jwks_file",
            kind: PATH,
            default: Nothing("there has to be a `public_key_file` or `secret`"),
            about: "For `jwt`: the keys as a set (RFC 7517), chosen by a token's `kid`.",
        },
        Key {
            name: "from",
            kind: Kind::List(&SOURCE),
            default: Nothing("`[\"header:X-Api-Key\"]` for `key`, `[\"bearer\"]` for `jwt`"),
            about: "Where the key or token may stand. What stands in a subprotocol or header that browsers can set \
                    keeps out of logs; a query does not.",
        },
        Key {
            name: "issuer",
            kind: Kind::Text,
            default: Nothing("not looked at"),
            about: "For `jwt`: what `iss` has to be.",
        },
        Key {
            name: "audience",
            kind: Kind::Text,
            default: Nothing("a token that names an audience is refused"),
            about: "For `jwt`: what `aud` has to name.",
        },
    ],
};

const LIMITS: Section = Section {
    heading: "route.NAME.limits",
    about: "How much a client may do. Counts are those of the whole process.",
    keys: &[
        Key {
            name: "message",
            kind: Kind::Size,
            default: Nothing("no limit"),
            about: "The largest message, all its fragments together, as on the wire; beyond: Close 1009. Messages \
                    are never held in memory, so this protects the backend, not selat.",
        },
        Key {
            name: "frame",
            kind: Kind::Size,
            default: Nothing("no limit"),
            about: "The largest frame of a message, as on the wire; beyond: Close 1009.",
        },
        Key {
            name: "rate",
            kind: Kind::Rate,
            default: Nothing("no limit"),
            about: "Messages that a client may send a second.",
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

const PING: Section = Section {
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

const TIMEOUTS: Section = Section {
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
