//! The engine's side of a monitor's socket. Synchronous; an asynchronous engine turns the stream into its own after
//! the answer to `Attach` or `Exec` and goes on with [`crate::frame`].

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::RecvFlags;

use crate::error::{Error, Result};
use crate::files;
use crate::protocol::{Request, Response};

/// The socket's name in the run folder.
pub const SOCKET: &str = "monitor.sock";
/// The lock's name in the run folder; the monitor holds it as long as it is responsible for the container.
pub const LOCK: &str = "monitor.lock";

/// What fits a `sockaddr_un` with its final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// [`Error::NotFound`] when no monitor listens.
pub fn connect(run_folder: &Path) -> Result<UnixStream> {
    let path = run_folder.join(SOCKET);
    let connected = if path.as_os_str().len() <= MAX_SOCKET_PATH {
        UnixStream::connect(&path)
    } else {
        through_descriptor(run_folder)
    };
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotFound(run_folder.to_owned()),
        _ => Error::Io { action: "connect to", path, source: error },
    })
}

fn through_descriptor(run_folder: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    // O_PATH (2.6.39) needs no permission to list the folder.
    let folder = rustix::fs::open(run_folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Writes the request's line. Also how a connection for [`crate::spawn_serving`] is prepared.
pub fn send(mut stream: &UnixStream, request: &Request) -> Result<()> {
    let mut line =
        serde_json::to_vec(request).map_err(|error| Error::Protocol(format!("encode a request: {error}")))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(gone)
}

/// Reads the answer's line and not a byte more: what follows are frames.
pub fn receive(mut stream: &UnixStream) -> Result<Response> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut buffer = [0u8; 4096];
        let (_, seen) = rustix::io::retry_on_intr(|| rustix::net::recv(stream, &mut buffer, RecvFlags::PEEK))
            .map_err(|e| gone(e.into()))?;
        if seen == 0 {
            return Err(gone(io::ErrorKind::UnexpectedEof.into()));
        }
        let part = &buffer[..seen.min(buffer.len())];
        let wanted = part.iter().position(|&byte| byte == b'\n').map_or(part.len(), |at| at + 1);
        let start = line.len();
        line.resize(start + wanted, 0);
        stream.read_exact(&mut line[start..]).map_err(gone)?;
    }
    serde_json::from_slice(&line).map_err(|error| Error::Protocol(format!("understand the monitor's answer: {error}")))
}

fn gone(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Error::NotFound(Path::new("this container (it has just ended)").to_owned())
        }
        _ => Error::Protocol(format!("talk to the monitor: {error}")),
    }
}

/// Connects, asks, and returns the stream with the answer.
pub fn open(run_folder: &Path, request: &Request) -> Result<(UnixStream, Response)> {
    let stream = connect(run_folder)?;
    let answer = send(&stream, request).and_then(|()| receive(&stream)).map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound(run_folder.to_owned()),
        other => other,
    })?;
    Ok((stream, answer))
}

/// As [`request`], for a monitor that may hang: `None` if it has not answered within `patience`.
pub fn request_within(run_folder: &Path, request: &Request, patience: Duration) -> Result<Option<Response>> {
    let stream = connect(run_folder)?;
    send(&stream, request)?;
    let mut polled = [PollFd::new(&stream, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).ok();
    let answered = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()));
    // Anything but silence: reading says what it is.
    if answered == Ok(0) { Ok(None) } else { receive(&stream).map(Some) }
}

/// One question, one answer. A monitor that ends while it is asked is [`Error::NotFound`].
pub fn request(run_folder: &Path, request: &Request) -> Result<Response> {
    open(run_folder, request).map(|(_, answer)| answer)
}

/// Whether a monitor is responsible for the container of this run folder.
pub fn is_alive(run_folder: &Path) -> bool {
    files::is_locked(&run_folder.join(LOCK))
}
