//! TLS toward clients: certificates by name, the clients' own certificates, versions, tickets.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::authorities::Authorities;
use super::by_name::ByName;
use super::certificate::{Certificate, InvalidCertificate};
use super::challenges::{ACME_TLS, Challenges, Proving};
use super::{HTTP_1_1, provider};

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Those without one are turned away in the handshake.
    Required,
    /// One that is shown has to be right; none need be.
    Optional,
}

/// Which certificates of clients are believed. They are checked in full handshakes; with a ticket, which is good for up
/// to 12 hours and at this one [`Server`], a client is who it was.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificates {
    /// Who may have signed them.
    pub authorities: Authorities,
    /// Whether there must be one.
    pub auth: ClientAuth,
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Chosen by the name that the client asks for (SNI) and the signatures that it can check; the first is for clients
    /// that ask for no name, or another. Empty while certificates are still to be had (ACME): then every handshake
    /// fails, and [`super::explain`] says so.
    pub certificates: Vec<Certificate>,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<ClientCertificates>,
    /// The lowest version that is spoken.
    pub least: Version,
    /// Handshakes that one shard begins in a second; those beyond wait their turn. `None`: no limit.
    pub handshakes_per_second: Option<NonZeroU32>,
    /// For a handshake, waiting included; then the connection is closed.
    pub timeout: Duration,
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Server {
    settings: ServerSettings,
    config: Arc<ServerConfig>,
}

impl Server {
    /// Speaks TLS like this.
    ///
    /// # Errors
    /// [`InvalidCertificate`]: the authorities of clients cannot be used, or there is no randomness to be had.
    pub fn new(settings: ServerSettings) -> Result<Self, InvalidCertificate> {
        let unusable = |error: &dyn fmt::Display| InvalidCertificate::Unusable(error.to_string());
        let versions: &[_] = match settings.least {
            Version::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Version::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&error))?;
        let builder = match &settings.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(clients.authorities.store(), provider());
                let verifier = match clients.auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(&settings.certificates)));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Sessions are remembered by the clients, in tickets. A memory here would be one lock for all shards.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| unusable(&error))?;
        Ok(Self { settings, config: Arc::new(config) })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// For rustls. Shared by all shards, so that a ticket of one is good at all.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// For rustls as [`Server::config`], but a client that offers [`ACME_TLS`] alone, for a domain with a challenge, is
    /// shown the proof (RFC 8737 §3); tickets are good with either. Of no use where clients have to show a
    /// certificate: authorities show none.
    #[must_use]
    pub fn with_challenges(&self, challenges: &Challenges) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols.push(ACME_TLS.to_vec());
        let otherwise = config.cert_resolver;
        config.cert_resolver = Arc::new(Proving { challenges: challenges.clone(), otherwise });
        Arc::new(config)
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::SupportedKxGroup;
    use rustls::crypto::aws_lc_rs::kx_group;
    use rustls::{HandshakeKind, ProtocolVersion};

    use super::super::testing::{Authority, Pair, client_builder, plain_client, shake};
    use super::super::{Peer, client_name, explain, label};
    use super::*;

    fn settings(certificates: Vec<Certificate>) -> ServerSettings {
        ServerSettings {
            certificates,
            clients: None,
            least: Version::V1_2,
            handshakes_per_second: None,
            timeout: Duration::from_secs(10),
        }
    }

    fn server(certificates: Vec<Certificate>) -> Server {
        Server::new(settings(certificates)).unwrap()
    }

    #[test]
    fn shows_the_certificate_of_the_name_that_is_asked_for() {
        let ca = Authority::new("ca");
        let (first, wild) = (ca.pair(&["first.example", "192.0.2.7"]), ca.pair(&["*.example.com"]));
        let server = server(vec![first.load(), wild.load()]);
        for (name, shown) in [("first.example", &first), ("chat.example.com", &wild), ("192.0.2.7", &first)] {
            let both = shake(plain_client(&ca.authorities()), name, server.config());
            assert!(both.is_done(), "{name}: {:?}", both.client_error);
            assert_eq!(both.shown(), shown.leaf(), "{name}");
        }
        let both = shake(plain_client(&ca.authorities()), "other.example", server.config());
        assert_eq!(both.client_error.as_ref().map(label), Some("name"));
    }

    #[test]
    fn speaks_http_1_1_or_nothing() {
        let ca = Authority::new("ca");
        let server = server(vec![ca.certificate(&["example.com"])]);
        let offering = |offered: &[&str]| {
            let mut client = plain_client(&ca.authorities());
            client.alpn_protocols = offered.iter().map(|one| one.as_bytes().to_vec()).collect();
            shake(client, "example.com", server.config())
        };
        let silent = offering(&[]);
        assert!(silent.is_done() && silent.server.alpn_protocol().is_none());
        for offered in [&["http/1.1"][..], &["h2", "http/1.1"]] {
            let both = offering(offered);
            assert!(both.is_done(), "{offered:?}");
            assert_eq!(both.client.alpn_protocol(), Some(HTTP_1_1), "{offered:?}");
        }
        for offered in [&["h2"][..], &["acme-tls/1"]] {
            let both = offering(offered);
            let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
            assert_eq!(both.client_error, Some(alert), "{offered:?}");
            assert_eq!(both.server_error.as_ref().map(label), Some("alpn"), "{offered:?}");
        }
    }

    #[test]
    fn speaks_no_version_below_the_least() {
        let ca = Authority::new("ca");
        let old = || {
            rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .with_root_certificates(ca.authorities().store())
                .with_no_client_auth()
        };
        let certificates = vec![ca.certificate(&["example.com"])];
        let both = shake(old(), "example.com", server(certificates.clone()).config());
        assert!(both.is_done());
        assert_eq!(both.server.protocol_version(), Some(ProtocolVersion::TLSv1_2));

        let strict = Server::new(ServerSettings { least: Version::V1_3, ..settings(certificates) }).unwrap();
        let both = shake(plain_client(&ca.authorities()), "example.com", strict.config());
        assert_eq!(both.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let both = shake(old(), "example.com", strict.config());
        assert_eq!(both.server_error.as_ref().map(label), Some("protocol_version"));
        assert!(explain(&both.client_error.unwrap(), Peer::Server).contains("no version of TLS"));
    }

    #[test]
    fn keys_are_exchanged_as_the_client_likes_best_and_not_only_by_curves() {
        let ca = Authority::new("ca");
        let server = server(vec![ca.certificate(&["example.com"])]);
        for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768] {
            let mut liking = rustls::crypto::CryptoProvider::clone(&provider());
            liking.kx_groups.sort_by_key(|other| other.name() != group.name());
            let client = rustls::ClientConfig::builder_with_provider(Arc::new(liking))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(ca.authorities().store())
                .with_no_client_auth();
            let both = shake(client, "example.com", server.config());
            let agreed = both.server.negotiated_key_exchange_group().map(SupportedKxGroup::name);
            assert_eq!(agreed, Some(group.name()));
        }
    }

    #[test]
    fn a_ticket_is_good_whichever_shard_gave_it_and_in_both_versions() {
        let ca = Authority::new("ca");
        let server = server(vec![ca.certificate(&["example.com"])]);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = Arc::new(
                rustls::ClientConfig::builder_with_provider(provider())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(ca.authorities().store())
                    .with_no_client_auth(),
            );
            let kinds =
                [server.config(), server.clone().config(), server.with_challenges(&Challenges::default())]
                    .map(|config| shake(client.clone(), "example.com", config).server.handshake_kind());
            assert_eq!(
                kinds,
                [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed].map(Some),
                "{version:?}"
            );
        }
    }

    #[test]
    fn who_a_client_is_survives_resumption_and_never_passes_to_another_listener() {
        let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
        let asking = |authorities: Option<Authorities>| {
            let clients =
                authorities.map(|authorities| ClientCertificates { authorities, auth: ClientAuth::Optional });
            Server::new(ServerSettings { clients, ..settings(vec![ca.certificate(&["example.com"])]) })
                .unwrap()
        };
        let shown = rustls::sign::SingleCertAndKey::from(clients.certificate(&["feed.client"]).key());
        let client = client_builder().with_root_certificates(ca.authorities().store());
        let client = Arc::new(client.with_client_cert_resolver(Arc::new(shown)));
        let (ours, open) = (asking(Some(clients.authorities())), asking(None));
        let strict = asking(Some(Authority::new("others").authorities()));
        let name = |server: &Server| {
            let both = shake(client.clone(), "example.com", server.config());
            let name = both.server.peer_certificates().and_then(|chain| client_name(&chain[0]));
            (both.server.handshake_kind(), name, both.server_error.as_ref().map(label))
        };
        let feed = || Some("feed.client".to_owned());
        assert_eq!(name(&ours), (Some(HandshakeKind::Full), feed(), None));
        assert_eq!(name(&ours), (Some(HandshakeKind::Resumed), feed(), None));
        assert_eq!(name(&open), (Some(HandshakeKind::Full), None, None));
        assert_eq!(name(&ours), (Some(HandshakeKind::Full), feed(), None));
        // As after a reload with other authorities: what the old ones allowed is worth nothing.
        assert_eq!(name(&strict).2, Some("unknown_ca"));
    }

    #[test]
    fn without_a_certificate_every_handshake_fails_and_says_why() {
        let ca = Authority::new("ca");
        let both = shake(plain_client(&ca.authorities()), "example.com", server(vec![]).config());
        let error = both.server_error.unwrap();
        assert_eq!(label(&error), "our_certificate");
        assert!(explain(&error, Peer::Client).starts_with("there is no certificate of ours"));
        assert_eq!(both.client_error.as_ref().map(label), Some("alert"));
    }

    /// What comes of a client that shows this, where these are asked for.
    fn mutual(
        auth: ClientAuth,
        believed: &Authority,
        shows: Option<&Pair>,
    ) -> Result<Option<String>, String> {
        let ca = Authority::new("servers");
        let clients = ClientCertificates { authorities: believed.authorities(), auth };
        let certificates = vec![ca.certificate(&["example.com"])];
        let server =
            Server::new(ServerSettings { clients: Some(clients), ..settings(certificates) }).unwrap();
        let client = client_builder().with_root_certificates(ca.authorities().store());
        let client = match shows {
            Some(pair) => client
                .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.load().key()))),
            None => client.with_no_client_auth(),
        };
        let both = shake(client, "example.com", server.config());
        match both.server_error {
            Some(error) => {
                assert_eq!(both.client_error.as_ref().map(label), Some("alert"));
                Err(label(&error).to_owned())
            }
            None => Ok(both.server.peer_certificates().and_then(|chain| client_name(&chain[0]))),
        }
    }

    #[test]
    fn clients_show_a_certificate_of_the_right_authority_where_they_have_to() {
        let (ca, stranger) = (Authority::new("clients"), Authority::new("strangers"));
        let (right, wrong) = (ca.pair(&["feed.client"]), stranger.pair(&["feed.client"]));
        let mut old = super::super::testing::params(&["feed.client"]);
        old.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let expired = ca.sign(&old, &rcgen::KeyPair::generate().unwrap());
        let named = || Ok(Some("feed.client".to_owned()));
        let rows = [
            (ClientAuth::Required, Some(&right), named()),
            (ClientAuth::Required, None, Err("no_certificate".to_owned())),
            (ClientAuth::Required, Some(&wrong), Err("unknown_ca".to_owned())),
            (ClientAuth::Required, Some(&expired), Err("expired".to_owned())),
            (ClientAuth::Optional, Some(&right), named()),
            (ClientAuth::Optional, None, Ok(None)),
            (ClientAuth::Optional, Some(&wrong), Err("unknown_ca".to_owned())),
        ];
        for (auth, shows, outcome) in rows {
            assert_eq!(mutual(auth, &ca, shows), outcome, "{auth:?}");
        }
    }

    #[test]
    fn equal_settings_are_equal_servers_and_any_change_is_seen() {
        let ca = Authority::new("ca");
        let (one, other) = (ca.certificate(&["example.com"]), ca.certificate(&["example.com"]));
        let clients = |auth| Some(ClientCertificates { authorities: ca.authorities(), auth });
        let base =
            || ServerSettings { clients: clients(ClientAuth::Required), ..settings(vec![one.clone()]) };
        let same = Server::new(base()).unwrap();
        assert_eq!(same, Server::new(base()).unwrap());
        let changes = [
            ServerSettings { certificates: vec![other], ..base() },
            ServerSettings { certificates: vec![], ..base() },
            ServerSettings { clients: None, ..base() },
            ServerSettings { clients: clients(ClientAuth::Optional), ..base() },
            ServerSettings { least: Version::V1_3, ..base() },
            ServerSettings { handshakes_per_second: NonZeroU32::new(1), ..base() },
            ServerSettings { timeout: Duration::from_secs(1), ..base() },
        ];
        for changed in changes {
            assert_ne!(same, Server::new(changed).unwrap());
        }
    }
}
