//! Who we are and whom we believe, in TLS: certificates, authorities, and what [`rustls`] is told of them.
//!
//! Pure: PEM texts and times come in, configurations for rustls go out. Reads no file and no clock; chance is
//! rustls's own. The bytes of a connection are `runtime::tls`'s. RFC 8446, RFC 5246, RFC 6066 §3, RFC 7301.

mod certificate;
mod client;
mod pace;
mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use certificate::{Authorities, Certificate, InvalidCertificate};
pub use client::{Client, ClientSettings, Verification};
pub use pace::Pace;
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{ClientAuth, ClientCertificates, Server, ServerSettings, Version};

/// The one implementation of ciphers, for everything here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The name of a client, as its certificate has it.
#[must_use]
pub fn client_name(_leaf: &[u8]) -> Option<String> {
    None
}
