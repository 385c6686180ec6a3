//! Devices that are there as long as somebody has them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dm::Control;
use super::node;
use crate::Result;
use crate::error::At;

const PAUSE: Duration = Duration::from_millis(5);

/// A device that is there as long as this value is, and then as long as it is mounted or another has it open.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    fd: Option<OwnedFd>,
    /// Where the kernel does not take it away by itself, who does.
    left_to_us: Option<(Control, String)>,
}

impl Held {
    /// Opens a device and lets it go when it is closed for the last time. `None`, after a moment, if it is just going.
    pub(super) fn new(folder: &Path, control: &Control, name: &str, device: u64) -> Result<Option<Self>> {
        let path = node::mapped(folder, device)?;
        let fd = match node::open(&path, OFlags::RDONLY) {
            Ok(fd) => Some(fd),
            Err(Errno::NXIO | Errno::NODEV | Errno::NOENT | Errno::BUSY) => {
                std::thread::sleep(PAUSE);
                return Ok(None);
            }
            Err(error) => return Err(error).at("open", path),
        };
        let left_to_us = match control.defers() {
            true => {
                control.remove(name, true).at("let go of", name)?;
                None
            }
            false => Some((node::control(folder)?, name.to_owned())),
        };
        Ok(Some(Self { path, fd, left_to_us }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings what was written to the device to the disk, and the pool's books with it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.fd.as_ref().map_or(Ok(()), |fd| Ok(rustix::fs::fsync(fd)?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.fd = None;
        if let Some((control, name)) = self.left_to_us.take() {
            // Busy if it is mounted: the next sweep does it.
            let _ = control.remove(&name, false);
        }
    }
}
