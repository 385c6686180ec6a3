//! What is said to criu, over a socket to a process of its own (`criu swrk`): the names and numbers of its
//! images/rpc.proto, which are the same in every version since 3.0.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use berth_arch::fd::receive_with;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::Signal;

use super::options::Options;
use super::wire::{Message, Value, fields};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// `criu_resp`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    kind: u64,
    success: bool,
    /// Of a restore.
    pub(super) pid: Option<i32>,
    script: Option<String>,
    /// Of the processes that a notification is about: the first one.
    about: Option<i32>,
    errno: Option<i32>,
    message: Option<String>,
    /// Major, minor.
    pub(super) version: Option<(u64, u64)>,
    /// Whether memory can be tracked, if that was asked.
    pub(super) tracks_memory: bool,
}

impl Response {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut response = Self::default();
        let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        for (field, value) in fields(bytes)? {
            match (field, value) {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (4, Value::Bytes(restored)) => response.pid = number(restored, 1)?.and_then(|pid| pid.try_into().ok()),
                (5, Value::Bytes(notified)) => {
                    let script = fields(notified)?.into_iter().find_map(|(field, value)| match (field, value) {
                        (1, Value::Bytes(script)) => text(script),
                        _ => None,
                    });
                    response.script = script;
                    response.about = number(notified, 2)?.and_then(|pid| pid.try_into().ok());
                }
                (7, Value::Number(errno)) => response.errno = i32::try_from(errno).ok(),
                (8, Value::Bytes(features)) => response.tracks_memory = number(features, 1)? == Some(1),
                (9, Value::Bytes(message)) => response.message = text(message),
                (10, Value::Bytes(version)) => {
                    response.version = number(version, 1)?.zip(number(version, 2)?);
                }
                _ => {}
            }
        }
        Ok(response)
    }

    /// What it says of a failure; criu's log says more.
    fn failure(&self) -> Option<String> {
        if self.success {
            return None;
        }
        let number =
            self.errno.filter(|&number| number != 0).map(|number| io::Error::from_raw_os_error(number).to_string());
        Some(self.message.clone().or(number).unwrap_or_default())
    }
}

fn number(message: &[u8], wanted: u32) -> io::Result<Option<u64>> {
    Ok(fields(message)?.into_iter().find_map(|(field, value)| match value {
        Value::Number(number) if field == wanted => Some(number),
        _ => None,
    }))
}

/// What goes wrong with a request.
pub(super) enum Failure {
    /// criu says no; what it says may be nothing.
    Refused(String),
    /// What it was told is the reason.
    GivenUp(io::Error),
    /// It could not be started, or ended without an answer.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What criu has come to.
pub(super) struct Notification<'n> {
    pub(super) event: &'n str,
    /// The first process, if there is one by then.
    pub(super) pid: Option<i32>,
    /// What criu hands over with it.
    pub(super) handed: Option<OwnedFd>,
}

/// An error makes criu give up.
pub(super) type Notified<'n> = &'n mut dyn FnMut(Notification<'_>) -> io::Result<()>;

/// Starts `program`, asks it, and waits for its end. Descriptors that are not close-on-exec are inherited.
pub(super) fn ask(
    program: &Path,
    kind: Kind,
    options: Option<&Options>,
    notified: Notified<'_>,
) -> Result<Response, Failure> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
    let mut command = Command::new(program);
    // Its standard input is the socket: no number has to be kept free.
    command.args(["swrk", "0"]).stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure makes a system call and nothing else.
    unsafe {
        command.pre_exec(|| {
            // Nobody would answer it, or be the parent of what it restores.
            Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
        });
    }
    let mut child = Reaped(command.spawn()?);
    drop(command);
    let answer = converse(&ours, kind, options, notified);
    drop(ours);
    let status = child.0.wait()?;
    match answer {
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::other(format!("it ended without an answer ({status})")).into())
        }
        other => other,
    }
}

/// A child that is waited for in any case.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn converse(
    socket: &OwnedFd,
    kind: Kind,
    options: Option<&Options>,
    notified: Notified<'_>,
) -> Result<Response, Failure> {
    let mut request = Message::default();
    request.number(1, kind as u64);
    if let Some(options) = options {
        request.message(2, options.message());
    }
    if kind == Kind::FeatureCheck {
        let mut features = Message::default();
        features.flag(1, true);
        request.message(5, &features);
    }
    send(socket, &request)?;
    let mut given_up = None;
    loop {
        let (response, handed) = receive(socket)?;
        if response.kind != Kind::Notify as u64 {
            return match response.failure() {
                Some(said) => Err(given_up.map_or(Failure::Refused(said), Failure::GivenUp)),
                None => Ok(response),
            };
        }
        let event = response.script.as_deref().unwrap_or_default();
        let done = notified(Notification { event, pid: response.about, handed });
        let mut answer = Message::default();
        // Said in any case: it has no default.
        answer.number(1, Kind::Notify as u64).number(3, done.is_ok().into());
        if let Err(error) = done {
            given_up = Some(error);
        }
        send(socket, &answer)?;
    }
}

fn send(socket: &OwnedFd, message: &Message) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::net::send(socket, message.as_bytes(), SendFlags::NOSIGNAL))?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<(Response, Option<OwnedFd>)> {
    // Longer than anything that is asked for.
    let mut bytes = vec![0; 16 * 1024];
    let (count, handed) = receive_with(socket, &mut bytes)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((Response::parse(&bytes[..count])?, handed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood() {
        // RESTORE, success, pid 300.
        let restored = Response::parse(b"\x08\x02\x10\x01\x22\x03\x08\xac\x02").unwrap();
        assert_eq!((restored.pid, restored.failure()), (Some(300), None));
        // DUMP, no success, errno 3.
        let failed = Response::parse(b"\x08\x01\x10\x00\x38\x03").unwrap();
        assert_eq!(failed.failure().unwrap(), io::Error::from_raw_os_error(3).to_string());
        // NOTIFY, post-dump.
        let notified = Response::parse(b"\x08\x06\x10\x01\x2a\x0d\x0a\x09post-dump\x10\x07").unwrap();
        assert_eq!((notified.script.as_deref(), notified.about), (Some("post-dump"), Some(7)));
        // VERSION 4.2.1.
        let version = Response::parse(b"\x08\x0a\x10\x01\x52\x06\x08\x04\x10\x02\x20\x01").unwrap();
        assert_eq!(version.version, Some((4, 2)));
    }

    #[test]
    fn a_program_that_is_no_criu_is_said() {
        let asked = ask(Path::new("/bin/true"), Kind::Version, None, &mut |_| Ok(()));
        let Err(Failure::Io(error)) = asked else { panic!("it answered") };
        let gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        assert!(gone || error.to_string().contains("without an answer"), "{error}");
    }
}
