//! File systems for drivers to stand on: made in a file, mounted in a private namespace, gone with it.

use std::path::Path;
use std::process::Command;

use super::bed::scratch;
use crate::mount::in_private_namespace;

/// Which drivers are tried on which file systems, besides the one that the tests find themselves on.
pub(super) const GROUNDS: &[(&str, &[Kind])] =
    &[("overlay", &[EXT4, XFS, BTRFS]), ("btrfs", &[BTRFS]), ("zfs", &[ZFS]), ("vfs", &[XFS, BTRFS])];

/// A file system that can be made.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    make: &'static [&'static str],
}

pub(super) const EXT4: Kind = Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F"] };
pub(super) const XFS: Kind = Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-m", "reflink=1"] };
pub(super) const BTRFS: Kind = Kind { name: "btrfs", make: &["mkfs.btrfs", "-q"] };
/// A pool. Not compressing, so that what is written is what is taken.
pub(super) const ZFS: Kind = Kind {
    name: "zfs",
    make: &["zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=legacy", "-O", "compression=off"],
};

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
    let mut make = Command::new(program);
    make.args(options);
    let mut mount = Command::new("mount");
    mount.args(["-t", kind.name]);
    let _pool = if kind.name == "zfs" {
        let pool = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        run(make.arg(&pool).arg(&image))?;
        mount.arg(&pool);
        Some(Pool(pool))
    } else {
        run(make.arg(&image))?;
        mount.args(["-o", "loop"]).arg(&image);
        None
    };
    in_private_namespace(|| {
        berth_arch::mount::make_rprivate("/").map_err(|error| error.to_string())?;
        run(mount.arg(&place))?;
        Ok(f(&place))
    })
    .map_err(|error| error.to_string())?
}

/// A pool of ZFS, until it is dropped.
struct Pool(String);

impl Drop for Pool {
    fn drop(&mut self) {
        // The mount of a thread that has ended is taken off a little later.
        let gone = (0..100).any(|_| {
            let destroyed = run(Command::new("zpool").args(["destroy", &self.0]));
            if destroyed.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            destroyed.is_ok()
        });
        assert!(gone || std::thread::panicking(), "the pool {} is still in use", self.0);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
