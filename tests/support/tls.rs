//! TLS for both ends: an authority of one's own and what it signs (rcgen), streams (rustls) for tungstenite to speak over.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use tungstenite::WebSocket;

use super::backend::{Backend, echo};
use super::bind;
use super::path::Directory;
use super::raw::Raw;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A client's end.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A server's end.
pub(crate) type ServerStream = StreamOwned<ServerConnection, TcpStream>;

/// tungstenite over TLS.
pub(crate) type Client = WebSocket<Stream>;

type ClientBuilder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Since yesterday, and for a month.
    Now,
    /// Until yesterday.
    Over,
    /// From tomorrow on.
    Ahead,
}

impl Validity {
    /// Its first and its last moment.
    fn span(self) -> (SystemTime, SystemTime) {
        let now = SystemTime::now();
        match self {
            Self::Now => (now - DAY, now + 30 * DAY),
            Self::Over => (now - 30 * DAY, now - DAY),
            Self::Ahead => (now + DAY, now + 30 * DAY),
        }
    }
}

/// Somebody who signs certificates, and whom nobody believes who was not told to.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: Directory,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = params(&[], Validity::Now);
        let name = format!("selat test authority {}", next());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let directory = directory();
        std::fs::write(directory.file("ca.pem"), issuer.pem()).expect("it is ours");
        Self { issuer, directory }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The same as a file, there for as long as this authority.
    pub(crate) fn file(&self) -> String {
        self.directory.argument("ca.pem")
    }

    /// For a server that goes by these names, which may be addresses.
    pub(crate) fn certificate(&self, names: &[&str], validity: Validity) -> Certificate {
        let mut params = params(names, validity);
        params.distinguished_name.push(DnType::CommonName, *names.first().expect("a name"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// For a client of this name.
    pub(crate) fn client_certificate(&self, name: &str, validity: Validity) -> Certificate {
        let mut params = params(&[], validity);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("it signs");
        Certificate::new(signed.pem(), key.serialize_pem())
    }

    /// A client that believes this authority alone, and speaks these versions.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_builder(versions).with_no_client_auth()
    }

    /// A client that believes this authority alone.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS)
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_with(&self, certificate: &Certificate) -> ClientConfig {
        self.client_with_of(certificate, rustls::ALL_VERSIONS)
    }

    /// The same, which speaks these versions.
    pub(crate) fn client_with_of(
        &self,
        certificate: &Certificate,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let (chain, key) = certificate.der();
        let builder = self.client_builder(versions);
        builder.with_client_auth_cert(chain, key).expect("they belong together")
    }

    fn client_builder(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientBuilder {
        client_builder(&self.pem(), versions)
    }
}

/// A client that believes the authority of this certificate (PEM) alone.
pub(crate) fn client_that_believes(root: &str) -> ClientConfig {
    client_builder(root, rustls::ALL_VERSIONS).with_no_client_auth()
}

/// A certificate and its key, in PEM; also as files, there for as long as this.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
    directory: Directory,
}

impl Certificate {
    fn new(chain: String, key: String) -> Self {
        let certificate = Self { chain, key, directory: directory() };
        certificate.write(&certificate);
        certificate
    }

    pub(crate) fn chain_file(&self) -> String {
        self.directory.argument("chain.pem")
    }

    pub(crate) fn key_file(&self) -> String {
        self.directory.argument("key.pem")
    }

    /// The SHA-256 of its public key (`SubjectPublicKeyInfo`), in Base64, by which a browser knows it.
    pub(crate) fn pin(&self) -> String {
        let key = KeyPair::from_pem(&self.key).expect("it is PEM");
        BASE64_STANDARD.encode(Sha256::digest(key.subject_public_key_info()))
    }

    /// Makes these files say what the other's do: a certificate that has been renewed.
    pub(crate) fn write(&self, other: &Self) {
        for (file, text) in [(self.key_file(), &other.key), (self.chain_file(), &other.chain)] {
            let draft = format!("{file}.draft");
            std::fs::write(&draft, text).expect("it is ours");
            std::fs::rename(&draft, file).expect("it is ours");
        }
    }

    /// The same as rustls wants it.
    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it is PEM"))
    }

    /// A server that shows this.
    pub(crate) fn server(&self) -> ServerConfig {
        self.server_of(rustls::ALL_VERSIONS)
    }

    /// The same, which speaks these versions.
    pub(crate) fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let (chain, key) = self.der();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(versions).expect("rustls has them");
        builder.with_no_client_auth().with_single_cert(chain, key).expect("they belong together")
    }

    /// A server that shows this, and lets in only clients with a certificate of that authority.
    pub(crate) fn server_for(&self, clients: &Authority) -> ServerConfig {
        let mut authorities = RootCertStore::empty();
        authorities.add(clients.issuer.der().clone()).expect("it is an authority");
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(authorities.into(), provider());
        let (chain, key) = self.der();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("rustls has them");
        let builder = builder.with_client_cert_verifier(verifier.build().expect("there is an authority"));
        builder.with_single_cert(chain, key).expect("they belong together")
    }
}

/// tungstenite as a client at `address` of a server that goes by `localhost`.
pub(crate) fn connect(address: &str, authority: &Authority) -> Client {
    let stream = dial(address, "localhost", authority.client());
    over(stream.unwrap_or_else(|error| unreachable!("a handshake: {error}")))
}

/// A client's end, behind the handshake. In TLS 1.3 a server that turns the client away says so after that.
pub(crate) fn dial(address: &str, name: &str, config: impl Into<Arc<ClientConfig>>) -> io::Result<Stream> {
    shake(Raw::connect(address).stream, name, config)
}

/// The same over a connection.
pub(crate) fn shake(
    mut stream: TcpStream,
    name: &str,
    config: impl Into<Arc<ClientConfig>>,
) -> io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(config.into(), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// A WebSocket client over TLS.
pub(crate) fn over(stream: Stream) -> Client {
    tungstenite::client("wss://localhost/", stream)
        .unwrap_or_else(|error| unreachable!("it upgrades: {error}"))
        .0
}

/// A backend that sends every message back, at its own address and as `localhost`; see [`Backend::tls_url`].
pub(crate) fn serve_echo(authority: &Authority) -> Backend {
    let listener = bind();
    let certificate = certificate_for(&listener, authority);
    Backend::on(listener, serving(certificate.server(), |stream, served| echo(stream, served)))
}

/// A certificate for whoever listens there, by address and as `localhost`.
pub(crate) fn certificate_for(listener: &TcpListener, authority: &Authority) -> Certificate {
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    authority.certificate(&["localhost", &address.ip().to_string()], Validity::Now)
}

/// For [`Backend::on`]: TLS around `serve`, which gets the stream before the handshake, and an orderly end behind it.
pub(crate) fn serving(
    config: impl Into<Arc<ServerConfig>>,
    serve: impl Fn(&mut ServerStream, Sender<()>) + Clone + Send + 'static,
) -> impl Fn(TcpStream, Sender<()>) + Clone + Send + 'static {
    let config = config.into();
    move |stream, served| {
        let connection = ServerConnection::new(config.clone()).expect("the configuration is whole");
        let mut stream = StreamOwned::new(connection, stream);
        serve(&mut stream, served);
        stream.conn.send_close_notify();
        // Whoever it was may have gone.
        let _ = stream.conn.write_tls(&mut stream.sock);
    }
}

fn client_builder(authority: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientBuilder {
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("it is PEM");
    let mut authorities = RootCertStore::empty();
    authorities.add(authority).expect("it is an authority");
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_protocol_versions(versions).expect("rustls has them").with_root_certificates(authorities)
}

fn params(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("they are names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let (first, last) = validity.span();
    (params.not_before, params.not_after) = (first.into(), last.into());
    params
}

fn directory() -> Directory {
    Directory::new(&format!("tls-{}", next()))
}

/// A number that nobody else has.
fn next() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
