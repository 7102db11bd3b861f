//! https: whom it trusts, whom it shows itself to, and what is surely not sent.

use std::path::PathBuf;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use super::*;

fn pem(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/participant/client/tests/pem").join(name)
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(pem(name)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Answers each request over TLS; `known`: only to clients whose certificate our root has signed.
async fn server(known: bool) -> Server {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = if known {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca.pem"));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
    let config = builder.with_single_cert(certificates("server.pem"), key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut piece = [0; 8_192];
            // A request of these tests is one record.
            while stream.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await
}

fn participant(url: String, tls: TlsSettings) -> Participant {
    Participant::new(ParticipantConfig { tls, ..ParticipantConfig::new("payment", url, key()) }).unwrap()
}

fn trusting(ca: &str) -> TlsSettings {
    TlsSettings { ca: Some(pem(ca)), ..TlsSettings::default() }
}

fn url(scheme: &str, host: &str, server: &Server) -> String {
    format!("{scheme}://{host}:{}", server.address.port())
}

fn unsent(raw: &Raw) -> &str {
    match raw {
        Raw::NotSent { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_serves_one_call_after_the_other() {
    let server = server(false).await;
    let participant = participant(url("https", "127.0.0.1", &server), trusting("ca.pem"));
    for _ in 0..5 {
        assert_eq!(whole(&call(&participant).await), (200, &b"{\"id\":1}"[..]));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_sent_nothing() {
    let server = server(false).await;
    for (host, ca) in [("127.0.0.1", "other.pem"), ("localhost", "ca.pem")] {
        let participant = participant(url("https", host, &server), trusting(ca));
        let raw = call(&participant).await;
        assert!(unsent(&raw).contains("certificate"), "{raw:?}");
    }
    // The roots of this machine do not know ours either.
    if let Ok(participant) = Participant::new(ParticipantConfig::new("p", url("https", "127.0.0.1", &server), key())) {
        assert!(unsent(&call(&participant).await).contains("certificate"));
    }
}

#[tokio::test]
async fn a_participant_may_want_to_know_who_calls() {
    let server = server(true).await;
    let shown =
        TlsSettings { certificate: Some(pem("client.pem")), key: Some(pem("client.key")), ..trusting("ca.pem") };
    let known = participant(url("https", "127.0.0.1", &server), shown);
    assert_eq!(whole(&call(&known).await).0, 200);
    // In TLS 1.3 the server says so only after the client is through: what it may have read is unknown, never done.
    let stranger = participant(url("https", "127.0.0.1", &server), trusting("ca.pem"));
    assert!(matches!(meaning(&call(&stranger).await), Meaning::Unknown { .. } | Meaning::NotSent { .. }));
}

#[tokio::test]
async fn plain_text_and_tls_do_not_understand_each_other() {
    let secure = server(false).await;
    let raw = call(&participant(url("http", "127.0.0.1", &secure), TlsSettings::default())).await;
    let Meaning::Misconfigured { detail, .. } = meaning(&raw) else { panic!("{raw:?}") };
    assert!(detail.contains("TLS"), "{detail}");
    let plain = Server::closing_after(OK).await;
    // Nothing that looks like a request comes, so this one hears the close only.
    let raw = call(&participant(url("https", "127.0.0.1", &plain), trusting("ca.pem"))).await;
    assert!(unsent(&raw).contains("TLS"), "{raw:?}");
}

#[tokio::test]
async fn a_handshake_that_hangs_takes_no_longer_than_a_connection_may() {
    let silent = Server::start(|stream, _| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let config = ParticipantConfig {
        tls: trusting("ca.pem"),
        connect_timeout: Duration::from_millis(50),
        ..ParticipantConfig::new("payment", url("https", "127.0.0.1", &silent), key())
    };
    let start = Instant::now();
    let raw = call(&Participant::new(config).unwrap()).await;
    assert!(unsent(&raw).contains("TLS") && start.elapsed() < Duration::from_secs(2), "{raw:?}");
}

#[test]
fn what_cannot_be_read_is_named_at_the_start() {
    let fault = |url: &str, tls: TlsSettings| {
        Participant::new(ParticipantConfig { tls, ..ParticipantConfig::new("payment", url, key()) }).unwrap_err()
    };
    let missing = TlsSettings { ca: Some(pem("missing.pem")), ..TlsSettings::default() };
    let empty = TlsSettings { ca: Some(pem("server.key")), ..TlsSettings::default() };
    let half = TlsSettings { certificate: Some(pem("client.pem")), ..trusting("ca.pem") };
    let keyless = TlsSettings { key: Some(pem("client.key")), ..trusting("ca.pem") };
    let mixed =
        TlsSettings { certificate: Some(pem("client.pem")), key: Some(pem("server.key")), ..trusting("ca.pem") };
    for (tls, field) in [
        (missing, "tls.ca"),
        (empty, "tls.ca"),
        (half, "tls.key"),
        (keyless, "tls.certificate"),
        (mixed, "tls.certificate"),
    ] {
        let fault = fault("https://payment", tls);
        assert_eq!(fault.field, field, "{fault}");
        assert!(!fault.to_string().contains("PRIVATE") && !fault.way_out.is_empty(), "{fault}");
    }
    assert_eq!(fault("http://payment", trusting("ca.pem")).field, "tls");
}
