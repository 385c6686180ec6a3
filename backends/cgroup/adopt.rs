//! Groups that another program has made for a container.

use std::path::Path;

use oci_spec::runtime::{LinuxResources, Spec};

use super::layout::Layout;
use super::{Cgroup, place};
use crate::{ContainerId, Result};

impl Cgroup {
    /// Those that the process `pid` is in and this one is not, under the limits of `spec`.
    pub(crate) fn adopt(pid: i32, spec: &Spec) -> Result<Self> {
        let (own, theirs) = (Layout::detect(), Layout::detect_for(&pid.to_string()));
        let pairs = own.hierarchies.iter().zip(&theirs.hierarchies).filter(|(own, theirs)| own != theirs);
        let paths: Vec<_> = pairs.map(|(_, theirs)| theirs.own_directory()).filter(|path| path.is_dir()).collect();
        let mut cgroup = Self::load_in(&own, &paths);
        let linux = spec.linux().as_ref();
        let none = LinuxResources::default();
        cgroup.limit(linux.and_then(|linux| linux.resources().as_ref()).unwrap_or(&none))?;
        Ok(cgroup)
    }
}

/// A container's place below the top of each hierarchy, and whether it is the usual one.
pub(crate) fn relative(id: &ContainerId, spec: &Spec) -> Result<(std::path::PathBuf, bool)> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let relative = place::relative(id, asked)?;
    let usual = relative == place::relative(id, None::<&Path>)?;
    Ok((relative, usual))
}
