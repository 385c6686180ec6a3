//! A mount namespace for this process.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Parts the calling process, which has one thread, from the mounts of the others: theirs still arrive, its own are seen by
/// nobody but its children. Once is enough: further calls do nothing.
pub fn part_with_mounts() -> Result<(), Errno> {
    static PARTED: OnceLock<()> = OnceLock::new();
    if PARTED.get().is_some() {
        return Ok(());
    }
    // SAFETY: the flag does not touch the descriptor table, and no other thread shares what is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    super::make_rslave("/")?;
    let _ = PARTED.set(());
    Ok(())
}
