//! Tries overlay for real: two lower layers, a whiteout, an opaque directory, in a scratch folder of the state.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_arch::{Probe, pretend};
use rustix::fs::{Dir, FileType, Mode};

use super::options;
use crate::error::At;
use crate::layered::{DIFF, WORK};
use crate::mount::with_mounted;
use crate::scratch::Scratch;
use crate::{Access, LayerId, Result, tree};

/// OVERLAYFS_SUPER_MAGIC (linux/magic.h).
const OVERLAY_MAGIC: u64 = 0x794c_7630;

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without("overlay") {
        return Probe::pretended("overlay");
    }
    let scratch = match Scratch::new(root) {
        Ok(scratch) => scratch,
        Err(error) => return Probe::unavailable(format!("{error:#}"), "give a state folder that can be written"),
    };
    match look(scratch.path()) {
        Ok(answer) => answer,
        Err(error) => Probe::unavailable(error.to_string(), hint(&error)),
    }
}

fn hint(error: &crate::Error) -> &'static str {
    use io::ErrorKind::{InvalidInput, PermissionDenied};
    match error.io_kind() {
        _ if matches!(error, crate::Error::Io { source, .. } if source.raw_os_error() == Some(libc::ENODEV)) => {
            "load the kernel module overlay, or use a kernel with CONFIG_OVERLAY_FS"
        }
        Some(PermissionDenied) => {
            "run as root, or use a kernel of 5.11 or newer, which lets user namespaces mount overlay"
        }
        Some(InvalidInput) => "use a kernel of 4.0 or newer, and a state folder on ext4, xfs (ftype=1) or btrfs",
        None => "",
        Some(_) => "put the state folder on ext4, xfs (ftype=1) or btrfs",
    }
}

fn look(scratch: &Path) -> Result<Probe<Vec<String>>> {
    let fd = rustix::fs::open(scratch, tree::DIRECTORY, Mode::empty()).at("open", scratch)?;
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::fstatfs(&fd).at("look at", scratch)?.f_type as u64 & 0xffff_ffff;
    if magic == OVERLAY_MAGIC {
        return Ok(Probe::unavailable(
            format!("{} is itself on an overlay file system", scratch.parent().unwrap_or(scratch).display()),
            "put the state folder on a volume or disk (--root), not in a container's own layers",
        ));
    }
    if !tells_types(scratch).at("list", scratch)? {
        return Ok(Probe::unavailable(
            "the file system does not tell the types of directory entries (d_type)",
            "make the file system anew with them: mkfs.xfs -n ftype=1, or ext4",
        ));
    }
    let user_xattr = !tree::sets_trusted(&fd).at("set attributes of", scratch)?;
    try_mount(scratch, user_xattr)?;
    let mut found = vec!["native diff".to_owned(), "d_type".to_owned()];
    if user_xattr {
        found.push("userxattr".to_owned());
    }
    Ok(Probe::available(found))
}

fn tells_types(scratch: &Path) -> io::Result<bool> {
    let directory = scratch.join("types");
    fs::create_dir_all(directory.join("inner"))?;
    let fd = rustix::fs::open(&directory, tree::DIRECTORY, Mode::empty())?;
    let mut stream = Dir::new(fd)?;
    while let Some(entry) = stream.read() {
        if entry?.file_type() == FileType::Unknown {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds `a` over `b` over `c`, removes a file and a directory of the lower ones through the mount and looks at
/// what that left in the upper one.
fn try_mount(scratch: &Path, user_xattr: bool) -> Result<()> {
    let layers: Vec<LayerId> = ["a", "b", "c"].map(|name| name.parse().expect("a layer name")).into();
    for layer in ["a", "b", "c"] {
        for part in [DIFF, WORK] {
            let directory = scratch.join(layer).join(part);
            fs::create_dir_all(&directory).at("create", &directory)?;
        }
    }
    let diff = |layer: &str| scratch.join(layer).join(DIFF);
    let fill = || -> io::Result<()> {
        fs::write(diff("b").join("file"), "b")?;
        fs::create_dir(diff("c").join("directory"))?;
        fs::write(diff("c").join("directory/inner"), "c")
    };
    fill().at("fill", scratch)?;
    let mount = options::mount(scratch, user_xattr, &layers[0], &layers[1..], Access::ReadWrite);
    with_mounted(&[mount], |root| -> io::Result<()> {
        fs::remove_file(root.join("file"))?;
        fs::remove_dir_all(root.join("directory"))?;
        fs::create_dir(root.join("directory"))
    })?
    .at("work on an overlay in", scratch)?;
    let whiteout = fs::symlink_metadata(diff("a").join("file")).at("look for a whiteout in", diff("a"))?;
    if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
        return Err(io::Error::other("a removed file left no whiteout")).at("work on an overlay in", scratch);
    }
    let upper = rustix::fs::open(diff("a"), tree::DIRECTORY, Mode::empty()).at("open", diff("a"))?;
    let attribute = if user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
    let opaque = tree::get_xattr(upper.as_fd(), OsStr::new("directory"), attribute).at("look at", diff("a"))?;
    if opaque.as_deref() != Some(b"y") {
        return Err(io::Error::other("a replaced directory was not made opaque")).at("work on an overlay in", scratch);
    }
    Ok(())
}
