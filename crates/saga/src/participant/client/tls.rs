//! TLS to a participant: its certificate is checked against the roots of this machine or those that are named, and ours is
//! shown where there is one.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::config::TlsSettings;

/// How connections to a participant are secured.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// A fault of the settings: which one, what, and the way out.
pub(super) type Fault = (&'static str, String, &'static str);

impl Tls {
    /// Reads the files that the settings name.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, Fault> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ("tls", error.to_string(), "report this: the build is at fault"))?
            .with_root_certificates(roots(settings)?);
        let mut config = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls.certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("tls.key", key, &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    ("tls.certificate", format!("it does not go with tls.key: {error}"), "name the files of one pair")
                })?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(("tls.key", "it is missing".to_owned(), "name the certificate's key")),
            (None, Some(_)) => {
                return Err(("tls.certificate", "it is missing".to_owned(), "name the key's certificate"));
            }
        };
        // A server that speaks another protocol only ends the handshake: nothing was sent.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// A session with `host`, which the server's certificate must name.
    pub(super) async fn secure(&self, host: &str, stream: TcpStream) -> Result<Box<TlsStream<TcpStream>>, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} cannot stand in a certificate"))?;
        let session = self.0.connect(name, stream).await;
        session.map(Box::new).map_err(|error| format!("no TLS session with {host}: {error}"))
    }
}

fn roots(settings: &TlsSettings) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &settings.ca {
        for certificate in certificates("tls.ca", file)? {
            roots.add(certificate).map_err(|error| unreadable("tls.ca", file, &error))?;
        }
        return Ok(roots);
    }
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err((
            "tls.ca",
            "this machine has no root certificates".to_owned(),
            "name a PEM file of those to trust",
        ));
    }
    Ok(roots)
}

fn certificates(field: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(none) if none.is_empty() => Err((field, format!("{} holds no certificate", file.display()), PEM)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(field, file, &error)),
    }
}

/// The error says where, never what.
fn unreadable(field: &'static str, file: &Path, error: &dyn std::fmt::Display) -> Fault {
    (field, format!("{} cannot be read: {error}", file.display()), PEM)
}

const PEM: &str = "name a PEM file that this process may read";
