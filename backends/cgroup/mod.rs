//! Control groups: the directories of one container, its limits, and what is measured in them.
//!
//! One surface over the layouts none, v1, hybrid and v2 (`layout.rs` reads which); one file per controller. The
//! caller's child enters by writing to descriptors that were opened before it was cloned. Knows nothing of
//! namespaces; every isolation backend may use it. A limit whose controller is absent is a warning, not an error.

mod adopt;
mod bpf;
mod cpu;
mod cpuset;
mod devices;
mod files;
mod freezer;
mod hugetlb;
mod io;
mod layout;
mod limits;
mod memory;
mod memory_watch;
mod mounts;
mod network;
mod pids;
mod place;
mod processes;
#[cfg(test)]
mod tests;
mod unified;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};
use rustix::fs::{Mode, OFlags};

pub(crate) use self::adopt::relative;
pub use self::memory_watch::MemoryWatch;
pub use self::mounts::{CgroupMount, HierarchyMount};

use self::layout::{Layout, Version};
use self::limits::{Group, Warnings};
use crate::{ContainerId, Error, Freezer, Limiter, Result, Sample, Stats};

/// The control groups of one container, one directory a hierarchy (one in all on v2; none without cgroups).
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
    paths: Vec<PathBuf>,
    warnings: Vec<String>,
    devices_enforced: bool,
}

impl Cgroup {
    /// Makes the container's directories and applies `linux.resources`. Atomic: on an error nothing is left.
    /// A host without (writable) cgroups gives a `Cgroup` without paths, and warnings for what was asked.
    pub fn create(id: &ContainerId, spec: &Spec) -> Result<Self> {
        Self::create_in(&Layout::detect(), id, spec)
    }

    fn create_in(layout: &Layout, id: &ContainerId, spec: &Spec) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let relative = place::relative(id, linux.and_then(|linux| linux.cgroups_path().as_deref()))?;
        let none = LinuxResources::default();
        let resources = linux.and_then(|linux| linux.resources().as_ref()).unwrap_or(&none);
        let mut groups = Vec::new();
        let result = place::place(layout, &relative, &limits::wanted(resources), &mut groups);
        let mut cgroup = Self::of(groups);
        match result.and_then(|()| cgroup.limit(resources)) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let _ = cgroup.delete();
                Err(error)
            }
        }
    }

    fn of(groups: Vec<Group>) -> Self {
        let paths = groups.iter().map(|group| group.dir.clone()).collect();
        Self { groups, paths, warnings: Vec::new(), devices_enforced: false }
    }

    fn limit(&mut self, resources: &LinuxResources) -> Result<()> {
        let mut warnings = Warnings::default();
        limits::apply(&self.groups, resources, &mut warnings)?;
        let rules = resources.devices().as_deref().unwrap_or_default();
        self.devices_enforced = devices::apply(&self.groups, rules, &mut warnings)?;
        self.warnings = warnings.0;
        Ok(())
    }

    /// The groups that another process created, from what [`Cgroup::paths`] gave there.
    pub fn load(paths: &[PathBuf]) -> Self {
        if paths.is_empty() {
            return Self::of(Vec::new());
        }
        Self::load_in(&Layout::detect(), paths)
    }

    fn load_in(layout: &Layout, paths: &[PathBuf]) -> Self {
        let group = |path: &PathBuf| {
            let hierarchies = layout.hierarchies.iter().filter(|hierarchy| path.starts_with(&hierarchy.mount));
            let hierarchy = hierarchies.max_by_key(|hierarchy| hierarchy.mount.components().count())?;
            let controllers = match hierarchy.version {
                Version::V1 => hierarchy.controllers.clone(),
                Version::V2 => {
                    let names = files::read(path, "cgroup.controllers").unwrap_or_default();
                    names.split_whitespace().map(str::to_owned).collect()
                }
            };
            Some(Group { version: hierarchy.version, dir: path.clone(), controllers })
        };
        Self { paths: paths.to_vec(), ..Self::of(paths.iter().filter_map(group).collect()) }
    }

    /// What is there of the container's directories, for who does not know what a dead creator came to make.
    pub fn find(id: &ContainerId, path: Option<&Path>) -> Result<Self> {
        let layout = Layout::detect();
        let mut paths = place::all(&layout, &place::relative(id, path)?);
        paths.retain(|path| path.is_dir());
        Ok(Self::load_in(&layout, &paths))
    }

    /// Where the container's directories are made, or are not.
    pub fn places(id: &ContainerId, path: Option<&Path>) -> Result<Vec<PathBuf>> {
        Ok(place::all(&Layout::detect(), &place::relative(id, path)?))
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What was asked for and is not in force, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Files opened for writing; a process of one thread that writes "0" to each of them is in the container's
    /// groups.
    pub fn entry_fds(&self) -> Result<Vec<OwnedFd>> {
        self.groups.iter().map(|group| entry(group, &group.dir)).collect()
    }

    /// As [`Cgroup::entry_fds`], for a process that joins the running container whose init is `pid`. A v2 group that
    /// hands controllers down (systemd inside does) takes no processes itself (EBUSY, cgroup-v2.rst, "No Internal
    /// Process Constraint"): then it is init's own group below.
    pub fn entry_fds_beside(&self, pid: i32) -> Result<Vec<OwnedFd>> {
        self.groups.iter().map(|group| entry(group, &beside(group, pid))).collect()
    }

    /// The directory for CLONE_INTO_CGROUP; `None` unless one v2 group is all there is.
    pub fn into_fd(&self) -> Result<Option<OwnedFd>> {
        self.only_unified(|group| group.dir.clone())
    }

    /// As [`Cgroup::into_fd`], for a process that [`Cgroup::entry_fds_beside`] is for. To enter a group after the clone takes
    /// the kernel some milliseconds.
    pub fn into_fd_beside(&self, pid: i32) -> Result<Option<OwnedFd>> {
        self.only_unified(|group| beside(group, pid))
    }

    fn only_unified(&self, dir: impl FnOnce(&Group) -> PathBuf) -> Result<Option<OwnedFd>> {
        match self.groups.as_slice() {
            [only] if only.version == Version::V2 => open(dir(only), OFlags::PATH | OFlags::DIRECTORY).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether rules about devices are enforced, as known to the creator. If not, a container must not have
    /// CAP_MKNOD.
    pub fn devices_enforced(&self) -> bool {
        self.devices_enforced
    }

    /// Whether there is one group, of v2.
    pub(crate) fn is_unified(&self) -> bool {
        matches!(self.groups.as_slice(), [only] if only.version == Version::V2)
    }

    /// The controllers in force, for [`crate::Isolation`]; v2's `io` and v1's `blkio` are both `io`.
    pub fn controllers(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .groups
            .iter()
            .flat_map(|group| &group.controllers)
            .filter(|name| !name.starts_with("name="))
            .map(|name| place::v2_name(name).to_owned())
            .collect();
        names.sort();
        names
    }

    /// All processes, those in nested groups too, as host process numbers. Empty after [`Cgroup::delete`].
    pub fn pids(&self) -> Result<Vec<i32>> {
        Ok(processes::list(&self.groups)?.into_iter().collect())
    }

    /// Kills every process inside, paused ones too. Idempotent; returns before the last has been reaped.
    pub fn kill_all(&self) -> Result<()> {
        processes::kill_all(&self.groups)
    }

    /// Removes the directories, nested ones first. Idempotent; waits a short while for processes that are ending.
    pub fn delete(&self) -> Result<()> {
        let mut result = Ok(());
        for path in &self.paths {
            let removed = processes::remove(path);
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    /// What to mount at /sys/fs/cgroup inside.
    pub fn mounts_for_container(&self) -> CgroupMount {
        mounts::describe(&self.groups)
    }

    /// `None` where the kernel offers no way to stop these processes.
    pub fn freezer(&self) -> Option<&dyn Freezer> {
        freezer::group(&self.groups).map(|_| self as &dyn Freezer)
    }

    /// The directory of the group that [`Cgroup::freezer`] freezes.
    pub(crate) fn freezer_directory(&self) -> Option<&Path> {
        freezer::group(&self.groups).map(|group| group.dir.as_path())
    }

    pub fn stats(&self) -> Option<&dyn Stats> {
        (!self.groups.is_empty()).then_some(self as &dyn Stats)
    }

    pub fn limiter(&self) -> Option<&dyn Limiter> {
        (!self.groups.is_empty()).then_some(self as &dyn Limiter)
    }

    fn check_alive(&self) -> Result<()> {
        match self.groups.first() {
            Some(group) if !group.dir.exists() => {
                Err(Error::NotFound(format!("cgroup {} is gone", group.dir.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Ends and removes what is in groups that [`Cgroup::paths`] named. Idempotent.
pub(crate) fn clear(paths: &[PathBuf]) -> Result<()> {
    let groups = Cgroup::load(paths);
    groups.kill_all()?;
    groups.delete()
}

/// Where a further process of the group goes, whose init is `pid`.
fn beside(group: &Group, pid: i32) -> PathBuf {
    let hands_down = group.version == Version::V2
        && files::read(&group.dir, "cgroup.subtree_control").is_ok_and(|list| !list.trim().is_empty());
    let inner = if hands_down { processes::group_of(&group.dir, pid) } else { None };
    inner.unwrap_or_else(|| group.dir.clone())
}

/// Where v2 is mounted beside v1 hierarchies with controllers, with none of those below it.
pub(crate) fn unified_beside_v1() -> Option<PathBuf> {
    let layout = Layout::detect();
    let unified = layout.unified().filter(|_| !layout.is_unified())?;
    let mut v1 = layout.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1);
    (!v1.any(|hierarchy| hierarchy.mount.starts_with(&unified.mount))).then(|| unified.mount.clone())
}

/// `linux.cgroupsPath`, or what stands for none, as an absolute path below each hierarchy's mount point.
pub(crate) fn absolute(id: &ContainerId, path: Option<&Path>) -> Result<PathBuf> {
    Ok(Path::new("/").join(place::relative(id, path)?))
}

fn entry(group: &Group, dir: &Path) -> Result<OwnedFd> {
    // v1's `tasks` moves one thread, which spares the kernel a lock over all processes of the host.
    let file = match group.version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.procs",
    };
    open(dir.join(file), OFlags::WRONLY)
}

fn open(path: PathBuf, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::Setup { step: format!("open {}", path.display()), source: error.into() })
}

impl Freezer for Cgroup {
    fn freeze(&self) -> Result<()> {
        freezer::set(&self.groups, true)
    }

    fn thaw(&self) -> Result<()> {
        freezer::set(&self.groups, false)
    }

    fn is_frozen(&self) -> Result<bool> {
        let Some(group) = freezer::group(&self.groups) else { return Ok(false) };
        freezer::is_frozen(group)
            .map_err(|source| Error::Setup { step: format!("read the freezer of {}", group.dir.display()), source })
    }
}

impl Stats for Cgroup {
    fn sample(&self) -> Result<Sample> {
        self.check_alive()?;
        let mut sample =
            Sample { unified: self.groups.iter().all(|group| group.version == Version::V2), ..Sample::default() };
        cpu::sample(&self.groups, &mut sample);
        memory::sample(&self.groups, &mut sample);
        pids::sample(&self.groups, &mut sample);
        io::sample(&self.groups, &mut sample);
        Ok(sample)
    }

    fn out_of_memory(&self) -> Result<bool> {
        self.check_alive()?;
        Ok(memory::out_of_memory(&self.groups))
    }

    fn memory_watch(&self) -> Option<MemoryWatch> {
        MemoryWatch::new(&self.groups)
    }
}

impl Limiter for Cgroup {
    /// What the host cannot limit is [`Error::Unavailable`], after the rest was applied.
    fn update(&self, resources: &LinuxResources) -> Result<()> {
        self.check_alive()?;
        let mut warnings = Warnings::default();
        limits::apply(&self.groups, resources, &mut warnings)?;
        if let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) {
            devices::apply(&self.groups, rules, &mut warnings)?;
        }
        if warnings.0.is_empty() { Ok(()) } else { Err(Error::Unavailable(warnings.0.join(" "))) }
    }
}
