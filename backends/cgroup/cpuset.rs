//! The cpuset controller: which processors and memory nodes.

use std::path::Path;

use oci_spec::runtime::LinuxCpu;

use super::files;
use super::limits::{Groups, Warnings, find};
use crate::{Error, Result};

pub(super) fn apply(groups: &Groups, limits: &LinuxCpu, warnings: &mut Warnings) -> Result<()> {
    for (file, list) in [("cpuset.cpus", limits.cpus()), ("cpuset.mems", limits.mems())] {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        let Some(group) = find(groups, "cpuset") else {
            warnings.absent("cpuset", "Cpuset discarded");
            continue;
        };
        match files::write(&group.dir, file, list) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                warnings.absent("cpuset", "Cpuset discarded");
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ERANGE | libc::EACCES)) => {
                let there = files::read(group.dir.parent().unwrap_or(&group.dir), file).unwrap_or_default();
                let there = there.trim();
                return Err(Error::InvalidArgument(format!("{file} {list:?}: this host offers {there:?}")));
            }
            Err(error) => return Err(files::refused(&group.dir, file, list, error)),
        }
    }
    Ok(())
}

/// A v1 cpuset takes no process before it has processors and nodes: copies both from its parent, unless they
/// are there already. So does the parent, which another process may have made just now.
pub(super) fn inherit(dir: &Path) -> std::io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !files::read(dir, file)?.trim().is_empty() {
            continue;
        }
        let mut above = files::read(parent, file)?;
        if above.trim().is_empty() {
            inherit(parent)?;
            above = files::read(parent, file)?;
        }
        files::write(dir, file, above.trim())?;
    }
    Ok(())
}
