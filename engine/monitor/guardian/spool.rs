//! Output that a lagging client has still to get, in files without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// One file's size. Space is given back by the file, so that no file system needs to punch holes.
const SEGMENT: u64 = 16 << 20;

#[derive(Debug)]
struct Segment {
    file: File,
    start: u64,
    length: u64,
}

/// A window of the stream, `[start, end)`, that grows at its end and is given back at its start.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    bound: u64,
}

impl Spool {
    pub(crate) fn new(folder: &Path, bound: u64) -> Self {
        Self { folder: folder.to_owned(), segments: VecDeque::new(), bound }
    }

    pub(crate) fn start(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.start)
    }

    fn end(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.start + segment.length)
    }

    /// Appends bytes whose place in the stream is `at`, which is the end unless the spool is empty. On an error
    /// (a full disk, or the bound) nothing is appended.
    pub(crate) fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if let (Some(start), Some(end)) = (self.start(), self.end()) {
            debug_assert_eq!(end, at);
            if end - start + bytes.len() as u64 > self.bound {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let new = match self.segments.back() {
            Some(last) if last.length < SEGMENT => None,
            _ => Some(Segment { file: unnamed(&self.folder)?, start: at, length: 0 }),
        };
        let segment = match (new, self.segments.back_mut()) {
            (Some(new), _) => {
                new.file.write_all_at(bytes, 0)?;
                self.segments.push_back(new);
                self.segments.back_mut()
            }
            (None, Some(last)) => {
                last.file.write_all_at(bytes, last.length)?;
                Some(last)
            }
            (None, None) => None,
        };
        if let Some(segment) = segment {
            segment.length += bytes.len() as u64;
        }
        Ok(())
    }

    /// Reads what is at `at`, at most to the end of its file; 0 when that is not here.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(segment) = self.segments.iter().find(|s| at >= s.start && at < s.start + s.length) else {
            return Ok(0);
        };
        let left = usize::try_from(segment.start + segment.length - at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        segment.file.read_at(&mut buffer[..wanted], at - segment.start)
    }

    /// Everything before `at` is needed no more.
    pub(crate) fn forget_before(&mut self, at: u64) {
        while self.segments.front().is_some_and(|first| first.start + first.length <= at) {
            self.segments.pop_front();
        }
    }
}

/// O_TMPFILE (3.11, and not on every file system), else a file that is unlinked at once.
fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        return Ok(file.into());
    }
    let path = folder.join(format!(".spool.{}", std::process::id()));
    let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}
