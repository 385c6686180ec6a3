//! Small files: replaced whole, appended by line, locked. The store has the like, but the store is SQLite, and the
//! monitor shares nothing with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Readers see the old or the new contents, never a part, while there is room for both. Not synced: a power cut ends the container as well.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::io("encode", path)(error.into()))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".monitor.tmp");
    let temporary = PathBuf::from(temporary);
    let written = std::fs::write(&temporary, &bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.or_else(|error| {
        let _ = std::fs::remove_file(&temporary);
        let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
        if full && overwrite(path, bytes).is_ok() { Ok(()) } else { Err(Error::io("write", path)(error)) }
    })
}

/// For a file system without room: how a container ended is not to be lost for want of a block. In one write, into
/// blocks that the file has; the space after a JSON text means nothing, and is not cut off in a second step.
fn overwrite(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let found = file.metadata()?;
    if bytes.len() as u64 > found.blocks() * 512 {
        return Err(Errno::NOSPC.into());
    }
    let length = usize::try_from(found.len()).unwrap_or_default().max(bytes.len());
    bytes.resize(length, b' ');
    file.write_all_at(&bytes, 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_place_is_the_whole_text() {
        let folder = std::env::temp_dir().join(format!("berth-files-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("state.json");
        write_json(&path, &vec!["long"; 100]).unwrap();
        overwrite(&path, br#"["short"]"#.to_vec()).unwrap();
        assert_eq!(read_json::<Vec<String>>(&path).unwrap(), ["short"]);
        // What has no block yet is refused before anything is lost.
        assert!(overwrite(&path, vec![b' '; 1 << 20]).is_err());
        assert_eq!(read_json::<Vec<String>>(&path).unwrap(), ["short"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
