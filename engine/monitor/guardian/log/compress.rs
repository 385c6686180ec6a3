//! Packs a rotated file a bit at a time, between other work: the monitor has one thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

/// Bytes at a time: about a millisecond on a slow machine.
const BIT: usize = 32 * 1024;

pub(super) struct Compression {
    from: File,
    to: Option<GzEncoder<File>>,
    from_path: PathBuf,
    to_path: PathBuf,
}

impl Compression {
    /// `path` becomes `path.gz`; until that is whole, `path` stays.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let mut to_path = path.clone().into_os_string();
        to_path.push(".gz");
        let to_path = PathBuf::from(to_path);
        let from = File::open(&path)?;
        let to = File::options().write(true).create(true).truncate(true).mode(0o640).open(&to_path)?;
        Ok(Self { from, to: Some(GzEncoder::new(to, Level::default())), from_path: path, to_path })
    }

    /// False when it is done.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let Some(to) = &mut self.to else { return Ok(false) };
        let mut bit = vec![0; BIT];
        let length = self.from.read(&mut bit)?;
        if length > 0 {
            to.write_all(&bit[..length])?;
            return Ok(true);
        }
        if let Some(to) = self.to.take() {
            to.finish()?;
        }
        std::fs::remove_file(&self.from_path)?;
        Ok(false)
    }
}

impl Drop for Compression {
    fn drop(&mut self) {
        // Given up half-way (a full disk): the plain file is kept instead.
        if self.to.take().is_some() {
            let _ = std::fs::remove_file(&self.to_path);
        }
    }
}
