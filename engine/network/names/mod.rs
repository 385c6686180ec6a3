//! The names of one network, as a folder that any number of processes read and write without a lock or a daemon.
//!
//! `names/NAME/OWNER` is a symbolic link whose text is addresses (`10.0.0.2,fd00::2`), `addresses/ADDRESS/OWNER` one
//! whose text is the owner's first name. A link comes, changes and goes in one step, so nobody ever sees half of one,
//! and a lookup reads one small folder, however many containers there are. Names come from users: what is no name of
//! DNS is refused before it gets near a path.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use crate::{Error, Result};

/// Octets of a name and of one label of it (RFC 1035, 2.3.4), without the root's dot.
pub const MAX_NAME: usize = 253;
pub const MAX_LABEL: usize = 63;

/// Replacements of links are made under such a name and moved into place; nobody else looks at them.
const NEW: &str = ".new.";
/// How often a folder is made again that another process removed because it was still empty.
const TRIES: usize = 100;

#[derive(Debug)]
pub struct Names {
    names: PathBuf,
    addresses: PathBuf,
    turn: AtomicU32,
}

impl Names {
    /// Of the network whose folder this is. Makes nothing yet; the names of a folder that is not there are none.
    pub fn new(folder: &Path) -> Self {
        Self { names: folder.join("names"), addresses: folder.join("addresses"), turn: AtomicU32::new(0) }
    }

    /// Makes `owner` found at `addresses` under each of `names`. May be repeated, also with other addresses, which then
    /// take the place of the former ones. Each link is made atomically, all of them together are not.
    ///
    /// InvalidArgument, and nothing is made, if one of the names is none.
    pub fn add(&self, owner: &str, names: &[String], addresses: &[IpAddr]) -> Result<()> {
        check_owner(owner)?;
        let names = names.iter().map(|name| check(name)).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        let (Some(first), false) = (names.first(), addresses.is_empty()) else {
            return Ok(());
        };
        let text = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        // The way back first: whoever finds an address may ask for its name at once.
        for address in &addresses {
            put(&self.addresses.join(address.to_string()), owner, first)?;
        }
        for name in &names {
            let former = put(&self.names.join(name), owner, &text)?;
            for former in former.iter().flat_map(|text| parse(text)).filter(|former| !addresses.contains(former)) {
                take(&self.addresses.join(former.to_string()), owner)?;
            }
        }
        Ok(())
    }

    /// Takes away what [`Names::add`] made. No error if it is not there.
    pub fn remove(&self, owner: &str, names: &[String], addresses: &[IpAddr]) -> Result<()> {
        check_owner(owner)?;
        // What is no name was never made.
        for name in names.iter().filter_map(|name| check(name).ok()) {
            take(&self.names.join(name), owner)?;
        }
        for address in addresses {
            take(&self.addresses.join(address.to_canonical().to_string()), owner)?;
        }
        Ok(())
    }

    /// The addresses of all who have this name, in either case and with or without the root's dot. The owners' order is
    /// stable, but another one begins each time, so that those who take the first address are spread.
    pub fn lookup(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = check(name.strip_suffix('.').unwrap_or(name)) else {
            return Vec::new();
        };
        let folder = self.names.join(name);
        let mut owners = entries(&folder);
        owners.sort_unstable();
        if owners.len() > 1 {
            // Not by one each time: programs ask for A and AAAA in turn, and half of the owners would never be first.
            let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9) >> 16;
            let length = owners.len();
            owners.rotate_left(turn as usize % length);
        }
        owners.iter().filter_map(|owner| text(&folder, owner)).flat_map(|text| parse(&text)).collect()
    }

    /// The first name of whoever has this address.
    pub fn reverse(&self, address: IpAddr) -> Option<String> {
        let folder = self.addresses.join(address.to_canonical().to_string());
        let mut owners = entries(&folder);
        owners.sort_unstable();
        owners.iter().find_map(|owner| text(&folder, owner)).filter(|name| check(name).is_ok())
    }

    /// Everybody who has a name or an address here.
    pub fn owners(&self) -> BTreeSet<String> {
        self.folders().iter().flat_map(|folder| entries(folder)).collect()
    }

    /// Removes everything of owners that are not alive: what was left when a monitor was killed.
    pub fn sweep(&self, is_alive: impl Fn(&str) -> bool) -> Result<()> {
        let dead: BTreeSet<String> = self.owners().into_iter().filter(|owner| !is_alive(owner)).collect();
        if dead.is_empty() {
            return Ok(());
        }
        for folder in self.folders() {
            for owner in entries(&folder).iter().filter(|owner| dead.contains(*owner)) {
                take(&folder, owner)?;
            }
        }
        Ok(())
    }

    fn folders(&self) -> Vec<PathBuf> {
        let inside = |folder: &PathBuf| entries(folder).into_iter().map(|name| folder.join(name)).collect::<Vec<_>>();
        [inside(&self.names), inside(&self.addresses)].concat()
    }
}

/// The name in lower case, if it is one: labels of letters, digits, `-` and `_`, which programs use though RFC 1035
/// knows no `_`.
pub fn check(name: &str) -> Result<String> {
    if name.len() > MAX_NAME || !name.split('.').all(|label| label.len() <= MAX_LABEL && is_label(label)) {
        return Err(Error::InvalidArgument(format!("{name:?} is no name that DNS knows")));
    }
    Ok(name.to_ascii_lowercase())
}

fn check_owner(owner: &str) -> Result<()> {
    if owner.len() <= MAX_NAME && is_label(owner) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!("{owner:?} cannot own names")))
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn parse(text: &str) -> Vec<IpAddr> {
    text.split(',').filter_map(|address| address.parse().ok()).collect()
}

/// The names in a folder, without what is on its way; nothing if it is not there.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn text(folder: &Path, owner: &str) -> Option<String> {
    std::fs::read_link(folder.join(owner)).ok()?.into_os_string().into_string().ok()
}

/// Makes or replaces the owner's link. What it was before, if it was another.
fn put(folder: &Path, owner: &str, to: &str) -> Result<Option<String>> {
    let link = folder.join(owner);
    let refused = |source: io::Error| Error::Io { action: format!("register {}", link.display()), source };
    for _ in 0..TRIES {
        // Somebody may take the folder for left over as soon as it is there, also while it is being made.
        let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists);
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            Err(error) if gone(&error) => continue,
            other => other.map_err(refused)?,
        }
        match rustix::fs::symlink(to, &link) {
            Ok(()) => return Ok(None),
            Err(Errno::NOENT) => continue,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
        let Some(former) = text(folder, owner) else { continue };
        if former == to {
            return Ok(None);
        }
        let new = folder.join(format!("{NEW}{owner}"));
        // Left by one who was killed right here.
        let _ = std::fs::remove_file(&new);
        match rustix::fs::symlink(to, &new).and_then(|()| rustix::fs::rename(&new, &link)) {
            Ok(()) => return Ok(Some(former)),
            Err(Errno::NOENT | Errno::EXIST) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    Err(refused(Errno::NOENT.into()))
}

/// Removes the owner's link, and the folder if it was the last.
fn take(folder: &Path, owner: &str) -> Result<()> {
    let link = folder.join(owner);
    let refused = |source: io::Error| Error::Io { action: format!("remove {}", link.display()), source };
    let _ = std::fs::remove_file(folder.join(format!("{NEW}{owner}")));
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    match rustix::fs::rmdir(folder) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(errno) => Err(refused(errno.into())),
    }
}
