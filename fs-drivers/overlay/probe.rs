//! Tries overlay for real: two lower layers, a whiteout, an opaque directory, in a scratch folder of the state.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_arch::{Probe, kernel, pretend};
use rustix::fs::{Dir, FileType, Mode};

use super::{Overlay, options};
use crate::error::At;
use crate::folder::Folder;
use crate::ground::{self, Scratch};
use crate::mount::with_mounted;
use crate::stacked::Layered;
use crate::{Access, Driver, LayerId, LayerOptions, Result, Whiteouts, tree};

/// FS_CASEFOLD_FL (linux/fs.h).
const CASEFOLD: u32 = 0x4000_0000;

const OTHER_PLACE: &str = "put the state folder on ext4, xfs (ftype=1), btrfs or tmpfs";

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without("overlay") {
        return Probe::pretended("overlay");
    }
    let scratch = match Scratch::new(root) {
        Ok(scratch) => scratch,
        Err(error) => return Probe::unavailable(format!("{error:#}"), "give a state folder that can be written"),
    };
    match look(root, &scratch) {
        Ok(answer) => answer,
        Err(error) => Probe::unavailable(format!("{error} (on {})", ground::file_system(root)), hint(&error)),
    }
}

fn hint(error: &crate::Error) -> &'static str {
    match error {
        crate::Error::Io { source, .. } => match source.raw_os_error() {
            Some(libc::ENODEV) => "load the kernel module overlay, or use Linux 3.18 or newer with CONFIG_OVERLAY_FS",
            Some(libc::EPERM | libc::EACCES) => {
                "run as root, or use a kernel of 5.11 or newer, which lets user namespaces mount overlay"
            }
            Some(libc::ENOSPC | libc::EDQUOT) => "make room on the file system",
            _ => OTHER_PLACE,
        },
        _ => "",
    }
}

fn look(root: &Path, scratch: &Scratch) -> Result<Probe<Vec<String>>> {
    let path = scratch.path();
    let fd = rustix::fs::open(path, tree::DIRECTORY, Mode::empty()).at("open", path)?;
    if ground::is_overlay(&fd).at("look at", path)? {
        return Ok(Probe::unavailable(
            format!("{} is itself on an overlay file system", root.display()),
            "put the state folder on a volume or disk (--root), not in a container's own layers",
        ));
    }
    if rustix::fs::ioctl_getflags(&fd).is_ok_and(|flags| flags.bits() & CASEFOLD != 0) {
        return Ok(Probe::unavailable(
            format!("{} does not tell upper from lower case, which overlay refuses", root.display()),
            "use a folder without that: chattr -F while it is empty",
        ));
    }
    if !tells_types(path).at("list", path)? {
        return Ok(Probe::unavailable(
            format!("{} does not tell the types of directory entries (d_type)", ground::file_system(root)),
            "make the file system anew with them: mkfs.xfs -n ftype=1, or ext4",
        ));
    }
    let form = match tree::sets_trusted(&fd) {
        Ok(true) => Whiteouts::Overlay,
        Ok(false) => Whiteouts::OverlayUser,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            return Ok(Probe::unavailable(
                format!("{} keeps no trusted.* attributes, by which overlay marks folders", ground::file_system(root)),
                OTHER_PLACE,
            ));
        }
        Err(error) => return Err(error).at("set attributes of", path),
    };
    let several = !pretend::without("overlay-multi-lower") && try_stack(scratch, form, true).is_ok();
    if !several {
        try_stack(scratch, form, false)?;
    }
    let mut found = vec!["native diff".to_owned(), "d_type".to_owned()];
    if form == Whiteouts::OverlayUser {
        found.push("userxattr".to_owned());
    }
    found.push(match several {
        true if kernel::overlay::takes_layers_singly() => "500 layers (lowerdir+)".to_owned(),
        true => "as many layers as a page of options names, the rest flattened".to_owned(),
        false => "one lower layer: chains are flattened".to_owned(),
    });
    found.extend(options::report());
    Ok(Probe::available(found))
}

/// Whether two lower layers can be stacked below `root`; an error if overlay does not work at all.
pub(super) fn stacks_several(root: &Path, form: Whiteouts) -> Result<bool> {
    let scratch = Scratch::new(root)?;
    match try_stack(&scratch, form, true) {
        Ok(()) => Ok(true),
        Err(_) => try_stack(&scratch, form, false).map(|()| false),
    }
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

/// With the driver itself: stacks three layers, removes a file and a directory of the lower ones through the mount and
/// looks at what that left in the upper one.
fn try_stack(scratch: &Scratch, form: Whiteouts, several: bool) -> Result<()> {
    let (folder, _) = Folder::open(scratch.path(), if several { "several" } else { "one" })?;
    let driver = Overlay { layered: Layered { folder, form }, several };
    let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<LayerId>().expect("a layer name"));
    let (below, chain) = (vec![c.clone()], vec![b.clone(), c.clone()]);
    for (layer, parents) in [(&c, &[][..]), (&b, &below), (&a, &chain)] {
        driver.prepare(layer, parents, &LayerOptions::default())?;
    }
    let path = driver.layered.folder.path();
    let fill = || -> io::Result<()> {
        fs::write(driver.layered.diff(&b).join("file"), "b")?;
        fs::create_dir(driver.layered.diff(&c).join("directory"))?;
        fs::write(driver.layered.diff(&c).join("directory/inner"), "c")
    };
    fill().at("fill", path)?;
    with_mounted(&driver.mounts(&a, &chain, Access::ReadWrite)?, |root| -> io::Result<()> {
        fs::remove_file(root.join("file"))?;
        fs::remove_dir_all(root.join("directory"))?;
        fs::create_dir(root.join("directory"))
    })?
    .at("work on an overlay in", path)?;
    let upper = driver.layered.diff(&a);
    let whiteout = fs::symlink_metadata(upper.join("file")).at("look for a whiteout in", &upper)?;
    if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
        return Err(io::Error::other("a removed file left no whiteout")).at("work on an overlay in", path);
    }
    let fd = rustix::fs::open(&upper, tree::DIRECTORY, Mode::empty()).at("open", &upper)?;
    if !form.is_opaque(fd.as_fd(), OsStr::new("directory")).at("look at", &upper)? {
        return Err(io::Error::other("a replaced directory was not made opaque")).at("work on an overlay in", path);
    }
    Ok(())
}
