//! Which options an overlay is mounted with, and why.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use berth_arch::kernel;
use berth_arch::mount::Mount;
use rustix::fs::AtFlags;
use rustix::mount::FsOpenFlags;

use crate::stacked::WORK;
use crate::{Access, LayerId, Whiteouts};

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
    // All layers are on one file system, whose inode numbers are unique and stay: nothing has to be put into their high
    // bits, which some 32-bit programs cannot take.
    if has("xino_auto") {
        words.push("xino=off");
    }
    // It came with 5.10 and left no parameter. The version is a guard only: vendors that have the option earlier lose
    // speed and nothing else.
    Known { words, volatile: kernel::is_at_least(5, 10) }
}

/// The directories of one mount, relative to the driver's folder.
pub(super) struct Stack {
    /// Nearest first.
    pub(super) lower: Vec<String>,
    /// Upper and working directory.
    pub(super) upper: Option<(String, String)>,
}

/// The words that this kernel is given in any case, for the report.
pub(super) fn report() -> Vec<String> {
    let known = known();
    let words = known.words.iter().copied().chain(known.volatile.then_some("volatile for --rm"));
    words.map(str::to_owned).collect()
}

pub(super) fn mount(base: &Path, form: Whiteouts, stack: &Stack, access: Access) -> Mount {
    let mut options = Vec::new();
    if access == Access::ReadOnly {
        options.push("ro".to_owned());
    }
    options.push(format!("lowerdir={}", stack.lower.join(":")));
    if let Some((upper, work)) = &stack.upper {
        options.push(format!("upperdir={upper}"));
        options.push(format!("workdir={work}"));
    }
    options.extend(known().words.iter().map(|&word| word.to_owned()));
    if form == Whiteouts::OverlayUser {
        options.push("userxattr".to_owned());
    }
    // Without it the end of the mount syncs the whole file system below, and each fsync inside is real: only
    // what is thrown away with the container may lose that.
    if access == Access::Throwaway && known().volatile {
        options.push("volatile".to_owned());
    }
    Mount {
        fstype: "overlay".to_owned(),
        source: "overlay".into(),
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
