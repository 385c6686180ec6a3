//! Small files: replaced whole, appended by line, locked. The store has the like, but the store is SQLite, and the
//! monitor shares nothing with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Readers see the old or the new contents, never a part. Not synced: a power cut ends the container as well.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::io("encode", path)(error.into()))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".monitor.tmp");
    let temporary = PathBuf::from(temporary);
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::io("write", path)(error)
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::io("decode", path)(error.into()))
}

/// One write, so that lines of several processes do not mix.
pub(crate) fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    File::options().append(true).create(true).mode(0o600).open(path)?.write_all(line)
}

/// An exclusive flock(2) on a file that goes with it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// `None` when somebody else holds it. Whoever only looks (see [`is_locked`]) holds it for a moment, so it is
    /// tried several times.
    pub(crate) fn take(path: PathBuf) -> io::Result<Option<Self>> {
        for _ in 0..100 {
            let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            // The holder before us may have removed the file between our open and our lock.
            match (file.metadata(), std::fs::metadata(&path)) {
                (Ok(ours), Ok(theirs)) if (ours.ino(), ours.dev()) == (theirs.ino(), theirs.dev()) => {
                    return Ok(Some(Self { _file: file, path }));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a living process holds the lock at `path`; a file that is not there is not held.
pub(crate) fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}
