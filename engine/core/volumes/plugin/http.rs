//! One POST to a plugin: HTTP/1.1 (RFC 9112) as far as it takes, with a time by which all has to be over.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::discovery::Address;

/// Bytes of the head of an answer, and of its body.
const HEAD: usize = 64 << 10;
const BODY: usize = 4 << 20;
/// What Docker's plugins expect.
const TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection that ends at a time.
struct Limited {
    stream: Stream,
    end: Instant,
}

/// The status and the body.
pub(super) fn post(address: &Address, method: &str, body: &str, patience: Duration) -> io::Result<(u16, Vec<u8>)> {
    let end = Instant::now() + patience;
    let stream = match address {
        Address::Unix(path) => Stream::Unix(connect(path, end)?),
        Address::Tcp(address) => Stream::Tcp(TcpStream::connect_timeout(address, patience)?),
    };
    let mut connection = Limited { stream, end };
    let request = format!(
        "POST /{method} HTTP/1.1\r\nHost: plugin\r\nUser-Agent: berth\r\nAccept: {TYPE}\r\nContent-Type: {TYPE}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes())?;
    answer(&mut connection)
}

/// Waits no longer than until `end` for a place in the queue of a plugin that does not accept.
fn connect(path: &Path, end: Instant) -> io::Result<UnixStream> {
    let about = |error: Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("connect to {}: {error}", path.display()))
    };
    let address = SocketAddrUnix::new(path).map_err(about)?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(about)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::AGAIN) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(about(error)),
        }
    }
}

impl Limited {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(late()),
            left => Ok(Some(left)),
        }
    }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it did not answer in time")
}

fn in_time<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| if error.kind() == ErrorKind::WouldBlock { late() } else { error })
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        in_time(match &mut self.stream {
            Stream::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
            Stream::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
        })
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        in_time(match &mut self.stream {
            Stream::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            Stream::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("its answer is not HTTP: {what}"))
}

/// Bytes that have come, and more where they come from.
struct Source<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Source<'_, R> {
    /// False at the end.
    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let read = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    /// A line without its end, of those that come one after the other from `at`.
    fn line(&mut self, at: &mut usize, limit: usize) -> io::Result<String> {
        loop {
            if let Some(length) = self.bytes[*at..].iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&self.bytes[*at..*at + length]).trim_end_matches('\r').to_owned();
                *at += length + 1;
                return Ok(line);
            }
            if self.bytes.len() - *at > limit {
                return Err(wrong("a line is too long"));
            }
            if !self.more()? {
                return Err(wrong("it ends too early"));
            }
        }
    }

    fn exactly(&mut self, at: usize, length: usize) -> io::Result<Vec<u8>> {
        while self.bytes.len() - at < length {
            if !self.more()? {
                return Err(wrong("it ends too early"));
            }
        }
        Ok(self.bytes[at..at + length].to_vec())
    }
}

fn answer(stream: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let mut source = Source { stream, bytes: Vec::new() };
    let mut at = 0;
    loop {
        let first = source.line(&mut at, HEAD)?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| wrong("the status line"))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = source.line(&mut at, HEAD)?;
            if line.is_empty() {
                break;
            }
            if at > HEAD {
                return Err(wrong("its head is too long"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("a header"))?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    length = Some(value.trim().parse::<usize>().map_err(|_| wrong("Content-Length"))?);
                }
                "transfer-encoding" => chunked = value.to_ascii_lowercase().contains("chunked"),
                _ => {}
            }
        }
        // 100 and the like come before the answer.
        if (100..200).contains(&status) {
            continue;
        }
        let body = match (chunked, length) {
            (true, _) => chunks(&mut source, at)?,
            (false, Some(length)) if length > BODY => return Err(wrong("its body is too long")),
            (false, Some(length)) => source.exactly(at, length)?,
            (false, None) => {
                while source.more()? {
                    if source.bytes.len() - at > BODY {
                        return Err(wrong("its body is too long"));
                    }
                }
                source.bytes.split_off(at)
            }
        };
        return Ok((status, body));
    }
}

fn chunks(source: &mut Source<'_, impl Read>, mut at: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = source.line(&mut at, HEAD)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| wrong("a chunk's size"))?;
        if size == 0 {
            return Ok(body);
        }
        // The bytes of all chunks so far are held twice; framing counts too.
        if size > BODY || source.bytes.len() > 2 * BODY || body.len() + size > BODY {
            return Err(wrong("its body is too long"));
        }
        body.extend(source.exactly(at, size)?);
        at += size;
        if !source.line(&mut at, HEAD)?.is_empty() {
            return Err(wrong("a chunk's end"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(u16, String)> {
        answer(&mut text.as_bytes()).map(|(status, body)| (status, String::from_utf8(body).unwrap()))
    }

    #[test]
    fn the_three_kinds_of_body_are_read() {
        let head = "HTTP/1.1 200 OK\r\nDate: x\r\n";
        assert_eq!(read(&format!("{head}Content-Length: 2\r\n\r\n{{}}rest")).unwrap(), (200, "{}".to_owned()));
        assert_eq!(read(&format!("{head}\r\n{{}}")).unwrap(), (200, "{}".to_owned()));
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n1;x=y\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n");
        assert_eq!(read(&chunked).unwrap(), (200, "{}".to_owned()));
        assert_eq!(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 no\r\n\r\nx").unwrap(), (500, "x".to_owned()));
    }

    #[test]
    fn hostile_answers_are_refused_and_not_kept() {
        let long = "x".repeat(HEAD + 1);
        let many = "a: b\r\n".repeat(HEAD / 6 + 1);
        for text in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            &format!("HTTP/1.1 200 {long}"),
            &format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        ] {
            assert!(read(text).is_err(), "{}", &text[..text.len().min(80)]);
        }
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY + 10_000));
        assert!(read(&endless).is_err());
    }

    #[test]
    fn a_plugin_that_says_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        let error = post(&Address::Unix(path), "Plugin.Activate", "", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
