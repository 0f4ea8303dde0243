use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};

use super::testing::{TestCa, write_key};
use super::*;

fn refused(files: PeerTlsFiles) -> (TlsFile, String) {
    let error = PeerTls::load(files, "n1").unwrap_err();
    let path = error.path.display().to_string();
    let shown = error.to_string();
    assert!(shown.starts_with(&path), "{shown}");
    (error.file, shown)
}

#[test]
fn a_good_certificate_is_taken_and_names_its_node() {
    let ca = TestCa::new();
    for name in ["n1", "n_1", "a.b-c", &"n".repeat(64)] {
        let tls = ca.tls(name);
        let certified = tls.current.lock().bytes.clone();
        let chain = tls.files.certified_key(&certified, &rustls::crypto::ring::default_provider());
        assert_eq!(node_name(chain.unwrap().cert.first().unwrap()).as_deref(), Some(name));
    }
}

/// Method: one property of a good certificate is broken at a time.
#[test]
fn a_certificate_that_peers_would_refuse_is_refused_at_once() {
    type Change = fn(&mut CertificateParams);
    let cases: &[(&str, Change, &str)] = &[
        ("expired", |params| params.not_after = date_time_ymd(2020, 1, 1), "expired"),
        ("not yet valid", |params| params.not_before = date_time_ymd(2999, 1, 1), "not valid yet"),
        (
            "client's",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "does not allow extended key usage",
        ),
        (
            "server's",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            "does not allow extended key usage",
        ),
        ("of nobody", |params| params.subject_alt_names.clear(), "not one of a node"),
        (
            "host's",
            |params| {
                params.subject_alt_names = vec![SanType::DnsName("n1".try_into().unwrap())];
            },
            "not one of a node",
        ),
        (
            "of two",
            |params| {
                let uri = node_uri("n2").try_into().unwrap();
                params.subject_alt_names.push(SanType::URI(uri));
            },
            "not one of a node",
        ),
        (
            "another's",
            |params| {
                let uri = node_uri("n2").try_into().unwrap();
                params.subject_alt_names = vec![SanType::URI(uri)];
            },
            "is of node `n2`, and this node is `n1`",
        ),
    ];
    let ca = TestCa::new();
    for (name, change, want) in cases {
        let (file, shown) = refused(ca.issue_with("n1", change));
        assert_eq!(file, TlsFile::Certificate, "case: {name}");
        assert!(shown.contains(want), "case: {name}: {shown}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    use TlsFile::{Ca, Certificate, Key};
    let ca = TestCa::new();
    let good = ca.issue("n1");
    let file = |name: &str, bytes: &[u8]| {
        write_key(&ca.path(name), bytes);
        ca.path(name)
    };
    let other_key = ca.issue("n2").key;
    let other_ca = TestCa::new();
    let exposed = file("exposed", &fs::read(&good.key).unwrap());
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o640)).unwrap();
    let with = |which: TlsFile, path: PathBuf| {
        let mut files = good.clone();
        match which {
            Ca => files.ca = path,
            Certificate => files.certificate = path,
            Key => files.key = path,
        }
        files
    };
    let garbage = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let cases = [
        (Ca, ca.path("none"), "cannot be read"),
        (Ca, file("empty", b""), "nothing in it"),
        (Ca, file("garbage", garbage), "nothing in it"),
        (Ca, file("long", &vec![b'x'; 1024 * 1024 + 1]), "longer than"),
        (Ca, ca.path(""), "cannot be read"),
        (Certificate, good.key.clone(), "nothing in it"),
        (Key, good.certificate.clone(), ""),
        (Key, exposed, "mode 0640 lets others read"),
        (Key, other_key, "not the key of the certificate"),
    ];
    for (which, path, want) in cases {
        let shown_path = path.display().to_string();
        let (file, shown) = refused(with(which, path));
        assert_eq!(file, which, "case: {shown_path}: {shown}");
        assert!(shown.contains(want), "case: {shown_path}: {shown}");
    }
    let (file, shown) = refused(with(Ca, other_ca.path("ca.crt")));
    assert_eq!(file, Certificate);
    assert!(shown.contains("not signed by the CA in use"), "{shown}");
}

#[test]
fn new_files_are_taken_when_they_fit_together() {
    let ca = TestCa::new();
    let tls = ca.tls("n1");
    let first = tls.server();
    assert!(!tls.reload().unwrap(), "nothing has changed");
    let old_key = fs::read(&tls.files.key).unwrap();
    let new_key = {
        let files = ca.issue("n1");
        fs::read(files.key).unwrap()
    };
    write_key(&tls.files.key, &old_key);
    assert!(tls.reload().unwrap_err().to_string().contains("not the key of the certificate"));
    assert!(Arc::ptr_eq(&first, &tls.server()), "the old certificate stays in use");
    write_key(&tls.files.key, &new_key);
    assert!(tls.reload().unwrap());
    assert!(!Arc::ptr_eq(&first, &tls.server()));
}
