//! Reading and writing the kernel's cgroup files.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::{Error, Result};

/// Writes `value` in one system call, as the kernel's parsers ask.
pub(super) fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(dir.join(file))?.write_all(value.as_bytes())
}

/// As [`write`], but says whether the file is there at all: a kernel without the feature has no such file.
pub(super) fn set(dir: &Path, file: &str, value: &str) -> Result<bool> {
    match write(dir, file, value) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(refused(dir, file, value, error)),
    }
}

pub(super) fn refused(dir: &Path, file: &str, value: &str, source: io::Error) -> Error {
    Error::Setup { step: format!("write {:?} to {}", value, dir.join(file).display()), source }
}

pub(super) fn read(dir: &Path, file: &str) -> io::Result<String> {
    berth_arch::kernel_file::read_to_string(dir.join(file))
}

/// A file that holds one number; `max` and absence are `None`.
pub(super) fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file).ok()?.trim().parse().ok()
}

/// A "flat keyed" file of cgroup-v2.rst, which v1's `*.stat` files are too: `key value` lines.
pub(super) fn flat_keyed(dir: &Path, file: &str) -> BTreeMap<String, u64> {
    parse_flat_keyed(&read(dir, file).unwrap_or_default())
}

pub(super) fn parse_flat_keyed(text: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

pub(super) fn exists(dir: &Path, file: &str) -> bool {
    rustix::fs::access(dir.join(file), rustix::fs::Access::EXISTS).is_ok()
}
