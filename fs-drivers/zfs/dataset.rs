//! The datasets of a state: `PARENT/berth-XXXXXXXXXXXX/ID`.
//!
//! PARENT is the dataset that the driver's folder stands on, found anew each time, as pools are renamed. The name below it
//! is random and written down in the folder, with the folder's inode number: two states on one dataset do not meet, a
//! folder that is renamed keeps its layers, and a copy of it does not take those of the original.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use super::program::zfs;
pub(super) use super::system::is_zfs;
use super::system::{self, dataset_of};
use crate::error::At;
use crate::folder::Folder;
use crate::tree::Meta;
use crate::{Error, LayerId, Result};

/// In the driver's folder: `NAME INODE\n`.
const FILE: &str = ".dataset";

/// Of the dataset that all layers are in, which hand them down. Those of names can only be given at the start, and
/// a parent may have others. Attributes beside the inode are faster by far; archives have lists of access. What is
/// read is not written.
const PROPERTIES: &[&str] = &[
    "mountpoint=legacy",
    "readonly=off",
    "atime=off",
    "xattr=sa",
    "acltype=posixacl",
    "snapdir=hidden",
    "casesensitivity=sensitive",
    "normalization=none",
    "utf8only=off",
];

#[derive(Debug, Clone)]
pub(super) struct Datasets {
    /// PARENT.
    pub(super) parent: String,
    /// `PARENT/berth-XXXXXXXXXXXX`. Made with the first layer.
    pub(super) base: String,
}

impl Datasets {
    /// Those of a driver's folder, which gets a name for its own if it has none. Calls no program.
    pub(super) fn of(folder: &Folder) -> Result<Self> {
        let parent = mounted_at(folder.fd(), folder.path())?;
        let inode = Meta::of(folder.fd()).at("look at", folder.path())?.ino;
        let path = folder.path().join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Looked at again, as somebody else may have been faster.
                if !folder.list()?.is_empty() && !path.exists() {
                    return Err(Error::Unavailable(format!(
                        "{} is missing, and there are layers: find the dataset by zfs get -r -t filesystem berth:folder {parent}, and \
                         write its name without {parent}/, a space and {inode} into it",
                        path.display(),
                    )));
                }
                name_anew(&path, inode)?
            }
            other => other.at("read", &path)?,
        };
        let broken =
            || Error::Unavailable(format!("{}: {text:?} is not the name of a dataset and a number", path.display()));
        let (name, written) = text.trim_end().split_once(' ').ok_or_else(broken)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(fits) || !text.ends_with('\n') {
            return Err(broken());
        }
        if written.parse() != Ok(inode) {
            return Err(Error::Unavailable(format!(
                "{} is a copy: the layers in {parent}/{name} belong to another folder; remove the copy to begin without layers, \
                 or, if that other folder is gone, write {inode} in place of {written} into {}",
                folder.path().display(),
                path.display(),
            )));
        }
        Ok(Self { base: format!("{parent}/{name}"), parent })
    }

    pub(super) fn layer(&self, id: &LayerId) -> String {
        format!("{}/{id}", self.base)
    }

    pub(super) fn snapshot(&self, id: &LayerId, name: &str) -> String {
        format!("{}/{id}@{name}", self.base)
    }

    pub(super) fn pool(&self) -> &str {
        self.parent.split('/').next().unwrap_or_default()
    }

    /// Makes the dataset that layers are in. `folder` is for whoever finds it and wonders whose it is.
    pub(super) fn create_base(&self, folder: &Path) -> io::Result<()> {
        let owner = format!("berth:folder={}", folder.display());
        // Programs that make snapshots of everything by the clock leave out what says so.
        let others = [owner.as_str(), "com.sun:auto-snapshot=false"];
        let mut arguments = vec!["create"];
        for property in PROPERTIES.iter().copied().chain(others) {
            arguments.extend(["-o", property]);
        }
        arguments.push(&self.base);
        match zfs(&arguments, None) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    /// What has to be delegated for all that the driver does.
    pub(super) fn rights() -> String {
        let properties = PROPERTIES.iter().filter_map(|property| property.split('=').next());
        ["create", "clone", "destroy", "mount", "rename", "snapshot", "quota", "userprop"]
            .into_iter()
            .chain(properties)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// The dataset whose file system the open folder is on.
pub(super) fn mounted_at(folder: &OwnedFd, path: &Path) -> Result<String> {
    if !is_zfs(folder).at("look at", path)? {
        return Err(Error::Unavailable(format!("{} is not on ZFS", path.display())));
    }
    dataset_of(folder).at("look at", path)?.ok_or_else(|| {
        Error::Unavailable(format!(
            "{} is on ZFS, and no mount that is seen here says on which dataset",
            path.display()
        ))
    })
}

/// Whether `name` in `root` is ZFS's own directory, in which the making and removing of directories is that of snapshots. It is in
/// no listing.
pub(crate) fn is_control(root: impl AsFd, name: &[u8]) -> bool {
    name == b".zfs"
        && is_zfs(&root).unwrap_or_default()
        && Meta::at(root, OsStr::new(".zfs")).is_ok_and(|meta| meta.ino == system::CONTROL_INODE)
}

/// Writes a new name down, whole or not at all, and gives what is written there then.
fn name_anew(path: &Path, inode: u64) -> Result<String> {
    let name = random().at("get random bytes for", path)?;
    let fresh = path.with_file_name(format!("{FILE}-{name}"));
    let write = || -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        file.write_all(format!("berth-{name} {inode}\n").as_bytes())?;
        file.sync_all()?;
        match rustix::fs::link(&fresh, path) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&fresh);
    written.at("write", path)?;
    std::fs::read_to_string(path).at("read", path)
}

/// A name that nobody has: twelve digits.
pub(super) fn random() -> io::Result<String> {
    let mut random = [0_u8; 6];
    system::random(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
