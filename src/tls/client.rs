//! TLS toward servers: whom to believe, and who we are to them.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::authorities::Authorities;
use super::certificate::{Certificate, InvalidCertificate};
use super::{HTTP_1_1, provider};

/// Servers with whom a session is remembered, in each [`Client::config`]; the oldest is forgotten.
const SESSIONS: usize = 256;

/// Whether a server has to prove that it is the one that was meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Verification {
    /// By a certificate that these have signed, for the name that was dialled.
    By(Authorities),
    /// It has not: whoever answers is believed.
    Insecure,
}

/// How TLS is spoken with servers.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSettings {
    /// Whether the server is believed.
    pub verification: Verification,
    /// What we show a server that asks who we are.
    pub certificate: Option<Certificate>,
    /// The name that is asked for and has to be in the certificate, where it is not that of the URL.
    pub server_name: Option<String>,
}

/// A name that no certificate can be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name that a certificate can be for; give a host name of letters, digits, dots and hyphens \
     (others as xn--…), or an IP address"
)]
pub struct InvalidServerName(String);

/// What dialling needs to speak TLS.
#[derive(Clone)]
pub struct Client {
    settings: ClientSettings,
    config: Arc<ClientConfig>,
}

impl Client {
    /// Speaks TLS like this.
    ///
    /// # Errors
    /// [`InvalidCertificate`]: our own certificate cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, InvalidCertificate> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidCertificate::Unusable(error.to_string()))?;
        let builder = match &settings.verification {
            Verification::By(authorities) => builder.with_root_certificates(authorities.store()),
            Verification::Insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody {
                    algorithms: provider().signature_verification_algorithms,
                }))
            }
        };
        let mut config = match &settings.certificate {
            Some(ours) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours.key()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { settings, config: Arc::new(config) })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// For rustls, with a memory of sessions of its own, so that shards need not share one.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::new(config)
    }

    /// What to ask for and to check when dialling this host of a URL: [`ClientSettings::server_name`], else the host
    /// itself. Addresses may have brackets and a zone (RFC 6874), which no certificate has; a dot after the name is the
    /// resolver's business (RFC 6066 §3).
    ///
    /// # Errors
    /// [`InvalidServerName`].
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, InvalidServerName> {
        let asked = self.settings.server_name.as_deref().unwrap_or(host);
        let bare = asked.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(asked);
        let bare = match bare.split_once('%') {
            Some((address, _)) if address.contains(':') => address,
            Some(_) | None => bare.strip_suffix('.').unwrap_or(bare),
        };
        ServerName::try_from(bare.to_owned()).map_err(|_| InvalidServerName(asked.chars().take(80).collect()))
    }
}

/// The same settings: then a reload need not begin anew.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// Believes whoever has the key of the certificate that it shows, whosever that is.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::sign::CertifiedKey;
    use rustls::{HandshakeKind, ServerConfig};

    use super::super::testing::{Authority, Pair, Shaken, params, plain_server, shake};
    use super::super::{Peer, explain, label};
    use super::*;

    fn client(verification: Verification) -> Client {
        Client::new(ClientSettings { verification, certificate: None, server_name: None }).unwrap()
    }

    fn dial(client: &Client, name: &str, pair: &Pair) -> Shaken {
        shake(client.config(), name, Arc::new(plain_server(pair)))
    }

    /// Whom this authority has signed, until long ago or from far ahead.
    fn dated(ca: &Authority, from: i32, to: i32) -> Pair {
        let mut params = params(&["example.com"]);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        ca.sign(&params, &rcgen::KeyPair::generate().unwrap())
    }

    #[test]
    fn believes_a_server_with_the_right_certificate_and_no_other() {
        let (ca, stranger) = (Authority::new("ca"), Authority::new("stranger"));
        let client = client(Verification::By(ca.authorities()));
        let both = dial(&client, "chat.example.com", &ca.pair(&["*.example.com"]));
        assert!(both.is_done(), "{:?}", both.client_error);
        assert!(dial(&client, "192.0.2.7", &ca.pair(&["192.0.2.7"])).is_done());
        let rows = [
            (
                stranger.pair(&["example.com"]),
                "unknown_ca",
                "nobody whom we believe (unknown issuer): set ca to",
            ),
            (
                ca.pair(&["a.example", "192.0.2.7"]),
                "name",
                "is not for example.com but for a.example, 192.0.2.7: dial",
            ),
            (ca.pair(&[]), "name", "but for no name at all"),
            (dated(&ca, 1990, 2001), "expired", "on 2001-01-01 00:00 UTC: renew it there"),
            (dated(&ca, 3000, 3001), "not_valid_yet", "is not valid yet, but from 3000-01-01 00:00 UTC on"),
        ];
        for (pair, word, sentence) in rows {
            let both = dial(&client, "example.com", &pair);
            let error = both.client_error.unwrap();
            assert_eq!(label(&error), word);
            let told = explain(&error, Peer::Server);
            assert!(told.starts_with("the certificate of the server") && told.contains(sentence), "{told}");
            // The server is told as well, and can say it to its own people.
            assert_eq!(both.server_error.as_ref().map(label), Some("alert"));
        }
    }

    #[test]
    fn insecure_believes_anybody_who_has_the_key_of_what_they_show() {
        let stranger = Authority::new("stranger");
        let insecure = client(Verification::Insecure);
        for pair in [stranger.pair(&["other.example"]), dated(&stranger, 1990, 2001), stranger.pair(&[])] {
            assert!(dial(&insecure, "example.com", &pair).is_done());
        }
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (shown, held) =
                (stranger.certificate(&["example.com"]), stranger.certificate(&["example.com"]));
            let key = CertifiedKey::new(shown.key().cert.clone(), held.key().key.clone());
            let thief = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
            let error = shake(insecure.config(), "example.com", Arc::new(thief)).client_error.unwrap();
            assert!(
                explain(&error, Peer::Server).contains("does not have the key of the certificate"),
                "{error}"
            );
        }
    }

    #[test]
    fn shows_its_certificate_to_a_server_that_asks() {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let asking = |pair: &Pair| {
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                clients.authorities().store(),
                provider(),
            );
            let config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap())
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.load().key())));
            Arc::new(config)
        };
        let ours = clients.pair(&["selat.example"]);
        let rows = [
            (Some(ours.load()), None),
            (None, Some("the server wants a client certificate, and we have none: set cert and key")),
            (
                Some(servers.certificate(&["selat.example"])),
                Some("the server does not believe whoever signed our client certificate"),
            ),
        ];
        for (certificate, complaint) in rows {
            let verification = Verification::By(servers.authorities());
            let client =
                Client::new(ClientSettings { verification, certificate, server_name: None }).unwrap();
            let both = shake(client.config(), "example.com", asking(&servers.pair(&["example.com"])));
            assert_eq!(both.is_done(), complaint.is_none());
            match complaint {
                Some(complaint) => {
                    let told = explain(&both.client_error.unwrap(), Peer::Server);
                    assert!(told.starts_with(complaint), "{told}");
                }
                None => assert_eq!(both.server.peer_certificates().unwrap()[0].to_vec(), ours.leaf()),
            }
        }
    }

    #[test]
    fn remembers_sessions_within_one_configuration_only() {
        let ca = Authority::new("ca");
        let client = client(Verification::By(ca.authorities()));
        let mut server = plain_server(&ca.pair(&["example.com"]));
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let server = Arc::new(server);
        let (one, other) = (client.config(), client.config());
        let kinds = [one.clone(), one, other]
            .map(|config| shake(config, "example.com", server.clone()).client.handshake_kind());
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Full].map(Some));
    }

    #[test]
    fn offers_http_1_1() {
        let ca = Authority::new("ca");
        let client = client(Verification::By(ca.authorities()));
        let mut server = plain_server(&ca.pair(&["example.com"]));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let both = shake(client.config(), "example.com", Arc::new(server.clone()));
        assert_eq!(both.client.alpn_protocol(), Some(&b"http/1.1"[..]));
        server.alpn_protocols = vec![b"h2".to_vec()];
        let error = shake(client.config(), "example.com", Arc::new(server)).client_error.unwrap();
        assert!(explain(&error, Peer::Server).contains("refuses HTTP/1.1"), "{error}");
    }

    #[test]
    fn the_name_that_is_asked_for_is_the_urls_or_the_one_that_is_set() {
        let plain = client(Verification::Insecure);
        let rows = [
            ("example.com", Some("example.com")),
            ("Example.com.", Some("Example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("192.0.2.7", Some("192.0.2.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[fe80::1%25eth0]", Some("fe80::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("", None),
            (".", None),
            ("*.example.com", None),
            ("bücher.example", None),
            ("a b", None),
            ("[example", None),
            ("a%b", None),
        ];
        for (host, name) in rows {
            let found = plain.server_name(host).ok().map(|name| name.to_str().into_owned());
            assert_eq!(found.as_deref(), name, "{host}");
        }
        assert!(plain.server_name("bücher.example").unwrap_err().to_string().contains("xn--"));
        let set = Client::new(ClientSettings {
            server_name: Some("inner.example".into()),
            ..ClientSettings::clone(plain.settings())
        });
        assert_eq!(set.unwrap().server_name("192.0.2.7").unwrap().to_str(), "inner.example");
    }

    #[test]
    fn equal_settings_are_equal_clients_and_any_change_is_seen() {
        let (ca, stranger) = (Authority::new("ca"), Authority::new("stranger"));
        let (ours, renewed) = (ca.certificate(&["selat.example"]), ca.certificate(&["selat.example"]));
        let base = || ClientSettings {
            verification: Verification::By(ca.authorities()),
            certificate: Some(ours.clone()),
            server_name: Some("example.com".into()),
        };
        let same = Client::new(base()).unwrap();
        assert_eq!(same, Client::new(base()).unwrap());
        let changes = [
            ClientSettings { verification: Verification::By(stranger.authorities()), ..base() },
            ClientSettings { verification: Verification::Insecure, ..base() },
            ClientSettings { certificate: Some(renewed), ..base() },
            ClientSettings { certificate: None, ..base() },
            ClientSettings { server_name: None, ..base() },
        ];
        for changed in changes {
            assert_ne!(same, Client::new(changed).unwrap());
        }
    }
}
