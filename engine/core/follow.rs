//! Reading files of lines that other processes append to and rotate.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;

const BLOCK: usize = 32 * 1024;
/// A line that is longer is damage, and is skipped.
const MAX_LINE: usize = 4 << 20;
/// Where inotify is not to be had.
const POLL: Duration = Duration::from_millis(200);

/// Wakes when something changes in a folder.
pub(crate) struct Changes(Option<OwnedFd>);

impl Changes {
    /// Without inotify (no such kernel option, the user's limit is reached) it wakes now and then.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let wanted = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE_SELF;
        let watched = inotify::init(flags).and_then(|fd| {
            inotify::add_watch(&fd, folder, wanted)?;
            Ok(fd)
        });
        Self(watched.ok())
    }

    /// Returns at a change, or after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.wait_or(None, if self.tells() { timeout } else { timeout.min(POLL) });
    }

    /// Whether it wakes by itself.
    pub(crate) fn tells(&self) -> bool {
        self.0.is_some()
    }

    /// Returns at a change, when `other` is readable, or after `timeout`.
    pub(crate) fn wait_or(&self, other: Option<BorrowedFd<'_>>, timeout: Duration) {
        let own = self.0.as_ref().map(AsFd::as_fd);
        let mut polled: Vec<PollFd<'_>> =
            [own, other].into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ };
        if matches!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1..))
            && let Some(fd) = own
        {
            // It does not block.
            let mut buffer = [0u8; 4096];
            while matches!(rustix::io::read(fd, &mut buffer), Ok(1..)) {}
        }
    }
}

/// Complete lines of a file that may grow.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    /// Inside of a line that is too long.
    skipping: bool,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, skipping: false }
    }

    /// The next complete line without its newline; `None` when there is none yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(offset) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.start..searched + offset;
                self.start = line.end + 1;
                searched = self.start;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return Ok(Some(&self.buffer[line]));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.len() > MAX_LINE {
                self.buffer.clear();
                self.skipping = true;
            }
            searched = self.buffer.len();
            self.buffer.resize(searched + BLOCK, 0);
            let read = self.reader.read(&mut self.buffer[searched..]);
            self.buffer.truncate(searched + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(None);
            }
        }
    }
}

/// An open file and what tells it from its successor.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) identity: (u64, u64),
    pub(crate) compressed: bool,
}

impl Opened {
    /// `None` if there is no such file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        Ok(Some(Self { file, identity: (found.dev(), found.ino()), compressed }))
    }
}

/// `path`, `path.1`, ... as they are now, the newest first. A file that is rotated meanwhile is in the list once.
pub(crate) fn generations(path: &Path) -> io::Result<Vec<Opened>> {
    let mut found: Vec<Opened> = Vec::new();
    for number in 0u32.. {
        let name = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}{suffix}"));
            }
            PathBuf::from(name)
        };
        let opened = match Opened::open(&name(""))? {
            None if number > 0 => Opened::open(&name(".gz"))?,
            opened => opened,
        };
        match opened {
            Some(opened) if found.iter().any(|other| other.identity == opened.identity) => {}
            Some(opened) => found.push(opened),
            None if number > 0 => break,
            None => {}
        }
    }
    Ok(found)
}

/// Reads a file of lines on and on, across rotation and truncation.
pub(crate) struct Follower {
    path: PathBuf,
    current: Option<((u64, u64), Lines<File>)>,
}

impl Follower {
    /// Goes on from where `opened` is.
    pub(crate) fn new(path: &Path, opened: Option<Opened>) -> Self {
        Self { path: path.to_owned(), current: opened.map(|opened| (opened.identity, Lines::new(opened.file))) }
    }

    /// Calls `f` with every line there is by now. Returns whether there was any.
    pub(crate) fn read(&mut self, f: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        let mut any = self.drain(f)?;
        let identity = self.current.as_ref().map(|(identity, _)| *identity);
        let newest = Opened::open(&self.path)?;
        if newest.as_ref().is_some_and(|newest| Some(newest.identity) == identity) {
            self.restart_if_truncated()?;
            return Ok(self.drain(f)? || any);
        }
        // What was written to the old one before the new one was there.
        any |= self.drain(f)?;
        let mut newer: Vec<Opened> = match identity {
            None => newest.into_iter().collect(),
            Some(identity) => {
                let all = generations(&self.path)?;
                if all.iter().any(|opened| opened.identity == identity) {
                    all.into_iter().take_while(|opened| opened.identity != identity).collect()
                } else {
                    all.into_iter().take(1).collect()
                }
            }
        };
        while let Some(opened) = newer.pop() {
            self.current = Some((opened.identity, Lines::new(opened.file)));
            any |= self.drain(f)?;
        }
        Ok(any)
    }

    fn drain(&mut self, f: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        let mut any = false;
        if let Some((_, lines)) = &mut self.current {
            while let Some(line) = lines.next()? {
                any = true;
                f(line)?;
            }
        }
        Ok(any)
    }

    fn restart_if_truncated(&mut self) -> io::Result<()> {
        if let Some((_, lines)) = &mut self.current
            && lines.reader.metadata()?.len() < lines.reader.stream_position()?
        {
            lines.reader.seek(SeekFrom::Start(0))?;
            lines.buffer.clear();
            lines.start = 0;
        }
        Ok(())
    }
}

/// Moves `file` to where its last `count` lines begin. Returns how many of them it does not have.
pub(crate) fn seek_to_last(file: &mut File, count: u64) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let (mut position, mut missing) = (end, count);
    let mut block = vec![0; BLOCK];
    if count == 0 {
        file.seek(SeekFrom::Start(end))?;
        return Ok(0);
    }
    while position > 0 {
        let length = position.min(BLOCK as u64);
        position -= length;
        let data = &mut block[..usize::try_from(length).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(data)?;
        for (offset, _) in data.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + offset as u64 + 1;
            // The newline at the end closes a line; it does not begin one.
            if after == end {
                continue;
            }
            missing -= 1;
            if missing == 0 {
                file.seek(SeekFrom::Start(after))?;
                return Ok(0);
            }
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(if end == 0 { count } else { missing - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("berth-follow-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn append(path: &Path, text: &str) {
        File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(follower: &mut Follower) -> String {
        let mut seen = String::new();
        follower
            .read(&mut |line| {
                seen.push_str(std::str::from_utf8(line).unwrap());
                seen.push(' ');
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn following_goes_on_across_rotation_and_truncation() {
        let folder = scratch("rotation");
        let path = folder.join("log");
        append(&path, "1\n2\nhalf");
        let mut follower = Follower::new(&path, None);
        assert_eq!(read(&mut follower), "1 2 ");
        append(&path, "-3\n4\n");
        let name = |number| folder.join(format!("log.{number}"));
        std::fs::rename(&path, name(1)).unwrap();
        append(&path, "5\n");
        std::fs::rename(name(1), name(2)).unwrap();
        std::fs::rename(&path, name(1)).unwrap();
        append(&path, "6\n");
        assert_eq!(read(&mut follower), "half-3 4 5 6 ");
        assert_eq!(read(&mut follower), "");
        File::create(&path).unwrap();
        assert_eq!(read(&mut follower), "");
        append(&path, "7\n");
        assert_eq!(read(&mut follower), "7 ");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let folder = scratch("tail");
        let path = folder.join("log");
        let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        append(&path, &text);
        for (count, missing, first) in [(1, 0, "19999"), (15_000, 0, "5000"), (20_000, 0, "0"), (20_003, 3, "0")] {
            let mut file = File::open(&path).unwrap();
            assert_eq!(seek_to_last(&mut file, count).unwrap(), missing);
            assert_eq!(Lines::new(file).next().unwrap().unwrap(), first.as_bytes(), "{count}");
        }
        let mut file = File::open(&path).unwrap();
        assert_eq!(seek_to_last(&mut file, 0).unwrap(), 0);
        assert!(Lines::new(file).next().unwrap().is_none());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_line_without_end_is_skipped_and_not_kept() {
        let mut data = vec![b'x'; MAX_LINE + BLOCK * 3];
        data.extend(b"\nnext\n");
        let mut lines = Lines::new(data.as_slice());
        assert_eq!(lines.next().unwrap(), Some(&b"next"[..]));
    }

    #[test]
    fn a_change_wakes_who_waits_for_it() {
        let folder = scratch("wake");
        let changes = Changes::in_folder(&folder);
        append(&folder.join("log"), "1\n");
        let before = std::time::Instant::now();
        changes.wait(Duration::from_secs(20));
        assert!(before.elapsed() < Duration::from_secs(10));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
