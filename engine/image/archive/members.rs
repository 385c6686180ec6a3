//! An archive taken off its stream: its files in one unnamed file, and where each is.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::digest::Hasher;
use crate::spool::{Spool, SpoolReader};
use crate::{Digest, Error, Result};

/// Of an archive; an image of 1,000 layers in the old format has 3,000.
const MAX_MEMBERS: usize = 65_536;
/// Of one JSON document.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Bytes of all JSON documents that an archive makes us read.
const MAX_DOCUMENTS: u64 = 64 << 20;
/// Bytes in front of a member's data: headers, and the longest names.
const MAX_HEADERS: u64 = 1 << 20;
/// Links to links.
const MAX_LINKS: usize = 16;

pub(super) struct Members {
    spool: Spool,
    members: HashMap<String, Member>,
    documents: Cell<u64>,
}

enum Member {
    File(Extent),
    Link(String),
}

/// Where a file lies in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    offset: u64,
    pub(super) length: u64,
}

/// The tar crate takes an extended header into memory whatever its length: the stream gives no more than is left.
struct Allowance<'a, R> {
    stream: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Allowance<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            let message = format!("an extended header is longer than {MAX_HEADERS} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.stream.read(&mut buffer[..wanted])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidArgument(message.into())
}

/// What the reader says of a header quotes the archive: no byte of that reaches a terminal as it is, nor a page of it.
fn reading(source: io::Error) -> Error {
    const SHOWN: usize = 100;
    let source = match source.raw_os_error() {
        Some(_) => source,
        None => {
            let words = source.to_string();
            let quiet: String = words.chars().take(SHOWN).flat_map(char::escape_debug).collect();
            io::Error::new(source.kind(), quiet)
        }
    };
    Error::Stream { action: "read", object: "the archive".to_owned(), source }
}

impl Members {
    /// Reads `archive` (tar) to its end.
    pub(super) fn read(mut archive: impl Read, scratch: &Path) -> Result<Self> {
        let mut spool = Spool::new(scratch)?;
        let mut members = HashMap::new();
        let allowed = Cell::new(MAX_HEADERS);
        let mut tar = tar::Archive::new(Allowance { stream: &mut archive, left: &allowed });
        for (count, entry) in tar.entries().map_err(reading)?.enumerate() {
            let mut entry = entry.map_err(reading)?;
            allowed.set(u64::MAX);
            if count >= MAX_MEMBERS {
                return Err(invalid(format!("the archive has more than {MAX_MEMBERS} members")));
            }
            let raw = entry.path_bytes();
            let name =
                std::str::from_utf8(&raw).map_err(|_| invalid("the archive has a member whose name is not UTF-8"))?;
            let name = clean("", name)?;
            let kind = entry.header().entry_type();
            let member = match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let (offset, length) = (spool.length(), entry.size());
                    let copied = io::copy(&mut entry, &mut spool).map_err(reading)?;
                    if copied != length {
                        return Err(invalid(format!("the archive ends in the middle of {name:?}")));
                    }
                    Member::File(Extent { offset, length })
                }
                tar::EntryType::Link | tar::EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = std::str::from_utf8(&target).map_err(|_| {
                        invalid(format!("the archive's link {name:?} leads to a name that is not UTF-8"))
                    })?;
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let base = if kind == tar::EntryType::Symlink { folder } else { "" };
                    Member::Link(clean(base, target)?)
                }
                tar::EntryType::Directory | tar::EntryType::XGlobalHeader => {
                    allowed.set(MAX_HEADERS);
                    continue;
                }
                _ => return Err(invalid(format!("the archive's member {name:?} is neither file nor link"))),
            };
            members.insert(name, member);
            allowed.set(MAX_HEADERS);
        }
        // What follows the end belongs to the stream; who sends it must not find it closed.
        io::copy(&mut archive, &mut io::sink()).map_err(reading)?;
        Ok(Self { spool, members, documents: Default::default() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The file that `name`, a claim of the archive, means. Links are followed inside the archive.
    pub(super) fn find(&self, name: &str) -> Result<Extent> {
        let mut current = clean("", name)?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&current) {
                Some(Member::File(extent)) => return Ok(*extent),
                Some(Member::Link(target)) => current.clone_from(target),
                None => return Err(invalid(format!("the archive names {name:?}, which it does not have"))),
            }
        }
        Err(invalid(format!("the archive's links around {name:?} have no end")))
    }

    /// `last`: nobody opens it again.
    pub(super) fn open(&self, extent: Extent, last: bool) -> SpoolReader<'_> {
        self.spool.reader(extent.offset, extent.length, last)
    }

    /// A whole small file.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let extent = self.find(name)?;
        let total = self.documents.get() + extent.length;
        if extent.length > MAX_DOCUMENT || total > MAX_DOCUMENTS {
            return Err(invalid(format!("{name:?} of the archive is too long ({} bytes)", extent.length)));
        }
        self.documents.set(total);
        let mut bytes = Vec::with_capacity(extent.length as usize);
        self.open(extent, false).read_to_end(&mut bytes).map_err(reading)?;
        Ok(bytes)
    }

    /// A document that is called by its digest.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.document(&blob_path(digest))?;
        check(&format!("blob {digest}"), digest, &Digest::of(&bytes))?;
        Ok(bytes)
    }
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(super) fn check(object: &str, stated: &Digest, found: &Digest) -> Result<()> {
    if stated == found {
        return Ok(());
    }
    Err(invalid(format!("{object} of the archive is damaged: its digest is {found} and not {stated}")))
}

pub(super) fn decode<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("{object} of the archive makes no sense: {error}")))
}

/// `name` seen from `base`, without `.` and doubled slashes. One that leads out of the archive is refused.
fn clean(base: &str, name: &str) -> Result<String> {
    let outside = || invalid(format!("the archive names {name:?}, which is outside of it"));
    if name.starts_with('/') {
        return Err(outside());
    }
    let mut parts = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Digests what is left of `reader`, and all before.
pub(super) struct Verified<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Verified<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new() }
    }

    pub(super) fn finish(mut self) -> Result<Digest> {
        io::copy(&mut self, &mut io::sink()).map_err(reading)?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_archive() {
        assert_eq!(clean("a/b", "../c/./d").unwrap(), "a/c/d");
        assert_eq!(clean("", "./manifest.json").unwrap(), "manifest.json");
        for (base, name) in [("", "../x"), ("a", "../../x"), ("", "/etc/passwd")] {
            assert!(clean(base, name).is_err(), "{base} {name}");
        }
    }
}
