//! Settings under /proc/sys/net, of the network namespace that the calling thread is in.

use std::io;
use std::path::PathBuf;

use crate::{Error, Result};

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(name)
}

/// `None` where the kernel has no such setting.
pub fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Writes a setting that differs; one that is not there, or that may not be written although it is right, is left.
pub fn set(name: &str, value: &str) -> Result<()> {
    if read(name).as_deref() == Some(value) {
        return Ok(());
    }
    match std::fs::write(path(name), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io(format!("set net/{name} to {value}"))),
    }
}
