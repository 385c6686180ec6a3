//! What is needed beside a layer's files to write its archive again byte for byte: headers, order and padding,
//! compressed, in one file a layer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use berth_fs_drivers::LayerId;
use berth_store::Paths;

use crate::{Error, Result};

/// Headers are repetitive; more effort gains little.
const LEVEL: i32 = 1;

fn path(paths: &Paths, id: &LayerId) -> PathBuf {
    paths.content().join(format!("layer-{id}.zst"))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

pub(super) struct RecordWriter {
    encoder: zstd::Encoder<'static, File>,
    path: PathBuf,
}

impl RecordWriter {
    /// Replaces what may be there: the layer's number is new, so that is left over.
    pub(super) fn create(paths: &Paths, id: &LayerId) -> Result<Self> {
        let path = path(paths, id);
        let file = match File::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                berth_store::create_private(&paths.content()).and_then(|()| File::create(&path))
            }
            other => other,
        };
        let encoder = file.and_then(|file| zstd::Encoder::new(file, LEVEL)).map_err(at("create", &path))?;
        Ok(Self { encoder, path })
    }

    /// Brings it to the disk.
    pub(super) fn finish(self) -> Result<()> {
        let Self { encoder, path } = self;
        encoder.finish().and_then(|file| file.sync_data()).map_err(at("write", &path))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("sync", folder))
    }
}

impl Write for RecordWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.encoder.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

pub(super) fn open(paths: &Paths, id: &LayerId) -> io::Result<impl Read + use<>> {
    File::open(path(paths, id)).and_then(zstd::Decoder::new)
}

pub(super) fn remove(paths: &Paths, id: &LayerId) -> Result<()> {
    let path = path(paths, id);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", &path)(error)),
        _ => Ok(()),
    }
}
