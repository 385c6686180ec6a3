//! Requests and their answers.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Connector, Error, Result};

/// The version of the API that this client speaks.
const VERSION_PREFIX: &str = "/v1.51";
/// Error bodies are sentences.
const MAX_ERROR: usize = 64 * 1024;

/// A request's body.
pub type Body = BoxBody<Bytes, std::io::Error>;
/// A connection that has become a plain stream in both directions (attach, exec).
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// A client of one engine. Keeps idle connections.
pub struct Client {
    connector: Connector,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

/// A body that is sent as it comes.
pub fn streamed(chunks: tokio::sync::mpsc::Receiver<std::io::Result<Bytes>>) -> Body {
    let stream = futures_util::stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (chunk.map(Frame::data), chunks))
    });
    BodyExt::boxed(StreamBody::new(stream))
}

impl Client {
    pub fn new(connector: Connector) -> Self {
        Self { connector, idle: Mutex::new(Vec::new()) }
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T> {
        self.json(Method::GET, path, query, None::<&()>).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        body: &impl Serialize,
    ) -> Result<T> {
        self.json(Method::POST, path, query, Some(body)).await
    }

    /// A POST that answers nothing. Says whether anything was done (false: 304, it was so already).
    pub async fn act(&self, path: &str, query: &impl Serialize) -> Result<bool> {
        let request = self.request(Method::POST, path, query, full(Vec::new()), None)?;
        let (sender, response) = self.send(request).await?;
        let done = response.status() != StatusCode::NOT_MODIFIED;
        self.collect(sender, response).await?;
        Ok(done)
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T> {
        self.json(Method::DELETE, path, query, None::<&()>).await
    }

    /// Any request, with the answer's body to be read by the caller.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        query: &impl Serialize,
        content_type: Option<&str>,
        body: Option<Body>,
    ) -> Result<Response<Incoming>> {
        let request = self.request(method, path, query, body.unwrap_or_else(|| full(Vec::new())), content_type)?;
        Ok(self.send(request).await?.1)
    }

    /// As [`Client::stream`] without a body, with further headers.
    pub async fn stream_with(
        &self,
        method: Method,
        path: &str,
        query: &impl Serialize,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>> {
        let mut request = self.request(method, path, query, full(Vec::new()), None)?;
        for (name, value) in headers {
            let value = value.parse().map_err(|_| Error::Encode {
                path: path.to_owned(),
                message: format!("the value of {name} is no header's"),
            })?;
            request.headers_mut().insert(*name, value);
        }
        Ok(self.send(request).await?.1)
    }

    /// A POST whose connection becomes the program's streams. The second value is the answer's content type.
    pub async fn upgrade(
        &self,
        path: &str,
        query: &impl Serialize,
        body: Option<&impl Serialize>,
    ) -> Result<(Upgraded, Option<String>)> {
        let bytes = self.encode(path, body)?;
        let mut request = self.request(Method::POST, path, query, full(bytes), Some("application/json"))?;
        request.headers_mut().insert(CONNECTION, "Upgrade".parse().expect("a valid header"));
        request.headers_mut().insert(UPGRADE, "tcp".parse().expect("a valid header"));
        let (_, response) = self.send(request).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((TokioIo::new(hyper::upgrade::on(response).await?), kind))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &impl Serialize,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let bytes = self.encode(path, body)?;
        let request = self.request(method, path, query, full(bytes), Some("application/json"))?;
        let (sender, response) = self.send(request).await?;
        let bytes = self.collect(sender, response).await?;
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|source| Error::Decode { path: path.to_owned(), source })
    }

    fn encode(&self, path: &str, body: Option<&impl Serialize>) -> Result<Vec<u8>> {
        body.map_or(Ok(Vec::new()), serde_json::to_vec)
            .map_err(|error| Error::Encode { path: path.to_owned(), message: error.to_string() })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &impl Serialize,
        body: Body,
        content_type: Option<&str>,
    ) -> Result<Request<Body>> {
        let failed = |message: String| Error::Encode { path: path.to_owned(), message };
        let query = serde_urlencoded::to_string(query).map_err(|error| failed(error.to_string()))?;
        let separator = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{VERSION_PREFIX}{path}{separator}{query}"))
            .header(HOST, "berth");
        if let Some(kind) = content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        request.body(body).map_err(|error| failed(error.to_string()))
    }

    /// Sends on an idle or a new connection; an error answer becomes [`Error::Api`].
    async fn send(&self, request: Request<Body>) -> Result<(SendRequest<Body>, Response<Incoming>)> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut sender = match idle {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => sender,
                Err(_) => self.open().await?,
            },
            None => self.open().await?,
        };
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() || matches!(status.as_u16(), 101 | 304) {
            return Ok((sender, response));
        }
        let body = http_body_util::Limited::new(response.into_body(), MAX_ERROR).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        let message = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| match String::from_utf8_lossy(&bytes).trim() {
                "" => status.to_string(),
                text => text.to_owned(),
            });
        Err(Error::Api { status: status.as_u16(), message })
    }

    async fn open(&self) -> Result<SendRequest<Body>> {
        let stream = self.connector.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    async fn collect(&self, sender: SendRequest<Body>, response: Response<Incoming>) -> Result<Bytes> {
        let bytes = response.into_body().collect().await?.to_bytes();
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(bytes)
    }
}

/// All of an answer's body, however long it takes.
pub async fn collect(body: Incoming) -> Result<Bytes> {
    Ok(body.collect().await?.to_bytes())
}

/// Escapes one segment of a path.
pub fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
    utf8_percent_encode(text, KEPT).to_string()
}
