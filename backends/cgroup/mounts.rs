//! What a container sees at /sys/fs/cgroup.

use std::path::{Path, PathBuf};

use super::layout::Version;
use super::limits::Groups;

/// What to mount at /sys/fs/cgroup of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMount {
    /// No cgroups: leave the directory empty.
    None,
    /// v2. In a cgroup namespace: mount `cgroup2` afresh; otherwise bind `path`.
    Unified { path: PathBuf },
    /// v1 or hybrid: a tmpfs that holds one directory a hierarchy.
    Hierarchies(Vec<HierarchyMount>),
}

/// One hierarchy below the tmpfs. In a cgroup namespace: mount `fstype` afresh with `options` as its data;
/// otherwise bind `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HierarchyMount {
    /// The directory's name below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `unified`.
    pub name: String,
    /// `cgroup`, or `cgroup2` for hybrid's `unified`.
    pub fstype: &'static str,
    /// The data of mount(2): `memory`, `cpu,cpuacct`, or empty.
    pub options: String,
    /// The container's directory as the host sees it.
    pub path: PathBuf,
    /// Names that link to `name`: `cpu` and `cpuacct` for `cpu,cpuacct`.
    pub links: Vec<String>,
}

pub(super) fn describe(groups: &Groups) -> CgroupMount {
    match groups {
        [] => CgroupMount::None,
        [only] if only.version == Version::V2 => CgroupMount::Unified { path: only.dir.clone() },
        groups => CgroupMount::Hierarchies(
            groups.iter().map(|group| hierarchy(group.version, &group.dir, &group.controllers)).collect(),
        ),
    }
}

fn hierarchy(version: Version, path: &Path, controllers: &[String]) -> HierarchyMount {
    let path = path.to_path_buf();
    match version {
        Version::V2 => HierarchyMount {
            name: "unified".to_owned(),
            fstype: "cgroup2",
            options: String::new(),
            path,
            links: Vec::new(),
        },
        Version::V1 => {
            let options = controllers.join(",");
            let links = if controllers.len() > 1 { controllers.to_vec() } else { Vec::new() };
            HierarchyMount { name: options.clone(), fstype: "cgroup", options, path, links }
        }
    }
}
