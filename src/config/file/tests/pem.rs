//! Certificates, keys and authorities, made once, as files of a [`super::World`].

use std::sync::LazyLock;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use crate::tls::CertificateDer;

/// The first of June 2030.
pub(super) const NOW: u64 = 1_906_502_400;

struct Made {
    files: Vec<(String, String)>,
    root: CertificateDer<'static>,
}

/// Each file with its text. `/tls/NAME.pem` is the certificate of `/tls/NAME.key`, for `NAME.example`.
pub(super) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    MADE.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
}

/// The authority of `/tls/ca.pem`.
pub(super) fn root() -> CertificateDer<'static> {
    MADE.root.clone()
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut files = vec![("/tls/ca.pem".to_owned(), authority.pem())];
    let spans = [
        ("a", (2030, 1, 1), (2031, 1, 1)),
        ("b", (2030, 1, 1), (2030, 6, 16)),
        ("soon", (2030, 1, 1), (2030, 6, 14)),
        ("over", (2030, 1, 1), (2030, 5, 31)),
        ("ahead", (2030, 6, 2), (2031, 1, 1)),
    ];
    for (name, from, until) in spans {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let signed = params.signed_by(&key, &authority).unwrap();
        files.push((format!("/tls/{name}.pem"), signed.pem()));
        files.push((format!("/tls/{name}.key"), key.serialize_pem()));
    }
    // What is left of a copy that went wrong.
    let cut: Vec<_> =
        files.iter().map(|(path, text)| (format!("{path}.cut"), text[..100].to_owned())).collect();
    files.extend(cut);
    Made { files, root: authority.der().clone() }
});
