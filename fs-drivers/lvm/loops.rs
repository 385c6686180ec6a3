//! Loop devices (linux/loop.h): a file as a block device, that lets go of the file when it is closed for the last time.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::node;
use crate::Result;
use crate::error::At;
use crate::tree::Meta;

const SET_FD: u32 = 0x4c00;
const CLEAR_FD: u32 = 0x4c01;
const SET_STATUS: u32 = 0x4c04;
const GET_STATUS: u32 = 0x4c05;
const GET_FREE: u32 = 0x4c82;

const AUTOCLEAR: u32 = 4;

const MAJOR: u32 = 7;
const CONTROL: (u32, u32) = (10, 237);

/// Without /sys, so many are looked at.
const GUESSED: u32 = 64;

/// struct loop_info64.
#[repr(C)]
struct Status {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    name: [u8; 64],
    unused: [u8; 96],
    init: [u64; 2],
}

const _: () = assert!(size_of::<Status>() == 232);

impl Status {
    const NONE: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        limit: 0,
        number: 0,
        encryption: [0; 2],
        flags: 0,
        name: [0; 64],
        unused: [0; 96],
        init: [0; 2],
    };
}

/// A file that is a block device as long as this or somebody else has it open.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) device: u64,
    fd: OwnedFd,
}

fn control(fd: impl AsFd, request: u32, argument: usize) -> Result<u32, Errno> {
    // SAFETY: the callers pass integers, or pointers to what the request takes, which outlive the call.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, argument) };
    u32::try_from(answer).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

impl Loop {
    fn open(folder: &Path, number: u32) -> Result<Self> {
        let listed = std::fs::read_to_string(format!("/sys/block/loop{number}/dev")).unwrap_or_default();
        let numbers = listed.trim().split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (major, minor) = numbers.unwrap_or((MAJOR, number));
        let device = rustix::fs::makedev(major, minor);
        let path = node::block(folder, &format!("loop{number}"), device)?;
        Ok(Self { device, fd: node::open(&path, OFlags::RDWR).at("open", path)? })
    }

    fn status(&self) -> Result<Status, Errno> {
        let mut status = Status::NONE;
        control(&self.fd, GET_STATUS, (&raw mut status).addr())?;
        Ok(status)
    }

    pub(super) fn is_of(&self, file: &Meta) -> bool {
        self.status().is_ok_and(|status| (status.device, status.inode) == (file.dev, file.ino))
    }

    /// It is nobody's when it is closed, however that comes.
    fn clear_when_closed(&self, path: &Path) -> Result<(), Errno> {
        use std::os::unix::ffi::OsStrExt;
        let mut status = Status { flags: AUTOCLEAR, ..Status::NONE };
        let name = path.as_os_str().as_bytes();
        let shown = name.len().min(status.name.len() - 1);
        status.name[..shown].copy_from_slice(&name[..shown]);
        control(&self.fd, SET_STATUS, (&raw mut status).addr()).map(drop)
    }
}

/// Makes a block device of `file`, or finds the one that it is already: two of one file would not see what the other writes.
/// The caller keeps others from doing the same meanwhile.
pub(super) fn attach(folder: &Path, path: &Path) -> Result<Loop> {
    let file = File::options().read(true).write(true).open(path).at("open", path)?;
    let meta = Meta::of(&file).at("look at", path)?;
    loop {
        for number in numbers() {
            if let Ok(found) = Loop::open(folder, number)
                && found.is_of(&meta)
            {
                found.clear_when_closed(path).at("set up a loop device for", path)?;
                return Ok(found);
            }
        }
        let found = Loop::open(folder, free(folder)?)?;
        match control(&found.fd, SET_FD, file.as_raw_fd() as usize) {
            // Somebody else was faster.
            Err(Errno::BUSY) => continue,
            other => other.at("set up a loop device for", path)?,
        };
        return match found.clear_when_closed(path) {
            Ok(()) => Ok(found),
            Err(error) => {
                let _ = control(&found.fd, CLEAR_FD, 0);
                Err(error).at("set up a loop device for", path)
            }
        };
    }
}

/// The loop device `device`, if it is one.
pub(super) fn find(folder: &Path, device: u64) -> Option<Loop> {
    numbers().filter_map(|number| Loop::open(folder, number).ok()).find(|found| found.device == device)
}

/// Those that have a file.
fn numbers() -> impl Iterator<Item = u32> {
    let number = |name: &str| name.strip_prefix("loop")?.parse().ok();
    let listed: Option<Vec<u32>> = std::fs::read_dir("/sys/block").ok().map(|entries| {
        let used = entries.flatten().filter(|entry| entry.path().join("loop/backing_file").exists());
        used.filter_map(|entry| number(entry.file_name().to_str()?)).collect()
    });
    listed.unwrap_or_else(|| (0..GUESSED).collect()).into_iter()
}

fn free(folder: &Path) -> Result<u32> {
    let path: PathBuf = node::character(folder, "loop-control", rustix::fs::makedev(CONTROL.0, CONTROL.1))?;
    let fd = node::open(&path, OFlags::RDWR).at("open", &path)?;
    control(fd, GET_FREE, 0).at("find a free loop device by", path)
}
