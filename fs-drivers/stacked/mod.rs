//! What drivers share that keep of each layer what it changes and have somebody stack them: overlay, AUFS and fuse.
//!
//! A layer is the directory `ID/d`. `form.rs` reads how it says that something below is hidden, `differ.rs` finds its
//! changes by a walk of that directory alone, `flatten.rs` makes one directory of a chain that is longer than the
//! kernel can stack, and `layered.rs` keeps the layers of overlay and fuse.

mod differ;
mod flatten;
mod form;
mod layered;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;

use rustix::fs::{AtFlags, Gid, Mode, Uid};

use crate::error::At;
use crate::folder::Folder;
use crate::tree::Meta;
use crate::{LayerId, Result, Whiteouts};

pub(crate) use differ::changes;
pub(crate) use layered::{Layered, WORK};

/// What the layer changes: the writable directory while it is written, one of those below afterwards.
pub(crate) const DIFF: &str = "d";

/// The directories, relative to the driver's folder, that show `parents`: each layer's own, or, when there are more than
/// `room` (at least 1), the last of them with everything below it flattened. That is done once a layer.
pub(crate) fn lower(folder: &Folder, form: Whiteouts, parents: &[LayerId], room: usize) -> Result<Vec<String>> {
    let own = |layers: &[LayerId]| layers.iter().map(|id| format!("{id}/{DIFF}")).collect::<Vec<_>>();
    if parents.len() <= room {
        return Ok(own(parents));
    }
    let mut names = own(&parents[..room - 1]);
    names.push(flatten::flattened(folder, form, &parents[room - 1..])?);
    Ok(names)
}

/// Makes the layer's directory with the attributes of its parent's: the root of the merged tree has those of the top
/// layer.
pub(crate) fn create(folder: &Folder, id: &LayerId, parents: &[LayerId]) -> Result<()> {
    folder.create_in(id, DIFF, Mode::from_raw_mode(0o755))?;
    take_over(folder, id, parents)
}

/// See [`crate::Inheritor`].
pub(crate) fn inherit(folder: &Folder, id: &LayerId, parents: &[LayerId]) -> Result<()> {
    take_over(folder, id, parents)?;
    rustix::fs::fsync(folder.open_in(id, DIFF)?).at("sync", folder.layer_path(id).join(DIFF))
}

fn take_over(folder: &Folder, id: &LayerId, parents: &[LayerId]) -> Result<()> {
    let Some(parent) = parents.first() else { return Ok(()) };
    let below = folder.layer_path(parent).join(DIFF);
    let meta = Meta::at(folder.fd(), OsStr::new(&format!("{parent}/{DIFF}"))).at("look at", below)?;
    adopt(folder, &format!("{id}/{DIFF}"), &meta).at("set attributes of", folder.layer_path(id).join(DIFF))
}

fn adopt(folder: &Folder, name: &str, meta: &Meta) -> std::io::Result<()> {
    let fd = folder.fd();
    if (meta.uid, meta.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        rustix::fs::chownat(fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if meta.permissions() != Mode::from_raw_mode(0o755) {
        rustix::fs::chmodat(fd, name, meta.permissions(), AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(fd, name, &meta.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}
