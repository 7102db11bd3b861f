//! One request to an orchestrator, over a connection of its own.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Common;
use super::fault::Fault;

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than an orchestrator waits for a saga at a client's wish.
const ANSWER: Duration = Duration::from_secs(35);
/// Sagas may have long histories.
const BODY_MAX: usize = 32 * 1024 * 1024;

/// Asks one orchestrator, as one user.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    port: u16,
    authority: HeaderValue,
    prefix: String,
    bearer: HeaderValue,
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Value>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, headers: HeaderMap::new(), body: None }
    }

    pub(super) fn post(path: &'a str, body: Value) -> Self {
        Self { method: Method::POST, path, headers: HeaderMap::new(), body: Some(body) }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, Fault> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Fault::Usage(format!("what stands in the header {name} must be printable ASCII")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }
}

/// An answer whose body is still to come; its connection lives as long as it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    _driving: JoinSet<()>,
}

impl Client {
    /// Checks the address and reads the token.
    pub(super) fn new(common: &Common) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::Usage(format!("--url {:?}: {why}: write it as http://host:port", common.url));
        if common.url.contains('@') {
            return Err(Fault::Usage("--url: credentials in a URL: put the token into STEADFAST_TOKEN".to_owned()));
        }
        let uri: Uri = common.url.parse().map_err(|_| wrong("this is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong("TLS is not spoken here; go through a tunnel or a proxy on this machine"));
            }
            _ => return Err(wrong("there is no scheme")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("there is no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || uri.query().is_some() {
            return Err(wrong("a host and nothing behind the path is needed"));
        }
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("the host is no text"))?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            bearer: bearer(&token(common)?)?,
        })
    }

    /// The answer, if it is a success.
    pub(super) async fn json(&self, ask: Ask<'_>) -> Result<Value, Fault> {
        let Answer { response, _driving } = self.open(ask).await?;
        let whole = self.collect(response).await?;
        serde_json::from_slice(&whole)
            .map_err(|_| Fault::Refused("the answer is no JSON: is this the address of an orchestrator?".to_owned()))
    }

    /// The head of the answer, if it is a success.
    pub(super) async fn open(&self, ask: Ask<'_>) -> Result<Answer, Fault> {
        let request = self.request(ask)?;
        let opening = async {
            let stream = self.connect().await?;
            let (mut sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| self.cut(&error.to_string()))?;
            let mut driving = JoinSet::new();
            // How it ends shows in the answer.
            driving.spawn(async move { drop(connection.await) });
            let response = sender.send_request(request).await.map_err(|error| self.cut(&error.to_string()))?;
            Ok((response, driving))
        };
        let (response, driving) = timeout(ANSWER, opening)
            .await
            .unwrap_or_else(|_| Err(self.cut(&format!("no answer within {} s", ANSWER.as_secs()))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Answer { response, _driving: driving });
        }
        let body = self.collect(response).await?;
        Err(refused(status, &body))
    }

    async fn connect(&self) -> Result<TcpStream, Fault> {
        let at = format!("{}:{}", self.host, self.port);
        let way_out = "is an orchestrator running there? --url or STEADFAST_URL names another";
        match timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Fault::Unreachable(format!("{at} cannot be reached: {error}: {way_out}"))),
            Err(_) => {
                let seconds = CONNECT.as_secs();
                Err(Fault::Unreachable(format!("{at} cannot be reached within {seconds} s: {way_out}")))
            }
        }
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, Fault> {
        let path = format!("{}{}", self.prefix, ask.path);
        let uri: Uri = path.parse().map_err(|_| Fault::Usage(format!("{path:?} cannot be asked for")))?;
        let body = ask.body.map(|body| body.to_string());
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default().into()));
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        *headers = ask.headers;
        headers.insert(HOST, self.authority.clone());
        headers.insert(AUTHORIZATION, self.bearer.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, Fault> {
        let collecting = Limited::new(response.into_body(), BODY_MAX).collect();
        match timeout(ANSWER, collecting).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) => Err(self.cut(&error.to_string())),
            Err(_) => Err(self.cut("its end did not come in time")),
        }
    }

    fn cut(&self, why: &str) -> Fault {
        Fault::Unreachable(format!("the answer of {}:{} did not come whole: {why}", self.host, self.port))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Fault {
    let fault = Fault::of_answer(status, body);
    if status == StatusCode::UNAUTHORIZED {
        return fault.with("STEADFAST_TOKEN or --token-file holds the token");
    }
    fault
}

fn token(common: &Common) -> Result<String, Fault> {
    let token = match &common.token_file {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| Fault::Usage(format!("--token-file {} cannot be read: {error}", file.display())))?,
        None => std::env::var("STEADFAST_TOKEN").map_err(|_| {
            Fault::Usage("there is no token: put it into STEADFAST_TOKEN, or name its file by --token-file".to_owned())
        })?,
    };
    Ok(token.trim().to_owned())
}

fn bearer(token: &str) -> Result<HeaderValue, Fault> {
    if token.is_empty() {
        return Err(Fault::Usage("the token is empty".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Fault::Usage("the token has line breaks or letters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A text as a part of a path or a query.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("place_order"), "place_order");
        assert_eq!(segment("a/b?c=d&e#f ü%"), "a%2Fb%3Fc%3Dd%26e%23f%20%C3%BC%25");
    }
}
