//! A few small files of a container's root, read from its layers without mounting them.
//!
//! The root is hostile: no link is followed here. Where a name needs more than directories and plain files (links,
//! overlay's redirections), the answer is [`Answer::Unsure`], and the caller looks at the mounted tree instead.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    Found(T),
    Missing,
    Unsure,
}

/// The directories that make the root, topmost first.
pub(crate) struct RootView(Vec<PathBuf>);

impl RootView {
    /// `None` for mounts that are neither one bind mount nor one overlay.
    pub(crate) fn new(mounts: &[Mount]) -> Option<Self> {
        let [mount] = mounts else { return None };
        let base = mount.base.as_deref().unwrap_or(Path::new("/"));
        match mount.fstype.as_str() {
            "bind" => Some(Self(vec![base.join(&mount.source)])),
            "overlay" => {
                let value = |key| mount.options.iter().find_map(|option| option.strip_prefix(key));
                // Names with escapes would have to be read as overlay reads them.
                let lower = value("lowerdir=").filter(|names| !names.contains('\\'))?;
                let upper = value("upperdir=").into_iter();
                Some(Self(upper.chain(lower.split(':')).map(|name| base.join(name)).collect()))
            }
            _ => None,
        }
    }

    /// At most `limit` bytes of the plain file at `path` (relative).
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Answer<Vec<u8>> {
        self.open(path, OFlags::RDONLY | OFlags::NONBLOCK).and_then(|fd| {
            let mut bytes = Vec::new();
            match std::fs::File::from(fd).take(limit).read_to_end(&mut bytes) {
                Ok(_) => Answer::Found(bytes),
                Err(_) => Answer::Unsure,
            }
        })
    }

    pub(crate) fn is_directory(&self, path: &Path) -> Answer<()> {
        self.search(path, &mut |_, _, kind| match kind {
            FileType::Directory => Answer::Found(()),
            FileType::Symlink => Answer::Unsure,
            _ => Answer::Missing,
        })
    }

    fn open(&self, path: &Path, flags: OFlags) -> Answer<OwnedFd> {
        self.search(path, &mut |parent, name, kind| match kind {
            FileType::RegularFile if redirected(parent, name, c"overlay.metacopy") => Answer::Unsure,
            FileType::RegularFile => {
                match rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(fd) => Answer::Found(fd),
                    Err(_) => Answer::Unsure,
                }
            }
            FileType::Directory => Answer::Missing,
            _ => Answer::Unsure,
        })
    }

    /// Goes down the layers until one has an opinion about `path`.
    fn search<T>(&self, path: &Path, found: &mut dyn FnMut(&OwnedFd, &OsStr, FileType) -> Answer<T>) -> Answer<T> {
        'layers: for layer in &self.0 {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(mut here) = rustix::fs::open(layer, flags, Mode::empty()) else { return Answer::Unsure };
            let mut opaque = false;
            let mut names = path.iter().peekable();
            while let Some(name) = names.next() {
                let stat = match rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) if opaque => return Answer::Missing,
                    Err(Errno::NOENT) => continue 'layers,
                    Err(_) => return Answer::Unsure,
                };
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                    return Answer::Missing;
                }
                if names.peek().is_none() {
                    return found(&here, name, kind);
                }
                if kind != FileType::Directory {
                    return if kind == FileType::Symlink { Answer::Unsure } else { Answer::Missing };
                }
                if redirected(&here, name, c"overlay.redirect") {
                    return Answer::Unsure;
                }
                opaque |= is_opaque(&here, name);
                here = match rustix::fs::openat(&here, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
                    Ok(next) => next,
                    Err(_) => return Answer::Unsure,
                };
            }
            return Answer::Unsure;
        }
        Answer::Missing
    }
}

impl<T> Answer<T> {
    fn and_then<U>(self, f: impl FnOnce(T) -> Answer<U>) -> Answer<U> {
        match self {
            Self::Found(value) => f(value),
            Self::Missing => Answer::Missing,
            Self::Unsure => Answer::Unsure,
        }
    }
}

/// An attribute of overlay's, in either of its two namespaces.
fn attribute(parent: &OwnedFd, name: &OsStr, attribute: &std::ffi::CStr) -> Option<u8> {
    use std::os::fd::AsRawFd;
    let attribute = attribute.to_str().ok()?;
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    ["trusted.", "user."].iter().find_map(|space| {
        let mut value = [0u8; 1024];
        match rustix::fs::lgetxattr(&path, format!("{space}{attribute}"), &mut value[..]) {
            Ok(length) => Some(if length == 0 { 0 } else { value[0] }),
            Err(_) => None,
        }
    })
}

fn redirected(parent: &OwnedFd, name: &OsStr, which: &std::ffi::CStr) -> bool {
    attribute(parent, name, which).is_some()
}

fn is_opaque(parent: &OwnedFd, name: &OsStr) -> bool {
    attribute(parent, name, c"overlay.opaque") == Some(b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(names: &[&str]) -> (tempfile::TempDir, RootView) {
        let folder = tempfile::tempdir().unwrap();
        let layers = names.iter().map(|name| folder.path().join(name)).collect::<Vec<_>>();
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).unwrap();
        }
        (folder, RootView(layers))
    }

    fn read(view: &RootView) -> Answer<Vec<u8>> {
        view.read(Path::new("etc/passwd"), 100)
    }

    #[test]
    fn the_topmost_layer_that_has_the_file_answers() {
        let (folder, view) = view(&["top", "middle", "bottom"]);
        assert_eq!(read(&view), Answer::Missing);
        std::fs::write(folder.path().join("bottom/etc/passwd"), "bottom").unwrap();
        assert_eq!(read(&view), Answer::Found(b"bottom".to_vec()));
        std::fs::write(folder.path().join("middle/etc/passwd"), "middle").unwrap();
        assert_eq!(read(&view), Answer::Found(b"middle".to_vec()));
    }

    #[test]
    fn no_link_is_followed() {
        let (folder, view) = view(&["top"]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("top/etc/passwd")).unwrap();
        assert_eq!(read(&view), Answer::Unsure);
        std::fs::remove_dir_all(folder.path().join("top/etc")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("top/etc")).unwrap();
        assert_eq!(read(&view), Answer::Unsure);
    }

    #[test]
    fn a_whiteout_and_an_opaque_folder_hide_what_is_below() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (folder, view) = view(&["top", "bottom"]);
        std::fs::write(folder.path().join("bottom/etc/passwd"), "bottom").unwrap();
        let top = folder.path().join("top/etc");
        if rustix::fs::lsetxattr(&top, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).is_ok() {
            assert_eq!(read(&view), Answer::Missing);
            rustix::fs::lremovexattr(&top, "trusted.overlay.opaque").unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, top.join("passwd"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        assert_eq!(read(&view), Answer::Missing);
    }

    #[test]
    fn a_file_that_never_ends_is_cut() {
        let (folder, view) = view(&["top"]);
        std::fs::write(folder.path().join("top/etc/passwd"), vec![b'x'; 1000]).unwrap();
        assert_eq!(read(&view), Answer::Found(vec![b'x'; 100]));
    }
}
