//! Between asynchronous connections and the synchronous engine: work on blocking threads, and bodies as `Read` and
//! `Write` there, with bounded channels between.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use tokio::sync::mpsc;

use crate::reply::{self, Reply};
use crate::status::Failure;

/// Chunks that may wait in a channel.
const DEPTH: usize = 4;
const CHUNK: usize = 32 * 1024;
/// What is still read of a request's body after its work was refused, so that the client hears why.
const DRAIN: u64 = 16 << 20;

/// Runs `f` on a blocking thread. Not stopped when the connection goes: what has begun is finished.
pub(crate) async fn run<T, E, F>(f: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the work broke off: {error}"))),
    }
}

/// As [`run`], for work of some milliseconds that every container is waiting for: a process with one client, the command
/// line's own, has nothing else to do meanwhile, and is spared a thread and the way there and back.
pub(crate) async fn briefly<T, E, F>(f: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::CurrentThread => f().map_err(Into::into),
        _ => run(f).await,
    }
}

/// An answer that `f` writes on a blocking thread. A write fails with BrokenPipe once the client has gone.
pub(crate) fn stream<E, F>(kind: HeaderValue, f: F) -> Reply
where
    E: std::fmt::Display,
    F: FnOnce(&mut BodyWriter) -> Result<(), E> + Send + 'static,
{
    reply::streamed(kind, chunks(f))
}

/// What `f` writes on a blocking thread.
pub(crate) fn chunks<E, F>(f: F) -> mpsc::Receiver<io::Result<Bytes>>
where
    E: std::fmt::Display,
    F: FnOnce(&mut BodyWriter) -> Result<(), E> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(DEPTH);
    tokio::task::spawn_blocking(move || {
        let mut writer = BodyWriter { buffer: BytesMut::new(), sender };
        let result = f(&mut writer).map_err(|error| io::Error::other(error.to_string()));
        if let Err(error) = result.and_then(|()| writer.flush())
            && !writer.is_closed()
        {
            tracing::warn!("an answer broke off: {error}");
            let _ = writer.sender.blocking_send(Err(error));
        }
    });
    receiver
}

/// The body of an answer, on a blocking thread.
pub(crate) struct BodyWriter {
    buffer: BytesMut,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl BodyWriter {
    /// Whether the client has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// For asking [`BodyWriter::is_closed`] while the writer is in use.
    pub(crate) fn watcher(&self) -> impl Fn() -> bool + use<> {
        let sender = self.sender.downgrade();
        // The writer itself holds a strong sender: without one there is nobody to write for either.
        move || sender.upgrade().is_none_or(|sender| sender.is_closed())
    }
}

impl Write for BodyWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Runs `f` on a blocking thread with the request's body to read from.
pub(crate) async fn consume<T, E, F>(body: Incoming, f: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    F: FnOnce(&mut BodyReader) -> Result<T, E> + Send + 'static,
{
    let mut reader = BodyReader::new(body);
    run(move || {
        let result = f(&mut reader);
        if result.is_err() {
            reader.drain();
        }
        result
    })
    .await
}

/// A request's body, on a blocking thread. Reading fails with ConnectionAborted when the client goes before its end.
pub(crate) struct BodyReader {
    current: Bytes,
    receiver: mpsc::Receiver<io::Result<Bytes>>,
}

impl BodyReader {
    pub(crate) fn new(mut body: Incoming) -> Self {
        let (sender, receiver) = mpsc::channel(DEPTH);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let chunk = match frame.map(|frame| frame.into_data()) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_trailers)) => continue,
                    Err(error) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
                };
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
        });
        Self { current: Bytes::new(), receiver }
    }
}

impl BodyReader {
    /// Reads on for a while after the work was refused: a client that is still sending hears why.
    pub(crate) fn drain(&mut self) {
        let _ = io::copy(&mut self.take(DRAIN), &mut io::sink());
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
