//! File systems for drivers to stand on: made in a loop file, mounted in a private namespace, gone with it.

use std::path::Path;
use std::process::Command;

use super::bed::scratch;
use crate::mount::in_private_namespace;

/// Which drivers are tried on which file systems, besides the one that the tests find themselves on.
pub(super) const GROUNDS: &[(&str, &[Kind])] =
    &[("overlay", &[EXT4, XFS, BTRFS]), ("btrfs", &[BTRFS]), ("vfs", &[XFS, BTRFS])];

/// A file system that can be made.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    make: &'static [&'static str],
}

pub(super) const EXT4: Kind = Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F"] };
pub(super) const XFS: Kind = Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-m", "reflink=1"] };
pub(super) const BTRFS: Kind = Kind { name: "btrfs", make: &["mkfs.btrfs", "-q"] };

/// Of a sparse file: what is not written takes nothing.
const SIZE: u64 = 4 << 30;

/// Calls `f` with an empty file system of this kind, in a thread that alone sees it. Says why where that cannot be.
pub(super) fn on<T: Send>(kind: &Kind, f: impl FnOnce(&Path) -> T + Send) -> Result<T, String> {
    let folder = scratch();
    let (image, place) = (folder.path().join("image"), folder.path().join("ground"));
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(SIZE).unwrap();
    std::fs::create_dir(&place).unwrap();
    let (program, options) = kind.make.split_first().unwrap();
    run(Command::new(program).args(options).arg(&image))?;
    in_private_namespace(|| {
        berth_arch::mount::make_rprivate("/").map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-t", kind.name, "-o", "loop"]).args([&image, &place]))?;
        Ok(f(&place))
    })
    .map_err(|error| error.to_string())?
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
