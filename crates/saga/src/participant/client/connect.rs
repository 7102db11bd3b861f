//! From a base URL to a connection, past the check of where it leads.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{Base, refusal};
use super::wire::Stream;

/// A connection to this base, by whichever of its addresses answers first in order. Each is checked *after* the name was
/// resolved and before it is connected to, so a name that leads elsewhere the second time gains nothing.
pub(super) async fn connect(base: &Base, patience: Duration, deadline: Instant) -> Result<Stream, String> {
    let late = || format!("no connection to {}:{} in time", base.host, base.port);
    timeout_at(deadline, connect_any(base, patience)).await.unwrap_or_else(|_| Err(late()))
}

async fn connect_any(base: &Base, patience: Duration) -> Result<Stream, String> {
    let mut reason = None;
    for address in resolve(base, patience).await? {
        if let Some(refused) = refusal(address.ip(), base) {
            tracing::error!(host = base.host, reason = refused, "an address of a participant is refused");
            reason = Some(refused);
            continue;
        }
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and waited for. A socket that cannot be told so still works.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                match timeout(patience, secure(base, stream)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(why)) => reason = Some(why),
                    Err(_) => {
                        reason = Some(format!("no TLS session with {address} within {} ms", patience.as_millis()));
                    }
                }
            }
            Ok(Err(error)) => reason = Some(format!("{address} cannot be connected to: {error}")),
            Err(_) => reason = Some(format!("{address} did not answer within {} ms", patience.as_millis())),
        }
    }
    Err(reason.unwrap_or_else(|| format!("{} has no address", base.host)))
}

#[cfg(feature = "tls")]
async fn secure(base: &Base, stream: TcpStream) -> Result<Stream, String> {
    match &base.tls {
        Some(tls) => tls.secure(&base.host, stream).await.map(Stream::Tls),
        None => Ok(Stream::Plain(stream)),
    }
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "its twin with TLS has to wait for a handshake")]
async fn secure(_: &Base, stream: TcpStream) -> Result<Stream, String> {
    Ok(Stream::Plain(stream))
}

async fn resolve(base: &Base, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Some(literal) = base.allowance.literal {
        return Ok(vec![SocketAddr::new(literal, base.port)]);
    }
    match timeout(patience, lookup_host((base.host.as_str(), base.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(format!("{} cannot be resolved: {error}", base.host)),
        Err(_) => Err(format!("{} could not be resolved within {} ms", base.host, patience.as_millis())),
    }
}
