//! One direction of a connection: from one socket to the other, through a pipe when there is much, so that the octets
//! never enter this process, and by copying when there is little, which is cheaper then.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Of the buffer that small amounts are copied through. Whoever fills it is given a pipe.
const BUFFER: usize = 16 * 1024;
/// Of a pipe, where the kernel allows it. A segment takes a page of it, however short it is.
const PIPE: usize = 256 * 1024;
/// Without it, the next segment would wait in vain for a pipe's last page.
const PIPES_KEPT: usize = 4;
/// What one direction may move before others have their turn.
const BUDGET: usize = 1024 * 1024;

/// What all connections share: none needs a pipe while nothing is under way.
#[derive(Debug)]
pub(super) struct Pool {
    pipes: Vec<Pipe>,
    buffer: Vec<u8>,
    splices: bool,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { pipes: Vec::new(), buffer: Vec::new(), splices: !berth_arch::pretend::without("splice") }
    }

    /// Nobody is connected.
    pub(super) fn clear(&mut self) {
        self.pipes.clear();
        self.buffer = Vec::new();
    }

    /// None if there are no descriptors left; then it is copied.
    fn take(&mut self) -> Option<Pipe> {
        self.pipes.pop().or_else(|| {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // Since 2.6.35, and up to the user's limit; less does too.
            let _ = fcntl_setpipe_size(&write, PIPE);
            Some(Pipe { read, write })
        })
    }

    fn give_back(&mut self, empty: Pipe) {
        if self.pipes.len() < PIPES_KEPT {
            self.pipes.push(empty);
        }
    }
}

/// What was taken from one end and not yet given to the other.
#[derive(Debug)]
enum Pending {
    None,
    Piped(Pipe, usize),
    Copied(Vec<u8>, usize),
}

#[derive(Debug)]
pub(super) struct Flow {
    pending: Pending,
    /// Its source has said everything.
    ended: bool,
    /// And its sink knows, or will never take anything more.
    pub(super) finished: bool,
    /// Its source has broken: the sink is not told of an end.
    broken: bool,
    /// The source fills the buffer each time.
    much: bool,
}

/// Why a flow has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// One of the two ends is not ready, or it was enough for once.
    ForNow,
    Finished,
    SourceBroken,
    SinkBroken,
}

impl Flow {
    pub(super) const fn new() -> Self {
        Self { pending: Pending::None, ended: false, finished: false, broken: false, much: false }
    }

    pub(super) fn wants_source(&self) -> bool {
        matches!(self.pending, Pending::None) && !self.ended && !self.finished
    }

    pub(super) fn wants_sink(&self) -> bool {
        !matches!(self.pending, Pending::None)
    }

    /// Nothing more can be delivered.
    pub(super) fn cut(&mut self) {
        self.pending = Pending::None;
        self.finished = true;
    }

    /// The source is broken: what it had said is still delivered, but its end is none.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }

    pub(super) fn turn(&mut self, source: BorrowedFd<'_>, sink: BorrowedFd<'_>, pool: &mut Pool) -> Stopped {
        if self.finished {
            return Stopped::Finished;
        }
        let mut moved = 0;
        loop {
            match self.deliver(sink, pool) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Stopped::ForNow,
                Err(Errno::INTR) => continue,
                Err(_) => return Stopped::SinkBroken,
            }
            if self.ended {
                if !self.broken {
                    // NOTCONN: the sink is broken, of which its own events tell.
                    let _ = shutdown(sink, Shutdown::Write);
                }
                self.finished = true;
                return Stopped::Finished;
            }
            if moved >= BUDGET {
                return Stopped::ForNow;
            }
            match self.take(source, sink, pool) {
                Ok(0) => self.ended = true,
                // Likely all there was; the reactor tells if not.
                Ok(_) if !self.much && !self.wants_sink() => return Stopped::ForNow,
                Ok(length) => moved += length,
                Err(Errno::AGAIN) => return Stopped::ForNow,
                Err(Errno::INTR) => {}
                // The kernel tells after it has given all that had arrived before.
                Err(_) => {
                    self.cut();
                    return Stopped::SourceBroken;
                }
            }
        }
    }

    /// Takes something from the source, when nothing is pending.
    fn take(&mut self, source: BorrowedFd<'_>, sink: BorrowedFd<'_>, pool: &mut Pool) -> Result<usize, Errno> {
        if self.much
            && pool.splices
            && let Some(pipe) = pool.take()
        {
            let taken = splice(source, None, &pipe.write, None, PIPE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE);
            match taken {
                Ok(length) if length > 0 => {
                    self.much = length >= BUFFER;
                    self.pending = Pending::Piped(pipe, length);
                }
                _ => pool.give_back(pipe),
            }
            if !matches!(taken, Err(Errno::INVAL | Errno::NOSYS | Errno::PERM)) {
                return taken;
            }
            pool.splices = false;
        }
        if pool.buffer.is_empty() {
            pool.buffer = vec![0; BUFFER];
        }
        let (_, length) = recv(source, &mut pool.buffer[..], RecvFlags::DONTWAIT)?;
        self.much = length == pool.buffer.len();
        if length == 0 {
            return Ok(0);
        }
        // If it is refused, another try tells why, and nothing of what was read is lost until then.
        let sent = send(sink, &pool.buffer[..length], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        if sent < length {
            self.pending = Pending::Copied(pool.buffer[sent..length].to_vec(), 0);
        }
        Ok(length)
    }

    /// Gives the sink what is pending. Ok when nothing is any more.
    fn deliver(&mut self, sink: BorrowedFd<'_>, pool: &mut Pool) -> Result<(), Errno> {
        loop {
            match &mut self.pending {
                Pending::None => return Ok(()),
                Pending::Copied(octets, sent) => {
                    *sent += send(sink, &octets[*sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                    if *sent == octets.len() {
                        self.pending = Pending::None;
                    }
                }
                Pending::Piped(pipe, left) => {
                    // No more than there is: old kernels hold the last segment back when there might be more.
                    match splice(&pipe.read, None, sink, None, *left, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
                        Ok(0) => return Err(Errno::PIPE),
                        Ok(length) => *left -= length.min(*left),
                        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) if pool.splices => {
                            pool.splices = false;
                            self.pending = Pending::Copied(drain(pipe, *left)?, 0);
                            continue;
                        }
                        Err(errno) => return Err(errno),
                    }
                    if *left == 0
                        && let Pending::Piped(pipe, _) = std::mem::replace(&mut self.pending, Pending::None)
                    {
                        pool.give_back(pipe);
                    }
                }
            }
        }
    }
}

/// What is in a pipe that could be filled but not be spliced from.
fn drain(pipe: &Pipe, length: usize) -> Result<Vec<u8>, Errno> {
    let mut octets = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::read(&pipe.read, &mut octets[filled..])? {
            0 => return Err(Errno::PIPE),
            length => filled += length,
        }
    }
    Ok(octets)
}
