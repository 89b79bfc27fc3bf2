//! Certificate chains with their keys, and every way in which they can be wrong.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;

use super::facts::{self, Facts, Worry};
use super::{pem, provider};

/// Bytes of a file with a chain, or a key, or both. Chains are some 5 KiB; a peer of rustls takes 64 KiB of them.
const BYTES_MAX: usize = 128 << 10;
/// Certificates of one chain. Real ones have up to four.
const CHAIN_MAX: usize = 16;

/// What is wrong with a certificate, a key or an authority, and what to do. Never shows a byte of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is none in the text.
    #[error("there is no certificate in it; it should have a line -----BEGIN CERTIFICATE----- (PEM)")]
    NoCertificate,
    /// There is a private key where a certificate should be.
    #[error("there is a private key in it and no certificate; are the two files mixed up?")]
    KeyInstead,
    /// There is a request where a certificate should be.
    #[error("it is only a certificate request; give the certificate that the authority made of it")]
    RequestInstead,
    /// In a form that only OpenSSL reads.
    #[error(
        "it is in OpenSSL's own form TRUSTED CERTIFICATE; convert it: openssl x509 -in … -out … -clrtrust"
    )]
    TrustedCertificate,
    /// There is no key in the text.
    #[error("there is no private key in it; it should have a line -----BEGIN PRIVATE KEY----- (PEM)")]
    NoKey,
    /// There is a certificate where a private key should be.
    #[error("there is a certificate in it and no private key; are the two files mixed up?")]
    CertificateInstead,
    /// Nobody could type the password of a key when selat starts.
    #[error("the private key is encrypted; decrypt it: openssl pkey -in … -out …")]
    EncryptedKey,
    /// A key in a form that no TLS library reads: the label of its section.
    #[error(
        "a key of the kind {0:?} is of no use; make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    )]
    KeyKind(String),
    /// Which of them is meant is not said.
    #[error("there are {found} private keys in it; leave the one that belongs to the certificate")]
    ManyKeys {
        /// How many.
        found: usize,
    },
    /// A key that cannot sign: of another kind, too short, or damaged.
    #[error(
        "the private key cannot be used ({0}); use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits and more"
    )]
    UnusableKey(String),
    /// The key is another certificate's.
    #[error("the key does not belong to this certificate; it is another one's, or the files are mixed up")]
    WrongKey,
    /// The key is that of a later certificate of the chain.
    #[error(
        "the key belongs to certificate {position} of the chain; that one has to come first, then its issuer"
    )]
    LeafNotFirst {
        /// Of the certificate to which the key belongs, counted from 1.
        position: usize,
    },
    /// A certificate of the chain did not sign the one before it (RFC 5246 §7.4.2).
    #[error(
        "certificate {position} of the chain ({subject}) is not the issuer of the one before it ({issuer}); \
         put them in order, each followed by its issuer, and leave out the others"
    )]
    ChainOrder {
        /// Of the one that is out of place, counted from 1.
        position: usize,
        /// Whose it is.
        subject: String,
        /// Whose should be there.
        issuer: String,
    },
    /// More certificates than any chain has.
    #[error("there are {found} certificates in the chain; more than {CHAIN_MAX} are not sent")]
    LongChain {
        /// How many.
        found: usize,
    },
    /// The file is something else.
    #[error("it has {bytes} bytes, and more than {bytes_max} are not read; is it the right file?")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many are read.
        bytes_max: usize,
    },
    /// Not PEM, though it begins like it.
    #[error("it is damaged: {0}; copy it again")]
    Broken(&'static str),
    /// A section that says it is a certificate and is not.
    #[error("certificate {position} in it cannot be read ({why}); copy it again")]
    Unreadable {
        /// Of the certificate in the text, counted from 1.
        position: usize,
        /// What the parser said.
        why: String,
    },
    /// Authorities that are all of no use.
    #[error(
        "none of the {skipped} certificates of authorities can be used; install the system's: ca-certificates"
    )]
    NoneUsable {
        /// How many there were.
        skipped: usize,
    },
    /// It cannot be read, or rustls will not have it.
    #[error("it cannot be used: {0}")]
    Unusable(String),
}

/// A certificate chain and its private key, which belong together.
#[derive(Clone)]
pub struct Certificate(Arc<Loaded>);

struct Loaded {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl Certificate {
    /// From PEM texts: the chain, leaf first, each followed by its issuer; and the leaf's key, as PKCS #8, PKCS #1 or
    /// SEC 1. Both may be the same text.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, InvalidCertificate> {
        let chain = pem::certificates(chain, BYTES_MAX)?;
        let key = pem::key(key, BYTES_MAX)?;
        if chain.len() > CHAIN_MAX {
            return Err(InvalidCertificate::LongChain { found: chain.len() });
        }
        let signing = provider().key_provider.load_private_key(key).map_err(|error| unusable_key(&error))?;
        let facts = check(&chain, &*signing)?;
        Ok(Self(Arc::new(Loaded { key: Arc::new(CertifiedKey::new(chain, signing)), facts })))
    }

    /// The DNS names and IP addresses it is for (its subjectAltName), in its order; names as they are written there,
    /// with `*.` where all names below are meant.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0.facts.names
    }

    /// Whose it is, as in `CN=example.com, O=Example`. May be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.facts.subject
    }

    /// When it began or will begin to be valid, in seconds since 1970.
    #[must_use]
    pub fn begins_at(&self) -> u64 {
        self.0.facts.begins_at
    }

    /// The last second in which it is valid, since 1970.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.facts.expires_at
    }

    /// What somebody should know of its validity, at this time in seconds since 1970.
    #[must_use]
    pub fn worry(&self, unix_now: u64) -> Option<Worry> {
        Worry::about(self.begins_at(), self.expires_at(), unix_now)
    }

    /// What rustls signs with.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        self.0.key.clone()
    }
}

/// The same chain, and so the same key: a key that does not belong to its certificate is refused.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.key.cert == other.0.key.cert
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("names", &self.names())
            .field("key", &"redacted")
            .finish()
    }
}

/// In rustls's words, without its "unexpected error": nothing is to be expected of a key.
fn unusable_key(error: &rustls::Error) -> InvalidCertificate {
    let why = if let rustls::Error::General(why) = error { why.clone() } else { error.to_string() };
    InvalidCertificate::UnusableKey(why)
}

/// The facts of the leaf, once the key is found to be its own and the chain to be in order.
fn check(chain: &[CertificateDer<'_>], key: &dyn SigningKey) -> Result<Facts, InvalidCertificate> {
    let parsed = (1..)
        .zip(chain)
        .map(|(position, der)| {
            facts::parse(der).map_err(|why| InvalidCertificate::Unreadable { position, why })
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Compared here and not by rustls, which does not read certificates with the extension of RFC 8737.
    let public =
        key.public_key().ok_or_else(|| InvalidCertificate::UnusableKey("of no known kind".into()))?;
    let owner = parsed.iter().position(|one| one.public_key().raw == public.as_ref());
    match owner {
        None => return Err(InvalidCertificate::WrongKey),
        Some(0) => {}
        Some(index) => return Err(InvalidCertificate::LeafNotFirst { position: index + 1 }),
    }
    in_order(&parsed)?;
    parsed.first().map(Facts::of).ok_or(InvalidCertificate::NoCertificate)
}

/// RFC 5246 §7.4.2: "Each following certificate MUST directly certify the one preceding it."
fn in_order(chain: &[X509Certificate<'_>]) -> Result<(), InvalidCertificate> {
    for (position, (before, issuer)) in (2..).zip(chain.iter().zip(chain.iter().skip(1))) {
        if before.issuer().as_raw() != issuer.subject().as_raw() {
            return Err(InvalidCertificate::ChainOrder {
                position,
                subject: issuer.subject().to_string(),
                issuer: before.issuer().to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{DnType, KeyPair};

    use super::super::testing::{Authority, Pair, params, rsa_key};
    use super::*;

    fn mistake(chain: &str, key: &str) -> InvalidCertificate {
        Certificate::from_pem(chain, key).unwrap_err()
    }

    /// A section of this kind, with nothing that anybody could read in it.
    fn section(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    }

    #[test]
    fn tells_what_a_certificate_says() {
        let mut params = params(&["example.com", "*.Example.org", "192.0.2.7", "2001:db8::7"]);
        params.distinguished_name.push(DnType::CommonName, "an example");
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@example.com".try_into().unwrap()));
        params.not_before = rcgen::date_time_ymd(1970, 1, 3);
        params.not_after = rcgen::date_time_ymd(2033, 5, 18);
        let certificate = Authority::new("ca").sign(&params, &KeyPair::generate().unwrap()).load();
        assert_eq!(certificate.names(), ["example.com", "*.Example.org", "192.0.2.7", "2001:db8::7"]);
        assert_eq!(certificate.subject(), "CN=an example");
        assert_eq!(certificate.begins_at(), 172_800);
        assert_eq!(certificate.expires_at(), 1_999_987_200);
        assert!(matches!(certificate.worry(172_799), Some(Worry::NotValidYet { .. })));
        assert_eq!(certificate.worry(172_800), None);
    }

    #[test]
    fn reads_a_chain_with_its_key_in_one_file_whatever_else_is_there() {
        let root = Authority::new("root");
        let middle = root.below("middle");
        let Pair { chain, key } = middle.pair(&["example.com"]);
        let parameters = section("EC PARAMETERS");
        let file =
            format!("Bag Attributes\r\n{chain}{parameters}{key}# the issuer\n{}{}", middle.pem(), root.pem());
        let certificate = Certificate::from_pem(&file, &file).unwrap();
        assert_eq!(certificate.key().cert.len(), 3);
        assert_eq!(certificate, Certificate::from_pem(&file.replace('\n', "\r\n"), &key).unwrap());
    }

    #[test]
    fn reads_every_kind_of_key_that_rustls_can_sign_with() {
        let ca = Authority::new("ca");
        let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        for key in kinds.map(|kind| KeyPair::generate_for(kind).unwrap()).iter().chain([&rsa_key()]) {
            ca.sign(&params(&["example.com"]), key).load();
        }
    }

    #[test]
    fn each_mistake_has_its_own_remedy() {
        use InvalidCertificate as Wrong;
        let ca = Authority::new("ca");
        let (ours, other) = (ca.pair(&["a.example"]), ca.pair(&["b.example"]));
        let (chain, key) = (ours.chain.as_str(), ours.key.as_str());
        let legacy = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
            -----END EC PRIVATE KEY-----\n";
        let rows: [(&str, &str, Wrong); 17] = [
            ("", key, Wrong::NoCertificate),
            ("\0\u{fffd}garbage", key, Wrong::NoCertificate),
            (key, key, Wrong::KeyInstead),
            (&section("CERTIFICATE REQUEST"), key, Wrong::RequestInstead),
            (&section("TRUSTED CERTIFICATE"), key, Wrong::TrustedCertificate),
            (chain, "", Wrong::NoKey),
            (chain, chain, Wrong::CertificateInstead),
            (chain, &section("ENCRYPTED PRIVATE KEY"), Wrong::EncryptedKey),
            (chain, legacy, Wrong::EncryptedKey),
            (chain, &section("OPENSSH PRIVATE KEY"), Wrong::KeyKind("OPENSSH PRIVATE KEY".into())),
            (chain, &format!("{key}{}", other.key), Wrong::ManyKeys { found: 2 }),
            (chain, &other.key, Wrong::WrongKey),
            (&format!("{}{chain}", ca.pem()), key, Wrong::LeafNotFirst { position: 2 }),
            (&chain.repeat(17), key, Wrong::LongChain { found: 17 }),
            (&"x".repeat(BYTES_MAX + 1), key, Wrong::TooLarge { bytes: BYTES_MAX + 1, bytes_max: BYTES_MAX }),
            (
                &chain[..chain.len() - 40],
                key,
                Wrong::Broken("a section begins and never ends, so it was cut short"),
            ),
            (&chain.replace("MII", "M!I"), key, Wrong::Broken("what is between BEGIN and END is not base64")),
        ];
        for (chain, key, wrong) in rows {
            assert_eq!(mistake(chain, key), wrong, "{chain}");
        }
        assert!(matches!(mistake(&section("CERTIFICATE"), key), Wrong::Unreadable { position: 1, .. }));
        assert!(matches!(mistake(chain, &section("PRIVATE KEY")), Wrong::UnusableKey(_)));
        assert!(Wrong::EncryptedKey.to_string().contains("openssl pkey -in"));
    }

    #[test]
    fn a_chain_is_refused_where_one_did_not_sign_the_one_before() {
        let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
        let middle = root.below("middle");
        let Pair { chain, key } = middle.pair(&["example.com"]);
        let rows = [
            (format!("{chain}{}{}", root.pem(), middle.pem()), 2, "CN=root", "CN=middle"),
            (format!("{chain}{}{}", middle.pem(), stranger.pem()), 3, "CN=stranger", "CN=root"),
            (format!("{chain}{chain}"), 2, "", "CN=middle"),
        ];
        for (chain, position, subject, issuer) in rows {
            let (subject, issuer) = (subject.to_owned(), issuer.to_owned());
            assert_eq!(mistake(&chain, &key), InvalidCertificate::ChainOrder { position, subject, issuer });
        }
    }

    #[test]
    fn the_same_certificate_is_equal_and_a_renewed_one_is_not() {
        let ca = Authority::new("ca");
        let key = KeyPair::generate().unwrap();
        let first = ca.sign(&params(&["example.com"]), &key);
        let mut renewed = params(&["example.com"]);
        renewed.not_after = rcgen::date_time_ymd(4000, 1, 1);
        let renewed = ca.sign(&renewed, &key);
        assert_eq!(first.load(), first.load());
        assert_ne!(first.load(), renewed.load());
        assert_ne!(first.load(), ca.certificate(&["example.com"]));
        assert_ne!(
            first.load(),
            Certificate::from_pem(&format!("{}{}", first.chain, ca.pem()), &first.key).unwrap()
        );
    }

    #[test]
    fn debug_shows_names_and_no_key() {
        let pair = Authority::new("ca").pair(&["example.com"]);
        let shown = r#"Certificate { subject: "", names: ["example.com"], key: "redacted" }"#;
        assert_eq!(format!("{:?}", pair.load()), shown);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}", body in "[A-Za-z0-9+/=\n -]{0,200}") {
            let wrapped = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
            for text in [text, wrapped] {
                prop_assert!(Certificate::from_pem(&text, &text).is_err());
            }
        }

        /// No byte of a key is in what is said about it.
        #[test]
        fn a_damaged_key_is_never_told(at in 0_usize..200, with in "[!-~]") {
            let Pair { chain, mut key } = PAIR.with(Pair::clone);
            let secret: String = key.lines().filter(|line| !line.starts_with('-')).collect();
            let at = at.min(key.len() - 1);
            key.replace_range(at..=at, &with);
            if let Err(error) = Certificate::from_pem(&chain, &key) {
                let told = format!("{error} {error:?}");
                for part in secret.as_bytes().windows(8).map(|part| str::from_utf8(part).unwrap()) {
                    prop_assert!(!told.contains(part), "{}", told);
                }
            }
        }
    }

    thread_local! {
        static PAIR: Pair = Authority::new("ca").pair(&["example.com"]);
    }
}
