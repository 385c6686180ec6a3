//! How a process of ours in a container learns what it has to become: over a socket. For one that LXC's tools start it is
//! standard input, which they pass on as they got it.
//!
//! The process says hello, and the kernel tells its creator which one it is. Then the task comes: its length, JSON, and
//! descriptors with the first byte: the channel of `namespace/report.rs`, the program's three streams unless it gets a
//! terminal, and what is preserved for it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::Stdio;

/// What to become.
#[derive(Serialize, Deserialize)]
pub(crate) enum Task {
    First {
        spec: Box<Spec>,
        cgroups: Vec<PathBuf>,
        devices_enforced: bool,
        streams: Streams,
    },
    /// The specification is the container's.
    Further {
        process: Box<Process>,
        spec: Box<Spec>,
        devices_enforced: bool,
        streams: Streams,
    },
}

/// Where the streams go: descriptors that come along, or a terminal of this size.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Streams {
    Three,
    Terminal { size: Option<(u16, u16)> },
}

impl Streams {
    pub(crate) fn of(io: &Stdio) -> Self {
        match io {
            Stdio::Pipes { .. } => Self::Three,
            Stdio::Terminal { size } => Self::Terminal { size: *size },
        }
    }

    /// Takes what it needs of `descriptors`. `None`: too few have come.
    pub(crate) fn io(self, descriptors: &mut impl Iterator<Item = OwnedFd>) -> Option<Stdio> {
        Some(match self {
            Self::Terminal { size } => Stdio::Terminal { size },
            Self::Three => {
                Stdio::Pipes { stdin: descriptors.next()?, stdout: descriptors.next()?, stderr: descriptors.next()? }
            }
        })
    }
}

/// SCM_MAX_FD of the kernel.
const DESCRIPTORS: usize = 253;
/// More than any task has: a specification with a seccomp policy has some 100 KB.
const LONGEST: u32 = 64 << 20;

/// The creator's end, and the one for the process inside.
pub(crate) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    rustix::net::sockopt::set_socket_passcred(&ours, true)?;
    Ok((ours, theirs))
}

/// The process that says hello, as the caller's pid namespace numbers it. UnexpectedEof: nobody is left who could, or
/// `in_vain` says so, which is asked now and then.
pub(crate) fn meet(stream: &UnixStream, mut in_vain: impl FnMut() -> bool) -> io::Result<i32> {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    loop {
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        match poll(&mut fds, Some(&PAUSE)) {
            Ok(0) if in_vain() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let process = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid.as_raw_pid()),
        _ => None,
    });
    process.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Said by the process inside.
pub(crate) fn say_hello(mut stream: &UnixStream) -> io::Result<()> {
    stream.write_all(b"h")
}

/// The status, as of wait(2), of the program that came of the task: the last that comes.
pub(super) fn tell_end(stream: &mut UnixStream, status: i32) -> io::Result<()> {
    stream.write_all(&status.to_ne_bytes())
}

/// What [`tell_end`] has said; `None` while the program runs. Who was to say it and was killed, by the container or with it, took
/// the program along.
pub(crate) fn end_of(mut stream: &UnixStream) -> io::Result<Option<i32>> {
    let mut status = [0; 4];
    stream.set_nonblocking(true)?;
    match stream.read_exact(&mut status) {
        Ok(()) => Ok(Some(i32::from_ne_bytes(status))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Ok(Some(libc::SIGKILL)),
    }
}

pub(crate) fn give(stream: &mut UnixStream, task: &Task, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(task)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_ne_bytes();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(stream.as_fd(), &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)
    })?;
    stream.write_all(&length[sent..])?;
    stream.write_all(&text)
}

pub(crate) fn take(stream: &mut UnixStream) -> io::Result<(Task, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; 4];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&*stream, &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            descriptors.extend(fds);
        }
    }
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u32::from_ne_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_and_a_waiter_without_words_was_killed() {
        let (ours, mut theirs) = pair().unwrap();
        assert_eq!(end_of(&ours).unwrap(), None);
        tell_end(&mut theirs, 7 << 8).unwrap();
        assert_eq!(end_of(&ours).unwrap(), Some(7 << 8));
        drop(theirs);
        assert_eq!(end_of(&ours).unwrap(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_task_arrives_whole_with_its_descriptors() {
        let (mut ours, mut theirs) = pair().unwrap();
        say_hello(&theirs).unwrap();
        assert_eq!(meet(&ours, || false).unwrap(), std::process::id() as i32);
        let mut spec = Spec::default();
        spec.set_hostname(Some("x".repeat(300_000)));
        let task = Task::First {
            spec: Box::new(spec.clone()),
            cgroups: vec!["/sys/fs/cgroup/x".into()],
            devices_enforced: true,
            streams: Streams::Three,
        };
        let writer = std::thread::spawn(move || {
            let own = ours.try_clone().unwrap();
            give(&mut ours, &task, &[own.as_fd(); 5]).unwrap();
        });
        let (task, descriptors) = take(&mut theirs).unwrap();
        writer.join().unwrap();
        assert_eq!(descriptors.len(), 5);
        let Task::First { spec: arrived, cgroups, devices_enforced: true, streams } = task else { panic!() };
        assert_eq!((*arrived, cgroups.len()), (spec, 1));
        let mut descriptors = descriptors.into_iter();
        assert!(streams.io(&mut descriptors).is_some() && streams.io(&mut descriptors).is_none());
        assert_eq!(take(&mut theirs).err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }
}
