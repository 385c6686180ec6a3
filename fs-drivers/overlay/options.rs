//! Which options an overlay is mounted with, and why.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use berth_arch::mount::Mount;
use rustix::fs::AtFlags;
use rustix::mount::FsOpenFlags;

use crate::layered::{DIFF, WORK};
use crate::{Access, LayerId};

/// Options that this kernel knows; one that it does not would be refused (EINVAL).
#[derive(Debug, Clone, Default)]
struct Known {
    words: Vec<&'static str>,
    volatile: bool,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(look)
}

/// A module parameter that is there tells that the option of its name is.
fn look() -> Known {
    const PARAMETERS: &str = "/sys/module/overlay/parameters";
    if !Path::new(PARAMETERS).exists() {
        // Asking for the file system loads the module; where the call is missing, mount(2) will.
        drop(rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC));
    }
    let has = |name: &str| Path::new(PARAMETERS).join(name).exists();
    let mut words = Vec::new();
    // A renamed lower directory must come out as a copy, not as a reference to its old place, or a walk of the
    // upper directory alone would miss what moved. `nofollow` (4.15) also disarms references in the layers.
    if has("redirect_always_follow") {
        words.push("redirect_dir=nofollow");
    } else if has("redirect_dir") {
        words.push("redirect_dir=off");
    }
    // A file whose attributes alone changed must hold its data, as archives do.
    if has("metacopy") {
        words.push("metacopy=off");
    }
    // One lower layer is under many containers, and is packed while it is: no exclusive index of its inodes.
    if has("index") {
        words.push("index=off");
    }
    Known { words, volatile: has_volatile() }
}

/// `volatile` came with 5.10 and left no parameter. The version is a guard only: vendors that have the option
/// earlier lose speed and nothing else.
fn has_volatile() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 10)
}

/// The mount that shows `id` over `parents`.
pub(super) fn mount(base: &Path, user_xattr: bool, id: &LayerId, parents: &[LayerId], access: Access) -> Mount {
    let mut lower = String::new();
    if access == Access::ReadOnly {
        let _ = write!(lower, "{id}/{DIFF}");
    }
    for parent in parents {
        let separator = if lower.is_empty() { "" } else { ":" };
        let _ = write!(lower, "{separator}{parent}/{DIFF}");
    }
    // Overlay wants two directories at least, and a layer with nothing below needs no overlay.
    if parents.is_empty() {
        let options = if access == Access::ReadOnly { vec!["ro".to_owned()] } else { Vec::new() };
        return build(base, "bind", format!("{id}/{DIFF}"), options);
    }
    let mut options = Vec::new();
    if access == Access::ReadOnly {
        options.push("ro".to_owned());
    }
    options.push(format!("lowerdir={lower}"));
    if access != Access::ReadOnly {
        options.push(format!("upperdir={id}/{DIFF}"));
        options.push(format!("workdir={id}/{WORK}"));
    }
    options.extend(known().words.iter().map(|&word| word.to_owned()));
    if user_xattr {
        options.push("userxattr".to_owned());
    }
    // Without it the end of the mount syncs the whole file system below, and each fsync inside is real: only
    // what is thrown away with the container may lose that.
    if access == Access::Throwaway && known().volatile {
        options.push("volatile".to_owned());
    }
    build(base, "overlay", "overlay".to_owned(), options)
}

fn build(base: &Path, fstype: &str, source: String, options: Vec<String>) -> Mount {
    Mount {
        fstype: fstype.to_owned(),
        source: source.into(),
        target: "/".into(),
        options,
        base: Some(base.to_path_buf()),
    }
}

/// The kernel leaves `work/incompat/volatile/dirty` in the working directory of a volatile mount and refuses any
/// further mount over it, as a crash may have lost data in between. A layer that is mounted so is worth nothing after
/// a crash and the engine discards it then; when its container is restarted instead, the mark has to go.
pub(super) fn forget_volatile(folder: &OwnedFd, id: &LayerId) {
    let remove = |name: &str, flags| rustix::fs::unlinkat(folder, format!("{id}/{WORK}/work/incompat{name}"), flags);
    if remove("/volatile/dirty", AtFlags::empty()).is_ok() {
        let _ = remove("/volatile", AtFlags::REMOVEDIR);
        let _ = remove("", AtFlags::REMOVEDIR);
    }
}
