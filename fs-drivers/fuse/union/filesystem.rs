//! The kernel's requests: one thread reads them and answers what is quickly done; what may take long is done by others.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as Code, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use rustix::fs::FileType;

use super::super::linger::Linger;
use super::super::workers::Workers;
use super::Union;
use super::attributes::{Changes, device_of};
use super::names::{Maker, New};
use super::rename::At;
use super::replies::{FOREVER, GENERATION, absent, answer, entry};
use super::service::Service;

/// Of one request. The kernel's own limit is higher; more gains nothing, and each thread may hold as much.
const MAX_WRITE: u32 = 1 << 20;
/// Bytes that are written at once by whoever reads the requests.
const LITTLE: usize = 64 << 10;

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

#[derive(Debug)]
pub(in crate::fuse) struct Served {
    service: Arc<Service>,
    workers: Workers,
    linger: Linger,
}

impl Served {
    pub(in crate::fuse) fn new(union: Union) -> Self {
        let service = Arc::new(Service::new(union));
        Self { service, workers: Workers::default(), linger: Linger::default() }
    }

    /// Where the requests come from.
    pub(in crate::fuse) fn linger_on(&self, device: OwnedFd) {
        self.linger.on(device);
    }

    /// Answers at once.
    fn now<T>(&self, answer: impl FnOnce(&Service) -> T) -> T {
        self.linger.begin();
        let answered = answer(&self.service);
        self.linger.end();
        answered
    }

    /// Leaves the answer to another thread if it may take long.
    fn by(&self, slow: bool, answer: impl FnOnce(&Service) + Send + 'static) {
        if !slow {
            return self.now(answer);
        }
        let service = self.service.clone();
        self.workers.run(move || answer(&service));
    }
}

fn maker(request: &Request, mode: u32, umask: u32) -> Maker {
    Maker { uid: request.uid(), gid: request.gid(), mode, umask }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for &flag in WANTED {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_WRITE);
        let wanted = !berth_arch::pretend::without("fuse-passthrough");
        if wanted
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && let Some(service) = Arc::get_mut(&mut self.service)
        {
            service.passthrough = config.set_max_stack_depth(1).is_ok();
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.now(|service| match service.union.lookup(parent.0, name.as_bytes()) {
            Ok(Some(found)) => entry(reply, &found),
            Ok(None) => reply.entry(&FOREVER, &absent(), GENERATION),
            Err(error) => reply.error(error.into()),
        });
    }

    fn forget(&self, _: &Request, id: INodeNo, count: u64) {
        self.now(|service| service.union.nodes_mut().forget(id.0, count));
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.now(|service| answer!(reply, service.union.attributes(id.0), |attr| reply.attr(&FOREVER, &attr)));
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
        // A truncation by somebody else; or nothing at all: a write that the kernel did itself.
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none() && !times;
        let kills_ids = nothing || (size.is_some() && mode.is_none() && request.uid() != 0);
        let changes = Changes { mode, uid, gid, size, atime, mtime, kills_ids };
        self.by(!self.service.union.is_upper(id.0), move |service| {
            answer!(reply, service.union.change(id.0, &changes), |attr| reply.attr(&FOREVER, &attr));
        });
    }

    fn readlink(&self, _: &Request, id: INodeNo, reply: ReplyData) {
        self.now(|service| answer!(reply, service.union.link_text(id.0), |text| reply.data(&text)));
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
        let (at, new) = (At { parent: parent.0, name: name.as_bytes() }, New::Node(kind, device_of(rdev)));
        let made = |service: &Service| service.union.make(at, &new, &maker(request, mode, umask));
        self.now(|service| answer!(reply, made(service), |(found, _)| entry(reply, &found)));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let at = At { parent: parent.0, name: name.as_bytes() };
        let made = |service: &Service| service.union.make(at, &New::Directory, &maker(request, mode, umask));
        self.now(|service| answer!(reply, made(service), |(found, _)| entry(reply, &found)));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, text: &Path, reply: ReplyEntry) {
        let (at, new) = (At { parent: parent.0, name: name.as_bytes() }, New::Link(text.as_os_str()));
        let made = |service: &Service| service.union.make(at, &new, &maker(request, 0o777, 0));
        self.now(|service| answer!(reply, made(service), |(found, _)| entry(reply, &found)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.now(|service| answer!(reply, service.union.unlink(parent.0, name.as_bytes()), |()| reply.ok()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.now(|service| answer!(reply, service.union.remove_directory(parent.0, name.as_bytes()), |()| reply.ok()));
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
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.by(!self.service.union.is_upper_alone(parent.0), move |service| {
            let from = At { parent: parent.0, name: name.as_bytes() };
            let to = At { parent: new_parent.0, name: new_name.as_bytes() };
            answer!(reply, service.union.rename(from, to, flags), |()| reply.ok());
        });
    }

    fn link(&self, _: &Request, id: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.by(!self.service.union.is_upper(id.0), move |service| {
            answer!(reply, service.union.link(id.0, parent.0, name.as_bytes()), |found| entry(reply, &found));
        });
    }

    fn open(&self, request: &Request, id: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let uid = request.uid();
        let slow = self.service.open_copies(id.0, flags.0);
        self.by(slow, move |service| service.open(id.0, flags.0, uid, reply));
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
        let at = At { parent: parent.0, name: name.as_bytes() };
        self.now(|service| service.create(at, &maker(request, mode, umask), flags, reply));
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
        if let Some(reply) = self.now(|service| service.read(handle, offset, size, false, reply)) {
            self.by(true, move |service| {
                service.read(handle, offset, size, true, reply);
            });
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kills_ids = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        if data.len() <= LITTLE {
            return self.now(|service| service.write(handle, offset, data, kills_ids, reply));
        }
        let data = data.to_vec();
        self.by(true, move |service| service.write(handle, offset, &data, kills_ids, reply));
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
        self.now(|service| {
            service.union.handles().close(handle.0);
            reply.ok();
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.by(true, move |service| answer!(reply, service.sync(handle, data_only), |()| reply.ok()));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.now(|service| {
            let handle = FileHandle(service.union.handles().add_listing());
            reply.opened(handle, FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn readdir(&self, _: &Request, id: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.now(|service| {
            answer!(reply, service.union.tell_names(id.0, handle, offset, &mut reply), |()| reply.ok());
        });
    }

    fn readdirplus(&self, _: &Request, id: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        self.now(|service| {
            answer!(reply, service.union.tell_entries(id.0, handle, offset, &mut reply), |()| reply.ok());
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.now(|service| {
            service.union.handles().close_listing(handle.0);
            reply.ok();
        });
    }

    fn fsyncdir(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.by(true, move |service| answer!(reply, service.sync_directory(id.0), |()| reply.ok()));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.now(|service| {
            answer!(reply, service.union.file_system(), |found| reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                found.f_bsize as u32,
                found.f_namemax as u32,
                found.f_frsize as u32,
            ));
        });
    }

    fn setxattr(&self, _: &Request, id: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.by(!self.service.union.is_upper(id.0), move |service| {
            answer!(reply, service.union.set_attribute(id.0, &name, &value, flags as u32), |()| reply.ok());
        });
    }

    fn getxattr(&self, _: &Request, id: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let mut value = vec![0; size as usize];
        self.now(|service| match service.union.get_attribute(id.0, name, &mut value) {
            Ok(length) if size == 0 => reply.size(length as u32),
            Ok(length) => reply.data(&value[..length]),
            Err(error) => reply.error(error.into()),
        });
    }

    fn listxattr(&self, _: &Request, id: INodeNo, size: u32, reply: ReplyXattr) {
        self.now(|service| match service.union.list_attributes(id.0) {
            Ok(list) if size == 0 => reply.size(list.len() as u32),
            Ok(list) if list.len() > size as usize => reply.error(Code::ERANGE),
            Ok(list) => reply.data(&list),
            Err(error) => reply.error(error.into()),
        });
    }

    fn removexattr(&self, _: &Request, id: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.by(!self.service.union.is_upper(id.0), move |service| {
            answer!(reply, service.union.remove_attribute(id.0, &name), |()| reply.ok());
        });
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
        self.by(true, move |service| {
            answer!(reply, service.allocate(handle, mode, offset, length), |()| reply.ok());
        });
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.now(|service| answer!(reply, service.seek(handle, offset, whence), |at| reply.offset(at as i64)));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        from_offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.by(true, move |service| {
            let copied = service.copy((from, from_offset), (to, to_offset), length);
            answer!(reply, copied, |copied| reply.written(copied as u32));
        });
    }
}
