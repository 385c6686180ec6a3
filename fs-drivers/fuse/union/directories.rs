//! Listings, told to the kernel.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::PoisonError;
use std::time::Duration;

use fuser::{FileAttr, FileHandle, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use rustix::io::Errno;

use super::Union;
use super::attributes::file_attr;
use super::listing::Listing;
use super::replies::{FOREVER, GENERATION, absent};

impl Union {
    pub(super) fn tell_names(
        &self,
        id: u64,
        handle: FileHandle,
        offset: u64,
        reply: &mut ReplyDirectory,
    ) -> io::Result<()> {
        self.with_listing(id, handle, offset, |listing| {
            let nodes = self.nodes();
            for (next, name, entry) in listing.from(offset) {
                let number = self.number_of_entry(&nodes, id, name, &entry)?;
                if reply.add(INodeNo(number), next, entry.kind, OsStr::from_bytes(name)) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Names with what they are: as many lookups as there are names in the answer.
    pub(super) fn tell_entries(
        &self,
        id: u64,
        handle: FileHandle,
        offset: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> io::Result<()> {
        self.with_listing(id, handle, offset, |listing| {
            for (next, name, entry) in listing.from(offset) {
                if matches!(name, b"." | b"..") {
                    let attr = FileAttr { ino: INodeNo(entry.id), kind: entry.kind, ..absent() };
                    // Not counted by the kernel, and not used.
                    if reply.add(INodeNo(entry.id), next, OsStr::from_bytes(name), &Duration::ZERO, &attr, GENERATION) {
                        break;
                    }
                    continue;
                }
                let found = {
                    let nodes = self.nodes();
                    match entry.layer() {
                        Some(layer) => self.find_in(&nodes, layer, id, name)?,
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
        })
    }

    /// From the first entry on, a directory is looked at again.
    fn with_listing(
        &self,
        id: u64,
        handle: FileHandle,
        offset: u64,
        f: impl FnOnce(&Listing) -> io::Result<()>,
    ) -> io::Result<()> {
        let listing = self.handles().listing(handle.0).ok_or(Errno::BADF)?;
        let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 || !listing.filled {
            *listing = self.list(id)?;
        }
        f(&listing)
    }
}
