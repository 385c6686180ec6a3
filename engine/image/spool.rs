//! A file without a name: what a stream brings before it can be used. It goes when its last user does, however
//! that ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;

use crate::{Error, Result};

const PREFIX: &str = "spool-";
/// Bytes that are given back at a time.
const GIVE_BACK: u64 = 4 << 20;

pub(crate) struct Spool {
    file: File,
    length: u64,
}

impl Spool {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = scratch.join(format!("{PREFIX}{}-{count}", std::process::id()));
        let open = || File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let opened = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                berth_store::create_private(scratch).and_then(|()| open())
            }
            other => other,
        };
        let file = opened.map_err(|source| Error::Io { action: "create", path: path.clone(), source })?;
        match std::fs::remove_file(&path) {
            // A sweep of somebody else's may have been faster.
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { action: "remove", path, source });
            }
            _ => {}
        }
        Ok(Self { file, length: 0 })
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// `last`: nobody will read this part again, so it is given back to the file system as it is read, best before
    /// it was ever written to the disk.
    pub(crate) fn reader(&self, offset: u64, length: u64, last: bool) -> SpoolReader<'_> {
        SpoolReader { file: &self.file, offset, left: length, kept: last.then_some(offset) }
    }
}

impl Write for Spool {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buffer)?;
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of the file, from its own position on.
pub(crate) struct SpoolReader<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
    /// Where what was read and not given back begins.
    kept: Option<u64>,
}

impl SpoolReader<'_> {
    fn give_back(&mut self) {
        let Some(start) = self.kept.filter(|start| self.offset - start >= GIVE_BACK || self.left == 0) else { return };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A file system that cannot do it keeps the data until the end.
        let done = rustix::fs::fallocate(self.file, flags, start, self.offset - start);
        self.kept = done.is_ok().then_some(self.offset);
    }
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        if count > 0 {
            self.give_back();
        }
        Ok(count)
    }
}

/// Removes names that were left between a file's creation and the removal of its name. Files in use do not mind.
pub(crate) fn sweep(scratch: &Path) {
    let Ok(entries) = std::fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_for_the_last_time_takes_no_room_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(&folder.path().join("tmp")).unwrap();
        spool.write_all(&vec![7; 12 << 20]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        let read = |offset, last| {
            let mut bytes = Vec::new();
            spool.reader(offset, 6 << 20, last).read_to_end(&mut bytes).unwrap();
            bytes == vec![7; 6 << 20]
        };
        assert!(read(0, false) && read(0, true) && read(6 << 20, false) && read(6 << 20, true));
    }
}
