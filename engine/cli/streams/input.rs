//! Standard input, read by a thread that can be told to stop: no key is taken from the user's shell after the
//! container has gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::mpsc;

const CHUNK: usize = 64 * 1024;

/// Chunks of standard input. Reading stops when this is dropped.
pub(super) struct Input {
    pub(super) chunks: mpsc::Receiver<Vec<u8>>,
    /// Closing it wakes the thread.
    _stop: OwnedFd,
}

impl Input {
    pub(super) fn start() -> io::Result<Self> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let (sender, chunks) = mpsc::channel(4);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || pump(&sender, &stopped))?;
        Ok(Self { chunks, _stop: stop })
    }
}

/// Ends at the end of input, on an error, or when told to.
fn pump(sender: &mpsc::Sender<Vec<u8>>, stopped: &OwnedFd) {
    let stdin = io::stdin();
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut events = [PollFd::new(&stdin, PollFlags::IN), PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        if !events[1].revents().is_empty() {
            return;
        }
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}
