//! cgroups(7): mountinfo, /proc/PID/cgroup and /proc/cgroups.

use std::path::{Path, PathBuf};

use super::{Hierarchy, Version};
use crate::mount::MountInfo;

/// Options of a v1 mount that are no controllers (kernel/cgroup/cgroup-v1.c).
const V1_OPTIONS: &[&str] =
    &["rw", "ro", "all", "none", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods"];

/// The first mount of each hierarchy, `offered` telling the controllers of a v2 root.
pub(super) fn hierarchies(
    table: &[MountInfo],
    memberships: &str,
    offered: impl Fn(&Path) -> Vec<String>,
) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in table {
        let hierarchy = match mount.fstype.as_str() {
            "cgroup" => v1(mount, memberships),
            "cgroup2" => v2(mount, memberships, offered(&mount.mount_point)),
            _ => continue,
        };
        let same = |other: &Hierarchy| {
            (other.version, &other.controllers, &other.name)
                == (hierarchy.version, &hierarchy.controllers, &hierarchy.name)
        };
        // A second mount of one (a container's bind mount, say) adds nothing.
        if !found.iter().any(same) {
            found.push(hierarchy);
        }
    }
    found
}

fn v1(mount: &MountInfo, memberships: &str) -> Hierarchy {
    let words = mount.super_options.split(',');
    let name = words.clone().find_map(|word| word.strip_prefix("name=")).map(str::to_owned);
    let is_controller = |word: &&str| !word.contains('=') && !V1_OPTIONS.contains(word);
    let controllers: Vec<String> = words.filter(is_controller).map(str::to_owned).collect();
    let named = name.as_ref().map(|name| format!("name={name}"));
    let own = membership(memberships, |list| match (&named, controllers.first()) {
        (_, Some(first)) => list.split(',').any(|word| word == first),
        (Some(named), None) => list == named,
        (None, None) => false,
    });
    hierarchy(mount, Version::V1, controllers, name, own)
}

fn v2(mount: &MountInfo, memberships: &str, controllers: Vec<String>) -> Hierarchy {
    hierarchy(mount, Version::V2, controllers, None, membership(memberships, str::is_empty))
}

fn hierarchy(
    mount: &MountInfo,
    version: Version,
    controllers: Vec<String>,
    name: Option<String>,
    own: Option<PathBuf>,
) -> Hierarchy {
    Hierarchy {
        version,
        controllers,
        name,
        mount_point: mount.mount_point.clone(),
        root: mount.root.clone(),
        own: own.unwrap_or_else(|| mount.root.clone()),
        read_only: mount.is_read_only() || mount.has_super_option("ro"),
    }
}

/// Lines are `ID:CONTROLLERS:PATH`; the path may hold colons.
fn membership(table: &str, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        is_it(list).then(|| PathBuf::from(path.strip_suffix(" (deleted)").unwrap_or(path)))
    })
}

/// Lines of /proc/cgroups are `NAME HIERARCHY GROUPS ENABLED`.
pub(super) fn enabled(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        (fields.nth(2) == Some("1")).then(|| name.to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;
    use crate::mount::parse_mounts;

    fn read(table: &[u8], memberships: &str) -> Vec<Hierarchy> {
        let table: Vec<_> = parse_mounts(table).collect();
        hierarchies(&table, memberships, |_| vec!["memory".to_owned(), "pids".to_owned()])
    }

    #[test]
    fn controllers_mounted_together_are_one_hierarchy() {
        let table = b"33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct,xattr\n\
            34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd,release_agent=/x\n\
            35 31 0:30 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct,xattr\n";
        let found = read(table, "5:cpu,cpuacct:/a:b\n1:name=systemd:/user\n0::/u\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(found[0].own_directory(), Path::new("/sys/fs/cgroup/cpu,cpuacct/a:b"));
        assert_eq!(found[1].name.as_deref(), Some("systemd"));
        assert!(found[1].controllers.is_empty());
        assert_eq!(found[1].own, Path::new("/user"));
        assert_eq!(Layout::of(&found), Layout::V1);
    }

    #[test]
    fn v2_alone_and_beside_v1_are_told_apart() {
        let v2 = b"35 31 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate\n";
        let found = read(v2, "0::/user.slice/a\n");
        assert_eq!(found[0].controllers, ["memory", "pids"]);
        assert_eq!(found[0].own_directory(), Path::new("/sys/fs/cgroup/user.slice/a"));
        assert_eq!(Layout::of(&found), Layout::V2);
        let both = [&v2[..], b"36 31 0:31 / /x ro - cgroup cgroup rw,memory\n"].concat();
        let found = read(&both, "2:memory:/\n0::/\n");
        assert_eq!(Layout::of(&found), Layout::Hybrid);
        assert!(found[1].read_only && !found[1].is_writable(Path::new("/")));
        assert_eq!(Layout::of(&[]), Layout::None);
    }

    /// In a container without a cgroup namespace both tables name the host's path.
    #[test]
    fn a_part_of_a_hierarchy_mounted_alone_is_its_own_root() {
        let table = b"35 31 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let inside = read(table, "2:memory:/docker/abc/sub\n");
        assert_eq!(inside[0].own_directory(), Path::new("/sys/fs/cgroup/memory/sub"));
        let outside = read(table, "2:memory:/elsewhere\n");
        assert_eq!(outside[0].own_directory(), Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn only_enabled_controllers_could_be_mounted() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t0\t1\t0\n";
        assert_eq!(enabled(table), ["cpuset"]);
    }
}
