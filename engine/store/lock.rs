//! Locks between processes that the kernel gives back when their holder dies.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// An exclusive flock(2) on a file that exists while somebody wants it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// Whether the file goes when the lock does.
    ephemeral: bool,
}

impl Lock {
    /// Waits for the lock named `name` in `folder`; its file is removed on release.
    pub fn acquire(folder: &Path, name: &str) -> Result<Self> {
        loop {
            if let Some(lock) = Self::attempt(folder, name, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when somebody else holds it.
    pub fn try_acquire(folder: &Path, name: &str) -> Result<Option<Self>> {
        Self::attempt(folder, name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes a lock on a file that stays (a monitor's). `None` when somebody else holds it.
    pub fn try_file(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file, path: path.to_owned(), ephemeral: false })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::Io { action: "lock", path: path.to_owned(), source: error.into() }),
        }
    }

    /// Whether a living process holds the lock of the file at `path`; a file that is not there is not held.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }

    fn attempt(folder: &Path, name: &str, operation: FlockOperation) -> Result<Option<Self>> {
        let path = folder.join(name);
        let file = match open(&path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                crate::create_private(folder).map_err(|source| Error::Io {
                    action: "create",
                    path: folder.to_owned(),
                    source,
                })?;
                open(&path)?
            }
            other => other?,
        };
        match rustix::io::retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(Error::Io { action: "lock", path, source: error.into() }),
        }
        // The holder before us may have removed the file between our open and our lock: then the lock that
        // others see is on another file, and this one is worth nothing.
        let same = match (file.metadata(), std::fs::metadata(&path)) {
            (Ok(ours), Ok(theirs)) => ours.ino() == theirs.ino() && ours.dev() == theirs.dev(),
            _ => false,
        };
        if same { Ok(Some(Self { file, path, ephemeral: true })) } else { Self::attempt(folder, name, operation) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.ephemeral {
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// For its owner alone: flock(2) takes a lock through any descriptor, so who can read the file can hold it.
fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|source| Error::Io { action: "open", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_holds_the_lock_and_its_file_goes_with_it() {
        let folder = std::env::temp_dir().join(format!("berth-lock-{}", std::process::id()));
        let counter = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(&folder, "one").unwrap();
                        assert_eq!(counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        assert!(Lock::is_held(&folder.join("one")));
                        counter.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!folder.join("one").exists());
        std::fs::remove_dir(&folder).unwrap();
    }
}
