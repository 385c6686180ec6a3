//! One connection: HTTP/1.1 until a handler takes it over for a stream of its own.

use std::convert::Infallible;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use berth_core::Engine;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::call::Call;
use crate::hijack::{self, Hijack};
use crate::reply::{Body, Reply};
use crate::route;

/// Where a handler leaves what the connection becomes after its answer.
pub(crate) type Takeover = Arc<Mutex<Option<Hijack>>>;

/// The API as a service of hyper. Building it costs nothing: the routes are a `match`.
#[derive(Clone)]
pub struct Api {
    engine: Arc<Engine>,
    takeover: Takeover,
}

/// A service for one connection. Streams that are taken over (attach, exec) need [`serve_connection`].
pub fn service(engine: Arc<Engine>) -> Api {
    Api { engine, takeover: Takeover::default() }
}

impl Service<Request<Incoming>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Self { engine, takeover } = self.clone();
        Box::pin(async move {
            tracing::debug!(method = %request.method(), uri = %request.uri(), "request");
            let reply = match Call::new(engine, takeover, request) {
                Ok(call) => route::answer(call).await,
                Err(failure) => Err(failure),
            };
            let mut reply = reply.unwrap_or_else(|failure| failure.into_reply());
            add_headers(&mut reply);
            Ok(reply)
        })
    }
}

/// What Docker says on every answer.
fn add_headers(reply: &mut Reply) {
    let headers = reply.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(concat!("berth/", env!("CARGO_PKG_VERSION"), " (linux)")));
    headers.insert("Api-Version", HeaderValue::from_static("1.51"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("true"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
}

/// Serves one connection to its end, streams that it becomes included.
pub async fn serve_connection<S>(engine: Arc<Engine>, io: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve(engine, io, None).await;
}

/// `socket`: a duplicate of the connection's own, by which a client that has gone can be told from one that only
/// ended its side.
pub(crate) async fn serve<S>(engine: Arc<Engine>, io: S, socket: Option<OwnedFd>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let api = service(engine);
    let takeover = api.takeover.clone();
    let mut http = http1::Builder::new();
    http.header_read_timeout(None);
    let mut connection = http.serve_connection(TokioIo::new(io), api);
    // Both forms of taking over (101, and a plain 200 whose body has no end) leave the connection open here.
    if let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await {
        tracing::debug!("connection: {error}");
        return;
    }
    let parts = connection.into_parts();
    let hijack = takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut io = parts.io.into_inner();
    match hijack {
        Some(hijack) => hijack::carry(hijack, io, parts.read_buf, socket).await,
        None => {
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
        }
    }
}
