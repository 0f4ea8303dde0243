//! What a certificate says of a node, and what is wrong with it.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// How a certificate names the node called `name`: a URI among its alternative names.
///
/// A URI and not a host name: names of nodes may have underscores and 64 bytes, and a certificate
/// that some server has for its host name must never be one of a node.
pub fn node_uri(name: &str) -> String {
    format!("{NODE_URI}{name}")
}

/// The node that a certificate is for; nothing if it is not one of a node, or of several.
pub(crate) fn node_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(NODE_URI));
    let name = names.next().filter(|name| !name.is_empty())?;
    names.next().is_none().then(|| name.to_owned())
}

/// Why a handshake failed, for people.
pub(crate) fn reason(error: &rustls::Error) -> String {
    use CertificateError::{BadSignature, UnknownIssuer};
    use rustls::Error as E;
    if let E::InvalidCertificate(error) = error {
        return if let CertificateError::Other(error) = error {
            error.0.to_string()
        } else if [UnknownIssuer, BadSignature].contains(error) {
            // The second one: by another CA of the same name.
            "the certificate is not signed by the CA in use".to_owned()
        } else {
            error.to_string()
        };
    }
    if matches!(error, E::InvalidMessage(_)) {
        return "this is not TLS".to_owned();
    }
    if *error == E::NoCertificatesPresented {
        return "no certificate was presented".to_owned();
    }
    error.to_string()
}

const NODE_URI: &str = "raftcached://node/";
