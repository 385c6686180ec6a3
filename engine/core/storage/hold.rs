//! Who works on a state's layers: every engine while it is open, and nobody else while they move to another driver.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// A shared flock(2) on the state folder itself; none where its file system has no such locks.
#[derive(Debug)]
pub(crate) struct Hold(Option<OwnedFd>);

impl Hold {
    /// `None`: somebody moves the layers.
    pub(crate) fn shared(state: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(state, flags, Mode::empty()).map_err(|error| Error::io("open", state)(error.into()))?;
        Ok(match flock(&fd, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Some(Self(Some(fd))),
            Err(Errno::WOULDBLOCK) => None,
            Err(_) => Some(Self(None)),
        })
    }

    /// Keeps all others out until the value is dropped. `false`: others are in.
    pub(crate) fn alone(&self) -> bool {
        let Some(fd) = &self.0 else { return true };
        let alone = flock(fd, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !alone {
            // The attempt gave the shared lock back.
            let _ = flock(fd, FlockOperation::LockShared);
        }
        alone
    }

    pub(crate) fn share(&self) {
        if let Some(fd) = &self.0 {
            let _ = flock(fd, FlockOperation::LockShared);
        }
    }
}
