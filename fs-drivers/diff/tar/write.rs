//! Writes entries: ustar headers, with PAX records for what does not fit them.

use std::io::{self, Write};

use super::{BLOCK, Kind, Sparse, number, pax, sparse};

/// One entry to write. Directories' names end in a slash.
pub(in crate::diff) struct Entry<'a> {
    pub(in crate::diff) name: &'a [u8],
    pub(in crate::diff) link: &'a [u8],
    pub(in crate::diff) kind: Kind,
    /// Permissions only.
    pub(in crate::diff) mode: u32,
    pub(in crate::diff) uid: u32,
    pub(in crate::diff) gid: u32,
    pub(in crate::diff) mtime: (i64, u32),
    pub(in crate::diff) device: (u32, u32),
    /// Bytes that [`Writer::data`] will be given.
    pub(in crate::diff) size: u64,
    pub(in crate::diff) sparse: Option<&'a Sparse>,
    pub(in crate::diff) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

pub(in crate::diff) struct Writer<W> {
    out: W,
    /// Written so far.
    pub(in crate::diff) bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(in crate::diff) fn new(out: W) -> Self {
        Self { out, bytes: 0 }
    }

    pub(in crate::diff) fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut records = Vec::new();
        let mut header = [0; BLOCK];
        let (name, map) = match entry.sparse {
            Some(sparse) => {
                pax::push(&mut records, b"GNU.sparse.major", b"1");
                pax::push(&mut records, b"GNU.sparse.minor", b"0");
                pax::push(&mut records, b"GNU.sparse.name", entry.name);
                pax::push(&mut records, b"GNU.sparse.realsize", sparse.size.to_string().as_bytes());
                (in_folder(entry.name, b"GNUSparseFile.0"), sparse::write_map(&sparse.map))
            }
            None => (entry.name.to_vec(), Vec::new()),
        };
        let size = entry.size + map.len() as u64;
        if !put_name(&mut header, &name) {
            if entry.sparse.is_none() {
                pax::push(&mut records, b"path", entry.name);
            }
            header[..100].copy_from_slice(&name[..100]);
        }
        if entry.link.len() > 100 {
            pax::push(&mut records, b"linkpath", entry.link);
        }
        let length = entry.link.len().min(100);
        header[157..157 + length].copy_from_slice(&entry.link[..length]);
        let (seconds, nanoseconds) = entry.mtime;
        let whole = u64::try_from(seconds).ok().filter(|_| nanoseconds == 0);
        if !whole.is_some_and(|whole| number::write(&mut header[136..148], whole)) {
            pax::push(&mut records, b"mtime", pax::format_time(entry.mtime).as_bytes());
            number::write(&mut header[136..148], u64::try_from(seconds).unwrap_or(0).min(0o77_777_777_777));
        }
        let mut numeric = |range: std::ops::Range<usize>, key: &[u8], value: u64| {
            if !number::write(&mut header[range.clone()], value) {
                pax::push(&mut records, key, value.to_string().as_bytes());
                number::write(&mut header[range], 0);
            }
        };
        numeric(108..116, b"uid", entry.uid.into());
        numeric(116..124, b"gid", entry.gid.into());
        numeric(124..136, b"size", size);
        for (attribute, value) in entry.xattrs {
            pax::push(&mut records, &[b"SCHILY.xattr.", attribute.as_slice()].concat(), value);
        }
        number::write(&mut header[100..108], entry.mode.into());
        header[156] = flag(entry.kind);
        if matches!(entry.kind, Kind::Character | Kind::Block) {
            number::write(&mut header[329..337], entry.device.0.into());
            number::write(&mut header[337..345], entry.device.1.into());
        }
        if !records.is_empty() {
            self.extension(entry.name, &records)?;
        }
        self.header(&mut header)?;
        self.data(&map)
    }

    /// A part of the data of the entry.
    pub(in crate::diff) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// After all data of an entry.
    pub(in crate::diff) fn pad(&mut self) -> io::Result<()> {
        let missing = self.bytes.next_multiple_of(BLOCK as u64) - self.bytes;
        self.data(&[0; BLOCK][..missing as usize])
    }

    /// Two empty blocks.
    pub(in crate::diff) fn finish(&mut self) -> io::Result<()> {
        self.data(&[0; BLOCK * 2])?;
        self.out.flush()
    }

    fn extension(&mut self, name: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = [0; BLOCK];
        let name = in_folder(name, b"PaxHeaders.0");
        put_name(&mut header, &name[..name.len().min(100)]);
        number::write(&mut header[100..108], 0o644);
        number::write(&mut header[108..116], 0);
        number::write(&mut header[116..124], 0);
        number::write(&mut header[124..136], records.len() as u64);
        number::write(&mut header[136..148], 0);
        header[156] = b'x';
        self.header(&mut header)?;
        self.data(records)?;
        self.pad()
    }

    fn header(&mut self, header: &mut [u8; BLOCK]) -> io::Result<()> {
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        number::write(&mut header[148..155], sum);
        self.data(&header[..])
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::Regular => b'0',
        Kind::Link => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// `a/b` as `a/FOLDER/b`.
fn in_folder(name: &[u8], folder: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let start = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    [&name[..start], folder, b"/", &name[start..]].concat()
}

/// Whole, or split at a slash into prefix and name; false if neither fits.
fn put_name(header: &mut [u8; BLOCK], name: &[u8]) -> bool {
    if name.len() <= 100 {
        header[..name.len()].copy_from_slice(name);
        return true;
    }
    let first = name.len() - 101;
    let fits = |&slash: &usize| name[slash] == b'/' && slash > 0 && slash + 1 < name.len();
    let Some(slash) = (first..name.len().min(156)).find(fits) else { return false };
    header[345..345 + slash].copy_from_slice(&name[..slash]);
    header[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
    true
}
