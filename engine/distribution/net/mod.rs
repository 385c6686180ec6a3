//! HTTP/1.1 over TCP, with TLS, proxies and connections that are used again.
//!
//! `url.rs` names where something is, `connect.rs` goes there, `tls.rs` says whom to trust, `proxy.rs` what is between. Nothing is
//! followed and nobody is told who asks here: that is `repository.rs`'s.

mod connect;
mod proxy;
mod tls;
mod url;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use berth_image::{Error, Result};
use bytes::{Buf, Bytes};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::proxy::Proxies;
use self::tls::Tls;
pub(crate) use self::url::{Origin, Url};
use crate::Config;

const AGENT: &str = concat!("berth/", env!("CARGO_PKG_VERSION"));
/// Idle connections that are kept of one origin.
const IDLE: usize = 4;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The end of a stream that a connection takes from. Connections are worked on only while somebody waits for one, so that an end
/// which a connection alone held would keep whoever fills the stream waiting: the other hand on it is for [`Chunks::close`].
#[derive(Clone)]
pub(crate) struct Chunks(Arc<Mutex<mpsc::Receiver<io::Result<Bytes>>>>);

impl Chunks {
    pub(crate) fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// Nothing more is taken: who fills the stream hears of it, even while he waits.
    pub(crate) fn close(&self) {
        self.receiver().close();
    }

    fn receiver(&self) -> std::sync::MutexGuard<'_, mpsc::Receiver<io::Result<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request carries.
pub(crate) enum Payload {
    Bytes(Bytes),
    /// As it comes; it cannot be sent twice.
    Stream(Chunks),
}

impl Payload {
    pub(crate) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// `passed` counts what has been taken of a stream.
    fn into_body(self, passed: Arc<AtomicU64>) -> Body {
        match self {
            Self::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Self::Stream(chunks) => {
                let stream = futures_util::stream::poll_fn(move |context| {
                    let chunk = std::task::ready!(chunks.receiver().poll_recv(context));
                    passed.fetch_add(1, Ordering::Relaxed);
                    Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
                });
                BodyExt::boxed_unsync(StreamBody::new(stream))
            }
        }
    }
}

pub(crate) struct Net {
    runtime: Runtime,
    idle: Mutex<HashMap<Origin, Vec<SendRequest<Body>>>>,
    tls: Tls,
    proxies: Proxies,
    connect: Duration,
    stall: Duration,
}

/// An answer; its body is read by who wants it.
pub(crate) struct Answer<'n> {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    net: &'n Net,
    body: Incoming,
    chunk: Bytes,
    /// Given back when the body has ended.
    sender: Option<SendRequest<Body>>,
}

/// Of one attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Whether the next attempt may succeed.
    pub(crate) transient: bool,
    /// Whether the connection itself did not come about.
    pub(crate) connecting: bool,
}

impl Net {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Stream {
            action: "start",
            object: "the client of registries".to_owned(),
            source,
        })?;
        Ok(Self {
            runtime,
            idle: Mutex::default(),
            tls: Tls::new(config),
            proxies: Proxies::from_environment(),
            connect: config.connect,
            stall: config.stall,
        })
    }

    /// Sends one request and waits for the head of its answer. `insecure`: whoever answers is believed.
    pub(crate) fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        payload: Payload,
        insecure: bool,
    ) -> std::result::Result<Answer<'_>, Failure> {
        let passed = Arc::new(AtomicU64::new(0));
        let mut builder = Request::builder().method(method).uri(self.proxies.target(url));
        builder = builder.header(HOST, url.origin.authority()).header(USER_AGENT, AGENT);
        if let Some(value) = self.proxies.authorization_in_request(url) {
            builder = builder.header(hyper::header::PROXY_AUTHORIZATION, value);
        }
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let can_repeat = matches!(payload, Payload::Bytes(_));
        let request = builder.body(payload.into_body(passed.clone()));
        let request = request.map_err(|error| Failure::lasting(format!("ask {url}: {error}")))?;
        self.runtime.block_on(async {
            let mut sender = match self.idle_one(&url.origin, can_repeat).await {
                Some(sender) => sender,
                None => self.open(url, insecure).await?,
            };
            let response = self.patiently(&passed, sender.send_request(request)).await;
            let response = response.map_err(|why| Failure::passing(format!("ask {url}: {why}")))?;
            let (parts, body) = response.into_parts();
            Ok(Answer {
                url: url.clone(),
                status: parts.status,
                headers: parts.headers,
                net: self,
                body,
                chunk: Bytes::new(),
                sender: Some(sender),
            })
        })
    }

    /// Waits as long as there is progress.
    async fn patiently<T>(
        &self,
        passed: &AtomicU64,
        answer: impl Future<Output = std::result::Result<T, hyper::Error>>,
    ) -> std::result::Result<T, String> {
        tokio::pin!(answer);
        let mut before = passed.load(Ordering::Relaxed);
        loop {
            match tokio::time::timeout(self.stall, &mut answer).await {
                Ok(answer) => return answer.map_err(|error| chain(&error)),
                Err(_) => {
                    let now = passed.load(Ordering::Relaxed);
                    if now == before {
                        return Err(format!("no answer and no progress for {} seconds", self.stall.as_secs()));
                    }
                    before = now;
                }
            }
        }
    }

    async fn open(&self, url: &Url, insecure: bool) -> std::result::Result<SendRequest<Body>, Failure> {
        let stream = match tokio::time::timeout(self.connect, self.connect_to(&url.origin, insecure)).await {
            Ok(stream) => stream.map_err(|failure| Failure { connecting: true, ..failure })?,
            Err(_) => {
                let message = format!("connect to {}: no answer for {} seconds", url.origin, self.connect.as_secs());
                return Err(Failure { connecting: true, ..Failure::passing(message) });
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::passing(format!("connect to {}: {}", url.origin, chain(&error))))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A connection that may have been closed meanwhile is not for what can be sent once only.
    async fn idle_one(&self, origin: &Origin, can_repeat: bool) -> Option<SendRequest<Body>> {
        if !can_repeat {
            return None;
        }
        loop {
            let mut sender = self.idle().get_mut(origin)?.pop()?;
            // Lets the connection notice that the other side has gone.
            tokio::task::yield_now().await;
            if sender.ready().await.is_ok() && !sender.is_closed() {
                return Some(sender);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Vec<SendRequest<Body>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer<'_> {
    pub(crate) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.header(hyper::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) fn collect(mut self, limit: u64, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::Unreachable(format!("read {what} from {}: {error}", self.url)))?;
        if bytes.len() as u64 > limit {
            return Err(Error::InvalidArgument(format!("{what} of {} is longer than {limit} bytes", self.url)));
        }
        Ok(bytes)
    }
}

/// An error means that the connection broke or nothing came for too long.
impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let frame =
                self.net.runtime.block_on(async { tokio::time::timeout(self.net.stall, self.body.frame()).await });
            match frame {
                Ok(Some(Ok(frame))) => self.chunk = frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Err(io::Error::other(chain(&error))),
                Ok(None) => {
                    if let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) {
                        let mut idle = self.net.idle();
                        let idle = idle.entry(self.url.origin.clone()).or_default();
                        if idle.len() < IDLE {
                            idle.push(sender);
                        }
                    }
                    return Ok(0);
                }
                Err(_) => {
                    let message = format!("nothing came for {} seconds", self.net.stall.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            }
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Failure {
    pub(crate) fn passing(message: String) -> Self {
        Self { message, transient: true, connecting: false }
    }

    pub(crate) fn lasting(message: String) -> Self {
        Self { message, transient: false, connecting: false }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Unreachable(failure.message)
    }
}

/// An error with its causes, where they say more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
