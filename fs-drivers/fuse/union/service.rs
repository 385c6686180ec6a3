//! Opening files for the kernel, and what is read from and written to them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_arch::pretend;
use fuser::{FileHandle, FopenFlags, ReplyCreate, ReplyData, ReplyOpen, ReplyWrite};
use rustix::fs::{FallocateFlags, FileType, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::Union;
use super::attributes::{file_attr, without_ids};
use super::handles::Register;
use super::layers::UPPER;
use super::names::{Maker, New};
use super::rename::At;
use super::replies::{FOREVER, GENERATION, answer};
use crate::tree::Meta;

/// Bytes of a file that is read in so few requests that the kernel's way to it (a backing file, registered at each open and
/// given back) costs more than it saves, and from whose pages the next one reads.
const SMALL: u64 = 128 << 10;

/// The union, and what the kernel it talks to can do.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) union: Union,
    pub(super) passthrough: bool,
    /// Reads cannot be asked not to wait (RWF_NOWAIT, 4.14, and the file system's part in it).
    reads_wait: AtomicBool,
}

struct Opened {
    file: OwnedFd,
    layer: u16,
    /// The kernel is to read and write it by itself.
    through: bool,
}

impl Service {
    pub(super) fn new(union: Union) -> Self {
        Self { union, passthrough: false, reads_wait: AtomicBool::new(pretend::without("nowait")) }
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<OwnedFd>> {
        Ok(self.union.handles().file(handle.0).ok_or(Errno::BADF)?)
    }

    /// A lower file that may be copied up is not passed through: an inode has one backing file as long as it is open.
    fn goes_through(&self, layer: u16) -> bool {
        self.passthrough && (layer == UPPER || !self.union.is_writable())
    }

    /// Whether an open by these flags copies data first.
    pub(super) fn open_copies(&self, id: u64, flags: i32) -> bool {
        let wanted = OFlags::from_bits_retain(flags as _);
        (wanted & OFlags::RWMODE != OFlags::RDONLY || wanted.contains(OFlags::TRUNC)) && !self.union.is_upper(id)
    }

    /// `uid`: who asks.
    pub(super) fn open(&self, id: u64, flags: i32, uid: u32, reply: ReplyOpen) {
        let Opened { file, layer, through } = match self.open_file(id, flags, uid) {
            Ok(opened) => opened,
            Err(error) => return reply.error(error.into()),
        };
        let register = |fd: BorrowedFd<'_>| reply.open_backing(fd);
        let register: Option<Register<'_>> = if through { Some(&register) } else { None };
        let (handle, backing) = self.union.handles().add(id, layer, file, register);
        if let Err(error) = self.union.keep_up(id, layer) {
            self.union.handles().close(handle);
            return reply.error(error.into());
        }
        match backing {
            Some(backing) => reply.opened_passthrough(FileHandle(handle), flags_of(true), &backing),
            None => reply.opened(FileHandle(handle), flags_of(false)),
        }
    }

    fn open_file(&self, id: u64, flags: i32, uid: u32) -> io::Result<Opened> {
        let wanted = OFlags::from_bits_retain(flags as _);
        let truncates = wanted.contains(OFlags::TRUNC);
        let reads = wanted & OFlags::RWMODE == OFlags::RDONLY && !truncates;
        if !reads {
            self.union.copy_up(id, truncates.then_some(0))?;
        }
        let (file, layer) = self.union.open_at(id, open_flags(wanted))?;
        let meta = Meta::of(&file)?;
        if meta.kind() != FileType::RegularFile {
            return Err(Errno::NXIO.into());
        }
        if truncates {
            rustix::fs::ftruncate(&file, 0).or_else(|error| match error {
                // Opened for reading, which is for the kernel to judge.
                Errno::INVAL => Ok(()),
                error => Err(error),
            })?;
            if uid != 0 {
                kill_ids(&file)?;
            }
        }
        let through = self.goes_through(layer) && !(reads && meta.size <= SMALL);
        Ok(Opened { file, layer, through })
    }

    pub(super) fn create(&self, at: At<'_>, maker: &Maker, flags: i32, reply: ReplyCreate) {
        let flags = open_flags(OFlags::from_bits_retain(flags as _));
        let (found, file) = match self.union.make(at, &New::File(flags), maker) {
            Ok((found, Some(file))) => (found, file),
            Ok((_, None)) => return reply.error(fuser::Errno::EIO),
            Err(error) => return reply.error(error.into()),
        };
        let register = |fd: BorrowedFd<'_>| reply.open_backing(fd);
        let register: Option<Register<'_>> = if self.goes_through(UPPER) { Some(&register) } else { None };
        let (handle, backing) = self.union.handles().add(found.id, UPPER, file, register);
        let (attr, handle) = (file_attr(found.id, &found.stat, &found.stack), FileHandle(handle));
        match backing {
            Some(backing) => {
                reply.created_passthrough(&FOREVER, &attr, GENERATION, handle, flags_of(true), &backing);
            }
            None => reply.created(&FOREVER, &attr, GENERATION, handle, flags_of(false)),
        }
    }

    /// `waits`: for what is not in memory. Otherwise the reply comes back if it would have to.
    pub(super) fn read(
        &self,
        handle: FileHandle,
        offset: u64,
        size: u32,
        waits: bool,
        reply: ReplyData,
    ) -> Option<ReplyData> {
        if !waits && self.reads_wait.load(Ordering::Relaxed) {
            return Some(reply);
        }
        match self.read_data(handle, offset, size as usize, waits) {
            Ok(data) => reply.data(&data),
            Err(Errno::AGAIN) if !waits => return Some(reply),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) if !waits => {
                self.reads_wait.store(true, Ordering::Relaxed);
                return Some(reply);
            }
            Err(error) => reply.error(io::Error::from(error).into()),
        }
        None
    }

    fn read_data(&self, handle: FileHandle, offset: u64, size: usize, waits: bool) -> Result<Vec<u8>, Errno> {
        let file = self.union.handles().file(handle.0).ok_or(Errno::BADF)?;
        let mut data = vec![0; size];
        let mut filled = 0;
        while filled < size {
            let (rest, offset) = (&mut data[filled..], offset + filled as u64);
            let read = if waits {
                rustix::io::pread(&*file, rest, offset)
            } else {
                rustix::io::preadv2(&*file, &mut [io::IoSliceMut::new(rest)], offset, ReadWriteFlags::NOWAIT)
            };
            match read {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    pub(super) fn write(&self, handle: FileHandle, offset: u64, data: &[u8], kills_ids: bool, reply: ReplyWrite) {
        let write = || -> io::Result<usize> {
            let file = self.file(handle)?;
            if kills_ids {
                kill_ids(&file)?;
            }
            let mut written = 0;
            while written < data.len() {
                match rustix::io::pwrite(&*file, &data[written..], offset + written as u64) {
                    Ok(0) => break,
                    Ok(more) => written += more,
                    Err(Errno::INTR) => {}
                    Err(_) if written > 0 => break,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(written)
        };
        answer!(reply, write(), |written| reply.written(written as u32));
    }

    pub(super) fn sync(&self, handle: FileHandle, data_only: bool) -> io::Result<()> {
        let file = self.file(handle)?;
        match data_only {
            _ if self.union.is_volatile() => Ok(()),
            true => Ok(rustix::fs::fdatasync(&*file)?),
            false => Ok(rustix::fs::fsync(&*file)?),
        }
    }

    pub(super) fn sync_directory(&self, id: u64) -> io::Result<()> {
        if self.union.is_volatile() {
            return Ok(());
        }
        let (directory, _) = self.union.open_at(id, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::fs::fsync(directory)?)
    }

    pub(super) fn allocate(&self, handle: FileHandle, mode: i32, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        Ok(rustix::fs::fallocate(&*self.file(handle)?, flags, offset, length)?)
    }

    pub(super) fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> io::Result<u64> {
        let to = match (whence, u64::try_from(offset)) {
            (libc::SEEK_DATA, Ok(offset)) => SeekFrom::Data(offset),
            (libc::SEEK_HOLE, Ok(offset)) => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(rustix::fs::seek(&*self.file(handle)?, to)?)
    }

    /// Handles and offsets.
    pub(super) fn copy(
        &self,
        (from, mut from_offset): (FileHandle, u64),
        (to, mut to_offset): (FileHandle, u64),
        length: u64,
    ) -> io::Result<usize> {
        if pretend::without("copy_file_range") {
            return Err(Errno::NOSYS.into());
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        let (from, to) = (self.file(from)?, self.file(to)?);
        Ok(rustix::fs::copy_file_range(&*from, Some(&mut from_offset), &*to, Some(&mut to_offset), length)?)
    }
}

/// Pages of files that the kernel does not read by itself stay good when they are closed.
fn flags_of(through: bool) -> FopenFlags {
    if through { FopenFlags::empty() } else { FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH }
}

/// What the union opens a file with: the kernel has done the rest, or does it with each request.
fn open_flags(wanted: OFlags) -> OFlags {
    (wanted & (OFlags::RWMODE | OFlags::SYNC | OFlags::DSYNC)) | OFlags::NONBLOCK | OFlags::NOCTTY
}

fn kill_ids(file: &OwnedFd) -> io::Result<()> {
    match without_ids(Meta::of(file)?.mode) {
        Some(mode) => Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode((mode & 0o7777) as _))?),
        None => Ok(()),
    }
}
