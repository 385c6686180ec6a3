//! The empty file system that every lowest layer is a snapshot of. Made by whoever needs it first, one of each kind and size.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::record::Record;
use super::{Lvm, release};
use crate::error::At;
use crate::mount::with_mounted;
use crate::{Access, Result, tree};

/// No layer's name begins like this.
const PREFIX: &str = ".template-";

pub(super) fn is(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The name of its folder. It is whole when it is sealed.
pub(super) fn find(lvm: &Lvm) -> Result<String> {
    let settings = &lvm.settings;
    let name = format!("{PREFIX}{}-{}", settings.filesystem.name(), settings.size);
    let is_whole = || lvm.record(&name).is_ok_and(|record| record.sealed.is_some());
    if is_whole() {
        return Ok(name);
    }
    let path = lvm.path().join(".template-lock");
    let lock = fs::File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    lock.lock().at("lock", path)?;
    if !is_whole() {
        make(lvm, &name)?;
    }
    Ok(name)
}

fn make(lvm: &Lvm, name: &str) -> Result<()> {
    let settings = &lvm.settings;
    // What an interrupted call left.
    remove(lvm, name)?;
    settings.filesystem.find_maker()?;
    rustix::fs::mkdirat(lvm.folder.fd(), name, Mode::RWXU).at("create", lvm.path().join(name))?;
    let fill = || -> Result<()> {
        let empty =
            Record { device: 0, bytes: settings.size, filesystem: settings.filesystem, parent: None, sealed: None };
        lvm.make_device(name, empty)?;
        settings.filesystem.make(lvm.activate(name)?.path())?;
        with_mounted(&lvm.mount(name, Access::ReadWrite), |root| -> io::Result<()> {
            // ext4's, for its checker. A layer has nothing that its archive has not.
            match fs::remove_dir(root.join("lost+found")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::set_permissions(root, fs::Permissions::from_mode(0o755))
        })?
        .at("empty a new file system in", lvm.path().join(name))?;
        lvm.seal(name)
    };
    fill().inspect_err(|_| {
        let _ = remove(lvm, name);
    })
}

/// All of them: nothing depends on them, as snapshots do not.
pub(super) fn remove_all(lvm: &Lvm) -> Result<()> {
    use std::os::fd::AsFd;
    for name in tree::names(lvm.folder.fd().as_fd()).at("list", lvm.path())? {
        if let Some(name) = name.to_str().ok().filter(|name| is(name) && lvm.path().join(name).is_dir()) {
            remove(lvm, name)?;
        }
    }
    Ok(())
}

fn remove(lvm: &Lvm, name: &str) -> Result<()> {
    use std::os::fd::AsFd;
    release::device(lvm, name, name)?;
    match tree::remove_tree(lvm.folder.fd().as_fd(), name.as_ref()) {
        Err(error) if error.raw_os_error() != Some(Errno::NOENT.raw_os_error()) => {
            Err(error).at("delete", lvm.path().join(name))
        }
        _ => Ok(()),
    }
}
