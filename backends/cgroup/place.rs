//! Where a container's directories are, and making them.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::layout::{Hierarchy, Layout, Version};
use super::limits::Group;
use super::{cpuset, files};
use crate::{ContainerId, Error, Result};

/// Controllers that every container has, for limits, statistics, killing and pausing. `cpuset` is among them
/// because programs such as the JVM see their limits only where all of these are mounted.
const ALWAYS_V1: &[&str] = &["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"];
const ALWAYS_V2: &[&str] = &["cpu", "cpuset", "memory", "io", "pids"];

/// What v2 calls a controller that v1 names.
pub(super) fn v2_name(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

/// The container's place below a hierarchy's base, from `linux.cgroupsPath`: a path, or systemd's
/// `slice:prefix:name` (runc, docs/systemd.md); `berth/ID` if there is none.
pub(super) fn relative(id: &ContainerId, path: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Path::new("berth").join(id.as_str()));
    };
    let invalid = || Error::InvalidArgument(format!("cgroups path {path:?}: use a path without \"..\""));
    if let Some([slice, prefix, name]) =
        path.to_str().and_then(|text| <[&str; 3]>::try_from(text.split(':').collect::<Vec<_>>()).ok())
    {
        let unit = |text: &str| !text.is_empty() && !text.contains('/') && text != "." && text != "..";
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        if !unit(slice) || !unit(name) || prefix.contains('/') {
            return Err(invalid());
        }
        let name = if name.ends_with(".slice") {
            name.to_owned()
        } else if prefix.is_empty() {
            format!("{name}.scope")
        } else {
            format!("{prefix}-{name}.scope")
        };
        return Ok(expand_slice(slice).join(name));
    }
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(invalid()),
        }
    }
    if relative.as_os_str().is_empty() { Err(invalid()) } else { Ok(relative) }
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> PathBuf {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}.slice", &stem[..end])).collect()
}

/// Makes the container's directory in every hierarchy that it needs. `made` receives each as soon as it is
/// there, so that the caller can undo. Hierarchies that cannot be written are left out.
pub(super) fn place(layout: &Layout, relative: &Path, wanted: &[&str], made: &mut Vec<Group>) -> Result<()> {
    for hierarchy in layout.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1) {
        let needed = |name: &String| ALWAYS_V1.contains(&name.as_str()) || wanted.contains(&name.as_str());
        if !hierarchy.controllers.iter().any(needed) {
            continue;
        }
        let Some((_, dir)) = make(hierarchy, relative)? else { continue };
        made.push(Group { version: Version::V1, dir: dir.clone(), controllers: hierarchy.controllers.clone() });
        if hierarchy.controllers.iter().any(|name| name == "cpuset") {
            cpuset::inherit(&dir)
                .map_err(|source| Error::Setup { step: format!("set up {}", dir.display()), source })?;
        }
    }
    let Some(unified) = layout.unified() else { return Ok(()) };
    let mut controllers: Vec<&str> = ALWAYS_V2.iter().chain(wanted).map(|name| v2_name(name)).collect();
    if !layout.is_unified() {
        // Hybrid: only for a controller that no v1 hierarchy has.
        controllers.retain(|name| wanted.contains(name) && layout.with(name).is_none());
        let there = files::read(&unified.mount, "cgroup.controllers").unwrap_or_default();
        if !controllers.iter().any(|name| there.split_whitespace().any(|other| other == *name)) {
            return Ok(());
        }
    }
    if let Some((base, dir)) = make(unified, relative)? {
        made.push(Group { version: Version::V2, dir: dir.clone(), controllers: Vec::new() });
        let enabled = enable(&base, relative, &controllers);
        if let Some(group) = made.last_mut() {
            group.controllers = enabled;
        }
    }
    Ok(())
}

/// `relative` wherever [`place`] makes it.
pub(super) fn all(layout: &Layout, relative: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = layout.hierarchies.iter().flat_map(bases).map(|base| base.join(relative)).collect();
    places.sort();
    places.dedup();
    places
}

/// Makes `relative` below the first base that lets us: the hierarchy's top, the user's systemd instance, our
/// own group. `None` if none does.
fn make(hierarchy: &Hierarchy, relative: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let mut tried = PathBuf::new();
    for base in bases(hierarchy) {
        if base == tried {
            continue;
        }
        let dir = base.join(relative);
        match make_leaf(&base, relative) {
            Ok(()) => return Ok(Some((base, dir))),
            Err(error) if is_refusal(&error) => tried = base,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Err(Error::InvalidArgument(format!("cgroup {}: other processes are in it", dir.display())));
            }
            Err(source) => return Err(Error::Setup { step: format!("make cgroup {}", dir.display()), source }),
        }
    }
    Ok(None)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOSYS))
}

fn bases(hierarchy: &Hierarchy) -> impl Iterator<Item = PathBuf> + '_ {
    let steps: [fn(&Hierarchy) -> Option<PathBuf>; 3] =
        [|h| Some(h.mount.clone()), |h| users_manager(&h.own_directory()), |h| Some(h.own_directory())];
    steps.into_iter().filter_map(move |step| step(hierarchy))
}

/// `user@1000.service` above our own group: systemd delegates it to the user (systemd, "Control Group APIs and
/// Delegation"), and no process is directly in it.
fn users_manager(own: &Path) -> Option<PathBuf> {
    let is_manager = |path: &&Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("user@") && name.ends_with(".service"))
    };
    own.ancestors().find(is_manager).map(Path::to_path_buf)
}

fn make_leaf(base: &Path, relative: &Path) -> io::Result<()> {
    let dir = base.join(relative);
    match std::fs::create_dir(&dir) {
        // Left by an unclean stop; its limits must not be inherited. Busy if it is in use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir(&dir)?;
            std::fs::create_dir(&dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parents(base, relative)?;
            std::fs::create_dir(&dir)
        }
        other => other,
    }
}

fn make_parents(base: &Path, relative: &Path) -> io::Result<()> {
    let mut dir = base.to_path_buf();
    for component in relative.parent().into_iter().flat_map(Path::components) {
        dir.push(component);
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                if files::exists(&dir, "cpuset.mems") && files::exists(&dir, "tasks") {
                    cpuset::inherit(&dir)?;
                    let _ = files::write(&dir, "cgroup.clone_children", "1");
                }
                // Nested groups are charged to their parents only with this before 5.11; later always.
                if files::exists(&dir, "memory.use_hierarchy") {
                    let _ = files::write(&dir, "memory.use_hierarchy", "1");
                }
            }
        }
    }
    Ok(())
}

/// v2: hands `controllers` down from `base` to the parent of the container's directory, as far as they are there,
/// and returns those that arrive (cgroup-v2.rst, "Enabling and Disabling").
fn enable(base: &Path, relative: &Path, controllers: &[&str]) -> Vec<String> {
    let parent = relative.parent().unwrap_or(Path::new(""));
    let list = |dir: &Path, file: &str| -> Vec<String> {
        files::read(dir, file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let last = base.join(parent);
    let enabled = list(&last, "cgroup.subtree_control");
    if controllers.iter().all(|name| enabled.iter().any(|other| other == name)) {
        return enabled;
    }
    let mut dir = base.to_path_buf();
    let mut components = parent.components();
    loop {
        let (there, enabled) = (list(&dir, "cgroup.controllers"), list(&dir, "cgroup.subtree_control"));
        for name in controllers {
            if there.iter().any(|other| other == name) && !enabled.iter().any(|other| other == name) {
                hand_down(&dir, name, dir == base);
            }
        }
        match components.next() {
            Some(component) => dir.push(component),
            None => return list(&last, "cgroup.subtree_control"),
        }
    }
}

/// A group with processes of its own hands nothing down (EBUSY, "No Internal Process Constraint"). At the base
/// of a delegated tree these are ours and our neighbours', and move into a group beside the containers.
fn hand_down(dir: &Path, controller: &str, is_base: bool) {
    let word = format!("+{controller}");
    for _ in 0..5 {
        match files::write(dir, "cgroup.subtree_control", &word) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && is_base => {
                let aside = dir.join("berth-host");
                let _ = std::fs::create_dir(&aside);
                for pid in files::read(dir, "cgroup.procs").unwrap_or_default().lines() {
                    let _ = files::write(&aside, "cgroup.procs", pid);
                }
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: Option<&str>) -> Result<PathBuf> {
        relative(&"abc".parse().unwrap(), path.map(Path::new))
    }

    #[test]
    fn a_container_lies_below_berth_or_where_the_spec_says() {
        assert_eq!(at(None).unwrap(), Path::new("berth/abc"));
        assert_eq!(at(Some("/x/y")).unwrap(), Path::new("x/y"));
        assert_eq!(at(Some("a-b.slice:cri:z")).unwrap(), Path::new("a.slice/a-b.slice/cri-z.scope"));
        for path in ["/", "../x", "/a/../../b", "a.slice:../..:x", "a/b:c:d", "a.slice:x:"] {
            assert!(at(Some(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_users_systemd_instance_is_found_above_a_scope() {
        let own = Path::new("/c/user.slice/user-7.slice/user@7.service/app.slice/x.scope");
        assert_eq!(users_manager(own).unwrap(), Path::new("/c/user.slice/user-7.slice/user@7.service"));
        assert_eq!(users_manager(Path::new("/c/user.slice/session-1.scope")), None);
    }

    #[test]
    fn v2_controllers_are_handed_down_at_every_level_that_has_them() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("berth");
        std::fs::create_dir(&inner).unwrap();
        for (dir, there) in [(root.path(), "cpu memory pids"), (&inner, "memory pids")] {
            std::fs::write(dir.join("cgroup.controllers"), there).unwrap();
            std::fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
        }
        enable(root.path(), Path::new("berth/abc"), &["memory", "io"]);
        for dir in [root.path(), &inner] {
            assert_eq!(std::fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap(), "+memory");
        }
    }

    #[test]
    fn an_existing_directory_that_is_in_use_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("berth/abc/used")).unwrap();
        assert!(make_leaf(root.path(), Path::new("berth/abc")).is_err());
        std::fs::remove_dir(root.path().join("berth/abc/used")).unwrap();
        make_leaf(root.path(), Path::new("berth/abc")).unwrap();
    }
}
