//! Automatic certificates of a listener.

use super::Default::{Is, Nothing, Required};
use super::process::PATH;
use super::{Key, Kind, Section};

pub(super) const ACME: Section = Section {
    heading: "listen.NAME.tls.acme",
    about: "A certificate that is ordered, renewed and put in force by itself (ACME, RFC 8555), as from Let's \
            Encrypt. See docs/acme.md.",
    keys: &[
        Key {
            name: "domains",
            kind: Kind::List(&Kind::Form("a domain name", "\"chat.example.com\"")),
            default: Required,
            about: "The names that the certificate is for; all must lead to this machine. The file of the certificate \
                    is called after the first.",
        },
        Key {
            name: "state",
            kind: PATH,
            default: Required,
            about: "A directory for the account's key and the certificates, of which there should be a backup. It is \
                    made where it is missing; only the user of selat can read it.",
        },
        Key {
            name: "accept_terms",
            kind: Kind::Flag,
            default: Required,
            about: "That you agree to the authority's terms of service, as it wants to hear before it gives anyone an \
                    account: `true`.",
        },
        Key {
            name: "contact",
            kind: Kind::Form("a mailto: URL", "\"mailto:ops@example.com\""),
            default: Nothing("the authority cannot write to you"),
            about: "Whom the authority may write to.",
        },
        Key {
            name: "challenge",
            kind: Kind::Word(&["tls-alpn-01", "http-01"]),
            default: Is {
                toml: "\"tls-alpn-01\"",
                because: "it needs no other port than that which the certificate is for",
            },
            about: "How the names are proved to be yours: by a TLS handshake at port 443, or by an HTTP request at \
                    port 80. Any listener answers, with TLS for the one, without it for the other; one of them has to \
                    be reachable at that port.",
        },
        Key {
            name: "directory",
            kind: Kind::Form("an https: URL", "\"https://acme-v02.api.letsencrypt.org/directory\""),
            default: Is {
                toml: "\"https://acme-v02.api.letsencrypt.org/directory\"",
                because: "Let's Encrypt gives certificates to anyone, and every browser believes them",
            },
            about: "The authority. For trials, take one that has no narrow limits, such as \
                    `https://acme-staging-v02.api.letsencrypt.org/directory`.",
        },
        Key {
            name: "directory_ca",
            kind: PATH,
            default: Nothing("those authorities are believed that the system believes"),
            about: "PEM file with the authorities that are believed about the directory's own server; for an \
                    authority of your own.",
        },
        Key {
            name: "renew_before",
            kind: Kind::Duration,
            default: Is {
                toml: "\"30d\"",
                because: "that leaves a month to notice that renewing fails, and is what authorities advise",
            },
            about: "How long before its end a certificate is renewed. One that is good for less than three times as \
                    long is renewed when a third of its life is left.",
        },
    ],
};
