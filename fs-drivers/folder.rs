//! A driver's folder: one subfolder a layer, `.removed-*` for what is being deleted.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::error::At;
use crate::{Access, Error, LayerId, Result, tree};

const REMOVED: &str = ".removed-";

/// `root/NAME`, open for the `*at` calls.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// Opens the folder, made with mode 0700 if it is missing. Says whether it was.
    pub(crate) fn open(root: &Path, name: &str) -> Result<(Self, bool)> {
        let path = root.join(name);
        let open = || rustix::fs::open(&path, tree::DIRECTORY, Mode::empty());
        let (fd, made) = match open() {
            Err(Errno::NOENT) => {
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(&path).at("create", &path)?;
                (open().at("open", &path)?, true)
            }
            other => (other.at("open", &path)?, false),
        };
        Ok((Self { path, fd }, made))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.path.join(id.as_str())
    }

    /// Makes the layer's folder; one that exists is a conflict.
    pub(crate) fn create(&self, id: &LayerId) -> Result<()> {
        match rustix::fs::mkdirat(&self.fd, id.as_str(), Mode::RWXU) {
            Err(Errno::EXIST) => Err(Error::Conflict(id.to_string())),
            other => other.at("create", self.layer_path(id)),
        }
    }

    /// Makes `id/name` with `mode`, whatever the umask is.
    pub(crate) fn create_in(&self, id: &LayerId, name: &str, mode: Mode) -> Result<()> {
        let inner = format!("{id}/{name}");
        rustix::fs::mkdirat(&self.fd, &inner, mode)
            .and_then(|()| rustix::fs::chmodat(&self.fd, &inner, mode, AtFlags::empty()))
            .at("create", self.path.join(inner))
    }

    /// Opens the directory `id/name`.
    pub(crate) fn open_in(&self, id: &LayerId, name: &str) -> Result<OwnedFd> {
        let inner = format!("{id}/{name}");
        match tree::open_dir(&self.fd, OsStr::new(&inner)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound(id.to_string())),
            other => other.at("open", self.path.join(inner)),
        }
    }

    /// `id/name` itself as the root: for a layer that shows nothing of others.
    pub(crate) fn bind(&self, id: &LayerId, name: &str, access: Access) -> Mount {
        let options = if access == Access::ReadOnly { vec!["ro".to_owned()] } else { Vec::new() };
        Mount {
            fstype: "bind".to_owned(),
            source: format!("{id}/{name}").into(),
            target: "/".into(),
            options,
            base: Some(self.path.clone()),
        }
    }

    /// What a trial of this kernel found: from the file `.NAME`, where it was written by the same kernel, else by
    /// `trial`.
    pub(crate) fn learn(&self, name: &str, trial: impl FnOnce() -> Result<String>) -> Result<String> {
        let uname = rustix::system::uname();
        let kernel = format!("{} {}", uname.release().to_string_lossy(), uname.version().to_string_lossy());
        let path = self.path.join(format!(".{name}"));
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Some((known, found)) = text.strip_suffix('\n').and_then(|text| text.split_once('\n'))
            && known == kernel
        {
            return Ok(found.to_owned());
        }
        let found = trial()?;
        // Whoever reads it half-written tries for itself.
        std::fs::write(&path, format!("{kernel}\n{found}\n")).at("write", &path)?;
        Ok(found)
    }

    /// Renames the layer's folder away, then deletes it. One that is not there is removed.
    pub(crate) fn remove(&self, id: &LayerId) -> Result<()> {
        self.remove_after(id, &|_| Ok(()))
    }

    /// As [`Folder::remove`], with `release` called with the new name before the folder is deleted: for what a layer has
    /// elsewhere. On its error the folder stays for the next sweep.
    pub(crate) fn remove_after(&self, id: &LayerId, release: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let aside = format!("{REMOVED}{id}");
        let delete = || release(&aside).and_then(|()| self.delete(OsStr::new(&aside)));
        let renamed = match rustix::fs::renameat(&self.fd, id.as_str(), &self.fd, &aside) {
            // What an earlier removal of the same name left.
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                delete()?;
                rustix::fs::renameat(&self.fd, id.as_str(), &self.fd, &aside)
            }
            other => other,
        };
        match renamed {
            Ok(()) => delete(),
            // An earlier removal may have come to that only.
            Err(Errno::NOENT) if rustix::fs::statat(&self.fd, &aside, AtFlags::SYMLINK_NOFOLLOW).is_ok() => delete(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).at("remove", self.layer_path(id)),
        }
    }

    fn delete(&self, name: &OsStr) -> Result<()> {
        use std::os::fd::AsFd;
        tree::remove_tree(self.fd.as_fd(), name).at("delete", self.path.join(name))
    }

    pub(crate) fn list(&self) -> Result<Vec<LayerId>> {
        Ok(self.names()?.iter().filter_map(|name| name.to_str().ok()?.parse().ok()).collect())
    }

    pub(crate) fn sweep(&self) -> Result<()> {
        self.sweep_after(&|_, _| Ok(true))
    }

    /// As [`Folder::sweep`], with `release` called with a folder's name and that of its layer; false if it has to stay.
    pub(crate) fn sweep_after(&self, release: &dyn Fn(&str, &str) -> Result<bool>) -> Result<()> {
        for name in self.names()? {
            if let Some(aside) = name.to_str().ok()
                && let Some(layer) = aside.strip_prefix(REMOVED)
                && release(aside, layer)?
            {
                self.delete(tree::os(&name))?;
            }
        }
        Ok(())
    }

    /// Layers whose removal was interrupted.
    pub(crate) fn removed(&self) -> Result<Vec<LayerId>> {
        let id = |name: &std::ffi::CString| name.to_str().ok()?.strip_prefix(REMOVED)?.parse().ok();
        Ok(self.names()?.iter().filter_map(id).collect())
    }

    fn names(&self) -> Result<Vec<std::ffi::CString>> {
        use std::os::fd::AsFd;
        tree::names(self.fd.as_fd()).at("list", &self.path)
    }
}
