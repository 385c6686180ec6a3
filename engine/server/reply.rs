//! Answers: the body's type, and the usual shapes.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
pub(crate) type Reply = Response<Body>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Reply {
    let (status, bytes) = match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            (status, bytes)
        }
        Err(error) => {
            let text =
                format!("{{\"message\":\"encode the answer: {}\"}}\n", error.to_string().replace(['"', '\\'], "'"));
            (StatusCode::INTERNAL_SERVER_ERROR, text.into_bytes())
        }
    };
    with_type(status, JSON, full(bytes))
}

pub(crate) fn ok<T: Serialize + ?Sized>(value: &T) -> Reply {
    json(StatusCode::OK, value)
}

pub(crate) fn text(status: StatusCode, text: &'static str) -> Reply {
    with_type(status, TEXT, full(text))
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *reply.status_mut() = status;
    reply
}

pub(crate) fn with_type(status: StatusCode, kind: HeaderValue, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// A body that is sent as it comes; its end is the end of the channel. An error breaks the connection off, so that
/// the client notices that something is missing.
pub(crate) fn streamed(kind: HeaderValue, chunks: mpsc::Receiver<std::io::Result<Bytes>>) -> Reply {
    let stream = futures_util::stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (chunk.map(Frame::data), chunks))
    });
    with_type(StatusCode::OK, kind, BodyExt::boxed(StreamBody::new(stream)))
}

/// One JSON value that comes later: the headers go out at once.
pub(crate) fn later<T, F>(value: F) -> Reply
where
    T: Serialize + Send + 'static,
    F: Future<Output = std::io::Result<T>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let closed = sender.clone();
        tokio::select! {
            value = value => {
                let encoded = value.and_then(|value| {
                    let mut bytes = serde_json::to_vec(&value).map_err(std::io::Error::other)?;
                    bytes.push(b'\n');
                    Ok(Bytes::from(bytes))
                });
                let _ = sender.send(encoded).await;
            }
            () = closed.closed() => {}
        }
    });
    streamed(JSON, receiver)
}
