//! Who we are and whom we believe, in TLS: certificates, authorities, and what [`rustls`] is told of them.
//!
//! Pure: PEM texts and times come in, configurations for rustls go out. Reads no file and no clock; randomness and
//! the clock of handshakes are rustls's own. The bytes of a connection are `runtime::tls`'s. RFC 8446, RFC 5246,
//! RFC 6066 §3, RFC 7301, RFC 8737.

mod authorities;
mod by_name;
mod certificate;
mod challenges;
mod client;
mod facts;
mod fault;
mod label;
mod pace;
mod pem;
mod server;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use authorities::Authorities;
pub use certificate::{Certificate, InvalidCertificate};
pub use challenges::{ACME_TLS, Challenges};
pub use client::{Client, ClientSettings, InvalidServerName, Verification};
pub use facts::{Worry, client_name, date};
pub use fault::{Peer, explain};
pub use label::{LABELS, label};
pub use pace::Pace;
pub use rustls::pki_types::CertificateDer;
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{ClientAuth, ClientCertificates, Server, ServerSettings, Version};

/// The one protocol that is spoken inside TLS (RFC 7301 §6): WebSockets begin as HTTP/1.1 here, never as HTTP/2.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The one implementation of ciphers, for everything here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
