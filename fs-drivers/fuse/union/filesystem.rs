//! The kernel's requests, answered.
//!
//! What is known stays good: layers below never change, and the upper one is changed through the union alone. So names, their
//! absence, attributes and pages may be kept as long as the kernel likes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as Code, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, FileType, OFlags, SeekFrom};
use rustix::io::Errno;

use super::Union;
use super::attributes::{Changes, device_of, file_attr, without_ids};
use super::find::Found;
use super::handles::Register;
use super::layers::UPPER;
use super::listing::Listing;
use super::names::{Maker, New};
use super::rename::At;

const FOREVER: Duration = Duration::from_secs(1 << 30);
const GENERATION: Generation = Generation(0);
/// Of one request. The kernel's own limit is higher; more gains nothing, and each thread may hold as much.
const MAX_WRITE: u32 = 1 << 20;

/// Facilities that are taken where the kernel has them.
const WANTED: &[InitFlags] = &[
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// The union, and what the kernel it talks to can do.
#[derive(Debug)]
pub(in crate::fuse) struct Served {
    union: Union,
    passthrough: bool,
}

impl Served {
    pub(in crate::fuse) fn new(union: Union) -> Self {
        Self { union, passthrough: false }
    }

    /// Reads and writes by the kernel itself. A lower file that may be copied up is not read so: an inode has one backing file
    /// as long as it is open.
    fn goes_through(&self, layer: u16) -> bool {
        self.passthrough && (layer == UPPER || !self.union.layers.is_writable())
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<OwnedFd>> {
        Ok(self.union.handles().file(handle.0).ok_or(Errno::BADF)?)
    }

    fn make(
        &self,
        request: &Request,
        at: At<'_>,
        new: &New<'_>,
        mode: u32,
        umask: u32,
    ) -> io::Result<(Found, Option<OwnedFd>)> {
        let maker = Maker { uid: request.uid(), gid: request.gid(), mode, umask };
        self.union.make(at.parent, at.name, new, &maker)
    }

    fn open_file(&self, id: u64, flags: OpenFlags, request: &Request) -> io::Result<(OwnedFd, u16)> {
        let wanted = OFlags::from_bits_retain(flags.0 as _);
        let truncates = wanted.contains(OFlags::TRUNC);
        let access = wanted & OFlags::RWMODE;
        if access != OFlags::RDONLY || truncates {
            self.union.copy_up(id, truncates.then_some(0))?;
        }
        let (file, layer) = self.union.open_at(id, open_flags(wanted))?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Errno::NXIO.into());
        }
        if truncates {
            rustix::fs::ftruncate(&file, 0).or_else(|error| match error {
                // Opened for reading, which is for the kernel to judge.
                Errno::INVAL => Ok(()),
                error => Err(error),
            })?;
            if request.uid() != 0 {
                kill_ids(&file)?;
            }
        }
        Ok((file, layer))
    }
}

/// What the union opens a file with: the kernel has done the rest, or does it with each request.
fn open_flags(wanted: OFlags) -> OFlags {
    (wanted & (OFlags::RWMODE | OFlags::SYNC | OFlags::DSYNC)) | OFlags::NONBLOCK | OFlags::NOCTTY
}

fn kill_ids(file: &OwnedFd) -> io::Result<()> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let mode = rustix::fs::fstat(file)?.st_mode as u32;
    match without_ids(mode) {
        Some(mode) => Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode((mode & 0o7777) as _))?),
        None => Ok(()),
    }
}

/// One answer or the error, by the reply's own two methods.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $good:expr) => {
        match $result {
            Ok($value) => $good,
            Err(error) => $reply.error(Code::from(io::Error::from(error))),
        }
    };
}

fn entry(reply: ReplyEntry, found: &Found) {
    reply.entry(&FOREVER, &file_attr(found.id, &found.stat, &found.stack), GENERATION);
}

fn absent() -> fuser::FileAttr {
    let zero = SystemTime::UNIX_EPOCH;
    fuser::FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        crtime: zero,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for &flag in WANTED {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_WRITE);
        let wanted = !berth_arch::pretend::without("fuse-passthrough");
        if wanted && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() {
            self.passthrough = config.set_max_stack_depth(1).is_ok();
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.union.lookup(parent.0, name.as_bytes()) {
            Ok(Some(found)) => entry(reply, &found),
            Ok(None) => reply.entry(&FOREVER, &absent(), GENERATION),
            Err(error) => reply.error(error.into()),
        }
    }

    fn forget(&self, _: &Request, id: INodeNo, count: u64) {
        self.union.nodes_mut().forget(id.0, count);
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.union.attributes(id.0), |attr| reply.attr(&FOREVER, &attr));
    }

    fn setattr(
        &self,
        request: &Request,
        id: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let times = atime.is_some() || mtime.is_some();
        let changes = Changes { mode, uid, gid, size, atime, mtime, kills_ids: false };
        // A truncation by somebody else; or nothing at all: a write that the kernel did itself.
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none() && !times;
        let kills_ids = nothing || (size.is_some() && mode.is_none() && request.uid() != 0);
        answer!(reply, self.union.change(id.0, &Changes { kills_ids, ..changes }), |attr| reply.attr(&FOREVER, &attr));
    }

    fn readlink(&self, _: &Request, id: INodeNo, reply: ReplyData) {
        answer!(reply, self.union.link_text(id.0), |text| reply.data(&text));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = FileType::from_raw_mode(mode as _);
        if kind == FileType::CharacterDevice && rdev == 0 {
            // It would hide what is below it.
            return reply.error(Code::EPERM);
        }
        let at = At { parent: parent.0, name: name.as_bytes() };
        let made = self.make(request, at, &New::Node(kind, device_of(rdev)), mode, umask);
        answer!(reply, made, |(found, _)| entry(reply, &found));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let at = At { parent: parent.0, name: name.as_bytes() };
        answer!(reply, self.make(request, at, &New::Directory, mode, umask), |(found, _)| entry(reply, &found));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, text: &Path, reply: ReplyEntry) {
        let at = At { parent: parent.0, name: name.as_bytes() };
        let made = self.make(request, at, &New::Link(text.as_os_str()), 0o777, 0);
        answer!(reply, made, |(found, _)| entry(reply, &found));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.union.unlink(parent.0, name.as_bytes()), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.union.remove_directory(parent.0, name.as_bytes()), |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = At { parent: parent.0, name: name.as_bytes() };
        let to = At { parent: new_parent.0, name: new_name.as_bytes() };
        answer!(reply, self.union.rename(from, to, flags), |()| reply.ok());
    }

    fn link(&self, _: &Request, id: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.union.link(id.0, parent.0, name.as_bytes()), |found| entry(reply, &found));
    }

    fn open(&self, request: &Request, id: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (file, layer) = match self.open_file(id.0, flags, request) {
            Ok(opened) => opened,
            Err(error) => return reply.error(error.into()),
        };
        let register = |fd: BorrowedFd<'_>| reply.open_backing(fd);
        let register: Option<Register<'_>> = if self.goes_through(layer) { Some(&register) } else { None };
        let (handle, backing) = self.union.handles().add(id.0, layer, file, register);
        if let Err(error) = self.union.keep_up(id.0, layer) {
            self.union.handles().close(handle);
            return reply.error(error.into());
        }
        match backing {
            Some(backing) => reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &backing),
            None => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let flags = open_flags(OFlags::from_bits_retain(flags as _));
        let at = At { parent: parent.0, name: name.as_bytes() };
        let (found, file) = match self.make(request, at, &New::File(flags), mode, umask) {
            Ok((found, Some(file))) => (found, file),
            Ok((_, None)) => return reply.error(Code::EIO),
            Err(error) => return reply.error(error.into()),
        };
        let register = |fd: BorrowedFd<'_>| reply.open_backing(fd);
        let register: Option<Register<'_>> = if self.goes_through(UPPER) { Some(&register) } else { None };
        let (handle, backing) = self.union.handles().add(found.id, UPPER, file, register);
        let (attr, handle) = (file_attr(found.id, &found.stat, &found.stack), FileHandle(handle));
        match backing {
            Some(backing) => {
                reply.created_passthrough(&FOREVER, &attr, GENERATION, handle, FopenFlags::empty(), &backing);
            }
            None => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.created(&FOREVER, &attr, GENERATION, handle, flags);
            }
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || -> io::Result<Vec<u8>> {
            let file = self.file(handle)?;
            let mut data = vec![0; size as usize];
            let mut filled = 0;
            while filled < data.len() {
                match rustix::io::pread(&*file, &mut data[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            data.truncate(filled);
            Ok(data)
        };
        answer!(reply, read(), |data| reply.data(&data));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || -> io::Result<usize> {
            let file = self.file(handle)?;
            if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
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

    /// Nothing is kept back: the kernel need not ask again.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Code::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.union.handles().close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let sync = || -> io::Result<()> {
            let file = self.file(handle)?;
            match data_only {
                _ if self.union.layers.volatile => Ok(()),
                true => Ok(rustix::fs::fdatasync(&*file)?),
                false => Ok(rustix::fs::fsync(&*file)?),
            }
        };
        answer!(reply, sync(), |()| reply.ok());
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let handle = self.union.handles().add_listing();
        reply.opened(FileHandle(handle), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(&self, _: &Request, id: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let filled = self.with_listing(id.0, handle, offset, |listing| {
            for (next, name, entry) in listing.from(offset) {
                if reply.add(INodeNo(entry.id), next, entry.kind, OsStr::from_bytes(name)) {
                    break;
                }
            }
            Ok(())
        });
        answer!(reply, filled, |()| reply.ok());
    }

    fn readdirplus(&self, _: &Request, id: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let filled =
            self.with_listing(id.0, handle, offset, |listing| self.union.list_plus(id.0, listing, offset, &mut reply));
        answer!(reply, filled, |()| reply.ok());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.union.handles().close_listing(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = || -> io::Result<()> {
            if self.union.layers.volatile {
                return Ok(());
            }
            let (directory, _) = self.union.open_at(id.0, OFlags::RDONLY | OFlags::DIRECTORY)?;
            Ok(rustix::fs::fsync(directory)?)
        };
        answer!(reply, sync(), |()| reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        answer!(reply, rustix::fs::fstatvfs(self.union.layers.top()), |found| reply.statfs(
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
            found.f_bsize as u32,
            found.f_namemax as u32,
            found.f_frsize as u32,
        ));
    }

    fn setxattr(&self, _: &Request, id: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        answer!(reply, self.union.set_attribute(id.0, name, value, flags as u32), |()| reply.ok());
    }

    fn getxattr(&self, _: &Request, id: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let mut value = vec![0; size as usize];
        match self.union.get_attribute(id.0, name, &mut value) {
            Ok(length) if size == 0 => reply.size(length as u32),
            Ok(length) => reply.data(&value[..length]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn listxattr(&self, _: &Request, id: INodeNo, size: u32, reply: ReplyXattr) {
        match self.union.list_attributes(id.0) {
            Ok(list) if size == 0 => reply.size(list.len() as u32),
            Ok(list) if list.len() > size as usize => reply.error(Code::ERANGE),
            Ok(list) => reply.data(&list),
            Err(error) => reply.error(error.into()),
        }
    }

    fn removexattr(&self, _: &Request, id: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.union.remove_attribute(id.0, name), |()| reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocate = || -> io::Result<()> {
            let flags = FallocateFlags::from_bits_retain(mode as u32);
            Ok(rustix::fs::fallocate(&*self.file(handle)?, flags, offset, length)?)
        };
        answer!(reply, allocate(), |()| reply.ok());
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let seek = || -> io::Result<u64> {
            let to = match (whence, u64::try_from(offset)) {
                (libc::SEEK_DATA, Ok(offset)) => SeekFrom::Data(offset),
                (libc::SEEK_HOLE, Ok(offset)) => SeekFrom::Hole(offset),
                _ => return Err(Errno::INVAL.into()),
            };
            Ok(rustix::fs::seek(&*self.file(handle)?, to)?)
        };
        answer!(reply, seek(), |offset| reply.offset(offset as i64));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        mut offset: u64,
        _: INodeNo,
        to: FileHandle,
        mut to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copy = || -> io::Result<usize> {
            if berth_arch::pretend::without("copy_file_range") {
                return Err(Errno::NOSYS.into());
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
            let (from, to) = (self.file(from)?, self.file(to)?);
            Ok(rustix::fs::copy_file_range(&*from, Some(&mut offset), &*to, Some(&mut to_offset), length)?)
        };
        let mut copy = copy;
        answer!(reply, copy(), |copied| reply.written(copied as u32));
    }
}

impl Served {
    /// From the first entry on, a directory is looked at again.
    fn with_listing(
        &self,
        id: u64,
        handle: FileHandle,
        offset: u64,
        f: impl FnOnce(&Listing) -> io::Result<()>,
    ) -> io::Result<()> {
        let listing = self.union.handles().listing(handle.0).ok_or(Errno::BADF)?;
        let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 || !listing.filled {
            *listing = self.union.list(id)?;
        }
        f(&listing)
    }
}

impl Union {
    /// Names with what they are: as many lookups as there are names in the answer.
    fn list_plus(&self, id: u64, listing: &Listing, offset: u64, reply: &mut ReplyDirectoryPlus) -> io::Result<()> {
        for (next, name, entry) in listing.from(offset) {
            if matches!(name, b"." | b"..") {
                let attr = fuser::FileAttr { ino: INodeNo(entry.id), kind: entry.kind, ..absent() };
                // Not counted by the kernel, and not used.
                if reply.add(INodeNo(entry.id), next, OsStr::from_bytes(name), &Duration::ZERO, &attr, GENERATION) {
                    break;
                }
                continue;
            }
            let found = {
                let nodes = self.nodes();
                match entry.layer() {
                    Some(layer) => self.find_in(layer, &nodes.path(id)?, name)?,
                    None => self.find_below(&nodes, id, name)?,
                }
            };
            // Gone meanwhile.
            let Some(found) = found else { continue };
            self.nodes_mut().give(found.id, id, name, &found.stack);
            let attr = file_attr(found.id, &found.stat, &found.stack);
            if reply.add(INodeNo(found.id), next, OsStr::from_bytes(name), &FOREVER, &attr, GENERATION) {
                self.nodes_mut().forget(found.id, 1);
                break;
            }
        }
        Ok(())
    }
}
