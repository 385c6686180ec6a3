//! What is kept of a thin device, in the layer's folder: lines of `key value`, replaced whole and brought to the disk.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::filesystem::FileSystem;
use crate::error::At;
use crate::{Error, Result, tree};

const NAME: &str = "device";
const NEW: &str = "device.new";

/// What a layer's device takes, with all that it has in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    /// Of 512 bytes, in the pool.
    pub(super) sectors: u64,
    pub(super) inodes: u64,
}

/// One thin device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its number in the pool, of 24 bits.
    pub(super) device: u32,
    /// How long it is.
    pub(super) bytes: u64,
    pub(super) filesystem: FileSystem,
    /// The folder of what it is a snapshot of.
    pub(super) parent: Option<String>,
    /// Set when the layer is sealed: its file system is whole and closed, and is mounted for reading only.
    pub(super) sealed: Option<Totals>,
}

impl Record {
    /// Of the folder `name` of `driver`. NotFound if there is none, as in a folder that is half made.
    pub(super) fn read(driver: &Path, name: &str) -> Result<Self> {
        let path = driver.join(name).join(NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text)
                .ok_or_else(|| Error::InvalidArgument(format!("record of a layer in {}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound(name.to_owned())),
            Err(error) => Err(error).at("read", path),
        }
    }

    /// Returns when it is on the disk with the folder that it is in.
    pub(super) fn write(&self, driver: &Path, name: &str) -> Result<()> {
        let path = driver.join(name);
        let write = || -> io::Result<()> {
            let above = rustix::fs::open(driver, tree::DIRECTORY, Mode::empty())?;
            let folder = tree::open_dir(above.as_fd(), OsStr::new(name))?;
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = std::fs::File::from(rustix::fs::openat(&folder, NEW, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            rustix::fs::renameat(&folder, NEW, &folder, NAME)?;
            rustix::fs::fsync(&folder)?;
            Ok(rustix::fs::fsync(&above)?)
        };
        write().at("write the record of", path)
    }

    /// Takes the record away: the device that it names could not be made.
    pub(super) fn withdraw(driver: &Path, name: &str) -> Result<()> {
        let path = driver.join(name).join(NAME);
        std::fs::remove_file(&path).at("remove", path)
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!("device {}", self.device),
            format!("bytes {}", self.bytes),
            format!("filesystem {}", self.filesystem.name()),
        ];
        lines.extend(self.parent.iter().map(|parent| format!("parent {parent}")));
        if let Some(totals) = self.sealed {
            lines.push(format!("sectors {}\ninodes {}", totals.sectors, totals.inodes));
        }
        lines.join("\n") + "\n"
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let number = |key: &str| value(key)?.parse().ok();
        Some(Self {
            device: value("device")?.parse().ok()?,
            bytes: number("bytes")?,
            filesystem: FileSystem::parse(value("filesystem")?)?,
            parent: value("parent").map(str::to_owned),
            sealed: number("sectors").zip(number("inodes")).map(|(sectors, inodes)| Totals { sectors, inodes }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_half_a_record_is_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert!(matches!(Record::read(folder.path(), "a"), Err(Error::NotFound(_))));
        let mut record =
            Record { device: 0x80_0001, bytes: 10 << 30, filesystem: FileSystem::Ext4, parent: None, sealed: None };
        for sealed in [None, Some(Totals { sectors: 5, inodes: 7 })] {
            (record.sealed, record.parent) = (sealed, sealed.map(|_| "b".to_owned()));
            record.write(folder.path(), "a").unwrap();
            assert_eq!(Record::read(folder.path(), "a").unwrap(), record);
        }
        std::fs::write(folder.path().join("a/device"), "device 5\n").unwrap();
        assert!(Record::read(folder.path(), "a").is_err());
    }
}
