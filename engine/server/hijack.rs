//! Carrying an attached stream between a client and a monitor.
//!
//! The monitor's frames are Docker's multiplexed stream: they pass as they are, without their headers for a
//! terminal. Control frames stay here. Each direction waits for its receiver, so nothing piles up in between.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use berth_api::stream::{HEADER, MULTIPLEXED, RAW};
use berth_api::{ApiVersion, stream};
use berth_core::Stream;
use berth_monitor::protocol::{FromMonitor, MAX_FRAME, Response as MonitorResponse, frame};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{StatusCode, Version};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;
use crate::sys;

const BUFFER: usize = 32 * 1024;
/// How often a client that ended its side is looked after: a half-closed connection tells nothing by itself.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// How long a client that still sends is read after the output has ended.
const LINGER: Duration = Duration::from_secs(1);

/// How often, and how often at most, it is asked whether a client has read an answer's head.
const HEAD_PAUSE: Duration = Duration::from_millis(1);
const HEAD_LOOKS: u32 = 60;

/// A connection that is to be carried on.
pub(crate) struct Hijack {
    pub(crate) tty: bool,
    /// Sent first: what the log holds, or why there is nothing else.
    pub(crate) before: Option<mpsc::Receiver<io::Result<Bytes>>>,
    /// The monitor's side; without one the connection ends after `before`.
    pub(crate) stream: Option<Stream>,
    /// Whether what the client sends goes to the monitor.
    pub(crate) stdin: bool,
}

/// The answer that turns the connection into `hijack`'s stream.
pub(crate) fn reply(call: &Call, hijack: Hijack) -> Result<Reply, Failure> {
    let multiplexed = !hijack.tty && call.version >= ApiVersion::new(1, 42);
    let kind = HeaderValue::from_static(if multiplexed { MULTIPLEXED } else { RAW });
    let reply = if call.wants_upgrade() {
        let mut reply =
            reply::with_type(StatusCode::SWITCHING_PROTOCOLS, kind, reply::empty(StatusCode::OK).into_body());
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
        reply
    } else {
        // The old form: an answer without length whose body is the stream. HTTP/1.0 makes it end with the
        // connection instead of being cut into chunks.
        let endless = http_body_util::StreamBody::new(futures_util::stream::empty());
        let mut reply = reply::with_type(StatusCode::OK, kind, BodyExt::boxed(endless));
        *reply.version_mut() = Version::HTTP_10;
        reply
    };
    *call.takeover.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(hijack);
    Ok(reply)
}

/// Carries both directions until the output has ended or the client has gone. `early`: what the client has sent
/// already.
pub(crate) async fn carry<S>(hijack: Hijack, client: S, early: Bytes, socket: Option<OwnedFd>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Err(error) = carry_on(hijack, client, early, socket).await {
        tracing::debug!("attached stream: {error}");
    }
}

/// Waits until the client has read the answer's head, or a short while: there are clients that read it through a
/// buffer and lose what comes with it.
async fn head_is_read(socket: Option<&OwnedFd>) {
    let Some(socket) = socket else { return };
    for _ in 0..HEAD_LOOKS {
        if sys::unread_by_peer(socket).is_none_or(|bytes| bytes == 0) {
            return;
        }
        tokio::time::sleep(HEAD_PAUSE).await;
    }
}

async fn carry_on<S>(hijack: Hijack, client: S, early: Bytes, socket: Option<OwnedFd>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Hijack { tty, before, stream, stdin } = hijack;
    head_is_read(socket.as_ref()).await;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    if let Some(mut chunks) = before {
        while let Some(chunk) = chunks.recv().await {
            to_client.write_all(&chunk?).await?;
        }
        to_client.flush().await?;
    }
    let Some(Stream { socket: monitor, pending, .. }) = stream else { return to_client.shutdown().await };
    monitor.set_nonblocking(true)?;
    let (from_monitor, mut to_monitor) = UnixStream::from_std(monitor)?.into_split();
    let mut from_monitor = BufReader::with_capacity(BUFFER, from_monitor);
    let serving = Notify::new();
    let output = async {
        // A container that is never started, or a refusal: whoever starts it says so.
        if !pending || accepted(&mut from_monitor).await? {
            serving.notify_one();
            output(from_monitor, &mut to_client, tty).await?;
        }
        to_client.shutdown().await
    };
    let input = async {
        // Input is for a monitor that serves this stream, and waits with the client until then.
        serving.notified().await;
        if stdin {
            input(&mut from_client, &mut to_monitor, early).await?;
        }
        ignore(&mut from_client).await?;
        gone(socket).await
    };
    tokio::pin!(output, input);
    let ended = tokio::select! {
        ended = &mut output => ended,
        left = &mut input => return left,
    };
    // A connection that is closed over unread input is reset, under what the client has not read yet.
    let _ = tokio::time::timeout(LINGER, input).await;
    ended
}

/// Whether the monitor's first line says that it serves this stream.
async fn accepted(from: &mut BufReader<OwnedReadHalf>) -> io::Result<bool> {
    let mut line = Vec::new();
    // A response is a line of JSON; a monitor sends nothing near this long.
    from.take(MAX_FRAME as u64).read_until(b'\n', &mut line).await?;
    Ok(matches!(serde_json::from_slice(&line), Ok(MonitorResponse::Done)))
}

/// Monitor to client, until the program has ended and everything was delivered, or the client detached.
async fn output<W>(mut from: BufReader<OwnedReadHalf>, to: &mut W, tty: bool) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    loop {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        match header[0] {
            frame::STDOUT | frame::STDERR => {
                if !tty {
                    to.write_all(&header).await?;
                }
                copy(&mut from, to, length).await?;
                if from.buffer().is_empty() {
                    to.flush().await?;
                }
            }
            frame::CONTROL => {
                let mut message = vec![0; length];
                from.read_exact(&mut message).await?;
                match serde_json::from_slice(&message) {
                    Ok(FromMonitor::Detached | FromMonitor::Exited { .. }) => return Ok(()),
                    Ok(FromMonitor::Overrun) => {
                        let words = b"berth: this client was too slow for too long, and output is missing here\r\n";
                        if !tty {
                            to.write_all(&stream::header(stream::Stream::Stderr, words.len() as u32)).await?;
                        }
                        return to.write_all(words).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            kind => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of kind {kind}"))),
        }
    }
}

async fn copy<W>(from: &mut BufReader<OwnedReadHalf>, to: &mut W, mut length: usize) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while length > 0 {
        let data = from.fill_buf().await?;
        if data.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = data.len().min(length);
        to.write_all(&data[..now]).await?;
        from.consume(now);
        length -= now;
    }
    Ok(())
}

/// Client to monitor, until the client ends its side or the program no longer reads, which is no error: its output
/// still counts. The monitor's side stays open for that.
async fn input<R>(from: &mut R, to: &mut OwnedWriteHalf, early: Bytes) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    for chunk in early.chunks(MAX_FRAME) {
        if send(to, chunk).await.is_err() {
            return Ok(());
        }
    }
    // Room for the header in front, so that a frame is one write.
    let mut buffer = vec![0; HEADER + BUFFER];
    loop {
        let length = from.read(&mut buffer[HEADER..]).await?;
        buffer[..HEADER].copy_from_slice(&stream::header(stream::Stream::Stdin, length as u32));
        if to.write_all(&buffer[..HEADER + length]).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn send(to: &mut OwnedWriteHalf, chunk: &[u8]) -> io::Result<()> {
    to.write_all(&stream::header(stream::Stream::Stdin, chunk.len() as u32)).await?;
    to.write_all(chunk).await
}

/// Reads and drops what nobody is there for.
async fn ignore<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Returns when the client's side of `socket` is closed altogether; never without one.
async fn gone(socket: Option<OwnedFd>) -> io::Result<()> {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let mut poll = [PollFd::new(&socket, PollFlags::empty())];
        rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        if poll[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AFTER).await;
    }
}
