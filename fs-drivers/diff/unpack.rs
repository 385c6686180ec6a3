//! An archive into a layer. Every name in it is hostile; nothing is touched outside of the layer's directory.

mod files;
mod place;
mod whiteout;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use berth_arch::Ids;
use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

pub use self::files::{FilesOptions, unpack_files};
use self::place::Places;
use super::split::Record;
use super::tar::{Kind, Member, Reader};
use crate::error::At;
use crate::tree::{self, Meta, is_kept};
use crate::{Error, Result, Whiteouts, full};

/// How an archive is unpacked.
#[derive(Default)]
pub struct UnpackOptions<'a> {
    /// In a user namespace devices cannot be made and some attributes cannot be set: they are left out, and
    /// counted.
    pub in_user_namespace: bool,
    /// Bytes that the archive has at least, where that is known: what an error of a full disk counts with.
    pub expected: Option<u64>,
    /// Gets what [`super::assemble`] needs to write the same archive again.
    pub record: Option<&'a mut dyn Write>,
}

/// What came out of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Of the files' contents, holes included.
    pub bytes: u64,
    pub entries: u64,
    /// Devices, attributes and owners that this host does not let us make.
    pub skipped: u64,
    /// Whether the archive says what the root directory is.
    pub root: bool,
}

/// Unpacks `archive` (tar, not compressed) into a layer and reads it to its end. Paths that go through a link of the
/// same layer stay inside the layer, as in Docker; `..` is refused; a later entry replaces an earlier one of its name.
/// On an error the layer is half-made: the caller removes it. Does not sync: [`crate::Driver::commit`] does.
pub fn unpack(archive: impl Read, root: RootDir, whiteouts: Whiteouts, options: UnpackOptions<'_>) -> Result<Unpacked> {
    let record = options.record.map(Record::new).transpose().at("write", "the archive's record")?;
    let places = Places::new(root, whiteouts);
    let unpacker = Unpacker {
        reader: Reader::new(archive, record),
        places,
        directories: Vec::new(),
        lenient: options.in_user_namespace,
        expected: options.expected,
        files: None,
        done: Unpacked::default(),
    };
    unpacker.run().map_err(as_error)
}

/// What is wrong with the archive is said as it is.
fn as_error(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::InvalidData if source.get_ref().is_some() => Error::InvalidArgument(source.to_string()),
        _ => Error::Io { action: "unpack", path: "the layer's archive".into(), source },
    }
}

/// Seconds and nanoseconds.
type Time = (i64, u32);

struct Unpacker<'a, R: Read> {
    reader: Reader<'a, R>,
    places: Places,
    /// Directories get their times when nothing is put into them any more.
    directories: Vec<(Box<[u8]>, Time)>,
    lenient: bool,
    expected: Option<u64>,
    /// Set where files are put into a tree instead of a layer being made.
    files: Option<files::Rules>,
    done: Unpacked,
}

impl<R: Read> Unpacker<'_, R> {
    fn run(mut self) -> io::Result<Unpacked> {
        while let Some(member) = self.reader.next()? {
            let mut name = self.name(&member.name)?;
            if let Some(rules) = &self.files {
                // The directory that is unpacked into stays as it is.
                if name.is_empty() {
                    continue;
                }
                name = self.judge(&member, rules.below(name))?;
            }
            if let Err(error) = self.entry(&member, &name) {
                return Err(full::tell(named(error, &name), self.missing()));
            }
            self.done.entries += 1;
        }
        self.places.settle()?;
        for (path, mtime) in std::mem::take(&mut self.directories) {
            self.places.set_directory_time(&path, mtime).map_err(|error| named(error, &path))?;
        }
        if let Some(record) = self.reader.record() {
            record.finish()?;
        }
        Ok(self.done)
    }

    /// Bytes that are still to be written, as far as is known.
    fn missing(&self) -> u64 {
        let rest = self.expected.map(|expected| expected.saturating_sub(self.reader.position()));
        rest.unwrap_or_default().max(self.reader.remaining())
    }

    /// The name below the root: without slashes at its ends, `.` and empty parts. Empty for the root itself.
    fn name(&self, raw: &[u8]) -> io::Result<Vec<u8>> {
        if raw.len() > 4095 {
            return Err(self.reader.wrong("its name is longer than 4095 bytes"));
        }
        if raw.contains(&0) {
            return Err(self.reader.wrong("its name has a NUL byte"));
        }
        let mut name = Vec::with_capacity(raw.len());
        for part in raw.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.reader.wrong("its name leads out of the layer (..)")),
                part => {
                    if !name.is_empty() {
                        name.push(b'/');
                    }
                    name.extend_from_slice(part);
                }
            }
        }
        Ok(name)
    }

    fn entry(&mut self, member: &Member, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        if self.files.is_some() {
            return self.plain(member, path);
        }
        if path.split(|&byte| byte == b'/').any(|part| part.starts_with(super::AUFS) && part != super::OPAQUE) {
            return Ok(());
        }
        if let Some(why) = self.places.reserved(path) {
            return Err(self.reader.wrong(why));
        }
        if name == super::OPAQUE {
            return self.places.make_opaque(parent);
        }
        if let Some(hidden) = name.strip_prefix(super::WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(self.reader.wrong("its whiteout names nothing"));
            }
            return self.places.hide(parent, OsStr::from_bytes(hidden));
        }
        if path.is_empty() {
            if member.kind != Kind::Directory {
                return Err(self.reader.wrong("the root of a layer must be a directory"));
            }
            self.done.root = true;
            return self.directory_attributes(member, path, false);
        }
        self.plain(member, path)
    }

    /// An entry that is what it says.
    fn plain(&mut self, member: &Member, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        match member.kind {
            Kind::Regular => self.regular(member, path)?,
            Kind::Directory => {
                let record = self.reader.record();
                let existed = self.places.make_directory(parent, name, |directory, found| {
                    record.map_or(Ok(()), |record| keep(directory, name, found, record))
                })?;
                self.directory_attributes(member, path, existed)?;
            }
            Kind::Link => {
                let mut target = self.name(&member.link)?;
                if target.is_empty() {
                    return Err(self.reader.wrong("its hard link names nothing"));
                }
                if let Some(rules) = &self.files {
                    target = rules.below(target);
                }
                if target == path {
                    return Ok(());
                }
                self.give_way(path)?;
                return self.places.link(&target, parent, name).map_err(|error| {
                    let what = match error.raw_os_error() {
                        Some(libc::ENOENT) => "does not exist",
                        Some(libc::EISDIR) => "is a directory",
                        _ => return error,
                    };
                    self.reader.wrong(&format!("its hard link's target {} {what}", member.link.escape_ascii()))
                });
            }
            Kind::Symlink => {
                if member.link.is_empty() || member.link.contains(&0) {
                    return Err(self.reader.wrong("its symbolic link is empty"));
                }
                self.give_way(path)?;
                let directory = self.places.directory(parent)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&member.link), directory, name)?;
                self.attributes(member, path)?;
            }
            Kind::Character | Kind::Block | Kind::Fifo => {
                if member.kind == Kind::Character && member.device == (0, 0) && self.files.is_none() {
                    return self.places.hide(parent, name);
                }
                self.give_way(path)?;
                if !self.device(member, parent, name)? {
                    self.done.skipped += 1;
                    return Ok(());
                }
                self.attributes(member, path)?;
            }
        }
        self.places.made(path)
    }

    fn device(&mut self, member: &Member, parent: &[u8], name: &OsStr) -> io::Result<bool> {
        let kind = match member.kind {
            Kind::Character => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let number = if kind == FileType::Fifo { 0 } else { rustix::fs::makedev(member.device.0, member.device.1) };
        let directory = self.places.directory(parent)?;
        match rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, number) {
            Err(Errno::PERM) if self.lenient => Ok(false),
            other => other.map(|()| true).map_err(io::Error::from),
        }
    }

    fn regular(&mut self, member: &Member, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match rustix::fs::openat(self.places.directory(parent)?, name, flags, mode) {
            Err(Errno::EXIST) => {
                self.give_way(path)?;
                rustix::fs::openat(self.places.directory(parent)?, name, flags, mode)?
            }
            other => other?,
        };
        match &member.sparse {
            // By way of a link it may not be found again.
            None => {
                let found_again = self.places.is_plain(parent)?.then_some(path);
                self.reader.data(found_again, |chunk| write_all(&file, chunk))?;
            }
            Some(sparse) => {
                let mut pieces = sparse.map.iter().copied();
                let (mut offset, mut left) = (0, 0);
                self.reader.data(None, |mut chunk| {
                    while !chunk.is_empty() {
                        while left == 0 {
                            (offset, left) = pieces.next().ok_or(io::ErrorKind::InvalidData)?;
                        }
                        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
                        write_all_at(&file, &chunk[..length], offset)?;
                        offset += length as u64;
                        left -= length as u64;
                        chunk = &chunk[length..];
                    }
                    Ok(())
                })?;
                rustix::fs::ftruncate(&file, sparse.size)?;
            }
        }
        self.done.bytes += member.sparse.as_ref().map_or(member.size, |sparse| sparse.size);
        self.file_attributes(member, &file)
    }

    /// Owner first, as it takes setuid bits and capabilities away; times last.
    fn file_attributes(&mut self, member: &Member, file: &OwnedFd) -> io::Result<()> {
        let (uid, gid) = self.owner(member);
        self.owned(rustix::fs::fchown(file, Some(uid), Some(gid)), uid, gid)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(member.mode as _))?;
        for (attribute, value) in member.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            self.tolerate(tree::set_open_xattr(file, attribute, value))?;
        }
        Ok(rustix::fs::futimens(file, &modified(member.mtime))?)
    }

    /// Whom this user namespace does not have, nothing can belong to.
    fn owned(&mut self, answer: rustix::io::Result<()>, uid: Uid, gid: Gid) -> io::Result<()> {
        if answer == Err(Errno::INVAL) {
            Ids::here().settle(answer, uid.as_raw(), gid.as_raw())?;
            self.done.skipped += 1;
            return Ok(());
        }
        Ok(answer?)
    }

    fn owner(&self, member: &Member) -> (Uid, Gid) {
        let other = self.files.as_ref().and_then(|rules| rules.owner);
        let (uid, gid) = other.unwrap_or((member.uid, member.gid));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    /// As [`Self::file_attributes`] for what cannot be opened.
    fn attributes(&mut self, member: &Member, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(if name.is_empty() { b"." } else { name });
        let (uid, gid) = self.owner(member);
        let directory = self.places.directory(parent)?;
        let answer = rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        self.owned(answer, uid, gid)?;
        let directory = self.places.directory(parent)?;
        if member.kind != Kind::Symlink {
            rustix::fs::chmodat(directory, name, Mode::from_raw_mode(member.mode as _), AtFlags::empty())?;
        }
        for (attribute, value) in member.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            let answer = tree::set_xattr(self.places.directory(parent)?, name, attribute, value);
            self.tolerate(answer)?;
        }
        let directory = self.places.directory(parent)?;
        Ok(rustix::fs::utimensat(directory, name, &modified(member.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn directory_attributes(&mut self, member: &Member, path: &[u8], existed: bool) -> io::Result<()> {
        if existed && self.files.is_none() {
            let (parent, name) = split(path);
            let kept: Vec<_> = member.xattrs.iter().map(|(name, _)| name.as_slice()).collect();
            tree::remove_xattrs_but(self.places.directory(parent)?, OsStr::from_bytes(name), &kept)?;
        }
        self.attributes(member, path)?;
        self.directories.push((path.into(), member.mtime));
        Ok(())
    }

    /// A file system without attributes keeps none, as in Docker; in a user namespace some are not ours to set.
    fn tolerate(&mut self, answer: io::Result<()>) -> io::Result<()> {
        match answer {
            Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => self.done.skipped += 1,
            Err(error) if self.lenient && error.raw_os_error() == Some(libc::EPERM) => self.done.skipped += 1,
            other => return other,
        }
        Ok(())
    }

    /// Removes what is at `path`. A file whose data the record refers to is kept in the record.
    fn give_way(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let directory = self.places.directory(parent)?;
        let Some(found) = Meta::find(directory, name)? else { return Ok(()) };
        if let Some(record) = self.reader.record() {
            keep(directory.as_fd(), name, &found, record)?;
        }
        self.places.remove(parent, name, &found)
    }
}

/// Puts the data of a file, or of all files of a tree, into the record.
fn keep(directory: std::os::fd::BorrowedFd<'_>, name: &OsStr, found: &Meta, record: &mut Record<'_>) -> io::Result<()> {
    match found.kind() {
        FileType::RegularFile if found.size > 0 => {
            let mut file = std::fs::File::from(tree::open_file(directory, name)?);
            record.replaced(&mut file, found.size)
        }
        FileType::Directory => {
            let inner = tree::open_dir(directory, name)?;
            for name in tree::names(inner.as_fd())? {
                let meta = Meta::at(&inner, tree::os(&name))?;
                keep(inner.as_fd(), tree::os(&name), &meta, record)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn named(error: io::Error, path: &[u8]) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData if error.get_ref().is_some() => error,
        kind => match error.raw_os_error() {
            // The archive is to blame for these, not the host.
            Some(libc::ENAMETOOLONG | libc::ELOOP | libc::ENOTDIR | libc::EISDIR | libc::EEXIST) => {
                let message = format!("archive: {}: {error}", String::from_utf8_lossy(path));
                io::Error::new(io::ErrorKind::InvalidData, message)
            }
            _ => io::Error::new(kind, format!("{}: {error}", String::from_utf8_lossy(path))),
        },
    }
}

/// Parent and last part; both empty for the root.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn modified(mtime: (i64, u32)) -> Timestamps {
    let mut times = tree::timestamps((0, 0), mtime);
    times.last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    times
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
