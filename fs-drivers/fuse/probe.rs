//! Tries a union for real: a file that is changed, one that is removed and a directory that is replaced, in a scratch folder of
//! the state.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_arch::{Probe, pretend};

use super::{Fuse, NAME};
use crate::error::At;
use crate::ground::Scratch;
use crate::mount::with_mounted;
use crate::stacked::Layered;
use crate::{Access, Driver, LayerId, LayerOptions, Result};

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without(NAME) {
        return Probe::pretended(NAME);
    }
    if let Probe::Unavailable { reason, hint } = berth_arch::kernel::fuse::probe() {
        return Probe::Unavailable { reason, hint };
    }
    let scratch = match Scratch::new(root) {
        Ok(scratch) => scratch,
        Err(error) => return Probe::unavailable(format!("{error:#}"), "give a state folder that can be written"),
    };
    match attempt(scratch.path()) {
        Ok(found) => Probe::available(found),
        Err(error) => Probe::unavailable(
            error.to_string(),
            "run as root, or use a kernel of 4.18 or newer, which lets user namespaces mount fuse",
        ),
    }
}

fn attempt(scratch: &Path) -> Result<Vec<String>> {
    let driver = Fuse { layered: Layered::open(scratch, NAME)? };
    let [upper, lower] = ["a", "b"].map(|name| name.parse::<LayerId>().expect("a layer name"));
    driver.prepare(&lower, &[], &LayerOptions::default())?;
    let below = driver.layered.diff(&lower);
    let fill = || -> io::Result<()> {
        fs::write(below.join("kept"), "b")?;
        fs::write(below.join("gone"), "b")?;
        fs::create_dir(below.join("directory"))?;
        fs::write(below.join("directory/inner"), "b")
    };
    fill().at("fill", &below)?;
    let parents = [lower];
    driver.prepare(&upper, &parents, &LayerOptions::default())?;
    with_mounted(&driver.mounts(&upper, &parents, Access::ReadWrite)?, |root| -> io::Result<()> {
        use std::io::Write;
        fs::OpenOptions::new().append(true).open(root.join("kept"))?.write_all(b"a")?;
        fs::remove_file(root.join("gone"))?;
        fs::remove_dir_all(root.join("directory"))?;
        fs::create_dir(root.join("directory"))?;
        match fs::read(root.join("kept"))?.as_slice() {
            b"ba" => Ok(()),
            _ => Err(io::Error::other("a changed file is not what was written")),
        }
    })?
    .at("work on a union in", scratch)?;
    let whiteout =
        fs::symlink_metadata(driver.layered.diff(&upper).join("gone")).at("look for a whiteout in", scratch)?;
    let form = if whiteout.file_type().is_char_device() && whiteout.rdev() == 0 { "native" } else { "marked" };
    Ok(vec!["native diff".to_owned(), format!("{form} whiteouts")])
}
