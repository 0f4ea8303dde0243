//! Names of cipher suites.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as suite;

use super::TlsError;

/// Leaves in `suites` what `names` allows, OpenSSL's or IANA's names with `:` between them.
///
/// # Errors
///
/// [`TlsError::CipherUnknown`] with the first name that is none.
pub(super) fn restrict(
    suites: &mut Vec<SupportedCipherSuite>,
    names: &str,
) -> Result<(), TlsError> {
    let mut allowed = Vec::new();
    for name in names.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        let found = SUITES.iter().find(|(openssl, iana, _)| [*openssl, *iana].contains(&name));
        let (_, _, suite) =
            found.ok_or_else(|| TlsError::CipherUnknown { name: name.to_owned() })?;
        allowed.push(*suite);
    }
    if allowed.is_empty() {
        return Err(TlsError::CipherUnknown { name: names.to_owned() });
    }
    if !allowed.iter().any(is_tls13) {
        // OpenSSL has another list for them.
        allowed.extend(suites.iter().copied().filter(is_tls13));
    }
    suites.retain(|suite| allowed.contains(suite));
    Ok(())
}

/// All names that are known.
pub(super) fn known() -> String {
    SUITES.map(|(openssl, _, _)| openssl).join(":")
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    suite.tls13().is_some()
}

/// OpenSSL's name, IANA's name, and the suite.
#[rustfmt::skip]
const SUITES: [(&str, &str, SupportedCipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256",
        suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::ALL_CIPHER_SUITES;

    use super::*;

    fn restricted(names: &str) -> Result<Vec<SupportedCipherSuite>, String> {
        let mut suites = ALL_CIPHER_SUITES.to_vec();
        restrict(&mut suites, names).map_err(|error| error.to_string())?;
        Ok(suites)
    }

    #[test]
    fn every_suite_has_both_names() {
        assert_eq!(SUITES.len(), ALL_CIPHER_SUITES.len());
        for (openssl, iana, suite) in SUITES {
            assert!(restricted(openssl).unwrap().contains(&suite), "{openssl}");
            assert_eq!(restricted(openssl), restricted(iana));
            let shown = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            assert_eq!(shown, iana);
        }
    }

    #[test]
    fn those_of_tls_1_3_stay_unless_some_are_named() {
        assert_eq!(restricted("ECDHE-RSA-AES128-GCM-SHA256").unwrap().len(), 4);
        assert_eq!(restricted("TLS_AES_128_GCM_SHA256").unwrap().len(), 1);
    }

    #[test]
    fn an_unknown_name_is_named() {
        for names in ["ECDHE-RSA-AES128-GCM-SHA256:RC4-MD5", "RC4-MD5", "HIGH", "", ":"] {
            let error = restricted(names).unwrap_err();
            let wrong = names.rsplit(':').next().filter(|name| !name.is_empty()).unwrap_or(names);
            assert!(error.starts_with(&format!("cipher suite `{wrong}`")), "{error}");
        }
    }
}
