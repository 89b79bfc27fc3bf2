//! Certificates, and handshakes in memory, for the tests of this room. At the other end is rustls as it comes.

use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, Error, ServerConfig, ServerConnection, WantsVerifier,
};

use super::{Authorities, Certificate, provider};

/// One who signs.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key, as files have them.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// One whom this one vouches for.
    pub(super) fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(Self::params(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn authorities(&self) -> Authorities {
        Authorities::from_pem(&self.pem()).unwrap()
    }

    pub(super) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Pair {
        Pair { chain: params.signed_by(key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    /// For these names, with an ECDSA key.
    pub(super) fn pair(&self, names: &[&str]) -> Pair {
        self.sign(&params(names), &KeyPair::generate().unwrap())
    }

    pub(super) fn certificate(&self, names: &[&str]) -> Certificate {
        self.pair(names).load()
    }
}

impl Pair {
    pub(super) fn load(&self) -> Certificate {
        Certificate::from_pem(&self.chain, &self.key).unwrap()
    }

    /// The first of the chain.
    pub(super) fn leaf(&self) -> Vec<u8> {
        rustls::pki_types::CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap().to_vec()
    }
}

/// For these names, with no other.
pub(super) fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

pub(super) fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
}

/// rustls as a client that believes these.
pub(super) fn plain_client(authorities: &Authorities) -> ClientConfig {
    client_builder().with_root_certificates(authorities.store()).with_no_client_auth()
}

pub(super) fn client_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap()
}

/// rustls as a server that shows this and asks for nothing.
pub(super) fn plain_server(pair: &Pair) -> ServerConfig {
    let key = pair.load().key();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
}

/// Both ends after a handshake, and the error of either.
pub(super) struct Shaken {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
    pub(super) client_error: Option<Error>,
    pub(super) server_error: Option<Error>,
}

impl Shaken {
    /// Both ends are content.
    pub(super) fn is_done(&self) -> bool {
        self.client_error.is_none()
            && self.server_error.is_none()
            && !self.client.is_handshaking()
            && !self.server.is_handshaking()
    }

    /// The first certificate that the server showed.
    pub(super) fn shown(&self) -> Vec<u8> {
        self.client.peer_certificates().unwrap()[0].to_vec()
    }
}

/// A handshake in memory, to its end or to the last alert.
pub(super) fn shake(client: impl Into<Arc<ClientConfig>>, name: &str, server: Arc<ServerConfig>) -> Shaken {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut both = Shaken {
        client: ClientConnection::new(client.into(), name).unwrap(),
        server: ServerConnection::new(server).unwrap(),
        client_error: None,
        server_error: None,
    };
    while both.client.wants_write() || both.server.wants_write() {
        let mut wire = Vec::new();
        while both.client.wants_write() {
            both.client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() && both.server_error.is_none() {
            both.server.read_tls(&mut rest).unwrap();
            both.server_error = both.server.process_new_packets().err();
        }
        let mut wire = Vec::new();
        while both.server.wants_write() {
            both.server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() && both.client_error.is_none() {
            both.client.read_tls(&mut rest).unwrap();
            both.client_error = both.client.process_new_packets().err();
        }
    }
    both
}
