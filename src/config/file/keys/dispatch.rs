//! Dispatches: who gets a message, what its reply is, and what becomes of one that does not come.
//!
//! A key that not every dispatch may have has no default to be written out: what is meant without it, it says itself.

use super::Default::{Is, Nothing};
use super::pool::{
    BACKENDS, CONNECT_TIMEOUT, HEALTH, OUTLIER, PANIC_BELOW, QUEUE, RESOLVE_EVERY, SEND_PROXY, SLOW_START,
    TLS,
};
use super::{Key, Kind, Section};

pub(super) const DISPATCH: Section = Section {
    heading: "dispatch.NAME",
    about: "Servers among which each client's messages are spread, message by message, and whose replies come back to it \
            over its one connection. Wrong for servers that remember something of a connection, such as a login or a \
            subscription: see docs/dispatch.md.",
    keys: &[
        BACKENDS,
        Key {
            name: "send",
            kind: Kind::Word(&["one", "all"]),
            default: Is { toml: "\"one\"", because: "work is shared out so that it is done once" },
            about: "Who gets a message: one backend, chosen by `balance`; or all of them, and `gather` says what becomes \
                    of their replies.",
        },
        Key {
            name: "balance",
            kind: Kind::Form(
                "a policy for messages",
                "\"least-outstanding\", \"round-robin\", \"p2c\", \"ewma\" or \"hash:/user\"",
            ),
            default: Nothing(
                "`\"least-outstanding\"`, which keeps all busy however long each message takes; `\"round-robin\"` where \
                 `replies = \"any\"`",
            ),
            about: "How the backend for a message is chosen: the one that owes the fewest replies; in turn; the one that \
                    owes fewer of two at random; the one that has replied fastest of late, considering what it owes; or \
                    always the same one for the same value at a JSON pointer (RFC 6901) in the message, in turn where \
                    there is none. Weights count in all of them. Each core counts its own clients' messages.",
        },
        Key {
            name: "replies",
            kind: Kind::Word(&["one", "any"]),
            default: Is {
                toml: "\"one\"",
                because: "request and reply is what work over many servers mostly is, and nothing gets lost unnoticed",
            },
            about: "How many replies a message has: one from each backend that got it; or any number, none included. \
                    With `any`, whatever a backend says goes to the client as it comes, nothing is waited for, and the \
                    keys that need to know what a reply answers cannot be had.",
        },
        Key {
            name: "correlate",
            kind: Kind::Form("a JSON pointer", "\"/id\" or \"/meta/0/id\""),
            default: Nothing("the n-th reply of a backend answers the n-th message that it got"),
            about: "Where a message and its reply both say which one it is (RFC 6901), as JSON-RPC does with `\"/id\"`. A \
                    message without it expects no reply; what a backend says without it is a notification, and goes to \
                    the client as it is.",
        },
        Key {
            name: "order",
            kind: Kind::Word(&["as-they-come", "as-asked"]),
            default: Nothing("`\"as-they-come\"`: nobody waits for another's reply"),
            about: "In which order the client gets replies. With `as-asked`, one that comes early is kept until those \
                    before it are out, or given up.",
        },
        Key {
            name: "retry",
            kind: Kind::Count(0, 100),
            default: Nothing("0: a message whose backend is lost may have been done already"),
            about: "How often a message is sent anew, elsewhere, whose backend was lost before it replied. For work that \
                    may be done twice. Needs `correlate`.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Nothing("5 seconds: a client that waits longer has mostly given up itself"),
            about: "From the end of a message to its reply. The reply that comes later is dropped.",
        },
        Key {
            name: "on_timeout",
            kind: Kind::Form(
                "drop, close, or a reply",
                "\"drop\", \"close\" or '{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{\"code\":-32000,\"message\":\"no reply\"}}'",
            ),
            default: Nothing("`\"close\"`: the client is to know that it waits in vain"),
            about: "What becomes of a message without a reply, be it late or lost with its backend: nothing; Close 1011 \
                    for the client; or the client gets this text in the place of the reply, with `{id}` for what stands \
                    at `correlate`, written as JSON.",
        },
        Key {
            name: "gather",
            kind: Kind::Word(&["first", "all", "array"]),
            default: Nothing(
                "`\"first\"` where `send = \"all\"`: the client gets one reply, as from one server",
            ),
            about: "What becomes of the replies to a message that all backends got: the first goes to the client, and the \
                    others nowhere; all go there, as they come; or they go there as one JSON array, in the order in \
                    which they came. An array for which not all came in time is \
                    `{\"partial\":true,\"expected\":3,\"replies\":[...]}`.",
        },
        Key {
            name: "quorum",
            kind: Kind::Count(1, 65_535),
            default: Nothing("all of them"),
            about: "How many replies suffice for `gather = \"all\"` and `\"array\"`; those beyond go nowhere.",
        },
        Key {
            name: "outstanding_max",
            kind: Kind::Count(1, 1_000_000),
            default: Nothing(
                "1000: more than a client can mean to wait for, and less than a megabyte of memory",
            ),
            about: "Messages of one client that wait for replies; beyond, nothing more is read from it until one has come.",
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
