//! A layer, or a whole tree, as an archive. The same tree gives the same bytes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_arch::root_dir::{Parent, RootDir};
use rustix::fs::FileType;

use super::Owners;
use super::tar::{Entry, Kind, Sparse, Writer};
use super::{WHITEOUT, changes};
use crate::error::At;
use crate::mount::open_contents;
use crate::tree::{self, Directories, Meta, Walk, Xattrs, next_data};
use crate::{Access, Change, ChangeKind, Driver, Error, LayerId, Result};

/// Holes that come to less than this are written as zeros, which every reader understands; GNU's sparse format
/// 1.0 is what tar(1) and Docker read and some small readers do not.
const HOLES_MIN: u64 = 32 << 10;

/// Called with a change.
type Visit<'a> = &'a mut dyn FnMut(Change<'_>) -> io::Result<()>;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    /// Of the archive.
    pub bytes: u64,
    pub entries: u64,
}

/// Writes what `id` changes against `parents` as an OCI image layer: whiteouts, then what was added or modified.
/// Sockets are left out, as in Docker. A file that changes meanwhile is an error.
pub fn pack(driver: &dyn Driver, id: &LayerId, parents: &[LayerId], out: impl Write) -> Result<Packed> {
    pack_changes(driver, id, parents, Owners::AsTheyAre, out, &mut |visit| changes(driver, id, parents, visit))
}

/// As [`pack`], with only those changes that `each` calls back with.
pub fn pack_changes(
    driver: &dyn Driver,
    id: &LayerId,
    parents: &[LayerId],
    owners: Owners<'_>,
    out: impl Write,
    each: &mut dyn FnMut(Visit<'_>) -> Result<()>,
) -> Result<Packed> {
    let root = open_contents(driver, id, parents, Access::ReadOnly)?;
    let mut packer = Packer::new(&root, owners, out);
    each(&mut |change| match change.kind {
        ChangeKind::Deleted => packer.whiteout(change.path),
        ChangeKind::Added | ChangeKind::Modified => {
            let name = change.path.file_name().unwrap_or_default();
            if name.as_bytes().starts_with(WHITEOUT) {
                let what =
                    "in a layer, a name that begins with .wh. removes a file; rename or remove it before you commit";
                return Err(about(change.path, io::Error::new(io::ErrorKind::InvalidInput, what)));
            }
            packer.path(change.path)
        }
    })?;
    packer.finish().at("write", "the layer's archive")
}

/// Writes the whole tree below `root`, with an entry for the root itself.
pub fn pack_tree(root: &Path, owners: Owners<'_>, out: impl Write) -> Result<Packed> {
    let root_dir = RootDir::open(root).at("open", root)?;
    let mut packer = Packer::new(&root_dir, owners, out);
    let mut pack = || {
        packer.path(Path::new(""))?;
        let mut walk = Walk::new(&root_dir)?;
        while let Some(found) = walk.next()? {
            packer.entry(&found.path, found.directory.as_fd(), &found.name, &found.meta)?;
        }
        packer.finish_in_place()
    };
    pack().map_err(|source| Error::Io { action: "pack", path: root.to_path_buf(), source })
}

/// Writes the file or tree at `path`, which is resolved inside `root` and not followed if it is a link itself, with
/// `name` in its place in front of every entry. An empty `name` leaves the entry for the top out.
pub fn pack_path(root: &RootDir, path: &Path, name: &Path, owners: Owners<'_>, out: impl Write) -> Result<Packed> {
    let mut packer = Packer::new(root, owners, out);
    let mut pack = || {
        let Parent { directory, name: own } = root.parent(path)?;
        let meta = Meta::at(&directory, &own)?;
        if !name.as_os_str().is_empty() {
            packer.entry(name, directory.as_fd(), &own, &meta)?;
        }
        if meta.is_dir() {
            let top = RootDir::from_fd(tree::open_dir(&directory, &own)?);
            let mut walk = Walk::new(&top)?;
            while let Some(found) = walk.next()? {
                packer.entry(&name.join(&found.path), found.directory.as_fd(), &found.name, &found.meta)?;
            }
        }
        packer.finish_in_place()
    };
    pack().map_err(|source| Error::Io { action: "pack", path: path.to_path_buf(), source })
}

struct Packer<'a, W: Write> {
    tree: Directories<&'a RootDir>,
    owners: Owners<'a>,
    writer: Writer<BufWriter<W>>,
    linked: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(root: &'a RootDir, owners: Owners<'a>, out: W) -> Self {
        let writer = Writer::new(BufWriter::with_capacity(128 << 10, out));
        let tree = Directories::new(root);
        Self { tree, owners, writer, linked: HashMap::new(), entries: 0, buffer: Vec::new() }
    }

    fn finish(mut self) -> io::Result<Packed> {
        self.finish_in_place()
    }

    fn finish_in_place(&mut self) -> io::Result<Packed> {
        self.writer.finish()?;
        Ok(Packed { bytes: self.writer.bytes, entries: self.entries })
    }

    fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let marked = path.with_file_name(OsStr::from_bytes(&[WHITEOUT, name].concat()));
        self.write(&Entry {
            name: marked.as_os_str().as_bytes(),
            link: b"",
            kind: Kind::Regular,
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            device: (0, 0),
            size: 0,
            sparse: None,
            xattrs: &[],
        })
    }

    fn path(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.tree.parent(path)?;
        let meta = Meta::at(&directory, name).map_err(|error| about(path, error))?;
        self.entry(path, directory.as_fd(), name, &meta)
    }

    fn entry(
        &mut self,
        path: &Path,
        directory: std::os::fd::BorrowedFd<'_>,
        name: &OsStr,
        meta: &Meta,
    ) -> io::Result<()> {
        if meta.kind() == FileType::Socket {
            return Ok(());
        }
        self.try_entry(path, directory, name, &self.owners.meta(meta)).map_err(|error| about(path, error))
    }

    fn try_entry(
        &mut self,
        path: &Path,
        directory: std::os::fd::BorrowedFd<'_>,
        name: &OsStr,
        meta: &Meta,
    ) -> io::Result<()> {
        let mut written = path.as_os_str().as_bytes().to_vec();
        if !meta.is_dir() && meta.nlink > 1 {
            if let Some(first) = self.linked.get(&(meta.dev, meta.ino)).cloned() {
                return self.write(&entry(&written, &first, Kind::Link, meta, &Vec::new()));
            }
            self.linked.insert((meta.dev, meta.ino), written.clone());
        }
        let xattrs = self.owners.xattrs(tree::list_xattrs(directory, name)?);
        match meta.kind() {
            FileType::RegularFile => self.file(&written, directory, name, meta, &xattrs),
            FileType::Directory => {
                if written.is_empty() {
                    written.push(b'.');
                }
                written.push(b'/');
                self.write(&entry(&written, b"", Kind::Directory, meta, &xattrs))
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(directory, name, Vec::new())?;
                self.write(&entry(&written, link.as_bytes(), Kind::Symlink, meta, &xattrs))
            }
            FileType::CharacterDevice => self.write(&entry(&written, b"", Kind::Character, meta, &xattrs)),
            FileType::BlockDevice => self.write(&entry(&written, b"", Kind::Block, meta, &xattrs)),
            FileType::Fifo => self.write(&entry(&written, b"", Kind::Fifo, meta, &xattrs)),
            _ => Err(io::Error::other("its type is not known")),
        }
    }

    fn file(
        &mut self,
        written: &[u8],
        directory: std::os::fd::BorrowedFd<'_>,
        name: &OsStr,
        meta: &Meta,
        xattrs: &Xattrs,
    ) -> io::Result<()> {
        let file = tree::open_file(directory, name)?;
        let holes = meta.size.saturating_sub(meta.blocks * 512);
        let map = if holes < HOLES_MIN { vec![(0, meta.size)] } else { map(&file, meta.size)? };
        let data: u64 = map.iter().map(|(_, length)| length).sum();
        let sparse = (meta.size - data >= HOLES_MIN).then(|| Sparse { size: meta.size, map: map.clone() });
        let header = Entry {
            size: if sparse.is_some() { data } else { meta.size },
            sparse: sparse.as_ref(),
            ..entry(written, b"", Kind::Regular, meta, xattrs)
        };
        self.entries += 1;
        self.writer.entry(&header)?;
        self.buffer.resize(128 << 10, 0);
        let pieces = if sparse.is_some() { map } else { vec![(0, meta.size)] };
        for (start, length) in pieces {
            let (mut position, end) = (start, start + length);
            while position < end {
                let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(self.buffer.len());
                let read = rustix::io::pread(&file, &mut self.buffer[..wanted], position)?;
                if read == 0 {
                    return Err(io::Error::other("it became shorter while it was read"));
                }
                self.writer.data(&self.buffer[..read])?;
                position += read as u64;
            }
        }
        self.writer.pad()
    }

    fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.entries += 1;
        self.writer.entry(entry)
    }
}

fn entry<'a>(name: &'a [u8], link: &'a [u8], kind: Kind, meta: &Meta, xattrs: &'a Xattrs) -> Entry<'a> {
    Entry {
        name,
        link,
        kind,
        mode: meta.mode & 0o7777,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        device: (rustix::fs::major(meta.rdev as _), rustix::fs::minor(meta.rdev as _)),
        size: 0,
        sparse: None,
        xattrs,
    }
}

/// The stretches of data. A hole at the end is marked by an empty piece there, as GNU tar does.
fn map(file: &OwnedFd, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut map = Vec::new();
    let mut position = 0;
    while let Some((start, end)) = next_data(file, position, size)? {
        map.push((start, end - start));
        position = end;
    }
    if position < size {
        map.push((size, 0));
    }
    Ok(map)
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
