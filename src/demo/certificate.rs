//! A certificate for the demo: made on the spot, and signed by an authority of which nobody has heard.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::config::ListenAddress;
use crate::tls::{
    Authorities, Certificate, Client, ClientSettings, InvalidCertificate, Server, ServerSettings,
    Verification, Version,
};

/// The name by which the demo's own clients ask for the proxy. The certificate is for the loopback addresses too.
pub(super) const NAME: &str = "localhost";

/// How long the certificate is good; a demo that runs for longer turns its own clients away.
const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Clocks of other machines may be behind.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// For a client to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// It was made, but cannot be used.
    #[error("cannot use the certificate that was made for the demo: {0}")]
    Use(#[from] InvalidCertificate),
    /// The authority could not be written down for others to believe.
    #[error("cannot write {}: {source}; does $TMPDIR name a folder that may be written to?", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Both ends of the demo's TLS.
pub(super) struct Ends {
    pub(super) server: Arc<Server>,
    pub(super) client: Arc<Client>,
    pub(super) authority: AuthorityFile,
}

impl Ends {
    /// Makes an authority, and a certificate of it for a proxy that listens there. The authority's key is forgotten:
    /// whoever believes it believes that one certificate.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(super) fn make(listen: &ListenAddress) -> Result<Self, CertificateError> {
        let authority = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let chain = leaf(listen)?.signed_by(&key, &authority)?.pem();
        let server = Server::new(ServerSettings {
            certificates: vec![Certificate::from_pem(&chain, &key.serialize_pem())?],
            clients: None,
            least: Version::V1_2,
            handshakes_per_second: None,
            timeout: HANDSHAKE_TIMEOUT,
        })?;
        let client = Client::new(ClientSettings {
            verification: Verification::By(Authorities::from_pem(&authority.pem())?),
            certificate: None,
            server_name: None,
        })?;
        let authority = AuthorityFile::write(&authority.pem())?;
        Ok(Self { server: server.into(), client: client.into(), authority })
    }
}

/// The authority's certificate, in PEM, for clients to be told to believe; removed when dropped.
pub(super) struct AuthorityFile(PathBuf);

impl AuthorityFile {
    fn write(pem: &str) -> Result<Self, CertificateError> {
        let path = std::env::temp_dir().join(format!("selat-demo-{:08x}.pem", fastrand::u32(..)));
        // New, so that nobody else's file, and no link to one, is written over.
        let written = File::create_new(&path).map(|file| (Self(path.clone()), file));
        let written = written.and_then(|(this, mut file)| file.write_all(pem.as_bytes()).map(|()| this));
        written.map_err(|source| CertificateError::Write { path, source })
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for AuthorityFile {
    fn drop(&mut self) {
        // At the worst it stays behind, and with it the name of an authority that can sign no more.
        let _ = fs::remove_file(&self.0);
    }
}

fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut params = params("selat demo authority", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn leaf(listen: &ListenAddress) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec![NAME.to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(address(listen).map(|address| address.to_string()).filter(|name| !names.contains(name)));
    let mut params = params(NAME, &names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Where it listens, if that is one address.
pub(super) fn address(listen: &ListenAddress) -> Option<IpAddr> {
    match listen {
        ListenAddress::Tcp(address) => Some(address.ip()).filter(|address| !address.is_unspecified()),
        ListenAddress::Unix(_) => None,
    }
}

/// For somebody of this name who goes by these.
fn params(name: &str, names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - SKEW).into(), (now + GOOD_FOR).into());
    Ok(params)
}
