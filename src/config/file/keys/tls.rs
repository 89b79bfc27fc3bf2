//! TLS, toward clients and toward backends.

use super::Default::{Is, Nothing, Required};
use super::acme::ACME;
use super::process::PATH;
use super::{Key, Kind, Section};

pub(super) const LISTEN_TLS: Section = Section {
    heading: "listen.NAME.tls",
    about: "How TLS is spoken with clients. Every file named here is looked at for changes, which take effect without \
            a restart: new connections get the new certificate, and no session notices. A file that is wrong then \
            changes nothing, and the log says why.",
    keys: &[
        Key {
            name: "cert",
            kind: PATH,
            default: Nothing("there are `certs` or `acme`"),
            about: "The certificate in PEM, its own first, then those of the authorities between it and the root.",
        },
        Key {
            name: "key",
            kind: PATH,
            default: Nothing("there are `certs` or `acme`"),
            about: "The certificate's private key in PEM, not encrypted.",
        },
        Key {
            name: "certs",
            kind: Kind::List(&Kind::Table(&CERTIFICATE)),
            default: Nothing("`cert` and `key` are the only one"),
            about: "Several certificates: the one with the name that the client asks for (SNI) is shown, and the first \
                    to clients that ask for no name or for one that none has.",
        },
        Key {
            name: "acme",
            kind: Kind::Table(&ACME),
            default: Nothing("certificates come from files alone"),
            about: "A certificate that is got and renewed automatically, beside those in files or in place of them.",
        },
        Key {
            name: "client_ca",
            kind: PATH,
            default: Nothing("clients are not asked for certificates"),
            about: "The authorities, in PEM, that have to have signed the clients' certificates. The name in a client's \
                    certificate is its identity, for logs, limits and `{identity}` in headers.",
        },
        Key {
            name: "client_auth",
            kind: Kind::Word(&["required", "optional"]),
            default: Nothing("`\"required\"` where there is a `client_ca`: whoever names one means it"),
            about: "Whether clients without a certificate are turned away, or are nobody in particular. One that is \
                    shown has to be right either way.",
        },
        Key {
            name: "min_version",
            kind: Kind::Word(&["1.2", "1.3"]),
            default: Is {
                toml: "\"1.2\"",
                because: "it is sound with the ciphers offered here, and not every client knows 1.3",
            },
            about: "The lowest version of TLS that is spoken; 1.3 is the highest.",
        },
        Key {
            name: "handshakes",
            kind: Kind::Form("a rate, or off", "\"2000/s\" or \"off\""),
            default: Is {
                toml: "\"2000/s\"",
                because: "it is about a third of what a core can do, so that sessions keep the rest when everybody \
                          comes at once",
            },
            about: "Handshakes that each shard, which is each core, begins in a second. Those beyond wait their turn, \
                    within `timeout`.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: Is {
                toml: "\"10s\"",
                because: "a handshake is two round trips; what takes longer is broken, or holds on to us on purpose",
            },
            about: "For a handshake, waiting for its turn included; then the connection is closed.",
        },
    ],
};

const CERTIFICATE: Section = Section {
    heading: "listen.NAME.tls.certs[]",
    about: "One certificate of several.",
    keys: &[
        Key { name: "cert", kind: PATH, default: Required, about: "As `cert` of the listener's `tls`." },
        Key { name: "key", kind: PATH, default: Required, about: "As `key` of the listener's `tls`." },
    ],
};

pub(super) const POOL_TLS: Section = Section {
    heading: "pool.NAME.tls",
    about: "How TLS is spoken with the `wss://` backends of a pool. Its files are looked at for changes, as those of \
            a listener are.",
    keys: CLIENT_KEYS,
};

/// Where selat is the client, of a pool's backends or of a feed's sources.
pub(super) const CLIENT_KEYS: &[Key] = &[
    Key {
        name: "ca",
        kind: PATH,
        default: Nothing(
            "the authorities that this machine believes: its package `ca-certificates`, or what `SSL_CERT_FILE` names",
        ),
        about: "The authorities, in PEM, that have to have signed the backends' certificates. Nobody else is \
                believed then.",
    },
    Key {
        name: "cert",
        kind: PATH,
        default: Nothing("backends that ask who selat is are shown nothing"),
        about: "The certificate, in PEM, that is shown to backends that ask for one.",
    },
    Key {
        name: "key",
        kind: PATH,
        default: Nothing("there is no `cert`"),
        about: "The private key of `cert`, in PEM, not encrypted.",
    },
    Key {
        name: "server_name",
        kind: Kind::Form("the name of a server", "\"chat.internal\""),
        default: Nothing("the host of the backend's URL"),
        about: "The name that is asked for (SNI) and has to be in the backends' certificates.",
    },
    Key {
        name: "insecure",
        kind: Kind::Flag,
        default: Is { toml: "false", because: "TLS with just anybody keeps nothing secret" },
        about: "With `true`, no certificate of a backend is checked: whoever answers at its address is believed. \
                For trying things out; every start and reload warns of it.",
    },
];
