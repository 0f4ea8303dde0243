//! `raftcached cert`: the CA of a cluster, and a certificate for each of its nodes.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use replication::tls::{PeerTls, PeerTlsFiles, node_uri};
use time::{Duration, OffsetDateTime};

use crate::cli::{CertCommand, CertInitOptions, CertIssueOptions};
use crate::config::is_node_name;
use crate::values::Host;

/// Makes what is asked for.
///
/// # Errors
///
/// What is in the way; nothing is left behind then.
pub(crate) fn run(command: &CertCommand) -> anyhow::Result<u8> {
    match command {
        CertCommand::Init(options) => init(options)?,
        CertCommand::Issue(options) => issue(options)?,
    }
    Ok(0)
}

fn init(options: &CertInitOptions) -> anyhow::Result<()> {
    let CertInitOptions { dir, cluster } = options;
    let shown = dir.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("--dir {shown}"))?;
    let key = KeyPair::generate()?;
    let mut params = params(&format!("{cluster} CA"), CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write_pair(dir, "ca", &certificate.pem(), &key.serialize_pem())?;
    crate::say(format_args!(
        "{shown}/ca.crt and {shown}/ca.key are made. Keep ca.key here, and safe: whoever has it can\n\
         make nodes. Next, for each node:\n\n  \
         raftcached cert issue NODE --dir {shown} --host HOST"
    ));
    Ok(())
}

fn issue(options: &CertIssueOptions) -> anyhow::Result<()> {
    let CertIssueOptions { node, dir, host, days } = options;
    let shown = dir.display();
    ensure!(
        is_node_name(node) && node != "ca",
        "NODE {node:?}: 1 to 64 letters, digits or .-_ are allowed, and not `ca`"
    );
    let read = |name: &str| {
        let path = dir.join(name);
        let context = || format!("{}: `raftcached cert init` makes it", path.display());
        fs::read_to_string(&path).with_context(context)
    };
    let ca_key = KeyPair::from_pem(&read("ca.key")?).with_context(|| format!("{shown}/ca.key"))?;
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt")?, ca_key)
        .with_context(|| format!("{shown}/ca.crt"))?;

    let key = KeyPair::generate()?;
    let mut params = params(node, *days);
    params.subject_alt_names.push(SanType::URI(node_uri(node).try_into()?));
    for host in host {
        params.subject_alt_names.push(alternative_name(host)?);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node is at both ends of connections.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let until = params.not_after.date();
    let certificate = params.signed_by(&key, &issuer)?;
    write_pair(dir, node, &certificate.pem(), &key.serialize_pem())?;
    check(dir, node)?;
    crate::say(format_args!(
        "{shown}/{node}.crt and {shown}/{node}.key are made, good until {until}. Copy them and\n\
         {shown}/ca.crt to the node, the key readable by its user alone (mode 0600), and say there:\n\n  \
         peer-ca = \"{shown}/ca.crt\"\n  \
         peer-cert = \"{shown}/{node}.crt\"\n  \
         peer-key = \"{shown}/{node}.key\"\n\n\
         A running node takes new files within seconds."
    ));
    Ok(())
}

/// What both kinds of certificate have in common.
fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    // Clocks of nodes differ.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days.into());
    params
}

fn alternative_name(host: &Host) -> anyhow::Result<SanType> {
    let Host(host) = host;
    Ok(match host.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => {
            let name = host.clone().try_into().with_context(|| format!("--host {host}"))?;
            SanType::DnsName(name)
        }
    })
}

/// Writes a certificate and its key, both or neither, and never over another.
fn write_pair(dir: &Path, name: &str, certificate: &str, key: &str) -> anyhow::Result<()> {
    let write = |extension: &str, mode: u32, pem: &str| {
        let path = dir.join(format!("{name}.{extension}"));
        let shown = || path.display().to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .with_context(shown)?;
        let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
        written.with_context(shown).inspect_err(|_| drop(fs::remove_file(&path)))
    };
    write("key", 0o600, key)?;
    // Without its certificate a key is useless, and in the way of the next try.
    write("crt", 0o644, certificate)
        .inspect_err(|_| drop(fs::remove_file(dir.join(format!("{name}.key")))))
}

/// Reads the files as the node will: better refused here than there.
fn check(dir: &Path, node: &str) -> anyhow::Result<()> {
    let file = |name: &str, extension: &str| dir.join(format!("{name}.{extension}"));
    let files = PeerTlsFiles {
        ca: file("ca", "crt"),
        certificate: file(node, "crt"),
        key: file(node, "key"),
    };
    if let Err(error) = PeerTls::load(files, node) {
        for extension in ["crt", "key"] {
            drop(fs::remove_file(file(node, extension)));
        }
        return Err(error.into());
    }
    Ok(())
}

const CA_DAYS: u32 = 3652;
