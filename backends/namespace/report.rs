//! What the child says to its creator, over a socket of packets that closes on exec.
//!
//! Packets have a fixed size and hold numbers only, so that the child needs no memory for them. The words are found
//! by the creator, who has the plan. End of file without a [`Packet::Failed`] means that the program runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use berth_arch::fd::{receive_with, send_with};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// What the child was doing. Steps of which there are many carry an index into the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Step {
    Clone,
    Cgroup,
    Join,
    MapUsers,
    TimeOffsets,
    Propagation,
    Rootfs,
    Porch,
    Action,
    Terminal,
    Console,
    Hostname,
    Domainname,
    Sysctl,
    Loopback,
    PivotRoot,
    Rlimit,
    OomScore,
    Label,
    Keyring,
    CreateContainerHook,
    StartContainerHook,
    Personality,
    Priority,
    Scheduler,
    Streams,
    WorkingDirectory,
    Credentials,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    Exec,
}

impl Step {
    const ALL: [Self; 32] = [
        Self::Clone,
        Self::Cgroup,
        Self::Join,
        Self::MapUsers,
        Self::TimeOffsets,
        Self::Propagation,
        Self::Rootfs,
        Self::Porch,
        Self::Action,
        Self::Terminal,
        Self::Console,
        Self::Hostname,
        Self::Domainname,
        Self::Sysctl,
        Self::Loopback,
        Self::PivotRoot,
        Self::Rlimit,
        Self::OomScore,
        Self::Label,
        Self::Keyring,
        Self::CreateContainerHook,
        Self::StartContainerHook,
        Self::Personality,
        Self::Priority,
        Self::Scheduler,
        Self::Streams,
        Self::WorkingDirectory,
        Self::Credentials,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Seccomp,
        Self::Exec,
    ];
}

/// A system call of the child that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) index: u16,
    pub(super) errno: Errno,
}

pub(super) type Done<T = ()> = std::result::Result<T, Failure>;

/// Says which step an error belongs to.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Done<T>;
    fn at_index(self, step: Step, index: usize) -> Done<T>;
}

impl<T> At<T> for Result<T> {
    fn at(self, step: Step) -> Done<T> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Done<T> {
        self.map_err(|errno| Failure { step, index: index as u16, errno })
    }
}

#[derive(Debug)]
pub(super) enum Packet {
    /// The child gives up and exits.
    Failed(Failure),
    /// The step was refused and is done without.
    Warning(Failure),
    /// The controlling side of the terminal.
    Terminal(OwnedFd),
    /// The seccomp agent's end; the child waits for [`Channel::go`].
    Listener(OwnedFd),
    /// The process that will run the program, if the one that was cloned first is not it.
    Child(i32),
    /// The mounts are in place, and hooks of the creator are due; the child waits for [`Channel::go`].
    Hooks,
    /// All is in place; the child waits for [`Channel::go`].
    Ready,
    /// To the doorman: a socket with a task on it.
    Request(OwnedFd),
}

const FAILED: i32 = 1;
const WARNING: i32 = 2;
const TERMINAL: i32 = 3;
const CHILD: i32 = 4;
const READY: i32 = 5;
const HOOKS: i32 = 6;
const LISTENER: i32 = 7;
const REQUEST: i32 = 8;

type Words = [i32; 4];

/// One end. The creator and the child have one each.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn pair() -> Result<(Self, Self)> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(above_stdio(ours)?), Self(above_stdio(theirs)?)))
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Closes the child's copy of the creator's end, without which it would not see the creator end.
    pub(super) fn leave(&self) {
        super::sys::close_copy(self.0.as_fd());
    }

    fn send(&self, words: Words) -> Result<()> {
        rustix::net::send(&self.0, &bytes(words), SendFlags::NOSIGNAL).map(drop)
    }

    pub(super) fn fail(&self, failure: Failure) {
        let _ = self.send([FAILED, failure.step as i32, i32::from(failure.index), failure.errno.raw_os_error()]);
    }

    pub(super) fn warn(&self, failure: Failure) {
        let _ = self.send([WARNING, failure.step as i32, i32::from(failure.index), failure.errno.raw_os_error()]);
    }

    pub(super) fn child(&self, pid: i32) -> Result<()> {
        self.send([CHILD, pid, 0, 0])
    }

    pub(super) fn ready(&self) -> Result<()> {
        self.send([READY, 0, 0, 0])
    }

    pub(super) fn hooks(&self) -> Result<()> {
        self.send([HOOKS, 0, 0, 0])
    }

    pub(super) fn terminal(&self, controlling: BorrowedFd<'_>) -> Result<()> {
        self.descriptor(TERMINAL, controlling)
    }

    pub(super) fn listener(&self, listener: BorrowedFd<'_>) -> Result<()> {
        self.descriptor(LISTENER, listener)
    }

    /// Called by the creator, over the doorman's line.
    pub(super) fn request(&self, task: BorrowedFd<'_>) -> Result<()> {
        self.descriptor(REQUEST, task)
    }

    fn descriptor(&self, kind: i32, descriptor: BorrowedFd<'_>) -> Result<()> {
        send_with(&self.0, &bytes([kind, 0, 0, 0]), descriptor).map(drop)
    }

    /// Nobody at the other end keeps this process longer than `time`: sending and [`Channel::receive`] are EAGAIN then.
    pub(super) fn limit(&self, time: Duration) -> Result<()> {
        set_socket_timeout(&self.0, Timeout::Send, Some(time))?;
        set_socket_timeout(&self.0, Timeout::Recv, Some(time))
    }

    /// Lets the child go on. Called by the creator.
    pub(super) fn go(&self) -> Result<()> {
        rustix::net::send(&self.0, &[1], SendFlags::NOSIGNAL).map(drop)
    }

    /// Waits for [`Channel::go`]. A creator that has ended is EPIPE.
    pub(super) fn wait_for_go(&self) -> Result<()> {
        let mut byte = [0_u8; 1];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut byte[..]))?;
        if count == 1 { Ok(()) } else { Err(Errno::PIPE) }
    }

    /// Whether the creator has ended. Called by the child.
    pub(super) fn is_abandoned(&self) -> bool {
        let mut byte = [0_u8; 1];
        matches!(rustix::net::recv(&self.0, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((0, _)))
    }

    /// The next packet; `None` at the end.
    pub(super) fn receive(&self) -> Result<Option<Packet>> {
        let mut buffer = [0_u8; size_of::<Words>()];
        let descriptor = match receive_with(&self.0, &mut buffer) {
            // A child that was killed closes its end with our unread byte in it.
            Err(Errno::CONNRESET) | Ok((0, _)) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok((_, descriptor)) => descriptor,
        };
        decode(words(buffer), descriptor).map(Some).ok_or(Errno::PROTO)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn bytes(words: Words) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn words(bytes: [u8; 16]) -> Words {
    let mut words = [0; 4];
    for (word, place) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = i32::from_ne_bytes([place[0], place[1], place[2], place[3]]);
    }
    words
}

fn decode([kind, a, b, c]: Words, descriptor: Option<OwnedFd>) -> Option<Packet> {
    let failure = || {
        let step = Step::ALL.into_iter().find(|step| *step as i32 == a)?;
        Some(Failure { step, index: b as u16, errno: Errno::from_raw_os_error(c) })
    };
    match kind {
        FAILED => failure().map(Packet::Failed),
        WARNING => failure().map(Packet::Warning),
        TERMINAL => descriptor.map(Packet::Terminal),
        LISTENER => descriptor.map(Packet::Listener),
        CHILD => Some(Packet::Child(a)),
        READY => Some(Packet::Ready),
        HOOKS => Some(Packet::Hooks),
        REQUEST => descriptor.map(Packet::Request),
        _ => None,
    }
}

/// The same file under a number that the child does not need for its streams.
pub(super) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
}
