//! Bodies that are streams: files and pipes on the user's side.

use std::io::{self, Read, Write};

use anyhow::Context;
use berth_client::{Body, Incoming, streamed};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

const CHUNK: usize = 256 * 1024;
/// Chunks on their way between the connection and a thread.
const QUEUE: usize = 4;

/// Hands each chunk of an answer to `consume`.
pub(crate) async fn chunks(mut body: Incoming, mut consume: impl FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the engine's answer was cut off")?;
        if let Some(data) = frame.data_ref() {
            match consume(data) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(128 + libc::SIGPIPE),
                other => other?,
            }
        }
    }
    Ok(())
}

/// An answer's body as something that a thread reads, and what has to be driven meanwhile.
pub(crate) fn body_reader(mut body: Incoming) -> (BodyReader, impl Future<Output = ()>) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let pump = async move {
        while let Some(frame) = body.frame().await {
            let chunk = match frame.map(data_of) {
                Ok(Some(data)) => Ok(data),
                Ok(None) => continue,
                Err(error) => Err(io::Error::other(error)),
            };
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    };
    (BodyReader { queue, rest: Bytes::new() }, pump)
}

fn data_of(frame: berth_client::Frame) -> Option<Bytes> {
    frame.into_data().ok()
}

/// See [`body_reader`].
pub(crate) struct BodyReader {
    queue: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.queue.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// A body that is read from `source` by a thread as it is sent; `note` is told how much has been read.
pub(crate) fn body_from(mut source: impl Read + Send + 'static, note: impl Fn(u64) + Send + 'static) -> Body {
    let (mut writer, body) = body_writer();
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let mut total = 0;
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    total += length as u64;
                    note(total);
                    if writer.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return writer.fail(error),
            }
        }
    });
    body
}

/// A writer for a thread, and the body that it fills.
pub(crate) fn body_writer() -> (BodyWriter, Body) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (BodyWriter(sender), streamed(receiver))
}

/// See [`body_writer`]. The body ends well when this is dropped.
pub(crate) struct BodyWriter(mpsc::Sender<io::Result<Bytes>>);

impl BodyWriter {
    /// Makes the request fail instead of ending well.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.0.blocking_send(Err(error));
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
