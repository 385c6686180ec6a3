//! The tar format as it occurs in images: ustar, GNU and PAX, with their sparse files.
//!
//! Read from hostile streams with bounded memory; written the same for the same tree every time.

mod number;
mod pax;
mod read;
mod sparse;
mod write;

pub(super) use read::Reader;
pub(super) use write::{Entry, Writer};

const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Link,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One entry, its headers put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) device: (u32, u32),
    /// Bytes of data in the archive.
    pub(super) size: u64,
    pub(super) sparse: Option<Sparse>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where the data of a sparse file belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sparse {
    pub(super) size: u64,
    /// Offset and length, ascending.
    pub(super) map: Vec<(u64, u64)>,
}
