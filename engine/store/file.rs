//! Small files that are replaced whole.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Makes a folder, and what is missing above it, that nobody but its owner enters.
pub fn create_private(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces `path` by `contents`, for its owner alone: readers see the old or the new, never a part. Without `durable` a power cut may
/// lose the change, but not the file.
pub fn write_atomic(path: &Path, contents: &[u8], durable: bool) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = std::path::PathBuf::from(temporary);
    let written = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(contents)?;
            if durable { file.sync_data() } else { Ok(()) }
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(source) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::Io { action: "write", path: path.to_owned(), source });
    }
    if durable && let Some(parent) = path.parent() {
        std::fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(io("sync", parent))?;
    }
    Ok(())
}

pub fn write_json<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Io {
        action: "encode",
        path: path.to_owned(),
        source: error.into(),
    })?;
    write_atomic(path, &bytes, durable)
}

/// `None` when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { action: "read", path: path.to_owned(), source }),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Io {
        action: "decode",
        path: path.to_owned(),
        source: error.into(),
    })
}
