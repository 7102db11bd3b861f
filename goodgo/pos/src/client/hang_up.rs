//! Hanging up on purpose, as a till does that loses its network.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Client, Error, Request};

/// How long the line is held after all was sent. A server that reads the end of the stream together with the request may
/// not even begin with it, and what is wanted here is a client that goes while the work is on its way.
const HELD: Duration = Duration::from_millis(15);

/// When to hang up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// With half of the body sent: the service never has the whole request.
    MidRequest,
    /// With all of it sent, without reading anything of the answer: the service may do all of it.
    BeforeAnswer,
}

impl Client {
    /// Sends a request, or half of it, over a connection of its own and closes it.
    pub async fn hang_up(&self, request: &Request, when: HangUp) -> Result<(), Error> {
        let authority = request.authority();
        let limit = self.limits().time;
        let late = || Error::TimedOut { authority: authority.to_owned(), limit };
        timeout(limit, write(request, when)).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn write(request: &Request, when: HangUp) -> Result<(), Error> {
    let authority = request.authority();
    let mut stream = TcpStream::connect(authority)
        .await
        .map_err(|source| Error::Connect { authority: authority.to_owned(), source })?;
    let (head, body) = request.to_bytes();
    let body = match when {
        HangUp::MidRequest => &body[..body.len() / 2],
        HangUp::BeforeAnswer => body,
    };
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    let cut = |source: std::io::Error| Error::Cut { authority: authority.to_owned(), source: source.into() };
    stream.write_all(&bytes).await.map_err(cut)?;
    stream.flush().await.map_err(cut)?;
    if when == HangUp::BeforeAnswer {
        // Until the answer begins, at most.
        let _either = timeout(HELD, stream.readable()).await;
    }
    Ok(())
}
