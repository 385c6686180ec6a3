//! How control groups are mounted here: not at all, v1, v2, or both at once (hybrid).
//!
//! `detect` reads three small files and tries nothing; what a controller can do is the backends' business.

mod parse;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::Serialize;

use crate::{Probe, kernel_file, mount, pretend};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    None,
    V1,
    /// Some hierarchies of v1 beside one of v2, which may or may not have controllers.
    Hybrid,
    V2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hierarchy {
    pub version: Version,
    /// `cpu`, `memory`, ...: of v2 those that its root offers (cgroup.controllers).
    pub controllers: Vec<String>,
    /// Of a v1 hierarchy without controllers: `systemd` of `name=systemd`.
    pub name: Option<String>,
    pub mount_point: PathBuf,
    /// The part of the hierarchy that is mounted there, as the line in mountinfo has it.
    pub root: PathBuf,
    /// Where this process is, as /proc/self/cgroup has it.
    pub own: PathBuf,
    /// Mounted read-only, or over something that is.
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroups {
    pub layout: Layout,
    pub hierarchies: Vec<Hierarchy>,
    /// Enabled controllers that no mounted hierarchy has: they could be mounted as v1.
    pub unmounted: Vec<String>,
}

impl Hierarchy {
    /// The directory of this process's own group, if it is below the mount point.
    pub fn own_directory(&self) -> PathBuf {
        match self.own.strip_prefix(&self.root) {
            Ok(below) => self.mount_point.join(below),
            // A namespace's root outside of ours (`/../..`), or a mount from another one.
            Err(_) => self.mount_point.clone(),
        }
    }

    /// Whether groups can be made in `directory`: one access(2), so also a read-only mount says no.
    pub fn is_writable(&self, directory: &Path) -> bool {
        !self.read_only && rustix::fs::access(directory, Access::WRITE_OK).is_ok()
    }
}

impl Cgroups {
    /// What is mounted, as this process sees it.
    pub fn detect() -> io::Result<Self> {
        if pretend::without("cgroup") {
            return Ok(Self { layout: Layout::None, hierarchies: Vec::new(), unmounted: Vec::new() });
        }
        let table = mount::mounts()?;
        let memberships = match kernel_file::read_to_string("/proc/self/cgroup") {
            Ok(text) => text,
            // A kernel without CONFIG_CGROUPS.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let enabled = kernel_file::read_to_string("/proc/cgroups").unwrap_or_default();
        let offered = |mount_point: &Path| {
            let list = kernel_file::read_to_string(mount_point.join("cgroup.controllers")).unwrap_or_default();
            list.split_ascii_whitespace().map(str::to_owned).collect()
        };
        let mut hierarchies = parse::hierarchies(&table, &memberships, offered);
        hierarchies.retain(|hierarchy| match hierarchy.version {
            Version::V1 => !pretend::without("cgroup-v1"),
            Version::V2 => !pretend::without("cgroup-v2"),
        });
        let mut unmounted = parse::enabled(&enabled);
        unmounted.retain(|name| !hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(name)));
        Ok(Self { layout: Layout::of(&hierarchies), hierarchies, unmounted })
    }

    /// The hierarchy that has `controller`.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        self.hierarchies.iter().flat_map(|hierarchy| hierarchy.controllers.iter().map(String::as_str))
    }
}

impl Layout {
    fn of(hierarchies: &[Hierarchy]) -> Self {
        let has = |version| hierarchies.iter().any(|hierarchy| hierarchy.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (false, false) => Self::None,
            (true, false) => Self::V1,
            (true, true) => Self::Hybrid,
            (false, true) => Self::V2,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

impl std::fmt::Display for Cgroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.layout.name())?;
        for hierarchy in &self.hierarchies {
            let note = if hierarchy.version == Version::V2 { " (v2)" } else { "" };
            for controller in &hierarchy.controllers {
                write!(f, " {controller}{note}")?;
            }
        }
        Ok(())
    }
}

/// The layout, if groups can be made in at least one hierarchy that has controllers.
pub fn probe() -> Probe<Cgroups> {
    if pretend::without("cgroup") {
        return Probe::pretended("cgroup");
    }
    let found = match Cgroups::detect() {
        Ok(found) => found,
        Err(error) => return Probe::unavailable(format!("read cgroup mounts: {error}"), "mount /proc"),
    };
    if found.controllers().next().is_none() {
        let hint = "mount /sys/fs/cgroup (cgroupfs-mount, systemd), or use a kernel with CONFIG_CGROUPS";
        return Probe::unavailable("no cgroup hierarchy with controllers is mounted", hint);
    }
    let mut useful = found.hierarchies.iter().filter(|hierarchy| !hierarchy.controllers.is_empty());
    if !useful.any(|hierarchy| hierarchy.is_writable(&hierarchy.own_directory())) {
        let hint = "run berth as root, or have systemd delegate a group (Delegate=yes, systemd-run --user --scope)";
        return Probe::unavailable("no cgroup hierarchy can be written to", hint);
    }
    Probe::available(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_s_own_directories_exist() {
        let found = Cgroups::detect().unwrap();
        for hierarchy in &found.hierarchies {
            assert!(hierarchy.own_directory().is_dir(), "{hierarchy:?}");
        }
        assert_eq!(found.layout == Layout::None, found.hierarchies.is_empty());
    }
}
