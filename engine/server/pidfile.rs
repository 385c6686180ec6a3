//! `--pidfile`: who the daemon is, for init systems that keep no track of processes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_core::{Error, Result};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// Holds this process's number and a lock as long as it lives, so that a number that was left by a daemon that was
/// killed is nobody's, whoever has it by now. Removed in the end.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    pub(crate) fn write(path: &Path) -> Result<Self> {
        let io = |action| move |source| Error::Io { action, path: path.to_owned(), source };
        loop {
            // Not through a link that somebody has put there; what else is there is looked at before it is written to.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags);
            let mut file = options.open(path).map_err(io("open the pid file"))?;
            let found = file.metadata().map_err(io("look at the pid file"))?;
            if !found.is_file() {
                return Err(Error::InvalidArgument(format!("--pidfile {}: it is not a plain file", path.display())));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let message = format!("{}: process {} runs already", path.display(), holder.trim());
                    return Err(Error::Conflict(message));
                }
                Err(error) => return Err(io("lock the pid file")(error.into())),
            }
            // Its last holder may have removed it before we had the lock.
            if std::fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
                let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                written.map_err(io("write the pid file"))?;
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = self.file.metadata().map(|own| (own.dev(), own.ino())).ok();
        let there = std::fs::symlink_metadata(&self.path).map(|there| (there.dev(), there.ino())).ok();
        if own.is_some() && own == there {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_left_over_is_replaced_and_a_daemon_that_runs_is_named() {
        let path = std::env::temp_dir().join(format!("berth-pidfile-{}", std::process::id()));
        std::fs::write(&path, "1\nand more").unwrap();
        let first = PidFile::write(&path).unwrap();
        let own = format!("{}\n", std::process::id());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own);
        let refused = PidFile::write(&path).unwrap_err().to_string();
        assert!(refused.contains(own.trim()), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own);
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_a_plain_file_stays_as_it_is() {
        let folder = std::env::temp_dir().join(format!("berth-pidfile-odd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("target"), "precious").unwrap();
        let link = folder.join("link");
        std::os::unix::fs::symlink("target", &link).unwrap();
        assert!(PidFile::write(&link).is_err());
        assert!(PidFile::write(&folder).is_err());
        assert_eq!(std::fs::read_to_string(folder.join("target")).unwrap(), "precious");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
