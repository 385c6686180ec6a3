//! Attaching: a connected stream to the monitor.

use std::os::unix::net::UnixStream;

use berth_monitor::protocol::Request;
use berth_monitor::{Status, client};

use super::talk::failure;
use crate::{Engine, Error, Result};

#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Docker's notation (`ctrl-p,ctrl-q`); `None`: the default, empty: none.
    pub detach_keys: Option<String>,
}

/// A connection to a monitor that carries frames (see `berth_monitor::protocol::frame`).
#[derive(Debug)]
pub struct Stream {
    pub socket: UnixStream,
    /// Whether there is a terminal: then Docker's stream is raw, else multiplexed.
    pub tty: bool,
    /// The container does not run yet: before the first frame one JSON line (a `Response`) will come, or the end of
    /// the stream if it is never started.
    pub pending: bool,
}

impl Engine {
    /// Works before the container is started too: the stream then reaches the monitor when this engine starts it, and
    /// misses nothing of the output.
    pub fn attach(&self, name: &str, options: &AttachOptions) -> Result<Stream> {
        let container = self.find(name)?;
        let request = Request::Attach {
            stdin: options.stdin && container.config.open_stdin == Some(true),
            stdout: options.stdout,
            stderr: options.stderr,
            detach_keys: detach_keys(options.detach_keys.as_deref())?,
        };
        let state = self.state(&container)?;
        let id = &container.id;
        match state.status {
            Status::Paused => {
                Err(Error::Conflict(format!("container {id} is paused. Unpause the container before attach")))
            }
            Status::Restarting => {
                Err(Error::Conflict(format!("container {id} is restarting. Wait until the container is running")))
            }
            Status::Running => {
                let (socket, _) = self.ask_with_stream(&container, &request)?;
                Ok(Stream { socket, tty: container.tty(), pending: false })
            }
            Status::Created | Status::Exited | Status::Dead => {
                Ok(Stream { socket: self.promise(id, &request)?, tty: container.tty(), pending: true })
            }
        }
    }

    /// A connection that the monitor will serve as soon as this engine starts the container.
    pub(crate) fn promise(&self, id: &str, request: &Request) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("make", "a pair of sockets"))?;
        client::send(&ours, request).map_err(failure)?;
        let mut waiting = self.waiting();
        let list = waiting.entry(id.to_owned()).or_default();
        // Those whose other end is gone would only pile up.
        list.retain(|socket| !has_ended(socket));
        list.push(theirs);
        Ok(ours)
    }
}

fn has_ended(socket: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// `ctrl-p,ctrl-q` as bytes.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    const DEFAULT: [u8; 2] = [16, 17];
    let Some(text) = text else { return Ok(DEFAULT.to_vec()) };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let unknown = |key: &str| Error::invalid(format!("Unknown character: '{key}' in the detach keys"));
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-") {
            Some(key) => match key.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                b"@" => Ok(0),
                [other @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(other - b'[' + 27),
                _ => Err(unknown(key)),
            },
            None => match key.as_bytes() {
                [byte] => Ok(*byte),
                _ if key.eq_ignore_ascii_case("del") => Ok(127),
                _ => Err(unknown(key)),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_follow_dockers_notation() {
        assert_eq!(detach_keys(None).unwrap(), [16, 17]);
        assert!(detach_keys(Some("")).unwrap().is_empty());
        assert_eq!(detach_keys(Some("ctrl-@,a,ctrl-[,ctrl-_,DEL")).unwrap(), [0, b'a', 27, 31, 127]);
        assert!(detach_keys(Some("ctrl-1")).is_err());
        assert!(detach_keys(Some("ab")).is_err());
    }
}
