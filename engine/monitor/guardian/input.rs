//! What clients type, on its way to the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;

/// The writing end of a pipe, or a terminal. It does not block: what the program does not take is held, and as long
/// as anything is held, clients are not read.
#[derive(Debug, Default)]
pub(crate) struct Input {
    to: Option<Rc<OwnedFd>>,
    held: Vec<u8>,
    sent: usize,
    closing: bool,
}

impl Input {
    pub(crate) fn new(to: Rc<OwnedFd>) -> Self {
        Self { to: Some(to), ..Self::default() }
    }

    /// To be watched for room, while something is held.
    pub(crate) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        if self.held.is_empty() { None } else { self.to.as_ref().map(|to| to.as_fd()) }
    }

    /// Input for a program that has closed its end is dropped.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        if self.closing {
            return;
        }
        if self.held.is_empty() {
            while !bytes.is_empty() {
                match self.write(bytes) {
                    Ok(0) => break,
                    Ok(written) => bytes = &bytes[written..],
                    Err(_) => return self.drop_all(),
                }
            }
        }
        self.held.extend_from_slice(bytes);
    }

    /// There is room again.
    pub(crate) fn flush(&mut self) {
        while self.sent < self.held.len() {
            match self.write(&self.held[self.sent..]) {
                Ok(0) => return,
                Ok(written) => self.sent += written,
                Err(_) => return self.drop_all(),
            }
        }
        self.held = Vec::new();
        self.sent = 0;
        if self.closing {
            self.drop_all();
        }
    }

    /// End of input, after what is held.
    pub(crate) fn close(&mut self) {
        if self.held.is_empty() {
            self.drop_all();
        } else {
            self.closing = true;
        }
    }

    fn drop_all(&mut self) {
        *self = Self::default();
    }

    /// 0: no room.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
