//! Random bytes, whatever the kernel has for them.

use std::fs::File;
use std::io::{self, Read};

/// getrandom(2), Linux 3.17; else /dev/urandom.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(length) if length == bytes.len() => Ok(()),
        _ => File::open("/dev/urandom")?.read_exact(bytes),
    }
}
