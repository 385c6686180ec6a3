//! Tries AUFS for real in a scratch folder of the state, with fewer options each time, and looks at what it did.

use std::fs;
use std::io;
use std::path::Path;

use berth_arch::kernel::filesystem::presence;
use berth_arch::{Probe, pretend};
use rustix::fs::Mode;

use super::options::{Found, Xino};
use super::{Aufs, NAME};
use crate::error::At;
use crate::folder::Folder;
use crate::ground::{self, Scratch};
use crate::mount::with_mounted;

use crate::{Access, Driver, Error, LayerId, LayerOptions, Result, tree};

/// The smallest limit that AUFS can be built with.
const BRANCHES_MIN: usize = 127;

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without("aufs") {
        return Probe::pretended("aufs");
    }
    if presence(NAME, NAME).is_none() {
        return Probe::unavailable(
            "aufs is neither in /proc/filesystems nor among the modules",
            "install the module (aufs-dkms, or a kernel that is built with it)",
        );
    }
    match look(root) {
        Ok(found) => Probe::available(vec!["native diff".to_owned(), found.to_string()]),
        Err(error) => Probe::unavailable(format!("{error} (on {})", ground::file_system(root)), hint(&error)),
    }
}

fn hint(error: &Error) -> &'static str {
    match error {
        Error::Io { source, .. } => match source.raw_os_error() {
            Some(libc::ENODEV) => "load the kernel module aufs",
            Some(libc::EPERM | libc::EACCES) => {
                "run as root; in a user namespace AUFS has to be allowed: modprobe aufs allow_userns=1"
            }
            Some(libc::EROFS) => "give a state folder that can be written",
            _ => "put the state folder on ext4 or xfs: AUFS takes no branch on AUFS, ecryptfs or overlay",
        },
        _ => "",
    }
}

/// What works here: everything, or less of what older versions and some file systems lack.
pub(super) fn look(root: &Path) -> Result<Found> {
    let scratch = Scratch::new(root)?;
    let fd = rustix::fs::open(scratch.path(), tree::DIRECTORY, Mode::empty()).at("open", scratch.path())?;
    if ground::is_overlay(&fd).at("look at", scratch.path())? {
        return Err(Error::Unavailable(format!("{} is on an overlay file system", root.display())));
    }
    let branches = limit();
    let mut refused = None;
    let mut round = 0;
    for xino in [Xino::Layer, Xino::Memory, Xino::None] {
        for (dirperm1, dio) in [(true, true), (false, true), (true, false), (false, false)] {
            let found = Found { branches, dirperm1, dio, xino };
            round += 1;
            match try_stack(&scratch, &format!("t{round}"), found) {
                Ok(()) => return Ok(found),
                Err(error) => refused = Some(refused.unwrap_or(error)),
            }
        }
    }
    Err(refused.unwrap_or_else(|| Error::Unavailable("aufs was not tried".to_owned())))
}

/// How many branches this AUFS was built for: it lists its configuration (sysfs-aufs).
fn limit() -> usize {
    limit_in(&fs::read_to_string("/sys/fs/aufs/config").unwrap_or_default())
}

fn limit_in(config: &str) -> usize {
    let found = config.lines().find_map(|line| {
        let number = line.trim().strip_prefix("CONFIG_AUFS_BRANCH_MAX_")?.strip_suffix("=y")?;
        number.parse().ok()
    });
    found.unwrap_or(BRANCHES_MIN)
}

fn try_stack(scratch: &Scratch, name: &str, found: Found) -> Result<()> {
    let (folder, _) = Folder::open(scratch.path(), name)?;
    let driver = Aufs { folder, found };
    let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<LayerId>().expect("a layer name"));
    let (below, chain) = (vec![c.clone()], vec![b.clone(), c.clone()]);
    for (layer, parents) in [(&c, &[][..]), (&b, &below), (&a, &chain)] {
        driver.prepare(layer, parents, &LayerOptions::default())?;
    }
    let path = driver.folder.path();
    let fill = || -> io::Result<()> {
        fs::write(driver.diff(&b).join("file"), "b")?;
        fs::create_dir(driver.diff(&c).join("directory"))?;
        fs::write(driver.diff(&c).join("directory/inner"), "c")?;
        fs::write(driver.diff(&c).join("hidden"), "c")?;
        fs::write(driver.diff(&b).join(".wh.hidden"), "")
    };
    fill().at("fill", path)?;
    let mounts = driver.mounts(&a, &chain, Access::ReadWrite)?;
    let hidden = with_mounted(&mounts, |root| -> io::Result<bool> {
        fs::remove_file(root.join("file"))?;
        fs::remove_dir_all(root.join("directory"))?;
        fs::create_dir(root.join("directory"))?;
        Ok(!root.join("hidden").exists())
    })?
    .at("work on AUFS in", path)?;
    let upper = driver.diff(&a);
    let marks = [upper.join(".wh.file"), upper.join("directory/.wh..wh..opq")];
    if !hidden || !marks.iter().all(|mark| mark.exists()) {
        return Err(io::Error::other("what was removed left no whiteout")).at("work on AUFS in", path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_branches_is_read_from_the_configuration() {
        assert_eq!(limit_in("CONFIG_AUFS_FS=m\nCONFIG_AUFS_BRANCH_MAX_511=y\nCONFIG_AUFS_XATTR=y\n"), 511);
        assert_eq!(limit_in(""), 127);
    }
}
