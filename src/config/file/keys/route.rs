//! Routes: what is asked of a request, and what becomes of it.

use super::Default::{Filled, Is, Nothing};
use super::process::{NETWORK, PATH};
use super::session::{LIMITS, PING, TIMEOUTS};
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
    about: "What is done with the requests that match: `listen`, `host` and `path` say which, exactly one of `pool`, \
            `feed`, `dispatch` and `respond` says what.",
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
            default: Nothing("there is a `feed` or a `dispatch`, or selat answers itself, see `respond`"),
            about: "The pool whose servers get the session.",
        },
        Key {
            name: "feed",
            kind: Kind::Form("the name of a feed", "\"fx\""),
            default: Nothing("there is a `pool` or a `dispatch`, or selat answers itself, see `respond`"),
            about: "The feed whose messages the client gets.",
        },
        Key {
            name: "dispatch",
            kind: Kind::Form("the name of a dispatch", "\"workers\""),
            default: Nothing("there is a `pool` or a `feed`, or selat answers itself, see `respond`"),
            about: "The dispatch among whose servers the client's messages are spread.",
        },
        Key {
            name: "respond",
            kind: Kind::Either(&SCRIPT, &Kind::Table(&RESPOND)),
            default: Nothing("the servers of `pool` or `dispatch` do, or the source of `feed`"),
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
    about: "An HTTP response, to any request of anybody: for health checks of selat itself, redirects, notices.",
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
            default: Nothing("there has to be a `first_message`"),
            about: "By a key out of a file, by user name and password (RFC 7617), or by a signed token (RFC 7519).",
        },
        Key {
            name: "first_message",
            kind: Kind::Form("the name of a member", "\"userKey\""),
            default: Nothing("there has to be a `kind`"),
            about: "On routes to a feed, in the place of `kind`: by a key in the first message, which is a JSON object \
                    with the key in this member. Needs `keys_file`. A client without a good one gets Close 1008.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Nothing("10 seconds: a program says its key at once, and nobody types it"),
            about: "For the `first_message` to come; then Close 1008.",
        },
        Key {
            name: "keys_file",
            kind: PATH,
            default: Nothing("there has to be one for `key` and `first_message`"),
            about: "For `key` and `first_message`: the keys, one a line, `key` or `name:key`.",
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
